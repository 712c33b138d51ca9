//! The chain of speech engines through the whole system, from the webhook to the card: one fault at a time, played by
//! doubles that speak the engines' real protocols. `--nocapture` prints fault, outcome and time to the card.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callfold::simulate::{Message, Played, Script, demo_messages};
use callfold_kit::testing::{Fault, wait_for};
use callfold_transcriber::testing::google::{Answer, GoogleDouble};
use callfold_transcriber::testing::speech_api::{Reply, SpeechApiDouble};
use callfold_transcriber::wer::word_error_rate;
use serde_json::{Value, json};

use crate::harness::{System, World, root, silence, tone};

const BY_GOOGLE: &str = "גוגל שמע הודעה על שיפוץ מטבח בחיפה.";
const BY_OPENAI: &str = "השרת השני שמע הודעה על שיפוץ מטבח בחיפה.";

/// A running system with both doubles: `google` first, no whisper model (calls are signed, so there is no demonstration
/// either), then `openai`. The budget is 3 s and a share 1 s, whatever the length.
struct Bench {
    google: GoogleDouble,
    openai: SpeechApiDouble,
    world: World,
    system: System,
    _key: tempfile::TempDir,
}

/// What the doubles were asked since.
struct Mark {
    google: usize,
    openai: usize,
}

impl Bench {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (google, openai) = (GoogleDouble::start().await, SpeechApiDouble::start().await);
        openai.require_key("sk-of-a-test");
        google.always(Answer::says(BY_GOOGLE));
        openai.answers(Reply::says(BY_OPENAI));
        let key = tempfile::tempdir().unwrap();
        let mut world = World::sqlite()
            .engines_of_settings()
            .with("CALLFOLD_TRANSCRIBE_BASE_URL", openai.base_url())
            .with("CALLFOLD_TRANSCRIBE_API_KEY", "sk-of-a-test")
            .with("CALLFOLD_TRANSCRIBE_BUDGET_SECS", "3")
            .with("CALLFOLD_TRANSCRIBE_BUDGET_PER_AUDIO_SEC", "0")
            .with("CALLFOLD_TRANSCRIBE_REST_AFTER", "1000");
        for (name, value) in google.settings(key.path()) {
            world = world.with(&name, value);
        }
        if !settings.iter().any(|(name, _)| *name == "WHISPER_MODEL") {
            world = world.signed();
        }
        for (name, value) in settings {
            world = world.with(name, *value);
        }
        let world = world.build().await;
        let system = world.start().await;
        assert!(google.question_count() >= 1, "asked at the start");
        Self {
            google,
            openai,
            world,
            system,
            _key: key,
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            google: self.google.request_count(),
            openai: self.openai.requests().len(),
        }
    }

    /// Requests to google and to openai since.
    fn asked_since(&self, mark: &Mark) -> (usize, usize) {
        let now = self.mark();
        (now.google - mark.google, now.openai - mark.openai)
    }

    async fn play(&self, message: Message) -> Played {
        self.system.play(&Script::leaves(message)).await
    }

    /// Plays a call and waits for the end that its lead comes to. Prints the row.
    async fn row(&self, fault: &str, message: Message, status: &str) -> Value {
        let played = self.play(message).await;
        let lead = self.system.lead_at(&played.call_sid, status).await;
        let by = lead["engines"]["transcribe"].as_str().unwrap_or("nobody");
        let took = played.hung_up.elapsed().as_millis();
        println!("| {fault} | {status} by {by} | {} | {took} ms |", told(&lead));
        lead
    }

    async fn stop(self) {
        self.system.stop().await;
    }
}

/// The engines of the first stage that gave no answer: `google unavailable, openai resting`.
fn told(lead: &Value) -> String {
    failures(lead)
        .iter()
        .map(|(engine, class)| format!("{engine} {class}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn failures(lead: &Value) -> Vec<(&str, &str)> {
    lead["failed_engines"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|failed| failed["stage"] == "transcribe")
        .map(|failed| {
            (
                failed["engine"].as_str().unwrap(),
                failed["class"].as_str().unwrap(),
            )
        })
        .collect()
}

/// The failed attempts to transcribe: number, class, whether another one follows.
async fn attempts(system: &System, call_sid: &str) -> Vec<(u64, String, bool)> {
    system
        .story(call_sid)
        .await
        .iter()
        .filter(|event| event["kind"] == "stage_failed")
        .filter_map(|event| {
            let (_, attempt) = event["key"].as_str()?.split_once("-transcribe-")?;
            let class = event["data"]["class"].as_str()?.to_owned();
            let goes_on = !event["data"]["next_attempt_at"].is_null();
            Some((attempt.parse().ok()?, class, goes_on))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_google_the_card_is_complete_by_the_next_engine() {
    let bench = Bench::start(&[]).await;
    let late = Answer::Slow(Duration::from_secs(2), Box::new(Answer::says("מאוחר מדי")));
    let no_answer = |status, text: &str| {
        let headers = vec![("content-type", "text/plain".to_owned())];
        Answer::Http(status, headers, text.to_owned())
    };
    // Fault, google's answer, how its failure is classed. Each row asks google once and then openai once.
    let table = [
        ("HTTP 503", Answer::status(503, "UNAVAILABLE"), "unavailable"),
        ("HTTP 500 in plain text", no_answer(500, "oops"), "unavailable"),
        (
            "HTTP 429",
            Answer::status(429, "RESOURCE_EXHAUSTED"),
            "rate_limited",
        ),
        ("HTTP 400", Answer::status(400, "INVALID_ARGUMENT"), "refused"),
        ("never answers", Answer::hang(), "overtaken"),
        ("slower than its share", late, "overtaken"),
        (
            "connection cut before the answer",
            Answer::Silent.with(Fault::CutBeforeHead),
            "network",
        ),
        (
            "connection cut in the answer",
            Answer::says(BY_GOOGLE).with(Fault::CutInBody),
            "network",
        ),
        (
            "stalls in the answer",
            Answer::says(BY_GOOGLE).with(Fault::StallInBody),
            "overtaken",
        ),
        ("half a JSON", Answer::half_json(), "invalid"),
        ("a web page", Answer::html(200), "invalid"),
        (
            "JSON of another kind",
            Answer::Json(json!({"results": 5})),
            "invalid",
        ),
    ];
    println!("| google | outcome | no answer | time to card |\n|---|---|---|---|");
    let lead = bench.row("works", tone(), "processed").await;
    assert_eq!(lead["engines"]["transcribe"], "google:chirp_3");
    assert_eq!(
        (lead["transcript"].as_str(), failures(&lead)),
        (Some(BY_GOOGLE), vec![])
    );
    assert_eq!(bench.openai.requests().len(), 0, "who is not needed is not asked");

    for (fault, answer, class) in table {
        let mark = bench.mark();
        bench.google.always(answer);
        let lead = bench.row(fault, tone(), "processed").await;
        assert_eq!(lead["engines"]["transcribe"], "openai:whisper-1", "{fault}");
        assert_eq!(lead["transcript"], BY_OPENAI, "{fault}");
        assert_eq!(failures(&lead), [("google", class)], "{fault}");
        assert_eq!(bench.asked_since(&mark), (1, 1), "{fault}: nobody is asked twice");
        assert!(
            attempts(&bench.system, lead["call_sid"].as_str().unwrap())
                .await
                .is_empty()
        );
    }
    // What was stopped is given up at its server as well.
    wait_for("requests to be given up", async || {
        (bench.google.in_flight() == 0).then_some(())
    })
    .await;

    // Silence is an answer, of whoever hears it.
    bench.google.always(Answer::Silent);
    let mark = bench.mark();
    let lead = bench.row("hears nothing", tone(), "no_message").await;
    assert_eq!((failures(&lead), bench.asked_since(&mark)), (vec![], (1, 0)));
    bench.row("a silent recording", silence(), "no_message").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_fail_the_attempt_is_repeated_or_not_as_their_answers_say() {
    let bench = Bench::start(&[]).await;
    println!("| google and openai | outcome | no answer | time to card |\n|---|---|---|---|");

    // Both out of order, then back: both are asked again.
    let answers = |google: Answer, openai: Reply| {
        let (asked_google, asked_openai) = (AtomicUsize::new(0), AtomicUsize::new(0));
        bench
            .google
            .script(move |_| match asked_google.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => google.clone(),
                _ => Answer::says(BY_GOOGLE),
            });
        bench
            .openai
            .script(move |_| match asked_openai.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => openai.clone(),
                _ => Reply::says(BY_OPENAI),
            });
    };
    answers(Answer::status(503, "UNAVAILABLE"), Reply::status(500));
    let mark = bench.mark();
    let lead = bench.row("out of order twice", tone(), "processed").await;
    assert_eq!(lead["engines"]["transcribe"], "google:chirp_3");
    assert_eq!(bench.asked_since(&mark), (3, 2));
    let failed = attempts(&bench.system, lead["call_sid"].as_str().unwrap()).await;
    assert_eq!(
        failed,
        [
            (1, "unavailable".to_owned(), true),
            (2, "unavailable".to_owned(), true)
        ]
    );

    // Neither answers within the budget; google answers the next time.
    let first = AtomicUsize::new(0);
    bench
        .google
        .script(move |_| match first.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::hang(),
            _ => Answer::says(BY_GOOGLE),
        });
    bench.openai.answers(Reply::says("late").with(Fault::Hang));
    let lead = bench.row("never answer, once", tone(), "processed").await;
    assert_eq!(lead["engines"]["transcribe"], "google:chirp_3");
    let failed = attempts(&bench.system, lead["call_sid"].as_str().unwrap()).await;
    assert_eq!(failed, [(1, "timeout".to_owned(), true)]);

    // What no further attempt would mend fails at once.
    bench.google.always(Answer::status(400, "INVALID_ARGUMENT"));
    bench.openai.answers(Reply::status(400));
    let mark = bench.mark();
    let lead = bench.row("HTTP 400 everywhere", tone(), "failed").await;
    assert_eq!(bench.asked_since(&mark), (1, 1));
    assert_eq!(lead["stages"]["transcribe"]["state"], "failed");
    let failed = attempts(&bench.system, lead["call_sid"].as_str().unwrap()).await;
    assert_eq!(failed, [(1, "refused".to_owned(), false)]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_keeps_failing_is_not_asked_for_a_while() {
    let settings = [
        ("CALLFOLD_TRANSCRIBE_REST_AFTER", "2"),
        ("CALLFOLD_TRANSCRIBE_REST_SECS", "600"),
    ];
    println!("| google | outcome | no answer | time to card |\n|---|---|---|---|");
    let gauge = |bench: &Bench, engine: &str| {
        let line = format!("callfold_engine_state{{engine=\"{engine}\"}} ");
        let text = bench.system.stack.metrics.render();
        let value = text.lines().find_map(|found| found.strip_prefix(&line));
        value.unwrap().parse::<f64>().unwrap()
    };
    for (fault, answer, class, failures_until_rest) in [
        (
            "HTTP 503 again and again",
            Answer::status(503, "UNAVAILABLE"),
            "unavailable",
            2,
        ),
        (
            "HTTP 429, Retry-After: 300",
            Answer::busy("300"),
            "rate_limited",
            1,
        ),
        (
            "HTTP 401",
            Answer::status(401, "UNAUTHENTICATED"),
            "credentials",
            1,
        ),
    ] {
        let bench = Bench::start(&settings).await;
        bench.google.always(answer);
        for _ in 0..failures_until_rest {
            assert_eq!(gauge(&bench, "google"), 0.0);
            let lead = bench.row(fault, tone(), "processed").await;
            assert_eq!(failures(&lead), [("google", class)]);
        }
        let mark = bench.mark();
        for _ in 0..2 {
            let lead = bench
                .row(&format!("resting after {fault}"), tone(), "processed")
                .await;
            assert_eq!(lead["transcript"], BY_OPENAI);
            assert_eq!(failures(&lead), [("google", "resting")]);
            let text = lead["failed_engines"][0]["text"].as_str().unwrap();
            assert!(text.starts_with("resting for "), "{text}");
        }
        assert_eq!(bench.asked_since(&mark), (0, 2), "{fault}");
        assert_eq!((gauge(&bench, "google"), gauge(&bench, "openai")), (2.0, 0.0));
        let health = bench.system.stack.health.readiness();
        let part = &health.parts["speech-engines"];
        let reason = part.reason.clone().unwrap_or_default();
        assert!(
            part.ready && reason.starts_with("google resting until "),
            "{reason}"
        );
        assert!(reason.ends_with("; openai working"), "{reason}");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_rested_is_tried_with_a_call_and_asked_again() {
    let bench = Bench::start(&[
        ("CALLFOLD_TRANSCRIBE_REST_AFTER", "1"),
        ("CALLFOLD_TRANSCRIBE_REST_SECS", "1"),
        ("CALLFOLD_TRANSCRIBE_REST_MAX_SECS", "1"),
    ])
    .await;
    bench.google.always(Answer::status(503, "UNAVAILABLE"));
    bench.row("out of order", tone(), "processed").await;
    bench.google.always(Answer::says(BY_GOOGLE));
    let mark = bench.mark();
    wait_for("google to be tried again", async || {
        let played = bench.play(tone()).await;
        let lead = bench.system.lead_at(&played.call_sid, "processed").await;
        (lead["engines"]["transcribe"] == "google:chirp_3").then_some(())
    })
    .await;
    assert_eq!(bench.asked_since(&mark).0, 1);
    let lead = bench.row("rested, tried, works again", tone(), "processed").await;
    assert_eq!(
        (lead["engines"]["transcribe"].as_str(), failures(&lead)),
        (Some("google:chirp_3"), vec![])
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_in_an_outage_however_few_attempts_there_are() {
    let bench = Bench::start(&[
        ("CALLFOLD_TRANSCRIBE_ENGINES", "google"),
        ("CALLFOLD_TRANSCRIBE_REST_AFTER", "1"),
        ("CALLFOLD_TRANSCRIBE_REST_SECS", "1"),
        ("CALLFOLD_TRANSCRIBE_REST_MAX_SECS", "1"),
        ("CALLFOLD_RETRY_ATTEMPTS", "1"),
    ])
    .await;
    bench.google.always(Answer::status(503, "UNAVAILABLE"));
    let mark = bench.mark();
    let played = bench.play(tone()).await;
    wait_for("three trials", async || {
        (bench.asked_since(&mark).0 >= 3).then_some(())
    })
    .await;
    let lead = bench.system.lead(&played.call_sid).await.unwrap();
    assert_eq!(lead["status"], "downloaded");
    assert_eq!(lead["stages"]["transcribe"]["state"], "waiting");
    assert!(!bench.system.stack.health.readiness().parts["speech-engines"].ready);
    bench.google.always(Answer::says(BY_GOOGLE));
    let lead = bench.system.lead_at(&played.call_sid, "processed").await;
    let took = played.hung_up.elapsed().as_millis();
    println!("| google alone, out of order for three trials | processed after waiting | | {took} ms |");
    assert_eq!(lead["transcript"], BY_GOOGLE);
    let failed = attempts(&bench.system, &played.call_sid).await;
    assert_eq!(
        failed,
        [(0, "not_yet".to_owned(), true)],
        "said once, counted never"
    );
    assert_eq!(bench.asked_since(&mark).1, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whisper_takes_over_where_google_fails() {
    // The model is as slow as the machine; google's share is a second all the same.
    let bench = Bench::start(&[
        ("WHISPER_MODEL", "demo"),
        ("CALLFOLD_TRANSCRIBE_ENGINES", "google,whisper"),
    ])
    .await;
    println!("| google | outcome | no answer | time to card |\n|---|---|---|---|");
    let message = demo_messages().remove(0);
    let file = root().join(format!(
        "services/transcriber/assets/samples/{}.txt",
        message.name
    ));
    let reference = std::fs::read_to_string(file).unwrap();
    for (fault, answer, class) in [
        ("HTTP 503", Answer::status(503, "UNAVAILABLE"), "unavailable"),
        ("never answers", Answer::hang(), "overtaken"),
    ] {
        bench.google.always(answer);
        let lead = bench.row(fault, message.clone(), "processed").await;
        assert_eq!(lead["engines"]["transcribe"], "whisper:ggml-micro-he");
        // On a machine that is slow enough google's budget ends before whisper does.
        let [("google", told)] = failures(&lead)[..] else {
            panic!("{lead:#}")
        };
        assert!(told == class || told == "timeout", "{told}");
        let rate = word_error_rate(&reference, lead["transcript"].as_str().unwrap()).rate();
        assert!(rate < 0.5, "{rate}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_decides_which_engines_hear_its_calls_and_what_they_expect() {
    let bench = Bench::start(&[]).await;
    let file = "[default]\nphrases = [\"קולפולד\"]\nlanguage = \"he-IL\"\n\
                [numbers.\"+97239999999\"]\nengines = [\"openai\"]\n";
    std::fs::write(bench.world.path("numbers.toml"), file).unwrap();
    wait_for("the file to be read", async || {
        let readiness = bench.system.stack.health.readiness();
        let reason = readiness.parts["numbers"].reason.clone().unwrap_or_default();
        reason.ends_with('1').then_some(())
    })
    .await;
    let mark = bench.mark();
    let lead = bench.row("not for this number", tone(), "processed").await;
    assert_eq!(
        (lead["engines"]["transcribe"].as_str(), failures(&lead)),
        (Some("openai:whisper-1"), vec![])
    );
    assert_eq!(bench.asked_since(&mark), (0, 1));
    let asked = bench.openai.requests().pop().unwrap();
    assert_eq!(asked.prompt.as_deref(), Some("קולפולד"));
    assert_eq!(asked.language.as_deref(), Some("he"));

    let script = Script {
        to: "+97248888888".to_owned(),
        ..Script::leaves(tone())
    };
    let played = bench.system.play(&script).await;
    let lead = bench.system.lead_at(&played.call_sid, "processed").await;
    assert_eq!(lead["engines"]["transcribe"], "google:chirp_3");
    let asked = bench.google.requests().pop().unwrap();
    assert_eq!((asked.language.as_str(), asked.phrases.len()), ("iw-IL", 1));
    bench.stop().await;
}

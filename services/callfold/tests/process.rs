//! The program as people start it: processes, signals, files, exit codes.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod models;
mod program;

use callfold_kit::testing::{TestNats, wait_for};
use callfold_store::testing::TestPostgres;
use program::{Installation, Program, free_port, mode};
use rustix::process::Signal;
use serde_json::Value;

/// The API of a running system.
struct Api {
    http: reqwest::Client,
    address: String,
    token: String,
}

impl Api {
    fn new(address: &str, token: &str) -> Self {
        let http = callfold_kit::http::client_builder().build().unwrap();
        Self {
            http,
            address: address.to_owned(),
            token: token.to_owned(),
        }
    }

    async fn leads(&self, query: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/leads?{query}", self.address);
        let answer = self.http.get(url).bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        answer["leads"].as_array().unwrap().clone()
    }

    async fn processed(&self, count: usize) -> Vec<Value> {
        wait_for("the cards", async || {
            Some(self.leads("status=processed").await).filter(|leads| leads.len() == count)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_serves_until_ctrl_c_and_takes_its_broker_with_it() {
    let here = Installation::new();
    let mut up = here.start(&["up", "--listen", "127.0.0.1:0"]);
    let address = up.ready().await;
    let link = up.says("sign in (once, within 15 minutes): ").await;
    assert!(link.contains(&format!("{address}/signin?token=")), "{link}");
    let data = here.data();
    let token = std::fs::read_to_string(data.join("api-token")).unwrap();
    for file in ["run.json", "api-token"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    let api = Api::new(&address, token.trim());
    let ready = api.http.get(format!("{address}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    assert!(here.has_broker());

    // Nobody else runs on this folder.
    let second = here.run(&["up", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("another callfold runs on"), "{second:?}");
    // Nor on this port.
    let port = address.rsplit(':').next().unwrap();
    let other = Installation::new();
    let taken = other.run(&["up", "--listen", &format!("127.0.0.1:{port}")]).await;
    assert_eq!(taken.code, Some(1), "{taken:?}");
    assert!(taken.err.contains("could not listen on"), "{taken:?}");

    let media_port = here.media_port.to_string();
    let played = here
        .run(&["simulate", "--calls", "2", "--wait", "--media-port", &media_port])
        .await;
    assert_eq!(played.code, Some(0), "{played:?}");
    assert!(
        played
            .out
            .lines()
            .any(|line| line.split_whitespace().eq(["processed", "2"])),
        "{}",
        played.out
    );
    let leads = api.processed(2).await;
    assert_eq!(leads[1]["phone"], "+972501234567");
    assert_eq!(leads[0]["phone"], "+972501234568");

    the_tools_tell_what_happened(&here, &address, leads[0]["call_sid"].as_str().unwrap()).await;
    let (archive, other) = (data.with_file_name("archive"), data.with_file_name("other"));
    let (archive, other) = (archive.to_str().unwrap(), other.to_str().unwrap());
    let exported = here.run(&["export", archive]).await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    assert!(
        exported.out.starts_with("14 events and 2 recordings"),
        "{exported:?}"
    );
    let running = here.run(&["import", archive]).await;
    assert_eq!(running.code, Some(1), "{running:?}");
    assert!(running.err.contains("is running"), "{running:?}");
    let verified = here.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(
        verified
            .out
            .contains("14 events, 0 erased positions, 2 recordings, 2 rows were read"),
        "{verified:?}"
    );

    let status = up.stop(Signal::INT).await;
    assert_eq!(status.code(), Some(0), "{}", up.everything());
    assert!(up.output().contains("stopping"));
    assert!(!here.has_broker(), "the broker is gone with it");
    assert!(!data.join("run.json").exists());
    assert!(
        !up.everything().contains(token.trim()),
        "the API token is never printed"
    );
    assert!(!up.everything().contains("+97250"), "nor is a caller's number");

    // A stopped installation can still be read.
    let events = here.run(&["events"]).await;
    assert_eq!(
        (events.code, events.out.lines().count()),
        (Some(0), 14),
        "{events:?}"
    );
    assert!(!here.has_broker());

    // What was written down while it ran is the same in another folder.
    let imported = here.run(&["import", "--data-dir", other, archive]).await;
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert!(
        imported.out.contains("14 events and 2 recordings were imported"),
        "{imported:?}"
    );
    let copied = here.run(&["events", "--data-dir", other]).await;
    assert_eq!(copied.out, events.out);
    let verified = here.run(&["verify", "--data-dir", other]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.out.contains("the lead table is empty"), "{verified:?}");
    for said in [&exported, &imported, &verified] {
        assert!(!format!("{said:?}").contains("+972"), "{said:?}");
    }
}

async fn the_tools_tell_what_happened(here: &Installation, address: &str, call_sid: &str) {
    let events = here.run(&["events"]).await;
    assert_eq!(events.code, Some(0), "{events:?}");
    let lines: Vec<Value> = events
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 14);
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(n, line)| line["position"] == n as u64 + 1)
    );
    assert!(
        !events.out.contains("+972"),
        "personal data is shown when it is asked for"
    );
    let calls = here
        .run(&["events", "--kind", "call_started", "--data-too"])
        .await;
    assert_eq!(calls.out.lines().count(), 2, "{calls:?}");
    assert!(calls.out.contains("+972501234567"));
    let nonsense = here.run(&["events", "--kind", "call_answered"]).await;
    assert_eq!(nonsense.code, Some(1));
    assert!(
        nonsense.err.contains("call_started"),
        "it says which kinds there are: {nonsense:?}"
    );

    let story = here.run(&["explain", call_sid]).await;
    assert_eq!(story.code, Some(0), "{story:?}");
    assert!(story.out.contains("the card says: processed"), "{}", story.out);
    assert!(!story.out.contains("+972"), "{}", story.out);
    let unknown = here.run(&["explain", "CA_never_heard_of"]).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");

    let listen = address.strip_prefix("http://").unwrap();
    let healthy = here.run(&["health", "--listen", listen]).await;
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    let dead = here
        .run(&["health", "--listen", &format!("127.0.0.1:{}", free_port())])
        .await;
    assert_eq!(dead.code, Some(1), "{dead:?}");

    let doctor = here.run(&["doctor", "--listen", listen]).await;
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    let wrong = here
        .run_with(
            &["doctor", "--listen", listen],
            &[("CALLFOLD_VOICE", "Polly.Carmit")],
        )
        .await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(
        wrong
            .out
            .lines()
            .any(|line| line.contains("CALLFOLD_VOICE") && line.contains("wrong")),
        "{}",
        wrong.out
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_minus_nine_in_the_middle_of_work_loses_nothing() {
    // One message after the other, slowly, on however fast a machine.
    let here = Installation::new()
        .with("CALLFOLD_WHISPER_WORKERS", "1")
        .with("CALLFOLD_WHISPER_THREADS", "1");
    let listen = format!("127.0.0.1:{}", free_port());
    let mut up = here.start(&["up", "--listen", &listen]);
    let address = up.ready().await;
    let token = std::fs::read_to_string(here.data().join("api-token")).unwrap();
    let api = Api::new(&address, token.trim());
    // Without --wait it goes on serving the recordings.
    let media_port = here.media_port.to_string();
    let mut simulate = here.start(&[
        "simulate",
        "--calls",
        "3",
        "--rate",
        "20",
        "--media-port",
        &media_port,
    ]);
    simulate.says("the recordings are served until Ctrl-C").await;
    // Each webhook was answered; recognising three messages takes longer than asking.
    let before = api.leads("status=processed").await.len();
    up.stop(Signal::KILL).await;
    assert!(before < 3, "the work was over before it could be interrupted");

    let mut up = here.start(&["up", "--listen", &listen]);
    up.ready().await;
    let leads = api.processed(3).await;
    for lead in &leads {
        assert_eq!(lead["recordings"].as_array().unwrap().len(), 1);
        assert!(lead["summary_title"].is_string());
    }
    assert_eq!(api.leads("").await.len(), 3);
    let status = up.stop(Signal::TERM).await;
    assert_eq!(status.code(), Some(0), "{}", up.everything());
    assert!(!here.has_broker());
    let events = here.run(&["events"]).await;
    for kind in [
        "call_started",
        "recording_ready",
        "recording_downloaded",
        "transcript_ready",
        "summary_ready",
    ] {
        assert_eq!(
            events.out.matches(&format!("\"{kind}\"")).count(),
            3,
            "{kind} in {}",
            events.out
        );
    }
    // The simulator's own way out.
    simulate.stop(Signal::INT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_up_leaves_no_broker_behind() {
    let here = Installation::new();
    let mut up = here.start(&["up", "--listen", "127.0.0.1:0"]);
    up.ready().await;
    assert!(here.has_broker());
    up.stop(Signal::KILL).await;
    wait_for("the broker to die with its parent", async || {
        (!here.has_broker()).then_some(())
    })
    .await;
    // What it left behind is known to be of a dead process.
    assert!(here.data().join("run.json").exists());
    let simulate = here.run(&["simulate"]).await;
    assert_eq!(simulate.code, Some(1));
    assert!(simulate.err.contains("no callfold runs on"), "{simulate:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_data_folder_gets_one_demonstration_call() {
    let here = Installation::new();
    let media_port = here.media_port.to_string();
    let arguments = [
        "up",
        "--listen",
        "127.0.0.1:0",
        "--demo",
        "--media-port",
        &media_port,
    ];
    let mut up = here.start(&arguments);
    up.ready().await;
    up.says("The card of call CA").await;
    up.says("sign in (once, within 15 minutes): ").await;
    let said = up.output();
    for part in [
        "+972501234567",
        "processed",
        "transcript",
        "whisper:ggml-micro-he",
        "extractive",
        "in all",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(up.stop(Signal::INT).await.code(), Some(0));

    let mut again = here.start(&arguments);
    again.ready().await;
    again.says("sign in (once, within 15 minutes): ").await;
    assert!(!again.output().contains("demonstration"), "{}", again.output());
    assert_eq!(again.stop(Signal::INT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_in_processes_of_their_own_make_a_card_in_sqlite() {
    roles_in_processes_of_their_own_make_a_card(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_in_processes_of_their_own_make_a_card_in_postgres() {
    let url = tokio::task::spawn_blocking(|| TestPostgres::shared().fresh_database())
        .await
        .unwrap();
    roles_in_processes_of_their_own_make_a_card(Some(url)).await;
}

async fn roles_in_processes_of_their_own_make_a_card(database_url: Option<String>) {
    const TOKEN: &str = "the-token-of-roles-apart";
    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
    let nats = TestNats::start().await;
    let mut here = Installation::new()
        .with("NATS_URL", nats.url())
        .with("CALLFOLD_API_TOKEN", TOKEN)
        .with("CALLFOLD_STREAM_BYTES_MAX", (1_u64 << 30).to_string())
        .with("TWILIO_ACCOUNT_SID", ACCOUNT)
        .with("TWILIO_AUTH_TOKEN", "b7c1a5e2d9f04c3c8a1e6f2d7b9c0a4e")
        // Nobody answers there: no test asks the real one.
        .with("TWILIO_API_URL", "http://127.0.0.1:9")
        .with("WHISPER_MODEL", "demo");
    if let Some(url) = database_url {
        here = here.with("DATABASE_URL", url);
    }
    let role = |name: &str| here.start(&[name, "--listen", "127.0.0.1:0"]);
    // The order does not matter: each waits for what it needs.
    let mut workers: Vec<Program> = [
        "projector",
        "reconciler",
        "summarizer",
        "transcriber",
        "downloader",
    ]
    .iter()
    .map(|name| role(name))
    .collect();
    let mut gateway = role("gateway");
    let mut api = role("api");
    let gateway_address = gateway.ready().await;
    let api_address = api.ready().await;
    for worker in &mut workers {
        worker.ready().await;
    }
    let media_port = here.media_port.to_string();
    let arguments = [
        "simulate",
        "--wait",
        "--url",
        &gateway_address,
        "--api-url",
        &api_address,
        "--media-port",
        &media_port,
    ];
    let played = here.run(&arguments).await;
    assert_eq!(played.code, Some(0), "{played:?}");
    assert!(played.out.contains("whisper:ggml-micro-he"), "{}", played.out);
    let leads = Api::new(&api_address, TOKEN).processed(1).await;
    assert_eq!(leads[0]["phone"], "+972501234567");

    for mut program in workers.into_iter().chain([gateway, api]) {
        let status = program.stop(Signal::TERM).await;
        assert_eq!(status.code(), Some(0), "{}", program.everything());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_and_without_a_model_the_links_come_at_once_and_no_call_is_played() {
    let here = Installation::new()
        .with("TWILIO_AUTH_TOKEN", "0123456789abcdef0123456789abcdef")
        .with("PUBLIC_URL", "https://calls.example.com");
    let media_port = here.media_port.to_string();
    let mut up = here.start(&[
        "up",
        "--listen",
        "127.0.0.1:0",
        "--demo",
        "--media-port",
        &media_port,
    ]);
    let address = up.ready().await;
    let local = up.says("sign in (once, within 15 minutes): ").await;
    let public = up.says("  or, where the page is public: ").await;
    let token = local.split_once("/signin?token=").unwrap().1;
    assert!(local.contains(&address), "{local}");
    assert!(
        public.ends_with(&format!("https://calls.example.com/signin?token={token}")),
        "{public}"
    );
    let why = up.says("the demonstration call did not work: ").await;
    assert!(why.contains("no speech model"), "{why}");
    assert_eq!(up.stop(Signal::INT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_in_the_settings_are_told_together_before_anything_starts() {
    let here = Installation::new()
        .with("CALLFOLD_RETRY_ATTEMPTS", "0")
        .with("DATABASE_URL", "mysql://root:hunter2@db/leads")
        .with("CALLFOLD_TIMEZONE", "Mars/Olympus")
        .with("CALLFOLD_LOG_FORMAT", "xml");
    let ran = here.run(&["up", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(ran.code, Some(64), "{ran:?}");
    for name in [
        "CALLFOLD_RETRY_ATTEMPTS",
        "DATABASE_URL",
        "CALLFOLD_TIMEZONE",
        "CALLFOLD_LOG_FORMAT",
    ] {
        assert!(ran.err.contains(name), "{name} in {}", ran.err);
    }
    assert!(
        !ran.err.contains("hunter2") && !ran.err.contains("Olympus"),
        "values are not repeated: {}",
        ran.err
    );
    assert!(!here.data().exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_in_the_numbers_file_stop_the_start_and_the_doctor_knows_it() {
    let here = Installation::new();
    std::fs::create_dir(here.data()).unwrap();
    let path = here.data().join("numbers.toml");
    let file = "[default]\ngreting = \"x\"\nretention_days = 30\n[numbers.\"+97239999999\"]\nvoice = \"Polly.Carmit\"\n";
    std::fs::write(&path, file).unwrap();
    let up = here.run(&["up", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(up.code, Some(64), "{up:?}");
    let places = [
        format!(
            "{}:2:1: unknown key `greting`; did you mean `greeting`?",
            path.display()
        ),
        format!("{}:5:9: `voice` is no Hebrew voice of Twilio", path.display()),
    ];
    for place in &places {
        assert!(up.err.contains(place), "{place} in {}", up.err);
    }
    assert!(
        !up.err.contains("+972") && !up.err.contains("Carmit"),
        "{}",
        up.err
    );
    // Whoever does not read the file is not stopped by it: here only the broker is missing.
    let projector = here.run(&["projector", "--listen", "127.0.0.1:0"]).await;
    assert!(projector.err.contains("NATS_URL") && !projector.err.contains("CALLFOLD_NUMBERS"));

    let doctor = async || {
        let said = here.run(&["doctor", "--listen", "127.0.0.1:0"]).await;
        said.out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = doctor().await;
    assert!(
        said.contains("wrong CALLFOLD_NUMBERS") && said.contains(":5:9:"),
        "{said}"
    );
    std::fs::write(
        &path,
        "[default]\nretention_days = 30\n[numbers.\"+97239999999\"]\nrecord_max_secs = 60\n",
    )
    .unwrap();
    let said = doctor().await;
    assert!(
        said.contains("ok numbers numbers with settings of their own: 1"),
        "{said}"
    );
    assert!(!said.contains("retention_days"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_call_is_proved_to_be_gone() {
    const CALLER: &str = "+972541234321";
    let here = Installation::new();
    let mut up = here.start(&["up", "--listen", "127.0.0.1:0"]);
    let address = up.ready().await;
    let token = std::fs::read_to_string(here.data().join("api-token")).unwrap();
    let api = Api::new(&address, token.trim());
    let media_port = here.media_port.to_string();
    let played = here
        .run(&[
            "simulate",
            "--from",
            CALLER,
            "--wait",
            "--media-port",
            &media_port,
        ])
        .await;
    assert_eq!(played.code, Some(0), "{played:?}");
    let lead = api.processed(1).await.remove(0);
    let call_sid = lead["call_sid"].as_str().unwrap();
    let said = lead["transcript"].as_str().unwrap();
    assert!(!said.is_empty());

    // Before: it is everywhere, and the search finds it.
    let kept = here
        .run(&[
            "erase",
            call_sid,
            "--prove-only",
            "--phone",
            CALLER,
            "--text",
            said,
        ])
        .await;
    assert_eq!(kept.code, Some(1), "{kept:?}");
    for place in [
        "stream, position 1:",
        "the lead table:",
        "recordings: ",
        "the rebuild:",
    ] {
        assert!(kept.out.contains(place), "{place}: {}", kept.out);
    }
    assert!(
        !kept.out.contains(CALLER) && !kept.out.contains(said),
        "{}",
        kept.out
    );

    let erased = here.run(&["erase", "--phone", CALLER, "--request"]).await;
    assert_eq!(erased.code, Some(0), "{erased:?}");
    assert!(erased.out.contains("calls of the number: 1"), "{}", erased.out);
    assert!(
        erased.out.contains("7 events and 1 files deleted"),
        "{}",
        erased.out
    );
    assert_eq!(api.leads("").await.len(), 0);
    // A stop writes out what the broker holds in memory.
    assert_eq!(up.stop(Signal::INT).await.code(), Some(0), "{}", up.everything());
    let gone = here
        .run(&[
            "erase",
            call_sid,
            "--prove-only",
            "--phone",
            CALLER,
            "--text",
            said,
        ])
        .await;
    assert_eq!(gone.code, Some(0), "{gone:?}");
    assert!(gone.out.contains("nothing is left"), "{}", gone.out);
}

/// Re-runs of many calls as an operator asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaigns_are_held_compared_and_adopted_from_the_command_line() {
    const OURS: &str = "+97231111111";
    let here = Installation::new();
    let mut up = here.start(&["up", "--listen", "127.0.0.1:0"]);
    let address = up.ready().await;
    let token = std::fs::read_to_string(here.data().join("api-token")).unwrap();
    let api = Api::new(&address, token.trim());
    let media_port = here.media_port.to_string();
    for (calls, to) in [("2", OURS), ("1", "+97232222222")] {
        let played = here
            .run(&[
                "simulate",
                "--calls",
                calls,
                "--to",
                to,
                "--wait",
                "--media-port",
                &media_port,
            ])
            .await;
        assert_eq!(played.code, Some(0), "{played:?}");
    }
    api.processed(3).await;
    let said = async |arguments: &[&str]| {
        let done = here.run(arguments).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(!done.out.contains("+97250"), "no caller's number: {}", done.out);
        done.out
    };
    let ours = async |what: &str, is_so: &(dyn Fn(&Value) -> bool + Sync)| {
        wait_for(what, async || {
            let leads = api.leads("").await;
            let ours: Vec<Value> = leads.into_iter().filter(|lead| lead["to"] == OURS).collect();
            (ours.len() == 2 && ours.iter().all(is_so)).then_some(ours)
        })
        .await
    };

    // Counted first, by the number of ours that was called.
    let count = said(&[
        "reprocess",
        "--from",
        "transcribe",
        "--number",
        OURS,
        "--only-count",
    ])
    .await;
    assert!(
        count.starts_with("2 calls with ") && count.contains("of work"),
        "{count}"
    );
    let nobody = said(&["reprocess", "--from", "transcribe", "--until", "2001-01-01"]).await;
    assert!(nobody.starts_with("0 calls"), "{nobody}");

    // Results that are held change nothing that is shown.
    let begun = said(&[
        "reprocess",
        "--from",
        "transcribe",
        "--number",
        OURS,
        "--engine",
        "whisper",
        "--model",
        "ggml-micro-he",
        "--hold",
        "--rate",
        "100",
        "--why",
        "a test",
    ])
    .await;
    let id = begun
        .split_whitespace()
        .skip_while(|word| *word != "campaign")
        .nth(1)
        .unwrap();
    let held = ours("results that are held", &|lead| {
        lead["runs"][0]["state"] == "held"
    })
    .await;
    assert!(
        held.iter()
            .all(|lead| lead["run"] == 0 && lead["runs"][0]["campaign"] == id)
    );
    let run = held[0]["runs"][0]["run"].as_u64().unwrap();
    let list = said(&["reprocess", "list"]).await;
    assert!(
        list.contains("2 of 2 calls asked for") && list.contains("held"),
        "{list}"
    );

    // What a person heard is what both runs are held against.
    let corrected = &held[0];
    let recording = corrected["recordings"][0]["recording_sid"].as_str().unwrap();
    let call = corrected["call_sid"].as_str().unwrap();
    let text = corrected["transcript"].as_str().unwrap();
    let answer = api
        .http
        .patch(format!("{address}/api/v1/leads/{call}"))
        .bearer_auth(token.trim())
        .header("If-Match", "*")
        .json(&serde_json::json!({ "transcript": { "recording_sid": recording, "text": format!("{text} תודה") } }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let is_corrected = |lead: &Value| lead["call_sid"] != call || lead["revision"] == 1;
    ours("the correction", &is_corrected).await;
    let words = text.split_whitespace().count() as u64 + 1;
    let by_model: Value =
        serde_json::from_str(&said(&["accuracy", "--by", "model", "--json"]).await).unwrap();
    assert_eq!(by_model.as_array().unwrap().len(), 1, "{by_model}");
    let line = &by_model[0];
    assert_eq!(line["of"], "whisper:ggml-micro-he");
    assert_eq!(
        (&line["transcripts"], &line["words"], &line["errors"]),
        (&2.into(), &(2 * words).into(), &2.into())
    );
    for (by, name) in [("engine", "whisper"), ("number", OURS), ("month", "20")] {
        let table = said(&["accuracy", "--by", by]).await;
        let line = table.lines().nth(1).unwrap();
        assert!(line.starts_with(name) && line.contains('%'), "{by}: {table}");
    }

    // Shown by a rule, and taken back.
    let adopt = |rule: &'static str| ["adopt", "--campaign", id, "--rule", rule];
    let adopted = said(&adopt("always")).await;
    assert!(adopted.starts_with("2 calls changed"), "{adopted}");
    ours("the run that was chosen", &|lead| lead["run"] == run).await;
    let again = said(&adopt("always")).await;
    assert!(again.starts_with("0 calls changed, 2 are left"), "{again}");
    said(&adopt("revert")).await;
    ours("the first run", &|lead| lead["run"] == 0).await;

    // One that takes for ever is paused, and given up.
    let slow = said(&["reprocess", "--from", "summarize", "--rate", "0.01"]).await;
    let slow = slow
        .split_whitespace()
        .skip_while(|word| *word != "campaign")
        .nth(1)
        .unwrap();
    for (order, state) in [("pause", "paused"), ("resume", "running"), ("abort", "aborted")] {
        let told = said(&["reprocess", order, slow]).await;
        assert!(told.contains(state), "{order}: {told}");
    }
    let refused = here.run(&["reprocess", "resume", slow]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("was aborted"), "{refused:?}");
    assert_eq!(up.stop(Signal::INT).await.code(), Some(0), "{}", up.everything());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_tokens_are_managed_from_a_terminal_beside_the_running_system() {
    const PASSWORD: &str = "four words on a line";
    let here = Installation::new();
    let mut up = here.start(&["up", "--listen", "127.0.0.1:0"]);
    let address = up.ready().await;

    // Before there are people, a new link needs no restart.
    let link = here.run(&["user", "link"]).await;
    assert_eq!(link.code, Some(0), "{link:?}");
    assert!(
        link.out.starts_with(&format!("{address}/signin?token=")),
        "{link:?}"
    );
    let http = callfold_kit::http::client_builder().build().unwrap();
    let looked = http.get(link.out.trim()).send().await.unwrap();
    assert_eq!(looked.status(), 200);

    let agent_first = here
        .run_with_line(&["user", "add", "דנה", "--role", "agent"], PASSWORD)
        .await;
    assert_eq!(agent_first.code, Some(1), "{agent_first:?}");
    assert!(
        agent_first.err.contains("the first person has to be an owner"),
        "{agent_first:?}"
    );
    let weak = here
        .run_with_line(&["user", "add", "Olga", "--role", "owner"], "password1234")
        .await;
    assert!(
        weak.err.contains("easy to guess") && !weak.err.contains("password1234"),
        "{weak:?}"
    );
    let owner = here
        .run_with_line(&["user", "add", "Olga", "--role", "owner"], PASSWORD)
        .await;
    assert_eq!(owner.code, Some(0), "{owner:?}");
    let agent = here.run(&["user", "add", "דנה", "--no-password"]).await;
    assert!(agent.out.contains("callfold user link"), "{agent:?}");

    // The running system knows it at once: the password signs in.
    let form = [("name", "olga"), ("password", PASSWORD)];
    let signed_in = http
        .post(format!("{address}/signin"))
        .form(&form)
        .send()
        .await
        .unwrap();
    assert_eq!(signed_in.status(), 303);
    let listed = here.run(&["user", "list"]).await.out;
    assert!(
        listed.contains("Olga  owner  password, 1 open sign-ins"),
        "{listed}"
    );
    assert!(
        listed.contains("דנה  agent  links only, 0 open sign-ins"),
        "{listed}"
    );

    // A link is for somebody from now on.
    let nobody = here.run(&["user", "link"]).await;
    assert!(nobody.err.contains("say for whom the link is"), "{nobody:?}");
    let dana = here.run(&["user", "link", "דנה"]).await;
    assert_eq!(dana.code, Some(0), "{dana:?}");
    let role = here.run(&["user", "role", "דנה", "viewer"]).await;
    assert!(role.out.contains("is viewer now"), "{role:?}");
    let last = here.run(&["user", "remove", "Olga"]).await;
    assert!(last.err.contains("last owner"), "{last:?}");
    let removed = here.run(&["user", "remove", "דנה"]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");

    let token = here.run(&["token", "add", "crm"]).await;
    assert_eq!(token.code, Some(0), "{token:?}");
    let crm = Api::new(&address, token.out.trim());
    assert_eq!(crm.leads("").await.len(), 0);
    let listed = here.run(&["token", "list"]).await.out;
    assert!(
        listed.starts_with("crm  read  made ") && !listed.contains("never"),
        "{listed}"
    );
    assert_eq!(here.run(&["token", "revoke", "crm"]).await.code, Some(0));
    wait_for("the token to be over", async || {
        let url = format!("{address}/api/v1/leads");
        let answer = http.get(url).bearer_auth(token.out.trim()).send().await.unwrap();
        (answer.status() == 401).then_some(())
    })
    .await;
    assert!(up.stop(Signal::INT).await.success());

    // With people, the next start prints no link.
    let mut up = here.start(&["up", "--listen", "127.0.0.1:0"]);
    let line = up.says("sign in with name and password").await;
    assert!(line.ends_with("/signin"), "{line}");
    assert!(up.stop(Signal::INT).await.success());
    assert!(!up.everything().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_usage_ends_with_64() {
    let here = Installation::new();
    // Beyond loopback anybody could post calls.
    let open = here.run(&["up", "--listen", "0.0.0.0:0"]).await;
    assert_eq!(open.code, Some(64), "{open:?}");
    assert!(open.err.contains("TWILIO_AUTH_TOKEN"), "{}", open.err);
    let alone = here.run(&["gateway", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(alone.code, Some(64), "{alone:?}");
    assert!(alone.err.contains("NATS_URL"), "{}", alone.err);
    let unknown = here.run(&["uppp"]).await;
    assert_eq!(unknown.code, Some(64), "{unknown:?}");
    assert!(unknown.err.contains("Usage"), "{}", unknown.err);
    let help = here.run(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    for command in [
        "up", "gateway", "simulate", "events", "explain", "export", "import", "verify", "doctor",
    ] {
        assert!(
            help.out
                .lines()
                .any(|line| line.split_whitespace().next() == Some(command)),
            "{command} in {}",
            help.out
        );
    }
    assert!(!here.data().exists(), "nothing was made");
}

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use callfold_kit::clock::TestClock;
use callfold_kit::secret::Secret;
use callfold_kit::testing::{Fault, PATIENCE, wait_for};
use callfold_schema::UnixMillis;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::SpeechApiDouble;
use crate::testing::speech_api::{Asked, Reply, Said, Shape};

/// 2026-11-22T10:00:00Z, a Sunday.
const NOW: UnixMillis = UnixMillis(1_795_341_600_000);
const SECOND: usize = SAMPLE_RATE_HZ as usize;

fn tone(seconds: f64, loudness: f32) -> Vec<f32> {
    let samples = (seconds * SECOND as f64) as usize;
    (0..samples)
        .map(|at| loudness * (at as f32 * 0.3).sin())
        .collect()
}

fn request(channels: Vec<Vec<f32>>) -> Request {
    Request::new(Arc::new(Audio16k::from_samples(channels)))
}

/// Two seconds of a sound that is heard and is no speech: it is sent as it is.
fn short() -> Request {
    request(vec![tone(2.0, 0.5)])
}

/// Speech of so many seconds.
fn spoken(seconds: usize) -> Request {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples/message-1.wav");
    let file = std::fs::File::open(path).unwrap();
    let pcm = callfold_kit::audio::decode_reader(file, &callfold_kit::audio::Limits::default()).unwrap();
    let audio = Audio16k::from_pcm(pcm).unwrap();
    let message = audio.read(0, 0..audio.frames()).unwrap();
    let speech = message.iter().copied().cycle().take(seconds * SECOND);
    request(vec![speech.collect()])
}

/// A minute of speech, which is cut into pieces of at most 20 s.
fn minute() -> Request {
    spoken(60)
}

/// Where the one piece of a request begins and ends, in milliseconds.
fn piece_of(request: &Request) -> (u64, u64) {
    let pieces = crate::speech::pieces(&request.audio, Duration::from_secs(20)).unwrap();
    let [piece] = &pieces[..] else {
        panic!("{pieces:?}")
    };
    (piece.start_ms(), piece.frames.end * 1000 / SECOND as u64)
}

fn config(double: &SpeechApiDouble) -> SpeechApiConfig {
    SpeechApiConfig {
        timeout: PATIENCE,
        check_timeout: PATIENCE,
        piece_max: Duration::from_secs(20),
        ..SpeechApiConfig::new(&double.base_url(), Some(Secret::new("sk-1")), "whisper-1")
    }
}

fn api(config: SpeechApiConfig) -> SpeechApi {
    SpeechApi::new(config).unwrap().clock(TestClock::at(NOW))
}

async fn start() -> (SpeechApiDouble, SpeechApi) {
    let double = SpeechApiDouble::start().await;
    double.require_key("sk-1");
    let engine = api(config(&double));
    (double, engine)
}

fn heard(recognised: &Recognised) -> Vec<(u64, u64, u8, &str)> {
    recognised
        .segments
        .iter()
        .map(|segment| {
            (
                segment.start_ms,
                segment.end_ms,
                segment.channel,
                segment.text.as_str(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_recording_is_sent_in_the_form_that_servers_take() {
    let (double, engine) = start().await;
    double.answers(Reply::says("שלום"));
    let mut request = short();
    request.language = Some("iw-IL".to_owned());
    request.phrases = ["קולפולד".to_owned(), " רחוב\nהרצל ".to_owned(), String::new()].into();
    let recognised = engine.transcribe(request.clone()).await.unwrap();
    assert_eq!(heard(&recognised), [(0, 2_000, 0, "שלום")]);
    assert_eq!(
        (
            recognised.language.as_str(),
            recognised.model.as_str(),
            recognised.pieces
        ),
        ("he", "whisper-1", 1)
    );
    let asked = double.requests();
    assert_eq!(asked.len(), 1);
    let asked = &asked[0];
    let fields = [
        "model",
        "language",
        "response_format",
        "temperature",
        "prompt",
        "file",
    ];
    assert_eq!(asked.fields, fields);
    let text = |field: &Option<String>| field.clone().unwrap();
    assert_eq!(text(&asked.authorization), "Bearer sk-1");
    assert_eq!(text(&asked.model), "whisper-1");
    assert_eq!(text(&asked.language), "he");
    assert_eq!(text(&asked.response_format), "verbose_json");
    assert_eq!(text(&asked.temperature), "0");
    assert_eq!(text(&asked.prompt), "קולפולד, רחוב הרצל");
    assert_eq!(
        (text(&asked.file_name).as_str(), text(&asked.file_type).as_str()),
        ("audio.wav", "audio/wav")
    );
    assert!(asked.content_length.unwrap() > asked.file_bytes);
    let (rate, channels) = asked.audio.as_ref().unwrap();
    assert_eq!(
        (*rate, channels.len(), channels[0].len()),
        (16_000, 1, 2 * SECOND)
    );
    let wanted = request.audio.read(0, 0..u64::MAX).unwrap();
    assert!(channels[0].iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[tokio::test]
async fn a_local_server_needs_no_key_and_a_call_no_phrases() {
    let double = SpeechApiDouble::start().await;
    double.answers(Reply::says("שלום"));
    let engine = api(SpeechApiConfig {
        api_key: None,
        ..config(&double)
    });
    engine.prepare().await.unwrap();
    engine.transcribe(short()).await.unwrap();
    let asked = double.requests();
    assert_eq!(asked[0].authorization, None);
    assert!(!asked[0].fields.contains(&"prompt".to_owned()));
    assert_eq!(asked[0].language.as_deref(), Some("he"));
}

#[tokio::test]
async fn every_servers_segments_are_understood() {
    for shape in Shape::WITH_SEGMENTS {
        let (double, engine) = start().await;
        let said = [Said::new(0.1, 0.9, "שלום"), Said::new(1.0, 7.0, "מדברת דנה")];
        double.answers(Reply::segments(shape, said));
        let request = spoken(2);
        let (start, end) = piece_of(&request);
        let recognised = engine.transcribe(request).await.unwrap();
        let wanted = [
            (start + 100, start + 900, 0, "שלום"),
            (start + 1_000, end, 0, "מדברת דנה"),
        ];
        assert_eq!(heard(&recognised), wanted, "{shape:?}");
        let sure = recognised.segments[0].confidence.unwrap();
        assert!((sure - 0.7788).abs() < 1e-3, "{shape:?}");
    }
}

#[tokio::test]
async fn a_text_alone_stands_for_the_piece_and_no_text_for_silence() {
    let (double, engine) = start().await;
    double.answers(Reply::segments(Shape::TextOnly, [Said::new(0.5, 1.0, "שלום")]));
    let (start, end) = piece_of(&spoken(2));
    let recognised = engine.transcribe(spoken(2)).await.unwrap();
    assert_eq!(heard(&recognised), [(start, end, 0, "שלום")]);
    // Of a sound that was not told from noise it says too little.
    assert_eq!(engine.transcribe(short()).await.unwrap().segments, []);
    for shape in Shape::WITH_SEGMENTS.into_iter().chain([Shape::TextOnly]) {
        double.answers(Reply::segments(shape, []));
        assert_eq!(
            engine.transcribe(spoken(2)).await.unwrap().segments,
            [],
            "{shape:?}"
        );
    }
    // An answer in another type is read; what it says decides.
    double.answers(Reply::raw(200, "text/plain", r#"{"text": "שלום"}"#));
    assert_eq!(engine.transcribe(spoken(2)).await.unwrap().text(), "שלום");
}

#[tokio::test]
async fn what_whisper_invents_is_told_by_its_form_whoever_runs_it() {
    let (double, engine) = start().await;
    let thanks = |at: usize| Said::new(at as f64 * 2.0, at as f64 * 2.0 + 1.9, "תודה שצפיתם");
    double.answers(Reply::segments(
        Shape::OpenAi,
        (0..5).map(thanks).collect::<Vec<_>>(),
    ));
    assert_eq!(engine.transcribe(spoken(11)).await.unwrap().segments, []);
    // More than can be said in the time there is.
    let hasty = Said::new(
        0.5,
        0.9,
        "אחת שתיים שלוש ארבע חמש שש שבע שמונה תשע עשר ".repeat(8),
    );
    double.answers(Reply::segments(Shape::OpenAi, [hasty]));
    assert_eq!(engine.transcribe(spoken(4)).await.unwrap().segments, []);
}

#[tokio::test]
async fn that_a_server_knows_no_verbose_json_is_found_out_once() {
    let (double, engine) = start().await;
    double.refuse_verbose_json();
    double.answers(Reply::says("שלום"));
    let (start, end) = piece_of(&spoken(2));
    for _ in 0..2 {
        let recognised = engine.transcribe(spoken(2)).await.unwrap();
        assert_eq!(heard(&recognised), [(start, end, 0, "שלום")]);
    }
    let formats: Vec<_> = double
        .requests()
        .into_iter()
        .map(|asked| asked.response_format.unwrap())
        .collect();
    assert_eq!(formats, ["verbose_json", "json", "json"]);
}

#[tokio::test]
async fn other_servers_refuse_verbose_json_in_other_words() {
    for (status, body, requests) in [
        (
            400,
            r#"{"object":"error","message":"Currently do not support verbose_json for this model"}"#,
            2,
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","response_format"],"msg":"unexpected value"}]}"#,
            2,
        ),
        (
            400,
            r#"{"error":{"message":"The audio is not understood","param":"file"}}"#,
            1,
        ),
        (500, r#"{"error":{"message":"verbose_json"}}"#, 1),
    ] {
        let (double, engine) = start().await;
        double.script(move |asked| match asked.response_format.as_deref() {
            Some("json") => Reply::says("שלום"),
            _ => Reply::raw(status, "application/json", body),
        });
        let answered = engine.transcribe(short()).await;
        assert_eq!(double.requests().len(), requests, "{body}");
        assert_eq!(answered.is_ok(), requests == 2, "{body}");
    }
    // One that refuses the other form too is not asked a third time, and nothing is remembered.
    let (double, engine) = start().await;
    double.answers(Reply::raw(
        400,
        "application/json",
        r#"{"error":"response_format"}"#,
    ));
    let error = engine.transcribe(short()).await.unwrap_err();
    assert_eq!(error.to_string(), "HTTP 400 from the speech server");
    assert_eq!(double.requests().len(), 2);
    assert!(!engine.plain.load(Ordering::Relaxed));
}

#[tokio::test]
async fn channels_are_heard_apart_and_merged_by_time() {
    let (double, engine) = start().await;
    double.script(|asked| {
        let is_agent = asked.samples().iter().any(|sample| *sample > 0.6);
        let said = if is_agent {
            [Said::new(0.0, 0.4, "משרד שלום"), Said::new(1.0, 1.5, "כן")]
        } else {
            [Said::new(0.5, 0.9, "מדברת דנה"), Said::new(1.0, 1.8, "מהבנק")]
        };
        Reply::segments(Shape::OpenAi, said)
    });
    let two = request(vec![tone(2.0, 0.3), tone(2.0, 0.9)]);
    let recognised = engine.transcribe(two).await.unwrap();
    assert_eq!(
        heard(&recognised),
        [
            (0, 400, 1, "משרד שלום"),
            (500, 900, 0, "מדברת דנה"),
            (1_000, 1_800, 0, "מהבנק"),
            (1_000, 1_500, 1, "כן"),
        ]
    );
    assert_eq!((recognised.pieces, double.requests().len()), (1, 2));
}

#[tokio::test]
async fn silence_is_not_sent() {
    let (double, engine) = start().await;
    double.answers(Reply::says("תודה שצפיתם"));
    let noise = tone(3.0, 0.0005);
    for audio in [
        vec![],
        vec![vec![]],
        vec![vec![0.0; 50]],
        vec![noise],
        vec![tone(0.05, 0.5)],
    ] {
        let recognised = engine.transcribe(request(audio)).await.unwrap();
        assert_eq!((recognised.segments, recognised.pieces), (vec![], 1));
    }
    assert!(double.requests().is_empty());
    let recognised = engine
        .transcribe(request(vec![vec![0.0; 2 * SECOND], tone(2.0, 0.5)]))
        .await
        .unwrap();
    assert_eq!(heard(&recognised), [(0, 2_000, 1, "תודה שצפיתם")]);
    assert_eq!(double.requests().len(), 1);
}

#[tokio::test]
async fn a_long_recording_is_sent_in_pieces_two_at_once_and_its_times_are_joined() {
    let (double, engine) = start().await;
    let release = CancellationToken::new();
    let held = release.clone();
    double.script(move |asked| {
        let said = Said::new(1.0, 2.0, format!("{:.1}", asked.seconds()));
        Reply::segments(Shape::OpenAi, [said]).with(Fault::Held(held.clone()))
    });
    let request = minute();
    let audio = Arc::clone(&request.audio);
    let work = tokio::spawn(async move { engine.transcribe(request).await });
    // One that is on its way is counted before its body was read and kept.
    wait_for("two requests", async || {
        (double.in_flight() == 2 && double.requests().len() == 2).then_some(())
    })
    .await;
    release.cancel();
    let recognised = work.await.unwrap().unwrap();
    let pieces = crate::speech::pieces(&audio, Duration::from_secs(20)).unwrap();
    assert_eq!(recognised.pieces as usize, pieces.len());
    assert_eq!(double.requests().len(), pieces.len());
    assert!(pieces.len() >= 3);
    let wanted: Vec<_> = pieces
        .iter()
        .map(|piece| {
            let seconds = (piece.frames.end - piece.frames.start) as f64 / SECOND as f64;
            (piece.start_ms() + 1_000, format!("{seconds:.1}"))
        })
        .collect();
    let got: Vec<_> = recognised
        .segments
        .iter()
        .map(|segment| (segment.start_ms, segment.text.clone()))
        .collect();
    assert_eq!(got, wanted);
}

#[test]
fn a_piece_fits_into_what_servers_take() {
    let config = SpeechApiConfig::new("http://localhost/v1", None, "m");
    let bytes = config.piece_max.as_secs() * u64::from(SAMPLE_RATE_HZ) * 2;
    assert!(bytes < 24 << 20);
}

#[tokio::test]
async fn every_failure_has_its_class_and_costs_one_request() {
    use callfold_schema::event::FailureClassV2::*;
    let ok = || Reply::says("שלום");
    let late = Duration::from_millis(50);
    let secs = |secs| Some(Duration::from_secs(secs));
    let date = "Sun, 22 Nov 2026 10:00:30 GMT";
    let table = [
        ("400", Reply::status(400), PATIENCE, true, Refused, None),
        ("401", Reply::status(401), PATIENCE, true, Credentials, None),
        ("403", Reply::status(403), PATIENCE, true, Credentials, None),
        ("404", Reply::status(404), PATIENCE, true, NotFound, None),
        ("408", Reply::status(408), PATIENCE, false, Timeout, None),
        ("413", Reply::status(413), PATIENCE, true, Refused, None),
        ("429", Reply::status(429), PATIENCE, false, RateLimited, None),
        (
            "429 s",
            Reply::status(429).retry_after("7"),
            PATIENCE,
            false,
            RateLimited,
            secs(7),
        ),
        (
            "429 date",
            Reply::status(429).retry_after(date),
            PATIENCE,
            false,
            RateLimited,
            secs(30),
        ),
        ("500", Reply::status(500), PATIENCE, false, Unavailable, None),
        (
            "503 s",
            Reply::status(503).retry_after("2"),
            PATIENCE,
            false,
            Unavailable,
            secs(2),
        ),
        (
            "redirect",
            Reply::raw(302, "text/html", ""),
            PATIENCE,
            false,
            Invalid,
            None,
        ),
        ("page", Reply::page(), PATIENCE, false, Invalid, None),
        (
            "error in a 200",
            Reply::raw(200, "application/json", r#"{"error":"סוד"}"#),
            PATIENCE,
            false,
            Invalid,
            None,
        ),
        (
            "too much",
            Reply::says("א".repeat(ANSWER_BYTES_MAX)),
            PATIENCE,
            false,
            Invalid,
            None,
        ),
        ("half", ok().with(Fault::HalfBody), PATIENCE, false, Invalid, None),
        (
            "cut",
            ok().with(Fault::CutBeforeHead),
            PATIENCE,
            false,
            Network,
            None,
        ),
        (
            "cut in body",
            ok().with(Fault::CutInBody),
            PATIENCE,
            false,
            Network,
            None,
        ),
        ("hang", ok().with(Fault::Hang), late, false, Timeout, None),
        ("stall", ok().with(Fault::StallInBody), late, false, Timeout, None),
    ];
    for (name, reply, timeout, rejected, class, after) in table {
        let (double, _) = start().await;
        double.answers(reply);
        let engine = api(SpeechApiConfig {
            timeout,
            ..config(&double)
        });
        let error = engine.transcribe(short()).await.unwrap_err();
        let text = error.to_string();
        let got = match error {
            EngineError::Rejected { class, .. } => (true, class, None),
            EngineError::Unavailable { class, after, .. } => (false, class, after),
            EngineError::Cancelled => panic!("{name}: nobody cancelled"),
        };
        assert_eq!(got, (rejected, class, after), "{name}");
        assert!(text.contains("speech server"), "{name}: {text}");
        assert!(
            !text.contains("127.0.0.1") && !text.contains("סוד") && !text.contains("double"),
            "{text}"
        );
        assert_eq!(double.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_network_failure() {
    let (double, engine) = start().await;
    drop(double);
    let error = engine.transcribe(short()).await.unwrap_err();
    assert!(matches!(
        error,
        EngineError::Unavailable {
            class: FailureClass::Network,
            ..
        }
    ));
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_model_are_refused_as_openai_refuses_them() {
    let (double, engine) = start().await;
    double.require_key("sk-2");
    double.know_models(&["whisper-large-v3"]);
    let class = async || match engine.transcribe(short()).await.unwrap_err() {
        EngineError::Rejected { class, .. } => class,
        other => panic!("{other}"),
    };
    assert_eq!(class().await, FailureClass::Credentials);
    double.require_key("sk-1");
    assert_eq!(class().await, FailureClass::NotFound);
}

#[tokio::test]
async fn a_request_that_is_not_wanted_any_more_ends() {
    let (double, engine) = start().await;
    double.answers(Reply::says("שלום").with(Fault::Hang));
    let engine = Arc::new(engine);
    let request = short();
    let (asking, asked) = (Arc::clone(&engine), request.clone());
    let work = tokio::spawn(async move { asking.transcribe(asked).await });
    wait_for("the request", async || (double.in_flight() == 1).then_some(())).await;
    request.cancel.cancel();
    assert!(matches!(work.await.unwrap(), Err(EngineError::Cancelled)));
    wait_for("its end", async || (double.in_flight() == 0).then_some(())).await;
    // Cancelled before it began, it is not sent.
    assert!(matches!(
        engine.transcribe(request).await,
        Err(EngineError::Cancelled)
    ));
    assert_eq!(double.requests().len(), 1);
    let asking = Arc::clone(&engine);
    let work = tokio::spawn(async move { asking.transcribe(short()).await });
    wait_for("the next request", async || {
        (double.in_flight() == 1).then_some(())
    })
    .await;
    work.abort();
    wait_for("its end", async || (double.in_flight() == 0).then_some(())).await;
}

#[tokio::test]
async fn the_first_piece_that_fails_ends_the_others() {
    let (double, engine) = start().await;
    let first_came = CancellationToken::new();
    let came = first_came.clone();
    // Whichever comes first hangs; the other one fails when both are there.
    double.script(move |asked: &Asked| {
        if asked.number == 0 {
            came.cancel();
            return Reply::says("שלום").with(Fault::Hang);
        }
        Reply::status(503).with(Fault::Held(first_came.clone()))
    });
    let error = engine.transcribe(minute()).await.unwrap_err();
    assert_eq!(error.to_string(), "HTTP 503 from the speech server");
    assert_eq!(double.requests().len(), 2);
    wait_for("their end", async || (double.in_flight() == 0).then_some(())).await;
}

#[tokio::test]
async fn only_a_refused_key_keeps_the_engine_from_starting() {
    let scopes = r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.read."}}"#;
    for (name, reply, starts) in [
        ("listed", None, true),
        ("401", Some(Reply::status(401)), false),
        ("403", Some(Reply::status(403)), false),
        (
            "restricted key",
            Some(Reply::raw(403, "application/json", scopes)),
            true,
        ),
        ("404", Some(Reply::status(404)), true),
        ("503", Some(Reply::status(503)), true),
        ("page", Some(Reply::page()), true),
        (
            "other models",
            Some(Reply::raw(
                200,
                "application/json",
                r#"{"data":[{"id":"gpt-4o"}]}"#,
            )),
            true,
        ),
        ("cut", Some(Reply::status(200).with(Fault::CutInBody)), true),
        ("hang", Some(Reply::status(200).with(Fault::Hang)), true),
    ] {
        let (double, _) = start().await;
        if let Some(reply) = reply {
            double.answers_models(reply);
        }
        let engine = api(SpeechApiConfig {
            check_timeout: if name == "hang" {
                Duration::from_millis(50)
            } else {
                PATIENCE
            },
            ..config(&double)
        });
        let first = engine.prepare().await;
        match &first {
            Ok(()) => assert!(starts, "{name}"),
            Err(EngineError::Rejected { class, .. }) => {
                assert!(!starts, "{name}");
                assert_eq!(*class, FailureClass::Credentials);
            }
            Err(other) => panic!("{name}: {other}"),
        }
        // It is asked again only where it did not start.
        assert_eq!(engine.prepare().await.is_ok(), starts, "{name}");
        assert_eq!(double.models_asked(), if starts { 1 } else { 2 }, "{name}");
        assert!(double.requests().is_empty());
    }
    let (double, engine) = start().await;
    double.require_key("sk-2");
    assert!(matches!(
        engine.prepare().await,
        Err(EngineError::Rejected { .. })
    ));
    drop(double);
    engine.prepare().await.unwrap();
}

#[test]
fn a_list_of_models_counts_only_when_it_has_some() {
    for (list, lacking) in [
        (r#"{"data":[{"id":"whisper-1"},{"id":"b"}]}"#, false),
        (r#"{"data":[{"id":"b"}]}"#, true),
        (r#"{"data":[]}"#, false),
        (r#"{"data":[{"name":"b"}]}"#, false),
        (r#"["b"]"#, false),
        ("", false),
    ] {
        assert_eq!(lacks(list.as_bytes(), "whisper-1"), lacking, "{list}");
    }
}

#[test]
fn tags_become_the_two_letters_that_servers_know() {
    for (tag, wanted) in [
        ("he", "he"),
        ("he-IL", "he"),
        ("iw-IL", "he"),
        ("en_US", "en"),
        ("RU", "ru"),
        ("haw-US", "haw"),
    ] {
        assert_eq!(iso_639_1(tag), wanted);
    }
}

#[test]
fn a_prompt_is_bounded_and_holds_whole_phrases() {
    assert_eq!(prompt(&[]), None);
    assert_eq!(prompt(&[" ".to_owned()]), None);
    let long = "א".repeat(PROMPT_CHARS_MAX);
    let phrases: Vec<String> = std::iter::once(long)
        .chain((0..1_000).map(|at| format!("שם{at}")))
        .collect();
    let prompt = prompt(&phrases).unwrap();
    assert!(prompt.starts_with("שם0, שם1, "));
    assert!(prompt.chars().count() <= PROMPT_CHARS_MAX);
    let last = prompt.rsplit(", ").next().unwrap();
    assert!(phrases.iter().any(|phrase| phrase == last));
}

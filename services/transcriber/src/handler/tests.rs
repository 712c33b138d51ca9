#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use callfold_kit::blob::BlobConfig;
use callfold_kit::clock::{SystemClock, TestClock};
use callfold_kit::config::Settings;
use callfold_kit::health::Health;
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::stage::StagePolicy;
use callfold_kit::testing::{TestNats, all_records, publish, wait_for};
use callfold_schema::event::ReprocessRequested;
use callfold_schema::{CallSid, Key, NewEvent, PhoneNumber, Record, RecordingSid, Run, UnixMillis};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::whisper::{ModelSource, Whisper, WhisperOptions};
use crate::engine::{Engine, EngineError, Recognised, RecognisedSegment, Request};
use crate::wer::word_error_rate;
use crate::{Deps, TranscriberConfig, build_with};

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples")
}

/// An engine that is out of order.
struct Broken(FailureClass);

#[async_trait]
impl Engine for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn model(&self) -> String {
        "none".to_owned()
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        if request.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        Err(EngineError::Unavailable {
            class: self.0,
            text: "HTTP 503".to_owned(),
            after: None,
            source: None,
        })
    }
}

fn whisper() -> Arc<dyn Engine> {
    static ENGINE: LazyLock<Arc<Whisper>> =
        LazyLock::new(|| Arc::new(Whisper::new(ModelSource::Demo, WhisperOptions::default())));
    ENGINE.clone()
}

struct Setup {
    blobs: Blobs,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&BlobConfig::folder(&folder.path().join("recordings")).unwrap()).unwrap();
        Self { blobs, folder }
    }

    fn handler(&self, engines: Vec<Arc<dyn Engine>>) -> Handler {
        self.handler_at(UnixMillis(1), engines)
    }

    fn handler_at(&self, now: UnixMillis, engines: Vec<Arc<dyn Engine>>) -> Handler {
        Handler::new(HandlerParts {
            blobs: self.blobs.clone(),
            chain: Chain::new(engines),
            numbers: None,
            limits: RecordingLimits::default(),
            work_dir: None,
            clock: TestClock::at(now),
            metrics: Metrics::new(),
        })
    }

    async fn store(&self, key: &str, bytes: &[u8]) {
        let mut file = tempfile::tempfile_in(self.folder.path()).unwrap();
        file.write_all(bytes).unwrap();
        self.blobs.put(key, file).await.unwrap();
    }

    async fn store_sample(&self, key: &str, name: &str) {
        let file = std::fs::File::open(assets().join(name)).unwrap();
        self.blobs.put(key, file).await.unwrap();
    }
}

fn downloaded(blob_key: &str) -> NewEvent {
    let event = RecordingDownloaded {
        blob_key: blob_key.to_owned(),
        bytes: 1,
        sha256: "0".repeat(64),
        content_type: "audio/x-wav".to_owned(),
        duration_ms: 1,
        sample_rate_hz: 8_000,
        channels: 1,
        elapsed_ms: 1,
    };
    let key = Key::stage(RecordingSid::parse("RE1").unwrap(), Run::FIRST);
    NewEvent::new(CallSid::parse("CA1").unwrap(), key, UnixMillis(1), event)
}

fn job(event: NewEvent) -> Job {
    Job {
        call_sid: event.envelope.subject.call_sid.clone(),
        recording: RecordingSid::parse("RE1").unwrap(),
        run: Run::FIRST,
        request: None,
        attempt: 1,
        attempts_max: 8,
        accepted_at: UnixMillis(1),
        delivery: 1,
        cancel: CancellationToken::new(),
        record: Record {
            envelope: event.envelope,
            event: event.event,
        },
    }
}

#[tokio::test]
async fn a_message_becomes_a_transcript_after_an_engine_that_failed() {
    let setup = Setup::new();
    setup.store_sample("CA1/RE1-0.mp3", "message-1.mp3").await;
    let handler = setup.handler(vec![Arc::new(Broken(FailureClass::Unavailable)), whisper()]);
    let Outcome::Done(event) = handler.handle(&job(downloaded("CA1/RE1-0.mp3"))).await else {
        panic!("no answer");
    };
    let Event::TranscriptReady(transcript) = *event else {
        panic!("another event")
    };
    let reference = std::fs::read_to_string(assets().join("message-1.txt")).unwrap();
    assert!(word_error_rate(&reference, &transcript.text).rate() <= 0.1);
    assert_eq!(
        (transcript.engine.as_str(), transcript.model.as_str()),
        ("whisper", "ggml-micro-he")
    );
    assert_eq!(transcript.language, "he");
    assert_eq!(transcript.audio_ms, 11_392);
    let joined: Vec<&str> = transcript
        .segments
        .iter()
        .map(|segment| segment.text.as_str())
        .collect();
    assert_eq!(joined.join(" "), transcript.text);
    let [failed] = transcript.failed_engines.as_slice() else {
        panic!("one failure")
    };
    assert_eq!(
        (failed.engine.as_str(), failed.class, failed.text.as_str()),
        ("broken", FailureClass::Unavailable, "HTTP 503")
    );
    assert_eq!(failed.model, "none");
    assert!(transcript.pieces >= 1);
    assert!(
        transcript
            .segments
            .iter()
            .all(|segment| segment.speaker.is_none())
    );
    let counted = |engine, outcome| {
        let labels = [("stage", "transcribe"), ("engine", engine), ("outcome", outcome)];
        handler.parts.metrics.counted(CounterName::EngineCalls, &labels)
    };
    assert_eq!(
        (counted("broken", "unavailable"), counted("whisper", "done")),
        (1, 1)
    );
}

/// A job of a re-run that was asked for with an engine and a model.
fn again(event: NewEvent, engine: Option<&str>, model: Option<&str>) -> Job {
    let run = Run(1_795_341_600_000_123);
    let request = ReprocessRequested {
        run,
        from: Stage::Transcribe,
        by: "token".to_owned(),
        why: None,
        engine: engine.map(str::to_owned),
        model: model.map(str::to_owned),
        prompt: None,
        campaign: None,
        hold: false,
        inputs: Vec::new(),
    };
    Job {
        run,
        request: Some(Arc::new(request)),
        ..job(event)
    }
}

#[tokio::test]
async fn a_re_run_asks_the_engine_that_was_asked_for_and_no_other() {
    let setup = Setup::new();
    setup.store_sample("CA1/RE1-0.mp3", "message-1.mp3").await;
    let handler = setup.handler(vec![whisper(), Arc::new(Broken(FailureClass::Unavailable))]);
    let input = || downloaded("CA1/RE1-0.mp3");
    let Outcome::Done(event) = handler
        .handle(&again(input(), Some("whisper"), Some("ggml-micro-he")))
        .await
    else {
        panic!("no answer");
    };
    let Event::TranscriptReady(transcript) = *event else {
        panic!("another event")
    };
    assert_eq!(transcript.engine, "whisper");
    // The second of the chain, without help of the first.
    let outcome = handler.handle(&again(input(), Some("broken"), None)).await;
    assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
    // What is not there fails this run for good, and says what there is.
    for (engine, model, class) in [
        (Some("google"), None, FailureClass::NotFound),
        (Some("whisper"), Some("large"), FailureClass::NotFound),
        (None, Some("large"), FailureClass::NotAllowed),
    ] {
        match handler.handle(&again(input(), engine, model)).await {
            Outcome::Reject(failure) => assert_eq!(failure.class, class, "{}", failure.text),
            other => panic!("{other:?}"),
        }
    }
    // An engine for another stage is none of its business.
    let mut other = again(input(), Some("openai"), None);
    if let Some(request) = &mut other.request {
        Arc::make_mut(request).from = Stage::Summarize;
    }
    assert!(matches!(handler.handle(&other).await, Outcome::Done(_)));
}

#[tokio::test]
async fn a_model_that_the_engine_does_not_have_fails_its_run_and_rests_nothing() {
    /// Knows one model.
    struct Picky;
    #[async_trait]
    impl Engine for Picky {
        fn name(&self) -> &str {
            "picky"
        }
        fn model(&self) -> String {
            "own".to_owned()
        }
        fn may_have(&self, _: &str) -> bool {
            true
        }
        async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
            match request.model {
                None => Ok(Recognised {
                    language: "he".to_owned(),
                    model: self.model(),
                    pieces: 1,
                    segments: Vec::new(),
                }),
                Some(_) => Err(EngineError::Unavailable {
                    class: FailureClass::NotFound,
                    text: "there is no such model".to_owned(),
                    after: None,
                    source: None,
                }),
            }
        }
    }
    let setup = Setup::new();
    setup.store_sample("CA1/RE1-0.mp3", "message-1.mp3").await;
    let handler = setup.handler(vec![Arc::new(Picky)]);
    let input = || downloaded("CA1/RE1-0.mp3");
    for _ in 0..10 {
        let outcome = handler
            .handle(&again(input(), Some("picky"), Some("other")))
            .await;
        assert!(
            matches!(&outcome, Outcome::Reject(failure) if failure.class == FailureClass::NotFound),
            "{outcome:?}"
        );
    }
    assert!(matches!(handler.handle(&job(input())).await, Outcome::Done(_)));
}

#[tokio::test]
async fn a_re_run_may_ask_for_another_model_of_the_folder() {
    let setup = Setup::new();
    setup.store_sample("CA1/RE1-0.mp3", "message-1.mp3").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("ggml-other.bin"),
        include_bytes!("../../assets/ggml-micro-he.bin"),
    )
    .unwrap();
    std::fs::write(folder.path().join("ggml-torn.bin"), b"lmgg").unwrap();
    let engine = Whisper::new(ModelSource::Demo, WhisperOptions::default())
        .with_folder(Some(folder.path().to_owned()));
    let handler = setup.handler(vec![Arc::new(engine)]);
    let input = || downloaded("CA1/RE1-0.mp3");
    for model in ["ggml-other", "ggml-micro-he", "ggml-other"] {
        let outcome = handler
            .handle(&again(input(), Some("whisper"), Some(model)))
            .await;
        let Outcome::Done(event) = outcome else {
            panic!("{outcome:?}");
        };
        let Event::TranscriptReady(transcript) = *event else {
            panic!("another event")
        };
        assert_eq!(
            (transcript.model.as_str(), transcript.text.is_empty()),
            (model, false)
        );
    }
    for model in ["ggml-torn", "../ggml-other", "large"] {
        match handler
            .handle(&again(input(), Some("whisper"), Some(model)))
            .await
        {
            Outcome::Reject(failure) => {
                assert_eq!(failure.class, FailureClass::NotFound);
                assert!(failure.text.contains("but ggml-other"), "{}", failure.text);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_silent_recording_is_a_transcript_without_text() {
    let setup = Setup::new();
    setup.store_sample("s.wav", "silence.wav").await;
    let Outcome::Done(event) = setup
        .handler(vec![whisper()])
        .handle(&job(downloaded("s.wav")))
        .await
    else {
        panic!("no answer");
    };
    let Event::TranscriptReady(transcript) = *event else {
        panic!("another event")
    };
    assert_eq!(
        (
            transcript.text.as_str(),
            transcript.segments.len(),
            transcript.audio_ms
        ),
        ("", 0, 20_000)
    );
}

#[tokio::test]
async fn what_is_no_audio_is_rejected_and_what_is_not_there_retried() {
    let setup = Setup::new();
    setup.store("page.wav", b"<!DOCTYPE html><p>sign in").await;
    setup.store("empty.wav", b"").await;
    let handler = setup.handler(vec![Arc::new(Broken(FailureClass::Unavailable))]);
    for (key, text) in [
        ("page.wav", "not audio but a web page"),
        ("empty.wav", "the recording is empty"),
    ] {
        let outcome = handler.handle(&job(downloaded(key))).await;
        assert_eq!(
            outcome,
            Outcome::Reject(Failure::new(FailureClass::Invalid, text))
        );
    }
    let outcome = handler.handle(&job(downloaded("gone.wav"))).await;
    assert_eq!(outcome, storage("the recording is not in the store"));
}

#[tokio::test]
async fn engines_that_may_come_back_are_retried() {
    let setup = Setup::new();
    setup.store_sample("m.wav", "message-1.wav").await;
    let handler = setup.handler(vec![Arc::new(Broken(FailureClass::RateLimited))]);
    let outcome = handler.handle(&job(downloaded("m.wav"))).await;
    assert_eq!(
        outcome,
        Outcome::Retry(Failure::new(FailureClass::RateLimited, "broken: HTTP 503"))
    );
}

#[tokio::test]
async fn an_outage_of_all_engines_is_waited_for_uncounted_but_not_for_ever() {
    let setup = Setup::new();
    setup.store_sample("m.wav", "message-1.wav").await;
    let long = UnixMillis(i64::try_from(OUTAGE_MAX.as_millis()).unwrap() + 2);
    for (now, waits) in [(UnixMillis(2), true), (long, false)] {
        let engine = Arc::new(Broken(FailureClass::Credentials));
        let handler = setup.handler_at(now, vec![engine]);
        for text in ["broken: HTTP 503", "broken: resting for "] {
            match handler.handle(&job(downloaded("m.wav"))).await {
                Outcome::Waiting { text: told, after } if waits => {
                    assert!(told.starts_with(text), "{told}");
                    assert!(after > Duration::from_secs(500), "{after:?}");
                }
                Outcome::Retry(failure) if !waits => {
                    assert!(failure.text.starts_with(text), "{failure:?}");
                    assert!(failure.after > Some(Duration::from_secs(500)), "{failure:?}");
                }
                outcome => panic!("{outcome:?}"),
            }
        }
        let labels = [
            ("stage", "transcribe"),
            ("engine", "broken"),
            ("outcome", "credentials"),
        ];
        assert_eq!(
            handler.parts.metrics.counted(CounterName::EngineCalls, &labels),
            1
        );
    }
}

/// Hears a word on each channel.
struct BothSides;

#[async_trait]
impl Engine for BothSides {
    fn name(&self) -> &str {
        "both"
    }

    fn model(&self) -> String {
        "sides".to_owned()
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        let heard = |channel: u8| RecognisedSegment {
            start_ms: u64::from(channel) * 100,
            end_ms: u64::from(channel) * 100 + 50,
            channel,
            text: format!("channel {channel}"),
            confidence: Some(0.5),
        };
        Ok(Recognised {
            language: "he".to_owned(),
            model: self.model(),
            pieces: 3,
            segments: (0..request.audio.channel_count()).map(heard).collect(),
        })
    }
}

/// A second of silence in so many channels: WAV, 16 bit, 8 kHz.
fn wav(channels: u16) -> Vec<u8> {
    let data = vec![0_u8; 16_000 * usize::from(channels)];
    let mut wav = Vec::new();
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16_u32.to_le_bytes());
    wav.extend_from_slice(&1_u16.to_le_bytes());
    wav.extend_from_slice(&channels.to_le_bytes());
    wav.extend_from_slice(&8_000_u32.to_le_bytes());
    wav.extend_from_slice(&(16_000 * u32::from(channels)).to_le_bytes());
    wav.extend_from_slice(&(2 * channels).to_le_bytes());
    wav.extend_from_slice(&16_u16.to_le_bytes());
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&(data.len() as u32).to_le_bytes());
    wav.extend_from_slice(&data);
    wav
}

#[tokio::test]
async fn two_channels_are_the_caller_and_the_one_who_was_called() {
    let setup = Setup::new();
    let handler = setup.handler(vec![Arc::new(BothSides)]);
    for (channels, speakers) in [
        (1, vec![None]),
        (2, vec![Some(Speaker::Caller), Some(Speaker::Callee)]),
        (3, vec![None, None, None]),
    ] {
        let key = format!("{channels}.wav");
        setup.store(&key, &wav(channels)).await;
        let Outcome::Done(event) = handler.handle(&job(downloaded(&key))).await else {
            panic!("no answer");
        };
        let Event::TranscriptReady(transcript) = *event else {
            panic!("another event")
        };
        let told: Vec<_> = transcript
            .segments
            .iter()
            .map(|segment| segment.speaker)
            .collect();
        assert_eq!((told, transcript.pieces), (speakers, 3));
    }
}

#[tokio::test]
async fn a_recording_beyond_the_bounds_of_the_settings_is_rejected() {
    let setup = Setup::new();
    setup.store_sample("m.wav", "message-1.wav").await;
    for limits in [
        RecordingLimits {
            bytes_max: 1_000,
            ..RecordingLimits::default()
        },
        RecordingLimits {
            duration_max: Duration::from_secs(5),
            ..RecordingLimits::default()
        },
    ] {
        let handler = Handler::new(HandlerParts {
            limits,
            ..setup.handler(vec![Arc::new(BothSides)]).parts
        });
        let outcome = handler.handle(&job(downloaded("m.wav"))).await;
        assert!(
            matches!(&outcome, Outcome::Reject(failure) if failure.class == FailureClass::NotAllowed),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn without_a_model_a_recording_waits_and_a_stop_is_no_attempt() {
    let setup = Setup::new();
    setup.store_sample("m.wav", "message-1.wav").await;
    let outcome = setup.handler(Vec::new()).handle(&job(downloaded("m.wav"))).await;
    assert_eq!(
        outcome,
        Outcome::Waiting {
            text: "no speech model".to_owned(),
            after: NO_MODEL_DELAY
        }
    );
    let stopped = job(downloaded("m.wav"));
    stopped.cancel.cancel();
    for engine in [
        Arc::new(Broken(FailureClass::Unavailable)) as Arc<dyn Engine>,
        whisper(),
    ] {
        let outcome = setup.handler(vec![engine]).handle(&stopped).await;
        assert!(
            matches!(
                outcome,
                Outcome::Waiting {
                    after: STOPPED_DELAY,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_recording_is_not_fetched_while_all_engines_rest() {
    let setup = Setup::new();
    setup.store_sample("m.wav", "message-1.wav").await;
    let handler = setup.handler(vec![Arc::new(Broken(FailureClass::Credentials))]);
    handler.handle(&job(downloaded("m.wav"))).await;
    let outcome = handler.handle(&job(downloaded("gone.wav"))).await;
    assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
}

#[test]
fn as_long_as_the_number_is_not_known_no_engine_is_asked() {
    let outcome = unknown_number(CalledError::Timeout);
    assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
    // Asking again mends nothing for ever.
    let outcome = unknown_number(CalledError::Unreadable);
    assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
}

#[test]
fn engines_that_numbers_allow_alone_and_that_are_not_here_are_named() {
    let numbers = |engines: &[&str]| callfold_kit::numbers::NumberSettings {
        engines: engines.iter().map(|engine| (*engine).to_owned()).collect(),
        ..Default::default()
    };
    let book = |of_one: &[&str]| callfold_kit::numbers::Book {
        numbers: [(PhoneNumber("+97231111111".to_owned()), Arc::new(numbers(of_one)))].into(),
        ..Default::default()
    };
    let chain = Chain::new(vec![whisper()]);
    assert!(crate::absent(&book(&[]), &chain).is_empty());
    assert!(crate::absent(&book(&["google", "whisper"]), &chain).is_empty());
    let absent = crate::absent(&book(&["google", "openai"]), &chain);
    assert_eq!(Vec::from_iter(absent), ["google", "openai"]);
    let allowed: Arc<[String]> = Arc::new(["google".to_owned()]);
    assert!(matches!(
        no_engine(Some(&allowed)),
        Outcome::Waiting { text, .. } if text == "its number allows only engines that are not here: google"
    ));
}

#[tokio::test]
async fn a_torn_model_that_no_setting_names_does_not_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("torn.bin");
    std::fs::write(&path, b"lmgg and no more").unwrap();
    let source = ModelSource::File(path);
    for (setting, starts) in [(None, true), (Some("torn.bin".to_owned()), false)] {
        let whisper = Arc::new(Whisper::new(source.clone(), WhisperOptions::default()));
        let chain = Chain::new(vec![Arc::clone(&whisper) as Arc<dyn Engine>]);
        let choice = crate::ModelChoice {
            setting,
            ..crate::ModelChoice::default()
        };
        let prepared = crate::prepare(&chain, Some(&(Arc::clone(&whisper), choice))).await;
        match prepared {
            Ok(refused) => assert!(starts && refused.unwrap().contains("not complete")),
            Err(error) => assert!(!starts, "{error}"),
        }
        // Without a model recordings wait, and the watcher may bring one.
        assert_eq!(
            (whisper.source().is_none(), chain.is_empty(None)),
            (starts, starts)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stage_answers_a_downloaded_recording_in_the_stream() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let setup = Setup::new();
    setup.store_sample("CA1/RE1-0.wav", "message-3.wav").await;
    let (health, lifecycle) = (Health::new(), Lifecycle::new());
    let nothing = std::collections::BTreeMap::<String, String>::new();
    let config = TranscriberConfig::from_settings(&mut Settings::new(&nothing), None);
    let deps = Deps {
        bus: bus.clone(),
        blobs: setup.blobs.clone(),
        numbers: Numbers::none(),
        clock: Arc::new(SystemClock),
        metrics: Metrics::new(),
        health: health.clone(),
        gates: true,
    };
    let config = TranscriberConfig {
        policy: StagePolicy::with_slots(1),
        ..config
    };
    build_with(&config, Chain::new(vec![whisper()]), deps).run(&lifecycle);
    health.ready().await;
    let model = health.readiness().parts["speech-model"].reason.clone();
    assert_eq!(model.as_deref(), Some("whisper:ggml-micro-he"));
    let engines = health.readiness().parts["speech-engines"].reason.clone();
    assert_eq!(engines.as_deref(), Some("whisper working"));
    publish(&bus, &downloaded("CA1/RE1-0.wav")).await;
    let answer = wait_for("the transcript", async || {
        all_records(&bus)
            .await
            .into_iter()
            .find_map(|record| match record.event {
                Event::TranscriptReady(event) => Some((record.envelope, event)),
                _ => None,
            })
    })
    .await;
    assert_eq!(
        answer.0.subject.key,
        Key::stage(RecordingSid::parse("RE1").unwrap(), Run::FIRST)
    );
    let reference = std::fs::read_to_string(assets().join("message-3.txt")).unwrap();
    assert!(word_error_rate(&reference, &answer.1.text).rate() <= 0.1);
    lifecycle.stop();
    lifecycle.stopped(Duration::from_secs(30)).await.unwrap();
}

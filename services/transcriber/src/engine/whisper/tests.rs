#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::sync::LazyLock;

use callfold_kit::audio::{Limits, decode};

use super::*;
use crate::wer::{WordErrors, word_error_rate};

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples")
}

fn sample(name: &str) -> Arc<Audio16k> {
    Arc::new(Audio16k::from_pcm(decode(&assets().join(name), &Limits::default()).unwrap()).unwrap())
}

fn reference(name: &str) -> String {
    std::fs::read_to_string(assets().join(name)).unwrap()
}

/// One engine with one worker for all tests: several inferences at once would fight for the machine.
fn demo() -> Arc<Whisper> {
    static ENGINE: LazyLock<Arc<Whisper>> = LazyLock::new(|| {
        let options = WhisperOptions {
            workers: NonZeroUsize::MIN,
            ..WhisperOptions::default()
        };
        Arc::new(Whisper::new(ModelSource::Demo, options))
    });
    Arc::clone(&ENGINE)
}

async fn hear(engine: &Whisper, audio: Arc<Audio16k>) -> Recognised {
    engine.transcribe(audio, CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn the_sample_messages_are_recognised() {
    let engine = demo();
    for ending in ["wav", "mp3"] {
        let mut total = WordErrors::default();
        for n in 1..=6 {
            let audio = sample(&format!("message-{n}.{ending}"));
            let heard = hear(&engine, Arc::clone(&audio)).await;
            let errors = word_error_rate(&reference(&format!("message-{n}.txt")), &heard.text());
            println!("message-{n}.{ending}: {errors:?}, {:.2} %", 100.0 * errors.rate());
            total = total + errors;
            check_segments(&heard, &audio);
        }
        println!("all {ending}: {total:?}, {:.2} %", 100.0 * total.rate());
        assert_eq!(total.words, 116);
        // Plain whisper.cpp makes 4.31 % with this model.
        assert!(
            total.rate() <= 0.0431 + 0.05,
            "{ending}: {:.2} %",
            100.0 * total.rate()
        );
    }
}

fn check_segments(heard: &Recognised, audio: &Audio16k) {
    assert_eq!(heard.language, "he");
    assert!(heard.segments.len() > 1, "one segment a sentence");
    let mut free_from = 0;
    for segment in &heard.segments {
        assert!(segment.start_ms >= free_from && segment.end_ms > segment.start_ms);
        assert!(segment.end_ms <= audio.duration_ms());
        assert!((0.0..=1.0).contains(&segment.confidence.unwrap()));
        free_from = segment.end_ms;
    }
}

#[tokio::test]
async fn silence_has_no_text() {
    let engine = demo();
    for name in ["silence.wav", "silence.mp3"] {
        let heard = hear(&engine, sample(name)).await;
        assert_eq!(heard.segments.len(), 0, "{name}");
        assert_eq!(heard.text(), "");
    }
    for frames in [0, 1, 800, 16_000] {
        let heard = hear(&engine, Arc::new(Audio16k::from_samples(vec![vec![0.0; frames]]))).await;
        assert!(heard.segments.is_empty(), "{frames}");
    }
}

#[tokio::test]
async fn the_same_recording_always_gives_the_same_result() {
    let engine = demo();
    let first = hear(&engine, sample("message-2.wav")).await;
    hear(&engine, sample("message-5.wav")).await;
    let again = hear(&engine, sample("message-2.wav")).await;
    assert!(first == again);
}

#[tokio::test]
async fn channels_are_recognised_apart_and_merged_by_time() {
    let one = sample("message-1.wav");
    let two = sample("message-3.wav");
    let (mut left, mut right) = (one.channels()[0].clone(), two.channels()[0].clone());
    let frames = left.len().max(right.len());
    left.resize(frames, 0.0);
    right.resize(frames, 0.0);
    let heard = hear(&demo(), Arc::new(Audio16k::from_samples(vec![left, right]))).await;
    for (channel, name) in [(0, "message-1.txt"), (1, "message-3.txt")] {
        let said: Vec<&str> = heard
            .segments
            .iter()
            .filter(|s| s.channel == channel)
            .map(|s| s.text.as_str())
            .collect();
        let errors = word_error_rate(&reference(name), &said.join(" "));
        assert!(errors.rate() < 0.25, "channel {channel}: {errors:?}");
    }
    assert!(
        heard
            .segments
            .is_sorted_by_key(|segment| (segment.start_ms, segment.channel))
    );
}

/// Waits until whisper.cpp is computing.
async fn underway(abort: &Abort) {
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while abort.polls() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the inference did not begin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inference_stops_in_the_middle_when_it_is_cancelled() {
    let engine = demo();
    let cancel = CancellationToken::new();
    let abort = Arc::new(Abort::default());
    let job = tokio::spawn({
        let (engine, cancel, abort) = (Arc::clone(&engine), cancel.clone(), Arc::clone(&abort));
        async move { engine.run(sample("long-call.mp3"), cancel, abort).await }
    });
    underway(&abort).await;
    cancel.cancel();
    assert!(matches!(job.await.unwrap(), Err(EngineError::Cancelled)));
    // The engine works on.
    assert!(!hear(&engine, sample("message-1.wav")).await.segments.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inference_nobody_waits_for_stops_and_frees_its_slot() {
    let engine = demo();
    let abort = Arc::new(Abort::default());
    let job = tokio::spawn({
        let (engine, abort) = (Arc::clone(&engine), Arc::clone(&abort));
        async move {
            engine
                .run(sample("long-call.mp3"), CancellationToken::new(), abort)
                .await
        }
    });
    underway(&abort).await;
    job.abort();
    assert!(job.await.unwrap_err().is_cancelled());
    assert!(abort.is_raised());
    // The only slot comes back.
    assert!(!hear(&engine, sample("message-1.wav")).await.segments.is_empty());
}

#[tokio::test]
async fn a_job_that_waits_for_its_turn_can_be_cancelled() {
    let engine = Whisper::new(ModelSource::Demo, WhisperOptions::default());
    let all = engine.slots.available_permits() as u32;
    let taken = Arc::clone(&engine.slots).acquire_many_owned(all).await.unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let outcome = engine.transcribe(sample("message-1.wav"), cancel).await;
    assert!(matches!(outcome, Err(EngineError::Cancelled)));
    drop(taken);
}

#[tokio::test]
async fn a_call_longer_than_a_window_does_not_break_it() {
    let mut start = sample("long-call.mp3").channels()[0].clone();
    start.truncate(70 * SAMPLE_RATE_HZ as usize);
    let heard = hear(&demo(), Arc::new(Audio16k::from_samples(vec![start]))).await;
    assert!(!heard.segments.is_empty());
}

#[tokio::test]
async fn a_model_that_is_none_is_named() {
    let prepare = |path: &Path| {
        let engine = Whisper::new(ModelSource::File(path.to_owned()), WhisperOptions::default());
        async move { engine.prepare().await.unwrap_err().to_string() }
    };
    let missing = prepare(Path::new("/nowhere/ggml-small.bin")).await;
    assert_eq!(missing, "cannot read the speech model /nowhere/ggml-small.bin");
    let dir = std::env::temp_dir().join(format!("callfold-model-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("ggml-none.bin");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(b"<html>")
        .unwrap();
    assert!(
        prepare(&path)
            .await
            .ends_with("ggml-none.bin is not a ggml model for whisper.cpp")
    );
    std::fs::write(&path, &DEMO_MODEL[..1000]).unwrap();
    assert!(
        prepare(&path)
            .await
            .ends_with("ggml-none.bin is not complete; fetch it again")
    );
    std::fs::write(&path, &DEMO_MODEL[..DEMO_MODEL.len() - 1000]).unwrap();
    assert_eq!(
        prepare(&path).await,
        "whisper.cpp cannot load the model ggml-none"
    );
    std::fs::write(&path, DEMO_MODEL).unwrap();
    let engine = Whisper::new(ModelSource::File(path), WhisperOptions::default());
    engine.prepare().await.unwrap();
    assert_eq!(
        (engine.name(), engine.model(), engine.is_demonstration()),
        ("whisper", "ggml-none", false)
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn workers_and_threads_fit_the_machine() {
    for (cores, workers, threads) in [(1, 1, 1), (2, 1, 1), (4, 1, 3), (8, 1, 4), (9, 2, 4), (64, 15, 4)] {
        let options = WhisperOptions::for_cores(NonZeroUsize::new(cores).unwrap());
        assert_eq!(
            (options.workers.get(), options.threads.get()),
            (workers, threads),
            "{cores}"
        );
    }
    assert_eq!(ModelSource::from_setting("demo").model_name(), DEMO_MODEL_NAME);
    assert_eq!(
        ModelSource::from_setting("/m/ggml-large-v3.bin").model_name(),
        "ggml-large-v3"
    );
}

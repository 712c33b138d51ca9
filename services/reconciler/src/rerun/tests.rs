//! Against a real broker.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::health::Health;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::stage::{Job, Outcome, StageDeps, StageHandler, StagePolicy, run_stage};
use callfold_kit::testing::{TestNats, all_records, publish, wait_for};
use callfold_kit::{Bus, Metrics, SystemClock};
use callfold_schema::event::{
    CallErased, ErasureReason, FailureClass, LeadAction, LeadUpdated, RecordingDownloaded, RecordingReady,
    ReprocessRequested, RerunInput, TranscriptReady,
};
use callfold_schema::{
    CallSid, Event, EventKind, Key, NewEvent, RecordingSid, Run, Stage, Subject, UnixMillis,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::campaign::{Campaign, Campaigns, KEPT_MAX, Progress, Target, Wish};
use super::{run_campaigns, run_starter};

const RUN: Run = Run(1_795_341_600_000_123);

fn call(name: &str) -> CallSid {
    CallSid::parse(name).unwrap()
}

fn recording() -> RecordingSid {
    RecordingSid::parse("RE1").unwrap()
}

fn event(name: &str, key: Key, event: impl Into<Event>) -> NewEvent {
    NewEvent::new(call(name), key, UnixMillis(1_795_341_600_000), event)
}

fn ready(name: &str) -> NewEvent {
    let ready = RecordingReady {
        recording_sid: recording(),
        account_sid: String::new(),
        media_url: "https://media.invalid/RE1".to_owned(),
        duration_s: Some(24),
        channels: Some(1),
        source: None,
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    event(name, Key::recording(recording()), ready)
}

fn downloaded(name: &str) -> NewEvent {
    let downloaded = RecordingDownloaded {
        blob_key: format!("{name}/RE1-0.wav"),
        bytes: 44,
        sha256: "0".repeat(64),
        content_type: "audio/x-wav".to_owned(),
        duration_ms: 24_000,
        sample_rate_hz: 8_000,
        channels: 1,
        elapsed_ms: 5,
    };
    event(name, Key::stage(recording(), Run::FIRST), downloaded)
}

fn transcript() -> TranscriptReady {
    TranscriptReady {
        text: "שלום".to_owned(),
        segments: Vec::new(),
        language: "he".to_owned(),
        engine: "whisper".to_owned(),
        model: "test".to_owned(),
        failed_engines: Vec::new(),
        pieces: 1,
        audio_ms: 24_000,
        elapsed_ms: 5,
    }
}

fn asked(name: &str, from: Stage, corrected: Option<u64>) -> NewEvent {
    let request = ReprocessRequested {
        run: RUN,
        from,
        by: "token".to_owned(),
        why: None,
        engine: None,
        model: None,
        prompt: None,
        campaign: None,
        hold: false,
        inputs: vec![RerunInput {
            recording_sid: recording(),
            run: Run::FIRST,
            corrected,
        }],
    };
    event(name, Key::run(RUN), request)
}

/// Something of the reconciler's at work.
struct Running {
    soft: CancellationToken,
    task: JoinHandle<Result<(), BoxError>>,
}

fn deps(soft: &CancellationToken, hard: &CancellationToken) -> StageDeps {
    StageDeps {
        clock: Arc::new(SystemClock),
        metrics: Metrics::new(),
        health: Health::new().part("test", false),
        soft: soft.clone(),
        hard: hard.clone(),
    }
}

impl Running {
    fn start<F>(run: impl FnOnce(StageDeps) -> F) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let soft = CancellationToken::new();
        let task = tokio::spawn(run(deps(&soft, &CancellationToken::new())));
        Self { soft, task }
    }

    async fn stop(self) {
        self.soft.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As a kill does: nothing is told any more.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn found(bus: &Bus, name: &str, kind: EventKind, key: Key) -> Event {
    let subject = Subject::new(call(name), kind, key);
    wait_for("the event", async || {
        let found = bus.find(&subject).await.ok().flatten();
        found.map(|found| found.decode().unwrap().event)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_becomes_the_input_of_its_first_stage() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    for name in ["CA1", "CA2", "CA3", "CA4"] {
        publish(&bus, &ready(name)).await;
        publish(&bus, &downloaded(name)).await;
    }
    for name in ["CA3", "CA4"] {
        publish(
            &bus,
            &event(name, Key::stage(recording(), Run::FIRST), transcript()),
        )
        .await;
    }
    let update = LeadUpdated {
        revision: 1,
        by: "session".to_owned(),
        action: LeadAction::Transcript {
            recording_sid: recording(),
            text: Some("שלום לכם".to_owned()),
        },
        request: None,
    };
    publish(&bus, &event("CA4", Key::revision(1), update)).await;
    publish(&bus, &asked("CA1", Stage::Download, None)).await;
    publish(&bus, &asked("CA2", Stage::Transcribe, None)).await;
    publish(&bus, &asked("CA3", Stage::Summarize, None)).await;
    publish(&bus, &asked("CA4", Stage::Summarize, Some(1))).await;
    let starter = Running::start(|deps| run_starter(bus.clone(), deps));

    let again = || Key::stage(recording(), RUN);
    let order = found(&bus, "CA1", EventKind::RecordingReady, again()).await;
    assert_eq!(order, ready("CA1").event);
    let blob = found(&bus, "CA2", EventKind::RecordingDownloaded, again()).await;
    assert_eq!(blob, downloaded("CA2").event);
    let heard = found(&bus, "CA3", EventKind::TranscriptReady, again()).await;
    assert_eq!(heard, transcript().into());
    let Event::TranscriptReady(written) = found(&bus, "CA4", EventKind::TranscriptReady, again()).await
    else {
        panic!("not a transcript");
    };
    assert_eq!(
        (written.text.as_str(), written.engine.as_str()),
        ("שלום לכם", "person")
    );
    // It travels behind new calls, and says what led to it.
    let records = all_records(&bus).await;
    let copy = records
        .iter()
        .find(|record| {
            record.envelope.subject.to_string() == format!("calls.CA2.recording_downloaded.again.RE1-{RUN}")
        })
        .unwrap();
    assert_eq!(
        copy.envelope.cause.as_deref(),
        Some(format!("calls.CA2.reprocess_requested.again.{RUN}").as_str())
    );
    starter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_run_without_an_input_fails_for_good_and_one_of_an_erased_call_leaves_nothing() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let erased = CallErased {
        by: "session".to_owned(),
        why: ErasureReason::Request,
    };
    publish(&bus, &event("CAgone", Key::single(), erased)).await;
    publish(&bus, &asked("CAgone", Stage::Transcribe, None)).await;
    publish(&bus, &asked("CA1", Stage::Transcribe, None)).await;
    let starter = Running::start(|deps| run_starter(bus.clone(), deps));
    let key = Key::failure(recording(), RUN, Stage::Transcribe, 1);
    let Event::StageFailed(failed) = found(&bus, "CA1", EventKind::StageFailed, key).await else {
        panic!("not a failure");
    };
    assert_eq!(
        (failed.class, failed.next_attempt_at),
        (FailureClass::NotFound, None)
    );
    // Requests are dealt with in order: the one before left nothing.
    assert_eq!(bus.stream_state().await.unwrap().messages, 4);
    starter.stop().await;
}

fn campaign(id: &str, total: u64, rate: f64) -> Campaign {
    Campaign {
        id: id.to_owned(),
        run: RUN,
        created_at: UnixMillis(1_795_341_600_000),
        by: "cli".to_owned(),
        why: Some("a better model".to_owned()),
        from: Stage::Transcribe,
        engine: Some("whisper".to_owned()),
        model: None,
        prompt: None,
        hold: true,
        selection: "all".to_owned(),
        rate,
        total,
        wish: Wish::Running,
    }
}

fn targets(count: usize) -> Vec<Target> {
    let target = |n| Target {
        call_sid: call(&format!("CA{n:04}")),
        inputs: vec![RerunInput {
            recording_sid: recording(),
            run: Run::FIRST,
            corrected: None,
        }],
    };
    (0..count).map(target).collect()
}

async fn requested(bus: &Bus) -> u64 {
    bus.stream_state().await.unwrap().messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_survives_a_kill_and_asks_for_each_call_once() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let campaigns = Campaigns::open(&bus).await.unwrap();
    // More than one part.
    campaigns
        .create(&campaign("c1", 620, 400.0), &targets(620))
        .await
        .unwrap();
    let runner = Running::start(|deps| run_campaigns(bus.clone(), deps));
    wait_for("some requests", async || {
        (requested(&bus).await >= 100).then_some(())
    })
    .await;
    runner.kill().await;
    assert!(requested(&bus).await < 620);
    assert!(!campaigns.progress("c1").await.unwrap().done);

    let runner = Running::start(|deps| run_campaigns(bus.clone(), deps));
    wait_for("the end", async || {
        campaigns.progress("c1").await.unwrap().done.then_some(())
    })
    .await;
    assert_eq!(requested(&bus).await, 620);
    let records = all_records(&bus).await;
    let Event::ReprocessRequested(first) = &records[0].event else {
        panic!("not a request");
    };
    assert_eq!(
        (first.campaign.as_deref(), first.hold, first.run),
        (Some("c1"), true, RUN)
    );
    let progress = campaigns.progress("c1").await.unwrap();
    assert_eq!((progress.requested, progress.done), (620, true));
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_has_one_runner_until_that_one_is_silent() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let campaigns = Campaigns::open(&bus).await.unwrap();
    campaigns
        .create(&campaign("c1", 5, 1.0), &targets(5))
        .await
        .unwrap();
    let at = |s: i64| UnixMillis(1_795_341_600_000 + s * 1_000);
    let take = async |runner, now| campaigns.take("c1", runner, now).await.unwrap();
    let (mut progress, mut first) = take(1, at(0)).await.unwrap();
    progress.requested = 2;
    assert!(take(2, at(9)).await.is_none());
    assert!(campaigns.note("c1", &mut first, &progress, at(9)).await.unwrap());
    assert!(take(2, at(18)).await.is_none());
    // Silent for longer than it may be: the next one goes on where it was, and it finds out.
    let (taken, second) = take(2, at(20)).await.unwrap();
    assert_eq!(taken.requested, 2);
    assert!(!campaigns.note("c1", &mut first, &progress, at(20)).await.unwrap());
    // Let go, it is anybody's at once; and nobody's when it is done.
    campaigns.let_go("c1", second, &taken).await.unwrap();
    let (progress, third) = take(3, at(20)).await.unwrap();
    let done = Progress {
        done: true,
        ..progress
    };
    campaigns.let_go("c1", third, &done).await.unwrap();
    assert!(take(1, at(100)).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_campaigns_that_are_over_are_forgotten() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let campaigns = Campaigns::open(&bus).await.unwrap();
    for n in 0..=KEPT_MAX {
        let mut old = campaign(&format!("c{n:04}"), 1, 1.0);
        old.wish = if n == 0 { Wish::Paused } else { Wish::Aborted };
        campaigns.create(&old, &targets(1)).await.unwrap();
    }
    let kept = campaigns.list().await.unwrap();
    assert_eq!(kept.len(), KEPT_MAX);
    // The first one may yet be gone on with.
    assert_eq!((kept[0].id.as_str(), kept[1].id.as_str()), ("c0000", "c0002"));
    assert!(campaigns.part("c0001", 0).await.unwrap().is_empty());
    assert_eq!(campaigns.part("c0002", 0).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_paused_resumed_and_aborted_and_one_runs_at_a_time() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let campaigns = Campaigns::open(&bus).await.unwrap();
    let mut second = campaign("c2", 5, 1_000.0);
    second.run = Run(RUN.0 + 1);
    campaigns
        .create(&campaign("c1", 500, 50.0), &targets(500))
        .await
        .unwrap();
    campaigns.create(&second, &targets(5)).await.unwrap();
    assert!(
        campaigns.create(&second, &[]).await.is_err(),
        "an id is taken once"
    );
    let runner = Running::start(|deps| run_campaigns(bus.clone(), deps));
    wait_for("requests of the first", async || {
        (requested(&bus).await >= 10).then_some(())
    })
    .await;
    assert!(
        !campaigns.progress("c2").await.unwrap().done,
        "the second waits for the first"
    );
    assert!(campaigns.wish("c1", Wish::Paused).await.unwrap());
    wait_for("the second, while the first is paused", async || {
        campaigns.progress("c2").await.unwrap().done.then_some(())
    })
    .await;
    let paused = campaigns.progress("c1").await.unwrap().requested;
    assert_eq!(requested(&bus).await, paused + 5);
    assert!(campaigns.wish("c1", Wish::Running).await.unwrap());
    wait_for("it to go on", async || {
        (requested(&bus).await > paused + 5).then_some(())
    })
    .await;
    assert!(campaigns.wish("c1", Wish::Aborted).await.unwrap());
    assert!(!campaigns.wish("c3", Wish::Aborted).await.unwrap());
    runner.stop().await;
    let states: Vec<&str> = {
        let mut states = Vec::new();
        for campaign in campaigns.list().await.unwrap() {
            states.push(campaign.state(&campaigns.progress(&campaign.id).await.unwrap()));
        }
        states
    };
    assert_eq!(states, ["aborted", "done"]);
}

/// A stage that notes nothing and answers when it may.
struct Gated {
    gate: Arc<Semaphore>,
}

#[async_trait]
impl StageHandler for Gated {
    fn stage(&self) -> Stage {
        Stage::Transcribe
    }

    async fn handle(&self, job: &Job) -> Outcome {
        let wished = job.request.as_ref().map(|request| request.run);
        assert_eq!(
            wished,
            (job.run != Run::FIRST).then_some(job.run),
            "each re-run knows its request"
        );
        self.gate.acquire().await.unwrap().forget();
        Outcome::done(transcript())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_queued_re_runs_stand_behind_a_new_call() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    for n in 0..500 {
        publish(&bus, &downloaded(&format!("CA{n:04}"))).await;
    }
    let gate = Arc::new(Semaphore::new(0));
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let handler = Arc::new(Gated {
        gate: Arc::clone(&gate),
    });
    let policy = StagePolicy {
        ack_wait: Duration::from_secs(30),
        ..StagePolicy::with_slots(1)
    };
    let stage = tokio::spawn(run_stage(bus.clone(), handler, policy, deps(&soft, &hard)));
    gate.add_permits(500);
    wait_for("the first runs", async || {
        (requested(&bus).await == 1_000).then_some(())
    })
    .await;

    let campaigns = Campaigns::open(&bus).await.unwrap();
    campaigns
        .create(&campaign("c1", 500, 1_000.0), &targets(500))
        .await
        .unwrap();
    let runner = Running::start(|deps| run_campaigns(bus.clone(), deps));
    let starter = Running::start(|deps| run_starter(bus.clone(), deps));
    // 500 requests and 500 inputs; the stage has one of them in hand.
    wait_for("all to be queued", async || {
        (requested(&bus).await == 2_000).then_some(())
    })
    .await;
    let position = publish(&bus, &downloaded("CAnew")).await;
    gate.add_permits(501);
    let answer = Subject::new(
        call("CAnew"),
        EventKind::TranscriptReady,
        Key::stage(recording(), Run::FIRST),
    );
    let answered = wait_for("the new call", async || bus.find(&answer).await.ok().flatten()).await;
    wait_for("the re-runs", async || {
        (requested(&bus).await == 2_502).then_some(())
    })
    .await;
    let before = answered.position - position - 1;
    assert!(before <= 1, "the one in hand goes first and no other: {before}");
    runner.stop().await;
    starter.stop().await;
    soft.cancel();
    stage.await.unwrap().unwrap();
}

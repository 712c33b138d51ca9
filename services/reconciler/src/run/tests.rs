//! Against a real broker, with a clock that the test moves.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::Arc;

use callfold_kit::clock::TestClock;
use callfold_kit::health::Health;
use callfold_kit::metric::Metrics;
use callfold_kit::testing::{TestNats, all_records, publish, wait_for};
use callfold_schema::event::{CallEnded, MissingReason, RecordingReady, RecordingStarted};
use callfold_schema::{CallSid, Event, RecordingSid};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

struct Running {
    clock: Arc<TestClock>,
    metrics: Metrics,
    soft: CancellationToken,
    task: JoinHandle<Result<(), BoxError>>,
}

async fn start(nats: &TestNats, now: UnixMillis) -> Running {
    start_with(nats, now, ReconcilerConfig::default()).await
}

async fn start_with(nats: &TestNats, now: UnixMillis, config: ReconcilerConfig) -> Running {
    let clock = TestClock::at(now);
    let (metrics, soft) = (Metrics::new(), CancellationToken::new());
    let deps = StageDeps {
        clock: clock.clone(),
        metrics: metrics.clone(),
        health: Health::new().part("reconciler", false),
        soft: soft.clone(),
        hard: CancellationToken::new(),
    };
    let task = tokio::spawn(run(nats.bus().await, config, deps));
    Running {
        clock,
        metrics,
        soft,
        task,
    }
}

impl Running {
    /// How many calls owe a recording, as the metric says it; `None` before anything was read.
    fn open(&self) -> Option<f64> {
        let text = self.metrics.render();
        let line = text
            .lines()
            .find(|line| line.starts_with("callfold_open_calls"))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    async fn stop(self) {
        self.soft.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn ended(call_sid: &str, time: UnixMillis) -> NewEvent {
    let event = CallEnded {
        status: "completed".to_owned(),
        duration_s: Some(3),
        ended_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    NewEvent::new(CallSid::parse(call_sid).unwrap(), Key::single(), time, event)
}

fn recording(call_sid: &str, sid: &str, time: UnixMillis) -> NewEvent {
    let recording_sid = RecordingSid::parse(sid).unwrap();
    let key = Key::recording(recording_sid.clone());
    let event = RecordingStarted {
        recording_sid,
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    NewEvent::new(CallSid::parse(call_sid).unwrap(), key, time, event)
}

fn ready(call_sid: &str, sid: &str, time: UnixMillis) -> NewEvent {
    let recording_sid = RecordingSid::parse(sid).unwrap();
    let key = Key::recording(recording_sid.clone());
    let event = RecordingReady {
        recording_sid,
        account_sid: String::new(),
        media_url: String::new(),
        duration_s: None,
        channels: None,
        source: None,
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    NewEvent::new(CallSid::parse(call_sid).unwrap(), key, time, event)
}

/// The subjects of all `recording_missing` events, once there are so many.
async fn told(bus: &Bus, count: usize) -> Vec<String> {
    let mut subjects = wait_for("missing recordings to be told", async || {
        let subjects: Vec<String> = all_records(bus)
            .await
            .iter()
            .filter(|record| matches!(record.event, Event::RecordingMissing(_)))
            .map(|record| record.envelope.subject.to_string())
            .collect();
        (subjects.len() >= count).then_some(subjects)
    })
    .await;
    subjects.sort();
    subjects
}

/// The broker's clock decides how far back is read, so the test's clock starts at the machine's.
fn now() -> UnixMillis {
    callfold_kit::Clock::now(&callfold_kit::SystemClock)
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_pass_while_it_runs_and_while_it_does_not() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let began = now();
    let running = start(&nats, began).await;
    publish(&bus, &ended("CA1", began)).await;
    publish(&bus, &recording("CA2", "RE2", began)).await;
    publish(&bus, &ended("CA2", began)).await;
    publish(&bus, &recording("CA3", "RE3", began)).await;
    publish(&bus, &ended("CA3", began)).await;
    publish(&bus, &ready("CA3", "RE3", began)).await;
    wait_for("all calls to be read", async || {
        (running.open() == Some(2.0)).then_some(())
    })
    .await;
    running.clock.advance_ms(300_000);
    let expected = [
        "calls.CA1.recording_missing.new.0-never_left-reconciled",
        "calls.CA2.recording_missing.new.RE2-deadline_passed-reconciled",
    ];
    assert_eq!(told(&bus, 2).await, expected);
    let records = all_records(&bus).await;
    let missing = records
        .iter()
        .find(|record| record.envelope.subject.to_string() == expected[0])
        .unwrap();
    assert_eq!(
        missing.envelope.cause.as_deref(),
        Some("calls.CA1.call_ended.new.0")
    );
    assert_eq!(missing.envelope.time, UnixMillis(began.0 + 300_000));
    wait_for("both to be settled", async || {
        (running.open() == Some(0.0)).then_some(())
    })
    .await;
    assert_eq!(
        running
            .metrics
            .counted(CounterName::RecordingsMissing, &[("reason", "never_left")]),
        1
    );
    running.stop().await;

    // Stopped: another call ends. Two are started long after: both know everything, one tells it.
    publish(&bus, &ended("CA4", began)).await;
    let later = UnixMillis(began.0 + 3_600_000);
    let (one, two) = (start(&nats, later).await, start(&nats, later).await);
    let subjects = told(&bus, 3).await;
    assert_eq!(subjects.len(), 3);
    assert_eq!(
        subjects[2],
        "calls.CA4.recording_missing.new.0-never_left-reconciled"
    );
    wait_for("both to have settled it", async || {
        (one.open() == Some(0.0) && two.open() == Some(0.0)).then_some(())
    })
    .await;
    let labels = [("reason", MissingReason::NeverLeft.token())];
    let counted = |running: &Running| running.metrics.counted(CounterName::RecordingsMissing, &labels);
    assert_eq!(counted(&one) + counted(&two), 1);
    assert_eq!(told(&bus, 3).await.len(), 3);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_recording_further_on_in_the_stream_is_not_told_missing() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let began = now();
    let long_ago = UnixMillis(began.0 - 3_600_000);
    for index in 0..300 {
        publish(&bus, &ended(&format!("CA{index}"), long_ago)).await;
    }
    for index in 0..300 {
        publish(
            &bus,
            &ready(&format!("CA{index}"), &format!("RE{index}"), long_ago),
        )
        .await;
    }
    publish(&bus, &ended("CAlast", long_ago)).await;
    // Event by event, so that the clock gets its turns while the stream is read.
    let config = ReconcilerConfig {
        batch_events: 1,
        ..ReconcilerConfig::default()
    };
    let running = start_with(&nats, began, config).await;
    assert_eq!(
        told(&bus, 1).await,
        ["calls.CAlast.recording_missing.new.0-never_left-reconciled"]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_a_broker_that_dies() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let began = now();
    let running = start(&nats, began).await;
    publish(&bus, &ended("CA1", began)).await;
    wait_for("the call to be read", async || {
        (running.open() == Some(1.0)).then_some(())
    })
    .await;
    nats.broker().kill_and_hold().await;
    running.clock.advance_ms(300_000);
    nats.broker().resume().await;
    assert_eq!(
        told(&bus, 1).await,
        ["calls.CA1.recording_missing.new.0-never_left-reconciled"]
    );
    running.stop().await;
}

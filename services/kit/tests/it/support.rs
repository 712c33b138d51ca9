//! Events, scripted handlers and a view behind the kit's back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use async_trait::async_trait;
use callfold_kit::backoff::Backoff;
use callfold_kit::bus::{Bus, BusConfig, Published};
use callfold_kit::clock::{Clock, SharedClock, SystemClock, TestClock};
use callfold_kit::health::Health;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::metric::Metrics;
use callfold_kit::stage::{Job, Outcome, StageDeps, StageHandler, StagePolicy, run_stage};
use callfold_kit::testing::{PATIENCE, TestNats, wait_for};
use callfold_schema::event::{
    CallEnded, RecordingDownloaded, RecordingReady, StageFailed, SummaryReady, TranscriptReady,
};
use callfold_schema::{
    CallSid, Event, EventKind, Key, NewEvent, RecordingSid, Run, Stage, Subject, UnixMillis,
};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Enough for a broker that works.
pub(crate) const WAIT: Duration = Duration::from_secs(10);

pub(crate) fn call(name: &str) -> CallSid {
    CallSid::parse(name).unwrap()
}

/// Every call has one recording here, of this name.
pub(crate) fn recording() -> RecordingSid {
    RecordingSid::parse("RE1").unwrap()
}

pub(crate) fn now() -> UnixMillis {
    SystemClock.now()
}

/// A small fact of which a call has one.
pub(crate) fn ended(name: &str) -> NewEvent {
    let event = CallEnded {
        status: "completed".to_owned(),
        duration_s: Some(31),
        ended_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    NewEvent::new(call(name), Key::single(), now(), event)
}

/// Work for the stage `download`.
pub(crate) fn ready(name: &str) -> NewEvent {
    let event = RecordingReady {
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
    NewEvent::new(call(name), Key::recording(recording()), now(), event)
}

/// Work for the stage `transcribe`.
pub(crate) fn downloaded(name: &str, run: Run) -> NewEvent {
    NewEvent::new(
        call(name),
        Key::stage(recording(), run),
        now(),
        answer_of(Stage::Download),
    )
}

pub(crate) fn answer_of(stage: Stage) -> Event {
    match stage {
        Stage::Download => RecordingDownloaded {
            blob_key: "CA1/RE1-0.wav".to_owned(),
            bytes: 44,
            sha256: "0".repeat(64),
            content_type: "audio/x-wav".to_owned(),
            duration_ms: 24_000,
            sample_rate_hz: 8_000,
            channels: 1,
            elapsed_ms: 5,
        }
        .into(),
        Stage::Transcribe => TranscriptReady {
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
        .into(),
        Stage::Summarize => SummaryReady {
            title: "שלום".to_owned(),
            points: Vec::new(),
            text: "שלום".to_owned(),
            caller_name: None,
            callback_number: None,
            topic: None,
            urgency: None,
            engine: "extractive".to_owned(),
            model: String::new(),
            prompt_version: 1,
            failed_engines: Vec::new(),
            parts: 1,
            tries: 0,
            tokens_in: None,
            tokens_out: None,
            elapsed_ms: 5,
        }
        .into(),
    }
}

/// Publishes many at once and waits until all are recorded.
pub(crate) async fn publish_all(bus: &Bus, events: Vec<NewEvent>) {
    futures::stream::iter(events)
        .map(|event| async move { bus.publish(&event, WAIT).await })
        .buffer_unordered(128)
        .try_for_each(|published| async move {
            assert!(matches!(published, Published::Recorded { .. }));
            Ok(())
        })
        .await
        .unwrap();
}

/// What one start of a handler was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) call: String,
    pub(crate) run: Run,
    pub(crate) attempt: u32,
}

type Work = Box<dyn Fn(Job) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A handler that does as the test says and notes what it was given, in order.
pub(crate) struct Scripted {
    stage: Stage,
    work: Work,
    begun: Mutex<Vec<Begun>>,
}

impl Scripted {
    pub(crate) fn new<F>(stage: Stage, work: impl Fn(Job) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Arc::new(Self {
            stage,
            work: Box::new(move |job| Box::pin(work(job))),
            begun: Mutex::default(),
        })
    }

    /// Answers every message.
    pub(crate) fn done(stage: Stage) -> Arc<Self> {
        Self::new(stage, move |_| async move { Outcome::done(answer_of(stage)) })
    }

    /// Never ends.
    pub(crate) fn stuck(stage: Stage) -> Arc<Self> {
        Self::new(stage, |_| std::future::pending())
    }

    pub(crate) fn begun(&self) -> Vec<Begun> {
        self.begun.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for_begun(&self, count: usize) {
        wait_for("the handler to begin", async || {
            (self.begun.lock().unwrap().len() >= count).then_some(())
        })
        .await;
    }
}

#[async_trait]
impl StageHandler for Scripted {
    fn stage(&self) -> Stage {
        self.stage
    }

    async fn handle(&self, job: &Job) -> Outcome {
        let begun = Begun {
            call: job.call_sid.to_string(),
            run: job.run,
            attempt: job.attempt,
        };
        self.begun.lock().unwrap().push(begun);
        (self.work)(job.clone()).await
    }
}

/// So many slots, three attempts, retries at once.
pub(crate) fn policy(slots: usize) -> StagePolicy {
    let millisecond = Duration::from_millis(1);
    StagePolicy {
        attempts_max: 3,
        backoff: Backoff {
            base: millisecond,
            max: millisecond,
            factor: 1.0,
            jitter: 0.0,
        },
        ..StagePolicy::with_slots(slots)
    }
}

/// The same, but the server takes a worker for lost after a second.
pub(crate) fn impatient(slots: usize) -> StagePolicy {
    StagePolicy {
        ack_wait: Duration::from_secs(1),
        ..policy(slots)
    }
}

/// A stage at work.
pub(crate) struct Running {
    pub(crate) soft: CancellationToken,
    pub(crate) hard: CancellationToken,
    pub(crate) health: Health,
    task: JoinHandle<Result<(), BoxError>>,
}

impl Running {
    pub(crate) fn start(bus: &Bus, handler: &Arc<Scripted>, policy: StagePolicy) -> Self {
        Self::start_at(bus, handler, policy, Arc::new(SystemClock))
    }

    pub(crate) fn start_at(
        bus: &Bus,
        handler: &Arc<Scripted>,
        policy: StagePolicy,
        clock: SharedClock,
    ) -> Self {
        let (soft, hard, health) = (CancellationToken::new(), CancellationToken::new(), Health::new());
        let deps = StageDeps {
            clock,
            metrics: Metrics::new(),
            health: health.part("stage", true),
            soft: soft.clone(),
            hard: hard.clone(),
        };
        let handler: Arc<dyn StageHandler> = Arc::<Scripted>::clone(handler);
        let task = tokio::spawn(run_stage(bus.clone(), handler, policy, deps));
        Self {
            soft,
            hard,
            health,
            task,
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Result<(), BoxError> {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the stage ends")
            .unwrap()
    }

    /// Lets it finish what is in hand.
    pub(crate) async fn stop(self) {
        self.soft.cancel();
        self.ended().await.unwrap();
    }

    /// As a crash does: nothing is handed back, nothing is acknowledged.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// JetStream without the kit.
pub(crate) async fn raw(nats: &TestNats) -> jetstream::Context {
    callfold_kit::http::install_tls();
    let url = url::Url::parse(&nats.url()).unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(
        url.username().to_owned(),
        url.password().unwrap().to_owned(),
    );
    jetstream::new(
        options
            .connect(format!("127.0.0.1:{}", nats.broker().port()))
            .await
            .unwrap(),
    )
}

/// A consumer's own account.
pub(crate) async fn consumer_info(nats: &TestNats, name: &str) -> jetstream::consumer::Info {
    let consumer: jetstream::consumer::PullConsumer = raw(nats)
        .await
        .get_consumer_from_stream(name, "CALLS")
        .await
        .unwrap();
    consumer.cached_info().clone()
}

/// Waits until nothing is left to deliver or to acknowledge but `open` messages.
pub(crate) async fn settled(nats: &TestNats, name: &str, open: usize) {
    wait_for("the consumer to be settled", async || {
        let info = consumer_info(nats, name).await;
        (info.num_pending == 0 && info.num_ack_pending == open).then_some(())
    })
    .await;
}

pub(crate) fn answer_subject(stage: Stage, name: &str, run: Run) -> Subject {
    Subject::new(call(name), stage.output(), Key::stage(recording(), run))
}

pub(crate) async fn wait_for_answer(bus: &Bus, stage: Stage, name: &str, run: Run) {
    let subject = answer_subject(stage, name, run);
    wait_for("the answer", async || {
        bus.find(&subject).await.ok().flatten().map(|_| ())
    })
    .await;
}

/// The failures of a call's stage that are recorded, by attempt.
pub(crate) async fn failures(bus: &Bus, stage: Stage, name: &str) -> Vec<(u32, StageFailed)> {
    let mut failures = Vec::new();
    for attempt in 0..10 {
        let key = Key::failure(recording(), Run::FIRST, stage, attempt);
        let found = bus
            .find(&Subject::new(call(name), EventKind::StageFailed, key))
            .await
            .unwrap();
        if let Some(Event::StageFailed(event)) = found.map(|found| found.decode().unwrap().event) {
            failures.push((attempt, event));
        }
    }
    failures
}

/// Lets real time pass where that is what the test is about (the server's patience).
pub(crate) async fn let_pass(time: Duration) {
    let began = tokio::time::Instant::now();
    wait_for("time to pass", async || (began.elapsed() >= time).then_some(())).await;
}

/// A clock that is ahead of the machine's.
pub(crate) fn clock_ahead(ms: i64) -> SharedClock {
    TestClock::at(UnixMillis(now().0 + ms))
}

pub(crate) async fn small_bus(nats: &TestNats, bytes_max: u64) -> Bus {
    Bus::connect(&BusConfig {
        stream_bytes_max: bytes_max,
        ..nats.config()
    })
    .await
    .unwrap()
}

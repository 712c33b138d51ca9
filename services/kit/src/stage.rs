//! The loop of a stage: pull, work, publish the answer, wait for its acknowledgement, then acknowledge the input.
//!
//! **Order.** A stage has two durable consumers, one a lane. New calls go first, then retries that are due, then
//! re-runs. The server hands out due retries before fresh messages, so retries are pulled aside and held (with
//! progress acknowledgements) while fresh messages behind them start; and retries and re-runs never take the last
//! slot of several. What runs at once is bounded by what is pulled; what waits for a retry is pending at the server.
//!
//! **Duplicates.** A message may come again after a crash, a lost acknowledgement or a slow network. One that this
//! process still has in hand is dropped: the work in hand answers for it. Any other redelivery first looks for its
//! answer in the stream by exact subject, and so does an old input, for a consumer that was deleted and created anew
//! delivers everything again; an answer published twice is recorded once.
//!
//! **Attempts.** Every failed attempt is a `stage_failed` event with the delivery it happened in. A redelivery that was
//! asked for without such an event (what is waited for is not there, an attempt is not due, a message was handed back at
//! a stop) is noted in the bucket `redeliveries`, for another process may get it. A redelivery that neither an event nor
//! a note nor the memory of this process accounts for means that a worker died: that counts as an attempt, too, so a
//! message that kills its workers ends. Such a loss is inferred, and wrongly so where a message was only held by a process
//! that died, was on its way to one that stopped, or where its note was lost: losses alone are final only after twice as
//! many attempts. A handler's own failure is final at the bound. The bound is ours; the server delivers without one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use callfold_schema::event::{FailureClass, ReprocessRequested, StageFailed};
use callfold_schema::subject::BUCKET_REDELIVERIES;
use callfold_schema::{
    CallSid, Event, EventKind, Key, Lane, NewEvent, Record, RecordingSid, Run, Stage, Subject, UnixMillis,
};
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::backoff::Backoff;
use crate::bus::{Bus, BusError, Delivery, DeliveryLane, Kv, PublishError, Published, ReadError};
use crate::chain::chain;
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::health::Part;
use crate::lifecycle::BoxError;
use crate::metric::{CounterName, GaugeName, HistogramName, Metrics};

/// How long one publish may take before it is tried again.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// The pause after an error of the broker.
const BROKER_PAUSE: Duration = Duration::from_millis(250);
/// How long an event of a newer release is left alone before it is offered again.
const NEWER_EVENT_DELAY: Duration = Duration::from_secs(60);
/// An input older than this may have been answered before its consumer was created anew, in milliseconds.
const OLD_INPUT_MS: i64 = 10_000;
/// An input that the stream took so much later than the fact was accepted may have been answered in another one, in
/// milliseconds.
const LATE_INPUT_MS: i64 = 1_000;
/// How long a handler may take to end after the hard stop before it is dropped.
const HARD_STOP_GRACE: Duration = Duration::from_secs(2);
/// How long a publish may still take after the hard stop.
const HARD_STOP_PUBLISH: Duration = Duration::from_secs(1);
/// The longest delay that another side may ask for.
const AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The most retries held aside at once; beyond it they take slots in the order in which they come.
const HELD_MAX: usize = 4_096;
/// The most bytes of retries held aside at once.
const HELD_BYTES_MAX: usize = 64 << 20;
/// The most requested redeliveries remembered; beyond it one may be taken for a lost worker.
const REQUESTED_MAX: usize = 200_000;
/// How long a note of a requested redelivery is kept; longer than anything is put off.
const REDELIVERIES_TTL: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long writing such notes may take. One that is lost may make a redelivery look like a lost worker.
const NOTE_WAIT: Duration = Duration::from_secs(1);
/// How many notes are written at once when messages are handed back.
const NOTES_AT_ONCE: usize = 64;
/// Losses of workers, which are inferred, are final after so many times the attempts.
const LOST_FACTOR: u32 = 2;

/// One piece of work.
#[derive(Debug, Clone)]
pub struct Job {
    /// The input with its envelope.
    pub record: Record,
    /// The call.
    pub call_sid: CallSid,
    /// The recording.
    pub recording: RecordingSid,
    /// The run.
    pub run: Run,
    /// What the re-run was asked for with; `None` for the first run.
    pub request: Option<Arc<ReprocessRequested>>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many there are at most.
    pub attempts_max: u32,
    /// When the input was accepted.
    pub accepted_at: UnixMillis,
    /// Which delivery of the input this is, from 1.
    pub delivery: u64,
    /// Cancelled at the hard stop.
    pub cancel: CancellationToken,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The class.
    pub class: FailureClass,
    /// In words, without personal data.
    pub text: String,
    /// The shortest delay before the next attempt, where the other side asked for one.
    pub after: Option<Duration>,
}

impl Failure {
    /// A failure without a wish for a delay.
    pub fn new(class: FailureClass, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
            after: None,
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done: this is the answer. The loop publishes it.
    Done(Box<Event>),
    /// Done, and there is nothing to say (an empty transcript has no summary).
    Nothing,
    /// What is needed is not there yet; said once as attempt 0, not counted.
    Waiting {
        /// What is waited for, without personal data.
        text: String,
        /// When to look again.
        after: Duration,
    },
    /// Try again later; counted.
    Retry(Failure),
    /// No further attempt would help.
    Reject(Failure),
}

impl Outcome {
    /// The answer of a stage.
    pub fn done(event: impl Into<Event>) -> Self {
        Outcome::Done(Box::new(event.into()))
    }
}

/// What a stage does with one message.
#[async_trait]
pub trait StageHandler: Send + Sync + 'static {
    /// Which stage it is.
    fn stage(&self) -> Stage;

    /// Works on one message. Blocking work belongs on blocking threads.
    async fn handle(&self, job: &Job) -> Outcome;
}

/// How a stage runs.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePolicy {
    /// Jobs at once.
    pub slots: usize,
    /// Attempts before a failure is final.
    pub attempts_max: u32,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// How long the server waits for a sign of life before it delivers a message again.
    pub ack_wait: Duration,
}

impl StagePolicy {
    /// Defaults for a stage with so many slots: 8 attempts within about 40 minutes.
    pub fn with_slots(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            attempts_max: 8,
            backoff: Backoff {
                base: Duration::from_secs(5),
                max: Duration::from_secs(900),
                factor: 3.0,
                jitter: 0.2,
            },
            ack_wait: Duration::from_secs(15),
        }
    }

    /// `CALLFOLD_<STAGE>_SLOTS`, `CALLFOLD_RETRY_ATTEMPTS`, `CALLFOLD_RETRY_BASE_MS`, `CALLFOLD_RETRY_MAX_MS`.
    pub fn from_settings(settings: &mut Settings<'_>, stage: Stage, slots_default: usize) -> Self {
        let defaults = Self::with_slots(slots_default);
        let name = format!("CALLFOLD_{}_SLOTS", stage.token().to_ascii_uppercase());
        let slots = settings.number(&name, defaults.slots as u64, 1, 1_024, "jobs at once");
        let attempts = settings.number(
            "CALLFOLD_RETRY_ATTEMPTS",
            u64::from(defaults.attempts_max),
            1,
            100,
            "attempts",
        );
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let base = settings.number(
            "CALLFOLD_RETRY_BASE_MS",
            millis(defaults.backoff.base),
            1,
            3_600_000,
            "milliseconds",
        );
        let max = settings.number(
            "CALLFOLD_RETRY_MAX_MS",
            millis(defaults.backoff.max),
            1,
            86_400_000,
            "milliseconds",
        );
        Self {
            slots: usize::try_from(slots).unwrap_or(defaults.slots),
            attempts_max: u32::try_from(attempts).unwrap_or(defaults.attempts_max),
            backoff: Backoff {
                base: Duration::from_millis(base),
                max: Duration::from_millis(max),
                ..defaults.backoff
            },
            ..defaults
        }
    }
}

/// What a stage needs besides the broker.
#[derive(Clone)]
pub struct StageDeps {
    /// The time of day.
    pub clock: SharedClock,
    /// Where to count.
    pub metrics: Metrics,
    /// Where to say how it is.
    pub health: Part,
    /// No new work from here on.
    pub soft: CancellationToken,
    /// Work in hand is dropped.
    pub hard: CancellationToken,
}

struct Context {
    bus: Bus,
    handler: Arc<dyn StageHandler>,
    stage: Stage,
    policy: StagePolicy,
    deps: StageDeps,
    /// Redeliveries that this process asked for, by position.
    requested: Mutex<HashMap<u64, Requested>>,
    /// The bucket of requested redeliveries, when it was opened and answered last.
    notes: Mutex<Option<Kv>>,
    /// Messages that were taken and not answered for yet, by position.
    in_hand: Mutex<HashMap<u64, InHand>>,
}

/// A redelivery that this process asked for.
#[derive(Clone, Copy)]
struct Requested {
    /// The delivery it answered so.
    delivery: u64,
    /// Whether there is a note of it, or of one before, in the bucket.
    noted: bool,
}

/// Messages that wait here for a slot; the server is told that they are not forgotten.
#[derive(Default)]
struct Held {
    /// Fresh ones of new calls that came when the last slot had just been taken: one at most.
    fresh: VecDeque<Delivery>,
    /// Retries of new calls.
    retries: VecDeque<Delivery>,
    /// Re-runs.
    again: VecDeque<Delivery>,
    bytes: usize,
}

impl Held {
    fn put(&mut self, lane: Lane, delivery: Delivery) {
        self.bytes += delivery.event.payload.len();
        match lane {
            Lane::New if delivery.delivery == 1 => self.fresh.push_back(delivery),
            Lane::New => self.retries.push_back(delivery),
            Lane::Again => self.again.push_back(delivery),
        }
    }

    fn taken(&mut self, delivery: Option<Delivery>) -> Option<Delivery> {
        self.bytes -= delivery
            .as_ref()
            .map_or(0, |delivery| delivery.event.payload.len());
        delivery
    }

    fn first(&mut self) -> Option<Delivery> {
        let first = self.fresh.pop_front();
        self.taken(first)
    }

    fn second(&mut self) -> Option<Delivery> {
        let second = self.retries.pop_front().or_else(|| self.again.pop_front());
        self.taken(second)
    }

    fn is_full(&self) -> bool {
        self.len() >= HELD_MAX || self.bytes >= HELD_BYTES_MAX
    }

    fn len(&self) -> usize {
        self.fresh.len() + self.retries.len() + self.again.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.fresh.iter().chain(&self.retries).chain(&self.again)
    }
}

/// Runs a stage until the soft stop; then finishes what is in hand.
pub async fn run_stage(
    bus: Bus,
    handler: Arc<dyn StageHandler>,
    policy: StagePolicy,
    deps: StageDeps,
) -> Result<(), BoxError> {
    let stage = handler.stage();
    let context = Arc::new(Context {
        bus,
        handler,
        stage,
        policy,
        deps,
        requested: Mutex::default(),
        notes: Mutex::default(),
        in_hand: Mutex::default(),
    });
    let mut new = context.open(Lane::New).await?;
    let mut again = context.open(Lane::Again).await?;
    context.deps.health.ready();

    let mut running: JoinSet<()> = JoinSet::new();
    // The last slot of several is for new calls.
    let second_slots = Arc::new(Semaphore::new(context.policy.slots.saturating_sub(1).max(1)));
    let mut held = Held::default();
    let mut progress = tokio::time::interval(context.policy.ack_wait / 3);
    progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    loop {
        while let Some(ended) = running.try_join_next() {
            context.ended(ended);
        }
        if context.deps.soft.is_cancelled() {
            break;
        }
        if progress.tick().now_or_never().is_some() {
            context.keep(&held).await;
        }
        context.gauges(running.len(), held.len());

        let mut trouble = None;
        let free = running.len() < context.policy.slots;
        // A retry or a re-run may start with this permit only; one that is not used goes back below.
        let mut second = if free {
            Arc::clone(&second_slots).try_acquire_owned().ok()
        } else {
            None
        };
        // 1. Fresh messages of new calls; retries that come before them step aside. When there is no room to step to
        // and no slot for them, they are left at the server.
        if free && let Some(delivery) = held.first() {
            context.start(&mut running, delivery, None);
            continue;
        }
        if free && (!held.is_full() || second.is_some()) {
            match new.try_pull().await {
                Ok(Some(delivery)) => {
                    if let Some(delivery) = context.take_in(delivery) {
                        if delivery.delivery == 1 {
                            context.start(&mut running, delivery, None);
                        } else if held.is_full() && second.is_some() {
                            context.start(&mut running, delivery, second);
                        } else {
                            held.put(Lane::New, delivery);
                        }
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => trouble = Some((Lane::New, error)),
            }
        }
        if trouble.is_none() && second.is_some() {
            // 2. Retries that are due, those of new calls first.
            if let Some(delivery) = held.second() {
                context.start(&mut running, delivery, second.take());
                continue;
            }
            // 3. Re-runs.
            match again.try_pull().await {
                Ok(Some(delivery)) => {
                    if let Some(delivery) = context.take_in(delivery) {
                        context.start(&mut running, delivery, second.take());
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => trouble = Some((Lane::Again, error)),
            }
        }
        // 4. Nothing is there now, or no slot: wait, with requests standing at the server for what could start.
        if trouble.is_none()
            && free
            && !held.is_full()
            && let Err(error) = new.prepare().await
        {
            trouble = Some((Lane::New, error));
        }
        if trouble.is_none()
            && second.is_some()
            && let Err(error) = again.prepare().await
        {
            trouble = Some((Lane::Again, error));
        }
        drop(second);
        if trouble.is_none() {
            // Every arm may be dropped: requests stay with their lanes, ended jobs with the set, ticks with the timer.
            // A request may be answered when the slot it was made for is taken by then: its message is held.
            tokio::select! {
                biased;
                () = context.deps.soft.cancelled() => {}
                Some(ended) = running.join_next() => context.ended(ended),
                waited = new.wait(), if new.is_waiting() => match waited {
                    Ok(delivery) => context.hold(&mut held, Lane::New, delivery),
                    Err(error) => trouble = Some((Lane::New, error)),
                },
                waited = again.wait(), if again.is_waiting() => match waited {
                    Ok(delivery) => context.hold(&mut held, Lane::Again, delivery),
                    Err(error) => trouble = Some((Lane::Again, error)),
                },
                _ = progress.tick() => context.keep(&held).await,
            }
        }
        if let Some((lane, error)) = trouble {
            context
                .deps
                .metrics
                .count(CounterName::PullErrors, &[("stage", stage.token())]);
            context.deps.health.not_ready("the broker does not answer");
            tracing::warn!(stage = %stage, error = %chain(&*error), "could not pull work; trying again");
            tokio::select! {
                () = context.deps.soft.cancelled() => {}
                () = tokio::time::sleep(BROKER_PAUSE) => {}
            }
            // An open that is dropped has changed nothing that the next one would not.
            let opened = tokio::select! {
                () = context.deps.soft.cancelled() => continue,
                opened = context.open(lane) => opened,
            };
            match opened {
                Ok(opened) => {
                    *(if lane == Lane::New { &mut new } else { &mut again }) = opened;
                    context.deps.health.ready();
                }
                Err(error @ BusError::ConsumerDiffers { .. }) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(stage = %stage, error = %chain(&error), "the broker is still away")
                }
            }
        }
    }

    // Soft stop: hand back what was not begun, finish what is in hand. Jobs see the hard stop themselves.
    context.hold(&mut held, Lane::New, new.close());
    context.hold(&mut held, Lane::Again, again.close());
    context.hand_back(&held).await;
    drop(held);
    while let Some(ended) = running.join_next().await {
        context.ended(ended);
    }
    context.gauges(0, 0);
    // The process may end next: acknowledgements still in the client's buffer go out first.
    if tokio::time::timeout(HARD_STOP_PUBLISH, context.bus.flush())
        .await
        .is_err()
    {
        tracing::debug!("the last acknowledgements did not go out; the redeliveries find their answers");
    }
    Ok(())
}

/// The deliveries of a message in hand.
#[derive(Clone, Copy)]
struct InHand {
    /// The one that was taken.
    taken: u64,
    /// The latest one that came while it is in hand.
    latest: u64,
}

/// Lets go of a message when its job ends in whatever way.
struct LetGo {
    context: Arc<Context>,
    position: u64,
    taken: u64,
}

impl Drop for LetGo {
    fn drop(&mut self) {
        let mut in_hand = self
            .context
            .in_hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A job that answered let go before, and its message may have come again and been taken since.
        if in_hand
            .get(&self.position)
            .is_some_and(|in_hand| in_hand.taken == self.taken)
        {
            in_hand.remove(&self.position);
        }
    }
}

impl Context {
    async fn open(&self, lane: Lane) -> Result<DeliveryLane, BusError> {
        let name = callfold_schema::subject::stage_consumer(self.stage, lane);
        let filter = callfold_schema::subject::stage_filter(self.stage, lane);
        self.bus.lane(&name, &filter, self.policy.ack_wait).await
    }

    fn gauges(&self, busy: usize, held: usize) {
        let labels = [("stage", self.stage.token())];
        self.deps.metrics.set(GaugeName::StageBusy, &labels, busy as f64);
        self.deps.metrics.set(GaugeName::StageHeld, &labels, held as f64);
    }

    /// Notes that a message is in hand; `None` when it was already, and was delivered again because signs of life were
    /// lost on the way.
    fn take_in(&self, delivery: Delivery) -> Option<Delivery> {
        let mut in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        match in_hand.entry(delivery.event.position) {
            Entry::Vacant(entry) => {
                entry.insert(InHand {
                    taken: delivery.delivery,
                    latest: delivery.delivery,
                });
                Some(delivery)
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().latest = delivery.delivery;
                None
            }
        }
    }

    /// The latest delivery of a message in hand: what the next one is counted from.
    fn latest(&self, delivery: &Delivery) -> u64 {
        let in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        in_hand
            .get(&delivery.event.position)
            .map_or(delivery.delivery, |in_hand| in_hand.latest)
    }

    /// Before the server is answered: the message may come again at once.
    fn let_go(&self, delivery: &Delivery) {
        self.in_hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&delivery.event.position);
    }

    fn hold(&self, held: &mut Held, lane: Lane, delivery: Option<Delivery>) {
        if let Some(delivery) = delivery.and_then(|delivery| self.take_in(delivery)) {
            held.put(lane, delivery);
        }
    }

    fn start(
        self: &Arc<Self>,
        running: &mut JoinSet<()>,
        delivery: Delivery,
        second: Option<OwnedSemaphorePermit>,
    ) {
        let context = Arc::clone(self);
        let span =
            tracing::info_span!("job", job.stage = %self.stage, job.position = delivery.event.position);
        running.spawn(
            async move {
                let (position, taken) = (delivery.event.position, delivery.delivery);
                let let_go = LetGo {
                    context: Arc::clone(&context),
                    position,
                    taken,
                };
                context.work(delivery).await;
                drop((let_go, second));
            }
            .instrument(span),
        );
    }

    /// A job's task does not panic (handlers run in tasks of their own); if it did, its message would come again.
    fn ended(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            tracing::error!(stage = %self.stage, error = %error, "a job ended without an outcome");
        }
    }

    /// Tells the server that held messages are not forgotten.
    async fn keep(&self, held: &Held) {
        for delivery in held.iter() {
            if !self.progress(delivery).await {
                return;
            }
        }
    }

    /// A sign of life; `false` when it could not be sent, or nobody cares any more.
    async fn progress(&self, delivery: &Delivery) -> bool {
        // A sign of life that is dropped was not sent.
        let sent = tokio::select! {
            biased;
            () = self.deps.hard.cancelled() => return false,
            sent = delivery.progress() => sent,
        };
        if let Err(error) = &sent {
            tracing::debug!(error = %chain(&**error), "could not send progress");
        }
        sent.is_ok()
    }

    /// Gives messages that were not begun back to the server, for whoever works next.
    async fn hand_back(&self, held: &Held) {
        // Noted before the server may deliver them; together, for a stop has to end.
        let notes = futures::stream::iter(held.iter())
            .for_each_concurrent(NOTES_AT_ONCE, |delivery| self.write_note(delivery));
        if tokio::time::timeout(NOTE_WAIT, notes).await.is_err() {
            tracing::debug!("not every message that is handed back was noted");
        }
        for delivery in held.iter() {
            let answered = tokio::select! {
                biased;
                () = self.deps.hard.cancelled() => return,
                answered = delivery.again_after(Duration::ZERO) => answered,
            };
            if let Err(error) = answered {
                return tracing::debug!(error = %chain(&*error), "could not hand messages back; they come again by themselves");
            }
        }
    }

    fn remember_request(&self, delivery: &Delivery, noted: bool) {
        let (position, latest) = (delivery.event.position, self.latest(delivery));
        let mut requested = self.requested.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = requested.get_mut(&position) {
            known.delivery = latest;
            known.noted |= noted;
        } else if requested.len() < REQUESTED_MAX {
            let request = Requested {
                delivery: latest,
                noted,
            };
            requested.insert(position, request);
        }
    }

    fn was_requested(&self, delivery: &Delivery) -> bool {
        let requested = self.requested.lock().unwrap_or_else(PoisonError::into_inner);
        requested
            .get(&delivery.event.position)
            .is_some_and(|requested| requested.delivery + 1 >= delivery.delivery)
    }

    fn note_key(&self, delivery: &Delivery) -> String {
        format!("{}_{}", self.stage.token(), delivery.event.position)
    }

    /// The bucket of notes. Opened when it is needed first, and anew after it failed: it may have been deleted.
    async fn notes(&self) -> Result<Kv, BusError> {
        let opened = self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(notes) = opened {
            return Ok(notes);
        }
        let notes = self.bus.kv(BUCKET_REDELIVERIES, Some(REDELIVERIES_TTL)).await?;
        *self.notes.lock().unwrap_or_else(PoisonError::into_inner) = Some(notes.clone());
        Ok(notes)
    }

    fn note_failed(&self, error: &(dyn std::error::Error + 'static)) {
        *self.notes.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tracing::debug!(stage = %self.stage, error = %chain(error), "a note of a redelivery was not written or removed");
    }

    async fn write_note(&self, delivery: &Delivery) {
        let value = self.latest(delivery).to_string();
        match self.notes().await {
            Err(error) => self.note_failed(&error),
            Ok(notes) => {
                if let Err(error) = notes.put(&self.note_key(delivery), value.into()).await {
                    self.note_failed(&error);
                }
            }
        }
    }

    async fn remove_note(&self, delivery: &Delivery) {
        let removed = async {
            match self.notes().await {
                Err(error) => self.note_failed(&error),
                Ok(notes) => {
                    if let Err(error) = notes.remove(&self.note_key(delivery)).await {
                        self.note_failed(&error);
                    }
                }
            }
        };
        if tokio::time::timeout(NOTE_WAIT, removed).await.is_err() {
            tracing::debug!("a note of a redelivery was not removed; it ends by itself");
        }
    }

    /// Whether some process noted that it asked for this redelivery.
    async fn was_noted(&self, delivery: &Delivery) -> Result<bool, ReadError> {
        let notes = match self.notes().await {
            Ok(notes) => notes,
            Err(error) => {
                // Work goes on without the bucket (an account may be allowed no further one); losses are then inferred
                // more often than they happen.
                tracing::warn!(stage = %self.stage, error = %chain(&error), "could not look for a note of a redelivery");
                return Ok(false);
            }
        };
        let value = match notes.get(&self.note_key(delivery)).await {
            Ok(value) => value,
            Err(error) => {
                self.note_failed(&error);
                return Err(error);
            }
        };
        let noted: Option<u64> = value
            .as_deref()
            .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        Ok(noted.is_some_and(|noted| noted.saturating_add(1) >= delivery.delivery))
    }

    async fn ack(&self, delivery: &Delivery, outcome: &'static str) {
        let requested = self
            .requested
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&delivery.event.position);
        self.deps.metrics.count(
            CounterName::StageJobs,
            &[("stage", self.stage.token()), ("outcome", outcome)],
        );
        self.let_go(delivery);
        if let Err(error) = delivery.ack().await {
            tracing::debug!(error = %chain(&*error), "could not acknowledge; the redelivery finds the answer");
        }
        if requested.is_some_and(|requested| requested.noted) {
            self.remove_note(delivery).await;
        }
    }

    /// Asks for a redelivery that no event tells of: another process finds the note.
    async fn noted_again_after(&self, delivery: &Delivery, delay: Duration) {
        // Written before the server is asked: the message may come again at once, to somebody else.
        if tokio::time::timeout(NOTE_WAIT, self.write_note(delivery))
            .await
            .is_err()
        {
            tracing::debug!("a note of a redelivery was not written in time");
        }
        self.remember_request(delivery, true);
        self.again_after(delivery, delay).await;
    }

    /// Asks for a redelivery.
    async fn again_after(&self, delivery: &Delivery, delay: Duration) {
        self.remember_request(delivery, false);
        self.let_go(delivery);
        if let Err(error) = delivery.again_after(delay).await {
            tracing::debug!(error = %chain(&*error), "could not ask for a redelivery; it comes by itself");
        }
    }

    /// From delivery to acknowledgement.
    async fn work(&self, delivery: Delivery) {
        let record = match delivery.event.decode() {
            Ok(record) => record,
            Err(unreadable) if unreadable.is_newer() => {
                tracing::error!(stage = %self.stage, error = %unreadable, "an event of a newer release waits");
                return self.noted_again_after(&delivery, NEWER_EVENT_DELAY).await;
            }
            Err(unreadable) => {
                // The projector records it as unreadable; for a stage there is nothing to do.
                tracing::error!(stage = %self.stage, error = %unreadable, "an event cannot be read and is passed over");
                return self.ack(&delivery, "unreadable").await;
            }
        };
        let subject = &record.envelope.subject;
        let Some(recording) = subject.key.recording.clone() else {
            tracing::error!(call.id = %subject.call_sid, "an input without a recording is passed over");
            return self.ack(&delivery, "unreadable").await;
        };
        let run = subject.key.run.unwrap_or(Run::FIRST);
        let mut job = Job {
            call_sid: subject.call_sid.clone(),
            recording,
            run,
            request: None,
            attempt: 1,
            attempts_max: self.policy.attempts_max,
            accepted_at: record.envelope.time,
            delivery: delivery.delivery,
            cancel: self.deps.hard.clone(),
            record,
        };
        let (stored_at, accepted_at) = (delivery.event.stored_at.0, job.accepted_at.0);
        let age_ms = self.deps.clock.now().0.saturating_sub(stored_at);
        // An import stores today what was accepted, and perhaps answered, before.
        let is_late = stored_at.saturating_sub(accepted_at) > LATE_INPUT_MS;
        if delivery.delivery > 1 || age_ms > OLD_INPUT_MS || is_late {
            // What the hard stop cuts here is begun again by the next process.
            let account = tokio::select! {
                biased;
                () = self.deps.hard.cancelled() => return,
                account = self.account(&delivery, &job) => account,
            };
            match account {
                Ok(Account::Attempt(attempt)) => job.attempt = attempt,
                Ok(Account::Settled) => return self.ack(&delivery, "settled").await,
                Ok(Account::NotDue(delay)) => return self.noted_again_after(&delivery, delay).await,
                Err(error) => {
                    tracing::warn!(call.id = %job.call_sid, error = %chain(&*error), "could not read the history of a job");
                    return self.noted_again_after(&delivery, BROKER_PAUSE).await;
                }
            }
        }
        if run != Run::FIRST {
            let asked = tokio::select! {
                biased;
                () = self.deps.hard.cancelled() => return,
                asked = self.request(&job) => asked,
            };
            match asked {
                Ok(request) => job.request = request,
                Err(error) => {
                    tracing::warn!(call.id = %job.call_sid, error = %chain(&*error), "could not read what a re-run was asked for with");
                    return self.noted_again_after(&delivery, BROKER_PAUSE).await;
                }
            }
        }
        let began = tokio::time::Instant::now();
        let Some(outcome) = self.run_handler(&delivery, &job).await else {
            return tracing::warn!(call.id = %job.call_sid, "a job was dropped at the hard stop; its message comes again");
        };
        let elapsed = began.elapsed();
        self.deps.metrics.observe(
            HistogramName::StageSeconds,
            &[("stage", self.stage.token())],
            elapsed.as_secs_f64(),
        );
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Outcome::Done(event) => self.finish(&delivery, &job, *event, elapsed_ms).await,
            Outcome::Nothing => self.ack(&delivery, "nothing").await,
            Outcome::Waiting { text, after } => {
                // Said once: a redelivery that this process asked for was said before.
                if delivery.delivery == 1 || !self.was_requested(&delivery) {
                    let failure = Failure::new(FailureClass::NotYet, text);
                    self.tell(&delivery, &job, 0, failure, Some(after), elapsed_ms)
                        .await;
                }
                self.noted_again_after(&delivery, after).await;
            }
            Outcome::Retry(failure) => self.fail(&delivery, &job, failure, true, elapsed_ms).await,
            Outcome::Reject(failure) => self.fail(&delivery, &job, failure, false, elapsed_ms).await,
        }
    }

    /// Runs the handler in a task of its own, so that a panic is a failed attempt, and tells the server meanwhile that
    /// work goes on. `None` when it did not end in time after the hard stop.
    async fn run_handler(&self, delivery: &Delivery, job: &Job) -> Option<Outcome> {
        let (handler, job) = (Arc::clone(&self.handler), job.clone());
        let work = tokio::spawn(async move { handler.handle(&job).await }.in_current_span());
        // Whoever drops this future drops the work.
        let mut work = AbortOnDropHandle::new(work);
        let mut progress = tokio::time::interval(self.policy.ack_wait / 3);
        progress.tick().await;
        let dropped = async {
            self.deps.hard.cancelled().await;
            tokio::time::sleep(HARD_STOP_GRACE).await;
        };
        tokio::pin!(dropped);
        loop {
            // Handle, timer and wait may be polled again after another arm won.
            tokio::select! {
                ended = &mut work => {
                    return Some(ended.unwrap_or_else(|_| {
                        Outcome::Retry(Failure::new(FailureClass::Internal, "the worker panicked"))
                    }));
                }
                () = &mut dropped => return None,
                _ = progress.tick() => {
                    self.progress(delivery).await;
                }
            }
        }
    }

    async fn finish(&self, delivery: &Delivery, job: &Job, event: Event, elapsed_ms: u64) {
        let key = Key::stage(job.recording.clone(), job.run);
        let event = NewEvent::new(job.call_sid.clone(), key, self.deps.clock.now(), event)
            .caused_by(&job.record.envelope);
        match self.publish(delivery, &event).await {
            Ok(_) => {
                tracing::info!(
                    call.id = %job.call_sid, recording.id = %job.recording, elapsed_ms,
                    "{} of call {} done", self.stage, job.call_sid
                );
                self.ack(delivery, "done").await;
            }
            Err(PublishError::Encode(error)) => {
                let failure = Failure::new(FailureClass::Internal, chain(&error));
                self.fail(delivery, job, failure, false, elapsed_ms).await;
            }
            // The hard stop came first: the message comes again and its work is done again.
            Err(error) => {
                tracing::warn!(call.id = %job.call_sid, error = %chain(&error), "an answer was not recorded")
            }
        }
    }

    /// A failed attempt: told, then either retried or over.
    async fn fail(&self, delivery: &Delivery, job: &Job, failure: Failure, retry: bool, elapsed_ms: u64) {
        let labels = [("stage", self.stage.token()), ("class", failure.class.token())];
        self.deps.metrics.count(CounterName::StageFailures, &labels);
        let delay = (retry && job.attempt < self.policy.attempts_max).then(|| {
            let backoff = self.policy.backoff.delay(job.attempt, &mut rand::rng());
            failure
                .after
                .map_or(backoff, |after| after.min(AFTER_MAX).max(backoff))
        });
        tracing::warn!(
            call.id = %job.call_sid, recording.id = %job.recording, failure.class = failure.class.token(),
            "attempt {} of {} to {} call {} failed: {}", job.attempt, self.policy.attempts_max, self.stage,
            job.call_sid, failure.text
        );
        if !self
            .tell(delivery, job, job.attempt, failure, delay, elapsed_ms)
            .await
        {
            return;
        }
        match delay {
            Some(delay) => self.again_after(delivery, delay).await,
            None => self.ack(delivery, "failed").await,
        }
    }

    /// Publishes a `stage_failed` event; `false` when the hard stop came first.
    async fn tell(
        &self,
        delivery: &Delivery,
        job: &Job,
        attempt: u32,
        failure: Failure,
        delay: Option<Duration>,
        elapsed_ms: u64,
    ) -> bool {
        let now = self.deps.clock.now();
        let next_attempt_at = delay.map(|delay| {
            UnixMillis(
                now.0
                    .saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
            )
        });
        let event = StageFailed {
            // Lost workers may have used up more than the handler's own failures could.
            attempts_max: self.policy.attempts_max.max(attempt),
            class: failure.class,
            text: failure.text,
            next_attempt_at,
            delivery: self.latest(delivery),
            elapsed_ms,
        };
        self.publish_failure(delivery, job, attempt, event).await
    }

    async fn publish_failure(
        &self,
        delivery: &Delivery,
        job: &Job,
        attempt: u32,
        event: StageFailed,
    ) -> bool {
        let key = Key::failure(job.recording.clone(), job.run, self.stage, attempt);
        let event = NewEvent::new(job.call_sid.clone(), key, self.deps.clock.now(), event)
            .caused_by(&job.record.envelope);
        match self.publish(delivery, &event).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(call.id = %job.call_sid, error = %chain(&error), "a failure was not recorded");
                false
            }
        }
    }

    /// Publishes until it is recorded, the event turns out to be impossible, or the hard stop.
    async fn publish(&self, delivery: &Delivery, event: &NewEvent) -> Result<Published, PublishError> {
        loop {
            let stopped = async {
                self.deps.hard.cancelled().await;
                tokio::time::sleep(HARD_STOP_PUBLISH).await;
            };
            // Both arms may be dropped: an event that is recorded all the same is found by the redelivery.
            let published = tokio::select! {
                published = self.bus.publish(event, PUBLISH_WAIT) => published,
                () = stopped => Err(PublishError::TimedOut),
            };
            let error = match published {
                Ok(published) => return Ok(published),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => error,
            };
            self.progress(delivery).await;
            // Both arms may be dropped without harm.
            tokio::select! {
                () = self.deps.hard.cancelled() => return Err(error),
                () = tokio::time::sleep(BROKER_PAUSE) => {}
            }
        }
    }

    /// What a re-run was asked for with, by exact subject. One that nobody asked for works as the settings say.
    async fn request(&self, job: &Job) -> Result<Option<Arc<ReprocessRequested>>, BoxError> {
        let subject = Subject::new(
            job.call_sid.clone(),
            EventKind::ReprocessRequested,
            Key::run(job.run),
        );
        let Some(found) = self.bus.find(&subject).await? else {
            return Ok(None);
        };
        match found.decode() {
            Ok(Record {
                event: Event::ReprocessRequested(request),
                ..
            }) => Ok(Some(Arc::new(request))),
            Err(unreadable) if unreadable.is_newer() => Err(unreadable.into()),
            // The projector records it as unreadable; the run works as the settings say.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// What the stream says about a message that was delivered before, to this consumer or to one before it.
    async fn account(&self, delivery: &Delivery, job: &Job) -> Result<Account, BoxError> {
        let subject = |kind, key| Subject::new(job.call_sid.clone(), kind, key);
        let stage_failed = EventKind::StageFailed;
        let answer = subject(self.stage.output(), Key::stage(job.recording.clone(), job.run));
        if self.bus.find(&answer).await?.is_some() {
            return Ok(Account::Settled);
        }
        let failure = |attempt| {
            subject(
                stage_failed,
                Key::failure(job.recording.clone(), job.run, self.stage, attempt),
            )
        };
        let mut attempts = 0;
        let mut last: Option<StageFailed> = None;
        while let Some(found) = self.bus.find(&failure(attempts + 1)).await? {
            attempts += 1;
            if let Ok(Record {
                event: Event::StageFailed(event),
                ..
            }) = found.decode()
            {
                last = Some(event);
            }
        }
        if last.as_ref().is_some_and(|last| last.next_attempt_at.is_none()) {
            return Ok(Account::Settled);
        }
        let now = self.deps.clock.now();
        if let Some(due) = last.as_ref().and_then(|last| last.next_attempt_at)
            && due.0 > now.0 + 1_000
        {
            // The server forgot the delay (it restarted): the next attempt is not due yet.
            return Ok(Account::NotDue(Duration::from_millis(
                u64::try_from(due.0 - now.0).unwrap_or(0),
            )));
        }
        let explained = delivery.delivery == 1
            || self.was_requested(delivery)
            || last
                .as_ref()
                .is_some_and(|last| last.delivery + 1 >= delivery.delivery)
            || self.was_noted(delivery).await?;
        if explained {
            return Ok(Account::Attempt(attempts + 1));
        }
        attempts += 1;
        let last_attempt = attempts >= self.policy.attempts_max.saturating_mul(LOST_FACTOR);
        let lost = StageFailed {
            attempts_max: self.policy.attempts_max.max(attempts),
            class: FailureClass::WorkerLost,
            text: "the worker stopped without an answer".to_owned(),
            next_attempt_at: (!last_attempt).then_some(now),
            delivery: delivery.delivery - 1,
            elapsed_ms: 0,
        };
        self.deps.metrics.count(
            CounterName::StageFailures,
            &[
                ("stage", self.stage.token()),
                ("class", FailureClass::WorkerLost.token()),
            ],
        );
        if !self.publish_failure(delivery, job, attempts, lost).await {
            return Err("the broker is away".into());
        }
        Ok(if last_attempt {
            Account::Settled
        } else {
            Account::Attempt(attempts + 1)
        })
    }
}

/// What is to be done with a redelivery.
enum Account {
    /// Work on it: this attempt.
    Attempt(u32),
    /// It was answered, or given up, before.
    Settled,
    /// Its next attempt is not due yet.
    NotDue(Duration),
}

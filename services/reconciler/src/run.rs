//! Reads what is said of calls and recordings, and says what did not come.
//!
//! The state is rebuilt from the stream at every start. Nothing is said before the end of the stream was reached: the
//! recording may be in the part that is still to be read.
//!
//! **Duplicates.** Several reconcilers, or one that was restarted, say the same under the same key: it is recorded
//! once. One that says so although the recording is on its way does no harm: a `recording_ready` of any age wins.

use std::pin::pin;
use std::time::Duration;

use callfold_kit::bus::{PublishError, Published, ReadError, Reader};
use callfold_kit::lifecycle::BoxError;
use callfold_kit::metric::{CounterName, GaugeName};
use callfold_kit::stage::StageDeps;
use callfold_kit::{Bus, chain};
use callfold_schema::event::RecordingMissing;
use callfold_schema::subject::kind_filter;
use callfold_schema::{EventKind, Key, NewEvent, Subject, UnixMillis};
use tokio::time::Instant;

use crate::config::ReconcilerConfig;
use crate::deadline::{OpenCalls, Overdue};

/// The kinds that say something of calls and recordings.
const KINDS: [EventKind; 6] = [
    EventKind::CallStarted,
    EventKind::CallEnded,
    EventKind::RecordingStarted,
    EventKind::RecordingReady,
    EventKind::RecordingMissing,
    EventKind::CallErased,
];
/// Most bytes of events taken in at once.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Most calls told missing before the stream is looked at again.
const TELL_CALLS: usize = 100;
/// How long a publish may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// The pause after an error of the broker.
const BROKER_PAUSE: Duration = Duration::from_secs(1);
/// The longest time without a look at the clock: it may be set.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why one recording could not be told missing.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error("could not look for the recording in the stream")]
    Find(#[source] ReadError),
    #[error("could not publish that a recording is missing")]
    Publish(#[source] PublishError),
}

struct Reconciler {
    bus: Bus,
    deps: StageDeps,
    calls: OpenCalls,
    /// The end of the stream was reached once.
    caught_up: bool,
    /// An event of a newer release was met: what is missing cannot be known.
    outdated: bool,
}

/// Runs until the soft stop.
///
/// # Errors
/// The stream was replaced by another one.
pub async fn run(bus: Bus, config: ReconcilerConfig, deps: StageDeps) -> Result<(), BoxError> {
    let since = deps
        .clock
        .now()
        .0
        .saturating_sub(i64::try_from(config.look_back.as_millis()).unwrap_or(i64::MAX));
    let soft = deps.soft.clone();
    let end = loop {
        match bus.stream_state().await {
            Ok(state) => break state.last,
            Err(error @ ReadError::Replaced) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "could not read the end of the stream; trying again")
            }
        }
        // Both arms may be dropped without harm.
        tokio::select! {
            () = soft.cancelled() => return Ok(()),
            () = tokio::time::sleep(BROKER_PAUSE) => {}
        }
    };
    let filters = KINDS.into_iter().map(kind_filter).collect();
    let mut reader = bus.read_since(UnixMillis(since), filters);
    let calls = OpenCalls::new(config.patience, config.bounds);
    let mut reconciler = Reconciler {
        bus,
        deps,
        calls,
        caught_up: end == 0,
        outdated: false,
    };
    reconciler.deps.health.ready_with("reading the stream");
    reconciler.follow(&mut reader, end, config.batch_events).await
}

impl Reconciler {
    async fn follow(&mut self, reader: &mut Reader, end: u64, batch_events: usize) -> Result<(), BoxError> {
        let mut not_before = Instant::now();
        if self.caught_up {
            self.deps.health.ready();
        }
        loop {
            let mut batch = Vec::new();
            {
                // Kept across looks: it opens the reading, which on a slow broker takes longer than from one to the next.
                let mut read = pin!(reader.next_batch(batch_events, BATCH_BYTES, &mut batch));
                loop {
                    // Told here and not from a timer, which would lose to events that are always there.
                    if self.wait() == Some(Duration::ZERO) && Instant::now() >= not_before {
                        if !self.tell_overdue().await {
                            not_before = Instant::now() + BROKER_PAUSE;
                        }
                        self.gauge();
                    }
                    let look = self.wait().map(|wait| (Instant::now() + wait).max(not_before));
                    tokio::select! {
                        () = self.deps.soft.cancelled() => return Ok(()),
                        read = &mut read => break read?,
                        () = sleep_until(look) => {}
                    }
                }
            }
            for event in batch {
                self.observe(&event);
                if !self.caught_up && (event.pending == 0 || event.position >= end) {
                    self.caught_up = true;
                    tracing::info!(
                        calls = self.calls.open(),
                        "read what is known of calls; watching deadlines"
                    );
                    if !self.outdated {
                        self.deps.health.ready();
                    }
                }
            }
            self.gauge();
        }
    }

    fn observe(&mut self, event: &callfold_kit::bus::StoredEvent) {
        match event.decode() {
            Ok(record) => {
                let dropped = self.calls.dropped();
                self.calls.observe(&record);
                if self.calls.dropped() > dropped {
                    tracing::error!("too many calls owe a recording; one of them will not be told missing");
                }
            }
            Err(unreadable) if unreadable.is_newer() => {
                self.outdated = true;
                self.deps
                    .health
                    .not_ready("the stream holds events of a newer release: upgrade this one");
                tracing::error!(position = event.position, error = %unreadable, "nothing is told missing from here on");
            }
            // The projector records and shows it.
            Err(unreadable) => {
                tracing::warn!(position = event.position, error = %unreadable, "an event is passed over")
            }
        }
    }

    /// How long until something has to be told; `None`: not before the next event.
    fn wait(&self) -> Option<Duration> {
        if !self.caught_up || self.outdated {
            return None;
        }
        let due = self.calls.next_due()?.0.saturating_sub(self.deps.clock.now().0);
        Some(Duration::from_millis(u64::try_from(due).unwrap_or(0)).min(LOOK_EVERY))
    }

    /// Tells what is overdue; `false` when the broker did not take it.
    async fn tell_overdue(&mut self) -> bool {
        for overdue in self.calls.overdue(self.deps.clock.now(), TELL_CALLS) {
            if self.deps.soft.is_cancelled() {
                return true;
            }
            match self.tell(&overdue).await {
                Ok(told) => {
                    if told {
                        let labels = [("reason", overdue.reason.token())];
                        self.deps.metrics.count(CounterName::RecordingsMissing, &labels);
                        tracing::info!(
                            call.id = %overdue.call_sid, reason = overdue.reason.token(),
                            "call {} has no recording: {}", overdue.call_sid, overdue.reason.token()
                        );
                    }
                    self.calls.settle(&overdue);
                }
                Err(TellError::Publish(error)) if !error.is_transient() => {
                    tracing::error!(call.id = %overdue.call_sid, error = %chain(&error), "a missing recording cannot be told");
                    self.calls.settle(&overdue);
                }
                Err(error) => {
                    tracing::warn!(call.id = %overdue.call_sid, error = %chain(&error), "a missing recording is told later");
                    return false;
                }
            }
        }
        true
    }

    /// Publishes that a recording is missing; `false` when it turned out not to be, or was told before.
    async fn tell(&self, overdue: &Overdue) -> Result<bool, TellError> {
        if let Some(recording) = &overdue.recording_sid {
            let ready = Key::recording(recording.clone());
            let ready = Subject::new(overdue.call_sid.clone(), EventKind::RecordingReady, ready);
            if self.bus.find(&ready).await.map_err(TellError::Find)?.is_some() {
                return Ok(false);
            }
        }
        let missing = RecordingMissing {
            recording_sid: overdue.recording_sid.clone(),
            reason: overdue.reason,
            error_code: None,
            idempotency_token: None,
            form: Vec::new(),
        };
        let mut event = NewEvent::new(
            overdue.call_sid.clone(),
            overdue.key(),
            self.deps.clock.now(),
            missing,
        );
        event.envelope.cause = Some(overdue.cause.message_id());
        let published = self
            .bus
            .publish(&event, PUBLISH_WAIT)
            .await
            .map_err(TellError::Publish)?;
        Ok(matches!(published, Published::Recorded { .. }))
    }

    fn gauge(&self) {
        self.deps
            .metrics
            .set(GaugeName::OpenCalls, &[], self.calls.open() as f64);
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

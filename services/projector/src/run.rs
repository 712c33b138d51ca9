//! The loop: claim, read behind the stored position, fold, commit, tell.
//!
//! Whatever goes wrong in between, what this process remembers is thrown away and it begins again at the position that
//! the database holds. Nothing but a database that does not belong to the stream ends the task: calls are taken and
//! worked on without a projector, and it catches up later.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use callfold_kit::backoff::Backoff;
use callfold_kit::bus::{ReadError, StreamState};
use callfold_kit::health::Part;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::metric::{CounterName, GaugeName, HistogramName};
use callfold_kit::{Bus, Lifecycle, Metrics, chain};
use callfold_lead::LeadState;
use callfold_schema::CallSid;
use callfold_schema::subject::LEAD_CHANGED;
use callfold_store::{Batch, Claim, Projection, Resume, StartError, StoreError, WriteLeads};
use rand::RngExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::StateCache;
use crate::config::ProjectorConfig;
use crate::fold::{Blocked, ReadEvents};

/// How often an idle writer says that it is alive, and a waiting one asks again; a fifth of the lease.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long a call to release the claim may take while stopping.
const RELEASE_MAX: Duration = Duration::from_secs(2);
/// Waiting after a failure.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    max: Duration::from_secs(15),
    factor: 2.0,
    jitter: 0.2,
};
/// How many positions without an event are looked at in a row.
const PROBES: u64 = 256;

/// What the projector works with.
pub struct Deps {
    /// Where the events are.
    pub bus: Bus,
    /// Where the leads are.
    pub leads: Arc<dyn WriteLeads>,
    /// Counts and times.
    pub metrics: Metrics,
    /// Where it says whether it is able to work.
    pub health: Part,
    /// The lock of the data folder has seen to it that there is no other projector: a claim that a killed process left
    /// behind is taken over at once.
    pub embedded: bool,
}

/// Why the projector ended.
#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    /// The database does not belong to the stream.
    #[error("the projector does not start")]
    Start(#[source] StartError),
    /// The tables are those of a newer release.
    #[error("the projector cannot write the leads")]
    Store(#[source] StoreError),
    /// The stream is not the one it was.
    #[error("the projector cannot read the stream")]
    Read(#[source] ReadError),
}

/// Runs the projector for the life of the process. Its end, but for a stop, ends the process with a reason.
pub fn start(config: &ProjectorConfig, deps: Deps, lifecycle: &Lifecycle) {
    let projector = Projector {
        cache: StateCache::new(config.cache_bytes_max),
        config: config.clone(),
        writer: format!("{:032x}", rand::rng().random::<u128>()),
        force: deps.embedded,
        deps,
        was_ready: false,
        failures: 0,
        seen: None,
    };
    let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
    lifecycle.spawn("projector", async move {
        tokio::select! {
            ended = projector.run(&soft) => ended.map_err(BoxError::from),
            // A transaction in hand is rolled back.
            () = hard.cancelled() => Ok(()),
        }
    });
}

struct Projector {
    config: ProjectorConfig,
    deps: Deps,
    /// The name it claims under: another one in every process.
    writer: String,
    /// Whether the next claim is taken from whoever holds it.
    force: bool,
    cache: StateCache,
    /// Whether it was caught up once; from then on a lag is work, not a start.
    was_ready: bool,
    /// Terms that failed since the last progress.
    failures: u32,
    /// The position at the beginning of the last term.
    seen: Option<u64>,
}

/// How a term as the writer ended.
enum End {
    /// The soft stop.
    Stopped,
    /// An event that a newer release wrote.
    Blocked(Blocked),
}

/// Why a term ended early.
#[derive(Debug, thiserror::Error)]
enum TermError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Projector {
    async fn run(mut self, soft: &CancellationToken) -> Result<(), ProjectorError> {
        loop {
            let ended = self.term(soft).await;
            // Only what was committed may be remembered, and who committed last is not known any more.
            self.cache.clear();
            let error = match ended {
                Ok(End::Stopped) => return Ok(()),
                Ok(End::Blocked(blocked)) => {
                    self.wait_for_newer(&blocked, soft).await;
                    return Ok(());
                }
                Err(TermError::Start(error)) => return Err(ProjectorError::Start(error)),
                Err(TermError::Store(error @ (StoreError::NewerTables | StoreError::Address(_)))) => {
                    return Err(ProjectorError::Store(error));
                }
                Err(TermError::Read(error @ ReadError::Replaced)) => return Err(ProjectorError::Read(error)),
                Err(error) => error,
            };
            self.failures += 1;
            let pause = BACKOFF.delay(self.failures, &mut rand::rng());
            let text = chain(&error);
            if matches!(error, TermError::Store(StoreError::Fenced)) {
                tracing::warn!("another projector has taken over; standing by");
            } else {
                tracing::error!(error = %text, pause_ms = pause.as_millis(), "the projector was interrupted; it goes on from the stored position");
            }
            self.deps.health.not_ready(text);
            tokio::select! {
                () = soft.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// From the claim to an end, an error, or the loss of the claim.
    async fn term(&mut self, soft: &CancellationToken) -> Result<End, TermError> {
        let Some(projection) = self.claim(soft).await? else {
            return Ok(End::Stopped);
        };
        let ended = self.write(projection, soft).await;
        if ended.is_ok() {
            match tokio::time::timeout(RELEASE_MAX, self.deps.leads.release(&self.writer)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "could not give the claim back; it runs out by itself")
                }
                Err(_) => {
                    tracing::warn!("the database did not take the claim back in time; it runs out by itself")
                }
            }
        }
        ended
    }

    /// Asks until it is the writer; `None` on a stop.
    async fn claim(&mut self, soft: &CancellationToken) -> Result<Option<Projection>, StoreError> {
        loop {
            if soft.is_cancelled() {
                return Ok(None);
            }
            if let Claim::Granted(projection) = self.deps.leads.claim(&self.writer, self.force).await? {
                // Whoever takes it from this process later has a reason.
                self.force = false;
                return Ok(Some(projection));
            }
            self.deps
                .health
                .not_ready("another projector writes the leads; standing by");
            tokio::select! {
                () = soft.cancelled() => return Ok(None),
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
        }
    }

    async fn write(&mut self, projection: Projection, soft: &CancellationToken) -> Result<End, TermError> {
        let stream = self.deps.bus.stream_state().await?;
        let position = match projection.resume(&stream.identity, stream.last)? {
            Resume::After(position) => position,
            Resume::Anew => {
                tracing::info!(stream = %stream.identity, "folding the leads from the first event");
                self.deps.leads.reset(&self.writer, &stream.identity).await?;
                0
            }
        };
        // Whatever failed before, there was progress since.
        if self.seen != Some(position) {
            self.seen = Some(position);
            self.failures = 0;
        }
        let mut term = Term {
            position,
            probed: position,
            caught_up: false,
            stream,
        };
        self.tell_position(&mut term, None);
        let mut reader = self.deps.bus.read_from(position + 1, Vec::new());
        let mut renew = tokio::time::interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut events = Vec::new();
            let (count, bytes) = (self.config.batch_events_max, self.config.batch_bytes_max);
            {
                // Kept across ticks: it opens the reading, which on a slow broker takes longer than from one to the next.
                let mut read = pin!(reader.next_batch(count, bytes, &mut events));
                loop {
                    tokio::select! {
                        biased;
                        () = soft.cancelled() => return Ok(End::Stopped),
                        // Before the events, which may never pause; writing renews as well, so this costs little.
                        _ = renew.tick() => {
                            self.deps.leads.renew(&self.writer).await?;
                            self.look_at_end(&mut term).await?;
                        }
                        read = &mut read => break read?,
                    }
                }
            }
            let pending = events.last().map(|event| event.pending);
            let read = ReadEvents::decode(events);
            let blocked = read.blocked.clone();
            self.commit(read, &mut term).await?;
            if let Some(blocked) = blocked {
                return Ok(End::Blocked(blocked));
            }
            self.tell_position(&mut term, pending);
        }
    }

    /// One transaction, then the notices.
    async fn commit(&mut self, read: ReadEvents, term: &mut Term) -> Result<(), TermError> {
        let begun = Instant::now();
        let folded = read.count();
        let mut states = self.states(read.calls()).await?;
        let Some(batch) = read.fold(&term.stream.identity, term.position, &mut states)? else {
            return Ok(());
        };
        self.deps.leads.apply(&self.writer, &batch).await?;
        term.position = batch.to;
        for state in states.into_values() {
            self.cache.put(state);
        }
        let metrics = &self.deps.metrics;
        metrics.observe(HistogramName::ApplySeconds, &[], begun.elapsed().as_secs_f64());
        metrics.count_many(CounterName::EventsFolded, &[], folded as u64);
        for event in &batch.unreadable {
            tracing::warn!(position = event.position, reason = %event.reason, "passed over an unreadable event");
            metrics.count(CounterName::EventsUnreadable, &[]);
        }
        self.tell_changes(&batch).await;
        Ok(())
    }

    /// The states of calls, from memory where they are there.
    async fn states(&mut self, calls: Vec<CallSid>) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        let mut states = HashMap::with_capacity(calls.len());
        let mut missing = Vec::new();
        for call_sid in calls {
            match self.cache.take(&call_sid) {
                Some(state) => {
                    states.insert(call_sid, state);
                }
                None => missing.push(call_sid),
            }
        }
        if !missing.is_empty() {
            states.extend(self.deps.leads.states(&missing).await?);
        }
        Ok(states)
    }

    /// Notices may be lost: who follows leads reads what changed from the table.
    async fn tell_changes(&self, batch: &Batch) {
        let changed = batch.changes.iter().map(|change| {
            serde_json::json!({
                "call_sid": change.call_sid, "status": change.status, "position": change.position,
            })
        });
        let erased = batch.erased.iter().map(|call| {
            serde_json::json!({ "call_sid": call.call_sid, "status": "erased", "position": call.position })
        });
        for notice in changed.chain(erased) {
            if let Err(error) = self
                .deps
                .bus
                .notify(LEAD_CHANGED, notice.to_string().into())
                .await
            {
                tracing::debug!(error = %chain(&error), "notices of changed leads were lost");
                return;
            }
        }
    }

    /// `pending`: how many events stand behind the last one that was read.
    fn tell_position(&mut self, term: &mut Term, pending: Option<u64>) {
        let lag = pending.unwrap_or(term.stream.last.saturating_sub(term.position));
        let metrics = &self.deps.metrics;
        // Exact up to 2^53, far beyond any stream.
        metrics.set(GaugeName::ProjectorPosition, &[], term.position as f64);
        metrics.set(GaugeName::ProjectorLag, &[], lag as f64);
        if term.caught_up {
            return;
        }
        if lag == 0 || term.position >= term.stream.last || self.was_ready {
            self.caught_up(term);
        } else {
            self.deps
                .health
                .not_ready(format!("catching up: {lag} events behind"));
        }
    }

    fn caught_up(&mut self, term: &mut Term) {
        term.caught_up = true;
        self.was_ready = true;
        self.deps.health.ready();
    }

    /// The end of the stream may consist of deleted events, which the reader never hands out: then nothing is behind.
    async fn look_at_end(&mut self, term: &mut Term) -> Result<(), ReadError> {
        if term.caught_up {
            return Ok(());
        }
        term.probed = term.probed.max(term.position);
        for _ in 0..PROBES {
            if term.probed >= term.stream.last {
                self.deps.metrics.set(GaugeName::ProjectorLag, &[], 0.0);
                self.caught_up(term);
                return Ok(());
            }
            if self.deps.bus.get(term.probed + 1).await?.is_some() {
                return Ok(());
            }
            term.probed += 1;
        }
        Ok(())
    }

    /// The claim is given back, so that a newer release can go on beside this one; this one is done.
    async fn wait_for_newer(&self, blocked: &Blocked, soft: &CancellationToken) {
        let reason = format!(
            "stopped before the event at position {}: {}",
            blocked.position, blocked.reason
        );
        tracing::error!(position = blocked.position, reason = %blocked.reason, "the projector stopped before an event that a newer release wrote; upgrade this one");
        self.deps.health.not_ready(reason);
        soft.cancelled().await;
    }
}

/// What one term as the writer knows.
struct Term {
    /// The last position that is committed.
    position: u64,
    /// Up to here nothing is left in the stream behind `position`.
    probed: u64,
    caught_up: bool,
    /// The stream as it was at the beginning.
    stream: StreamState,
}

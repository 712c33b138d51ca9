//! Folding the leads anew while the old ones serve.
//!
//! A task of its own reads the stream from the first event, folds large windows of it in memory, and writes their rows to the
//! shadow in transactions of about [`STEP`]; the live events go on between them. What it does, in this order, each step
//! one that a restart finds again in the database:
//!
//! 1. *clear* what the shadow holds; *begin*.
//! 2. *fold* up to where the live leads are, about; *index*; fold what came meanwhile.
//! 3. *join*: the live loop stops at a position for a moment, the shadow is brought there, and from then on each batch goes
//!    into both sides in one transaction.
//! 4. *compare* both sides in one snapshot, in which they are at the same position whenever it is taken.
//! 5. *switch*, by the live loop, between two batches. Refused when the same fold has made other rows and nobody said that
//!    this is accepted: then something is wrong that a person should know of, and the shadow is cleared.
//!
//! Invariant: the task never writes the live side, and is dropped with the term of the writer it belongs to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use callfold_kit::bus::ReadError;
use callfold_kit::{Bus, chain};
use callfold_lead::{FOLD_VERSION, LeadState};
use callfold_schema::CallSid;
use callfold_schema::subject::REBUILD_PROGRESS;
use callfold_store::{Batch, Comparison, Shadow, ShadowState, StoreError, UnreadableEvent, WriteLeads};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::config::ProjectorConfig;
use crate::fold::{Folded, ReadEvents, fold_state};

/// How long one transaction takes, about: live events wait for it.
const STEP: Duration = Duration::from_millis(70);
/// Rows of one transaction: the first one's, and the bounds within which later ones follow the time that is taken.
const ROWS: u32 = 250;
const ROWS_MIN: u32 = 50;
const ROWS_MAX: u32 = 4_000;
/// How many times [`ROWS_MIN`] rows wait to be written.
const PIECES: usize = 40;
/// Events and bytes of one reading.
const READ_EVENTS: usize = 2_000;
const READ_BYTES: usize = 4 << 20;
/// How many readings wait to be folded.
const READINGS: usize = 4;
/// From how few events on the live loop may be asked to wait for the rest.
const NEAR: u64 = 2_000;
/// How long nothing has to come before it is looked whether anything is there: the end of a stream may be deleted events.
const IDLE: Duration = Duration::from_millis(250);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often a lock that was not to be had is asked for again.
const RETRY: Duration = Duration::from_millis(100);
/// How many calls that differ are named.
const CALLS_MAX: usize = 20;

/// What is asked of the projector that writes; JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildRequest {
    /// Fold the leads anew, compare, switch.
    Rebuild {
        /// Switch even when the same fold has made other rows.
        accept_differences: bool,
    },
    /// Delete the tables that served before the last switch.
    DropOld,
    /// Say whether one is under way.
    Look,
}

/// Its answer; JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildAnswer {
    /// It begins.
    Begun,
    /// One is under way.
    UnderWay,
    /// None is.
    Idle,
    /// The question does not read: another release asked.
    NotUnderstood,
}

/// How far a rebuild is; JSON on [`REBUILD_PROGRESS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum RebuildProgress {
    /// Old rows go.
    Clearing,
    /// Events are folded.
    Folding {
        /// Up to here.
        position: u64,
        /// The live leads are here.
        of: u64,
    },
    /// Search indexes are made.
    Indexing,
    /// Both sides are compared.
    Comparing,
    /// The rebuilt leads serve.
    Switched {
        /// What the comparison found.
        comparison: Comparison,
        /// Events that were folded by this process, and how long that took, in milliseconds.
        events: u64,
        /// See `events`; indexes, comparison and switch included.
        elapsed_ms: u64,
    },
    /// The same fold has made other rows: the old leads go on serving.
    Refused {
        /// What the comparison found.
        comparison: Comparison,
    },
    /// The old tables are gone.
    Dropped,
    /// It was interrupted; the projector goes on with it by itself.
    Interrupted {
        /// Why.
        reason: String,
    },
}

/// What the task asks of the live loop, which does it between two batches.
pub(crate) enum ToLive {
    /// Stop, say where, and go on when told: with the batches going into both sides, or (dropped) as before.
    Join {
        at: oneshot::Sender<u64>,
        joined: oneshot::Receiver<()>,
    },
    /// Let the shadow serve; the answer is that of [`callfold_store::ShadowLeads::switch`].
    Switch { done: oneshot::Sender<bool> },
    /// Batches go into the live side alone again.
    Part,
}

/// Why a rebuild did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the event at position {position} cannot be read by this release")]
    Newer { position: u64 },
    #[error("the two sides are not at the same position")]
    Apart,
    #[error("the projector's turn is over")]
    Over,
}

/// A rebuild under way; dropped, it ends.
pub(crate) struct Rebuild {
    task: tokio::task::JoinHandle<Result<(), RebuildError>>,
    /// What it asks.
    pub(crate) asks: mpsc::Receiver<ToLive>,
    /// Where the live leads are.
    pub(crate) live: watch::Sender<u64>,
    /// Whether it is to be gone on with when it fails.
    pub(crate) goes_on: bool,
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What to do.
pub(crate) enum Job {
    /// A rebuild: a new one, or the one that the shadow holds half of.
    Rebuild { accept: bool },
    /// Only delete.
    DropOld,
}

/// What it is done with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) bus: Bus,
    pub(crate) leads: Arc<dyn WriteLeads>,
    pub(crate) config: ProjectorConfig,
    pub(crate) writer: String,
    pub(crate) identity: String,
}

impl Rebuild {
    pub(crate) fn start(tools: Tools, job: Job, position: u64) -> Self {
        let (to_live, asks) = mpsc::channel(1);
        let (live, seen) = watch::channel(position);
        let worker = Worker {
            tools,
            to_live,
            live: seen,
            told: None,
            rows: ROWS,
        };
        Self {
            goes_on: matches!(job, Job::Rebuild { .. }),
            task: tokio::spawn(worker.run(job)),
            asks,
            live,
        }
    }

    /// How it ended; called when `asks` is closed.
    pub(crate) async fn ended(&mut self) -> Result<(), RebuildError> {
        (&mut self.task).await.unwrap_or(Err(RebuildError::Over))
    }
}

struct Worker {
    tools: Tools,
    to_live: mpsc::Sender<ToLive>,
    live: watch::Receiver<u64>,
    told: Option<Instant>,
    /// Rows of the next transaction.
    rows: u32,
}

impl Worker {
    async fn run(mut self, job: Job) -> Result<(), RebuildError> {
        let ended = match job {
            Job::DropOld => self.drop_old().await,
            Job::Rebuild { accept } => self.rebuild(accept).await,
        };
        if let Err(error) = &ended {
            let reason = chain(error);
            self.tell(&RebuildProgress::Interrupted { reason }).await;
        }
        ended
    }

    async fn drop_old(&mut self) -> Result<(), RebuildError> {
        self.clear().await?;
        tracing::info!("the old leads are deleted");
        self.tell(&RebuildProgress::Dropped).await;
        Ok(())
    }

    async fn rebuild(&mut self, accept: bool) -> Result<(), RebuildError> {
        let begun = Instant::now();
        let shadow = self.begin(accept).await?;
        tracing::info!(
            position = shadow.position,
            "folding the leads anew beside those that serve"
        );
        let mut fold = ShadowFold::start(&self.tools, shadow.position);
        self.fold_near(&mut fold).await?;
        if shadow.state == ShadowState::Folding {
            self.index().await?;
            self.fold_near(&mut fold).await?;
        }
        self.join(&mut fold).await?;
        let events = fold.events;
        drop(fold);

        self.tell(&RebuildProgress::Comparing).await;
        let comparison = self.tools.leads.compare(CALLS_MAX).await?;
        let comparison = comparison.ok_or(RebuildError::Apart)?;
        let projection = self.tools.leads.shadow().await?;
        if comparison.is_same() {
            tracing::info!(leads = comparison.live, position = comparison.position, hash = %comparison.live_hash, "the rebuilt leads are those that serve");
        } else {
            tracing::warn!(
                position = comparison.position,
                leads = comparison.live,
                different = comparison.different,
                missing = comparison.missing,
                extra = comparison.extra,
                "the rebuilt leads are not those that serve"
            );
        }
        if !comparison.is_same() && !projection.accept {
            self.ask(ToLive::Part).await?;
            self.clear().await?;
            self.tell(&RebuildProgress::Refused { comparison }).await;
            return Ok(());
        }
        loop {
            let (done, switched) = oneshot::channel();
            self.ask(ToLive::Switch { done }).await?;
            if switched.await.map_err(|_| RebuildError::Over)? {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(events, elapsed_ms, "the rebuilt leads serve");
        let switched = RebuildProgress::Switched {
            comparison,
            events,
            elapsed_ms,
        };
        self.tell(&switched).await;
        Ok(())
    }

    /// Goes on with what this release began, else begins.
    async fn begin(&mut self, accept: bool) -> Result<Shadow, RebuildError> {
        let leads = Arc::clone(&self.tools.leads);
        let writer = self.tools.writer.clone();
        let shadow = leads.shadow().await?;
        let is_ours = shadow.fold_version == FOLD_VERSION
            && matches!(shadow.state, ShadowState::Folding | ShadowState::Indexed);
        if is_ours {
            if accept && !shadow.accept {
                leads.shadow_accept(&writer).await?;
            }
            return Ok(shadow);
        }
        if shadow.state != ShadowState::Empty {
            self.clear().await?;
        }
        leads.shadow_begin(&writer, accept).await?;
        Ok(leads.shadow().await?)
    }

    async fn clear(&mut self) -> Result<(), RebuildError> {
        self.tell(&RebuildProgress::Clearing).await;
        loop {
            let begun = Instant::now();
            let rows = self.rows;
            if self.tools.leads.shadow_clear(&self.tools.writer, rows).await? {
                return Ok(());
            }
            self.fit(rows, begun.elapsed());
        }
    }

    async fn index(&mut self) -> Result<(), RebuildError> {
        self.tell(&RebuildProgress::Indexing).await;
        loop {
            let begun = Instant::now();
            let rows = self.rows;
            if self.tools.leads.shadow_index(&self.tools.writer, rows).await? {
                return Ok(());
            }
            self.fit(rows, begun.elapsed());
        }
    }

    /// The next transaction is to take [`STEP`].
    fn fit(&mut self, rows: u32, elapsed: Duration) {
        let factor = (STEP.as_secs_f64() / elapsed.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        // Between the bounds, so the cast loses nothing but the fraction.
        self.rows = (f64::from(rows) * factor).clamp(f64::from(ROWS_MIN), f64::from(ROWS_MAX)) as u32;
    }

    /// Folds until the live leads are near, and writes all of it.
    async fn fold_near(&mut self, fold: &mut ShadowFold) -> Result<(), RebuildError> {
        fold.read_all = false;
        loop {
            let live = *self.live.borrow();
            if fold.position + NEAR >= live || fold.read_all {
                return self.flush(fold).await;
            }
            fold.advance(u64::MAX).await?;
            self.tell_folding(fold, live).await;
            if fold.bytes >= self.tools.config.rebuild_bytes_max {
                self.flush(fold).await?;
            }
        }
    }

    async fn tell_folding(&mut self, fold: &ShadowFold, of: u64) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let position = fold.position;
            self.tell(&RebuildProgress::Folding { position, of }).await;
        }
    }

    /// Brings the shadow to where the live loop waits.
    async fn join(&mut self, fold: &mut ShadowFold) -> Result<(), RebuildError> {
        // Both read the same stream, and this side may have been the faster one.
        let position = fold.position;
        let reached = self.live.wait_for(|live| *live >= position).await;
        reached.map(drop).map_err(|_| RebuildError::Over)?;
        let (at, waits_at) = oneshot::channel();
        let (joined, wait) = oneshot::channel();
        self.ask(ToLive::Join { at, joined: wait }).await?;
        let target = waits_at.await.map_err(|_| RebuildError::Over)?;
        while fold.position < target {
            fold.advance(target).await?;
            if fold.bytes >= self.tools.config.rebuild_bytes_max {
                self.flush(fold).await?;
            }
        }
        self.flush(fold).await?;
        if fold.written != target {
            return Err(RebuildError::Apart);
        }
        joined.send(()).map_err(|()| RebuildError::Over)
    }

    /// Writes the rows of the window in small transactions, the last of which takes the position along. Rows are made on
    /// another thread while the database works.
    async fn flush(&mut self, fold: &mut ShadowFold) -> Result<(), RebuildError> {
        let mut dirty: Vec<CallSid> = fold.dirty.drain().collect();
        dirty.sort_unstable();
        let states: Vec<LeadState> = dirty
            .iter()
            .filter_map(|call_sid| fold.states.remove(call_sid))
            .collect();
        fold.states.clear();
        fold.bytes = 0;
        let (made, mut pieces) = mpsc::channel(PIECES);
        let making = tokio::task::spawn_blocking(move || {
            for states in states.chunks(ROWS_MIN as usize) {
                let piece: Result<Vec<Folded>, StoreError> = states.iter().map(fold_state).collect();
                if made.blocking_send(piece).is_err() {
                    return;
                }
            }
        });
        let mut batch = Batch {
            identity: self.tools.identity.clone(),
            from: fold.written,
            to: fold.written,
            ..Batch::default()
        };
        let mut rows = 0;
        loop {
            let piece = pieces.recv().await.transpose()?;
            let is_last = piece.is_none();
            for call in piece.into_iter().flatten() {
                rows += 1;
                match call {
                    Folded::Lead(change) => batch.changes.push(*change),
                    Folded::Erased(erased) => batch.erased.push(erased),
                }
            }
            if !is_last && rows < self.rows {
                continue;
            }
            if is_last {
                batch.to = fold.position;
                batch.unreadable = std::mem::take(&mut fold.unreadable);
            }
            if rows > 0 || batch.to != batch.from {
                let begun = Instant::now();
                self.tools.leads.shadow_apply(&self.tools.writer, &batch).await?;
                if rows >= self.rows {
                    self.fit(rows, begun.elapsed());
                }
            }
            if is_last {
                break;
            }
            batch.changes.clear();
            batch.erased.clear();
            rows = 0;
        }
        making.await.map_err(|_| RebuildError::Over)?;
        fold.written = fold.position;
        Ok(())
    }

    async fn ask(&self, ask: ToLive) -> Result<(), RebuildError> {
        self.to_live.send(ask).await.map_err(|_| RebuildError::Over)
    }

    /// Progress may be lost: the log and the tables say the same.
    async fn tell(&mut self, progress: &RebuildProgress) {
        self.told = Some(Instant::now());
        let told = match serde_json::to_vec(progress) {
            Ok(bytes) => {
                let sent = self.tools.bus.notify(REBUILD_PROGRESS, bytes.into()).await;
                sent.map_err(|error| chain(&error))
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = told {
            tracing::debug!(error, "the progress of a rebuild was lost");
        }
    }
}

/// The events of the shadow, folded in memory.
struct ShadowFold {
    tools: Tools,
    readings: mpsc::Receiver<Result<Reading, ReadError>>,
    reader: tokio::task::JoinHandle<()>,
    /// Folded up to here.
    position: u64,
    /// Written up to here.
    written: u64,
    /// Nothing came for a while.
    read_all: bool,
    states: HashMap<CallSid, LeadState>,
    dirty: HashSet<CallSid>,
    unreadable: Vec<UnreadableEvent>,
    /// What the window takes, about.
    bytes: usize,
    events: u64,
}

struct Reading {
    read: ReadEvents,
    bytes: usize,
}

impl Drop for ShadowFold {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl ShadowFold {
    /// Reads and decodes in a task of its own: that is as much work as folding.
    fn start(tools: &Tools, position: u64) -> Self {
        let (sender, readings) = mpsc::channel(READINGS);
        let bus = tools.bus.clone();
        let reader = tokio::spawn(async move {
            let mut reader = bus.read_from(position + 1, Vec::new());
            loop {
                let mut events = Vec::new();
                let read = reader.next_batch(READ_EVENTS, READ_BYTES, &mut events).await;
                let reading = read.map(|()| Reading {
                    bytes: events.iter().map(|event| event.payload.len() + 200).sum(),
                    read: ReadEvents::decode(events),
                });
                let last = reading.is_err();
                if sender.send(reading).await.is_err() || last {
                    return;
                }
            }
        });
        Self {
            tools: tools.clone(),
            readings,
            reader,
            position,
            written: position,
            read_all: false,
            states: HashMap::new(),
            dirty: HashSet::new(),
            unreadable: Vec::new(),
            bytes: 0,
            events: 0,
        }
    }

    /// Folds the next reading, up to `target`. When none comes it is looked whether an event is there at all.
    async fn advance(&mut self, target: u64) -> Result<(), RebuildError> {
        let reading = match tokio::time::timeout(IDLE, self.readings.recv()).await {
            Ok(Some(reading)) => reading?,
            Ok(None) => return Err(RebuildError::Over),
            Err(_) => {
                if target == u64::MAX {
                    self.read_all = true;
                    return Ok(());
                }
                while self.position < target && self.tools.bus.get(self.position + 1).await?.is_none() {
                    self.position += 1;
                }
                return Ok(());
            }
        };
        if let Some(blocked) = &reading.read.blocked {
            return Err(RebuildError::Newer {
                position: blocked.position,
            });
        }
        let mut read = reading.read;
        let last = read.last().unwrap_or(self.position);
        // Behind the target the live loop takes over.
        read.cut(target);
        let missing: Vec<CallSid> = read
            .calls()
            .into_iter()
            .filter(|call_sid| !self.states.contains_key(call_sid))
            .collect();
        // In the first window the tables are empty.
        if !missing.is_empty() && self.written > 0 {
            self.states
                .extend(self.tools.leads.shadow_states(&missing).await?);
        }
        self.events += read.count() as u64;
        self.dirty.extend(read.apply(&mut self.states));
        self.unreadable.append(&mut read.unreadable);
        self.position = last.min(target).max(self.position);
        self.bytes += reading.bytes;
        Ok(())
    }
}

//! The workers: threads that take piece after piece, of whichever recording has its turn.
//!
//! There are never more than were asked for, and none while there is nothing to do: what whisper.cpp needs to compute
//! is freed then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use callfold_schema::Lane;
use tokio::sync::oneshot;

use super::decode::{Heard, Order, Tools};
use super::queue::{JobId, Queue};
use super::{lock, worker_lost};
use crate::engine::EngineError;

/// What became of a recording: what was heard in each of its pieces.
type Outcome = Result<Vec<Vec<Heard>>, EngineError>;

/// A recording in work.
struct Job {
    id: Mutex<Option<JobId>>,
    order: Order,
    progress: Mutex<Progress>,
}

struct Progress {
    heard: Vec<Vec<Heard>>,
    left: usize,
    /// Gone when it has been told.
    done: Option<oneshot::Sender<Outcome>>,
}

pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    workers: usize,
    state: Mutex<State>,
    #[cfg(test)]
    history: Mutex<Vec<Step>>,
}

#[derive(Default)]
struct State {
    queue: Queue<Arc<Job>>,
    running: usize,
}

/// What happened, in its order.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Submitted { job: usize },
    Taken { job: usize, piece: usize },
}

/// A worker that is counted as running.
struct Running {
    shared: Arc<Shared>,
    counted: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A worker that was never started, because the runtime is being shut down.
        if self.counted {
            lock(&self.shared.state).running -= 1;
        }
    }
}

/// A job that was handed in. Dropping it takes back what is left and stops what is in hand.
pub(super) struct Submitted {
    shared: Arc<Shared>,
    job: Arc<Job>,
    done: oneshot::Receiver<Outcome>,
}

impl Submitted {
    /// Waits for the outcome. Dropping this future does nothing; the value is what holds the job.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match (&mut self.done).await {
            Ok(outcome) => outcome,
            Err(gone) => Err(worker_lost(gone.into())),
        }
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        self.shared.withdraw(&self.job);
    }
}

impl Pool {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                workers: workers.max(1),
                state: Mutex::default(),
                #[cfg(test)]
                history: Mutex::default(),
            }),
        }
    }

    /// Hands in a recording of at least one piece. Must be called within a runtime.
    pub(super) fn submit(&self, order: Order, lane: Lane) -> Submitted {
        let (tell, done) = oneshot::channel();
        let pieces = order.pieces.len();
        let job = Arc::new(Job {
            id: Mutex::new(None),
            order,
            progress: Mutex::new(Progress {
                heard: (0..pieces).map(|_| Vec::new()).collect(),
                left: pieces,
                done: Some(tell),
            }),
        });
        let mut state = lock(&self.shared.state);
        let id = state.queue.push(Arc::clone(&job), lane, pieces);
        *lock(&job.id) = Some(id);
        #[cfg(test)]
        lock(&self.shared.history).push(Step::Submitted { job: job.number() });
        // As many as there is work for. Those that run take it as well, so this may be more than is needed; they end.
        let start = (self.shared.workers - state.running).min(state.queue.pieces());
        state.running += start;
        drop(state);
        for _ in 0..start {
            let running = Running {
                shared: Arc::clone(&self.shared),
                counted: true,
            };
            tokio::task::spawn_blocking(move || work(running));
        }
        Submitted {
            shared: Arc::clone(&self.shared),
            job,
            done,
        }
    }

    #[cfg(test)]
    pub(super) fn history(&self) -> Vec<Step> {
        lock(&self.shared.history).clone()
    }

    /// Workers that run, and pieces that wait.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        let state = lock(&self.shared.state);
        (state.running, state.queue.pieces())
    }
}

impl Job {
    /// Tells the outcome, once.
    fn tell(&self, outcome: Outcome) {
        if let Some(done) = lock(&self.progress).done.take() {
            // Nobody may be waiting any more.
            let _gone = done.send(outcome);
        }
    }

    fn heard(&self, piece: usize, heard: Vec<Heard>) {
        let mut progress = lock(&self.progress);
        if let Some(place) = progress.heard.get_mut(piece) {
            *place = heard;
        }
        progress.left = progress.left.saturating_sub(1);
        if progress.left == 0 {
            let all = std::mem::take(&mut progress.heard);
            drop(progress);
            self.tell(Ok(all));
        }
    }

    #[cfg(test)]
    fn number(&self) -> usize {
        lock(&self.id).map_or(usize::MAX, JobId::number)
    }
}

impl Shared {
    fn withdraw(&self, job: &Job) {
        job.order.abort.raise();
        let id = *lock(&job.id);
        if let Some(id) = id {
            lock(&self.state).queue.remove(id);
        }
    }

    /// The next piece; `None`: there is none, and the worker no longer counts as running. Both are one step, so that
    /// work that comes just then finds a worker or starts one.
    fn next(&self, running: &mut Running) -> Option<(Arc<Job>, usize)> {
        let mut state = lock(&self.state);
        let next = state.queue.take();
        match &next {
            Some(_taken) => {
                #[cfg(test)]
                lock(&self.history).push(Step::Taken {
                    job: _taken.0.number(),
                    piece: _taken.1,
                });
            }
            None => {
                state.running -= 1;
                running.counted = false;
            }
        }
        next
    }
}

fn work(mut running: Running) {
    let shared = Arc::clone(&running.shared);
    let mut tools = Tools::default();
    while let Some((job, piece)) = shared.next(&mut running) {
        let outcome = catch_unwind(AssertUnwindSafe(|| tools.recognise(&job.order, piece)));
        match outcome {
            Ok(Ok(heard)) => job.heard(piece, heard),
            Ok(Err(error)) => {
                job.tell(Err(error));
                shared.withdraw(&job);
            }
            Err(_panic) => {
                // Nothing is known of what it left behind.
                tools = Tools::default();
                job.tell(Err(worker_lost("the worker panicked".into())));
                shared.withdraw(&job);
            }
        }
    }
}

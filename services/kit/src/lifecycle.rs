//! Stopping is designed: a soft stop lets work in hand finish, a hard stop ends what is left after a grace period.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Any error that can cross a task.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// How a process ended that should have gone on.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// A task failed.
    #[error("the task `{name}` failed")]
    Failed {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A task ended though nobody asked it to.
    #[error("the task `{name}` ended by itself")]
    Ended {
        /// Which one.
        name: String,
    },
    /// A task panicked.
    #[error("the task `{name}` panicked")]
    Panicked {
        /// Which one.
        name: String,
    },
    /// Tasks were still running after the hard stop.
    #[error("tasks were still running when the time for stopping was over")]
    Stuck,
}

/// The life of a process, or of one stack of services in a test.
#[derive(Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<Mutex<Option<LifecycleError>>>,
}

impl Lifecycle {
    /// A running one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when no new work is to be taken.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when work in hand is to be dropped.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Runs a task for the life of the process. Its end before the soft stop, and an error at any time, stop everything.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let name = name.into();
        let this = self.clone();
        let inner = self.tasks.spawn(future);
        self.tasks.spawn(async move {
            let failure = match inner.await {
                Ok(Ok(())) if this.soft.is_cancelled() => return,
                Ok(Ok(())) => LifecycleError::Ended { name },
                Ok(Err(source)) => LifecycleError::Failed { name, source },
                Err(_) => LifecycleError::Panicked { name },
            };
            // The first failure is the cause; what follows it is its effect.
            this.failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(failure);
            this.soft.cancel();
        });
    }

    /// Runs a piece of work that is waited for when stopping, and whose end means nothing.
    pub fn track<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(future);
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits until a stop was asked for, lets work finish for `grace`, then ends what is left.
    pub async fn stopped(&self, grace: Duration) -> Result<(), LifecycleError> {
        self.soft.cancelled().await;
        self.tasks.close();
        let mut stuck = false;
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.hard.cancel();
            stuck = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait())
                .await
                .is_err();
        }
        self.hard.cancel();
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failure),
            None if stuck => Err(LifecycleError::Stuck),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_an_error_with_its_name() {
        let life = Lifecycle::new();
        life.spawn("reader", async { Ok(()) });
        let error = life
            .stopped(Duration::from_secs(5))
            .await
            .expect_err("it ended by itself");
        assert_eq!(error.to_string(), "the task `reader` ended by itself");
    }

    #[tokio::test]
    async fn a_soft_stop_waits_for_work_and_a_hard_stop_ends_it() {
        let life = Lifecycle::new();
        let (soft, hard) = (life.soft(), life.hard());
        life.spawn("quick", async move {
            soft.cancelled().await;
            Ok(())
        });
        life.spawn("slow", async move {
            hard.cancelled().await;
            Ok(())
        });
        life.stop();
        life.stopped(Duration::from_millis(10)).await.expect("both end");
    }
}

//! Reading the file again when it changed.
//!
//! It is looked at, not subscribed to: that works on every file system, through links and mounted folders. A change is
//! taken when the file has looked the same for one look, so a file that is being written is not read in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::file::{self, Stamp};
use super::{Book, LoadError, Numbers};
use crate::chain::chain;
use crate::health::Part;
use crate::lifecycle::Lifecycle;
use crate::metric::{GaugeName, Metrics};

/// How often the file is looked at.
pub const POLL: Duration = Duration::from_millis(500);

/// What is known of the file.
#[derive(Clone, Copy)]
struct Known {
    /// How it looked at the last look.
    seen: Stamp,
    /// How it looked when it was read last, with or without mistakes; `None` while it cannot be read.
    read: Option<Stamp>,
}

/// What a look at the file led to.
enum Looked {
    /// It is as it was, or not at rest yet.
    Nothing,
    Taken(Book),
    Refused(LoadError),
    Gone,
}

impl Numbers {
    /// Follows the file for the life of the process. `part` is not ready while the file says something else than what is
    /// in force; it should not gate readiness, for calls are taken all the same.
    pub fn watch(&self, lifecycle: &Lifecycle, part: Part, metrics: Metrics) {
        self.watch_every(POLL, lifecycle, part, metrics);
    }

    /// The same, looking at the file in another rhythm.
    pub fn watch_every(&self, every: Duration, lifecycle: &Lifecycle, part: Part, metrics: Metrics) {
        tell_loaded(&self.book(), &part, &metrics);
        let Some(path) = self.inner.path.clone() else {
            return;
        };
        let (numbers, soft) = (self.clone(), lifecycle.soft());
        lifecycle.spawn("numbers", async move {
            let mut tick = tokio::time::interval(every);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let loaded = numbers.inner.loaded;
            let mut known = Known {
                seen: loaded,
                read: Some(loaded),
            };
            let mut told = None;
            loop {
                // Both arms only wait: nothing is lost when one of them is dropped.
                tokio::select! {
                    () = soft.cancelled() => return Ok(()),
                    _ = tick.tick() => {}
                }
                let (this, path) = (numbers.clone(), path.clone());
                let looking = tokio::task::spawn_blocking(move || {
                    let mut known = known;
                    let looked = this.look(path, &mut known);
                    (known, looked)
                });
                let (now, looked) = looking.await?;
                known = now;
                let (problem, count) = match looked {
                    Looked::Nothing => continue,
                    Looked::Taken(book) => {
                        tracing::info!(
                            numbers = book.numbers.len(),
                            "the settings of numbers were read again"
                        );
                        tell_loaded(&book, &part, &metrics);
                        numbers.inner.book.send_replace(Arc::new(book));
                        told = None;
                        continue;
                    }
                    Looked::Refused(error) => {
                        let what = chain(&error);
                        // What cannot be read is tried again at every look, and told once; another file with the same
                        // mistake is told again.
                        let now = (known.seen, what.clone());
                        if told.as_ref() == Some(&now) {
                            continue;
                        }
                        tracing::error!(
                            "the settings of numbers that were read before stay in force: {what}"
                        );
                        told = Some(now);
                        (error.brief(), error.count())
                    }
                    Looked::Gone => {
                        told = None;
                        tracing::warn!(
                            "the file of the numbers' settings is gone; those read before stay in force"
                        );
                        ("the file is gone".to_owned(), 1)
                    }
                };
                part.not_ready(format!("{problem}; the settings read before stay in force"));
                metrics.set(GaugeName::NumbersMistakes, &[], count as f64);
            }
        });
    }

    fn look(&self, path: PathBuf, known: &mut Known) -> Looked {
        let stamp = Stamp::of(&path);
        let is_at_rest = std::mem::replace(&mut known.seen, stamp) == stamp;
        if !is_at_rest || known.read == Some(stamp) {
            return Looked::Nothing;
        }
        let looked = match file::read(&path, &self.inner.check) {
            Ok((book, stamp)) => {
                known.read = Some(stamp);
                return Looked::Taken(book);
            }
            Err(error @ LoadError::Mistakes { .. }) => Looked::Refused(error),
            Err(error) if error.is_absence() => Looked::Gone,
            // The next looks see what became of it.
            Err(LoadError::Unsettled(_)) => return Looked::Nothing,
            Err(error) => {
                known.read = None;
                return Looked::Refused(error);
            }
        };
        known.read = Some(stamp);
        looked
    }
}

fn tell_loaded(book: &Book, part: &Part, metrics: &Metrics) {
    for remark in &book.remarks {
        tracing::warn!("{remark}");
    }
    metrics.set(GaugeName::NumbersMistakes, &[], 0.0);
    match (book.is_from_file, book.numbers.len()) {
        (false, _) => part.ready(),
        (true, count) => part.ready_with(format!("numbers with settings of their own: {count}")),
    }
}

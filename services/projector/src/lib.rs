//! All events, in order → the read model.
//!
//! [`start`] reads the stream behind the position that the database holds, folds what it reads with `callfold-lead`,
//! and writes rows, states and position in one transaction; then it says on `callfold.lead.changed` what changed.
//!
//! **Duplicates.** The ordered reader may hand out an event again after a reconnection, and a transaction whose answer
//! was lost is tried again. Both are harmless: the fold keeps one event a key, and a write that does not start from the
//! stored position changes nothing.

mod cache;
mod config;
mod fold;
mod rebuild;
mod run;

pub use config::ProjectorConfig;
pub use rebuild::{RebuildAnswer, RebuildProgress, RebuildRequest};
pub use run::{Deps, ProjectorError, start};

//! The fold: the events of one call → its lead. Pure: no clock, no store, no async.
//!
//! [`LeadState`] is a map from (kind, key) to event in which the lowest position wins a key; [`lead_view`] is a
//! function of that map. So for a fixed set of (position, event) any order and any repetition gives the same
//! [`Lead`]. `order.rs` says what late, repeated and missing events mean.
//!
//! A new kind of event needs an arm in `fold.rs` and, when it changes rows, a higher [`FOLD_VERSION`].

mod fold;
mod lead;
mod order;
mod state;
mod story;
#[cfg(test)]
mod tests;
mod travel;

pub use callfold_schema::event::Disposition;
pub use fold::{PersonChange, RunResult, RunTranscript, changes_after, corrections, lead_view, run_result};
pub use lead::{
    CallInfo, CallerInfo, Engines, FailedEngine, Lead, LeadRecording, LeadRun, LeadSegment, Moment,
    NoMessage, NoMessageReason, OutputRuns, RecordingState, Rerun, RerunState, RowHash, StageState,
    StageView, Stages, Status,
};
pub use state::{LeadState, StateError, StateEvent};
pub use story::{Told, tell};
pub use travel::At;

/// Which fold made a row. Raised whenever the same events give another row or another state; tables folded by an
/// older one are folded again.
pub const FOLD_VERSION: u32 = 4;

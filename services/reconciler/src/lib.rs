//! What should have come and did not.
//!
//! Its first half: deadlines. A call whose recording does not come ends as `RecordingMissing`, so that no card waits for
//! ever. Deciding is pure ([`deadline`]); [`run`] reads the stream and publishes. Beside it re-runs begin here ([`rerun`]).

pub mod config;
pub mod deadline;
pub mod rerun;
mod run;

pub use config::ReconcilerConfig;
pub use run::run;

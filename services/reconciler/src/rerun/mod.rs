//! Re-runs: how a request becomes work for the stages, and campaigns of many requests.
//!
//! **How a re-run begins.** Whoever asks publishes `reprocess_requested`, which names the run whose result is the input for
//! each recording. The *starter* ([`run_starter`]), a durable consumer, fetches each input by exact subject and publishes it
//! once more in the lane `again` with the new run in its key. So the stages stay as they are: a re-run is an input like any
//! other in a lane that gives way to new calls, with attempts, retries and failures of its own, and a run holds all that is
//! needed to understand it: a result never depends on what other runs are shown. The alternative, a third durable consumer
//! in each stage, would put the choice of the input and its failures into three places, and a third lane into the order
//! that protects new calls. What it costs is a copy of the input: some hundred bytes of a recording, a transcript where only
//! the summary is made again.
//!
//! What is asked for besides (engine, model, a remark for the model) the stages look up by exact subject
//! ([`callfold_kit::stage::Job::request`]).
//!
//! **Campaigns** ([`campaign`]) are kept in the broker, outside the stream; the runner ([`run_campaigns`]) publishes their
//! requests one after the other at the rate that was asked for.

pub mod campaign;
mod runner;
mod starter;
#[cfg(test)]
mod tests;

pub use runner::run_campaigns;
pub use starter::{PERSON, run_starter};

//! The stage `summarize`: `TranscriptReady` → `SummaryReady`.
//!
//! A chat model is asked where a key is set; otherwise, and whenever the model fails, sentences of the message itself
//! are chosen by rule. Deciding is pure ([`prompt`], [`answer`], [`extractive`]); only [`model`] speaks to a server.

pub mod answer;
pub mod config;
pub mod extractive;
pub mod handler;
pub mod model;
pub mod prompt;
mod summary;
mod text;

use std::sync::Arc;

use callfold_kit::Bus;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::metric::Metrics;
use callfold_kit::stage::{StageDeps, run_stage};

pub use config::{ModelConfig, SummarizerConfig};
pub use handler::{AskFirst, Summarizer};
pub use summary::{POINT_CHARS_MAX, POINTS_MAX, Summary, TITLE_CHARS_MAX};

/// The handler of these settings.
///
/// # Errors
/// The HTTP client cannot be made.
pub fn build(config: &SummarizerConfig, metrics: Metrics) -> Result<Summarizer, BoxError> {
    let ask_first = match &config.model {
        None => None,
        Some(model) => {
            let http = callfold_kit::http::client_builder().build()?;
            Some(AskFirst {
                model: Arc::new(model::OpenAi::new(
                    http,
                    &model.base_url,
                    &model.api_key,
                    &model.model,
                )),
                budget: model.budget,
                retry_pause: model.retry_pause,
            })
        }
    };
    Ok(Summarizer::new(ask_first, metrics))
}

/// Runs the stage until the soft stop; then finishes what is in hand.
///
/// # Errors
/// The stage cannot be set up, or the broker refuses it for good.
pub async fn run(bus: Bus, config: SummarizerConfig, deps: StageDeps) -> Result<(), BoxError> {
    let handler = build(&config, deps.metrics.clone())?;
    run_stage(bus, Arc::new(handler), config.policy, deps).await
}

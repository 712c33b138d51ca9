//! The stage `summarize`: `TranscriptReady` → `SummaryReady`.
//!
//! A chat model is asked where a key is set; otherwise, and whenever the model fails, sentences of the message itself
//! are chosen by rule. Deciding is pure ([`prompt`], [`extractive`], and what holds an answer against the transcript); only
//! [`model`] speaks to a server.

mod answer;
mod aside;
mod ask;
mod check;
pub mod config;
pub mod extractive;
mod ground;
pub mod handler;
pub mod hints;
pub mod model;
mod numbers;
mod parts;
pub mod prompt;
mod repeat;
mod rest;
mod summary;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod words;

use std::sync::Arc;

use callfold_kit::lifecycle::BoxError;
use callfold_kit::stage::{StageDeps, run_stage};
use callfold_kit::{Bus, Health, Metrics, Numbers, SharedClock};

pub use config::{ModelConfig, SummarizerConfig};
pub use handler::{AskFirst, Summarizer};
pub use hints::{Hints, HintsFor, NoHints, NumberHints};
pub use summary::{
    NAME_CHARS_MAX, POINT_CHARS_MAX, POINTS_MAX, Summary, TITLE_CHARS_MAX, TOPIC_CHARS_MAX, WORDS_MAX,
    WORDS_MIN,
};

/// What the handler needs besides its settings.
#[derive(Clone)]
pub struct Deps {
    /// Where it is read which number a call was made to.
    pub bus: Bus,
    /// The settings of single numbers.
    pub numbers: Numbers,
    /// The time of day.
    pub clock: SharedClock,
    /// Where to count.
    pub metrics: Metrics,
    /// The process's health; a part `summary-model` is added where there is a model.
    pub health: Health,
}

/// The handler of these settings.
///
/// # Errors
/// The HTTP client cannot be made.
pub fn build(config: &SummarizerConfig, deps: Deps) -> Result<Summarizer, BoxError> {
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
                    Arc::clone(&deps.clock),
                )),
                budget: model.budget,
                retry_pause: model.retry_pause,
                input_tokens: model.input_tokens,
            })
        }
    };
    let hints = Arc::new(NumberHints::new(deps.bus, deps.numbers));
    let has_model = ask_first.is_some();
    let summarizer = Summarizer::new(ask_first, deps.metrics).with_hints(hints);
    if !has_model {
        return Ok(summarizer);
    }
    let part = deps.health.part("summary-model", false);
    Ok(summarizer.told(part, deps.clock))
}

/// Runs the stage until the soft stop; then finishes what is in hand.
///
/// # Errors
/// The stage cannot be set up, or the broker refuses it for good.
pub async fn run(
    bus: Bus,
    numbers: Numbers,
    health: Health,
    config: SummarizerConfig,
    deps: StageDeps,
) -> Result<(), BoxError> {
    let handler = build(
        &config,
        Deps {
            bus: bus.clone(),
            numbers,
            clock: Arc::clone(&deps.clock),
            metrics: deps.metrics.clone(),
            health,
        },
    )?;
    run_stage(bus, Arc::new(handler), config.policy, deps).await
}

//! One transcript → one summary.
//!
//! **Failures.** None of the model's failures fails the attempt: the offline summary takes its place at once, with the
//! failure in `failed_engines`, so a card never waits for a model. A later re-run can replace it. The stage itself only
//! fails when the process is stopped.
//!
//! **Duplicates.** A transcript may come again; the model is then asked again, and the first summary recorded stays.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::metric::{CounterName, Metrics};
use callfold_kit::stage::{Failure, Job, Outcome, StageHandler};
use callfold_schema::event::{EngineFailure, FailureClass, SummaryReady};
use callfold_schema::{Event, Stage};
use tokio::time::{Instant, timeout_at};

use crate::extractive;
use crate::model::{ChatModel, ModelError, Reply};
use crate::summary::Summary;
use crate::{answer, prompt};

/// Most questions to the model for one summary.
const TRIES_MAX: u32 = 2;

/// The model to ask first, and for how long.
pub struct AskFirst {
    /// The model.
    pub model: Arc<dyn ChatModel>,
    /// How long it may take, all tries together.
    pub budget: Duration,
    /// The pause before another try, unless the server names one.
    pub retry_pause: Duration,
}

/// The handler of the stage `summarize`.
pub struct Summarizer {
    ask_first: Option<AskFirst>,
    metrics: Metrics,
}

impl Summarizer {
    /// `ask_first`: `None` for the offline summary only.
    #[must_use]
    pub fn new(ask_first: Option<AskFirst>, metrics: Metrics) -> Self {
        Self { ask_first, metrics }
    }

    /// The summary of a text in which something was said; `None` when nothing was.
    async fn summarize(&self, text: &str) -> Option<SummaryReady> {
        let began = Instant::now();
        // Also decides whether there is anything to summarise: a model makes something up for silence.
        let offline = extractive::summarize(text)?;
        let mut failed_engines = Vec::new();
        if let Some(ask_first) = &self.ask_first {
            let engine = ask_first.model.engine();
            match ask(ask_first, text).await {
                Ok((summary, reply)) => {
                    self.count(engine, "ok");
                    return Some(SummaryReady {
                        model: ask_first.model.model().to_owned(),
                        prompt_version: prompt::PROMPT_VERSION,
                        tokens_in: reply.tokens_in,
                        tokens_out: reply.tokens_out,
                        ..event(summary, engine, Vec::new(), began)
                    });
                }
                Err(error) => {
                    self.count(engine, error.class.token());
                    tracing::warn!(
                        engine,
                        "the model gave no summary, the offline one takes its place: {error}"
                    );
                    failed_engines.push(EngineFailure {
                        engine: engine.to_owned(),
                        class: error.class,
                        text: error.text,
                        elapsed_ms: elapsed_ms(began),
                    });
                }
            }
        }
        self.count(extractive::ENGINE, "ok");
        Some(event(offline, extractive::ENGINE, failed_engines, began))
    }

    fn count(&self, engine: &str, outcome: &str) {
        let labels = [
            ("stage", Stage::Summarize.token()),
            ("engine", engine),
            ("outcome", outcome),
        ];
        self.metrics.count(CounterName::EngineCalls, &labels);
    }
}

#[async_trait]
impl StageHandler for Summarizer {
    fn stage(&self) -> Stage {
        Stage::Summarize
    }

    async fn handle(&self, job: &Job) -> Outcome {
        let Event::TranscriptReady(transcript) = &job.record.event else {
            return Outcome::Reject(Failure::new(
                FailureClass::Internal,
                "the input is not a transcript",
            ));
        };
        // Dropping a question to a model is harmless: it is asked again.
        tokio::select! {
            biased;
            () = job.cancel.cancelled() => Outcome::Waiting { text: "stopped".to_owned(), after: Duration::ZERO },
            summary = self.summarize(&transcript.text) => summary.map_or(Outcome::Nothing, Outcome::done),
        }
    }
}

/// The extractive event; a model's fills in the rest.
fn event(summary: Summary, engine: &str, failed_engines: Vec<EngineFailure>, began: Instant) -> SummaryReady {
    SummaryReady {
        title: summary.title().to_owned(),
        points: summary.points().to_vec(),
        text: summary.text(),
        engine: engine.to_owned(),
        model: String::new(),
        prompt_version: extractive::RULES_VERSION,
        failed_engines,
        tokens_in: None,
        tokens_out: None,
        elapsed_ms: elapsed_ms(began),
    }
}

fn elapsed_ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Asks the model within its budget; once more when the failure may pass by itself.
async fn ask(ask_first: &AskFirst, text: &str) -> Result<(Summary, Reply), ModelError> {
    let end = Instant::now() + ask_first.budget;
    let user = prompt::user(text);
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match timeout_at(end, ask_first.model.ask(prompt::SYSTEM, &user)).await {
            Err(_) => {
                return Err(ModelError::new(
                    FailureClass::Timeout,
                    "the model did not answer in time",
                ));
            }
            Ok(Err(error)) => error,
            Ok(Ok(reply)) => {
                return match answer::parse(&reply.text) {
                    Ok(summary) => Ok((summary, reply)),
                    Err(error) => Err(ModelError::new(FailureClass::Invalid, error.to_string())),
                };
            }
        };
        let pause = error.retry_after.unwrap_or(ask_first.retry_pause);
        let again = Instant::now().checked_add(pause).filter(|again| *again < end);
        match again {
            Some(again) if error.is_passing() && tries < TRIES_MAX => tokio::time::sleep_until(again).await,
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;

//! One transcript → one summary.
//!
//! **Failures.** None of the model's failures fails the attempt: the offline summary takes its place at once, with the
//! failure in `failed_engines`, so a card never waits for a model. A later re-run can replace it. A model that keeps failing
//! rests: then nobody waits for it at all. The stage itself only fails when the process is stopped, or where a re-run asked
//! for an engine: who compares models is not helped by the offline summary in place of one.
//!
//! **Numbers that keep their calls here.** No model hears of their calls. While it is not known which number was called,
//! and some number is such a one, the transcript waits.
//!
//! **Duplicates.** A transcript may come again; the model is then asked again, and the first summary recorded stays.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::SharedClock;
use callfold_kit::breaker::BreakerPolicy;
use callfold_kit::health::Part;
use callfold_kit::metric::{CounterName, Metrics};
use callfold_kit::stage::{Failure, Job, Outcome, StageHandler};
use callfold_schema::event::{EngineFailure, FailureClass, SummaryReady};
use callfold_schema::{CallSid, Event, Stage};
use tokio::time::Instant;

use crate::aside::{Panicked, aside};
use crate::ask::{Asker, share};
use crate::extractive::{self, Details};
use crate::hints::{self, HintsFor, NoHints};
use crate::model::{ChatModel, ModelError};
use crate::prompt;
use crate::rest::ModelRest;
use crate::summary::Summary;

/// The share of the budget that looking up the business's hints may take, in percent.
const HINTS_PERCENT: u32 = 25;

/// The model to ask first, and for how long.
pub struct AskFirst {
    /// The model.
    pub model: Arc<dyn ChatModel>,
    /// How long it may take, all parts and tries together, and the look-up of the business's hints.
    pub budget: Duration,
    /// The pause before the second try, unless the server names one; then it doubles.
    pub retry_pause: Duration,
    /// How many tokens of a transcript, by an estimate, stand in one question; a longer one is summarised in parts.
    pub input_tokens: usize,
}

/// The handler of the stage `summarize`.
pub struct Summarizer {
    /// The model, and whether it rests.
    ask_first: Option<(AskFirst, ModelRest)>,
    hints: Arc<dyn HintsFor>,
    metrics: Metrics,
}

impl Summarizer {
    /// `ask_first`: `None` for the offline summary only.
    #[must_use]
    pub fn new(ask_first: Option<AskFirst>, metrics: Metrics) -> Self {
        let with_rest = |ask_first: AskFirst| {
            let rest = ModelRest::new(
                ask_first.model.engine(),
                BreakerPolicy::default(),
                metrics.clone(),
            );
            (ask_first, rest)
        };
        Self {
            ask_first: ask_first.map(with_rest),
            hints: Arc::new(NoHints),
            metrics,
        }
    }

    /// With what the businesses say of themselves.
    #[must_use]
    pub fn with_hints(self, hints: Arc<dyn HintsFor>) -> Self {
        Self { hints, ..self }
    }

    /// With `part` telling from now on how the model is, where there is one.
    #[must_use]
    pub fn told(self, part: Part, clock: SharedClock) -> Self {
        let ask_first = self.ask_first;
        Self {
            ask_first: ask_first.map(|(ask_first, rest)| (ask_first, rest.told(part, clock))),
            ..self
        }
    }

    /// What a re-run was asked for with, beside what stands in the settings.
    fn wished(&self, job: &Job) -> Result<Wish<'_>, Failure> {
        let settings = self.ask_first.as_ref();
        let standard = |prompt| Wish {
            model: settings.map(|(settings, rest)| (settings, rest, None)),
            prompt,
            is_strict: false,
        };
        let Some(request) = &job.request else {
            return Ok(standard(None));
        };
        let (engine, model) = request.wish(Stage::Summarize);
        let prompt = request.prompt.clone();
        let missing = |text: &str| Err(Failure::new(FailureClass::NotFound, text));
        match (engine, model, settings) {
            (None, None, _) => Ok(standard(prompt)),
            (Some(extractive::ENGINE), None, _) => Ok(Wish {
                model: None,
                prompt: None,
                is_strict: true,
            }),
            (Some(extractive::ENGINE), Some(_), _) => missing("the offline summary has no models"),
            (_, _, None) => missing("the engine that was asked for is not there: no chat model is set"),
            (Some(engine), _, Some((settings, _))) if engine != settings.model.engine() => missing(
                "the engine that was asked for is not there; there are: the chat model of the settings, extractive",
            ),
            (_, Some(model), Some((settings, rest))) if model != settings.model.model() => {
                match settings.model.named(model) {
                    Some(named) => Ok(Wish {
                        model: Some((settings, rest, Some(named))),
                        prompt,
                        is_strict: true,
                    }),
                    None => missing("the engine has no model of the name that was asked for"),
                }
            }
            (_, _, Some((settings, rest))) => Ok(Wish {
                model: Some((settings, rest, None)),
                prompt,
                is_strict: true,
            }),
        }
    }

    /// The summary of a text in which something was said; `None` when nothing was. `Err`: what becomes of the job instead.
    async fn summarize(
        &self,
        call: &CallSid,
        text: &str,
        wish: Wish<'_>,
    ) -> Result<Option<SummaryReady>, Outcome> {
        let began = Instant::now();
        let text: Arc<str> = text.into();
        // Also decides whether there is anything to summarise: a model makes something up for silence.
        let said = Arc::clone(&text);
        let by_rule = aside(move || extractive::summarize(&said)).await;
        let Some((offline, by_rule)) = by_rule.map_err(failed)? else {
            return Ok(None);
        };
        let mut failed_engines = Vec::new();
        let mut asked = None;
        if let Some((ask_first, rest, named)) = &wish.model {
            let chat = named.as_ref().unwrap_or(&ask_first.model);
            let engine = chat.engine();
            let until = share(began + ask_first.budget, HINTS_PERCENT);
            let hints = hints::look_up(self.hints.as_ref(), call, engine, until).await?;
            if hints.is_none() && wish.is_strict {
                let text = format!("the settings of the number keep what was said from {engine}");
                return Err(Outcome::Reject(Failure::new(FailureClass::NotAllowed, text)));
            }
            asked = hints.map(|hints| (*ask_first, *rest, chat, hints));
        }
        if let Some((ask_first, rest, chat, mut hints)) = asked {
            let (engine, model) = (chat.engine(), chat.model());
            let end = began + ask_first.budget;
            if let Some(wished) = wish.prompt {
                // The newest wish first: what is too long is cut at its end.
                let before = hints.prompt.map_or(String::new(), |before| format!("\n{before}"));
                hints.prompt = Some(wished + &before);
            }
            let system = prompt::system(&hints);
            let asker = Asker::new(ask_first, chat);
            let told = match rest.take() {
                Ok(turn) => {
                    let told = asker.summarize(&system, &text, &by_rule, end).await;
                    rest.settle(turn, told.as_ref().err(), asker.spent().tries);
                    told
                }
                Err(resting) => Err(resting),
            };
            let spent = asker.spent();
            match told {
                Ok(told) => {
                    self.count(engine, "ok");
                    return Ok(Some(SummaryReady {
                        model: model.to_owned(),
                        prompt_version: prompt::PROMPT_VERSION,
                        parts: told.parts,
                        tries: spent.tries,
                        tokens_in: spent.tokens_in,
                        tokens_out: spent.tokens_out,
                        ..event(told.summary, told.details, engine, Vec::new(), began)
                    }));
                }
                Err(error) => {
                    self.count(engine, error.class.token());
                    if wish.is_strict {
                        return Err(not_as_wished(error));
                    }
                    let tries = spent.tries;
                    tracing::warn!(
                        call.id = %call,
                        engine,
                        tries,
                        "the model gave no summary of call {call}, the offline one takes its place: {error}"
                    );
                    failed_engines.push(EngineFailure {
                        engine: engine.to_owned(),
                        model: model.to_owned(),
                        class: error.class,
                        text: match tries {
                            0 | 1 => error.text,
                            _ => format!("{} ({tries} tries)", error.text),
                        },
                        elapsed_ms: elapsed_ms(began),
                    });
                }
            }
        }
        self.count(extractive::ENGINE, "ok");
        let summary = event(offline, by_rule, extractive::ENGINE, failed_engines, began);
        Ok(Some(summary))
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
        let wish = match self.wished(job) {
            Ok(wish) => wish,
            Err(failure) => return Outcome::Reject(failure),
        };
        // Dropping a question to a model is harmless: it is asked again.
        tokio::select! {
            biased;
            () = job.cancel.cancelled() => Outcome::Waiting { text: "stopped".to_owned(), after: Duration::ZERO },
            summary = self.summarize(&job.call_sid, &transcript.text, wish) => match summary {
                Ok(summary) => summary.map_or(Outcome::Nothing, Outcome::done),
                Err(outcome) => outcome,
            },
        }
    }
}

/// The settings of the model to ask, whether it rests, and another model of the same server.
type Wished<'a> = (&'a AskFirst, &'a ModelRest, Option<Arc<dyn ChatModel>>);

/// With what a transcript is summarised.
struct Wish<'a> {
    /// The model to ask; `None`: only the offline summary.
    model: Option<Wished<'a>>,
    /// What the model is told besides.
    prompt: Option<String>,
    /// Whether it was asked for by name: then nothing takes its place.
    is_strict: bool,
}

/// The model that was asked for by name gave no summary.
fn not_as_wished(error: ModelError) -> Outcome {
    let failure = Failure {
        class: error.class,
        text: error.text,
        after: error.retry_after,
    };
    if error.is_passing || error.class == FailureClass::Resting {
        Outcome::Retry(failure)
    } else {
        Outcome::Reject(failure)
    }
}

/// Without rules there is neither a summary nor anything to hold a model's against.
fn failed(error: Panicked) -> Outcome {
    Outcome::Retry(Failure::new(FailureClass::Internal, error.to_string()))
}

/// The extractive event; a model's fills in the rest.
fn event(
    summary: Summary,
    details: Details,
    engine: &str,
    failed_engines: Vec<EngineFailure>,
    began: Instant,
) -> SummaryReady {
    SummaryReady {
        title: summary.title().to_owned(),
        points: summary.points().to_vec(),
        text: summary.text(),
        caller_name: details.caller_name,
        callback_number: details.callback_number,
        topic: details.topic,
        urgency: details.urgency,
        engine: engine.to_owned(),
        model: String::new(),
        prompt_version: extractive::RULES_VERSION,
        failed_engines,
        parts: 1,
        tries: 0,
        tokens_in: None,
        tokens_out: None,
        elapsed_ms: elapsed_ms(began),
    }
}

fn elapsed_ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

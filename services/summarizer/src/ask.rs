//! From a transcript to a model's summary, within a budget of time.
//!
//! A question whose failure may pass (429, 5xx, no answer in time, a broken connection, an answer cut off) is asked again
//! after a pause; one hanging try leaves room for another. An answer with something wrong in it is asked for once more.
//! A transcript that is too long for one question is summarised in parts, then those are; where some of the parts fail, the
//! offline summary of such a part takes its place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callfold_schema::event::FailureClass;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::answer::{self, Draft};
use crate::aside::{Panicked, aside};
use crate::check::{self, Wrong};
use crate::extractive::{self, Details};
use crate::ground::Heard;
use crate::handler::AskFirst;
use crate::model::{ChatModel, ModelError, Question, Reply};
use crate::summary::Summary;
use crate::{parts, prompt};

/// Most tries of one question, its correction not counted.
const TRIES_MAX: u32 = 4;
/// The share of the time left that a first try may take, in percent: a hanging one leaves room for another.
const FIRST_TRY_PERCENT: u32 = 60;
/// The share of the time left that the parts of a long transcript may take, in percent; the rest is for the whole.
const PARTS_PERCENT: u32 = 65;
/// Questions about parts at once.
const PARTS_AT_ONCE: usize = 4;
/// The longest pause between two tries, unless the server asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Most tokens the model may write: a headline, two points and the details take some 250 in Hebrew.
const TOKENS_OUT_MAX: u32 = 600;
/// Most tokens in the try after an answer that was cut off: some models think aloud first.
const TOKENS_OUT_AFTER_CUT: u32 = 2_400;

/// What a model made of a transcript.
pub(crate) struct Told {
    pub(crate) summary: Summary,
    pub(crate) details: Details,
    /// In how many parts it was summarised.
    pub(crate) parts: u32,
}

/// What was spent on it, successful or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Questions that were sent.
    pub(crate) tries: u32,
    pub(crate) tokens_in: Option<u32>,
    pub(crate) tokens_out: Option<u32>,
}

/// One transcript's way to its summary.
pub(crate) struct Asker<'a> {
    ask_first: &'a AskFirst,
    model: &'a Arc<dyn ChatModel>,
    spent: Mutex<Spent>,
}

impl<'a> Asker<'a> {
    /// `model`: that of `ask_first`, or another one in its place.
    pub(crate) fn new(ask_first: &'a AskFirst, model: &'a Arc<dyn ChatModel>) -> Self {
        Self {
            ask_first,
            model,
            spent: Mutex::default(),
        }
    }

    /// What was spent so far.
    pub(crate) fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Summarises a transcript by `end`; `by_rule` is what the rules found in it.
    ///
    /// # Errors
    /// The model gave no summary that can be trusted in that time.
    pub(crate) async fn summarize(
        &self,
        system: &str,
        transcript: &Arc<str>,
        by_rule: &Details,
        end: Instant,
    ) -> Result<Told, ModelError> {
        let heard = {
            let transcript = Arc::clone(transcript);
            Arc::new(aside(move || Heard::of(&transcript)).await?)
        };
        let cut = parts::cut(transcript, self.ask_first.input_tokens);
        let (system, user) = if cut.len() == 1 {
            (system.to_owned(), prompt::user(cut[0]))
        } else {
            let told = self.parts(system, &cut, share(end, PARTS_PERCENT)).await?;
            (prompt::system_for_parts(system), prompt::user_for_parts(&told))
        };
        let (summary, claimed) = self.checked(&system, &user, &heard, end).await?;
        let by_rule = by_rule.clone();
        let details = aside(move || heard.details(claimed, &by_rule)).await?;
        Ok(Told {
            summary,
            details,
            parts: u32::try_from(cut.len()).unwrap_or(u32::MAX),
        })
    }

    /// The summary of each part, in their order.
    async fn parts(&self, system: &str, cut: &[&str], end: Instant) -> Result<Vec<Value>, ModelError> {
        let system = &prompt::system_for_part(system);
        let mut questions = Vec::new();
        for (index, &text) in cut.iter().enumerate() {
            let user = prompt::user_for_part(text, index + 1, cut.len());
            questions.push(async move { (text, self.part(system, text, &user, end).await) });
        }
        let mut answers = stream::iter(questions).buffered(PARTS_AT_ONCE);
        let mut told = Vec::new();
        let mut failure = None;
        let mut answered = 0;
        while let Some((text, answer)) = answers.next().await {
            match answer {
                Ok(summary) => {
                    answered += 1;
                    told.push(summary);
                }
                // What fails for good fails for all parts.
                Err(error) if !error.is_passing && error.class != FailureClass::Invalid => return Err(error),
                Err(error) => {
                    failure = Some(error);
                    let text = text.to_owned();
                    let by_rule = aside(move || extractive::summarize(&text)).await?;
                    told.extend(by_rule.map(|(summary, details)| as_data(&summary, &details)));
                }
            }
        }
        match failure {
            Some(error) if answered == 0 => Err(error),
            _ => Ok(told),
        }
    }

    /// One part: what is wrong with its summary is cut out, without another question.
    async fn part(&self, system: &str, text: &str, user: &str, end: Instant) -> Result<Value, ModelError> {
        let reply = self.ask(system, user, end).await?;
        let text = text.to_owned();
        let told = aside(move || {
            let heard = Heard::of(&text);
            let (_, settled) = judge(&reply.text, &heard);
            let (summary, claimed) = settled?;
            let (_, by_rule) = extractive::summarize(&text).unzip();
            let details = heard.details(claimed, &by_rule.unwrap_or_default());
            Ok(as_data(&summary, &details))
        });
        told.await?.map_err(|wrong| invalid(&wrong))
    }

    /// Asks, and once more where something is wrong with the answer.
    async fn checked(
        &self,
        system: &str,
        user: &str,
        heard: &Arc<Heard>,
        end: Instant,
    ) -> Result<(Summary, Details), ModelError> {
        let reply = self.ask(system, user, end).await?;
        let (wrong, first) = judge_aside(reply, heard).await?;
        let Some(wrong) = wrong else {
            return first.map_err(|wrong| invalid(&wrong));
        };
        let system = prompt::system_with_correction(system, wrong);
        let second = match self.ask(&system, user, end).await {
            Ok(reply) => judge_aside(reply, heard)
                .await?
                .1
                .map_err(|wrong| invalid(&wrong)),
            // What can be kept of the first answer is better than nothing.
            Err(error) => Err(error),
        };
        match (second, first) {
            (Ok(second), _) => Ok(second),
            (Err(_), Ok(first)) => Ok(first),
            (Err(_), Err(wrong)) => Err(invalid(&wrong)),
        }
    }

    /// Asks until there is an answer, the failure is one that lasts, or the time is over.
    async fn ask(&self, system: &str, user: &str, end: Instant) -> Result<Reply, ModelError> {
        let late = || ModelError::passing(FailureClass::Timeout, "the model did not answer in time");
        let mut tokens_out_max = TOKENS_OUT_MAX;
        let mut tries = 0;
        loop {
            if Instant::now() >= end {
                return Err(late());
            }
            tries += 1;
            self.spend(|spent| spent.tries += 1);
            let question = Question {
                system,
                user,
                tokens_out_max,
            };
            let until = if tries == 1 {
                share(end, FIRST_TRY_PERCENT)
            } else {
                end
            };
            let error = match timeout_at(until, self.model.ask(&question)).await {
                Err(_) => late(),
                Ok(Err(error)) => error,
                Ok(Ok(reply)) => {
                    self.spend(|spent| {
                        spent.tokens_in = sum(spent.tokens_in, reply.tokens_in);
                        spent.tokens_out = sum(spent.tokens_out, reply.tokens_out);
                    });
                    return Ok(reply);
                }
            };
            if error.is_cut_off {
                tokens_out_max = TOKENS_OUT_AFTER_CUT;
            }
            let pause = (self.ask_first.retry_pause * 2_u32.pow(tries - 1))
                .min(PAUSE_MAX)
                .max(error.retry_after.unwrap_or_default());
            let again = Instant::now().checked_add(pause).filter(|again| *again < end);
            match again {
                Some(again) if error.is_passing && tries < TRIES_MAX => sleep_until(again).await,
                _ => return Err(error),
            }
        }
    }

    fn spend(&self, spend: impl FnOnce(&mut Spent)) {
        spend(&mut self.spent.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What is wrong with an answer, and what can be kept of it.
type Judged = (Option<Wrong>, Result<(Summary, Details), Wrong>);

async fn judge_aside(reply: Reply, heard: &Arc<Heard>) -> Result<Judged, Panicked> {
    let heard = Arc::clone(heard);
    aside(move || judge(&reply.text, &heard)).await
}

fn judge(answer: &str, heard: &Heard) -> Judged {
    let draft: Draft = match answer::parse(answer) {
        Ok(draft) => draft,
        Err(error) => return (Some(error.into()), Err(error.into())),
    };
    let wrong = check::wrong_with(&draft, heard);
    let settled = check::settle(&draft, heard).map(|summary| (summary, draft.details));
    (wrong, settled)
}

impl From<Panicked> for ModelError {
    fn from(error: Panicked) -> Self {
        Self::lasting(FailureClass::Internal, error.to_string())
    }
}

fn invalid(wrong: &Wrong) -> ModelError {
    ModelError::lasting(FailureClass::Invalid, wrong.to_string())
}

/// The moment when so much of the time until `end` has passed.
pub(crate) fn share(end: Instant, percent: u32) -> Instant {
    let now = Instant::now();
    now + end.saturating_duration_since(now) * percent / 100
}

fn sum(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

/// A part's summary for the question about the whole.
fn as_data(summary: &Summary, details: &Details) -> Value {
    json!({
        "title": summary.title(),
        "points": summary.points(),
        "caller_name": details.caller_name,
        "callback_number": details.callback_number,
        "topic": details.topic,
        "urgency": details.urgency,
    })
}

//! What a business says of itself, for the question about its calls, and whether there is to be one.

use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::numbers::CalledError;
use callfold_kit::stage::{Failure, Outcome};
use callfold_kit::{Bus, Numbers};
use callfold_schema::CallSid;
use callfold_schema::event::FailureClass;
use tokio::time::{Instant, timeout_at};

/// When it is asked again which number was called.
const UNKNOWN_NUMBER_DELAY: Duration = Duration::from_secs(5);

/// The owner's own words about one number: trusted, unlike what callers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Who is called.
    pub business_name: Option<String>,
    /// What a summary is to pay attention to.
    pub prompt: Option<String>,
}

/// Knows the hints of the number that was called.
#[async_trait]
pub trait HintsFor: Send + Sync {
    /// The hints for a call; `None`: its number keeps its calls from this engine. A number that is not known has none, and
    /// keeps nothing back.
    ///
    /// # Errors
    /// Which number was called is not known now.
    async fn hints(&self, call: &CallSid, engine: &str) -> Result<Option<Hints>, CalledError>;

    /// Whether some number keeps its calls from this engine: then it is not asked before it is known which one was called.
    fn is_kept_from(&self, engine: &str) -> bool;
}

/// No hints for any number.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHints;

#[async_trait]
impl HintsFor for NoHints {
    async fn hints(&self, _: &CallSid, _: &str) -> Result<Option<Hints>, CalledError> {
        Ok(Some(Hints::default()))
    }

    fn is_kept_from(&self, _: &str) -> bool {
        false
    }
}

/// The hints that stand in the settings of single numbers.
pub struct NumberHints {
    bus: Bus,
    numbers: Numbers,
}

impl NumberHints {
    /// `bus`: where it is read which number a call was made to.
    #[must_use]
    pub fn new(bus: Bus, numbers: Numbers) -> Self {
        Self { bus, numbers }
    }
}

#[async_trait]
impl HintsFor for NumberHints {
    async fn hints(&self, call: &CallSid, engine: &str) -> Result<Option<Hints>, CalledError> {
        let settings = self.numbers.of_call(&self.bus, call).await?;
        Ok(settings.may_summarize(engine).then(|| Hints {
            business_name: settings.business_name.as_deref().map(str::to_owned),
            prompt: settings.summary_prompt.as_deref().map(str::to_owned),
        }))
    }

    fn is_kept_from(&self, engine: &str) -> bool {
        self.numbers.book().keeps_summaries_from(engine)
    }
}

/// The hints for a call by `until`; `None`: its number keeps its calls from this engine. Where no number does, hints that
/// cannot be found are none: the summary is a little less to the point.
///
/// # Errors
/// What becomes of the job while it is not known whether this engine may hear of the call.
pub(crate) async fn look_up(
    hints: &dyn HintsFor,
    call: &CallSid,
    engine: &str,
    until: Instant,
) -> Result<Option<Hints>, Outcome> {
    let looked_up = timeout_at(until, hints.hints(call, engine)).await;
    let error = match looked_up.unwrap_or(Err(CalledError::Timeout)) {
        Ok(hints) => return Ok(hints),
        Err(error) => error,
    };
    if !hints.is_kept_from(engine) {
        tracing::warn!(
            call.id = %call,
            "the number that call {call} was made to is not known, there are no hints: {}",
            callfold_kit::chain(&error)
        );
        return Ok(Some(Hints::default()));
    }
    let text = error.to_string();
    Err(if matches!(error, CalledError::Unreadable) {
        // Asking again mends nothing for ever.
        Outcome::Retry(Failure::new(FailureClass::Invalid, text))
    } else {
        Outcome::Waiting {
            text,
            after: UNKNOWN_NUMBER_DELAY,
        }
    })
}

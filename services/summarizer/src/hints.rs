//! What a business says of itself, for the question about its calls.

use async_trait::async_trait;
use callfold_kit::{Bus, Numbers};
use callfold_schema::CallSid;

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
    /// The hints for a call. A number that is not known has none.
    async fn hints(&self, call: &CallSid) -> Hints;
}

/// No hints for any number.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHints;

#[async_trait]
impl HintsFor for NoHints {
    async fn hints(&self, _: &CallSid) -> Hints {
        Hints::default()
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
    async fn hints(&self, call: &CallSid) -> Hints {
        // Hints only: without them the summary is a little less to the point.
        let settings = self
            .numbers
            .of_call(&self.bus, call)
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(
                    call.id = %call,
                    "the number that call {call} was made to is not known, there are no hints: {}",
                    callfold_kit::chain(&error)
                );
                std::sync::Arc::default()
            });
        Hints {
            business_name: settings.business_name.as_deref().map(str::to_owned),
            prompt: settings.summary_prompt.as_deref().map(str::to_owned),
        }
    }
}

//! How soon a caller needs an answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How soon a caller needs an answer, by the caller's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// It can wait.
    Low,
    /// In the usual time.
    Normal,
    /// At once.
    High,
}

impl Urgency {
    /// All of them, from the one that can wait.
    pub const ALL: [Urgency; 3] = [Urgency::Low, Urgency::Normal, Urgency::High];

    /// The name in JSON.
    pub const fn token(self) -> &'static str {
        match self {
            Urgency::Low => "low",
            Urgency::Normal => "normal",
            Urgency::High => "high",
        }
    }
}

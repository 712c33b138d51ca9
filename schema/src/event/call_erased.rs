//! A call is to be forgotten. From this event on it counts as gone; what is left is deleted behind it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a call is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasureReason {
    /// Somebody who works with the leads decided so.
    Person,
    /// It is older than its number keeps calls.
    Retention,
    /// The caller asked for it.
    Request,
}

impl ErasureReason {
    /// All of them.
    pub const ALL: [ErasureReason; 3] = [
        ErasureReason::Person,
        ErasureReason::Retention,
        ErasureReason::Request,
    ];

    /// The name in JSON.
    pub const fn token(self) -> &'static str {
        match self {
            ErasureReason::Person => "person",
            ErasureReason::Retention => "retention",
            ErasureReason::Request => "request",
        }
    }
}

/// `call_erased`, version 1. Holds nothing personal: it stays for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallErasedV1 {
    /// Who decided: the name of an account or a token, or `retention`.
    pub by: String,
    /// Why.
    pub why: ErasureReason,
}

//! Nothing is left of an erased call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the recordings at Twilio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TwilioErasure {
    /// Deleted.
    Deleted,
    /// There were none any more.
    NotFound,
    /// Twilio was not asked: no credentials are set, or the call had no recording there.
    NotAsked,
}

impl TwilioErasure {
    /// All of them.
    pub const ALL: [TwilioErasure; 3] = [
        TwilioErasure::Deleted,
        TwilioErasure::NotFound,
        TwilioErasure::NotAsked,
    ];

    /// The name in JSON.
    pub const fn token(self) -> &'static str {
        match self {
            TwilioErasure::Deleted => "deleted",
            TwilioErasure::NotFound => "not_found",
            TwilioErasure::NotAsked => "not_asked",
        }
    }
}

/// Positions in the stream without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PositionRange")]
pub struct PositionRangeV1 {
    /// The first one.
    pub first: u64,
    /// The last one, which may be the first.
    pub last: u64,
}

/// `erase_done`, version 1. Holds nothing personal: it stays for ever, and explains the gaps in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EraseDoneV1 {
    /// Where the deleted events stood, ascending.
    pub positions: Vec<PositionRangeV1>,
    /// How many events were deleted.
    pub events: u64,
    /// How many audio files were deleted.
    pub blobs: u32,
    /// What became of the recordings at Twilio.
    pub twilio: TwilioErasure,
}

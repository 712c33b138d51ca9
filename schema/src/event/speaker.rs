//! Who speaks in a recording of two channels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who speaks. Twilio records the call that came in (the parent call) on the first channel, the one it was connected to on
/// the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

impl Speaker {
    /// Both.
    pub const ALL: [Speaker; 2] = [Speaker::Caller, Speaker::Callee];

    /// The name in JSON.
    pub const fn token(self) -> &'static str {
        match self {
            Speaker::Caller => "caller",
            Speaker::Callee => "callee",
        }
    }

    /// The speaker on a channel (from 0) of a recording with so many channels; `None` unless there are two.
    pub const fn of_channel(channel: u8, channels: u8) -> Option<Self> {
        match (channel, channels) {
            (0, 2) => Some(Speaker::Caller),
            (1, 2) => Some(Speaker::Callee),
            _ => None,
        }
    }
}

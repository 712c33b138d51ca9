//! There is no recording, and as far as is known there will be none. A `recording_ready` of any age beats it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawForm;
use crate::id::RecordingSid;

/// Which way a recording is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissingReason {
    /// Twilio: no file and there will be none (too short, silent, a system error).
    Absent,
    /// Twilio: the recording failed.
    Failed,
    /// The caller hung up before a recording began.
    NeverLeft,
    /// Nothing was heard of the recording in time.
    DeadlinePassed,
}

impl MissingReason {
    /// All of them.
    pub const ALL: [MissingReason; 4] = [
        MissingReason::Absent,
        MissingReason::Failed,
        MissingReason::NeverLeft,
        MissingReason::DeadlinePassed,
    ];

    /// The part of the key.
    pub const fn token(self) -> &'static str {
        match self {
            MissingReason::Absent => "absent",
            MissingReason::Failed => "failed",
            MissingReason::NeverLeft => "never_left",
            MissingReason::DeadlinePassed => "deadline_passed",
        }
    }
}

/// `recording_missing`, version 1.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingMissingV1 {
    /// Which recording; `None` when none ever began.
    pub recording_sid: Option<RecordingSid>,
    /// Which way it is missing.
    pub reason: MissingReason,
    /// Twilio's error number, where it sent one other than 0.
    pub error_code: Option<u32>,
    /// `I-Twilio-Idempotency-Token` of the request; `None` for what the reconciler found.
    pub idempotency_token: Option<String>,
    /// The whole form; empty for what the reconciler found.
    pub form: RawForm,
}

impl fmt::Debug for RecordingMissingV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingMissingV1")
            .field("recording_sid", &self.recording_sid)
            .field("reason", &self.reason)
            .field("error_code", &self.error_code)
            .finish_non_exhaustive()
    }
}

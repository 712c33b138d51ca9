//! The caller has begun to speak.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawForm;
use crate::id::{RecordingSid, UnixMillis};

/// `recording_started`, version 1.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingStartedV1 {
    /// The recording.
    pub recording_sid: RecordingSid,
    /// When it began by Twilio's clock.
    pub started_at: Option<UnixMillis>,
    /// `I-Twilio-Idempotency-Token` of the request.
    pub idempotency_token: Option<String>,
    /// The whole form.
    pub form: RawForm,
}

impl fmt::Debug for RecordingStartedV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingStartedV1")
            .field("recording_sid", &self.recording_sid)
            .field("started_at", &self.started_at)
            .finish_non_exhaustive()
    }
}

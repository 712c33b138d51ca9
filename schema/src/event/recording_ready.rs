//! A recording can be fetched.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawForm;
use crate::id::{RecordingSid, UnixMillis};

/// `recording_ready`, version 1.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingReadyV1 {
    /// The recording.
    pub recording_sid: RecordingSid,
    /// `AC…`, as sent; empty where it was not.
    pub account_sid: String,
    /// Where Twilio says the media is. Personal data: never logged.
    pub media_url: String,
    /// Final length in seconds, where Twilio said it.
    pub duration_s: Option<u32>,
    /// 1 or 2, where Twilio said it.
    pub channels: Option<u8>,
    /// `RecordVerb`, `DialVerb`, …
    pub source: Option<String>,
    /// When it began by Twilio's clock.
    pub started_at: Option<UnixMillis>,
    /// `I-Twilio-Idempotency-Token` of the request.
    pub idempotency_token: Option<String>,
    /// The whole form.
    pub form: RawForm,
}

impl fmt::Debug for RecordingReadyV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingReadyV1")
            .field("recording_sid", &self.recording_sid)
            .field("duration_s", &self.duration_s)
            .field("channels", &self.channels)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

//! The call is over.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawForm;
use crate::id::UnixMillis;

/// `call_ended`, version 1.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallEndedV1 {
    /// The final status: `completed`, `busy`, `failed`, `no-answer`, `canceled`.
    pub status: String,
    /// Length of the call in seconds, where Twilio said it.
    pub duration_s: Option<u32>,
    /// When it ended by Twilio's clock.
    pub ended_at: Option<UnixMillis>,
    /// `I-Twilio-Idempotency-Token` of the request.
    pub idempotency_token: Option<String>,
    /// The whole form.
    pub form: RawForm,
}

impl fmt::Debug for CallEndedV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEndedV1")
            .field("status", &self.status)
            .field("duration_s", &self.duration_s)
            .finish_non_exhaustive()
    }
}

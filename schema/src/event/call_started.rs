//! A call came in and was answered.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawForm;
use crate::id::PhoneNumber;

/// What Twilio knows of the caller besides the number. Empty values are `None`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct CallerV1 {
    /// Caller name look-up (paid, US numbers).
    pub name: Option<String>,
    /// City of the number.
    pub city: Option<String>,
    /// State or region of the number.
    pub state: Option<String>,
    /// Postal code of the number.
    pub zip: Option<String>,
    /// ISO country code of the number.
    pub country: Option<String>,
    /// The number the call was forwarded from.
    pub forwarded_from: Option<PhoneNumber>,
    /// SHAKEN/STIR verdict (US numbers).
    pub stir_verdict: Option<String>,
}

/// `call_started`, version 1.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallStartedV1 {
    /// `AC…`, as sent; empty where it was not.
    pub account_sid: String,
    /// The caller: E.164, or what stands in its place.
    pub from: PhoneNumber,
    /// Our number.
    pub to: PhoneNumber,
    /// `inbound`, …
    pub direction: String,
    /// The caller's details.
    pub caller: CallerV1,
    /// The sentence the caller heard.
    pub greeting: String,
    /// The voice that spoke it.
    pub voice: String,
    /// The language of the greeting, BCP 47.
    pub language: String,
    /// The longest message the caller could leave, in seconds; 0 when nothing was to be recorded.
    pub record_max_s: u32,
    /// `I-Twilio-Idempotency-Token` of the request.
    pub idempotency_token: Option<String>,
    /// The whole form.
    pub form: RawForm,
}

// Forms hold numbers and names: `Debug` of the events of the webhooks shows their shape only.
impl fmt::Debug for CallStartedV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallStartedV1")
            .field("direction", &self.direction)
            .field("voice", &self.voice)
            .field("record_max_s", &self.record_max_s)
            .field("form_fields", &self.form.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CallerV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerV1").finish_non_exhaustive()
    }
}

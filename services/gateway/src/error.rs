//! What Twilio is answered when a webhook cannot be taken, chosen by what Twilio does next.
//!
//! With the retry overrides of our TwiML a callback is tried again after any failure, for at most 15 seconds. A 4xx is
//! for requests that will not get better; 503 is for events that could not be made durable.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use callfold_kit::bus::PublishError;
use callfold_twilio::FormError;

use crate::translate::Untranslatable;

/// Why a webhook is not answered 2xx.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The body is larger than any webhook.
    #[error("the body is too large")]
    TooLarge,
    /// The body broke off, or did not come in time.
    #[error("the body could not be read")]
    Body,
    /// The body is not a form.
    #[error("the body is not a form: {0}")]
    Form(FormError),
    /// No signature, though one is asked for.
    #[error("the signature is missing")]
    Unsigned,
    /// A wrong signature.
    #[error("the signature is wrong")]
    WrongSignature,
    /// The form cannot become an event.
    #[error("{0}")]
    Untranslatable(Untranslatable),
    /// The event could not be made durable in time.
    #[error("the event could not be recorded")]
    NotDurable(#[source] PublishError),
}

/// The outcome of a request, a label in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(pub(crate) &'static str);

impl Refusal {
    fn parts(&self) -> (StatusCode, Outcome) {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Outcome("too_large")),
            Self::Body => (StatusCode::BAD_REQUEST, Outcome("bad_body")),
            Self::Form(_) => (StatusCode::BAD_REQUEST, Outcome("bad_form")),
            Self::Unsigned => (StatusCode::BAD_REQUEST, Outcome("unsigned")),
            Self::WrongSignature => (StatusCode::FORBIDDEN, Outcome("wrong_signature")),
            Self::Untranslatable(_) => (StatusCode::BAD_REQUEST, Outcome("bad_field")),
            Self::NotDurable(_) => (StatusCode::SERVICE_UNAVAILABLE, Outcome("not_durable")),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, outcome) = self.parts();
        // `Display` holds what the sender can know anyway; causes stay inside.
        let mut response = (status, format!("{self}\n")).into_response();
        response.extensions_mut().insert(outcome);
        response
    }
}

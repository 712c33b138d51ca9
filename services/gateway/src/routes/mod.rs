//! One file per webhook.

pub(crate) mod record_action;
pub(crate) mod recording;
pub(crate) mod status;
pub(crate) mod voice;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use callfold_twilio::twiml;

use crate::error::Outcome;

fn twiml(document: Bytes) -> Response {
    ([(CONTENT_TYPE, twiml::CONTENT_TYPE)], document).into_response()
}

fn with(mut response: Response, outcome: &'static str) -> Response {
    response.extensions_mut().insert(Outcome(outcome));
    response
}

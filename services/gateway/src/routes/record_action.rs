//! The recording is over and Twilio asks what to do next: say goodbye.
//!
//! Publishes nothing: the file may not be there yet and its length is not final; the recording callback tells both.

use axum::extract::State;
use axum::response::Response;

use super::{twiml, with};
use crate::gateway::Shared;
use crate::translate;
use crate::webhook::Webhook;

pub(crate) async fn record_action(State(shared): State<Shared>, webhook: Webhook) -> Response {
    let answer = shared.answer(&translate::called(&webhook.form));
    with(twiml(answer.closing.clone()), "ok")
}

//! Where the call stands; only its end is an event.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::with;
use crate::error::Refusal;
use crate::gateway::{CALLBACK_ACCEPT_WAIT, Shared};
use crate::translate;
use crate::webhook::Webhook;

pub(crate) async fn status(State(shared): State<Shared>, webhook: Webhook) -> Result<Response, Refusal> {
    let fact =
        translate::call_ended(webhook.form, webhook.idempotency_token).map_err(Refusal::Untranslatable)?;
    let Some(fact) = fact else {
        return Ok(with(StatusCode::NO_CONTENT.into_response(), "not_ended"));
    };
    shared
        .record("status", fact, CALLBACK_ACCEPT_WAIT)
        .await
        .map_err(Refusal::NotDurable)?;
    Ok(with(StatusCode::NO_CONTENT.into_response(), "ok"))
}

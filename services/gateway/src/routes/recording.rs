//! What became of a recording.
//!
//! 200 for a call that was heard of, 204 for one that was not; kept either way, because callbacks may overtake the voice
//! webhook and the voice webhook's event may have been lost.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use callfold_twilio::twiml;

use super::with;
use crate::error::Refusal;
use crate::gateway::{CALLBACK_ACCEPT_WAIT, Shared};
use crate::translate::{self, RecordingNews};
use crate::webhook::Webhook;

pub(crate) async fn recording_done(
    State(shared): State<Shared>,
    webhook: Webhook,
) -> Result<Response, Refusal> {
    let news =
        translate::recording(webhook.form, webhook.idempotency_token).map_err(Refusal::Untranslatable)?;
    let fact = match news {
        RecordingNews::Fact(fact) => *fact,
        RecordingNews::Ignored => {
            tracing::info!(
                "a recording callback with a status that means nothing to callfold was passed over"
            );
            return Ok(with(StatusCode::NO_CONTENT.into_response(), "ignored_status"));
        }
    };
    let call_sid = fact.call_sid.clone();
    let (recorded, known) = tokio::join!(
        shared.record("recording_done", fact, CALLBACK_ACCEPT_WAIT),
        shared.is_known(&call_sid)
    );
    recorded.map_err(Refusal::NotDurable)?;
    if known {
        let empty = ([(CONTENT_TYPE, twiml::CONTENT_TYPE)], twiml::EMPTY).into_response();
        Ok(with(empty, "ok"))
    } else {
        Ok(with(StatusCode::NO_CONTENT.into_response(), "unknown_call"))
    }
}

//! A call comes in.
//!
//! Waits for nothing but the durable accept of one event, and for that no longer than [`VOICE_ACCEPT_WAIT`]: then the
//! caller hears the greeting even though the call may be unrecorded, because the recording callback can still be kept.

use axum::extract::State;
use axum::response::Response;
use callfold_twilio::VoiceRequest;

use super::{twiml, with};
use crate::error::Refusal;
use crate::gateway::{Shared, VOICE_ACCEPT_WAIT};
use crate::translate;
use crate::webhook::Webhook;

pub(crate) async fn voice(State(shared): State<Shared>, webhook: Webhook) -> Result<Response, Refusal> {
    let fallback_error = VoiceRequest(&webhook.form).fallback_error();
    // Taken once: what the event says is what the caller hears, whatever is read meanwhile.
    let answer = shared.answer(&translate::called(&webhook.form));
    let fact = translate::call_started(webhook.form, webhook.idempotency_token, &answer.heard)
        .map_err(Refusal::Untranslatable)?;
    let call_sid = fact.call_sid.clone();
    if let Some(code) = fallback_error {
        tracing::warn!(
            call.id = %call_sid, twilio.error = code,
            "Twilio came for call {call_sid} after its error {code} with another URL"
        );
    }
    let outcome = match shared.record("voice", fact, VOICE_ACCEPT_WAIT).await {
        Ok(()) => {
            shared.remember(&call_sid);
            "ok"
        }
        // Counted and logged in `record`; the caller still hears the greeting.
        Err(_) => "answered_unrecorded",
    };
    Ok(with(twiml(answer.document.clone()), outcome))
}

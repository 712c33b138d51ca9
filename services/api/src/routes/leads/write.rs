//! What every change of a lead has in common: what the client has seen, and how the same request is known again.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use callfold_lead::{Lead, LeadState, StateError, lead_view};
use callfold_schema::{CallSid, Record};
use callfold_store::StoreError;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::app::AppState;
use crate::error::ApiError;
use crate::query::NO_LEAD;

/// The longest `Idempotency-Key`, in bytes.
const KEY_BYTES_MAX: usize = 200;

/// What `If-Match` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// `*`: whatever it is now.
    Any,
    /// The position of the lead that the client has seen.
    At(u64),
}

/// Reads `If-Match`; `None` when it is not there.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<Seen>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(Seen::Any));
    }
    let position = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok());
    position
        .map(|position| Some(Seen::At(position)))
        .ok_or(ApiError::BadBody("If-Match holds the ETag of the lead, or *"))
}

/// A hash of the `Idempotency-Key`, the call and what is asked for; `None` without a key. The key itself is not kept.
pub(crate) fn request_hash(
    headers: &HeaderMap,
    call_sid: &CallSid,
    body: &[u8],
) -> Result<Option<String>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(ApiError::BadBody("Idempotency-Key has 1 to 200 characters"));
    }
    let mut hash = Sha256::new();
    for part in [key.as_bytes(), call_sid.as_str().as_bytes(), body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    Ok(Some(HEXLOWER.encode(&hash.finalize())))
}

/// The events of a lead; 404 for an unknown or erased one.
pub(crate) async fn read_state(app: &AppState, call_sid: &CallSid) -> Result<LeadState, ApiError> {
    app.leads
        .state(call_sid)
        .await
        .map_err(ApiError::Store)?
        .filter(|state| !state.is_erased())
        .ok_or(ApiError::NotFound(NO_LEAD))
}

/// Folds an event of the stream into a state that may be behind it.
pub(crate) fn take_in(state: &mut LeadState, position: u64, record: &Record) -> Result<(), ApiError> {
    state
        .apply_record(position, record)
        .map(|_| ())
        .map_err(ApiError::Event)
}

/// Takes in the event at `position`, where the table is behind it: whoever just wrote it must find it. Positions of other
/// calls, or of nothing, change nothing.
pub(crate) async fn read_up_to(app: &AppState, state: &mut LeadState, position: u64) -> Result<(), ApiError> {
    if position > state.position()
        && let Some(stored) = app.bus.get(position).await.map_err(ApiError::Stream)?
        && let Ok(record) = stored.decode()
    {
        take_in(state, position, &record)?;
    }
    Ok(())
}

/// The lead of a state.
pub(crate) fn fold(state: &LeadState) -> Result<Lead, ApiError> {
    lead_view(state).map_err(damaged)
}

pub(crate) fn damaged(error: StateError) -> ApiError {
    ApiError::Store(StoreError::from(error))
}

/// A lead with its `ETag`: 200 with the one that a change made, 412 with the newer one that stands in its way.
pub(crate) fn answer(status: StatusCode, lead: Lead) -> Response {
    let tag = format!("\"{}\"", lead.position);
    let mut response = (status, Json(lead)).into_response();
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

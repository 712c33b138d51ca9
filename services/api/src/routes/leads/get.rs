//! `GET /api/v1/leads/{call_sid}`, and with `?at=` as it was at a moment of the past

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use callfold_lead::{At, Lead, lead_view};
use callfold_schema::CallSid;

use super::read_lead;
use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::query::{self, NO_LEAD, call_sid};

/// Said when a call came later than the moment that was asked for.
const NOT_YET: &str = "Nothing was known of this call at that moment.";

/// One lead; its `ETag` is its position.
pub(crate) async fn lead(
    State(app): State<App>,
    Path(sid): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let lead = match query::at(query.as_deref())? {
        None => read_lead(&app, &call_sid).await?,
        Some(moment) => lead_at(&app, &call_sid, moment).await?,
    };
    let tag = format!("\"{}\"", lead.position);
    let mut response = if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(lead).into_response()
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

/// The lead of a moment: the events that its row is made of, as far as they were there then, folded again.
async fn lead_at(app: &AppState, call_sid: &CallSid, moment: At) -> Result<Lead, ApiError> {
    let state = app.leads.state(call_sid).await.map_err(ApiError::Store)?;
    // What is left of an erased call is no lead, at no time.
    let now = state.filter(|state| !state.is_erased());
    let then = now.ok_or(ApiError::NotFound(NO_LEAD))?.at(moment);
    if then.is_empty() {
        return Err(ApiError::NotFound(NOT_YET));
    }
    lead_view(&then).map_err(|error| ApiError::Store(error.into()))
}

/// Whether `If-None-Match` names the tag, a weak one too, or everything.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

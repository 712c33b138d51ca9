//! `GET /api/v1/events`: live updates as server-sent events.

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;

use crate::app::App;
use crate::error::ApiError;
use crate::sse;

const BAD_ID: ApiError = ApiError::BadQuery("Last-Event-ID and last_event_id are positions: numbers");

/// Follows changes behind `Last-Event-ID`, which a browser sends when it comes back, else behind `?last_event_id=`,
/// with which a page begins; without either, those that come from now on.
pub(crate) async fn follow(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let position = |text: &str| text.trim().parse::<u64>().map_err(|_| BAD_ID);
    let after = match headers.get("last-event-id") {
        Some(value) => Some(position(value.to_str().map_err(|_| BAD_ID)?)?),
        None => form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(name, value)| name == "last_event_id" && !value.is_empty())
            .map(|(_, value)| position(&value))
            .transpose()?,
    };
    sse::follow(&app, after).await
}

//! `DELETE /api/v1/leads/{call_sid}`: the call is to be forgotten.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use callfold_schema::event::{CallErased, ErasureReason};
use callfold_schema::{CallSid, EventKind, Key, NewEvent, Subject};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::{App, AppState};
use crate::auth::SignedIn;
use crate::error::ApiError;
use crate::query::{NO_LEAD, call_sid};

/// How long the tombstone may take to become durable.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// How far an erasure is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Erasure {
    /// The call.
    call_sid: CallSid,
    /// `erasing`: it is hidden, and is being deleted; `erased`: nothing is left.
    state: &'static str,
}

/// Publishes the tombstone. Asked again it says how far the erasure is: the same answer, whoever was first.
pub(crate) async fn erase(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    Path(sid): Path<String>,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let erasure = erase_call(&app, call_sid, &who.name).await?;
    Ok((StatusCode::ACCEPTED, Json(erasure)).into_response())
}

/// Publishes the tombstone of a call: the one way from a person to a `call_erased`.
pub(crate) async fn erase_call(app: &AppState, call_sid: CallSid, by: &str) -> Result<Erasure, ApiError> {
    let is_there = |kind| {
        let subject = Subject::new(call_sid.clone(), kind, Key::single());
        let bus = &app.bus;
        async move {
            bus.find(&subject)
                .await
                .map(|found| found.is_some())
                .map_err(ApiError::Stream)
        }
    };
    let is_erased = is_there(EventKind::CallErased).await?;
    let state = if is_erased && is_there(EventKind::EraseDone).await? {
        "erased"
    } else {
        "erasing"
    };
    if !is_erased {
        // A call whose lead is not made yet counts from its first event on.
        let is_known = app
            .leads
            .lead(&call_sid)
            .await
            .map_err(ApiError::Store)?
            .is_some()
            || is_there(EventKind::CallStarted).await?;
        if !is_known {
            return Err(ApiError::NotFound(NO_LEAD));
        }
        let event = CallErased {
            by: by.to_owned(),
            why: ErasureReason::Person,
        };
        let event = NewEvent::new(call_sid.clone(), Key::single(), app.clock.now(), event);
        app.bus
            .publish(&event, PUBLISH_WAIT)
            .await
            .map_err(ApiError::Erase)?;
        tracing::info!(call.id = %call_sid, "call {call_sid} is to be erased");
    }
    Ok(Erasure { call_sid, state })
}

//! Leads as JSON, their stories and their recordings.

pub(crate) mod compare;
pub(crate) mod events;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod recording;
pub(crate) mod reprocess;
mod write;

use callfold_lead::Lead;
use callfold_schema::CallSid;

use crate::app::AppState;
use crate::error::ApiError;
use crate::query::NO_LEAD;

/// A lead, or 404.
pub(crate) async fn read_lead(app: &AppState, call_sid: &CallSid) -> Result<Lead, ApiError> {
    app.leads
        .lead(call_sid)
        .await
        .map_err(ApiError::Store)?
        .ok_or(ApiError::NotFound(NO_LEAD))
}

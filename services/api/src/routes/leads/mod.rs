//! Leads as JSON, their stories and their recordings.

pub(crate) mod compare;
pub(crate) mod delete;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod recording;
pub(crate) mod reprocess;
pub(crate) mod write;

use callfold_lead::Lead;
use callfold_schema::CallSid;

use crate::app::AppState;
use crate::error::ApiError;
use crate::query::NO_LEAD;

/// A lead; 410 when it was erased, 404 when there never was one.
pub(crate) async fn read_lead(app: &AppState, call_sid: &CallSid) -> Result<Lead, ApiError> {
    if let Some(lead) = app.leads.lead(call_sid).await.map_err(ApiError::Store)? {
        return Ok(lead);
    }
    let state = app.leads.state(call_sid).await.map_err(ApiError::Store)?;
    if state.is_some_and(|state| state.is_erased()) {
        Err(ApiError::Gone)
    } else {
        Err(ApiError::NotFound(NO_LEAD))
    }
}

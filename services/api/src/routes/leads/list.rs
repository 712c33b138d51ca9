//! `GET /api/v1/leads`

use axum::Json;
use axum::extract::{RawQuery, State};
use callfold_lead::Lead;
use callfold_store::{Page, StoreError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::query::ListQuery;

/// A page of leads, newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LeadList {
    /// The leads.
    leads: Vec<Lead>,
    /// What to send as `cursor` for the page behind this one; `null` on the last.
    next_cursor: Option<String>,
}

/// A page of leads.
pub(crate) async fn read_page(app: &AppState, query: &ListQuery) -> Result<Page, ApiError> {
    let page = app
        .leads
        .list(&query.filter, query.limit, query.cursor.as_deref())
        .await;
    page.map_err(|error| match error {
        StoreError::Cursor => ApiError::BadQuery("cursor is a next_cursor of this API"),
        other => ApiError::Store(other),
    })
}

/// Newest first, filtered, in pages.
pub(crate) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Json<LeadList>, ApiError> {
    let query = ListQuery::parse(query.as_deref(), &app.timezone)?;
    let page = read_page(&app, &query).await?;
    Ok(Json(LeadList {
        leads: page.leads,
        next_cursor: page.next_cursor,
    }))
}

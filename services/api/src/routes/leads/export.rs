//! `GET /api/v1/leads.csv`

use axum::extract::{RawQuery, State};
use axum::response::Response;
use callfold_lead::Lead;

use crate::app::App;
use crate::error::ApiError;
use crate::export::{Table, csv};
use crate::query::ListQuery;

/// The leads that a filter finds, newest first, as CSV with the names of the API.
pub(crate) async fn export(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let query = ListQuery::parse(query.as_deref(), &app.timezone)?;
    csv(&app, query, ForPrograms, "leads.csv").await
}

struct ForPrograms;

impl Table for ForPrograms {
    fn head(&self) -> Vec<String> {
        [
            "call_sid",
            "created_at",
            "updated_at",
            "phone",
            "to",
            "caller_name",
            "callback_number",
            "status",
            "disposition",
            "seen",
            "assignee",
            "tags",
            "topic",
            "urgency",
            "summary_title",
            "summary_points",
            "transcript",
            "language",
            "note",
            "duration_ms",
            "position",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn row(&self, lead: &Lead) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let duration_ms: u64 = lead
            .recordings
            .iter()
            .filter_map(|recording| recording.duration_ms)
            .fold(0, u64::saturating_add);
        vec![
            lead.call_sid.to_string(),
            lead.created_at.0.rfc3339(),
            lead.updated_at.0.rfc3339(),
            lead.phone.as_str().to_owned(),
            lead.to.as_str().to_owned(),
            lead.caller_name
                .clone()
                .or_else(|| lead.caller.name.clone())
                .unwrap_or_default(),
            lead.callback_number
                .as_ref()
                .map(|number| number.as_str().to_owned())
                .unwrap_or_default(),
            lead.status.token().to_owned(),
            lead.disposition.token().to_owned(),
            lead.seen.to_string(),
            text(&lead.assignee),
            lead.tags.join(","),
            text(&lead.topic),
            lead.urgency
                .map(|urgency| urgency.token().to_owned())
                .unwrap_or_default(),
            text(&lead.summary_title),
            lead.summary_points.join("\n"),
            text(&lead.transcript),
            text(&lead.language),
            text(&lead.note),
            duration_ms.to_string(),
            lead.position.to_string(),
        ]
    }
}

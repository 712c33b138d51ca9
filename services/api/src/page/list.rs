//! The queue: newest first.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use callfold_lead::Status;
use callfold_store::LeadFilter;

use super::row::RowView;
use super::{Frame, Viewer, html};
use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::query::ListQuery;
use crate::routes::leads::list::read_page;
use crate::words::Words;

/// Leads that something is happening to.
const RUNNING: &[Status] = &[
    Status::New,
    Status::Recording,
    Status::Recorded,
    Status::Downloaded,
    Status::Transcribed,
];

/// A filter to choose.
pub(crate) struct ChipView {
    pub(crate) href: String,
    pub(crate) label: &'static str,
    pub(crate) current: bool,
}

/// The queue with its tools.
pub(crate) struct QueueView {
    pub(crate) rows: Vec<RowView>,
    pub(crate) search: String,
    pub(crate) status: Option<String>,
    pub(crate) filtered: bool,
    pub(crate) chips: Vec<ChipView>,
    /// Where the script reads the same rows again.
    pub(crate) fragment: String,
    pub(crate) older: Option<String>,
    pub(crate) newest: Option<String>,
}

/// The address of a list.
fn address(path: &str, filter: &LeadFilter, cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if !filter.status.is_empty() {
        let tokens: Vec<&str> = filter.status.iter().map(|status| status.token()).collect();
        query.append_pair("status", &tokens.join(","));
    }
    let texts = [("q", filter.q.clone()), ("phone", filter.phone.clone())];
    let moments = [("from", filter.from), ("to", filter.to)];
    let moments = moments
        .into_iter()
        .map(|(name, moment)| (name, moment.map(|moment| moment.rfc3339())));
    let cursor = std::iter::once(("cursor", cursor.map(str::to_owned)));
    for (name, value) in texts.into_iter().chain(moments).chain(cursor) {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

fn chips(filter: &LeadFilter, w: &Words) -> Vec<ChipView> {
    let choices: [(&'static str, &[Status]); 5] = [
        (w.queue.filter_all, &[]),
        (w.queue.filter_processed, &[Status::Processed]),
        (w.queue.filter_running, RUNNING),
        (w.queue.filter_no_message, &[Status::NoMessage]),
        (w.queue.filter_failed, &[Status::Failed]),
    ];
    choices
        .into_iter()
        .map(|(label, status)| ChipView {
            href: address(
                "/",
                &LeadFilter {
                    status: status.to_vec(),
                    ..filter.clone()
                },
                None,
            ),
            label,
            current: filter.status == status,
        })
        .collect()
}

/// Reads what the queue shows.
pub(crate) async fn read_queue(app: &AppState, query: &ListQuery, f: &Frame) -> Result<QueueView, ApiError> {
    let page = read_page(app, query).await?;
    let filter = &query.filter;
    let tokens: Vec<&str> = filter.status.iter().map(|status| status.token()).collect();
    Ok(QueueView {
        rows: page.leads.iter().map(|lead| RowView::of(lead, f)).collect(),
        search: filter.q.clone().unwrap_or_default(),
        status: (!tokens.is_empty()).then(|| tokens.join(",")),
        filtered: *filter != LeadFilter::default(),
        chips: chips(filter, f.w),
        fragment: address("/fragments/list", filter, query.cursor.as_deref()),
        older: page.next_cursor.map(|cursor| address("/", filter, Some(&cursor))),
        newest: query.cursor.as_ref().map(|_| address("/", filter, None)),
    })
}

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    f: Frame,
    q: QueueView,
}

#[derive(Template)]
#[template(path = "rows_fragment.html")]
struct RowsFragment {
    f: Frame,
    q: QueueView,
}

/// `GET /`
pub(crate) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = ListQuery::parse(query.as_deref(), &app.timezone)?;
    // Before the rows: what changes in between is told again, which is harmless.
    let f = Frame::live(&app, &viewer, app.position().await?);
    let q = read_queue(&app, &query, &f).await?;
    Ok(html(&ListPage { f, q })?.into_response())
}

/// `GET /fragments/list`: the rows alone, for live updates.
pub(crate) async fn fragment(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = ListQuery::parse(query.as_deref(), &app.timezone)?;
    let f = Frame::still(&app, &viewer);
    let q = read_queue(&app, &query, &f).await?;
    Ok(html(&RowsFragment { f, q })?.into_response())
}

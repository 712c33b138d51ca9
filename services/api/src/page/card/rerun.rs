//! `POST /leads/{call_sid}/rerun`: stages run again, from a plain form: `from`, `engine` (empty: as the settings say),
//! `hold` (the result waits for a comparison).

use axum::extract::{Path, RawForm, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use callfold_schema::Stage;

use super::super::{Frame, Viewer};
use super::actions::NoticeView;
use super::{Now, PART, part};
use crate::app::App;
use crate::auth::SignedIn;
use crate::error::ApiError;
use crate::query::call_sid;
use crate::routes::leads::reprocess::{Asked, ReprocessBody, ask};

const BAD_FORM: ApiError = ApiError::BadBody("a form with from (download, transcribe or summarize)");

/// Asks for a re-run; its progress stands on the card.
pub(crate) async fn rerun(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    viewer: Viewer,
    Path(sid): Path<String>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let (mut from, mut engine, mut hold) = (None, None, false);
    for (name, value) in form_urlencoded::parse(&form) {
        let value = value.trim();
        match &*name {
            "from" => from = Stage::ALL.into_iter().find(|stage| stage.token() == value),
            "engine" if !value.is_empty() => engine = Some(value.to_owned()),
            "hold" => hold = !value.is_empty(),
            _ => {}
        }
    }
    let asked = ReprocessBody {
        from: from.ok_or(BAD_FORM)?,
        // Nothing is asked of an engine where the recording is only fetched again.
        engine,
        model: None,
        prompt: None,
        why: None,
        hold,
    };
    let position = match ask(&app, &call_sid, asked, None, &who.name, None).await? {
        Asked::Run(_, position) => position.unwrap_or(0),
        // Nothing was taken for granted.
        Asked::Stale(lead) => lead.position,
    };
    if !headers.contains_key(PART) {
        return Ok(Redirect::to(&format!("/leads/{call_sid}?position={position}#stages")).into_response());
    }
    let f = Frame::still(&app, &viewer);
    let now = Now::read(&app, &call_sid, position).await?;
    let notice = NoticeView {
        text: f.w.story.rerun_asked.to_owned(),
        bad: false,
        undo: None,
    };
    part(&app, &now, None, Some(notice), StatusCode::OK, f).await
}

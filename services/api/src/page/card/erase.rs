//! `/leads/{call_sid}/erase`: the question, and the answer to it. With the script the question stands in a dialog of the
//! card; the form is the same.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::super::{Frame, Viewer, html};
use crate::app::App;
use crate::auth::SignedIn;
use crate::error::ApiError;
use crate::query::call_sid;
use crate::routes::leads::delete::erase_call;
use crate::routes::leads::read_lead;

#[derive(Template)]
#[template(path = "card_erase_page.html")]
struct ErasePage {
    f: Frame,
    call_sid: String,
}

/// `GET`: the question. Changes nothing.
pub(crate) async fn ask(
    State(app): State<App>,
    viewer: Viewer,
    Path(sid): Path<String>,
) -> Result<Response, ApiError> {
    let lead = read_lead(&app, &call_sid(&sid)?).await?;
    let f = Frame::still(&app, &viewer);
    let call_sid = lead.call_sid.to_string();
    Ok(html(&ErasePage { f, call_sid })?.into_response())
}

/// `POST`: the call is to be forgotten; back to the list.
pub(crate) async fn erase(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    Path(sid): Path<String>,
) -> Result<Response, ApiError> {
    erase_call(&app, call_sid(&sid)?, &who.name).await?;
    Ok(Redirect::to("/").into_response())
}

//! Errors as pages, where a person asked.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

use super::{Frame, Viewer, html};
use crate::app::App;
use crate::error::ApiError;
use crate::routes::signin::explanation;

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    f: Frame,
    heading: &'static str,
    text: &'static str,
}

/// Turns the problems of what it stands around into pages; status and other headers stay.
pub(crate) async fn as_page(
    State(app): State<App>,
    viewer: Viewer,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let Some(error) = response.extensions().get::<Arc<ApiError>>().cloned() else {
        return response;
    };
    let rendered = match &*error {
        ApiError::Unauthenticated => explanation(&app, &viewer),
        other => {
            let f = Frame::still(&app, &viewer);
            let (heading, text) = words_for(other, &f);
            html(&MessagePage { f, heading, text })
        }
    };
    let Ok(page) = rendered else { return response };
    let (mut parts, _) = response.into_parts();
    let page = page.into_response();
    if let Some(kind) = page.headers().get(header::CONTENT_TYPE) {
        parts.headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, page.into_body())
}

fn words_for(error: &ApiError, f: &Frame) -> (&'static str, &'static str) {
    let w = f.w;
    match error {
        ApiError::NotFound(_) | ApiError::Gone | ApiError::MethodNotAllowed => {
            (w.frame.not_found, w.frame.not_found_text)
        }
        ApiError::BadQuery(_) => (w.frame.not_found, w.frame.bad_query),
        ApiError::Unauthenticated => (w.people.sign_in, w.people.sign_in_needed),
        ApiError::ForeignForm => (w.frame.refused, w.frame.refused_text),
        ApiError::FormToken => (w.frame.refused, w.people.form_token_text),
        ApiError::Forbidden => (w.frame.refused, w.people.forbidden_text),
        ApiError::Store(_)
        | ApiError::Erase(_)
        | ApiError::Stream(_)
        | ApiError::Publish(_)
        | ApiError::People(_)
        | ApiError::Recording(_)
        | ApiError::TooManyExports
        | ApiError::Busy
        | ApiError::TooManyFollowers => (w.frame.unavailable, w.frame.unavailable_text),
        ApiError::Range { .. }
        | ApiError::BadBody(_)
        | ApiError::PreconditionRequired
        | ApiError::Conflict(_)
        | ApiError::Render(_)
        | ApiError::Encode(_)
        | ApiError::Event(_)
        | ApiError::Panicked => (w.frame.mistake, w.frame.mistake_text),
    }
}

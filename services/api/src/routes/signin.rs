//! `/signin` and `/signout`. Opening a link shows a page with a button and nothing more: programs that preview links
//! would use it up.

use askama::Template;
use axum::extract::{RawForm, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use callfold_kit::metric::CounterName;

use crate::app::{App, AppState};
use crate::auth::{TokenHash, session_token};
use crate::error::ApiError;
use crate::page::{Frame, Viewer, html};

/// The longest token that is looked at, in bytes; ours have 43.
const TOKEN_BYTES_MAX: usize = 128;

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage {
    f: Frame,
    /// A link's token that is still good.
    token: Option<String>,
    /// A token was given and is not good (any more).
    spent: bool,
}

/// The page that says how to get in.
pub(crate) fn explanation(app: &App, viewer: &Viewer, spent: bool) -> Result<Html<String>, ApiError> {
    html(&SignInPage {
        f: outside(app, viewer),
        token: None,
        spent,
    })
}

/// The frame for those who are not signed in: it tells nothing about the installation.
fn outside(app: &App, viewer: &Viewer) -> Frame {
    Frame {
        demonstration_model: false,
        unsigned_webhooks: false,
        ..Frame::still(app, viewer)
    }
}

fn token_of(encoded: &[u8]) -> Option<String> {
    form_urlencoded::parse(encoded)
        .find(|(name, value)| name == "token" && !value.is_empty() && value.len() <= TOKEN_BYTES_MAX)
        .map(|(_, value)| value.into_owned())
}

/// `GET /signin?token=…`
pub(crate) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let token = token_of(query.unwrap_or_default().as_bytes());
    Ok(match token {
        Some(token) if app.auth.links.is_good(&token, app.clock.now()) => html(&SignInPage {
            f: outside(&app, &viewer),
            token: Some(token),
            spent: false,
        })?
        .into_response(),
        Some(_) => (StatusCode::GONE, explanation(&app, &viewer, true)?).into_response(),
        None => explanation(&app, &viewer, false)?.into_response(),
    })
}

/// `POST /signin`: uses the link up and opens a session.
pub(crate) async fn sign_in(
    State(app): State<App>,
    viewer: Viewer,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let Some(link) = token_of(&form).and_then(|token| app.auth.links.take(&token, now)) else {
        count(&app, "refused");
        return Ok((StatusCode::GONE, explanation(&app, &viewer, true)?).into_response());
    };
    let session = match app.auth.sessions.open(now).await {
        Ok(session) => session,
        Err(error) => {
            // The person did nothing wrong: the link stays good.
            app.auth.links.put_back(link);
            count(&app, "failed");
            return Err(error);
        }
    };
    count(&app, "link");
    Ok(redirect("/", &app.auth.cookie(&headers, session.expose())))
}

/// `POST /signout`: ends the session.
pub(crate) async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(token) = session_token(&headers) {
        app.auth.sessions.close(&TokenHash::of(token)).await?;
    }
    Ok(redirect("/signin", &app.auth.cookie(&headers, "")))
}

fn count(app: &AppState, outcome: &str) {
    app.metrics.count(CounterName::SignIns, &[("outcome", outcome)]);
}

fn redirect(to: &'static str, cookie: &str) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    // Tokens are base64url: always a valid header.
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

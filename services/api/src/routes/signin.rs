//! `/signin` and `/signout`: with a name and a password, or with a one-time link. Opening a link shows a page with a button
//! and nothing more: programs that preview links would use it up.

use std::net::{IpAddr, SocketAddr};

use askama::Template;
use axum::Extension;
use axum::extract::{ConnectInfo, RawForm, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use callfold_kit::Secret;
use callfold_kit::metric::CounterName;
use callfold_people::{PASSWORD_BYTES_MAX, Person, TokenHash, Via, key_of_name};
use callfold_schema::UnixMillis;

use crate::app::{App, AppState};
use crate::auth::client_address;
use crate::error::ApiError;
use crate::page::{Frame, Viewer, html};
use crate::words::{LANGUAGE_COOKIE, Language, fill};

/// The longest token that is looked at, in bytes; ours have 43.
const TOKEN_BYTES_MAX: usize = 128;
/// The longest name that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// How long the language of a person is kept in a browser, in seconds: a year.
const LANGUAGE_SECONDS: i64 = 365 * 24 * 3_600;

/// What the page says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// How to get in.
    Nothing,
    /// A link was given and is not good (any more).
    Spent,
    /// Name or password are wrong; which of them is not said.
    Wrong,
    /// So many seconds are to be waited.
    Wait(i64),
}

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage {
    f: Frame,
    /// A link's token that is still good.
    token: Option<String>,
    told: Told,
    /// What was given as name before.
    name: String,
}

impl SignInPage {
    fn spent(&self) -> bool {
        self.told == Told::Spent
    }

    fn wrong(&self) -> bool {
        self.told == Told::Wrong
    }

    fn wait(&self) -> Option<String> {
        let Told::Wait(seconds) = self.told else {
            return None;
        };
        let w = &self.f.w.people;
        Some(if seconds < 90 {
            fill(w.wait_seconds, seconds)
        } else {
            fill(w.wait_minutes, (seconds + 59) / 60)
        })
    }
}

/// The page that says how to get in.
pub(crate) fn explanation(app: &App, viewer: &Viewer) -> Result<Html<String>, ApiError> {
    page(app, viewer, Told::Nothing, String::new())
}

fn page(app: &App, viewer: &Viewer, told: Told, name: String) -> Result<Html<String>, ApiError> {
    html(&SignInPage {
        f: outside(app, viewer),
        token: None,
        told,
        name,
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

fn field(encoded: &[u8], wanted: &str, bytes_max: usize) -> Option<String> {
    form_urlencoded::parse(encoded)
        .find(|(name, value)| name == wanted && !value.is_empty() && value.len() <= bytes_max)
        .map(|(_, value)| value.into_owned())
}

/// `GET /signin?token=…`
pub(crate) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let Some(token) = field(query.unwrap_or_default().as_bytes(), "token", TOKEN_BYTES_MAX) else {
        return Ok(explanation(&app, &viewer)?.into_response());
    };
    let now = app.clock.now();
    let is_good = app.auth.links.is_good(&token, now)
        || app.auth.people.link(&TokenHash::of(&token), now).await?.is_some();
    if !is_good {
        return Ok((StatusCode::GONE, page(&app, &viewer, Told::Spent, String::new())?).into_response());
    }
    Ok(html(&SignInPage {
        f: outside(&app, &viewer),
        token: Some(token),
        told: Told::Nothing,
        name: String::new(),
    })?
    .into_response())
}

/// `POST /signin`: uses a link up, or compares a password, and opens a session.
pub(crate) async fn sign_in(
    State(app): State<App>,
    viewer: Viewer,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let browser = Browser {
        address: client_address(peer.map(|Extension(ConnectInfo(peer))| peer), &headers),
        headers: &headers,
    };
    match field(&form, "token", TOKEN_BYTES_MAX) {
        Some(token) => by_link(&app, &viewer, &browser, &token, now).await,
        None => by_password(&app, &viewer, &browser, &form, now).await,
    }
}

/// Where somebody signs in.
struct Browser<'a> {
    address: Option<IpAddr>,
    headers: &'a HeaderMap,
}

async fn by_link(
    app: &App,
    viewer: &Viewer,
    browser: &Browser<'_>,
    token: &str,
    now: UnixMillis,
) -> Result<Response, ApiError> {
    let people = &app.auth.people;
    // Found out before a link is used up: what goes wrong here is not the person's fault.
    let has_owner = people.has_owner(now).await?;
    if let Some(link) = app.auth.links.take(token, now)
        && !has_owner
    {
        return match open(app, browser, None, Via::Link, now).await {
            Ok(response) => Ok(response),
            Err(error) => {
                app.auth.links.put_back(link);
                count(app, "failed");
                Err(error)
            }
        };
    }
    if let Some(link) = people.take_link(&TokenHash::of(token), now).await? {
        match &link.person {
            None if !has_owner => return open(app, browser, None, Via::Link, now).await,
            None => {}
            Some(key) => {
                if let Some(person) = people.person(key, now).await? {
                    return open(app, browser, Some(&person), Via::Link, now).await;
                }
            }
        }
    }
    count(app, "refused");
    Ok((StatusCode::GONE, page(app, viewer, Told::Spent, String::new())?).into_response())
}

async fn by_password(
    app: &App,
    viewer: &Viewer,
    browser: &Browser<'_>,
    form: &[u8],
    now: UnixMillis,
) -> Result<Response, ApiError> {
    let name = field(form, "name", NAME_BYTES_MAX).unwrap_or_default();
    let password = Secret::new(field(form, "password", PASSWORD_BYTES_MAX).unwrap_or_default());
    let key = key_of_name(&name);
    if let Err(wait_ms) = app.auth.attempts.begin(&key, browser.address, now) {
        count(app, "limited");
        let seconds = (wait_ms + 999) / 1_000;
        let mut response = (
            StatusCode::TOO_MANY_REQUESTS,
            page(app, viewer, Told::Wait(seconds), name)?,
        )
            .into_response();
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return Ok(response);
    }
    let person = app.auth.people.person(&key, now).await?;
    // Takes the same time whether there is such a person or not.
    if app.auth.people.is_password_of(person.as_ref(), password).await?
        && let Some(person) = person
    {
        app.auth.attempts.succeeded(&key, browser.address);
        return open(app, browser, Some(&person), Via::Password, now).await;
    }
    count(app, "wrong");
    Ok((StatusCode::FORBIDDEN, page(app, viewer, Told::Wrong, name)?).into_response())
}

async fn open(
    app: &App,
    browser: &Browser<'_>,
    person: Option<&Person>,
    via: Via,
    now: UnixMillis,
) -> Result<Response, ApiError> {
    let agent = browser
        .headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let opened = app
        .auth
        .people
        .open_session(person, via, browser.address, agent, now)
        .await?;
    count(
        app,
        match via {
            Via::Link => "link",
            Via::Password => "password",
        },
    );
    let mut response = redirect("/", &app.auth.cookie(browser.headers, opened.token.expose()));
    // A person's own language goes before what the browser says, and behind what was chosen in this browser.
    if let Some(language) = person
        .and_then(|person| person.language.as_deref())
        .and_then(Language::from_tag)
        && crate::auth::cookie(browser.headers, LANGUAGE_COOKIE).is_none()
    {
        let cookie = app
            .auth
            .set_cookie(browser.headers, LANGUAGE_COOKIE, language.tag(), LANGUAGE_SECONDS);
        append_cookie(&mut response, &cookie);
    }
    Ok(response)
}

/// `POST /signout`: ends the session.
pub(crate) async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(token) = app.auth.session_token(&headers) {
        app.auth.people.end_session(&TokenHash::of(token).hex()).await?;
    }
    Ok(redirect("/signin", &app.auth.cookie(&headers, "")))
}

fn count(app: &AppState, outcome: &str) {
    app.metrics.count(CounterName::SignIns, &[("outcome", outcome)]);
}

fn redirect(to: &'static str, cookie: &str) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    append_cookie(&mut response, cookie);
    response
}

fn append_cookie(response: &mut Response, cookie: &str) {
    // Tokens are base64url: always a valid header.
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

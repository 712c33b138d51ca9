//! `/settings`: what everybody chooses for themselves.

use askama::Template;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, RawForm, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use callfold_people::{PeopleError, Person, PushSubscription, Refusal};
use serde::Deserialize;
use std::net::SocketAddr;

use super::people::{Fields, SessionRow, back_to, done, refused, session_id};
use super::{Frame, Viewer, html};
use crate::app::App;
use crate::auth::{SignedIn, Who, client_address};
use crate::error::ApiError;
use crate::show;
use crate::words::{LANGUAGE_COOKIE, Language, fill};

/// How long the language is kept in the browser, in seconds: a year.
const LANGUAGE_SECONDS: i64 = 365 * 24 * 3_600;

struct Me {
    name: String,
    role: &'static str,
    has_password: bool,
    email: String,
    notify_email: bool,
    notify_push: bool,
    language: &'static str,
    /// Id, and since when.
    browsers: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    f: Frame,
    /// `None`: a session in nobody's name.
    me: Option<Me>,
    sessions: Vec<SessionRow>,
    push_key: Option<String>,
    has_mail: bool,
    done: Option<&'static str>,
    refused: Option<&'static str>,
}

async fn render(
    app: &App,
    viewer: &Viewer,
    who: &Who,
    done: Option<&'static str>,
    refused: Option<&'static str>,
) -> Result<Response, ApiError> {
    let f = Frame::still(app, viewer);
    let people = &app.auth.people;
    let now = app.clock.now();
    let key = who.person.as_ref().map(Person::key);
    // As they are now: the one in `who` was read before the form did its work.
    let person = match &key {
        Some(key) => people.person(key, now).await?,
        None => None,
    };
    let current = who.session.as_ref().map(|hash| hash.hex());
    let sessions = people.sessions_of(key.as_deref(), now).await?;
    let me = person.map(|person| Me {
        role: f.role(person.role),
        has_password: person.password.is_some(),
        email: person.email.unwrap_or_default(),
        notify_email: person.notify_email,
        notify_push: person.notify_push,
        language: person
            .language
            .as_deref()
            .and_then(Language::from_tag)
            .unwrap_or(viewer.language)
            .tag(),
        browsers: person
            .subscriptions
            .iter()
            .map(|known| {
                let since = show::day_and_time(known.created_at, now, &f.timezone, f.w);
                (known.id(), fill(f.w.people.push_since, since))
            })
            .collect(),
        name: person.name,
    });
    let status = if refused.is_some() {
        StatusCode::CONFLICT
    } else {
        StatusCode::OK
    };
    let page = html(&SettingsPage {
        me,
        sessions: sessions
            .into_iter()
            .map(|(id, session)| SessionRow::of(id, &session, current.as_deref(), &f))
            .collect(),
        push_key: people.push_public_key().await?,
        has_mail: people.has_mail().await?,
        done,
        refused,
        f,
    })?;
    Ok((status, page).into_response())
}

async fn answer<T>(
    app: &App,
    viewer: &Viewer,
    who: &Who,
    result: Result<T, PeopleError>,
) -> Result<Response, ApiError> {
    match result {
        Ok(_) => Ok(back_to("/settings", "saved")),
        Err(PeopleError::Refused(refusal)) => {
            let text = refused(refusal, viewer.language.words());
            render(app, viewer, who, None, Some(text)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The key of the one who is signed in by name.
fn own_key(who: &Who) -> Result<String, ApiError> {
    let person = who.person.as_ref().ok_or(ApiError::Conflict(
        "This session is in nobody's name: sign in by name.",
    ))?;
    Ok(person.key())
}

/// `GET /settings`
pub(crate) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    SignedIn(who): SignedIn,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let done = done(query.as_deref(), viewer.language.words());
    render(&app, &viewer, &who, done, None).await
}

/// `POST /settings/choices`: email, notify_email, notify_push, language.
pub(crate) async fn choices(
    State(app): State<App>,
    viewer: Viewer,
    SignedIn(who): SignedIn,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&form);
    let key = own_key(&who)?;
    let language =
        Language::from_tag(fields.get("language")).ok_or(ApiError::BadBody("language is he or en"))?;
    let set = app
        .auth
        .people
        .set_choices(
            &key,
            fields.get("email"),
            fields.get("notify_email") == "yes",
            fields.get("notify_push") == "yes",
            Some(language.tag().to_owned()),
        )
        .await;
    let is_set = set.is_ok();
    let mut response = answer(&app, &viewer, &who, set).await?;
    let cookie = app
        .auth
        .set_cookie(&headers, LANGUAGE_COOKIE, language.tag(), LANGUAGE_SECONDS);
    // Name, tag and number: always a valid header.
    if is_set && let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

/// `POST /settings/password`: current (where there is one), password. Ends all other sessions.
pub(crate) async fn password(
    State(app): State<App>,
    viewer: Viewer,
    SignedIn(who): SignedIn,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&form);
    let key = own_key(&who)?;
    let words = viewer.language.words();
    let now = app.clock.now();
    let person = app.auth.people.person(&key, now).await?;
    if person.as_ref().is_some_and(|person| person.password.is_some()) {
        let address = client_address(peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
        // Who sits down at an open browser does not find the password out by trying, either.
        if let Err(wait_ms) = app.auth.attempts.begin(&key, address, now) {
            let minutes = (wait_ms + 59_999) / 60_000;
            let text = fill(words.people.wait_minutes, minutes);
            return Ok((
                StatusCode::TOO_MANY_REQUESTS,
                [(header::RETRY_AFTER, (wait_ms + 999) / 1_000)],
                text,
            )
                .into_response());
        }
        let current = callfold_kit::Secret::new(fields.get("current"));
        if !app.auth.people.is_password_of(person.as_ref(), current).await? {
            let text = words.people.refused_current_password;
            return render(&app, &viewer, &who, None, Some(text)).await;
        }
        app.auth.attempts.succeeded(&key, address);
    }
    let Some(password) = fields.password("password") else {
        return answer::<Person>(&app, &viewer, &who, Err(Refusal::PasswordShort.into())).await;
    };
    let set = app
        .auth
        .people
        .set_password(&who.name, Some(password), who.session.as_ref())
        .await;
    answer(&app, &viewer, &who, set).await
}

/// `POST /settings/sessions/end`: session. One's own.
pub(crate) async fn end_session(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let id = session_id(&Fields::of(&form))?;
    let key = who.person.as_ref().map(Person::key);
    let own = app
        .auth
        .people
        .sessions_of(key.as_deref(), app.clock.now())
        .await?;
    if own.iter().any(|(known, _)| *known == id) {
        app.auth.people.end_session(&id).await?;
    }
    Ok(back_to("/settings", "ended"))
}

/// What a browser says of its push subscription (`PushSubscription.toJSON()`).
#[derive(Deserialize)]
pub(crate) struct SubscriptionBody {
    endpoint: String,
    keys: SubscriptionKeys,
}

#[derive(Deserialize)]
struct SubscriptionKeys {
    p256dh: String,
    auth: String,
}

/// `POST /settings/push`: this browser is to be told of new leads.
pub(crate) async fn subscribe(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    const SHAPE: ApiError = ApiError::BadBody(
        "what PushSubscription.toJSON() gives: an https endpoint, and the keys p256dh and auth",
    );
    let key = own_key(&who)?;
    let body: SubscriptionBody = serde_json::from_slice(&body).map_err(|_| SHAPE)?;
    let now = app.clock.now();
    let subscription = PushSubscription::checked(&body.endpoint, &body.keys.p256dh, &body.keys.auth, now)
        .map_err(|_| SHAPE)?;
    app.auth.people.subscribe(&key, subscription).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /settings/push/remove`: id.
pub(crate) async fn unsubscribe(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let key = own_key(&who)?;
    app.auth
        .people
        .unsubscribe(&key, Fields::of(&form).get("id"))
        .await?;
    Ok(back_to("/settings", "saved"))
}

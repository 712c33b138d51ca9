//! `/people`: who works here, for owners; and what `/settings` shares with it.

use askama::Template;
use axum::extract::{RawForm, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use callfold_kit::Secret;
use callfold_people::{NewPerson, PeopleError, Person, Refusal, Role, Session, Via, key_of_name};

use super::{Frame, Viewer, html};
use crate::app::{App, AppState};
use crate::auth::SignedIn;
use crate::error::ApiError;
use crate::show;
use crate::words::{Words, fill};

/// The longest value of a field that is looked at, in bytes.
const FIELD_BYTES_MAX: usize = 1_024;

/// A form's fields.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn of(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    /// A field's value; empty when it is missing or too long.
    pub(super) fn get(&self, wanted: &str) -> &str {
        self.0
            .iter()
            .find(|(name, value)| name == wanted && value.len() <= FIELD_BYTES_MAX)
            .map_or("", |(_, value)| value)
    }

    /// A password; `None` when none was given.
    pub(super) fn password(&self, wanted: &str) -> Option<Secret> {
        let text = self.get(wanted);
        (!text.is_empty()).then(|| Secret::new(text))
    }

    fn role(&self) -> Result<Role, ApiError> {
        Role::from_name(self.get("role")).ok_or(ApiError::BadBody("role is viewer, agent or owner"))
    }
}

/// What was done, as it stands in the address behind a form.
pub(super) fn done(query: Option<&str>, w: &Words) -> Option<&'static str> {
    let told = form_urlencoded::parse(query?.as_bytes())
        .find(|(name, _)| name == "told")
        .map(|(_, value)| value.into_owned())?;
    match told.as_str() {
        "added" => Some(w.people.done_added),
        "saved" => Some(w.people.done_saved),
        "removed" => Some(w.people.done_removed),
        "ended" => Some(w.people.done_ended),
        _ => None,
    }
}

/// What is not allowed, in words.
pub(super) fn refused(refusal: Refusal, w: &Words) -> &'static str {
    let w = &w.people;
    match refusal {
        Refusal::Name => w.refused_name,
        Refusal::NameTaken => w.refused_name_taken,
        Refusal::Nobody => w.refused_nobody,
        Refusal::FirstIsOwner => w.refused_first_is_owner,
        Refusal::LastOwner => w.refused_last_owner,
        Refusal::TooMany => w.refused_too_many,
        Refusal::PasswordShort => w.refused_password_short,
        Refusal::PasswordLong => w.refused_password_long,
        Refusal::PasswordCommon => w.refused_password_common,
        Refusal::Email => w.refused_email,
        Refusal::Subscription => w.refused_subscription,
        Refusal::TokenName | Refusal::TooManyTokens => w.refused_token,
    }
}

/// A session, for the page.
pub(super) struct SessionRow {
    pub(super) id: String,
    pub(super) since: String,
    pub(super) via: &'static str,
    pub(super) address: Option<String>,
    pub(super) browser: String,
    pub(super) current: bool,
}

impl SessionRow {
    pub(super) fn of(id: String, session: &Session, current: Option<&str>, f: &Frame) -> Self {
        Self {
            current: current == Some(&id),
            id,
            since: show::day_and_time(session.created_at, f.now(), &f.timezone, f.w),
            via: match session.via {
                Via::Link => f.w.people.via_link,
                Via::Password => f.w.people.via_password,
            },
            address: session.address.clone(),
            browser: browser(session.agent.as_deref().unwrap_or_default()),
        }
    }
}

/// Browser and system, as far as a browser tells: many claim to be others as well, so the order counts.
fn browser(agent: &str) -> String {
    let first = |known: &[(&str, &'static str)]| {
        known
            .iter()
            .find(|(sign, _)| agent.contains(sign))
            .map(|(_, name)| *name)
    };
    let program = first(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser", "Samsung Internet"),
        ("Firefox", "Firefox"),
        ("FxiOS", "Firefox"),
        ("Chrom", "Chrome"),
        ("CriOS", "Chrome"),
        ("Safari", "Safari"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "Mac"),
        ("Linux", "Linux"),
    ]);
    match (program, system) {
        (Some(program), Some(system)) => format!("{program} · {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "?".to_owned(),
    }
}

struct PersonRow {
    name: String,
    role: &'static str,
    me: bool,
    has_password: bool,
    sessions: Vec<SessionRow>,
}

/// A link that was just made.
struct LinkBox {
    title: String,
    address: String,
}

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    f: Frame,
    people: Vec<PersonRow>,
    nameless: Vec<SessionRow>,
    link: Option<LinkBox>,
    done: Option<&'static str>,
    refused: Option<&'static str>,
    /// What was given before, where adding somebody was refused.
    given_name: String,
    add_role: &'static str,
}

/// What stands on the page besides the people.
#[derive(Default)]
struct Extra {
    link: Option<LinkBox>,
    done: Option<&'static str>,
    refused: Option<&'static str>,
    given_name: String,
}

async fn render(app: &App, viewer: &Viewer, extra: Extra) -> Result<Response, ApiError> {
    let f = Frame::still(app, viewer);
    let people = &app.auth.people;
    let everybody = people.everybody().await?;
    let mut sessions = people.all_sessions(app.clock.now()).await?;
    let who = viewer.who.as_ref();
    let current = who.and_then(|who| who.session.as_ref()).map(|hash| hash.hex());
    let mut take = |key: Option<&str>| {
        let (theirs, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut sessions)
            .into_iter()
            .partition(|(_, session)| session.person.as_deref() == key);
        sessions = rest;
        theirs
            .into_iter()
            .map(|(id, session)| SessionRow::of(id, &session, current.as_deref(), &f))
            .collect()
    };
    let nameless = take(None);
    let mut rows = Vec::with_capacity(everybody.len());
    for person in &everybody {
        rows.push(PersonRow {
            name: person.name.clone(),
            role: person.role.name(),
            me: who.is_some_and(|who| who.person.as_ref().is_some_and(|me| me.key() == person.key())),
            has_password: person.password.is_some(),
            sessions: take(Some(&person.key())),
        });
    }
    let status = if extra.refused.is_some() {
        StatusCode::CONFLICT
    } else {
        StatusCode::OK
    };
    let add_role = if rows.is_empty() { Role::Owner } else { Role::Agent };
    let page = html(&PeoplePage {
        people: rows,
        nameless,
        link: extra.link,
        done: extra.done,
        refused: extra.refused,
        given_name: extra.given_name,
        add_role: add_role.name(),
        f,
    })?;
    Ok((status, page).into_response())
}

/// Where a form leads when it was done.
pub(super) fn back_to(path: &str, told: &str) -> Response {
    (
        StatusCode::SEE_OTHER,
        [(header::LOCATION, format!("{path}?told={told}"))],
    )
        .into_response()
}

/// `/people` with what was done, or with why it was not.
async fn answer<T>(
    app: &App,
    viewer: &Viewer,
    result: Result<T, PeopleError>,
    told: &str,
    given_name: &str,
) -> Result<Response, ApiError> {
    match result {
        Ok(_) => Ok(back_to("/people", told)),
        Err(PeopleError::Refused(refusal)) => {
            let extra = Extra {
                refused: Some(refused(refusal, viewer.language.words())),
                given_name: given_name.to_owned(),
                ..Extra::default()
            };
            render(app, viewer, extra).await
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /people`
pub(crate) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let extra = Extra {
        done: done(query.as_deref(), viewer.language.words()),
        ..Extra::default()
    };
    render(&app, &viewer, extra).await
}

/// `POST /people/add`: name, role, password (may be empty).
pub(crate) async fn add(
    State(app): State<App>,
    viewer: Viewer,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&form);
    let new = NewPerson {
        name: fields.get("name").to_owned(),
        role: fields.role()?,
        password: fields.password("password"),
    };
    let added = app.auth.people.add(new, app.clock.now()).await;
    answer(&app, &viewer, added, "added", fields.get("name")).await
}

/// `POST /people/role`: name, role.
pub(crate) async fn role(
    State(app): State<App>,
    viewer: Viewer,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&form);
    let set = app.auth.people.set_role(fields.get("name"), fields.role()?).await;
    answer(&app, &viewer, set, "saved", "").await
}

/// `POST /people/password`: name, password. Ends their sessions.
pub(crate) async fn password(
    State(app): State<App>,
    viewer: Viewer,
    SignedIn(who): SignedIn,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&form);
    let password = fields.password("password").ok_or(ApiError::BadBody(
        "a password is missing, or has more than 256 bytes",
    ))?;
    let set = app
        .auth
        .people
        .set_password(fields.get("name"), Some(password), who.session.as_ref())
        .await;
    answer(&app, &viewer, set, "saved", "").await
}

/// `POST /people/remove`: name. Ends their sessions.
pub(crate) async fn remove(
    State(app): State<App>,
    viewer: Viewer,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let removed = app.auth.people.remove(Fields::of(&form).get("name")).await;
    answer(&app, &viewer, removed, "removed", "").await
}

/// `POST /people/sessions/end`: session. Anybody's.
pub(crate) async fn end_session(
    State(app): State<App>,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let id = session_id(&Fields::of(&form))?;
    app.auth.people.end_session(&id).await?;
    Ok(back_to("/people", "ended"))
}

/// A session's id: a key of the bucket, so nothing else is taken for one.
pub(super) fn session_id(fields: &Fields) -> Result<String, ApiError> {
    let id = fields.get("session");
    if id.len() == 64 && id.bytes().all(|c| c.is_ascii_hexdigit()) {
        Ok(id.to_owned())
    } else {
        Err(ApiError::BadBody("session is the id of an open one"))
    }
}

/// `POST /people/link`: name. Shows a one-time link, once.
pub(crate) async fn link(
    State(app): State<App>,
    viewer: Viewer,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&form);
    let now = app.clock.now();
    let key = key_of_name(fields.get("name"));
    let Some(person) = app.auth.people.person(&key, now).await? else {
        return answer::<Person>(&app, &viewer, Err(Refusal::Nobody.into()), "", "").await;
    };
    let token = app.auth.people.issue_link(Some(key), now).await?;
    let extra = Extra {
        link: Some(LinkBox {
            title: fill(viewer.language.words().people.sign_in_link_for, &person.name),
            address: format!("{}/signin?token={}", base(&app, &headers), token.expose()),
        }),
        ..Extra::default()
    };
    render(&app, &viewer, extra).await
}

/// The address of the page as others reach it.
fn base(app: &AppState, headers: &HeaderMap) -> String {
    if let Some(url) = &app.auth.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("127.0.0.1:5000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_by_what_it_says_of_itself() {
        for (agent, told) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
                "Chrome · Linux",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari · iPhone",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140 Safari/537.36 Edg/140",
                "Edge · Windows",
            ),
            (
                "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Firefox/140.0",
                "Firefox · Android",
            ),
            ("curl/8", "?"),
        ] {
            assert_eq!(browser(agent), told);
        }
    }

    #[test]
    fn only_a_hash_is_an_id_of_a_session() {
        let of = |form: String| session_id(&Fields::of(form.as_bytes())).is_ok();
        assert!(of(format!("session={}", "0a".repeat(32))));
        for wrong in ["session=", "session=*", "session=0a", "other=1"] {
            assert!(!of(wrong.to_owned()), "{wrong}");
        }
    }
}

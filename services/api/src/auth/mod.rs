//! Who is let in, and to do what: the bearer of an API token, or a person in a browser with a session. [`rules`] says which
//! role a request needs; [`require`] holds every request against it, so that a new path is closed until somebody opens it.

mod address;
mod links;
mod rules;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use callfold_people::{
    Attempts, People, Person, Role, SESSION_SECONDS, Scope, TokenHash, form_token, is_form_token,
};
use callfold_schema::UnixMillis;
use url::Url;

pub(crate) use address::client_address;
pub(crate) use links::Links;

use crate::app::App;
use crate::error::ApiError;

/// The cookie that carries a session's token.
pub(crate) const SESSION_COOKIE: &str = "callfold_session";
/// Its name behind https: the prefix makes browsers refuse one that a neighbouring host has set.
const SESSION_COOKIE_HTTPS: &str = "__Host-callfold_session";
/// The field of a form, and the header of what a script sends, that shows that our own page sent it.
pub(crate) const FORM_TOKEN_FIELD: &str = "form_token";
const FORM_TOKEN_HEADER: &str = "x-csrf-token";
/// The largest form, in bytes.
const FORM_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Who does something in events before there are people: whoever signed in by the installation's own link.
pub(crate) const NAMELESS: &str = "session";
/// Who does something with the API token of the settings.
const TOKEN_NAME: &str = "token";

/// Who sent a request.
#[derive(Debug)]
pub(crate) struct Who {
    /// As it stands in events.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) role: Role,
    /// The person, where the session is somebody's.
    pub(crate) person: Option<Person>,
    /// The session's hash; `None`: a program with a token.
    pub(crate) session: Option<TokenHash>,
    /// What the forms of their pages carry; empty for a program.
    pub(crate) form_token: String,
}

impl Who {
    /// Whether they may do what needs this role.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role >= role
    }
}

/// The one who sent a request, in handlers behind [`require`].
pub(crate) struct SignedIn(pub(crate) Arc<Who>);

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        who(parts).map(Self).ok_or(ApiError::Unauthenticated)
    }
}

/// The one who sent a request; `None` outside of [`require`].
pub(crate) fn who(parts: &Parts) -> Option<Arc<Who>> {
    parts.extensions.get::<Arc<Who>>().cloned()
}

/// Everything that decides who is let in.
pub(crate) struct Auth {
    pub(crate) token: Option<TokenHash>,
    pub(crate) links: Links,
    pub(crate) people: Arc<People>,
    pub(crate) attempts: Attempts,
    pub(crate) public_url: Option<Url>,
}

impl Auth {
    /// Who sent the request; `None`: nobody known. An error means that it could not be found out.
    async fn admit(&self, headers: &HeaderMap, now: UnixMillis) -> Result<Option<Who>, ApiError> {
        if let Some(bearer) = bearer(headers) {
            let given = TokenHash::of(bearer);
            let program = |name: String, role| Who {
                name,
                role,
                person: None,
                session: None,
                form_token: String::new(),
            };
            if self.token.as_ref().is_some_and(|token| token.matches(&given)) {
                return Ok(Some(program(TOKEN_NAME.to_owned(), Role::Owner)));
            }
            let token = self.people.token(&given, now).await?;
            return Ok(token.map(|token| {
                let role = match token.scope {
                    Scope::Read => Role::Viewer,
                    Scope::Write => Role::Agent,
                    Scope::Erase => Role::Owner,
                };
                program(format!("{TOKEN_NAME} {}", token.name), role)
            }));
        }
        let Some(token) = self.session_token(headers) else {
            return Ok(None);
        };
        let hash = TokenHash::of(token);
        let Some((_, person)) = self.people.session(&hash, now).await? else {
            return Ok(None);
        };
        Ok(Some(Who {
            name: person.as_ref().map_or(NAMELESS, |person| &person.name).to_owned(),
            role: person.as_ref().map_or(Role::Owner, |person| person.role),
            person,
            session: Some(hash),
            form_token: form_token(token),
        }))
    }

    /// The session's token among the cookies. Where the page is asked for at its public https address, only the cookie that
    /// no other host can set counts.
    pub(crate) fn session_token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let public = self.public_url.as_ref().filter(|url| url.scheme() == "https");
        let asked = text(headers, header::HOST.as_str());
        let is_public = public.is_some_and(|url| {
            let host = url.host_str().unwrap_or_default();
            asked.is_some_and(|asked| {
                asked
                    .split(':')
                    .next()
                    .is_some_and(|asked| asked.eq_ignore_ascii_case(host))
            })
        });
        let plain = || cookie(headers, SESSION_COOKIE).filter(|_| !is_public);
        cookie(headers, SESSION_COOKIE_HTTPS).or_else(plain)
    }

    /// `Set-Cookie` for a session's token; for an empty one, the removal.
    pub(crate) fn cookie(&self, headers: &HeaderMap, token: &str) -> String {
        let age = if token.is_empty() { 0 } else { SESSION_SECONDS };
        let name = if self.is_secure(headers) {
            SESSION_COOKIE_HTTPS
        } else {
            SESSION_COOKIE
        };
        self.set_cookie(headers, name, token, age)
    }

    /// `Set-Cookie` for a value without special characters that lasts `age` seconds. Who comes over plain http, on
    /// the machine itself although the public address is https, would not keep a cookie that is for https only.
    pub(crate) fn set_cookie(&self, headers: &HeaderMap, name: &str, value: &str, age: i64) -> String {
        let secure = if self.is_secure(headers) { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
    }

    fn is_secure(&self, headers: &HeaderMap) -> bool {
        let is_plain =
            text(headers, header::ORIGIN.as_str()).is_some_and(|origin| origin.starts_with("http://"));
        let is_https = self
            .public_url
            .as_ref()
            .is_some_and(|url| url.scheme() == "https");
        is_https && !is_plain
    }

    /// Whether a form was sent by our own page. Browsers say so in `Sec-Fetch-Site`, older ones (and all of them over
    /// plain http from another machine) in `Origin`; what says neither is no browser and carries no foreign cookie.
    fn is_own_form(&self, headers: &HeaderMap) -> bool {
        if let Some(site) = text(headers, "sec-fetch-site") {
            return matches!(site, "same-origin" | "none");
        }
        let Some(origin) = text(headers, header::ORIGIN.as_str()) else {
            return true;
        };
        let Ok(origin) = Url::parse(origin) else {
            return false;
        };
        if self
            .public_url
            .as_ref()
            .is_some_and(|own| own.origin() == origin.origin())
        {
            return true;
        }
        // `Host` has no scheme, so the port of the origin is compared as it is written.
        let asked = text(headers, header::HOST.as_str());
        let authority = match (origin.host_str(), origin.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return false,
        };
        asked.is_some_and(|asked| asked.eq_ignore_ascii_case(&authority))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION.as_str())?
        .trim()
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A cookie that says something.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == wanted && !value.is_empty()).then_some(value))
}

/// Who looks at a page, by the name that leads are assigned to; `None` for who is not signed in, and for a program with a
/// token.
pub(crate) fn person(request: &Parts) -> Option<String> {
    who(request)
        .filter(|who| who.session.is_some())
        .map(|who| who.name.clone())
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Lets only those in who may do what they ask for. What is behind it never answers anybody else.
pub(crate) async fn require(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(who) = app.auth.admit(request.headers(), app.clock.now()).await? else {
        return Err(ApiError::Unauthenticated);
    };
    if !is_read(request.method())
        && let Some(session) = app.auth.session_token(request.headers()).map(str::to_owned)
        && who.session.is_some()
    {
        request = with_form_token(request, &session).await?;
    }
    if !who.may(rules::needed(request.method(), request.uri().path())) {
        return Err(ApiError::Forbidden);
    }
    request.extensions_mut().insert(Arc::new(who));
    Ok(next.run(request).await)
}

/// Refuses what does not carry the form token of its session: as a header, or as a field of a form.
async fn with_form_token(request: Request, session: &str) -> Result<Request, ApiError> {
    if let Some(given) = text(request.headers(), FORM_TOKEN_HEADER) {
        return if is_form_token(session, given) {
            Ok(request)
        } else {
            Err(ApiError::FormToken)
        };
    }
    let is_form = text(request.headers(), header::CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return Err(ApiError::FormToken);
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, FORM_BYTES_MAX)
        .await
        .map_err(|_| ApiError::BadBody("a form has 2 MiB at most, and arrives as a whole"))?;
    let is_ours = form_urlencoded::parse(&bytes)
        .find(|(name, _)| name == FORM_TOKEN_FIELD)
        .is_some_and(|(_, given)| is_form_token(session, &given));
    if !is_ours {
        return Err(ApiError::FormToken);
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// Refuses forms that another site sent in the name of a person who is signed in here.
pub(crate) async fn own_forms_only(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !is_read(request.method())
        && bearer(request.headers()).is_none()
        && !app.auth.is_own_form(request.headers())
    {
        return Err(ApiError::ForeignForm);
    }
    Ok(next.run(request).await)
}

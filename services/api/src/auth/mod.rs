//! Who may read: the bearer of the API token, or a browser with a session that a one-time link opened.

mod links;
mod sessions;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use callfold_kit::secret::Secret;
use callfold_schema::UnixMillis;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

pub(crate) use links::Links;
pub(crate) use sessions::{SESSION_SECONDS, Sessions};

use crate::app::App;
use crate::error::ApiError;

/// The cookie that carries a session's token.
pub(crate) const SESSION_COOKIE: &str = "callfold_session";

/// SHA-256 of a token: what is kept and compared in its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Compares in a time that tells nothing.
    fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// 64 hexadecimal digits, a key of the broker's bucket.
    fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

/// A new token: 256 random bits that may stand in a URL and in a cookie.
pub(crate) fn new_token() -> Secret {
    let bytes: [u8; 32] = rand::random();
    Secret::new(BASE64URL_NOPAD.encode(&bytes))
}

/// Everything that decides who is let in.
pub(crate) struct Auth {
    pub(crate) token: Option<TokenHash>,
    pub(crate) links: Links,
    pub(crate) sessions: Sessions,
    pub(crate) public_url: Option<Url>,
}

impl Auth {
    /// Whether the request may read. An error means that it could not be found out.
    async fn admits(&self, headers: &HeaderMap, now: UnixMillis) -> Result<bool, ApiError> {
        if let Some(bearer) = bearer(headers) {
            let given = TokenHash::of(bearer);
            return Ok(self.token.as_ref().is_some_and(|token| token.matches(&given)));
        }
        match session_token(headers) {
            Some(token) => self.sessions.is_open(&TokenHash::of(token), now).await,
            None => Ok(false),
        }
    }

    /// `Set-Cookie` for a session's token; for an empty one, the removal.
    pub(crate) fn cookie(&self, headers: &HeaderMap, token: &str) -> String {
        let age = if token.is_empty() { 0 } else { SESSION_SECONDS };
        self.set_cookie(headers, SESSION_COOKIE, token, age)
    }

    /// `Set-Cookie` for a value without special characters that lasts `age` seconds. Who comes over plain http, on
    /// the machine itself although the public address is https, would not keep a cookie that is for https only.
    pub(crate) fn set_cookie(&self, headers: &HeaderMap, name: &str, value: &str, age: i64) -> String {
        let is_plain =
            text(headers, header::ORIGIN.as_str()).is_some_and(|origin| origin.starts_with("http://"));
        let secure = if self.is_https() && !is_plain {
            "; Secure"
        } else {
            ""
        };
        format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
    }

    fn is_https(&self) -> bool {
        self.public_url
            .as_ref()
            .is_some_and(|url| url.scheme() == "https")
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

/// The session's token among the cookies.
pub(crate) fn session_token(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, SESSION_COOKIE)
}

/// Who looks at a page, by the name that leads are assigned to; `None` where that is not known.
pub(crate) fn person(request: &Parts) -> Option<String> {
    session_token(&request.headers).map(|_| actor(&request.headers).to_owned())
}

/// Who does something, in events: who has the token, or a person who signed in.
pub(crate) fn actor(headers: &HeaderMap) -> &'static str {
    match bearer(headers) {
        Some(_) => "token",
        None => "session",
    }
}

/// Lets only those in who may read. What is behind it never answers anybody else.
pub(crate) async fn require(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !app.auth.admits(request.headers(), app.clock.now()).await? {
        return Err(ApiError::Unauthenticated);
    }
    Ok(next.run(request).await)
}

/// Refuses forms that another site sent in the name of a person who is signed in here.
pub(crate) async fn own_forms_only(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && bearer(request.headers()).is_none() && !app.auth.is_own_form(request.headers()) {
        return Err(ApiError::ForeignForm);
    }
    Ok(next.run(request).await)
}

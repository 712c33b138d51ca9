//! `POST /language`: a person chooses the language of the page. Kept in a cookie of this browser; a form, so that it
//! works without a script and before signing in.

use axum::extract::{RawForm, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use url::Url;

use crate::app::App;
use crate::error::ApiError;
use crate::words::{LANGUAGE_COOKIE, Language};

/// How long the choice is kept: a year.
const CHOICE_SECONDS: i64 = 365 * 24 * 3_600;

/// Takes `language=he` or `language=en` and leads back to where the form was.
pub(crate) async fn choose(
    State(app): State<App>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let language = form_urlencoded::parse(&form)
        .find(|(name, _)| name == "language")
        .and_then(|(_, tag)| Language::from_tag(&tag))
        .ok_or(ApiError::BadBody("language is he or en"))?;
    let cookie = app
        .auth
        .set_cookie(&headers, LANGUAGE_COOKIE, language.tag(), CHOICE_SECONDS);
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, back(&headers))]).into_response();
    // Name, tag and number: always a valid header.
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    Ok(response)
}

/// Path and query of the page that the form was on. Never another site: what stands before the path is left away,
/// and a path that a browser could take for a host (`//elsewhere`) leads to the start.
fn back(headers: &HeaderMap) -> String {
    let from = headers
        .get(header::REFERER)
        .and_then(|value| value.to_str().ok())
        .and_then(|referer| Url::parse(referer).ok());
    let Some(from) = from else {
        return "/".to_owned();
    };
    let path = from.path();
    if !path.starts_with('/') || path.starts_with("//") || path.starts_with("/\\") {
        return "/".to_owned();
    }
    match from.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back_from(referer: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::REFERER, HeaderValue::from_static(referer));
        back(&headers)
    }

    #[test]
    fn it_leads_back_to_the_page_and_never_to_another_site() {
        assert_eq!(back(&HeaderMap::new()), "/");
        assert_eq!(back_from("http://h:5000/leads/CA1?at=4"), "/leads/CA1?at=4");
        assert_eq!(back_from("https://evil.example/?q=x"), "/?q=x");
        for referer in [
            "https://h//evil.example/",
            "https://h/\\evil.example",
            "about:blank",
            "x",
            "data:,//e",
        ] {
            assert_eq!(back_from(referer), "/", "{referer}");
        }
    }
}

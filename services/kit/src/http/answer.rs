//! What other servers answer: read within a bound, and their failures put into classes. Nothing that a server said and
//! no address stands in an error: both can hold what must not be logged.

use std::time::{Duration, UNIX_EPOCH};

use callfold_schema::UnixMillis;
use callfold_schema::event::FailureClass;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};

/// The longest wish of a server for a delay that is taken over.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A status that is no success.
    #[error("HTTP {status}")]
    Status {
        /// The status.
        status: u16,
        /// How long the server asked to be left alone.
        after: Option<Duration>,
    },
    /// No connection.
    #[error("no connection")]
    Connect,
    /// The answer, or the rest of it, did not come in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
    /// The request could not be put together: an address or a header that is none.
    #[error("the request could not be built")]
    Request,
    /// More than is read.
    #[error("the answer is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
}

impl AnswerError {
    /// The class for the event.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Status { status, .. } => class_of(*status),
            Self::Connect | Self::Broken => FailureClass::Network,
            Self::Timeout => FailureClass::Timeout,
            Self::Request => FailureClass::Internal,
            Self::TooLarge { .. } => FailureClass::Invalid,
        }
    }

    /// The same in words that name the other side: `HTTP 503 from the speech server`.
    #[must_use]
    pub fn about(&self, server: &str) -> String {
        match self {
            Self::Status { status, .. } => format!("HTTP {status} from {server}"),
            Self::Connect => format!("no connection to {server}"),
            Self::Timeout => format!("{server} did not answer in time"),
            Self::Broken => format!("the connection to {server} broke"),
            Self::Request => format!("the request to {server} could not be built"),
            Self::TooLarge { bytes_max } => format!("{server} answered with more than {bytes_max} bytes"),
        }
    }

    /// How long the server asked to be left alone.
    #[must_use]
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Status { after, .. } => *after,
            _ => None,
        }
    }

    /// The status, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<reqwest::Error> for AnswerError {
    fn from(error: reqwest::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&reqwest::Error> for AnswerError {
    fn from(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            Self::Connect
        } else if error.is_timeout() {
            Self::Timeout
        } else if error.is_builder() {
            Self::Request
        } else {
            Self::Broken
        }
    }
}

/// The class of a status that is no success. Redirects count as answers without sense: our clients follow none.
#[must_use]
pub fn class_of(status: u16) -> FailureClass {
    match status {
        401 | 403 => FailureClass::Credentials,
        404 | 410 => FailureClass::NotFound,
        408 => FailureClass::Timeout,
        429 => FailureClass::RateLimited,
        500..=599 => FailureClass::Unavailable,
        400..=499 => FailureClass::Refused,
        _ => FailureClass::Invalid,
    }
}

/// Whether a request that failed with this class will fail again: the other side said no for good.
#[must_use]
pub fn is_permanent(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::Credentials | FailureClass::NotFound | FailureClass::Refused | FailureClass::NotAllowed
    )
}

/// How long a server asked to be left alone, in `Retry-After` as seconds or as a date; at most [`RETRY_AFTER_MAX`].
/// A date in the past is no delay at all.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: UnixMillis) -> Option<Duration> {
    let wish = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = if let Ok(seconds) = wish.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = httpdate::parse_http_date(wish).ok()?;
        // Dates before 1970 are in the past.
        let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        date.saturating_sub(Duration::from_millis(u64::try_from(now.0).unwrap_or(0)))
    };
    Some(delay.min(RETRY_AFTER_MAX))
}

/// Sends a request; the answer is a success whose body was not read yet.
///
/// # Errors
/// [`AnswerError`].
pub async fn send(request: RequestBuilder, now: UnixMillis) -> Result<Response, AnswerError> {
    let response = request.send().await?;
    check(&response, now)?;
    Ok(response)
}

/// Whether the status is a success.
///
/// # Errors
/// [`AnswerError::Status`].
pub fn check(response: &Response, now: UnixMillis) -> Result<(), AnswerError> {
    if response.status().is_success() {
        return Ok(());
    }
    Err(AnswerError::Status {
        status: response.status().as_u16(),
        after: retry_after(response.headers(), now),
    })
}

/// The body, whatever the status.
///
/// # Errors
/// [`AnswerError`]: it is larger than `bytes_max`, or did not come whole.
pub async fn body(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, AnswerError> {
    let too_large = AnswerError::TooLarge { bytes_max };
    let announced = response.content_length();
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::Router;
    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::routing::get;

    use super::*;
    use crate::http::client_builder;
    use crate::testing::{Fault, TestServer};

    /// 2026-11-22T10:00:00Z, a Sunday.
    const NOW: UnixMillis = UnixMillis(1_795_341_600_000);

    fn wish(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, NOW).map(|delay| delay.as_secs())
    }

    #[test]
    fn a_wish_for_a_delay_comes_in_seconds_or_as_a_date() {
        assert_eq!(retry_after(&HeaderMap::new(), NOW), None);
        for (value, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("86400", Some(3_600)),
            ("Sun, 22 Nov 2026 10:00:30 GMT", Some(30)),
            ("Sunday, 22-Nov-26 10:00:30 GMT", Some(30)),
            ("Sun Nov 22 10:00:30 2026", Some(30)),
            ("Mon, 23 Nov 2026 10:00:00 GMT", Some(3_600)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("soon", None),
            ("-3", None),
            ("1.5", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(wish(value), seconds, "{value}");
        }
    }

    #[test]
    fn every_status_has_a_class() {
        for (status, class) in [
            (302, FailureClass::Invalid),
            (400, FailureClass::Refused),
            (401, FailureClass::Credentials),
            (403, FailureClass::Credentials),
            (404, FailureClass::NotFound),
            (408, FailureClass::Timeout),
            (410, FailureClass::NotFound),
            (413, FailureClass::Refused),
            (422, FailureClass::Refused),
            (429, FailureClass::RateLimited),
            (500, FailureClass::Unavailable),
            (529, FailureClass::Unavailable),
            (599, FailureClass::Unavailable),
        ] {
            assert_eq!(class_of(status), class, "{status}");
        }
    }

    #[tokio::test]
    async fn failures_are_classed_and_hold_no_address() {
        let answer = |Path(path): Path<String>| async move {
            match path.as_str() {
                "secret-cut" => Fault::CutBeforeHead.on(""),
                "secret-half" => Fault::CutInBody.on("0123456789"),
                "secret-hang" => Fault::Hang.on(""),
                "secret-busy" => {
                    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3")], "secret").into_response()
                }
                _ => "0123456789".into_response(),
            }
        };
        let server = TestServer::start(Router::new().route("/{path}", get(answer))).await;
        let http = client_builder().build().unwrap();
        let get = async |path: &str, timeout_ms: u64| {
            let request = http
                .get(format!("{}/secret-{path}", server.url()))
                .timeout(Duration::from_millis(timeout_ms));
            body(send(request, NOW).await?, 10).await
        };
        assert_eq!(get("whole", 60_000).await.unwrap(), b"0123456789");
        for (path, timeout_ms, error, class) in [
            ("cut", 60_000, AnswerError::Broken, FailureClass::Network),
            ("half", 60_000, AnswerError::Broken, FailureClass::Network),
            ("hang", 50, AnswerError::Timeout, FailureClass::Timeout),
        ] {
            let got = get(path, timeout_ms).await.unwrap_err();
            assert_eq!((&got, got.class()), (&error, class), "{path}");
            assert!(!got.to_string().contains("secret"));
        }
        let busy = get("busy", 60_000).await.unwrap_err();
        assert_eq!(
            (busy.status(), busy.after()),
            (Some(429), Some(Duration::from_secs(3)))
        );
        assert_eq!(busy.to_string(), "HTTP 429");
        assert_eq!(busy.about("the server"), "HTTP 429 from the server");
        let response = http.get(format!("{}/whole", server.url())).send().await.unwrap();
        assert_eq!(
            body(response, 9).await.unwrap_err(),
            AnswerError::TooLarge { bytes_max: 9 }
        );
        let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", nobody.local_addr().unwrap());
        drop(nobody);
        let closed = http.get(url).send().await.unwrap_err();
        assert_eq!(AnswerError::from(closed), AnswerError::Connect);
        let no_url = http.get("http://").send().await.unwrap_err();
        assert_eq!(AnswerError::from(no_url), AnswerError::Request);
    }
}

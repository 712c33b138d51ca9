//! What a caller is told, chosen last and in one place: the outer text leaves, causes go to the log.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use callfold_kit::blob::BlobError;
use callfold_kit::bus::{PublishError, ReadError};
use callfold_people::PeopleError;
use callfold_schema::EncodeError;
use callfold_store::StoreError;
use schemars::JsonSchema;
use serde::Serialize;

/// What a client is asked to wait before it tries again, in seconds.
const RETRY_AFTER_SECONDS: u16 = 5;

/// Why a request was not answered with what it asked for. A variant is an attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Neither a token nor a session.
    #[error("not signed in")]
    Unauthenticated,
    /// A form that another site sent.
    #[error("a form from another site")]
    ForeignForm,
    /// A form, or what a script sent, without the token of its session.
    #[error("without the session's form token")]
    FormToken,
    /// Their role does not allow it.
    #[error("not allowed for this role")]
    Forbidden,
    /// There is no such lead, recording or page. Says what, without repeating it.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// The path is there, the method is not.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// A query that cannot be understood. Says why, without repeating it.
    #[error("bad query: {0}")]
    BadQuery(&'static str),
    /// A body or a header that cannot be understood. Says why, without repeating it.
    #[error("bad request: {0}")]
    BadBody(&'static str),
    /// A change without `If-Match`.
    #[error("a change without If-Match")]
    PreconditionRequired,
    /// The lead as it is does not allow it. Says why.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// A range beyond the end of a file.
    #[error("range beyond the end")]
    Range {
        /// The length of the file in bytes.
        length: u64,
    },
    /// As many followers as there may be.
    #[error("too many followers")]
    TooManyFollowers,
    /// As many tables as may be sent at once.
    #[error("too many exports")]
    TooManyExports,
    /// As much work in hand as there may be.
    #[error("no turn came in time")]
    Busy,
    /// The lead table.
    #[error("could not read the leads")]
    Store(#[source] StoreError),
    /// The stream.
    #[error("could not read the events")]
    Stream(#[source] ReadError),
    /// What a person does.
    #[error("could not record what was asked for")]
    Publish(#[source] PublishError),
    /// An event of what a person does.
    #[error("could not encode what was asked for")]
    Event(#[source] EncodeError),
    /// A comparison.
    #[error("the comparison panicked")]
    Panicked,
    /// An erasure.
    #[error("could not publish that a call is to be erased")]
    Erase(#[source] PublishError),
    /// The call was erased.
    #[error("the call was erased")]
    Gone,
    /// People, sessions, tokens.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The recordings.
    #[error("could not read the recording")]
    Recording(#[source] BlobError),
    /// A page.
    #[error("could not render the page")]
    Render(#[source] askama::Error),
    /// JSON.
    #[error("could not encode the answer")]
    Encode(#[source] serde_json::Error),
}

/// RFC 9457: what went wrong, in a form programs can read.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// A URI reference that stays the same for the same kind of problem.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// The kind of problem in a few words.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What to do about it.
    pub(crate) detail: &'static str,
}

impl ApiError {
    /// What leaves.
    pub(crate) fn problem(&self) -> Problem {
        let (status, kind, title, detail) = match self {
            ApiError::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "/problems/unauthenticated",
                "Not signed in",
                "Send `Authorization: Bearer <token>`, or sign in with a one-time link.",
            ),
            ApiError::ForeignForm => (
                StatusCode::FORBIDDEN,
                "/problems/foreign-form",
                "Refused",
                "The form was sent by another site.",
            ),
            ApiError::FormToken => (
                StatusCode::FORBIDDEN,
                "/problems/form-token",
                "Refused",
                "The page is of another session, or too old: load it again. Scripts send `X-CSRF-Token`.",
            ),
            ApiError::Forbidden => (
                StatusCode::FORBIDDEN,
                "/problems/forbidden",
                "Not allowed",
                "This needs another role, or a token with a larger scope.",
            ),
            ApiError::NotFound(what) => (StatusCode::NOT_FOUND, "/problems/not-found", "Not found", *what),
            ApiError::Gone => (
                StatusCode::GONE,
                "/problems/erased",
                "Erased",
                "The call was erased: nothing of it is kept.",
            ),
            ApiError::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "/problems/method-not-allowed",
                "Method not allowed",
                "The header Allow says which methods there are.",
            ),
            ApiError::BadQuery(what) => (StatusCode::BAD_REQUEST, "/problems/bad-query", "Bad query", *what),
            ApiError::BadBody(what) => (
                StatusCode::BAD_REQUEST,
                "/problems/bad-request",
                "Bad request",
                *what,
            ),
            ApiError::PreconditionRequired => (
                StatusCode::PRECONDITION_REQUIRED,
                "/problems/precondition-required",
                "Say what you have seen",
                "Send `If-Match` with the ETag of the lead, or `*` for whatever it is now.",
            ),
            ApiError::Conflict(what) => (StatusCode::CONFLICT, "/problems/conflict", "Conflict", *what),
            ApiError::Range { .. } => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "/problems/range",
                "Range not satisfiable",
                "The range is beyond the end of the recording.",
            ),
            ApiError::TooManyFollowers => (
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/too-many-followers",
                "Too many followers",
                "As many clients follow live updates as there may be; try again later.",
            ),
            ApiError::TooManyExports => (
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/too-many-exports",
                "Too many exports",
                "As many tables are being sent as may be at once; try again when one has arrived.",
            ),
            ApiError::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/busy",
                "Busy",
                "Others are being served; try again in a moment.",
            ),
            ApiError::Store(_)
            | ApiError::Stream(_)
            | ApiError::Publish(_)
            | ApiError::Erase(_)
            | ApiError::People(PeopleError::Bucket(_) | PeopleError::Busy | PeopleError::Contended)
            | ApiError::Recording(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/unavailable",
                "Not available now",
                "Something this answer needs cannot be reached; try again later.",
            ),
            ApiError::People(PeopleError::Refused(_)) => (
                StatusCode::CONFLICT,
                "/problems/conflict",
                "Conflict",
                "What was asked for about people is not allowed.",
            ),
            ApiError::People(PeopleError::Encode(_) | PeopleError::Hash(_) | PeopleError::Panicked)
            | ApiError::Render(_)
            | ApiError::Encode(_)
            | ApiError::Event(_)
            | ApiError::Panicked => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "/problems/internal",
                "Internal error",
                "The cause is in the log.",
            ),
        };
        Problem {
            kind,
            title,
            status: status.as_u16(),
            detail,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match &self {
            ApiError::Unauthenticated => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"callfold\""),
                );
            }
            ApiError::Range { length } => {
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        // The layers above log the causes, once, and turn the answer into a page where a person asked.
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

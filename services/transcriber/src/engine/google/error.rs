//! What went wrong at Google, in our words. What the service says of it is not taken over: it can hold the names of
//! a project and of people, and the client's own texts hold addresses.

use std::error::Error as StdError;
use std::time::Duration;

use callfold_kit::http::answer;
use callfold_schema::UnixMillis;
use callfold_schema::event::FailureClass;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::StatusDetails;

use crate::engine::{Cause, EngineError};

/// The failure of a request.
pub(super) fn failure(error: &Error, now: UnixMillis) -> EngineError {
    if let Some(status) = error.http_status_code() {
        return status_failure(status, error, now);
    }
    if error.is_authentication() {
        return EngineError::Rejected {
            class: FailureClass::Credentials,
            text: "no token could be signed for Google Speech".to_owned(),
            source: None,
        };
    }
    let (class, text) = if error.is_deserialization() {
        (
            FailureClass::Invalid,
            "the answer of Google Speech makes no sense",
        )
    } else if error.is_timeout() {
        return timeout();
    } else if error.is_serialization() || error.is_binding() {
        (
            FailureClass::Internal,
            "the request to Google Speech could not be built",
        )
    } else if error.is_connect() {
        (FailureClass::Network, "no connection to Google Speech")
    } else {
        (FailureClass::Network, "the connection to Google Speech broke")
    };
    unavailable(class, text, detail(error))
}

/// It may be right the next time.
pub(super) fn unavailable(class: FailureClass, text: &str, source: Option<Cause>) -> EngineError {
    EngineError::Unavailable {
        class,
        text: text.to_owned(),
        after: None,
        source,
    }
}

/// No answer in time.
pub(super) fn timeout() -> EngineError {
    unavailable(FailureClass::Timeout, "no answer of Google Speech in time", None)
}

/// The answer is no answer to what was asked.
pub(super) fn nonsense(text: &str) -> EngineError {
    unavailable(FailureClass::Invalid, text, None)
}

fn status_failure(status: u16, error: &Error, now: UnixMillis) -> EngineError {
    let class = answer::class_of(status);
    // The code is one of a fixed list; the message beside it is not looked at.
    let text = match error.status() {
        Some(told) => format!("HTTP {status} from Google Speech ({})", told.code.name()),
        None => format!("HTTP {status} from Google Speech"),
    };
    if answer::is_permanent(class) {
        return EngineError::Rejected {
            class,
            text,
            source: None,
        };
    }
    EngineError::Unavailable {
        class,
        text,
        after: wish(error, now),
        source: None,
    }
}

/// How long the service asks to be left alone: in a header, or in the details of its status.
fn wish(error: &Error, now: UnixMillis) -> Option<Duration> {
    let told = error
        .http_headers()
        .and_then(|headers| answer::retry_after(headers, now));
    let detailed = || {
        let details = &error.status()?.details;
        let info = details.iter().find_map(|detail| match detail {
            StatusDetails::RetryInfo(info) => info.retry_delay,
            _ => None,
        })?;
        Duration::try_from(info).ok()
    };
    told.or_else(detailed)
        .map(|delay| delay.min(answer::RETRY_AFTER_MAX))
}

/// Where the error comes from, without the layers that print addresses or parts of the answer.
fn detail(error: &Error) -> Option<Cause> {
    let mut cause: &(dyn StdError + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if let Some(json) = cause.downcast_ref::<serde_json::Error>() {
        let what = match json.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => "a field is not what it should be",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
        };
        return Some(what.into());
    }
    // The system's own words: "Connection refused".
    let io = cause.downcast_ref::<std::io::Error>()?;
    Some(std::io::Error::from(io.kind()).into())
}

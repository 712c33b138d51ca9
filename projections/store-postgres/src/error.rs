//! What PostgreSQL said, in words that hold no SQL and no value.

use callfold_store::{BackendError, StoreError};
use sqlx::Error;

pub(crate) fn unavailable(attempt: &'static str, error: &Error) -> StoreError {
    StoreError::Unavailable {
        attempt,
        source: words(error),
    }
}

pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(BackendError(what.to_owned()))
}

fn words(error: &Error) -> BackendError {
    BackendError(match error {
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // Only these classes speak of the server; the others may repeat a value.
            let of_the_server = ["08", "28", "3D", "53", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class));
            if of_the_server {
                format!("PostgreSQL {code}: {}", error.message())
            } else {
                format!("PostgreSQL error {code}")
            }
        }
        Error::Io(error) => format!("connection: {error}"),
        Error::Tls(_) => "TLS could not be established".to_owned(),
        Error::PoolTimedOut => "no connection in time".to_owned(),
        Error::PoolClosed => "closed".to_owned(),
        Error::ColumnDecode { index, .. } => format!("column {index} does not read"),
        Error::Decode(_) => "a value does not read".to_owned(),
        Error::Protocol(_) => "the server said something that is not understood".to_owned(),
        _ => "the driver failed".to_owned(),
    })
}

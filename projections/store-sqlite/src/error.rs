//! What SQLite said, in words that hold no SQL and no value.

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
        // SQLite's own messages name tables and columns at most.
        Error::Database(error) => format!("database: {}", error.message()),
        Error::Io(error) => format!("input or output: {error}"),
        Error::PoolTimedOut => "no free connection in time".to_owned(),
        Error::PoolClosed => "closed".to_owned(),
        Error::ColumnDecode { index, .. } => format!("column {index} does not read"),
        Error::Decode(_) => "a value does not read".to_owned(),
        Error::WorkerCrashed => "the database's thread ended".to_owned(),
        _ => "the driver failed".to_owned(),
    })
}

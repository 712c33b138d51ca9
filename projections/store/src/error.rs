//! What can go wrong, told apart by what the caller does about it.

use callfold_lead::StateError;

/// What a database said, without SQL text and without values.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(pub String);

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or refused for a reason that may pass. Worth another try.
    #[error("could not {attempt}")]
    Unavailable {
        /// What was tried.
        attempt: &'static str,
        /// What the database said.
        #[source]
        source: BackendError,
    },
    /// Another writer has taken over, or the position is not the one this writer knows. What the writer remembers is
    /// worth nothing any more; it claims again and reads again.
    #[error("another projector writes the leads")]
    Fenced,
    /// The tables were made by a newer release.
    #[error("the tables of the database are those of a newer release; run that one")]
    NewerTables,
    /// A stored row does not read.
    #[error("a stored lead does not read; rebuild the leads")]
    Damaged(#[source] BackendError),
    /// A lead could not be written as a row.
    #[error("could not make a row of a lead")]
    Row(#[source] BackendError),
    /// A stored state does not read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A cursor that this API did not give.
    #[error("the cursor is not one that was given")]
    Cursor,
    /// The database's address makes no sense.
    #[error("the address of the database is not understood: {0}")]
    Address(String),
}

impl StoreError {
    /// Whether the same call may succeed later by itself.
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::Unavailable { .. } | StoreError::Fenced => true,
            StoreError::NewerTables
            | StoreError::Damaged(_)
            | StoreError::Row(_)
            | StoreError::State(_)
            | StoreError::Cursor
            | StoreError::Address(_) => false,
        }
    }
}

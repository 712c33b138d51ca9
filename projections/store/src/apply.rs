//! Writing leads: one writer at a time, and rows, states and position in one transaction.
//!
//! The database holds the fence. A writer *claims* the projection under a name of its own; every write says that name
//! and the position it starts from, and a write that does not find both changes nothing ([`StoreError::Fenced`]). A
//! claim is granted when nobody holds it, when its holder has not been heard of for [`LEASE_MS`] by the database's
//! clock, or when it is forced (embedded: the lock of the data folder has already seen to it that there is one).

use std::collections::HashMap;

use async_trait::async_trait;
use callfold_lead::{Disposition, FOLD_VERSION, Lead, LeadState, RowHash, Status};
use callfold_schema::{CallSid, UnixMillis};

use crate::error::{BackendError, StoreError};
use crate::search::{index_text, reversed_digits};
use crate::shadow::ShadowLeads;

/// How long a silent writer keeps its claim, in milliseconds of the database's clock. Writers speak every second.
pub const LEASE_MS: i64 = 5_000;

/// How far the leads are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Projection {
    /// The stream they are folded from; `None` before the first one.
    pub identity: Option<String>,
    /// The last sequence that is in them; 0 at the beginning.
    pub position: u64,
    /// The fold that made them; 0 at the beginning.
    pub fold_version: u32,
    /// Who writes them.
    pub writer: Option<String>,
}

/// How a projector goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Behind this position.
    After(u64),
    /// Behind this position, and an older fold made the rows: they go on serving, and are folded anew beside
    /// ([`ShadowLeads`]). Until then this release folds new events into them: the row of a call with a new event is the
    /// new fold's, the others stay the old one's. So a release reads rows and states of the fold before it.
    Behind(u64),
    /// The tables are empty: [`WriteLeads::reset`], then from the first event.
    Anew,
}

/// Why a projector must not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The leads belong to another stream.
    #[error(
        "the leads were folded from stream {stored}, but the broker has stream {found}: connect the broker that \
         belongs to this database, or use an empty database (leads are folded again from the stream)"
    )]
    OtherStream {
        /// The identity in the database.
        stored: String,
        /// The identity of the broker's stream.
        found: String,
    },
    /// The stream is shorter than the leads: the broker's store was lost or restored from an older backup.
    #[error(
        "the leads hold events up to position {position}, but the stream ends at {last}: restore the broker's store, \
         or use an empty database (leads are folded again from what the stream holds)"
    )]
    AheadOfStream {
        /// The position in the database.
        position: u64,
        /// The last position of the stream.
        last: u64,
    },
    /// A newer release folded the leads.
    #[error(
        "the leads were folded by version {stored} of the fold, this release has {FOLD_VERSION}: run the newer release"
    )]
    NewerFold {
        /// The version in the database.
        stored: u32,
    },
}

impl Projection {
    /// Compares what is stored with the stream that the broker has, whose last sequence is `last`.
    pub fn resume(&self, identity: &str, last: u64) -> Result<Resume, StartError> {
        let Some(stored) = &self.identity else {
            return Ok(Resume::Anew);
        };
        if stored != identity {
            return Err(StartError::OtherStream {
                stored: stored.clone(),
                found: identity.to_owned(),
            });
        }
        if self.position > last {
            return Err(StartError::AheadOfStream {
                position: self.position,
                last,
            });
        }
        if self.fold_version > FOLD_VERSION {
            return Err(StartError::NewerFold {
                stored: self.fold_version,
            });
        }
        if self.fold_version < FOLD_VERSION {
            return Ok(Resume::Behind(self.position));
        }
        Ok(Resume::After(self.position))
    }
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The claimant writes from now on.
    Granted(Projection),
    /// Somebody else does.
    Held,
}

/// An event that could not be read, and was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableEvent {
    /// Its position.
    pub position: u64,
    /// Its subject.
    pub subject: String,
    /// What is wrong with it, without a word of its content.
    pub reason: String,
    /// When the stream took it.
    pub stored_at: UnixMillis,
}

/// A lead as it is to be stored: the row, and what it is found by.
#[derive(Clone, PartialEq)]
pub struct Change {
    /// The call.
    pub call_sid: CallSid,
    /// The number.
    pub phone: String,
    /// Its digits back to front.
    pub phone_reversed: String,
    /// How far it is.
    pub status: Status,
    /// What a person made of it.
    pub disposition: Disposition,
    /// Whether a person looked at it.
    pub seen: bool,
    /// Who looks after it.
    pub assignee: Option<String>,
    /// First event.
    pub created_at: UnixMillis,
    /// Last event.
    pub updated_at: UnixMillis,
    /// The transcript.
    pub transcript: Option<String>,
    /// The summary.
    pub summary: Option<String>,
    /// Position of the last event.
    pub position: u64,
    /// [`Lead::hash`].
    pub hash: RowHash,
    /// [`Lead::to_row`].
    pub row: String,
    /// [`LeadState::to_bytes`].
    pub state: Vec<u8>,
    /// [`index_text`].
    pub words: String,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("call_sid", &self.call_sid)
            .field("status", &self.status)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Change {
    /// The stored form of a lead and its state. Serialises each once.
    pub fn new(lead: &Lead, state: &LeadState) -> Result<Self, StoreError> {
        let (row, hash) = lead
            .to_row()
            .map_err(|error| StoreError::Row(BackendError(error.to_string())))?;
        Ok(Self {
            call_sid: lead.call_sid.clone(),
            phone: text(lead.phone.as_str()),
            phone_reversed: reversed_digits(lead.phone.as_str()),
            status: lead.status,
            disposition: lead.disposition,
            seen: lead.seen,
            assignee: lead.assignee.as_deref().map(text),
            created_at: lead.created_at.0,
            updated_at: lead.updated_at.0,
            transcript: lead.transcript.as_deref().map(text),
            summary: lead.summary.as_deref().map(text),
            position: lead.position,
            hash,
            row,
            state: state.to_bytes()?,
            words: index_text(lead),
        })
    }
}

/// PostgreSQL has no NUL in a text, and a caller's form may hold one. JSON writes it as an escape.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A call of which nothing personal is left: what stays in place of its lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The call.
    pub call_sid: CallSid,
    /// Position of the last event.
    pub position: u64,
    /// [`LeadState::to_bytes`] of the tombstone: into it fold the events of the call that still come.
    pub state: Vec<u8>,
}

impl Erased {
    /// The stored form of a state that is a tombstone.
    pub fn new(state: &LeadState) -> Result<Self, StoreError> {
        Ok(Self {
            call_sid: state.call_sid().clone(),
            position: state.position(),
            state: state.to_bytes()?,
        })
    }
}

/// What one transaction writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The stream.
    pub identity: String,
    /// The position the leads must have before.
    pub from: u64,
    /// The position they have after.
    pub to: u64,
    /// The leads that changed, each call once.
    pub changes: Vec<Change>,
    /// The calls that are erased, each once and none of them among the changes: row, words and count go, the tombstone
    /// takes their place. One that was erased before gets the newer tombstone.
    pub erased: Vec<Erased>,
    /// What could not be read.
    pub unreadable: Vec<UnreadableEvent>,
}

/// What writes the leads. Object safe: `Arc<dyn WriteLeads>`.
#[async_trait]
pub trait WriteLeads: ShadowLeads {
    /// Asks to be the one writer, under a name that no other one has. `force` takes it from whoever holds it.
    async fn claim(&self, writer: &str, force: bool) -> Result<Claim, StoreError>;

    /// Says that the writer is alive; [`StoreError::Fenced`] when it is not the writer any more.
    async fn renew(&self, writer: &str) -> Result<(), StoreError>;

    /// Gives the claim back; nothing happens when another one has it.
    async fn release(&self, writer: &str) -> Result<(), StoreError>;

    /// Empties the tables of both sides and binds them to a stream at position 0, in one transaction.
    async fn reset(&self, writer: &str, identity: &str) -> Result<(), StoreError>;

    /// The stored states of those calls that have one, tombstones of erased calls among them.
    async fn states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError>;

    /// Writes rows, states, unreadable events and position in one transaction, and renews the claim. Erased calls are
    /// erased in the shadow as well, whatever it holds.
    ///
    /// [`StoreError::Fenced`] when writer, stream or old position are not as the batch says; nothing is written then.
    /// After [`StoreError::Unavailable`] it may have been written or not: claim again, and read the position.
    async fn apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError>;

    /// Overwrites what erased leads have left in the database's files, in steps between which others write. Not in need
    /// of the claim. It takes seconds on a large table: for once behind many erasures, not for each. The rows are gone
    /// without it; backups and the database's own log are the operator's matter.
    async fn purge(&self) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_resumes_only_on_its_own_stream() {
        let stored = Projection {
            identity: Some("a".into()),
            position: 7,
            fold_version: FOLD_VERSION,
            writer: None,
        };
        assert_eq!(Projection::default().resume("a", 0), Ok(Resume::Anew));
        assert_eq!(stored.resume("a", 7), Ok(Resume::After(7)));
        assert!(matches!(
            stored.resume("b", 7),
            Err(StartError::OtherStream { .. })
        ));
        assert_eq!(
            stored.resume("a", 6),
            Err(StartError::AheadOfStream { position: 7, last: 6 })
        );
        let older = Projection {
            fold_version: FOLD_VERSION - 1,
            ..stored.clone()
        };
        assert_eq!(older.resume("a", 9), Ok(Resume::Behind(7)));
        let newer = Projection {
            fold_version: FOLD_VERSION + 1,
            ..stored
        };
        assert!(matches!(newer.resume("a", 9), Err(StartError::NewerFold { .. })));
    }
}

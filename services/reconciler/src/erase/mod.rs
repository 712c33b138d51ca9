//! Erasing calls: a tombstone first, then everything else that is kept of the call.
//!
//! `call_erased` is published by whoever decided ([`tombstone`]). From then on the projector shows nothing of the call,
//! and the table keeps the positions of its events. [`run`] works on each tombstone until nothing is left:
//!
//! 1. the positions, from the table as it stands behind the tombstone: reading or purging by a wildcard subject would walk
//!    the whole stream under its lock, and the table has them already. Nobody who asks for an erasure has to know them;
//! 2. the events are read for what they name: files and recordings;
//! 3. files go, by name and by folder, then the recordings at Twilio;
//! 4. the events go, one by one, their places overwritten. Last but for the note, because they are what names the rest:
//!    an erasure that is interrupted anywhere before finds its way again from the first step;
//! 5. `erase_done` notes the positions. Twenty minutes later all of it is done once more, for files whose writer was
//!    killed before it could tell of them, and the tombstone's message is answered.
//!
//! **Late events.** `late.rs` reads the stream behind its own note: an event of an erased call is deleted when it comes,
//! with what it names. Tombstones stand before late events in the stream, so none is missed; what came before the reading
//! began is in the table, for step 1 waits until the table has it.
//!
//! **Duplicates.** Every step bears being done twice, and two processes may work on one call: what is gone is gone.

mod late;
pub mod retention;
mod run;

use async_trait::async_trait;
use callfold_kit::blob::{BlobError, Blobs};
use callfold_kit::bus::{PublishError, ReadError, StoredEvent};
use callfold_kit::lifecycle::BoxError;
use callfold_kit::{Bus, Metrics, SharedClock};
use callfold_schema::event::{CallErased, ErasureReason, PositionRange, TwilioErasure};
use callfold_schema::subject::RawSubject;
use callfold_schema::{CallSid, Event, EventKind, Key, NewEvent, RecordingSid, UnixMillis};
use callfold_twilio::rest::{RestClient, RestError};

pub use run::run;

/// Most files of one call that are looked for by folder in one go.
const KEYS_MAX: usize = 1_000;
/// Longest name of who decided, in characters.
const BY_CHARS_MAX: usize = 64;

/// The event that erases a call. `by`: the name of an account or a token, or of a rule; nothing personal of the caller.
#[must_use]
pub fn tombstone(call_sid: CallSid, by: &str, why: ErasureReason, now: UnixMillis) -> NewEvent {
    let event = CallErased {
        by: by.chars().take(BY_CHARS_MAX).collect(),
        why,
    };
    NewEvent::new(call_sid, Key::single(), now, event)
}

/// What the lead table knows and an erasure needs. Handed in, for the reconciler knows no table.
#[async_trait]
pub trait Index: Send + Sync {
    /// The positions of all events of a call, ascending, as of a table that holds everything up to `through`; `None` as
    /// long as it does not.
    async fn positions(&self, call_sid: &CallSid, through: u64) -> Result<Option<Vec<u64>>, BoxError>;

    /// A page of calls that began before `before`, with the number each was made to, the newest first; `cursor` is that
    /// of the page before.
    async fn calls_before(&self, before: UnixMillis, cursor: Option<&str>) -> Result<OldCalls, BoxError>;

    /// Overwrites what erased rows have left in the database's files. It may take seconds.
    async fn purge(&self) -> Result<(), BoxError>;
}

/// A page of calls.
#[derive(Debug, Clone, Default)]
pub struct OldCalls {
    /// Each call, the number it was made to, and when it began.
    pub calls: Vec<(CallSid, callfold_schema::PhoneNumber, UnixMillis)>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// What an erasure works with.
#[derive(Clone)]
pub struct Eraser {
    /// The stream.
    pub bus: Bus,
    /// The lead table.
    pub index: std::sync::Arc<dyn Index>,
    /// The recordings.
    pub blobs: Blobs,
    /// The account at Twilio; `None`: nothing is asked of Twilio.
    pub twilio: Option<RestClient>,
    /// The time of day.
    pub clock: SharedClock,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// Why a step was not done. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The positions.
    #[error("could not ask the lead table for the events of the call")]
    Index(#[source] BoxError),
    /// An event.
    #[error("could not read or delete an event")]
    Stream(#[source] ReadError),
    /// A file.
    #[error("could not delete a recording")]
    Blob(#[source] BlobError),
    /// A recording at Twilio.
    #[error("could not delete a recording at Twilio")]
    Twilio(#[source] RestError),
    /// The note at the end.
    #[error("could not publish that the call is erased")]
    Publish(#[source] PublishError),
}

/// What the events of a call name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    /// Files.
    blobs: Vec<String>,
    /// Recordings, with the account where an event says it.
    recordings: Vec<(RecordingSid, Option<String>)>,
}

impl Named {
    fn add(&mut self, event: &StoredEvent) {
        // What does not decode names nothing that could be found; its folder is looked into all the same.
        let Ok(record) = event.decode() else { return };
        let account = match &record.event {
            Event::RecordingDownloaded(event) => {
                self.blobs.push(event.blob_key.clone());
                None
            }
            Event::RecordingReady(event) => Some(event.account_sid.clone()).filter(|sid| is_account(sid)),
            _ => None,
        };
        let Some(sid) = record.envelope.subject.key.recording else {
            return;
        };
        match self.recordings.iter_mut().find(|(known, _)| *known == sid) {
            Some((_, known)) => *known = known.take().or(account),
            None => self.recordings.push((sid, account)),
        }
    }
}

/// `AC` and 32 hexadecimal digits: nothing else goes into an address.
fn is_account(sid: &str) -> bool {
    sid.strip_prefix("AC")
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether the event belongs to the call and is to be deleted: everything but the tombstone and the note.
fn is_of(event: &StoredEvent, call_sid: &str) -> bool {
    RawSubject::split(event.subject())
        .is_some_and(|subject| subject.call_sid == call_sid && !is_tombstone(subject.kind))
}

fn is_tombstone(kind: &str) -> bool {
    kind == EventKind::CallErased.token() || kind == EventKind::EraseDone.token()
}

/// Ascending positions as ranges.
fn ranges(positions: &[u64]) -> Vec<PositionRange> {
    let mut ranges: Vec<PositionRange> = Vec::new();
    for &position in positions {
        match ranges.last_mut() {
            Some(range) if position <= range.last => {}
            Some(range) if position == range.last + 1 => range.last = position,
            _ => ranges.push(PositionRange {
                first: position,
                last: position,
            }),
        }
    }
    ranges
}

impl Eraser {
    /// Files and recordings go; how many files, and what became of the recordings at Twilio.
    async fn delete_named(
        &self,
        call_sid: &CallSid,
        named: &Named,
    ) -> Result<(u32, TwilioErasure), EraseError> {
        let mut keys = named.blobs.clone();
        loop {
            let more = self
                .blobs
                .keys_of(call_sid, KEYS_MAX)
                .await
                .map_err(EraseError::Blob)?;
            let is_all = more.len() < KEYS_MAX;
            keys.extend(more);
            keys.sort_unstable();
            keys.dedup();
            for key in &keys {
                self.blobs.delete(key).await.map_err(EraseError::Blob)?;
            }
            if is_all {
                break;
            }
        }
        let files = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let Some(twilio) = &self.twilio else {
            return Ok((files, TwilioErasure::NotAsked));
        };
        let mut told = if named.recordings.is_empty() {
            TwilioErasure::NotAsked
        } else {
            TwilioErasure::NotFound
        };
        for (sid, account) in &named.recordings {
            let deleted = twilio.delete_recording(account.as_deref(), sid.as_str()).await;
            if deleted.map_err(EraseError::Twilio)? {
                told = TwilioErasure::Deleted;
            }
        }
        Ok((files, told))
    }
}

#[cfg(test)]
mod tests;

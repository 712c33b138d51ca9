//! Events of erased calls that come after all: a webhook from the spool, the answer of a stage that was at work.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use callfold_kit::bus::{Kv, ReadError, StoredEvent};
use callfold_kit::chain;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::metric::CounterName;
use callfold_schema::subject::RawSubject;
use callfold_schema::{CallSid, EventKind, Key, Subject};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{EraseError, Eraser, Named, is_tombstone};

/// Key-value bucket: how far the stream was looked through.
const BUCKET: &str = "erasures";
/// The key in it: a position, in decimal.
const POSITION: &str = "position";
/// How often it is noted. What stands behind the note is looked at again.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Most events taken in at once.
const BATCH_EVENTS: usize = 1_000;
/// Most bytes taken in at once.
const BATCH_BYTES: usize = 8 << 20;
/// Most calls of which it is remembered whether they are erased; the oldest go first, and are asked for again.
const CALLS_MAX: usize = 100_000;

/// Where the reading begins.
pub(super) struct Begun {
    notes: Kv,
    /// Everything up to here was looked through, or is in the lead table's hands.
    pub(super) position: u64,
}

/// Which calls are erased. A tombstone stands before what is late, so that what is remembered stays right as long as
/// every tombstone that is read is remembered.
#[derive(Default)]
struct Calls {
    erased: HashMap<String, bool>,
    order: VecDeque<String>,
}

impl Calls {
    fn set(&mut self, call_sid: &str, erased: bool) {
        if self.erased.insert(call_sid.to_owned(), erased).is_none() {
            self.order.push_back(call_sid.to_owned());
        }
        if self.order.len() > CALLS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.erased.remove(&oldest);
        }
    }
}

/// Reads the note; an installation without one begins at the end of the stream. `None` on a stop.
pub(super) async fn begin(eraser: &Eraser, stop: &CancellationToken) -> Result<Option<Begun>, BoxError> {
    loop {
        let begun = async {
            let notes = eraser.bus.kv(BUCKET, None).await?;
            let note = notes.get(POSITION).await?;
            let noted = note.and_then(|note| std::str::from_utf8(&note).ok()?.parse().ok());
            let last = eraser.bus.stream_state().await?.last;
            let position = noted.map_or(last, |noted: u64| noted.min(last));
            Ok::<_, BoxError>(Begun { notes, position })
        };
        match begun.await {
            Ok(begun) => return Ok(Some(begun)),
            Err(error) => {
                if matches!(error.downcast_ref::<ReadError>(), Some(ReadError::Replaced)) {
                    return Err(error);
                }
                tracing::warn!(error = %chain(&*error), "could not begin to look for late events; trying again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Reads from there on until a stop.
pub(super) async fn follow(eraser: Eraser, begun: Begun, stop: CancellationToken) -> Result<(), BoxError> {
    let mut reader = eraser.bus.read_from(begun.position + 1, Vec::new());
    let (mut calls, mut done) = (Calls::default(), begun.position);
    let (mut noted, mut noted_at) = (begun.position, Instant::now());
    loop {
        let mut batch = Vec::new();
        // A stop drops a reading, which loses nothing: it begins again behind the note.
        tokio::select! {
            () = stop.cancelled() => {
                note(&begun.notes, done, noted).await;
                return Ok(());
            }
            read = reader.next_batch(BATCH_EVENTS, BATCH_BYTES, &mut batch) => read?,
        }
        for event in &batch {
            while let Err(error) = look_at(&eraser, &mut calls, event).await {
                tracing::warn!(position = event.position, error = %chain(&error), "a late event is not deleted yet; trying again");
                tokio::select! {
                    () = stop.cancelled() => {
                        note(&begun.notes, done, noted).await;
                        return Ok(());
                    }
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            done = event.position;
        }
        if noted_at.elapsed() >= NOTE_EVERY {
            noted = note(&begun.notes, done, noted).await;
            noted_at = Instant::now();
        }
    }
}

/// Notes how far it is; gives what is noted.
async fn note(notes: &Kv, done: u64, noted: u64) -> u64 {
    if done == noted {
        return noted;
    }
    match notes.put(POSITION, Bytes::from(done.to_string())).await {
        Ok(()) => done,
        Err(error) => {
            tracing::debug!(error = %chain(&error), "how far late events were looked for was not noted");
            noted
        }
    }
}

async fn look_at(eraser: &Eraser, calls: &mut Calls, event: &StoredEvent) -> Result<(), EraseError> {
    let Some(subject) = RawSubject::split(event.subject()) else {
        return Ok(());
    };
    if is_tombstone(subject.kind) {
        calls.set(subject.call_sid, true);
        return Ok(());
    }
    let Ok(call_sid) = CallSid::parse(subject.call_sid) else {
        return Ok(());
    };
    let is_erased = match calls.erased.get(subject.call_sid).copied() {
        Some(known) => known,
        None => {
            let tombstone = Subject::new(call_sid.clone(), EventKind::CallErased, Key::single());
            let found = eraser.bus.find(&tombstone).await.map_err(EraseError::Stream)?;
            calls.set(subject.call_sid, found.is_some());
            found.is_some()
        }
    };
    if !is_erased {
        return Ok(());
    }
    let mut named = Named::default();
    named.add(event);
    eraser.delete_named(&call_sid, &named).await?;
    let deleted = eraser
        .bus
        .delete(event.position)
        .await
        .map_err(EraseError::Stream)?;
    eraser
        .metrics
        .count_many(CounterName::EventsErased, &[], u64::from(deleted));
    tracing::info!(
        call.id = %call_sid, position = event.position,
        "a late event of call {call_sid}, which is erased, is deleted"
    );
    Ok(())
}

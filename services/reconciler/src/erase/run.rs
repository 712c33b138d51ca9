//! Each tombstone, until nothing is left of its call.

use std::time::Duration;

use callfold_kit::bus::{Piece, Published};
use callfold_kit::chain;
use callfold_kit::health::Part;
use callfold_kit::lifecycle::{BoxError, Lifecycle};
use callfold_kit::metric::CounterName;
use callfold_schema::event::EraseDone;
use callfold_schema::subject::RawSubject;
use callfold_schema::{CallSid, EventKind, Key, NewEvent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{EraseError, Eraser, Named, is_of, late, ranges};

/// The durable consumer of tombstones.
const CONSUMER: &str = "erase";
/// What it takes.
const FILTER: &str = "calls.*.call_erased.new.*";
/// How long the server waits for a sign of life before it hands a tombstone out again.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// A sign of life at least so often.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// When a table that is behind is asked again.
const TABLE_PAUSE: Duration = Duration::from_millis(250);
/// The pause after a failure, times the delivery, up to the bound.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// When an erased call is looked at once more. A downloader that is killed between the file and its event leaves a file that
/// no late event tells of: by then it has ended, one way or the other.
const SECOND_LOOK: Duration = Duration::from_secs(20 * 60);
/// How long a publish may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// How long after the last erasure of several the database is cleaned up.
const PURGE_AFTER: Duration = Duration::from_secs(30);

/// Erases for the life of the process, in two tasks: tombstones and late events.
pub fn run(eraser: Eraser, part: Part, lifecycle: &Lifecycle) {
    let (late_eraser, soft) = (eraser.clone(), lifecycle.soft());
    let stop = soft.clone();
    lifecycle.spawn("erase", async move {
        let Some(begun) = late::begin(&late_eraser, &stop).await? else {
            return Ok(());
        };
        part.ready();
        let through = begun.position;
        let late = late::follow(late_eraser, begun, stop.clone());
        let tombstones = tombstones(eraser, through, stop);
        // Either one's error ends the other: a half of it is no erasure.
        tokio::try_join!(late, tombstones).map(|_| ())
    });
}

/// What became of one tombstone.
enum Erased {
    /// Nothing is left, and the note of it is new.
    Done,
    /// Nothing was left before, or came after it.
    DoneBefore,
    /// The lead table does not know everything yet.
    TableBehind,
}

/// `through`: where the reading of late events began; the table must have everything before it.
async fn tombstones(eraser: Eraser, through: u64, stop: CancellationToken) -> Result<(), BoxError> {
    let mut queue = eraser.bus.queue(CONSUMER, FILTER, ACK_WAIT);
    let mut purge_at: Option<Instant> = None;
    loop {
        let piece = {
            let next = queue.next(&stop);
            let mut next = std::pin::pin!(next);
            loop {
                // `next` is kept; the other arm only waits.
                tokio::select! {
                    biased;
                    piece = &mut next => break piece?,
                    () = sleep_until(purge_at) => {
                        purge_at = None;
                        purge(&eraser).await;
                    }
                }
            }
        };
        let Some(piece) = piece else { return Ok(()) };
        if work(&eraser, through, &piece, &stop).await {
            purge_at = Some(Instant::now() + PURGE_AFTER);
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn purge(eraser: &Eraser) {
    match eraser.index.purge().await {
        Ok(()) => tracing::info!("what erased leads had left in the database's files is overwritten"),
        Err(error) => {
            tracing::warn!(error = %chain(&*error), "the database's files were not cleaned up behind an erasure; the next one does it")
        }
    }
}

/// Works on one tombstone and answers it; whether the call is erased.
async fn work(eraser: &Eraser, through: u64, piece: &Piece, stop: &CancellationToken) -> bool {
    let subject = piece.event().subject().to_owned();
    let call_sid = RawSubject::split(&subject).and_then(|raw| CallSid::parse(raw.call_sid).ok());
    let Some(call_sid) = call_sid else {
        answer(piece.done().await);
        return false;
    };
    let mut signs = tokio::time::interval(PROGRESS_EVERY);
    let erased = {
        let mut erasing = std::pin::pin!(eraser.erase(&call_sid, piece.event().position.max(through)));
        loop {
            // An erasure that is dropped half-way is begun again from the first step.
            tokio::select! {
                biased;
                erased = &mut erasing => break Some(erased),
                () = stop.cancelled() => break None,
                _ = signs.tick() => answer(piece.progress().await),
            }
        }
    };
    match erased {
        Some(Ok(Erased::DoneBefore)) => {
            answer(piece.done().await);
            return true;
        }
        Some(Ok(Erased::Done)) => {
            answer(piece.again_after(SECOND_LOOK).await);
            eraser.metrics.count(CounterName::CallsErased, &[]);
            tracing::info!(call.id = %call_sid, "nothing is left of call {call_sid}");
            return true;
        }
        Some(Ok(Erased::TableBehind)) => {
            if piece.delivery().is_multiple_of(100) {
                tracing::warn!(call.id = %call_sid, "the erasure of call {call_sid} waits for the lead table: does the projector run, and is DATABASE_URL the same here?");
            }
            answer(piece.again_after(TABLE_PAUSE).await);
        }
        Some(Err(error)) => {
            let pause = RETRY * u32::try_from(piece.delivery()).unwrap_or(u32::MAX).min(1_000);
            tracing::warn!(call.id = %call_sid, error = %chain(&error), "call {call_sid} is not erased yet; trying again");
            answer(piece.again_after(pause.min(RETRY_MAX)).await);
        }
        None => answer(piece.again_after(Duration::ZERO).await),
    }
    false
}

/// An answer that was lost brings the message again, and every step bears that.
fn answer(answered: Result<(), BoxError>) {
    if let Err(error) = answered {
        tracing::debug!(error = %chain(&*error), "an answer to the broker was lost");
    }
}

impl Eraser {
    /// Everything of the call that stands at or before `through`, and the note that it is gone.
    async fn erase(&self, call_sid: &CallSid, through: u64) -> Result<Erased, EraseError> {
        let known = self
            .index
            .positions(call_sid, through)
            .await
            .map_err(EraseError::Index)?;
        let Some(positions) = known else {
            return Ok(Erased::TableBehind);
        };
        let (mut named, mut left, mut gone) = (Named::default(), Vec::new(), Vec::new());
        for position in positions {
            match self.bus.get(position).await.map_err(EraseError::Stream)? {
                Some(event) if is_of(&event, call_sid.as_str()) => {
                    named.add(&event);
                    left.push(position);
                }
                // The tombstone and the note stay.
                Some(_) => {}
                // An erasure that was interrupted had deleted it.
                None => gone.push(position),
            }
        }
        let (blobs, twilio) = self.delete_named(call_sid, &named).await?;
        let mut deleted = 0;
        for position in left {
            deleted += u64::from(self.bus.delete(position).await.map_err(EraseError::Stream)?);
            gone.push(position);
        }
        self.metrics.count_many(CounterName::EventsErased, &[], deleted);
        gone.sort_unstable();
        let done = EraseDone {
            positions: ranges(&gone),
            events: gone.len() as u64,
            blobs,
            twilio,
        };
        let mut event = NewEvent::new(call_sid.clone(), Key::single(), self.clock.now(), done);
        let cause = callfold_schema::Subject::new(call_sid.clone(), EventKind::CallErased, Key::single());
        event.envelope.cause = Some(cause.message_id());
        match self.bus.publish(&event, PUBLISH_WAIT).await {
            Ok(Published::Recorded { .. }) => Ok(Erased::Done),
            Ok(Published::AlreadyRecorded) => Ok(Erased::DoneBefore),
            Err(error) => Err(EraseError::Publish(error)),
        }
    }
}

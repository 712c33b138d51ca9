//! Calls that are older than their number keeps them (`retention_days`) are erased like any other.

use std::time::Duration;

use callfold_kit::bus::Published;
use callfold_kit::chain;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::numbers::{Book, Numbers};
use callfold_schema::UnixMillis;
use callfold_schema::event::ErasureReason;
use tokio_util::sync::CancellationToken;

use super::{EraseError, Eraser, tombstone};

/// How often it is looked for old calls.
const EVERY: Duration = Duration::from_secs(3_600);
/// The pause before a sweep goes on that came to one of its bounds, and behind one that failed.
const PAUSE: Duration = Duration::from_secs(60);
/// Most calls that one sweep erases.
pub const ERASE_MAX: usize = 1_000;
/// Most pages of old calls that one sweep reads.
pub const PAGES_MAX: usize = 200;
/// How long a publish may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// Who erases.
const BY: &str = "retention";
const DAY_MS: i64 = 86_400_000;

/// What one sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Calls whose erasure began.
    pub erased: usize,
    /// Where the next sweep goes on; `None` when everything was looked at.
    pub cursor: Option<String>,
}

/// Sweeps for the life of the process. The file of numbers is looked at anew each time.
///
/// # Errors
/// None: a sweep that fails is made again.
pub async fn run(eraser: Eraser, numbers: Numbers, stop: CancellationToken) -> Result<(), BoxError> {
    let mut cursor: Option<String> = None;
    loop {
        let pause = match sweep(&eraser, &numbers.book(), cursor.take()).await {
            Ok(swept) => {
                if swept.erased > 0 {
                    tracing::info!(
                        calls = swept.erased,
                        "calls older than their number keeps them are erased"
                    );
                }
                cursor = swept.cursor;
                if cursor.is_some() { PAUSE } else { EVERY }
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "could not look for calls that are too old; trying again");
                PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The shortest time that any number keeps calls, in days.
fn shortest(book: &Book) -> Option<u32> {
    let listed = book.numbers.values().filter_map(|number| number.retention_days);
    listed.chain(book.default.retention_days).min()
}

/// Begins the erasure of calls that are too old, within the bounds of one sweep.
///
/// # Errors
/// The table cannot be read, or a tombstone not be published.
pub async fn sweep(eraser: &Eraser, book: &Book, cursor: Option<String>) -> Result<Swept, EraseError> {
    let mut swept = Swept { erased: 0, cursor };
    let Some(shortest) = shortest(book) else {
        return Ok(Swept::default());
    };
    let now = eraser.clock.now();
    let limit = |days: u32| UnixMillis(now.0.saturating_sub(i64::from(days) * DAY_MS));
    for _ in 0..PAGES_MAX {
        let page = eraser
            .index
            .calls_before(limit(shortest), swept.cursor.as_deref())
            .await
            .map_err(EraseError::Index)?;
        for (call_sid, to, began) in page.calls {
            let kept = book.settings(&to).retention_days;
            if kept.is_none_or(|days| began >= limit(days)) {
                continue;
            }
            let event = tombstone(call_sid, BY, ErasureReason::Retention, now);
            match eraser.bus.publish(&event, PUBLISH_WAIT).await {
                Ok(Published::Recorded { .. }) => swept.erased += 1,
                // Begun before; the table has not heard of it yet.
                Ok(Published::AlreadyRecorded) => {}
                Err(error) => return Err(EraseError::Publish(error)),
            }
        }
        swept.cursor = page.next;
        if swept.cursor.is_none() || swept.erased >= ERASE_MAX {
            break;
        }
    }
    Ok(swept)
}

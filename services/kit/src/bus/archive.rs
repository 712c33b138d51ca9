//! The stream as it stands, message by message: what archives are written from, and put back with.

use std::pin::pin;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use callfold_schema::subject::HEADER_EXPECTED_LAST_SUBJECT_SEQUENCE;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use super::error::{PublishError, ReadError};
use super::publish::Published;
use super::read::{Reader, StoredEvent, one};
use super::{Bus, REQUEST_TIMEOUT};

/// How often a walk that hears nothing looks whether there is anything left: an erasure may have deleted what it waits for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many positions are looked at together for the last one that is held.
const LOOK_AT_ONCE: usize = 64;

/// A message to be put into the stream as it is: an event that was read from another one.
#[derive(Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// Its subject.
    pub subject: String,
    /// Its headers, in their order.
    pub headers: Vec<(String, String)>,
    /// Its payload.
    pub payload: Bytes,
}

impl std::fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawMessage")
            .field("subject", &self.subject)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// The messages at these positions, in their order, `at_once` of them asked for at a time; `None` for one that was
    /// deleted or never there.
    pub fn get_each(
        &self,
        positions: Vec<u64>,
        at_once: usize,
    ) -> impl Stream<Item = Result<(u64, Option<StoredEvent>), ReadError>> + Send + Unpin + use<> {
        let bus = self.clone();
        stream::iter(positions)
            .map(move |position| {
                let bus = bus.clone();
                async move { bus.get(position).await.map(|event| (position, event)) }
            })
            .buffered(at_once.max(1))
            .boxed()
    }

    /// Reads in order from one position to another one, and comes to an end there.
    pub fn walk(&self, from: u64, end: u64) -> Walk {
        Walk {
            bus: self.clone(),
            reader: self.read_from(from, Vec::new()),
            end,
            is_over: false,
            has_begun: false,
        }
    }

    /// Whether the stream holds a message at one of these positions. Looks from the end, where there usually is one.
    async fn holds_any(&self, first: u64, last: u64) -> Result<bool, ReadError> {
        let mut positions = (first.max(1)..=last).rev();
        let mut at_once = 1;
        loop {
            let some: Vec<u64> = positions.by_ref().take(at_once).collect();
            if some.is_empty() {
                return Ok(false);
            }
            let mut looked = self.get_each(some, at_once);
            while let Some((_, event)) = looked.try_next().await? {
                if event.is_some() {
                    return Ok(true);
                }
            }
            at_once = LOOK_AT_ONCE;
        }
    }

    /// The message with exactly this subject.
    pub async fn find_text(&self, subject: &str) -> Result<Option<StoredEvent>, ReadError> {
        one(self.stream.direct_get_last_for_subject(subject).await)
    }

    /// Publishes a message as it is, on a subject that nothing was written to yet, and waits until it is durable.
    pub async fn publish_raw(&self, message: &RawMessage, wait: Duration) -> Result<Published, PublishError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &message.headers {
            headers.append(name.as_str(), value.as_str());
        }
        // Also where the one that wrote it first had no such rule.
        headers.insert(HEADER_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        self.send(message.subject.clone(), headers, message.payload.clone(), wait)
            .await
    }

    /// The names of the stream's consumers at which a process waits for messages just now: who works on the stream.
    pub async fn at_work(&self) -> Result<Vec<String>, ReadError> {
        let state = |error: async_nats::Error| ReadError::State(error);
        let listed = async {
            let mut consumers = self.stream.consumers();
            let mut names = Vec::new();
            while let Some(info) = consumers.try_next().await.map_err(|e| state(Box::new(e)))? {
                if info.num_waiting > 0 || info.push_bound {
                    names.push(info.name);
                }
            }
            Ok(names)
        };
        tokio::time::timeout(REQUEST_TIMEOUT, listed)
            .await
            .map_err(|late| state(Box::new(late)))?
    }
}

/// A reading of the stream up to a position.
pub struct Walk {
    bus: Bus,
    reader: Reader,
    end: u64,
    is_over: bool,
    has_begun: bool,
}

impl Walk {
    /// The next events, about `count_max` and `bytes_max` bytes of them at most; `None` behind the last one.
    pub async fn next(
        &mut self,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Vec<StoredEvent>>, ReadError> {
        let from = self.reader.next_position();
        if self.is_over || from > self.end {
            return Ok(None);
        }
        if !self.has_begun && !self.bus.holds_any(from, self.end).await? {
            return Ok(None);
        }
        self.has_begun = true;
        let mut batch = Vec::new();
        {
            // Kept across ticks: it opens the reading, which on a slow broker takes longer than from one to the next.
            let mut read = pin!(self.reader.next_batch(count_max, bytes_max, &mut batch));
            loop {
                tokio::select! {
                    biased;
                    read = &mut read => break read?,
                    () = tokio::time::sleep(LOOK_EVERY) => {
                        if !self.bus.holds_any(from, self.end).await? {
                            return Ok(None);
                        }
                    }
                }
            }
        }
        // What stands behind the last one came later than the end that was asked for.
        self.is_over = batch
            .last()
            .is_none_or(|event| event.pending == 0 || event.position >= self.end);
        batch.retain(|event| event.position <= self.end);
        Ok((!batch.is_empty()).then_some(batch))
    }
}

//! Reading: one message by position or exact subject, and the stream in order.
//!
//! Nothing here asks for a wildcard subject outside a consumer: on server 2.10 that walks the stream under its lock.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::DirectGetErrorKind;
use bytes::Bytes;
use callfold_schema::{RawEvent, Record, Subject, UnixMillis, Unreadable};
use futures::{FutureExt, StreamExt};

use super::Bus;
use super::config::Connections;
use super::error::ReadError;
use crate::chain::chain;

/// How long to wait before the ordered reader is set up again after an error.
const READER_PAUSE: Duration = Duration::from_millis(250);

/// A message of the stream, undecoded.
#[derive(Clone)]
pub struct StoredEvent {
    /// Its stream sequence.
    pub position: u64,
    /// Its payload.
    pub payload: Bytes,
    /// When the server stored it.
    pub stored_at: UnixMillis,
    /// How many messages of the same reading are behind it; 0 for a single look-up.
    pub pending: u64,
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
}

impl std::fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredEvent")
            .field("position", &self.position)
            .field("subject", &self.subject)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl StoredEvent {
    /// Its subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .as_ref()?
            .get(name)
            .map(async_nats::HeaderValue::as_str)
    }

    /// All headers in any order, a name with several values once for each.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.headers.iter().flat_map(HeaderMap::iter);
        all.flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
    }

    /// Reads it.
    pub fn decode(&self) -> Result<Record, Unreadable> {
        callfold_schema::decode(&RawEvent {
            subject: &self.subject,
            header: &|name| self.header(name),
            payload: &self.payload,
        })
    }
}

/// The size and the ends of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// The identity that the stream got when it was created.
    pub identity: String,
    /// The first position there is; 0 when nothing was ever written.
    pub first: u64,
    /// The last position given out; 0 when nothing was ever written.
    pub last: u64,
    /// How many messages are in it.
    pub messages: u64,
    /// How many bytes they take.
    pub bytes: u64,
}

fn unix_millis(nanos: i128) -> UnixMillis {
    UnixMillis(i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX))
}

impl Bus {
    /// The message at a position; `None` when it was deleted or never there.
    pub async fn get(&self, position: u64) -> Result<Option<StoredEvent>, ReadError> {
        one(self.stream.direct_get(position).await)
    }

    /// The event with exactly this subject.
    pub async fn find(&self, subject: &Subject) -> Result<Option<StoredEvent>, ReadError> {
        one(self.stream.direct_get_last_for_subject(subject.to_string()).await)
    }

    /// The ends and the size of the stream.
    pub async fn stream_state(&self) -> Result<StreamState, ReadError> {
        let info = self
            .stream
            .get_info()
            .await
            .map_err(|error| ReadError::State(Box::new(error)))?;
        let identity = info
            .config
            .metadata
            .get("callfold_identity")
            .cloned()
            .unwrap_or_default();
        if identity != *self.identity {
            return Err(ReadError::Replaced);
        }
        Ok(StreamState {
            identity,
            first: info.state.first_sequence,
            last: info.state.last_sequence,
            messages: info.state.messages,
            bytes: info.state.bytes,
        })
    }

    /// Reads in order from a position on, without gaps but those of deleted messages. No filters: everything.
    pub fn read_from(&self, position: u64, filters: Vec<String>) -> Reader {
        let connections = self.connections.clone();
        Reader {
            bus: self.clone(),
            connections,
            next: position.max(1),
            since: None,
            filters,
            inner: None,
        }
    }

    /// Reads in order what the server stored at `since` or later.
    pub fn read_since(&self, since: UnixMillis, filters: Vec<String>) -> Reader {
        let connections = self.connections.clone();
        Reader {
            bus: self.clone(),
            connections,
            next: 1,
            since: Some(since),
            filters,
            inner: None,
        }
    }
}

pub(super) fn one(
    got: Result<async_nats::jetstream::message::StreamMessage, async_nats::jetstream::stream::DirectGetError>,
) -> Result<Option<StoredEvent>, ReadError> {
    match got {
        Ok(message) => Ok(Some(StoredEvent {
            position: message.sequence,
            subject: message.subject.to_string(),
            headers: Some(message.headers),
            payload: message.payload,
            stored_at: unix_millis(message.time.unix_timestamp_nanos()),
            pending: 0,
        })),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReadError::Get(Box::new(error))),
    }
}

/// An ordered reading of the stream that survives what can be survived: it takes up again behind the last event.
pub struct Reader {
    bus: Bus,
    connections: Connections,
    next: u64,
    since: Option<UnixMillis>,
    filters: Vec<String>,
    inner: Option<Ordered>,
}

impl Reader {
    /// The position from which it reads on.
    pub fn next_position(&self) -> u64 {
        self.next
    }

    /// The next event; waits for one. Dropping the future loses nothing. An error is final.
    pub async fn next(&mut self) -> Result<StoredEvent, ReadError> {
        loop {
            let inner = match &mut self.inner {
                Some(inner) => inner,
                None => match self.open().await {
                    Ok(opened) => self.inner.insert(opened),
                    Err(error) => {
                        tracing::warn!(error = %chain(&*error), "could not open the ordered reader; trying again");
                        // The stream may be another one by now; that is the one error that trying again cannot mend.
                        if let Err(ReadError::Replaced) = self.bus.stream_state().await {
                            return Err(ReadError::Replaced);
                        }
                        tokio::time::sleep(READER_PAUSE).await;
                        continue;
                    }
                },
            };
            let message = tokio::select! {
                // What came before the connection broke is good.
                biased;
                message = inner.next() => message,
                // The server may have forgotten this reading; the client finds out by missing heartbeats only.
                () = self.connections.changed() => {
                    self.inner = None;
                    continue;
                }
            };
            match message {
                Some(Ok(message)) => match self.take(message) {
                    Ok(Some(event)) => return Ok(event),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(error = %chain(&*error), "a message without its place in the stream; reading it again");
                        self.inner = None;
                    }
                },
                Some(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "the ordered reader was interrupted; taking up again");
                    self.inner = None;
                    tokio::time::sleep(READER_PAUSE).await;
                }
                None => self.inner = None,
            }
        }
    }

    /// Waits for one event, then takes what is there already, up to `count_max` events and about `bytes_max` bytes.
    pub async fn next_batch(
        &mut self,
        count_max: usize,
        bytes_max: usize,
        batch: &mut Vec<StoredEvent>,
    ) -> Result<(), ReadError> {
        let first = self.next().await?;
        let mut bytes = first.payload.len();
        batch.push(first);
        while batch.len() < count_max && bytes < bytes_max {
            let Some(inner) = &mut self.inner else { break };
            match inner.next().now_or_never() {
                Some(Some(Ok(message))) => match self.take(message) {
                    Ok(Some(event)) => {
                        bytes += event.payload.len();
                        batch.push(event);
                    }
                    Ok(None) => {}
                    Err(_) => {
                        self.inner = None;
                        break;
                    }
                },
                // An error shows again, or is mended, at the next reading.
                Some(Some(Err(_)) | None) => {
                    self.inner = None;
                    break;
                }
                None => break,
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<Ordered, crate::lifecycle::BoxError> {
        self.connections.mark();
        let deliver_policy = match self.since {
            Some(since) if self.next == 1 => DeliverPolicy::ByStartTime {
                start_time: async_nats::datetime::from_nanos(i128::from(since.0) * 1_000_000)?,
            },
            _ => DeliverPolicy::ByStartSequence {
                start_sequence: self.next,
            },
        };
        let consumer = self
            .bus
            .stream
            .create_consumer(OrderedConfig {
                deliver_policy,
                filter_subjects: self.filters.clone(),
                ..OrderedConfig::default()
            })
            .await?;
        Ok(consumer.messages().await?)
    }

    /// Checks order: what is behind was seen before (the reader was set up again).
    fn take(
        &mut self,
        message: async_nats::jetstream::Message,
    ) -> Result<Option<StoredEvent>, crate::lifecycle::BoxError> {
        let info = message.info()?;
        let (position, pending) = (info.stream_sequence, info.pending);
        let stored_at = unix_millis(info.published.unix_timestamp_nanos());
        if position < self.next {
            return Ok(None);
        }
        self.next = position + 1;
        // A reading that the client set up again before its first message begins at the beginning.
        if self.since.is_some_and(|since| stored_at < since) {
            return Ok(None);
        }
        let (message, _) = message.split();
        Ok(Some(StoredEvent {
            position,
            subject: message.subject.to_string(),
            headers: message.headers,
            payload: message.payload,
            stored_at,
            pending,
        }))
    }
}

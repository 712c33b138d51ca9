//! One lane of a stage: pull requests on a durable consumer, one message at a time.
//!
//! Pull requests carry no idle heartbeat (the client's batch would then sleep through the message behind one);
//! instead each request is short, and one that says nothing past its end is given up and made again.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{Consumer, pull};
use futures::{FutureExt, StreamExt};

use super::Bus;
use super::config::Connections;
use super::error::BusError;
use super::read::StoredEvent;
use super::topology;
use crate::lifecycle::BoxError;

/// How long one waiting pull request stands at the server.
const POLL_EXPIRES: Duration = Duration::from_secs(20);
/// How long past its end a request is believed to be alive.
const POLL_SLACK: Duration = Duration::from_secs(3);
/// How long the client may take to accept an acknowledgement or a request: while the broker is away it accepts only what
/// its buffer holds.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the answer to "is there anything now" may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(3);

/// What the client did not accept in time was not sent.
async fn sent<T, E: Into<BoxError>>(sending: impl Future<Output = Result<T, E>>) -> Result<T, BoxError> {
    match tokio::time::timeout(SEND_TIMEOUT, sending).await {
        Ok(sent) => sent.map_err(Into::into),
        Err(_) => Err("the client could not send to the broker in time".into()),
    }
}

/// A delivered message with the means to answer for it.
pub(crate) struct Delivery {
    pub(crate) event: StoredEvent,
    /// Which delivery of this message it is, from 1.
    pub(crate) delivery: u64,
    acker: async_nats::jetstream::message::Acker,
}

impl Delivery {
    fn from(message: async_nats::jetstream::Message) -> Result<Self, BoxError> {
        let info = message.info()?;
        let (position, pending) = (info.stream_sequence, info.pending);
        let delivery = u64::try_from(info.delivered).unwrap_or(1).max(1);
        let stored_at =
            callfold_schema::UnixMillis(i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000)?);
        let (message, acker) = message.split();
        Ok(Self {
            event: StoredEvent {
                position,
                subject: message.subject.to_string(),
                headers: message.headers,
                payload: message.payload,
                stored_at,
                pending,
            },
            delivery,
            acker,
        })
    }

    /// Finished with it.
    pub(crate) async fn ack(&self) -> Result<(), BoxError> {
        sent(self.acker.ack()).await
    }

    /// Still at work.
    pub(crate) async fn progress(&self) -> Result<(), BoxError> {
        sent(self.acker.ack_with(AckKind::Progress)).await
    }

    /// Deliver it again after `delay`.
    pub(crate) async fn again_after(&self, delay: Duration) -> Result<(), BoxError> {
        sent(self.acker.ack_with(AckKind::Nak(Some(delay)))).await
    }
}

/// One durable consumer.
pub(crate) struct Lane {
    consumer: Consumer<pull::Config>,
    waiting: Option<(pull::Batch, tokio::time::Instant)>,
    connections: Connections,
}

impl Bus {
    pub(crate) async fn lane(&self, name: &str, filter: &str, ack_wait: Duration) -> Result<Lane, BusError> {
        let consumer = topology::create_or_verify_consumer(&self.stream, name, filter, ack_wait).await?;
        Ok(Lane {
            consumer,
            waiting: None,
            connections: self.connections.clone(),
        })
    }
}

impl Lane {
    /// A message that is there now.
    pub(crate) async fn try_pull(&mut self) -> Result<Option<Delivery>, BoxError> {
        if let Some((batch, _)) = &mut self.waiting {
            // A waiting request stands at the server: what is there now has been, or is being, sent to it.
            return match batch.next().now_or_never() {
                None => Ok(None),
                Some(None) => {
                    self.waiting = None;
                    Ok(None)
                }
                Some(Some(message)) => {
                    self.waiting = None;
                    Delivery::from(message?).map(Some)
                }
            };
        }
        let mut batch = sent(self.consumer.fetch().max_messages(1).messages()).await?;
        match tokio::time::timeout(TRY_TIMEOUT, batch.next()).await {
            Err(_) => Err("the broker did not answer a pull request".into()),
            Ok(None) => Ok(None),
            Ok(Some(message)) => Delivery::from(message?).map(Some),
        }
    }

    /// Leaves a waiting request with the server. Not to be dropped half-way: a message could answer a request that
    /// nobody listens to.
    pub(crate) async fn prepare(&mut self) -> Result<(), BoxError> {
        if self.waiting.is_none() {
            self.connections.mark();
            let request = self.consumer.batch().max_messages(1).expires(POLL_EXPIRES);
            let batch = sent(request.messages()).await?;
            self.waiting = Some((batch, tokio::time::Instant::now() + POLL_EXPIRES + POLL_SLACK));
        }
        Ok(())
    }

    /// Whether a request stands at the server.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Waits for the answer to the request of [`Lane::prepare`]; `None` when it ended without a message. Dropping the
    /// future loses nothing: the request stays with the lane.
    pub(crate) async fn wait(&mut self) -> Result<Option<Delivery>, BoxError> {
        let Some((batch, end)) = &mut self.waiting else {
            return Ok(None);
        };
        let next = tokio::select! {
            // What came before the connection broke is good.
            biased;
            next = tokio::time::timeout_at(*end, batch.next()) => next.ok().flatten(),
            // The server forgets requests of a connection that is gone.
            () = self.connections.changed() => None,
        };
        self.waiting = None;
        match next {
            // The request ended, or its connection is gone: the next one follows.
            None => Ok(None),
            Some(message) => Delivery::from(message?).map(Some),
        }
    }

    /// Makes no further request; a message that came already is handed out.
    pub(crate) fn close(self) -> Option<Delivery> {
        let (mut batch, _) = self.waiting?;
        let message = batch.next().now_or_never()??.ok()?;
        Delivery::from(message).ok()
    }
}

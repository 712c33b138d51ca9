//! Publishing: every subject is written once, for ever, so sending an event again is harmless.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use bytes::Bytes;
use callfold_schema::subject::{HEADER_TRACEPARENT, HEADER_VERSION};
use callfold_schema::{EncodeError, Encoded, NewEvent};
use rand::RngExt;

use super::Bus;
use super::error::PublishError;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the stream now.
    Recorded {
        /// Its position.
        position: u64,
    },
    /// It was there before; the first one stays.
    AlreadyRecorded,
}

impl Bus {
    /// Publishes an event and waits, at most `wait`, until it is durable. The payload and the header `Callfold-Version` are
    /// those of [`super::BusConfig::writing`], whatever version the envelope says.
    pub async fn publish(&self, event: &NewEvent, wait: Duration) -> Result<Published, PublishError> {
        let Encoded { version, payload } = event
            .event
            .encode_as(self.writing)
            .map_err(PublishError::Encode)?;
        let mut headers = HeaderMap::new();
        for (name, value) in event.envelope.headers() {
            headers.insert(name, value);
        }
        headers.insert(HEADER_VERSION, version.to_string());
        if event.envelope.traceparent.is_none() {
            // A fact that nothing in the stream led to begins a trace.
            let (trace, span): (u128, u64) = (rand::rng().random(), rand::rng().random());
            headers.insert(HEADER_TRACEPARENT, format!("00-{trace:032x}-{span:016x}-01"));
        }
        let subject = event.envelope.subject.to_string();
        self.send(subject, headers, payload.into(), wait).await
    }

    /// Sends a message to the stream and waits for its acknowledgement.
    pub(super) async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        wait: Duration,
    ) -> Result<Published, PublishError> {
        let bytes = payload.len();
        let sent = async {
            let ack = self
                .context
                .publish_with_headers(subject, headers, payload)
                .await?;
            ack.await
        };
        match tokio::time::timeout(wait, sent).await {
            Err(_) => Err(PublishError::TimedOut),
            Ok(Ok(ack)) if ack.duplicate => Ok(Published::AlreadyRecorded),
            Ok(Ok(ack)) => Ok(Published::Recorded {
                position: ack.sequence,
            }),
            Ok(Err(error)) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Ok(Published::AlreadyRecorded),
                PublishErrorKind::TimedOut => Err(PublishError::TimedOut),
                // The server's bound is on headers and payload together, so an event just below our own may pass it. It
                // would be refused for ever.
                PublishErrorKind::MaxPayloadExceeded => {
                    Err(PublishError::Encode(EncodeError::TooLarge { bytes }))
                }
                PublishErrorKind::BrokenPipe => Err(PublishError::Send(Box::new(error))),
                _ if crate::chain::chain(&error).contains("maximum bytes exceeded") => {
                    Err(PublishError::Full)
                }
                _ => Err(PublishError::Refused(Box::new(error))),
            },
        }
    }
}

//! The broker. The only folder that knows its client; everything else speaks of events, positions and notices.

mod archive;
mod ask;
mod config;
mod consume;
mod error;
mod info;
mod kv;
mod publish;
mod queue;
mod read;
mod topology;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use callfold_schema::Writing;
use futures::StreamExt;

pub use archive::{RawMessage, Walk};
pub use ask::Question;
pub use config::BusConfig;
pub(crate) use consume::{Delivery, Lane as DeliveryLane};
pub use error::{BusError, PublishError, ReadError};
pub use info::{BrokerState, ConsumerState};
pub use kv::{Kv, KvChange};
pub use publish::Published;
pub use queue::{Piece, Queue};
pub use read::{Reader, StoredEvent, StreamState};

use crate::health::Part;
use crate::lifecycle::{BoxError, Lifecycle};
use crate::metric::{GaugeName, Metrics};

/// How long a request to the broker's API may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The share of the stream's bound at which gateways stop taking calls, so that erasures and failures still fit.
const NEARLY_FULL_PERCENT: u64 = 95;
/// How often the stream's size is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// A connection to the broker with the stream of all events verified. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    client: async_nats::Client,
    context: jetstream::Context,
    stream: Arc<jetstream::stream::Stream>,
    identity: Arc<str>,
    bytes_max: u64,
    writing: Writing,
    nearly_full: Arc<AtomicBool>,
    connections: config::Connections,
}

impl Bus {
    /// Connects, checks `max_payload`, and creates or verifies the stream.
    pub async fn connect(config: &BusConfig) -> Result<Self, BusError> {
        crate::http::install_tls();
        let (client, connections) = config.connect().await?;
        let allowed = client.max_payload();
        if allowed < callfold_schema::decode::PAYLOAD_BYTES_MAX {
            return Err(BusError::MaxPayload { allowed });
        }
        let context = jetstream::context::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        let (stream, identity) = topology::create_or_verify_stream(&context, config).await?;
        Ok(Self {
            client,
            context,
            stream: Arc::new(stream),
            identity: identity.into(),
            bytes_max: config.stream_bytes_max,
            writing: config.writing,
            nearly_full: Arc::default(),
            connections,
        })
    }

    /// The identity that the stream got when it was created.
    pub fn stream_identity(&self) -> &str {
        &self.identity
    }

    /// How many times a connection to the broker was made. A number that grew tells of an outage, however short.
    pub fn connections(&self) -> u64 {
        self.connections.count()
    }

    /// Whether the broker is connected now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Whether the stream is within 5 % of its bound: no new calls are to be taken.
    pub fn is_nearly_full(&self) -> bool {
        self.nearly_full.load(Ordering::Relaxed)
    }

    /// The version of the server that is connected.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Tells the health of the connection and the size of the stream for as long as the process lives.
    pub fn watch(&self, lifecycle: &Lifecycle, metrics: Metrics, part: Part) {
        let (bus, soft) = (self.clone(), lifecycle.soft());
        lifecycle.spawn("broker-watch", async move {
            let mut tick = tokio::time::interval(WATCH_EVERY);
            loop {
                // Both arms may be dropped at any time without harm.
                tokio::select! {
                    () = soft.cancelled() => return Ok::<(), BoxError>(()),
                    _ = tick.tick() => {}
                }
                let state = bus.stream_state().await;
                metrics.set(
                    GaugeName::BrokerConnected,
                    &[],
                    if state.is_ok() { 1.0 } else { 0.0 },
                );
                match state {
                    Ok(state) => {
                        let full = state.bytes >= bus.bytes_max / 100 * NEARLY_FULL_PERCENT;
                        bus.nearly_full.store(full, Ordering::Relaxed);
                        if full {
                            part.not_ready("the stream is full: raise CALLFOLD_STREAM_BYTES_MAX");
                        } else {
                            part.ready();
                        }
                    }
                    Err(_) => part.not_ready("the broker does not answer"),
                }
            }
        });
    }

    /// Sends a notice that may be lost.
    pub async fn notify(&self, subject: &'static str, payload: Bytes) -> Result<(), PublishError> {
        self.client
            .publish(subject, payload)
            .await
            .map_err(|error| PublishError::Send(Box::new(error)))
    }

    /// Follows notices. The stream ends when the process leaves the broker.
    pub async fn notices(
        &self,
        subject: &'static str,
    ) -> Result<impl futures::Stream<Item = Bytes> + Send + Unpin + use<>, BusError> {
        let subscriber = self
            .client
            .subscribe(subject)
            .await
            .map_err(|error| BusError::Subscribe(Box::new(error)))?;
        Ok(subscriber.map(|message| message.payload))
    }

    /// Hands everything that was given to the client over to the server.
    pub async fn flush(&self) -> Result<(), BusError> {
        self.client
            .flush()
            .await
            .map_err(|error| BusError::Flush(Box::new(error)))
    }
}

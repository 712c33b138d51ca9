//! How full the stream is, and what waits at its consumers.

use futures::TryStreamExt;

use super::error::ReadError;
use super::{Bus, REQUEST_TIMEOUT};

/// How many consumers are listed at most; a stage has two, so this is far above what there is.
const CONSUMERS_MAX: usize = 256;

/// The stream and its consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerState {
    /// How many bytes the stream takes.
    pub bytes: u64,
    /// How many it may take.
    pub bytes_max: u64,
    /// How many events it holds.
    pub messages: u64,
    /// The last position given out.
    pub last: u64,
    /// Durable consumers, by name.
    pub consumers: Vec<ConsumerState>,
}

/// A consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerState {
    /// Its name.
    pub name: String,
    /// How many messages were not handed out yet.
    pub pending: u64,
    /// How many were handed out and not answered: in work, or put off.
    pub in_hand: u64,
    /// Whether a process waits for messages just now.
    pub at_work: bool,
}

impl Bus {
    /// The state of the stream and of everything that reads from it durably.
    ///
    /// # Errors
    /// The broker does not answer, or the stream is another one.
    pub async fn broker_state(&self) -> Result<BrokerState, ReadError> {
        let state = |error: async_nats::Error| ReadError::State(error);
        let stream = self.stream_state().await?;
        let listed = async {
            let mut infos = self.stream.consumers();
            let mut consumers = Vec::new();
            while let Some(info) = infos.try_next().await.map_err(|error| state(Box::new(error)))? {
                if info.config.durable_name.is_none() || consumers.len() >= CONSUMERS_MAX {
                    continue;
                }
                consumers.push(ConsumerState {
                    name: info.name,
                    pending: info.num_pending,
                    in_hand: info.num_ack_pending as u64,
                    at_work: info.num_waiting > 0 || info.push_bound,
                });
            }
            Ok::<_, ReadError>(consumers)
        };
        let mut consumers = tokio::time::timeout(REQUEST_TIMEOUT, listed)
            .await
            .map_err(|late| state(Box::new(late)))??;
        consumers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(BrokerState {
            bytes: stream.bytes,
            bytes_max: self.bytes_max,
            messages: stream.messages,
            last: stream.last,
            consumers,
        })
    }
}

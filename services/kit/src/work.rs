//! A durable consumer with a worker behind it: one message at a time, in the order of the stream.
//!
//! For work that is no stage: it has no attempts to count and no answer of its own to look for.
//!
//! **Duplicates.** A message comes again after a crash, a lost acknowledgement, or when the worker asked for it: what the
//! worker does has to be harmless when it is done twice.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Delivery, DeliveryLane, StoredEvent};
use crate::chain::chain;
use crate::lifecycle::BoxError;

/// How long the server waits for a sign of life before it delivers a message again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The pause after an error of the broker.
const BROKER_PAUSE: Duration = Duration::from_millis(500);

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worked {
    /// It is dealt with.
    Done,
    /// It comes again after so long.
    Again(Duration),
}

/// What is done with each message.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Works on one message. May be dropped at the hard stop.
    async fn work(&self, event: &StoredEvent) -> Worked;
}

/// Hands the messages of a durable consumer to the worker until the soft stop; what is in hand then is finished, or dropped
/// at the hard stop and delivered again.
///
/// # Errors
/// The consumer is there with other settings.
pub async fn run_worker(
    bus: &Bus,
    consumer: &str,
    filter: &str,
    worker: &dyn Worker,
    soft: &CancellationToken,
    hard: &CancellationToken,
) -> Result<(), BoxError> {
    let mut lane: Option<DeliveryLane> = None;
    while !soft.is_cancelled() {
        let trouble = match &mut lane {
            None => match bus.lane(consumer, filter, ACK_WAIT).await {
                Ok(opened) => {
                    lane = Some(opened);
                    continue;
                }
                Err(error @ BusError::ConsumerDiffers { .. }) => return Err(error.into()),
                Err(error) => error.into(),
            },
            Some(open) => match next(open, soft).await {
                Ok(Some(delivery)) => {
                    answer(&delivery, worker, hard).await;
                    continue;
                }
                Ok(None) => continue,
                Err(error) => error,
            },
        };
        tracing::warn!(consumer, error = %chain(&*trouble), "could not pull work; trying again");
        lane = None;
        // Both arms may be dropped without harm.
        tokio::select! {
            () = soft.cancelled() => {}
            () = tokio::time::sleep(BROKER_PAUSE) => {}
        }
    }
    // What came to a request that still stood is handed back.
    if let Some(delivery) = lane.and_then(DeliveryLane::close)
        && let Err(error) = delivery.again_after(Duration::ZERO).await
    {
        tracing::debug!(error = %chain(&*error), "could not hand a message back; it comes by itself");
    }
    Ok(())
}

/// The next message; `None` when there is none for now, or at the soft stop.
async fn next(lane: &mut DeliveryLane, soft: &CancellationToken) -> Result<Option<Delivery>, BoxError> {
    lane.prepare().await?;
    // Both arms may be dropped: the request stays with the lane.
    tokio::select! {
        biased;
        () = soft.cancelled() => Ok(None),
        delivery = lane.wait() => delivery,
    }
}

async fn answer(delivery: &Delivery, worker: &dyn Worker, hard: &CancellationToken) {
    let work = worker.work(&delivery.event);
    tokio::pin!(work);
    let mut progress = tokio::time::interval(ACK_WAIT / 3);
    progress.tick().await;
    let worked = loop {
        // Work and timer may be polled again after another arm won; at the hard stop the message comes again.
        tokio::select! {
            () = hard.cancelled() => return,
            worked = &mut work => break worked,
            _ = progress.tick() => {
                if let Err(error) = delivery.progress().await {
                    tracing::debug!(error = %chain(&*error), "could not tell that work goes on");
                }
            }
        }
    };
    let answered = match worked {
        Worked::Done => delivery.ack().await,
        Worked::Again(delay) => delivery.again_after(delay).await,
    };
    if let Err(error) = answered {
        tracing::debug!(error = %chain(&*error), "could not answer for a message; it comes again");
    }
}

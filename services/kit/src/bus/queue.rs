//! A durable consumer for work that is no stage: one message at a time, again until it is answered.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Bus;
use super::consume::{Delivery, Lane};
use super::error::{BusError, ReadError};
use super::read::StoredEvent;
use crate::chain::chain;
use crate::lifecycle::BoxError;

/// The pause after an error of the broker.
const BROKER_PAUSE: Duration = Duration::from_millis(250);

/// A durable consumer, shared with every process that opened it under this name.
pub struct Queue {
    bus: Bus,
    name: String,
    filter: String,
    ack_wait: Duration,
    lane: Option<Lane>,
}

/// A message that was handed out. Without an answer it comes again, to whoever asks then.
pub struct Piece(Delivery);

impl Piece {
    /// The message.
    pub fn event(&self) -> &StoredEvent {
        &self.0.event
    }

    /// Which delivery of it this is, from 1.
    pub fn delivery(&self) -> u64 {
        self.0.delivery
    }

    /// It is done with. An answer that is lost brings it again, so what was done must bear being done twice.
    pub async fn done(&self) -> Result<(), BoxError> {
        self.0.ack().await
    }

    /// It is still being worked on.
    pub async fn progress(&self) -> Result<(), BoxError> {
        self.0.progress().await
    }

    /// It is to come again after `delay`.
    pub async fn again_after(&self, delay: Duration) -> Result<(), BoxError> {
        self.0.again_after(delay).await
    }
}

impl Bus {
    /// A durable consumer of everything that matches `filter`, from the first event on. Nothing is asked of the broker
    /// yet. A message that is neither answered nor said to be in work for `ack_wait` comes again.
    pub fn queue(&self, name: &str, filter: &str, ack_wait: Duration) -> Queue {
        Queue {
            bus: self.clone(),
            name: name.to_owned(),
            filter: filter.to_owned(),
            ack_wait,
            lane: None,
        }
    }

    /// Deletes the message at a position and overwrites its place in the store; `false` when there is none.
    pub async fn delete(&self, position: u64) -> Result<bool, ReadError> {
        match self.stream.delete_message(position).await {
            Ok(deleted) => Ok(deleted),
            // The server has several ways to say that it is not there.
            Err(error) => match self.get(position).await? {
                None => Ok(false),
                Some(_) => Err(ReadError::Delete(Box::new(error))),
            },
        }
    }
}

impl Queue {
    /// The next message; `None` on a stop. Waits out whatever trouble the broker has.
    ///
    /// # Errors
    /// The consumer is there and is not as it has to be.
    pub async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Piece>, BusError> {
        while !stop.is_cancelled() {
            let trouble = match self.wait(stop).await {
                Ok(Some(delivery)) => return Ok(Some(Piece(delivery))),
                Ok(None) => continue,
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(error)) => error,
            };
            tracing::warn!(consumer = self.name, error = %chain(&*trouble), "could not pull work; trying again");
            self.lane = None;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(BROKER_PAUSE) => {}
            }
        }
        // A request that stands at the server may have been answered: that message is handed out to nobody.
        if let Some(delivery) = self.lane.take().and_then(Lane::close)
            && let Err(error) = delivery.again_after(Duration::ZERO).await
        {
            tracing::debug!(error = %chain(&*error), "a message was not handed back; it comes again by itself");
        }
        Ok(None)
    }

    async fn wait(&mut self, stop: &CancellationToken) -> Result<Option<Delivery>, Trouble> {
        let lane = match &mut self.lane {
            Some(lane) => lane,
            None => {
                let opened = self.bus.lane(&self.name, &self.filter, self.ack_wait).await;
                self.lane.insert(opened.map_err(|error| match error {
                    BusError::ConsumerDiffers { .. } => Trouble::Final(error),
                    error => Trouble::Passing(error.into()),
                })?)
            }
        };
        if let Some(delivery) = lane.try_pull().await.map_err(Trouble::Passing)? {
            return Ok(Some(delivery));
        }
        lane.prepare().await.map_err(Trouble::Passing)?;
        // Both arms may be dropped: the request stays with the lane.
        tokio::select! {
            () = stop.cancelled() => Ok(None),
            waited = lane.wait() => waited.map_err(Trouble::Passing),
        }
    }
}

enum Trouble {
    Passing(BoxError),
    Final(BusError),
}

//! Asking another process over core NATS: a question that one process answers, or nobody.

use std::time::Duration;

use async_nats::RequestErrorKind;
use async_nats::client::Request;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::Bus;
use super::error::{BusError, PublishError};

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub payload: Bytes,
    reply: Option<async_nats::Subject>,
}

impl Bus {
    /// Asks, and waits for the answer at most `wait`; `None` when nobody listens.
    pub async fn ask(
        &self,
        subject: &'static str,
        payload: Bytes,
        wait: Duration,
    ) -> Result<Option<Bytes>, PublishError> {
        let request = Request::new().payload(payload).timeout(Some(wait));
        match self.client.send_request(subject, request).await {
            Ok(answer) => Ok(Some(answer.payload)),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => Ok(None),
                RequestErrorKind::TimedOut => Err(PublishError::TimedOut),
                _ => Err(PublishError::Send(Box::new(error))),
            },
        }
    }

    /// The questions that are asked from now on. The stream ends when the process leaves the broker.
    pub async fn questions(
        &self,
        subject: &'static str,
    ) -> Result<impl Stream<Item = Question> + Send + Unpin + use<>, BusError> {
        let subscriber = self
            .client
            .subscribe(subject)
            .await
            .map_err(|error| BusError::Subscribe(Box::new(error)))?;
        Ok(subscriber.map(|message| Question {
            payload: message.payload,
            reply: message.reply,
        }))
    }

    /// Answers. Who asked may be gone by now, and a notice that wants no answer gets none.
    pub async fn answer(&self, question: Question, payload: Bytes) -> Result<(), PublishError> {
        let Some(reply) = question.reply else {
            return Ok(());
        };
        self.client
            .publish(reply, payload)
            .await
            .map_err(|error| PublishError::Send(Box::new(error)))
    }
}

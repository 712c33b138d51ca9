//! What can go wrong with the broker. A variant says what was tried.

use callfold_schema::EncodeError;
use callfold_schema::event::FailureClass;

use crate::lifecycle::BoxError;

/// Connecting and setting up.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection.
    #[error("could not connect to the broker (NATS_URL)")]
    Connect(#[source] BoxError),
    /// The credentials file.
    #[error("could not read the broker's credentials (NATS_CREDS)")]
    Credentials(#[source] std::io::Error),
    /// `max_payload` is too small.
    #[error("the broker allows messages of {allowed} bytes: set `max_payload: 4MB` in its configuration")]
    MaxPayload {
        /// What it allows, in bytes.
        allowed: usize,
    },
    /// The stream.
    #[error("could not create or read the stream CALLS")]
    Stream(#[source] BoxError),
    /// The stream is there and is not as it has to be.
    #[error("the stream CALLS differs from what callfold needs: {}; change it with `nats stream edit CALLS`, or give callfold an account of its own", .0.join("; "))]
    StreamDiffers(Vec<String>),
    /// The stream was made by something else.
    #[error(
        "the stream CALLS was not created by callfold: it has no callfold_identity in its metadata; give callfold an account of its own, or add one with `nats stream edit CALLS --metadata callfold_identity=<random>`"
    )]
    NotOurs,
    /// A durable consumer.
    #[error("could not create or read the consumer {name}")]
    Consumer {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The consumer is there and is not as it has to be.
    #[error("the consumer {name} differs from what callfold needs: {}; delete it with `nats consumer rm CALLS {name}` while no stage runs, it is created again", .differences.join("; "))]
    ConsumerDiffers {
        /// Its name.
        name: String,
        /// Each difference.
        differences: Vec<String>,
    },
    /// A key-value bucket.
    #[error("could not use the bucket {bucket}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A subscription.
    #[error("could not subscribe")]
    Subscribe(#[source] BoxError),
    /// Handing buffered messages over.
    #[error("could not hand messages over to the broker")]
    Flush(#[source] BoxError),
}

/// Publishing one event.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It cannot be encoded.
    #[error("could not encode the event")]
    Encode(#[source] EncodeError),
    /// It could not be given to the client.
    #[error("could not send to the broker")]
    Send(#[source] BoxError),
    /// No acknowledgement in time. The event may be recorded all the same; sending it again is harmless.
    #[error("the broker did not acknowledge in time")]
    TimedOut,
    /// The stream has reached its bound.
    #[error("the stream CALLS is full: raise CALLFOLD_STREAM_BYTES_MAX")]
    Full,
    /// The broker refused it.
    #[error("the broker refused the event")]
    Refused(#[source] BoxError),
}

impl PublishError {
    /// A label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            PublishError::Encode(_) => "encode",
            PublishError::Send(_) => "send",
            PublishError::TimedOut => "timed_out",
            PublishError::Full => "full",
            PublishError::Refused(_) => "refused",
        }
    }

    /// Whether trying again could help without a change of the event.
    pub fn is_transient(&self) -> bool {
        match self {
            PublishError::Encode(_) => false,
            PublishError::Send(_)
            | PublishError::TimedOut
            | PublishError::Full
            | PublishError::Refused(_) => true,
        }
    }

    /// The class for a `stage_failed` event.
    pub fn class(&self) -> FailureClass {
        match self {
            PublishError::Encode(_) => FailureClass::Internal,
            PublishError::TimedOut => FailureClass::Timeout,
            PublishError::Send(_) => FailureClass::Network,
            PublishError::Full | PublishError::Refused(_) => FailureClass::Unavailable,
        }
    }
}

/// Reading from the stream.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A single message.
    #[error("could not read from the stream")]
    Get(#[source] BoxError),
    /// The deletion of a message.
    #[error("could not delete from the stream")]
    Delete(#[source] BoxError),
    /// The stream's state.
    #[error("could not read the state of the stream")]
    State(#[source] BoxError),
    /// The stream is another one than when the process started.
    #[error("the stream CALLS was replaced while callfold was running: restart it")]
    Replaced,
    /// A key-value bucket.
    #[error("could not read or write the bucket {bucket}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

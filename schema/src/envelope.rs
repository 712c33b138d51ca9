//! What stands around a payload: subject and headers.

use crate::event::Event;
use crate::id::{CallSid, UnixMillis};
use crate::subject::{
    HEADER_CAUSE, HEADER_EXPECTED_LAST_SUBJECT_SEQUENCE, HEADER_KIND, HEADER_MSG_ID, HEADER_TIME,
    HEADER_TRACEPARENT, HEADER_VERSION, Key, Subject,
};

/// Everything about an event but its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Call, kind, lane and key.
    pub subject: Subject,
    /// The version the payload was written in.
    pub version: u16,
    /// When the fact was accepted.
    pub time: UnixMillis,
    /// The message id of the event that led to this one.
    pub cause: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A known event with its envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Subject and headers.
    pub envelope: Envelope,
    /// The payload, lifted to the newest version.
    pub event: Event,
}

/// An event about to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Subject and headers.
    pub envelope: Envelope,
    /// The payload.
    pub event: Event,
}

impl NewEvent {
    /// An event of `call_sid` under `key`, accepted at `time`, that nothing in the stream led to.
    pub fn new(call_sid: CallSid, key: Key, time: UnixMillis, event: impl Into<Event>) -> Self {
        let event = event.into();
        let subject = Subject::new(call_sid, event.kind(), key);
        let version = event.version();
        Self {
            envelope: Envelope {
                subject,
                version,
                time,
                cause: None,
                traceparent: None,
            },
            event,
        }
    }

    /// The same, led to by the event with this envelope: keeps its trace.
    #[must_use]
    pub fn caused_by(mut self, cause: &Envelope) -> Self {
        self.envelope.cause = Some(cause.subject.message_id());
        if self.envelope.traceparent.is_none() {
            self.envelope.traceparent.clone_from(&cause.traceparent);
        }
        self
    }
}

impl Envelope {
    /// The headers of this event, in the order in which they are sent.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (HEADER_KIND, self.subject.kind.token().to_owned()),
            (HEADER_VERSION, self.version.to_string()),
            (HEADER_TIME, self.time.rfc3339()),
            (HEADER_MSG_ID, self.subject.message_id()),
            (HEADER_EXPECTED_LAST_SUBJECT_SEQUENCE, "0".to_owned()),
        ];
        if let Some(cause) = &self.cause {
            headers.push((HEADER_CAUSE, cause.clone()));
        }
        if let Some(traceparent) = &self.traceparent {
            headers.push((HEADER_TRACEPARENT, traceparent.clone()));
        }
        headers
    }
}

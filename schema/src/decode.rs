//! Bytes ↔ events. Nothing here panics on what a stream may hold; what cannot be read is a value.

use serde::Serialize;

use crate::envelope::{Envelope, Record};
use crate::event::{
    CallEndedV1, CallErasedV1, CallStartedV1, EraseDoneV1, Event, LeadUpdatedV1, Payload,
    RecordingDownloadedV1, RecordingMissingV1, RecordingReadyV1, RecordingStartedV1, ReprocessRequestedV1,
    StageFailedV1, StageFailedV2, SummaryReadyV1, SummaryReadyV2, TranscriptReadyV1, TranscriptReadyV2,
};
use crate::id::{CallSid, Lane, Run, UnixMillis};
use crate::kind::EventKind;
use crate::subject::{
    HEADER_CAUSE, HEADER_KIND, HEADER_TIME, HEADER_TRACEPARENT, HEADER_VERSION, Key, RawSubject, Subject,
};
use crate::upcast::{stage_failed_v1_to_v2, summary_ready_v1_to_v2, transcript_ready_v1_to_v2};

/// The longest payload that is written or read, in bytes: `max_payload` of the broker.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why an event cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The serialiser refused it.
    #[error("could not encode the event")]
    Postcard(#[source] postcard::Error),
    /// Larger than [`PAYLOAD_BYTES_MAX`].
    #[error("the event has {bytes} bytes, {PAYLOAD_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Why an event cannot be read. The two first ones are not mistakes: a newer release wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A kind this release does not know.
    #[error("unknown kind {kind:?}: a newer release wrote it; upgrade this one")]
    UnknownKind {
        /// The subject's token.
        kind: String,
    },
    /// A version this release does not know.
    #[error("{kind} version {version} is newer than this release reads; upgrade it")]
    NewerVersion {
        /// The kind.
        kind: EventKind,
        /// The version of the payload.
        version: u16,
    },
    /// It does not have the form that its subject and headers promise.
    #[error("malformed event: {reason}")]
    Malformed {
        /// What is wrong, without a word of the content.
        reason: &'static str,
    },
}

impl Unreadable {
    /// Whether a newer release could read it, so that this one has to stop before it instead of passing over it.
    pub fn is_newer(&self) -> bool {
        match self {
            Unreadable::UnknownKind { .. } | Unreadable::NewerVersion { .. } => true,
            Unreadable::Malformed { .. } => false,
        }
    }
}

/// An event as it stands in the stream.
#[derive(Clone, Copy)]
pub struct RawEvent<'a> {
    /// The subject.
    pub subject: &'a str,
    /// Looks a header up by name.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The payload.
    pub payload: &'a [u8],
}

impl std::fmt::Debug for RawEvent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawEvent")
            .field("subject", &self.subject)
            .field("bytes", &self.payload.len())
            .finish()
    }
}

/// The payload bytes of one version of one kind.
pub fn encode<T: Serialize>(payload: &T) -> Result<Vec<u8>, EncodeError> {
    let bytes = postcard::to_stdvec(payload).map_err(EncodeError::Postcard)?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(EncodeError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Reads one version of one kind; bytes left over are an error.
pub fn decode_payload<T: Payload>(bytes: &[u8]) -> Result<T, Unreadable> {
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(Unreadable::Malformed {
            reason: "the payload is larger than the broker allows",
        });
    }
    let (payload, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_| Unreadable::Malformed {
        reason: "the payload does not decode",
    })?;
    if !rest.is_empty() {
        return Err(Unreadable::Malformed {
            reason: "bytes are left over behind the payload",
        });
    }
    Ok(payload)
}

/// Reads subject and headers.
pub fn decode_envelope(raw: &RawEvent<'_>) -> Result<Envelope, Unreadable> {
    let malformed = |reason| Unreadable::Malformed { reason };
    let tokens = RawSubject::split(raw.subject).ok_or(malformed(
        "the subject is not calls.<call_sid>.<kind>.<lane>.<key>",
    ))?;
    let call_sid =
        CallSid::parse(tokens.call_sid).map_err(|_| malformed("the subject's CallSid is not one"))?;
    let kind = EventKind::from_token(tokens.kind).ok_or_else(|| Unreadable::UnknownKind {
        kind: tokens.kind.to_owned(),
    })?;
    if let Some(header) = (raw.header)(HEADER_KIND)
        && header != tokens.kind
    {
        return Err(malformed("the header Callfold-Kind and the subject do not agree"));
    }
    let version: u16 = (raw.header)(HEADER_VERSION)
        .ok_or(malformed("the header Callfold-Version is missing"))?
        .parse()
        .map_err(|_| malformed("the header Callfold-Version is not a number"))?;
    if version == 0 {
        return Err(malformed("the header Callfold-Version is 0"));
    }
    // A newer version may have a newer key: do not judge its key.
    if version > newest_version(kind) {
        return Err(Unreadable::NewerVersion { kind, version });
    }
    let key = Key::parse(kind, tokens.key).ok_or(malformed("the key does not have the form of its kind"))?;
    let lane = Lane::from_token(tokens.lane).ok_or(malformed("the lane is neither new nor again"))?;
    if key.run.unwrap_or(Run::FIRST).lane() != lane {
        return Err(malformed("the lane and the run of the key do not agree"));
    }
    let time = (raw.header)(HEADER_TIME)
        .and_then(UnixMillis::parse_rfc3339)
        .ok_or(malformed("the header Callfold-Time is missing or not a moment"))?;
    Ok(Envelope {
        subject: Subject {
            call_sid,
            kind,
            lane,
            key,
        },
        version,
        time,
        cause: (raw.header)(HEADER_CAUSE).map(str::to_owned),
        traceparent: (raw.header)(HEADER_TRACEPARENT).map(str::to_owned),
    })
}

/// Reads a whole event.
pub fn decode(raw: &RawEvent<'_>) -> Result<Record, Unreadable> {
    let envelope = decode_envelope(raw)?;
    let event = decode_event(envelope.subject.kind, envelope.version, raw.payload)?;
    Ok(Record { envelope, event })
}

/// The newest version this release reads of a kind.
pub fn newest_version(kind: EventKind) -> u16 {
    match kind {
        EventKind::CallStarted => CallStartedV1::VERSION,
        EventKind::CallEnded => CallEndedV1::VERSION,
        EventKind::RecordingStarted => RecordingStartedV1::VERSION,
        EventKind::RecordingReady => RecordingReadyV1::VERSION,
        EventKind::RecordingMissing => RecordingMissingV1::VERSION,
        EventKind::RecordingDownloaded => RecordingDownloadedV1::VERSION,
        EventKind::TranscriptReady => TranscriptReadyV2::VERSION,
        EventKind::SummaryReady => SummaryReadyV2::VERSION,
        EventKind::StageFailed => StageFailedV2::VERSION,
        EventKind::ReprocessRequested => ReprocessRequestedV1::VERSION,
        EventKind::LeadUpdated => LeadUpdatedV1::VERSION,
        EventKind::CallErased => CallErasedV1::VERSION,
        EventKind::EraseDone => EraseDoneV1::VERSION,
    }
}

/// Reads a payload of any version and lifts it to the newest one.
///
/// One arm for each (kind, version). The arm of an old version decodes the old type and calls one function a step
/// (`stage_failed_v1_to_v2`), so that handlers and the fold know only the newest.
pub fn decode_event(kind: EventKind, version: u16, bytes: &[u8]) -> Result<Event, Unreadable> {
    match (kind, version) {
        (EventKind::CallStarted, 1) => decode_payload::<CallStartedV1>(bytes).map(Event::CallStarted),
        (EventKind::CallEnded, 1) => decode_payload::<CallEndedV1>(bytes).map(Event::CallEnded),
        (EventKind::RecordingStarted, 1) => {
            decode_payload::<RecordingStartedV1>(bytes).map(Event::RecordingStarted)
        }
        (EventKind::RecordingReady, 1) => {
            decode_payload::<RecordingReadyV1>(bytes).map(Event::RecordingReady)
        }
        (EventKind::RecordingMissing, 1) => {
            decode_payload::<RecordingMissingV1>(bytes).map(Event::RecordingMissing)
        }
        (EventKind::RecordingDownloaded, 1) => {
            decode_payload::<RecordingDownloadedV1>(bytes).map(Event::RecordingDownloaded)
        }
        (EventKind::TranscriptReady, 1) => decode_payload::<TranscriptReadyV1>(bytes)
            .map(transcript_ready_v1_to_v2)
            .map(Event::TranscriptReady),
        (EventKind::TranscriptReady, 2) => {
            decode_payload::<TranscriptReadyV2>(bytes).map(Event::TranscriptReady)
        }
        (EventKind::SummaryReady, 1) => decode_payload::<SummaryReadyV1>(bytes)
            .map(summary_ready_v1_to_v2)
            .map(Event::SummaryReady),
        (EventKind::SummaryReady, 2) => decode_payload::<SummaryReadyV2>(bytes).map(Event::SummaryReady),
        (EventKind::StageFailed, 1) => decode_payload::<StageFailedV1>(bytes)
            .map(stage_failed_v1_to_v2)
            .map(Event::StageFailed),
        (EventKind::StageFailed, 2) => decode_payload::<StageFailedV2>(bytes).map(Event::StageFailed),
        (EventKind::ReprocessRequested, 1) => {
            decode_payload::<ReprocessRequestedV1>(bytes).map(Event::ReprocessRequested)
        }
        (EventKind::LeadUpdated, 1) => decode_payload::<LeadUpdatedV1>(bytes).map(Event::LeadUpdated),
        (EventKind::CallErased, 1) => decode_payload::<CallErasedV1>(bytes).map(Event::CallErased),
        (EventKind::EraseDone, 1) => decode_payload::<EraseDoneV1>(bytes).map(Event::EraseDone),
        (_, 0) => Err(Unreadable::Malformed {
            reason: "there is no version 0",
        }),
        (kind, version) => Err(Unreadable::NewerVersion { kind, version }),
    }
}

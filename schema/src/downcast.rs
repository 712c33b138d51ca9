//! The newest versions become those that the release before this one wrote, for the time in which processes of both run on
//! one stream. What the older version cannot say is dropped.
//!
//! Only one release back: when a version 3 comes, the steps below go and those of 3 to 2 take their place.

use crate::decode::{EncodeError, encode};
use crate::event::{
    EngineFailureV1, EngineFailureV2, Event, FailureClassV1, FailureClassV2, Payload, SegmentV1, SegmentV2,
    StageFailedV1, StageFailedV2, SummaryReadyV1, SummaryReadyV2, TranscriptReadyV1, TranscriptReadyV2,
};

/// In which versions events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writing {
    /// The newest of each kind.
    #[default]
    Newest,
    /// Those that the release before this one wrote.
    Previous,
}

impl std::str::FromStr for Writing {
    type Err = UnknownWriting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "newest" => Ok(Writing::Newest),
            "previous" => Ok(Writing::Previous),
            _ => Err(UnknownWriting),
        }
    }
}

/// Not the name of a [`Writing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither newest nor previous")]
pub struct UnknownWriting;

/// A payload with its version, for the header `Callfold-Version`.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The version of the payload.
    pub version: u16,
    /// The payload.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoded")
            .field("version", &self.version)
            .field("bytes", &self.payload.len())
            .finish()
    }
}

impl Event {
    /// The payload and the version it is in.
    pub fn encode_as(&self, writing: Writing) -> Result<Encoded, EncodeError> {
        fn older<T: Payload>(payload: &T) -> Result<Encoded, EncodeError> {
            Ok(Encoded {
                version: T::VERSION,
                payload: encode(payload)?,
            })
        }
        match (writing, self) {
            (Writing::Previous, Event::TranscriptReady(event)) => older(&transcript_ready_v2_to_v1(event)),
            (Writing::Previous, Event::SummaryReady(event)) => older(&summary_ready_v2_to_v1(event)),
            (Writing::Previous, Event::StageFailed(event)) => older(&stage_failed_v2_to_v1(event)),
            // The same in both releases.
            (
                Writing::Previous,
                Event::CallStarted(_)
                | Event::CallEnded(_)
                | Event::RecordingStarted(_)
                | Event::RecordingReady(_)
                | Event::RecordingMissing(_)
                | Event::RecordingDownloaded(_)
                // New kinds: the release before knows none of them. They say what a person asked of this one.
                | Event::ReprocessRequested(_)
                | Event::LeadUpdated(_)
                | Event::CallErased(_)
                | Event::EraseDone(_),
            )
            | (Writing::Newest, _) => Ok(Encoded {
                version: self.version(),
                payload: self.encode()?,
            }),
        }
    }
}

/// The nearest class that version 1 had: an engine at rest is one that cannot be had, one that was overtaken did not
/// answer in time.
fn failure_class_v2_to_v1(new: FailureClassV2) -> FailureClassV1 {
    match new {
        FailureClassV2::NotYet => FailureClassV1::NotYet,
        FailureClassV2::Network => FailureClassV1::Network,
        FailureClassV2::Timeout | FailureClassV2::Overtaken => FailureClassV1::Timeout,
        FailureClassV2::RateLimited => FailureClassV1::RateLimited,
        FailureClassV2::Unavailable | FailureClassV2::Resting => FailureClassV1::Unavailable,
        FailureClassV2::Credentials => FailureClassV1::Credentials,
        FailureClassV2::NotFound => FailureClassV1::NotFound,
        FailureClassV2::Refused => FailureClassV1::Refused,
        FailureClassV2::NotAllowed => FailureClassV1::NotAllowed,
        FailureClassV2::Invalid => FailureClassV1::Invalid,
        FailureClassV2::Storage => FailureClassV1::Storage,
        FailureClassV2::WorkerLost => FailureClassV1::WorkerLost,
        FailureClassV2::Internal => FailureClassV1::Internal,
    }
}

fn stage_failed_v2_to_v1(new: &StageFailedV2) -> StageFailedV1 {
    StageFailedV1 {
        attempts_max: new.attempts_max,
        class: failure_class_v2_to_v1(new.class),
        text: new.text.clone(),
        next_attempt_at: new.next_attempt_at,
        delivery: new.delivery,
        elapsed_ms: new.elapsed_ms,
    }
}

fn segment_v2_to_v1(new: &SegmentV2) -> SegmentV1 {
    SegmentV1 {
        start_ms: new.start_ms,
        end_ms: new.end_ms,
        channel: new.channel,
        text: new.text.clone(),
        confidence: new.confidence,
        words: new.words.clone(),
    }
}

fn engine_failure_v2_to_v1(new: &EngineFailureV2) -> EngineFailureV1 {
    EngineFailureV1 {
        engine: new.engine.clone(),
        class: failure_class_v2_to_v1(new.class),
        text: new.text.clone(),
        elapsed_ms: new.elapsed_ms,
    }
}

fn transcript_ready_v2_to_v1(new: &TranscriptReadyV2) -> TranscriptReadyV1 {
    TranscriptReadyV1 {
        text: new.text.clone(),
        segments: new.segments.iter().map(segment_v2_to_v1).collect(),
        language: new.language.clone(),
        engine: new.engine.clone(),
        model: new.model.clone(),
        failed_engines: new.failed_engines.iter().map(engine_failure_v2_to_v1).collect(),
        audio_ms: new.audio_ms,
        elapsed_ms: new.elapsed_ms,
    }
}

fn summary_ready_v2_to_v1(new: &SummaryReadyV2) -> SummaryReadyV1 {
    SummaryReadyV1 {
        title: new.title.clone(),
        points: new.points.clone(),
        text: new.text.clone(),
        engine: new.engine.clone(),
        model: new.model.clone(),
        prompt_version: new.prompt_version,
        failed_engines: new.failed_engines.iter().map(engine_failure_v2_to_v1).collect(),
        tokens_in: new.tokens_in,
        tokens_out: new.tokens_out,
        elapsed_ms: new.elapsed_ms,
    }
}

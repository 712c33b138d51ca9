//! The events. One file a kind; every released version stays a type of its own.
//!
//! Postcard does not describe itself, so these types hold fields in fixed order and nothing whose form depends on
//! the format: no maps, no `usize`, no flattened, skipped, defaulted or untagged parts. A released struct never
//! changes; a change, a new enum variant too, is a new version.

mod call_ended;
mod call_erased;
mod call_started;
mod erase_done;
mod lead_updated;
mod recording_downloaded;
mod recording_missing;
mod recording_ready;
mod recording_started;
mod reprocess_requested;
mod speaker;
mod stage_failed;
mod summary_ready;
mod transcript_ready;
mod urgency;

pub use call_ended::CallEndedV1;
pub use call_erased::{CallErasedV1, ErasureReason};
pub use call_started::{CallStartedV1, CallerV1};
pub use erase_done::{EraseDoneV1, PositionRangeV1, TwilioErasure};
pub use lead_updated::{Disposition, LeadActionV1, LeadUpdatedV1};
pub use recording_downloaded::RecordingDownloadedV1;
pub use recording_missing::{MissingReason, RecordingMissingV1};
pub use recording_ready::RecordingReadyV1;
pub use recording_started::RecordingStartedV1;
pub use reprocess_requested::{ReprocessRequestedV1, RerunInputV1};
pub use speaker::Speaker;
pub use stage_failed::{FailureClassV1, FailureClassV2, StageFailedV1, StageFailedV2};
pub use summary_ready::{SummaryReadyV1, SummaryReadyV2};
pub use transcript_ready::{
    EngineFailureV1, EngineFailureV2, SegmentV1, SegmentV2, TranscriptReadyV1, TranscriptReadyV2, WordV1,
};
pub use urgency::Urgency;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::kind::EventKind;

/// The newest version of each kind: what handlers and the fold work with.
pub type CallStarted = CallStartedV1;
/// See [`CallStarted`].
pub type CallEnded = CallEndedV1;
/// See [`CallStarted`].
pub type RecordingStarted = RecordingStartedV1;
/// See [`CallStarted`].
pub type RecordingReady = RecordingReadyV1;
/// See [`CallStarted`].
pub type RecordingMissing = RecordingMissingV1;
/// See [`CallStarted`].
pub type RecordingDownloaded = RecordingDownloadedV1;
/// See [`CallStarted`].
pub type TranscriptReady = TranscriptReadyV2;
/// See [`CallStarted`].
pub type SummaryReady = SummaryReadyV2;
/// See [`CallStarted`].
pub type StageFailed = StageFailedV2;
/// See [`CallStarted`].
pub type ReprocessRequested = ReprocessRequestedV1;
/// See [`CallStarted`].
pub type LeadUpdated = LeadUpdatedV1;
/// See [`CallStarted`].
pub type CallErased = CallErasedV1;
/// See [`CallStarted`].
pub type EraseDone = EraseDoneV1;
/// See [`CallStarted`].
pub type RerunInput = RerunInputV1;
/// See [`CallStarted`].
pub type LeadAction = LeadActionV1;
/// See [`CallStarted`].
pub type PositionRange = PositionRangeV1;
/// See [`CallStarted`].
pub type Segment = SegmentV2;
/// See [`CallStarted`].
pub type Word = WordV1;
/// See [`CallStarted`].
pub type EngineFailure = EngineFailureV2;
/// See [`CallStarted`].
pub type FailureClass = FailureClassV2;
/// See [`CallStarted`].
pub type Caller = CallerV1;

/// A form as it was posted: names and values in their order, unknown ones included.
pub type RawForm = Vec<(String, String)>;

/// One version of the payload of one kind.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema {
    /// The kind it belongs to.
    const KIND: EventKind;
    /// Its version, from 1.
    const VERSION: u16;
}

macro_rules! payload {
    ($($type:ty => $kind:ident v $version:literal),+ $(,)?) => {
        $(impl Payload for $type {
            const KIND: EventKind = EventKind::$kind;
            const VERSION: u16 = $version;
        })+
    };
}

payload! {
    CallStartedV1 => CallStarted v 1,
    CallEndedV1 => CallEnded v 1,
    RecordingStartedV1 => RecordingStarted v 1,
    RecordingReadyV1 => RecordingReady v 1,
    RecordingMissingV1 => RecordingMissing v 1,
    RecordingDownloadedV1 => RecordingDownloaded v 1,
    TranscriptReadyV1 => TranscriptReady v 1,
    SummaryReadyV1 => SummaryReady v 1,
    StageFailedV1 => StageFailed v 1,
    TranscriptReadyV2 => TranscriptReady v 2,
    SummaryReadyV2 => SummaryReady v 2,
    StageFailedV2 => StageFailed v 2,
    ReprocessRequestedV1 => ReprocessRequested v 1,
    LeadUpdatedV1 => LeadUpdated v 1,
    CallErasedV1 => CallErased v 1,
    EraseDoneV1 => EraseDone v 1,
}

macro_rules! events {
    ($($kind:ident),+ $(,)?) => {
        /// A known event in the newest version of its kind.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(tag = "kind", content = "data", rename_all = "snake_case")]
        pub enum Event { $(
            #[doc = concat!("See [`", stringify!($kind), "`].")]
            $kind($kind)
        ),+ }

        impl Event {
            /// The kind.
            pub fn kind(&self) -> EventKind {
                match self { $(Event::$kind(_) => EventKind::$kind),+ }
            }

            /// The newest version of the kind, which is the form this type has.
            pub fn version(&self) -> u16 {
                match self { $(Event::$kind(_) => <$kind as Payload>::VERSION),+ }
            }

            /// The payload bytes of the newest version. What is sent is made by [`Event::encode_as`].
            pub fn encode(&self) -> Result<Vec<u8>, crate::decode::EncodeError> {
                match self { $(Event::$kind(event) => crate::decode::encode(event)),+ }
            }
        }

        $(impl From<$kind> for Event {
            fn from(event: $kind) -> Self {
                Event::$kind(event)
            }
        })+
    };
}

events! {
    CallStarted, CallEnded, RecordingStarted, RecordingReady, RecordingMissing, RecordingDownloaded,
    TranscriptReady, SummaryReady, StageFailed, ReprocessRequested, LeadUpdated, CallErased, EraseDone,
}

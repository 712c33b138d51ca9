//! The kinds of events, and the subject tokens they travel under.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $token:literal),+ $(,)?) => {
        /// What kind of fact an event is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum EventKind { $($(#[$doc])* $variant),+ }

        impl EventKind {
            /// Every kind this release knows.
            pub const ALL: &[EventKind] = &[$(EventKind::$variant),+];

            /// The token in subjects and in the header `Callfold-Kind`.
            pub const fn token(self) -> &'static str {
                match self { $(EventKind::$variant => $token),+ }
            }
        }
    };
}

kinds! {
    /// A call came in. Since 0.1.
    CallStarted = "call_started",
    /// The call is over. Since 0.1.
    CallEnded = "call_ended",
    /// The caller has begun to speak. Since 0.1.
    RecordingStarted = "recording_started",
    /// A recording can be fetched. Since 0.1.
    RecordingReady = "recording_ready",
    /// There is no recording and there will be none. Since 0.1.
    RecordingMissing = "recording_missing",
    /// The recording is in our blob store. Since 0.1.
    RecordingDownloaded = "recording_downloaded",
    /// Speech became text. Since 0.1.
    TranscriptReady = "transcript_ready",
    /// Text became a headline and points. Since 0.1.
    SummaryReady = "summary_ready",
    /// One attempt of a stage failed. Since 0.1.
    StageFailed = "stage_failed",
    /// Somebody asked for a re-run. Since 0.2.
    ReprocessRequested = "reprocess_requested",
    /// A person did something with the lead. Since 0.2.
    LeadUpdated = "lead_updated",
    /// The call is to be forgotten. Since 0.2.
    CallErased = "call_erased",
    /// Nothing is left of an erased call. Since 0.2.
    EraseDone = "erase_done",
}

impl EventKind {
    /// The kind of a subject token; `None` for one this release does not know.
    pub fn from_token(token: &str) -> Option<Self> {
        EventKind::ALL.iter().copied().find(|kind| kind.token() == token)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// A step of the work on a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Media → blob store.
    Download,
    /// Audio → text.
    Transcribe,
    /// Text → headline and points.
    Summarize,
}

impl Stage {
    /// The stages in the order in which they work.
    pub const ALL: [Stage; 3] = [Stage::Download, Stage::Transcribe, Stage::Summarize];

    /// The name in keys and in JSON.
    pub const fn token(self) -> &'static str {
        match self {
            Stage::Download => "download",
            Stage::Transcribe => "transcribe",
            Stage::Summarize => "summarize",
        }
    }

    /// The stage of a key's part.
    pub fn from_token(token: &str) -> Option<Self> {
        Stage::ALL.into_iter().find(|stage| stage.token() == token)
    }

    /// The event that gives this stage its work.
    pub const fn input(self) -> EventKind {
        match self {
            Stage::Download => EventKind::RecordingReady,
            Stage::Transcribe => EventKind::RecordingDownloaded,
            Stage::Summarize => EventKind::TranscriptReady,
        }
    }

    /// The event that says this stage did its work.
    pub const fn output(self) -> EventKind {
        match self {
            Stage::Download => EventKind::RecordingDownloaded,
            Stage::Transcribe => EventKind::TranscriptReady,
            Stage::Summarize => EventKind::SummaryReady,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

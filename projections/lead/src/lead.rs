//! The row: a lead as it is stored, answered by the API and shown.
//!
//! What is not known is `null`, or an empty list; only inside a stage ([`StageView`]) what does not apply is left out.

use std::fmt;

use callfold_schema::event::{Disposition, FailureClass, MissingReason, RerunInput, Speaker, Urgency};
use callfold_schema::{CallSid, PhoneNumber, RecordingSid, Run, Stage, UnixMillis};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A moment that is RFC 3339 text in JSON: `2026-11-22T10:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("format" = "date-time"))]
pub struct Moment(pub UnixMillis);

impl From<UnixMillis> for Moment {
    fn from(moment: UnixMillis) -> Self {
        Self(moment)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        UnixMillis::parse_rfc3339(&text)
            .map(Moment)
            .ok_or_else(|| serde::de::Error::custom("not a moment in the form of RFC 3339"))
    }
}

macro_rules! tokens {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $token:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The name in JSON and in the database.
            pub const fn token(self) -> &'static str {
                match self { $($name::$variant => $token),+ }
            }

            /// The value of a name.
            pub fn from_token(token: &str) -> Option<Self> {
                $name::ALL.iter().copied().find(|value| value.token() == token)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.token())
            }
        }
    };
}

tokens! {
    /// How far a lead is.
    Status {
        /// The call came in; nothing is recorded yet.
        New = "new",
        /// The caller speaks.
        Recording = "recording",
        /// The recording can be fetched.
        Recorded = "recorded",
        /// The recording is ours.
        Downloaded = "downloaded",
        /// There is a transcript.
        Transcribed = "transcribed",
        /// There is a summary. An end.
        Processed = "processed",
        /// Nothing was said, or nothing recorded. An end, unless a recording arrives after all.
        NoMessage = "no_message",
        /// A stage gave up. An end, until it is run again.
        Failed = "failed",
    }
}

impl Status {
    /// Whether nothing more is going to happen by itself.
    pub fn is_end(self) -> bool {
        matches!(self, Status::Processed | Status::NoMessage | Status::Failed)
    }
}

tokens! {
    /// How a stage stands.
    StageState {
        /// Not begun, at work for the first time, or waiting for what it needs.
        Waiting = "waiting",
        /// An attempt failed, there will be another one.
        Retrying = "retrying",
        /// It did its work.
        Done = "done",
        /// The last attempt failed.
        Failed = "failed",
        /// It has nothing to do: no recording, no speech, or an earlier stage failed.
        Skipped = "skipped",
    }
}

tokens! {
    /// Why there is no message.
    NoMessageReason {
        /// Twilio has no file and never will.
        Absent = "absent",
        /// The recording failed at Twilio.
        Failed = "failed",
        /// The caller hung up before a recording began.
        NeverLeft = "never_left",
        /// Nothing was heard of a recording in time.
        DeadlinePassed = "deadline_passed",
        /// There is a recording and no speech in it.
        Silent = "silent",
        /// The number takes no messages.
        NotRecorded = "not_recorded",
    }
}

impl From<MissingReason> for NoMessageReason {
    fn from(reason: MissingReason) -> Self {
        match reason {
            MissingReason::Absent => Self::Absent,
            MissingReason::Failed => Self::Failed,
            MissingReason::NeverLeft => Self::NeverLeft,
            MissingReason::DeadlinePassed => Self::DeadlinePassed,
        }
    }
}

tokens! {
    /// What is known of a recording.
    RecordingState {
        /// It has begun.
        Recording = "recording",
        /// Its media can be fetched.
        Ready = "ready",
        /// There is none.
        Missing = "missing",
    }
}

tokens! {
    /// How a re-run stands.
    RerunState {
        /// At work.
        Running = "running",
        /// A stage of it gave up: what was shown stays.
        Failed = "failed",
        /// Complete, and held for comparison until a person adopts it.
        Held = "held",
        /// Complete: shown, or another one was chosen or came after it.
        Done = "done",
    }
}

/// One stage. What does not apply is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageView {
    /// How it stands.
    pub state: StageState,
    /// The attempt that was made last, from 1; for a stage that is done, the one that succeeded, if it was not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How many there will be at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// The class of the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// The last failure in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Moment>,
    /// Since when it stands so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// How long the attempt that succeeded worked, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
}

impl StageView {
    /// A stage of which only the state is known.
    pub fn bare(state: StageState) -> Self {
        Self {
            state,
            attempt: None,
            attempts_max: None,
            class: None,
            text: None,
            next_attempt_at: None,
            since: None,
            elapsed_ms: None,
        }
    }
}

/// The three stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stages {
    /// Media → blob store.
    pub download: StageView,
    /// Audio → text.
    pub transcribe: StageView,
    /// Text → headline and points.
    pub summarize: StageView,
}

impl Stages {
    /// All three in the same bare state.
    pub fn all(state: StageState) -> Self {
        Self {
            download: StageView::bare(state),
            transcribe: StageView::bare(state),
            summarize: StageView::bare(state),
        }
    }

    /// One of them.
    pub fn get(&self, stage: Stage) -> &StageView {
        match stage {
            Stage::Download => &self.download,
            Stage::Transcribe => &self.transcribe,
            Stage::Summarize => &self.summarize,
        }
    }

    /// The first stage that is neither done nor skipped: the one at work, waiting or given up.
    pub fn current(&self) -> Option<(Stage, &StageView)> {
        Stage::ALL
            .into_iter()
            .map(|stage| (stage, self.get(stage)))
            .find(|(_, view)| !matches!(view.state, StageState::Done | StageState::Skipped))
    }
}

/// The telephone's side of the call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallInfo {
    /// Twilio's call status: `in-progress` until the call is known to be over; `null` for a call never heard of.
    pub status: Option<String>,
    /// Length in seconds, where Twilio said it.
    pub duration_s: Option<u32>,
    /// When it ended by Twilio's clock, else when we heard of it.
    pub ended_at: Option<Moment>,
    /// `inbound`, …
    pub direction: Option<String>,
}

/// What Twilio knows of the caller besides the number.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallerInfo {
    /// Caller name look-up.
    pub name: Option<String>,
    /// City of the number.
    pub city: Option<String>,
    /// State or region of the number.
    pub state: Option<String>,
    /// Postal code of the number.
    pub zip: Option<String>,
    /// ISO country code of the number.
    pub country: Option<String>,
    /// The number the call was forwarded from.
    pub forwarded_from: Option<PhoneNumber>,
    /// SHAKEN/STIR verdict.
    pub stir_verdict: Option<String>,
}

impl fmt::Debug for CallerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerInfo").finish_non_exhaustive()
    }
}

/// One recording of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeadRecording {
    /// The recording.
    pub recording_sid: RecordingSid,
    /// What is known of it.
    pub state: RecordingState,
    /// When it began by Twilio's clock.
    pub started_at: Option<Moment>,
    /// Length in seconds: Twilio's, else the measured one, rounded.
    pub duration_s: Option<u32>,
    /// Measured length in milliseconds.
    pub duration_ms: Option<u64>,
    /// Channels in the file, else as Twilio said.
    pub channels: Option<u8>,
    /// `RecordVerb`, …
    pub source: Option<String>,
    /// Size of the file in bytes.
    pub bytes: Option<u64>,
    /// `audio/x-wav`, `audio/mpeg`.
    pub content_type: Option<String>,
    /// Where the file is in the blob store.
    pub blob_key: Option<String>,
    /// Why there is none.
    pub missing: Option<NoMessage>,
    /// Its own stages.
    pub stages: Stages,
    /// The runs whose results are shown.
    #[serde(default)]
    pub runs: OutputRuns,
    /// The revision in which a person corrected its transcript; `null` while the engine's text stands.
    #[serde(default)]
    pub corrected: Option<u64>,
}

/// The run that each result of a recording comes from; `null` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OutputRuns {
    /// The file.
    pub download: Option<Run>,
    /// The transcript.
    pub transcribe: Option<Run>,
    /// The summary.
    pub summarize: Option<Run>,
}

/// Why there is no message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoMessage {
    /// Which way.
    pub reason: NoMessageReason,
    /// Twilio's error number, where it sent one.
    pub error_code: Option<u32>,
}

/// A piece of speech between two pauses.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeadSegment {
    /// The recording it was heard in.
    pub recording_sid: RecordingSid,
    /// From the start of the recording, in milliseconds.
    pub start_ms: u64,
    /// From the start of the recording, in milliseconds.
    pub end_ms: u64,
    /// The channel, from 0.
    pub channel: u8,
    /// Who said it; known for recordings of two channels only.
    pub speaker: Option<Speaker>,
    /// What was said.
    pub text: String,
    /// 0 to 1, where the engine says it.
    pub confidence: Option<f32>,
}

impl fmt::Debug for LeadSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "LeadSegment({} {}..{} ms)",
            self.recording_sid, self.start_ms, self.end_ms
        )
    }
}

/// Who made what is shown: `engine`, or `engine:model`; several, where recordings differ, joined with `, `.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Engines {
    /// The transcript.
    pub transcribe: Option<String>,
    /// The summary.
    pub summarize: Option<String>,
}

/// An engine that gave no answer where another one did: it failed, was resting, or was overtaken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedEngine {
    /// The recording.
    pub recording_sid: RecordingSid,
    /// In which stage.
    pub stage: Stage,
    /// The engine.
    pub engine: String,
    /// Its model; empty where it is not known.
    #[serde(default)]
    pub model: String,
    /// Why there was no answer.
    pub class: FailureClass,
    /// The reason in words.
    pub text: String,
    /// How long it was tried, in milliseconds; 0 for one that was not asked.
    pub elapsed_ms: u64,
}

/// A re-run in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeadRun {
    /// Its number.
    pub run: Run,
    /// How it stands.
    pub state: RerunState,
    /// The first stage that worked again.
    pub from: Option<Stage>,
    /// The campaign it is a part of.
    pub campaign: Option<String>,
    /// Whether it is held for comparison when it is complete.
    pub hold: bool,
    /// Who made its transcript: `engine`, or `engine:model`.
    pub transcribe: Option<String>,
    /// Who made its summary.
    pub summarize: Option<String>,
}

/// A re-run newer than what is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rerun {
    /// Its number.
    pub run: Run,
    /// How it stands.
    pub state: RerunState,
    /// Its stages, of the least advanced recording; the ones before its first are `skipped`.
    pub stages: Stages,
}

/// A lead: the card of one call.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lead {
    /// The call.
    pub call_sid: CallSid,
    /// The caller: E.164, else as it was sent; empty for a call of which only a recording was heard.
    pub phone: PhoneNumber,
    /// Our number; empty like `phone`.
    pub to: PhoneNumber,
    /// How far it is.
    pub status: Status,
    /// When the first event of the call was accepted.
    pub created_at: Moment,
    /// When the last one was.
    pub updated_at: Moment,
    /// The telephone's side.
    pub call: CallInfo,
    /// The caller's details.
    pub caller: CallerInfo,
    /// In the order of their start.
    pub recordings: Vec<LeadRecording>,
    /// The texts of the recordings in their order, a line feed between them; `null` before the first, empty when
    /// nothing was said.
    pub transcript: Option<String>,
    /// The same by time.
    pub segments: Vec<LeadSegment>,
    /// BCP 47 language of the transcript.
    pub language: Option<String>,
    /// The summaries of the recordings in their order, a line feed between them.
    pub summary: Option<String>,
    /// The headline: the first recording's.
    pub summary_title: Option<String>,
    /// The points of all recordings.
    pub summary_points: Vec<String>,
    /// The name the caller said; of several recordings, the first that has one (so with the three below).
    pub caller_name: Option<String>,
    /// The number the caller said to call back at, as it is dialled: digits, after a `+` where that was said.
    pub callback_number: Option<PhoneNumber>,
    /// What it is about, in a few words.
    pub topic: Option<String>,
    /// How soon the caller needs an answer.
    pub urgency: Option<Urgency>,
    /// Who made them.
    pub engines: Engines,
    /// Who gave no answer, recording by recording, in the order in which they were begun. Rows of the first fold, which are
    /// read until they are rebuilt, do not have it.
    #[serde(default)]
    pub failed_engines: Vec<FailedEngine>,
    /// The run that is shown.
    pub run: Run,
    /// A newer one that is not complete, or held for comparison.
    pub rerun: Option<Rerun>,
    /// Every re-run, the oldest first.
    #[serde(default)]
    pub runs: Vec<LeadRun>,
    /// The run a person chose to be shown; `null` while nobody chose.
    #[serde(default)]
    pub adopted: Option<Run>,
    /// The stages of the recording that decides the status.
    pub stages: Stages,
    /// Why there is no message, when `status` is `no_message`.
    pub missing: Option<NoMessage>,
    /// What a person made of it.
    pub disposition: Disposition,
    /// Whether a person looked at it.
    #[serde(default)]
    pub seen: bool,
    /// What people noted.
    #[serde(default)]
    pub note: Option<String>,
    /// Who looks after it.
    #[serde(default)]
    pub assignee: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How often a person changed it: the number of the last change.
    pub revision: u64,
    /// The position of its last event. Bookkeeping: another one after an import, and no part of [`Lead::hash`].
    pub position: u64,
}

// Numbers, names and texts stay out of logs.
impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead")
            .field("call_sid", &self.call_sid)
            .field("status", &self.status)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// What two rows have in common when nothing but their positions differs: the first 16 bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowHash(pub [u8; 16]);

impl Lead {
    /// The JSON of the row with `position` 0, and its hash. One pass for both: this is what a database keeps, with the
    /// position in a column of its own.
    pub fn to_row(&self) -> Result<(String, RowHash), serde_json::Error> {
        let row = if self.position == 0 {
            serde_json::to_string(self)?
        } else {
            serde_json::to_string(&Lead {
                position: 0,
                ..self.clone()
            })?
        };
        let digest = Sha256::digest(row.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        Ok((row, RowHash(hash)))
    }

    /// Reads the JSON of [`Lead::to_row`].
    pub fn from_row(row: &str, position: u64) -> Result<Self, serde_json::Error> {
        let lead: Lead = serde_json::from_str(row)?;
        Ok(Lead { position, ..lead })
    }

    /// The hash of everything but the position.
    pub fn hash(&self) -> Result<RowHash, serde_json::Error> {
        self.to_row().map(|(_, hash)| hash)
    }

    /// What a re-run from this stage on takes for each recording; those without anything to begin with are left out.
    pub fn rerun_inputs(&self, from: Stage) -> Vec<RerunInput> {
        let input = |recording: &LeadRecording| {
            let (run, corrected) = match from {
                Stage::Download => (
                    (recording.state == RecordingState::Ready).then_some(Run::FIRST)?,
                    None,
                ),
                Stage::Transcribe => (recording.runs.download?, None),
                Stage::Summarize => (recording.runs.transcribe?, recording.corrected),
            };
            Some(RerunInput {
                recording_sid: recording.recording_sid.clone(),
                run,
                corrected,
            })
        };
        self.recordings.iter().filter_map(input).collect()
    }

    /// One of the recordings.
    pub fn recording(&self, recording: &RecordingSid) -> Option<&LeadRecording> {
        self.recordings
            .iter()
            .find(|found| &found.recording_sid == recording)
    }
}

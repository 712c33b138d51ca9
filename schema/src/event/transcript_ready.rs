//! Speech became text.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FailureClassV1, FailureClassV2, Speaker};

/// One word with its times.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WordV1 {
    /// From the start of the recording, in milliseconds.
    pub start_ms: u64,
    /// From the start of the recording, in milliseconds.
    pub end_ms: u64,
    /// The word.
    pub text: String,
    /// 0 to 1, where the engine says it.
    pub confidence: Option<f32>,
}

/// A piece of speech between two pauses.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentV1 {
    /// From the start of the recording, in milliseconds.
    pub start_ms: u64,
    /// From the start of the recording, in milliseconds.
    pub end_ms: u64,
    /// The channel it was heard on, from 0.
    pub channel: u8,
    /// What was said.
    pub text: String,
    /// 0 to 1, where the engine says it.
    pub confidence: Option<f32>,
    /// Word times, where the engine gives them.
    pub words: Vec<WordV1>,
}

/// A piece of speech between two pauses, as version 2 tells it.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentV2 {
    /// From the start of the recording, in milliseconds.
    pub start_ms: u64,
    /// From the start of the recording, in milliseconds.
    pub end_ms: u64,
    /// The channel it was heard on, from 0.
    pub channel: u8,
    /// Who said it; known for recordings of two channels only.
    pub speaker: Option<Speaker>,
    /// What was said.
    pub text: String,
    /// 0 to 1, where the engine says it.
    pub confidence: Option<f32>,
    /// Word times, where the engine gives them.
    pub words: Vec<WordV1>,
}

/// An engine that was tried first and did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFailureV1 {
    /// `google`, `whisper`, `openai`.
    pub engine: String,
    /// The class of its failure.
    pub class: FailureClassV1,
    /// What it said, without personal data.
    pub text: String,
    /// How long it was tried, in milliseconds.
    pub elapsed_ms: u64,
}

/// An engine that gave no answer: it failed, was resting, or another one answered before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFailureV2 {
    /// `google`, `whisper`, `openai`.
    pub engine: String,
    /// Its model; empty where it is not known.
    pub model: String,
    /// Why there was no answer.
    pub class: FailureClassV2,
    /// The reason in words, without personal data.
    pub text: String,
    /// How long it was tried, in milliseconds; 0 for one that was not asked.
    pub elapsed_ms: u64,
}

/// `transcript_ready`, version 1. The recording and the run stand in the key. An empty text means: no speech.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptReadyV1 {
    /// The whole text.
    pub text: String,
    /// The text by time; times do not overlap within a channel.
    pub segments: Vec<SegmentV1>,
    /// BCP 47 language of the text.
    pub language: String,
    /// The engine that answered.
    pub engine: String,
    /// Its model.
    pub model: String,
    /// Engines that were tried before, in their order.
    pub failed_engines: Vec<EngineFailureV1>,
    /// Length of the audio in milliseconds.
    pub audio_ms: u64,
    /// How long the stage worked, in milliseconds.
    pub elapsed_ms: u64,
}

/// `transcript_ready`, version 2. The recording and the run stand in the key. An empty text means: no speech.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptReadyV2 {
    /// The whole text.
    pub text: String,
    /// The text by time; times do not overlap within a channel.
    pub segments: Vec<SegmentV2>,
    /// BCP 47 language of the text.
    pub language: String,
    /// The engine that answered; empty when there was nothing to hear and none was asked.
    pub engine: String,
    /// Its model.
    pub model: String,
    /// Engines that gave no answer, in the order in which they were begun.
    pub failed_engines: Vec<EngineFailureV2>,
    /// Pieces the audio was cut into for the engine that answered: 1 is the whole of it, 0 that nothing was there to hear
    /// and no engine was asked.
    pub pieces: u32,
    /// Length of the audio in milliseconds.
    pub audio_ms: u64,
    /// How long the stage worked, in milliseconds.
    pub elapsed_ms: u64,
}

// Transcripts are never logged, by accident neither.
impl fmt::Debug for TranscriptReadyV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscriptReadyV1")
            .field("chars", &self.text.chars().count())
            .field("segments", &self.segments.len())
            .field("engine", &self.engine)
            .field("model", &self.model)
            .field("audio_ms", &self.audio_ms)
            .field("elapsed_ms", &self.elapsed_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TranscriptReadyV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscriptReadyV2")
            .field("chars", &self.text.chars().count())
            .field("segments", &self.segments.len())
            .field("engine", &self.engine)
            .field("model", &self.model)
            .field("pieces", &self.pieces)
            .field("audio_ms", &self.audio_ms)
            .field("elapsed_ms", &self.elapsed_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SegmentV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SegmentV1({}..{} ms, channel {})",
            self.start_ms, self.end_ms, self.channel
        )
    }
}

impl fmt::Debug for SegmentV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SegmentV2({}..{} ms, channel {})",
            self.start_ms, self.end_ms, self.channel
        )
    }
}

impl fmt::Debug for WordV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WordV1({}..{} ms)", self.start_ms, self.end_ms)
    }
}

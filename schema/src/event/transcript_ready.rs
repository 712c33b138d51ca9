//! Speech became text.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FailureClass;

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

/// An engine that was tried first and did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFailureV1 {
    /// `google`, `whisper`, `openai`.
    pub engine: String,
    /// The class of its failure.
    pub class: FailureClass,
    /// What it said, without personal data.
    pub text: String,
    /// How long it was tried, in milliseconds.
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

impl fmt::Debug for SegmentV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SegmentV1({}..{} ms, channel {})",
            self.start_ms, self.end_ms, self.channel
        )
    }
}

impl fmt::Debug for WordV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WordV1({}..{} ms)", self.start_ms, self.end_ms)
    }
}

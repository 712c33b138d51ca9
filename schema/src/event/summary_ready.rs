//! Text became a headline and points.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EngineFailureV1, EngineFailureV2, Urgency};

/// `summary_ready`, version 1. The recording and the run stand in the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryReadyV1 {
    /// One line.
    pub title: String,
    /// The points below it; 2 where the transcript has that much to say.
    pub points: Vec<String>,
    /// Title and points as one text.
    pub text: String,
    /// `openai` or `extractive`.
    pub engine: String,
    /// The model; empty for the extractive engine.
    pub model: String,
    /// Which wording of the prompt (or of the extractive rules) was in use.
    pub prompt_version: u32,
    /// Engines that were tried before, in their order.
    pub failed_engines: Vec<EngineFailureV1>,
    /// Tokens read by the model, where it says so.
    pub tokens_in: Option<u32>,
    /// Tokens written by the model, where it says so.
    pub tokens_out: Option<u32>,
    /// How long the stage worked, in milliseconds.
    pub elapsed_ms: u64,
}

/// `summary_ready`, version 2. The recording and the run stand in the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryReadyV2 {
    /// One line.
    pub title: String,
    /// The points below it; 2 where the transcript has that much to say.
    pub points: Vec<String>,
    /// Title and points as one text.
    pub text: String,
    /// The name the caller gave, where it is in the transcript.
    pub caller_name: Option<String>,
    /// The number the caller wants to be called at, where one was said: as it is dialled, digits, after a `+` where that
    /// was said.
    pub callback_number: Option<String>,
    /// What it is about, in a few words, where the transcript says it.
    pub topic: Option<String>,
    /// How soon the caller needs an answer, where the transcript says it.
    pub urgency: Option<Urgency>,
    /// `openai` or `extractive`.
    pub engine: String,
    /// The model; empty for the extractive engine.
    pub model: String,
    /// Which wording of the prompt (or of the extractive rules) was in use.
    pub prompt_version: u32,
    /// Engines that gave no answer, in the order in which they were begun.
    pub failed_engines: Vec<EngineFailureV2>,
    /// Parts the transcript was summarised in; 1 is the whole of it.
    pub parts: u32,
    /// Questions to the model, repairs and repetitions included; 0 for a summary made offline, and where nobody counted
    /// (version 1).
    pub tries: u32,
    /// Tokens read by the model, where it says so.
    pub tokens_in: Option<u32>,
    /// Tokens written by the model, where it says so.
    pub tokens_out: Option<u32>,
    /// How long the stage worked, in milliseconds.
    pub elapsed_ms: u64,
}

// Summaries are never logged, by accident neither.
impl fmt::Debug for SummaryReadyV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SummaryReadyV1")
            .field("points", &self.points.len())
            .field("engine", &self.engine)
            .field("model", &self.model)
            .field("prompt_version", &self.prompt_version)
            .field("elapsed_ms", &self.elapsed_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SummaryReadyV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SummaryReadyV2")
            .field("points", &self.points.len())
            .field("urgency", &self.urgency)
            .field("engine", &self.engine)
            .field("model", &self.model)
            .field("prompt_version", &self.prompt_version)
            .field("parts", &self.parts)
            .field("tries", &self.tries)
            .field("elapsed_ms", &self.elapsed_ms)
            .finish_non_exhaustive()
    }
}

//! Somebody asked for a re-run of the stages from one of them on.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{RecordingSid, Run};
use crate::kind::Stage;

/// What a re-run takes for one recording: which run's result is the input of the first stage that works again. It is
/// named by the one who asks, who has just seen the lead, so that it is found by exact subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RerunInput")]
pub struct RerunInputV1 {
    /// The recording.
    pub recording_sid: RecordingSid,
    /// The run whose result is the input; 0 where the first stage is `download`.
    pub run: Run,
    /// The revision that holds a person's text of it, which stands in place of that run's transcript; only where the first
    /// stage is `summarize`.
    pub corrected: Option<u64>,
}

/// `reprocess_requested`, version 1. Travels in the lane `again`; its key is the run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReprocessRequestedV1 {
    /// The number of the new run, from 1.
    pub run: Run,
    /// The first stage that works again; the later ones follow.
    pub from: Stage,
    /// Who asked: the name of an account or a token, never a caller's.
    pub by: String,
    /// Why, in words of the one who asked.
    pub why: Option<String>,
    /// The engine of the first stage that has engines, by its name (`whisper`); `None`: as the settings say.
    pub engine: Option<String>,
    /// The model of that engine; `None`: as the settings say.
    pub model: Option<String>,
    /// What the model that summarises is told besides; data, no instruction to this program.
    pub prompt: Option<String>,
    /// The campaign this is a part of.
    pub campaign: Option<String>,
    /// Whether the result is held for comparison: shown only once a person adopts it.
    pub hold: bool,
    /// What is run again, each recording once.
    pub inputs: Vec<RerunInputV1>,
}

impl ReprocessRequestedV1 {
    /// The stage that engine and model are meant for: the first one that works again and has engines.
    pub fn engine_stage(&self) -> Stage {
        match self.from {
            Stage::Download | Stage::Transcribe => Stage::Transcribe,
            Stage::Summarize => Stage::Summarize,
        }
    }

    /// The engine and the model that a stage is to work with, where they were asked for.
    pub fn wish(&self, stage: Stage) -> (Option<&str>, Option<&str>) {
        if stage == self.engine_stage() {
            (self.engine.as_deref(), self.model.as_deref())
        } else {
            (None, None)
        }
    }
}

// The words of people stay out of logs.
impl fmt::Debug for ReprocessRequestedV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReprocessRequestedV1")
            .field("run", &self.run)
            .field("from", &self.from)
            .field("engine", &self.engine)
            .field("model", &self.model)
            .field("campaign", &self.campaign)
            .field("hold", &self.hold)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

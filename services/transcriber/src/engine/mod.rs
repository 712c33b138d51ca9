//! Speech engines: the one trait they all implement. The chain that asks them is in [`crate::chain`].
//!
//! To add one: a file beside this one with a type that implements [`Engine`], its settings in `config.rs`,
//! and its place in the list that `config.rs` builds. What a provider sends and calls its errors stays in
//! that file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callfold_schema::Lane;
use callfold_schema::event::FailureClass;
use tokio_util::sync::CancellationToken;

use crate::audio::Audio16k;

/// Longest name of a model that is sent to a provider.
const MODEL_NAME_BYTES_MAX: usize = 128;

mod abort;
pub mod google;
pub mod openai;
pub mod whisper;

/// What an engine is asked. Cheap to clone: each engine of a chain gets its own.
#[derive(Clone)]
pub struct Request {
    /// The recording.
    pub audio: Arc<Audio16k>,
    /// The language spoken, a BCP 47 tag such as `he-IL`; `None`: the engine's own.
    pub language: Option<String>,
    /// Names and words to expect, for engines that can be told.
    pub phrases: Arc<[String]>,
    /// The model that a re-run was asked for with, one that [`Engine::may_have`]; `None`: the engine's own.
    pub model: Option<String>,
    /// Re-runs give way to new calls where engines have to wait for their turn.
    pub lane: Lane,
    /// Cancelled when the answer is no longer wanted.
    pub cancel: CancellationToken,
}

impl Request {
    /// A new call's recording, with nothing known about it.
    pub fn new(audio: Arc<Audio16k>) -> Self {
        Self {
            audio,
            language: None,
            phrases: Arc::default(),
            model: None,
            lane: Lane::New,
            cancel: CancellationToken::new(),
        }
    }
}

// Phrases are names of customers at times.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("audio_ms", &self.audio.duration_ms())
            .field("language", &self.language)
            .field("phrases", &self.phrases.len())
            .field("model", &self.model)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

/// Turns speech into text.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What it is called in events and on cards: `whisper`.
    fn name(&self) -> &str;

    /// The model it uses now: `ggml-micro-he`. The one that answered stands in [`Recognised::model`].
    fn model(&self) -> String;

    /// Whether it is worth asking it for this model. One that it turns out not to have is an error of
    /// [`Engine::transcribe`] that fails this recording and nothing else.
    fn may_have(&self, model: &str) -> bool {
        model == self.model()
    }

    /// Whether this is the demonstration model, which knows a few words only and of which people are warned.
    fn is_demonstration(&self) -> bool {
        false
    }

    /// Whether it works in this process, where it may be slow but is never away: the budget of a recording does not
    /// end its work, and it is never left alone for failing. See [`crate::chain`].
    fn is_local(&self) -> bool {
        false
    }

    /// Whether there is anything to ask: a whisper without a model is not. It may change while the service runs.
    fn is_present(&self) -> bool {
        true
    }

    /// Does once what has to be done before the first recording, such as loading the model. The service is
    /// not ready before. Calling it again is cheap.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot work as it is configured.
    async fn prepare(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Recognises all channels of the audio. Silence gives no segments, and no error.
    ///
    /// # Errors
    /// [`EngineError`]; `Cancelled` soon after the request's token is cancelled. Dropping the future stops the work too.
    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError>;
}

/// What an engine heard.
#[derive(Clone, PartialEq)]
pub struct Recognised {
    /// BCP 47 language of the text.
    pub language: String,
    /// The model that heard it.
    pub model: String,
    /// How many pieces the audio was cut into; 1: it was taken whole.
    pub pieces: u32,
    /// The speech, ordered by start and then channel; segments of one channel do not overlap.
    pub segments: Vec<RecognisedSegment>,
}

/// A piece of speech between two pauses.
#[derive(Clone, PartialEq)]
pub struct RecognisedSegment {
    /// From the start of the recording, in milliseconds.
    pub start_ms: u64,
    /// From the start of the recording, in milliseconds; not before `start_ms`.
    pub end_ms: u64,
    /// The channel it was heard on, from 0.
    pub channel: u8,
    /// What was said, without blanks around it and never empty.
    pub text: String,
    /// 0 to 1, where the engine says it.
    pub confidence: Option<f32>,
}

// Transcripts are never logged, by accident neither.
impl fmt::Debug for Recognised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recognised")
            .field("language", &self.language)
            .field("model", &self.model)
            .field("segments", &self.segments)
            .finish()
    }
}

impl fmt::Debug for RecognisedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RecognisedSegment({}..{} ms, channel {})",
            self.start_ms, self.end_ms, self.channel
        )
    }
}

impl Recognised {
    /// The text of all segments in order, joined by single blanks.
    pub fn text(&self) -> String {
        self.segments
            .iter()
            .map(|segment| segment.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Whether a model's name may be sent to a provider: what names of models are made of, and no more.
fn is_model_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    !name.is_empty() && name.len() <= MODEL_NAME_BYTES_MAX && name.chars().all(is_plain)
}

/// The cause kept behind an [`EngineError`].
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an engine gave no text. The texts go into events: no personal data, no provider's message.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It may work later: the engine or the way to it is out of order.
    #[error("{text}")]
    Unavailable {
        /// The class of the failure.
        class: FailureClass,
        /// What failed, in words.
        text: String,
        /// How long the other side asked to be left alone.
        after: Option<Duration>,
        /// What it failed of.
        #[source]
        source: Option<Cause>,
    },
    /// This engine will never take this recording.
    #[error("{text}")]
    Rejected {
        /// The class of the failure.
        class: FailureClass,
        /// What failed, in words.
        text: String,
        /// What it failed of.
        #[source]
        source: Option<Cause>,
    },
    /// It was told to stop.
    #[error("cancelled")]
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognised_text_does_not_show_in_debug_output() {
        let segment = RecognisedSegment {
            start_ms: 0,
            end_ms: 1,
            channel: 0,
            text: "סוד".into(),
            confidence: None,
        };
        let shown = format!(
            "{:?}",
            Recognised {
                language: "he".into(),
                model: "m".into(),
                pieces: 1,
                segments: vec![segment]
            }
        );
        assert!(!shown.contains("סוד"));
    }
}

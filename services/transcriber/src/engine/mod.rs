//! Speech engines: the one trait they all implement, and the chain that asks them in order.
//!
//! To add one: a file beside this one with a type that implements [`Engine`], its settings in `config.rs`,
//! and its place in the list that `config.rs` builds. What a provider sends and calls its errors stays in
//! that file.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use callfold_schema::event::FailureClass;
use tokio_util::sync::CancellationToken;

use crate::audio::Audio16k;

mod abort;
pub mod whisper;

/// Turns speech into text.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What it is called in events and on cards: `whisper`.
    fn name(&self) -> &str;

    /// The model it uses: `ggml-micro-he`.
    fn model(&self) -> &str;

    /// Whether this is the demonstration model, which knows a few words only and of which people are warned.
    fn is_demonstration(&self) -> bool {
        false
    }

    /// Does once what has to be done before the first recording, such as loading the model. The service is
    /// not ready before. Calling it again is cheap.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot work as it is configured.
    async fn prepare(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Recognises all channels of `audio`. Silence gives no segments, and no error.
    ///
    /// # Errors
    /// [`EngineError`]; `Cancelled` soon after `cancel` is cancelled. Dropping the future stops the work too.
    async fn transcribe(
        &self,
        audio: Arc<Audio16k>,
        cancel: CancellationToken,
    ) -> Result<Recognised, EngineError>;
}

/// What an engine heard.
#[derive(Clone, PartialEq)]
pub struct Recognised {
    /// BCP 47 language of the text.
    pub language: String,
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

/// An engine that was asked and did not answer.
#[derive(Debug)]
pub struct EngineFailure {
    /// The engine's name.
    pub engine: String,
    /// The class of the failure.
    pub class: FailureClass,
    /// What failed, in words fit for an event.
    pub text: String,
    /// How long it was tried, in milliseconds.
    pub elapsed_ms: u64,
}

/// The first good answer.
#[derive(Debug)]
pub struct Answer {
    /// What was heard.
    pub recognised: Recognised,
    /// The name of the engine that answered.
    pub engine: String,
    /// Its model.
    pub model: String,
    /// Engines that were asked before, in their order.
    pub failed: Vec<EngineFailure>,
}

/// Why no engine answered.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// None is configured.
    #[error("no speech model")]
    NoEngine,
    /// The work was told to stop.
    #[error("cancelled")]
    Cancelled,
    /// Every one failed, in this order.
    #[error("{}", describe(.failed))]
    Failed {
        /// The failures; never empty.
        failed: Vec<EngineFailure>,
        /// Whether one of them may work later.
        retry: bool,
    },
}

impl ChainError {
    /// The class that stands for the whole: that of the last engine, the one of last resort.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::NoEngine => FailureClass::NotYet,
            Self::Cancelled => FailureClass::WorkerLost,
            Self::Failed { failed, .. } => failed
                .last()
                .map_or(FailureClass::Internal, |failure| failure.class),
        }
    }
}

fn describe(failed: &[EngineFailure]) -> String {
    failed
        .iter()
        .map(|failure| format!("{}: {}", failure.engine, failure.text))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Engines in the order in which they are asked.
#[derive(Clone, Default)]
pub struct Chain {
    engines: Vec<Arc<dyn Engine>>,
}

impl Chain {
    /// A chain of these engines, the preferred one first.
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self { engines }
    }

    /// The engines in their order.
    pub fn engines(&self) -> &[Arc<dyn Engine>] {
        &self.engines
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// Prepares every engine.
    ///
    /// # Errors
    /// The first engine's failure.
    pub async fn prepare(&self) -> Result<(), EngineError> {
        for engine in &self.engines {
            engine.prepare().await?;
        }
        Ok(())
    }

    /// Asks one engine after the other until one answers.
    ///
    /// # Errors
    /// [`ChainError`] when none did.
    pub async fn transcribe(
        &self,
        audio: &Arc<Audio16k>,
        cancel: &CancellationToken,
    ) -> Result<Answer, ChainError> {
        let mut failed = Vec::new();
        let mut retry = false;
        for engine in &self.engines {
            let started = Instant::now();
            let (class, error) = match engine.transcribe(Arc::clone(audio), cancel.clone()).await {
                Ok(recognised) => {
                    return Ok(Answer {
                        recognised,
                        engine: engine.name().to_owned(),
                        model: engine.model().to_owned(),
                        failed,
                    });
                }
                Err(EngineError::Cancelled) => return Err(ChainError::Cancelled),
                Err(error @ EngineError::Unavailable { class, .. }) => {
                    retry = true;
                    (class, error)
                }
                Err(error @ EngineError::Rejected { class, .. }) => (class, error),
            };
            let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                engine.name = engine.name(),
                engine.elapsed_ms = elapsed_ms,
                error = &error as &dyn std::error::Error,
                "engine {} gave no text",
                engine.name()
            );
            failed.push(EngineFailure {
                engine: engine.name().to_owned(),
                class,
                text: error.to_string(),
                elapsed_ms,
            });
        }
        if failed.is_empty() {
            Err(ChainError::NoEngine)
        } else {
            Err(ChainError::Failed { failed, retry })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    enum Says {
        Text(&'static str),
        Unavailable(FailureClass),
        Rejected(FailureClass),
        Cancelled,
    }

    struct Fake(&'static str, Says);

    #[async_trait]
    impl Engine for Fake {
        fn name(&self) -> &str {
            self.0
        }

        fn model(&self) -> &str {
            "fake"
        }

        async fn transcribe(
            &self,
            _: Arc<Audio16k>,
            _: CancellationToken,
        ) -> Result<Recognised, EngineError> {
            let text = format!("{} is out", self.0);
            match self.1 {
                Says::Text(text) => Ok(Recognised {
                    language: "he".into(),
                    segments: vec![RecognisedSegment {
                        start_ms: 0,
                        end_ms: 10,
                        channel: 0,
                        text: text.into(),
                        confidence: None,
                    }],
                }),
                Says::Unavailable(class) => Err(EngineError::Unavailable {
                    class,
                    text,
                    source: None,
                }),
                Says::Rejected(class) => Err(EngineError::Rejected {
                    class,
                    text,
                    source: None,
                }),
                Says::Cancelled => Err(EngineError::Cancelled),
            }
        }
    }

    async fn ask(engines: Vec<Fake>) -> Result<Answer, ChainError> {
        let chain = Chain::new(
            engines
                .into_iter()
                .map(|engine| Arc::new(engine) as Arc<dyn Engine>)
                .collect(),
        );
        chain.transcribe(&Arc::default(), &CancellationToken::new()).await
    }

    #[tokio::test]
    async fn the_first_good_answer_wins_and_keeps_the_failures_before_it() {
        let answer = ask(vec![
            Fake("a", Says::Unavailable(FailureClass::Timeout)),
            Fake("b", Says::Rejected(FailureClass::Refused)),
            Fake("c", Says::Text("שלום")),
            Fake("d", Says::Text("not asked")),
        ])
        .await
        .unwrap();
        assert_eq!(
            (answer.engine.as_str(), answer.recognised.text().as_str()),
            ("c", "שלום")
        );
        let failed: Vec<_> = answer
            .failed
            .iter()
            .map(|f| (f.engine.as_str(), f.class, f.text.as_str()))
            .collect();
        assert_eq!(
            failed,
            [
                ("a", FailureClass::Timeout, "a is out"),
                ("b", FailureClass::Refused, "b is out")
            ]
        );
    }

    #[tokio::test]
    async fn a_chain_that_failed_is_retried_only_when_an_engine_may_come_back() {
        let error = ask(vec![
            Fake("a", Says::Unavailable(FailureClass::Network)),
            Fake("b", Says::Rejected(FailureClass::Invalid)),
        ])
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "a: a is out; b: b is out");
        assert_eq!(error.class(), FailureClass::Invalid);
        assert!(matches!(error, ChainError::Failed { retry: true, .. }));
        let error = ask(vec![Fake("b", Says::Rejected(FailureClass::Invalid))])
            .await
            .unwrap_err();
        assert!(matches!(error, ChainError::Failed { retry: false, .. }));
    }

    #[tokio::test]
    async fn cancelling_asks_no_further_engine_and_an_empty_chain_says_so() {
        let error = ask(vec![Fake("a", Says::Cancelled), Fake("b", Says::Text("x"))])
            .await
            .unwrap_err();
        assert!(matches!(error, ChainError::Cancelled));
        let error = ask(Vec::new()).await.unwrap_err();
        assert!(matches!(error, ChainError::NoEngine));
        assert_eq!(error.to_string(), "no speech model");
    }

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
                segments: vec![segment]
            }
        );
        assert!(!shown.contains("סוד"));
    }
}

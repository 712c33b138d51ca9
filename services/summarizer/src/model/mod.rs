//! Chat models: a question in two messages, a text in return.

mod dialect;
mod openai;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callfold_schema::event::FailureClass;

pub use openai::OpenAi;

/// A model that answers a chat.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// The engine's name in events: `openai`, …
    fn engine(&self) -> &'static str;

    /// The model's name in events.
    fn model(&self) -> &str;

    /// The same server's model of another name; `None` where it has no other.
    fn named(&self, _model: &str) -> Option<Arc<dyn ChatModel>> {
        None
    }

    /// Asks once. The caller bounds the time and decides on another try.
    ///
    /// # Errors
    /// No usable answer; see [`ModelError`].
    async fn ask(&self, question: &Question<'_>) -> Result<Reply, ModelError>;
}

/// A question.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// The system message: nothing of a stranger's.
    pub system: &'q str,
    /// The user message: a JSON object.
    pub user: &'q str,
    /// Most tokens the model may write.
    pub tokens_out_max: u32,
}

/// What a model answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its text, unchecked.
    pub text: String,
    /// Tokens read, where the server says so.
    pub tokens_in: Option<u32>,
    /// Tokens written, where the server says so.
    pub tokens_out: Option<u32>,
}

/// Answers are never logged, by accident neither.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("chars", &self.text.chars().count())
            .finish_non_exhaustive()
    }
}

/// Why a model gave no answer. The text holds nothing that the server said: servers repeat the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ModelError {
    /// The class, for the event.
    pub class: FailureClass,
    /// In words, for the event: `HTTP 503 from the model's server`.
    pub text: String,
    /// How long the server asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether the same question may be answered a moment later.
    pub is_passing: bool,
    /// The answer ran into the bound on its tokens.
    pub is_cut_off: bool,
}

impl ModelError {
    /// The same question would fail again.
    pub(crate) fn lasting(class: FailureClass, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
            retry_after: None,
            is_passing: false,
            is_cut_off: false,
        }
    }

    /// The same question may be answered a moment later.
    pub(crate) fn passing(class: FailureClass, text: impl Into<String>) -> Self {
        Self {
            is_passing: true,
            ..Self::lasting(class, text)
        }
    }
}

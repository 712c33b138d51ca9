//! What comes out of a chain.

use std::time::Duration;

use callfold_schema::event::FailureClass;

use crate::engine::Recognised;

/// An engine that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFailure {
    /// The engine's name.
    pub engine: String,
    /// Its model when it was asked.
    pub model: String,
    /// The class of the failure; `Resting`: it was not asked, `Overtaken`: another one answered first.
    pub class: FailureClass,
    /// What failed, in words fit for an event.
    pub text: String,
    /// How long it was tried, in milliseconds; 0 where it was not asked.
    pub elapsed_ms: u64,
}

/// The first good answer.
#[derive(Debug)]
pub struct Answer {
    /// What was heard.
    pub recognised: Recognised,
    /// The name of the engine that answered.
    pub engine: String,
    /// How long this engine worked, in milliseconds.
    pub elapsed_ms: u64,
    /// The engines that gave no answer, in the order in which they were asked.
    pub failed: Vec<EngineFailure>,
}

/// What is to be hoped for after every engine failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// No engine will ever take this recording.
    Never,
    /// An engine that is asked again may answer.
    Again {
        /// The soonest that one asked to be asked again, where all that may answer asked for a delay.
        after: Option<Duration>,
    },
    /// All that may answer are at rest: it is not this recording's fault.
    Resting {
        /// Until the first of them may be asked.
        after: Duration,
    },
}

/// Why no engine answered.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// None is configured, or none that this number's calls may go to.
    #[error("no speech model")]
    NoEngine,
    /// The work was told to stop.
    #[error("cancelled")]
    Cancelled,
    /// Every one failed, or was at rest.
    #[error("{}", describe(.failed))]
    Failed {
        /// The failures in the order in which the engines were asked; never empty.
        failed: Vec<EngineFailure>,
        /// What is to be hoped for.
        outlook: Outlook,
    },
}

impl ChainError {
    /// The class that stands for the whole: that of the last engine that was asked, the one of last resort.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::NoEngine => FailureClass::NotYet,
            Self::Cancelled => FailureClass::WorkerLost,
            Self::Failed { failed, .. } => {
                let mut asked = failed.iter().rev().map(|failure| failure.class);
                asked
                    .find(|class| *class != FailureClass::Resting)
                    .unwrap_or(FailureClass::Resting)
            }
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

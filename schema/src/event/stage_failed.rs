//! One attempt of a stage failed, or (attempt 0) what it needs is not there yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::UnixMillis;

/// What kind of failure it was; a closed set, fit for metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// What is needed is not there yet (media still being stored, no speech model).
    NotYet,
    /// No connection, or it broke.
    Network,
    /// No answer in time.
    Timeout,
    /// The other side asked for fewer requests.
    RateLimited,
    /// The other side failed (5xx).
    Unavailable,
    /// Credentials are missing or refused.
    Credentials,
    /// The thing is gone (404 after the first minutes, deleted).
    NotFound,
    /// The other side refused the request for good (4xx).
    Refused,
    /// Our own rules refuse it (host, scheme, size, duration).
    NotAllowed,
    /// It is not what it should be (an HTML page called audio, audio that does not decode, an answer without sense).
    Invalid,
    /// The blob store cannot be read or written.
    Storage,
    /// The worker stopped without an answer.
    WorkerLost,
    /// A mistake of this program.
    Internal,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [FailureClass; 13] = [
        FailureClass::NotYet,
        FailureClass::Network,
        FailureClass::Timeout,
        FailureClass::RateLimited,
        FailureClass::Unavailable,
        FailureClass::Credentials,
        FailureClass::NotFound,
        FailureClass::Refused,
        FailureClass::NotAllowed,
        FailureClass::Invalid,
        FailureClass::Storage,
        FailureClass::WorkerLost,
        FailureClass::Internal,
    ];

    /// The name in JSON and in metric labels.
    pub const fn token(self) -> &'static str {
        match self {
            FailureClass::NotYet => "not_yet",
            FailureClass::Network => "network",
            FailureClass::Timeout => "timeout",
            FailureClass::RateLimited => "rate_limited",
            FailureClass::Unavailable => "unavailable",
            FailureClass::Credentials => "credentials",
            FailureClass::NotFound => "not_found",
            FailureClass::Refused => "refused",
            FailureClass::NotAllowed => "not_allowed",
            FailureClass::Invalid => "invalid",
            FailureClass::Storage => "storage",
            FailureClass::WorkerLost => "worker_lost",
            FailureClass::Internal => "internal",
        }
    }
}

/// `stage_failed`, version 1. The recording, the run, the stage and the attempt stand in the key;
/// attempt 0 is "waiting", said once and not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageFailedV1 {
    /// How many attempts there will be at most.
    pub attempts_max: u32,
    /// The class of the reason.
    pub class: FailureClass,
    /// The reason in words, without personal data: `HTTP 503 from the media host`.
    pub text: String,
    /// When the next attempt is due; `None` when this was the last one.
    pub next_attempt_at: Option<UnixMillis>,
    /// Which delivery of the input this was, from 1: a later delivery that no failure accounts for is a lost worker.
    pub delivery: u64,
    /// How long the attempt took, in milliseconds.
    pub elapsed_ms: u64,
}

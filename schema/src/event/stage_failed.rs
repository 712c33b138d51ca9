//! One attempt of a stage failed, or (attempt 0) what it needs is not there yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::UnixMillis;

/// What kind of failure it was, as version 1 of the events knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FailureClass")]
pub enum FailureClassV1 {
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

/// What kind of failure it was; a closed set, fit for metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FailureClass")]
pub enum FailureClassV2 {
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
    /// The engine kept failing and was left alone for a while: it was not asked.
    Resting,
    /// Another engine answered first: this one was stopped.
    Overtaken,
}

impl FailureClassV2 {
    /// All of them.
    pub const ALL: [FailureClassV2; 15] = [
        FailureClassV2::NotYet,
        FailureClassV2::Network,
        FailureClassV2::Timeout,
        FailureClassV2::RateLimited,
        FailureClassV2::Unavailable,
        FailureClassV2::Credentials,
        FailureClassV2::NotFound,
        FailureClassV2::Refused,
        FailureClassV2::NotAllowed,
        FailureClassV2::Invalid,
        FailureClassV2::Storage,
        FailureClassV2::WorkerLost,
        FailureClassV2::Internal,
        FailureClassV2::Resting,
        FailureClassV2::Overtaken,
    ];

    /// The name in JSON and in metric labels.
    pub const fn token(self) -> &'static str {
        match self {
            FailureClassV2::NotYet => "not_yet",
            FailureClassV2::Network => "network",
            FailureClassV2::Timeout => "timeout",
            FailureClassV2::RateLimited => "rate_limited",
            FailureClassV2::Unavailable => "unavailable",
            FailureClassV2::Credentials => "credentials",
            FailureClassV2::NotFound => "not_found",
            FailureClassV2::Refused => "refused",
            FailureClassV2::NotAllowed => "not_allowed",
            FailureClassV2::Invalid => "invalid",
            FailureClassV2::Storage => "storage",
            FailureClassV2::WorkerLost => "worker_lost",
            FailureClassV2::Internal => "internal",
            FailureClassV2::Resting => "resting",
            FailureClassV2::Overtaken => "overtaken",
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
    pub class: FailureClassV1,
    /// The reason in words, without personal data: `HTTP 503 from the media host`.
    pub text: String,
    /// When the next attempt is due; `None` when this was the last one.
    pub next_attempt_at: Option<UnixMillis>,
    /// Which delivery of the input this was, from 1: a later delivery that no failure accounts for is a lost worker.
    pub delivery: u64,
    /// How long the attempt took, in milliseconds.
    pub elapsed_ms: u64,
}

/// `stage_failed`, version 2: more classes. The recording, the run, the stage and the attempt stand in the key;
/// attempt 0 is "waiting", said once and not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageFailedV2 {
    /// How many attempts there will be at most.
    pub attempts_max: u32,
    /// The class of the reason.
    pub class: FailureClassV2,
    /// The reason in words, without personal data: `HTTP 503 from the media host`.
    pub text: String,
    /// When the next attempt is due; `None` when this was the last one.
    pub next_attempt_at: Option<UnixMillis>,
    /// Which delivery of the input this was, from 1: a later delivery that no failure accounts for is a lost worker.
    pub delivery: u64,
    /// How long the attempt took, in milliseconds.
    pub elapsed_ms: u64,
}

//! Old versions become the newest, one function a step; each is total and pure. What an old version did not say is `None`,
//! empty or the value that was the rule then; never the clock, never a guess.

use crate::event::{
    EngineFailureV1, EngineFailureV2, FailureClassV1, FailureClassV2, SegmentV1, SegmentV2, StageFailedV1,
    StageFailedV2, SummaryReadyV1, SummaryReadyV2, TranscriptReadyV1, TranscriptReadyV2,
};

/// The classes of version 1 are still there.
pub(crate) fn failure_class_v1_to_v2(old: FailureClassV1) -> FailureClassV2 {
    match old {
        FailureClassV1::NotYet => FailureClassV2::NotYet,
        FailureClassV1::Network => FailureClassV2::Network,
        FailureClassV1::Timeout => FailureClassV2::Timeout,
        FailureClassV1::RateLimited => FailureClassV2::RateLimited,
        FailureClassV1::Unavailable => FailureClassV2::Unavailable,
        FailureClassV1::Credentials => FailureClassV2::Credentials,
        FailureClassV1::NotFound => FailureClassV2::NotFound,
        FailureClassV1::Refused => FailureClassV2::Refused,
        FailureClassV1::NotAllowed => FailureClassV2::NotAllowed,
        FailureClassV1::Invalid => FailureClassV2::Invalid,
        FailureClassV1::Storage => FailureClassV2::Storage,
        FailureClassV1::WorkerLost => FailureClassV2::WorkerLost,
        FailureClassV1::Internal => FailureClassV2::Internal,
    }
}

/// More classes.
pub(crate) fn stage_failed_v1_to_v2(old: StageFailedV1) -> StageFailedV2 {
    StageFailedV2 {
        attempts_max: old.attempts_max,
        class: failure_class_v1_to_v2(old.class),
        text: old.text,
        next_attempt_at: old.next_attempt_at,
        delivery: old.delivery,
        elapsed_ms: old.elapsed_ms,
    }
}

/// The speaker is not known: version 1 did not say whether a channel is one of two.
pub(crate) fn segment_v1_to_v2(old: SegmentV1) -> SegmentV2 {
    SegmentV2 {
        start_ms: old.start_ms,
        end_ms: old.end_ms,
        channel: old.channel,
        speaker: None,
        text: old.text,
        confidence: old.confidence,
        words: old.words,
    }
}

/// The model is not known.
pub(crate) fn engine_failure_v1_to_v2(old: EngineFailureV1) -> EngineFailureV2 {
    EngineFailureV2 {
        engine: old.engine,
        model: String::new(),
        class: failure_class_v1_to_v2(old.class),
        text: old.text,
        elapsed_ms: old.elapsed_ms,
    }
}

/// Engines were given the audio as a whole then, and not asked at all where none is named.
pub(crate) fn transcript_ready_v1_to_v2(old: TranscriptReadyV1) -> TranscriptReadyV2 {
    TranscriptReadyV2 {
        text: old.text,
        segments: old.segments.into_iter().map(segment_v1_to_v2).collect(),
        language: old.language,
        pieces: u32::from(!old.engine.is_empty()),
        engine: old.engine,
        model: old.model,
        failed_engines: old
            .failed_engines
            .into_iter()
            .map(engine_failure_v1_to_v2)
            .collect(),
        audio_ms: old.audio_ms,
        elapsed_ms: old.elapsed_ms,
    }
}

/// Transcripts were summarised as a whole then, and questions not counted.
pub(crate) fn summary_ready_v1_to_v2(old: SummaryReadyV1) -> SummaryReadyV2 {
    SummaryReadyV2 {
        title: old.title,
        points: old.points,
        text: old.text,
        caller_name: None,
        callback_number: None,
        topic: None,
        urgency: None,
        engine: old.engine,
        model: old.model,
        prompt_version: old.prompt_version,
        failed_engines: old
            .failed_engines
            .into_iter()
            .map(engine_failure_v1_to_v2)
            .collect(),
        parts: 1,
        tries: 0,
        tokens_in: old.tokens_in,
        tokens_out: old.tokens_out,
        elapsed_ms: old.elapsed_ms,
    }
}

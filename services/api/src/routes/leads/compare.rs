//! `GET /api/v1/leads/{call_sid}/compare?a=&b=`: what two runs made of a call, side by side.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use callfold_kit::wer::{WordErrors, word_error_rate};
use callfold_lead::{RunResult, corrections, run_result};
use callfold_schema::{CallSid, RecordingSid, Run};
use schemars::JsonSchema;
use serde::Serialize;
use similar::{Algorithm, DiffTag, capture_diff_slices_deadline};

use super::write::{damaged, read_state};
use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::query::call_sid;

/// How long the search for the shortest difference may take; what is not found by then is shown as replaced.
const DIFF_TIME_MAX: Duration = Duration::from_secs(1);
/// Most words of a text that is held against what was said: the comparison takes their product.
const ERROR_WORDS_MAX: usize = 20_000;

/// Two runs side by side.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Comparison {
    /// The call.
    pub(crate) call_sid: CallSid,
    /// The one run.
    pub(crate) a: RunResult,
    /// The other one.
    pub(crate) b: RunResult,
    /// How the transcript of `a` becomes that of `b`.
    pub(crate) diff: Vec<Piece>,
    /// How far both are from what a person heard; `null` while nobody corrected a recording of which both have a transcript.
    pub(crate) word_errors: Option<Errors>,
}

/// Words that stand together.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Piece {
    pub(crate) change: Change,
    /// The words, a blank between them.
    pub(crate) text: String,
}

/// Whose words they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// In both.
    Same,
    /// In `a` only.
    Removed,
    /// In `b` only.
    Added,
}

/// The word errors of both.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Errors {
    pub(crate) a: ErrorRate,
    pub(crate) b: ErrorRate,
}

/// How far a transcript is from what was said.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ErrorRate {
    /// Words that were said.
    pub(crate) words: usize,
    /// Words that are wrong, missing or too many.
    pub(crate) errors: usize,
    /// Errors per word.
    pub(crate) rate: f64,
}

impl From<WordErrors> for ErrorRate {
    fn from(errors: WordErrors) -> Self {
        Self {
            words: errors.words,
            errors: errors.errors,
            rate: errors.rate(),
        }
    }
}

/// Compares two runs.
pub(crate) async fn compare(
    State(app): State<App>,
    Path(sid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Comparison>, ApiError> {
    let call_sid = call_sid(&sid)?;
    let query = query.unwrap_or_default();
    let (a, b) = (run_named(&query, "a")?, run_named(&query, "b")?);
    compare_runs(&app, call_sid, a, b).await.map(Json)
}

/// Holds two runs of a call against each other.
pub(crate) async fn compare_runs(
    app: &AppState,
    call_sid: CallSid,
    a: Run,
    b: Run,
) -> Result<Comparison, ApiError> {
    let state = read_state(app, &call_sid).await?;
    let of = |run| {
        run_result(&state, run)
            .map_err(damaged)?
            .ok_or(ApiError::NotFound("The lead has no such run."))
    };
    let (a, b, corrected) = (of(a)?, of(b)?, corrections(&state).map_err(damaged)?);
    // Long calls take a while.
    let compared = tokio::task::spawn_blocking(move || {
        let diff = diff(&a.transcript, &b.transcript);
        let word_errors = word_errors(&a, &b, &corrected);
        (a, b, diff, word_errors)
    });
    let (a, b, diff, word_errors) = compared.await.map_err(|_| ApiError::Panicked)?;
    Ok(Comparison {
        call_sid,
        a,
        b,
        diff,
        word_errors,
    })
}

pub(crate) fn run_named(query: &str, wanted: &str) -> Result<Run, ApiError> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == wanted)
        .and_then(|(_, value)| value.parse().ok())
        .filter(|run| *run < Run::BOUND)
        .map(Run)
        .ok_or(ApiError::BadQuery(
            "a and b are the numbers of two runs; 0 is the first one",
        ))
}

fn diff(a: &str, b: &str) -> Vec<Piece> {
    let a: Vec<&str> = a.split_whitespace().collect();
    let b: Vec<&str> = b.split_whitespace().collect();
    let deadline = Instant::now().checked_add(DIFF_TIME_MAX);
    let mut pieces = Vec::new();
    for op in capture_diff_slices_deadline(Algorithm::Myers, &a, &b, deadline) {
        let removed = (Change::Removed, &a[op.old_range()]);
        let added = (Change::Added, &b[op.new_range()]);
        let parts = match op.tag() {
            DiffTag::Equal => vec![(Change::Same, &b[op.new_range()])],
            DiffTag::Delete => vec![removed],
            DiffTag::Insert => vec![added],
            DiffTag::Replace => vec![removed, added],
        };
        pieces.extend(parts.into_iter().map(|(change, words)| Piece {
            change,
            text: words.join(" "),
        }));
    }
    pieces
}

/// Over the recordings that a person corrected and both runs have a transcript of.
fn word_errors(a: &RunResult, b: &RunResult, corrected: &BTreeMap<RecordingSid, String>) -> Option<Errors> {
    let text = |result: &RunResult, sid: &RecordingSid| {
        let found = result.transcripts.iter().find(|made| made.recording_sid == *sid);
        found.map(|made| made.text.clone())
    };
    let short = |text: &str| text.split_whitespace().count() <= ERROR_WORDS_MAX;
    let mut errors: Option<(WordErrors, WordErrors)> = None;
    for (sid, said) in corrected {
        if let (Some(a), Some(b)) = (text(a, sid), text(b, sid))
            && short(said)
            && short(&a)
            && short(&b)
        {
            let (of_a, of_b) = errors.unwrap_or_default();
            errors = Some((of_a + word_error_rate(said, &a), of_b + word_error_rate(said, &b)));
        }
    }
    errors.map(|(a, b)| Errors {
        a: a.into(),
        b: b.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_changed_stand_together() {
        let piece = |change, text: &str| Piece {
            change,
            text: text.to_owned(),
        };
        assert_eq!(
            diff("שלום יש נזילה גדולה במטבח", "שלום יש לי נזילה במטבח עכשיו"),
            [
                piece(Change::Same, "שלום יש"),
                piece(Change::Added, "לי"),
                piece(Change::Same, "נזילה"),
                piece(Change::Removed, "גדולה"),
                piece(Change::Same, "במטבח"),
                piece(Change::Added, "עכשיו"),
            ]
        );
        assert!(diff("", "").is_empty());
        assert_eq!(
            diff("a", "b"),
            [piece(Change::Removed, "a"), piece(Change::Added, "b")]
        );
    }

    #[test]
    fn runs_are_named_by_number() {
        assert!(matches!(run_named("a=0&b=7", "b"), Ok(Run(7))));
        for query in ["", "a=x", "a=-1", "a=9007199254740992"] {
            assert!(
                matches!(run_named(query, "a"), Err(ApiError::BadQuery(_))),
                "{query}"
            );
        }
    }
}

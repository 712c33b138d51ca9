//! What one run made of a call, for comparing: as if a person had chosen it, and without what people corrected.

use std::collections::BTreeMap;

use callfold_schema::event::LeadUpdated;
use callfold_schema::{Event, EventKind, RecordingSid, Run, Stage, UnixMillis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::person::Person;
use super::rerun::{request, select_run};
use super::{Facts, engine_name};
use crate::state::{LeadState, StateError};

/// What a run made of one recording.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunTranscript {
    /// The recording.
    pub recording_sid: RecordingSid,
    /// The run whose engine heard it: the run itself, or an earlier one that it took over.
    pub run: Run,
    /// The engine; empty where none was asked.
    pub engine: String,
    /// Its model; empty where it is not known.
    pub model: String,
    /// What it heard.
    pub text: String,
    /// Whether this run's own engine heard it, and nothing was taken over.
    pub own: bool,
}

/// What a run made of a call.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// The run.
    pub run: Run,
    /// The recordings in their order; those without a transcript are left out.
    pub transcripts: Vec<RunTranscript>,
    /// The texts in their order, a line feed between them.
    pub transcript: String,
    /// The headline of the first recording that has one.
    pub summary_title: Option<String>,
    /// The points of all recordings.
    pub summary_points: Vec<String>,
    /// The summaries in their order, a line feed between them.
    pub summary: Option<String>,
    /// Who made the summaries: `engine`, or `engine:model`.
    pub summarize: Vec<String>,
}

// What callers said stays out of logs.
impl std::fmt::Debug for RunTranscript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunTranscript({} by {})", self.recording_sid, self.engine)
    }
}

impl std::fmt::Debug for RunResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunResult({})", self.run)
    }
}

/// What a run made of a call; `None` for a run of which nothing is known.
pub fn run_result(state: &LeadState, run: Run) -> Result<Option<RunResult>, StateError> {
    let facts = Facts::collect(state)?;
    let is_known = run == Run::FIRST
        || facts.requests.contains_key(&run)
        || facts
            .recordings
            .values()
            .any(|recording| recording.runs.contains_key(&run));
    if !is_known {
        return Ok(None);
    }
    // As if it had been chosen for ever.
    let (mut shown, _, _) = select_run(&facts, Some((run, UnixMillis(i64::MAX))));
    shown.lay(run);
    let copies_transcripts = request(&facts, run).is_some_and(|request| request.from == Stage::Summarize);
    let mut result = RunResult {
        run,
        transcripts: Vec::new(),
        transcript: String::new(),
        summary_title: None,
        summary_points: Vec::new(),
        summary: None,
        summarize: Vec::new(),
    };
    let mut summaries: Vec<&str> = Vec::new();
    for (sid, recording) in facts.recordings_in_order() {
        let outputs = shown.outputs(recording);
        if let (Some(fact), Some(made_by)) = (outputs.transcript, outputs.runs.transcribe) {
            result.transcripts.push(RunTranscript {
                recording_sid: sid.clone(),
                run: made_by,
                engine: fact.data.engine.clone(),
                model: fact.data.model.clone(),
                text: fact.data.text.trim().to_owned(),
                own: made_by == run && !copies_transcripts,
            });
        }
        if let Some(fact) = outputs.summary {
            summaries.push(fact.data.text.trim());
            if result.summary_title.as_ref().is_none_or(String::is_empty) {
                result.summary_title = Some(fact.data.title.clone());
            }
            result.summary_points.extend(fact.data.points.iter().cloned());
            let name = engine_name(&fact.data.engine, &fact.data.model);
            if !result.summarize.contains(&name) {
                result.summarize.push(name);
            }
        }
    }
    let texts: Vec<&str> = result.transcripts.iter().map(|made| made.text.as_str()).collect();
    result.transcript = texts
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join("\n");
    result.summary = (!summaries.is_empty()).then(|| summaries.join("\n"));
    Ok(Some(result))
}

/// The texts of recordings that a person corrected: what was said.
pub fn corrections(state: &LeadState) -> Result<BTreeMap<RecordingSid, String>, StateError> {
    let facts = Facts::collect(state)?;
    let person = Person::of(&facts);
    Ok(person
        .texts()
        .map(|(sid, text)| (sid.clone(), text.trim().to_owned()))
        .collect())
}

/// One change by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonChange {
    /// Where its event stands in the stream.
    pub position: u64,
    /// When it was accepted.
    pub time: UnixMillis,
    /// Its number.
    pub revision: u64,
    /// Who did what.
    pub update: LeadUpdated,
}

/// What people did with a call behind a revision, in the order of their revisions.
pub fn changes_after(state: &LeadState, revision: u64) -> Result<Vec<PersonChange>, StateError> {
    let mut changes = Vec::new();
    for stored in state.events() {
        if let (EventKind::LeadUpdated, Some(number)) = (stored.kind, stored.key.revision)
            && number > revision
            && let Event::LeadUpdated(update) = stored.event()?
        {
            changes.push(PersonChange {
                position: stored.position,
                time: stored.time,
                revision: number,
                update,
            });
        }
    }
    changes.sort_unstable_by_key(|change| change.revision);
    Ok(changes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use callfold_schema::event::LeadAction;
    use callfold_schema::{CallSid, Key, NewEvent, Record};

    use super::*;

    #[test]
    fn changes_come_in_the_order_of_their_revisions_and_only_those_behind_the_one_that_was_seen() {
        let call = CallSid::parse("CA1").unwrap();
        let mut state = LeadState::new(call.clone());
        for (position, revision) in [(10, 2), (20, 1), (30, 11)] {
            let update = LeadUpdated {
                revision,
                by: format!("person {revision}"),
                action: LeadAction::Seen { seen: true },
                request: None,
            };
            let new = NewEvent::new(call.clone(), Key::revision(revision), UnixMillis(0), update);
            let record = Record {
                envelope: new.envelope,
                event: new.event,
            };
            state.apply_record(position, &record).unwrap();
        }
        let after = |revision| -> Vec<(u64, u64)> {
            let changes = changes_after(&state, revision).unwrap();
            changes
                .iter()
                .map(|change| (change.revision, change.position))
                .collect()
        };
        assert_eq!(after(0), [(1, 20), (2, 10), (11, 30)]);
        assert_eq!(after(2), [(11, 30)]);
        assert!(after(11).is_empty());
    }
}

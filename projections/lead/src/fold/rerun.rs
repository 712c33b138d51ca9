//! Which run is shown, and how the others stand.
//!
//! - *Complete*: every recording the run covers came to its end in it, where one that fails counts only if what is shown
//!   of it has failed as well, and one without speech only if it has nothing of it: a re-run takes nothing away.
//! - *Covered* are the inputs of the request. Of a run without one, the recordings it has touched and those that were
//!   ready when its number was minted (a number is milliseconds × 1000 + random): what came later is none of its business.
//! - *Shown* is run 0 with every later complete run laid over it, but those that are held for comparison.
//! - *Adopted*: a person chose a run. It is laid over whether it is held or not, newer ones that existed then are not,
//!   and what is asked for afterwards replaces it as usual. Reverting is adopting another one, or none.

use std::collections::BTreeSet;

use callfold_schema::event::ReprocessRequested;
use callfold_schema::{RecordingSid, Run, Stage, UnixMillis};

use super::{Facts, Outputs, Progress, RecordingFacts, RunFacts, engine_name, progress_of, stages_of};
use crate::lead::{LeadRun, Rerun, RerunState, StageState, StageView, Stages};

/// The runs whose results are shown.
pub(super) struct Shown {
    /// The last one.
    pub(super) run: Run,
    /// All of them, ascending; 0 is the first.
    laid: Vec<Run>,
}

impl Shown {
    /// Lays a run over the others, complete or not.
    pub(super) fn lay(&mut self, run: Run) {
        if !self.laid.contains(&run) {
            self.laid.push(run);
        }
        self.run = run;
    }

    pub(super) fn outputs<'a>(&self, recording: &'a RecordingFacts) -> Outputs<'a> {
        let mut outputs = Outputs::default();
        for run in &self.laid {
            if let Some(facts) = recording.runs.get(run) {
                outputs = outputs.overlaid(*run, facts);
            }
        }
        outputs
    }
}

/// What is shown; every re-run, ascending; and the newest of them that is not shown and not passed over.
pub(super) fn select_run(
    facts: &Facts,
    adopted: Option<(Run, UnixMillis)>,
) -> (Shown, Vec<LeadRun>, Option<Rerun>) {
    let runs: BTreeSet<Run> = facts
        .recordings
        .values()
        .flat_map(|recording| recording.runs.keys())
        .chain(facts.requests.keys())
        .copied()
        .filter(|run| *run != Run::FIRST)
        .collect();
    let mut shown = Shown {
        run: Run::FIRST,
        laid: vec![Run::FIRST],
    };
    let mut views = Vec::with_capacity(runs.len());
    let mut waiting: Option<Rerun> = None;
    for run in runs {
        let request = request(facts, run);
        let held = request.is_some_and(|request| request.hold);
        if !is_complete(facts, run, &shown) {
            let rerun = rerun_view(facts, run);
            views.push(run_view(facts, run, rerun.state));
            waiting = Some(rerun);
        } else if may_be_shown(facts, run, held, adopted) {
            shown.run = run;
            shown.laid.push(run);
            views.push(run_view(facts, run, RerunState::Done));
            waiting = None;
        } else if held {
            let state = RerunState::Held;
            views.push(run_view(facts, run, state));
            waiting = Some(Rerun {
                state,
                ..rerun_view(facts, run)
            });
        } else {
            views.push(run_view(facts, run, RerunState::Done));
            waiting = None;
        }
    }
    (shown, views, waiting)
}

fn may_be_shown(facts: &Facts, run: Run, held: bool, adopted: Option<(Run, UnixMillis)>) -> bool {
    match adopted {
        Some((chosen, _)) if run == chosen => true,
        Some((chosen, at)) if run > chosen => !held && asked_at(facts, run) > at,
        Some(_) | None => !held,
    }
}

/// A campaign has one number for all its calls, and asks for them one after the other.
fn asked_at(facts: &Facts, run: Run) -> UnixMillis {
    let request = facts.requests.get(&run).and_then(Option::as_ref);
    request.map_or(minted_at(run), |fact| fact.time)
}

fn minted_at(run: Run) -> UnixMillis {
    UnixMillis(i64::try_from(run.0 / 1_000).unwrap_or(i64::MAX))
}

pub(super) fn request(facts: &Facts, run: Run) -> Option<&ReprocessRequested> {
    let request = facts.requests.get(&run)?;
    request.as_ref().map(|fact| &fact.data)
}

fn covered(facts: &Facts, run: Run) -> impl Iterator<Item = (&RecordingSid, &RecordingFacts)> {
    let request = request(facts, run);
    facts.recordings.iter().filter(move |(sid, recording)| {
        let asked_for = match request {
            Some(request) => request.inputs.iter().any(|input| input.recording_sid == **sid),
            None => recording
                .ready
                .as_ref()
                .is_some_and(|ready| ready.time <= minted_at(run)),
        };
        asked_for || recording.runs.contains_key(&run)
    })
}

fn is_complete(facts: &Facts, run: Run, shown: &Shown) -> bool {
    let mut done = 0_u32;
    let known = request(facts, run).is_none_or(|request| {
        let mut inputs = request.inputs.iter();
        inputs.all(|input| facts.recordings.contains_key(&input.recording_sid))
    });
    let complete = covered(facts, run).all(|(_, recording)| {
        let before = shown.outputs(recording);
        let Some(now) = recording.runs.get(&run) else {
            return before.is_silent();
        };
        let outputs = Outputs::default().overlaid(run, now);
        let stages = stages_of(recording, &outputs, Some(&now.failures));
        match progress_of(recording, &outputs, &stages) {
            Progress::Processed | Progress::Silent => {
                done += 1;
                true
            }
            Progress::Failed => {
                let stages = stages_of(recording, &before, recording.failures_in(before.run));
                progress_of(recording, &before, &stages) == Progress::Failed
            }
            Progress::Recording | Progress::Recorded | Progress::Downloaded | Progress::Transcribed => false,
        }
    });
    known && complete && done > 0
}

/// The stage the run begins with: as it was asked for, else the first one it did something in.
fn first_stage(facts: &Facts, run: Run, outputs: &Outputs<'_>, now: &RunFacts) -> Option<Stage> {
    let worked = |stage: &Stage| {
        outputs.of(*stage).is_some() || now.failures.keys().any(|(failed, _)| failed == stage)
    };
    request(facts, run)
        .map(|request| request.from)
        .or_else(|| Stage::ALL.into_iter().find(worked))
}

fn rerun_view(facts: &Facts, run: Run) -> Rerun {
    let nothing = RunFacts::default();
    let least = covered(facts, run)
        .map(|(_, recording)| {
            let now = recording.runs.get(&run).unwrap_or(&nothing);
            let outputs = Outputs::default().overlaid(run, now);
            let mut stages = stages_of(recording, &outputs, Some(&now.failures));
            let progress = progress_of(recording, &outputs, &stages);
            // What the run does not do itself, it took over from what is shown.
            if let Some(first) = first_stage(facts, run, &outputs, now) {
                if first > Stage::Download {
                    stages.download = StageView::bare(StageState::Skipped);
                }
                if first > Stage::Transcribe {
                    stages.transcribe = StageView::bare(StageState::Skipped);
                }
            }
            (progress, stages)
        })
        .min_by_key(|(progress, _)| *progress);
    let (progress, stages) = least.unwrap_or((Progress::Recorded, Stages::all(StageState::Waiting)));
    let state = if progress == Progress::Failed {
        RerunState::Failed
    } else {
        RerunState::Running
    };
    Rerun { run, state, stages }
}

fn run_view(facts: &Facts, run: Run, state: RerunState) -> LeadRun {
    let request = request(facts, run);
    let made: Vec<&RunFacts> = facts
        .recordings
        .values()
        .filter_map(|recording| recording.runs.get(&run))
        .collect();
    let transcript = made.iter().find_map(|made| made.transcript.as_ref());
    let summary = made.iter().find_map(|made| made.summary.as_ref());
    LeadRun {
        run,
        state,
        from: request.map(|request| request.from),
        campaign: request.and_then(|request| request.campaign.clone()),
        hold: request.is_some_and(|request| request.hold),
        transcribe: transcript
            .map(|fact| engine_name(&fact.data.engine, &fact.data.model))
            .filter(|name| !name.is_empty()),
        summarize: summary
            .map(|fact| engine_name(&fact.data.engine, &fact.data.model))
            .filter(|name| !name.is_empty()),
    }
}

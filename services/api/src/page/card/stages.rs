//! The stages of a card: how each stands, why it waits or failed, and when it is tried again.

use callfold_lead::{FailedEngine, Lead, RecordingState, RerunState, StageState, StageView, Stages, Status};
use callfold_schema::{RecordingSid, Run, Stage, UnixMillis};

use super::super::Frame;
use super::super::state::{self, PassedView, StateView, When, class_name};
use super::sound::label;
use crate::show;
use crate::words::fill;

/// The stages of one recording, or of a re-run.
pub(crate) struct StagesView {
    pub(crate) label: String,
    pub(crate) steps: Vec<StepView>,
}

/// One stage.
pub(crate) struct StepView {
    pub(crate) name: &'static str,
    pub(crate) state: StateView,
    pub(crate) why: Option<WhyView>,
    pub(crate) passed: Vec<PassedView>,
}

/// Why something waits or failed.
pub(crate) struct WhyView {
    /// The stage, where that is not said beside it.
    pub(crate) stage: Option<&'static str>,
    /// `ניסיון 3 מתוך 8`
    pub(crate) attempt: Option<String>,
    /// `הבא ב־12:04:05`, and the moment for the time left.
    pub(crate) next: Option<(String, i64)>,
    /// The reason in a few words.
    pub(crate) reason: Option<&'static str>,
    /// The reason as the worker said it: it is in English.
    pub(crate) technical: Option<String>,
}

impl WhyView {
    /// `None` where there is nothing to say.
    fn of(view: &StageView, f: &Frame) -> Option<Self> {
        let w = &f.w.state;
        let attempt = match (view.state, view.attempt, view.attempts_max) {
            (StageState::Retrying, Some(attempt), Some(max)) if attempt > 0 => {
                Some(fill(&fill(w.attempt, attempt), max))
            }
            (StageState::Failed, Some(attempt), _) if attempt > 1 => Some(fill(w.attempts_made, attempt)),
            _ => None,
        };
        let next = match (view.state, view.next_attempt_at) {
            (StageState::Waiting | StageState::Retrying, Some(next)) => {
                Some((fill(w.next_at, show::clock(next.0, &f.timezone)), next.0.0))
            }
            _ => None,
        };
        // A stage that is done after all keeps the words of its last failure; they are history by then.
        let is_present = matches!(
            view.state,
            StageState::Waiting | StageState::Retrying | StageState::Failed
        );
        let why = Self {
            stage: None,
            attempt,
            next,
            reason: view
                .class
                .filter(|_| is_present)
                .map(|class| class_name(class, f.w)),
            technical: view.text.clone().filter(|_| is_present),
        };
        let says =
            why.attempt.is_some() || why.next.is_some() || why.reason.is_some() || why.technical.is_some();
        says.then_some(why)
    }
}

/// Why the lead as a whole waits or failed.
pub(super) fn why_of_lead(lead: &Lead, f: &Frame) -> Option<WhyView> {
    if matches!(lead.status, Status::Processed | Status::NoMessage) {
        return None;
    }
    let (stage, view) = lead.stages.current()?;
    if view.state != StageState::Failed {
        return WhyView::of(view, f);
    }
    let why = WhyView::of(view, f).unwrap_or(WhyView {
        stage: None,
        attempt: None,
        next: None,
        reason: None,
        technical: None,
    });
    Some(WhyView {
        stage: Some(state::stage_name(stage, f.w)),
        ..why
    })
}

/// The stages of every recording that has a file, then those of a re-run that is not shown.
pub(super) fn stages(lead: &Lead, f: &Frame) -> Vec<StagesView> {
    let several = lead.recordings.len() > 1;
    let mut groups: Vec<StagesView> = lead
        .recordings
        .iter()
        .enumerate()
        // While the caller speaks, and when there is no file, no stage has anything to do.
        .filter(|(_, recording)| recording.state == RecordingState::Ready)
        .map(|(n, recording)| StagesView {
            label: if several {
                fill(f.w.story.stages_of, label(lead, n, f))
            } else {
                f.w.story.stages.to_owned()
            },
            steps: steps(&recording.stages, None, f, |stage| {
                passed(&lead.failed_engines, &recording.recording_sid, stage, f)
            }),
        })
        .collect();
    if let Some(rerun) = &lead.rerun {
        groups.push(StagesView {
            label: match rerun.state {
                RerunState::Running => f.w.story.rerun_running.to_owned(),
                RerunState::Failed => f.w.story.rerun_failed.to_owned(),
                RerunState::Held => f.w.story.rerun_held.to_owned(),
                RerunState::Done => f.w.story.rerun.to_owned(),
            },
            // Who gave no answer in a run that is not shown is not told in the lead.
            steps: steps(&rerun.stages, Some(asked_at(rerun.run)), f, |_| Vec::new()),
        });
    }
    groups
}

/// Engines that gave no answer in a stage of a recording.
fn passed(failed: &[FailedEngine], recording: &RecordingSid, stage: Stage, f: &Frame) -> Vec<PassedView> {
    failed
        .iter()
        .filter(|failed| failed.stage == stage && failed.recording_sid == *recording)
        .map(|failed| PassedView::of(failed, f.w))
        .collect()
}

/// When a re-run was asked for: its number begins with the milliseconds.
pub(super) fn asked_at(run: Run) -> UnixMillis {
    UnixMillis(i64::try_from(run.0 / 1_000).unwrap_or(i64::MAX))
}

/// `began` is said of a stage at work that does not say itself since when.
fn steps(
    stages: &Stages,
    began: Option<UnixMillis>,
    f: &Frame,
    passed: impl Fn(Stage) -> Vec<PassedView>,
) -> Vec<StepView> {
    let current = stages.current().map(|(stage, _)| stage);
    Stage::ALL
        .into_iter()
        .map(|stage| {
            let view = stages.get(stage);
            // Nothing is at work behind a stage that gave up.
            let at_work = current == Some(stage) && view.state != StageState::Failed;
            let mut state = state::of_stage(stage, view, at_work, f);
            if at_work && view.state == StageState::Waiting && state.since.is_none() {
                state.since = began.map(|began| When::since(began, f));
            }
            StepView {
                name: state::stage_name(stage, f.w),
                state,
                why: WhyView::of(view, f),
                passed: passed(stage),
            }
        })
        .collect()
}

//! How a lead and its stages stand, in words a person understands.

use callfold_lead::{FailedEngine, Lead, NoMessageReason, StageState, StageView, Status};
use callfold_schema::event::FailureClass;
use callfold_schema::{Stage, UnixMillis};

use super::Frame;
use crate::show;
use crate::words::{Words, fill};

/// The shape that goes with the word: states are never told by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Turns: something is happening.
    Run,
    /// A tick.
    Done,
    /// An exclamation mark.
    Bad,
    /// A dash: an end without a result.
    End,
    /// A dotted ring: not begun.
    Idle,
}

/// A moment, in words and for the script.
pub(crate) struct When {
    pub(crate) text: String,
    pub(crate) millis: i64,
    pub(crate) rfc3339: String,
}

impl When {
    /// `היום 14:05`
    pub(crate) fn day(moment: UnixMillis, f: &Frame) -> Self {
        Self::new(moment, show::day_and_time(moment, f.now(), &f.timezone, f.w))
    }

    /// `מ־14:05:12`
    pub(crate) fn since(moment: UnixMillis, f: &Frame) -> Self {
        Self::new(moment, fill(f.w.state.since, show::clock(moment, &f.timezone)))
    }

    fn new(moment: UnixMillis, text: String) -> Self {
        Self {
            text,
            millis: moment.0,
            rfc3339: moment.rfc3339(),
        }
    }
}

/// A state as it is shown.
pub(crate) struct StateView {
    pub(crate) label: String,
    pub(crate) shape: Shape,
    /// Since when, for what is happening.
    pub(crate) since: Option<When>,
}

impl StateView {
    fn still(label: impl Into<String>, shape: Shape) -> Self {
        Self {
            label: label.into(),
            shape,
            since: None,
        }
    }

    /// The CSS class of the shape.
    pub(crate) fn class(&self) -> &'static str {
        match self.shape {
            Shape::Run => "run",
            Shape::Done => "done",
            Shape::Bad => "bad",
            Shape::End => "end",
            Shape::Idle => "idle",
        }
    }

    /// Whether everything went well and nothing more is to come.
    pub(crate) fn is_done(&self) -> bool {
        self.shape == Shape::Done
    }
}

/// How a lead stands.
pub(crate) fn of_lead(lead: &Lead, f: &Frame) -> StateView {
    let w = f.w;
    let label = match lead.status {
        // The caller hung up; whether a recording is coming is known in some minutes at most.
        Status::New | Status::Recording if lead.call.ended_at.is_some() => w.state.state_ended,
        Status::New => w.state.state_new,
        Status::Recording => w.state.state_recording,
        Status::Recorded => w.state.state_recorded,
        Status::Downloaded => w.state.state_downloaded,
        Status::Transcribed => w.state.state_transcribed,
        Status::Processed => return StateView::still(w.state.state_processed, Shape::Done),
        Status::Failed => return StateView::still(w.state.state_failed, Shape::Bad),
        Status::NoMessage => return StateView::still(no_message(lead, w), Shape::End),
    };
    let since = lead
        .stages
        .current()
        .and_then(|(_, view)| view.since)
        .unwrap_or(lead.updated_at);
    StateView {
        label: label.to_owned(),
        shape: Shape::Run,
        since: Some(When::since(since.0, f)),
    }
}

fn no_message(lead: &Lead, w: &Words) -> &'static str {
    match lead.missing.as_ref().map(|missing| missing.reason) {
        Some(NoMessageReason::NeverLeft) => w.state.state_hung_up,
        Some(NoMessageReason::Silent) => w.state.state_silent,
        Some(NoMessageReason::NotRecorded) => w.state.state_not_recorded,
        Some(NoMessageReason::Absent | NoMessageReason::Failed | NoMessageReason::DeadlinePassed) | None => {
            w.state.state_missing
        }
    }
}

/// The name of a stage.
pub(crate) fn stage_name(stage: Stage, w: &Words) -> &'static str {
    match stage {
        Stage::Download => w.state.stage_download,
        Stage::Transcribe => w.state.stage_transcribe,
        Stage::Summarize => w.state.stage_summarize,
    }
}

/// How a stage stands; `at_work` when it is the first that is not done.
pub(crate) fn of_stage(stage: Stage, view: &StageView, at_work: bool, f: &Frame) -> StateView {
    let w = f.w;
    let since = view.since.map(|since| When::since(since.0, f));
    match view.state {
        StageState::Waiting if at_work => {
            let label = match stage {
                Stage::Download => w.state.state_recorded,
                Stage::Transcribe => w.state.state_downloaded,
                Stage::Summarize => w.state.state_transcribed,
            };
            StateView {
                label: label.to_owned(),
                shape: Shape::Run,
                since,
            }
        }
        StageState::Waiting => StateView::still(w.state.stage_waiting, Shape::Idle),
        StageState::Retrying => StateView {
            label: w.state.stage_retrying.to_owned(),
            shape: Shape::Run,
            since: None,
        },
        StageState::Done => {
            let label = match view.elapsed_ms {
                Some(ms) => format!("{} · {}", w.state.stage_done, seconds(ms, w)),
                None => w.state.stage_done.to_owned(),
            };
            StateView::still(label, Shape::Done)
        }
        StageState::Failed => StateView::still(w.state.stage_failed, Shape::Bad),
        StageState::Skipped => StateView::still(w.state.stage_skipped, Shape::End),
    }
}

/// `8.2 שנ׳`
pub(crate) fn seconds(ms: u64, w: &Words) -> String {
    let tenths = ms.saturating_add(50) / 100;
    fill(w.time.seconds, format_args!("{}.{}", tenths / 10, tenths % 10))
}

/// An engine that gave no answer.
pub(crate) struct PassedView {
    pub(crate) engine: String,
    /// Why, in a few words.
    pub(crate) reason: &'static str,
    pub(crate) took: Option<String>,
    /// The reason as the worker said it: it is in English.
    pub(crate) text: String,
}

impl PassedView {
    pub(crate) fn of(failed: &FailedEngine, w: &Words) -> Self {
        Self {
            engine: failed.engine.clone(),
            reason: class_name(failed.class, w),
            took: (failed.elapsed_ms > 0).then(|| seconds(failed.elapsed_ms, w)),
            text: failed.text.clone(),
        }
    }
}

/// A class of failures in a few words.
pub(crate) fn class_name(class: FailureClass, w: &Words) -> &'static str {
    match class {
        FailureClass::NotYet => w.state.class_not_yet,
        FailureClass::Network => w.state.class_network,
        FailureClass::Timeout => w.state.class_timeout,
        FailureClass::RateLimited => w.state.class_rate_limited,
        FailureClass::Unavailable => w.state.class_unavailable,
        FailureClass::Credentials => w.state.class_credentials,
        FailureClass::NotFound => w.state.class_not_found,
        FailureClass::Refused => w.state.class_refused,
        FailureClass::NotAllowed => w.state.class_not_allowed,
        FailureClass::Invalid => w.state.class_invalid,
        FailureClass::Storage => w.state.class_storage,
        FailureClass::WorkerLost => w.state.class_worker_lost,
        FailureClass::Internal => w.state.class_internal,
        FailureClass::Resting => w.state.class_resting,
        FailureClass::Overtaken => w.state.class_overtaken,
    }
}

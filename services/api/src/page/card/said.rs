//! What happened, in a sentence of the reader's language: the story, and what is said after an action.
//!
//! [`callfold_lead::tell`] says the same in English for programs and tickets. Neither repeats what the caller said.

use callfold_lead::Disposition;
use callfold_schema::event::{FailureClass, LeadAction, MissingReason, StageFailed};
use callfold_schema::{Event, Record, Stage};

use super::super::state::{class_name, seconds, stage_name};
use super::who::isolated;
use super::work::disposition_name;
use crate::show;
use crate::words::{Words, fill};

/// One event in words.
pub(super) struct Sentence {
    pub(super) text: String,
    /// Who did it, as the event says.
    pub(super) by: Option<String>,
    /// What the worker said: it is in English.
    pub(super) technical: Option<String>,
    /// Whether something went wrong.
    pub(super) bad: bool,
}

impl Sentence {
    fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            by: None,
            technical: None,
            bad: false,
        }
    }

    fn by(self, by: &str) -> Self {
        Self {
            by: Some(by.to_owned()),
            ..self
        }
    }
}

/// What an event says.
pub(super) fn sentence(record: &Record, w: &Words) -> Sentence {
    let s = &w.story;
    let key = &record.envelope.subject.key;
    let mut told = match &record.event {
        Event::CallStarted(call) if show::is_withheld(&call.from) => Sentence::plain(s.call_withheld),
        Event::CallStarted(_) => Sentence::plain(s.call_started),
        Event::CallEnded(call) => Sentence::plain(match call.duration_s {
            Some(length) => fill(s.call_ended_after, isolated(&show::length(u64::from(length)))),
            None => s.call_ended.to_owned(),
        }),
        Event::RecordingStarted(_) => Sentence::plain(s.recording_started),
        Event::RecordingReady(ready) => Sentence::plain(match ready.duration_s {
            Some(length) => fill(s.recording_ready_of, isolated(&show::length(u64::from(length)))),
            None => s.recording_ready.to_owned(),
        }),
        Event::RecordingMissing(missing) => Sentence::plain(match missing.reason {
            MissingReason::Absent => s.missing_absent,
            MissingReason::Failed => s.missing_failed,
            MissingReason::NeverLeft => s.missing_hung_up,
            MissingReason::DeadlinePassed => s.missing_deadline,
        }),
        Event::RecordingDownloaded(done) => {
            Sentence::plain(fill(s.downloaded, isolated(&show::length_ms(done.duration_ms))))
        }
        Event::TranscriptReady(done) if done.engine.is_empty() => Sentence::plain(s.silent),
        Event::TranscriptReady(done) => Sentence::plain(fill(
            &fill(s.transcribed, isolated(&done.engine)),
            seconds(done.elapsed_ms, w),
        )),
        Event::SummaryReady(done) => Sentence::plain(fill(
            &fill(s.summarized, isolated(&done.engine)),
            seconds(done.elapsed_ms, w),
        )),
        Event::StageFailed(failed) => stage_failed(key.attempt, failed, w),
        Event::ReprocessRequested(asked) => {
            let text = fill(s.rerun_from, stage_name(asked.from, w));
            let text = match &asked.engine {
                Some(engine) => format!("{text} · {}", fill(s.rerun_with, isolated(engine))),
                None => text,
            };
            let text = if asked.hold {
                format!("{text} · {}", s.rerun_hold)
            } else {
                text
            };
            Sentence::plain(text).by(&asked.by)
        }
        Event::LeadUpdated(update) => Sentence::plain(action_words(&update.action, w)).by(&update.by),
        Event::CallErased(erased) => Sentence::plain(s.erased).by(&erased.by),
        Event::EraseDone(_) => Sentence::plain(s.erase_done),
    };
    if key.run.is_some_and(|run| run.0 > 0) && !matches!(record.event, Event::ReprocessRequested(_)) {
        told.text = format!("{} · {}", told.text, s.in_rerun);
    }
    if key.reconciled {
        told.text = format!("{} · {}", told.text, s.reconciled);
    }
    told
}

fn stage_failed(attempt: Option<(Stage, u32)>, failed: &StageFailed, w: &Words) -> Sentence {
    let s = &w.story;
    let (name, number) = attempt.map_or(("", 0), |(stage, number)| (stage_name(stage, w), number));
    let waits = failed.class == FailureClass::NotYet && number == 0;
    let what = if waits {
        s.stage_waits.to_owned()
    } else if failed.next_attempt_at.is_some() {
        fill(&fill(s.attempt_failed, number), failed.attempts_max)
    } else {
        fill(s.gave_up, number)
    };
    Sentence {
        text: format!("{name}: {what} · {}", class_name(failed.class, w)),
        by: None,
        technical: Some(failed.text.clone()),
        bad: !waits,
    }
}

/// What a person did. The words that people wrote stand on the card.
pub(super) fn action_words(action: &LeadAction, w: &Words) -> String {
    let s = &w.story;
    match action {
        LeadAction::Seen { seen: true } => s.seen.to_owned(),
        LeadAction::Seen { seen: false } => s.unseen.to_owned(),
        LeadAction::Disposition {
            disposition: Disposition::Open,
        } => s.reopened.to_owned(),
        LeadAction::Disposition { disposition } => fill(s.marked, disposition_name(*disposition, w)),
        LeadAction::Note { text } if text.trim().is_empty() => s.note_removed.to_owned(),
        LeadAction::Note { .. } => s.note_written.to_owned(),
        LeadAction::Assignee { assignee: Some(name) } => {
            fill(s.assigned, isolated(&super::who::who(name, w)))
        }
        LeadAction::Assignee { assignee: None } => s.unassigned.to_owned(),
        LeadAction::Tags { .. } => s.tagged.to_owned(),
        LeadAction::Transcript { text: Some(_), .. } => s.corrected.to_owned(),
        LeadAction::Transcript { text: None, .. } => s.correction_removed.to_owned(),
        LeadAction::CallerName { .. } => s.name_corrected.to_owned(),
        LeadAction::CallbackNumber { .. } => s.number_corrected.to_owned(),
        LeadAction::Adopt { run: Some(_) } => s.adopted.to_owned(),
        LeadAction::Adopt { run: None } => s.adopted_by_rule.to_owned(),
    }
}

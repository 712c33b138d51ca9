//! What people do with a lead, as the card offers it: buttons, fields, and what was typed and not taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callfold_lead::{Disposition, Lead, PersonChange, RerunState};
use callfold_people::People;
use callfold_schema::event::LeadAction;
use callfold_schema::{Run, Stage};

use super::super::Frame;
use super::super::row::caller_name;
use super::super::state::stage_name;
use super::who::who;
use crate::error::ApiError;
use crate::words::Words;

/// Most names that are offered for somebody to look after a lead.
const NAMES_MAX: usize = 50;

/// A button that says what became of a lead. Pressed again it takes that back.
pub(crate) struct ChoiceView {
    pub(crate) name: &'static str,
    /// What it sends.
    pub(crate) value: &'static str,
    pub(crate) pressed: bool,
}

/// A tag.
pub(crate) struct TagView {
    pub(crate) name: String,
}

/// Text that somebody typed and that was not taken, since another person was faster.
pub(crate) struct DraftView {
    /// The field: `note`, `assignee`, `transcript`.
    pub(crate) field: &'static str,
    /// The recording, for a transcript.
    pub(crate) recording: Option<String>,
    pub(crate) text: String,
}

/// The names of those who work here, as they were read last: a card is opened more often than people come and go.
#[derive(Default)]
pub(crate) struct Colleagues(tokio::sync::Mutex<Option<(Instant, Arc<Vec<String>>)>>);

/// How long they are remembered.
const COLLEAGUES_KEPT: Duration = Duration::from_secs(10);

impl Colleagues {
    /// All names, in order.
    pub(super) async fn names(&self, people: &People) -> Result<Arc<Vec<String>>, ApiError> {
        let mut known = self.0.lock().await;
        if let Some((read, names)) = &*known
            && read.elapsed() < COLLEAGUES_KEPT
        {
            return Ok(Arc::clone(names));
        }
        let everybody = people.everybody().await?;
        let names: Arc<Vec<String>> = Arc::new(everybody.into_iter().map(|person| person.name).collect());
        *known = Some((Instant::now(), Arc::clone(&names)));
        Ok(names)
    }
}

/// What people had made of a lead, for a card of the past: to read.
pub(crate) struct StandingView {
    pub(crate) disposition: &'static str,
    pub(crate) assignee: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) note: Option<String>,
}

impl StandingView {
    pub(super) fn of(lead: &Lead, f: &Frame) -> Self {
        Self {
            disposition: disposition_name(lead.disposition, f.w),
            assignee: lead.assignee.as_deref().map(|name| who(name, f.w)),
            tags: lead.tags.clone(),
            note: lead.note.clone(),
        }
    }
}

/// The people's side of the card.
pub(crate) struct WorkView {
    /// Whether the one who looks is a person: only then opening the card marks it as seen.
    pub(crate) person: bool,
    pub(crate) seen: bool,
    pub(crate) choices: Vec<ChoiceView>,
    pub(crate) note: String,
    /// Who looks after it, in words.
    pub(crate) assignee: Option<String>,
    /// Whether that is the one who looks.
    pub(crate) mine: bool,
    /// The caller's name and the number to call back at, to be put right.
    pub(crate) caller_name: String,
    pub(crate) callback_number: String,
    /// Names to choose from.
    pub(crate) names: Vec<String>,
    pub(crate) tags: Vec<TagView>,
    pub(crate) draft: Option<DraftView>,
    pub(crate) rerun: Vec<FromView>,
    /// Whether there are two runs to hold against each other, and which.
    pub(crate) compare: Option<String>,
}

/// A stage to begin with again.
pub(crate) struct FromView {
    pub(crate) token: &'static str,
    pub(crate) name: &'static str,
}

impl WorkView {
    pub(super) fn of(
        lead: &Lead,
        changes: &[PersonChange],
        colleagues: &[String],
        draft: Option<DraftView>,
        f: &Frame,
    ) -> Self {
        let me = f.viewer.person.as_deref();
        Self {
            person: me.is_some(),
            seen: lead.seen,
            choices: choices(lead.disposition, f.w),
            note: lead.note.clone().unwrap_or_default(),
            assignee: lead.assignee.as_deref().map(|name| who(name, f.w)),
            mine: me.is_some() && lead.assignee.as_deref() == me,
            caller_name: caller_name(lead).unwrap_or_default(),
            callback_number: lead
                .callback_number
                .as_ref()
                .map(|number| number.as_str().to_owned())
                .unwrap_or_default(),
            names: names(changes, colleagues),
            tags: lead
                .tags
                .iter()
                .map(|name| TagView { name: name.clone() })
                .collect(),
            draft,
            rerun: Stage::ALL
                .into_iter()
                .filter(|stage| !lead.rerun_inputs(*stage).is_empty())
                .map(|stage| FromView {
                    token: stage.token(),
                    name: stage_name(stage, f.w),
                })
                .collect(),
            compare: comparable(lead).map(|(a, b)| format!("/leads/{}/compare?a={a}&b={b}", lead.call_sid)),
        }
    }

    /// The draft of a field.
    pub(crate) fn typed(&self, field: &str, recording: &str) -> Option<&str> {
        let draft = self.draft.as_ref()?;
        let is_it = draft.field == field && draft.recording.as_deref().unwrap_or_default() == recording;
        is_it.then_some(draft.text.as_str())
    }

    /// The name in the field for who looks after it.
    pub(crate) fn assignee_field(&self) -> &str {
        self.typed("assignee", "").unwrap_or_default()
    }

    /// The caller's name as the field holds it.
    pub(crate) fn caller_name_field(&self) -> &str {
        self.typed("caller_name", "").unwrap_or(&self.caller_name)
    }

    /// The number to call back at as the field holds it.
    pub(crate) fn callback_number_field(&self) -> &str {
        self.typed("callback_number", "").unwrap_or(&self.callback_number)
    }

    /// The note as the field holds it.
    pub(crate) fn note_field(&self) -> &str {
        self.typed("note", "").unwrap_or(&self.note)
    }
}

fn choices(now: Disposition, w: &Words) -> Vec<ChoiceView> {
    let choice = |disposition: Disposition| ChoiceView {
        name: disposition_name(disposition, w),
        value: if now == disposition {
            Disposition::Open.token()
        } else {
            disposition.token()
        },
        pressed: now == disposition,
    };
    [Disposition::CalledBack, Disposition::Done, Disposition::Spam]
        .into_iter()
        .map(choice)
        .collect()
}

/// What became of a lead, in words.
pub(super) fn disposition_name(disposition: Disposition, w: &Words) -> &'static str {
    match disposition {
        Disposition::Open => w.card.open,
        Disposition::CalledBack => w.card.called_back,
        Disposition::Done => w.card.done,
        Disposition::Spam => w.card.spam,
    }
}

/// The people who had to do with the lead.
fn names(changes: &[PersonChange], colleagues: &[String]) -> Vec<String> {
    let mut names: BTreeSet<String> = colleagues.iter().cloned().collect();
    for change in changes {
        if let LeadAction::Assignee { assignee: Some(name) } = &change.update.action {
            names.insert(name.clone());
        }
        names.insert(change.update.by.clone());
    }
    let is_a_name = |name: &String| !matches!(name.as_str(), "" | "session" | "token" | "api");
    names.into_iter().filter(is_a_name).take(NAMES_MAX).collect()
}

/// The runs to hold against each other: what is shown, and the newest run besides that is complete.
pub(super) fn comparable(lead: &Lead) -> Option<(Run, Run)> {
    let is_complete = |state| matches!(state, RerunState::Done | RerunState::Held);
    let other = lead
        .runs
        .iter()
        .rev()
        .find(|known| is_complete(known.state) && known.run != lead.run)
        .map(|known| known.run)
        .or_else(|| (lead.run != Run::FIRST).then_some(Run::FIRST))?;
    Some((lead.run.min(other), lead.run.max(other)))
}

//! What people did → what stands on the card. The highest revision decides a value; each action says the whole value.

use std::collections::BTreeMap;

use callfold_schema::event::{Disposition, LeadAction};
use callfold_schema::{PhoneNumber, RecordingSid, Run, UnixMillis};

use super::Facts;
use crate::lead::Lead;

/// What people did with a lead, the last word of each.
#[derive(Default)]
pub(super) struct Person<'a> {
    disposition: Option<Disposition>,
    seen: bool,
    note: &'a str,
    assignee: Option<&'a str>,
    tags: &'a [String],
    /// The text of a recording and the revision it stands in.
    texts: BTreeMap<&'a RecordingSid, (u64, &'a str)>,
    caller_name: Option<&'a str>,
    callback_number: Option<&'a PhoneNumber>,
    /// The run that was chosen, and when.
    pub(super) adopted: Option<(Run, UnixMillis)>,
    revision: u64,
}

impl<'a> Person<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        let mut person = Self::default();
        for (revision, fact) in &facts.updates {
            let Some(fact) = fact else { continue };
            person.revision = *revision;
            match &fact.data.action {
                LeadAction::Seen { seen } => person.seen = *seen,
                LeadAction::Disposition { disposition } => person.disposition = Some(*disposition),
                LeadAction::Note { text } => person.note = text.trim(),
                LeadAction::Assignee { assignee } => person.assignee = assignee.as_deref(),
                LeadAction::Tags { tags } => person.tags = tags,
                LeadAction::Transcript {
                    recording_sid,
                    text: Some(text),
                } => {
                    person.texts.insert(recording_sid, (*revision, text));
                }
                LeadAction::Transcript {
                    recording_sid,
                    text: None,
                } => {
                    person.texts.remove(recording_sid);
                }
                LeadAction::CallerName { name } => person.caller_name = name.as_deref(),
                LeadAction::CallbackNumber { number } => person.callback_number = number.as_ref(),
                LeadAction::Adopt { run } => person.adopted = run.map(|run| (run, fact.time)),
            }
        }
        person
    }

    /// The revision that holds the text of a recording.
    pub(super) fn corrected(&self, recording: &RecordingSid) -> Option<u64> {
        self.texts.get(recording).map(|(revision, _)| *revision)
    }

    /// The text of a recording.
    pub(super) fn text(&self, recording: &RecordingSid) -> Option<&'a str> {
        self.texts.get(recording).map(|(_, text)| *text)
    }

    /// All corrected texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'a RecordingSid, &'a str)> {
        self.texts.iter().map(|(sid, (_, text))| (*sid, *text))
    }

    /// Puts it on the card, over what the summary found.
    pub(super) fn tell(&self, lead: &mut Lead) {
        lead.disposition = self.disposition.unwrap_or(Disposition::Open);
        lead.seen = self.seen;
        lead.note = Some(self.note.to_owned()).filter(|note| !note.is_empty());
        lead.assignee = self.assignee.map(str::to_owned);
        lead.tags = self.tags.to_vec();
        lead.adopted = self.adopted.map(|(run, _)| run);
        lead.revision = self.revision;
        if let Some(name) = self.caller_name {
            lead.caller_name = Some(name.to_owned());
        }
        if let Some(number) = self.callback_number {
            lead.callback_number = Some(number.clone());
        }
    }
}

//! A line of the queue.

use callfold_lead::{Disposition, Lead};
use callfold_schema::PhoneNumber;
use callfold_schema::event::Urgency;
use callfold_store::EARLIER_MAX;

use super::Frame;
use super::pieces::{Pieces, has_hit, marked, marked_number, snippet};
use super::state::{StateView, When, of_lead};
use crate::show;
use crate::words::fill;

/// How much of a transcript stands in for a headline that is not there yet, in characters.
const EXCERPT_CHARS: usize = 160;

/// A number as it is shown.
pub(crate) struct NumberView {
    pub(crate) withheld: bool,
    pub(crate) text: String,
    /// E.164, when it can be called back.
    pub(crate) tel: Option<String>,
}

impl NumberView {
    pub(crate) fn of(number: &PhoneNumber) -> Self {
        Self {
            withheld: show::is_withheld(number),
            text: show::phone(number),
            tel: show::can_call_back(number).then(|| number.as_str().to_owned()),
        }
    }
}

/// A number that the caller said.
pub(crate) struct SaidNumberView {
    pub(crate) text: String,
    /// As it is dialled, when it can be.
    pub(crate) tel: Option<String>,
}

impl SaidNumberView {
    pub(crate) fn of(lead: &Lead) -> Option<Self> {
        let number = lead.callback_number.as_ref()?;
        Some(Self {
            text: show::said_phone(number),
            tel: show::said_tel(number),
        })
    }
}

/// The caller's name: the one that was said, else the one the network knows.
pub(crate) fn caller_name(lead: &Lead) -> Option<String> {
    non_empty(lead.caller_name.as_deref()).or_else(|| non_empty(lead.caller.name.as_deref()))
}

/// Whether the caller needs an answer at once.
pub(crate) fn is_urgent(lead: &Lead) -> bool {
    lead.urgency == Some(Urgency::High)
}

/// A line of the queue.
pub(crate) struct RowView {
    pub(crate) call_sid: String,
    /// The card, with the list it was opened from.
    pub(crate) href: String,
    pub(crate) unread: bool,
    pub(crate) name: Option<Pieces>,
    pub(crate) withheld: bool,
    pub(crate) number: Pieces,
    pub(crate) received: When,
    pub(crate) headline: Option<Pieces>,
    /// What stands around a hit in the transcript, where the headline does not hold it.
    pub(crate) snippet: Option<Pieces>,
    pub(crate) urgent: bool,
    pub(crate) topic: Option<Pieces>,
    pub(crate) state: StateView,
    pub(crate) length: Option<String>,
    /// How many calls came from the number before.
    pub(crate) earlier: Option<String>,
    /// What a person made of it; `None` while it is open.
    pub(crate) handling: Option<&'static str>,
    assignee: Option<String>,
}

impl RowView {
    /// Whether there is a last line.
    pub(crate) fn has_under(&self) -> bool {
        self.handling.is_some()
            || self.name.is_some()
            || self.length.is_some()
            || self.topic.is_some()
            || self.earlier.is_some()
            || self.assignee.is_some()
    }

    /// Who looks after it, between the words for it: a name has a direction of its own.
    pub(crate) fn assignee(&self, f: &Frame) -> Option<(&'static str, &str, &'static str)> {
        let name = self.assignee.as_deref()?;
        let words = f.w.queue.assigned_to;
        let (before, behind) = words.split_once("{}").unwrap_or((words, ""));
        Some((before, name, behind))
    }

    /// `words` are those of the search, `earlier` the calls from this number before, `list` the query of the list.
    pub(crate) fn of(lead: &Lead, words: &[String], earlier: u32, list: &str, f: &Frame) -> Self {
        let number = NumberView::of(&lead.phone);
        let headline = non_empty(lead.summary_title.as_deref());
        let transcript = lead.transcript.as_deref().unwrap_or_default();
        let is_excerpt = headline.is_none();
        let headline = headline
            .map(|text| marked(&text, words))
            .or_else(|| snippet(transcript, words))
            .or_else(|| excerpt(transcript).map(|text| marked(&text, words)));
        let is_told = is_excerpt || headline.as_deref().is_some_and(has_hit);
        let w = &f.w.queue;
        Self {
            call_sid: lead.call_sid.to_string(),
            href: format!("/leads/{}{list}", lead.call_sid),
            unread: !lead.seen,
            name: caller_name(lead).map(|name| marked(&name, words)),
            withheld: number.withheld,
            number: marked_number(&number.text, words),
            received: When::day(lead.created_at.0, f),
            headline,
            snippet: snippet(transcript, words).filter(|_| !is_told),
            urgent: is_urgent(lead),
            topic: non_empty(lead.topic.as_deref()).map(|topic| marked(&topic, words)),
            state: of_lead(lead, f),
            length: message_length(lead),
            earlier: match earlier {
                0 => None,
                1 => Some(w.earlier_one.to_owned()),
                EARLIER_MAX.. => Some(fill(w.earlier_calls, format_args!("{EARLIER_MAX}+"))),
                more => Some(fill(w.earlier_calls, more)),
            },
            handling: match lead.disposition {
                Disposition::Open => None,
                Disposition::CalledBack => Some(w.called_back),
                Disposition::Done => Some(w.done),
                Disposition::Spam => Some(w.spam),
            },
            assignee: non_empty(lead.assignee.as_deref()),
        }
    }
}

/// The length of all recordings together, where it is known.
pub(crate) fn message_length(lead: &Lead) -> Option<String> {
    lead.recordings
        .iter()
        .filter_map(|recording| {
            recording
                .duration_ms
                .or(recording.duration_s.map(|s| u64::from(s) * 1000))
        })
        .reduce(u64::saturating_add)
        .map(show::length_ms)
}

/// A text that says something.
pub(crate) fn non_empty(text: Option<&str>) -> Option<String> {
    text.map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn excerpt(transcript: &str) -> Option<String> {
    let text = non_empty(Some(transcript))?;
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => Some(format!("{}…", text[..end].trim_end())),
        None => Some(text),
    }
}

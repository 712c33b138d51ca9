//! A line of the queue.

use callfold_lead::Lead;
use callfold_schema::PhoneNumber;
use callfold_schema::event::Urgency;

use super::Frame;
use super::state::{StateView, When, of_lead};
use crate::show;

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
    pub(crate) name: Option<String>,
    pub(crate) number: NumberView,
    pub(crate) received: When,
    pub(crate) headline: Option<String>,
    pub(crate) urgent: bool,
    pub(crate) topic: Option<String>,
    pub(crate) state: StateView,
    pub(crate) length: Option<String>,
}

impl RowView {
    pub(crate) fn of(lead: &Lead, f: &Frame) -> Self {
        Self {
            call_sid: lead.call_sid.to_string(),
            name: caller_name(lead),
            number: NumberView::of(&lead.phone),
            received: When::day(lead.created_at.0, f),
            headline: non_empty(lead.summary_title.as_deref())
                .or_else(|| lead.transcript.as_deref().and_then(excerpt)),
            urgent: is_urgent(lead),
            topic: non_empty(lead.topic.as_deref()),
            state: of_lead(lead, f),
            length: message_length(lead),
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

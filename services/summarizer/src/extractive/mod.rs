//! The offline summary: sentences of the message itself, chosen by rule.
//!
//! The headline is the sentence that asks for something (or names a trouble, or carries most words that mean anything);
//! the points are the next most telling ones, in the order in which they were said, none that repeats another. Nothing is
//! worded anew but numbers, which are written in digits, so nothing can be invented. Written for Hebrew phone messages;
//! the same rules know the English words for the same things.

mod facts;
mod sentence;
mod vocabulary;

use callfold_schema::event::Urgency;

use crate::numbers::with_digits;
use crate::repeat::Said;
use crate::summary::{POINTS_MAX, Summary};

pub(crate) use facts::{Haste, may_be_name};
use sentence::{Sentence, sentences};
pub(crate) use vocabulary::EMPTY_WORDS;

/// The version of these rules, stored with each summary they make.
pub const RULES_VERSION: u32 = 2;
/// The name of the engine.
pub const ENGINE: &str = "extractive";

/// Longest text that is looked at, in characters; what is said later does not change the headline.
const TEXT_CHARS_MAX: usize = 100_000;

/// What a card shows beside the summary, each where it was said.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The name the caller gave.
    pub caller_name: Option<String>,
    /// The number to call back, as it is dialled: digits, behind a `+` or `*` where that was said.
    pub callback_number: Option<String>,
    /// What it is about, in a few words.
    pub topic: Option<String>,
    /// How soon an answer is needed, where there were words for it.
    pub urgency: Option<Urgency>,
}

/// Names and numbers are never logged, by accident neither.
impl std::fmt::Debug for Details {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Details")
            .field("caller_name", &self.caller_name.is_some())
            .field("callback_number", &self.callback_number.is_some())
            .field("topic", &self.topic.is_some())
            .field("urgency", &self.urgency)
            .finish()
    }
}

/// Summarises a message; `None` when nothing was said.
#[must_use]
pub fn summarize(text: &str) -> Option<(Summary, Details)> {
    let text = head(text);
    let sentences: Vec<Sentence> = sentences(text).iter().map(|text| Sentence::read(text)).collect();
    let mut title = sentences.first()?;
    for sentence in &sentences {
        // Strictly better: of two that ask, the first one is the headline.
        if sentence.title_score() > title.title_score() {
            title = sentence;
        }
    }
    let mut others: Vec<(usize, &Sentence)> = sentences
        .iter()
        .enumerate()
        .filter(|(_, sentence)| !sentence.is_courtesy)
        .collect();
    // A stable sort: of two that tell as much, the first one said goes first.
    others.sort_by(|(_, a), (_, b)| b.point_score().total_cmp(&a.point_score()));
    let said_by_title = Said::of(&title.text);
    let mut points: Vec<(usize, &Sentence, Said)> = Vec::new();
    for (index, sentence) in others {
        if points.len() == POINTS_MAX {
            break;
        }
        let said = Said::of(&sentence.text);
        let repeats = |told: &Sentence, before: &Said| {
            let is_same_number = told.number.is_some() && told.number == sentence.number;
            is_same_number || before.is_same(&said)
        };
        let is_told =
            repeats(title, &said_by_title) || points.iter().any(|(_, told, before)| repeats(told, before));
        if !is_told {
            points.push((index, sentence, said));
        }
    }
    points.sort_by_key(|(index, ..)| *index);
    let summary = Summary::new(
        &with_digits(&title.text),
        points.iter().map(|(_, sentence, _)| with_digits(&sentence.text)),
    )?;
    Some((summary, facts::details(&sentences, title)))
}

/// The text up to [`TEXT_CHARS_MAX`].
fn head(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(TEXT_CHARS_MAX)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests;

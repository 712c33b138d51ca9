//! Sentences of a message, and what is noticed in each.

use std::collections::BTreeSet;

use super::vocabulary::{
    CALL_BACK, CALL_BACK_PHRASES, COURTESIES, DETAILS, EMPTY_WORDS, GREETINGS, INTRODUCTION_PHRASES,
    INTRODUCTIONS, REQUEST_OBJECT_PHRASES, REQUEST_OBJECTS, REQUEST_PHRASES, REQUESTS, THOUGHTS,
    TROUBLE_PHRASES, TROUBLES,
};
use crate::numbers::callback_in;
use crate::text::clean;
use crate::words::word;

/// Sentences above this many words are taken for several that a recogniser ran together.
const SENTENCE_WORDS_LONG: usize = 6;
/// Sentences above this many words are cut at their commas, too.
const CLAUSES_WORDS_LONG: usize = 9;
/// Longest sentence, in words: where a recogniser puts no punctuation, whole calls are one.
const SENTENCE_WORDS_MAX: usize = 60;
/// So many words more where it would end within a number.
const NUMBER_WORDS_MAX: usize = 20;
/// Longest word, in characters; a longer one is cut.
const WORD_CHARS_MAX: usize = 200;
/// More distinct words than this do not make a sentence more telling.
const INFORMATION_WORDS_MAX: usize = 8;
/// With so many of them a request says what it is for.
const INFORMATION_WORDS_CLEAR: f32 = 3.0;

/// Words whose thought goes on behind them.
const LEADS_ON: &[&str] = &[
    "לא",
    "אם",
    "כי",
    "עדיין",
    "עוד",
    "גם",
    "רק",
    "אבל",
    "או",
    "not",
    "if",
    "because",
    "that",
    "but",
    "or",
];

/// Cuts a text into sentences: at full stops and the like, and, where a recogniser left those out, before the words
/// that begin a new thought.
pub(super) fn sentences(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current = String::new();
    let mut unbroken = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        unbroken = if c.is_whitespace() { 0 } else { unbroken + 1 };
        if unbroken > WORD_CHARS_MAX {
            current.push(' ');
            unbroken = 1;
        }
        // `3.5` and `a.co.il` go on; `…` and line ends stop.
        let stops = match c {
            '!' | '?' | '…' | '\n' | '\r' | ';' => true,
            '.' => chars.peek().is_none_or(|next| !next.is_alphanumeric()),
            _ => false,
        };
        if c == '?' || !stops {
            current.push(c);
        }
        if stops {
            push_sentence(&mut out, &current);
            current.clear();
        }
    }
    push_sentence(&mut out, &current);
    out
}

fn push_sentence(out: &mut Vec<String>, text: &str) {
    let text = clean(text);
    let tokens: Vec<&str> = text
        .split(' ')
        .filter(|token| token.chars().any(char::is_alphanumeric))
        .collect();
    if tokens.is_empty() {
        return;
    }
    if tokens.len() <= SENTENCE_WORDS_LONG {
        out.push(text);
        return;
    }
    let words: Vec<String> = tokens.iter().map(|token| word(token)).collect();
    let mut start = 0;
    for at in 1..tokens.len() {
        // Two words at least in each part; a number's groups are not torn at their commas.
        let room = at >= start + 2 && !LEADS_ON.contains(&words[at - 1].as_str());
        let is_long = tokens.len() > CLAUSES_WORDS_LONG;
        let after_comma =
            is_long && tokens[at - 1].ends_with(',') && at >= start + 3 && tokens.len() - at >= 3;
        let is_full = at - start >= SENTENCE_WORDS_MAX
            && (at - start >= SENTENCE_WORDS_MAX + NUMBER_WORDS_MAX
                || !(is_number(&words[at - 1]) && is_number(&words[at])));
        let is_end = room && (begins_thought(&words[at..]) || (after_comma && !is_number(&words[at])));
        if is_full || is_end {
            out.push(join(&tokens[start..at]));
            start = at;
        }
    }
    out.push(join(&tokens[start..]));
}

fn join(tokens: &[&str]) -> String {
    tokens.join(" ").trim_end_matches([',', ':', '-', '–']).to_owned()
}

/// One sentence and what was noticed in it.
pub(super) struct Sentence {
    pub(super) text: String,
    pub(super) words: Vec<String>,
    /// How clearly it asks for something, from 0.
    pub(super) request: f32,
    /// It asks to be called back, or says when and where.
    pub(super) is_contact: bool,
    /// The number to call in it, and how sure it is that it is one.
    pub(super) number: Option<(String, u8)>,
    /// It says who speaks.
    pub(super) is_introduction: bool,
    /// It says that something is broken.
    pub(super) is_trouble: bool,
    /// It says how urgent it is or what it may cost.
    pub(super) is_detail: bool,
    /// A greeting, thanks or good-bye and nothing else.
    pub(super) is_courtesy: bool,
    /// Distinct words that mean something, at most [`INFORMATION_WORDS_MAX`].
    information: f32,
}

impl Sentence {
    pub(super) fn read(text: &str) -> Self {
        let text = without_greeting(text);
        let words: Vec<String> = text
            .split(' ')
            .map(word)
            .filter(|word| !word.is_empty())
            .collect();
        let has = |list: &[&str]| words.iter().any(|word| is_one_of(word, list));
        let phrase = |list: &[&[&str]]| list.iter().any(|phrase| holds(&words, phrase));
        let is_courtesy = words.iter().all(|word| is_one_of(word, COURTESIES));
        let number = callback_in(text);
        let is_contact = has(CALL_BACK) || phrase(CALL_BACK_PHRASES) || number.is_some();
        let mut request = 0.0;
        if has(REQUESTS) || phrase(REQUEST_PHRASES) {
            request += 4.0;
        }
        if has(REQUEST_OBJECTS) || phrase(REQUEST_OBJECT_PHRASES) {
            request += 1.5;
        }
        // "I would like you to call me back" asks, but does not say what for.
        if is_contact {
            request *= 0.25;
        }
        let information = words
            .iter()
            .filter(|word| word.chars().count() > 2)
            .filter(|word| {
                [EMPTY_WORDS, COURTESIES, REQUESTS]
                    .iter()
                    .all(|list| !is_one_of(word, list))
            })
            .collect::<BTreeSet<_>>()
            .len()
            .min(INFORMATION_WORDS_MAX) as f32;
        Self {
            request,
            is_contact,
            number,
            is_introduction: has(INTRODUCTIONS) || phrase(INTRODUCTION_PHRASES),
            is_trouble: has(TROUBLES) || phrase(TROUBLE_PHRASES),
            is_detail: has(DETAILS),
            is_courtesy,
            information,
            text: text.to_owned(),
            words,
        }
    }

    pub(super) fn title_score(&self) -> f32 {
        // Among those that ask it only matters whether they say for what, so that the first of them wins.
        let mut score = match (self.request > 0.0, self.information >= INFORMATION_WORDS_CLEAR) {
            (true, true) => self.request + 1.0,
            (true, false) => self.request,
            (false, _) => 0.25 * self.information,
        };
        // "Is anybody there?"
        if self.information == 0.0 && self.request == 0.0 && !self.is_trouble {
            score -= 3.0;
        }
        if self.is_trouble && self.request == 0.0 {
            score += 2.0;
        }
        if self.is_introduction {
            // It may go on to the matter: then the request outweighs this.
            score -= 2.0;
        }
        if self.is_contact {
            score -= 2.5;
        }
        if self.is_courtesy {
            score -= 10.0;
        }
        score
    }

    pub(super) fn point_score(&self) -> f32 {
        let mut score = 0.5 * self.request + 0.15 * self.information;
        if self.number.is_some() {
            score += 3.0;
        }
        if self.is_contact {
            score += 3.0;
        }
        if self.is_introduction {
            score += 2.5;
        }
        if self.is_trouble {
            score += 2.0;
        }
        if self.is_detail {
            score += 2.5;
        }
        score
    }
}

/// The sentence without "good morning" in front of it, unless that is all it says.
pub(super) fn without_greeting(text: &str) -> &str {
    let mut rest = text;
    while let Some(greeting) = GREETINGS.iter().find_map(|greeting| strip_words(rest, greeting)) {
        rest = greeting;
    }
    if !rest.chars().any(char::is_alphanumeric) {
        return text;
    }
    // "And" was written onto a thought that now stands alone.
    match rest.strip_prefix('ו') {
        Some(bare) if begins_with_any(bare, &["אני ", "אנחנו ", "רציתי ", "אשמח ", "אפשר ", "בבקשה "]) => {
            bare
        }
        _ => rest,
    }
}

fn begins_with_any(text: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| text.starts_with(beginning))
}

/// `text` behind the words of `greeting` (compared as [`word`] reads them), when it begins with them.
fn strip_words<'t>(text: &'t str, greeting: &[&str]) -> Option<&'t str> {
    let mut rest = text.trim_start();
    for expected in greeting {
        let (token, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        if word(token) != *expected {
            return None;
        }
        rest = behind.trim_start();
    }
    (!rest.is_empty()).then_some(rest)
}

/// Whether the word is in the list, as it is or behind the Hebrew "and" and "that" that are written onto it.
pub(super) fn is_one_of(word: &str, list: &[&str]) -> bool {
    let bare = ["ו", "ש", "כש", "וש"]
        .iter()
        .filter_map(|prefix| word.strip_prefix(prefix));
    list.contains(&word) || bare.into_iter().any(|word| list.contains(&word))
}

pub(super) fn holds(words: &[String], phrase: &[&str]) -> bool {
    words
        .windows(phrase.len())
        .any(|window| begins_with(window, phrase))
}

pub(super) fn begins_with(words: &[String], phrase: &[&str]) -> bool {
    words.len() >= phrase.len()
        && words
            .iter()
            .zip(phrase)
            .all(|(word, expected)| is_one_of(word, &[expected]))
}

/// Only "and" may be written onto its first word: "that" goes on with the sentence before.
fn begins_thought(words: &[String]) -> bool {
    let goes_on = |phrase: &[&str]| words[0].starts_with('ש') && words[0] != phrase[0];
    THOUGHTS
        .iter()
        .any(|phrase| begins_with(words, phrase) && !goes_on(phrase))
}

/// A number's groups are not torn apart.
fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || crate::numbers::is_digit_word(word)
}

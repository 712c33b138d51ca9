//! The words leads are found by. They are made here, once, so that both backends find the same: a backend only keeps
//! the words and compares beginnings.
//!
//! A word is a run of letters and digits, in lower case, without niqqud and cantillation, final letters of Hebrew as
//! ordinary ones (so that the beginning of a longer word is found), quotation marks inside a word left out (`צה"ל`).
//! Groups of digits joined by hyphens are one word, and leading zeros are dropped: `050-123` and `50123` are the same.

use std::collections::BTreeSet;
use std::ops::Range;

use callfold_lead::{Disposition, Lead, Status};
use sha2::{Digest as _, Sha256};

use crate::read::LeadFilter;

/// The longest word that is kept, in characters; the rest of a longer one is cut off.
pub const WORD_CHARS_MAX: usize = 48;
/// The most words that are kept of one lead.
pub const WORDS_MAX: usize = 20_000;
/// The most words of a query that count.
pub const QUERY_WORDS_MAX: usize = 8;
/// Digits a number is found by from its end. The last groups of a number are what people remember, and without its
/// country code it is what they dial.
const NUMBER_TAILS: [usize; 5] = [4, 7, 8, 9, 10];

/// From which fold on rows have marks. Tables of an older one are searched without them until they are rebuilt.
pub const MARKED_FROM_FOLD: u32 = 4;

/// What is written into the index of words: the words of a lead, and its marks, with one space between.
///
/// A mark is a character that is in no word (of the private use area of Unicode). It says how the lead stands, so that the
/// index alone finds the few open leads among the many that hold a word. A mark only narrows: rows are checked all the same.
pub fn index_text(lead: &Lead) -> String {
    let mut text = lead_words(lead).join(" ");
    let marks = [
        Some(status_mark(lead.status)),
        Some(disposition_mark(lead.disposition)),
        Some(seen_mark(lead.seen)),
        lead.assignee.as_deref().map(assignee_mark),
    ];
    for mark in marks.into_iter().flatten() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push(mark);
    }
    text
}

/// The marks that a filter asks for: of each group, one of the marks in it.
pub fn filter_marks(filter: &LeadFilter) -> Vec<Vec<char>> {
    let group = |marks: BTreeSet<char>| marks.into_iter().collect::<Vec<_>>();
    let mut groups = vec![
        group(filter.status.iter().map(|status| status_mark(*status)).collect()),
        group(
            filter
                .disposition
                .iter()
                .map(|disposition| disposition_mark(*disposition))
                .collect(),
        ),
        filter.seen.map(seen_mark).into_iter().collect(),
        filter
            .assignee
            .as_deref()
            .map(assignee_mark)
            .into_iter()
            .collect(),
    ];
    groups.retain(|marks| !marks.is_empty());
    groups
}

/// All that goes on is one: a mark is dear to change, and a call goes through five of these in a minute.
fn status_mark(status: Status) -> char {
    match status {
        Status::New | Status::Recording | Status::Recorded | Status::Downloaded | Status::Transcribed => {
            '\u{e000}'
        }
        Status::Processed => '\u{e001}',
        Status::NoMessage => '\u{e002}',
        Status::Failed => '\u{e003}',
    }
}

fn disposition_mark(disposition: Disposition) -> char {
    match disposition {
        Disposition::Open => '\u{e010}',
        Disposition::CalledBack => '\u{e011}',
        Disposition::Done => '\u{e012}',
        Disposition::Spam => '\u{e013}',
    }
}

fn seen_mark(seen: bool) -> char {
    if seen { '\u{e021}' } else { '\u{e020}' }
}

/// One of 2048: two people may share one.
fn assignee_mark(assignee: &str) -> char {
    let digest = Sha256::digest(assignee.as_bytes());
    let number = u32::from(u16::from_be_bytes([digest[0], digest[1]])) % 2048;
    char::from_u32(0xe100 + number).unwrap_or('\u{e100}')
}

/// Where the words of a query are in a text: the byte ranges of the words that begin with one of them, in order.
/// `words` is what [`query_words`] made.
pub fn hits(text: &str, words: &[String]) -> Vec<Range<usize>> {
    let mut hits = Vec::new();
    each_word(text, |range, word| {
        let kept = kept(word);
        if words.iter().any(|wanted| kept.starts_with(wanted.as_str())) {
            hits.push(range);
        }
    });
    hits
}

/// The words of a lead, sorted, each once: digits of the caller's number and of the one that was said, the caller's names,
/// topic, transcript, headline, summary.
pub fn lead_words(lead: &Lead) -> Vec<String> {
    let mut words = BTreeSet::new();
    for number in std::iter::once(&lead.phone).chain(&lead.callback_number) {
        add_number(number.as_str(), &mut words);
    }
    let texts = [
        &lead.caller.name,
        &lead.caller_name,
        &lead.topic,
        &lead.summary_title,
        &lead.summary,
        &lead.transcript,
    ];
    for text in texts.into_iter().flatten() {
        add_words(text, &mut words);
    }
    for point in &lead.summary_points {
        add_words(point, &mut words);
    }
    words.into_iter().take(WORDS_MAX).collect()
}

/// A number is found by its beginning, and from several places on before its end.
fn add_number(number: &str, words: &mut BTreeSet<String>) {
    let digits = phone_digits(number);
    if digits.is_empty() {
        add_words(number, words);
        return;
    }
    for tail in NUMBER_TAILS.into_iter().filter(|tail| *tail < digits.len()) {
        // Where the tail begins with zeros, a query has lost them.
        words.insert(cut(without_zeros(&digits[digits.len() - tail..])).to_owned());
    }
    words.insert(cut(without_zeros(&digits)).to_owned());
}

/// The words of a query: every one has to be the beginning of a word of the lead. Empty when nothing in it can be
/// searched for, and then nothing is found.
pub fn query_words(query: &str) -> Vec<String> {
    let is_number = query
        .chars()
        .all(|c| c.is_ascii_digit() || " +-().\u{200e}\u{200f}\u{202a}\u{202c}".contains(c));
    if is_number {
        let digits = phone_digits(query);
        return if digits.is_empty() {
            Vec::new()
        } else {
            vec![cut(without_zeros(&digits)).to_owned()]
        };
    }
    let mut words = BTreeSet::new();
    add_words(query, &mut words);
    words.into_iter().take(QUERY_WORDS_MAX).collect()
}

/// The ASCII digits of a number.
pub fn phone_digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}

/// A number back to front, so that an index finds it by its end.
pub fn reversed_digits(phone: &str) -> String {
    phone.chars().rev().filter(char::is_ascii_digit).collect()
}

fn without_zeros(digits: &str) -> &str {
    let rest = digits.trim_start_matches('0');
    if rest.is_empty() { "0" } else { rest }
}

fn cut(word: &str) -> &str {
    word.char_indices()
        .nth(WORD_CHARS_MAX)
        .map_or(word, |(end, _)| &word[..end])
}

fn add_words(text: &str, words: &mut BTreeSet<String>) {
    each_word(text, |_, word| {
        let kept = kept(word);
        if !words.contains(kept) {
            words.insert(kept.to_owned());
        }
    });
}

/// What is kept of a word.
fn kept(word: &str) -> &str {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    cut(if is_number { without_zeros(word) } else { word })
}

/// Calls `found` with each word of a text: where it stands, in bytes, and what it is when normalised.
fn each_word(text: &str, mut found: impl FnMut(Range<usize>, &str)) {
    let mut word = String::new();
    let mut place = 0..0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if is_point(c) || is_direction_mark(c) {
            // A point belongs to the letter before it.
            if !word.is_empty() && is_point(c) {
                place.end = at + c.len_utf8();
            }
            continue;
        }
        if c.is_alphanumeric() {
            if word.is_empty() {
                place.start = at;
            }
            place.end = at + c.len_utf8();
            if c.is_ascii() {
                word.push(c.to_ascii_lowercase());
            } else {
                word.extend(
                    c.to_lowercase()
                        .filter(|c| c.is_alphanumeric())
                        .map(ordinary_letter),
                );
            }
            continue;
        }
        let next = chars.peek().map(|(_, next)| *next);
        let inside = !word.is_empty() && next.is_some_and(char::is_alphanumeric);
        let is_quote = matches!(c, '"' | '\'' | '\u{2019}' | '\u{201d}' | '\u{5f3}' | '\u{5f4}');
        let joins_digits = c == '-'
            && word.bytes().all(|byte| byte.is_ascii_digit())
            && next.is_some_and(|next| next.is_ascii_digit());
        if inside && (is_quote || joins_digits) {
            continue;
        }
        if !word.is_empty() {
            found(place.clone(), &word);
            word.clear();
        }
    }
    if !word.is_empty() {
        found(place, &word);
    }
}

/// Niqqud and cantillation; maqaf, paseq, sof pasuq and nun hafukha stand among them and are punctuation.
fn is_point(c: char) -> bool {
    ('\u{591}'..='\u{5c7}').contains(&c) && !matches!(c, '\u{5be}' | '\u{5c0}' | '\u{5c3}' | '\u{5c6}')
}

fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn ordinary_letter(c: char) -> char {
    match c {
        'ך' => 'כ',
        'ם' => 'מ',
        'ן' => 'נ',
        'ף' => 'פ',
        'ץ' => 'צ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = BTreeSet::new();
        add_words(text, &mut words);
        words.into_iter().collect()
    }

    #[test]
    fn words_are_normalised() {
        assert_eq!(words("שָׁלוֹם, Dana!"), ["dana", "שלומ"]);
        assert_eq!(words("צה\"ל בית־ספר"), ["בית", "ספר", "צהל"]);
        assert_eq!(
            words("call 050-123 at 12:30, don't"),
            ["12", "30", "50123", "at", "call", "dont"]
        );
        assert_eq!(words("\u{200f}אבא\u{200e}"), ["אבא"]);
        assert_eq!(words("--- '\" 000"), ["0"]);
        assert_eq!(words(&"x".repeat(500))[0].len(), WORD_CHARS_MAX);
    }

    #[test]
    fn a_query_of_digits_is_a_number() {
        assert_eq!(query_words("050-123 4567"), ["501234567"]);
        assert_eq!(query_words("+972 50"), ["97250"]);
        assert_eq!(query_words(" - "), Vec::<String>::new());
        assert_eq!(query_words("'%' OR \"1\"=1"), ["1", "or"]);
    }

    #[test]
    fn hits_are_whole_words_where_they_stand() {
        let hit = |text: &'static str, query: &str| -> Vec<&'static str> {
            hits(text, &query_words(query))
                .into_iter()
                .map(|range| &text[range])
                .collect()
        };
        assert_eq!(hit("שָׁלוֹם, שלומית. לשלום", "שלום"), ["שָׁלוֹם", "שלומית"]);
        assert_eq!(hit("Dana LEVI, צה\"ל", "dan צהל"), ["Dana", "צה\"ל"]);
        assert_eq!(hit("call 050-123-4567 now", "0501"), ["050-123-4567"]);
        assert_eq!(hit("nothing", "other"), Vec::<&str>::new());
        assert_eq!(hit("x", "!!!"), Vec::<&str>::new());
    }

    #[test]
    fn marks_are_in_no_word_and_tell_how_a_lead_stands() {
        let mut marks: Vec<char> = Status::ALL.iter().map(|status| status_mark(*status)).collect();
        marks.dedup();
        marks.extend(Disposition::ALL.map(disposition_mark));
        marks.extend([
            seen_mark(false),
            seen_mark(true),
            assignee_mark("dana"),
            assignee_mark("yossi"),
        ]);
        let each: BTreeSet<char> = marks.iter().copied().collect();
        assert_eq!(each.len(), marks.len());
        for mark in marks {
            assert!(!mark.is_alphanumeric());
            assert!(
                query_words(&format!("a{mark}b"))
                    .iter()
                    .all(|word| !word.contains(mark))
            );
        }
        let filter = LeadFilter {
            status: vec![Status::New, Status::Recording, Status::Failed],
            seen: Some(true),
            ..LeadFilter::default()
        };
        assert_eq!(
            filter_marks(&filter),
            [vec!['\u{e000}', '\u{e003}'], vec!['\u{e021}']]
        );
        assert!(filter_marks(&LeadFilter::default()).is_empty());
    }
}

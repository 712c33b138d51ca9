//! The words leads are found by. They are made here, once, so that both backends find the same: a backend only keeps
//! the words and compares beginnings.
//!
//! A word is a run of letters and digits, in lower case, without niqqud and cantillation, final letters of Hebrew as
//! ordinary ones (so that the beginning of a longer word is found), quotation marks inside a word left out (`צה"ל`).
//! Groups of digits joined by hyphens are one word, and leading zeros are dropped: `050-123` and `50123` are the same.

use std::collections::BTreeSet;

use callfold_lead::Lead;

/// The longest word that is kept, in characters; the rest of a longer one is cut off.
pub const WORD_CHARS_MAX: usize = 48;
/// The most words that are kept of one lead.
pub const WORDS_MAX: usize = 20_000;
/// The most words of a query that count.
pub const QUERY_WORDS_MAX: usize = 8;
/// Digits a number is found by from its end. The last groups of a number are what people remember, and without its
/// country code it is what they dial.
const NUMBER_TAILS: [usize; 5] = [4, 7, 8, 9, 10];

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
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_point(c) || is_direction_mark(c) {
            continue;
        }
        if c.is_alphanumeric() {
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
        let inside = !word.is_empty() && chars.peek().is_some_and(|next| next.is_alphanumeric());
        let is_quote = matches!(c, '"' | '\'' | '\u{2019}' | '\u{201d}' | '\u{5f3}' | '\u{5f4}');
        let joins_digits = c == '-'
            && word.bytes().all(|byte| byte.is_ascii_digit())
            && chars.peek().is_some_and(char::is_ascii_digit);
        if inside && (is_quote || joins_digits) {
            continue;
        }
        end_word(&mut word, words);
    }
    end_word(&mut word, words);
}

fn end_word(word: &mut String, words: &mut BTreeSet<String>) {
    if word.is_empty() {
        return;
    }
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let kept = cut(if is_number { without_zeros(word) } else { word });
    if !words.contains(kept) {
        words.insert(kept.to_owned());
    }
    word.clear();
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
}

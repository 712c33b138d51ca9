//! A long transcript cut into parts that fit one question each. Pure.

use std::collections::VecDeque;

/// Most parts of one transcript. Of a longer one parts in the middle are left out: what is wanted is said first, and how
/// to call back last.
pub(crate) const PARTS_MAX: usize = 16;
/// How many of them are the end.
const PARTS_AT_THE_END: usize = 4;

/// Quarters of a token that a character takes: tokenizers cut English into four letters a token, Hebrew into about two.
fn quarters(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

/// Cuts at ends of sentences, else between words, else anywhere: each part is at most so many tokens by the estimate
/// (two characters a token, four of ASCII).
pub(crate) fn cut(text: &str, tokens_max: usize) -> Vec<&str> {
    let quarters_max = tokens_max.max(1) * 4;
    let mut head = Vec::new();
    let mut tail = VecDeque::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (part, behind) = split_first(rest, quarters_max);
        rest = behind.trim_start();
        if head.len() < PARTS_MAX - PARTS_AT_THE_END {
            head.push(part);
        } else {
            tail.push_back(part);
            if tail.len() > PARTS_AT_THE_END {
                tail.pop_front();
            }
        }
    }
    head.extend(tail);
    head
}

fn split_first(text: &str, quarters_max: usize) -> (&str, &str) {
    let mut taken = 0;
    let mut sentence = None;
    let mut word = None;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        taken += quarters(c);
        if taken > quarters_max && at > 0 {
            // A sentence's end far in front would make many small parts.
            let sentence = sentence.filter(|end| end * 4 >= at);
            return text.split_at(sentence.or(word).unwrap_or(at));
        }
        if c.is_whitespace() {
            word = Some(at);
            if c == '\n' || matches!(before, '.' | '!' | '?' | '…' | ';') {
                sentence = Some(at);
            }
        }
        before = c;
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> usize {
        text.chars().map(quarters).sum::<usize>().div_ceil(4)
    }

    #[test]
    fn parts_end_with_sentences_and_hold_everything() {
        let text = "אחת שתיים שלוש. ארבע חמש? שש שבע שמונה! תשע עשר";
        assert_eq!(cut(text, 1_000), [text]);
        let parts = cut(text, 10);
        assert_eq!(parts, ["אחת שתיים שלוש.", "ארבע חמש?", "שש שבע שמונה! תשע עשר"]);
        assert!(parts.iter().all(|part| tokens(part) <= 10));
    }

    #[test]
    fn without_full_stops_words_stay_whole_and_without_blanks_nothing_is_lost() {
        let text = "מילה ".repeat(100);
        let parts = cut(&text, 50);
        assert!(parts.len() > 1 && parts.iter().all(|part| tokens(part) <= 50));
        assert!(
            parts
                .iter()
                .all(|part| part.split(' ').all(|word| word == "מילה"))
        );
        let endless = "א".repeat(300);
        assert_eq!(cut(&endless, 50).concat(), endless);
        assert_eq!(cut("א", 0), ["א"]);
        assert!(cut(" \n", 10).is_empty());
    }

    #[test]
    fn the_number_of_parts_is_bounded_and_both_ends_are_kept() {
        let text: String = (0..20_000).map(|n| format!("משפט {n}. ")).collect();
        let parts = cut(&text, 1_000);
        assert_eq!(parts.len(), PARTS_MAX);
        assert!(parts[0].starts_with("משפט 0.") && parts[PARTS_MAX - 1].ends_with("משפט 19999."));
    }

    #[test]
    fn two_hours_of_talk_are_summarised_whole() {
        // 100,000 characters in 6,000-token parts.
        let text = "מילה אחת ועוד מילה אחת. ".repeat(4_200);
        assert!(cut(&text, 6_000).len() < PARTS_MAX);
    }
}

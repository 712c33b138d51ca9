//! Whether two sentences say the same: word for word, or in a repeat with a word changed or left out. A number is never
//! one of those words: seven is not eight.

use std::collections::BTreeSet;

use crate::extractive::EMPTY_WORDS;
use crate::numbers;
use crate::words::{plain_words, stems};

/// Sentences with fewer telling words are the same only word for word: `צריך טכנאי למזגן` is not `צריך טכנאי לתנור`.
const WORDS_MIN: usize = 5;

/// Whether `b` tells nothing that `a` did not, or the other way round.
pub(crate) fn says_the_same(a: &str, b: &str) -> bool {
    Said::of(a).is_same(&Said::of(b))
}

/// A sentence as it is compared, read once for all comparisons.
pub(crate) struct Said {
    words: Vec<String>,
    /// The words that tell something, each by all its stems.
    telling: Vec<Vec<String>>,
    /// All stems of them.
    stems: BTreeSet<String>,
    numbers: Vec<String>,
}

impl Said {
    /// Reads a sentence.
    pub(crate) fn of(text: &str) -> Self {
        let words = plain_words(text);
        let telling = telling(&words);
        Self {
            stems: telling.iter().flatten().cloned().collect(),
            telling,
            words,
            numbers: numbers::stated(text),
        }
    }

    /// Whether `other` tells nothing that this one did not, or the other way round.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.words == other.words || (self.is_alike(other) && self.numbers == other.numbers)
    }

    /// All of the words but one are the same, or the longer one has something around the shorter one. One look into the
    /// stems of the longer one for each word of the shorter one.
    fn is_alike(&self, other: &Self) -> bool {
        let (small, large) = if self.telling.len() <= other.telling.len() {
            (self, other)
        } else {
            (other, self)
        };
        let is_shared = |word: &&Vec<String>| {
            #[cfg(test)]
            count::one();
            word.iter().any(|stem| large.stems.contains(stem))
        };
        let shared = small.telling.iter().filter(is_shared).count();
        let (small, large) = (small.telling.len(), large.telling.len());
        if small < WORDS_MIN {
            return small > 1 && shared == large;
        }
        // One word is another one or is missing; or the longer one only repeats the shorter one with something around it.
        shared + 1 >= large || (shared == small && shared * 3 >= large * 2)
    }
}

/// The words that tell something, each by all its stems.
fn telling(words: &[String]) -> Vec<Vec<String>> {
    words
        .iter()
        .filter(|word| !EMPTY_WORDS.contains(&word.as_str()))
        .map(|word| {
            let mut stems = stems(word);
            stems.push(word.clone());
            stems
        })
        .collect()
}

/// How many words this thread has compared.
#[cfg(test)]
pub(crate) mod count {
    use std::cell::Cell;

    thread_local! {
        static WORDS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn one() {
        WORDS.with(|words| words.set(words.get() + 1));
    }

    pub(crate) fn words() -> usize {
        WORDS.with(Cell::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_with_a_word_changed_is_noticed() {
        for (a, b) in [
            ("אני צריך טכנאי!", "אני, צריך טכנאי"),
            (
                "אני צריכה הצעת מחיר לשיפוץ דירה",
                "כן אני צריכה הצעת מחיר לשיפוץ הדירה",
            ),
            (
                "אני צריך הצעת מחיר לשיפוץ מטבח בחיפה",
                "אני רוצה הצעת מחיר לשיפוץ מטבח בחיפה",
            ),
            (
                "I need a quote for painting a flat",
                "we need a quote for painting the flat",
            ),
        ] {
            assert!(says_the_same(a, b) && says_the_same(b, a), "{a} | {b}");
        }
    }

    #[test]
    fn different_matters_stay() {
        for (a, b) in [
            ("אני צריך הצעת מחיר לתיקון מזגן", "אני צריך הצעת מחיר לצביעת דירה"),
            ("אני צריך טכנאי למזגן", "אני צריך טכנאי לתנור"),
            (
                "תחזרו אליי ביום חמישי בשעה שבע",
                "תחזרו אליי ביום חמישי בשעה שמונה",
            ),
            (
                "אני צריך הצעת מחיר לשיפוץ 3 חדרים בחיפה",
                "אני צריך הצעת מחיר לשיפוץ 4 חדרים בחיפה",
            ),
            ("שמי דן", "שמי דנה"),
            ("המספר שלי 0523456789", "המספר שלי 035678901"),
            ("אני צריך טכנאי", "צריך טכנאי מחר בבוקר בחיפה"),
        ] {
            assert!(!says_the_same(a, b), "{a} | {b}");
        }
    }
}

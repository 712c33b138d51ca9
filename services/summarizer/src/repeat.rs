//! Whether two sentences say the same: word for word, or in a repeat with a word changed or left out. A number is never
//! one of those words: seven is not eight.

use crate::extractive::EMPTY_WORDS;
use crate::numbers;
use crate::words::{plain_words, stems};

/// Sentences with fewer telling words are the same only word for word: `צריך טכנאי למזגן` is not `צריך טכנאי לתנור`.
const WORDS_MIN: usize = 5;

/// Whether `b` tells nothing that `a` did not, or the other way round.
pub(crate) fn says_the_same(a: &str, b: &str) -> bool {
    let (said, other) = (plain_words(a), plain_words(b));
    said == other || (is_alike(&said, &other) && numbers::stated(a) == numbers::stated(b))
}

/// All of the words but one are the same, or the longer one has something around the shorter one.
fn is_alike(a: &[String], b: &[String]) -> bool {
    let (a, b) = (telling(a), telling(b));
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let is_shared = |word: &Vec<String>| {
        large
            .iter()
            .any(|other| other.iter().any(|stem| word.contains(stem)))
    };
    let shared = small.iter().filter(|word| is_shared(word)).count();
    if small.len() < WORDS_MIN {
        return small.len() > 1 && shared == large.len();
    }
    // One word is another one or is missing; or the longer one only repeats the shorter one with something around it.
    shared + 1 >= large.len() || (shared == small.len() && shared * 3 >= large.len() * 2)
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

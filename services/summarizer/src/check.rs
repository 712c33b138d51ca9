//! A model's draft held against what was said. Pure.
//!
//! A draft with something wrong is asked for again once ([`wrong_with`]); what is wrong with the second one is cut out
//! ([`settle`]): a point with an invented number, address or name is dropped. A title with one, a title that speaks of
//! nothing that was said, or a summary in another language than the message leaves nothing to trust: then the offline
//! summary takes its place.

use crate::answer::{AnswerError, Draft};
use crate::ground::Heard;
use crate::summary::{POINT_CHARS_MAX, Summary, TITLE_CHARS_MAX, WORDS_MAX, WORDS_MIN};
use crate::text::{addresses, count_words};
use crate::words::{forms, is_mostly_hebrew, plain_words};

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] AnswerError),
    /// A number in it was not said.
    #[error("the answer states a number that was not said")]
    Number,
    /// A web or mail address in it was not said.
    #[error("the answer states an address that was not said")]
    Address,
    /// The caller's name was not said, and stands in it.
    #[error("the answer names somebody who was not named")]
    Name,
    /// Its title has no word in common with what was said.
    #[error("the answer's title speaks of something else")]
    Unrelated,
    /// The message is Hebrew and the answer is not.
    #[error("the answer is not in Hebrew")]
    Language,
    /// More words than are read at a glance.
    #[error("the answer is too long")]
    TooLong,
    /// Hardly a word for a message of many.
    #[error("the answer is too short")]
    TooShort,
}

/// The first thing that is wrong, the worst first.
pub(crate) fn wrong_with(draft: &Draft, heard: &Heard) -> Option<Wrong> {
    let lines = || std::iter::once(&draft.title).chain(&draft.points);
    let words: usize = lines().map(|line| count_words(line)).sum();
    let invented = heard.invented_name(draft.details.caller_name.as_deref());
    let chars = |line: &str, max: usize| line.chars().count() > max;
    if lines().any(|line| heard.lacks_number_of(line)) {
        Some(Wrong::Number)
    } else if lines().any(|line| heard.lacks_address_of(line)) {
        Some(Wrong::Address)
    } else if heard.is_hebrew() && !is_hebrew(draft) {
        Some(Wrong::Language)
    } else if lines().any(|line| holds_one_of(line, &invented)) {
        Some(Wrong::Name)
    } else if !heard.is_subject_of(&draft.title) {
        Some(Wrong::Unrelated)
    } else if words > WORDS_MAX
        || chars(&draft.title, TITLE_CHARS_MAX)
        || draft.points.iter().any(|point| chars(point, POINT_CHARS_MAX))
    {
        Some(Wrong::TooLong)
    } else if words < WORDS_MIN && heard.is_long() {
        Some(Wrong::TooShort)
    } else {
        None
    }
}

/// What can be kept of a draft.
///
/// # Errors
/// The title is not to be trusted; says why.
pub(crate) fn settle(draft: &Draft, heard: &Heard) -> Result<Summary, Wrong> {
    if heard.is_hebrew() && !is_hebrew(draft) {
        return Err(Wrong::Language);
    }
    if heard.lacks_number_of(&draft.title) {
        return Err(Wrong::Number);
    }
    if heard.lacks_address_of(&draft.title) {
        return Err(Wrong::Address);
    }
    let invented = heard.invented_name(draft.details.caller_name.as_deref());
    if holds_one_of(&draft.title, &invented) {
        return Err(Wrong::Name);
    }
    if !heard.is_subject_of(&draft.title) {
        return Err(Wrong::Unrelated);
    }
    let points = draft.points.iter().filter(|point| {
        !heard.lacks_number_of(point) && !heard.lacks_address_of(point) && !holds_one_of(point, &invented)
    });
    Summary::new(&draft.title, points).ok_or(Wrong::Unreadable(AnswerError::NoTitle))
}

/// Whether one of the names stands in the line, with a prefix or without.
fn holds_one_of(line: &str, names: &[String]) -> bool {
    !names.is_empty()
        && plain_words(line)
            .iter()
            .flat_map(|word| forms(word))
            .any(|form| names.iter().any(|name| name == form))
}

/// Addresses are in Latin letters in every language.
fn is_hebrew(draft: &Draft) -> bool {
    let words: Vec<&str> = std::iter::once(&draft.title)
        .chain(&draft.points)
        .flat_map(|line| line.split_whitespace())
        .filter(|word| addresses(word).is_empty())
        .collect();
    is_mostly_hebrew(&words.join(" "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;
    use crate::extractive::Details;

    const TEXT: &str = "שלום, מדבר דוד כהן מחיפה. אני מעוניין לקבל הצעת מחיר לשיפוץ מטבח. התקציב שלנו שלושים אלף שקל. \
                        תחזרו אליי מחר בבוקר למספר אפס חמש שתיים שלוש ארבע חמש שש שבע שמונה תשע.";

    fn draft(title: &str, points: &[&str]) -> Draft {
        Draft {
            title: title.to_owned(),
            points: points.iter().map(|point| (*point).to_owned()).collect(),
            details: Details::default(),
        }
    }

    #[test]
    fn a_draft_that_says_what_was_said_is_right() {
        let heard = Heard::of(TEXT);
        let good = draft(
            "דוד כהן מבקש הצעת מחיר לשיפוץ מטבח",
            &["תקציב 30,000 ש\"ח", "לחזור מחר בבוקר ל-052-3456789"],
        );
        assert_eq!(wrong_with(&good, &heard), None);
        assert_eq!(settle(&good, &heard).unwrap().points().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_and_cut_out() {
        let heard = Heard::of(TEXT);
        let long = "שיפוץ ".repeat(20);
        // Title, points, what is wrong, how many points are left in the end.
        type Row<'t> = (&'t str, &'t [&'t str], Wrong, Result<usize, Wrong>);
        let table: &[Row<'_>] = &[
            (
                "הצעת מחיר לשיפוץ מטבח",
                &["תקציב 45,000 ש\"ח", "לחזור מחר"],
                Wrong::Number,
                Ok(1),
            ),
            (
                "חייגו 1900555123",
                &["לחזור מחר"],
                Wrong::Number,
                Err(Wrong::Number),
            ),
            (
                "הצעת מחיר לשיפוץ",
                &["היכנסו אל evil.com", "לחזור מחר"],
                Wrong::Address,
                Ok(1),
            ),
            (
                "הצעת מחיר: https://evil.com",
                &[],
                Wrong::Address,
                Err(Wrong::Address),
            ),
            (
                "Wants a quote for a kitchen",
                &["Call back tomorrow"],
                Wrong::Language,
                Err(Wrong::Language),
            ),
            (
                &long,
                &["אחר אחר אחר אחר אחר אחר אחר אחר אחר אחר אחר"],
                Wrong::TooLong,
                Ok(1),
            ),
            ("שיפוץ", &[], Wrong::TooShort, Ok(0)),
            // Hijacked without any number.
            (
                "החשבון שלכם ייחסם, היכנסו מיד לאתר",
                &["לחזור מחר"],
                Wrong::Unrelated,
                Err(Wrong::Unrelated),
            ),
            (
                "Your account is blocked",
                &["לחזור מחר בבוקר לגבי השיפוץ"],
                Wrong::Unrelated,
                Err(Wrong::Unrelated),
            ),
            (
                "דוד כהן מבקש הצעת מחיר",
                &["חייגו ١٩٠٠٥٥٥١٢٣", "לחזור מחר"],
                Wrong::Number,
                Ok(1),
            ),
        ];
        for (title, points, wrong, settled) in table {
            let draft = draft(title, points);
            assert_eq!(wrong_with(&draft, &heard), Some(*wrong), "{title}");
            let kept = settle(&draft, &heard).map(|summary| {
                assert!(count_words(&summary.text()) <= WORDS_MAX);
                summary.points().len()
            });
            assert_eq!(kept, *settled, "{title}");
        }
    }

    #[test]
    fn a_name_that_was_not_said_is_cut_out_of_every_line() {
        let heard = Heard::of(TEXT);
        let with = |name: Option<&str>, title: &str, points: &[&str]| Draft {
            details: Details {
                caller_name: name.map(str::to_owned),
                ..Details::default()
            },
            ..draft(title, points)
        };
        let points: &[&str] = &["לחזור לרונית שגב מחר בבוקר", "תקציב 30,000 ש\"ח"];
        let point = with(Some("רונית שגב"), "הצעת מחיר לשיפוץ מטבח בחיפה", points);
        assert_eq!(wrong_with(&point, &heard), Some(Wrong::Name));
        assert_eq!(settle(&point, &heard).unwrap().points(), ["תקציב 30,000 ש\"ח"]);
        let title = with(
            Some("דוד לוי"),
            "דוד לוי מבקש הצעת מחיר לשיפוץ מטבח",
            &["לחזור מחר בבוקר"],
        );
        assert_eq!(wrong_with(&title, &heard), Some(Wrong::Name));
        assert_eq!(settle(&title, &heard), Err(Wrong::Name));
        // What is said stays, whatever was claimed; so do words for callers in general.
        for name in [Some("דוד כהן"), Some("הלקוח"), None] {
            let right = with(
                name,
                "הלקוח דוד כהן מבקש הצעת מחיר לשיפוץ מטבח",
                &["לחזור מחר בבוקר לדוד"],
            );
            assert_eq!(wrong_with(&right, &heard), None, "{name:?}");
            assert_eq!(settle(&right, &heard).unwrap().points().len(), 1);
        }
    }

    #[test]
    fn an_english_message_may_have_a_summary_in_either_language() {
        let heard = Heard::of("I need a quote for a kitchen.");
        assert_eq!(wrong_with(&draft("Wants a quote", &[]), &heard), None);
        assert_eq!(wrong_with(&draft("מבקש הצעת מחיר", &[]), &heard), None);
    }
}

//! Small numbers that say how much or when.

use std::ops::Range;

use crate::words::{forms, word};

/// Signs of money and shares, written beside the number.
const SIGNS: &[char] = &['₪', '$', '€', '£', '%'];
/// Words of money and shares, without prefixes.
const MONEY: &[&str] = &[
    "שקל",
    "שקלים",
    "ש\"ח",
    "שח",
    "דולר",
    "דולרים",
    "יורו",
    "אירו",
    "אגורות",
    "אחוז",
    "אחוזים",
    "nis",
    "shekel",
    "shekels",
    "dollar",
    "dollars",
    "euro",
    "euros",
    "pounds",
    "percent",
];
/// Words of time, without prefixes.
const TIMES: &[&str] = &[
    "שעה",
    "שעות",
    "דקה",
    "דקות",
    "בבוקר",
    "בוקר",
    "בצהריים",
    "צהריים",
    "בערב",
    "ערב",
    "בלילה",
    "לילה",
    "אחה\"צ",
    "ימים",
    "יום",
    "שבועות",
    "חודשים",
    "חודש",
    "שנים",
    "שנה",
    "hour",
    "hours",
    "minute",
    "minutes",
    "o'clock",
    "am",
    "pm",
    "a.m",
    "p.m",
    "day",
    "days",
    "week",
    "weeks",
    "month",
    "months",
    "year",
    "years",
];
/// Words that stand for a number of them.
const IMPLIED: &[(&str, &[u32])] = &[
    ("חצי", &[30, 6]),
    ("half", &[30, 6]),
    ("רבע", &[15, 45, 3]),
    ("quarter", &[15, 45, 3]),
    ("יומיים", &[2, 48]),
    ("שעתיים", &[2]),
    ("דקותיים", &[2]),
    ("שבועיים", &[2, 14]),
    ("שבוע", &[7]),
    ("week", &[7]),
    ("חודשיים", &[2]),
    ("שנתיים", &[2, 24]),
    ("יממה", &[24]),
    ("צהריים", &[12]),
    ("noon", &[12]),
    ("חצות", &[12]),
    ("midnight", &[12]),
    ("שנה", &[12]),
    ("couple", &[2]),
];

/// The numbers that a text says without naming them.
pub(super) fn implied(text: &str) -> Vec<u32> {
    let mut out: Vec<u32> = text
        .split_whitespace()
        .map(word)
        .flat_map(|word| {
            let means = |form: &str| IMPLIED.iter().find(|(word, _)| *word == form);
            forms(&word)
                .find_map(means)
                .map_or(&[][..], |(_, numbers)| *numbers)
        })
        .copied()
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// What a number stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Money, or a share.
    Amount,
    /// A time, or a span of it.
    Time,
}

/// Whether the number at `span` stands beside a word or sign of money or time, or is part of a time such as 16:30.
pub(super) fn measure(line: &str, span: &Range<usize>) -> Option<Measure> {
    let (before, behind) = (
        line.get(..span.start).unwrap_or_default(),
        line.get(span.end..).unwrap_or_default(),
    );
    let word_before = before.split_whitespace().next_back().unwrap_or_default();
    let word_behind = behind
        .trim_start_matches(['-', '־', '–'])
        .split_whitespace()
        .next()
        .unwrap_or_default();
    let is_beside = |words: &[&str]| {
        [word_before, word_behind]
            .iter()
            .any(|token| forms(&word(token)).any(|form| words.contains(&form)))
    };
    let is_amount =
        before.trim_end().ends_with(SIGNS) || behind.trim_start().starts_with(SIGNS) || is_beside(MONEY);
    let is_clock = || {
        before
            .strip_suffix(':')
            .is_some_and(|before| before.ends_with(char::is_numeric))
            || behind
                .strip_prefix(':')
                .is_some_and(|behind| behind.starts_with(char::is_numeric))
    };
    if is_amount {
        Some(Measure::Amount)
    } else {
        (is_clock() || is_beside(TIMES)).then_some(Measure::Time)
    }
}

//! Numbers in what was said: digits, and words for them in Hebrew and English, one by one (`אפס חמש שתיים`), in groups
//! (`עשרים ושלוש`, `מאתיים`), doubled (`כפול שבע`) and as amounts (`שלושים אלף`). Pure.
//!
//! What was said has several readings (`חמישים ארבע` is 504 or 54). Asking whether a number was said is asking whether one
//! of them holds it, from the beginning of a group to the end of one.

mod lex;
mod measure;
mod phone;
mod read;

pub(crate) use phone::{callback_in, with_digits};

use std::ops::Range;

use lex::{Breaks, pieces};
use measure::{Measure, measure};
use read::Run;

/// Longest number that is looked for, in digits: a number to dial has at most 15.
const DIGITS_MAX: usize = 40;
/// A number with fewer digits may be counted or worded anew; it is looked for only where it is an amount or a time.
const CHECKED_DIGITS_MIN: usize = 3;
/// Numbers of up to so many digits with nothing but punctuation between may be one that was cut.
const CUT_DIGITS_MAX: usize = 4;
/// So many digits together are no time and no "24/7".
const JOINED_DIGITS_MIN: usize = 5;
/// So few numbers side by side may be a date or a list, when each of them was said.
const LISTED_MAX: usize = 3;

/// The numbers of a text.
pub(crate) struct Numbers {
    runs: Vec<Run>,
    /// Words that say a number without one: `וחצי`, `שעתיים`.
    implied: Vec<u32>,
}

impl Numbers {
    /// Reads them.
    pub(crate) fn of(text: &str) -> Self {
        let runs = lex::runs(&pieces(text, Breaks::Few))
            .into_iter()
            .map(Run::of)
            .collect();
        Self {
            runs,
            implied: measure::implied(text),
        }
    }

    /// Whether these digits, behind a `+` where one stands before them, were said.
    pub(crate) fn hold(&self, digits: &str) -> bool {
        !digits.is_empty() && digits.len() <= DIGITS_MAX && self.runs.iter().any(|run| run.holds(digits))
    }

    /// Whether a line states a number that was not said: one of at least three digits, also one that was cut into pieces,
    /// or a smaller one that is an amount of money or a time.
    pub(crate) fn lack_one_of(&self, line: &str) -> bool {
        let stated: Vec<Stated> = lex::runs(&pieces(line, Breaks::Many))
            .into_iter()
            .filter_map(Stated::of)
            .collect();
        let is_lacking = |stated: &Stated| {
            if stated.meant().len() >= CHECKED_DIGITS_MIN {
                !self.hold_as(stated)
            } else {
                measure(line, &stated.span).is_some_and(|measure| !self.hold_small(stated, measure))
            }
        };
        stated.iter().any(is_lacking) || joined(line, &stated).any(|cut| self.lack_cut(cut))
    }

    /// Whether one of its readings was said.
    fn hold_as(&self, stated: &Stated) -> bool {
        stated
            .readings
            .iter()
            .any(|reading| self.said_as(reading).is_some())
    }

    /// Whether an amount or a time of one or two digits was said, by another clock or in words as well.
    fn hold_small(&self, stated: &Stated, measure: Measure) -> bool {
        let Ok(value) = stated.meant().parse::<u32>() else {
            return true;
        };
        let is_stated = |value: u32| {
            let digits = value.to_string();
            self.runs.iter().any(|run| run.states(&digits))
        };
        // "One" counts nothing that was not said, and so do full hours.
        value < 2
            || self.implied.contains(&value)
            || is_stated(value)
            || (measure == Measure::Time
                && match value {
                    ..=12 => is_stated(value + 12),
                    13..=24 => is_stated(value - 12),
                    _ => false,
                })
    }

    /// Whether numbers side by side are one that was not said.
    fn lack_cut(&self, cut: &[Stated]) -> bool {
        let joined: String = cut.iter().map(Stated::meant).collect();
        let is_listed = || {
            (cut.len() <= LISTED_MAX || cut.iter().all(|one| one.meant().len() >= CHECKED_DIGITS_MIN))
                && cut.iter().all(|one| self.hold_as(one))
        };
        cut.len() > 1 && joined.len() >= JOINED_DIGITS_MIN && self.said_as(&joined).is_none() && !is_listed()
    }

    /// The number as it was said, where the same number may be written with the country's prefix or without.
    pub(crate) fn said_as(&self, number: &str) -> Option<String> {
        let bare = number.trim_start_matches('+');
        let mut ways = vec![format!("+{bare}"), bare.to_owned()];
        if let Some(rest) = bare.strip_prefix("972").filter(|rest| rest.len() >= 8) {
            ways.push(format!("0{}", rest.trim_start_matches('0')));
        } else if let Some(rest) = bare.strip_prefix('0').filter(|rest| rest.len() >= 8) {
            ways.push(format!("+972{rest}"));
            ways.push(format!("972{rest}"));
        }
        ways.into_iter().find(|way| self.hold(way))
    }

    /// A number to dial that a model found, as it was said; `None` when it was not said or cannot be dialled.
    pub(crate) fn dialled(&self, claim: &str) -> Option<String> {
        lex::runs(&pieces(claim, Breaks::Few))
            .into_iter()
            .flat_map(|run| Run::of(run).readings())
            .find_map(|reading| self.said_as(&reading).filter(|said| phone::is_dialled(said)))
    }
}

/// A number that a line states.
struct Stated {
    span: Range<usize>,
    /// Never empty.
    readings: Vec<String>,
}

impl Stated {
    fn of(run: Vec<lex::Piece>) -> Option<Self> {
        let span = run.first()?.span.start..run.last()?.span.end;
        let readings = Run::of(run).readings();
        let is_number = readings.first().is_some_and(|reading| !reading.is_empty());
        is_number.then_some(Self { span, readings })
    }

    /// How it is meant: 23, not 20 and 3.
    fn meant(&self) -> &str {
        self.readings.first().map_or("", String::as_str)
    }
}

/// The longest sequences of short numbers with no word between them.
fn joined<'s>(line: &'s str, stated: &'s [Stated]) -> impl Iterator<Item = &'s [Stated]> {
    stated.chunk_by(|one, next| {
        let between = line.get(one.span.end..next.span.start).unwrap_or_default();
        !between.contains(char::is_alphabetic)
            && [one, next].iter().all(|one| one.meant().len() <= CUT_DIGITS_MAX)
    })
}

/// The numbers that a text states, in their order, however they are written.
pub(crate) fn stated(text: &str) -> Vec<String> {
    lex::runs(&pieces(text, Breaks::Few))
        .into_iter()
        .filter_map(Stated::of)
        .map(|stated| stated.meant().to_owned())
        .collect()
}

/// Whether a word, as it is compared, is part of a number.
pub(crate) fn is_digit_word(word: &str) -> bool {
    lex::runs(&pieces(word, Breaks::Few))
        .iter()
        .flatten()
        .any(|piece| matches!(piece.kind, lex::Kind::Unit(_)))
}

#[cfg(test)]
mod tests;

//! Numbers to dial, found by how they are built.

use std::ops::Range;

use super::lex::{self, Breaks, Kind, Piece, pieces};
use super::read::Run;

/// A number to dial that no pattern knows has so many digits.
const DIALLED_DIGITS: Range<usize> = 7..16;
/// Most steps taken to read one run.
const STEPS_MAX: usize = 4_096;
/// An amount from here on is written in digits.
const AMOUNT_MIN: u64 = 1_000;

/// Words before a number that is none to dial.
const OTHER_NUMBERS: &[&str] = &[
    "זהות",
    "תז",
    "הזמנה",
    "ההזמנה",
    "חשבון",
    "החשבון",
    "חשבונית",
    "החשבונית",
    "רישוי",
    "פוליסה",
    "הפוליסה",
    "לקוח",
    "הלקוח",
    "תיק",
    "התיק",
    "כרטיס",
    "הכרטיס",
    "id",
    "order",
    "invoice",
    "account",
    "policy",
    "customer",
    "card",
    "case",
    "ticket",
];
/// How many words before a number are looked at.
const CONTEXT_WORDS: usize = 4;

/// How sure it is that digits are a number to dial; 0: they are none.
fn rank(digits: &str) -> u8 {
    let bytes = digits.as_bytes();
    match (bytes.first(), bytes.get(1), bytes.len()) {
        // Israel: mobile, which is answered at once; internet and land lines; toll-free and shared; with the country's prefix; short.
        (Some(b'0'), Some(b'5'), 10) => 4,
        (Some(b'0'), Some(b'7'), 10) => 3,
        (Some(b'0'), Some(b'2' | b'3' | b'4' | b'8' | b'9'), 9) => 3,
        (Some(b'1'), _, 10)
            if ["1700", "1800", "1801", "1599", "1212"]
                .iter()
                .any(|p| digits.starts_with(p)) =>
        {
            3
        }
        (Some(b'9'), Some(b'7'), 11 | 12) if digits.starts_with("972") => 3,
        (Some(b'+'), Some(b'1'..=b'9'), 9..=16) => 3,
        (Some(b'*'), Some(b'0'..=b'9'), 4..=6) => 3,
        (Some(b'0'..=b'9'), _, len) if DIALLED_DIGITS.contains(&len) => 1,
        _ => 0,
    }
}

/// Whether it can be dialled.
pub(super) fn is_dialled(digits: &str) -> bool {
    rank(digits) > 0
}

/// A number to dial within a run.
struct Found {
    digits: String,
    rank: u8,
    pieces: Range<usize>,
}

/// The most likely one: one that a pattern knows, else the whole run.
fn find(run: &Run) -> Option<Found> {
    let mut best: Option<Found> = None;
    let mut steps = 0;
    for start in 0..run.pieces.len() {
        let mut read = String::new();
        walk(run, start, start, &mut read, &mut steps, &mut best);
    }
    best
}

fn walk(run: &Run, start: usize, at: usize, read: &mut String, steps: &mut usize, best: &mut Option<Found>) {
    *steps += 1;
    let rank = rank(read);
    let is_whole = start == 0 && at == run.pieces.len();
    let is_better = |best: &Found| (rank, read.len()) > (best.rank, best.digits.len());
    if (rank > 1 || (rank == 1 && is_whole)) && best.as_ref().is_none_or(is_better) {
        *best = Some(Found {
            digits: read.clone(),
            rank,
            pieces: start..at,
        });
    }
    if read.len() > DIALLED_DIGITS.end || *steps > STEPS_MAX {
        return;
    }
    let len = read.len();
    for group in run
        .groups
        .get(at)
        .into_iter()
        .flatten()
        .filter(|group| !group.is_amount)
    {
        // `+` and `*` stand in front.
        if len > 0 && matches!(group.text.as_str(), "+" | "*") {
            continue;
        }
        read.push_str(&group.text);
        walk(run, start, group.end, read, steps, best);
        read.truncate(len);
    }
}

/// The number to call back that a sentence states, as it is dialled, and how sure that is (4 and 3: a number of a known form, 4: a mobile one;
/// 1: as many digits as a number has).
pub(crate) fn callback_in(sentence: &str) -> Option<(String, u8)> {
    let mut best: Option<(String, u8)> = None;
    for run in lex::runs(&pieces(sentence, Breaks::Few)) {
        let run = Run::of(run);
        if let Some(found) = find(&run)
            && !is_other_number(&sentence[..run.pieces[0].span.start])
            && best.as_ref().is_none_or(|(_, rank)| found.rank > *rank)
        {
            best = Some((found.digits, found.rank));
        }
    }
    best
}

fn is_other_number(before: &str) -> bool {
    let words = crate::words::plain_words(before);
    words
        .iter()
        .rev()
        .take(CONTEXT_WORDS)
        .any(|word| OTHER_NUMBERS.contains(&word.as_str()))
}

/// The text with numbers to dial and large amounts in digits where they were said in words: what one dials or adds up is
/// read faster so.
pub(crate) fn with_digits(text: &str) -> String {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for run in lex::runs(&pieces(text, Breaks::Few)) {
        let run = Run::of(run);
        if let Some(found) = find(&run) {
            push_edit(&mut edits, text, &run.pieces[found.pieces], found.digits);
        } else if let Some(group) = run.groups[0].iter().find(|group| group.is_amount)
            && group.end == run.pieces.len()
            && let Ok(amount) = group.text.parse::<u64>()
            && amount >= AMOUNT_MIN
        {
            push_edit(&mut edits, text, &run.pieces, grouped(amount));
        }
    }
    let mut out = text.to_owned();
    for (span, digits) in edits.into_iter().rev() {
        out.replace_range(span, &digits);
    }
    out
}

/// Replaces pieces unless they are digits already; what is written onto the first word stays.
fn push_edit(edits: &mut Vec<(Range<usize>, String)>, text: &str, pieces: &[Piece], digits: String) {
    let is_written = |piece: &Piece| {
        matches!(
            piece.kind,
            Kind::Digits(_) | Kind::Filler | Kind::Plus | Kind::Star
        )
    };
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
        return;
    };
    let written_as_one = pieces.iter().all(is_written);
    if written_as_one {
        return;
    }
    let prefix = &text[first.span.start..first.span.start + first.prefix];
    let hyphen = if prefix.is_empty() { "" } else { "-" };
    edits.push((
        first.span.start..last.span.end,
        format!("{prefix}{hyphen}{digits}"),
    ));
}

/// `30,000`
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

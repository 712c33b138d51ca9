//! The readings of one number.

use super::lex::{Kind, Piece};

/// Most readings of a number that are looked at.
const READINGS_MAX: usize = 64;
/// Longest number that is read, in pieces: what is longer is no number.
const PIECES_MAX: usize = 400;

/// One way to read the pieces from one on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The first piece behind it.
    pub(super) end: usize,
    /// What it is dialled or written as.
    pub(super) text: String,
    /// It is an amount: no part of a number to dial.
    pub(super) is_amount: bool,
}

/// A number's pieces and, for each of them, the groups that may begin there, longest first.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) pieces: Vec<Piece>,
    pub(super) groups: Vec<Vec<Group>>,
}

impl Run {
    pub(super) fn of(mut pieces: Vec<Piece>) -> Self {
        pieces.truncate(PIECES_MAX);
        let groups = (0..pieces.len()).map(|at| groups_at(&pieces, at)).collect();
        Self { pieces, groups }
    }

    /// Whether a reading holds `digits`, from the beginning of a group to the end of one.
    pub(super) fn holds(&self, digits: &str) -> bool {
        // For each piece: how many of the digits may have been read before it, one bit for each count.
        let mut read = vec![0_u64; self.pieces.len() + 1];
        for at in 0..self.pieces.len() {
            // A number may begin here; groups end behind it, so this count is final.
            let counts = read[at] | 1;
            for group in &self.groups[at] {
                for done in (0..digits.len()).filter(|done| counts & (1 << done) != 0) {
                    if digits[done..].starts_with(&group.text) {
                        read[group.end] |= 1 << (done + group.text.len());
                    }
                }
            }
        }
        read.iter().any(|counts| counts & (1 << digits.len()) != 0)
    }

    /// Whether the digits are a number by themselves, not a piece of one that was said digit by digit.
    pub(super) fn states(&self, digits: &str) -> bool {
        self.groups
            .iter()
            .flatten()
            .any(|group| group.text.trim_start_matches('0') == digits)
    }

    /// Readings of the whole run, the ones with the longest groups first.
    pub(super) fn readings(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.readings_from(0, &mut String::new(), &mut out);
        out
    }

    fn readings_from(&self, at: usize, read: &mut String, out: &mut Vec<String>) {
        if out.len() == READINGS_MAX {
            return;
        }
        let Some(groups) = self.groups.get(at) else {
            out.push(read.clone());
            return;
        };
        let len = read.len();
        for group in groups {
            read.push_str(&group.text);
            self.readings_from(group.end, read, out);
            read.truncate(len);
        }
    }
}

/// A number below some bound: where it ends, what it is.
type Value = (usize, u64);

fn groups_at(pieces: &[Piece], at: usize) -> Vec<Group> {
    let group = |end: usize, text: String| Group {
        end,
        text,
        is_amount: false,
    };
    let mut out = Vec::new();
    match &pieces[at].kind {
        Kind::Digits(digits) => out.push(group(at + 1, digits.clone())),
        Kind::Plus => out.push(group(at + 1, "+".to_owned())),
        Kind::Star => out.push(group(at + 1, "*".to_owned())),
        // Words that mean a number only beside another one say nothing alone.
        Kind::Filler | Kind::Half | Kind::Times(_) | Kind::TimesMark | Kind::Stop => {
            out.push(group(at + 1, String::new()));
        }
        Kind::Unit(_)
        | Kind::Ten
        | Kind::Teen(_)
        | Kind::Tens(_)
        | Kind::Hundred
        | Kind::TwoHundred
        | Kind::Thousand
        | Kind::TwoThousand
        | Kind::Million => {}
    }
    out.extend(repeated(pieces, at).map(|(end, digit, times)| group(end, digit.repeat(times))));
    out.extend(
        below_1000(pieces, at)
            .into_iter()
            .map(|(end, value)| group(end, value.to_string())),
    );
    out.extend(amounts(pieces, at).into_iter().map(|(end, value)| Group {
        end,
        text: value.to_string(),
        is_amount: true,
    }));
    out.sort_by_key(|group| std::cmp::Reverse(group.end));
    out.dedup();
    out
}

fn next(pieces: &[Piece], at: usize) -> Option<(usize, &Kind)> {
    pieces
        .iter()
        .enumerate()
        .skip(at)
        .map(|(at, piece)| (at, &piece.kind))
        .find(|(_, kind)| **kind != Kind::Filler)
}

/// `כפול שבע`, `שלוש פעמים אפס`, `שבע פעמיים`: its end, the digit, how often.
fn repeated(pieces: &[Piece], at: usize) -> Option<(usize, String, usize)> {
    let digit = |kind: &Kind| match kind {
        Kind::Unit(unit) => Some(unit.to_string()),
        Kind::Digits(digits) if digits.len() == 1 => Some(digits.clone()),
        _ => None,
    };
    let here = &pieces.get(at)?.kind;
    let (second, kind) = next(pieces, at + 1)?;
    match (here, kind) {
        (Kind::Times(times), kind) => Some((second + 1, digit(kind)?, usize::from(*times))),
        (Kind::Unit(times @ 2..=5), Kind::TimesMark) => {
            let (third, kind) = next(pieces, second + 1)?;
            Some((third + 1, digit(kind)?, usize::from(*times)))
        }
        (kind, Kind::Times(times)) => {
            // `שבע כפול שבע` doubles the digit behind it.
            let is_for_the_next = next(pieces, second + 1).is_some_and(|(_, kind)| digit(kind).is_some());
            (!is_for_the_next).then_some(())?;
            Some((second + 1, digit(kind)?, usize::from(*times)))
        }
        _ => None,
    }
}

fn below_100(pieces: &[Piece], at: usize) -> Vec<Value> {
    let Some(piece) = pieces.get(at) else {
        return Vec::new();
    };
    let follower = next(pieces, at + 1);
    match piece.kind {
        Kind::Unit(unit) => {
            let mut out = vec![(at + 1, u64::from(unit))];
            if let (1.., Some((second, Kind::Ten))) = (unit, follower) {
                out.push((second + 1, 10 + u64::from(unit)));
            }
            out
        }
        Kind::Ten => vec![(at + 1, 10)],
        Kind::Teen(value) => vec![(at + 1, u64::from(value))],
        Kind::Tens(tens) => {
            let mut out = vec![(at + 1, u64::from(tens))];
            if let Some((second, Kind::Unit(unit @ 1..))) = follower {
                out.push((second + 1, u64::from(tens) + u64::from(*unit)));
            }
            out
        }
        _ => Vec::new(),
    }
}

fn below_1000(pieces: &[Piece], at: usize) -> Vec<Value> {
    let mut out = below_100(pieces, at);
    let mut hundreds = Vec::new();
    match pieces.get(at).map(|piece| &piece.kind) {
        Some(Kind::Hundred) => hundreds.push((at + 1, 100)),
        Some(Kind::TwoHundred) => hundreds.push((at + 1, 200)),
        Some(Kind::Unit(unit @ 1..)) => {
            if let Some((second, Kind::Hundred)) = next(pieces, at + 1) {
                hundreds.push((second + 1, 100 * u64::from(*unit)));
            }
        }
        _ => {}
    }
    add(pieces, &mut out, hundreds, below_100);
    out
}

/// Thousands and millions.
fn amounts(pieces: &[Piece], at: usize) -> Vec<Value> {
    let mut out = thousands(pieces, at);
    let millions = scaled(pieces, at, 1_000_000, |kind| *kind == Kind::Million);
    add(pieces, &mut out, millions, |pieces, at| {
        let mut rest = thousands(pieces, at);
        rest.extend(below_1000(pieces, at));
        rest
    });
    out
}

fn thousands(pieces: &[Piece], at: usize) -> Vec<Value> {
    let mut heads = scaled(pieces, at, 1_000, |kind| *kind == Kind::Thousand);
    if pieces
        .get(at)
        .is_some_and(|piece| piece.kind == Kind::TwoThousand)
    {
        heads.push((at + 1, 2_000));
    }
    let mut out = Vec::new();
    add(pieces, &mut out, heads, below_1000);
    out
}

/// The scale alone, or so many of it, and half of it more.
fn scaled(pieces: &[Piece], at: usize, scale: u64, is_scale: impl Fn(&Kind) -> bool) -> Vec<Value> {
    let mut out = Vec::new();
    match pieces.get(at).map(|piece| &piece.kind) {
        Some(kind) if is_scale(kind) => out.push((at + 1, scale)),
        Some(kind) => {
            let mut counts = below_1000(pieces, at);
            if let Kind::Digits(digits) = kind
                && digits.len() <= 3
                && let Ok(count) = digits.parse()
            {
                counts.push((at + 1, count));
            }
            for (end, count) in counts {
                if let Some((second, kind)) = next(pieces, end)
                    && is_scale(kind)
                {
                    out.push((second + 1, count * scale));
                }
            }
        }
        None => {}
    }
    for index in 0..out.len() {
        let (end, value) = out[index];
        if let Some((second, Kind::Half)) = next(pieces, end) {
            out.push((second + 1, value + scale / 2));
        }
    }
    out
}

/// The heads as they are, and with what may follow them.
fn add(
    pieces: &[Piece],
    out: &mut Vec<Value>,
    heads: Vec<Value>,
    rest: impl Fn(&[Piece], usize) -> Vec<Value>,
) {
    for (end, head) in heads {
        out.push((end, head));
        if let Some((second, _)) = next(pieces, end) {
            let with_rest = rest(pieces, second).into_iter().filter(|(_, rest)| *rest > 0);
            out.extend(with_rest.map(|(end, rest)| (end, head + rest)));
        }
    }
}

//! A text as far as its numbers go.

use std::ops::Range;

/// One piece of a number, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    /// Bytes of the text, prefix included.
    pub(super) span: Range<usize>,
    /// Bytes of the prefix (`ב` of `בעשר`).
    pub(super) prefix: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Written digits, without separators of thousands.
    Digits(String),
    /// 0 to 9.
    Unit(u8),
    /// 10; behind a unit the mark of 11 to 19.
    Ten,
    /// 11 to 19 in one word.
    Teen(u8),
    /// 20, 30 … 90.
    Tens(u8),
    /// 100, or so many hundreds.
    Hundred,
    /// 200.
    TwoHundred,
    /// 1000, or so many thousands.
    Thousand,
    /// 2000.
    TwoThousand,
    /// 1,000,000, or so many millions.
    Million,
    /// And half of the scale before.
    Half,
    /// The next digit, or the one before, so many times.
    Times(u8),
    /// Behind a unit: so many times the next digit.
    TimesMark,
    /// Dialled as `+`.
    Plus,
    /// Dialled as `*`.
    Star,
    /// Neither part of a number nor the end of one: hyphens, blanks, "er".
    Filler,
    /// The end of a number.
    Stop,
}

/// What ends a number besides other words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    /// What a recogniser writes between digits goes on: `0, 5, 0`.
    Few,
    /// A comma or full stop before a blank ends a number: what a model lists.
    Many,
}

/// Cuts a text into pieces.
pub(super) fn pieces(text: &str, breaks: Breaks) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    let mut before = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let start = text.len() - rest.len();
        let (kind, prefix, len) = if digit(c).is_some() {
            let (digits, len) = written(rest);
            (Kind::Digits(digits), 0, len)
        } else if c.is_alphabetic() {
            let len = rest
                .find(|c: char| !(c.is_alphabetic() || is_inside_word(c)))
                .unwrap_or(rest.len());
            let token = crate::words::word(&rest[..len]);
            let (kind, prefix) = match number_word(&token) {
                // The town and the day are no numbers.
                Some(_) if is_named(&before, &token) => (Kind::Stop, 0),
                Some(found) => found,
                None => (Kind::Stop, 0),
            };
            before = token;
            (kind, prefix, len)
        } else {
            let behind = &rest[c.len_utf8()..];
            let ends = behind.chars().next().is_none_or(char::is_whitespace);
            let kind = match c {
                '+' => Kind::Plus,
                '*' => Kind::Star,
                ',' | '.' if ends && breaks == Breaks::Many => Kind::Stop,
                ',' | '.' | '-' | '–' | '־' | '(' | ')' => Kind::Filler,
                '\n' if breaks == Breaks::Many => Kind::Stop,
                c if c.is_whitespace() => Kind::Filler,
                _ => Kind::Stop,
            };
            (kind, 0, c.len_utf8())
        };
        let span = start..start + len;
        rest = &rest[len..];
        out.push(Piece { kind, span, prefix });
    }
    out
}

/// The pieces of each number: no stop in them, no filler around them.
pub(super) fn runs(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    pieces
        .split(|piece| piece.kind == Kind::Stop)
        .filter_map(|run| {
            let is_said = |piece: &Piece| piece.kind != Kind::Filler;
            let first = run.iter().position(is_said)?;
            let last = run.iter().rposition(is_said)?;
            Some(run[first..=last].to_vec())
        })
        .collect()
}

/// Points and quotation marks within words.
fn is_inside_word(c: char) -> bool {
    matches!(c, '\'' | '’' | '׳' | '"' | '״' | '\u{591}'..='\u{5bd}' | '\u{5bf}'..='\u{5c7}')
}

/// Digits at the beginning of a text, and how many bytes they take: `30,000` is one number.
fn written(text: &str) -> (String, usize) {
    let (mut digits, mut len) = digits_of(text);
    if digits.len() <= 3 && !digits.starts_with('0') {
        while let Some(behind) = text[len..].strip_prefix([',', '\u{66c}', '\u{ff0c}']) {
            let (group, group_len) = digits_of(behind);
            if group.len() != 3 {
                break;
            }
            digits.push_str(&group);
            len = text.len() - behind.len() + group_len;
        }
    }
    (digits, len)
}

/// The digits that a text begins with, in ASCII, and how many bytes they take.
fn digits_of(text: &str) -> (String, usize) {
    let mut digits = String::new();
    let mut len = 0;
    for c in text.chars() {
        let Some(digit) = digit(c) else { break };
        digits.push(digit);
        len += c.len_utf8();
    }
    (digits, len)
}

/// Zeros of the decimal digits in other scripts and forms; the nine others follow each.
const ZEROS: &[char] = &[
    '0',
    '\u{660}',
    '\u{6f0}',
    '\u{7c0}',
    '\u{966}',
    '\u{9e6}',
    '\u{a66}',
    '\u{ae6}',
    '\u{b66}',
    '\u{be6}',
    '\u{c66}',
    '\u{ce6}',
    '\u{d66}',
    '\u{de6}',
    '\u{e50}',
    '\u{ed0}',
    '\u{f20}',
    '\u{1040}',
    '\u{1090}',
    '\u{17e0}',
    '\u{1810}',
    '\u{1946}',
    '\u{19d0}',
    '\u{1a80}',
    '\u{1a90}',
    '\u{1b50}',
    '\u{1bb0}',
    '\u{1c40}',
    '\u{1c50}',
    '\u{2080}',
    '\u{a620}',
    '\u{a8d0}',
    '\u{a900}',
    '\u{a9d0}',
    '\u{a9f0}',
    '\u{aa50}',
    '\u{abf0}',
    '\u{ff10}',
    '\u{104a0}',
    '\u{1d7ce}',
    '\u{1d7d8}',
    '\u{1d7e2}',
    '\u{1d7ec}',
    '\u{1d7f6}',
    '\u{1fbf0}',
];
/// Ones of digits whose zero stands elsewhere: circled and the like.
const ONES: &[char] = &[
    '\u{2460}', '\u{2474}', '\u{2488}', '\u{24f5}', '\u{2776}', '\u{2780}', '\u{278a}',
];

/// A digit in ASCII, whatever it was written in.
fn digit(c: char) -> Option<char> {
    let folded = match c {
        '\u{b2}' => Some(2),
        '\u{b3}' => Some(3),
        '\u{b9}' => Some(1),
        '\u{24ea}' | '\u{24ff}' | '\u{2070}' => Some(0),
        '\u{2074}'..='\u{2079}' => Some(c as u32 - 0x2070),
        _ => {
            let behind = |first: &char| (c as u32).checked_sub(*first as u32);
            let of_ten = ZEROS.iter().filter_map(behind).find(|digit| *digit < 10);
            of_ten.or_else(|| {
                ONES.iter()
                    .filter_map(behind)
                    .find(|digit| *digit < 9)
                    .map(|digit| digit + 1)
            })
        }
    };
    folded.and_then(|digit| char::from_digit(digit, 10))
}

/// `באר שבע`, `יום שני`.
fn is_named(before: &str, token: &str) -> bool {
    (before.ends_with("באר") && token == "שבע") || (before.ends_with("יום") && token == "שני")
}

/// What a word means, and the bytes of its prefix.
fn number_word(word: &str) -> Option<(Kind, usize)> {
    if let Some(kind) = bare_number_word(word) {
        return Some((kind, 0));
    }
    crate::words::forms(word)
        .skip(1)
        .take(2)
        .find_map(|form| Some((bare_number_word(form)?, word.len() - form.len())))
}

fn bare_number_word(word: &str) -> Option<Kind> {
    Some(match word {
        "אפס" | "zero" | "oh" | "o" | "nought" => Kind::Unit(0),
        "אחת" | "אחד" | "one" => Kind::Unit(1),
        "שתיים" | "שתים" | "שניים" | "שתי" | "שני" | "two" => Kind::Unit(2),
        "שלוש" | "שלושה" | "שלושת" | "three" => Kind::Unit(3),
        "ארבע" | "ארבעה" | "ארבעת" | "four" => Kind::Unit(4),
        "חמש" | "חמישה" | "חמשה" | "חמשת" | "חמישת" | "five" => Kind::Unit(5),
        "שש" | "שישה" | "ששה" | "ששת" | "שישת" | "six" => Kind::Unit(6),
        "שבע" | "שבעה" | "שבעת" | "seven" => Kind::Unit(7),
        "שמונה" | "שמונת" | "eight" => Kind::Unit(8),
        "תשע" | "תשעה" | "תשעת" | "nine" => Kind::Unit(9),
        "עשר" | "עשרה" | "עשרת" | "ten" => Kind::Ten,
        "eleven" => Kind::Teen(11),
        "twelve" => Kind::Teen(12),
        "thirteen" => Kind::Teen(13),
        "fourteen" => Kind::Teen(14),
        "fifteen" => Kind::Teen(15),
        "sixteen" => Kind::Teen(16),
        "seventeen" => Kind::Teen(17),
        "eighteen" => Kind::Teen(18),
        "nineteen" => Kind::Teen(19),
        "עשרים" | "twenty" => Kind::Tens(20),
        "שלושים" | "thirty" => Kind::Tens(30),
        "ארבעים" | "forty" => Kind::Tens(40),
        "חמישים" | "חמשים" | "fifty" => Kind::Tens(50),
        "שישים" | "ששים" | "sixty" => Kind::Tens(60),
        "שבעים" | "seventy" => Kind::Tens(70),
        "שמונים" | "eighty" => Kind::Tens(80),
        "תשעים" | "ninety" => Kind::Tens(90),
        "מאה" | "מאות" | "hundred" => Kind::Hundred,
        "מאתיים" | "מאתים" => Kind::TwoHundred,
        "אלף" | "אלפים" | "thousand" => Kind::Thousand,
        "אלפיים" => Kind::TwoThousand,
        "מיליון" | "מיליונים" | "million" => Kind::Million,
        "וחצי" => Kind::Half,
        "כפול" | "פעמיים" | "דאבל" | "double" => Kind::Times(2),
        "טריפל" | "triple" => Kind::Times(3),
        "פעמים" => Kind::TimesMark,
        "פלוס" | "plus" => Kind::Plus,
        "כוכבית" | "star" => Kind::Star,
        "מקף" | "קו" | "אה" | "אהה" | "אמ" | "אממ" | "ואז" | "dash" | "hyphen" | "uh" | "um" | "and" => {
            Kind::Filler
        }
        _ => return None,
    })
}

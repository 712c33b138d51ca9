//! Texts in which the words of a search are marked.

use callfold_store::search::hits;

/// How much of a transcript stands before a hit, in characters.
const BEFORE_CHARS: usize = 60;
/// How much of a transcript is shown with a hit, in characters.
const SNIPPET_CHARS: usize = 180;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Holds a word that was searched for.
    pub(crate) hit: bool,
}

/// A text, its hits marked.
pub(crate) type Pieces = Vec<Piece>;

/// Marks the words of a query (`LeadFilter::words`) in a text.
pub(crate) fn marked(text: &str, words: &[String]) -> Pieces {
    pieces(text, hits(text, words))
}

/// Marks the digits of a query in a number as it is shown, whatever stands between them.
pub(crate) fn marked_number(shown: &str, words: &[String]) -> Pieces {
    let digits: Vec<(usize, char)> = shown.char_indices().filter(|(_, c)| c.is_ascii_digit()).collect();
    let text: String = digits.iter().map(|(_, digit)| *digit).collect();
    let found = words
        .iter()
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|word| {
            let found = text.find(word.as_str())?;
            // A query has lost the zeros it began with.
            let is_beginning = text.as_bytes()[..found].iter().all(|digit| *digit == b'0');
            let start = if is_beginning { 0 } else { found };
            // Digits are one byte each.
            let (first, last) = (digits.get(start)?, digits.get(found + word.len() - 1)?);
            Some(first.0..last.0 + 1)
        })
        .min_by_key(|range| range.start);
    pieces(shown, found.into_iter().collect())
}

/// What stands around the first hit of a text, with its hits marked; `None` without one.
pub(crate) fn snippet(text: &str, words: &[String]) -> Option<Pieces> {
    let first = hits(text, words).into_iter().next()?;
    let start = text[..first.start]
        .char_indices()
        .rev()
        .nth(BEFORE_CHARS)
        // Not from within a word.
        .map_or(0, |(at, _)| {
            text[at..first.start].find(' ').map_or(at, |space| at + space + 1)
        });
    let end = text[start..]
        .char_indices()
        .nth(SNIPPET_CHARS)
        .map_or(text.len(), |(at, _)| (start + at).max(first.end));
    let mut pieces = marked(text[start..end].trim(), words);
    let dots = || Piece {
        text: "…".to_owned(),
        hit: false,
    };
    if start > 0 {
        pieces.insert(0, dots());
    }
    if end < text.len() {
        pieces.push(dots());
    }
    Some(pieces)
}

/// Whether something is marked.
pub(crate) fn has_hit(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| piece.hit)
}

fn pieces(text: &str, hits: Vec<std::ops::Range<usize>>) -> Pieces {
    let mut pieces = Vec::new();
    let mut add = |text: &str, hit| {
        if !text.is_empty() {
            pieces.push(Piece {
                text: text.to_owned(),
                hit,
            });
        }
    };
    let mut at = 0;
    for hit in hits {
        add(&text[at..hit.start], false);
        add(&text[hit.clone()], true);
        at = hit.end;
    }
    add(&text[at..], false);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(query: &str) -> Vec<String> {
        callfold_store::search::query_words(query)
    }

    /// `[hit]`
    fn shown(pieces: &[Piece]) -> String {
        let each = pieces.iter().map(|piece| match piece.hit {
            true => format!("[{}]", piece.text),
            false => piece.text.clone(),
        });
        each.collect()
    }

    #[test]
    fn words_are_marked_and_nothing_is_lost() {
        let text = "שָׁלוֹם, <b>שלומית</b> 050-1";
        assert_eq!(
            shown(&marked(text, &words("שלום"))),
            "[שָׁלוֹם], <b>[שלומית]</b> 050-1"
        );
        assert_eq!(shown(&marked(text, &[])), text);
        assert_eq!(shown(&marked("", &words("x"))), "");
    }

    #[test]
    fn numbers_are_marked_whatever_stands_between_their_digits() {
        let number = |query: &str| shown(&marked_number("050-123-4567", &words(query)));
        assert_eq!(number("1234"), "050-[123-4]567");
        assert_eq!(number("050-12"), "[050-12]3-4567");
        assert_eq!(number("4567"), "050-123-[4567]");
        assert_eq!(number("972"), "050-123-4567");
        assert_eq!(number("dana"), "050-123-4567");
    }

    #[test]
    fn a_snippet_is_what_stands_around_the_first_hit() {
        assert_eq!(snippet("nothing here", &words("other")), None);
        let long = format!("{}the leak is {}", "before ".repeat(50), "after ".repeat(100));
        let pieces = snippet(&long, &words("leak")).unwrap_or_default();
        let text = shown(&pieces);
        assert!(text.starts_with("…before ") && text.ends_with("…"), "{text}");
        assert!(text.contains("the [leak] is"), "{text}");
        assert!(text.chars().count() < 200);
        let hebrew = "א".repeat(500) + " נזילה";
        let text = shown(&snippet(&hebrew, &words("נזי")).unwrap_or_default());
        assert!(text.ends_with("[נזילה]"), "{text}");
    }
}

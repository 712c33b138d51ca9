//! Plain text from strangers: what is left out, and how it is cut.

/// The text on one line: control and direction characters dropped, runs of blanks made one.
///
/// Direction overrides would let a text write over what stands beside it on the card; invisible characters would let
/// two texts look alike.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() || c == '\u{85}' {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else if !is_hidden(c) {
            out.push(c);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Controls, direction marks and overrides, zero-width and tag characters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// At most `chars_max` characters, cut between words and marked with `…` when something was left out.
pub(crate) fn bounded(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let cut = text
        .char_indices()
        .nth(chars_max.saturating_sub(1))
        .map_or(text.len(), |(at, _)| at);
    let head = &text[..cut];
    // A blank right behind the cut means that the last word is whole.
    let whole = text[cut..].starts_with(' ');
    let head = match head.rfind(' ') {
        Some(at) if !whole && at > 0 => &head[..at],
        _ => head,
    };
    format!("{}…", head.trim_end_matches([' ', ',', ';', ':', '-', '–', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_dropped_and_blanks_joined() {
        assert_eq!(
            clean(" שלום\u{202e} \r\n\tעולם\u{0}\u{200f}\u{e0041} "),
            "שלום עולם"
        );
        assert_eq!(clean("\u{200b}\n"), "");
        assert_eq!(clean("a\u{2028}b"), "a b");
    }

    #[test]
    fn a_cut_stands_between_words() {
        assert_eq!(bounded("אחת שתיים שלוש", 14), "אחת שתיים שלוש");
        assert_eq!(bounded("אחת שתיים שלוש", 13), "אחת שתיים…");
        assert_eq!(bounded("אחת שתיים שלוש", 10), "אחת שתיים…");
        assert_eq!(bounded("אחת, שתיים", 6), "אחת…");
        assert_eq!(bounded("אבגדהוזחטי", 5), "אבגד…");
        for max in 1..30 {
            assert!(bounded("one two three, four five six", max).chars().count() <= max);
        }
    }
}

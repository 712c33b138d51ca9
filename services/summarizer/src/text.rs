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
        } else if !is_hidden(c) || (c == EMOJI_STYLE && out.ends_with(is_pictured)) {
            out.push(c);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Asks for the coloured form of the sign before it.
const EMOJI_STYLE: char = '\u{fe0f}';

/// A sign that may have a coloured form: `❤`, not a letter or a digit.
fn is_pictured(c: char) -> bool {
    matches!(c, '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}') && !c.is_alphanumeric()
}

/// Controls, direction marks and overrides, zero-width, blank and tag characters, variation selectors.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{e0100}'..='\u{e01ef}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text without what a page or a mail would take for markup: tags and comments. A `<` between
/// numbers stays, and so do character references (`&lt;`): the text is escaped where it is shown.
pub(crate) fn without_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if !behind.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            out.push('<');
            rest = behind;
            continue;
        }
        // A tag without an end takes the rest along.
        rest = behind.find('>').map_or("", |end| &behind[end + 1..]);
        out.push(' ');
    }
    out.push_str(rest);
    out
}

/// The text without the signs of emphasis that models write into it: `**`, `__` and backticks.
pub(crate) fn without_emphasis(text: &str) -> String {
    text.replace("**", "").replace("__", "").replace('`', "")
}

/// Web and mail addresses in a text, lower case, without the punctuation around them.
pub(crate) fn addresses(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | '<' | '>' | '"' | ','))
        .map(|token| {
            token
                .trim_matches(|c: char| !c.is_ascii_alphanumeric())
                .to_lowercase()
        })
        .filter(|token| is_address(token))
        .collect()
}

/// `https://…`, `javascript:…`, `name@host`, `host.tld` with or without a path.
fn is_address(token: &str) -> bool {
    if token.contains("://") || token.contains('@') {
        return true;
    }
    let schemes = ["javascript:", "data:", "mailto:", "tel:", "sms:"];
    if schemes.iter().any(|scheme| token.starts_with(scheme)) {
        return true;
    }
    let host = token.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let Some((name, tld)) = host.rsplit_once('.') else {
        return false;
    };
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    tld.len() >= 2 && tld.chars().all(|c| c.is_ascii_alphabetic()) && name.split('.').all(is_label)
}

/// At most `words_max` words: whole sentences or clauses where that leaves half of them, else cut between words and
/// marked with `…`.
pub(crate) fn bounded_words(text: &str, words_max: usize) -> String {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.len() <= words_max {
        return text.to_owned();
    }
    let head = &words[..words_max];
    let clause = head
        .iter()
        .rposition(|word| word.ends_with(['.', '!', '?', ',', ';', ':']))
        .filter(|last| (last + 1) * 2 >= words_max);
    let kept = clause.map_or(head, |last| &head[..=last]);
    let kept = kept.join(" ");
    format!("{}…", kept.trim_end_matches([' ', ',', ';', ':', '-', '–', '.']))
}

/// How many words it has.
pub(crate) fn count_words(text: &str) -> usize {
    text.split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .count()
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
        let hidden =
            "a\u{ad}\u{34f}\u{115f}\u{1160}\u{3164}\u{ffa0}\u{fe00}\u{fe0f}\u{e0100}\u{e01ef}b1\u{fe0f}";
        assert_eq!(clean(hidden), "ab1");
        assert_eq!(clean("\u{2764}\u{fe0f}\u{fe0f} \u{fe0f}"), "\u{2764}\u{fe0f}");
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

    #[test]
    fn markup_is_taken_out() {
        assert_eq!(clean(&without_markup("<b>שלום</b> <script>x</script>")), "שלום x");
        assert_eq!(clean(&without_markup("3 < 5 <img src=x onerror=a()")), "3 < 5");
        assert_eq!(clean(&without_markup("<!-- a --> ב")), "ב");
    }

    #[test]
    fn words_are_bounded_at_sentences_or_between_words() {
        assert_eq!(bounded_words("אחת שתיים שלוש", 3), "אחת שתיים שלוש");
        assert_eq!(bounded_words("אחת שתיים שלוש ארבע", 3), "אחת שתיים שלוש…");
        assert_eq!(bounded_words("אחת שתיים. שלוש ארבע", 3), "אחת שתיים…");
        assert_eq!(count_words("אחת - שתיים, 3"), 3);
    }
}

//! Words as they are compared. Hebrew writes "and", "the", "in", "to", "from" onto the word and leaves vowels out, so two
//! spellings of one word are looked for under several forms.

/// What Hebrew writes onto the front of a word.
const PREFIXES: &[char] = &['ו', 'ה', 'ב', 'כ', 'ל', 'מ', 'ש'];
/// How many of them at most: `ושב…`.
const PREFIXES_MAX: usize = 3;
/// The shortest word that is left when a prefix is taken off, in letters.
const FORM_LETTERS_MIN: usize = 2;
/// The shortest stem, in letters.
const STEM_LETTERS_MIN: usize = 3;
/// Endings that a stem leaves out, longest first.
const SUFFIXES: &[&str] = &["ות", "ים", "ית", "ה", "ת", "י", "ing", "ed", "es", "s"];

/// A word as it is compared: lower case, without points and punctuation around it.
pub(crate) fn word(token: &str) -> String {
    token
        .trim_matches(|c: char| !c.is_alphanumeric())
        .chars()
        .filter(|c| !is_niqqud(*c))
        .map(|c| match c {
            '’' | '׳' => '\'',
            '״' | '”' | '“' => '"',
            other => other,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

/// The words of a text, cut at everything that is neither letter nor digit, quotation marks within words left out
/// (`צ'ק` is `צק`, `ש"ח` is `שח`).
pub(crate) fn plain_words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current = String::new();
    for c in text.chars() {
        // Unicode counts most points as letters.
        if is_niqqud(c) {
            continue;
        }
        if c.is_alphanumeric() {
            current.extend(c.to_lowercase());
        } else if !matches!(c, '\'' | '"' | '’' | '׳' | '״') && !current.is_empty() {
            out.push(std::mem::take(&mut current));
        }
    }
    if !current.is_empty() {
        out.push(current);
    }
    out
}

/// Points and accents of Hebrew, which speech recognisers write rarely and models at times. The hyphen among them is a
/// hyphen.
fn is_niqqud(c: char) -> bool {
    matches!(
        c,
        '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}'
    )
}

/// Whether it is a Hebrew letter.
pub(crate) fn is_hebrew(c: char) -> bool {
    matches!(c, 'א'..='ת')
}

/// Whether most of its letters are Hebrew ones.
pub(crate) fn is_mostly_hebrew(text: &str) -> bool {
    let (mut hebrew, mut letters) = (0_usize, 0_usize);
    for c in text.chars().filter(|c| c.is_alphabetic() && !is_niqqud(*c)) {
        letters += 1;
        hebrew += usize::from(is_hebrew(c));
    }
    hebrew * 2 > letters
}

/// The word as it is, and without one, two and three prefixes.
pub(crate) fn forms(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(word);
    let mut taken = 0;
    std::iter::from_fn(move || {
        let now = rest?;
        taken += 1;
        rest = now
            .strip_prefix(PREFIXES)
            .filter(|left| taken <= PREFIXES_MAX && left.chars().count() >= FORM_LETTERS_MIN);
        Some(now)
    })
}

/// What is left of a word without prefixes and endings, every way of taking them off: words that share one are taken for
/// the same word in two forms (`לניקיון משרדים`, `ניקיון משרד`).
pub(crate) fn stems(word: &str) -> Vec<String> {
    let mut out = Vec::new();
    for form in forms(word) {
        let bare = SUFFIXES.iter().filter_map(|suffix| form.strip_suffix(suffix));
        for stem in std::iter::once(form).chain(bare) {
            if stem.chars().count() >= STEM_LETTERS_MIN {
                out.push(without_final_letter(stem));
            }
        }
    }
    out
}

/// The same letter is written in another way at the end of a word.
fn without_final_letter(word: &str) -> String {
    word.chars()
        .map(|c| match c {
            'ך' => 'כ',
            'ם' => 'מ',
            'ן' => 'נ',
            'ף' => 'פ',
            'ץ' => 'צ',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_points_quotes_and_case() {
        assert_eq!(word("\"שָׁלוֹם,\""), "שלום");
        assert_eq!(word("Cohen."), "cohen");
        assert_eq!(
            plain_words("ש״ח, צ'ק באר־שבע 10"),
            ["שח", "צק", "באר", "שבע", "10"]
        );
    }

    #[test]
    fn forms_take_prefixes_off() {
        let of = |word| forms(word).collect::<Vec<_>>();
        assert_eq!(of("ולמשה"), ["ולמשה", "למשה", "משה", "שה"]);
        assert_eq!(of("רונית"), ["רונית"]);
        assert_eq!(of("לה"), ["לה"]);
    }

    #[test]
    fn stems_bring_forms_of_a_word_together() {
        let share = |a, b| stems(a).iter().any(|stem| stems(b).contains(stem));
        assert!(share("לשיפוץ", "שיפוצים"));
        assert!(share("משרדים", "המשרד"));
        assert!(share("painting", "paints"));
        assert!(!share("מזגן", "דירה"));
    }

    #[test]
    fn the_language_is_that_of_most_letters() {
        assert!(is_mostly_hebrew("שָׁלוֹם לכם John 050"));
        assert!(!is_mostly_hebrew("Hello שלום"));
        assert!(!is_mostly_hebrew("050"));
    }
}

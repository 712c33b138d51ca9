//! Every word a person reads: a file for each area, and in it each text in every language, one below the other.
//! A new text is three lines in its area's file; the compiler asks for both languages, and the tests below read them.

mod card;
mod frame;
mod operation;
mod people;
mod queue;
mod state;
mod story;
mod time;

use axum::http::{HeaderMap, header};

/// An area and its texts: `Area name: "Hebrew", "English"; …`. `{}` in a text is the place of a value; [`fill`] puts it there.
macro_rules! words {
    ($area:ident $($name:ident: $hebrew:literal, $english:literal;)*) => {
        /// Texts of this area in one language.
        pub(crate) struct $area {
            $(pub(crate) $name: &'static str,)*
        }

        impl $area {
            pub(super) const HEBREW: Self = Self { $($name: $hebrew,)* };
            pub(super) const ENGLISH: Self = Self { $($name: $english,)* };
            /// Name, Hebrew, English.
            #[cfg(test)]
            pub(super) const ALL: &'static [(&'static str, &'static str, &'static str)] =
                &[$((stringify!($name), $hebrew, $english),)*];
        }
    };
}
use words;

/// The texts of one language.
pub(crate) struct Words {
    /// BCP 47, for `lang`.
    pub(crate) language: &'static str,
    /// `rtl` or `ltr`, for `dir`.
    pub(crate) direction: &'static str,
    pub(crate) frame: frame::Frame,
    pub(crate) state: state::State,
    pub(crate) time: time::Time,
    pub(crate) queue: queue::Queue,
    pub(crate) card: card::Card,
    pub(crate) story: story::Story,
    pub(crate) operation: operation::Operation,
    pub(crate) people: people::People,
}

/// Hebrew: plain, short, without gender where it can be avoided.
static HEBREW: Words = Words {
    language: "he",
    direction: "rtl",
    frame: frame::Frame::HEBREW,
    state: state::State::HEBREW,
    time: time::Time::HEBREW,
    queue: queue::Queue::HEBREW,
    card: card::Card::HEBREW,
    story: story::Story::HEBREW,
    operation: operation::Operation::HEBREW,
    people: people::People::HEBREW,
};

/// English: plain and short.
static ENGLISH: Words = Words {
    language: "en",
    direction: "ltr",
    frame: frame::Frame::ENGLISH,
    state: state::State::ENGLISH,
    time: time::Time::ENGLISH,
    queue: queue::Queue::ENGLISH,
    card: card::Card::ENGLISH,
    story: story::Story::ENGLISH,
    operation: operation::Operation::ENGLISH,
    people: people::People::ENGLISH,
};

/// The cookie that keeps a person's choice of language.
pub(crate) const LANGUAGE_COOKIE: &str = "callfold_language";

/// How many entries of `Accept-Language` are looked at.
const ACCEPTED_MAX: usize = 20;

/// A language that there are words in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Hebrew,
    English,
}

impl Language {
    /// All of them, in the order of the menu.
    pub(crate) const ALL: [Self; 2] = [Self::Hebrew, Self::English];

    /// The language a request asks for: what the person chose, else what the browser prefers, else Hebrew.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        crate::auth::cookie(headers, LANGUAGE_COOKIE)
            .and_then(Self::from_tag)
            .or_else(|| preferred(headers))
            .unwrap_or(Self::Hebrew)
    }

    /// The language of a tag: `he`, `he-IL`, `iw`, `en-GB` …
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        let language = tag.trim().split(['-', '_']).next()?;
        match language.to_ascii_lowercase().as_str() {
            // The tag of Hebrew until 1989; old browsers still send it.
            "he" | "iw" => Some(Self::Hebrew),
            "en" => Some(Self::English),
            _ => None,
        }
    }

    /// Its texts.
    pub(crate) fn words(self) -> &'static Words {
        match self {
            Self::Hebrew => &HEBREW,
            Self::English => &ENGLISH,
        }
    }

    /// BCP 47.
    pub(crate) fn tag(self) -> &'static str {
        self.words().language
    }

    /// Its name in itself: who looks for it may not read the other one.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hebrew => "עברית",
            Self::English => "English",
        }
    }
}

/// The first of our languages by the weights of `Accept-Language`.
fn preferred(headers: &HeaderMap) -> Option<Language> {
    let accepted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(f32, Language)> = None;
    for entry in accepted.split(',').take(ACCEPTED_MAX) {
        let mut parts = entry.split(';');
        let Some(language) = parts.next().and_then(Language::from_tag) else {
            continue;
        };
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(Some(1.0), |q| q.trim().parse().ok())
            .unwrap_or(0.0_f32);
        if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

/// Puts `value` in the place of `{}`.
pub(crate) fn fill(text: &str, value: impl std::fmt::Display) -> String {
    text.replacen("{}", &value.to_string(), 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use axum::http::HeaderValue;

    use super::*;

    /// Names of things that are written alike everywhere.
    const ALIKE: [&str; 12] = [
        "link",
        "user",
        "callfold",
        "up",
        "model",
        "fetch",
        "use",
        "ivrit-turbo",
        "TWILIO_AUTH_TOKEN",
        "Twilio",
        "API",
        "WhatsApp",
    ];

    fn texts() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
        let areas = [
            frame::Frame::ALL,
            state::State::ALL,
            time::Time::ALL,
            queue::Queue::ALL,
            card::Card::ALL,
            story::Story::ALL,
            operation::Operation::ALL,
            people::People::ALL,
        ];
        areas.into_iter().flatten()
    }

    fn is_hebrew(c: char) -> bool {
        ('\u{590}'..='\u{5ff}').contains(&c)
    }

    #[test]
    fn every_text_says_something_in_both_languages_with_the_same_places() {
        assert!(texts().count() > 100);
        for (name, hebrew, english) in texts() {
            for text in [hebrew, english] {
                assert!(!text.trim().is_empty(), "{name} says nothing");
                assert_eq!(text.trim(), *text, "{name} has a space at an end");
            }
            let places = |text: &str| text.matches("{}").count();
            assert_eq!(places(hebrew), places(english), "{name}: the places differ");
            assert!(
                !english.contains(is_hebrew),
                "{name}: English holds Hebrew letters"
            );
            let own_words = hebrew.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
            for word in own_words.filter(|word| word.contains(|c: char| c.is_ascii_alphabetic())) {
                assert!(
                    ALIKE.contains(&word.trim_matches('-')),
                    "{name}: Hebrew holds {word}"
                );
            }
            let only_values = hebrew.replace("{}", "").chars().all(|c| !c.is_alphabetic());
            assert!(only_values || hebrew.contains(is_hebrew), "{name}: no Hebrew");
        }
    }

    #[test]
    fn values_are_put_in_their_places_in_order() {
        assert_eq!(fill(&fill(HEBREW.state.attempt, 3), 8), "ניסיון 3 מתוך 8");
        assert_eq!(fill(HEBREW.time.minutes_ago, 5), "לפני 5 דק׳");
        assert_eq!(fill(&fill(ENGLISH.state.attempt, 3), 8), "Attempt 3 of 8");
        assert_eq!(fill("no place", 5), "no place");
    }

    #[test]
    fn a_choice_goes_before_what_the_browser_prefers_and_hebrew_is_last() {
        let asked = |cookie: &str, accepted: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_str(accepted).unwrap());
            Language::of(&headers)
        };
        use Language::{English, Hebrew};
        assert_eq!(Language::of(&HeaderMap::new()), Hebrew);
        assert_eq!(asked("a=b", "fr, de;q=0.5"), Hebrew);
        assert_eq!(asked("a=b", "fr, en-GB;q=0.5"), English);
        assert_eq!(asked("a=b", "en;q=0.5, he-IL"), Hebrew);
        assert_eq!(asked("a=b", "en;q=0.5, he;q=0.4"), English);
        assert_eq!(asked("a=b", "en;q=0, *"), Hebrew);
        assert_eq!(asked("a=b", "en;q=x"), Hebrew);
        assert_eq!(asked("a=b", "IW"), Hebrew);
        assert_eq!(asked("callfold_language=en; a=b", "he"), English);
        assert_eq!(asked("a=b; callfold_language=he", "en"), Hebrew);
        assert_eq!(asked("callfold_language=xx", "en"), English);
    }
}

//! What a transcript holds, to hold a model's answer against: a name, a number, an address or an urgency that nobody
//! spoke of is no fact. Pure.

use std::collections::BTreeSet;

use callfold_schema::event::Urgency;

use crate::extractive::{self, Details, EMPTY_WORDS, Haste};
use crate::numbers::Numbers;
use crate::summary::{NAME_CHARS_MAX, TOPIC_CHARS_MAX};
use crate::text::{addresses, bounded};
use crate::words::{forms, is_mostly_hebrew, plain_words, stems};

/// A name has so many words at most.
const NAME_WORDS_MAX: usize = 5;
/// Words for a caller in general: no names.
const CALLERS: &[&str] = &[
    "לקוח",
    "לקוחה",
    "מתקשר",
    "מתקשרת",
    "פונה",
    "דובר",
    "דוברת",
    "אדם",
    "אישה",
    "גבר",
    "אנונימי",
    "אלמוני",
    "caller",
    "customer",
    "client",
    "speaker",
    "person",
    "man",
    "woman",
    "anonymous",
];
/// A text with fewer words than this may have a summary of any shortness.
const LONG_WORDS_MIN: usize = 25;

/// A transcript, read once for all questions to it.
pub(crate) struct Heard {
    /// Every word, with and without prefixes.
    words: BTreeSet<String>,
    stems: BTreeSet<String>,
    numbers: Numbers,
    /// Lower case, addresses that were spelled joined again.
    addresses: String,
    haste: Haste,
    is_hebrew: bool,
    is_long: bool,
}

impl Heard {
    /// Reads a transcript.
    pub(crate) fn of(transcript: &str) -> Self {
        let said = plain_words(transcript);
        Self {
            words: said
                .iter()
                .flat_map(|word| forms(word))
                .map(str::to_owned)
                .collect(),
            stems: said
                .iter()
                .filter(|word| is_telling(word))
                .flat_map(|word| stems(word))
                .collect(),
            numbers: Numbers::of(transcript),
            addresses: joined(transcript),
            haste: Haste::of(transcript),
            is_hebrew: is_mostly_hebrew(transcript),
            is_long: said.len() >= LONG_WORDS_MIN,
        }
    }

    /// Whether a summary of it is to be in Hebrew.
    pub(crate) fn is_hebrew(&self) -> bool {
        self.is_hebrew
    }

    /// Whether it says enough for a summary of the usual length.
    pub(crate) fn is_long(&self) -> bool {
        self.is_long
    }

    /// Whether a line states a number that was not said; small ones count where they are an amount or a time.
    pub(crate) fn lacks_number_of(&self, line: &str) -> bool {
        self.numbers.lack_one_of(line)
    }

    /// The words of a caller's name that nobody said. For a message in another language a Hebrew name may be one that was
    /// said, so none is.
    pub(crate) fn invented_name(&self, claimed: Option<&str>) -> Vec<String> {
        let Some(name) = claimed.filter(|name| !self.holds_name(name) && !self.is_worded_in_hebrew(name))
        else {
            return Vec::new();
        };
        let words = plain_words(name);
        if words.len() > NAME_WORDS_MAX {
            return Vec::new();
        }
        words
            .into_iter()
            .filter(|word| {
                is_telling(word)
                    && extractive::may_be_name(word)
                    && !forms(word).any(|form| CALLERS.contains(&form) || self.words.contains(form))
            })
            .collect()
    }

    /// Whether a title has a telling word in common with what was said. One in Hebrew for a message in another language
    /// cannot be held against it.
    pub(crate) fn is_subject_of(&self, title: &str) -> bool {
        self.is_worded_in_hebrew(title) || telling(title).iter().any(|word| self.speaks_of(word))
    }

    fn is_worded_in_hebrew(&self, line: &str) -> bool {
        !self.is_hebrew && is_mostly_hebrew(line)
    }

    /// Whether the word was said, in this form or another.
    fn speaks_of(&self, word: &str) -> bool {
        self.words.contains(word) || stems(word).iter().any(|stem| self.stems.contains(stem))
    }

    /// Whether a line holds a web or mail address that was not said.
    pub(crate) fn lacks_address_of(&self, line: &str) -> bool {
        addresses(line).iter().any(|address| {
            let bare = address
                .split_once("://")
                .map_or(address.as_str(), |(_, bare)| bare);
            !self.addresses.contains(bare.trim_start_matches("www."))
        })
    }

    /// The details of which the transcript speaks; `by_rule` says what the rules found in it. What a model did not say,
    /// or invented, is taken from the rules.
    pub(crate) fn details(&self, claimed: Details, by_rule: &Details) -> Details {
        let number = claimed
            .callback_number
            .and_then(|number| self.numbers.dialled(&number));
        let callback_number = match (number, by_rule.callback_number.clone()) {
            // Half a number was claimed, or one of several digits fewer.
            (Some(claimed), Some(found)) if found.contains(&claimed) => Some(found),
            (claimed, found) => claimed.or(found),
        };
        Details {
            caller_name: claimed
                .caller_name
                .filter(|name| self.holds_name(name))
                .or_else(|| by_rule.caller_name.clone()),
            callback_number,
            topic: claimed
                .topic
                .filter(|topic| self.holds_topic(topic))
                .map(|topic| bounded(&topic, TOPIC_CHARS_MAX))
                .or_else(|| by_rule.topic.clone()),
            urgency: claimed
                .urgency
                .filter(|urgency| self.holds_urgency(*urgency))
                .or(by_rule.urgency),
        }
    }

    /// Each word of it was said, and one at least is no everyday word.
    fn holds_name(&self, name: &str) -> bool {
        let words = plain_words(name);
        (1..=NAME_WORDS_MAX).contains(&words.len())
            && name.chars().count() <= NAME_CHARS_MAX
            && !name.chars().any(|c| c.is_numeric())
            && addresses(name).is_empty()
            && words.iter().all(|word| self.words.contains(word))
            && words
                .iter()
                .any(|word| is_telling(word) && extractive::may_be_name(word))
    }

    /// Its telling words were said, in this form or another (one of three or more may be a word of the model's), and no
    /// number in it is invented.
    fn holds_topic(&self, topic: &str) -> bool {
        let words = telling(topic);
        let said = words.iter().filter(|word| self.speaks_of(word)).count();
        let may_lack = usize::from(words.len() >= 3);
        !self.lacks_number_of(topic)
            && !self.lacks_address_of(topic)
            && said > 0
            && said + may_lack >= words.len()
    }

    /// There are words for it: for haste, or for the lack of it. "Today" alone is no great haste.
    fn holds_urgency(&self, urgency: Urgency) -> bool {
        match urgency {
            Urgency::High => self.haste.is_urgent,
            Urgency::Normal => self.haste.is_urgent || self.haste.is_soon || self.haste.can_wait,
            Urgency::Low => self.haste.can_wait,
        }
    }
}

/// The words of a text that tell something.
fn telling(text: &str) -> Vec<String> {
    let mut words = plain_words(text);
    words.retain(|word| is_telling(word));
    words
}

fn is_telling(word: &str) -> bool {
    word.chars().count() > 1 && !EMPTY_WORDS.contains(&word)
}

/// Lower case, with `נקודה` and `שטרודל` as the signs they stand for.
fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for token in text.split_whitespace() {
        let sign = match crate::words::word(token).as_str() {
            "נקודה" | "dot" => Some('.'),
            "שטרודל" | "כרוכית" | "at" => Some('@'),
            _ => None,
        };
        match sign {
            Some(sign) => {
                out.truncate(out.trim_end().len());
                out.push(sign);
            }
            None => {
                out.extend(token.chars().flat_map(char::to_lowercase));
                out.push(' ');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "שלום, מדבר דוד כהן ממשרד המשפטים. אני צריך הצעת מחיר לשיפוץ מטבח בחיפה, זה דחוף. \
                        אפשר לחזור אליי ל-052-3456789 או במייל david@example.co.il.";

    fn claim(name: &str, number: &str, topic: &str, urgency: Urgency) -> Details {
        Details {
            caller_name: Some(name.to_owned()),
            callback_number: Some(number.to_owned()),
            topic: Some(topic.to_owned()),
            urgency: Some(urgency),
        }
    }

    #[test]
    fn details_that_were_said_stay() {
        let heard = Heard::of(TEXT);
        let details = heard.details(
            claim("דוד כהן", "+972-52-345-6789", "שיפוצים במטבח", Urgency::High),
            &Details::default(),
        );
        assert_eq!(
            details,
            claim("דוד כהן", "0523456789", "שיפוצים במטבח", Urgency::High)
        );
    }

    #[test]
    fn details_that_were_not_said_are_dropped_or_come_from_the_rules() {
        let heard = Heard::of(TEXT);
        let invented = || claim("משה לוי", "1900555123", "השקעות בקריפטו", Urgency::Low);
        assert_eq!(heard.details(invented(), &Details::default()), Details::default());
        let rules = claim("דוד כהן", "0523456789", "שיפוץ מטבח", Urgency::High);
        assert_eq!(heard.details(invented(), &rules), rules);
        for name in [
            "דוד לוי",
            "דוד http://a.co",
            "אני",
            "זה דחוף",
            "0523456789",
            "",
            &"דוד ".repeat(6),
        ] {
            assert!(!heard.holds_name(name), "{name}");
        }
        // Prefixes and points are no difference.
        assert!(Heard::of("זה מדוד וממשה").holds_name("משה דָּוִד"));
        for topic in [
            "",
            "אני",
            "שיפוץ ב-50000",
            "שיפוץ evil.com",
            "שיפוץ דחוף בנתניה ובאילת",
            "שיפוץ חשבון",
            "חסימת חשבון מטבח",
        ] {
            assert!(!heard.holds_topic(topic), "{topic}");
        }
    }

    #[test]
    fn half_a_number_gives_way_to_the_whole_one() {
        let heard = Heard::of("אפס חמש שתיים שלוש ארבע חמש שש שבע שמונה תשע");
        let rules = Details {
            callback_number: Some("0523456789".to_owned()),
            ..Details::default()
        };
        let claimed = Details {
            callback_number: Some("3456789".to_owned()),
            ..Details::default()
        };
        assert_eq!(heard.details(claimed, &rules), rules);
    }

    #[test]
    fn a_topic_may_have_one_word_of_the_model_s_among_three() {
        let heard = Heard::of(TEXT);
        for topic in ["שיפוץ", "שיפוץ מטבח", "שיפוצים במטבח בחיפה", "עבודות שיפוץ מטבח"]
        {
            assert!(heard.holds_topic(topic), "{topic}");
        }
    }

    #[test]
    fn urgency_needs_words_for_it() {
        let calm = Heard::of("אני צריך טכנאי, זה לא דחוף");
        assert!(calm.holds_urgency(Urgency::Low) && !calm.holds_urgency(Urgency::High));
        let silent = Heard::of("אני צריך טכנאי");
        assert!(Urgency::ALL.iter().all(|urgency| !silent.holds_urgency(*urgency)));
        let soon = Heard::of("תחזרו אליי היום, בהקדם");
        assert!(soon.holds_urgency(Urgency::Normal) && !soon.holds_urgency(Urgency::High));
        assert!(Heard::of("זה דחוף").holds_urgency(Urgency::High));
    }

    #[test]
    fn addresses_that_were_not_said_are_noticed() {
        let heard = Heard::of(&format!("{TEXT} האתר הוא www נקודה example נקודה com"));
        for line in [
            "לכתוב אל david@example.co.il",
            "האתר https://www.example.com",
            "האתר example.com.",
            "מחר בשעה 10.30, עד 3.5 מטר",
        ] {
            assert!(!heard.lacks_address_of(line), "{line}");
        }
        for line in [
            "היכנסו אל http://evil.example/x",
            "evil.com",
            "www.evil.io/login?x=1",
            "כתבו אל a@evil.org",
            "[כאן](https://evil.net)",
            "HTTPS://EVIL.NET",
            "javascript:alert(1)",
        ] {
            assert!(heard.lacks_address_of(line), "{line}");
        }
    }
}

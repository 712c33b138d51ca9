//! Name, number, topic and haste, found by rule.

use callfold_schema::event::Urgency;

use super::Details;
use super::sentence::{Sentence, begins_with, holds, is_one_of, sentences, without_greeting};
use super::vocabulary::{
    CALL_BACK, COURTESIES, DETAILS, EMPTY_WORDS, M_SURNAMES, NEGATIONS, NO_NAMES, PATIENT_PHRASES,
    REQUEST_OBJECTS, REQUEST_PHRASES, REQUESTS, SOON, SURNAME_PARTS, TOPIC_ENDS, TOPIC_LEADS, TROUBLES,
    URGENT, URGENT_PHRASES,
};
use crate::numbers::{is_digit_word, with_digits};
use crate::summary::{NAME_CHARS_MAX, TOPIC_CHARS_MAX};
use crate::text::bounded;
use crate::words::word;

/// Phrases whose next word is a name.
const NAME_LEADS: &[&[&str]] = &[
    &["שמי", "הוא"],
    &["שמי"],
    &["קוראים", "לי"],
    &["השם", "שלי", "הוא"],
    &["השם", "שלי", "זה"],
    &["השם", "שלי"],
    &["השם", "הוא"],
    &["מדבר", "כאן"],
    &["מדברת", "כאן"],
    &["מדבר"],
    &["מדברת"],
    &["my", "name", "is"],
    &["my", "name's"],
    &["name", "is"],
    &["name's"],
];
/// Words that a name follows at the beginning of a message only, when it ends there or tells where one is from.
const OPENING_LEADS: &[&[&str]] = &[&["זה"], &["זאת"], &["זו"], &["כאן"], &["פה"], &["this", "is"]];
/// Words behind a name that belongs to who speaks: `דנה מדברת`.
const SPEAKERS: &[&str] = &["מדבר", "מדברת", "speaking", "here"];
/// Most words of a topic.
const TOPIC_WORDS_MAX: usize = 8;
/// Leads of a topic whose "for" is written onto the next word.
const OBJECT_LEADS: &[&str] = &[
    "הצעת",
    "ייעוץ",
    "יעוץ",
    "פרטים",
    "מידע",
    "תור",
    "פגישה",
    "עזרה",
    "בקשר",
    "בנוגע",
];

/// What the sentences tell; `title` is the one that says what is wanted.
pub(super) fn details(said: &[Sentence], title: &Sentence) -> Details {
    Details {
        caller_name: name(said),
        callback_number: number(said),
        topic: topic(title),
        urgency: Haste::among(said.iter().map(|sentence| sentence.words.as_slice())).urgency(),
    }
}

/// The first name that is given as one's own.
fn name(said: &[Sentence]) -> Option<String> {
    let given = said
        .iter()
        .find_map(|sentence| name_behind(&sentence.text, NAME_LEADS, false));
    let opening = || said.iter().find(|sentence| !sentence.is_courtesy);
    given
        .or_else(|| name_behind(&opening()?.text, OPENING_LEADS, true))
        .or_else(|| name_before(&opening()?.text))
        .map(|name| bounded(&name, NAME_CHARS_MAX))
}

/// The name behind one of the phrases; with `is_strict` the sentence begins with the phrase, and nothing but "from"
/// follows the name.
fn name_behind(text: &str, leads: &[&[&str]], is_strict: bool) -> Option<String> {
    let tokens: Vec<&str> = text.split(' ').collect();
    let words: Vec<String> = tokens.iter().map(|token| word(token)).collect();
    let starts = if is_strict { 0..1 } else { 0..words.len() };
    starts.into_iter().find_map(|start| {
        let lead = leads.iter().find(|lead| begins_with(&words[start..], lead))?;
        let from = start + lead.len();
        let count = name_len(&tokens[from..], &words[from..]);
        let behind = words.get(from + count);
        let ends = tokens
            .get(from + count - count.min(1))
            .is_some_and(|last| last.ends_with([',', ':']));
        let is_from = |word: &String| {
            word.starts_with('מ')
                || matches!(
                    word.as_str(),
                    "from" | "calling" | "speaking" | "here" | "and" | "with"
                )
        };
        let is_alone = ends || behind.is_none_or(is_from);
        (count > 0 && (!is_strict || is_alone)).then(|| join(&tokens[from..from + count]))
    })
}

/// The name at the beginning of a sentence, before "speaking".
fn name_before(text: &str) -> Option<String> {
    let tokens: Vec<&str> = text.split(' ').collect();
    let words: Vec<String> = tokens.iter().map(|token| word(token)).collect();
    let end = (1..=2).find(|end| {
        words
            .get(*end)
            .is_some_and(|word| SPEAKERS.contains(&word.as_str()))
    })?;
    words[..end]
        .iter()
        .all(|word| may_be_name(word))
        .then(|| join(&tokens[..end]))
}

/// How many words from here on are a name: a first name, and a family name where one follows.
fn name_len(tokens: &[&str], words: &[String]) -> usize {
    let Some(first) = words.first() else {
        return 0;
    };
    // Hebrew has a first name and "from somewhere" in one spelling; a lead is followed by a name.
    if !may_be_name(first) || first.starts_with("מה") {
        return 0;
    }
    let ends = |at: usize| tokens[at].ends_with([',', '.', ':', ';', '!', '?']);
    let Some(second) = words.get(1).filter(|_| !ends(0)) else {
        return 1;
    };
    if SURNAME_PARTS.contains(&second.as_str())
        && !ends(1)
        && words.get(2).is_some_and(|word| may_be_name(word))
    {
        return 3;
    }
    if !may_be_name(second)
        || is_from(second, words.get(2))
        || (second.ends_with("תי") && second.chars().count() > 4)
    {
        return 1;
    }
    2
}

/// Whether `word`, behind a first name, says where somebody is from and is no family name.
fn is_from(word: &str, next: Option<&String>) -> bool {
    if !word.starts_with('מ') {
        return false;
    }
    // `משה מזרחי מרמת גן`
    let is_followed_by_from =
        !word.starts_with("מה") && next.is_some_and(|next| next.starts_with('מ') && may_be_name(next));
    !M_SURNAMES.contains(&word) && !is_followed_by_from
}

/// Whether a word may be part of a name: a word of letters that is none of those every message has.
pub(crate) fn may_be_name(word: &str) -> bool {
    let lists = [
        EMPTY_WORDS,
        COURTESIES,
        REQUESTS,
        REQUEST_OBJECTS,
        TROUBLES,
        DETAILS,
        CALL_BACK,
        NO_NAMES,
        URGENT,
        SPEAKERS,
    ];
    word.chars().count() > 1
        && word
            .chars()
            .all(|c| c.is_alphabetic() || matches!(c, '\'' | '"' | '-'))
        && !is_digit_word(word)
        && !lists.iter().any(|list| is_one_of(word, list))
}

fn join(tokens: &[&str]) -> String {
    tokens
        .iter()
        .map(|token| token.trim_matches(|c: char| !c.is_alphanumeric() && c != '\''))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The number to call back: the surest one; of several that are as sure, the one said as such, else the first.
fn number(said: &[Sentence]) -> Option<String> {
    let mut best: Option<(u8, String)> = None;
    for sentence in said {
        let Some((digits, rank)) = &sentence.number else {
            continue;
        };
        let is_told = has_contact_words(sentence);
        // Digits of no known form are a number to call only where one is spoken of.
        if *rank < 2 && !is_told {
            continue;
        }
        let score = 2 * rank + u8::from(is_told);
        if best.as_ref().is_none_or(|(found, _)| score > *found) {
            best = Some((score, digits.clone()));
        }
    }
    best.map(|(_, digits)| digits)
}

fn has_contact_words(sentence: &Sentence) -> bool {
    const WORDS: &[&str] = &[
        "מספר",
        "המספר",
        "טלפון",
        "הטלפון",
        "בטלפון",
        "נייד",
        "הנייד",
        "למספר",
        "לטלפון",
        "לנייד",
        "מספרי",
        "הטלפונים",
        "number",
        "phone",
        "call",
        "mobile",
        "cell",
        "reach",
    ];
    sentence
        .words
        .iter()
        .any(|word| is_one_of(word, WORDS) || is_one_of(word, CALL_BACK))
}

/// The object of the request, or the trouble; `None` for a sentence with neither.
fn topic(title: &Sentence) -> Option<String> {
    // A trouble told in one breath with everything else is no short phrase.
    let is_bare_trouble = title.is_trouble && !title.is_introduction && title.words.len() <= TOPIC_WORDS_MAX;
    if title.is_courtesy || (title.request == 0.0 && !is_bare_trouble) {
        return None;
    }
    let tokens: Vec<&str> = title.text.split(' ').collect();
    let words: Vec<String> = tokens.iter().map(|token| word(token)).collect();
    // Behind the words that ask; a trouble has none, then it is the whole sentence.
    let asked = (0..words.len()).find_map(|at| {
        let phrase = REQUEST_PHRASES
            .iter()
            .find(|phrase| begins_with(&words[at..], phrase));
        phrase
            .map(|phrase| at + phrase.len())
            .or_else(|| is_one_of(&words[at], REQUESTS).then_some(at + 1))
    });
    let mut at = asked.unwrap_or(0);
    let mut behind_object = false;
    loop {
        if let Some(lead) = TOPIC_LEADS.iter().find(|lead| begins_with(&words[at..], lead)) {
            // The last words stay: `צריך ייעוץ`, `לקבוע תור`.
            if at + lead.len() >= words.len() {
                break;
            }
            behind_object = OBJECT_LEADS.contains(&lead[0]);
            at += lead.len();
        } else if words.get(at).is_some_and(|word| {
            let is_empty = asked.is_none() && EMPTY_WORDS.contains(&word.as_str());
            is_empty || is_one_of(word, REQUESTS) || COURTESIES.contains(&word.as_str())
        }) {
            at += 1;
        } else {
            break;
        }
    }
    let end = (at + 1..words.len()).find(|end| TOPIC_ENDS.contains(&words[*end].as_str()));
    let end = end.unwrap_or(words.len()).min(at + TOPIC_WORDS_MAX);
    let mut topic = with_digits(&tokens.get(at..end)?.join(" "));
    // `ייעוץ לניקיון`: the "for" is written onto what it is about.
    if behind_object && topic.starts_with('ל') && words[at].chars().count() > 3 {
        topic = topic.chars().skip(1).collect();
    }
    let topic = topic.trim_matches(|c: char| !c.is_alphanumeric());
    topic
        .chars()
        .any(char::is_alphabetic)
        .then(|| bounded(topic, TOPIC_CHARS_MAX))
}

/// Words of haste, and of the lack of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Haste {
    /// `דחוף`, `מיידי`, `בהקדם האפשרי`.
    pub(crate) is_urgent: bool,
    /// `בהקדם`, `היום`.
    pub(crate) is_soon: bool,
    /// `לא דחוף`, `אין לחץ`.
    pub(crate) can_wait: bool,
}

impl Haste {
    /// Looks for them in a whole text.
    pub(crate) fn of(text: &str) -> Self {
        let said: Vec<Vec<String>> = sentences(text)
            .iter()
            .map(|text| {
                without_greeting(text)
                    .split(' ')
                    .map(word)
                    .filter(|word| !word.is_empty())
                    .collect()
            })
            .collect();
        Self::among(said.iter().map(Vec::as_slice))
    }

    fn among<'w>(said: impl Iterator<Item = &'w [String]>) -> Self {
        let mut haste = Self::default();
        for words in said {
            let phrase = |list: &[&[&str]]| list.iter().any(|phrase| holds(words, phrase));
            let urgent = words.iter().position(|word| is_one_of(word, URGENT));
            // Up to two words before it: `זה ממש לא כל כך דחוף` is rare, `לא כל כך דחוף` is not.
            let is_denied = urgent.is_some_and(|at| {
                words[at.saturating_sub(3)..at]
                    .iter()
                    .any(|word| is_one_of(word, NEGATIONS))
            });
            haste.can_wait |= is_denied || phrase(PATIENT_PHRASES);
            haste.is_urgent |= (urgent.is_some() && !is_denied) || phrase(URGENT_PHRASES);
            haste.is_soon |= words.iter().any(|word| is_one_of(word, SOON));
        }
        haste
    }

    /// What the rules make of them: the most urgent word counts, but "today" alone says only that there is a time.
    fn urgency(self) -> Option<Urgency> {
        if self.is_urgent {
            Some(Urgency::High)
        } else if self.can_wait {
            Some(Urgency::Low)
        } else {
            self.is_soon.then_some(Urgency::Normal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::summarize;
    use super::*;

    fn of(text: &str) -> Details {
        summarize(text).map(|(_, details)| details).unwrap_or_default()
    }

    #[test]
    fn the_caller_s_name_is_found_by_rule() {
        let table: &[(&str, Option<&str>)] = &[
            ("מדברת רונית מרמת גן. אני רוצה ייעוץ.", Some("רונית")),
            ("מדבר משה מזרחי מרמת גן. אני צריך הצעת מחיר.", Some("משה מזרחי")),
            ("שלום, שמי דוד מזרחי. אני צריך הצעת מחיר.", Some("דוד מזרחי")),
            (
                "בוקר טוב מדבר אלון פרץ מהרצליה. אני צריך פרטים.",
                Some("אלון פרץ"),
            ),
            ("היי קוראים לי מיכל לוי, אני צריכה טכנאי", Some("מיכל לוי")),
            ("השם שלי הוא יוסי בן דוד ואני מחפש דירה", Some("יוסי בן דוד")),
            ("שלום זה אבי. תחזרו אליי.", Some("אבי")),
            ("כאן דנה לוי מחברת אור. יש תקלה.", Some("דנה לוי")),
            ("דנה מדברת, רציתי לברר משהו", Some("דנה")),
            ("שמי דן רציתי לברר משהו על התיקון שלי", Some("דן")),
            ("שמי דן התקשרתי אתמול ולא ענו לי", Some("דן")),
            ("שלום שמי ג'ורג' חורי אני צריך טכנאי", Some("ג'ורג' חורי")),
            ("Hi, this is Dana Cohen. I need a quote.", Some("Dana Cohen")),
            (
                "hello my name is Tom I would like to book an appointment",
                Some("Tom"),
            ),
            ("This is about the invoice. Call me.", None),
            ("זה דחוף. יש נזילה.", None),
            ("אני צריך טכנאי. זה יעלה אלף שקל.", None),
            ("אני מדבר על התקלה מאתמול", None),
            ("שלום, כאן בקשר להזמנה", None),
        ];
        for (text, expected) in table {
            assert_eq!(of(text).caller_name.as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn the_number_to_call_back_is_found_by_rule() {
        let table: &[(&str, Option<&str>)] = &[
            (
                "אני צריך טכנאי. המספר שלי אפס חמש שבע, שש שבע שמונה, שלוש שבע שש אפס.",
                Some("0576783760"),
            ),
            (
                "תחזרו אליי ל-03-5678901 או לנייד 052-345-6789",
                Some("0523456789"),
            ),
            ("המספר שלי תשע שלוש שמונה תשע שתיים אפס תשע.", Some("9389209")),
            ("מספר ההזמנה שלי 98765432. תחזרו אליי.", None),
            ("בנינו 12345678 בתים", None),
            ("תחזרו אליי בשעה שבע.", None),
        ];
        for (text, expected) in table {
            assert_eq!(of(text).callback_number.as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn the_topic_is_the_object_of_the_request() {
        let table: &[(&str, Option<&str>)] = &[
            ("אני רוצה לקבל ייעוץ לניקיון משרד.", Some("ניקיון משרד")),
            (
                "אני מעוניין לקבל הצעת מחיר להובלת רהיטים בחיפה.",
                Some("הובלת רהיטים בחיפה"),
            ),
            (
                "אני צריך פרטים נוספים לשיפוץ אמבטיה ברמת גן.",
                Some("שיפוץ אמבטיה ברמת גן"),
            ),
            ("אני צריך טכנאי.", Some("טכנאי")),
            ("אני צריך לקבוע תור.", Some("תור")),
            ("שלום. יש לי נזילה במטבח.", Some("נזילה במטבח")),
            (
                "I need a quote for painting a three room flat.",
                Some("painting a three room flat"),
            ),
            (
                "רציתי לשאול כמה עולה טיפול פנים ואם יש תור מחר.",
                Some("טיפול פנים"),
            ),
            ("I need a technician as soon as possible.", Some("technician")),
            ("שלום, מה שלומכם.", None),
            ("תודה רבה.", None),
        ];
        for (text, expected) in table {
            assert_eq!(of(text).topic.as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn urgency_is_what_was_said_of_it() {
        let table = [
            ("אני צריך טכנאי, זה דחוף מאוד.", Some(Urgency::High)),
            ("תחזרו אליי בהקדם האפשרי.", Some(Urgency::High)),
            ("יש הצפה, תגיעו מיד.", Some(Urgency::High)),
            ("זה לא דחוף, תחזרו מתי שנוח.", Some(Urgency::Low)),
            ("אין דחיפות.", Some(Urgency::Low)),
            ("זה לא כל כך דחוף.", Some(Urgency::Low)),
            ("תחזרו אליי היום.", Some(Urgency::Normal)),
            ("אני צריך טכנאי.", None),
            ("It is urgent, please call.", Some(Urgency::High)),
            ("No rush.", Some(Urgency::Low)),
        ];
        for (text, expected) in table {
            assert_eq!(of(text).urgency, expected, "{text}");
        }
    }
}

//! The offline summary: sentences of the message itself, chosen by rule.
//!
//! The headline is the sentence that asks for something (or names a trouble, or carries most words that mean anything);
//! the points are the next most telling ones, in the order in which they were said. Nothing is worded anew, so nothing
//! can be invented. Written for Hebrew phone messages; the same rules know the English words for the same things.

use std::collections::BTreeSet;

use crate::summary::{POINTS_MAX, Summary};
use crate::text::clean;

/// The version of these rules, stored with each summary they make.
pub const RULES_VERSION: u32 = 1;
/// The name of the engine.
pub const ENGINE: &str = "extractive";

/// Longest text that is looked at, in characters; what is said later does not change the headline.
const TEXT_CHARS_MAX: usize = 100_000;
/// Sentences above this many words are taken for several that a recogniser ran together.
const SENTENCE_WORDS_LONG: usize = 9;
/// More distinct words than this do not make a sentence more telling.
const INFORMATION_WORDS_MAX: usize = 8;
/// With so many of them a request says what it is for.
const INFORMATION_WORDS_CLEAR: f32 = 3.0;
/// So many digits or digit words in a sentence are a number to call back.
const NUMBER_DIGITS_MIN: usize = 5;

/// Summarises a message; `None` when nothing was said.
#[must_use]
pub fn summarize(text: &str) -> Option<Summary> {
    let head: String = text.chars().take(TEXT_CHARS_MAX).collect();
    let sentences: Vec<Sentence> = sentences(&head).iter().map(|text| Sentence::read(text)).collect();
    let mut title = 0;
    for (index, sentence) in sentences.iter().enumerate() {
        // Strictly better: of two that ask, the first one is the headline.
        if sentence.title_score() > sentences[title].title_score() {
            title = index;
        }
    }
    let mut seen = BTreeSet::from([sentences.get(title)?.words.clone()]);
    let mut others: Vec<(usize, &Sentence)> = sentences
        .iter()
        .enumerate()
        .filter(|(_, sentence)| !sentence.is_courtesy && seen.insert(sentence.words.clone()))
        .collect();
    // A stable sort: of two that tell as much, the first one said goes first.
    others.sort_by(|(_, a), (_, b)| b.point_score().total_cmp(&a.point_score()));
    others.truncate(POINTS_MAX);
    others.sort_by_key(|(index, _)| *index);
    Summary::new(
        &sentences[title].text,
        others.iter().map(|(_, sentence)| &sentence.text),
    )
}

/// Cuts a text into sentences: at full stops and the like, and, where a recogniser left those out, before the words
/// that begin a new thought.
fn sentences(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        // `3.5` and `a.co.il` go on; `…` and line ends stop.
        let stops = match c {
            '!' | '?' | '…' | '\n' | '\r' | ';' => true,
            '.' => chars.peek().is_none_or(|next| !next.is_alphanumeric()),
            _ => false,
        };
        if c == '?' || !stops {
            current.push(c);
        }
        if stops {
            push_sentence(&mut out, &current);
            current.clear();
        }
    }
    push_sentence(&mut out, &current);
    out
}

fn push_sentence(out: &mut Vec<String>, text: &str) {
    let text = clean(text);
    let tokens: Vec<&str> = text
        .split(' ')
        .filter(|token| token.chars().any(char::is_alphanumeric))
        .collect();
    if tokens.is_empty() {
        return;
    }
    if tokens.len() <= SENTENCE_WORDS_LONG {
        out.push(text);
        return;
    }
    let words: Vec<String> = tokens.iter().map(|token| word(token)).collect();
    let mut start = 0;
    for at in 1..tokens.len() {
        // Two words at least in each part; a number's groups are not torn at their commas.
        let room = at >= start + 2;
        let after_comma = tokens[at - 1].ends_with(',') && at >= start + 3 && tokens.len() - at >= 3;
        if room && (begins_thought(&words[at..]) || (after_comma && !is_digits(&words[at]))) {
            out.push(join(&tokens[start..at]));
            start = at;
        }
    }
    out.push(join(&tokens[start..]));
}

fn join(tokens: &[&str]) -> String {
    tokens.join(" ").trim_end_matches([',', ':', '-', '–']).to_owned()
}

/// One sentence and what was noticed in it.
struct Sentence {
    text: String,
    words: Vec<String>,
    /// How clearly it asks for something, from 0.
    request: f32,
    /// It asks to be called back, or says when and where.
    is_contact: bool,
    /// It holds a number to call.
    has_number: bool,
    /// It says who speaks.
    is_introduction: bool,
    /// It says that something is broken.
    is_trouble: bool,
    /// It says how urgent it is or what it may cost.
    is_detail: bool,
    /// A greeting, thanks or good-bye and nothing else.
    is_courtesy: bool,
    /// Distinct words that mean something, at most [`INFORMATION_WORDS_MAX`].
    information: f32,
}

impl Sentence {
    fn read(text: &str) -> Self {
        let text = without_greeting(text);
        let words: Vec<String> = text
            .split(' ')
            .map(word)
            .filter(|word| !word.is_empty())
            .collect();
        let has = |list: &[&str]| words.iter().any(|word| is_one_of(word, list));
        let phrase = |list: &[&[&str]]| list.iter().any(|phrase| holds(&words, phrase));
        let is_courtesy = words.iter().all(|word| is_one_of(word, COURTESIES));
        let has_number = words.iter().map(|word| digits(word)).sum::<usize>() >= NUMBER_DIGITS_MIN;
        let is_contact = has(CALL_BACK) || phrase(CALL_BACK_PHRASES) || has_number;
        let mut request = 0.0;
        if has(REQUESTS) || phrase(REQUEST_PHRASES) {
            request += 4.0;
        }
        if has(REQUEST_OBJECTS) || phrase(REQUEST_OBJECT_PHRASES) {
            request += 1.5;
        }
        // "I would like you to call me back" asks, but does not say what for.
        if is_contact {
            request *= 0.25;
        }
        let information = words
            .iter()
            .filter(|word| word.chars().count() > 2)
            .filter(|word| {
                [EMPTY_WORDS, COURTESIES, REQUESTS]
                    .iter()
                    .all(|list| !is_one_of(word, list))
            })
            .collect::<BTreeSet<_>>()
            .len()
            .min(INFORMATION_WORDS_MAX) as f32;
        Self {
            request,
            is_contact,
            has_number,
            is_introduction: has(INTRODUCTIONS) || phrase(INTRODUCTION_PHRASES),
            is_trouble: has(TROUBLES) || phrase(TROUBLE_PHRASES),
            is_detail: has(DETAILS),
            is_courtesy,
            information,
            text: text.to_owned(),
            words,
        }
    }

    fn title_score(&self) -> f32 {
        // Among those that ask it only matters whether they say for what, so that the first of them wins.
        let mut score = match (self.request > 0.0, self.information >= INFORMATION_WORDS_CLEAR) {
            (true, true) => self.request + 1.0,
            (true, false) => self.request,
            (false, _) => 0.25 * self.information,
        };
        if self.is_trouble && self.request == 0.0 {
            score += 2.0;
        }
        if self.is_introduction {
            // It may go on to the matter: then the request outweighs this.
            score -= 2.0;
        }
        if self.is_contact {
            score -= 2.5;
        }
        if self.is_courtesy {
            score -= 10.0;
        }
        score
    }

    fn point_score(&self) -> f32 {
        let mut score = 0.5 * self.request + 0.15 * self.information;
        if self.has_number {
            score += 3.0;
        }
        if self.is_contact {
            score += 3.0;
        }
        if self.is_introduction {
            score += 2.5;
        }
        if self.is_trouble {
            score += 2.0;
        }
        if self.is_detail {
            score += 2.5;
        }
        score
    }
}

/// The sentence without "good morning" in front of it, unless that is all it says.
fn without_greeting(text: &str) -> &str {
    let mut rest = text;
    while let Some(greeting) = GREETINGS.iter().find_map(|greeting| strip_words(rest, greeting)) {
        rest = greeting;
    }
    if rest.chars().any(char::is_alphanumeric) {
        rest
    } else {
        text
    }
}

/// `text` behind the words of `greeting` (compared as [`word`] reads them), when it begins with them.
fn strip_words<'t>(text: &'t str, greeting: &[&str]) -> Option<&'t str> {
    let mut rest = text.trim_start();
    for expected in greeting {
        let (token, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        if word(token) != *expected {
            return None;
        }
        rest = behind.trim_start();
    }
    (!rest.is_empty()).then_some(rest)
}

/// A word as it is compared: lower case, without points and punctuation around it.
fn word(token: &str) -> String {
    token
        .trim_matches(|c: char| !c.is_alphanumeric())
        .chars()
        .filter(|c| !matches!(c, '\u{591}'..='\u{5c7}'))
        .map(|c| if c == '’' { '\'' } else { c })
        .flat_map(char::to_lowercase)
        .collect()
}

/// Whether the word is in the list, as it is or behind the Hebrew "and" and "that" that are written onto it.
fn is_one_of(word: &str, list: &[&str]) -> bool {
    let bare = ["ו", "ש", "כש", "וש"]
        .iter()
        .filter_map(|prefix| word.strip_prefix(prefix));
    list.contains(&word) || bare.into_iter().any(|word| list.contains(&word))
}

fn holds(words: &[String], phrase: &[&str]) -> bool {
    words
        .windows(phrase.len())
        .any(|window| begins_with(window, phrase))
}

fn begins_with(words: &[String], phrase: &[&str]) -> bool {
    words.len() >= phrase.len()
        && words
            .iter()
            .zip(phrase)
            .all(|(word, expected)| is_one_of(word, &[expected]))
}

fn begins_thought(words: &[String]) -> bool {
    THOUGHTS.iter().any(|phrase| begins_with(words, phrase))
}

fn is_digits(word: &str) -> bool {
    digits(word) > 0
}

/// How many digits a word stands for: its own, or one for the word of a digit.
fn digits(word: &str) -> usize {
    let written = word.chars().filter(char::is_ascii_digit).count();
    if written == 0 && DIGIT_WORDS.contains(&word) {
        1
    } else {
        written
    }
}

const GREETINGS: &[&[&str]] = &[
    &["שלום", "רב"],
    &["שלום", "לכם"],
    &["שלום"],
    &["היי"],
    &["הי"],
    &["אהלן"],
    &["הלו"],
    &["בוקר", "טוב"],
    &["ערב", "טוב"],
    &["צהריים", "טובים"],
    &["צהרים", "טובים"],
    &["אחר", "צהריים", "טובים"],
    &["לילה", "טוב"],
    &["שבוע", "טוב"],
    &["שבת", "שלום"],
    &["good", "morning"],
    &["good", "afternoon"],
    &["good", "evening"],
    &["hello"],
    &["hi"],
    &["hey"],
];

const COURTESIES: &[&str] = &[
    "שלום",
    "היי",
    "הי",
    "אהלן",
    "הלו",
    "בוקר",
    "ערב",
    "צהריים",
    "צהרים",
    "לילה",
    "יום",
    "טוב",
    "טובה",
    "טובים",
    "שבוע",
    "שבת",
    "תודה",
    "תודות",
    "רבה",
    "רב",
    "מראש",
    "מאוד",
    "להתראות",
    "ביי",
    "בבקשה",
    "סליחה",
    "אוקיי",
    "אוקי",
    "נעים",
    "המשך",
    "לכולם",
    "אחר",
    "אחרי",
    "לכם",
    "לך",
    "כן",
    "לא",
    "hello",
    "hi",
    "hey",
    "good",
    "morning",
    "afternoon",
    "evening",
    "night",
    "day",
    "thanks",
    "thank",
    "you",
    "so",
    "very",
    "much",
    "bye",
    "goodbye",
    "have",
    "a",
    "nice",
    "great",
    "cheers",
    "ok",
    "okay",
    "please",
    "yes",
    "no",
    "again",
    "talk",
    "soon",
    "there",
    "alright",
    "right",
    "all",
    "the",
    "best",
];

const REQUESTS: &[&str] = &[
    "צריך",
    "צריכה",
    "צריכים",
    "צריכות",
    "רוצה",
    "רוצים",
    "רוצות",
    "רציתי",
    "רצינו",
    "מעוניין",
    "מעוניינת",
    "מעוניינים",
    "מעוניינות",
    "מעונין",
    "מעונינת",
    "מעונינים",
    "מחפש",
    "מחפשת",
    "מחפשים",
    "מחפשות",
    "מבקש",
    "מבקשת",
    "מבקשים",
    "אשמח",
    "נשמח",
    "אבקש",
    "נבקש",
    "זקוק",
    "זקוקה",
    "זקוקים",
    "מתעניין",
    "מתעניינת",
    "מתעניינים",
    "להזמין",
    "need",
    "needs",
    "want",
    "wanted",
    "wants",
    "require",
    "request",
    "interested",
    "i'd",
    "we'd",
    "wondering",
];

const REQUEST_PHRASES: &[&[&str]] = &[
    &["looking", "for"],
    &["would", "like"],
    &["like", "to"],
    &["hoping", "to"],
    &["calling", "about"],
    &["calling", "to"],
    &["calling", "regarding"],
    &["can", "you"],
    &["could", "you"],
    &["do", "you"],
    &["תוכלו"],
    &["האם", "אפשר"],
    &["מתקשר", "בקשר"],
    &["מתקשרת", "בקשר"],
    &["מתקשר", "לגבי"],
    &["מתקשרת", "לגבי"],
    &["פונה", "אליכם"],
];

const REQUEST_OBJECTS: &[&str] = &[
    "ייעוץ",
    "יעוץ",
    "פרטים",
    "מידע",
    "תור",
    "פגישה",
    "שירות",
    "תיקון",
    "לתיקון",
    "התקנה",
    "להתקנת",
    "לשיפוץ",
    "שיפוץ",
    "ביטוח",
    "לביטוח",
    "טכנאי",
    "לקבוע",
    "לברר",
    "לבטל",
    "לשנות",
    "quote",
    "estimate",
    "appointment",
    "information",
    "details",
    "repair",
    "service",
    "booking",
    "book",
    "schedule",
    "cancel",
    "consultation",
    "price",
    "install",
    "order",
];

const REQUEST_OBJECT_PHRASES: &[&[&str]] = &[
    &["הצעת", "מחיר"],
    &["הצעה", "מחיר"],
    &["כמה", "זה", "יעלה"],
    &["כמה", "עולה"],
    &["how", "much"],
];

const CALL_BACK: &[&str] = &[
    "לחזור",
    "תחזרו",
    "תחזור",
    "תחזרי",
    "חזרו",
    "שתחזרו",
    "שתחזור",
    "להתקשר",
    "תתקשרו",
    "תתקשר",
    "תתקשרי",
    "התקשרו",
    "שתתקשרו",
    "שיתקשרו",
    "שיחזרו",
    "יחזרו",
    "חיזרו",
    "לשיחה",
    "וואטסאפ",
    "ווטסאפ",
    "callback",
    "reach",
];

const CALL_BACK_PHRASES: &[&[&str]] = &[
    &["המספר", "שלי"],
    &["הטלפון", "שלי"],
    &["הטלפון", "בעבודה"],
    &["הטלפון", "הוא"],
    &["המספר", "הוא"],
    &["הנייד", "שלי"],
    &["מספר", "הטלפון"],
    &["טלפון", "נייד"],
    &["call", "me"],
    &["call", "back"],
    &["call", "us"],
    &["ring", "me"],
    &["my", "number"],
    &["my", "phone"],
    &["phone", "number"],
    &["number", "is"],
    &["text", "me"],
];

const INTRODUCTIONS: &[&str] = &["שמי", "מדבר", "מדברת"];
const INTRODUCTION_PHRASES: &[&[&str]] = &[
    &["קוראים", "לי"],
    &["השם", "שלי"],
    &["my", "name"],
    &["name", "is"],
    &["name's"],
    &["this", "is"],
    &["calling", "from"],
    &["speaking"],
];

const TROUBLES: &[&str] = &[
    "נזילה",
    "תקלה",
    "התקלקל",
    "התקלקלה",
    "נשבר",
    "נשברה",
    "בעיה",
    "דליפה",
    "נתקע",
    "נתקעה",
    "תקוע",
    "תקועה",
    "שרוף",
    "נשרף",
    "הצפה",
    "קצר",
    "תלונה",
    "leak",
    "leaking",
    "broken",
    "broke",
    "problem",
    "issue",
    "stuck",
    "complaint",
    "flood",
];
const TROUBLE_PHRASES: &[&[&str]] = &[
    &["לא", "עובד"],
    &["לא", "עובדת"],
    &["לא", "עובדים"],
    &["לא", "קיבלתי"],
    &["לא", "פועל"],
    &["not", "working"],
    &["doesn't", "work"],
    &["stopped", "working"],
    &["won't", "start"],
];

const DETAILS: &[&str] = &[
    "דחוף",
    "דחופה",
    "בדחיפות",
    "מיידי",
    "מיידית",
    "תקציב",
    "התקציב",
    "שקל",
    "שקלים",
    "₪",
    "ש\"ח",
    "יעלה",
    "אלף",
    "אלפים",
    "כתובת",
    "הכתובת",
    "ברחוב",
    "urgent",
    "urgently",
    "asap",
    "emergency",
    "budget",
    "shekels",
    "dollars",
    "euros",
    "address",
];

/// Words that are in every message and tell nothing of this one.
const EMPTY_WORDS: &[&str] = &[
    "אני",
    "אנחנו",
    "הוא",
    "היא",
    "הם",
    "אתם",
    "את",
    "אתה",
    "של",
    "שלי",
    "שלנו",
    "שלכם",
    "על",
    "עם",
    "גם",
    "רק",
    "כבר",
    "אבל",
    "כי",
    "אם",
    "זה",
    "זאת",
    "זו",
    "יש",
    "אין",
    "היה",
    "הייתי",
    "היתה",
    "להיות",
    "לי",
    "לנו",
    "אליי",
    "אלי",
    "אלינו",
    "אליכם",
    "כאן",
    "פה",
    "שם",
    "אז",
    "עוד",
    "יותר",
    "מאוד",
    "אפשר",
    "נא",
    "לקבל",
    "כמה",
    "מתי",
    "איך",
    "מה",
    "מי",
    "הזה",
    "הזאת",
    "the",
    "and",
    "for",
    "with",
    "that",
    "this",
    "have",
    "has",
    "had",
    "was",
    "are",
    "but",
    "not",
    "you",
    "your",
    "our",
    "from",
    "will",
    "can",
    "could",
    "would",
    "just",
    "about",
    "get",
    "got",
    "some",
    "any",
    "there",
    "here",
    "been",
    "them",
    "they",
    "it's",
    "i'm",
    "i've",
    "we're",
    "its",
];

const DIGIT_WORDS: &[&str] = &[
    "אפס",
    "אחת",
    "אחד",
    "שתיים",
    "שתים",
    "שניים",
    "שלוש",
    "ארבע",
    "חמש",
    "שש",
    "שבע",
    "שמונה",
    "תשע",
    "zero",
    "oh",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "double",
];

/// How a new thought begins in a text without full stops.
const THOUGHTS: &[&[&str]] = &[
    &["שמי"],
    &["קוראים", "לי"],
    &["מדבר"],
    &["מדברת"],
    &["אני", "צריך"],
    &["אני", "צריכה"],
    &["אני", "רוצה"],
    &["אני", "מעוניין"],
    &["אני", "מעוניינת"],
    &["אני", "מחפש"],
    &["אני", "מחפשת"],
    &["אני", "מבקש"],
    &["אני", "מבקשת"],
    &["אני", "פנוי"],
    &["אני", "פנויה"],
    &["אני", "מחכה"],
    &["אני", "כבר"],
    &["אנחנו", "צריכים"],
    &["אנחנו", "רוצים"],
    &["אנחנו", "מחפשים"],
    &["הייתי", "רוצה"],
    &["רציתי"],
    &["אשמח"],
    &["תחזרו"],
    &["בבקשה", "לחזור"],
    &["בבקשה", "להתקשר"],
    &["אפשר", "לחזור"],
    &["אפשר", "להתקשר"],
    &["נא", "להתקשר"],
    &["נא", "לחזור"],
    &["המספר", "שלי"],
    &["הטלפון", "שלי"],
    &["הטלפון", "בעבודה"],
    &["התקציב"],
    &["זה", "דחוף"],
    &["זה", "יעלה"],
    &["יש", "נזילה"],
    &["תודה"],
    &["להתראות"],
    &["my", "name"],
    &["i", "need"],
    &["i", "want"],
    &["i", "would"],
    &["i'd"],
    &["i'm", "looking"],
    &["i", "am", "looking"],
    &["we", "need"],
    &["we're", "looking"],
    &["please", "call"],
    &["call", "me"],
    &["you", "can", "call"],
    &["you", "can", "reach"],
    &["my", "number"],
    &["my", "phone"],
    &["thank", "you"],
    &["thanks"],
];

#[cfg(test)]
mod tests;

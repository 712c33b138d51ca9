//! Bytes → settings, or every mistake with its place. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use callfold_schema::PhoneNumber;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::settings::{
    BUSINESS_NAME_CHARS_MAX, ENGINES, LOCAL_ENGINE, NumberSettings, PHRASE_CHARS_MAX, PHRASES_MAX,
    PROMPT_CHARS_MAX, RETENTION_DAYS_MAX, SUMMARY_ENGINES,
};
use super::{Book, Check, Mistake};

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most numbers in a file.
pub const NUMBERS_MAX: usize = 10_000;
/// Most mistakes that are told; what is behind them shows when they are mended.
const MISTAKES_MAX: usize = 20;
/// Longest key that is repeated in a message: a longer one is no misspelt key.
const KEY_CHARS_MAX: usize = 40;

/// The form of a value.
#[derive(Clone, Copy)]
enum Form {
    /// A text of one line, or of several; at most so many characters, where the limit is ours.
    Text {
        lines: bool,
        chars_max: Option<usize>,
    },
    /// A whole number within bounds.
    Number(u32, u32),
    Flag,
    Engines,
    SummaryEngines,
    Phrases,
}

/// The keys of a section. Texts that are spoken, lengths and voices are checked by whoever knows Twilio.
const KEYS: [(&str, Form); 12] = [
    (
        "business_name",
        Form::Text {
            lines: false,
            chars_max: Some(BUSINESS_NAME_CHARS_MAX),
        },
    ),
    ("greeting", SPOKEN),
    ("goodbye", SPOKEN),
    ("nothing_recorded", SPOKEN),
    ("voice", SPOKEN),
    ("language", SPOKEN),
    ("record_max_secs", Form::Number(0, u32::MAX)),
    ("record_silence_secs", Form::Number(0, u32::MAX)),
    ("record", Form::Flag),
    ("engines", Form::Engines),
    ("phrases", Form::Phrases),
    ("retention_days", Form::Number(1, RETENTION_DAYS_MAX)),
];
const SPOKEN: Form = Form::Text {
    lines: true,
    chars_max: None,
};
/// The table within a section, and its keys, each with its full name.
const SUMMARY: &str = "summary";
const SUMMARY_KEYS: [(&str, &str, Form); 2] = [
    (
        "prompt",
        PROMPT_FIELD,
        Form::Text {
            lines: true,
            chars_max: Some(PROMPT_CHARS_MAX),
        },
    ),
    ("engines", SUMMARY_ENGINES_FIELD, Form::SummaryEngines),
];
const PROMPT_FIELD: &str = "summary.prompt";
const SUMMARY_ENGINES_FIELD: &str = "summary.engines";
/// The tables of a file.
const DEFAULT: &str = "default";
const NUMBERS: &str = "numbers";

#[derive(Clone)]
enum Value {
    Text(Arc<str>),
    Number(u32),
    Flag(bool),
    List(Arc<[String]>),
}

/// What one table sets, each value with its place in the file.
#[derive(Default)]
struct Section {
    values: BTreeMap<&'static str, (Value, usize)>,
}

/// Reads a file.
pub(super) fn parse(bytes: &[u8], check: &Check) -> Result<Book, Vec<Mistake>> {
    let mut notes = Notes::default();
    let book = match std::str::from_utf8(bytes) {
        Ok(text) => read(text, check, &mut notes),
        Err(error) => {
            notes.note(error.valid_up_to(), "is not UTF-8 from here on");
            Book::default()
        }
    };
    if notes.0.is_empty() {
        return Ok(book);
    }
    Err(notes.placed(bytes))
}

/// Mistakes by their offset in bytes.
#[derive(Default)]
struct Notes(Vec<(usize, String)>);

impl Notes {
    fn note(&mut self, at: usize, what: impl Into<String>) {
        self.0.push((at, what.into()));
    }

    /// In the order of the file, with lines and columns, each once.
    fn placed(mut self, bytes: &[u8]) -> Vec<Mistake> {
        self.0.sort();
        self.0.dedup();
        let beyond = self.0.len().saturating_sub(MISTAKES_MAX);
        self.0.truncate(MISTAKES_MAX);
        let (mut line, mut line_start, mut seen) = (1, 0, 0);
        let mut mistakes: Vec<Mistake> = Vec::with_capacity(self.0.len());
        for (at, what) in self.0 {
            let at = at.min(bytes.len());
            for (index, byte) in bytes.iter().enumerate().take(at).skip(seen) {
                if *byte == b'\n' {
                    (line, line_start) = (line + 1, index + 1);
                }
            }
            seen = at;
            // A column is a character; of bytes that are no text, each that begins one counts.
            let begins = |byte: &&u8| (**byte & 0xC0) != 0x80;
            let column = 1 + bytes[line_start..at].iter().filter(begins).count();
            mistakes.push(Mistake { line, column, what });
        }
        if beyond > 0
            && let Some(last) = mistakes.last_mut()
        {
            last.what.push_str(&format!(" (and {beyond} more mistakes)"));
        }
        mistakes
    }
}

fn read(text: &str, check: &Check, notes: &mut Notes) -> Book {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What was made of the rest is a guess: its mistakes would be, too.
        for error in errors {
            notes.note(
                error.span().map_or(text.len(), |span| span.start),
                syntax(error.message()),
            );
        }
        return Book::default();
    }
    let table = table.get_ref();
    let mut book = Book::default();
    let mut default = Section::default();
    for (key, value) in table {
        match key.get_ref().as_ref() {
            DEFAULT => {
                if let Some(table) = as_table(value, "must be a table: [default]", notes) {
                    default = section(table, notes);
                }
            }
            NUMBERS => {}
            other => unknown(other, key.span().start, &[DEFAULT, NUMBERS], notes),
        }
    }
    let settings = merge(&default, &Section::default());
    let of_default = check(&settings);
    for (field, what) in &of_default {
        notes.note(default.place(field).unwrap_or(0), format!("`{field}` {what}"));
    }
    book.default = Arc::new(settings);
    book.remarks.extend(remarks(&default, &book.default));
    if let Some(value) = table.get(NUMBERS)
        && let Some(numbers) = as_table(
            value,
            "must hold a table for each number: [numbers.\"+97239999999\"]",
            notes,
        )
    {
        if numbers.len() > NUMBERS_MAX {
            notes.note(
                value.span().start,
                format!("holds more than {NUMBERS_MAX} numbers"),
            );
            return book;
        }
        book.numbers = read_numbers(numbers, &default, &of_default, check, &mut book.remarks, notes);
    }
    book
}

fn read_numbers(
    numbers: &DeTable<'_>,
    default: &Section,
    of_default: &[(&'static str, String)],
    check: &Check,
    remarked: &mut Vec<&'static str>,
    notes: &mut Notes,
) -> HashMap<PhoneNumber, Arc<NumberSettings>> {
    let mut book = HashMap::with_capacity(numbers.len());
    for (key, value) in numbers {
        let at = key.span().start;
        let number = PhoneNumber(key.get_ref().as_ref().to_owned());
        // The number itself is not repeated: messages end up in logs.
        if !number.is_e164() || number.as_str().starts_with("+0") {
            notes.note(
                at,
                "is no number in the form E.164: a plus, the country's code, 4 to 15 digits in all, without spaces",
            );
        }
        let Some(table) = as_table(
            value,
            "must be a table: [numbers.\"+97239999999\"], with the settings below it",
            notes,
        ) else {
            continue;
        };
        let own = section(table, notes);
        let settings = merge(default, &own);
        for (field, what) in check(&settings) {
            match own.place(field) {
                Some(place) => notes.note(place, format!("`{field}` {what}")),
                // Told where it stands.
                None if of_default.iter().any(|told| *told == (field, what.clone())) => {}
                None => notes.note(at, format!("`{field}` of [default] {what}")),
            }
        }
        for remark in remarks(&own, &settings) {
            if !remarked.contains(&remark) {
                remarked.push(remark);
            }
        }
        book.insert(number, Arc::new(settings));
    }
    book
}

/// What is no mistake and should be known all the same.
fn remarks(own: &Section, settings: &NumberSettings) -> Vec<&'static str> {
    let mut remarks = Vec::new();
    if own.values.contains_key("engines")
        && settings.engines.iter().all(|engine| engine == LOCAL_ENGINE)
        && !settings.engines.is_empty()
        && settings.summary_engines.is_empty()
    {
        remarks.push(
            "engines = [\"whisper\"] keeps recordings here, but what was said goes to the model for summaries, where one is set: summary.engines = [\"extractive\"] keeps that here too",
        );
    }
    if own.values.contains_key("record") && !settings.record && !own.values.contains_key("greeting") {
        remarks.push(
            "record = false stands without a greeting beside it: check that the greeting that is heard instead asks for no message",
        );
    }
    remarks
}

fn section(table: &DeTable<'_>, notes: &mut Notes) -> Section {
    let mut section = Section::default();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if name == SUMMARY {
            let Some(table) = as_table(value, "must be a table: `summary.prompt = \"…\"`", notes) else {
                continue;
            };
            for (key, value) in table {
                let name = key.get_ref().as_ref();
                if let Some((_, field, form)) = SUMMARY_KEYS.iter().find(|(key, ..)| *key == name) {
                    section.take(field, *form, value, notes);
                } else {
                    unknown(name, key.span().start, &SUMMARY_KEYS.map(|(key, ..)| key), notes);
                }
            }
        } else if let Some((field, form)) = KEYS.iter().find(|(key, _)| *key == name) {
            section.take(field, *form, value, notes);
        } else {
            let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).chain([SUMMARY]).collect();
            unknown(name, key.span().start, &known, notes);
        }
    }
    section
}

impl Section {
    fn place(&self, field: &str) -> Option<usize> {
        self.values.get(field).map(|(_, at)| *at)
    }

    fn take(&mut self, field: &'static str, form: Form, value: &Spanned<DeValue<'_>>, notes: &mut Notes) {
        let at = value.span().start;
        let taken = match form {
            Form::Text { lines, chars_max } => text(value, lines, chars_max).map(Value::Text),
            Form::Number(min, max) => number(value, min, max).map(Value::Number),
            Form::Flag => value
                .get_ref()
                .as_bool()
                .map(Value::Flag)
                .ok_or_else(|| "must be true or false".to_owned()),
            // Nobody who writes an empty list means all engines, which is what leaving it out means.
            Form::Engines if value.get_ref().as_array().is_some_and(|list| list.is_empty()) => {
                Err("names no engine: leave it out to have all of them".to_owned())
            }
            Form::Engines => list(value, ENGINES.len(), notes, engine).map(Value::List),
            Form::SummaryEngines => summary_engines(value, notes).map(Value::List),
            Form::Phrases => list(value, PHRASES_MAX, notes, phrase).map(Value::List),
        };
        match taken {
            Ok(taken) => {
                self.values.insert(field, (taken, at));
            }
            Err(what) => notes.note(at, format!("`{field}` {what}")),
        }
    }
}

fn text(value: &Spanned<DeValue<'_>>, lines: bool, chars_max: Option<usize>) -> Result<Arc<str>, String> {
    let Some(text) = value.get_ref().as_str() else {
        return Err("must be a text in quotes".to_owned());
    };
    check_text(text, lines, chars_max)?;
    Ok(text.into())
}

fn check_text(text: &str, lines: bool, chars_max: Option<usize>) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty: leave the line out instead".to_owned());
    }
    if let Some(max) = chars_max
        && text.chars().count() > max
    {
        return Err(format!("is longer than {max} characters"));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t')))
    {
        return Err(if lines {
            "contains a control character".to_owned()
        } else {
            "must be one line without control characters".to_owned()
        });
    }
    Ok(())
}

fn number(value: &Spanned<DeValue<'_>>, min: u32, max: u32) -> Result<u32, String> {
    let expected = || {
        if max == u32::MAX {
            "must be a whole number".to_owned()
        } else {
            format!("must be a whole number from {min} to {max}")
        }
    };
    let integer = value.get_ref().as_integer().ok_or_else(expected)?;
    let number = u32::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| expected())?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(expected())
    }
}

/// A list of texts. A wrong entry is told at its own place.
fn list(
    value: &Spanned<DeValue<'_>>,
    count_max: usize,
    notes: &mut Notes,
    check: fn(&str, &[String]) -> Result<(), String>,
) -> Result<Arc<[String]>, String> {
    let Some(entries) = value.get_ref().as_array() else {
        return Err("must be a list of texts: [\"…\", \"…\"]".to_owned());
    };
    let mut taken: Vec<String> = Vec::with_capacity(entries.len().min(count_max));
    for entry in entries.iter() {
        let wrong = match entry.get_ref().as_str() {
            None => Err("must be a text in quotes".to_owned()),
            Some(text) => check(text, &taken).map(|()| taken.push(text.to_owned())),
        };
        if let Err(what) = wrong {
            notes.note(entry.span().start, what);
        }
        if taken.len() > count_max {
            return Err(format!("has more than {count_max} entries"));
        }
    }
    Ok(taken.into())
}

fn engine(name: &str, before: &[String]) -> Result<(), String> {
    if !ENGINES.contains(&name) {
        return Err(format!("is no speech engine: {} are", ENGINES.join(", ")));
    }
    if before.iter().any(|engine| engine == name) {
        return Err("is named twice".to_owned());
    }
    Ok(())
}

/// Never empty: whoever writes `[]` may mean "nobody", and it would be everybody.
fn summary_engines(value: &Spanned<DeValue<'_>>, notes: &mut Notes) -> Result<Arc<[String]>, String> {
    if value
        .get_ref()
        .as_array()
        .is_some_and(|entries| entries.is_empty())
    {
        return Err("is empty: leave the line out, or name \"extractive\" to keep calls here".to_owned());
    }
    list(value, SUMMARY_ENGINES.len(), notes, summary_engine)
}

fn summary_engine(name: &str, before: &[String]) -> Result<(), String> {
    let [.., always_answers] = SUMMARY_ENGINES;
    if !SUMMARY_ENGINES.contains(&name) {
        return Err(format!(
            "is no engine of summaries: {} are",
            SUMMARY_ENGINES.join(", ")
        ));
    }
    if before.iter().any(|engine| engine == name) {
        return Err("is named twice".to_owned());
    }
    if before.iter().any(|engine| engine == always_answers) {
        return Err(format!(
            "stands behind {always_answers}, which always answers: put it first or leave it out"
        ));
    }
    Ok(())
}

fn phrase(text: &str, _: &[String]) -> Result<(), String> {
    check_text(text, false, Some(PHRASE_CHARS_MAX))
}

/// What is to hold for a number: its own values, then those of `[default]`.
fn merge(default: &Section, own: &Section) -> NumberSettings {
    let value = |field: &str| {
        let found = own.values.get(field).or_else(|| default.values.get(field));
        found.map(|(value, _)| value.clone())
    };
    let text = |field: &str| match value(field) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    let number = |field: &str| match value(field) {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    };
    let list = |field: &str| match value(field) {
        Some(Value::List(list)) => list,
        _ => Arc::default(),
    };
    NumberSettings {
        business_name: text("business_name"),
        greeting: text("greeting"),
        goodbye: text("goodbye"),
        nothing_recorded: text("nothing_recorded"),
        voice: text("voice"),
        language: text("language"),
        record_max_secs: number("record_max_secs"),
        record_silence_secs: number("record_silence_secs"),
        record: !matches!(value("record"), Some(Value::Flag(false))),
        engines: list("engines"),
        phrases: list("phrases"),
        retention_days: number("retention_days"),
        summary_prompt: text(PROMPT_FIELD),
        summary_engines: list(SUMMARY_ENGINES_FIELD),
    }
}

fn as_table<'a, 'i>(
    value: &'a Spanned<DeValue<'i>>,
    expected: &str,
    notes: &mut Notes,
) -> Option<&'a DeTable<'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        notes.note(value.span().start, expected);
    }
    table
}

fn unknown(key: &str, at: usize, known: &[&str], notes: &mut Notes) {
    // A key that looks like one of ours is a slip; anything else may be a value in the wrong place, and is not repeated.
    let is_word = key.chars().count() <= KEY_CHARS_MAX
        && key
            .chars()
            .all(|c| c.is_ascii_alphabetic() || c == '_' || c == '-');
    let near = known
        .iter()
        .map(|known| (distance(key, known), *known))
        .min()
        .filter(|(steps, known)| *steps <= 2 && *steps < known.len());
    let what = match (is_word, near) {
        (true, Some((_, near))) => format!("unknown key `{key}`; did you mean `{near}`?"),
        (true, None) => format!("unknown key `{key}`; there are {}", known.join(", ")),
        (false, _) => format!("unknown key; there are {}", known.join(", ")),
    };
    notes.note(at, what);
}

/// How many letters have to be added, left out, replaced or exchanged with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(KEY_CHARS_MAX + 1).collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The parser's word for what is wrong, for whoever does not know the parser.
fn syntax(message: &str) -> String {
    match message {
        "duplicate key" => "stands here for the second time".to_owned(),
        other => format!("is not TOML: {other}"),
    }
}

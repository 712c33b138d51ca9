//! What callers of each number hear: the settings of numbers on top of those of the environment, made into documents when
//! they are read and not when somebody calls.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use callfold_kit::numbers::{Book, Check, NumberSettings};
use callfold_schema::PhoneNumber;
use callfold_twilio::twiml::MAX_LENGTH_SECS;
use callfold_twilio::{PublicUrl, Script, ScriptError, Voice};

use crate::translate::Heard;

/// The language of what is said where nobody says another.
const LANGUAGE: &str = "he-IL";

/// Said by a number that takes no message, where no greeting is set anywhere: the standard one asks for a message.
pub const GREETING_WITHOUT_RECORDING: &str =
    "שלום, הגעתם אלינו. במספר זה אי אפשר להשאיר הודעה. רשמנו שהתקשרתם ונחזור אליכם. להתראות.";

/// [`wrong`] in the form that the kit takes.
#[must_use]
pub fn check() -> Check {
    Arc::new(wrong)
}

/// What Twilio would not take: (key, what is wrong). Knows nothing of the environment, so that every role says the same
/// of a file.
#[must_use]
pub fn wrong(settings: &NumberSettings) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let texts = [
        ("greeting", &settings.greeting),
        ("goodbye", &settings.goodbye),
        ("nothing_recorded", &settings.nothing_recorded),
    ];
    for (key, text) in texts {
        if let Some(Err(error)) = text.as_deref().map(Script::check_text) {
            wrong.push((key, error.to_string()));
        }
    }
    wrong.extend(voice(settings).err());
    let longest = settings.record_max_secs;
    if longest.is_some_and(|secs| !MAX_LENGTH_SECS.contains(&secs)) {
        wrong.push(("record_max_secs", ScriptError::MaxLength.to_string()));
    } else if let Some(silence) = settings.record_silence_secs {
        if longest.is_some_and(|longest| silence > longest) {
            let what = "must not be longer than `record_max_secs`".to_owned();
            wrong.push(("record_silence_secs", what));
        } else if silence > *MAX_LENGTH_SECS.end() {
            let what = format!("must be from 0 to {} seconds", MAX_LENGTH_SECS.end());
            wrong.push(("record_silence_secs", what));
        }
    }
    wrong
}

/// Who speaks, where the settings say so.
fn voice(settings: &NumberSettings) -> Result<Option<Voice>, (&'static str, String)> {
    match (settings.voice.as_deref(), settings.language.as_deref()) {
        (None, None) => Ok(None),
        (Some(name), Some(language)) => Voice::new(name, language).map(Some).map_err(|error| match error {
            ScriptError::Language => ("language", error.to_string()),
            _ => ("voice", error.to_string()),
        }),
        // Google's names hold their language.
        (Some(name), None) => Voice::new(name, settings.spoken_language().unwrap_or(LANGUAGE))
            .map(Some)
            .map_err(|error| {
                (
                    "voice",
                    format!("{error}; a voice of another language needs `language` beside it"),
                )
            }),
        (None, Some(LANGUAGE)) => Ok(Some(Voice::default())),
        (None, Some(language)) => Err(match Voice::new("man", language) {
            Err(error) => ("language", error.to_string()),
            Ok(_) => (
                "language",
                "needs a `voice` of that language beside it".to_owned(),
            ),
        }),
    }
}

/// What callers of a number hear and may do: its settings, where they say nothing those of the environment.
fn script(settings: &NumberSettings, environment: &Script, is_greeting_set: bool) -> Script {
    let own = |text: &Option<Arc<str>>, other: &str| text.as_deref().unwrap_or(other).to_owned();
    let standard = if settings.record || is_greeting_set {
        &environment.greeting
    } else {
        GREETING_WITHOUT_RECORDING
    };
    let max_length_secs = settings.record_max_secs.unwrap_or(environment.max_length_secs);
    let voice = match (&settings.voice, &settings.language, environment.voice.language()) {
        // The language that is spoken anyway.
        (None, Some(language), spoken) if **language == *spoken => environment.voice.clone(),
        // The check took the file, so the voice is one; without the check the environment's stands in.
        _ => match voice(settings) {
            Ok(Some(voice)) => voice,
            Ok(None) | Err(_) => environment.voice.clone(),
        },
    };
    Script {
        greeting: own(&settings.greeting, standard),
        goodbye: own(&settings.goodbye, &environment.goodbye),
        nothing_recorded: own(&settings.nothing_recorded, &environment.nothing_recorded),
        voice,
        max_length_secs,
        // Silence longer than the longest message ends nothing: one of the two may come from elsewhere.
        silence_secs: settings
            .record_silence_secs
            .unwrap_or(environment.silence_secs)
            .min(max_length_secs),
    }
}

/// What is answered to calls of a number.
pub(crate) struct Answer {
    /// For the event.
    pub(crate) heard: Heard,
    /// The answer to a call.
    pub(crate) document: Bytes,
    /// The answer to the end of a recording.
    pub(crate) closing: Bytes,
}

/// The answers of all numbers.
pub(crate) struct Answers {
    default: Arc<Answer>,
    numbers: HashMap<PhoneNumber, Arc<Answer>>,
}

impl Answers {
    /// Makes them. Numbers that sound alike share one.
    pub(crate) fn of(book: &Book, environment: &Script, base: &PublicUrl) -> Self {
        let is_greeting_set = environment.greeting != Script::default().greeting;
        let mut made: HashMap<(Script, bool), Arc<Answer>> = HashMap::new();
        let mut answer = |settings: &NumberSettings| {
            let script = script(settings, environment, is_greeting_set);
            let records = settings.record;
            let made = made
                .entry((script, records))
                .or_insert_with_key(|(script, records)| {
                    let document = if *records {
                        script.answer(base)
                    } else {
                        script.greeting_only()
                    };
                    Arc::new(Answer {
                        heard: Heard::of(script, *records),
                        document: document.into(),
                        closing: script.closing().into(),
                    })
                });
            Arc::clone(made)
        };
        Self {
            default: answer(&book.default),
            numbers: book
                .numbers
                .iter()
                .map(|(number, settings)| (number.clone(), answer(settings)))
                .collect(),
        }
    }

    /// The answer to calls of a number; of any other, and of `client:` and `sip:` addresses, the one of `[default]`.
    pub(crate) fn to(&self, called: &PhoneNumber) -> &Arc<Answer> {
        self.numbers.get(called).unwrap_or(&self.default)
    }
}

#[cfg(test)]
#[path = "numbers/tests.rs"]
mod tests;

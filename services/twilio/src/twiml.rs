//! The documents Twilio is answered.
//!
//! Every URL is absolute, and carries in its fragment how Twilio is to retry: the fragment is never sent to us and is no
//! part of the signature. `<Record>` always has an `action`, for without one Twilio asks for the current document again
//! and the caller hears the greeting in a loop. What follows `<Record>` is spoken only when nothing was recorded.

use std::fmt::Write as _;

use crate::path;
use crate::public_url::PublicUrl;

/// Content type of every document.
pub const CONTENT_TYPE: &str = "text/xml; charset=utf-8";

/// The document that says nothing: the answer to a callback when it has to have a body.
pub const EMPTY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response/>\n";

/// Retry overrides of requests whose answer the caller waits for.
pub const VOICE_OVERRIDES: &str = "rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=12000&e=frankfurt,dublin";

/// Retry overrides of callbacks nobody waits for: as often and as long as Twilio allows, which is 15 seconds.
pub const CALLBACK_OVERRIDES: &str = "rc=5&rp=all&rt=3000&tt=15000&e=frankfurt,dublin";

/// Longest text of one `<Say>`, in characters.
pub const SAY_CHARS_MAX: usize = 4096;

/// Shortest and longest recording that can be asked for, in seconds.
pub const MAX_LENGTH_SECS: std::ops::RangeInclusive<u32> = 2..=14_400;

/// The voices Twilio has for `he-IL`. There is no Amazon Polly voice among them; a wrong name makes the greeting silent.
pub const HEBREW_VOICES: [&str; 8] = [
    "Google.he-IL-Standard-A",
    "Google.he-IL-Standard-B",
    "Google.he-IL-Standard-C",
    "Google.he-IL-Standard-D",
    "Google.he-IL-Wavenet-A",
    "Google.he-IL-Wavenet-B",
    "Google.he-IL-Wavenet-C",
    "Google.he-IL-Wavenet-D",
];

/// Who speaks, in which language.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Voice {
    name: String,
    language: String,
}

/// What is wrong with a [`Script`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// Not a voice that speaks Hebrew at Twilio.
    #[error(
        "is no Hebrew voice of Twilio; use Google.he-IL-Wavenet-A (or -B to -D, or Google.he-IL-Standard-A to -D)"
    )]
    HebrewVoice,
    /// The name does not belong to the language.
    #[error("does not fit the language; use man, woman, Polly.<name> or a Google voice of that language")]
    Voice,
    /// Not a language tag.
    #[error("is not a language such as he-IL")]
    Language,
    /// Nothing to say: Twilio warns (13520) and goes on in silence.
    #[error("is empty")]
    EmptyText,
    /// Longer than one `<Say>` may be.
    #[error("is longer than {SAY_CHARS_MAX} characters")]
    LongText,
    /// XML has no way to write it.
    #[error("contains a control character")]
    ControlCharacter,
    /// Outside [`MAX_LENGTH_SECS`].
    #[error("must be from {} to {} seconds", MAX_LENGTH_SECS.start(), MAX_LENGTH_SECS.end())]
    MaxLength,
    /// More silence than recording.
    #[error("must not be longer than the longest recording")]
    Timeout,
}

impl Voice {
    /// Takes a voice that exists. For `he-IL` the name must be one of [`HEBREW_VOICES`]; for any other language only its
    /// form is checked: `man`, `woman`, `Polly.…`, or `Google.<language>-…`.
    ///
    /// # Errors
    /// Says whether the language or the name is wrong.
    pub fn new(name: &str, language: &str) -> Result<Self, ScriptError> {
        let tag = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !(2..=35).contains(&language.len()) || !language.bytes().all(tag) {
            return Err(ScriptError::Language);
        }
        if language.to_ascii_lowercase().starts_with("he") && language != "he-IL" {
            return Err(ScriptError::Language);
        }
        if language == "he-IL" {
            if !HEBREW_VOICES.contains(&name) {
                return Err(ScriptError::HebrewVoice);
            }
        } else {
            let google = name
                .strip_prefix("Google.")
                .and_then(|rest| rest.strip_prefix(language));
            let of_language = google.and_then(|rest| rest.strip_prefix('-'));
            let polly = name.strip_prefix("Polly.");
            let proper = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| tag(b) || b == b'_');
            if !matches!(name, "man" | "woman") && !of_language.or(polly).is_some_and(proper) {
                return Err(ScriptError::Voice);
            }
        }
        Ok(Self {
            name: name.to_owned(),
            language: language.to_owned(),
        })
    }

    /// Twilio's name of the voice.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The language, `he-IL`.
    #[must_use]
    pub fn language(&self) -> &str {
        &self.language
    }
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            name: "Google.he-IL-Wavenet-A".to_owned(),
            language: "he-IL".to_owned(),
        }
    }
}

/// What a caller hears, and how long they may speak.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Script {
    /// Said before the beep.
    pub greeting: String,
    /// Said when nothing was recorded.
    pub nothing_recorded: String,
    /// Said after the message.
    pub goodbye: String,
    /// Who says it.
    pub voice: Voice,
    /// Longest message, in seconds. Noise defeats the silence detection, so this bound is the real one.
    pub max_length_secs: u32,
    /// Silence that ends the message, in seconds; 0 switches it off.
    pub silence_secs: u32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: "שלום, הגעתם אלינו. השיחה מוקלטת. אנא השאירו הודעה אחרי הצליל.".to_owned(),
            nothing_recorded: "לא התקבלה הקלטה. להתראות.".to_owned(),
            goodbye: "תודה, נחזור אליכם.".to_owned(),
            voice: Voice::default(),
            max_length_secs: 180,
            silence_secs: 8,
        }
    }
}

impl Script {
    /// Checks one of the texts.
    ///
    /// # Errors
    /// The text is empty, too long, or cannot be written in XML.
    pub fn check_text(text: &str) -> Result<(), ScriptError> {
        if text.trim().is_empty() {
            return Err(ScriptError::EmptyText);
        }
        if text.chars().count() > SAY_CHARS_MAX {
            return Err(ScriptError::LongText);
        }
        // XML 1.0 has no way to write these, escaped or not.
        let unwritable =
            |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{fffe}' | '\u{ffff}');
        if text.chars().any(unwritable) {
            return Err(ScriptError::ControlCharacter);
        }
        Ok(())
    }

    /// Checks the two lengths.
    ///
    /// # Errors
    /// A length Twilio would not take.
    pub fn check_lengths(&self) -> Result<(), ScriptError> {
        if !MAX_LENGTH_SECS.contains(&self.max_length_secs) {
            return Err(ScriptError::MaxLength);
        }
        if self.silence_secs > self.max_length_secs {
            return Err(ScriptError::Timeout);
        }
        Ok(())
    }

    /// The answer to a call: greeting, beep, recording, and what is said when there was none.
    #[must_use]
    pub fn answer(&self, base: &PublicUrl) -> String {
        let action = escape(&with_overrides(base, path::RECORD_ACTION, VOICE_OVERRIDES));
        let callback = escape(&with_overrides(base, path::RECORDING_DONE, CALLBACK_OVERRIDES));
        let mut xml = String::from(HEAD);
        self.say(&mut xml, &self.greeting);
        let _ = writeln!(
            xml,
            "  <Record action=\"{action}\" method=\"POST\" timeout=\"{}\" maxLength=\"{}\" finishOnKey=\"#\" \
             playBeep=\"true\" trim=\"do-not-trim\" recordingStatusCallback=\"{callback}\" \
             recordingStatusCallbackMethod=\"POST\" recordingStatusCallbackEvent=\"in-progress completed absent\"/>",
            self.silence_secs, self.max_length_secs,
        );
        self.say(&mut xml, &self.nothing_recorded);
        xml.push_str(TAIL);
        xml
    }

    /// The answer to a call that is not recorded: the greeting, and that is all.
    #[must_use]
    pub fn greeting_only(&self) -> String {
        let mut xml = String::from(HEAD);
        self.say(&mut xml, &self.greeting);
        xml.push_str(TAIL);
        xml
    }

    /// The answer to the `action` of `<Record>`: goodbye.
    #[must_use]
    pub fn closing(&self) -> String {
        let mut xml = String::from(HEAD);
        self.say(&mut xml, &self.goodbye);
        xml.push_str(TAIL);
        xml
    }

    fn say(&self, xml: &mut String, text: &str) {
        let (voice, language) = (escape(&self.voice.name), escape(&self.voice.language));
        let _ = writeln!(
            xml,
            "  <Say voice=\"{voice}\" language=\"{language}\">{}</Say>",
            escape(text)
        );
    }
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response>\n";
const TAIL: &str = "  <Hangup/>\n</Response>\n";

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

fn with_overrides(base: &PublicUrl, path: &str, overrides: &str) -> String {
    format!("{}#{overrides}", base.join(path))
}

/// What to enter as the number's voice URL ("A call comes in").
#[must_use]
pub fn recommended_voice_url(base: &PublicUrl) -> String {
    with_overrides(base, path::VOICE, VOICE_OVERRIDES)
}

/// What to enter as the number's status callback ("Call status changes"). It is the only word of a caller who hangs up
/// during the greeting.
#[must_use]
pub fn recommended_status_callback(base: &PublicUrl) -> String {
    with_overrides(base, path::STATUS, CALLBACK_OVERRIDES)
}

#[cfg(test)]
#[path = "twiml/tests.rs"]
mod tests;

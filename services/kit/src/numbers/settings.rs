//! What can be set for a number.

use std::fmt;
use std::sync::Arc;

/// The speech engines that a number can name, in the order in which they are asked where nothing is said.
pub const ENGINES: [&str; 3] = ["google", "whisper", "openai"];
/// The one of them that sends nothing anywhere.
pub(super) const LOCAL_ENGINE: &str = "whisper";
/// The engines that a number can name for its summaries, in the order in which they are asked. The last one is in this
/// process and always answers.
pub const SUMMARY_ENGINES: [&str; 2] = ["openai", "extractive"];
/// The one of them that sends nothing anywhere.
pub(super) const LOCAL_SUMMARY_ENGINE: &str = "extractive";
/// Longest `business_name`, in characters.
pub const BUSINESS_NAME_CHARS_MAX: usize = 200;
/// Most entries of `phrases`.
pub const PHRASES_MAX: usize = 500;
/// Longest entry of `phrases`, in characters.
pub const PHRASE_CHARS_MAX: usize = 100;
/// Longest `summary.prompt`, in characters.
pub const PROMPT_CHARS_MAX: usize = 2_000;
/// Longest `retention_days`: a hundred years.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

/// The settings of one number, `[default]` filled in. `None` and empty lists: the file does not say, so the settings of
/// the environment hold, and where they do not say either what is built in.
///
/// Texts are shared between the numbers that inherit them.
#[derive(Clone, PartialEq, Eq)]
pub struct NumberSettings {
    /// `business_name`: who is called, for the summary's prompt. One line, at most [`BUSINESS_NAME_CHARS_MAX`].
    pub business_name: Option<Arc<str>>,
    /// `greeting`: what callers hear first.
    pub greeting: Option<Arc<str>>,
    /// `goodbye`: what they hear after their message.
    pub goodbye: Option<Arc<str>>,
    /// `nothing_recorded`: what they hear when no message was taken.
    pub nothing_recorded: Option<Arc<str>>,
    /// `voice`: Twilio's name of who says it.
    pub voice: Option<Arc<str>>,
    /// `language`: BCP 47, of what is said and of what is expected to be said.
    pub language: Option<Arc<str>>,
    /// `record_max_secs`: longest message, in seconds.
    pub record_max_secs: Option<u32>,
    /// `record_silence_secs`: silence that ends a message, in seconds; 0 switches it off.
    pub record_silence_secs: Option<u32>,
    /// `record`: whether a message is taken at all. `true` where the file does not say.
    pub record: bool,
    /// `engines`: the speech engines to ask, in this order, each one of [`ENGINES`]. Empty: as the environment says.
    pub engines: Arc<[String]>,
    /// `phrases`: names and words to expect, at most [`PHRASES_MAX`] of at most [`PHRASE_CHARS_MAX`] characters.
    pub phrases: Arc<[String]>,
    /// `retention_days`: how long a call is kept, in days; the reconciler erases it then.
    pub retention_days: Option<u32>,
    /// `summary.prompt`: what is added to the summary's prompt, at most [`PROMPT_CHARS_MAX`] characters.
    pub summary_prompt: Option<Arc<str>>,
    /// `summary.engines`: what its summaries are made with, each one of [`SUMMARY_ENGINES`]. Empty: all of them.
    pub summary_engines: Arc<[String]>,
}

impl Default for NumberSettings {
    fn default() -> Self {
        Self {
            business_name: None,
            greeting: None,
            goodbye: None,
            nothing_recorded: None,
            voice: None,
            language: None,
            record_max_secs: None,
            record_silence_secs: None,
            record: true,
            engines: Arc::default(),
            phrases: Arc::default(),
            retention_days: None,
            summary_prompt: None,
            summary_engines: Arc::default(),
        }
    }
}

impl NumberSettings {
    /// Whether this engine may be asked for summaries of this number's calls. `false` for `openai`: no word of them leaves
    /// this process for a summary.
    #[must_use]
    pub fn may_summarize(&self, engine: &str) -> bool {
        self.summary_engines.is_empty() || self.summary_engines.iter().any(|named| named == engine)
    }

    /// What is spoken on this number, BCP 47: `language`, else what the name of a Google voice holds (`en-GB` of
    /// `Google.en-GB-Wavenet-A`), since callers answer in the language in which they are greeted. `None`: nothing says.
    #[must_use]
    pub fn spoken_language(&self) -> Option<&str> {
        self.language
            .as_deref()
            .or_else(|| voice_language(self.voice.as_deref()?))
    }
}

fn voice_language(voice: &str) -> Option<&str> {
    let rest = voice.strip_prefix("Google.")?;
    let mut dashes = rest.match_indices('-').map(|(at, _)| at);
    dashes.next()?;
    Some(&rest[..dashes.next()?])
}

// Phrases are names of people, and texts are nobody's business in a log: `Debug` shows what is set, not to what.
impl fmt::Debug for NumberSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumberSettings")
            .field("record", &self.record)
            .field("record_max_secs", &self.record_max_secs)
            .field("engines", &self.engines)
            .field("phrases", &self.phrases.len())
            .field("retention_days", &self.retention_days)
            .field("summary_engines", &self.summary_engines)
            .finish_non_exhaustive()
    }
}

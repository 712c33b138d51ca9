//! The settings of the engine.

use std::time::Duration;

use callfold_kit::config::Settings;
use callfold_kit::secret::Secret;

/// Names of the settings.
pub mod setting {
    /// The key, shared with summaries.
    pub const OPENAI_API_KEY: &str = "OPENAI_API_KEY";
    /// The server, shared with summaries.
    pub const OPENAI_BASE_URL: &str = "OPENAI_BASE_URL";
    /// The model's name.
    pub const MODEL: &str = "CALLFOLD_TRANSCRIBE_MODEL";
    /// The server, where it is another one than that of summaries.
    pub const BASE_URL: &str = "CALLFOLD_TRANSCRIBE_BASE_URL";
    /// The key, where it is another one than that of summaries.
    pub const API_KEY: &str = "CALLFOLD_TRANSCRIBE_API_KEY";
}

/// Where OpenAI itself answers.
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
/// The shape of a server of one's own, for the mistake.
const OWN_BASE_URL: &str = "http://127.0.0.1:8000/v1";
/// OpenAI's model that tells times.
const MODEL: &str = "whisper-1";

/// How to reach a server that transcribes.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechApiConfig {
    /// Without a slash at its end; `/audio/transcriptions` is added.
    pub base_url: String,
    /// Sent as a bearer token; `None`: the server wants none.
    pub api_key: Option<Secret>,
    /// The model's name.
    pub model: String,
    /// ISO 639-1 language, where a request names none.
    pub language: String,
    /// How long a server may take for one piece, from the connection to the last byte of the answer.
    pub timeout: Duration,
    /// How long it may take to list its models at start.
    pub check_timeout: Duration,
    /// Longest piece that is sent.
    pub piece_max: Duration,
}

impl SpeechApiConfig {
    /// A server at `base_url`, spoken to in Hebrew.
    pub fn new(base_url: &str, api_key: Option<Secret>, model: &str) -> Self {
        Self {
            base_url: base_url.trim().trim_end_matches('/').to_owned(),
            api_key,
            model: model.trim().to_owned(),
            language: "he".to_owned(),
            timeout: Duration::from_secs(300),
            check_timeout: Duration::from_secs(5),
            // 9.6 MB; servers take 25. Longer ones would lose their end with models that write a bounded number of
            // tokens for an answer (OpenAI's gpt-4o-transcribe: 2,000), and those of one server run side by side.
            piece_max: Duration::from_secs(300),
        }
    }

    /// The names in [`setting`]. `None`: there is neither a key nor a server of its own.
    ///
    /// A key goes only to the server it was set for: a server named in `CALLFOLD_TRANSCRIBE_BASE_URL` is not sent
    /// `OPENAI_API_KEY`.
    pub fn from_settings(settings: &mut Settings<'_>) -> Option<Self> {
        let shared_key = settings.api_key(setting::OPENAI_API_KEY);
        let shared_url = settings.base_url(setting::OPENAI_BASE_URL, Some(OPENAI_BASE_URL), OPENAI_BASE_URL);
        let own_key = settings.api_key(setting::API_KEY);
        let has_own_url = settings.text(setting::BASE_URL).is_some();
        let own_url = settings.base_url(setting::BASE_URL, None, OWN_BASE_URL);
        let model = settings.text(setting::MODEL);
        let (base_url, api_key) = if has_own_url {
            (own_url?, own_key)
        } else {
            (shared_url?, Some(own_key.or(shared_key)?))
        };
        Some(Self::new(&base_url, api_key, model.as_deref().unwrap_or(MODEL)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;

    fn read(values: &[(&str, &str)]) -> (Option<SpeechApiConfig>, Vec<String>) {
        let source: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::new(&source);
        let config = SpeechApiConfig::from_settings(&mut settings);
        let wrong = settings.finish().map_or_else(|errors| errors.0, |()| Vec::new());
        (config, wrong.into_iter().map(|mistake| mistake.name).collect())
    }

    /// Base URL, key and model.
    fn reached(values: &[(&str, &str)]) -> Option<(String, Option<String>, String)> {
        let (config, wrong) = read(values);
        assert!(wrong.is_empty(), "{wrong:?}");
        let config = config?;
        let key = config.api_key.map(|key| key.expose().to_owned());
        Some((config.base_url, key, config.model))
    }

    #[test]
    fn a_key_or_a_server_of_its_own_turns_the_engine_on() {
        assert_eq!(reached(&[]), None);
        assert_eq!(
            reached(&[(setting::OPENAI_BASE_URL, "http://localhost:1/v1")]),
            None
        );
        assert_eq!(reached(&[(setting::MODEL, "large")]), None);
        let (openai, local) = (OPENAI_BASE_URL.to_owned(), "http://localhost:8000/v1".to_owned());
        assert_eq!(
            reached(&[(setting::OPENAI_API_KEY, "sk-1")]),
            Some((openai.clone(), Some("sk-1".into()), "whisper-1".into()))
        );
        assert_eq!(
            reached(&[(setting::API_KEY, "sk-2"), (setting::OPENAI_API_KEY, "sk-1")]),
            Some((openai, Some("sk-2".into()), "whisper-1".into()))
        );
        assert_eq!(
            reached(&[
                (setting::OPENAI_API_KEY, "sk-1"),
                (setting::OPENAI_BASE_URL, "http://localhost:8000/v1/"),
                (setting::MODEL, " ivrit "),
            ]),
            Some((local, Some("sk-1".into()), "ivrit".into()))
        );
    }

    #[test]
    fn a_server_of_its_own_is_not_sent_the_key_of_summaries() {
        let own = (setting::BASE_URL, "http://localhost:8000/v1/");
        let shared = (setting::OPENAI_API_KEY, "sk-1");
        let url = "http://localhost:8000/v1".to_owned();
        assert_eq!(
            reached(&[own, shared]),
            Some((url.clone(), None, "whisper-1".into()))
        );
        assert_eq!(
            reached(&[own, shared, (setting::API_KEY, "sk-2")]),
            Some((url, Some("sk-2".into()), "whisper-1".into()))
        );
    }

    #[test]
    fn mistakes_are_told_and_turn_it_off() {
        let (config, wrong) = read(&[
            (setting::OPENAI_API_KEY, "sk-\n1"),
            (setting::BASE_URL, "localhost:8000"),
            (setting::API_KEY, "שלום"),
        ]);
        assert_eq!(config, None);
        assert_eq!(
            wrong,
            [setting::OPENAI_API_KEY, setting::API_KEY, setting::BASE_URL]
        );
        let (config, _) = read(&[(setting::OPENAI_API_KEY, "sk-1")]);
        assert!(!format!("{config:?}").contains("sk-1"));
    }
}

//! The settings of the summarizer.

use std::time::Duration;

use callfold_kit::config::Settings;
use callfold_kit::secret::Secret;
use callfold_kit::stage::StagePolicy;
use callfold_schema::Stage;
use url::Url;

/// Where OpenAI itself answers.
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
/// A small model is enough for a headline and two points.
const MODEL: &str = "gpt-4o-mini";
/// Summaries at once: they wait for a server, or take microseconds.
const SLOTS: usize = 8;

/// The settings of the summarizer.
#[derive(Debug, Clone)]
pub struct SummarizerConfig {
    /// The model to ask; `None`: the offline summary only.
    pub model: Option<ModelConfig>,
    /// How the stage runs.
    pub policy: StagePolicy,
}

/// How to reach a chat model.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Without a slash at its end; the path `/chat/completions` is added.
    pub base_url: String,
    /// Sent as a bearer token.
    pub api_key: Secret,
    /// The model's name.
    pub model: String,
    /// How long the model may take for one summary, another try included; then the offline summary takes its place.
    pub budget: Duration,
    /// The pause before the other try, unless the server names one.
    pub retry_pause: Duration,
}

impl Default for SummarizerConfig {
    /// The offline summary.
    fn default() -> Self {
        Self {
            model: None,
            policy: StagePolicy::with_slots(SLOTS),
        }
    }
}

impl SummarizerConfig {
    /// `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `CALLFOLD_SUMMARY_MODEL`, `CALLFOLD_SUMMARY_SECS`, and those of
    /// [`StagePolicy::from_settings`].
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let api_key = settings.secret("OPENAI_API_KEY");
        let base_url = settings
            .text("OPENAI_BASE_URL")
            .unwrap_or_else(|| OPENAI_BASE_URL.to_owned());
        let model = settings
            .text("CALLFOLD_SUMMARY_MODEL")
            .unwrap_or_else(|| MODEL.to_owned());
        let budget = settings.number("CALLFOLD_SUMMARY_SECS", 20, 1, 300, "seconds");
        let policy = StagePolicy::from_settings(settings, Stage::Summarize, SLOTS);
        // It goes into a header as it is.
        if api_key
            .as_ref()
            .is_some_and(|key| !key.expose().bytes().all(|byte| byte.is_ascii_graphic()))
        {
            settings.mistake(
                "OPENAI_API_KEY",
                "holds a character that cannot stand in a header",
            );
            return Self { model: None, policy };
        }
        let is_url = Url::parse(base_url.trim()).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if !is_url {
            settings.mistake(
                "OPENAI_BASE_URL",
                format!("is not an address such as {OPENAI_BASE_URL}"),
            );
            return Self { model: None, policy };
        }
        let model = api_key.map(|api_key| ModelConfig {
            base_url: base_url.trim().trim_end_matches('/').to_owned(),
            api_key,
            model: model.trim().to_owned(),
            budget: Duration::from_secs(budget),
            retry_pause: Duration::from_millis(500),
        });
        Self { model, policy }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (SummarizerConfig, Vec<String>) {
        let source: BTreeMap<String, String> =
            pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let mut settings = Settings::new(&source);
        let config = SummarizerConfig::from_settings(&mut settings);
        let mistakes = settings.finish().err().map_or(Vec::new(), |errors| {
            errors.0.into_iter().map(|m| m.name).collect()
        });
        (config, mistakes)
    }

    #[test]
    fn without_a_key_there_is_no_model() {
        let (config, mistakes) = read(&[("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")]);
        assert!(config.model.is_none() && mistakes.is_empty());
    }

    #[test]
    fn a_key_turns_the_model_on() {
        let (config, mistakes) = read(&[
            ("OPENAI_API_KEY", "sk-1"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1/"),
        ]);
        assert!(mistakes.is_empty());
        let model = config.model.unwrap();
        assert_eq!(
            (model.base_url.as_str(), model.model.as_str()),
            ("http://127.0.0.1:8000/v1", "gpt-4o-mini")
        );
        assert!(!format!("{model:?}").contains("sk-1"));
    }

    #[test]
    fn mistakes_are_named() {
        let (_, mistakes) = read(&[("OPENAI_API_KEY", "sk-\n1"), ("CALLFOLD_SUMMARY_SECS", "0")]);
        assert_eq!(mistakes, ["CALLFOLD_SUMMARY_SECS", "OPENAI_API_KEY"]);
        let (_, mistakes) = read(&[("OPENAI_API_KEY", "sk-1"), ("OPENAI_BASE_URL", "localhost:8000")]);
        assert_eq!(mistakes, ["OPENAI_BASE_URL"]);
    }
}

//! The settings of the summarizer.

use std::time::Duration;

use callfold_kit::config::Settings;
use callfold_kit::secret::Secret;
use callfold_kit::stage::StagePolicy;
use callfold_schema::Stage;

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
    /// How long the model may take for one summary, all parts and tries; then the offline summary takes its place.
    pub budget: Duration,
    /// The pause before the second try, unless the server names one; then it doubles.
    pub retry_pause: Duration,
    /// How many tokens of a transcript, by an estimate, stand in one question; a longer one is summarised in parts.
    pub input_tokens: usize,
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
    /// `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `CALLFOLD_SUMMARY_MODEL`, `CALLFOLD_SUMMARY_SECS`,
    /// `CALLFOLD_SUMMARY_INPUT_TOKENS`, and those of [`StagePolicy::from_settings`].
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let api_key = settings.api_key("OPENAI_API_KEY");
        let base_url = settings.base_url("OPENAI_BASE_URL", Some(OPENAI_BASE_URL), OPENAI_BASE_URL);
        let model = settings
            .text("CALLFOLD_SUMMARY_MODEL")
            .unwrap_or_else(|| MODEL.to_owned());
        let budget = settings.number("CALLFOLD_SUMMARY_SECS", 20, 1, 300, "seconds");
        let input_tokens = settings.number("CALLFOLD_SUMMARY_INPUT_TOKENS", 6_000, 200, 1_000_000, "tokens");
        let policy = StagePolicy::from_settings(settings, Stage::Summarize, SLOTS);
        let model = api_key.zip(base_url).map(|(api_key, base_url)| ModelConfig {
            base_url,
            api_key,
            model: model.trim().to_owned(),
            budget: Duration::from_secs(budget),
            retry_pause: Duration::from_millis(500),
            input_tokens: usize::try_from(input_tokens).unwrap_or(usize::MAX),
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
        assert_eq!(mistakes, ["OPENAI_API_KEY", "CALLFOLD_SUMMARY_SECS"]);
        let (_, mistakes) = read(&[("OPENAI_API_KEY", "sk-1"), ("OPENAI_BASE_URL", "localhost:8000")]);
        assert_eq!(mistakes, ["OPENAI_BASE_URL"]);
    }
}

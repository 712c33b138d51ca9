//! Whether the service offers what is configured, by what it says of its location.

use callfold_schema::event::FailureClass;
use google_cloud_speech_v2::model::{LanguageMetadata, LocationsMetadata};

use super::config::{GoogleConfig, HEBREW, setting};
use crate::engine::EngineError;

/// How many names a message lists.
const NAMES_MAX: usize = 12;

/// Compares the settings with what the service offers. What it does not tell is taken for good.
///
/// # Errors
/// Says which setting is wrong, and what there is.
pub(super) fn judge(
    location: &google_cloud_location::model::Location,
    config: &GoogleConfig,
) -> Result<(), EngineError> {
    let metadata = location
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.to_msg::<LocationsMetadata>().ok());
    let languages = metadata
        .and_then(|metadata| metadata.languages)
        .unwrap_or_default();
    if languages.models.is_empty() {
        tracing::warn!("Google Speech does not say which languages its location has");
        return Ok(());
    }
    refused(&languages, config).map_or(Ok(()), |text| {
        Err(EngineError::Rejected {
            class: FailureClass::Refused,
            text,
            source: None,
        })
    })
}

fn refused(languages: &LanguageMetadata, config: &GoogleConfig) -> Option<String> {
    let GoogleConfig {
        model,
        language,
        location,
        ..
    } = config;
    let has_model = |language: &str| {
        let found = languages.models.get(language);
        found.is_some_and(|found| found.model_features.contains_key(model))
    };
    let is_offered = languages.models.keys().any(|language| has_model(language));
    if !is_offered {
        let models = languages.models.values();
        let names = models.flat_map(|language| language.model_features.keys());
        return Some(format!(
            "{}: there is no model `{model}` in the location `{location}`, but {}",
            setting::MODEL,
            listed(names)
        ));
    }
    if language == "auto" || has_model(language) {
        return None;
    }
    let Some(found) = languages.models.get(language) else {
        return Some(format!(
            "{}: there is no language `{language}` in the location `{location}` (Hebrew is `{HEBREW}`)",
            setting::LANGUAGE
        ));
    };
    Some(format!(
        "{}: the model `{model}` does not know `{language}` in the location `{location}`; those that do: {}",
        setting::MODEL,
        listed(found.model_features.keys())
    ))
}

/// The names in order, each once, as far as they are names.
fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let is_name = |name: &&String| {
        name.len() <= 40
            && name
                .chars()
                .all(|sign| sign.is_ascii_alphanumeric() || "-_.".contains(sign))
    };
    let names: std::collections::BTreeSet<&String> = names.filter(is_name).collect();
    let first: Vec<String> = names
        .iter()
        .take(NAMES_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    match first.is_empty() {
        true => "none".to_owned(),
        false => first.join(", "),
    }
}

/// The failure of the question itself, with the setting that may be behind it.
pub(super) fn explained(error: EngineError) -> EngineError {
    let EngineError::Rejected { class, text, source } = error else {
        return error;
    };
    let what = match class {
        FailureClass::Credentials => format!(
            "the credentials of {} are refused, or may not use Speech-to-Text in the project",
            setting::CREDENTIALS
        ),
        FailureClass::NotFound => format!(
            "{} or {} names nothing that is there",
            setting::LOCATION,
            setting::PROJECT
        ),
        _ => format!(
            "{} or {} is not what the service takes",
            setting::LOCATION,
            setting::PROJECT
        ),
    };
    EngineError::Rejected {
        class,
        text: format!("{text}: {what}"),
        source,
    }
}

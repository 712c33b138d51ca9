//! Google's settings, checked as far as they can be without asking the service.

use std::path::Path;
use std::time::Duration;

use callfold_kit::config::Settings;
use url::Url;

use super::key::ServiceAccountKey;

/// Names of the settings.
pub mod setting {
    /// Path of a service account's key file. Unset: the engine is off.
    pub const CREDENTIALS: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    /// The project that is billed, by default the key's.
    pub const PROJECT: &str = "GOOGLE_SPEECH_PROJECT";
    /// Where speech is recognised.
    pub const LOCATION: &str = "GOOGLE_SPEECH_LOCATION";
    /// The model.
    pub const MODEL: &str = "GOOGLE_SPEECH_MODEL";
    /// The language spoken, in Google's code.
    pub const LANGUAGE: &str = "GOOGLE_SPEECH_LANGUAGE";
    /// The service's address, by default the location's.
    pub const ENDPOINT: &str = "GOOGLE_SPEECH_ENDPOINT";
    /// Names and words to expect, by commas.
    pub const PHRASES: &str = "GOOGLE_SPEECH_PHRASES";
}

/// Most phrases of one request: what `chirp_3` takes.
pub const PHRASES_MAX: usize = 1_000;
/// Longest phrase, in characters: what the service takes.
pub const PHRASE_CHARS_MAX: usize = 100;
/// How long the service may take for one piece of audio. Less than a minute is sent, and it is faster than speech.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Google's code for Hebrew. It knows no other: `he-IL` is that of the older version and of text-to-speech.
pub(super) const HEBREW: &str = "iw-IL";

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoogleConfig {
    /// Who asks.
    pub key: ServiceAccountKey,
    /// The project that is billed.
    pub project: String,
    /// Where speech is recognised: `eu`.
    pub location: String,
    /// The model: `chirp_3`.
    pub model: String,
    /// The language spoken, in Google's code: `iw-IL`, or `auto`.
    pub language: String,
    /// Scheme and host of the service, without a slash at its end.
    pub endpoint: String,
    /// Names and words to expect in every call.
    pub phrases: Vec<String>,
    /// How long the service may take for one piece of audio.
    pub request_timeout: Duration,
}

impl GoogleConfig {
    /// Reads the section. `None`: the engine is off, or a mistake was remembered.
    pub fn from_settings(settings: &mut Settings<'_>) -> Option<Self> {
        let mut text = |name| settings.text(name).map(|text| text.trim().to_owned());
        let path = text(setting::CREDENTIALS);
        let project = text(setting::PROJECT);
        let location = text(setting::LOCATION).unwrap_or_else(|| "eu".to_owned());
        let model = text(setting::MODEL).unwrap_or_else(|| "chirp_3".to_owned());
        let language = text(setting::LANGUAGE).unwrap_or_else(|| HEBREW.to_owned());
        let endpoint = text(setting::ENDPOINT);
        let phrases = text(setting::PHRASES).unwrap_or_default();

        let mut mistakes: Vec<(&str, String)> = Vec::new();
        let key = match ServiceAccountKey::read(Path::new(&path?)) {
            Ok(key) => Some(key),
            Err(error) => {
                mistakes.push((setting::CREDENTIALS, error.to_string()));
                None
            }
        };
        let project = project.or_else(|| key.as_ref().map(|key| key.project().to_owned()));
        if project.as_deref().is_some_and(|project| !is_project(project)) {
            mistakes.push((setting::PROJECT, "is not the id of a project".to_owned()));
        }
        if !is_word(&location, "-") {
            mistakes.push((
                setting::LOCATION,
                "is not a location such as `eu` or `us-central1`".to_owned(),
            ));
        }
        if !is_word(&model, "_-") {
            mistakes.push((setting::MODEL, "is not a model such as `chirp_3`".to_owned()));
        }
        mistakes.extend(known_to_fail(&location, &model, &language));
        let endpoint = match endpoint {
            None => Some(endpoint_of(&location)),
            Some(endpoint) => checked_endpoint(&endpoint, &location)
                .map_err(|what| mistakes.push((setting::ENDPOINT, what)))
                .ok(),
        };
        let phrases = split(&phrases)
            .map_err(|what| mistakes.push((setting::PHRASES, what)))
            .ok();
        let are_right = mistakes.is_empty();
        for (name, what) in mistakes {
            settings.mistake(name, what);
        }
        if !are_right {
            return None;
        }
        Some(Self {
            key: key?,
            project: project?,
            location,
            model,
            language,
            endpoint: endpoint?,
            phrases: phrases?,
            request_timeout: REQUEST_TIMEOUT,
        })
    }

    /// Whether it is a server on this machine: a proxy, or a double in a test.
    pub(super) fn is_loopback(&self) -> bool {
        Url::parse(&self.endpoint).is_ok_and(|url| is_loopback(&url))
    }
}

/// What the service refuses in any project.
fn known_to_fail(location: &str, model: &str, language: &str) -> Vec<(&'static str, String)> {
    let mut mistakes = Vec::new();
    if model == "chirp_3" && location == "global" {
        let what = "must not be `global` with the model `chirp_3`: take `eu` or `us`";
        mistakes.push((setting::LOCATION, what.to_owned()));
    }
    let is_code = (2..=35).contains(&language.len())
        && language
            .chars()
            .all(|sign| sign.is_ascii_alphanumeric() || sign == '-');
    if !is_code {
        let what = "is not a language code such as `iw-IL`, and not `auto`";
        mistakes.push((setting::LANGUAGE, what.to_owned()));
    } else if google_language(language) != language {
        let what = format!("is not Google's code for Hebrew: write `{HEBREW}`");
        mistakes.push((setting::LANGUAGE, what));
    }
    mistakes
}

/// A BCP 47 tag as this service wants it.
pub(super) fn google_language(tag: &str) -> &str {
    match tag.to_ascii_lowercase().as_str() {
        "he" | "iw" | "heb" | "he-il" | "iw-il" => HEBREW,
        _ => tag,
    }
}

/// The service's code as the rest of this program wants it.
pub(super) fn domain_language(code: &str) -> &str {
    if google_language(code) == HEBREW {
        "he"
    } else {
        code
    }
}

fn is_word(text: &str, besides: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .chars()
            .all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || besides.contains(sign))
}

/// An id (`my-project`, `example.com:my-project`) or a number.
fn is_project(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text
            .chars()
            .all(|sign| sign.is_ascii_alphanumeric() || "-_.:".contains(sign))
}

fn endpoint_of(location: &str) -> String {
    match location {
        "global" => "https://speech.googleapis.com".to_owned(),
        location => format!("https://{location}-speech.googleapis.com"),
    }
}

/// Scheme and host, when the token may be sent there.
fn checked_endpoint(text: &str, location: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|_| "is not a URL".to_owned())?;
    let is_origin = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !is_origin {
        return Err("has more than a scheme and a host".to_owned());
    }
    let origin = url.origin().ascii_serialization();
    let regional = format!("https://speech.{location}.rep.googleapis.com");
    let expected = endpoint_of(location);
    if is_loopback(&url) || origin == expected || origin == regional {
        return Ok(origin);
    }
    // Whoever gets the token can use it for an hour.
    Err(format!(
        "is not the address of {} `{location}` ({expected}), and not one on this machine",
        setting::LOCATION
    ))
}

fn is_loopback(url: &Url) -> bool {
    let is_http = matches!(url.scheme(), "http" | "https");
    is_http
        && match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        }
}

fn split(phrases: &str) -> Result<Vec<String>, String> {
    let mut found: Vec<String> = Vec::new();
    for phrase in phrases.split(',').map(str::trim) {
        if phrase.chars().count() > PHRASE_CHARS_MAX {
            return Err(format!(
                "has a phrase of more than {PHRASE_CHARS_MAX} characters: they are separated by commas"
            ));
        }
        if !phrase.is_empty() && !found.iter().any(|other| other == phrase) {
            found.push(phrase.to_owned());
        }
        if found.len() > PHRASES_MAX {
            return Err(format!("has more than {PHRASES_MAX} phrases"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::google::write_key_file;

    fn read(values: &[(&str, &str)]) -> (Option<GoogleConfig>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = write_key_file(folder.path());
        let mut source: BTreeMap<String, String> =
            [(setting::CREDENTIALS.to_owned(), path.display().to_string())].into();
        source.extend(
            values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut settings = Settings::new(&source);
        let config = GoogleConfig::from_settings(&mut settings);
        let mistakes = settings.finish().err().map(|errors| errors.0).unwrap_or_default();
        let mistakes = mistakes
            .into_iter()
            .map(|mistake| format!("{}: {}", mistake.name, mistake.what))
            .collect();
        (config, mistakes)
    }

    #[test]
    fn the_key_file_is_enough() {
        let (config, mistakes) = read(&[]);
        let config = config.unwrap();
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(
            (
                config.project.as_str(),
                config.location.as_str(),
                config.model.as_str(),
                config.language.as_str(),
                config.endpoint.as_str(),
            ),
            (
                "callfold-test",
                "eu",
                "chirp_3",
                "iw-IL",
                "https://eu-speech.googleapis.com"
            )
        );
        assert!(config.phrases.is_empty() && !config.is_loopback());
    }

    #[test]
    fn without_a_key_file_the_engine_is_off_and_its_names_are_known() {
        let source: BTreeMap<String, String> = [("GOOGLE_SPEECH_LANGUAGE".into(), "he-IL".into())].into();
        let mut settings = Settings::new(&source);
        assert_eq!(GoogleConfig::from_settings(&mut settings), None);
        assert_eq!(settings.known().len(), 7);
        settings.finish().unwrap();
    }

    #[test]
    fn settings_are_taken_over() {
        let (config, _) = read(&[
            (setting::PROJECT, "other:project-1"),
            (setting::LOCATION, "global"),
            (setting::MODEL, "long"),
            (setting::LANGUAGE, "auto"),
            (setting::PHRASES, " קולפולד, Acme ,, קולפולד"),
        ]);
        let config = config.unwrap();
        assert_eq!(config.project, "other:project-1");
        assert_eq!(config.endpoint, "https://speech.googleapis.com");
        assert_eq!(config.phrases, ["קולפולד", "Acme"]);
        for endpoint in [
            "https://eu-speech.googleapis.com/",
            "https://speech.eu.rep.googleapis.com",
            "http://127.0.0.1:4000",
            "http://[::1]:4000/",
            "http://localhost:4000",
        ] {
            let (config, mistakes) = read(&[(setting::ENDPOINT, endpoint)]);
            assert_eq!(mistakes, [""; 0], "{endpoint}");
            assert_eq!(config.unwrap().endpoint, endpoint.trim_end_matches('/'));
        }
    }

    #[test]
    fn what_cannot_work_is_refused_all_at_once() {
        let long = "a".repeat(101);
        let (config, mistakes) = read(&[
            (setting::CREDENTIALS, "/nonexistent/key.json"),
            (setting::PROJECT, "a/b"),
            (setting::LOCATION, "global"),
            (setting::LANGUAGE, "he-IL"),
            (setting::ENDPOINT, "https://eu-speech.googleapis.com"),
            (setting::PHRASES, &long),
        ]);
        assert_eq!(config, None);
        assert_eq!(
            mistakes,
            [
                "GOOGLE_APPLICATION_CREDENTIALS: names a file that cannot be read (entity not found)",
                "GOOGLE_SPEECH_PROJECT: is not the id of a project",
                "GOOGLE_SPEECH_LOCATION: must not be `global` with the model `chirp_3`: take `eu` or `us`",
                "GOOGLE_SPEECH_LANGUAGE: is not Google's code for Hebrew: write `iw-IL`",
                "GOOGLE_SPEECH_ENDPOINT: is not the address of GOOGLE_SPEECH_LOCATION `global` \
                 (https://speech.googleapis.com), and not one on this machine",
                "GOOGLE_SPEECH_PHRASES: has a phrase of more than 100 characters: they are separated by commas",
            ]
        );
    }

    #[test]
    fn each_mistake_is_found() {
        let many = (0..1_001).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        for (name, value) in [
            (setting::LOCATION, "EU"),
            (setting::LOCATION, "eu/x"),
            (setting::MODEL, "Chirp 3"),
            (setting::LANGUAGE, "he"),
            (setting::LANGUAGE, "HE-il"),
            (setting::LANGUAGE, "iw-il"),
            (setting::LANGUAGE, "עברית"),
            (setting::ENDPOINT, "eu-speech.googleapis.com"),
            (setting::ENDPOINT, "http://eu-speech.googleapis.com"),
            (setting::ENDPOINT, "https://us-speech.googleapis.com"),
            (setting::ENDPOINT, "https://speech.googleapis.com"),
            (setting::ENDPOINT, "https://eu-speech.googleapis.com.example.com"),
            (setting::ENDPOINT, "https://eu-speech.googleapis.com:8443"),
            (setting::ENDPOINT, "https://eu-speech.googleapis.com/v2"),
            (setting::ENDPOINT, "https://user@eu-speech.googleapis.com"),
            (setting::ENDPOINT, "http://192.168.0.1:4000"),
            (setting::ENDPOINT, "ftp://127.0.0.1"),
            (setting::PHRASES, &many),
        ] {
            let (config, mistakes) = read(&[(name, value)]);
            assert_eq!((config, mistakes.len()), (None, 1), "{name}={value}");
            assert!(mistakes[0].starts_with(name), "{mistakes:?}");
        }
    }

    #[test]
    fn hebrew_has_the_service_s_name_outside_and_ours_inside() {
        for tag in ["he", "he-IL", "iw", "IW-il", "heb"] {
            assert_eq!((google_language(tag), domain_language(tag)), ("iw-IL", "he"));
        }
        assert_eq!(
            (google_language("ru-RU"), domain_language("ru-RU")),
            ("ru-RU", "ru-RU")
        );
    }
}

//! The api's section of the settings.

use callfold_kit::config::Settings;
use callfold_kit::secret::Secret;
use jiff::tz::TimeZone;
use url::Url;

/// The shortest API token that is taken, in characters: shorter ones can be guessed.
pub const TOKEN_CHARS_MIN: usize = 16;

/// The zone when none is set.
pub const TIMEZONE_DEFAULT: &str = "Asia/Jerusalem";

/// What the api needs to know.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// `CALLFOLD_API_TOKEN`. `None`: whoever builds the api makes one and puts it here; without one only sessions are
    /// let in.
    pub token: Option<Secret>,
    /// `PUBLIC_URL`: whether cookies are for https only, and which origin forms may come from besides the `Host` asked.
    pub public_url: Option<Url>,
    /// `CALLFOLD_TIMEZONE`: what "today" means.
    pub timezone: TimeZone,
}

impl ApiConfig {
    /// Reads and checks the section; mistakes are remembered by `settings`.
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let token = settings.secret("CALLFOLD_API_TOKEN");
        if token
            .as_ref()
            .is_some_and(|token| token.expose().chars().count() < TOKEN_CHARS_MIN)
        {
            settings.mistake(
                "CALLFOLD_API_TOKEN",
                format!("is shorter than {TOKEN_CHARS_MIN} characters"),
            );
        }
        let public_url = settings
            .text("PUBLIC_URL")
            .and_then(|text| match Url::parse(text.trim()) {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
                _ => {
                    settings.mistake("PUBLIC_URL", "is not http://… or https://…");
                    None
                }
            });
        let name = settings
            .text("CALLFOLD_TIMEZONE")
            .unwrap_or_else(|| TIMEZONE_DEFAULT.to_owned());
        let timezone = TimeZone::get(name.trim()).unwrap_or_else(|_| {
            settings.mistake(
                "CALLFOLD_TIMEZONE",
                "is not the name of a time zone, such as Asia/Jerusalem",
            );
            TimeZone::UTC
        });
        Self {
            token,
            public_url,
            timezone,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(values: &[(&str, &str)]) -> (ApiConfig, Option<String>) {
        let source: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::new(&source);
        let config = ApiConfig::from_settings(&mut settings);
        (config, settings.finish().err().map(|errors| errors.to_string()))
    }

    #[test]
    fn nothing_has_to_be_set() {
        let (config, mistakes) = read(&[]);
        assert_eq!(mistakes, None);
        assert!(config.token.is_none());
        assert_eq!(config.timezone.iana_name(), Some(TIMEZONE_DEFAULT));
    }

    #[test]
    fn every_mistake_is_told_without_its_value() {
        let (_, mistakes) = read(&[
            ("CALLFOLD_API_TOKEN", "short"),
            ("PUBLIC_URL", "ftp://secret.example"),
            ("CALLFOLD_TIMEZONE", "Mars/Olympus"),
        ]);
        let mistakes = mistakes.unwrap_or_default();
        for name in ["CALLFOLD_API_TOKEN", "PUBLIC_URL", "CALLFOLD_TIMEZONE"] {
            assert!(mistakes.contains(name), "{mistakes}");
        }
        for value in ["short\n", "secret.example", "Olympus"] {
            assert!(!mistakes.contains(value), "{mistakes}");
        }
    }
}

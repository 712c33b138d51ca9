//! The settings of the downloader.

use std::path::PathBuf;
use std::time::Duration;

use callfold_kit::audio::RecordingLimits;
use callfold_kit::config::Settings;
use callfold_kit::stage::StagePolicy;
use callfold_schema::Stage;
use callfold_twilio::{AllowedHosts, AuthToken};

/// Downloads at once.
const SLOTS: usize = 8;

/// The settings of the downloader.
#[derive(Debug, Clone)]
pub struct DownloaderConfig {
    /// Whom to be, where the media is protected.
    pub credentials: Option<Credentials>,
    /// Hosts that media may be fetched from. Each of them is sent the credentials when a recording is announced there;
    /// redirects lead to unlisted public https hosts as well, without credentials.
    pub allowed: AllowedHosts,
    /// What one download may take.
    pub limits: Limits,
    /// Where files are kept while they are checked; `None`: the system's folder for temporary files.
    pub work_dir: Option<PathBuf>,
    /// How the stage runs.
    pub policy: StagePolicy,
}

/// An account and its tokens, the one in use first.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `AC…`
    pub account_sid: String,
    /// At least one; several while rotating.
    pub tokens: Vec<AuthToken>,
}

/// What one download may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file, in bytes.
    pub bytes_max: u64,
    /// Longest recording.
    pub duration_max: Duration,
    /// Longest silence of the other side.
    pub stall: Duration,
    /// Longest download.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let recording = RecordingLimits::default();
        Self {
            bytes_max: recording.bytes_max,
            duration_max: recording.duration_max,
            stall: Duration::from_secs(30),
            total: Duration::from_secs(900),
        }
    }
}

impl Default for DownloaderConfig {
    /// Twilio's host alone, without credentials.
    fn default() -> Self {
        Self {
            credentials: None,
            allowed: AllowedHosts::default(),
            limits: Limits::default(),
            work_dir: None,
            policy: StagePolicy::with_slots(SLOTS),
        }
    }
}

impl DownloaderConfig {
    /// `TWILIO_ACCOUNT_SID`, `TWILIO_AUTH_TOKEN`, `CALLFOLD_RECORDING_HOSTS`, `CALLFOLD_RECORDING_BYTES_MAX`,
    /// `CALLFOLD_RECORDING_SECS_MAX`, `CALLFOLD_RECORDING_FETCH_SECS`, `CALLFOLD_WORK_DIR`, and those of
    /// [`StagePolicy::from_settings`]. Without both an account and a token no credentials are sent.
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let account_sid = settings
            .text("TWILIO_ACCOUNT_SID")
            .map(|sid| sid.trim().to_owned());
        let tokens = settings
            .secret("TWILIO_AUTH_TOKEN")
            .map(|list| AuthToken::parse_list(list.expose()));
        let credentials = match (account_sid, tokens) {
            (Some(account_sid), Some(tokens)) if !tokens.is_empty() => {
                Some(Credentials { account_sid, tokens })
            }
            _ => None,
        };
        if credentials
            .as_ref()
            .is_some_and(|credentials| credentials.account_sid.contains(':'))
        {
            settings.mistake("TWILIO_ACCOUNT_SID", "holds a colon");
        }
        let hosts = settings.text("CALLFOLD_RECORDING_HOSTS").unwrap_or_default();
        let allowed = AllowedHosts::parse(&hosts).unwrap_or_else(|error| {
            settings.mistake("CALLFOLD_RECORDING_HOSTS", error.to_string());
            AllowedHosts::default()
        });
        let defaults = Limits::default();
        let recording = RecordingLimits::from_settings(settings);
        let total = settings.number(
            "CALLFOLD_RECORDING_FETCH_SECS",
            defaults.total.as_secs(),
            1,
            86_400,
            "seconds",
        );
        Self {
            credentials,
            allowed,
            limits: Limits {
                bytes_max: recording.bytes_max,
                duration_max: recording.duration_max,
                total: Duration::from_secs(total),
                ..defaults
            },
            work_dir: settings.text("CALLFOLD_WORK_DIR").map(PathBuf::from),
            policy: StagePolicy::from_settings(settings, Stage::Download, SLOTS),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (DownloaderConfig, String) {
        let source: BTreeMap<String, String> =
            pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let mut settings = Settings::new(&source);
        let config = DownloaderConfig::from_settings(&mut settings);
        (
            config,
            settings
                .finish()
                .err()
                .map_or(String::new(), |errors| errors.to_string()),
        )
    }

    #[test]
    fn credentials_need_an_account_and_a_token() {
        assert!(read(&[("TWILIO_ACCOUNT_SID", "AC1")]).0.credentials.is_none());
        assert!(read(&[("TWILIO_AUTH_TOKEN", "t")]).0.credentials.is_none());
        let (config, mistakes) = read(&[("TWILIO_ACCOUNT_SID", "AC1"), ("TWILIO_AUTH_TOKEN", "new, old")]);
        assert_eq!(mistakes, "");
        assert_eq!(
            config
                .credentials
                .as_ref()
                .map(|credentials| credentials.tokens.len()),
            Some(2)
        );
        assert!(!format!("{config:?}").contains("old"));
    }

    #[test]
    fn mistakes_are_named() {
        let (_, mistakes) = read(&[
            ("CALLFOLD_RECORDING_HOSTS", "a.example, https://b"),
            ("CALLFOLD_RECORDING_BYTES_MAX", "12"),
            ("CALLFOLD_RECORDING_SECS_MAX", "x"),
        ]);
        assert!(
            mistakes.contains("CALLFOLD_RECORDING_HOSTS: entry 2 is not host or host:port"),
            "{mistakes}"
        );
        assert!(mistakes.contains("CALLFOLD_RECORDING_BYTES_MAX"));
        assert!(mistakes.contains("CALLFOLD_RECORDING_SECS_MAX"));
    }
}

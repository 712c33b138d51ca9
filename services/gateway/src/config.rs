//! The gateway's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use callfold_kit::config::Settings;
use callfold_twilio::{AuthToken, PublicUrl, Script, Voice};

/// Names of the settings.
pub mod setting {
    /// `AC…`: the account whose calls are taken.
    pub const ACCOUNT_SID: &str = "TWILIO_ACCOUNT_SID";
    /// Auth token, or several of them, comma separated, while one is being rotated.
    pub const AUTH_TOKEN: &str = "TWILIO_AUTH_TOKEN";
    /// The URL under which Twilio reaches the gateway.
    pub const PUBLIC_URL: &str = "PUBLIC_URL";
    /// Said before the beep.
    pub const GREETING: &str = "CALLFOLD_GREETING";
    /// Said after the message.
    pub const GOODBYE: &str = "CALLFOLD_GOODBYE";
    /// Said when nothing was recorded.
    pub const NOTHING_RECORDED: &str = "CALLFOLD_NOTHING_RECORDED";
    /// Who speaks.
    pub const VOICE: &str = "CALLFOLD_VOICE";
    /// The language that is spoken.
    pub const LANGUAGE: &str = "CALLFOLD_LANGUAGE";
    /// Longest message.
    pub const RECORD_MAX_SECS: &str = "CALLFOLD_RECORD_MAX_SECS";
    /// Silence that ends a message; 0 switches it off.
    pub const RECORD_SILENCE_SECS: &str = "CALLFOLD_RECORD_SILENCE_SECS";
}

/// What the gateway is told.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The account, when it is set.
    pub account_sid: Option<String>,
    /// The tokens signatures are checked with. Empty: unchecked, and then only loopback may be bound.
    pub tokens: Vec<AuthToken>,
    /// The URL Twilio was given; unset, the address that is listened on takes its place.
    pub public_url: Option<PublicUrl>,
    /// What a caller hears.
    pub script: Script,
}

impl Default for GatewayConfig {
    /// No account, no token, the standard greeting.
    fn default() -> Self {
        Self {
            account_sid: None,
            tokens: Vec::new(),
            public_url: None,
            script: Script::default(),
        }
    }
}

impl GatewayConfig {
    /// Reads the section. `listen` is the address that is going to be listened on: what may be left out depends on it.
    pub fn from_settings(settings: &mut Settings<'_>, listen: SocketAddr) -> Self {
        let account_sid = settings
            .text(setting::ACCOUNT_SID)
            .map(|text| text.trim().to_owned());
        if account_sid.as_deref().is_some_and(|sid| !is_account_sid(sid)) {
            settings.mistake(
                setting::ACCOUNT_SID,
                "is not AC followed by 32 hexadecimal digits",
            );
        }

        let secret = settings.secret(setting::AUTH_TOKEN);
        let tokens = secret
            .as_ref()
            .map(|list| AuthToken::parse_list(list.expose()))
            .unwrap_or_default();
        if secret.is_some() && tokens.is_empty() {
            settings.mistake(setting::AUTH_TOKEN, "holds no token");
        } else if tokens.is_empty() && !listen.ip().is_loopback() {
            settings.mistake(
                setting::AUTH_TOKEN,
                "is not set, so anybody could post calls: set it, or listen on a loopback address such as 127.0.0.1",
            );
        }

        let public_url = settings.text(setting::PUBLIC_URL).and_then(|text| {
            PublicUrl::parse(text.trim())
                .map_err(|error| settings.mistake(setting::PUBLIC_URL, error.to_string()))
                .ok()
        });

        Self {
            account_sid,
            tokens,
            public_url,
            script: script(settings),
        }
    }

    /// The URL Twilio was given, or that of the address that is listened on.
    pub(crate) fn public_url_at(&self, local: SocketAddr) -> PublicUrl {
        self.public_url.clone().unwrap_or_else(|| {
            let ip = match local.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                ip => ip,
            };
            let text = format!("http://{}", SocketAddr::new(ip, local.port()));
            PublicUrl::parse(&text).expect("http:// and a socket address make a URL")
        })
    }
}

fn script(settings: &mut Settings<'_>) -> Script {
    let standard = Script::default();
    let language = settings
        .text(setting::LANGUAGE)
        .unwrap_or_else(|| standard.voice.language().to_owned());
    let name = settings
        .text(setting::VOICE)
        .unwrap_or_else(|| standard.voice.name().to_owned());
    let voice = match Voice::new(name.trim(), language.trim()) {
        Ok(voice) => voice,
        Err(error) => {
            let name = match error {
                callfold_twilio::ScriptError::Language => setting::LANGUAGE,
                _ => setting::VOICE,
            };
            settings.mistake(name, error.to_string());
            Voice::default()
        }
    };
    let script = Script {
        greeting: spoken(settings, setting::GREETING, standard.greeting),
        goodbye: spoken(settings, setting::GOODBYE, standard.goodbye),
        nothing_recorded: spoken(settings, setting::NOTHING_RECORDED, standard.nothing_recorded),
        voice,
        max_length_secs: settings.parse(
            setting::RECORD_MAX_SECS,
            standard.max_length_secs,
            "a number of seconds",
        ),
        silence_secs: settings.parse(
            setting::RECORD_SILENCE_SECS,
            standard.silence_secs,
            "a number of seconds",
        ),
    };
    if let Err(error) = script.check_lengths() {
        let name = match error {
            callfold_twilio::ScriptError::Timeout => setting::RECORD_SILENCE_SECS,
            _ => setting::RECORD_MAX_SECS,
        };
        settings.mistake(name, error.to_string());
    }
    script
}

fn spoken(settings: &mut Settings<'_>, name: &str, standard: String) -> String {
    let text = settings.text(name).unwrap_or(standard);
    if let Err(error) = Script::check_text(&text) {
        settings.mistake(name, error.to_string());
    }
    text
}

fn is_account_sid(sid: &str) -> bool {
    sid.strip_prefix("AC")
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use std::collections::BTreeMap;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:5000";

    fn read(values: &[(&str, &str)], listen: &str) -> (GatewayConfig, Vec<String>) {
        let source: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::new(&source);
        let config = GatewayConfig::from_settings(&mut settings, listen.parse().unwrap());
        let wrong = settings.finish().map_or_else(|errors| errors.0, |()| Vec::new());
        (config, wrong.into_iter().map(|mistake| mistake.name).collect())
    }

    #[test]
    fn nothing_set_is_enough_on_loopback_only() {
        let (config, wrong) = read(&[], LOOPBACK);
        assert!(wrong.is_empty() && config.tokens.is_empty());
        assert_eq!(
            config.public_url_at(LOOPBACK.parse().unwrap()).as_str(),
            "http://127.0.0.1:5000"
        );
        assert_eq!(
            config.public_url_at("[::]:80".parse().unwrap()).as_str(),
            "http://[::1]:80"
        );
        assert_eq!(read(&[], "0.0.0.0:5000").1, [setting::AUTH_TOKEN]);
        assert_eq!(
            read(&[(setting::AUTH_TOKEN, " , ")], LOOPBACK).1,
            [setting::AUTH_TOKEN]
        );
        assert!(read(&[(setting::AUTH_TOKEN, "a")], "0.0.0.0:5000").1.is_empty());
    }

    #[test]
    fn all_mistakes_are_told_together_and_without_values() {
        let (_, wrong) = read(
            &[
                (setting::ACCOUNT_SID, "AC1"),
                (setting::PUBLIC_URL, "calls.example.com"),
                (setting::VOICE, "Polly.Carmit"),
                (setting::GREETING, "\u{1}"),
                (setting::RECORD_MAX_SECS, "1"),
            ],
            "0.0.0.0:5000",
        );
        assert_eq!(
            wrong,
            [
                setting::ACCOUNT_SID,
                setting::AUTH_TOKEN,
                setting::PUBLIC_URL,
                setting::VOICE,
                setting::GREETING,
                setting::RECORD_MAX_SECS
            ],
        );
    }

    #[test]
    fn what_is_set_is_taken() {
        let (config, wrong) = read(
            &[
                (setting::ACCOUNT_SID, "AC00000000000000000000000000000001"),
                (setting::AUTH_TOKEN, "one,two"),
                (setting::PUBLIC_URL, "https://calls.example.com/"),
                (setting::GREETING, "Hello"),
                (setting::VOICE, "woman"),
                (setting::LANGUAGE, "en-GB"),
                (setting::RECORD_MAX_SECS, "60"),
                (setting::RECORD_SILENCE_SECS, "0"),
            ],
            LOOPBACK,
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(config.tokens.len(), 2);
        assert_eq!(config.public_url.unwrap().as_str(), "https://calls.example.com");
        assert_eq!(
            (config.script.greeting.as_str(), config.script.voice.name()),
            ("Hello", "woman")
        );
        assert_eq!(
            (config.script.max_length_secs, config.script.silence_secs),
            (60, 0)
        );
    }
}

//! The notifier's section of the settings.

use callfold_kit::Secret;
use callfold_kit::config::Settings;
use lettre::message::Mailbox;
use url::Url;

/// Hosts of the push services of browsers; a leading dot means any name below it. A person's browser says where its push
/// service is, so without a list anybody who may sign in could make this process send requests to any host.
pub const PUSH_HOSTS: [&str; 4] = [
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    ".push.apple.com",
    ".notify.windows.com",
];

/// How e-mail is sent.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// `SMTP_URL`: `smtps://user:password@host` or `smtp://host:port?tls=required`. A secret because of the password in it.
    pub url: Secret,
    /// `SMTP_FROM`: `callfold <leads@example.com>` or only the address.
    pub from: Mailbox,
}

/// What the notifier needs to know.
#[derive(Debug, Clone, Default)]
pub struct NotifierConfig {
    /// E-mail; `None`: nobody is told by e-mail.
    pub mail: Option<MailConfig>,
    /// `PUBLIC_URL`: where cards are; without it messages have no link.
    pub public_url: Option<Url>,
    /// `CALLFOLD_PUSH_HOSTS`: `host[:port]` entries that push messages may go to besides [`PUSH_HOSTS`].
    pub push_hosts: Vec<String>,
}

impl NotifierConfig {
    /// Reads and checks the section; mistakes are remembered by `settings`.
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let url = settings.secret("SMTP_URL");
        let from = settings.text("SMTP_FROM");
        let mail = match (url, from) {
            (None, None) => None,
            (Some(_), None) => {
                settings.mistake("SMTP_FROM", "is not set, and SMTP_URL is: who are mails from?");
                None
            }
            (None, Some(_)) => {
                settings.mistake("SMTP_URL", "is not set, and SMTP_FROM is: where are mails sent?");
                None
            }
            (Some(url), Some(from)) => {
                if !is_smtp(url.expose()) {
                    settings.mistake(
                        "SMTP_URL",
                        "is neither smtps://user:password@host nor smtp://host:port?tls=required",
                    );
                }
                match from.trim().parse::<Mailbox>() {
                    Ok(from) => Some(MailConfig { url, from }),
                    Err(_) => {
                        settings.mistake("SMTP_FROM", "is no address, such as callfold <leads@example.com>");
                        None
                    }
                }
            }
        };
        // Checked by the api's section, which has the same name.
        let public_url = settings
            .text("PUBLIC_URL")
            .and_then(|text| Url::parse(text.trim()).ok())
            .filter(Url::has_host);
        let push_hosts = settings.text("CALLFOLD_PUSH_HOSTS").unwrap_or_default();
        let push_hosts = push_hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect();
        Self {
            mail,
            public_url,
            push_hosts,
        }
    }
}

fn is_smtp(url: &str) -> bool {
    Url::parse(url.trim()).is_ok_and(|url| matches!(url.scheme(), "smtp" | "smtps") && url.has_host())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(values: &[(&str, &str)]) -> (NotifierConfig, Option<String>) {
        let source: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::new(&source);
        let config = NotifierConfig::from_settings(&mut settings);
        (config, settings.finish().err().map(|errors| errors.to_string()))
    }

    #[test]
    fn nothing_has_to_be_set_and_half_of_it_is_a_mistake() {
        let (config, mistakes) = read(&[]);
        assert!(config.mail.is_none() && mistakes.is_none());
        let (_, mistakes) = read(&[("SMTP_URL", "smtps://u:geheim@mail.example.com")]);
        assert!(mistakes.is_some_and(|text| text.contains("SMTP_FROM") && !text.contains("geheim")));
        let (_, mistakes) = read(&[("SMTP_FROM", "a@b.example")]);
        assert!(mistakes.is_some_and(|text| text.contains("SMTP_URL")));
        let (_, mistakes) = read(&[("SMTP_URL", "http://geheim"), ("SMTP_FROM", "nobody")]);
        let mistakes = mistakes.unwrap_or_default();
        assert!(
            mistakes.contains("SMTP_URL") && mistakes.contains("SMTP_FROM") && !mistakes.contains("geheim")
        );
    }

    #[test]
    fn a_whole_section_is_read() {
        let (config, mistakes) = read(&[
            ("SMTP_URL", "smtp://127.0.0.1:2525"),
            ("SMTP_FROM", "callfold <leads@example.com>"),
            ("PUBLIC_URL", "https://leads.example.com"),
            ("CALLFOLD_PUSH_HOSTS", "push.example.com, 127.0.0.1:8080"),
        ]);
        assert_eq!(mistakes, None);
        assert_eq!(config.push_hosts, ["push.example.com", "127.0.0.1:8080"]);
        assert!(
            config
                .mail
                .is_some_and(|mail| mail.from.email.to_string() == "leads@example.com")
        );
    }
}

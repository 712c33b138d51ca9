//! Settings are read whole, through a trait, before a port or a stream is opened; all mistakes are told in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::secret::Secret;

/// Exit code of bad usage or configuration (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// Where settings come from.
pub trait Source: Send + Sync {
    /// The value of a setting; `None` when it is unset.
    fn get(&self, name: &str) -> Option<String>;
}

/// The process environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment;

impl Source for Environment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Source for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }
}

/// Settings given first (flags of the command line), then those of another source.
pub struct Overlay<'a> {
    /// What goes first.
    pub first: BTreeMap<String, String>,
    /// What is asked for the rest.
    pub rest: &'a dyn Source,
}

impl Source for Overlay<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.first.get(name).cloned().or_else(|| self.rest.get(name))
    }
}

/// One mistake: the setting and what is wrong with it. Never the value: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting's name.
    pub name: String,
    /// What is wrong and what to do.
    pub what: String,
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistake(s) in the settings", self.0.len())?;
        for mistake in &self.0 {
            write!(f, "\n  {}: {}", mistake.name, mistake.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads settings and remembers what is wrong with them.
pub struct Settings<'a> {
    source: &'a dyn Source,
    mistakes: Vec<Mistake>,
    known: BTreeSet<String>,
}

impl<'a> Settings<'a> {
    /// Reads from `source`.
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            mistakes: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// A text; an empty one counts as unset.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.known.insert(name.to_owned());
        self.source.get(name).filter(|text| !text.trim().is_empty())
    }

    /// A secret; an empty one counts as unset.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.text(name).map(|text| Secret::new(text.trim()))
    }

    /// A key that goes into a header as it is. One that cannot stand there is a mistake, and `None`.
    pub fn api_key(&mut self, name: &str) -> Option<Secret> {
        let key = self.secret(name)?;
        if key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(key);
        }
        self.mistake(name, "holds a character that cannot stand in a header");
        None
    }

    /// The address under which a server's paths begin, without a slash at its end. One that is none is a mistake, and
    /// `None`; `example` is what the mistake shows.
    pub fn base_url(&mut self, name: &str, default: Option<&str>, example: &str) -> Option<String> {
        let text = self.text(name).or_else(|| default.map(str::to_owned))?;
        let text = text.trim();
        let is_url = Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if is_url {
            return Some(text.trim_end_matches('/').to_owned());
        }
        self.mistake(name, format!("is not an address such as {example}"));
        None
    }

    /// A value of another type, or `default`; `expects` says what would be right (`seconds, 1 to 3600`).
    pub fn parse<T: FromStr>(&mut self, name: &str, default: T, expects: &str) -> T {
        self.parse_optional(name, expects).unwrap_or(default)
    }

    /// A value of another type, where it is set.
    pub fn parse_optional<T: FromStr>(&mut self, name: &str, expects: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.trim().parse() {
            Ok(value) => Some(value),
            Err(_) => {
                self.mistake(name, format!("is not {expects}"));
                None
            }
        }
    }

    /// A number within bounds, or `default`.
    pub fn number(&mut self, name: &str, default: u64, min: u64, max: u64, unit: &str) -> u64 {
        let expects = format!("a number of {unit}, {min} to {max}");
        let value = self.parse(name, default, &expects);
        if (min..=max).contains(&value) {
            return value;
        }
        self.mistake(name, format!("is not {expects}"));
        default
    }

    /// Yes or no: `1`, `true`, `yes`, `on` and their opposites.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        match self
            .text(name)
            .map(|text| text.trim().to_ascii_lowercase())
            .as_deref()
        {
            None => default,
            Some("1" | "true" | "yes" | "on") => true,
            Some("0" | "false" | "no" | "off") => false,
            Some(_) => {
                self.mistake(name, "is neither true nor false");
                default
            }
        }
    }

    /// Remembers a mistake that a section found itself. Sections share settings: the same mistake is told once.
    pub fn mistake(&mut self, name: &str, what: impl Into<String>) {
        let mistake = Mistake {
            name: name.to_owned(),
            what: what.into(),
        };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Every setting that was asked for so far.
    pub fn known(&self) -> &BTreeSet<String> {
        &self.known
    }

    /// All mistakes, or nothing.
    pub fn finish(self) -> Result<(), ConfigErrors> {
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors(self.mistakes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_told_at_once_and_without_values() {
        let source: BTreeMap<String, String> = [("A", "x1secret"), ("B", "99"), ("C", "maybe"), ("D", " ")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        let mut settings = Settings::new(&source);
        assert_eq!(settings.parse("A", 7_u32, "a number"), 7);
        assert_eq!(settings.number("B", 5, 1, 10, "seconds"), 5);
        assert!(settings.flag("C", true));
        assert_eq!(settings.text("D"), None);
        let text = settings.finish().expect_err("three mistakes").to_string();
        assert_eq!(
            text,
            "3 mistake(s) in the settings\n  A: is not a number\n  B: is not a number of seconds, 1 to 10\n  \
             C: is neither true nor false"
        );
    }
    #[test]
    fn keys_and_addresses_are_checked_and_a_mistake_is_told_once() {
        let source: BTreeMap<String, String> = [
            ("KEY", " sk-1 "),
            ("NO_KEY", "sk\n1"),
            ("URL", " http://localhost:8000/v1/ "),
            ("NO_URL", "localhost:8000"),
            ("QUERY", "https://a.example/v1?x=1"),
        ]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
        let mut settings = Settings::new(&source);
        let example = "https://b.example/v1";
        assert_eq!(settings.api_key("KEY"), Some(Secret::new("sk-1")));
        assert_eq!(settings.api_key("UNSET"), None);
        assert_eq!(
            settings.base_url("URL", None, example).as_deref(),
            Some("http://localhost:8000/v1")
        );
        assert_eq!(settings.base_url("UNSET", None, example), None);
        assert_eq!(
            settings.base_url("UNSET", Some(example), example).as_deref(),
            Some(example)
        );
        for _ in 0..2 {
            assert_eq!(settings.api_key("NO_KEY"), None);
            assert_eq!(settings.base_url("NO_URL", Some(example), example), None);
        }
        assert_eq!(settings.base_url("QUERY", None, example), None);
        let text = settings.finish().expect_err("three mistakes").to_string();
        assert_eq!(
            text,
            "3 mistake(s) in the settings\n  NO_KEY: holds a character that cannot stand in a header\n  \
             NO_URL: is not an address such as https://b.example/v1\n  \
             QUERY: is not an address such as https://b.example/v1"
        );
    }
}

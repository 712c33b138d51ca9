//! The URL under which Twilio reaches the gateway.

use std::fmt;

use url::{Host, Url};

/// The base URL Twilio was given, kept as the text it was given in: signatures cover that text, not a normalised form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    loopback: bool,
}

/// Why a text is not a usable public URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// It does not parse as a URL with a host.
    #[error("is not an absolute URL such as https://calls.example.com")]
    NotAbsolute,
    /// Twilio calls only http and https.
    #[error("must begin with https:// (or http://)")]
    Scheme,
    /// The webhook paths are appended, which these would break.
    #[error("must have neither a query nor a fragment")]
    QueryOrFragment,
    /// Twilio refuses such hosts for callbacks (error 13256).
    #[error("has an underscore in its host name, which Twilio refuses")]
    Underscore,
    /// Blanks or control characters.
    #[error("contains blanks or control characters")]
    Blanks,
}

impl PublicUrl {
    /// Checks and takes a base URL; slashes at its end are dropped, a path prefix is kept.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(PublicUrlError::Blanks);
        }
        let url = Url::parse(text).map_err(|_| PublicUrlError::NotAbsolute)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(PublicUrlError::Scheme);
        }
        if text.contains(['?', '#']) {
            return Err(PublicUrlError::QueryOrFragment);
        }
        let host = url.host().ok_or(PublicUrlError::NotAbsolute)?;
        if matches!(&host, Host::Domain(name) if name.contains('_')) {
            return Err(PublicUrlError::Underscore);
        }
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            loopback: host_is_loopback(&host),
        })
    }

    /// The URL of a request as Twilio wrote it: this base followed by the raw path and query of the request line.
    #[must_use]
    pub fn join(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.text)
    }

    /// Whether the URL points at this machine, where Twilio cannot reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The text as given, without slashes at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a host names this machine. Names other than `localhost` are not looked up.
pub(crate) fn host_is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    #[test]
    fn the_text_is_kept_and_joined() {
        let base = PublicUrl::parse("https://Calls.Example.com/phones/").unwrap();
        assert_eq!(
            base.join("/webhook/twilio/voice?a=%7e"),
            "https://Calls.Example.com/phones/webhook/twilio/voice?a=%7e"
        );
        assert!(!base.is_loopback());
        for loopback in [
            "http://127.0.0.1:5000",
            "http://localhost:5000",
            "http://[::1]:5000",
        ] {
            assert!(PublicUrl::parse(loopback).unwrap().is_loopback(), "{loopback}");
        }
    }

    #[test]
    fn unusable_urls_are_refused() {
        for (text, error) in [
            ("calls.example.com", PublicUrlError::NotAbsolute),
            ("wss://calls.example.com", PublicUrlError::Scheme),
            ("https://calls.example.com/?a=1", PublicUrlError::QueryOrFragment),
            ("https://calls.example.com/#rc=1", PublicUrlError::QueryOrFragment),
            ("https://my_calls.example.com", PublicUrlError::Underscore),
            ("https://calls.example.com ", PublicUrlError::Blanks),
        ] {
            assert_eq!(PublicUrl::parse(text), Err(error), "{text}");
        }
    }
}

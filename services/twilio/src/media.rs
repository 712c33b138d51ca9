//! From where a recording is fetched: a pure decision, because the address comes from a webhook and may be forged.
//!
//! The origin is that of the callback's `RecordingUrl`, and only when the operator allows it; the path is our own whenever
//! account and recording are known. What is checked is the parsed URL that is also fetched, never its text, so that no
//! second reading of the text can lead elsewhere.

use url::{Host, Url};

use crate::public_url::host_is_loopback;

/// The host of Twilio's API, always allowed.
pub const TWILIO_API_HOST: &str = "api.twilio.com";

/// Longest host named in an error, in characters.
const HOST_SHOWN_MAX: usize = 120;

/// What a callback says about a recording.
#[derive(Clone, Copy)]
pub struct MediaQuery<'a> {
    /// `RecordingUrl` of the callback.
    pub recording_url: &'a str,
    /// `AccountSid`, used when it is `AC` and 32 hex digits.
    pub account_sid: Option<&'a str>,
    /// `RecordingSid`, used when it begins with `RE`: others were derived from the URL and are unknown to Twilio.
    pub recording_sid: Option<&'a str>,
    /// Channels of the recording, when stated.
    pub channels: Option<u8>,
}

/// Hosts that recordings may be fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts(Vec<AllowedHost>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct AllowedHost {
    host: Host<String>,
    /// `None`: the standard port of the scheme.
    port: Option<u16>,
}

/// Why a recording is not fetched. The address itself is never shown, its host is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// No absolute URL with a host, or one with user info.
    #[error("the recording's address is not a plain absolute URL")]
    Malformed,
    /// Neither https nor http to an allowed loopback address.
    #[error("the recording's address is not https")]
    NotHttps,
    /// The operator has not allowed this host.
    #[error("recordings may not be fetched from {host}")]
    HostRefused {
        /// `host[:port]`, shortened when very long.
        host: String,
    },
}

/// An entry that is not `host` or `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {0} is not host or host:port")]
pub struct AllowedHostError(
    /// Which entry, from 1.
    pub usize,
);

impl Default for AllowedHosts {
    /// Twilio's API alone.
    fn default() -> Self {
        Self(vec![AllowedHost {
            host: Host::Domain(TWILIO_API_HOST.to_owned()),
            port: None,
        }])
    }
}

impl AllowedHosts {
    /// Twilio's API and the entries of a comma separated list of `host` or `host:port`. An entry without a port allows
    /// the standard port only.
    ///
    /// # Errors
    /// Says which entry cannot be read.
    pub fn parse(list: &str) -> Result<Self, AllowedHostError> {
        let mut allowed = Self::default();
        for (index, entry) in list
            .split(',')
            .map(str::trim)
            .enumerate()
            .filter(|(_, entry)| !entry.is_empty())
        {
            let error = AllowedHostError(index + 1);
            if entry.contains(['/', '\\', '@', '?', '#', '%']) || entry.chars().any(char::is_whitespace) {
                return Err(error);
            }
            let url = Url::parse(&format!("https://{entry}")).map_err(|_| error)?;
            let host = url.host().ok_or(error)?.to_owned();
            allowed.0.push(AllowedHost {
                host,
                port: url.port(),
            });
        }
        Ok(allowed)
    }

    /// Whether a request may be sent to this URL: also to be asked of every redirect.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self, url: &Url) -> Result<(), MediaError> {
        let host = url.host().ok_or(MediaError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(MediaError::Malformed);
        }
        match url.scheme() {
            "https" => {}
            "http" if host_is_loopback(&host) => {}
            _ => return Err(MediaError::NotHttps),
        }
        let listed = |allowed: &AllowedHost| {
            let same_port = match allowed.port {
                Some(port) => url.port_or_known_default() == Some(port),
                None => url.port().is_none(),
            };
            same_port && allowed.host == host.to_owned()
        };
        if self.0.iter().any(listed) {
            return Ok(());
        }
        let mut shown: String = host.to_string().chars().take(HOST_SHOWN_MAX).collect();
        if let Some(port) = url.port() {
            shown.push_str(&format!(":{port}"));
        }
        Err(MediaError::HostRefused { host: shown })
    }
}

/// The URL to fetch a recording from.
///
/// # Errors
/// The callback's address is malformed, not https, or of a host that is not allowed.
pub fn media_url(query: &MediaQuery<'_>, allowed: &AllowedHosts) -> Result<Url, MediaError> {
    let mut url = Url::parse(query.recording_url).map_err(|_| MediaError::Malformed)?;
    allowed.check(&url)?;
    url.set_fragment(None);
    let account = query.account_sid.filter(|sid| is_account_sid(sid));
    let recording = query.recording_sid.filter(|sid| is_recording_sid(sid));
    if let (Some(account), Some(recording)) = (account, recording) {
        url.set_path(&format!(
            "/2010-04-01/Accounts/{account}/Recordings/{recording}.wav"
        ));
        url.set_query(None);
    } else if !has_audio_extension(url.path()) {
        let path = format!("{}.wav", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    if query.channels == Some(2) {
        url.query_pairs_mut().append_pair("RequestedChannels", "2");
    }
    Ok(url)
}

fn is_account_sid(sid: &str) -> bool {
    sid.strip_prefix("AC")
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_recording_sid(sid: &str) -> bool {
    sid.starts_with("RE") && sid.len() <= 64 && sid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn has_audio_extension(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.ends_with(".wav") || path.ends_with(".mp3")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    const AC: &str = "AC00000000000000000000000000000001";
    const RE: &str = "RE00000000000000000000000000000001";

    fn query(recording_url: &str) -> MediaQuery<'_> {
        MediaQuery {
            recording_url,
            account_sid: None,
            recording_sid: None,
            channels: None,
        }
    }

    fn fetched(query: &MediaQuery<'_>, hosts: &str) -> Result<String, MediaError> {
        media_url(query, &AllowedHosts::parse(hosts).unwrap()).map(String::from)
    }

    #[test]
    fn known_account_and_recording_make_the_path() {
        let url = "https://api.twilio.com/anything?x=1#y";
        let known = MediaQuery {
            account_sid: Some(AC),
            recording_sid: Some(RE),
            ..query(url)
        };
        let path = format!("https://api.twilio.com/2010-04-01/Accounts/{AC}/Recordings/{RE}.wav");
        assert_eq!(fetched(&known, "").unwrap(), path);
        let stereo = MediaQuery {
            channels: Some(2),
            ..known
        };
        assert_eq!(
            fetched(&stereo, "").unwrap(),
            format!("{path}?RequestedChannels=2")
        );
        assert_eq!(
            fetched(
                &MediaQuery {
                    channels: Some(1),
                    ..known
                },
                ""
            )
            .unwrap(),
            path
        );
    }

    #[test]
    fn unknown_sids_leave_the_callback_s_path() {
        let plain = query("https://api.twilio.com/recordings/abc123");
        for (account_sid, recording_sid) in [
            (None, None),
            (Some(AC), None),
            (None, Some(RE)),
            (Some("AC123"), Some(RE)),
            (Some("AC0000000000000000000000000000000g"), Some(RE)),
            (Some(AC), Some("abc123")),
            (Some(AC), Some("RE/../../x")),
            (Some("AC../../../../../../../../../../.."), Some(RE)),
        ] {
            let query = MediaQuery {
                account_sid,
                recording_sid,
                ..plain
            };
            assert_eq!(
                fetched(&query, "").unwrap(),
                "https://api.twilio.com/recordings/abc123.wav"
            );
        }
        for (url, expected) in [
            ("https://api.twilio.com/a.mp3", "https://api.twilio.com/a.mp3"),
            ("https://api.twilio.com/a.WAV", "https://api.twilio.com/a.WAV"),
            ("https://api.twilio.com/a?b=1", "https://api.twilio.com/a.wav?b=1"),
            ("https://api.twilio.com/a/#f", "https://api.twilio.com/a.wav"),
        ] {
            assert_eq!(fetched(&query(url), "").unwrap(), expected);
        }
        let stereo = MediaQuery {
            channels: Some(2),
            ..query("https://api.twilio.com/a?b=1")
        };
        assert_eq!(
            fetched(&stereo, "").unwrap(),
            "https://api.twilio.com/a.wav?b=1&RequestedChannels=2"
        );
    }

    #[test]
    fn other_hosts_are_refused_however_they_are_written() {
        let refused = |host: &str| {
            Err(MediaError::HostRefused {
                host: host.to_owned(),
            })
        };
        for (url, expected) in [
            ("https://evil.example/x", refused("evil.example")),
            (
                "https://api.twilio.com.evil.example/x",
                refused("api.twilio.com.evil.example"),
            ),
            ("https://xapi.twilio.com/x", refused("xapi.twilio.com")),
            ("https://api.twilio.com./x", refused("api.twilio.com.")),
            ("https://api.twilio.com:8443/x", refused("api.twilio.com:8443")),
            ("https://evil.example\\@api.twilio.com/x", refused("evil.example")),
            ("https://[::ffff:7f00:1]/x", refused("[::ffff:7f00:1]")),
            ("https://2130706433/x", refused("127.0.0.1")),
            ("https://0x7f.1/x", refused("127.0.0.1")),
            ("https://169.254.169.254/x", refused("169.254.169.254")),
            (
                "https://api.twilio.com@evil.example/x",
                Err(MediaError::Malformed),
            ),
            ("https://user:pass@api.twilio.com/x", Err(MediaError::Malformed)),
            ("http://api.twilio.com/x", Err(MediaError::NotHttps)),
            ("ftp://api.twilio.com/x", Err(MediaError::NotHttps)),
            ("file:///etc/passwd", Err(MediaError::Malformed)),
            ("/relative", Err(MediaError::Malformed)),
            ("", Err(MediaError::Malformed)),
        ] {
            assert_eq!(fetched(&query(url), ""), expected, "{url}");
        }
        for allowed in [
            "https://API.Twilio.COM/x",
            "https://api.twilio.com:443/x",
            "https://api.twilio.com\\x",
            "https://api%2etwilio.com/x",
        ] {
            assert_eq!(
                fetched(&query(allowed), "").unwrap(),
                "https://api.twilio.com/x.wav",
                "{allowed}"
            );
        }
    }

    #[test]
    fn listed_hosts_are_allowed_and_loopback_may_be_plain() {
        let hosts = "media.example.com, store.example.com:8443,127.0.0.1:5001,localhost:5001,[::1]:5001";
        for url in [
            "https://media.example.com/x.wav",
            "https://store.example.com:8443/x.wav",
            "http://127.0.0.1:5001/x.wav",
            "https://127.0.0.1:5001/x.wav",
            "http://localhost:5001/x.wav",
            "http://[::1]:5001/x.wav",
            "https://api.twilio.com/x.wav",
        ] {
            assert_eq!(fetched(&query(url), hosts).unwrap(), url);
        }
        for url in ["http://media.example.com/x", "http://store.example.com:8443/x"] {
            assert_eq!(fetched(&query(url), hosts), Err(MediaError::NotHttps), "{url}");
        }
        for url in [
            "https://media.example.com:8443/x",
            "https://store.example.com/x",
            "http://127.0.0.1:5002/x",
            "http://127.0.0.2:5001/x",
        ] {
            assert!(
                matches!(fetched(&query(url), hosts), Err(MediaError::HostRefused { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn entries_that_are_no_hosts_are_refused() {
        for (list, entry) in [
            ("https://a.example", 1),
            ("a.example,b/c", 2),
            ("a b", 1),
            ("a:b", 1),
            ("u@a", 1),
        ] {
            assert_eq!(AllowedHosts::parse(list), Err(AllowedHostError(entry)), "{list}");
        }
        assert_eq!(AllowedHosts::parse(" , "), Ok(AllowedHosts::default()));
    }
}

//! One recording from a media host into a file: bounded in size and time, never whole in memory.
//!
//! Redirects are followed by hand, because each of them decides anew where credentials go and whether the address is
//! one at all: a media host may point to its store, but not to a machine of ours. Credentials go to the origin that was
//! asked first, which is any host the operator listed; a redirect to another public https host is followed without them,
//! listed or not.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use callfold_kit::SharedClock;
use callfold_kit::http::answer::{self, AnswerError};
use callfold_kit::stage::{Failure, Outcome};
use callfold_schema::event::FailureClass;
use callfold_twilio::AllowedHosts;
use reqwest::{Response, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use url::{Host, Url};

use crate::config::{Credentials, Limits};

/// Most redirects that are followed.
const REDIRECTS_MAX: u32 = 3;

/// Fetches media.
pub struct Fetcher {
    /// Must not follow redirects.
    http: reqwest::Client,
    allowed: AllowedHosts,
    credentials: Option<Credentials>,
    limits: Limits,
    clock: SharedClock,
}

/// A file that was fetched whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its size in bytes.
    pub bytes: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Why there is no file. No variant holds an address; a host's name may be told.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not there, or not there yet: 404.
    #[error("the media host does not have the recording (HTTP 404)")]
    Missing,
    /// Any other status that is no success.
    #[error("HTTP {status} from the media host")]
    Status {
        /// The status.
        status: StatusCode,
        /// How long the host asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// More redirects than are followed.
    #[error("the media host redirected more than {REDIRECTS_MAX} times")]
    TooManyRedirects,
    /// A redirect without an address.
    #[error("the media host redirected to nowhere")]
    RedirectMalformed,
    /// A redirect to a place that nothing is fetched from.
    #[error("the media host redirected to {host}, which is not allowed: {why}")]
    RedirectRefused {
        /// The host's name.
        host: String,
        /// The rule.
        why: &'static str,
    },
    /// A text instead of media.
    #[error("the media host answered with {kind} instead of audio")]
    NotMedia {
        /// What it is.
        kind: &'static str,
    },
    /// Larger than allowed.
    #[error("the recording is larger than {bytes_max} bytes (CALLFOLD_RECORDING_BYTES_MAX)")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// Nothing at all.
    #[error("the recording is empty")]
    Empty,
    /// Fewer or more bytes than were announced.
    #[error("the recording has {bytes} bytes, {announced} were announced")]
    LengthDiffers {
        /// What came.
        bytes: u64,
        /// What was announced.
        announced: u64,
    },
    /// No connection.
    #[error("no connection to {host}")]
    Connect {
        /// The host's name.
        host: String,
    },
    /// The connection broke.
    #[error("the connection to {host} broke")]
    Broken {
        /// The host's name.
        host: String,
    },
    /// The host fell silent.
    #[error("{host} sent nothing for {} ms", .stall.as_millis())]
    Stalled {
        /// The host's name.
        host: String,
        /// For how long it was waited.
        stall: Duration,
    },
    /// The whole took too long.
    #[error("the download took longer than {} ms", .total.as_millis())]
    TooSlow {
        /// The bound.
        total: Duration,
    },
    /// The file could not be written.
    #[error("could not write a temporary file")]
    File(#[source] std::io::Error),
}

impl FetchError {
    /// The class for the event.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Missing => FailureClass::NotFound,
            Self::Status { status, .. } => answer::class_of(status.as_u16()),
            Self::RedirectRefused { .. } | Self::TooLarge { .. } => FailureClass::NotAllowed,
            Self::TooManyRedirects | Self::RedirectMalformed | Self::NotMedia { .. } | Self::Empty => {
                FailureClass::Invalid
            }
            Self::LengthDiffers { .. } | Self::Connect { .. } | Self::Broken { .. } => FailureClass::Network,
            Self::Stalled { .. } | Self::TooSlow { .. } => FailureClass::Timeout,
            Self::File(_) => FailureClass::Storage,
        }
    }

    /// What becomes of the attempt.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let after = match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        let class = self.class();
        let failure = Failure {
            class,
            text: callfold_kit::chain(self),
            after,
        };
        match class {
            FailureClass::NotFound | FailureClass::NotAllowed | FailureClass::Refused => {
                Outcome::Reject(failure)
            }
            _ => Outcome::Retry(failure),
        }
    }
}

impl Fetcher {
    /// `http` must not follow redirects.
    #[must_use]
    pub fn new(
        http: reqwest::Client,
        allowed: AllowedHosts,
        credentials: Option<Credentials>,
        limits: Limits,
        clock: SharedClock,
    ) -> Self {
        Self {
            http,
            allowed,
            credentials,
            limits,
            clock,
        }
    }

    /// Fetches `url`, an address that was found to be allowed, into an empty file.
    ///
    /// # Errors
    /// See [`FetchError`]; the file then holds anything.
    pub async fn fetch(&self, url: &Url, file: &mut File) -> Result<Fetched, FetchError> {
        let whole = async {
            let (response, host) = self.open(url).await?;
            self.store(response, &host, file).await
        };
        let total = self.limits.total;
        timeout(total, whole)
            .await
            .unwrap_or(Err(FetchError::TooSlow { total }))
    }

    /// Asks until there is an answer with a body, or none.
    async fn open(&self, url: &Url) -> Result<(Response, String), FetchError> {
        let mut start = url.clone();
        let mut current = url.clone();
        let mut token = 0;
        let mut redirects = 0;
        loop {
            let with_credentials = current.origin() == url.origin();
            let host = host_of(&current);
            let mut request = self.http.get(current.clone());
            if let Some(credentials) = self.credentials.as_ref().filter(|_| with_credentials)
                && let Some(token) = credentials.tokens.get(token)
            {
                request = request.basic_auth(&credentials.account_sid, Some(token.expose()));
            }
            let stall = self.limits.stall;
            let response = match timeout(stall, request.send()).await {
                Err(_) => return Err(FetchError::Stalled { host, stall }),
                Ok(Err(error)) => return Err(from_reqwest(&error, host, stall)),
                Ok(Ok(response)) => response,
            };
            let status = response.status();
            match status.as_u16() {
                200 => return Ok((response, host)),
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    if redirects > REDIRECTS_MAX {
                        return Err(FetchError::TooManyRedirects);
                    }
                    current = self.redirected(&current, &response)?;
                }
                // A token that is being rotated out or in: the next one may be the right one.
                401 if with_credentials && token + 1 < self.tokens() => {
                    token += 1;
                    redirects = 0;
                    current = start.clone();
                }
                // There is no form with two channels; the mix is always there.
                400 if with_credentials && asks_for_two_channels(&start) => {
                    start = with_one_channel(&start);
                    redirects = 0;
                    current = start.clone();
                }
                404 => return Err(FetchError::Missing),
                _ => {
                    return Err(FetchError::Status {
                        status,
                        retry_after: answer::retry_after(response.headers(), self.clock.now()),
                    });
                }
            }
        }
    }

    fn tokens(&self) -> usize {
        self.credentials
            .as_ref()
            .map_or(0, |credentials| credentials.tokens.len())
    }

    /// Where a redirect leads, when something may be fetched from there.
    fn redirected(&self, from: &Url, response: &Response) -> Result<Url, FetchError> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        let mut to = location
            .and_then(|to| from.join(to).ok())
            .ok_or(FetchError::RedirectMalformed)?;
        to.set_fragment(None);
        match refusal(&to, &self.allowed) {
            None => Ok(to),
            Some(why) => Err(FetchError::RedirectRefused {
                host: host_of(&to),
                why,
            }),
        }
    }

    /// Writes the body into the file.
    async fn store(
        &self,
        mut response: Response,
        host: &str,
        file: &mut File,
    ) -> Result<Fetched, FetchError> {
        if let Some(kind) = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| text_kind(kind.as_bytes()))
        {
            return Err(FetchError::NotMedia { kind });
        }
        let bytes_max = self.limits.bytes_max;
        let announced = response.content_length();
        if announced.is_some_and(|bytes| bytes > bytes_max) {
            return Err(FetchError::TooLarge { bytes_max });
        }
        let stall = self.limits.stall;
        let mut digest = Sha256::new();
        let mut bytes = 0_u64;
        loop {
            let chunk = match timeout(stall, response.chunk()).await {
                Err(_) => {
                    return Err(FetchError::Stalled {
                        host: host.to_owned(),
                        stall,
                    });
                }
                Ok(Err(error)) => return Err(from_reqwest(&error, host.to_owned(), stall)),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) => chunk,
            };
            bytes += chunk.len() as u64;
            if bytes > bytes_max {
                return Err(FetchError::TooLarge { bytes_max });
            }
            digest.update(&chunk);
            file.write_all(&chunk).await.map_err(FetchError::File)?;
        }
        file.flush().await.map_err(FetchError::File)?;
        if let Some(announced) = announced.filter(|announced| *announced != bytes) {
            return Err(FetchError::LengthDiffers { bytes, announced });
        }
        if bytes == 0 {
            return Err(FetchError::Empty);
        }
        Ok(Fetched {
            bytes,
            sha256: data_encoding::HEXLOWER.encode(&digest.finalize()),
        })
    }
}

/// When a 404 was met so long after the recording was announced: the delay before it is asked again (0.5, 1, 2, 4, 8,
/// 16 s, then every 16 s), or `None` when it has been waited long enough.
#[must_use]
pub fn wait_for_media(age: Duration, patience: Duration) -> Option<Duration> {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(16);
    (age < patience).then(|| (age + FIRST).min(LONGEST))
}

fn from_reqwest(error: &reqwest::Error, host: String, stall: Duration) -> FetchError {
    match AnswerError::from(error) {
        AnswerError::Connect => FetchError::Connect { host },
        AnswerError::Timeout => FetchError::Stalled { host, stall },
        _ => FetchError::Broken { host },
    }
}

fn host_of(url: &Url) -> String {
    /// Longest host that is shown, in characters.
    const SHOWN_MAX: usize = 120;
    let host: String = url
        .host_str()
        .unwrap_or("no host")
        .chars()
        .take(SHOWN_MAX)
        .collect();
    url.port().map_or(host.clone(), |port| format!("{host}:{port}"))
}

fn asks_for_two_channels(url: &Url) -> bool {
    url.query_pairs()
        .any(|(name, value)| name == "RequestedChannels" && value == "2")
}

fn with_one_channel(url: &Url) -> Url {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != "RequestedChannels")
        .map(|(n, v)| (n.into(), v.into()))
        .collect();
    let mut url = url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .append_pair("RequestedChannels", "1");
    url
}

/// What a content type says, when it says that this is no media. An absent or wrong one is no matter: the file itself
/// is looked at.
fn text_kind(content_type: &[u8]) -> Option<&'static str> {
    let kind = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind {
        "text/html" | "application/xhtml+xml" => Some("a web page"),
        "text/xml" | "application/xml" => Some("an XML document"),
        "application/json" => Some("a JSON document"),
        _ if kind.ends_with("+xml") => Some("an XML document"),
        _ if kind.ends_with("+json") => Some("a JSON document"),
        _ if kind.starts_with("text/") => Some("a text"),
        _ => None,
    }
}

/// Why a redirect to this address is not followed; `None`: it is.
///
/// An allowed host is always one. Another one has to be https and must not be an address of a private network.
fn refusal(url: &Url, allowed: &AllowedHosts) -> Option<&'static str> {
    if allowed.check(url).is_ok() {
        return None;
    }
    if url.scheme() != "https" {
        return Some("it is not https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("the address holds a user");
    }
    match url.host() {
        None => Some("the address has no host"),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let local = name == "localhost" || !name.contains('.');
            let inner = [".localhost", ".local", ".internal", ".home.arpa"]
                .iter()
                .any(|end| name.ends_with(end));
            (local || inner).then_some("it is a name of a private network")
        }
        Some(Host::Ipv4(address)) => is_private_v4(address).then_some("it is a private address"),
        Some(Host::Ipv6(address)) => is_private_v6(address).then_some("it is a private address"),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Shared address space of carriers; benchmarks; protocol assignments.
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || address.octets()[..3] == [192, 0, 0]
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    // Addresses that stand for an IPv4 one: mapped, compatible (with `::` and `::1`), NAT64, 6to4.
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let embedded = match (s0, s1, s2, s3, s4, s5) {
        (0, 0, 0, 0, 0, 0 | 0xffff) => Some(v4(s6, s7)),
        (0x64, 0xff9b, ..) => Some(v4(s6, s7)),
        (0x2002, ..) => Some(v4(s1, s2)),
        _ => None,
    };
    embedded.map_or_else(
        || {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || s0 == 0xfec0
                || (s0, s1) == (0x2001, 0xdb8)
        },
        is_private_v4,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    #[test]
    fn missing_media_is_asked_for_again_at_growing_intervals() {
        let patience = Duration::from_secs(120);
        let mut age = Duration::ZERO;
        let mut delays = Vec::new();
        while let Some(delay) = wait_for_media(age, patience) {
            delays.push(delay.as_millis());
            age += delay;
        }
        assert_eq!(
            delays[..8],
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000]
        );
        assert!(age >= patience && age < patience + Duration::from_secs(16));
    }

    #[test]
    fn redirects_lead_to_public_https_or_listed_places() {
        let allowed = AllowedHosts::parse("127.0.0.1:5001, 10.0.0.7").unwrap();
        let refused = |url: &str| refusal(&Url::parse(url).unwrap(), &allowed).is_some();
        for url in [
            "https://api.twilio.com/x",
            "https://bucket.s3.amazonaws.com/x?sig=1",
            "https://93.184.216.34/x",
            "https://[2606:4700::1111]/x",
            "http://127.0.0.1:5001/x",
            "https://10.0.0.7/x",
        ] {
            assert!(!refused(url), "{url}");
        }
        for url in [
            "http://api.twilio.com/x",
            "http://127.0.0.1:5002/x",
            "https://user@example.com/x",
            "https://localhost/x",
            "https://localhost./x",
            "https://db.internal/x",
            "https://nats/x",
            "https://127.0.0.1/x",
            "https://0x7f.1/x",
            "https://10.0.0.8/x",
            "https://172.16.0.1/x",
            "https://192.168.1.1/x",
            "https://169.254.169.254/x",
            "https://100.64.0.1/x",
            "https://0.0.0.0/x",
            "https://[::1]/x",
            "https://[::]/x",
            "https://[fe80::1]/x",
            "https://[fd00::1]/x",
            "https://[::ffff:10.0.0.8]/x",
            "https://[64:ff9b::a00:8]/x",
            "https://[2002:a00:8::]/x",
            "ftp://example.com/x",
            "data:audio/wav,x",
        ] {
            assert!(refused(url), "{url}");
        }
    }

    #[test]
    fn two_channels_become_one() {
        let url = Url::parse("https://a.example/x.wav?a=b&RequestedChannels=2").unwrap();
        assert!(asks_for_two_channels(&url));
        let one = with_one_channel(&url);
        assert_eq!(one.as_str(), "https://a.example/x.wav?a=b&RequestedChannels=1");
        assert!(!asks_for_two_channels(&one));
    }

    #[test]
    fn texts_are_no_media() {
        for kind in [
            "text/html; charset=utf-8",
            "TEXT/XML",
            "application/json",
            "application/problem+json",
            "text/plain",
        ] {
            assert!(text_kind(kind.as_bytes()).is_some(), "{kind}");
        }
        for kind in [
            "audio/x-wav",
            "audio/mpeg",
            "application/octet-stream",
            "",
            "binary/octet-stream",
        ] {
            assert!(text_kind(kind.as_bytes()).is_none(), "{kind}");
        }
    }
}

//! The few calls to Twilio's REST API that callfold makes.
//!
//! Answers are bounded in size, pages in number, and every request in time. No error text carries a URL or a body.

mod lists;

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::token::AuthToken;

pub use lists::{CallEntry, Date, EntryStatus, Page, RecordingEntry};

/// Longest time one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most pages of one list.
const PAGES_MAX: usize = 50;
/// Entries per page.
const PAGE_SIZE: &str = "100";

/// A client for one account.
#[derive(Debug, Clone)]
pub struct RestClient {
    http: reqwest::Client,
    base: Url,
    account_sid: String,
    tokens: Vec<AuthToken>,
}

/// Why a call to the API gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No token was given.
    #[error("no auth token is set")]
    NoToken,
    /// The base URL cannot carry a path, or a page points to another host.
    #[error("the API's address is not usable")]
    Address,
    /// Account SID or every auth token is wrong (401).
    #[error("Twilio does not accept the account SID with this auth token")]
    Unauthorized,
    /// Too many requests (429).
    #[error("Twilio asks to wait")]
    TooManyRequests {
        /// How long, when it says so.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error("Twilio answered with status {0}")]
    Status(u16),
    /// No answer within the time, or the connection failed.
    #[error("Twilio could not be asked")]
    Send(#[source] reqwest::Error),
    /// The answer is larger than is ever needed.
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    /// More pages than are ever needed.
    #[error("the list has more than {PAGES_MAX} pages")]
    TooManyPages,
    /// The answer is not what the documentation says.
    #[error("the answer could not be read")]
    Decode(#[source] serde_json::Error),
}

/// How a phone number of the account is set up.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct IncomingPhoneNumber {
    /// The number, E.164.
    #[serde(default)]
    pub phone_number: String,
    /// Asked when a call comes in.
    #[serde(default)]
    pub voice_url: Option<String>,
    /// `GET` or `POST`.
    #[serde(default)]
    pub voice_method: Option<String>,
    /// Asked when the voice URL fails.
    #[serde(default)]
    pub voice_fallback_url: Option<String>,
    /// Told when a call is over.
    #[serde(default)]
    pub status_callback: Option<String>,
    /// `GET` or `POST`.
    #[serde(default)]
    pub status_callback_method: Option<String>,
}

/// Without the number: `Debug` ends up in logs.
impl std::fmt::Debug for IncomingPhoneNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingPhoneNumber")
            .field("phone_number", &"…")
            .field("voice_method", &self.voice_method)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct NumbersPage {
    #[serde(default)]
    incoming_phone_numbers: Vec<IncomingPhoneNumber>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

impl RestError {
    /// Whether asking again later could help: a limit, a bad moment of Twilio's, a bad line.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            RestError::TooManyRequests { .. } | RestError::Send(_) => true,
            RestError::Status(status) => *status >= 500 || *status == 408,
            // Half an answer does not read either.
            RestError::Decode(_) => true,
            RestError::NoToken
            | RestError::Address
            | RestError::Unauthorized
            | RestError::TooLarge
            | RestError::TooManyPages => false,
        }
    }
}

impl RestClient {
    /// The address of the real API.
    pub const DEFAULT_BASE: &str = "https://api.twilio.com";

    /// A client for `account_sid` at `base`. Several tokens are tried in order while one is being rotated.
    #[must_use]
    pub fn new(http: reqwest::Client, base: Url, account_sid: String, tokens: Vec<AuthToken>) -> Self {
        Self {
            http,
            base,
            account_sid,
            tokens,
        }
    }

    /// The account's phone numbers with their webhooks, over all pages.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn incoming_phone_numbers(&self) -> Result<Vec<IncomingPhoneNumber>, RestError> {
        let mut next = Some(self.account_url("IncomingPhoneNumbers.json")?);
        let mut numbers = Vec::new();
        for _ in 0..PAGES_MAX {
            let Some(url) = next.take() else {
                return Ok(numbers);
            };
            let body = self.ask(Method::GET, url).await?;
            let page: NumbersPage = serde_json::from_slice(&body).map_err(RestError::Decode)?;
            numbers.extend(page.incoming_phone_numbers);
            next = page
                .next_page_uri
                .filter(|uri| !uri.is_empty())
                .map(|uri| self.page_url(&uri))
                .transpose()?;
        }
        if next.is_some() {
            Err(RestError::TooManyPages)
        } else {
            Ok(numbers)
        }
    }

    fn account_url(&self, resource: &str) -> Result<Url, RestError> {
        let mut url = self.resource_url(&self.account_sid, &[resource])?;
        url.query_pairs_mut().append_pair("PageSize", PAGE_SIZE);
        Ok(url)
    }

    fn resource_url(&self, account_sid: &str, resource: &[&str]) -> Result<Url, RestError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| RestError::Address)?
            .pop_if_empty()
            .extend(["2010-04-01", "Accounts", account_sid])
            .extend(resource);
        Ok(url)
    }

    /// The next page of a list: the credentials must not follow it to another host.
    fn page_url(&self, uri: &str) -> Result<Url, RestError> {
        let url = self.base.join(uri).map_err(|_| RestError::Address)?;
        if url.origin() == self.base.origin() {
            Ok(url)
        } else {
            Err(RestError::Address)
        }
    }

    async fn ask(&self, method: Method, url: Url) -> Result<Vec<u8>, RestError> {
        let mut last = RestError::NoToken;
        for token in &self.tokens {
            match self.ask_with(method.clone(), url.clone(), token).await {
                Err(RestError::Unauthorized) => last = RestError::Unauthorized,
                other => return other,
            }
        }
        Err(last)
    }

    async fn ask_with(&self, method: Method, url: Url, token: &AuthToken) -> Result<Vec<u8>, RestError> {
        let sent = |error: reqwest::Error| RestError::Send(error.without_url());
        let mut response = self
            .http
            .request(method, url)
            .basic_auth(&self.account_sid, Some(token.expose()))
            .timeout(REQUEST_TIMEOUT)
            .send()
            .await
            .map_err(sent)?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED => return Err(RestError::Unauthorized),
            StatusCode::TOO_MANY_REQUESTS => {
                let seconds = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                return Err(RestError::TooManyRequests {
                    retry_after: seconds.map(Duration::from_secs),
                });
            }
            status => return Err(RestError::Status(status.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(sent)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(RestError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[cfg(test)]
#[path = "rest/tests.rs"]
mod tests;

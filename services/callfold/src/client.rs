//! The query API as its users see it: what the tools ask a running callfold.

use std::time::Duration;

use callfold_kit::Secret;
use callfold_kit::lifecycle::BoxError;
use futures::StreamExt;
use serde_json::Value;
use url::Url;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the API did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer.
    #[error("callfold does not answer at {address}: is it running?")]
    NoAnswer {
        /// Where it was looked for.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that says no.
    #[error("callfold answered {status}{}", detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Refused {
        /// The status.
        status: u16,
        /// Its `detail`.
        detail: Option<String>,
    },
    /// An answer that is not JSON.
    #[error("callfold's answer does not read")]
    NotJson(#[source] reqwest::Error),
}

/// A client of the API.
#[derive(Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Url,
    token: Secret,
}

/// A lead that changed.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct LeadChange {
    /// The call.
    pub call_sid: String,
    /// Its status.
    pub status: String,
    /// The position that changed it.
    pub position: u64,
}

impl LeadChange {
    /// Whether no further change is expected.
    pub fn is_final(&self) -> bool {
        is_final(&self.status)
    }
}

/// Whether a status is an end.
pub fn is_final(status: &str) -> bool {
    matches!(status, "processed" | "no_message" | "failed" | "erased")
}

impl ApiClient {
    /// A client for the system at `base`.
    pub fn new(http: reqwest::Client, base: Url, token: Secret) -> Self {
        Self { http, base, token }
    }

    fn url(&self, path: &str) -> Result<Url, BoxError> {
        Ok(self.base.join(path)?)
    }

    fn no_answer(&self, source: reqwest::Error) -> ClientError {
        ClientError::NoAnswer {
            address: self
                .base
                .host_str()
                .map(|host| format!("{host}:{}", self.base.port_or_known_default().unwrap_or(0)))
                .unwrap_or_default(),
            source: source.without_url(),
        }
    }

    /// GET as JSON; `None` for 404.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, BoxError> {
        let request = self
            .http
            .get(self.url(path)?)
            .bearer_auth(self.token.expose())
            .timeout(REQUEST_TIMEOUT);
        let answer = request.send().await.map_err(|error| self.no_answer(error))?;
        match answer.status().as_u16() {
            200..300 => Ok(Some(
                answer
                    .json()
                    .await
                    .map_err(|error| ClientError::NotJson(error.without_url()))?,
            )),
            404 => Ok(None),
            status => {
                let body: Option<Value> = answer.json().await.ok();
                let detail = body.and_then(|body| body.get("detail")?.as_str().map(str::to_owned));
                Err(ClientError::Refused { status, detail }.into())
            }
        }
    }

    /// A lead.
    pub async fn lead(&self, call_sid: &str) -> Result<Option<Value>, BoxError> {
        self.get(&format!("/api/v1/leads/{call_sid}")).await
    }

    /// The story of a lead.
    pub async fn story(&self, call_sid: &str) -> Result<Option<Value>, BoxError> {
        self.get(&format!("/api/v1/leads/{call_sid}/events")).await
    }

    /// Follows changes from `after` on (`None`: from now on); takes up again behind the last one when the connection
    /// breaks. Ends with an error when the system refuses.
    pub async fn follow(
        &self,
        after: Option<u64>,
        mut each: impl FnMut(LeadChange) -> bool,
    ) -> Result<(), BoxError> {
        let mut last = after;
        let mut failures = 0;
        loop {
            let mut request = self
                .http
                .get(self.url("/api/v1/events")?)
                .bearer_auth(self.token.expose());
            if let Some(last) = last {
                request = request.header("last-event-id", last.to_string());
            }
            let answer = match request.send().await {
                Ok(answer) if answer.status().is_success() => answer,
                Ok(answer) => {
                    return Err(ClientError::Refused {
                        status: answer.status().as_u16(),
                        detail: None,
                    }
                    .into());
                }
                Err(error) if failures >= 20 => return Err(self.no_answer(error).into()),
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    continue;
                }
            };
            failures = 0;
            let mut bytes = answer.bytes_stream();
            let mut buffer = Vec::new();
            while let Some(Ok(chunk)) = bytes.next().await {
                buffer.extend_from_slice(&chunk);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let Some(data) = std::str::from_utf8(&line)
                        .ok()
                        .and_then(|line| line.strip_prefix("data:"))
                    else {
                        continue;
                    };
                    let Ok(change) = serde_json::from_str::<LeadChange>(data.trim()) else {
                        continue;
                    };
                    last = Some(change.position);
                    if !each(change) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

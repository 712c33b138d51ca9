//! The account's calls and recordings, a day and a page at a time, and the deletion of a recording.
//!
//! Twilio's filters know days only, in GMT, and its lists begin with the newest entry. A page that is asked for late has
//! other entries than one asked for at once: whoever reads lists meets entries twice, and late ones not at all until the
//! next reading.

use jiff::fmt::rfc2822;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use url::Url;

use super::{RestClient, RestError};

/// A day of the calendar, as Twilio counts days: in GMT.
pub use jiff::civil::Date;

/// Entries of a page of calls or recordings: the most that Twilio gives.
const ENTRIES_PER_PAGE: &str = "1000";

/// How far a call or a recording is, as Twilio writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct EntryStatus(pub String);

/// A call of the account. Every field is read leniently; what is missing is empty.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct CallEntry {
    /// `CA…`
    pub sid: String,
    /// `AC…`
    #[serde(default, deserialize_with = "text")]
    pub account_sid: String,
    /// The caller.
    #[serde(default, deserialize_with = "text")]
    pub from: String,
    /// Who was called.
    #[serde(default, deserialize_with = "text")]
    pub to: String,
    /// `inbound`, `outbound-api`, …
    #[serde(default, deserialize_with = "text")]
    pub direction: String,
    /// `ringing`, `in-progress`, `completed`, …
    #[serde(default)]
    pub status: EntryStatus,
    /// When it began, in milliseconds since the epoch.
    #[serde(default, rename = "start_time", deserialize_with = "time")]
    pub started_ms: Option<i64>,
    /// When it ended, in milliseconds since the epoch.
    #[serde(default, rename = "end_time", deserialize_with = "time")]
    pub ended_ms: Option<i64>,
    /// How long it took, in seconds.
    #[serde(default, rename = "duration", deserialize_with = "number")]
    pub duration_s: Option<u32>,
    /// The call that this one is a leg of.
    #[serde(default)]
    pub parent_call_sid: Option<String>,
    /// From which number it was forwarded.
    #[serde(default)]
    pub forwarded_from: Option<String>,
    /// The name that was looked up for the caller.
    #[serde(default)]
    pub caller_name: Option<String>,
}

impl CallEntry {
    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        crate::CallStatus::parse(&self.status.0).is_terminal()
    }
}

/// A recording of the account.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct RecordingEntry {
    /// `RE…`
    pub sid: String,
    /// `AC…`
    #[serde(default, deserialize_with = "text")]
    pub account_sid: String,
    /// The call it is of.
    #[serde(default, deserialize_with = "text")]
    pub call_sid: String,
    /// `in-progress`, `paused`, `stopped`, `processing`, `completed`, `absent`, `failed`, `deleted`.
    #[serde(default)]
    pub status: EntryStatus,
    /// When it began, in milliseconds since the epoch.
    #[serde(default, rename = "start_time", deserialize_with = "time")]
    pub started_ms: Option<i64>,
    /// Its length, in seconds.
    #[serde(default, rename = "duration", deserialize_with = "number")]
    pub duration_s: Option<u32>,
    /// 1 or 2.
    #[serde(default, deserialize_with = "number")]
    pub channels: Option<u32>,
    /// `RecordVerb`, `DialVerb`, …
    #[serde(default)]
    pub source: Option<String>,
    /// Twilio's number of what went wrong.
    #[serde(default, deserialize_with = "number")]
    pub error_code: Option<u32>,
}

// Numbers and addresses are nobody's business in a log.
impl std::fmt::Debug for CallEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallEntry")
            .field("sid", &self.sid)
            .field("direction", &self.direction)
            .field("status", &self.status.0)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RecordingEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingEntry")
            .field("sid", &self.sid)
            .field("call_sid", &self.call_sid)
            .field("status", &self.status.0)
            .finish_non_exhaustive()
    }
}

/// `null` reads as an empty text.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

/// RFC 2822; anything else counts as not said.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text
        .and_then(|text| rfc2822::parse(&text).ok())
        .map(|time| time.timestamp().as_millisecond()))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

/// A number, or one in quotes. Twilio writes -1 for a length that is not known yet: not said.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    Ok(match Option::<NumberOrText>::deserialize(from)? {
        Some(NumberOrText::Number(number)) => u32::try_from(number).ok(),
        Some(NumberOrText::Text(text)) => text.trim().parse().ok(),
        None => None,
    })
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What it holds, the newest first.
    pub entries: Vec<T>,
    next: Option<Url>,
}

/// What Twilio's lists are made of.
pub trait Entry: DeserializeOwned {
    /// The field of a page that holds the entries.
    const FIELD: &'static str;
}

impl Entry for CallEntry {
    const FIELD: &'static str = "calls";
}

impl Entry for RecordingEntry {
    const FIELD: &'static str = "recordings";
}

impl RestClient {
    /// The first page of the calls that began on `day`.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn calls_of_day(&self, day: Date) -> Result<Page<CallEntry>, RestError> {
        self.of_day("Calls.json", "StartTime", day).await
    }

    /// The first page of the recordings that were made on `day`, without those that were deleted.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn recordings_of_day(&self, day: Date) -> Result<Page<RecordingEntry>, RestError> {
        self.of_day("Recordings.json", "DateCreated", day).await
    }

    async fn of_day<T: Entry>(&self, resource: &str, field: &str, day: Date) -> Result<Page<T>, RestError> {
        let mut url = self.resource_url(&self.account_sid, &[resource])?;
        // Both bounds are midnights: on or after the one, on or before the other.
        let end = day.tomorrow().map_err(|_| RestError::Address)?;
        url.query_pairs_mut()
            .append_pair(&format!("{field}>"), &day.to_string())
            .append_pair(&format!("{field}<"), &end.to_string())
            .append_pair("PageSize", ENTRIES_PER_PAGE);
        self.page(url).await
    }

    /// The page behind `page`; `None` behind the last one.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn page_behind<T: Entry>(&self, page: &Page<T>) -> Result<Option<Page<T>>, RestError> {
        match &page.next {
            Some(url) => self.page(url.clone()).await.map(Some),
            None => Ok(None),
        }
    }

    async fn page<T: Entry>(&self, url: Url) -> Result<Page<T>, RestError> {
        let body = self.ask(Method::GET, url).await?;
        let mut page: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&body).map_err(RestError::Decode)?;
        let entries = page.remove(T::FIELD).unwrap_or_default();
        let next = match page.get("next_page_uri").and_then(|uri| uri.as_str()) {
            Some(uri) if !uri.is_empty() => Some(self.page_url(uri)?),
            _ => None,
        };
        Ok(Page {
            entries: serde_json::from_value(entries).map_err(RestError::Decode)?,
            next,
        })
    }

    /// One call; `None` when the account has none of this name.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn call(&self, call_sid: &str) -> Result<Option<CallEntry>, RestError> {
        let url = self.resource_url(&self.account_sid, &["Calls", &format!("{call_sid}.json")])?;
        match self.ask(Method::GET, url).await {
            Ok(body) => serde_json::from_slice(&body).map(Some).map_err(RestError::Decode),
            Err(RestError::Status(404)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a recording with its media; `false` when there was none any more. `account_sid`: whose it is, where that
    /// is known and another account than the client's.
    ///
    /// # Errors
    /// See [`RestError`]. A recording that is still being made is refused.
    pub async fn delete_recording(
        &self,
        account_sid: Option<&str>,
        recording_sid: &str,
    ) -> Result<bool, RestError> {
        let account = account_sid.unwrap_or(&self.account_sid);
        let url = self.resource_url(account, &["Recordings", &format!("{recording_sid}.json")])?;
        match self.ask(Method::DELETE, url).await {
            Ok(_) => Ok(true),
            Err(RestError::Status(404)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

//! A double of Twilio's REST API: lists of calls and recordings with their quirks. A router; who tests serves it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use data_encoding::BASE64;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::rfc2822;
use serde_json::{Value, json};

/// What happens to the next request instead of an answer.
#[derive(Debug, Clone)]
pub enum Quirk {
    /// 429 with `Retry-After: 0`, so that a test does not wait.
    TooManyRequests,
    /// 500.
    ServerError,
    /// 200 with half of a JSON text.
    HalfAnswer,
    /// The answer takes so long.
    Slow(Duration),
}

/// A call as Twilio keeps it.
#[derive(Debug, Clone)]
pub struct Call {
    /// `CA…`
    pub sid: String,
    /// The caller.
    pub from: String,
    /// Who was called.
    pub to: String,
    /// `inbound`, …
    pub direction: String,
    /// `completed`, …
    pub status: String,
    /// When it began, in milliseconds since the epoch.
    pub started_ms: i64,
    /// How long it took, in seconds.
    pub duration_s: u32,
}

/// A recording as Twilio keeps it.
#[derive(Debug, Clone)]
pub struct Recording {
    /// `RE…`
    pub sid: String,
    /// The call.
    pub call_sid: String,
    /// `completed`, `processing`, …
    pub status: String,
    /// When it began, in milliseconds since the epoch.
    pub started_ms: i64,
    /// Its length, in seconds.
    pub duration_s: u32,
}

#[derive(Default)]
struct Kept {
    calls: Vec<Call>,
    recordings: Vec<Recording>,
    /// Number → voice URL.
    numbers: BTreeMap<String, String>,
    quirks: VecDeque<Quirk>,
    asked: Vec<String>,
}

/// The double. Clones share one account.
#[derive(Clone)]
pub struct RestDouble {
    account_sid: String,
    authorization: String,
    /// Entries per page, whatever is asked for.
    page_size: usize,
    kept: Arc<Mutex<Kept>>,
}

impl RestDouble {
    /// An account without calls.
    #[must_use]
    pub fn new(account_sid: &str, token: &str, page_size: usize) -> Self {
        let pair = BASE64.encode(format!("{account_sid}:{token}").as_bytes());
        Self {
            account_sid: account_sid.to_owned(),
            authorization: format!("Basic {pair}"),
            page_size,
            kept: Arc::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number of the account whose calls go to `voice_url`.
    pub fn number(&self, number: &str, voice_url: &str) {
        self.kept()
            .numbers
            .insert(number.to_owned(), voice_url.to_owned());
    }

    /// A call appears in the list, or is another one from now on.
    pub fn call(&self, call: Call) {
        let mut kept = self.kept();
        kept.calls.retain(|known| known.sid != call.sid);
        kept.calls.push(call);
    }

    /// A recording appears in the list, or is another one from now on.
    pub fn recording(&self, recording: Recording) {
        let mut kept = self.kept();
        kept.recordings.retain(|known| known.sid != recording.sid);
        kept.recordings.push(recording);
    }

    /// What happens to the next requests, each once.
    pub fn quirks(&self, quirks: impl IntoIterator<Item = Quirk>) {
        self.kept().quirks.extend(quirks);
    }

    /// The recordings that are there, by name.
    #[must_use]
    pub fn recording_sids(&self) -> Vec<String> {
        self.kept().recordings.iter().map(|one| one.sid.clone()).collect()
    }

    /// What was asked so far: method and path.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.kept().asked.clone()
    }

    /// The API, to be served.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/2010-04-01/Accounts/{account}/{list}", get(list))
            .route(
                "/2010-04-01/Accounts/{account}/{list}/{one}",
                get(one).delete(delete),
            )
            .with_state(self.clone())
    }

    /// What stands in the way of an answer.
    async fn hindrance(&self, asked: String, headers: &HeaderMap, account: &str) -> Option<Response> {
        let quirk = {
            let mut kept = self.kept();
            kept.asked.push(asked);
            kept.quirks.pop_front()
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if given != Some(&self.authorization) || account != self.account_sid {
            return Some(StatusCode::UNAUTHORIZED.into_response());
        }
        match quirk? {
            Quirk::TooManyRequests => {
                Some((StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")]).into_response())
            }
            Quirk::ServerError => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            Quirk::HalfAnswer => Some("{\"calls\": [{\"sid\":".into_response()),
            Quirk::Slow(duration) => {
                tokio::time::sleep(duration).await;
                None
            }
        }
    }
}

fn date(ms: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(ms).ok()?;
    rfc2822::to_string(&time.to_zoned(jiff::tz::TimeZone::UTC)).ok()
}

/// Whether a moment is between the midnights that a filter names.
fn is_within(ms: i64, query: &BTreeMap<String, String>, field: &str) -> bool {
    let midnight = |name: String| {
        let day: Date = query.get(&name)?.parse().ok()?;
        Some(
            day.to_zoned(jiff::tz::TimeZone::UTC)
                .ok()?
                .timestamp()
                .as_millisecond(),
        )
    };
    midnight(format!("{field}>")).is_none_or(|from| ms >= from)
        && midnight(format!("{field}<")).is_none_or(|to| ms <= to)
}

fn call_json(account: &str, call: &Call) -> Value {
    let over = call.status == "completed";
    let ended = call.started_ms + i64::from(call.duration_s) * 1_000;
    json!({
        "sid": call.sid, "account_sid": account, "from": call.from, "to": call.to, "direction": call.direction,
        "status": call.status, "start_time": date(call.started_ms),
        "end_time": if over { date(ended) } else { None },
        "duration": over.then(|| call.duration_s.to_string()),
        "parent_call_sid": null, "caller_name": null, "forwarded_from": null, "price": null,
    })
}

fn recording_json(account: &str, recording: &Recording) -> Value {
    let done = recording.status == "completed";
    json!({
        "sid": recording.sid, "account_sid": account, "call_sid": recording.call_sid, "status": recording.status,
        "start_time": date(recording.started_ms), "channels": 1, "source": "RecordVerb", "error_code": null,
        "duration": if done { recording.duration_s.to_string() } else { "-1".to_owned() },
    })
}

async fn list(
    State(double): State<RestDouble>,
    Path((account, list)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(other) = double.hindrance(format!("GET {list}"), &headers, &account).await {
        return other;
    }
    let kept = double.kept();
    let (field, mut found): (&str, Vec<(i64, Value)>) = match list.as_str() {
        "Calls.json" => {
            let within = kept
                .calls
                .iter()
                .filter(|one| is_within(one.started_ms, &query, "StartTime"));
            let found = within
                .map(|one| (one.started_ms, call_json(&account, one)))
                .collect();
            ("calls", found)
        }
        "Recordings.json" => {
            let within = kept
                .recordings
                .iter()
                .filter(|one| one.status != "deleted" && is_within(one.started_ms, &query, "DateCreated"));
            let found = within
                .map(|one| (one.started_ms, recording_json(&account, one)))
                .collect();
            ("recordings", found)
        }
        "IncomingPhoneNumbers.json" => {
            let numbers = kept.numbers.iter();
            let found = numbers
                .map(|(number, url)| (0, json!({ "phone_number": number, "voice_url": url })))
                .collect();
            ("incoming_phone_numbers", found)
        }
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // The newest first.
    found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let page: usize = query.get("Page").and_then(|page| page.parse().ok()).unwrap_or(0);
    let more = found.len() > (page + 1) * double.page_size;
    let entries: Vec<Value> = found
        .into_iter()
        .skip(page * double.page_size)
        .take(double.page_size)
        .map(|(_, entry)| entry)
        .collect();
    let mut next = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(name, _)| *name != "Page") {
        next.append_pair(name, value);
    }
    next.append_pair("Page", &(page + 1).to_string());
    let uri = format!("/2010-04-01/Accounts/{account}/{list}?{}", next.finish());
    Json(json!({ field: entries, "page": page, "next_page_uri": more.then_some(uri) })).into_response()
}

async fn one(
    State(double): State<RestDouble>,
    Path((account, list, one)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(other) = double
        .hindrance(format!("GET {list}/{one}"), &headers, &account)
        .await
    {
        return other;
    }
    let kept = double.kept();
    let name = one.trim_end_matches(".json");
    match kept.calls.iter().find(|call| call.sid == name) {
        Some(call) if list == "Calls" => Json(call_json(&account, call)).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn delete(
    State(double): State<RestDouble>,
    Path((account, list, one)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(other) = double
        .hindrance(format!("DELETE {list}/{one}"), &headers, &account)
        .await
    {
        return other;
    }
    let name = one.trim_end_matches(".json");
    let mut kept = double.kept();
    let before = kept.recordings.len();
    kept.recordings.retain(|recording| recording.sid != name);
    if list == "Recordings" && kept.recordings.len() < before {
        StatusCode::NO_CONTENT.into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

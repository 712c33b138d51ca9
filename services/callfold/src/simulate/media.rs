//! Twilio's media host: recordings behind Basic auth, 404 with code 20404 until they are there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use callfold_kit::lifecycle::Lifecycle;
use callfold_twilio::AuthToken;
use data_encoding::BASE64;
use tokio::net::TcpListener;

/// The account that is played.
#[derive(Debug, Clone)]
pub struct Account {
    /// `AC…`
    pub sid: String,
    /// Signs webhooks and guards media; without one neither happens.
    pub token: Option<AuthToken>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            sid: format!("AC{:032x}", 1),
            token: None,
        }
    }
}

/// A recording as the media host keeps it.
#[derive(Clone)]
struct Kept {
    bytes: Bytes,
    content_type: &'static str,
    /// How many requests are answered "not found" before it is there.
    not_yet: Arc<AtomicU32>,
}

#[derive(Clone)]
struct Shelf {
    account: Account,
    recordings: Arc<Mutex<HashMap<String, Kept>>>,
    requests: Arc<AtomicU32>,
}

/// A running media host.
#[derive(Clone)]
pub struct MediaHost {
    shelf: Shelf,
    address: SocketAddr,
}

impl MediaHost {
    /// Serves on `listener` for as long as `lifecycle` lives.
    pub fn start(listener: TcpListener, account: Account, lifecycle: &Lifecycle) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let shelf = Shelf {
            account,
            recordings: Arc::default(),
            requests: Arc::default(),
        };
        let router = Router::new()
            .route("/2010-04-01/Accounts/{account}/Recordings/{file}", get(recording))
            .with_state(shelf.clone());
        let life = lifecycle.clone();
        lifecycle.spawn("media-host", async move {
            callfold_kit::http::serve(listener, router, life).await
        });
        Ok(Self { shelf, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Keeps a recording; its first `not_yet` requests are answered 404, as Twilio does while it stores one.
    pub fn keep(&self, recording_sid: &str, bytes: Bytes, content_type: &'static str, not_yet: u32) {
        let kept = Kept {
            bytes,
            content_type,
            not_yet: Arc::new(AtomicU32::new(not_yet)),
        };
        self.shelf
            .recordings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(recording_sid.to_owned(), kept);
    }

    /// What a callback says as `RecordingUrl`.
    pub fn recording_url(&self, recording_sid: &str) -> String {
        format!(
            "http://{}/2010-04-01/Accounts/{}/Recordings/{recording_sid}",
            self.address, self.shelf.account.sid
        )
    }

    /// How many requests came.
    pub fn requests(&self) -> u32 {
        self.shelf.requests.load(Ordering::SeqCst)
    }
}

#[derive(serde::Deserialize)]
struct MediaOptions {
    #[serde(rename = "RequestedChannels")]
    channels: Option<u8>,
}

async fn recording(
    State(shelf): State<Shelf>,
    Path((account, file)): Path<(String, String)>,
    Query(options): Query<MediaOptions>,
    headers: HeaderMap,
) -> Response {
    shelf.requests.fetch_add(1, Ordering::SeqCst);
    if let Some(token) = &shelf.account.token {
        let expected = format!(
            "Basic {}",
            BASE64.encode(format!("{}:{}", shelf.account.sid, token.expose()).as_bytes())
        );
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if given != Some(expected.as_str()) {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"Twilio API\"")];
            return (
                StatusCode::UNAUTHORIZED,
                challenge,
                problem(20003, "Authenticate", 401),
            )
                .into_response();
        }
    }
    let sid = file
        .strip_suffix(".wav")
        .or_else(|| file.strip_suffix(".mp3"))
        .unwrap_or(&file);
    let kept = shelf
        .recordings
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(sid)
        .cloned();
    let missing = || {
        (
            StatusCode::NOT_FOUND,
            problem(20404, "The requested resource was not found", 404),
        )
            .into_response()
    };
    let Some(kept) = kept.filter(|_| account == shelf.account.sid) else {
        return missing();
    };
    if kept
        .not_yet
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
    {
        return missing();
    }
    if options.channels == Some(2) {
        // The recordings played here have one channel, as those of <Record> do.
        return (
            StatusCode::BAD_REQUEST,
            problem(21220, "Recording does not have two channels", 400),
        )
            .into_response();
    }
    ([(header::CONTENT_TYPE, kept.content_type)], kept.bytes).into_response()
}

fn problem(code: u32, message: &str, status: u16) -> ([(header::HeaderName, &'static str); 1], String) {
    let body = serde_json::json!({"code": code, "message": message, "status": status,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}")});
    ([(header::CONTENT_TYPE, "application/json")], body.to_string())
}

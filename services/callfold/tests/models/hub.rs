//! A hub for models, as far as a fetch sees one: a redirect with the content's hash, and a server that has the bytes,
//! knows ranges, and does as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::StreamExt as _;
use sha2::{Digest, Sha256};
use url::Url;

/// What the server with the bytes does with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends so many bytes of the answer, then closes the connection.
    CutAfter(usize),
    /// The same, without having said how many there are.
    CutUnsaid(usize),
    /// Sends so many bytes, then nothing, and leaves the connection open.
    StallAfter(usize),
    /// Sends the whole file, whatever was asked for.
    IgnoreRange,
    /// Answers so.
    Status(u16),
}

/// A request that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
}

/// What is there, and how it is told.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) etag: Option<String>,
    /// `X-Linked-Etag`.
    pub(crate) linked: Option<String>,
    /// What comes next; then everything works.
    pub(crate) acts: VecDeque<Act>,
    /// What the hub itself answers, instead of a redirect.
    pub(crate) hub_status: Option<u16>,
    /// Where it redirects to, instead of to its own bytes.
    pub(crate) location: Option<String>,
    asked: Vec<Asked>,
}

/// A running hub.
pub(crate) struct Hub {
    pub(crate) url: Url,
    content: Arc<Mutex<Content>>,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

impl Hub {
    pub(crate) async fn start(bytes: Bytes) -> Self {
        let content = Arc::new(Mutex::new(Content::default()));
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&content));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let hub = Self {
            url: Url::parse(&url).unwrap(),
            content,
        };
        hub.has(bytes);
        hub
    }

    /// The file is this one from now on.
    pub(crate) fn has(&self, bytes: Bytes) {
        self.set(|content| {
            let hash = sha256(&bytes);
            content.etag = Some(format!("\"cdn-{}\"", &hash[..8]));
            content.linked = Some(format!("\"{hash}\""));
            content.bytes = bytes;
        });
    }

    pub(crate) fn set<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.content.lock().unwrap())
    }

    pub(crate) fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.set(|content| content.acts.extend(acts));
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.set(|content| content.asked.clone())
    }

    /// The ranges that the server with the bytes was asked for, and with which condition.
    pub(crate) fn ranges(&self) -> Vec<(Option<String>, Option<String>)> {
        let asked = self.asked().into_iter();
        asked
            .filter(|asked| asked.path.starts_with("/cdn/"))
            .map(|asked| (asked.range, asked.if_range))
            .collect()
    }
}

async fn answer(State(content): State<Arc<Mutex<Content>>>, request: Request) -> Response {
    let mut content = content.lock().unwrap();
    let text = |name| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let asked = Asked {
        path: request.uri().path().to_owned(),
        range: text(header::RANGE),
        if_range: text(header::IF_RANGE),
    };
    content.asked.push(asked.clone());
    if asked.path.starts_with("/cdn/") {
        bytes(&mut content, &asked)
    } else if let Some(status) = content.hub_status {
        StatusCode::from_u16(status).unwrap().into_response()
    } else if asked.path.contains("/resolve/main/") {
        let mut headers = HeaderMap::new();
        let location = content.location.as_deref();
        headers.insert(
            header::LOCATION,
            location
                .unwrap_or("/cdn/blob?X-Signature=do-not-tell")
                .parse()
                .unwrap(),
        );
        if let Some(linked) = &content.linked {
            headers.insert("x-linked-etag", linked.parse().unwrap());
        }
        (StatusCode::FOUND, headers).into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

fn bytes(content: &mut Content, asked: &Asked) -> Response {
    let act = content.acts.pop_front();
    if let Some(Act::Status(status)) = act {
        // Longer than anybody has to wait.
        let headers = [(header::RETRY_AFTER, "3600")];
        return (StatusCode::from_u16(status).unwrap(), headers).into_response();
    }
    let total = content.bytes.len();
    let is_same = asked.if_range.is_none() || asked.if_range == content.etag;
    let from: Option<usize> = asked
        .range
        .as_deref()
        .filter(|_| is_same && !matches!(act, Some(Act::IgnoreRange)))
        .map(|range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap())
        .map(|from| from.parse().unwrap());
    let mut headers = HeaderMap::new();
    if let Some(etag) = &content.etag {
        headers.insert(header::ETAG, etag.parse().unwrap());
    }
    if from.is_some_and(|from| from >= total) {
        headers.insert(header::CONTENT_RANGE, format!("bytes */{total}").parse().unwrap());
        return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
    }
    let status = match from {
        Some(from) => {
            let range = format!("bytes {from}-{}/{total}", total - 1);
            headers.insert(header::CONTENT_RANGE, range.parse().unwrap());
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    let body = content.bytes.slice(from.unwrap_or(0)..);
    if !matches!(act, Some(Act::CutUnsaid(_))) {
        headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    let pieces = |bytes: Bytes| {
        let starts = (0..bytes.len()).step_by(16 << 10);
        let pieces: Vec<std::io::Result<Bytes>> = starts
            .map(|at| Ok(bytes.slice(at..bytes.len().min(at + (16 << 10)))))
            .collect();
        futures::stream::iter(pieces)
    };
    let body = match act {
        Some(Act::CutAfter(count) | Act::CutUnsaid(count)) => {
            let cut = futures::stream::once(async { Err(std::io::Error::other("cut")) });
            // What was sent before reaches the other side first.
            let wait = futures::stream::once(async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                Ok(Bytes::new())
            });
            Body::from_stream(pieces(body.slice(..count)).chain(wait).chain(cut))
        }
        Some(Act::StallAfter(count)) => {
            Body::from_stream(pieces(body.slice(..count)).chain(futures::stream::pending()))
        }
        Some(Act::IgnoreRange | Act::Status(_)) | None => Body::from_stream(pieces(body)),
    };
    (status, headers, body).into_response()
}

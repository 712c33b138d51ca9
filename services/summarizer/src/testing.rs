//! A server that speaks OpenAI's chat completions over real HTTP, as far as it is told to, and counts what it is asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use callfold_kit::testing::{Fault, TestServer};
use futures::stream;
use serde_json::{Value, json};

/// Largest request that is read, in bytes.
const REQUEST_BYTES_MAX: usize = 8 << 20;

/// What it does with a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A completion with this text.
    Says(Cow<'static, str>),
    /// A completion with this text that ended for this reason: `length`, `content_filter`.
    Ends(Cow<'static, str>, &'static str),
    /// This status, with the question repeated in the body, as some servers do.
    Refuses(u16),
    /// This status with these headers and this body.
    Answers(u16, Vec<(&'static str, String)>, Cow<'static, str>),
    /// The reply, after this time.
    Late(Duration, Box<Reply>),
    /// Nothing, for ever.
    Hangs,
    /// The head of an answer and half of its body, then nothing for ever.
    Stalls,
    /// The head of an answer and half of its body; then the connection is cut.
    Breaks,
    /// Half of an answer, which ends as if it were all.
    Halves,
    /// The connection is cut before a byte.
    HangsUp,
    /// An answer without an end.
    Endless,
}

impl Reply {
    /// A completion with this text.
    #[must_use]
    pub fn says(text: impl Into<Cow<'static, str>>) -> Self {
        Reply::Says(text.into())
    }

    /// A completion with this JSON as its text.
    #[must_use]
    pub fn says_json(value: &Value) -> Self {
        Reply::Says(value.to_string().into())
    }

    /// This status with this body.
    #[must_use]
    pub fn status(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Reply::Answers(status, Vec::new(), body.into())
    }

    /// The same later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Reply::Late(wait, Box::new(self))
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its `Authorization`.
    pub authorization: String,
    /// Its JSON.
    pub body: Value,
}

impl Asked {
    /// The content of the message of this role; empty where there is none.
    #[must_use]
    pub fn message(&self, role: &str) -> &str {
        let messages = self.body["messages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let message = messages.iter().find(|message| message["role"] == role);
        message
            .and_then(|message| message["content"].as_str())
            .unwrap_or_default()
    }

    /// The user message, which is JSON.
    #[must_use]
    pub fn data(&self) -> Value {
        serde_json::from_str(self.message("user")).unwrap()
    }

    /// The `type` of `response_format`; empty where none is asked for.
    #[must_use]
    pub fn format(&self) -> &str {
        self.body["response_format"]["type"].as_str().unwrap_or_default()
    }
}

type Choose = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

struct Shared {
    choose: Box<Choose>,
    asked: Mutex<Vec<Asked>>,
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running server; gone with this value.
pub struct ModelDouble {
    /// Where it listens, with `/v1`.
    pub base_url: String,
    shared: Arc<Shared>,
    _server: TestServer,
}

impl ModelDouble {
    /// Always the same reply.
    pub async fn start(reply: Reply) -> Self {
        Self::choosing(move |_| Some(reply.clone())).await
    }

    /// One reply after the other; then `500`.
    pub async fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::choosing(move |_| replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front()).await
    }

    /// The reply depends on the question; `None` is `500`.
    pub async fn choosing(choose: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            choose: Box::new(choose),
            asked: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .with_state(Arc::clone(&shared));
        let server = TestServer::start(router).await;
        Self {
            base_url: format!("{}/v1", server.url()),
            shared,
            _server: server,
        }
    }

    /// What it was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked().clone()
    }

    /// How often it was asked.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.asked().len()
    }
}

async fn complete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    let asked = Asked {
        authorization: authorization.unwrap_or_default(),
        body,
    };
    shared.asked().push(asked.clone());
    let mut reply = (shared.choose)(&asked).unwrap_or(Reply::status(500, "nothing left to say"));
    while let Reply::Late(wait, then) = reply {
        tokio::time::sleep(wait).await;
        reply = *then;
    }
    let whole = |text: &str| completion(&asked, text, "stop");
    match reply {
        Reply::Says(text) => whole(&text),
        Reply::Ends(text, reason) => completion(&asked, &text, reason),
        Reply::Refuses(status) => answer(status, &[], asked.body.to_string()),
        Reply::Answers(status, headers, body) => answer(status, &headers, body.into_owned()),
        // Unwrapped above.
        Reply::Late(..) | Reply::Hangs => Fault::Hang.on(whole("")),
        Reply::Stalls => Fault::StallInBody.on(whole("{}")),
        Reply::Breaks => Fault::CutInBody.on(whole("{\"title\": \"")),
        Reply::Halves => Fault::HalfBody.on(whole("{\"title\": \"")),
        Reply::HangsUp => Fault::CutBeforeHead.on(whole("")),
        Reply::Endless => {
            let chunks = stream::repeat_with(|| {
                Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 16 * 1024]))
            });
            Body::from_stream(chunks).into_response()
        }
    }
}

fn completion(asked: &Asked, text: &str, reason: &str) -> Response {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked.body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 210, "completion_tokens": 60, "total_tokens": 270},
    });
    Json(body).into_response()
}

fn answer(status: u16, headers: &[(&'static str, String)], body: String) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

//! A server that speaks OpenAI's chat completions, as far as it is told to.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What it answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// This text.
    Says(&'static str),
    /// This status, with the question repeated in the body, as some servers do.
    Refuses(u16),
}

/// A request that came.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) authorization: String,
    pub(crate) body: Value,
}

/// The running server.
pub(crate) struct ModelDouble {
    pub(crate) base_url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Clone)]
struct Shared {
    reply: Reply,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ModelDouble {
    /// Serves until the runtime of the test ends.
    pub(crate) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::default();
        let shared = Shared {
            reply,
            asked: Arc::clone(&asked),
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, asked }
    }

    /// What it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let authorization = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default();
    shared
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Asked {
            authorization,
            body: body.clone(),
        });
    match shared.reply {
        Reply::Says(text) => Json(json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 210, "completion_tokens": 60, "total_tokens": 270},
        }))
        .into_response(),
        Reply::Refuses(status) => (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response(),
    }
}

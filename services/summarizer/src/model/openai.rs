//! Any server that speaks OpenAI's chat completions. Its types stop here.
//!
//! The client library's own transport repeats failed requests and logs bodies it cannot read; ours does neither: one
//! request for one question, a bound on the answer's size, and errors that hold a status and nothing the server said.

use std::sync::Arc;
use std::task::{Context, Poll};

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_trait::async_trait;
use callfold_kit::SharedClock;
use callfold_kit::http::answer::{self, AnswerError};
use callfold_kit::secret::Secret;
use callfold_schema::event::FailureClass;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::dialect::{Learned, Refused, refused_by};
use super::{ChatModel, ModelError, Question, Reply};

/// Longest answer that is read, in bytes: the text is far shorter, some servers send much around it.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Longest refusal that is read, in bytes: some repeat the question.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Low: two summaries of one call should say the same.
const TEMPERATURE: f32 = 0.2;

/// What errors call the other side.
const SERVER: &str = "the model's server";

/// A model behind an OpenAI-compatible server.
pub struct OpenAi {
    client: Client<OpenAIConfig>,
    model: String,
    learned: Learned,
}

impl OpenAi {
    /// `base_url` without a slash at its end; `api_key` of visible ASCII characters; `clock` for servers that name the
    /// moment when they want to be asked again.
    #[must_use]
    pub fn new(
        http: reqwest::Client,
        base_url: &str,
        api_key: &Secret,
        model: impl Into<String>,
        clock: SharedClock,
    ) -> Self {
        // Set in full, so that nothing is read from the environment behind the settings' back.
        let config = OpenAIConfig::new()
            .with_api_base(base_url)
            .with_api_key(api_key.expose())
            .with_org_id("")
            .with_project_id("");
        let client = Client::build(http.clone(), config).with_http_service(Transport { http, clock });
        Self {
            client,
            model: model.into(),
            learned: Learned::default(),
        }
    }

    async fn send(&self, request: &Value) -> Result<Answer, Failed> {
        self.client.chat().create_byot(request).await.map_err(translate)
    }
}

#[async_trait]
impl ChatModel for OpenAi {
    fn engine(&self) -> &'static str {
        "openai"
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn named(&self, model: &str) -> Option<Arc<dyn ChatModel>> {
        Some(Arc::new(Self {
            client: self.client.clone(),
            model: model.to_owned(),
            learned: Learned::default(),
        }))
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Reply, ModelError> {
        let mut asking = self.learned.first(Instant::now());
        loop {
            let mut request = json!({
                "model": self.model,
                "messages": [
                    { "role": "system", "content": question.system },
                    { "role": "user", "content": question.user },
                ],
            });
            asking
                .dialect
                .write(&mut request, question.tokens_out_max, TEMPERATURE);
            match self.send(&request).await {
                Ok(answer) => {
                    asking.accepted();
                    return read(answer);
                }
                // Ends: each refusal leaves less to ask for.
                Err(Failed {
                    refused: Some(refused),
                    ..
                }) if asking.refused(refused) => {}
                Err(failed) => return Err(failed.error),
            }
        }
    }
}

/// The text of an answer, unless the server says that it is not whole.
fn read(answer: Answer) -> Result<Reply, ModelError> {
    let broken = |text| ModelError::passing(FailureClass::Invalid, text);
    let choice = answer.choices.into_iter().next();
    let choice = choice.ok_or_else(|| broken("the model's server answered without a choice"))?;
    match choice.finish_reason.as_deref() {
        Some("length") => {
            return Err(ModelError {
                is_cut_off: true,
                ..broken("the model's answer was cut off")
            });
        }
        Some("content_filter") => {
            return Err(ModelError::lasting(
                FailureClass::Invalid,
                "the model's server withheld the answer",
            ));
        }
        _ => {}
    }
    let text = choice
        .message
        .content
        .ok_or_else(|| broken("the model answered without a text"))?;
    let usage = answer.usage.unwrap_or_default();
    Ok(Reply {
        text,
        tokens_in: usage.prompt_tokens,
        tokens_out: usage.completion_tokens,
    })
}

/// What is read of an answer. Compatible servers leave out the rest, so the library's own type is too strict.
#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize, Default)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u32>,
    #[serde(default)]
    completion_tokens: Option<u32>,
}

/// Why there was no answer, and what of the question was refused, where that was it.
#[derive(Debug)]
struct Failed {
    error: ModelError,
    refused: Option<Refused>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failed {}

impl From<ModelError> for Failed {
    fn from(error: ModelError) -> Self {
        Self { error, refused: None }
    }
}

/// Takes our own error out of the library's. What the library itself found wrong is named, not quoted.
fn translate(error: OpenAIError) -> Failed {
    let internal = || ModelError::lasting(FailureClass::Internal, "the request to the model failed").into();
    match error {
        OpenAIError::Boxed(inner) => match inner.downcast::<Failed>() {
            Ok(ours) => *ours,
            Err(_) => internal(),
        },
        OpenAIError::Reqwest(error) => AnswerError::from(error).into(),
        _ => internal(),
    }
}

impl From<Failed> for OpenAIError {
    fn from(failed: Failed) -> Self {
        OpenAIError::Boxed(Box::new(failed))
    }
}

impl From<AnswerError> for Failed {
    fn from(error: AnswerError) -> Self {
        let class = error.class();
        let is_passing = match error {
            AnswerError::Connect
            | AnswerError::Broken
            | AnswerError::Timeout
            | AnswerError::TooLarge { .. } => true,
            AnswerError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            AnswerError::Request => false,
        };
        let error = ModelError {
            retry_after: error.after(),
            is_passing,
            ..ModelError::lasting(class, error.about(SERVER))
        };
        error.into()
    }
}

/// One request, one bounded answer.
#[derive(Clone)]
struct Transport {
    http: reqwest::Client,
    clock: SharedClock,
}

impl tower::Service<HttpRequestFactory> for Transport {
    type Response = reqwest::Response;
    type Error = OpenAIError;
    type Future = BoxFuture<'static, Result<reqwest::Response, OpenAIError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let Self { http, clock } = self.clone();
        Box::pin(async move {
            let request = request.build().await?;
            Ok(exchange(&http, request, &clock).await?)
        })
    }
}

/// The answer read whole, or the error that its status stands for.
async fn exchange(
    http: &reqwest::Client,
    request: reqwest::Request,
    clock: &SharedClock,
) -> Result<reqwest::Response, Failed> {
    let response = http.execute(request).await.map_err(AnswerError::from)?;
    if let Err(error) = answer::check(&response, clock.now()) {
        return Err(refusal(error, response).await);
    }
    let body = answer::body(response, ANSWER_BYTES_MAX).await?;
    // Checked here, because the library logs what it cannot read.
    serde_json::from_slice::<Answer>(&body).map_err(|_| {
        ModelError::passing(
            FailureClass::Invalid,
            "the model's server did not answer in the form of a chat completion",
        )
    })?;
    Ok(http::Response::new(body).into())
}

/// What a status stands for, and what of the question it refused. Of the body only the fields for machines are read.
async fn refusal(error: AnswerError, response: reqwest::Response) -> Failed {
    let status = error.status();
    let mut failed = Failed::from(error);
    if matches!(status, Some(400 | 422)) {
        // A refusal that cannot be read names nothing.
        let body = answer::body(response, REFUSAL_BYTES_MAX)
            .await
            .unwrap_or_default();
        let refused = refused_by(&body);
        if refused == Refused::Generation {
            failed.error = ModelError::passing(
                FailureClass::Invalid,
                "the model's server refused the model's own answer",
            );
        }
        failed.refused = Some(refused);
    }
    failed
}

//! Any server that speaks OpenAI's chat completions. Its types stop here.
//!
//! The client library's own transport repeats failed requests and logs bodies it cannot read; ours does neither: one
//! request for one question, a bound on the answer's size, and errors that hold a status and nothing the server said.

use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::chat::{
    ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessage, CreateChatCompletionRequestArgs,
};
use async_trait::async_trait;
use callfold_kit::secret::Secret;
use callfold_schema::event::FailureClass;
use futures::future::BoxFuture;
use serde::Deserialize;

use super::{ChatModel, ModelError, Reply};

/// Longest answer that is read, in bytes: the text is far shorter, some servers send much around it.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Most tokens the model may write: a headline and two points take some 150, in Hebrew twice that.
const TOKENS_OUT_MAX: u32 = 500;
/// Low: two summaries of one call should say the same.
const TEMPERATURE: f32 = 0.2;

/// A model behind an OpenAI-compatible server.
pub struct OpenAi {
    client: Client<OpenAIConfig>,
    model: String,
}

impl OpenAi {
    /// `base_url` without a slash at its end; `api_key` of visible ASCII characters.
    #[must_use]
    pub fn new(http: reqwest::Client, base_url: &str, api_key: &Secret, model: impl Into<String>) -> Self {
        // Set in full, so that nothing is read from the environment behind the settings' back.
        let config = OpenAIConfig::new()
            .with_api_base(base_url)
            .with_api_key(api_key.expose())
            .with_org_id("")
            .with_project_id("");
        let client = Client::build(http.clone(), config).with_http_service(Transport { http });
        Self {
            client,
            model: model.into(),
        }
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

    async fn ask(&self, system: &str, user: &str) -> Result<Reply, ModelError> {
        // `max_tokens` is called deprecated at OpenAI and is the only name that compatible servers know.
        let request = CreateChatCompletionRequestArgs::default()
            .model(&self.model)
            .temperature(TEMPERATURE)
            .max_tokens(TOKENS_OUT_MAX)
            .messages(vec![
                ChatCompletionRequestSystemMessage::from(system).into(),
                ChatCompletionRequestUserMessage::from(user).into(),
            ])
            .build()
            .map_err(|_| {
                ModelError::new(
                    FailureClass::Internal,
                    "the request to the model could not be built",
                )
            })?;
        let answer: Answer = self.client.chat().create_byot(request).await.map_err(translate)?;
        let choice = answer.choices.into_iter().next();
        let invalid = |text| ModelError::new(FailureClass::Invalid, text);
        let choice = choice.ok_or_else(|| invalid("the model's server answered without a choice"))?;
        match choice.finish_reason.as_deref() {
            Some("length") => return Err(invalid("the model's answer was cut off")),
            Some("content_filter") => return Err(invalid("the model's server withheld the answer")),
            _ => {}
        }
        let text = choice
            .message
            .content
            .ok_or_else(|| invalid("the model answered without a text"))?;
        let usage = answer.usage.unwrap_or_default();
        Ok(Reply {
            text,
            tokens_in: usage.prompt_tokens,
            tokens_out: usage.completion_tokens,
        })
    }
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

/// Takes our own error out of the library's. What the library itself found wrong is named, not quoted.
fn translate(error: OpenAIError) -> ModelError {
    match error {
        OpenAIError::Boxed(inner) => match inner.downcast::<ModelError>() {
            Ok(ours) => *ours,
            Err(_) => ModelError::new(FailureClass::Internal, "the request to the model failed"),
        },
        OpenAIError::Reqwest(error) => from_reqwest(&error),
        _ => ModelError::new(FailureClass::Internal, "the request to the model failed"),
    }
}

impl From<ModelError> for OpenAIError {
    fn from(error: ModelError) -> Self {
        OpenAIError::Boxed(Box::new(error))
    }
}

fn from_reqwest(error: &reqwest::Error) -> ModelError {
    if error.is_timeout() {
        ModelError::new(FailureClass::Timeout, "the model's server did not answer in time")
    } else if error.is_connect() {
        ModelError::new(FailureClass::Network, "no connection to the model's server")
    } else if error.is_builder() {
        ModelError::new(
            FailureClass::Internal,
            "the request to the model could not be built",
        )
    } else {
        ModelError::new(
            FailureClass::Network,
            "the connection to the model's server broke",
        )
    }
}

/// One request, one bounded answer.
#[derive(Clone)]
struct Transport {
    http: reqwest::Client,
}

impl tower::Service<HttpRequestFactory> for Transport {
    type Response = reqwest::Response;
    type Error = OpenAIError;
    type Future = BoxFuture<'static, Result<reqwest::Response, OpenAIError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let http = self.http.clone();
        Box::pin(async move {
            let request = request.build().await?;
            let response = http
                .execute(request)
                .await
                .map_err(|error| from_reqwest(&error))?;
            Ok(checked(response).await?)
        })
    }
}

/// The answer read whole, or the error that its status stands for.
async fn checked(mut response: reqwest::Response) -> Result<reqwest::Response, ModelError> {
    let status = response.status();
    if !status.is_success() {
        let class = match status.as_u16() {
            401 | 403 => FailureClass::Credentials,
            404 => FailureClass::NotFound,
            408 => FailureClass::Timeout,
            429 => FailureClass::RateLimited,
            500..=599 => FailureClass::Unavailable,
            _ => FailureClass::Refused,
        };
        let retry_after = response
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let text = format!("HTTP {} from the model's server", status.as_u16());
        return Err(ModelError {
            class,
            text,
            retry_after,
        });
    }
    let invalid = |text| ModelError::new(FailureClass::Invalid, text);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| from_reqwest(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(invalid("the model's server answered with too much"));
        }
        body.extend_from_slice(&chunk);
    }
    // Checked here, because the library logs what it cannot read.
    serde_json::from_slice::<Answer>(&body)
        .map_err(|_| invalid("the model's server did not answer in the form of a chat completion"))?;
    Ok(http::Response::new(body).into())
}

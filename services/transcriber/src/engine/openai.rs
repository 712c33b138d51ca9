//! Any server with OpenAI's `/audio/transcriptions`: OpenAI, Groq, vLLM, servers around faster-whisper, and whisper.cpp's
//! own, started with `--inference-path /v1/audio/transcriptions`.
//!
//! The form is built here instead of by the library that asks for summaries: that one sends `Bearer ` where there is no
//! key, clones the audio for tries that are not wanted, and of its answer types not one fits all of these servers. What
//! is left of it would be an address and a header.
//!
//! One request for one piece of audio: the one time that a server is asked again is when it turns out not to know
//! `verbose_json`, which is remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use callfold_kit::clock::{SharedClock, SystemClock};
use callfold_kit::http::answer::{self as http, AnswerError};
use callfold_kit::http::client_builder;
use callfold_schema::event::FailureClass;
use futures::stream::{StreamExt, TryStreamExt, iter};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Cause, Engine, EngineError, Recognised, RecognisedSegment, Request, is_model_name};
use crate::audio::{Audio16k, SAMPLE_RATE_HZ};
use crate::filter;
use crate::speech::{Piece, Plan, audible_plan, is_silent};

mod answer;
mod config;

use answer::Span;
pub use config::{SpeechApiConfig, setting};

/// How the other side is called in errors.
const SERVER: &str = "the speech server";
/// Longest answer that is read, in bytes: five minutes of speech are some 50 KB with every token's number.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How much of a refusal is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Pieces of one recording that are sent at once.
const PIECES_AT_ONCE: usize = 2;
/// Longest prompt, in characters: whisper reads 224 tokens of it, and a Hebrew token is hardly more than a character.
const PROMPT_CHARS_MAX: usize = 300;
/// Shortest piece that is sent, in samples: OpenAI refuses less than 0.1 s, in which nobody says a word.
const SAMPLES_MIN: u64 = SAMPLE_RATE_HZ as u64 / 10;

/// What a server says of its models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The model is among them, or the list says nothing of it; a key that is sent is accepted.
    Good,
    /// The model is not among them.
    Lacks,
    /// It does not say, and why, without an address.
    Untold(String),
}

/// A server that transcribes.
pub struct SpeechApi {
    http: Client,
    config: SpeechApiConfig,
    clock: SharedClock,
    /// It was asked for its models.
    checked: AtomicBool,
    /// It does not know `verbose_json`.
    plain: AtomicBool,
}

/// What all pieces of a recording are asked with.
#[derive(Clone, Copy)]
struct Asked<'a> {
    model: &'a str,
    language: &'a str,
    prompt: Option<&'a str>,
}

impl SpeechApi {
    /// Opens no connection.
    ///
    /// # Errors
    /// The HTTP client cannot be made: there are no certificates of authorities.
    pub fn new(config: SpeechApiConfig) -> Result<Self, reqwest::Error> {
        // No second tries behind our back: the chain has other engines.
        let http = client_builder().retry(reqwest::retry::never()).build()?;
        Ok(Self {
            http,
            config,
            clock: Arc::new(SystemClock),
            checked: AtomicBool::new(false),
            plain: AtomicBool::new(false),
        })
    }

    /// Another clock, which dates in `Retry-After` are compared with.
    #[must_use]
    pub fn clock(self, clock: SharedClock) -> Self {
        Self { clock, ..self }
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header(ACCEPT, HeaderValue::from_static("application/json"));
        match &self.config.api_key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    async fn hear(&self, request: &Request) -> Result<Recognised, EngineError> {
        let language = request
            .language
            .as_deref()
            .map_or_else(|| self.config.language.clone(), iso_639_1);
        let prompt = prompt(&request.phrases);
        let model = request.model.as_deref().unwrap_or(&self.config.model);
        let (audio, piece_max) = (Arc::clone(&request.audio), self.config.piece_max);
        // Whatever ends this future ends looking for speech.
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let plan = blocking(move || audible_plan(&audio, piece_max, &|| !stop.is_cancelled()));
        let Plan { pieces, speech } = plan.await?.ok_or(EngineError::Cancelled)?;
        let is_doubtful = |channel: u8| speech.get(usize::from(channel)).is_none_or(Vec::is_empty);
        let count = (0..request.audio.channel_count())
            .map(|channel| pieces.iter().filter(|piece| piece.channel == channel).count())
            .max();
        let mut heard: Vec<(usize, Vec<RecognisedSegment>)> = iter(pieces.into_iter().enumerate())
            .map(|(at, piece)| {
                let asked = Asked {
                    model,
                    language: language.as_str(),
                    prompt: prompt.as_deref(),
                };
                let span = Span {
                    channel: piece.channel,
                    start_ms: piece.start_ms(),
                    end_ms: piece.frames.end * 1000 / u64::from(SAMPLE_RATE_HZ),
                    is_doubtful: is_doubtful(piece.channel),
                };
                async move {
                    let segments = self.hear_piece(&request.audio, piece, span, asked).await?;
                    Ok::<_, EngineError>((at, segments))
                }
            })
            .buffer_unordered(PIECES_AT_ONCE)
            // The first failure drops the stream, and with it what was sent besides.
            .try_collect()
            .await?;
        heard.sort_by_key(|(at, _)| *at);
        let mut channels: Vec<Vec<RecognisedSegment>> = speech.iter().map(|_| Vec::new()).collect();
        for segment in heard.into_iter().flat_map(|(_, segments)| segments) {
            if let Some(segments) = channels.get_mut(usize::from(segment.channel)) {
                segments.push(segment);
            }
        }
        // Mostly a whisper model answers, and invents as whisper does.
        let mut segments: Vec<_> = channels
            .into_iter()
            .zip(&speech)
            .flat_map(|(segments, speech)| filter::without_inventions(segments, speech))
            .collect();
        segments.sort_by_key(|segment| (segment.start_ms, segment.channel));
        Ok(Recognised {
            language,
            model: model.to_owned(),
            pieces: count
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0)
                .max(1),
            segments,
        })
    }

    async fn hear_piece(
        &self,
        audio: &Arc<Audio16k>,
        piece: Piece,
        span: Span,
        asked: Asked<'_>,
    ) -> Result<Vec<RecognisedSegment>, EngineError> {
        let audio = Arc::clone(audio);
        let wav = blocking(move || {
            if piece.frames.end - piece.frames.start < SAMPLES_MIN || is_silent(&audio, &piece)? {
                return Ok(None);
            }
            audio.wav(piece.channel, piece.frames).map(Some)
        });
        let Some(wav) = wav.await?.map(Bytes::from) else {
            return Ok(Vec::new());
        };
        let ask = |verbose| self.ask(wav.clone(), verbose, asked);
        let body = if self.plain.load(Ordering::Relaxed) {
            ask(false).await?
        } else {
            match ask(true).await {
                Err(Refusal::Format) => {
                    let body = ask(false).await?;
                    if !self.plain.swap(true, Ordering::Relaxed) {
                        tracing::info!("the speech server tells no times: it does not know verbose_json");
                    }
                    body
                }
                asked => asked?,
            }
        };
        answer::read(&body, span).map_err(|nonsense| EngineError::Unavailable {
            class: FailureClass::Invalid,
            text: nonsense.to_string(),
            after: None,
            source: None,
        })
    }

    /// Sends one piece and reads the answer whole.
    async fn ask(&self, wav: Bytes, verbose: bool, asked: Asked<'_>) -> Result<Vec<u8>, Refusal> {
        let format = if verbose { "verbose_json" } else { "json" };
        let mut form = Form::new()
            .text("model", asked.model.to_owned())
            .text("language", asked.language.to_owned())
            .text("response_format", format)
            .text("temperature", "0");
        if let Some(prompt) = asked.prompt {
            form = form.text("prompt", prompt.to_owned());
        }
        let length = wav.len() as u64;
        // Servers tell the format by the name's ending.
        let file = Part::stream_with_length(wav, length)
            .file_name("audio.wav")
            .mime_str("audio/wav")
            .map_err(AnswerError::from)?;
        let request = self
            .http
            .post(format!("{}/audio/transcriptions", self.config.base_url))
            .multipart(form.part("file", file))
            .timeout(self.config.timeout);
        let response = self.authorized(request).send().await.map_err(AnswerError::from)?;
        let Err(refused) = http::check(&response, self.clock.now()) else {
            return Ok(http::body(response, ANSWER_BYTES_MAX).await?);
        };
        if verbose && matches!(refused.status(), Some(400 | 422)) {
            let said = http::body(response, REFUSAL_BYTES_MAX).await?;
            if is_about_format(&said) {
                return Err(Refusal::Format);
            }
        }
        Err(refused.into())
    }

    /// Asks the server for its models. Not every server knows the question, and lists are not to be relied on.
    ///
    /// # Errors
    /// The server refuses the key.
    pub async fn check(&self) -> Result<Listing, EngineError> {
        let request = self
            .http
            .get(format!("{}/models", self.config.base_url))
            .timeout(self.config.check_timeout);
        let listed = async {
            let response = self.authorized(request).send().await?;
            match http::check(&response, self.clock.now()) {
                Ok(()) => http::body(response, ANSWER_BYTES_MAX).await,
                // A key that may transcribe and nothing else is a good one.
                Err(
                    refused @ AnswerError::Status {
                        status: 401 | 403, ..
                    },
                ) => {
                    let said = http::body(response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
                    if mentions(&said, &["scope"]) {
                        Ok(Vec::new())
                    } else {
                        Err(refused)
                    }
                }
                Err(refused) => Err(refused),
            }
        };
        match listed.await {
            Ok(list) if lacks(&list, &self.config.model) => Ok(Listing::Lacks),
            Ok(_) => Ok(Listing::Good),
            Err(error) if error.class() == FailureClass::Credentials => Err(failed(error)),
            Err(error) => Ok(Listing::Untold(error.about(SERVER))),
        }
    }
}

#[async_trait]
impl Engine for SpeechApi {
    fn name(&self) -> &str {
        "openai"
    }

    fn model(&self) -> String {
        self.config.model.clone()
    }

    /// Servers know more models than the one that is configured, and refuse those that they do not know.
    fn may_have(&self, model: &str) -> bool {
        is_model_name(model)
    }

    async fn prepare(&self) -> Result<(), EngineError> {
        if !self.checked.load(Ordering::Relaxed) {
            match self.check().await? {
                Listing::Good => {}
                Listing::Lacks => tracing::warn!(
                    model = self.config.model,
                    "the speech server does not list the model {} ({})",
                    self.config.model,
                    setting::MODEL
                ),
                Listing::Untold(why) => tracing::warn!("{why}; it is asked all the same"),
            }
            self.checked.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        tokio::select! {
            biased;
            // Dropping the work ends its requests.
            () = request.cancel.cancelled() => Err(EngineError::Cancelled),
            heard = self.hear(&request) => heard,
        }
    }
}

/// Why there is no answer to one request.
enum Refusal {
    /// `verbose_json` is not known.
    Format,
    Other(AnswerError),
}

impl From<AnswerError> for Refusal {
    fn from(error: AnswerError) -> Self {
        Self::Other(error)
    }
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Other(error) => failed(error),
            // Only what was asked for in this form is refused for it.
            Refusal::Format => Self::Rejected {
                class: FailureClass::Refused,
                text: format!("{SERVER} refuses every form of answer"),
                source: None,
            },
        }
    }
}

fn failed(error: AnswerError) -> EngineError {
    let (class, text, after) = (error.class(), error.about(SERVER), error.after());
    if http::is_permanent(class) {
        EngineError::Rejected {
            class,
            text,
            source: None,
        }
    } else {
        EngineError::Unavailable {
            class,
            text,
            after,
            source: None,
        }
    }
}

/// Reads samples off the async threads.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, EngineError> {
    let unavailable = |class, text: &str, source: Cause| EngineError::Unavailable {
        class,
        text: text.to_owned(),
        after: None,
        source: Some(source),
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(unavailable(
            FailureClass::Storage,
            "the decoded recording cannot be read",
            error.into(),
        )),
        Err(error) => Err(unavailable(
            FailureClass::Internal,
            "cutting the recording panicked",
            error.into(),
        )),
    }
}

/// The two letters of a BCP 47 tag, where the language has some. Hebrew, Yiddish and Indonesian have old ones too.
fn iso_639_1(tag: &str) -> String {
    let language = tag.split(['-', '_']).next().unwrap_or(tag).to_ascii_lowercase();
    match language.as_str() {
        "iw" | "heb" => "he".to_owned(),
        "ji" => "yi".to_owned(),
        "in" => "id".to_owned(),
        _ => language,
    }
}

/// The phrases as a text, whole ones, the first ones first; `None` without any.
fn prompt(phrases: &[String]) -> Option<String> {
    let mut prompt = String::new();
    let mut chars = 0;
    for phrase in phrases {
        let phrase = phrase.split_whitespace().collect::<Vec<_>>().join(" ");
        let more = phrase.chars().count() + 2;
        if phrase.is_empty() || chars + more > PROMPT_CHARS_MAX {
            continue;
        }
        if !prompt.is_empty() {
            prompt.push_str(", ");
        }
        prompt.push_str(&phrase);
        chars += more;
    }
    (!prompt.is_empty()).then_some(prompt)
}

/// Whether a refusal is about the form of the answer. Servers word it each in their own way, and name the field or its
/// value.
fn is_about_format(said: &[u8]) -> bool {
    mentions(said, &["response_format", "verbose_json"])
}

fn mentions(said: &[u8], words: &[&str]) -> bool {
    let said = String::from_utf8_lossy(said).to_lowercase();
    words.iter().any(|word| said.contains(word))
}

/// Whether a list of models has entries, and none of this name.
fn lacks(list: &[u8], model: &str) -> bool {
    let list: Option<Value> = serde_json::from_slice(list).ok();
    let Some(data) = list.as_ref().and_then(|list| list.get("data")?.as_array()) else {
        return false;
    };
    let mut names = data
        .iter()
        .filter_map(|entry| entry.get("id")?.as_str())
        .peekable();
    names.peek().is_some() && names.all(|name| name != model)
}

#[cfg(test)]
mod tests;

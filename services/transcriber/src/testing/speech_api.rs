//! A server that transcribes as OpenAI's does, as far as its script knows the words.
//!
//! It takes a request apart like the real one and refuses what that refuses. What it then says is the script's: a
//! [`Reply`] for each request, in the form of one of the servers that are known ([`Shape`]), or a fault.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callfold_kit::audio::{Limits, decode_reader};
use callfold_kit::testing::{Fault, TestServer};
use serde_json::{Value, json};

/// Largest request that OpenAI takes, in bytes.
const REQUEST_BYTES_MAX: usize = 25 << 20;
/// Shortest audio that OpenAI takes, in samples at 16 kHz: 0.1 s.
const SAMPLES_MIN: usize = 1_600;

/// The running server; gone with this value.
pub struct SpeechApiDouble {
    server: TestServer,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Behaviour>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Behaviour> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Script = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

struct Behaviour {
    key: Option<String>,
    models: Vec<String>,
    models_reply: Option<Reply>,
    models_asked: usize,
    refuses_verbose: bool,
    script: Script,
    asked: Vec<Asked>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            key: None,
            models: vec!["whisper-1".to_owned()],
            models_reply: None,
            models_asked: 0,
            refuses_verbose: false,
            script: Arc::new(|_| Reply::says("")),
            asked: Vec::new(),
        }
    }
}

/// A request to transcribe, taken apart. Requests that were refused for their form are among them.
#[derive(Clone, Default)]
pub struct Asked {
    /// How many came before it.
    pub number: usize,
    /// The whole header.
    pub authorization: Option<String>,
    /// The length that the head announced, in bytes.
    pub content_length: Option<usize>,
    /// Names of the form's fields in their order.
    pub fields: Vec<String>,
    /// The field of this name.
    pub model: Option<String>,
    /// The field of this name.
    pub language: Option<String>,
    /// The field of this name.
    pub prompt: Option<String>,
    /// The field of this name.
    pub response_format: Option<String>,
    /// The field of this name.
    pub temperature: Option<String>,
    /// The file's name.
    pub file_name: Option<String>,
    /// The file's type.
    pub file_type: Option<String>,
    /// The file's size.
    pub file_bytes: usize,
    /// The decoded file: samples per second and those of each channel; `None` when it does not decode.
    pub audio: Option<(u32, Vec<Vec<f32>>)>,
}

impl Asked {
    /// The samples of the first channel.
    pub fn samples(&self) -> &[f32] {
        self.audio.as_ref().map_or(&[], |(_, channels)| &channels[0])
    }

    /// The length of the audio in seconds.
    pub fn seconds(&self) -> f64 {
        let rate = self.audio.as_ref().map_or(1, |(rate, _)| *rate);
        self.samples().len() as f64 / f64::from(rate)
    }
}

/// In whose form it answers `verbose_json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI, whisper-1.
    OpenAi,
    /// Groq.
    Groq,
    /// vLLM: the duration is a string, what it does not know is null.
    Vllm,
    /// Servers around faster-whisper: times as strings, no language, fields of their own.
    FasterWhisper,
    /// whisper.cpp's server.
    WhisperCpp,
    /// A server that knows no segments.
    TextOnly,
}

impl Shape {
    /// All that tell segments.
    pub const WITH_SEGMENTS: [Shape; 5] = [
        Shape::OpenAi,
        Shape::Groq,
        Shape::Vllm,
        Shape::FasterWhisper,
        Shape::WhisperCpp,
    ];
}

/// A segment that it says; times in seconds within the audio it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// When it begins.
    pub start_s: f64,
    /// When it ends.
    pub end_s: f64,
    /// The words.
    pub text: String,
    /// How sure the model is: the mean logarithm of its tokens' probabilities.
    pub avg_logprob: f64,
    /// How sure it is that nobody spoke.
    pub no_speech_prob: f64,
}

impl Said {
    /// A segment that the model is rather sure of.
    pub fn new(start_s: f64, end_s: f64, text: impl Into<String>) -> Self {
        Self {
            start_s,
            end_s,
            text: text.into(),
            avg_logprob: -0.25,
            no_speech_prob: 0.01,
        }
    }
}

/// What it answers a request that is well formed.
#[derive(Clone)]
pub struct Reply {
    content: Content,
    fault: Option<Fault>,
}

#[derive(Clone)]
enum Content {
    Text(String),
    Segments(Shape, Vec<Said>),
    Raw {
        status: u16,
        content_type: &'static str,
        body: String,
        retry_after: Option<String>,
    },
}

impl From<Content> for Reply {
    fn from(content: Content) -> Self {
        Self { content, fault: None }
    }
}

impl Reply {
    /// One segment over the whole audio, in OpenAI's form; no segment for an empty text.
    pub fn says(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }

    /// These segments in the form of `shape`.
    pub fn segments(shape: Shape, segments: impl Into<Vec<Said>>) -> Self {
        Content::Segments(shape, segments.into()).into()
    }

    /// This status with an error in OpenAI's form.
    pub fn status(status: u16) -> Self {
        let (kind, code) = match status {
            401 => ("invalid_request_error", "invalid_api_key"),
            404 => ("invalid_request_error", "model_not_found"),
            429 => ("requests", "rate_limit_exceeded"),
            500.. => ("server_error", "server_error"),
            _ => ("invalid_request_error", "invalid_request"),
        };
        let body = error_json("The double was told to refuse.", kind, code, Value::Null);
        Self::raw(status, "application/json", body.to_string())
    }

    /// A web page, as a captive portal sends it.
    pub fn page() -> Self {
        let page = "<!doctype html><title>Welcome</title><p>Please sign in.";
        Self::raw(200, "text/html; charset=utf-8", page)
    }

    /// Anything.
    pub fn raw(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        let content = Content::Raw {
            status,
            content_type,
            body: body.into(),
            retry_after: None,
        };
        content.into()
    }

    /// With this header `Retry-After`, for a reply with a status.
    #[must_use]
    pub fn retry_after(mut self, wish: &str) -> Self {
        if let Content::Raw { retry_after, .. } = &mut self.content {
            *retry_after = Some(wish.to_owned());
        }
        self
    }

    /// With this happening to it on its way.
    #[must_use]
    pub fn with(self, fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..self
        }
    }

    fn into_response(self, asked: &Asked) -> Response {
        let verbose = asked.response_format.as_deref() == Some("verbose_json");
        let response = match self.content {
            Content::Text(text) if text.is_empty() => {
                Json(answer(Shape::OpenAi, &[], asked, verbose)).into_response()
            }
            Content::Text(text) => {
                let whole = Said::new(0.0, asked.seconds(), text);
                Json(answer(Shape::OpenAi, &[whole], asked, verbose)).into_response()
            }
            Content::Segments(shape, segments) => {
                Json(answer(shape, &segments, asked, verbose)).into_response()
            }
            Content::Raw {
                status,
                content_type,
                body,
                retry_after,
            } => {
                let status = StatusCode::from_u16(status).unwrap();
                let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
                if let Some(wish) = retry_after {
                    let wish = HeaderValue::from_str(&wish).unwrap();
                    response.headers_mut().insert(header::RETRY_AFTER, wish);
                }
                response
            }
        };
        match self.fault {
            Some(fault) => fault.on(response),
            None => response,
        }
    }
}

impl SpeechApiDouble {
    /// Starts one that takes any key, knows `whisper-1`, lists it, and hears nothing.
    pub async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let router = Router::new()
            .route("/v1/audio/transcriptions", post(transcribe))
            .route("/v1/models", get(models))
            .fallback(async || refusal(404, "Invalid URL", "unknown_url", Value::Null))
            .with_state(Arc::clone(&shared));
        Self {
            server: TestServer::start(router).await,
            shared,
        }
    }

    /// What goes into a setting: it ends in `/v1`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.server.url())
    }

    /// What it answers from now on.
    pub fn script(&self, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        self.shared.state().script = Arc::new(script);
    }

    /// What it answers to everything from now on.
    pub fn answers(&self, reply: Reply) {
        self.script(move |_| reply.clone());
    }

    /// Takes this key only.
    pub fn require_key(&self, key: &str) {
        self.shared.state().key = Some(key.to_owned());
    }

    /// Knows these models only, and lists them.
    pub fn know_models(&self, models: &[&str]) {
        self.shared.state().models = models.iter().map(|&model| model.to_owned()).collect();
    }

    /// What it answers when it is asked for its models, instead of the list.
    pub fn answers_models(&self, reply: Reply) {
        self.shared.state().models_reply = Some(reply);
    }

    /// Refuses `verbose_json`, as OpenAI does with gpt-4o-transcribe.
    pub fn refuse_verbose_json(&self) {
        self.shared.state().refuses_verbose = true;
    }

    /// The requests to transcribe that came so far, in their order.
    pub fn requests(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// How often it was asked for its models.
    pub fn models_asked(&self) -> usize {
        self.shared.state().models_asked
    }

    /// Requests that are neither answered nor given up.
    pub fn in_flight(&self) -> usize {
        self.server.in_flight()
    }
}

async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let mut state = shared.state();
    state.models_asked += 1;
    if let Some(reply) = &state.models_reply {
        return reply.clone().into_response(&Asked::default());
    }
    let data: Vec<Value> = state
        .models
        .iter()
        .map(|model| json!({"id": model, "object": "model", "created": 1_677_532_384, "owned_by": "openai-internal"}))
        .collect();
    let list = Json(json!({"object": "list", "data": data})).into_response();
    wrong_key(
        &state,
        text_of(&headers, header::AUTHORIZATION.as_str()).as_deref(),
    )
    .unwrap_or(list)
}

async fn transcribe(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let taken = take(&head.headers, body).await;
    let mut state = shared.state();
    let (mut asked, refused) = match taken {
        Ok(asked) => (asked, None),
        Err(refused) => (Asked::default(), Some(refused)),
    };
    asked.number = state.asked.len();
    state.asked.push(asked.clone());
    let refused = wrong_key(&state, asked.authorization.as_deref())
        .or(refused)
        .or_else(|| refusal_of(&state, &asked));
    if let Some(refused) = refused {
        return refused;
    }
    let script = Arc::clone(&state.script);
    drop(state);
    script(&asked).into_response(&asked)
}

fn wrong_key(state: &Behaviour, authorization: Option<&str>) -> Option<Response> {
    let wanted = format!("Bearer {}", state.key.as_ref()?);
    let message = "Incorrect API key provided: sk-*****.";
    (authorization != Some(wanted.as_str())).then(|| refusal(401, message, "invalid_api_key", Value::Null))
}

/// Why OpenAI would not take it.
fn refusal_of(state: &Behaviour, asked: &Asked) -> Option<Response> {
    let refused = |message: &str, code: &str, param: &str| Some(refusal(400, message, code, param.into()));
    let Some(model) = &asked.model else {
        return refused(
            "you must provide a model parameter",
            "missing_required_parameter",
            "model",
        );
    };
    if !state.models.contains(model) {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        return Some(refusal(404, &message, "model_not_found", Value::Null));
    }
    let Some(file_name) = &asked.file_name else {
        return refused(
            "'file' is a required property",
            "missing_required_parameter",
            "file",
        );
    };
    if !file_name.ends_with(".wav") {
        return refused("Invalid file format.", "invalid_value", "file");
    }
    if asked.audio.is_none() {
        return refused(
            "The audio file could not be decoded or its format is not supported.",
            "invalid_value",
            "file",
        );
    }
    if asked.samples().len() < SAMPLES_MIN {
        return refused("Audio file is too short.", "audio_too_short", "file");
    }
    let is_iso_639_1 = |tag: &String| tag.len() == 2 && tag.bytes().all(|b| b.is_ascii_lowercase());
    if !asked.language.as_ref().is_none_or(is_iso_639_1) {
        return refused(
            "Language parameter must be specified in ISO-639-1 format.",
            "invalid_language_format",
            "language",
        );
    }
    match asked.response_format.as_deref() {
        Some("verbose_json") if state.refuses_verbose => {
            let message = format!(
                "response_format 'verbose_json' is not compatible with model '{model}'. Use 'json' or 'text' instead."
            );
            refused(&message, "unsupported_value", "response_format")
        }
        Some("verbose_json" | "json") => None,
        _ => refused(
            "Invalid value for response_format.",
            "invalid_value",
            "response_format",
        ),
    }
}

fn refusal(status: u16, message: &str, code: &str, param: Value) -> Response {
    let body = error_json(message, "invalid_request_error", code, param);
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

fn error_json(message: &str, kind: &str, code: &str, param: Value) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Reads the form and decodes its file.
async fn take(headers: &HeaderMap, body: Body) -> Result<Asked, Response> {
    let Ok(body) = to_bytes(body, REQUEST_BYTES_MAX).await else {
        let message = "Maximum content size limit (26214400) exceeded.";
        return Err(refusal(413, message, "content_too_large", Value::Null));
    };
    let mut asked = Asked {
        authorization: text_of(headers, "authorization"),
        content_length: text_of(headers, "content-length").and_then(|length| length.parse().ok()),
        ..Asked::default()
    };
    let content_type = text_of(headers, "content-type").unwrap_or_default();
    let Some(parts) = parts(&content_type, &body) else {
        return Err(refusal(
            400,
            "Could not parse multipart form",
            "invalid_request",
            Value::Null,
        ));
    };
    for part in parts {
        let text = String::from_utf8(part.bytes.to_vec()).ok();
        match part.name.as_str() {
            "file" => {
                asked.file_bytes = part.bytes.len();
                asked.file_name = part.file_name;
                asked.file_type = part.content_type;
                asked.audio = decode_reader(Cursor::new(part.bytes.to_vec()), &Limits::default())
                    .ok()
                    .map(|pcm| (pcm.sample_rate_hz, pcm.channels));
            }
            "model" => asked.model = text,
            "language" => asked.language = text,
            "prompt" => asked.prompt = text,
            "response_format" => asked.response_format = text,
            "temperature" => asked.temperature = text,
            _ => {}
        }
        asked.fields.push(part.name);
    }
    Ok(asked)
}

struct Part<'a> {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    bytes: &'a [u8],
}

/// The parts of a form (RFC 7578); `None` when it is none.
fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let (kind, boundary) = content_type.split_once("boundary=")?;
    if !kind.starts_with("multipart/form-data") {
        return None;
    }
    let boundary = boundary.trim_matches('"');
    let mut rest = body.strip_prefix(format!("--{boundary}").as_bytes())?;
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Vec::new();
    loop {
        if rest.strip_prefix(b"--").is_some() {
            return Some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let (part, after) = split_at(rest, delimiter.as_bytes())?;
        rest = after;
        let (head, bytes) = split_at(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(head).ok()?;
        let line = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let disposition = line("content-disposition")?;
        let parameter = |name: &str| {
            disposition.split(';').find_map(|pair| {
                let (key, value) = pair.trim().split_once('=')?;
                (key == name).then(|| value.trim_matches('"').to_owned())
            })
        };
        parts.push(Part {
            name: parameter("name")?,
            file_name: parameter("filename"),
            content_type: line("content-type"),
            bytes,
        });
    }
}

fn split_at<'a>(bytes: &'a [u8], delimiter: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(delimiter.len())
        .position(|window| window == delimiter)?;
    Some((&bytes[..at], &bytes[at + delimiter.len()..]))
}

/// What the server of this shape answers.
fn answer(shape: Shape, said: &[Said], asked: &Asked, verbose: bool) -> Value {
    let texts: Vec<&str> = said.iter().map(|segment| segment.text.as_str()).collect();
    let text = match shape {
        Shape::WhisperCpp => texts.iter().map(|text| format!(" {text}\n")).collect(),
        Shape::Groq => format!(" {}", texts.join(" ")),
        _ => texts.join(" "),
    };
    if !verbose || shape == Shape::TextOnly {
        return json!({"text": text});
    }
    let segments: Vec<Value> = said
        .iter()
        .enumerate()
        .map(|(id, segment)| segment_json(shape, id, segment))
        .collect();
    let seconds = asked.seconds();
    match shape {
        Shape::OpenAi => json!({
            "task": "transcribe", "language": "hebrew", "duration": seconds, "text": text, "segments": segments,
            "usage": {"type": "duration", "seconds": seconds.ceil()},
        }),
        Shape::Groq => json!({
            "task": "transcribe", "language": "Hebrew", "duration": seconds, "text": text, "segments": segments,
            "x_groq": {"id": "req_01"},
        }),
        Shape::Vllm => json!({
            "duration": seconds.to_string(), "language": "he", "text": text, "segments": segments, "words": null,
        }),
        Shape::FasterWhisper => json!({"text": text, "segments": segments, "words": null, "device": "cpu"}),
        Shape::WhisperCpp => json!({
            "task": "transcribe", "language": "hebrew", "duration": seconds, "text": text, "segments": segments,
            "detected_language": "hebrew", "detected_language_probability": 0.98, "language_probabilities": {"he": 0.98},
        }),
        Shape::TextOnly => json!({"text": text}),
    }
}

fn segment_json(shape: Shape, id: usize, said: &Said) -> Value {
    let Said {
        start_s,
        end_s,
        text,
        avg_logprob,
        no_speech_prob,
    } = said;
    let mut segment = json!({
        "id": id, "seek": 0, "start": start_s, "end": end_s, "text": format!(" {text}"), "tokens": [50364, 2407, 50864],
        "temperature": 0.0, "avg_logprob": avg_logprob, "compression_ratio": 1.2, "no_speech_prob": no_speech_prob,
    });
    match shape {
        Shape::FasterWhisper => {
            segment["id"] = json!((id + 1).to_string());
            segment["start"] = json!(start_s.to_string());
            segment["end"] = json!(end_s.to_string());
            segment["words"] = Value::Null;
            segment["speaker"] = json!("SPEAKER_00");
        }
        Shape::WhisperCpp => {
            segment["words"] =
                json!([{"word": text, "start": start_s, "end": end_s, "t_dtw": -1, "probability": 0.9}]);
        }
        Shape::Vllm => segment["no_speech_prob"] = Value::Null,
        Shape::OpenAi | Shape::Groq | Shape::TextOnly => {}
    }
    segment
}

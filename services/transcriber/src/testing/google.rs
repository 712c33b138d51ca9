//! A double of Google Speech-to-Text v2. It speaks the service's protocol, checks what the service checks (the signed
//! token, limits, languages and models), and answers what a test wants to hear.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use callfold_kit::audio::{Limits, decode_reader};
use callfold_kit::testing::{Fault, TestServer};
use callfold_kit::{Clock as _, SystemClock};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls::SignatureScheme;
use serde_json::{Value, json};

/// The project of the double's key.
pub const PROJECT: &str = "callfold-test";
const ACCOUNT: &str = "transcriber@callfold-test.iam.gserviceaccount.com";
const KEY_ID: &str = "callfold-test-key";
/// Both halves, PEM.
const KEYS: &str = include_str!("google-test-key.pem");
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const AUDIENCE: &str = "https://speech.googleapis.com/";

/// What the service takes at once.
const AUDIO_SECS_MAX: f64 = 60.0;
const AUDIO_BYTES_MAX: usize = 10_000_000;
const PHRASES_MAX: usize = 1_000;
const PHRASE_CHARS_MAX: usize = 100;
/// The longest time a token may be valid, with what clocks may differ.
const TOKEN_SECS_MAX: i64 = 3_600 + 60;

/// What is offered where: location, language, models.
const OFFERS: &[(&str, &str, &[&str])] = &[
    ("eu", "iw-IL", &["chirp_2", "chirp_3"]),
    ("eu", "en-US", &["chirp_2", "chirp_3", "long", "telephony"]),
    ("us", "iw-IL", &["chirp_3"]),
    ("us", "en-US", &["chirp_3", "long", "telephony"]),
    ("global", "iw-IL", &["long"]),
    ("global", "en-US", &["long", "telephony"]),
];

/// A request that was understood.
#[derive(Clone)]
pub struct Asked {
    /// From 0, in the order in which they came.
    pub number: usize,
    /// When it came.
    pub at: Instant,
    /// `config` as it was sent.
    pub config: Value,
    /// The first language.
    pub language: String,
    /// The model.
    pub model: String,
    /// Phrases with their boost.
    pub phrases: Vec<(String, f64)>,
    /// Samples of each channel, -1 to 1.
    pub channels: Vec<Vec<f32>>,
    /// In Hz.
    pub sample_rate_hz: u32,
}

impl Asked {
    /// Length of the audio in seconds.
    pub fn seconds(&self) -> f64 {
        let frames = self.channels.iter().map(Vec::len).max().unwrap_or(0);
        frames as f64 / f64::from(self.sample_rate_hz.max(1))
    }
}

// Audio is long, and phrases are names.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("number", &self.number)
            .field("language", &self.language)
            .field("model", &self.model)
            .field("phrases", &self.phrases.len())
            .field("channels", &self.channels.len())
            .field("seconds", &self.seconds())
            .finish_non_exhaustive()
    }
}

/// What the double answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// One result, from the beginning of the audio to its end.
    Says(String),
    /// Results with their ends, in milliseconds from the beginning of the audio.
    Results(Vec<(String, u64)>),
    /// As for silence: no results.
    Silent,
    /// 200 with this body.
    Json(Value),
    /// A failure in Google's form: HTTP status, its name (`UNAVAILABLE`), details.
    Status(u16, &'static str, Value),
    /// Any answer: status, headers, body.
    Http(u16, Vec<(&'static str, String)>, String),
    /// An answer that comes late.
    Slow(Duration, Box<Answer>),
    /// An answer that meets a fault on its way.
    Faulty(Fault, Box<Answer>),
}

impl Answer {
    /// One result with this text.
    pub fn says(text: &str) -> Self {
        Self::Says(text.to_owned())
    }

    /// A failure in Google's form, without details.
    pub fn status(status: u16, name: &'static str) -> Self {
        Self::Status(status, name, json!([]))
    }

    /// 429 with `Retry-After`: seconds or a date.
    pub fn busy(retry_after: &str) -> Self {
        let body = error_body(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", json!([]));
        Self::Http(
            429,
            vec![("retry-after", retry_after.to_owned())],
            body.to_string(),
        )
    }

    /// A page instead of an answer, as a proxy in between sends it.
    pub fn html(status: u16) -> Self {
        Self::Http(
            status,
            vec![("content-type", "text/html".to_owned())],
            "<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>".to_owned(),
        )
    }

    /// The same answer with a fault on its way.
    #[must_use]
    pub fn with(self, fault: Fault) -> Self {
        Self::Faulty(fault, Box::new(self))
    }

    /// No answer for as long as the client waits.
    pub fn hang() -> Self {
        Self::Silent.with(Fault::Hang)
    }

    /// Half of the JSON, as if it were all.
    pub fn half_json() -> Self {
        Self::says("half").with(Fault::HalfBody)
    }
}

type Script = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

struct Inner {
    script: Mutex<Script>,
    location: Mutex<Option<Answer>>,
    asked: Mutex<Vec<Asked>>,
    /// Requests for recognition, understood or not.
    requests: AtomicUsize,
    questions: AtomicUsize,
    at_once: AtomicUsize,
    at_once_max: AtomicUsize,
}

/// The double, on a free port of this machine.
pub struct GoogleDouble {
    server: TestServer,
    inner: Arc<Inner>,
}

impl GoogleDouble {
    /// Starts one that hears silence.
    pub async fn start() -> Self {
        let inner = Arc::new(Inner {
            script: Mutex::new(Arc::new(|_| Answer::Silent)),
            location: Mutex::default(),
            asked: Mutex::default(),
            requests: AtomicUsize::new(0),
            questions: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            at_once_max: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/v2/projects/{project}/locations/{location}", get(location))
            .route(
                "/v2/projects/{project}/locations/{location}/recognizers/{call}",
                post(recognize),
            )
            .layer(DefaultBodyLimit::max(AUDIO_BYTES_MAX * 2))
            .with_state(Arc::clone(&inner));
        Self {
            server: TestServer::start(router).await,
            inner,
        }
    }

    /// `GOOGLE_SPEECH_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.server.url()
    }

    /// `GOOGLE_APPLICATION_CREDENTIALS`: the key file that this double knows, written into `folder`.
    pub fn credentials_file(&self, folder: &Path) -> PathBuf {
        write_key_file(folder)
    }

    /// The settings that lead to this double; the key file is written into `folder`.
    pub fn settings(&self, folder: &Path) -> Vec<(String, String)> {
        let key = self.credentials_file(folder).display().to_string();
        vec![
            ("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), key),
            ("GOOGLE_SPEECH_ENDPOINT".to_owned(), self.endpoint()),
        ]
    }

    /// Decides every answer from now on. What is no good request is refused before it is asked.
    pub fn script(&self, script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        *lock(&self.inner.script) = Arc::new(script);
    }

    /// Answers every request so from now on.
    pub fn always(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// What the question about a location is answered; `None`: the truth.
    pub fn location(&self, answer: Option<Answer>) {
        *lock(&self.inner.location) = answer;
    }

    /// The good requests so far.
    pub fn requests(&self) -> Vec<Asked> {
        lock(&self.inner.asked).clone()
    }

    /// How many requests for recognition came, good and bad.
    pub fn request_count(&self) -> usize {
        self.inner.requests.load(Ordering::SeqCst)
    }

    /// How often it was asked about a location.
    pub fn question_count(&self) -> usize {
        self.inner.questions.load(Ordering::SeqCst)
    }

    /// Requests that are neither answered nor given up.
    pub fn in_flight(&self) -> usize {
        self.server.in_flight()
    }

    /// The most good requests that were there at once.
    pub fn at_once_max(&self) -> usize {
        self.inner.at_once_max.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A test that panicked says so itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The JSON of the key file that the double knows.
pub fn key_file() -> Value {
    let private = block("PRIVATE KEY");
    json!({
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": KEY_ID,
        "private_key": private,
        "client_email": ACCOUNT,
        "client_id": "0",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    })
}

/// Writes [`key_file`] into a folder.
pub fn write_key_file(folder: &Path) -> PathBuf {
    let path = folder.join("google-test-key.json");
    std::fs::write(&path, key_file().to_string()).expect("a test's folder can be written");
    path
}

/// One PEM block of the test key, with its marks.
fn block(name: &str) -> &'static str {
    let end = format!("-----END {name}-----\n");
    let from = KEYS.find(&format!("-----BEGIN {name}-----"));
    let from = from.expect("the test key has both halves");
    let to = KEYS[from..].find(&end).expect("the block has an end") + from + end.len();
    &KEYS[from..to]
}

fn public_key() -> Vec<u8> {
    let base64: String = block("RSA PUBLIC KEY")
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    BASE64.decode(base64.as_bytes()).expect("the test key is base64")
}

/// A failure in Google's form.
fn error_body(status: u16, name: &str, message: &str, details: Value) -> Value {
    json!({"error": {"code": status, "message": message, "status": name, "details": details}})
}

/// A refusal: its text holds what must not be seen in ours.
struct Refusal(u16, &'static str, String);

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Self(400, "INVALID_ARGUMENT", message.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = error_body(self.0, self.1, &self.2, json!([]));
        (status_code(self.0), Json(body)).into_response()
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a test's status is one")
}

/// Whether the token is one that Google would take: signed by the account itself, for this service or for the cloud.
fn authorized(headers: &HeaderMap, project: &str) -> Result<(), Refusal> {
    let refused = |why: &str| Refusal(401, "UNAUTHENTICATED", format!("token of {ACCOUNT}: {why}"));
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or_else(|| refused("missing"))?;
    let (signed, signature) = token
        .rsplit_once('.')
        .ok_or_else(|| refused("not of three parts"))?;
    let (head, claims) = signed
        .split_once('.')
        .ok_or_else(|| refused("not of three parts"))?;
    let part = |text: &str| -> Option<Value> {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()
    };
    let (Some(head), Some(claims)) = (part(head), part(claims)) else {
        return Err(refused("not JSON"));
    };
    if (&head["alg"], &head["kid"]) != (&json!("RS256"), &json!(KEY_ID)) {
        return Err(refused("another key or algorithm"));
    }
    if (&claims["iss"], &claims["sub"]) != (&json!(ACCOUNT), &json!(ACCOUNT)) {
        return Err(refused("another account"));
    }
    let scopes = claims["scope"].as_str().unwrap_or_default();
    if !scopes.split(' ').any(|scope| scope == SCOPE) && claims["aud"] != AUDIENCE {
        return Err(refused("for something else"));
    }
    let (Some(issued), Some(expires)) = (claims["iat"].as_i64(), claims["exp"].as_i64()) else {
        return Err(refused("without times"));
    };
    let now = SystemClock.now().0 / 1_000;
    if issued > now || expires <= now || expires - issued > TOKEN_SECS_MAX {
        return Err(refused("not of this time"));
    }
    let signature = BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .map_err(|_| refused("without a signature"))?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let is_signed = algorithms
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256)
        .flat_map(|(_, algorithms)| *algorithms)
        .any(|algorithm| {
            algorithm
                .verify_signature(&public_key(), signed.as_bytes(), &signature)
                .is_ok()
        });
    if !is_signed {
        return Err(refused("badly signed"));
    }
    if project != PROJECT {
        return Err(Refusal(
            403,
            "PERMISSION_DENIED",
            format!("{ACCOUNT} may not use {project}"),
        ));
    }
    Ok(())
}

async fn location(
    State(inner): State<Arc<Inner>>,
    UrlPath((project, location)): UrlPath<(String, String)>,
    headers: HeaderMap,
) -> Response {
    inner.questions.fetch_add(1, Ordering::SeqCst);
    if let Err(refusal) = authorized(&headers, &project) {
        return refusal.into_response();
    }
    let scripted = lock(&inner.location).clone();
    if let Some(answer) = scripted {
        return respond(answer, 0.0).await;
    }
    let mut models = serde_json::Map::new();
    for (_, language, offered) in OFFERS.iter().filter(|(place, ..)| *place == location) {
        let features: serde_json::Map<String, Value> = offered
            .iter()
            .map(|model| {
                let punctuation = json!({"feature": "automatic_punctuation", "releaseState": "GA"});
                ((*model).to_owned(), json!({"modelFeature": [punctuation]}))
            })
            .collect();
        models.insert((*language).to_owned(), json!({"modelFeatures": features}));
    }
    if models.is_empty() {
        let message = format!("projects/{project}/locations/{location} was not found");
        return Refusal(404, "NOT_FOUND", message).into_response();
    }
    let metadata = json!({
        "@type": "type.googleapis.com/google.cloud.speech.v2.LocationsMetadata",
        "languages": {"models": models},
        "accessMetadata": {},
    });
    Json(json!({
        "name": format!("projects/{project}/locations/{location}"),
        "locationId": location,
        "displayName": "somewhere",
        "metadata": metadata,
    }))
    .into_response()
}

/// Counts a request while it is there.
struct AtOnce(Arc<Inner>);

impl AtOnce {
    fn new(inner: &Arc<Inner>) -> Self {
        let now = inner.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        inner.at_once_max.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(inner))
    }
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn recognize(
    State(inner): State<Arc<Inner>>,
    UrlPath((project, location, call)): UrlPath<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    inner.requests.fetch_add(1, Ordering::SeqCst);
    let at_once = AtOnce::new(&inner);
    if let Err(refusal) = authorized(&headers, &project) {
        return refusal.into_response();
    }
    let mut asked = match understood(&location, &call, &body) {
        Ok(asked) => asked,
        Err(refusal) => return refusal.into_response(),
    };
    let script = lock(&inner.script).clone();
    {
        let mut all = lock(&inner.asked);
        asked.number = all.len();
        all.push(asked.clone());
    }
    let seconds = asked.seconds();
    let answer = respond(script(&asked), seconds).await;
    drop(at_once);
    answer
}

/// Checks what the service checks.
fn understood(location: &str, call: &str, body: &Value) -> Result<Asked, Refusal> {
    if call != "_:recognize" {
        return Err(Refusal(404, "NOT_FOUND", format!("no recognizer {call}")));
    }
    let config = &body["config"];
    let languages = config["languageCodes"].as_array().map_or(&[][..], Vec::as_slice);
    let [Value::String(language)] = languages else {
        return Err(Refusal::invalid("one language code is needed here"));
    };
    let model = config["model"].as_str().unwrap_or_default();
    let is_offered = OFFERS.iter().any(|(place, code, models)| {
        *place == location && (code == language || language == "auto") && models.contains(&model)
    });
    if !is_offered {
        return Err(Refusal::invalid(format!(
            "The model \"{model}\" does not exist in {location} for {language}."
        )));
    }
    let features = &config["features"];
    for name in ["profanityFilter", "enableSpokenPunctuation", "enableSpokenEmojis"] {
        if features[name] == true && model.starts_with("chirp") {
            return Err(Refusal::invalid(format!(
                "Recognizer does not support feature: {name}"
            )));
        }
    }
    if !config["autoDecodingConfig"].is_object() {
        return Err(Refusal::invalid("no decoding config"));
    }
    let phrases = phrases(config)?;
    let content = body["content"].as_str().unwrap_or_default();
    let content = BASE64
        .decode(content.as_bytes())
        .map_err(|_| Refusal::invalid("content is not base64"))?;
    if content.len() > AUDIO_BYTES_MAX {
        return Err(Refusal::invalid("Request audio exceeds the limit of 10 MB."));
    }
    let pcm = decode_reader(std::io::Cursor::new(content), &Limits::default())
        .map_err(|_| Refusal::invalid("Audio data does not appear to be in a supported encoding."))?;
    let asked = Asked {
        number: 0,
        at: Instant::now(),
        config: config.clone(),
        language: language.clone(),
        model: model.to_owned(),
        phrases,
        channels: pcm.channels,
        sample_rate_hz: pcm.sample_rate_hz,
    };
    if asked.seconds() > AUDIO_SECS_MAX {
        return Err(Refusal::invalid("Audio can be of a maximum of 60 seconds."));
    }
    Ok(asked)
}

fn phrases(config: &Value) -> Result<Vec<(String, f64)>, Refusal> {
    let sets = config["adaptation"]["phraseSets"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    for set in sets {
        let phrases = set["inlinePhraseSet"]["phrases"].as_array();
        for phrase in phrases.map_or(&[][..], Vec::as_slice) {
            let text = phrase["value"].as_str().unwrap_or_default();
            let boost = phrase["boost"].as_f64().unwrap_or(0.0);
            let is_good = (1..=PHRASE_CHARS_MAX).contains(&text.chars().count());
            if !is_good || !(0.0..=20.0).contains(&boost) {
                return Err(Refusal::invalid("a phrase or its boost is out of bounds"));
            }
            found.push((text.to_owned(), boost));
        }
    }
    if found.len() > PHRASES_MAX {
        return Err(Refusal::invalid("too many phrases"));
    }
    Ok(found)
}

async fn respond(answer: Answer, seconds: f64) -> Response {
    let metadata = json!({"totalBilledDuration": format!("{}s", seconds.ceil()), "requestId": "1"});
    let result = |text: &str, end_ms: u64| {
        json!({
            "alternatives": [{"transcript": text, "confidence": 0.9}],
            "resultEndOffset": format!("{}.{:03}s", end_ms / 1_000, end_ms % 1_000),
            "languageCode": "iw-IL",
        })
    };
    let answered =
        |results: Vec<Value>| Json(json!({"results": results, "metadata": metadata.clone()})).into_response();
    match answer {
        Answer::Says(text) => answered(vec![result(&text, (seconds * 1_000.0) as u64)]),
        Answer::Results(results) => answered(
            results
                .iter()
                .map(|(text, end_ms)| result(text, *end_ms))
                .collect(),
        ),
        Answer::Silent => Json(json!({"metadata": metadata})).into_response(),
        Answer::Json(body) => Json(body).into_response(),
        Answer::Status(status, name, details) => {
            let message = format!("a message that names {PROJECT} and {ACCOUNT}");
            let body = error_body(status, name, &message, details);
            (status_code(status), Json(body)).into_response()
        }
        Answer::Http(status, headers, body) => {
            let mut answer = (status_code(status), body).into_response();
            for (name, value) in headers {
                let value = value.parse().expect("a test's header is one");
                answer.headers_mut().insert(name, value);
            }
            answer
        }
        Answer::Slow(delay, answer) => {
            tokio::time::sleep(delay).await;
            Box::pin(respond(*answer, seconds)).await
        }
        // Here, so that the request counts as being there for as long as it is.
        Answer::Faulty(Fault::Hang, _) => std::future::pending().await,
        Answer::Faulty(Fault::Held(released), answer) => {
            released.cancelled().await;
            Box::pin(respond(*answer, seconds)).await
        }
        Answer::Faulty(fault, answer) => fault.on(Box::pin(respond(*answer, seconds)).await),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::http::Extensions;
    use google_cloud_auth::credentials::{CacheableResource, service_account};

    use super::*;

    async fn signed(key: Value, scope: &str) -> HeaderMap {
        callfold_kit::http::install_tls();
        let scopes = service_account::AccessSpecifier::from_scopes([scope]);
        let credentials = service_account::Builder::new(key)
            .with_access_specifier(scopes)
            .build()
            .unwrap();
        match credentials.headers(Extensions::new()).await.unwrap() {
            CacheableResource::New { data, .. } => data,
            CacheableResource::NotModified => panic!("nothing was there before"),
        }
    }

    #[tokio::test]
    async fn only_tokens_of_the_account_and_its_key_are_taken() {
        let refusal = |headers: &HeaderMap| authorized(headers, PROJECT).err().map(|refusal| refusal.2);
        let refused = |why: &str| Some(format!("token of {ACCOUNT}: {why}"));
        let good = signed(key_file(), SCOPE).await;
        assert_eq!(refusal(&good), None);
        assert_eq!(
            authorized(&good, "other").err().map(|refusal| refusal.0),
            Some(403)
        );
        assert_eq!(refusal(&HeaderMap::new()), refused("missing"));
        let other = signed(key_file(), "https://www.googleapis.com/auth/drive").await;
        assert_eq!(refusal(&other), refused("for something else"));
        for (name, why) in [
            ("client_email", "another account"),
            ("private_key_id", "another key or algorithm"),
        ] {
            let mut key = key_file();
            key[name] = json!("x");
            assert_eq!(refusal(&signed(key, SCOPE).await), refused(why));
        }
        let token = good[header::AUTHORIZATION].to_str().unwrap().to_owned();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut turned = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        turned[100] ^= 1;
        let mut bad = HeaderMap::new();
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&turned));
        bad.insert(header::AUTHORIZATION, token.parse().unwrap());
        assert_eq!(refusal(&bad), refused("badly signed"));
    }
}

//! Plays one call as Twilio would: posts the voice webhook, obeys the TwiML that comes back, sends the callbacks it asked
//! for, in Twilio's order, with Twilio's parameters, tries and signatures.

use std::time::Duration;

use bytes::Bytes;
use callfold_twilio::{PublicUrl, SIGNATURE_HEADER, path, sign};
use rand::RngExt;
use tokio::time::Instant;
use url::Url;

use super::media::{Account, MediaHost};

/// Twilio's bound on one request with all its tries.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);

/// A message to be left.
#[derive(Clone)]
pub struct Message {
    /// A name for reports.
    pub name: String,
    /// The audio file.
    pub audio: Bytes,
    /// `audio/x-wav` or `audio/mpeg`.
    pub content_type: &'static str,
    /// Its length in milliseconds.
    pub duration_ms: u64,
}

/// When the caller hangs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HangUp {
    /// After the message.
    #[default]
    AfterMessage,
    /// While the greeting is being spoken: nothing is recorded.
    InGreeting,
}

/// The callbacks of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Callback {
    /// The recording began.
    RecordingInProgress,
    /// The `action` of `<Record>`.
    RecordAction,
    /// The recording can be fetched.
    RecordingCompleted,
    /// The call is over.
    CallCompleted,
}

impl Callback {
    /// The order in which Twilio fires them.
    pub const TWILIO_ORDER: [Callback; 4] = [
        Callback::RecordingInProgress,
        Callback::RecordAction,
        Callback::RecordingCompleted,
        Callback::CallCompleted,
    ];
}

/// How a call goes.
#[derive(Clone)]
pub struct Script {
    /// The caller: E.164 or `anonymous`.
    pub from: String,
    /// The number that is called.
    pub to: String,
    /// What is left as a message.
    pub message: Message,
    /// When the caller hangs up.
    pub hang_up: HangUp,
    /// How often each webhook is sent, as Twilio's edges and retries do at times.
    pub repeat: u32,
    /// The order of the callbacks.
    pub order: Vec<Callback>,
    /// How often the media host answers 404 first.
    pub media_not_yet: u32,
    /// Whether speaking takes the time it takes.
    pub real_time: bool,
}

impl Script {
    /// A caller who leaves this message.
    pub fn leaves(message: Message) -> Self {
        Self {
            from: "+972501234567".to_owned(),
            to: "+97239999999".to_owned(),
            message,
            hang_up: HangUp::AfterMessage,
            repeat: 1,
            order: Callback::TWILIO_ORDER.to_vec(),
            media_not_yet: 0,
            real_time: false,
        }
    }
}

/// One request that was made.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What it was.
    pub what: What,
    /// The status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// How long the answer took.
    pub took: Duration,
    /// How many tries it took.
    pub tries: u32,
}

/// Which webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The voice webhook.
    Voice,
    /// A callback.
    Callback(Callback),
}

/// How a call went.
#[derive(Debug, Clone)]
pub struct Played {
    /// The call.
    pub call_sid: String,
    /// The recording, when one was made.
    pub recording_sid: Option<String>,
    /// Every request.
    pub sent: Vec<Sent>,
    /// What the caller heard.
    pub heard: Vec<String>,
    /// When the caller hung up.
    pub hung_up: Instant,
}

/// Why a call could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The voice webhook was not answered.
    #[error("no answer to the voice webhook")]
    NoAnswer(#[source] reqwest::Error),
    /// The voice webhook refused.
    #[error("the voice webhook answered {status}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
    /// The answer is not TwiML.
    #[error("the voice webhook's answer is not TwiML: {0}")]
    NotTwiml(String),
    /// A URL in the TwiML.
    #[error("a URL in the TwiML is not one")]
    BadUrl(#[source] url::ParseError),
}

/// Twilio, as far as callfold sees it.
#[derive(Clone)]
pub struct Player {
    /// For webhooks.
    http: reqwest::Client,
    /// The account.
    account: Account,
    /// The URL that Twilio was given; signatures are made over it.
    public: PublicUrl,
    /// Where it is reached from here.
    connect: String,
    /// The media host.
    media: MediaHost,
}

impl Player {
    /// A player for the system at `connect` (`http://127.0.0.1:5000`), known to Twilio as `public`.
    pub fn new(
        http: reqwest::Client,
        account: Account,
        public: PublicUrl,
        connect: &Url,
        media: MediaHost,
    ) -> Self {
        Self {
            http,
            account,
            public,
            connect: connect.as_str().trim_end_matches('/').to_owned(),
            media,
        }
    }

    /// The media host.
    pub fn media(&self) -> &MediaHost {
        &self.media
    }

    /// Plays a call to its end.
    pub async fn play(&self, script: &Script) -> Result<Played, PlayError> {
        let call_sid = new_sid("CA");
        let mut played = Played {
            call_sid: call_sid.clone(),
            recording_sid: None,
            sent: Vec::new(),
            heard: Vec::new(),
            hung_up: Instant::now(),
        };
        let voice_url = self.public.join(path::VOICE);
        let mut document = String::new();
        for _ in 0..script.repeat.max(1) {
            let form = self.call_form(&call_sid, script, "ringing");
            document = self.voice(&voice_url, &form, &mut played).await?;
        }
        let verbs = parse_twiml(&document).map_err(PlayError::NotTwiml)?;
        let mut record = None;
        for verb in verbs {
            match verb {
                Verb::Say(text) => {
                    if script.real_time {
                        // Some 14 characters a second, as the standard voices speak.
                        tokio::time::sleep(Duration::from_millis(text.chars().count() as u64 * 70)).await;
                    }
                    played.heard.push(text);
                    if script.hang_up == HangUp::InGreeting {
                        break;
                    }
                }
                Verb::Record(attributes) => {
                    record = Some(attributes);
                    // Control passes to the action's document: what follows <Record> is not reached.
                    break;
                }
                Verb::Hangup => break,
            }
        }
        if let Some(record) = record {
            self.record(&call_sid, script, &record, &voice_url, &mut played)
                .await?;
        } else {
            played.hung_up = Instant::now();
            self.callback(Callback::CallCompleted, &call_sid, script, None, &mut played)
                .await?;
        }
        Ok(played)
    }

    async fn record(
        &self,
        call_sid: &str,
        script: &Script,
        record: &Record,
        document_url: &str,
        played: &mut Played,
    ) -> Result<(), PlayError> {
        let recording_sid = new_sid("RE");
        let duration_ms = script
            .message
            .duration_ms
            .min(u64::from(record.max_length_s) * 1_000);
        let made = Made {
            recording_sid: recording_sid.clone(),
            url: self.media.recording_url(&recording_sid),
            duration_s: duration_ms.div_ceil(1_000),
            action: resolve(document_url, record.action.as_deref().unwrap_or(document_url))?,
            status_callback: match &record.status_callback {
                Some(url) => Some(resolve(document_url, url)?),
                None => None,
            },
            events: record.events.clone(),
        };
        if script.real_time {
            tokio::time::sleep(Duration::from_millis(duration_ms)).await;
        }
        let message = &script.message;
        self.media.keep(
            &recording_sid,
            message.audio.clone(),
            message.content_type,
            script.media_not_yet,
        );
        played.recording_sid = Some(recording_sid);
        played.hung_up = Instant::now();
        for callback in &script.order {
            self.callback(*callback, call_sid, script, Some(&made), played)
                .await?;
        }
        Ok(())
    }

    async fn callback(
        &self,
        callback: Callback,
        call_sid: &str,
        script: &Script,
        made: Option<&Made>,
        played: &mut Played,
    ) -> Result<(), PlayError> {
        let (url, form) = match (callback, made) {
            (Callback::CallCompleted, _) => {
                let mut form = self.call_form(call_sid, script, "completed");
                let seconds = made.map_or(3, |made| made.duration_s + 7);
                form.push(("CallDuration".to_owned(), seconds.to_string()));
                form.push(("Duration".to_owned(), seconds.div_ceil(60).to_string()));
                form.push(("Timestamp".to_owned(), rfc2822_now()));
                form.push(("CallbackSource".to_owned(), "call-progress-events".to_owned()));
                form.push(("SequenceNumber".to_owned(), "0".to_owned()));
                (self.public.join(path::STATUS), form)
            }
            (Callback::RecordAction, Some(made)) => {
                let mut form = self.call_form(call_sid, script, "completed");
                form.push(("RecordingUrl".to_owned(), made.url.clone()));
                form.push(("RecordingSid".to_owned(), made.recording_sid.clone()));
                form.push(("RecordingDuration".to_owned(), made.duration_s.to_string()));
                form.push(("Digits".to_owned(), "hangup".to_owned()));
                (made.action.clone(), form)
            }
            (Callback::RecordingInProgress | Callback::RecordingCompleted, Some(made)) => {
                let status = if callback == Callback::RecordingCompleted {
                    "completed"
                } else {
                    "in-progress"
                };
                let Some(url) = made
                    .status_callback
                    .clone()
                    .filter(|_| made.events.iter().any(|e| e == status))
                else {
                    // It was not asked for.
                    return Ok(());
                };
                let mut form: Vec<(String, String)> = [
                    ("AccountSid", self.account.sid.as_str()),
                    ("CallSid", call_sid),
                    ("RecordingSid", &made.recording_sid),
                    ("RecordingUrl", &made.url),
                    ("RecordingStatus", status),
                    ("RecordingChannels", "1"),
                    ("RecordingSource", "RecordVerb"),
                    ("RecordingStartTime", &rfc2822_now()),
                    ("RecordingTrack", "both"),
                    ("ErrorCode", "0"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
                if callback == Callback::RecordingCompleted {
                    form.push(("RecordingDuration".to_owned(), made.duration_s.to_string()));
                }
                (url, form)
            }
            (Callback::RecordAction | Callback::RecordingInProgress | Callback::RecordingCompleted, None) => {
                return Ok(());
            }
        };
        for _ in 0..script.repeat.max(1) {
            let began = Instant::now();
            let (answer, tries) = self.send(&url, &form).await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            played.sent.push(Sent {
                what: What::Callback(callback),
                status,
                took: began.elapsed(),
                tries,
            });
        }
        Ok(())
    }

    async fn voice(
        &self,
        url: &str,
        form: &[(String, String)],
        played: &mut Played,
    ) -> Result<String, PlayError> {
        let began = Instant::now();
        let (answer, tries) = self.send(url, form).await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        let took = began.elapsed();
        played.sent.push(Sent {
            what: What::Voice,
            status,
            took,
            tries,
        });
        let answer = answer.map_err(PlayError::NoAnswer)?;
        let status = answer.status();
        let text = answer.text().await.map_err(PlayError::NoAnswer)?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(PlayError::Refused {
                status: status.as_u16(),
                text: text.chars().take(200).collect(),
            })
        }
    }

    /// Posts a form with signature and idempotency token, and tries again as the URL's fragment says.
    async fn send(
        &self,
        url: &str,
        form: &[(String, String)],
    ) -> (Result<reqwest::Response, reqwest::Error>, u32) {
        let (address, fragment) = url.split_once('#').unwrap_or((url, ""));
        let overrides = Overrides::parse(fragment);
        let connect = match address.strip_prefix(self.public.as_str().trim_end_matches('/')) {
            Some(rest) => format!("{}{rest}", self.connect),
            None => address.to_owned(),
        };
        let body = callfold_twilio::Form::from_fields(form.to_vec()).encode();
        let token = format!("{:032x}", rand::rng().random::<u128>());
        let deadline = Instant::now() + TOTAL_TIMEOUT;
        let mut tries = 0;
        loop {
            tries += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            let mut request = self
                .http
                .post(&connect)
                .timeout(overrides.read_timeout.min(left))
                .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
                .header("user-agent", "TwilioProxy/1.1")
                .header("i-twilio-idempotency-token", &token)
                .body(body.clone());
            if let Some(auth) = &self.account.token {
                request = request.header(SIGNATURE_HEADER, sign(address, form, auth));
            }
            let answer = request.send().await;
            let again = match &answer {
                Ok(answer) => {
                    (answer.status().is_client_error() && overrides.on_4xx)
                        || (answer.status().is_server_error() && overrides.on_5xx)
                }
                Err(error) if error.is_connect() => true,
                Err(_) => overrides.on_timeout,
            };
            if !again || tries > overrides.retries || Instant::now() >= deadline {
                return (answer, tries);
            }
        }
    }

    fn call_form(&self, call_sid: &str, script: &Script, status: &str) -> Vec<(String, String)> {
        [
            ("AccountSid", self.account.sid.as_str()),
            ("ApiVersion", "2010-04-01"),
            ("CallSid", call_sid),
            ("CallStatus", status),
            ("Called", &script.to),
            ("Caller", &script.from),
            ("Direction", "inbound"),
            ("From", &script.from),
            ("FromCity", ""),
            ("FromCountry", "IL"),
            ("FromState", ""),
            ("FromZip", ""),
            ("To", &script.to),
            ("ToCity", ""),
            ("ToCountry", "IL"),
            ("ToState", ""),
            ("ToZip", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// What is known of a recording when its callbacks are sent.
struct Made {
    recording_sid: String,
    url: String,
    duration_s: u64,
    action: String,
    status_callback: Option<String>,
    events: Vec<String>,
}

/// `#rc=5&rp=all&rt=3000`: how often and when a request is tried again.
struct Overrides {
    retries: u32,
    on_4xx: bool,
    on_5xx: bool,
    on_timeout: bool,
    read_timeout: Duration,
}

impl Overrides {
    fn parse(fragment: &str) -> Self {
        let mut overrides = Self {
            retries: 1,
            on_4xx: false,
            on_5xx: false,
            on_timeout: false,
            read_timeout: TOTAL_TIMEOUT,
        };
        for (name, value) in url::form_urlencoded::parse(fragment.as_bytes()) {
            match name.as_ref() {
                "rc" => overrides.retries = value.parse().map_or(1, |n: u32| n.min(5)),
                "rt" => {
                    let ms = value.parse().map_or(15_000, |ms: u64| ms.clamp(100, 15_000));
                    overrides.read_timeout = Duration::from_millis(ms);
                }
                "rp" => {
                    for part in value.split(',') {
                        overrides.on_4xx |= matches!(part, "4xx" | "all");
                        overrides.on_5xx |= matches!(part, "5xx" | "all");
                        overrides.on_timeout |= matches!(part, "rt" | "all");
                    }
                }
                _ => {}
            }
        }
        overrides
    }
}

/// What TwiML asks for, as far as it is asked for here.
enum Verb {
    Say(String),
    Record(Record),
    Hangup,
}

struct Record {
    action: Option<String>,
    max_length_s: u32,
    status_callback: Option<String>,
    events: Vec<String>,
}

fn parse_twiml(text: &str) -> Result<Vec<Verb>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "Response" {
        return Err(format!(
            "the root is <{}>, not <Response>",
            root.tag_name().name()
        ));
    }
    let mut verbs = Vec::new();
    for node in root.children().filter(roxmltree::Node::is_element) {
        verbs.push(match node.tag_name().name() {
            "Say" => Verb::Say(node.text().unwrap_or_default().to_owned()),
            "Hangup" => Verb::Hangup,
            "Record" => Verb::Record(Record {
                action: node.attribute("action").map(str::to_owned),
                // Twilio's default.
                max_length_s: node
                    .attribute("maxLength")
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(3_600),
                status_callback: node.attribute("recordingStatusCallback").map(str::to_owned),
                events: node
                    .attribute("recordingStatusCallbackEvent")
                    .unwrap_or("completed")
                    .split_ascii_whitespace()
                    .map(str::to_owned)
                    .collect(),
            }),
            other => return Err(format!("<{other}> is not played here")),
        });
    }
    Ok(verbs)
}

/// A URL of the document: absolute, or relative to the document's own. Fragments stay.
fn resolve(document_url: &str, url: &str) -> Result<String, PlayError> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(url.to_owned());
    }
    let base = Url::parse(document_url).map_err(PlayError::BadUrl)?;
    base.join(url).map(String::from).map_err(PlayError::BadUrl)
}

fn new_sid(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::rng().random::<u128>())
}

/// `Fri, 20 Aug 2010 01:13:42 +0000`
fn rfc2822_now() -> String {
    let now = callfold_kit::Clock::now(&callfold_kit::SystemClock);
    let moment = jiff::Timestamp::from_millisecond(now.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_read_from_the_fragment() {
        let overrides = Overrides::parse("rc=5&rp=all&rt=3000&tt=15000&e=frankfurt,dublin");
        assert_eq!(
            (overrides.retries, overrides.read_timeout),
            (5, Duration::from_secs(3))
        );
        assert!(overrides.on_4xx && overrides.on_5xx && overrides.on_timeout);
        let plain = Overrides::parse("");
        assert_eq!(plain.retries, 1);
        assert!(!plain.on_4xx && !plain.on_5xx && !plain.on_timeout);
    }

    #[test]
    fn twiml_is_read_and_what_is_not_twiml_is_refused() {
        let verbs = parse_twiml(
            r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say>שלום</Say><Record action="/a#rc=1" maxLength="180"
               recordingStatusCallback="http://h/r" recordingStatusCallbackEvent="in-progress completed"/><Hangup/></Response>"#,
        )
        .expect("is TwiML");
        let [Verb::Say(text), Verb::Record(record), Verb::Hangup] = verbs.as_slice() else {
            panic!("three verbs")
        };
        assert_eq!((text.as_str(), record.max_length_s), ("שלום", 180));
        assert_eq!(record.events, ["in-progress", "completed"]);
        assert_eq!(
            resolve("http://h:1/webhook/voice", "/a#rc=1").expect("a URL"),
            "http://h:1/a#rc=1"
        );
        assert!(parse_twiml("<html/>").is_err());
        assert!(parse_twiml("<Response><Dial>1</Dial></Response>").is_err());
    }
}

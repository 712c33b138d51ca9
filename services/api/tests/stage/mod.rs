//! A stage for the api: a real broker, a real SQLite table, a folder of recordings, and leads in every state. What the
//! projector does is done here in one line, event by event.

#![allow(dead_code, reason = "the tests and the example use different parts")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use callfold_api::{Api, ApiConfig, Deps, Warnings, build};
use callfold_kit::blob::{BlobConfig, Blobs, recording_key};
use callfold_kit::clock::SharedClock;
use callfold_kit::testing::{TestNats, all_events, publish};
use callfold_kit::{Bus, Lifecycle, Metrics, Secret};
use callfold_lead::{LeadState, lead_view};
use callfold_schema::event::{
    CallEnded, CallStarted, Caller, EngineFailure, FailureClass, MissingReason, RecordingDownloaded,
    RecordingMissing, RecordingReady, RecordingStarted, Segment, Speaker, StageFailed, SummaryReady,
    TranscriptReady, Urgency,
};
use callfold_schema::subject::{Key, LEAD_CHANGED};
use callfold_schema::{CallSid, Event, NewEvent, PhoneNumber, RecordingSid, Run, Stage, UnixMillis};
use callfold_store::{Batch, Change, Claim, ReadLeads, WriteLeads};
use callfold_store_sqlite::SqliteStore;
use tower::ServiceExt;

/// The API token of the stage.
pub(crate) const TOKEN: &str = "a-token-for-tests-only";
const WRITER: &str = "stage";

/// Everything the api stands on.
pub(crate) struct TestStage {
    pub(crate) nats: TestNats,
    pub(crate) bus: Bus,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) blobs: Blobs,
    pub(crate) clock: SharedClock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) metrics: Metrics,
    pub(crate) folder: tempfile::TempDir,
    states: HashMap<CallSid, LeadState>,
    position: u64,
}

impl TestStage {
    pub(crate) async fn start(clock: SharedClock) -> Self {
        let nats = TestNats::start().await;
        let bus = nats.bus().await;
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("leads.db")).await.unwrap();
        assert!(matches!(
            store.claim(WRITER, true).await.unwrap(),
            Claim::Granted(_)
        ));
        store.reset(WRITER, bus.stream_identity()).await.unwrap();
        let blobs = Blobs::open(&BlobConfig::folder(&folder.path().join("recordings")).unwrap()).unwrap();
        Self {
            nats,
            bus,
            store: Arc::new(store),
            blobs,
            clock,
            lifecycle: Lifecycle::new(),
            metrics: Metrics::new(),
            folder,
            states: HashMap::new(),
            position: 0,
        }
    }

    /// The api over this stage. `public_url` decides on cookies.
    pub(crate) async fn api(&self, public_url: Option<&str>, warnings: Warnings) -> Api {
        let config = ApiConfig {
            token: Some(Secret::new(TOKEN)),
            public_url: public_url.map(|url| url.parse().unwrap()),
            timezone: jiff::tz::TimeZone::get("Asia/Jerusalem").unwrap(),
        };
        let deps = Deps {
            bus: self.bus.clone(),
            leads: Arc::clone(&self.store) as Arc<dyn ReadLeads>,
            blobs: self.blobs.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            lifecycle: self.lifecycle.clone(),
            warnings: Box::new(move || warnings),
        };
        build(config, deps).await.unwrap()
    }

    /// Publishes, folds, writes, and tells that the lead changed.
    pub(crate) async fn tell(&mut self, event: NewEvent) -> u64 {
        let position = publish(&self.bus, &event).await;
        self.fold(position, event).await;
        position
    }

    /// Folds what the api has published.
    pub(crate) async fn catch_up(&mut self) {
        for stored in all_events(&self.bus).await {
            if stored.position > self.position {
                let record = stored.decode().unwrap();
                let event = NewEvent {
                    envelope: record.envelope,
                    event: record.event,
                };
                self.fold(stored.position, event).await;
            }
        }
    }

    async fn fold(&mut self, position: u64, event: NewEvent) {
        let call_sid = event.envelope.subject.call_sid.clone();
        let state = self
            .states
            .entry(call_sid.clone())
            .or_insert_with(|| LeadState::new(call_sid));
        state.apply(position, &event.envelope, &event.event.encode().unwrap());
        let lead = lead_view(state).unwrap();
        let batch = Batch {
            identity: self.bus.stream_identity().to_owned(),
            from: self.position,
            to: position,
            changes: vec![Change::new(&lead, state).unwrap()],
            erased: vec![],
            unreadable: Vec::new(),
        };
        self.store.apply(WRITER, &batch).await.unwrap();
        self.position = position;
        self.bus
            .notify(LEAD_CHANGED, Bytes::from_static(b"{}"))
            .await
            .unwrap();
    }

    /// A call that is told step by step.
    pub(crate) fn call(&mut self, sid: &str, from: &str, began: UnixMillis) -> TestCall<'_> {
        let recording = RecordingSid::parse(&format!("RE{sid}")).unwrap();
        TestCall {
            sid: CallSid::parse(&format!("CA{sid}")).unwrap(),
            recording,
            from: from.into(),
            name: None,
            now: began,
            stage: self,
        }
    }
}

/// A call on the stage; every step takes three seconds.
pub(crate) struct TestCall<'a> {
    pub(crate) stage: &'a mut TestStage,
    pub(crate) sid: CallSid,
    pub(crate) recording: RecordingSid,
    from: PhoneNumber,
    name: Option<String>,
    now: UnixMillis,
}

impl TestCall<'_> {
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    async fn tell(mut self, key: Key, event: impl Into<Event>) -> Self {
        let event = NewEvent::new(self.sid.clone(), key, self.now, event);
        self.stage.tell(event).await;
        self.now.0 += 3_000;
        self
    }

    pub(crate) async fn started(self) -> Self {
        let started = CallStarted {
            account_sid: String::new(),
            from: self.from.clone(),
            to: "+97239999999".into(),
            direction: "inbound".to_owned(),
            caller: Caller {
                name: self.name.clone(),
                country: Some("IL".to_owned()),
                ..Caller::default()
            },
            greeting: "שלום".to_owned(),
            voice: "Google.he-IL-Standard-A".to_owned(),
            language: "he-IL".to_owned(),
            record_max_s: 120,
            idempotency_token: None,
            form: Vec::new(),
        };
        self.tell(Key::single(), started).await
    }

    pub(crate) async fn recording(self) -> Self {
        let started = RecordingStarted {
            recording_sid: self.recording.clone(),
            started_at: Some(self.now),
            idempotency_token: None,
            form: Vec::new(),
        };
        let key = Key::recording(self.recording.clone());
        self.tell(key, started).await
    }

    pub(crate) async fn ended(self) -> Self {
        let ended = CallEnded {
            status: "completed".to_owned(),
            duration_s: Some(31),
            ended_at: None,
            idempotency_token: None,
            form: Vec::new(),
        };
        self.tell(Key::single(), ended).await
    }

    pub(crate) async fn missing(self, reason: MissingReason) -> Self {
        let missing = RecordingMissing {
            recording_sid: None,
            reason,
            error_code: None,
            idempotency_token: None,
            form: Vec::new(),
        };
        self.tell(Key::missing(None, reason.token()), missing).await
    }

    pub(crate) async fn recorded(self) -> Self {
        let ready = RecordingReady {
            recording_sid: self.recording.clone(),
            account_sid: String::new(),
            media_url: "https://api.twilio.com/recordings/abc".to_owned(),
            duration_s: Some(24),
            channels: Some(1),
            source: Some("RecordVerb".to_owned()),
            started_at: Some(self.now),
            idempotency_token: None,
            form: Vec::new(),
        };
        let key = Key::recording(self.recording.clone());
        self.tell(key, ready).await
    }

    /// Puts a tone of `seconds` into the store and says so.
    pub(crate) async fn downloaded(self, seconds: u32) -> Self {
        let audio = tone(seconds);
        let blob_key = recording_key(&self.sid, &self.recording, Run::FIRST, "wav");
        let file = self.stage.folder.path().join("tone.wav");
        std::fs::write(&file, &audio).unwrap();
        let file = std::fs::File::open(&file).unwrap();
        self.stage.blobs.put(&blob_key, file).await.unwrap();
        let downloaded = RecordingDownloaded {
            blob_key,
            bytes: audio.len() as u64,
            sha256: "0".repeat(64),
            content_type: "audio/x-wav".to_owned(),
            duration_ms: u64::from(seconds) * 1000,
            sample_rate_hz: 8000,
            channels: 1,
            elapsed_ms: 212,
        };
        let key = Key::stage(self.recording.clone(), Run::FIRST);
        self.tell(key, downloaded).await
    }

    pub(crate) async fn transcribed(self, pieces: &[&str]) -> Self {
        let ready = Self::transcript(pieces);
        let key = Key::stage(self.recording.clone(), Run::FIRST);
        self.tell(key, ready).await
    }

    /// Two channels, caller and business in turn, after engines that gave no answer.
    pub(crate) async fn spoken_by_two(self, pieces: &[&str], failed_engines: Vec<EngineFailure>) -> Self {
        let mut ready = Self::transcript(pieces);
        for (segment, channel) in ready.segments.iter_mut().zip([0, 1].into_iter().cycle()) {
            segment.channel = channel;
            segment.speaker = Speaker::of_channel(channel, 2);
        }
        ready.failed_engines = failed_engines;
        let key = Key::stage(self.recording.clone(), Run::FIRST);
        self.tell(key, ready).await
    }

    fn transcript(pieces: &[&str]) -> TranscriptReady {
        let piece_ms = 24_000 / pieces.len().max(1) as u64;
        let segments = pieces.iter().zip(0_u64..).map(|(text, n)| Segment {
            start_ms: n * piece_ms,
            end_ms: (n + 1) * piece_ms,
            channel: 0,
            speaker: None,
            text: (*text).to_owned(),
            confidence: None,
            words: Vec::new(),
        });
        TranscriptReady {
            text: pieces.join(" "),
            segments: segments.collect(),
            language: "he".to_owned(),
            engine: "whisper".to_owned(),
            model: "ggml-micro-he".to_owned(),
            failed_engines: Vec::new(),
            pieces: 1,
            audio_ms: 24_000,
            elapsed_ms: 3_140,
        }
    }

    pub(crate) async fn summarized(self, title: &str, points: &[&str], engine: &str) -> Self {
        let ready = Self::summary(title, points, engine);
        let key = Key::stage(self.recording.clone(), Run::FIRST);
        self.tell(key, ready).await
    }

    /// A summary in which the caller said name, number and topic, and that it is urgent.
    pub(crate) async fn summarized_with(
        self,
        title: &str,
        points: &[&str],
        [name, number, topic]: [&str; 3],
    ) -> Self {
        let ready = SummaryReady {
            caller_name: Some(name.to_owned()),
            callback_number: Some(number.to_owned()),
            topic: Some(topic.to_owned()),
            urgency: Some(Urgency::High),
            ..Self::summary(title, points, "openai")
        };
        let key = Key::stage(self.recording.clone(), Run::FIRST);
        self.tell(key, ready).await
    }

    fn summary(title: &str, points: &[&str], engine: &str) -> SummaryReady {
        SummaryReady {
            title: title.to_owned(),
            points: points.iter().map(|point| (*point).to_owned()).collect(),
            text: format!("{title}\n{}", points.join("\n")),
            caller_name: None,
            callback_number: None,
            topic: None,
            urgency: None,
            engine: engine.to_owned(),
            model: String::new(),
            prompt_version: 1,
            failed_engines: Vec::new(),
            parts: 1,
            tries: 0,
            tokens_in: None,
            tokens_out: None,
            elapsed_ms: 45,
        }
    }

    /// A failed attempt; the last one when `next` says no time.
    pub(crate) async fn failed(
        self,
        stage: Stage,
        attempt: u32,
        class: FailureClass,
        text: &str,
        next: Option<i64>,
    ) -> Self {
        let failed = StageFailed {
            attempts_max: 8,
            class,
            text: text.to_owned(),
            next_attempt_at: next.map(|ms| UnixMillis(self.now.0 + ms)),
            delivery: 1,
            elapsed_ms: 300,
        };
        let key = Key::failure(self.recording.clone(), Run::FIRST, stage, attempt);
        self.tell(key, failed).await
    }
}

/// A WAV file: a quiet tone, 8 kHz, one channel, 16 bits.
pub(crate) fn tone(seconds: u32) -> Vec<u8> {
    let samples = seconds * 8000;
    let bytes = samples * 2;
    let mut wav = Vec::with_capacity(44 + bytes as usize);
    wav.extend(b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        wav.extend(half.to_le_bytes());
    }
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(16000_u32.to_le_bytes());
    for half in [2_u16, 16] {
        wav.extend(half.to_le_bytes());
    }
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    for n in 0..samples {
        let sample = (f64::from(n) * 440.0 * std::f64::consts::TAU / 8000.0).sin() * 1500.0;
        #[expect(clippy::cast_possible_truncation, reason = "1500 at most")]
        wav.extend((sample as i16).to_le_bytes());
    }
    wav
}

/// One lead in every state, the last told first in the queue. Gives the calls by a short name.
pub(crate) async fn every_state(stage: &mut TestStage, now: UnixMillis) {
    let ago = |minutes: i64| UnixMillis(now.0 - minutes * 60_000);
    let call = stage
        .call("old", "+97235551234", ago(60 * 24 * 3))
        .started()
        .await
        .recording()
        .await
        .ended()
        .await;
    let call = call.recorded().await.downloaded(12).await;
    let call = call
        .transcribed(&["שלום, אשמח שתחזרו אליי בנוגע להזמנה 4471-B של Acme Ltd. תודה."])
        .await;
    call.summarized("בירור על הזמנה 4471-B של Acme Ltd", &["לחזור בטלפון"], "openai")
        .await;

    let call = stage
        .call("yesterday", "anonymous", ago(60 * 20))
        .started()
        .await
        .recording()
        .await
        .ended()
        .await;
    let call = call.recorded().await.downloaded(3).await;
    call.transcribed(&[]).await;

    let call = stage
        .call("hungup", "+15551234567", ago(95))
        .named("<script>alert(1)</script>")
        .started()
        .await;
    call.ended().await.missing(MissingReason::NeverLeft).await;

    let call = stage
        .call("failed", "+972501112233", ago(50))
        .started()
        .await
        .recording()
        .await
        .ended()
        .await;
    let call = call.recorded().await;
    let call = call.failed(
        Stage::Download,
        1,
        FailureClass::Unavailable,
        "HTTP 503 from the media host",
        Some(2000),
    );
    call.await
        .failed(
            Stage::Download,
            8,
            FailureClass::NotFound,
            "HTTP 404 from the media host",
            None,
        )
        .await;

    let call = stage
        .call("deadline", "+97286667777", ago(41))
        .started()
        .await
        .recording()
        .await
        .ended()
        .await;
    call.missing(MissingReason::DeadlinePassed).await;

    let call = stage
        .call("done", "+972501234567", ago(12))
        .named("דוד כהן")
        .started()
        .await
        .recording()
        .await;
    let call = call.ended().await.recorded().await.downloaded(24).await;
    let call = call
        .transcribed(&[
            "שלום, מדבר דוד כהן מתל אביב.",
            "אני רוצה לקבל הצעת מחיר לשיפוץ מטבח, בערך 12 מטר.",
            "הכי נוח לחזור אליי היום אחרי 16:00 לנייד.",
            "אפשר גם לשלוח לי מייל ל־david@example.com. תודה!",
        ])
        .await;
    call.summarized(
        "הצעת מחיר לשיפוץ מטבח בתל אביב",
        &[
            "מטבח של כ־12 מטר, מבקש הצעת מחיר",
            "לחזור היום אחרי 16:00 לנייד 050-123-4567",
        ],
        "extractive",
    )
    .await;

    let call = stage
        .call("summarizing", "+972541239876", ago(3))
        .started()
        .await
        .recording()
        .await
        .ended()
        .await;
    let call = call.recorded().await.downloaded(18).await;
    call.transcribed(&["מדברת רונית מרמת גן.", "אני רוצה לקבל ייעוץ לניקיון משרד."])
        .await;

    let call = stage
        .call("retrying", "+972527654321", ago(2))
        .started()
        .await
        .recording()
        .await
        .ended()
        .await;
    let call = call.recorded().await.downloaded(15).await;
    call.failed(
        Stage::Transcribe,
        3,
        FailureClass::Timeout,
        "no answer within 30 s",
        Some(45_000),
    )
    .await;

    let call = stage
        .call("transcribing", "+972587654321", ago(1))
        .started()
        .await
        .recording()
        .await
        .ended()
        .await;
    call.recorded().await.downloaded(31).await;

    stage
        .call("recording", "+972771112222", UnixMillis(now.0 - 20_000))
        .started()
        .await
        .recording()
        .await;
    stage
        .call("new", "+442079460000", UnixMillis(now.0 - 5_000))
        .started()
        .await;
}

/// Leads whose summaries say more than headline and points: one with two speakers, one of a withheld number.
pub(crate) async fn with_more_said(stage: &mut TestStage, now: UnixMillis) {
    let failed = |engine: &str, class, text: &str, elapsed_ms| EngineFailure {
        engine: engine.to_owned(),
        model: String::new(),
        class,
        text: text.to_owned(),
        elapsed_ms,
    };
    let passed = vec![
        failed("google", FailureClass::Unavailable, "HTTP 503", 8_204),
        failed("openai", FailureClass::Resting, "failed 5 times in a row", 0),
    ];
    let call = stage
        .call("two", "+972501234567", UnixMillis(now.0 - 60_000))
        .named("LEVI DANA")
        .started()
        .await
        .recording()
        .await;
    let call = call.ended().await.recorded().await.downloaded(24).await;
    let call = call
        .spoken_by_two(&["המזגן לא עובד, זה דחוף.", "מאיפה את מדברת?", "מחיפה."], passed)
        .await;
    let said = ["דנה <b>לוי</b>", "0527654321", "תיקון מזגן"];
    call.summarized_with("מזגן שהתקלקל בחיפה", &["לחזור היום"], said)
        .await;

    let call = stage
        .call("hidden", "anonymous", UnixMillis(now.0 - 40_000))
        .started()
        .await
        .recording()
        .await;
    let call = call.ended().await.recorded().await.downloaded(9).await;
    let call = call.transcribed(&["תחזרו אליי בבקשה."]).await;
    call.summarized_with("בקשה לחזור", &[], ["", "+97231234567", ""])
        .await;
}

/// Leads that try a card: forty minutes, a name that is markup, a headline without an end, a caller who calls often.
pub(crate) async fn odd_ones(stage: &mut TestStage, now: UnixMillis) {
    let ago = |minutes: i64| UnixMillis(now.0 - minutes * 60_000);
    for n in 0..8_i64 {
        let sid = format!("often{n}");
        let call = stage
            .call(&sid, "+972501234567", ago(9_000 - n * 1_000))
            .started()
            .await;
        let call = call.recorded().await.downloaded(2).await;
        let call = call.transcribed(&["שלום, שוב אני."]).await;
        let headline = format!("פנייה {} בנושא השיפוץ, עם עוד כמה פרטים על מה שסוכם", n + 1);
        call.summarized(&headline, &[], "extractive").await;
    }
    let call = stage
        .call("long", "+972501234567", ago(7))
        .named("<script>alert(1)</script>")
        .started()
        .await;
    let call = call.recorded().await.downloaded(24).await;
    let pieces: Vec<String> = (0..480)
        .map(|n| format!("משפט מספר {n} בשיחה ארוכה מאוד, שבה נאמרים דברים רבים ואין לה סוף."))
        .collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let call = call.spoken_by_two(&pieces, Vec::new()).await;
    let headline = "כותרת ארוכה מאוד שאינה נגמרת ".repeat(7);
    call.summarized(&headline, &["נקודה אחת", "נקודה שנייה"], "openai")
        .await;
}

/// Sends a request to a router.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

/// `GET` with the API token.
pub(crate) async fn get(router: &Router, path: &str) -> Response<Body> {
    send(router, with_token(path).body(Body::empty()).unwrap()).await
}

/// A `GET` with the API token, to which headers can be added.
pub(crate) fn with_token(path: &str) -> axum::http::request::Builder {
    Request::get(path).header("authorization", format!("Bearer {TOKEN}"))
}

/// The whole body as text.
pub(crate) async fn text(response: Response<Body>) -> String {
    String::from_utf8(bytes(response).await.to_vec()).unwrap()
}

/// The whole body.
pub(crate) async fn bytes(response: Response<Body>) -> Bytes {
    http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes()
}

/// The whole body as JSON.
pub(crate) async fn json(response: Response<Body>) -> serde_json::Value {
    serde_json::from_slice(&bytes(response).await).unwrap()
}

/// How long a test waits for something that comes by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

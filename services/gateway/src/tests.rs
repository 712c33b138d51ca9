//! The router against a real broker.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use callfold_kit::Numbers;
use callfold_kit::bus::Bus;
use callfold_kit::clock::TestClock;
use callfold_kit::health::Health;
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::metric::{CounterName, Metrics};
use callfold_kit::testing::{TestNats, wait_for};
use callfold_schema::event::{CallStarted, RecordingReady};
use callfold_schema::{CallSid, Event, EventKind, Key, RecordingSid, Subject, UnixMillis};
use callfold_twilio::{AuthToken, Form, PublicUrl, path, sign};
use tower::ServiceExt as _;

use crate::{Deps, GatewayConfig, VOICE_ACCEPT_WAIT, WEBHOOK_BYTES_MAX, build};

const VOICE_BODY: &str = "CallSid=CA_test&From=+1555&To=+1555";
const DONE_BODY: &str = "CallSid=CA_test&RecordingUrl=https://api.twilio.com/recordings/abc123";

struct Stack {
    nats: TestNats,
    bus: Bus,
    router: Router,
    metrics: Metrics,
    health: Health,
    gateway: crate::Gateway,
}

async fn stack_with(config: GatewayConfig) -> Stack {
    stack_of(config, Numbers::none()).await
}

async fn stack_of(config: GatewayConfig, numbers: Numbers) -> Stack {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let (metrics, health) = (Metrics::new(), Health::new());
    let deps = Deps {
        bus: bus.clone(),
        clock: TestClock::at(UnixMillis(1_000)),
        metrics: metrics.clone(),
        health: health.clone(),
        numbers,
    };
    let gateway = build(config, "127.0.0.1:5000".parse().unwrap(), deps);
    Stack {
        nats,
        bus,
        router: gateway.router(),
        metrics,
        health,
        gateway,
    }
}

async fn stack() -> Stack {
    stack_with(GatewayConfig::default()).await
}

fn request(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("I-Twilio-Idempotency-Token", "5e6f")
        .body(body.into())
        .unwrap()
}

impl Stack {
    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> StatusCode {
        self.send(request(path, body.to_owned())).await.status()
    }

    async fn event(&self, call: &str, kind: EventKind, key: Key) -> Option<Event> {
        let subject = Subject::new(CallSid::parse(call).unwrap(), kind, key);
        Some(self.bus.find(&subject).await.unwrap()?.decode().unwrap().event)
    }

    async fn messages(&self) -> u64 {
        self.bus.stream_state().await.unwrap().messages
    }

    fn counted(&self, route: &str, outcome: &str) -> u64 {
        self.metrics
            .counted(CounterName::Webhooks, &[("route", route), ("outcome", outcome)])
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

fn recording(sid: &str) -> Key {
    Key::recording(RecordingSid::parse(sid).unwrap())
}

#[tokio::test]
async fn a_call_is_answered_with_twiml_and_recorded() {
    let stack = stack().await;
    let response = stack.send(request(path::VOICE, VOICE_BODY)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/xml; charset=utf-8"
    );
    let answer = text(response).await;
    let document = roxmltree::Document::parse(&answer).unwrap();
    let record = document
        .descendants()
        .find(|node| node.has_tag_name("Record"))
        .unwrap();
    assert!(
        record
            .attribute("action")
            .unwrap()
            .starts_with("http://127.0.0.1:5000/webhook/twilio/record_action#")
    );
    let Some(Event::CallStarted(CallStarted {
        from,
        idempotency_token,
        form,
        ..
    })) = stack
        .event("CA_test", EventKind::CallStarted, Key::single())
        .await
    else {
        panic!("call_started is in the stream")
    };
    assert_eq!(from.as_str(), "+1555");
    assert_eq!(idempotency_token.as_deref(), Some("5e6f"));
    assert_eq!(form.len(), 3);
    assert_eq!(stack.counted("voice", "ok"), 1);
}

const TWO_NUMBERS: &str = r#"
[default]
goodbye = "Goodbye from all."
[numbers."+97239999999"]
greeting = "The first, <quickly> & clearly."
voice = "Google.he-IL-Wavenet-B"
record_max_secs = 42
goodbye = "Goodbye from the first."
[numbers."+97248888888"]
greeting = "We are closed."
record = false
"#;

#[tokio::test]
async fn each_number_has_its_own_answer_and_closing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.toml");
    std::fs::write(&path, TWO_NUMBERS).unwrap();
    let numbers = Numbers::load(&path, crate::numbers::check()).unwrap();
    let stack = stack_of(GatewayConfig::default(), numbers.clone()).await;
    let call = async |name: &str, to: &str| {
        let body = format!("CallSid={name}&From=%2B972501234567&{to}");
        let answer = text(stack.send(request(path::VOICE, body.clone())).await).await;
        let closing = text(stack.send(request(path::RECORD_ACTION, body)).await).await;
        let event = stack.event(name, EventKind::CallStarted, Key::single()).await;
        let Some(Event::CallStarted(started)) = event else {
            panic!("call_started is in the stream")
        };
        (answer, closing, started)
    };
    // A plus that was not escaped is a space in a form, and an older field says the same.
    for (name, to) in [
        ("CA_1", "To=%2B97239999999"),
        ("CA_2", "To=+97239999999"),
        ("CA_3", "Called=%2B97239999999"),
    ] {
        let (answer, closing, started) = call(name, to).await;
        assert!(
            answer.contains("The first, &lt;quickly&gt; &amp; clearly."),
            "{answer}"
        );
        assert!(answer.contains("maxLength=\"42\"") && answer.contains("he-IL-Wavenet-B"));
        assert!(closing.contains("Goodbye from the first."), "{closing}");
        assert_eq!(started.to.as_str(), "+97239999999");
        assert_eq!(started.greeting, "The first, <quickly> & clearly.");
        assert_eq!(
            (started.record_max_s, started.voice.as_str()),
            (42, "Google.he-IL-Wavenet-B")
        );
    }
    let (answer, _, started) = call("CA_4", "To=%2B97248888888").await;
    assert!(answer.contains("We are closed.") && answer.contains("<Hangup/>"));
    assert!(!answer.contains("<Record") && answer.matches("<Say").count() == 1);
    assert_eq!(
        (started.record_max_s, started.greeting.as_str()),
        (0, "We are closed.")
    );
    for (name, to) in [
        ("CA_5", "To=%2B97230000000"),
        ("CA_6", "To=client%3Aanna"),
        ("CA_7", ""),
    ] {
        let (answer, closing, started) = call(name, to).await;
        assert!(
            answer.contains("<Record ") && closing.contains("Goodbye from all."),
            "{to}"
        );
        assert_eq!(started.record_max_s, 180);
        assert_eq!(started.greeting, callfold_twilio::Script::default().greeting);
    }

    // A change holds for the next call.
    let lifecycle = Lifecycle::new();
    stack.gateway.watch(&lifecycle);
    let part = stack.health.part("numbers", false);
    let every = Duration::from_millis(20);
    numbers.watch_every(every, &lifecycle, part, stack.metrics.clone());
    std::fs::write(&path, TWO_NUMBERS.replace("record = false", "record = true")).unwrap();
    wait_for("the changed answer", async || {
        let body = "CallSid=CA_8&To=%2B97248888888";
        let answer = text(stack.send(request(path::VOICE, body)).await).await;
        assert!(answer.contains("We are closed."));
        answer.contains("<Record ").then_some(())
    })
    .await;
    lifecycle.stop();
    lifecycle.stopped(Duration::from_secs(30)).await.unwrap();
}

#[tokio::test]
async fn a_webhook_sent_many_times_is_one_event() {
    let stack = stack().await;
    let sent = [
        (path::VOICE, VOICE_BODY, StatusCode::OK),
        (path::RECORDING_DONE, DONE_BODY, StatusCode::OK),
        (
            path::STATUS,
            "CallSid=CA_test&CallStatus=completed&CallDuration=7",
            StatusCode::NO_CONTENT,
        ),
    ];
    for (path, body, expected) in sent {
        for _ in 0..3 {
            assert_eq!(stack.post(path, body).await, expected, "{path}");
        }
    }
    let mut together = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let router = stack.router.clone();
        together.spawn(async move {
            router
                .oneshot(request(path::VOICE, "CallSid=CA_two"))
                .await
                .unwrap()
                .status()
        });
    }
    assert!(
        together
            .join_all()
            .await
            .into_iter()
            .all(|status| status == StatusCode::OK)
    );
    assert_eq!(stack.messages().await, 4);
}

#[tokio::test]
async fn a_recording_of_an_unknown_call_is_kept_and_answered_204() {
    let stack = stack().await;
    assert_eq!(
        stack.post(path::RECORDING_DONE, DONE_BODY).await,
        StatusCode::NO_CONTENT
    );
    let ready = stack
        .event("CA_test", EventKind::RecordingReady, recording("abc123"))
        .await;
    let Some(Event::RecordingReady(RecordingReady { media_url, .. })) = ready else {
        panic!("recording_ready is in the stream")
    };
    assert_eq!(media_url, "https://api.twilio.com/recordings/abc123");
    assert_eq!(stack.post(path::VOICE, VOICE_BODY).await, StatusCode::OK);
    let response = stack.send(request(path::RECORDING_DONE, DONE_BODY)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text(response).await.contains("<Response/>"));
}

#[tokio::test]
async fn a_call_that_another_gateway_took_is_known() {
    let stack = stack().await;
    assert_eq!(stack.post(path::VOICE, VOICE_BODY).await, StatusCode::OK);
    let deps = Deps {
        bus: stack.bus.clone(),
        clock: TestClock::at(UnixMillis(1_000)),
        metrics: Metrics::new(),
        health: Health::new(),
        numbers: Numbers::none(),
    };
    let other = build(GatewayConfig::default(), "127.0.0.1:5001".parse().unwrap(), deps).router();
    let response = other
        .oneshot(request(path::RECORDING_DONE, DONE_BODY))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn each_recording_status_is_its_own_event() {
    let stack = stack().await;
    for status in ["in-progress", "completed", "absent", "failed", "paused"] {
        let body =
            format!("CallSid=CA_test&RecordingSid=RE1&RecordingUrl=https://a/RE1&RecordingStatus={status}");
        assert_eq!(
            stack.post(path::RECORDING_DONE, &body).await,
            StatusCode::NO_CONTENT,
            "{status}"
        );
    }
    let re1 = || recording("RE1");
    assert!(
        stack
            .event("CA_test", EventKind::RecordingStarted, re1())
            .await
            .is_some()
    );
    assert!(
        stack
            .event("CA_test", EventKind::RecordingReady, re1())
            .await
            .is_some()
    );
    for reason in ["absent", "failed"] {
        let key = Key::missing(Some(RecordingSid::parse("RE1").unwrap()), reason);
        assert!(
            stack
                .event("CA_test", EventKind::RecordingMissing, key)
                .await
                .is_some(),
            "{reason}"
        );
    }
    assert_eq!(stack.messages().await, 4);
    assert_eq!(stack.counted("recording_done", "ignored_status"), 1);
}

#[tokio::test]
async fn only_the_end_of_a_call_is_recorded_and_the_action_never_is() {
    let stack = stack().await;
    for status in ["ringing", "in-progress", ""] {
        let body = format!("CallSid=CA_test&CallStatus={status}");
        assert_eq!(stack.post(path::STATUS, &body).await, StatusCode::NO_CONTENT);
    }
    let body =
        "CallSid=CA_test&RecordingSid=RE1&RecordingUrl=https://a/RE1&RecordingDuration=3&Digits=hangup";
    let response = stack.send(request(path::RECORD_ACTION, body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/xml; charset=utf-8"
    );
    let closing = text(response).await;
    assert!(closing.contains("<Hangup/>") && !closing.contains("<Record"));
    assert_eq!(stack.messages().await, 0);
    assert_eq!(
        stack
            .post(path::STATUS, "CallSid=CA_test&CallStatus=no-answer")
            .await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(stack.messages().await, 1);
}

#[tokio::test]
async fn what_cannot_be_an_event_is_refused_and_not_recorded() {
    let stack = stack().await;
    let many = vec!["a=1"; 201].join("&");
    let large = "a".repeat(WEBHOOK_BYTES_MAX + 1);
    for (path, body, expected) in [
        (path::VOICE, "", StatusCode::BAD_REQUEST),
        (path::VOICE, "CallSid=CA.1", StatusCode::BAD_REQUEST),
        (path::VOICE, "CallSid=%ff", StatusCode::BAD_REQUEST),
        (path::VOICE, &many, StatusCode::BAD_REQUEST),
        (path::VOICE, &large, StatusCode::PAYLOAD_TOO_LARGE),
        (
            path::RECORDING_DONE,
            "CallSid=CA1&RecordingSid=R.E&RecordingUrl=https://a/b",
            StatusCode::BAD_REQUEST,
        ),
        (path::RECORDING_DONE, "CallSid=CA1", StatusCode::BAD_REQUEST),
        (
            path::STATUS,
            "CallSid=*&CallStatus=completed",
            StatusCode::BAD_REQUEST,
        ),
    ] {
        assert_eq!(stack.post(path, body).await, expected, "{path}");
    }
    let get = Request::get(path::VOICE).body(Body::empty()).unwrap();
    assert_eq!(stack.send(get).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(stack.messages().await, 0);
}

#[tokio::test]
async fn signatures_are_checked_when_a_token_is_set() {
    let stack = stack_with(GatewayConfig {
        tokens: AuthToken::parse_list("12345,next"),
        public_url: Some(PublicUrl::parse("https://calls.example.com").unwrap()),
        ..GatewayConfig::default()
    })
    .await;
    let target = format!("{}?a=%7e&b='", path::VOICE);
    let fields = Form::parse(VOICE_BODY.as_bytes()).unwrap();
    let url = format!("https://calls.example.com{target}");
    let signed = |signature: Option<&str>, target: &str, body: &str| {
        let mut request = request(target, body.to_owned());
        if let Some(signature) = signature {
            request
                .headers_mut()
                .insert("X-Twilio-Signature", signature.parse().unwrap());
        }
        request
    };
    for token in ["12345", "next"] {
        let good = sign(&url, fields.fields(), &AuthToken::new(token));
        assert_eq!(
            stack
                .send(signed(Some(&good), &target, VOICE_BODY))
                .await
                .status(),
            StatusCode::OK
        );
    }
    let good = sign(&url, fields.fields(), &AuthToken::new("12345"));
    for (signature, target, body, expected) in [
        (None, target.as_str(), VOICE_BODY, StatusCode::BAD_REQUEST),
        (Some(""), &target, VOICE_BODY, StatusCode::BAD_REQUEST),
        (Some("wrong"), &target, VOICE_BODY, StatusCode::FORBIDDEN),
        (
            Some(good.as_str()),
            path::VOICE,
            VOICE_BODY,
            StatusCode::FORBIDDEN,
        ),
        (
            Some(&good),
            &target,
            "CallSid=CA_other&From=+1555&To=+1555",
            StatusCode::FORBIDDEN,
        ),
        (
            Some(&good),
            path::RECORD_ACTION,
            VOICE_BODY,
            StatusCode::FORBIDDEN,
        ),
    ] {
        assert_eq!(
            stack.send(signed(signature, target, body)).await.status(),
            expected
        );
    }
    for path in [path::RECORDING_DONE, path::RECORD_ACTION, path::STATUS] {
        assert_eq!(
            stack.post(path, DONE_BODY).await,
            StatusCode::BAD_REQUEST,
            "{path}"
        );
    }
    assert_eq!(stack.messages().await, 1);
}

#[tokio::test]
async fn without_the_broker_the_caller_is_greeted_and_callbacks_are_refused() {
    let stack = stack().await;
    assert_eq!(stack.post(path::VOICE, VOICE_BODY).await, StatusCode::OK);
    stack.nats.broker().kill_and_hold().await;
    let started = Instant::now();
    let response = stack.send(request(path::VOICE, "CallSid=CA_dark")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text(response).await.contains("<Record "));
    // The design's bound for the caller, far above the wait that is named in the code.
    assert!(started.elapsed() < VOICE_ACCEPT_WAIT + Duration::from_millis(500));
    assert_eq!(stack.counted("voice", "answered_unrecorded"), 1);
    let status = "CallSid=CA_test&CallStatus=completed";
    let (done, ended) = tokio::join!(
        stack.post(path::RECORDING_DONE, DONE_BODY),
        stack.post(path::STATUS, status)
    );
    assert_eq!(
        (done, ended),
        (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(stack.counted("recording_done", "not_durable"), 1);

    stack.nats.broker().resume().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while stack.post(path::RECORDING_DONE, DONE_BODY).await != StatusCode::OK {
        assert!(
            Instant::now() < deadline,
            "callbacks are taken again once the broker is back"
        );
    }
    assert!(
        stack
            .event("CA_test", EventKind::RecordingReady, recording("abc123"))
            .await
            .is_some()
    );
}

#[tokio::test]
async fn readiness_follows_the_broker() {
    let stack = stack().await;
    assert!(!stack.health.readiness().ready);
    let lifecycle = Lifecycle::new();
    stack.gateway.watch(&lifecycle);
    let deadline = Duration::from_secs(30);
    tokio::time::timeout(deadline, stack.health.ready())
        .await
        .unwrap();
    stack.nats.broker().kill_and_hold().await;
    let mut every = tokio::time::interval(Duration::from_millis(20));
    tokio::time::timeout(deadline, async {
        while stack.health.readiness().ready {
            every.tick().await;
        }
    })
    .await
    .unwrap();
    stack.nats.broker().resume().await;
    tokio::time::timeout(deadline, stack.health.ready())
        .await
        .unwrap();
    lifecycle.stop();
    lifecycle.stopped(deadline).await.unwrap();
}

//! The handler against a server that speaks the real protocol and misbehaves on demand.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use callfold_kit::secret::Secret;
use callfold_schema::event::TranscriptReady;
use callfold_schema::{CallSid, Key, NewEvent, Record, RecordingSid, Run, UnixMillis};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::model::OpenAi;

const TEXT: &str =
    "שמי מיכל פרץ מחיפה. אני מבקשת הצעת מחיר לביטוח דירה בנתניה. אפשר להתקשר אליי ביום חמישי בשעה שבע.";

/// What the server does with one request.
enum Answer {
    Says(&'static str),
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    Silence,
}

#[derive(Default)]
struct Server {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<(HeaderMap, Value)>>,
}

async fn complete(State(server): State<Arc<Server>>, headers: HeaderMap, body: String) -> Response<Body> {
    server
        .asked
        .lock()
        .unwrap()
        .push((headers, serde_json::from_str(&body).unwrap()));
    let answer = server.answers.lock().unwrap().pop_front();
    let (status, headers, body): (_, &[(&str, &str)], String) = match answer {
        Some(Answer::Says(text)) => {
            let body = json!({
                "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 321, "completion_tokens": 45},
            });
            (200, &[], body.to_string())
        }
        Some(Answer::Status(status, headers, body)) => (status, headers, body.to_owned()),
        Some(Answer::Silence) => std::future::pending().await,
        None => (500, &[], "nothing left to say".to_owned()),
    };
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body)).unwrap()
}

/// A handler whose model is the server, and the server.
async fn with_server(answers: Vec<Answer>, budget: Duration) -> (Summarizer, Arc<Server>) {
    let server = Arc::new(Server {
        answers: Mutex::new(answers.into()),
        asked: Mutex::default(),
    });
    let router = axum::Router::new()
        .route("/v1/chat/completions", post(complete))
        .with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let http = callfold_kit::http::client_builder().build().unwrap();
    let model = OpenAi::new(http, &base_url, &Secret::new("sk-test"), "test-model");
    let retry_pause = Duration::from_millis(1);
    let ask_first = AskFirst {
        model: Arc::new(model),
        budget,
        retry_pause,
    };
    (Summarizer::new(Some(ask_first), Metrics::new()), server)
}

fn job(text: &str) -> Job {
    let transcript = TranscriptReady {
        text: text.to_owned(),
        segments: Vec::new(),
        language: "he".to_owned(),
        engine: "whisper".to_owned(),
        model: "m".to_owned(),
        failed_engines: Vec::new(),
        audio_ms: 9_000,
        elapsed_ms: 1,
    };
    let (call_sid, recording) = (
        CallSid::parse("CA1").unwrap(),
        RecordingSid::parse("RE1").unwrap(),
    );
    let key = Key::stage(recording.clone(), Run::FIRST);
    let NewEvent { envelope, event } = NewEvent::new(call_sid.clone(), key, UnixMillis(0), transcript);
    Job {
        record: Record { envelope, event },
        call_sid,
        recording,
        run: Run::FIRST,
        attempt: 1,
        attempts_max: 8,
        accepted_at: UnixMillis(0),
        delivery: 1,
        cancel: CancellationToken::new(),
    }
}

async fn summary(handler: &Summarizer, text: &str) -> SummaryReady {
    match handler.handle(&job(text)).await {
        Outcome::Done(event) => match *event {
            Event::SummaryReady(summary) => summary,
            other => panic!("{:?}", other.kind()),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_model_s_summary_is_the_answer() {
    let says =
        r#"{"title": "מבקשת הצעת מחיר לביטוח דירה", "points": ["מיכל פרץ מחיפה", "לחזור ביום חמישי בשבע"]}"#;
    let (handler, server) = with_server(vec![Answer::Says(says)], Duration::from_secs(20)).await;
    let summary = summary(&handler, TEXT).await;
    assert_eq!(summary.title, "מבקשת הצעת מחיר לביטוח דירה");
    assert_eq!(summary.points, ["מיכל פרץ מחיפה", "לחזור ביום חמישי בשבע"]);
    assert_eq!(
        summary.text,
        "מבקשת הצעת מחיר לביטוח דירה\nמיכל פרץ מחיפה\nלחזור ביום חמישי בשבע"
    );
    assert_eq!(
        (summary.engine.as_str(), summary.model.as_str()),
        ("openai", "test-model")
    );
    assert_eq!((summary.tokens_in, summary.tokens_out), (Some(321), Some(45)));
    assert!(summary.failed_engines.is_empty());

    let asked = server.asked.lock().unwrap();
    let (headers, body) = &asked[0];
    assert_eq!(asked.len(), 1);
    assert_eq!(headers["authorization"], "Bearer sk-test");
    assert_eq!(body["model"], "test-model");
    assert!((body["temperature"].as_f64().unwrap() - 0.2).abs() < 1e-6);
    assert!(body["max_tokens"].as_u64().unwrap() <= 500);
    assert_eq!(body["messages"][0]["role"], "system");
    assert_eq!(body["messages"][0]["content"], prompt::SYSTEM);
    assert_eq!(body["messages"][1]["role"], "user");
    let data: Value = serde_json::from_str(body["messages"][1]["content"].as_str().unwrap()).unwrap();
    assert_eq!(data, json!({ "transcript": TEXT }));
}

#[tokio::test]
async fn each_failure_gives_the_offline_summary_and_says_why() {
    let ok: &[(&str, &str)] = &[];
    let secret = r#"{"error": {"message": "you sent: שמי מיכל", "type": "x"}}"#;
    let table: Vec<(Vec<Answer>, FailureClass, usize)> = vec![
        (
            vec![Answer::Status(401, ok, secret)],
            FailureClass::Credentials,
            1,
        ),
        (vec![Answer::Status(404, ok, secret)], FailureClass::NotFound, 1),
        (vec![Answer::Status(400, ok, secret)], FailureClass::Refused, 1),
        (
            vec![Answer::Status(307, &[("location", "http://127.0.0.1:1/")], "")],
            FailureClass::Refused,
            1,
        ),
        (
            vec![Answer::Status(503, ok, "x"), Answer::Status(502, ok, "y")],
            FailureClass::Unavailable,
            2,
        ),
        (
            vec![Answer::Status(429, &[("retry-after", "3600")], secret)],
            FailureClass::RateLimited,
            1,
        ),
        (
            vec![Answer::Status(200, ok, "<html>שמי מיכל</html>")],
            FailureClass::Invalid,
            1,
        ),
        (
            vec![Answer::Status(200, ok, r#"{"choices": []}"#)],
            FailureClass::Invalid,
            1,
        ),
        (
            vec![Answer::Status(
                200,
                ok,
                r#"{"choices": [{"message": {"content": null}}]}"#,
            )],
            FailureClass::Invalid,
            1,
        ),
        (
            vec![Answer::Status(
                200,
                ok,
                r#"{"choices": [{"message": {"content": "{\"ti"}, "finish_reason": "length"}]}"#,
            )],
            FailureClass::Invalid,
            1,
        ),
        (vec![Answer::Says("{\"title\": \"מב")], FailureClass::Invalid, 1),
        (vec![Answer::Says("…")], FailureClass::Invalid, 1),
        (vec![Answer::Silence], FailureClass::Timeout, 1),
    ];
    for (index, (answers, class, requests)) in table.into_iter().enumerate() {
        let is_silent = matches!(answers[0], Answer::Silence);
        let budget = Duration::from_millis(if is_silent { 100 } else { 20_000 });
        let (handler, server) = with_server(answers, budget).await;
        let summary = summary(&handler, TEXT).await;
        assert_eq!(
            summary.title, "אני מבקשת הצעת מחיר לביטוח דירה בנתניה",
            "row {index}"
        );
        assert_eq!(
            (summary.engine.as_str(), summary.model.as_str()),
            ("extractive", "")
        );
        assert_eq!(summary.failed_engines.len(), 1);
        assert_eq!(
            (
                summary.failed_engines[0].engine.as_str(),
                summary.failed_engines[0].class
            ),
            ("openai", class),
            "row {index}"
        );
        assert!(!summary.failed_engines[0].text.contains("מיכל"), "row {index}");
        assert_eq!(server.asked.lock().unwrap().len(), requests, "row {index}");
    }
}

#[tokio::test]
async fn a_passing_failure_is_asked_again() {
    let answers = vec![Answer::Status(503, &[], ""), Answer::Says("מבקשת הצעה\n- מיכל")];
    let (handler, server) = with_server(answers, Duration::from_secs(20)).await;
    let summary = summary(&handler, TEXT).await;
    assert_eq!(
        (summary.engine.as_str(), summary.title.as_str()),
        ("openai", "מבקשת הצעה")
    );
    assert_eq!(server.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let handler = |router: axum::Router| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = callfold_kit::http::client_builder().build().unwrap();
        let model = OpenAi::new(http, &base_url, &Secret::new("k"), "m");
        let ask_first = AskFirst {
            model: Arc::new(model),
            budget: Duration::from_secs(20),
            retry_pause: Duration::ZERO,
        };
        Summarizer::new(Some(ask_first), Metrics::new())
    };
    let endless = || async {
        let chunk = || Ok::<_, std::convert::Infallible>(" ".repeat(16 * 1024));
        Body::from_stream(futures::stream::repeat_with(chunk))
    };
    let handler = handler(axum::Router::new().route("/v1/chat/completions", post(endless))).await;
    let summary = summary(&handler, TEXT).await;
    assert_eq!(summary.failed_engines[0].class, FailureClass::Invalid);
}

#[tokio::test]
async fn without_a_model_the_summary_is_the_offline_one() {
    let handler = Summarizer::new(None, Metrics::new());
    let summary = summary(&handler, TEXT).await;
    assert_eq!(summary.engine, "extractive");
    assert!(summary.failed_engines.is_empty());
    assert_eq!(summary.text.lines().count(), 3);
}

#[tokio::test]
async fn silence_has_no_summary_and_no_model_is_asked() {
    let (handler, server) = with_server(vec![Answer::Says("לקוח מרוצה")], Duration::from_secs(20)).await;
    assert_eq!(handler.handle(&job(" \n")).await, Outcome::Nothing);
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_hard_stop_ends_the_work_without_counting_it() {
    let (handler, _server) = with_server(vec![Answer::Silence], Duration::from_secs(600)).await;
    let job = job(TEXT);
    let stop = async {
        tokio::task::yield_now().await;
        job.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(handler.handle(&job), stop);
    assert!(matches!(outcome, Outcome::Waiting { .. }));
}

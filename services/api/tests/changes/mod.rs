//! What people do with a lead, and re-runs: against a real broker and a table that is behind it.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use callfold_api::Warnings;
use callfold_kit::Clock;
use callfold_kit::testing::all_records;
use callfold_schema::event::{RecordingDownloaded, SummaryReady, TranscriptReady};
use callfold_schema::{CallSid, Event, Key, NewEvent, RecordingSid, Run};
use serde_json::{Value, json};

use super::stage::{TOKEN, TestStage, get, json as body_of, send};
use super::{clock, header};

const LEAD: &str = "/api/v1/leads/CAone";

/// One processed call, and the api.
async fn one_lead() -> (TestStage, Router) {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(clock).await;
    let call = stage.call("one", "+972501234567", now).started().await;
    let call = call.recorded().await.downloaded(5).await;
    let call = call.transcribed(&["שלום יש נזילה גדולה במטבח"]).await;
    call.summarized("נזילה", &["במטבח"], "extractive").await;
    let router = stage.api(None, Warnings::default()).await.router();
    (stage, router)
}

async fn write(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Response<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router, request.body(Body::from(body.to_string())).unwrap()).await
}

async fn patch(router: &Router, headers: &[(&str, &str)], body: Value) -> (u16, String, Value) {
    let response = write(router, "PATCH", LEAD, headers, &body).await;
    let tag = header(&response, "etag").to_owned();
    (response.status().as_u16(), tag, body_of(response).await)
}

async fn etag(router: &Router) -> String {
    header(&get(router, LEAD).await, "etag").to_owned()
}

async fn updates(stage: &TestStage) -> usize {
    let records = all_records(&stage.bus).await;
    let is_update = |record: &&callfold_schema::Record| matches!(record.event, Event::LeadUpdated(_));
    records.iter().filter(is_update).count()
}

#[tokio::test]
async fn of_two_who_saw_the_same_lead_one_writes_and_the_other_is_shown_the_newer_one() {
    let (mut stage, router) = one_lead().await;
    let seen = etag(&router).await;
    let (status, tag, lead) = patch(&router, &[("if-match", &seen)], json!({"note": "לחזור מחר"})).await;
    assert_eq!(
        (status, &lead["note"], &lead["revision"]),
        (200, &json!("לחזור מחר"), &json!(1))
    );
    assert_ne!(tag, seen);
    // The table does not know of it yet.
    let (status, newer, lead) = patch(&router, &[("if-match", &seen)], json!({"disposition": "done"})).await;
    assert_eq!((status, &newer, &lead["note"]), (412, &tag, &json!("לחזור מחר")));
    // Who goes on from the answer need not wait for the table.
    let (status, tag, lead) = patch(
        &router,
        &[("if-match", &newer)],
        json!({"disposition": "called_back"}),
    )
    .await;
    assert_eq!(
        (status, &lead["disposition"], &lead["revision"]),
        (200, &json!("called_back"), &json!(2))
    );
    stage.catch_up().await;
    assert_eq!(etag(&router).await, tag);
    // Undoing is the same change with the value from before; `*` is for whoever does not care.
    let (status, _, lead) = patch(&router, &[("if-match", "*")], json!({"disposition": "open"})).await;
    assert_eq!(
        (status, &lead["disposition"], &lead["note"]),
        (200, &json!("open"), &json!("לחזור מחר"))
    );
    assert_eq!(updates(&stage).await, 3);
    let records = all_records(&stage.bus).await;
    let Some(Event::LeadUpdated(update)) = records.last().map(|record| &record.event) else {
        panic!("the last event is a change");
    };
    assert_eq!((update.revision, update.by.as_str()), (3, "token"));
}

#[tokio::test]
async fn the_same_request_again_changes_nothing_and_has_the_same_answer() {
    let (mut stage, router) = one_lead().await;
    let seen = etag(&router).await;
    let headers = [("if-match", seen.as_str()), ("idempotency-key", "k-1")];
    let (status, tag, _) = patch(&router, &headers, json!({"tags": ["דחוף", "דחוף"]})).await;
    assert_eq!(status, 200);
    for caught_up in [false, true] {
        if caught_up {
            stage.catch_up().await;
        }
        let (status, again, lead) = patch(&router, &headers, json!({"tags": ["דחוף", "דחוף"]})).await;
        assert_eq!(
            (status, &again, &lead["tags"]),
            (200, &tag, &json!(["דחוף"])),
            "{caught_up}"
        );
    }
    assert_eq!(updates(&stage).await, 1);
    // The same key with something else is another request.
    let (status, _, _) = patch(&router, &headers, json!({"seen": true})).await;
    assert_eq!(status, 412);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_reason() {
    let (stage, router) = one_lead().await;
    let (status, _, problem) = patch(&router, &[], json!({"seen": true})).await;
    assert_eq!((status, &problem["status"]), (428, &json!(428)));
    let any = [("if-match", "*")];
    let long = "x".repeat(10_001);
    for body in [
        json!({}),
        json!({"seen": true, "note": ""}),
        json!({"seen": "yes"}),
        json!({"disposition": "lost"}),
        json!({"note": long}),
        json!({"assignee": " "}),
        json!({"tags": ["a\nb"]}),
        json!({"transcript": {"recording_sid": "R E", "text": ""}}),
        json!("seen"),
    ] {
        let (status, _, problem) = patch(&router, &any, body).await;
        assert_eq!((status, &problem["type"]), (400, &json!("/problems/bad-request")));
    }
    for body in [
        json!({"adopt": 5}),
        json!({"transcript": {"recording_sid": "REother", "text": "x"}}),
    ] {
        assert_eq!(patch(&router, &any, body).await.0, 409);
    }
    assert_eq!(
        patch(&router, &[("if-match", "7")], json!({"seen": true}))
            .await
            .0,
        400
    );
    let unknown = write(
        &router,
        "PATCH",
        "/api/v1/leads/CAnone",
        &any,
        &json!({"seen": true}),
    )
    .await;
    assert_eq!(unknown.status(), 404);
    let empty = write(
        &router,
        "POST",
        &format!("{LEAD}/reprocess"),
        &[],
        &json!({"from": "nothing"}),
    )
    .await;
    assert_eq!(empty.status(), 400);
    // A page of another site has the cookie, and may not use it.
    let foreign = Request::builder()
        .method("PATCH")
        .uri(LEAD)
        .header("sec-fetch-site", "cross-site")
        .body(Body::from(json!({"seen": true}).to_string()))
        .unwrap();
    assert_eq!(send(&router, foreign).await.status(), 403);
    assert_eq!(updates(&stage).await, 0);
}

#[tokio::test]
async fn a_re_run_is_asked_for_once_compared_held_against_what_was_said_and_adopted() {
    let (mut stage, router) = one_lead().await;
    let path = format!("{LEAD}/reprocess");
    let asked = json!({"from": "transcribe", "engine": "openai", "hold": true, "why": "heard badly"});
    let key = [("idempotency-key", "k-2")];
    let response = write(&router, "POST", &path, &key, &asked).await;
    assert_eq!(response.status(), 202);
    let run = body_of(response).await["run"].as_u64().unwrap();
    let again = body_of(write(&router, "POST", &path, &key, &asked).await).await;
    assert_eq!(again["run"], json!(run));
    let stale = write(&router, "POST", &path, &[("if-match", "\"1\"")], &asked).await;
    assert_eq!(stale.status(), 412);
    stage.catch_up().await;
    let again = body_of(write(&router, "POST", &path, &key, &asked).await).await;
    assert_eq!(again["run"], json!(run));
    let records = all_records(&stage.bus).await;
    let requests: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::ReprocessRequested(request) => Some(request),
            _ => None,
        })
        .collect();
    let [request] = requests.as_slice() else {
        panic!("asked for once, not {} times", requests.len());
    };
    assert_eq!(request.inputs.len(), 1);
    assert_eq!(
        (request.inputs[0].run, request.engine.as_deref()),
        (Run::FIRST, Some("openai"))
    );
    let lead = body_of(get(&router, LEAD).await).await;
    assert_eq!(
        (&lead["rerun"]["run"], &lead["rerun"]["state"]),
        (&json!(run), &json!("running"))
    );
    assert_eq!(
        patch(&router, &[("if-match", "*")], json!({"adopt": run}))
            .await
            .0,
        409,
        "not complete"
    );

    // The stages answer.
    for event in answers(&stage, Run(run), &records) {
        stage.tell(event).await;
    }
    let lead = body_of(get(&router, LEAD).await).await;
    assert_eq!(
        (&lead["rerun"]["state"], &lead["run"]),
        (&json!("held"), &json!(0))
    );
    let compare = format!("{LEAD}/compare?a=0&b={run}");
    let compared = body_of(get(&router, &compare).await).await;
    assert_eq!(
        compared["diff"],
        json!([
            {"change": "same", "text": "שלום יש נזילה"},
            {"change": "removed", "text": "גדולה"},
            {"change": "same", "text": "במטבח"},
        ])
    );
    assert_eq!(compared["word_errors"], Value::Null);
    assert_eq!(compared["b"]["summary_title"], json!("חדש"));
    let said = json!({"transcript": {"recording_sid": "REone", "text": "שלום, יש נזילה במטבח"}});
    assert_eq!(patch(&router, &[("if-match", "*")], said).await.0, 200);
    stage.catch_up().await;
    let compared = body_of(get(&router, &compare).await).await;
    assert_eq!(
        compared["word_errors"]["a"],
        json!({"words": 4, "errors": 1, "rate": 0.25})
    );
    assert_eq!(compared["word_errors"]["b"]["errors"], json!(0));
    assert_eq!(
        get(&router, &format!("{LEAD}/compare?a=0&b=9")).await.status(),
        404
    );
    assert_eq!(get(&router, &format!("{LEAD}/compare?a=0")).await.status(), 400);

    let (status, _, lead) = patch(&router, &[("if-match", "*")], json!({"adopt": run})).await;
    assert_eq!(
        (status, &lead["run"], &lead["summary_title"]),
        (200, &json!(run), &json!("חדש"))
    );
    assert_eq!(
        lead["transcript"],
        json!("שלום, יש נזילה במטבח"),
        "what a person heard stays"
    );
    stage.catch_up().await;
    let (status, _, lead) = patch(&router, &[("if-match", "*")], json!({"adopt": null})).await;
    assert_eq!(
        (status, &lead["run"], &lead["rerun"]["state"]),
        (200, &json!(0), &json!("held"))
    );
}

/// What starter and stages would publish for a run.
pub(crate) fn answers(stage: &TestStage, run: Run, records: &[callfold_schema::Record]) -> Vec<NewEvent> {
    let (call, recording) = (
        CallSid::parse("CAone").unwrap(),
        RecordingSid::parse("REone").unwrap(),
    );
    let event = |event: Event| {
        NewEvent::new(
            call.clone(),
            Key::stage(recording.clone(), run),
            stage.clock.now(),
            event,
        )
    };
    let mut answers = Vec::new();
    for record in records {
        match &record.event {
            Event::RecordingDownloaded(done) => {
                answers.push(event(RecordingDownloaded::clone(done).into()));
            }
            Event::TranscriptReady(done) => answers.push(event(
                TranscriptReady {
                    text: "שלום יש נזילה במטבח".to_owned(),
                    engine: "openai".to_owned(),
                    ..done.clone()
                }
                .into(),
            )),
            Event::SummaryReady(done) => answers.push(event(
                SummaryReady {
                    title: "חדש".to_owned(),
                    ..done.clone()
                }
                .into(),
            )),
            _ => {}
        }
    }
    answers
}

//! Stages run again through the whole system: what is asked for at the API is shown when it is complete.

use callfold::simulate::{Script, demo_messages};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{API_TOKEN, Database, System, World};

async fn write(system: &System, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = system
        .http
        .request(method, system.base.join(path).unwrap())
        .bearer_auth(API_TOKEN)
        .header("if-match", "*")
        .header("content-type", "application/json")
        .body(body.to_string());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Asks for a re-run and gives its number.
async fn again(system: &System, call: &str, body: Value) -> u64 {
    let path = format!("/api/v1/leads/{call}/reprocess");
    let (status, asked) = write(system, Method::POST, &path, body).await;
    assert_eq!(status, 202, "{asked}");
    asked["run"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stage_can_be_run_again_on_sqlite() {
    each_stage_can_be_run_again(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stage_can_be_run_again_on_postgres() {
    each_stage_can_be_run_again(Database::Postgres).await;
}

async fn each_stage_can_be_run_again(database: Database) {
    let world = World::on(database).build().await;
    let system = world.start().await;
    let played = system.play(&Script::leaves(demo_messages().remove(0))).await;
    let call = played.call_sid.as_str();
    let first = system.lead_at(call, "processed").await;

    for from in ["download", "transcribe", "summarize"] {
        let run = again(&system, call, json!({ "from": from })).await;
        let shown = |lead: &Value| lead["run"] == run && lead["rerun"].is_null();
        let lead = system
            .lead_when(call, &format!("re-run from {from}"), shown)
            .await;
        assert_eq!(lead["status"], "processed");
        assert_eq!(lead["transcript"], first["transcript"]);
        assert_eq!(lead["recordings"][0]["runs"][from], run);
    }

    // What a person heard is what is summarised from then on.
    let recording = first["recordings"][0]["recording_sid"].as_str().unwrap();
    let said = "שמי מיכל פרץ מחיפה. אני מבקשת הצעת מחיר לביטוח דירה בנתניה.";
    let path = format!("/api/v1/leads/{call}");
    let correction = json!({ "transcript": { "recording_sid": recording, "text": said } });
    assert_eq!(write(&system, Method::PATCH, &path, correction).await.0, 200);
    system
        .lead_when(call, "corrected", |lead| lead["transcript"] == said)
        .await;
    let run = again(&system, call, json!({ "from": "summarize" })).await;
    let lead = system
        .lead_when(call, "summarised again", |lead| lead["run"] == run)
        .await;
    assert!(
        lead["summary"].as_str().unwrap().contains("ביטוח"),
        "{}",
        lead["summary"]
    );
    assert_eq!(lead["engines"]["transcribe"], "person");

    // An engine that is not there fails that run and nothing else.
    let failed = again(&system, call, json!({ "from": "transcribe", "engine": "nobody" })).await;
    let is_failed = |lead: &Value| lead["rerun"]["run"] == failed && lead["rerun"]["state"] == "failed";
    let lead = system.lead_when(call, "a failed re-run", is_failed).await;
    assert_eq!(
        (&lead["status"], &lead["run"]),
        (&json!("processed"), &json!(run))
    );
    let text = lead["rerun"]["stages"]["transcribe"]["text"].as_str().unwrap();
    assert!(text.contains("is not there"), "{text}");
    system.stop().await;
}

//! Twilio sends a webhook again when it is in doubt, and so may anything in front of it.

use std::collections::BTreeMap;

use callfold::simulate::Script;
use callfold_kit::testing::all_records;
use serde_json::Value;

use crate::harness::{Database, World, tone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_webhook_three_times_is_one_lead_on_sqlite() {
    every_webhook_three_times_is_one_lead(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_webhook_three_times_is_one_lead_on_postgres() {
    every_webhook_three_times_is_one_lead(Database::Postgres).await;
}

async fn every_webhook_three_times_is_one_lead(database: Database) {
    let world = World::on(database).signed().build().await;
    let system = world.start().await;
    let played = system
        .play(&Script {
            repeat: 3,
            ..Script::leaves(tone())
        })
        .await;
    assert_eq!(played.sent.len(), 15, "five webhooks, each three times");
    assert!(
        played
            .sent
            .iter()
            .all(|sent| matches!(sent.status, Some(200 | 204))),
        "{:?}",
        played.sent
    );
    let lead = system.lead_at(&played.call_sid, "processed").await;
    assert_eq!(lead["recordings"].as_array().unwrap().len(), 1);
    let list: Value = system.get("/api/v1/leads").await.json().await.unwrap();
    assert_eq!(list["leads"].as_array().unwrap().len(), 1);

    let mut kinds = BTreeMap::new();
    for record in all_records(&system.stack.bus).await {
        *kinds.entry(record.envelope.subject.kind.token()).or_insert(0) += 1;
    }
    let once = [
        "call_ended",
        "call_started",
        "recording_downloaded",
        "recording_ready",
        "recording_started",
        "summary_ready",
        "transcript_ready",
    ];
    assert_eq!(kinds, once.map(|kind| (kind, 1)).into());
    assert_eq!(world.media.requests(), 1, "the recording is fetched once");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_of_a_finished_call_that_are_replayed_change_nothing() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let recording = "RE00000000000000000000000000000077";
    let message = tone();
    world
        .media
        .keep(recording, message.audio, message.content_type, 0);
    let ready = format!(
        "CallSid=CA_replayed&RecordingSid={recording}&RecordingStatus=completed&RecordingUrl={}",
        world.media.recording_url(recording)
    );
    let voice = "CallSid=CA_replayed&From=%2B972501234567&To=%2B97239999999&CallStatus=ringing";
    let over = "CallSid=CA_replayed&CallStatus=completed&CallDuration=9";
    let send_all = async || {
        assert_eq!(system.post("/webhook/twilio/voice", voice).await.status(), 200);
        assert_eq!(
            system
                .post("/webhook/twilio/recording_done", ready.clone())
                .await
                .status(),
            200
        );
        assert_eq!(system.post("/webhook/twilio/status", over).await.status(), 204);
    };
    send_all().await;
    let before = system
        .lead_when("CA_replayed", "processed and over", |lead| {
            lead["status"] == "processed" && lead["call"]["status"] == "completed"
        })
        .await;
    // A request can be captured and sent again for ever: the scheme of signatures has no time in it.
    send_all().await;
    let events = all_records(&system.stack.bus).await.len();
    assert_eq!(events, 6);
    assert_eq!(system.lead("CA_replayed").await.unwrap(), before);
    system.stop().await;
}

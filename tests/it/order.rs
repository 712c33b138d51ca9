//! Separate requests arrive in any order.

use callfold::simulate::{Callback, Script};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{World, tone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_in_every_order_make_the_same_lead() {
    let world = World::sqlite().signed().build().await;
    let system = world.start().await;
    let orders = permutations(&Callback::TWILIO_ORDER);
    assert_eq!(orders.len(), 24);
    let mut calls = JoinSet::new();
    for order in orders {
        let (player, script) = (
            system.player.clone(),
            Script {
                order: order.clone(),
                ..Script::leaves(tone())
            },
        );
        calls.spawn(async move { (order, player.play(&script).await.unwrap()) });
    }
    let mut first: Option<Value> = None;
    for (order, played) in calls.join_all().await {
        assert!(
            played
                .sent
                .iter()
                .all(|sent| matches!(sent.status, Some(200 | 204))),
            "{order:?}: {:?}",
            played.sent
        );
        let lead = system
            .lead_when(&played.call_sid, "processed and over", |lead| {
                lead["status"] == "processed" && lead["call"]["status"] == "completed"
            })
            .await;
        let shape = masked(lead, &[&played.call_sid, played.recording_sid.as_ref().unwrap()]);
        assert_eq!(&shape, first.get_or_insert_with(|| shape.clone()), "{order:?}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_that_overtake_the_call_are_kept() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let recording = "RE00000000000000000000000000000001";
    let message = tone();
    world
        .media
        .keep(recording, message.audio, message.content_type, 0);
    let ready = format!(
        "CallSid=CA_late&RecordingSid={recording}&RecordingStatus=completed&RecordingUrl={}",
        world.media.recording_url(recording)
    );
    assert_eq!(
        system
            .post("/webhook/twilio/status", "CallSid=CA_late&CallStatus=completed")
            .await
            .status(),
        204
    );
    // 204: of this call nothing was heard yet.
    assert_eq!(
        system
            .post("/webhook/twilio/recording_done", ready)
            .await
            .status(),
        204
    );
    let lead = system.lead_at("CA_late", "processed").await;
    assert_eq!(lead["phone"], "");
    let voice = system
        .post(
            "/webhook/twilio/voice",
            "CallSid=CA_late&From=%2B972501234567&To=%2B97239999999",
        )
        .await;
    assert_eq!(voice.status(), 200);
    let lead = system
        .lead_when("CA_late", "the caller's", |lead| lead["phone"] == "+972501234567")
        .await;
    assert_eq!(lead["status"], "processed");
    // `in-progress` behind `completed` does not take the lead back either.
    let begun = format!("CallSid=CA_late&RecordingSid={recording}&RecordingStatus=in-progress");
    assert_eq!(
        system
            .post("/webhook/twilio/recording_done", begun)
            .await
            .status(),
        200
    );
    let position = lead["position"].as_u64().unwrap();
    let lead = system
        .lead_when("CA_late", "newer", |lead| {
            lead["position"].as_u64() > Some(position)
        })
        .await;
    assert_eq!(lead["status"], "processed");
    system.stop().await;
}

fn permutations(all: &[Callback]) -> Vec<Vec<Callback>> {
    if all.is_empty() {
        return vec![Vec::new()];
    }
    (0..all.len())
        .flat_map(|n| {
            let mut rest = all.to_vec();
            let first = rest.remove(n);
            permutations(&rest).into_iter().map(move |mut order| {
                order.insert(0, first);
                order
            })
        })
        .collect()
}

/// What differs between two calls that went the same way: identifiers, moments, positions, elapsed times.
fn masked(value: Value, ids: &[&str]) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let differs =
                    name.ends_with("_at") || name == "since" || name == "position" || name == "elapsed_ms";
                let value = if differs && !value.is_null() {
                    Value::from("…")
                } else {
                    masked(value, ids)
                };
                (name, value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| masked(item, ids)).collect(),
        Value::String(text) => ids.iter().fold(text, |text, id| text.replace(id, "…")).into(),
        other => other,
    }
}

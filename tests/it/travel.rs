//! Time travel: what a card was at each moment of its call, by position and by time, and after an import by time again.

use callfold::simulate::Script;
use callfold_kit::testing::all_events;
use callfold_lead::{LeadState, lead_view};
use callfold_schema::CallSid;
use serde_json::Value;

use super::archive::{export_from, fold, import_into};
use crate::harness::{System, World, tone};

async fn at(system: &System, call: &str, moment: &str) -> Value {
    let response = system.get(&format!("/api/v1/leads/{call}?at={moment}")).await;
    assert_eq!(response.status(), 200, "{moment}");
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_moment_of_a_call_is_what_the_events_up_to_it_say() {
    let world = World::sqlite().signed().build().await;
    let system = world.start().await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let played = system.play(&Script::leaves(tone())).await;
        system
            .lead_when(&played.call_sid, "processed and over", |lead| {
                lead["status"] == "processed" && lead["call"]["status"] == "completed"
            })
            .await;
        calls.push(CallSid::parse(&played.call_sid).unwrap());
    }
    let events = all_events(&system.stack.bus).await;
    let mut moments = Vec::new();
    for call in &calls {
        let mut state = LeadState::new(call.clone());
        for event in &events {
            let record = event.decode().unwrap();
            state.apply(event.position, &record.envelope, &event.payload);
            if state.is_empty() {
                continue;
            }
            let expected = serde_json::to_value(lead_view(&state).unwrap()).unwrap();
            let then = at(&system, call.as_str(), &event.position.to_string()).await;
            assert_eq!(then, expected, "at {}", event.position);
            if record.envelope.subject.call_sid == *call {
                moments.push((call.clone(), record.envelope.time.rfc3339()));
            }
        }
        assert_eq!(
            Some(at(&system, call.as_str(), "999999999").await),
            system.lead(call.as_str()).await
        );
    }
    let mut by_time = Vec::new();
    for (call, time) in &moments {
        by_time.push(at(&system, call.as_str(), time).await);
    }
    system.stop().await;

    // An import gives new positions; the times are those of the facts.
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("a");
    export_from(&world, &archive, &Default::default()).await.unwrap();
    let restored = World::sqlite().build().await;
    import_into(&restored, &archive).await.unwrap();
    fold(&restored).await;
    let system = restored.start().await;
    for ((call, time), then) in moments.iter().zip(by_time) {
        assert_eq!(at(&system, call.as_str(), time).await, then, "at {time}");
    }
    system.stop().await;
}

//! Calls that leave nothing come to an end, too, and say which.

use callfold::simulate::{Callback, HangUp, Script};
use callfold_kit::testing::all_records;
use callfold_schema::EventKind;

use crate::harness::{World, silence, tone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_in_the_greeting_left_no_message() {
    let world = World::sqlite()
        .signed()
        .with("CALLFOLD_MISSING_AFTER_SECS", "1")
        .build()
        .await;
    let system = world.start().await;
    let played = system
        .play(&Script {
            hang_up: HangUp::InGreeting,
            ..Script::leaves(tone())
        })
        .await;
    assert_eq!(played.recording_sid, None);
    let lead = system.lead_at(&played.call_sid, "no_message").await;
    assert_eq!(lead["missing"]["reason"], "never_left");
    assert_eq!(lead["call"]["status"], "completed");
    for stage in ["download", "transcribe", "summarize"] {
        assert_eq!(lead["stages"][stage]["state"], "skipped", "{stage}");
    }
    let told: Vec<_> = all_records(&system.stack.bus)
        .await
        .into_iter()
        .filter(|record| record.envelope.subject.kind == EventKind::RecordingMissing)
        .collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].envelope.subject.key.reconciled);
    assert_eq!(
        told[0].envelope.cause,
        Some(format!("calls.{}.call_ended.new.0", played.call_sid))
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_message_is_no_message_for_the_real_model() {
    let world = World::sqlite().signed().real_speech().build().await;
    let system = world.start().await;
    let played = system.play(&Script::leaves(silence())).await;
    let lead = system.lead_at(&played.call_sid, "no_message").await;
    assert_eq!(lead["missing"]["reason"], "silent");
    assert_eq!(lead["transcript"], "");
    assert_eq!(lead["stages"]["transcribe"]["state"], "done");
    assert_eq!(lead["stages"]["summarize"]["state"], "skipped");
    assert!(lead["summary"].is_null());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_recording_ends_the_lead_and_one_that_comes_after_all_wins() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let recording = "RE00000000000000000000000000000002";
    system
        .post(
            "/webhook/twilio/voice",
            "CallSid=CA_absent&From=%2B972501234567&To=%2B97239999999",
        )
        .await;
    let absent = format!("CallSid=CA_absent&RecordingSid={recording}&RecordingStatus=absent&ErrorCode=12345");
    assert_eq!(
        system
            .post("/webhook/twilio/recording_done", absent)
            .await
            .status(),
        200
    );
    let lead = system.lead_at("CA_absent", "no_message").await;
    assert_eq!(lead["missing"]["reason"], "absent");
    assert_eq!(lead["missing"]["error_code"], 12345);
    assert_eq!(lead["recordings"][0]["state"], "missing");

    let message = tone();
    world
        .media
        .keep(recording, message.audio, message.content_type, 0);
    let ready = format!(
        "CallSid=CA_absent&RecordingSid={recording}&RecordingStatus=completed&RecordingUrl={}",
        world.media.recording_url(recording)
    );
    assert_eq!(
        system
            .post("/webhook/twilio/recording_done", ready)
            .await
            .status(),
        200
    );
    let lead = system.lead_at("CA_absent", "processed").await;
    assert!(lead["missing"].is_null());
    assert_eq!(lead["recordings"][0]["state"], "ready");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_began_and_never_came_is_given_up() {
    let world = World::sqlite()
        .signed()
        .with("CALLFOLD_MISSING_AFTER_SECS", "1")
        .build()
        .await;
    let system = world.start().await;
    let order = vec![Callback::RecordingInProgress, Callback::CallCompleted];
    let played = system
        .play(&Script {
            order,
            ..Script::leaves(tone())
        })
        .await;
    let lead = system.lead_at(&played.call_sid, "no_message").await;
    assert_eq!(lead["missing"]["reason"], "deadline_passed");
    assert_eq!(
        lead["recordings"][0]["recording_sid"],
        played.recording_sid.unwrap()
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_survives_a_restart() {
    let world = World::sqlite()
        .signed()
        .with("CALLFOLD_MISSING_AFTER_SECS", "2")
        .build()
        .await;
    let system = world.start().await;
    let played = system
        .play(&Script {
            hang_up: HangUp::InGreeting,
            ..Script::leaves(tone())
        })
        .await;
    system.stop().await;
    // What the reconciler knew is in the stream.
    let system = world.start().await;
    let lead = system.lead_at(&played.call_sid, "no_message").await;
    assert_eq!(lead["missing"]["reason"], "never_left");
    system.stop().await;
}

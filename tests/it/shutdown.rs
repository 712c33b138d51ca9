//! Stopping with work in hand.

use callfold::simulate::Script;
use callfold_kit::testing::{all_records, wait_for};
use callfold_schema::EventKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Gate, GatedSpeech, Spoken, World, tone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_stop_finishes_the_work_in_hand() {
    let gate = Gate::closed();
    let world = World::sqlite()
        .engine(GatedSpeech {
            speech: Spoken(Spoken::TEXT),
            gate: gate.clone(),
        })
        .build()
        .await;
    let system = world.start().await;
    let played = system.play(&Script::leaves(tone())).await;
    gate.began(1).await;
    system.lifecycle.stop();
    wait_for("the gateway to stop", async || {
        (!system.stack.health.readiness().ready).then_some(())
    })
    .await;
    gate.open();
    system.stop().await;

    let records = all_records(&world.nats.bus().await).await;
    let count = |kind| {
        records
            .iter()
            .filter(|record| record.envelope.subject.kind == kind)
            .count()
    };
    assert_eq!(
        (count(EventKind::TranscriptReady), count(EventKind::StageFailed)),
        (1, 0)
    );
    // What comes behind it is done in the next run, and nothing twice.
    let system = world.start().await;
    system.lead_at(&played.call_sid, "processed").await;
    let story = system.story(&played.call_sid).await;
    assert_eq!(story.len(), 7, "{story:#?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_half_received_at_the_stop_is_answered() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let body = "CallSid=CA_last&From=%2B972501234567&To=%2B97239999999";
    let mut connection = TcpStream::connect(system.stack.address).await.unwrap();
    let head = format!(
        "POST /webhook/twilio/voice HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n",
        system.stack.address,
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&body.as_bytes()[..10]).await.unwrap();
    // Another request on another connection: once it is answered, the first one has been accepted as well.
    assert_eq!(
        system
            .post("/webhook/twilio/status", "CallSid=CA_last&CallStatus=ringing")
            .await
            .status(),
        204
    );
    system.lifecycle.stop();
    wait_for("the gateway to stop", async || {
        (!system.stack.health.readiness().ready).then_some(())
    })
    .await;
    connection.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("<Record "), "{answer}");
    system.stop().await;
    let records = all_records(&world.nats.bus().await).await;
    assert_eq!(records.len(), 1);
}

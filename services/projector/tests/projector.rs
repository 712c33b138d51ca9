//! The projector with a real broker and a real database, whose calls fail where a test says so.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::atomic::Ordering;
use std::time::Duration;

use callfold_kit::chain;
use callfold_kit::metric::CounterName;
use callfold_kit::testing::{TestNats, publish, wait_for};
use callfold_lead::Status;
use callfold_projector::ProjectorConfig;
use callfold_schema::subject::LEAD_CHANGED;
use callfold_store::LeadFilter;
use futures::StreamExt as _;
use harness::{GRACE, World, assert_folded, ended, publish_all, ready, started, traffic};

#[tokio::test(flavor = "multi_thread")]
async fn events_become_leads_and_notices_say_so() {
    let world = World::new().await;
    let mut notices = world.bus.notices(LEAD_CHANGED).await.unwrap();
    world.bus.flush().await.unwrap();
    publish(&world.bus, &started("CA1", 0)).await;
    let running = world.start(&ProjectorConfig::default());
    running.ready().await;
    assert_eq!(world.lead("CA1").await.unwrap().status, Status::New);
    publish(&world.bus, &ready("CA1", "RE1", 9)).await;
    let mut heard = Vec::new();
    for _ in 0..2 {
        let notice = tokio::time::timeout(GRACE, notices.next())
            .await
            .unwrap()
            .unwrap();
        heard.push(serde_json::from_slice::<serde_json::Value>(&notice).unwrap());
    }
    assert_eq!(
        heard[0],
        serde_json::json!({"call_sid": "CA1", "status": "new", "position": 1})
    );
    assert_eq!(
        heard[1],
        serde_json::json!({"call_sid": "CA1", "status": "recorded", "position": 2})
    );
    // A notice follows the commit.
    assert_eq!(world.lead("CA1").await.unwrap().position, 2);
    running.stop().await;
    assert_eq!(world.faulty.store.projection().await.unwrap().writer, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_of_the_database_loses_and_repeats_nothing() {
    let world = World::new().await;
    let events = publish_all(&world, traffic(20)).await;
    world.faulty.fail_all.store(2, Ordering::SeqCst);
    world.faulty.fail_before.store(3, Ordering::SeqCst);
    world.faulty.fail_after.store(3, Ordering::SeqCst);
    // Small batches and little memory, so that every path is taken.
    let config = ProjectorConfig {
        batch_events_max: 7,
        cache_bytes_max: 4_000,
        ..ProjectorConfig::default()
    };
    let running = world.start(&config);
    running.ready().await;
    world.folded_up_to(60).await;
    assert_folded(&world, &events).await;
    for failures in [
        &world.faulty.fail_all,
        &world.faulty.fail_before,
        &world.faulty.fail_after,
    ] {
        assert_eq!(failures.load(Ordering::SeqCst), 0);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_last_one_stopped() {
    let world = World::new().await;
    let mut events = publish_all(&world, traffic(5)).await;
    let running = world.start(&ProjectorConfig::default());
    world.folded_up_to(15).await;
    running.stop().await;
    events.push((publish(&world.bus, &started("CB1", 50)).await, started("CB1", 50)));
    let running = world.start(&ProjectorConfig::default());
    running.ready().await;
    assert_folded(&world, &events).await;
    // Only the new one was folded again.
    assert_eq!(running.metrics.counted(CounterName::EventsFolded, &[]), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_event_is_recorded_and_passed_over() {
    let world = World::new().await;
    publish(&world.bus, &started("CA1", 0)).await;
    // Without headers there is no version.
    world
        .bus
        .notify("calls.CA1.call_ended.new.0", bytes::Bytes::from_static(b"x"))
        .await
        .unwrap();
    world
        .bus
        .notify("calls.nonsense", bytes::Bytes::new())
        .await
        .unwrap();
    world.bus.flush().await.unwrap();
    publish(&world.bus, &started("CA2", 1)).await;
    let running = world.start(&ProjectorConfig::default());
    world.folded_up_to(4).await;
    assert!(world.lead("CA2").await.is_some());
    let unreadable = world.faulty.store.unreadable(10).await.unwrap();
    let seen: Vec<_> = unreadable
        .iter()
        .map(|event| (event.position, event.subject.as_str()))
        .collect();
    assert_eq!(seen, [(3, "calls.nonsense"), (2, "calls.CA1.call_ended.new.0")]);
    assert!(
        unreadable[1].reason.contains("Callfold-Version"),
        "{}",
        unreadable[1].reason
    );
    assert_eq!(running.metrics.counted(CounterName::EventsUnreadable, &[]), 2);
    running.ready().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_release_is_not_passed_over() {
    let world = World::new().await;
    publish(&world.bus, &started("CA1", 0)).await;
    world
        .bus
        .notify("calls.CA1.lead_sold.new.0", bytes::Bytes::from_static(b"x"))
        .await
        .unwrap();
    world.bus.flush().await.unwrap();
    publish(&world.bus, &started("CA2", 1)).await;
    let running = world.start(&ProjectorConfig::default());
    wait_for("the projector to stop before it", async || {
        running.reason().contains("position 2").then_some(())
    })
    .await;
    assert!(!running.health.readiness().ready);
    let projection = world.faulty.store.projection().await.unwrap();
    // What stands before it is there; a newer release can claim.
    assert_eq!((projection.position, projection.writer), (1, None));
    assert!(world.lead("CA1").await.is_some() && world.lead("CA2").await.is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_projector_stands_by_and_takes_over() {
    let world = World::new().await;
    let mut events = publish_all(&world, traffic(3)).await;
    let first = world.start(&ProjectorConfig::default());
    first.ready().await;
    let second = world.start(&ProjectorConfig::default());
    wait_for("the second one to stand by", async || {
        second.reason().contains("standing by").then_some(())
    })
    .await;
    assert_eq!(second.metrics.counted(CounterName::EventsFolded, &[]), 0);
    first.stop().await;
    events.push((publish(&world.bus, &started("CB1", 50)).await, started("CB1", 50)));
    second.ready().await;
    world.folded_up_to(10).await;
    assert_folded(&world, &events).await;
    // Embedded, a claim is taken from whoever holds it; the other one notices and stands by.
    let third = world.start_on(world.bus.clone(), &ProjectorConfig::default(), true);
    third.ready().await;
    events.push((publish(&world.bus, &ended("CB1", 60)).await, ended("CB1", 60)));
    world.folded_up_to(11).await;
    assert_folded(&world, &events).await;
    wait_for("the fenced one to stand by", async || {
        second.reason().contains("standing by").then_some(())
    })
    .await;
    second.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leads_of_another_stream_are_left_alone() {
    let world = World::new().await;
    publish(&world.bus, &started("CA1", 0)).await;
    let running = world.start(&ProjectorConfig::default());
    running.ready().await;
    running.stop().await;
    let other = TestNats::start().await;
    let running = world.start_on(other.bus().await, &ProjectorConfig::default(), true);
    let error = running.lifecycle.stopped(GRACE).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("use an empty database"), "{text}");
    assert!(world.lead("CA1").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_may_die_and_come_back() {
    let world = World::new().await;
    let mut events = publish_all(&world, traffic(3)).await;
    let running = world.start(&ProjectorConfig::default());
    running.ready().await;
    world.nats.broker().kill_and_restart().await;
    let event = started("CB1", 70);
    let position = wait_for("the broker to be back", async || {
        match world.bus.publish(&event, Duration::from_secs(1)).await {
            Ok(callfold_kit::bus::Published::Recorded { position }) => Some(position),
            // Recorded, but its acknowledgement was lost.
            Ok(callfold_kit::bus::Published::AlreadyRecorded) => Some(10),
            Err(_) => None,
        }
    })
    .await;
    events.push((position, event));
    world.folded_up_to(position).await;
    assert_folded(&world, &events).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_and_list_see_what_was_folded() {
    let world = World::new().await;
    publish_all(&world, traffic(12)).await;
    let running = world.start(&ProjectorConfig::default());
    running.ready().await;
    let filter = LeadFilter {
        q: Some("050-1234567".into()),
        ..LeadFilter::default()
    };
    assert_eq!(
        world
            .faulty
            .store
            .list(&filter, 100, None)
            .await
            .unwrap()
            .leads
            .len(),
        12
    );
    running.stop().await;
}

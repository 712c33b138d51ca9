//! Publishing once for ever, reading without gaps, buckets and notices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use callfold_kit::bus::{Bus, BusConfig, PublishError, Published, ReadError, StoredEvent};
use callfold_kit::config::Settings;
use callfold_kit::health::Health;
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::metric::Metrics;
use callfold_kit::testing::{TestNats, all_events, publish, wait_for};
use callfold_schema::event::{EngineFailure, FailureClass, TranscriptReady};
use callfold_schema::{Event, EventKind, Key, NewEvent, Run, Stage, Subject, Writing};
use futures::{FutureExt, StreamExt};

use crate::support::{WAIT, answer_of, call, ended, now, publish_all, raw, recording, small_bus};

fn calls(from: usize, to: usize) -> Vec<callfold_schema::NewEvent> {
    (from..to).map(|n| ended(&format!("CA{n}"))).collect()
}

fn positions(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

#[tokio::test]
async fn a_fact_is_recorded_once_whatever_its_message_id() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let event = ended("CA1");
    assert_eq!(publish(&bus, &event).await, 1);
    // The server recognises the id ...
    assert_eq!(
        bus.publish(&event, WAIT).await.unwrap(),
        Published::AlreadyRecorded
    );
    // ... and where it has forgotten it, the subject still holds its one message.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "another");
    headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
    let subject = event.envelope.subject.to_string();
    let again = raw(&nats)
        .await
        .publish_with_headers(subject.clone(), headers, "x".into())
        .await
        .unwrap()
        .await;
    assert!(again.is_err());
    let found = bus.find(&event.envelope.subject).await.unwrap().unwrap();
    assert_eq!((found.position, found.subject()), (1, subject.as_str()));
    let record = found.decode().unwrap();
    assert_eq!(record.event, event.event);
    assert!(
        record.envelope.traceparent.is_some(),
        "a fact that nothing led to begins a trace"
    );
    assert_eq!(bus.stream_state().await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_fact_that_the_server_forgot_the_id_of_is_already_recorded() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let event = ended("CA1");
    // Recorded under another id: what the kit meets once the duplicate window has passed.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "another");
    let subject = event.envelope.subject.to_string();
    raw(&nats)
        .await
        .publish_with_headers(subject, headers, "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(
        bus.publish(&event, WAIT).await.unwrap(),
        Published::AlreadyRecorded
    );
    assert_eq!(bus.stream_state().await.unwrap().messages, 1);
}

#[test]
fn whom_events_are_written_for_is_a_setting() {
    let read = |value: &str| {
        let settings = [
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("CALLFOLD_WRITE_EVENTS", value),
        ];
        let source: BTreeMap<String, String> = settings.map(|(k, v)| (k.into(), v.into())).into();
        let mut settings = Settings::new(&source);
        let config = BusConfig::from_settings(&mut settings);
        (config.unwrap().writing, settings.finish().is_ok())
    };
    assert_eq!(read(""), (Writing::Newest, true));
    assert_eq!(read("newest"), (Writing::Newest, true));
    assert_eq!(read("previous"), (Writing::Previous, true));
    assert_eq!(read("Previous release"), (Writing::Newest, false));
}

/// A transcript whose every new part is used.
fn transcript(name: &str) -> NewEvent {
    let Event::TranscriptReady(transcript) = answer_of(Stage::Transcribe) else {
        panic!("the stage's answer is a transcript");
    };
    let overtaken = EngineFailure {
        engine: "google".to_owned(),
        model: "chirp_3".to_owned(),
        class: FailureClass::Overtaken,
        text: "another engine answered first".to_owned(),
        elapsed_ms: 8_000,
    };
    let event = TranscriptReady {
        failed_engines: vec![overtaken],
        pieces: 4,
        ..transcript
    };
    NewEvent::new(call(name), Key::stage(recording(), Run::FIRST), now(), event)
}

#[tokio::test]
async fn events_are_written_in_the_versions_of_the_release_before_when_that_is_asked_for() {
    let nats = TestNats::start().await;
    let newest = nats.bus().await;
    let previous = Bus::connect(&BusConfig {
        writing: Writing::Previous,
        ..nats.config()
    })
    .await
    .unwrap();
    let version = |stored: &StoredEvent| stored.header("Callfold-Version").unwrap().to_owned();

    let event = transcript("CA1");
    publish(&previous, &event).await;
    let stored = newest.find(&event.envelope.subject).await.unwrap().unwrap();
    assert_eq!(version(&stored), "1");
    let record = stored.decode().unwrap();
    assert_eq!(record.envelope.version, 1);
    let Event::TranscriptReady(read) = &record.event else {
        panic!("it was a transcript");
    };
    // The nearest class, and nothing of what version 1 could not say.
    let failed = &read.failed_engines[0];
    assert_eq!(
        (failed.class, failed.model.as_str(), read.pieces),
        (FailureClass::Timeout, "", 1)
    );

    // What was read in an old version is written in the newest one, header and payload.
    let mut again = NewEvent {
        envelope: record.envelope,
        event: record.event,
    };
    again.envelope.subject.call_sid = call("CA2");
    publish(&newest, &again).await;
    let stored = newest.find(&again.envelope.subject).await.unwrap().unwrap();
    assert_eq!(version(&stored), "2");
    assert_eq!(stored.decode().unwrap().event, again.event);

    let event = transcript("CA3");
    publish(&newest, &event).await;
    let stored = newest.find(&event.envelope.subject).await.unwrap().unwrap();
    assert_eq!(version(&stored), "2");
    assert_eq!(stored.decode().unwrap().event, event.event);

    // Kinds that did not change are written in their one version.
    publish(&previous, &ended("CA4")).await;
    let stored = newest
        .find(&ended("CA4").envelope.subject)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(version(&stored), "1");
}

#[tokio::test]
async fn of_many_who_publish_one_fact_at_once_one_records_it() {
    let nats = TestNats::start().await;
    let (one, other) = (nats.bus().await, nats.bus().await);
    let event = ended("CA1");
    let tries = (0..32).map(|n| {
        let bus = if n % 2 == 0 { &one } else { &other };
        bus.publish(&event, WAIT)
    });
    let published: Vec<Published> = futures::future::try_join_all(tries).await.unwrap();
    let recorded = published
        .iter()
        .filter(|published| matches!(published, Published::Recorded { .. }))
        .count();
    assert_eq!(recorded, 1, "{published:?}");
    assert_eq!(one.stream_state().await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_broker_that_is_away_is_a_time_out_and_the_fact_is_recorded_once_when_it_is_back() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish(&bus, &ended("CA0")).await;
    nats.broker().kill_and_hold().await;
    let event = ended("CA1");
    let error = bus.publish(&event, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, PublishError::TimedOut), "{error:?}");
    assert!(error.is_transient());
    wait_for("the loss to be noticed", async || {
        (!bus.is_connected()).then_some(())
    })
    .await;
    nats.broker().resume().await;
    wait_for("the fact to be recorded", async || {
        bus.publish(&event, WAIT).await.ok()
    })
    .await;
    assert!(bus.is_connected());
    let subjects: Vec<String> = all_events(&bus)
        .await
        .iter()
        .map(|event| event.subject().to_owned())
        .collect();
    assert_eq!(
        subjects,
        ["calls.CA0.call_ended.new.0", "calls.CA1.call_ended.new.0"]
    );
}

#[tokio::test]
async fn a_full_stream_refuses_the_new_and_keeps_the_old() {
    let nats = TestNats::start().await;
    let bus = small_bus(&nats, 64 << 10).await;
    let mut recorded = 0;
    let error = loop {
        match bus.publish(&ended(&format!("CA{recorded}")), WAIT).await {
            Ok(_) => recorded += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PublishError::Full), "{error:?}");
    assert!(error.is_transient());
    let state = bus.stream_state().await.unwrap();
    assert_eq!((state.first, state.last, state.messages), (1, recorded, recorded));
    assert!(state.bytes <= 64 << 10);

    let (life, health) = (Lifecycle::new(), Health::new());
    assert!(!bus.is_nearly_full());
    bus.watch(&life, Metrics::new(), health.part("broker", true));
    wait_for("the stream to count as full", async || {
        bus.is_nearly_full().then_some(())
    })
    .await;
    wait_for("the health to say so", async || {
        let reason = health.readiness().parts["broker"].reason.clone()?;
        reason.contains("CALLFOLD_STREAM_BYTES_MAX").then_some(())
    })
    .await;
    life.stop();
    life.stopped(WAIT).await.unwrap();
}

#[tokio::test]
async fn a_reader_goes_on_behind_its_last_event_when_the_broker_was_killed() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish_all(&bus, calls(0, 150)).await;
    let mut reader = bus.read_from(1, Vec::new());
    let mut read = Vec::new();
    for _ in 0..100 {
        read.push(reader.next().await.unwrap());
    }
    nats.broker().kill_and_restart().await;
    wait_for("the broker", async || bus.stream_state().await.ok()).await;
    publish_all(&bus, calls(150, 300)).await;
    while read.len() < 250 {
        read.push(reader.next().await.unwrap());
    }
    // Once more while it waits for events that are not there yet.
    while read.len() < 300 {
        read.push(reader.next().await.unwrap());
    }
    nats.broker().kill_and_restart().await;
    wait_for("the broker", async || {
        bus.publish(&ended("CA300"), WAIT).await.ok()
    })
    .await;
    read.push(reader.next().await.unwrap());
    assert_eq!(positions(&read), (1..=301).collect::<Vec<u64>>());
    let subjects: BTreeSet<&str> = read.iter().map(StoredEvent::subject).collect();
    assert_eq!(subjects.len(), 301);
}

#[tokio::test]
async fn a_batch_keeps_to_its_bounds_and_filters_keep_to_their_kind() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish_all(&bus, calls(0, 20)).await;
    publish(&bus, &crate::support::ready("CA0")).await;

    let mut reader = bus.read_from(5, Vec::new());
    let mut read: Vec<StoredEvent> = Vec::new();
    while read.len() < 17 {
        let before = read.len();
        reader.next_batch(4, 1 << 20, &mut read).await.unwrap();
        assert!((1..=4).contains(&(read.len() - before)));
    }
    assert_eq!(positions(&read), (5..=21).collect::<Vec<u64>>());
    assert_eq!(read.last().unwrap().pending, 0);
    assert_eq!(reader.next_position(), 22);

    let mut reader = bus.read_from(1, Vec::new());
    let mut batch = Vec::new();
    reader.next_batch(100, 1, &mut batch).await.unwrap();
    assert_eq!(
        positions(&batch),
        [1],
        "the first event is always taken, and its bytes are enough"
    );

    let filter = callfold_schema::subject::kind_filter(EventKind::RecordingReady);
    let mut reader = bus.read_from(1, vec![filter]);
    assert_eq!(reader.next().await.unwrap().position, 21);
}

#[tokio::test]
async fn what_was_deleted_is_not_there_and_is_passed_over() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    for event in calls(0, 4) {
        publish(&bus, &event).await;
    }
    raw(&nats)
        .await
        .get_stream("CALLS")
        .await
        .unwrap()
        .delete_message(2)
        .await
        .unwrap();
    assert_eq!(
        bus.get(1).await.unwrap().unwrap().subject(),
        "calls.CA0.call_ended.new.0"
    );
    assert!(bus.get(2).await.unwrap().is_none());
    assert!(bus.get(99).await.unwrap().is_none());
    let gone = Subject::new(call("CA1"), EventKind::CallEnded, Key::single());
    assert!(bus.find(&gone).await.unwrap().is_none());
    assert_eq!(positions(&all_events(&bus).await), [1, 3, 4]);
}

#[tokio::test]
async fn a_reading_since_a_moment_begins_with_what_was_stored_then() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    for event in calls(0, 6) {
        publish(&bus, &event).await;
    }
    let all = all_events(&bus).await;
    let since = all[3].stored_at;
    let expected: Vec<u64> = all
        .iter()
        .filter(|event| event.stored_at >= since)
        .map(|event| event.position)
        .collect();
    let mut reader = bus.read_since(since, Vec::new());
    let mut read = Vec::new();
    while read.len() < expected.len() {
        read.push(reader.next().await.unwrap());
    }
    assert_eq!(positions(&read), expected);
}

#[tokio::test]
async fn a_stream_that_was_replaced_is_noticed() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish(&bus, &ended("CA1")).await;
    raw(&nats).await.delete_stream("CALLS").await.unwrap();
    let other = nats.bus().await;
    assert_ne!(other.stream_identity(), bus.stream_identity());
    assert!(matches!(bus.stream_state().await, Err(ReadError::Replaced)));
}

#[tokio::test]
async fn a_bucket_creates_once_replaces_removes_and_forgets() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let users = bus.kv("users", None).await.unwrap();
    assert_eq!(users.get("dana").await.unwrap(), None);
    assert!(users.create("dana", Bytes::from_static(b"1")).await.unwrap());
    assert!(!users.create("dana", Bytes::from_static(b"2")).await.unwrap());
    assert_eq!(users.get("dana").await.unwrap().as_deref(), Some(&b"1"[..]));
    users.put("dana", Bytes::from_static(b"3")).await.unwrap();
    // A second handle is the same bucket.
    assert_eq!(
        bus.kv("users", None)
            .await
            .unwrap()
            .get("dana")
            .await
            .unwrap()
            .as_deref(),
        Some(&b"3"[..])
    );
    users.remove("dana").await.unwrap();
    users.remove("nobody").await.unwrap();
    assert_eq!(users.get("dana").await.unwrap(), None);
    assert!(users.create("dana", Bytes::from_static(b"4")).await.unwrap());

    let sessions = bus.kv("sessions", Some(Duration::from_secs(1))).await.unwrap();
    sessions.put("s1", Bytes::from_static(b"x")).await.unwrap();
    wait_for("the session to end", async || {
        sessions.get("s1").await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bucket_replaces_at_a_revision_only_and_tells_what_changes() {
    let nats = TestNats::start().await;
    let (one, other) = (nats.bus().await, nats.bus().await);
    let users = one.kv("users", None).await.unwrap();
    let mut changes = std::pin::pin!(users.changes().await.unwrap());
    let there = other.kv("users", None).await.unwrap();
    there.put("dana", Bytes::from_static(b"1")).await.unwrap();
    let (value, revision) = users.entry("dana").await.unwrap().unwrap();
    assert_eq!(value, &b"1"[..]);
    let replace = |text: &'static [u8]| there.update("dana", Bytes::from_static(text), revision);
    assert!(replace(b"2").await.unwrap().is_some());
    assert!(replace(b"3").await.unwrap().is_none(), "somebody was faster");
    there.put("noam", Bytes::from_static(b"4")).await.unwrap();
    let all: Vec<(String, Bytes)> = users.all().await.unwrap();
    let expected = [("dana", &b"2"[..]), ("noam", &b"4"[..])];
    assert_eq!(all.len(), 2);
    for ((key, value), (name, text)) in all.iter().zip(expected) {
        assert_eq!((key.as_str(), &value[..]), (name, text));
    }
    there.remove("dana").await.unwrap();
    assert_eq!(users.entry("dana").await.unwrap(), None);
    let mut heard = Vec::new();
    for _ in 0..4 {
        let next = tokio::time::timeout(Duration::from_secs(60), changes.next()).await;
        let change = next.unwrap().unwrap().unwrap();
        heard.push((change.key, change.is_gone));
    }
    let expected = [("dana", false), ("dana", false), ("noam", false), ("dana", true)];
    assert_eq!(heard, expected.map(|(key, is_gone)| (key.to_owned(), is_gone)));
}

#[tokio::test]
async fn broker_state_tells_size_and_what_waits() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish(&bus, &ended("CA1")).await;
    publish(&bus, &ended("CA2")).await;
    let mut queue = bus.queue("watcher", "calls.*.call_ended.new.*", Duration::from_secs(60));
    let stop = tokio_util::sync::CancellationToken::new();
    let piece = queue.next(&stop).await.unwrap().unwrap();
    let state = bus.broker_state().await.unwrap();
    assert_eq!((state.messages, state.last), (2, 2));
    assert!(state.bytes > 0 && state.bytes < state.bytes_max);
    let [watcher] = state.consumers.as_slice() else {
        panic!("{:?}", state.consumers);
    };
    assert_eq!(watcher.name, "watcher");
    assert_eq!(watcher.pending + watcher.in_hand, 2);
    assert!(watcher.in_hand >= 1);
    piece.done().await.unwrap();
}

#[tokio::test]
async fn a_notice_reaches_who_listens() {
    let nats = TestNats::start().await;
    let (one, other) = (nats.bus().await, nats.bus().await);
    let mut notices = other.notices("callfold.lead.changed").await.unwrap();
    // Nobody tells when the server has taken up a subscription: a notice before that is lost, as notices may be.
    let heard = wait_for("a notice", async || {
        one.notify("callfold.lead.changed", Bytes::from_static(b"{}"))
            .await
            .unwrap();
        one.flush().await.unwrap();
        notices.next().now_or_never().flatten()
    })
    .await;
    assert_eq!(heard, &b"{}"[..]);
}

#[tokio::test]
async fn an_event_that_leaves_no_room_for_its_headers_is_too_large_for_good() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let mut event = crate::support::downloaded("CA1", callfold_schema::Run::FIRST);
    let mut sized = |bytes: usize| {
        let callfold_schema::Event::RecordingDownloaded(downloaded) = &mut event.event else {
            panic!("another event")
        };
        downloaded.blob_key.clear();
        let rest = event.event.encode().unwrap().len();
        if let callfold_schema::Event::RecordingDownloaded(downloaded) = &mut event.event {
            downloaded.blob_key = "x".repeat(bytes - rest);
        }
        event.clone()
    };
    let allowed = callfold_schema::decode::PAYLOAD_BYTES_MAX;
    // Within our own bound by less than the headers take.
    let large = sized(allowed - 64);
    let encoded = large.event.encode().unwrap().len();
    let error = bus.publish(&large, WAIT).await.unwrap_err();
    let PublishError::Encode(callfold_schema::EncodeError::TooLarge { bytes }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*bytes, encoded);
    assert!(!error.is_transient());
    publish(&bus, &sized(allowed - 4_096)).await;
}

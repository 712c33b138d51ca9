//! What becomes of a message: answers, failures, waiting, crashes, broken events, stopping.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use callfold_kit::stage::{Failure, Outcome, StagePolicy};
use callfold_kit::testing::{TestNats, all_records, publish, wait_for};
use callfold_schema::event::FailureClass;
use callfold_schema::{EventKind, Run, Stage};
use tokio::sync::Semaphore;

use crate::support::{
    Running, Scripted, WAIT, answer_of, clock_ahead, consumer_info, failures, impatient, let_pass, policy,
    raw, ready, settled, wait_for_answer,
};

const DOWNLOAD: Stage = Stage::Download;

async fn kinds(nats: &TestNats) -> Vec<EventKind> {
    all_records(&nats.bus().await)
        .await
        .iter()
        .map(|record| record.envelope.subject.kind)
        .collect()
}

fn unavailable() -> Failure {
    Failure::new(FailureClass::Unavailable, "HTTP 503")
}

/// Work that ends when the test lets it.
fn gated(gate: &Arc<Semaphore>) -> Arc<Scripted> {
    let gate = Arc::clone(gate);
    Scripted::new(DOWNLOAD, move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Outcome::done(answer_of(DOWNLOAD))
        }
    })
}

#[tokio::test]
async fn a_message_is_answered_once_and_acknowledged() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::done(DOWNLOAD);
    let running = Running::start(&bus, &handler, policy(2));
    tokio::time::timeout(WAIT, running.health.ready()).await.unwrap();
    publish(&bus, &ready("CA1")).await;
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let records = all_records(&bus).await;
    assert_eq!(
        kinds(&nats).await,
        [EventKind::RecordingReady, EventKind::RecordingDownloaded]
    );
    let (input, answer) = (&records[0].envelope, &records[1].envelope);
    assert_eq!(answer.cause, Some(input.subject.message_id()));
    assert_eq!(answer.traceparent, input.traceparent);
    assert_eq!(handler.begun().len(), 1);
}

#[tokio::test]
async fn nothing_to_say_is_settled_without_an_event() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::new(DOWNLOAD, |_| async { Outcome::Nothing });
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    assert_eq!(kinds(&nats).await, [EventKind::RecordingReady]);
}

#[tokio::test]
async fn every_failed_attempt_is_told_and_the_last_one_is_final() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::new(DOWNLOAD, |_| async { Outcome::Retry(unavailable()) });
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(3).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let told = failures(&bus, DOWNLOAD, "CA1").await;
    let shape: Vec<_> = told
        .iter()
        .map(|(n, failed)| (*n, failed.delivery, failed.next_attempt_at.is_some()))
        .collect();
    assert_eq!(shape, [(1, 1, true), (2, 2, true), (3, 3, false)]);
    assert!(
        told.iter().all(|(_, f)| f.class == FailureClass::Unavailable
            && f.text == "HTTP 503"
            && f.attempts_max == 3)
    );
    let attempts: Vec<u32> = handler.begun().iter().map(|begun| begun.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(kinds(&nats).await.len(), 4);
}

#[tokio::test]
async fn a_retry_that_helps_ends_with_one_answer() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::new(DOWNLOAD, |job| async move {
        if job.attempt == 1 {
            panic!("the worker stumbles")
        }
        Outcome::done(answer_of(DOWNLOAD))
    });
    let running = Running::start(&bus, &handler, policy(2));
    publish(&bus, &ready("CA1")).await;
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let told = failures(&bus, DOWNLOAD, "CA1").await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].0, told[0].1.class),
        (1, FailureClass::Internal),
        "a panic is a failed attempt"
    );
}

#[tokio::test]
async fn a_rejected_message_has_one_final_failure() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::new(DOWNLOAD, |_| async { Outcome::Reject(unavailable()) });
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let told = failures(&bus, DOWNLOAD, "CA1").await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0, told[0].1.next_attempt_at), (1, None));
    assert_eq!(handler.begun().len(), 1);
}

#[tokio::test]
async fn waiting_is_told_once_however_often_it_looks_and_is_no_attempt() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let looks = Arc::new(Semaphore::new(6));
    let seen = Arc::clone(&looks);
    let handler = Scripted::new(DOWNLOAD, move |_| {
        let there = match seen.try_acquire() {
            Ok(look) => {
                look.forget();
                false
            }
            Err(_) => true,
        };
        async move {
            if there {
                return Outcome::done(answer_of(DOWNLOAD));
            }
            Outcome::Waiting {
                text: "the media is not there yet".to_owned(),
                after: Duration::from_millis(1),
            }
        }
    });
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let told = failures(&bus, DOWNLOAD, "CA1").await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0, told[0].1.class), (0, FailureClass::NotYet));
    assert!(told[0].1.next_attempt_at.is_some());
    let begun = handler.begun();
    assert_eq!(begun.len(), 7);
    assert!(begun.iter().all(|begun| begun.attempt == 1));
}

#[tokio::test]
async fn a_message_whose_answer_is_recorded_is_not_worked_on_again() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let input = ready("CA1");
    publish(&bus, &input).await;
    // The first worker publishes its answer and dies before it acknowledges.
    let stuck = Scripted::stuck(DOWNLOAD);
    let running = Running::start(&bus, &stuck, impatient(1));
    stuck.wait_for_begun(1).await;
    running.crash().await;
    publish(&bus, &crate::support::downloaded("CA1", Run::FIRST)).await;
    let handler = Scripted::done(DOWNLOAD);
    let running = Running::start(&bus, &handler, impatient(1));
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    assert_eq!(handler.begun(), []);
    assert_eq!(
        kinds(&nats).await,
        [EventKind::RecordingReady, EventKind::RecordingDownloaded]
    );
}

#[tokio::test]
async fn two_processes_with_one_message_in_hand_record_one_answer() {
    let nats = TestNats::start().await;
    let (one, other) = (nats.bus().await, nats.bus().await);
    publish(&one, &ready("CA1")).await;
    let gate = Arc::new(Semaphore::new(0));
    let slow = gated(&gate);
    let first = Running::start(&one, &slow, impatient(1));
    slow.wait_for_begun(1).await;
    // The server is told that the first one is lost, by somebody else: it delivers to the second.
    first.soft.cancel();
    let info = consumer_info(&nats, "download_new").await;
    assert_eq!(info.num_ack_pending, 1);
    let reply = "$JS.ACK.CALLS.download_new.1.1.1.0.0";
    let client = raw(&nats).await.client();
    client.publish(reply, "-NAK".into()).await.unwrap();
    client.flush().await.unwrap();
    let quick = Scripted::done(DOWNLOAD);
    let second = Running::start(&other, &quick, impatient(1));
    wait_for_answer(&one, DOWNLOAD, "CA1", Run::FIRST).await;
    gate.add_permits(1);
    first.ended().await.unwrap();
    settled(&nats, "download_new", 0).await;
    second.stop().await;
    let answers = kinds(&nats)
        .await
        .into_iter()
        .filter(|kind| *kind == EventKind::RecordingDownloaded)
        .count();
    assert_eq!(answers, 1);
}

#[tokio::test]
async fn a_lost_worker_counts_as_an_attempt_and_the_work_goes_on() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish(&bus, &ready("CA1")).await;
    let stuck = Scripted::stuck(DOWNLOAD);
    let running = Running::start(&bus, &stuck, impatient(1));
    stuck.wait_for_begun(1).await;
    running.crash().await;
    let handler = Scripted::done(DOWNLOAD);
    let running = Running::start(&bus, &handler, impatient(1));
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let told = failures(&bus, DOWNLOAD, "CA1").await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].0, told[0].1.class, told[0].1.delivery),
        (1, FailureClass::WorkerLost, 1)
    );
    assert!(told[0].1.next_attempt_at.is_some());
    assert_eq!(
        handler
            .begun()
            .iter()
            .map(|begun| begun.attempt)
            .collect::<Vec<_>>(),
        [2]
    );
}

#[tokio::test]
async fn a_message_that_kills_its_workers_ends() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish(&bus, &ready("CA1")).await;
    let policy = StagePolicy {
        attempts_max: 2,
        ..impatient(1)
    };
    let stuck = Scripted::stuck(DOWNLOAD);
    // A loss is only inferred: it takes twice the attempts.
    for worker in 1..=4 {
        let running = Running::start(&bus, &stuck, policy.clone());
        stuck.wait_for_begun(worker).await;
        running.crash().await;
    }
    let handler = Scripted::done(DOWNLOAD);
    let running = Running::start(&bus, &handler, policy);
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let told = failures(&bus, DOWNLOAD, "CA1").await;
    let shape: Vec<_> = told
        .iter()
        .map(|(n, f)| (*n, f.class, f.next_attempt_at.is_some()))
        .collect();
    assert_eq!(
        shape,
        [
            (1, FailureClass::WorkerLost, true),
            (2, FailureClass::WorkerLost, true),
            (3, FailureClass::WorkerLost, true),
            (4, FailureClass::WorkerLost, false)
        ]
    );
    assert!(
        told.iter().all(|(n, f)| f.attempts_max >= *n),
        "attempt 3 of 2: {told:?}"
    );
    assert_eq!(handler.begun(), []);
}

#[tokio::test]
async fn a_message_that_waited_and_then_kills_its_workers_ends() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish(&bus, &ready("CA1")).await;
    let policy = StagePolicy {
        attempts_max: 1,
        ..impatient(1)
    };
    let handler = Scripted::new(DOWNLOAD, |job| async move {
        if job.delivery > 1 {
            std::future::pending::<()>().await;
        }
        Outcome::Waiting {
            text: "the media is not there yet".to_owned(),
            after: Duration::from_millis(1),
        }
    });
    for worker in 1..=2 {
        let running = Running::start(&bus, &handler, policy.clone());
        handler.wait_for_begun(1 + worker).await;
        running.crash().await;
    }
    let running = Running::start(&bus, &handler, policy);
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let shape: Vec<_> = failures(&bus, DOWNLOAD, "CA1")
        .await
        .iter()
        .map(|(n, f)| (*n, f.class, f.delivery, f.next_attempt_at.is_some()))
        .collect();
    assert_eq!(
        shape,
        [
            (0, FailureClass::NotYet, 1, true),
            (1, FailureClass::WorkerLost, 2, true),
            (2, FailureClass::WorkerLost, 3, false)
        ]
    );
    assert_eq!(handler.begun().len(), 3);
}

#[tokio::test]
async fn processes_that_look_in_turn_whether_a_message_can_be_worked_on_lose_no_worker() {
    let nats = TestNats::start().await;
    let (one, other) = (nats.bus().await, nats.bus().await);
    let looks = Arc::new(Semaphore::new(20));
    let worker = || {
        let looks = Arc::clone(&looks);
        Scripted::new(DOWNLOAD, move |job| {
            let there = looks.try_acquire().map(|look| look.forget()).is_err();
            async move {
                // A failure first: its delivery is not the one before those that look.
                if job.delivery == 1 {
                    return Outcome::Retry(unavailable());
                }
                if there {
                    return Outcome::done(answer_of(DOWNLOAD));
                }
                Outcome::Waiting {
                    text: "the media is not there yet".to_owned(),
                    after: Duration::from_millis(1),
                }
            }
        })
    };
    let (first, second) = (worker(), worker());
    let running = [
        Running::start(&one, &first, policy(1)),
        Running::start(&other, &second, policy(1)),
    ];
    wait_for("both to ask for work", async || {
        let asking = wait_for("the consumer", async || {
            raw(&nats)
                .await
                .get_consumer_from_stream::<async_nats::jetstream::consumer::pull::Config, _, _>(
                    "download_new",
                    "CALLS",
                )
                .await
                .ok()
        })
        .await;
        (asking.cached_info().num_waiting == 2).then_some(())
    })
    .await;
    publish(&one, &ready("CA1")).await;
    wait_for_answer(&one, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    for running in running {
        running.stop().await;
    }
    let told: Vec<_> = failures(&one, DOWNLOAD, "CA1")
        .await
        .iter()
        .map(|(n, f)| (*n, f.class))
        .collect();
    assert_eq!(told, [(0, FailureClass::NotYet), (1, FailureClass::Unavailable)]);
    assert!(!first.begun().is_empty() && !second.begun().is_empty());
    // What is settled leaves no note with the one that settled it.
    let notes = one.kv("redeliveries", None).await.unwrap();
    assert_eq!(notes.get("download_1").await.unwrap(), None);
}

#[tokio::test]
async fn a_message_that_is_handed_back_at_a_stop_is_no_lost_worker() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let gate = Arc::new(Semaphore::new(0));
    let busy = Scripted::new(Stage::Transcribe, {
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Outcome::done(answer_of(Stage::Transcribe))
            }
        }
    });
    // One slot: when the first message takes it, the request for re-runs stands, and what answers it is held.
    let running = Running::start(&bus, &busy, policy(1));
    tokio::time::timeout(WAIT, running.health.ready()).await.unwrap();
    wait_for("both requests to stand", async || {
        let waiting = [
            consumer_info(&nats, "transcribe_new").await,
            consumer_info(&nats, "transcribe_again").await,
        ];
        waiting.iter().all(|info| info.num_waiting == 1).then_some(())
    })
    .await;
    let again = Run(1_795_341_600_000_001);
    publish(&bus, &crate::support::downloaded("CA1", Run::FIRST)).await;
    busy.wait_for_begun(1).await;
    publish(&bus, &crate::support::downloaded("CA1", again)).await;
    wait_for("the re-run to be delivered", async || {
        (consumer_info(&nats, "transcribe_again").await.num_ack_pending == 1).then_some(())
    })
    .await;
    running.soft.cancel();
    gate.add_permits(1);
    running.ended().await.unwrap();
    assert_eq!(busy.begun().len(), 1);
    // Another process: it has nothing but what was recorded and noted.
    let other = nats.bus().await;
    let handler = Scripted::done(Stage::Transcribe);
    let running = Running::start(&other, &handler, policy(1));
    wait_for_answer(&other, Stage::Transcribe, "CA1", again).await;
    settled(&nats, "transcribe_again", 0).await;
    running.stop().await;
    let attempts: Vec<u32> = handler.begun().iter().map(|begun| begun.attempt).collect();
    assert_eq!(attempts, [1]);
    assert_eq!(
        kinds(&nats).await.len(),
        4,
        "two inputs and two answers, no failure"
    );
}

#[tokio::test]
async fn long_work_is_delivered_once() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler = gated(&gate);
    // A second slot, so that a redelivery would be taken.
    let running = Running::start(&bus, &handler, impatient(2));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    let_pass(Duration::from_millis(2_500)).await;
    assert_eq!(consumer_info(&nats, "download_new").await.num_redelivered, 0);
    gate.add_permits(1);
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    assert_eq!(handler.begun().len(), 1);
    assert_eq!(failures(&bus, DOWNLOAD, "CA1").await, []);
}

#[tokio::test]
async fn a_message_that_waits_for_a_slot_is_not_taken_for_lost() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler = Scripted::new(Stage::Transcribe, {
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Outcome::done(answer_of(Stage::Transcribe))
            }
        }
    });
    // One slot: the stage has a request standing in each lane when the first message takes it.
    let running = Running::start(&bus, &handler, impatient(1));
    tokio::time::timeout(WAIT, running.health.ready()).await.unwrap();
    wait_for("both requests to stand", async || {
        let waiting = [
            consumer_info(&nats, "transcribe_new").await,
            consumer_info(&nats, "transcribe_again").await,
        ];
        waiting.iter().all(|info| info.num_waiting == 1).then_some(())
    })
    .await;
    let again = Run(1_795_341_600_000_001);
    publish(&bus, &crate::support::downloaded("CA1", Run::FIRST)).await;
    handler.wait_for_begun(1).await;
    publish(&bus, &crate::support::downloaded("CA1", again)).await;
    wait_for("the re-run to be delivered", async || {
        (consumer_info(&nats, "transcribe_again").await.num_ack_pending == 1).then_some(())
    })
    .await;
    let_pass(Duration::from_millis(2_500)).await;
    assert_eq!(consumer_info(&nats, "transcribe_again").await.num_redelivered, 0);
    gate.add_permits(2);
    wait_for_answer(&bus, Stage::Transcribe, "CA1", again).await;
    settled(&nats, "transcribe_again", 0).await;
    running.stop().await;
    assert_eq!(
        handler
            .begun()
            .iter()
            .map(|begun| begun.attempt)
            .collect::<Vec<_>>(),
        [1, 1]
    );
    assert_eq!(kinds(&nats).await.len(), 4);
}

#[tokio::test]
async fn work_in_hand_survives_a_broker_that_was_killed() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler = gated(&gate);
    let running = Running::start(&bus, &handler, impatient(2));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    // Away for longer than the server waits for a sign of life: it delivers the message again when it is back.
    nats.broker().kill_and_hold().await;
    let_pass(Duration::from_millis(1_500)).await;
    nats.broker().resume().await;
    // The stage works again, and what it has in hand was not begun twice.
    wait_for("the broker", async || bus.publish(&ready("CA2"), WAIT).await.ok()).await;
    handler.wait_for_begun(2).await;
    gate.add_permits(2);
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    wait_for_answer(&bus, DOWNLOAD, "CA2", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let begun: Vec<(String, u32)> = handler
        .begun()
        .into_iter()
        .map(|begun| (begun.call, begun.attempt))
        .collect();
    assert_eq!(begun, [("CA1".to_owned(), 1), ("CA2".to_owned(), 1)]);
    assert_eq!(
        kinds(&nats).await.len(),
        4,
        "two inputs and two answers, no failure"
    );
}

#[tokio::test]
async fn an_answer_is_recorded_when_the_broker_is_back() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler = gated(&gate);
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    nats.broker().kill_and_hold().await;
    gate.add_permits(1);
    wait_for("the work to be done", async || {
        (gate.available_permits() == 0).then_some(())
    })
    .await;
    nats.broker().resume().await;
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    assert_eq!(handler.begun().len(), 1);
    assert_eq!(
        kinds(&nats).await,
        [EventKind::RecordingReady, EventKind::RecordingDownloaded]
    );
}

#[tokio::test]
async fn a_newer_event_is_left_and_a_broken_one_is_passed_over_while_others_go_on() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let context = raw(&nats).await;
    for (call, version) in [("CAnewer", "2"), ("CAbroken", "1")] {
        let mut headers = HeaderMap::new();
        headers.insert("Callfold-Kind", "recording_ready");
        headers.insert("Callfold-Version", version);
        headers.insert("Callfold-Time", "2026-11-22T10:00:00.000Z");
        let subject = format!("calls.{call}.recording_ready.new.RE1");
        context
            .publish_with_headers(subject, headers, "\u{fffd}".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let handler = Scripted::done(DOWNLOAD);
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    // The newer one stays for a newer release, the broken one is gone.
    settled(&nats, "download_new", 1).await;
    running.stop().await;
    assert_eq!(handler.begun().len(), 1);
    assert_eq!(bus.stream_state().await.unwrap().messages, 4);
}

#[tokio::test]
async fn a_stage_survives_the_loss_of_its_consumer_and_does_nothing_twice() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::done(DOWNLOAD);
    // Ahead by a minute, so that what the new consumer delivers again is old.
    let running = Running::start_at(&bus, &handler, policy(2), clock_ahead(60_000));
    publish(&bus, &ready("CA1")).await;
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    raw(&nats)
        .await
        .delete_consumer_from_stream("download_new", "CALLS")
        .await
        .unwrap();
    publish(&bus, &ready("CA2")).await;
    wait_for_answer(&bus, DOWNLOAD, "CA2", Run::FIRST).await;
    settled(&nats, "download_new", 0).await;
    running.stop().await;
    let calls: Vec<String> = handler.begun().into_iter().map(|begun| begun.call).collect();
    assert_eq!(calls, ["CA1", "CA2"]);
    assert_eq!(kinds(&nats).await.len(), 4);
}

#[tokio::test]
async fn a_soft_stop_finishes_what_is_in_hand_and_begins_nothing() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler = gated(&gate);
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    publish(&bus, &ready("CA2")).await;
    running.soft.cancel();
    gate.add_permits(5);
    running.ended().await.unwrap();
    let begun: Vec<String> = handler.begun().into_iter().map(|begun| begun.call).collect();
    assert_eq!(begun, ["CA1"]);
    // Its answer and its acknowledgement are out when it has ended.
    assert!(
        bus.find(&crate::support::answer_subject(DOWNLOAD, "CA1", Run::FIRST))
            .await
            .unwrap()
            .is_some()
    );
    wait_for("the server to see the acknowledgement", async || {
        let info = consumer_info(&nats, "download_new").await;
        ((info.num_ack_pending, info.num_pending) == (0, 1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hard_stop_ends_work_that_does_not_end_by_itself() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let stuck = Scripted::stuck(DOWNLOAD);
    let running = Running::start(&bus, &stuck, policy(2));
    publish(&bus, &ready("CA1")).await;
    stuck.wait_for_begun(1).await;
    running.soft.cancel();
    running.hard.cancel();
    running.ended().await.unwrap();
    // Nothing was said about it: the message comes again.
    assert_eq!(kinds(&nats).await, [EventKind::RecordingReady]);
    assert_eq!(consumer_info(&nats, "download_new").await.num_ack_pending, 1);
}

#[tokio::test]
async fn a_handler_sees_the_hard_stop() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::new(DOWNLOAD, |job| async move {
        job.cancel.cancelled().await;
        Outcome::Waiting {
            text: "stopped".to_owned(),
            after: Duration::ZERO,
        }
    });
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    running.soft.cancel();
    running.hard.cancel();
    running.ended().await.unwrap();
    // The next process takes it up, and being stopped was no attempt.
    let next = Scripted::done(DOWNLOAD);
    let running = Running::start(&bus, &next, policy(1));
    wait_for_answer(&bus, DOWNLOAD, "CA1", Run::FIRST).await;
    running.stop().await;
    assert_eq!(
        next.begun().iter().map(|begun| begun.attempt).collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test]
async fn a_stop_ends_while_the_broker_is_away_and_the_client_takes_nothing() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let handler = Scripted::new(DOWNLOAD, |job| async move {
        job.cancel.cancelled().await;
        Outcome::Waiting {
            text: "stopped".to_owned(),
            after: Duration::ZERO,
        }
    });
    let running = Running::start(&bus, &handler, policy(1));
    publish(&bus, &ready("CA1")).await;
    handler.wait_for_begun(1).await;
    nats.broker().kill_and_hold().await;
    // Until the client's buffer is full.
    wait_for("the client to take nothing more", async || {
        let notice = bus.notify("callfold.test", "x".into());
        match tokio::time::timeout(Duration::from_millis(200), notice).await {
            Err(_) => Some(()),
            Ok(_) => {
                for _ in 0..500 {
                    let notice = bus.notify("callfold.test", "x".into());
                    if tokio::time::timeout(Duration::from_millis(200), notice)
                        .await
                        .is_err()
                    {
                        return Some(());
                    }
                }
                None
            }
        }
    })
    .await;
    running.soft.cancel();
    running.hard.cancel();
    // Far below the minute that other tests wait: nothing of it waits for the broker.
    tokio::time::timeout(Duration::from_secs(15), running.ended())
        .await
        .expect("the stop ends")
        .unwrap();
}

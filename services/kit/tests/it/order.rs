//! Who goes first: new calls before retries, and both before re-runs. Shown by order, not by time.

use std::sync::Arc;

use callfold_kit::stage::{Failure, Outcome};
use callfold_kit::testing::{TestNats, publish, wait_for};
use callfold_schema::event::FailureClass;
use callfold_schema::{Run, Stage};
use tokio::sync::Semaphore;

use crate::support::{Running, Scripted, answer_of, downloaded, policy, publish_all, ready, wait_for_answer};

const BACKLOG: usize = 2_000;

/// 2,000 recordings whose first attempt failed and whose next one is due; their second attempt waits for something slow.
/// Gives how many of these second attempts began before a new call did.
async fn retries_before_a_new_call(slots: usize) -> usize {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let slow = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&slow);
    let handler = Scripted::new(Stage::Download, move |job| {
        let gate = Arc::clone(&gate);
        async move {
            if job.call_sid.as_str() == "CAnew" {
                return Outcome::done(answer_of(Stage::Download));
            }
            if job.attempt == 1 {
                return Outcome::Retry(Failure::new(FailureClass::Unavailable, "HTTP 503"));
            }
            gate.acquire().await.unwrap().forget();
            Outcome::done(answer_of(Stage::Download))
        }
    });
    publish_all(&bus, (0..BACKLOG).map(|n| ready(&format!("CA{n}"))).collect()).await;
    let running = Running::start(&bus, &handler, policy(slots));
    // All have failed once, and what may run of them runs again, and hangs.
    handler.wait_for_begun(BACKLOG + 1).await;
    let begun = handler.begun();
    assert!(
        begun[..BACKLOG].iter().all(|begun| begun.attempt == 1),
        "fresh messages go before retries"
    );
    let new = ready("CAnew");
    publish(&bus, &new).await;
    if slots == 1 {
        // The only slot is taken: let the job in hand end, and those behind it if they came.
        slow.add_permits(BACKLOG);
    }
    wait_for_answer(&bus, Stage::Download, "CAnew", Run::FIRST).await;
    let begun = handler.begun();
    running.crash().await;
    let at = begun.iter().position(|begun| begun.call == "CAnew").unwrap();
    begun[..at].iter().filter(|begun| begun.attempt == 2).count()
}

#[tokio::test]
async fn two_thousand_due_retries_do_not_delay_a_new_call() {
    assert_eq!(
        retries_before_a_new_call(2).await,
        1,
        "the one retry in hand; the last slot is free for new calls"
    );
}

#[tokio::test]
async fn two_thousand_due_retries_do_not_delay_a_new_call_for_longer_than_the_one_in_hand() {
    assert_eq!(retries_before_a_new_call(1).await, 1);
}

#[tokio::test]
async fn re_runs_begin_when_no_new_call_is_there() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let run = Run(1_795_341_600_000_123);
    publish_all(
        &bus,
        (0..500).map(|n| downloaded(&format!("CA{n}"), run)).collect(),
    )
    .await;
    publish_all(
        &bus,
        (0..40)
            .map(|n| downloaded(&format!("CAnew{n}"), Run::FIRST))
            .collect(),
    )
    .await;
    let slow = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&slow);
    let handler = Scripted::new(Stage::Transcribe, move |job| {
        let gate = Arc::clone(&gate);
        async move {
            if job.run != Run::FIRST {
                gate.acquire().await.unwrap().forget();
            }
            Outcome::done(answer_of(Stage::Transcribe))
        }
    });
    let running = Running::start(&bus, &handler, policy(2));
    handler.wait_for_begun(41).await;
    let runs: Vec<Run> = handler.begun().iter().map(|begun| begun.run).collect();
    assert!(
        runs[..40].iter().all(|run| *run == Run::FIRST),
        "every new call that is there goes first"
    );
    assert_eq!(runs[40], run);
    // One re-run hangs; the other slot is for new calls, now and later.
    publish(&bus, &downloaded("CAlate", Run::FIRST)).await;
    wait_for_answer(&bus, Stage::Transcribe, "CAlate", Run::FIRST).await;
    assert_eq!(handler.begun().iter().filter(|begun| begun.run == run).count(), 1);
    // And the re-runs do go on.
    slow.add_permits(500);
    wait_for("the re-runs", async || {
        (bus.stream_state().await.unwrap().messages == 2 * 541).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn with_one_slot_a_new_call_waits_for_one_re_run_at_most() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let run = Run(1_795_341_600_000_123);
    publish_all(
        &bus,
        (0..50).map(|n| downloaded(&format!("CA{n}"), run)).collect(),
    )
    .await;
    let slow = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&slow);
    let handler = Scripted::new(Stage::Transcribe, move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Outcome::done(answer_of(Stage::Transcribe))
        }
    });
    let running = Running::start(&bus, &handler, policy(1));
    handler.wait_for_begun(1).await;
    publish(&bus, &downloaded("CAnew", Run::FIRST)).await;
    slow.add_permits(51);
    wait_for_answer(&bus, Stage::Transcribe, "CAnew", Run::FIRST).await;
    assert_eq!(handler.begun()[1].call, "CAnew");
    running.stop().await;
}

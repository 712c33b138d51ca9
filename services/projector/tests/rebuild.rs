//! Rebuilding while serving: events go on arriving, steps fail, processes end in the middle.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use callfold_kit::testing::{publish, wait_for};
use callfold_lead::FOLD_VERSION;
use callfold_projector::{ProjectorConfig, RebuildAnswer, RebuildProgress, RebuildRequest};
use callfold_schema::subject::{REBUILD, REBUILD_PROGRESS};
use callfold_store::{DifferenceKind, LeadFilter, ShadowState};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use harness::{Database, GRACE, World, assert_folded, ended, publish_all, started, traffic};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

/// Little memory, so that there are several windows.
fn small() -> ProjectorConfig {
    ProjectorConfig {
        batch_events_max: 10,
        rebuild_bytes_max: 4_000,
        ..ProjectorConfig::default()
    }
}

async fn ask(world: &World, request: RebuildRequest) -> RebuildAnswer {
    let bytes = serde_json::to_vec(&request).unwrap();
    let answer = world.bus.ask(REBUILD, bytes.into(), GRACE).await.unwrap();
    serde_json::from_slice(&answer.expect("a projector listens")).unwrap()
}

/// Waits until none is under way: its end is told a moment before.
async fn over(world: &World) {
    wait_for("the rebuild to be over", async || {
        (ask(world, RebuildRequest::Look).await == RebuildAnswer::Idle).then_some(())
    })
    .await;
}

async fn progress(world: &World) -> BoxStream<'static, Bytes> {
    let notices = world.bus.notices(REBUILD_PROGRESS).await.unwrap();
    world.bus.flush().await.unwrap();
    notices.boxed()
}

/// The first of the notices that is wanted.
async fn until(
    notices: &mut (impl Stream<Item = Bytes> + Unpin),
    wanted: impl Fn(&RebuildProgress) -> bool,
) -> RebuildProgress {
    loop {
        let notice = tokio::time::timeout(GRACE, notices.next())
            .await
            .expect("progress is told")
            .unwrap();
        let progress: RebuildProgress = serde_json::from_slice(&notice).unwrap();
        if wanted(&progress) {
            return progress;
        }
    }
}

fn is_end(progress: &RebuildProgress) -> bool {
    matches!(
        progress,
        RebuildProgress::Switched { .. } | RebuildProgress::Refused { .. } | RebuildProgress::Dropped
    )
}

const REQUEST: RebuildRequest = RebuildRequest::Rebuild {
    accept_differences: false,
};

/// One row is changed, in SQL that both sorts understand.
async fn sql(world: &World, statement: &'static str) {
    let changed = if world.url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(&world.url).await.unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    } else {
        let mut connection = PgConnection::connect(&world.url).await.unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    };
    assert_eq!(changed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_reads_go_on_while_the_leads_are_rebuilt_on_sqlite() {
    Box::pin(events_and_reads_go_on_while_the_leads_are_rebuilt(
        Database::Sqlite,
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_reads_go_on_while_the_leads_are_rebuilt_on_postgres() {
    Box::pin(events_and_reads_go_on_while_the_leads_are_rebuilt(
        Database::Postgres,
    ))
    .await;
}

async fn events_and_reads_go_on_while_the_leads_are_rebuilt(database: Database) {
    let world = World::on(database).await;
    let mut events = publish_all(&world, traffic(60)).await;
    let running = world.start(&small());
    running.ready().await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (faulty, stop) = (Arc::clone(&world.faulty), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let page = faulty
                    .store
                    .list(&LeadFilter::default(), 100, None)
                    .await
                    .unwrap();
                assert!(page.leads.len() >= 60);
                reads += 1;
            }
            reads
        })
    };
    let mut notices = progress(&world).await;
    assert_eq!(ask(&world, RebuildRequest::Look).await, RebuildAnswer::Idle);
    assert_eq!(ask(&world, REQUEST).await, RebuildAnswer::Begun);
    for n in 0..20 {
        let event = started(&format!("CB{n:02}"), 100 + n);
        events.push((publish(&world.bus, &event).await, event));
    }
    let RebuildProgress::Switched { comparison, .. } = until(&mut notices, is_end).await else {
        panic!("refused")
    };
    assert!(comparison.is_same(), "{comparison:?}");
    for n in 0..20 {
        let event = ended(&format!("CB{n:02}"), 200 + n);
        events.push((publish(&world.bus, &event).await, event));
    }
    world.folded_up_to(220).await;
    assert_folded(&world, &events).await;
    stop.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
    let shadow = world.faulty.store.shadow().await.unwrap();
    assert_eq!((shadow.state, shadow.generation), (ShadowState::Old, 1));
    over(&world).await;
    // And away with the old ones; the next rebuild goes the other way.
    assert_eq!(ask(&world, RebuildRequest::DropOld).await, RebuildAnswer::Begun);
    assert_eq!(until(&mut notices, is_end).await, RebuildProgress::Dropped);
    over(&world).await;
    assert_eq!(ask(&world, REQUEST).await, RebuildAnswer::Begun);
    assert!(matches!(
        until(&mut notices, is_end).await,
        RebuildProgress::Switched { .. }
    ));
    assert_folded(&world, &events).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_difference_is_found_and_refused_until_it_is_accepted_on_sqlite() {
    Box::pin(a_planted_difference_is_found_and_refused_until_it_is_accepted(
        Database::Sqlite,
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_difference_is_found_and_refused_until_it_is_accepted_on_postgres() {
    Box::pin(a_planted_difference_is_found_and_refused_until_it_is_accepted(
        Database::Postgres,
    ))
    .await;
}

async fn a_planted_difference_is_found_and_refused_until_it_is_accepted(database: Database) {
    let world = World::on(database).await;
    let events = publish_all(&world, traffic(20)).await;
    let running = world.start(&small());
    world.folded_up_to(60).await;
    running.stop().await;
    sql(
        &world,
        "UPDATE leads SET hash = substr(hash, 1, 8), lead = replace(lead, '+97250', '+97259') WHERE call_sid = 'CA007'",
    )
    .await;
    let running = world.start(&small());
    running.ready().await;
    let mut notices = progress(&world).await;
    ask(&world, REQUEST).await;
    let RebuildProgress::Refused { comparison } = until(&mut notices, is_end).await else {
        panic!("switched")
    };
    assert_eq!(
        (comparison.different, comparison.missing, comparison.extra),
        (1, 0, 0)
    );
    assert_eq!(comparison.calls[0].call_sid.as_str(), "CA007");
    assert_eq!(comparison.calls[0].kind, DifferenceKind::Different);
    assert_eq!(world.lead("CA007").await.unwrap().phone.as_str(), "+972591234567");
    over(&world).await;
    let shadow = world.faulty.store.shadow().await.unwrap();
    assert_eq!((shadow.state, shadow.generation), (ShadowState::Empty, 0));
    let accept = RebuildRequest::Rebuild {
        accept_differences: true,
    };
    ask(&world, accept).await;
    let RebuildProgress::Switched { comparison, .. } = until(&mut notices, is_end).await else {
        panic!("refused")
    };
    assert_eq!(comparison.different, 1);
    assert_folded(&world, &events).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_fail_and_is_gone_on_with_on_sqlite() {
    Box::pin(every_step_may_fail_and_is_gone_on_with(Database::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_fail_and_is_gone_on_with_on_postgres() {
    Box::pin(every_step_may_fail_and_is_gone_on_with(Database::Postgres)).await;
}

async fn every_step_may_fail_and_is_gone_on_with(database: Database) {
    let world = World::on(database).await;
    let mut events = publish_all(&world, traffic(20)).await;
    let running = world.start(&small());
    running.ready().await;
    let mut notices = progress(&world).await;
    ask(&world, REQUEST).await;
    until(&mut notices, is_end).await;
    // From the second one on the old leads have to go first. How many steps a rebuild has depends on how fast they are: the
    // one that ends before its turn to fail comes is the last.
    let mut rebuilt = 1;
    for step in 0.. {
        over(&world).await;
        world.faulty.shadow_steps.store(0, Ordering::SeqCst);
        world.faulty.allow_shadow.store(step, Ordering::SeqCst);
        ask(&world, REQUEST).await;
        let is_over = wait_for("the step to fail, or the end", async || {
            if world.faulty.shadow_steps.load(Ordering::SeqCst) > step {
                return Some(false);
            }
            let shadow = world.faulty.store.shadow().await.unwrap();
            (shadow.generation > rebuilt).then_some(true)
        })
        .await;
        // Something happens before it goes on.
        let event = started(&format!("CB{step:02}"), 100 + i64::from(step));
        events.push((publish(&world.bus, &event).await, event));
        world.faulty.allow_shadow.store(u32::MAX, Ordering::SeqCst);
        let end = until(&mut notices, is_end).await;
        assert!(
            matches!(&end, RebuildProgress::Switched { comparison, .. } if comparison.is_same()),
            "step {step}: {end:?}"
        );
        rebuilt += 1;
        if is_over {
            assert!(step >= 5, "{step}");
            break;
        }
    }
    let last = events.iter().map(|(position, _)| *position).max().unwrap();
    world.folded_up_to(last).await;
    assert_folded(&world, &events).await;
    assert_eq!(world.faulty.store.shadow().await.unwrap().generation, rebuilt);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_goes_on_with_a_rebuild_on_sqlite() {
    Box::pin(the_next_process_goes_on_with_a_rebuild(Database::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_goes_on_with_a_rebuild_on_postgres() {
    Box::pin(the_next_process_goes_on_with_a_rebuild(Database::Postgres)).await;
}

async fn the_next_process_goes_on_with_a_rebuild(database: Database) {
    let world = World::on(database).await;
    let events = publish_all(&world, traffic(20)).await;
    let running = world.start(&small());
    running.ready().await;
    world.faulty.allow_shadow.store(2, Ordering::SeqCst);
    let mut notices = progress(&world).await;
    ask(&world, REQUEST).await;
    until(&mut notices, |progress| {
        matches!(progress, RebuildProgress::Interrupted { .. })
    })
    .await;
    running.stop().await;
    let shadow = world.faulty.store.shadow().await.unwrap();
    // Somewhere on its way, and not switched.
    let is_on_its_way = matches!(shadow.state, ShadowState::Folding | ShadowState::Indexed);
    assert!(is_on_its_way && shadow.generation == 0, "{shadow:?}");
    world.faulty.allow_shadow.store(u32::MAX, Ordering::SeqCst);
    // Nobody asks.
    let running = world.start_on(world.bus.clone(), &small(), true);
    let end = until(&mut notices, is_end).await;
    assert!(matches!(&end, RebuildProgress::Switched { comparison, .. } if comparison.is_same()));
    assert_folded(&world, &events).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leads_of_an_older_fold_serve_until_they_are_rebuilt_on_sqlite() {
    Box::pin(leads_of_an_older_fold_serve_until_they_are_rebuilt(
        Database::Sqlite,
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leads_of_an_older_fold_serve_until_they_are_rebuilt_on_postgres() {
    Box::pin(leads_of_an_older_fold_serve_until_they_are_rebuilt(
        Database::Postgres,
    ))
    .await;
}

async fn leads_of_an_older_fold_serve_until_they_are_rebuilt(database: Database) {
    let world = World::on(database).await;
    let events = publish_all(&world, traffic(20)).await;
    let running = world.start(&small());
    world.folded_up_to(60).await;
    running.stop().await;
    sql(
        &world,
        "UPDATE leads SET hash = substr(hash, 1, 8) WHERE call_sid = 'CA007'",
    )
    .await;
    sql(&world, "UPDATE projection SET fold_version = fold_version - 1").await;
    world.faulty.allow_shadow.store(0, Ordering::SeqCst);
    let mut notices = progress(&world).await;
    let running = world.start(&small());
    // Served, and folded on, before anything is rebuilt.
    running.ready().await;
    publish(&world.bus, &started("CB1", 90)).await;
    world.folded_up_to(61).await;
    assert!(world.lead("CA007").await.is_some() && world.lead("CB1").await.is_some());
    let projection = world.faulty.store.projection().await.unwrap();
    assert_eq!(projection.fold_version, FOLD_VERSION - 1);
    world.faulty.allow_shadow.store(u32::MAX, Ordering::SeqCst);
    let RebuildProgress::Switched { comparison, .. } = until(&mut notices, is_end).await else {
        panic!("refused")
    };
    assert_eq!(comparison.different, 1);
    let projection = world.faulty.store.projection().await.unwrap();
    assert_eq!((projection.fold_version, projection.position), (FOLD_VERSION, 61));
    assert_eq!(events.len(), 60);
    running.stop().await;
}

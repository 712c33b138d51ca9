//! The projector with a real broker and a real database, whose calls fail where a test says so.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::metric::CounterName;
use callfold_kit::testing::{TestNats, publish, wait_for};
use callfold_kit::{Bus, Health, Lifecycle, Metrics, chain};
use callfold_lead::{Lead, LeadState, Status, lead_view};
use callfold_projector::{Deps, ProjectorConfig, start};
use callfold_schema::event::{CallEnded, CallStarted, Caller, RecordingReady};
use callfold_schema::subject::LEAD_CHANGED;
use callfold_schema::{CallSid, Key, NewEvent, Record, RecordingSid, UnixMillis};
use callfold_store::{BackendError, Batch, Claim, LeadFilter, ReadLeads, StoreError, WriteLeads};
use callfold_store_sqlite::SqliteStore;
use futures::StreamExt as _;

const GRACE: Duration = Duration::from_secs(20);

/// A database that can be made to fail: the next calls of `apply` before, or after, they do their work; or everything.
struct Faulty {
    store: SqliteStore,
    fail_before: AtomicU32,
    fail_after: AtomicU32,
    fail_all: AtomicU32,
}

impl Faulty {
    fn due(counter: &AtomicU32) -> Result<(), StoreError> {
        let left = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Err(_) => Ok(()),
            Ok(_) => Err(StoreError::Unavailable {
                attempt: "do that",
                source: BackendError("a test says no".to_owned()),
            }),
        }
    }
}

#[async_trait]
impl WriteLeads for Faulty {
    async fn claim(&self, writer: &str, force: bool) -> Result<Claim, StoreError> {
        Self::due(&self.fail_all)?;
        self.store.claim(writer, force).await
    }

    async fn renew(&self, writer: &str) -> Result<(), StoreError> {
        Self::due(&self.fail_all)?;
        self.store.renew(writer).await
    }

    async fn release(&self, writer: &str) -> Result<(), StoreError> {
        self.store.release(writer).await
    }

    async fn reset(&self, writer: &str, identity: &str) -> Result<(), StoreError> {
        Self::due(&self.fail_all)?;
        self.store.reset(writer, identity).await
    }

    async fn states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        Self::due(&self.fail_all)?;
        self.store.states(call_sids).await
    }

    async fn apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError> {
        Self::due(&self.fail_before)?;
        self.store.apply(writer, batch).await?;
        Self::due(&self.fail_after)
    }

    async fn purge(&self) -> Result<(), StoreError> {
        self.store.purge().await
    }
}

struct World {
    nats: TestNats,
    bus: Bus,
    faulty: Arc<Faulty>,
    _folder: tempfile::TempDir,
}

/// One running projector.
struct Running {
    lifecycle: Lifecycle,
    health: Health,
    metrics: Metrics,
}

impl World {
    async fn new() -> Self {
        let nats = TestNats::start().await;
        let bus = nats.bus().await;
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("leads.db")).await.unwrap();
        let faulty = Faulty {
            store,
            fail_before: AtomicU32::new(0),
            fail_after: AtomicU32::new(0),
            fail_all: AtomicU32::new(0),
        };
        Self {
            nats,
            bus,
            faulty: Arc::new(faulty),
            _folder: folder,
        }
    }

    fn start(&self, config: &ProjectorConfig) -> Running {
        self.start_on(self.bus.clone(), config, false)
    }

    fn start_on(&self, bus: Bus, config: &ProjectorConfig, embedded: bool) -> Running {
        let running = Running {
            lifecycle: Lifecycle::new(),
            health: Health::new(),
            metrics: Metrics::new(),
        };
        let deps = Deps {
            bus,
            leads: Arc::clone(&self.faulty) as Arc<dyn WriteLeads>,
            metrics: running.metrics.clone(),
            health: running.health.part("projector", true),
            embedded,
        };
        start(config, deps, &running.lifecycle);
        running
    }

    async fn folded_up_to(&self, position: u64) {
        wait_for("the leads to reach the position", async || {
            (self.faulty.store.projection().await.unwrap().position >= position).then_some(())
        })
        .await;
    }

    async fn lead(&self, call: &str) -> Option<Lead> {
        self.faulty.store.lead(&sid(call)).await.unwrap()
    }
}

impl Running {
    async fn stop(self) {
        self.lifecycle.stop();
        self.lifecycle.stopped(GRACE).await.unwrap();
    }

    fn reason(&self) -> String {
        self.health.readiness().parts["projector"]
            .reason
            .clone()
            .unwrap_or_default()
    }

    async fn ready(&self) {
        wait_for("the projector to be ready", async || {
            self.health.readiness().ready.then_some(())
        })
        .await;
    }
}

fn sid(text: &str) -> CallSid {
    CallSid::parse(text).unwrap()
}

fn at(n: i64) -> UnixMillis {
    UnixMillis(1_795_341_600_000 + n * 1_000)
}

fn started(call: &str, n: i64) -> NewEvent {
    let event = CallStarted {
        account_sid: String::new(),
        from: "+972501234567".into(),
        to: "+97239999999".into(),
        direction: "inbound".into(),
        caller: Caller::default(),
        greeting: String::new(),
        voice: String::new(),
        language: "he-IL".into(),
        record_max_s: 180,
        idempotency_token: None,
        form: vec![],
    };
    NewEvent::new(sid(call), Key::single(), at(n), event)
}

fn ended(call: &str, n: i64) -> NewEvent {
    let event = CallEnded {
        status: "completed".into(),
        duration_s: Some(9),
        ended_at: None,
        idempotency_token: None,
        form: vec![],
    };
    NewEvent::new(sid(call), Key::single(), at(n), event)
}

fn ready(call: &str, recording: &str, n: i64) -> NewEvent {
    let recording = RecordingSid::parse(recording).unwrap();
    let event = RecordingReady {
        recording_sid: recording.clone(),
        account_sid: String::new(),
        media_url: String::new(),
        duration_s: None,
        channels: None,
        source: None,
        started_at: None,
        idempotency_token: None,
        form: vec![],
    };
    NewEvent::new(sid(call), Key::recording(recording), at(n), event)
}

/// What `n` calls say, mixed.
fn traffic(calls: i64) -> Vec<NewEvent> {
    let name = |n: i64| format!("CA{n:03}");
    let mut events: Vec<NewEvent> = (0..calls).map(|n| started(&name(n), n)).collect();
    events.extend(
        (0..calls)
            .rev()
            .map(|n| ready(&name(n), &format!("RE{n}"), n + 10)),
    );
    events.extend((0..calls).map(|n| ended(&name(n), n + 20)));
    events
}

/// Compares every lead with what a fold of the published events gives.
async fn assert_folded(world: &World, events: &[(u64, NewEvent)]) {
    let mut states: HashMap<CallSid, LeadState> = HashMap::new();
    for (position, event) in events {
        let call = event.envelope.subject.call_sid.clone();
        let record = Record {
            envelope: event.envelope.clone(),
            event: event.event.clone(),
        };
        states
            .entry(call.clone())
            .or_insert_with(|| LeadState::new(call))
            .apply_record(*position, &record)
            .unwrap();
    }
    for (call, state) in &states {
        let lead = world.faulty.store.lead(call).await.unwrap().unwrap();
        assert!(lead == lead_view(state).unwrap(), "{call}");
        assert_eq!(
            world.faulty.store.positions(call).await.unwrap(),
            state.positions()
        );
    }
    let counted: u64 = world
        .faulty
        .store
        .counts()
        .await
        .unwrap()
        .iter()
        .map(|(_, leads)| leads)
        .sum();
    assert_eq!(counted, states.len() as u64);
}

async fn publish_all(world: &World, events: Vec<NewEvent>) -> Vec<(u64, NewEvent)> {
    let mut published = Vec::new();
    for event in events {
        published.push((publish(&world.bus, &event).await, event));
    }
    published
}

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

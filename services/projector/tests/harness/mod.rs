//! A broker, a database whose calls fail where a test says so, and projectors between them.
#![allow(dead_code, reason = "each test binary uses what it needs")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::testing::{TestNats, publish, wait_for};
use callfold_kit::{Bus, Health, Lifecycle, Metrics};
use callfold_lead::{Lead, LeadState, lead_view};
use callfold_projector::{Deps, ProjectorConfig, start};
use callfold_schema::event::{CallEnded, CallStarted, Caller, RecordingReady};
use callfold_schema::{CallSid, Key, NewEvent, Record, RecordingSid, UnixMillis};
use callfold_store::testing::TestPostgres;
use callfold_store::{
    BackendError, Batch, Claim, Comparison, ReadLeads, Shadow, ShadowLeads, StoreError, WriteLeads,
};
use callfold_store_postgres::PostgresStore;
use callfold_store_sqlite::SqliteStore;

pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// A database of either sort.
pub(crate) trait Store: ReadLeads + WriteLeads {}

impl<T: ReadLeads + WriteLeads> Store for T {}

/// Which one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// A database that can be made to fail: the next calls of `apply` before, or after, they do their work; or everything.
pub(crate) struct Faulty {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) fail_before: AtomicU32,
    pub(crate) fail_after: AtomicU32,
    pub(crate) fail_all: AtomicU32,
    /// How many steps of a rebuild do not fail.
    pub(crate) allow_shadow: AtomicU32,
    /// How many there were.
    pub(crate) shadow_steps: AtomicU32,
}

impl Faulty {
    fn due(counter: &AtomicU32) -> Result<(), StoreError> {
        let left = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Err(_) => Ok(()),
            Ok(_) => Err(Self::no()),
        }
    }

    fn no() -> StoreError {
        StoreError::Unavailable {
            attempt: "do that",
            source: BackendError("a test says no".to_owned()),
        }
    }

    fn shadow_step(&self) -> Result<(), StoreError> {
        let steps = self.shadow_steps.fetch_add(1, Ordering::SeqCst);
        if steps < self.allow_shadow.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(Self::no())
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

#[async_trait]
impl ShadowLeads for Faulty {
    async fn shadow(&self) -> Result<Shadow, StoreError> {
        self.store.shadow().await
    }

    async fn shadow_clear(&self, writer: &str, rows: u32) -> Result<bool, StoreError> {
        self.shadow_step()?;
        self.store.shadow_clear(writer, rows).await
    }

    async fn shadow_begin(&self, writer: &str, accept: bool) -> Result<(), StoreError> {
        self.shadow_step()?;
        self.store.shadow_begin(writer, accept).await
    }

    async fn shadow_accept(&self, writer: &str) -> Result<(), StoreError> {
        self.store.shadow_accept(writer).await
    }

    async fn shadow_states(&self, call_sids: &[CallSid]) -> Result<HashMap<CallSid, LeadState>, StoreError> {
        self.store.shadow_states(call_sids).await
    }

    async fn shadow_apply(&self, writer: &str, batch: &Batch) -> Result<(), StoreError> {
        self.shadow_step()?;
        self.store.shadow_apply(writer, batch).await
    }

    async fn shadow_index(&self, writer: &str, rows: u32) -> Result<bool, StoreError> {
        self.shadow_step()?;
        self.store.shadow_index(writer, rows).await
    }

    async fn apply_both(&self, writer: &str, live: &Batch, shadow: &Batch) -> Result<(), StoreError> {
        Self::due(&self.fail_before)?;
        self.store.apply_both(writer, live, shadow).await
    }

    async fn compare(&self, calls_max: usize) -> Result<Option<Comparison>, StoreError> {
        self.shadow_step()?;
        self.store.compare(calls_max).await
    }

    async fn switch(&self, writer: &str, position: u64) -> Result<bool, StoreError> {
        self.shadow_step()?;
        self.store.switch(writer, position).await
    }
}

pub(crate) struct World {
    pub(crate) nats: TestNats,
    pub(crate) bus: Bus,
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) folder: tempfile::TempDir,
    /// The address of the database.
    pub(crate) url: String,
}

/// One running projector.
pub(crate) struct Running {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(Database::Sqlite).await
    }

    pub(crate) async fn on(database: Database) -> Self {
        let nats = TestNats::start().await;
        let bus = nats.bus().await;
        let folder = tempfile::tempdir().unwrap();
        let (store, url): (Arc<dyn Store>, String) = match database {
            Database::Sqlite => {
                let path = folder.path().join("leads.db");
                let store = SqliteStore::open(&path).await.unwrap();
                (Arc::new(store), format!("sqlite://{}", path.display()))
            }
            Database::Postgres => {
                let url = TestPostgres::shared().fresh_database();
                (Arc::new(PostgresStore::connect(&url).await.unwrap()), url)
            }
        };
        let faulty = Faulty {
            store,
            fail_before: AtomicU32::new(0),
            fail_after: AtomicU32::new(0),
            fail_all: AtomicU32::new(0),
            allow_shadow: AtomicU32::new(u32::MAX),
            shadow_steps: AtomicU32::new(0),
        };
        Self {
            nats,
            bus,
            faulty: Arc::new(faulty),
            folder,
            url,
        }
    }

    pub(crate) fn start(&self, config: &ProjectorConfig) -> Running {
        self.start_on(self.bus.clone(), config, false)
    }

    pub(crate) fn start_on(&self, bus: Bus, config: &ProjectorConfig, embedded: bool) -> Running {
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

    pub(crate) async fn folded_up_to(&self, position: u64) {
        wait_for("the leads to reach the position", async || {
            (self.faulty.store.projection().await.unwrap().position >= position).then_some(())
        })
        .await;
    }

    pub(crate) async fn lead(&self, call: &str) -> Option<Lead> {
        self.faulty.store.lead(&sid(call)).await.unwrap()
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.lifecycle.stop();
        self.lifecycle.stopped(GRACE).await.unwrap();
    }

    pub(crate) fn reason(&self) -> String {
        self.health.readiness().parts["projector"]
            .reason
            .clone()
            .unwrap_or_default()
    }

    pub(crate) async fn ready(&self) {
        wait_for("the projector to be ready", async || {
            self.health.readiness().ready.then_some(())
        })
        .await;
    }
}

pub(crate) fn sid(text: &str) -> CallSid {
    CallSid::parse(text).unwrap()
}

pub(crate) fn at(n: i64) -> UnixMillis {
    UnixMillis(1_795_341_600_000 + n * 1_000)
}

pub(crate) fn started(call: &str, n: i64) -> NewEvent {
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

pub(crate) fn ended(call: &str, n: i64) -> NewEvent {
    let event = CallEnded {
        status: "completed".into(),
        duration_s: Some(9),
        ended_at: None,
        idempotency_token: None,
        form: vec![],
    };
    NewEvent::new(sid(call), Key::single(), at(n), event)
}

pub(crate) fn ready(call: &str, recording: &str, n: i64) -> NewEvent {
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
pub(crate) fn traffic(calls: i64) -> Vec<NewEvent> {
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
pub(crate) async fn assert_folded(world: &World, events: &[(u64, NewEvent)]) {
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

pub(crate) async fn publish_all(world: &World, events: Vec<NewEvent>) -> Vec<(u64, NewEvent)> {
    let mut published = Vec::new();
    for event in events {
        published.push((publish(&world.bus, &event).await, event));
    }
    published
}

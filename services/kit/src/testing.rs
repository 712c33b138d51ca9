//! Help for tests: a real broker each, waiting for conditions, and servers that misbehave.

use std::time::Duration;

use callfold_schema::{NewEvent, Record};
use tokio::time::Instant;

use crate::broker::{Broker, find_server};
use crate::bus::{Bus, BusConfig, Published, StoredEvent};
use crate::config::Environment;

pub mod fault;

pub use fault::{Fault, TestServer};

/// How long a test waits for a condition before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A real `nats-server` with a store of its own, gone with this value.
pub struct TestNats {
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Drop for TestNats {
    fn drop(&mut self) {
        // The store is removed next: its server has to be gone.
        self.broker.kill_for_good();
    }
}

impl TestNats {
    /// Starts one with the project's `nats.conf`. Panics where no server is found: a missing part fails the test.
    pub async fn start() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let server = find_server(&Environment).expect("`make test` brings nats-server");
            let folder = tempfile::tempdir().expect("a temporary folder");
            let broker = Broker::start(&server, folder.path()).expect("nats-server starts");
            Self { broker, folder }
        });
        started.await.expect("the starting thread does not panic")
    }

    /// Its address with credentials.
    pub fn url(&self) -> String {
        self.broker.url()
    }

    /// The broker, for killing and restarting.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Its folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// How to connect: a stream bound that fits a test machine.
    pub fn config(&self) -> BusConfig {
        BusConfig {
            stream_bytes_max: 1 << 30,
            ..BusConfig::new(self.url())
        }
    }

    /// A connection of its own.
    pub async fn bus(&self) -> Bus {
        Bus::connect(&self.config())
            .await
            .expect("connects to the broker of this test")
    }
}

/// Asks until the answer is there. Panics with `what` and the number of tries when patience ends.
pub async fn wait_for<T, F>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut tries = 0;
    loop {
        tick.tick().await;
        tries += 1;
        if let Some(answer) = condition().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} ({tries} tries) for {what}"
        );
    }
}

/// Publishes and expects it to be recorded.
pub async fn publish(bus: &Bus, event: &NewEvent) -> u64 {
    match bus
        .publish(event, Duration::from_secs(10))
        .await
        .expect("the broker takes it")
    {
        Published::Recorded { position } => position,
        Published::AlreadyRecorded => panic!("{} was recorded before", event.envelope.subject),
    }
}

/// Everything in the stream, in order.
pub async fn all_events(bus: &Bus) -> Vec<StoredEvent> {
    let state = bus.stream_state().await.expect("the broker answers");
    // Comes to an end where the last ones were deleted, too.
    let mut walk = bus.walk(1, state.last);
    let mut events = Vec::new();
    while let Some(batch) = walk.next(1_000, 8 << 20).await.expect("reads") {
        events.extend(batch);
    }
    events
}

/// Everything in the stream, decoded. Panics on an unreadable event.
pub async fn all_records(bus: &Bus) -> Vec<Record> {
    all_events(bus)
        .await
        .iter()
        .map(|event| event.decode().expect("decodes"))
        .collect()
}

//! What every process of callfold needs and that knows nothing of leads: the broker, the stage loop, recordings,
//! configuration, life and death, health, metrics, logs.

pub mod audio;
pub mod backoff;
pub mod blob;
pub mod breaker;
pub mod broker;
pub mod bus;
pub mod chain;
pub mod clock;
pub mod config;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod memory;
pub mod metric;
pub mod numbers;
pub mod secret;
pub mod stage;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wer;
pub mod work;

pub use bus::Bus;
pub use chain::chain;
pub use clock::{Clock, SharedClock, SystemClock};
pub use health::Health;
pub use lifecycle::Lifecycle;
pub use metric::Metrics;
pub use numbers::Numbers;
pub use secret::Secret;

//! The stage `download`: `RecordingReady` → `RecordingDownloaded`.

pub mod config;
pub mod fetch;
pub mod handler;

use std::sync::Arc;

use callfold_kit::Bus;
use callfold_kit::blob::Blobs;
use callfold_kit::clock::SharedClock;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::metric::Metrics;
use callfold_kit::stage::{StageDeps, run_stage};

pub use config::{Credentials, DownloaderConfig, Limits};
pub use handler::Downloader;

/// The handler of these settings.
///
/// # Errors
/// The HTTP client cannot be made.
pub fn build(
    config: &DownloaderConfig,
    blobs: Blobs,
    clock: SharedClock,
    metrics: Metrics,
) -> Result<Downloader, BoxError> {
    let http = callfold_kit::http::client_builder().build()?;
    Ok(Downloader::new(http, config, blobs, clock, metrics))
}

/// Runs the stage until the soft stop; then finishes what is in hand.
///
/// # Errors
/// The stage cannot be set up, or the broker refuses it for good.
pub async fn run(bus: Bus, blobs: Blobs, config: DownloaderConfig, deps: StageDeps) -> Result<(), BoxError> {
    let handler = build(&config, blobs, deps.clock.clone(), deps.metrics.clone())?;
    run_stage(bus, Arc::new(handler), config.policy, deps).await
}

//! The tools: what a person at a terminal asks of an installation.

pub mod accuracy;
pub mod adopt;
pub mod doctor;
pub mod erase;
pub mod events;
pub mod explain;
pub mod export;
pub mod health;
pub mod import;
mod leads;
pub mod model;
pub mod progress;
pub mod rebuild;
pub mod reconcile;
pub mod reprocess;
pub mod simulate;
pub mod token;
pub mod user;
pub mod verify;

use std::path::{Path, PathBuf};

use anyhow::Context;
use callfold_kit::Bus;
use callfold_kit::broker::Broker;
use callfold_kit::bus::BusConfig;
use callfold_kit::config::{Environment, Settings};
use callfold_kit::telemetry::TelemetryConfig;
use callfold_schema::UnixMillis;

use crate::run_file::RunFile;
use crate::stack::{Role, StackConfig};

/// A connection to the stream of an installation, running or not.
pub struct Access {
    /// The stream.
    pub bus: Bus,
    /// A broker that was started for this, when nothing was running.
    broker: Option<Broker>,
    /// Held while the broker is ours.
    _lock: Option<std::fs::File>,
}

impl Access {
    /// Connects to `NATS_URL`, to what runs on the data folder, or to a broker started for the purpose.
    pub async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let mut settings = Settings::new(&Environment);
        let external = BusConfig::from_settings(&mut settings);
        let bytes = settings.parse_optional::<u64>("CALLFOLD_STREAM_BYTES_MAX", "a number of bytes");
        settings.finish()?;
        let bounded = |url: String| {
            let standard = BusConfig::new(url);
            BusConfig {
                stream_bytes_max: bytes.unwrap_or(standard.stream_bytes_max),
                ..standard
            }
        };
        if let Some(config) = external {
            let bus = Bus::connect(&config).await.context("could not use the broker")?;
            return Ok(Self {
                bus,
                broker: None,
                _lock: None,
            });
        }
        if let Some(running) = RunFile::read(data_dir)? {
            let bus = Bus::connect(&bounded(running.nats_url))
                .await
                .context("could not use the running broker")?;
            return Ok(Self {
                bus,
                broker: None,
                _lock: None,
            });
        }
        anyhow::ensure!(
            data_dir.join("nats").is_dir(),
            "there is no callfold in {}: name its folder with --data-dir, or its broker with NATS_URL",
            data_dir.display()
        );
        Self::start(data_dir, bounded).await
    }

    /// As [`Access::open`], for an installation that nobody works on: a data folder that is not there is made, and one
    /// with a running system is refused.
    pub async fn open_alone(data_dir: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(
            RunFile::read(data_dir).ok().flatten().is_none(),
            "callfold is running in {}: stop it first",
            data_dir.display()
        );
        callfold_kit::blob::create_private_folder(&data_dir.join("nats"))
            .with_context(|| format!("could not make {}", data_dir.display()))?;
        let access = Self::open(data_dir).await?;
        let at_work = access
            .bus
            .at_work()
            .await
            .context("could not look at the stream")?;
        if !at_work.is_empty() {
            let names = at_work.join(", ");
            access.close().await;
            anyhow::bail!("processes work on this stream ({names}): stop all roles first");
        }
        Ok(access)
    }

    async fn start(data_dir: &Path, bounded: impl Fn(String) -> BusConfig) -> anyhow::Result<Self> {
        let lock = crate::run_file::lock(data_dir).await?;
        anyhow::ensure!(
            lock.is_some(),
            "callfold is just starting in {}: try again in a moment",
            data_dir.display()
        );
        let broker = crate::up::start_broker(data_dir).await?;
        let bus = Bus::connect(&bounded(broker.url()))
            .await
            .context("could not use the broker")?;
        Ok(Self {
            bus,
            broker: Some(broker),
            _lock: lock,
        })
    }

    /// Stops what was started.
    pub async fn close(self) {
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
    }
}

/// See [`callfold_kit::clock::moment`].
pub(crate) fn moment(text: &str, zone: &jiff::tz::TimeZone, end: bool) -> anyhow::Result<UnixMillis> {
    callfold_kit::clock::moment(text, zone, end)
        .context("is neither a day (2026-11-22) nor a moment (2026-11-22T10:00:00Z)")
}

/// The settings of the installation, for a tool that serves nothing.
pub(crate) fn settings(data_dir: &Path, roles: &[Role]) -> anyhow::Result<StackConfig> {
    let mut settings = Settings::new(&Environment);
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = StackConfig::from_settings(&mut settings, roles, nowhere, data_dir);
    settings.finish()?;
    Ok(config)
}

/// The data folder, absolute; logging at `warn` so that the answer stays readable.
pub(crate) fn prepare(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let quiet: std::collections::BTreeMap<String, String> = [(
        "CALLFOLD_LOG".to_owned(),
        std::env::var("CALLFOLD_LOG").unwrap_or_else(|_| "warn".to_owned()),
    )]
    .into();
    let mut settings = Settings::new(&quiet);
    let telemetry = TelemetryConfig::from_settings(&mut settings);
    settings.finish()?;
    telemetry.init();
    std::path::absolute(data_dir).context("could not make sense of --data-dir")
}

//! The tools: what a person at a terminal asks of an installation.

pub mod doctor;
pub mod erase;
pub mod events;
pub mod explain;
pub mod health;
pub mod model;
pub mod reconcile;
pub mod simulate;

use std::path::{Path, PathBuf};

use anyhow::Context;
use callfold_kit::Bus;
use callfold_kit::broker::Broker;
use callfold_kit::bus::BusConfig;
use callfold_kit::config::{Environment, Settings};
use callfold_kit::telemetry::TelemetryConfig;

use crate::run_file::RunFile;

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

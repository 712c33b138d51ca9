//! Log lines go to standard error; standard output belongs to what a person asked for.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Settings;

/// How to log.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    filter: String,
    json: bool,
}

impl TelemetryConfig {
    /// `CALLFOLD_LOG` (a filter such as `info,callfold_gateway=debug`) and `CALLFOLD_LOG_FORMAT` (`text` or `json`).
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let filter = settings.text("CALLFOLD_LOG").unwrap_or_else(|| "info".to_owned());
        if EnvFilter::try_new(&filter).is_err() {
            settings.mistake(
                "CALLFOLD_LOG",
                "is not a log filter such as `info,callfold_gateway=debug`",
            );
        }
        let json = match settings.text("CALLFOLD_LOG_FORMAT").as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(_) => {
                settings.mistake("CALLFOLD_LOG_FORMAT", "is neither text nor json");
                false
            }
        };
        Self { filter, json }
    }

    /// Starts logging for the whole process; a second call changes nothing.
    pub fn init(&self) {
        // Libraries of the broker, the database and HTTP print addresses and bodies at their finer levels: whoever asks
        // for those names the library.
        let filter = EnvFilter::try_new(&self.filter).unwrap_or_else(|_| EnvFilter::new("info"));
        let registry = tracing_subscriber::registry().with(filter);
        let started = if self.json {
            registry
                .with(
                    tracing_subscriber::fmt::layer()
                        .json()
                        .with_writer(std::io::stderr),
                )
                .try_init()
        } else {
            registry
                .with(
                    tracing_subscriber::fmt::layer()
                        .with_ansi(false)
                        .with_writer(std::io::stderr),
                )
                .try_init()
        };
        if started.is_err() {
            tracing::debug!("logging was started before");
        }
    }
}

//! Log lines go to standard error; standard output belongs to what a person asked for.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Settings;

/// What our targets begin with.
const OURS: &str = "callfold";

/// The filter with everything finer than `info` that names no target kept to our own targets. Libraries of the broker,
/// the database and HTTP print addresses and bodies at their finer levels: whoever wants those names the library.
fn ours_only(filter: &str) -> String {
    let mut bare = None;
    let mut named = Vec::new();
    for directive in filter.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match directive.parse::<LevelFilter>() {
            // Of several the last one counts.
            Ok(level) => bare = Some(level),
            // A span alone would open every library that speaks within it.
            Err(_) if directive.starts_with('[') => named.push(format!("{OURS}{directive}")),
            Err(_) => named.push(directive.to_owned()),
        }
    }
    let mut directives = match bare {
        None => Vec::new(),
        Some(level) if level <= LevelFilter::INFO => vec![level.to_string()],
        // Before the named ones: the one who wrote `callfold=…` as well means that.
        Some(level) => vec![LevelFilter::INFO.to_string(), format!("{OURS}={level}")],
    };
    directives.append(&mut named);
    directives.join(",")
}

/// How to log.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    filter: String,
    json: bool,
}

impl TelemetryConfig {
    /// `CALLFOLD_LOG` (a filter such as `info,callfold_gateway=debug`; a bare `debug` or `trace` is for our own targets,
    /// libraries are named) and `CALLFOLD_LOG_FORMAT` (`text` or `json`).
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
        Self {
            filter: ours_only(&filter),
            json,
        }
    }

    /// Starts logging for the whole process; a second call changes nothing.
    pub fn init(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_finer_than_info_is_for_our_own_targets() {
        for (written, meant) in [
            ("info", "info"),
            ("warn", "warn"),
            ("off", "off"),
            ("debug", "info,callfold=debug"),
            ("TRACE", "info,callfold=trace"),
            ("5", "info,callfold=trace"),
            ("info,debug", "info,callfold=debug"),
            ("debug, warn", "warn"),
            (
                "debug,callfold_gateway=warn",
                "info,callfold=debug,callfold_gateway=warn",
            ),
            ("debug,callfold=info", "info,callfold=debug,callfold=info"),
            ("[job]=trace", "callfold[job]=trace"),
        ] {
            let filter = ours_only(written);
            assert_eq!(filter, meant, "{written}");
            EnvFilter::try_new(filter).expect("a filter");
        }
    }

    #[test]
    fn a_library_that_is_named_speaks() {
        for written in ["async_nats=trace", "info,async_nats=trace", "async_nats"] {
            assert_eq!(ours_only(written), written);
        }
        assert_eq!(
            ours_only("debug,async_nats=trace"),
            "info,callfold=debug,async_nats=trace"
        );
    }
}

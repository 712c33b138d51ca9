//! `callfold doctor`: every setting and dependency, what was found, and what to do about it.
//!
//! Each file of this folder looks at one part; what it decides from what it saw is a function without effects. The
//! table is often copied into a ticket: of a phone number it shows the last two digits, and no token, password or
//! address that may hold one.

mod broker;
mod check;
mod google;
mod machine;
mod model;
mod speech_api;
mod twilio;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::config::{Environment, Mistake, Settings, Source};
use callfold_kit::telemetry::TelemetryConfig;
use callfold_kit::{Clock, SystemClock};
use callfold_transcriber::config::EngineName;

use super::Access;
use crate::cli::DoctorArgs;
use crate::run_file::RunFile;
use crate::stack::{Role, StackConfig};

pub use check::{Check, State, table};

/// Settings that are read elsewhere than in a section: by the command line and by the search for a server.
const OTHER_SETTINGS: [&str; 4] = [
    "CALLFOLD_DATA_DIR",
    "CALLFOLD_LISTEN",
    "CALLFOLD_MODEL_HUB",
    "CALLFOLD_NATS_SERVER",
];
/// Names of docker-compose.yml and nats.conf, which the program itself never reads.
const COMPOSE_SETTINGS: [&str; 3] = [
    "CALLFOLD_IMAGE_TAG",
    "CALLFOLD_NATS_PASSWORD",
    "CALLFOLD_NATS_USER",
];
/// The settings of the connection to the broker.
const BUS_SETTINGS: [&str; 5] = [
    "NATS_URL",
    "NATS_CREDS",
    "CALLFOLD_STREAM_REPLICAS",
    "CALLFOLD_STREAM_BYTES_MAX",
    "CALLFOLD_WRITE_EVENTS",
];

/// Every setting that the program knows.
pub fn known_settings() -> BTreeSet<String> {
    let nothing = std::collections::BTreeMap::<String, String>::new();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 5000));
    read(&nothing, loopback, Path::new("/nonexistent")).known
}

/// The settings as they are, mistakes and all.
struct Reading {
    config: StackConfig,
    mistakes: Vec<Mistake>,
    known: BTreeSet<String>,
}

impl Reading {
    fn is_wrong(&self, names: &[&str]) -> bool {
        self.mistakes
            .iter()
            .any(|mistake| names.contains(&mistake.name.as_str()))
    }
}

fn read(source: &dyn Source, listen: SocketAddr, data_dir: &Path) -> Reading {
    let mut settings = Settings::new(source);
    // Mistakes of the log settings are remembered like all others; the doctor's own logging is another matter.
    let _ = TelemetryConfig::from_settings(&mut settings);
    let config = StackConfig::from_settings(&mut settings, &Role::ALL, listen, data_dir);
    let mut known = settings.known().clone();
    known.extend(OTHER_SETTINGS.map(str::to_owned));
    let mistakes = settings.finish().err().map(|errors| errors.0).unwrap_or_default();
    Reading {
        config,
        mistakes,
        known,
    }
}

/// Looks at everything and prints the table. The exit code is 1 when something is missing or wrong.
pub async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let data_dir = std::path::absolute(&args.data.data_dir).context("could not make sense of --data-dir")?;
    quiet_log();
    // On the heap: what it holds while it waits is large.
    let checks = Box::pin(examine(&args, &data_dir)).await?;
    crate::up::say(table(&checks, 110).trim_end());
    let is_bad = checks.iter().any(|check| check.state.is_bad());
    Ok(if is_bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// What libraries say while they are tried is told in the table.
fn quiet_log() {
    let filter = std::env::var("CALLFOLD_LOG").unwrap_or_else(|_| "off".to_owned());
    let source: std::collections::BTreeMap<String, String> = [("CALLFOLD_LOG".to_owned(), filter)].into();
    TelemetryConfig::from_settings(&mut Settings::new(&source)).init();
}

async fn examine(args: &DoctorArgs, data_dir: &Path) -> anyhow::Result<Vec<Check>> {
    let reading = read(&Environment, args.listen, data_dir);
    let config = &reading.config;
    let http = callfold_kit::http::client_builder()
        .build()
        .context("could not make an HTTP client")?;

    let set: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    let mut checks = settings_checks(&reading.mistakes, &reading.known, &set);

    checks.extend(machine::numbers(&config.numbers));
    let (running, run_file) = match RunFile::read(data_dir) {
        Ok(found) => (found, None),
        Err(error) => {
            let found = callfold_kit::chain(error.as_ref());
            (
                None,
                Some(Check::wrong(
                    "run.json",
                    found,
                    "delete it while no callfold runs on this folder",
                )),
            )
        }
    };
    checks.extend(run_file);
    let address = running.as_ref().map_or(args.listen, |running| running.listen);
    checks.extend(machine::listen(&http, address).await);
    checks.push(machine::disk(data_dir));
    checks.extend(machine::api_token(config.api.token.is_some(), data_dir));

    let is_external = config.bus.is_some();
    let mut has_server = true;
    if !is_external && running.is_none() {
        let server = broker::server_program().await;
        has_server = !server.state.is_bad();
        checks.push(server);
    }
    let access = if reading.is_wrong(&BUS_SETTINGS) {
        checks.push(Check::unknown(
            "broker",
            "was not tried",
            "correct its settings first",
        ));
        None
    } else if !is_external && running.is_none() && !data_dir.join("nats").is_dir() {
        checks.push(Check::note("broker", "nothing yet", "`callfold up` makes it"));
        None
    } else if !has_server {
        checks.push(Check::unknown(
            "broker",
            "was not tried",
            "it needs a nats-server",
        ));
        None
    } else {
        match Access::open(data_dir).await {
            Ok(access) => {
                checks.extend(broker::connected(&access.bus, is_external).await);
                Some(access)
            }
            Err(error) => {
                checks.push(broker::not_connected(&error, is_external));
                None
            }
        }
    };
    let bus = access.as_ref().map(|access| &access.bus);

    if !reading.is_wrong(&["DATABASE_URL"]) {
        checks.extend(broker::database(&config.database, bus).await);
    }
    if !reading.is_wrong(&["RECORDINGS_URL"]) {
        checks.push(machine::recordings(config).await);
    }
    let clock = SystemClock;
    let newest = match bus {
        Some(bus) => {
            checks.extend(broker::refused_media(bus, &config.downloader.allowed, clock.now()).await);
            broker::newest_event(bus).await
        }
        None => None,
    };
    if let Some(access) = access {
        access.close().await;
    }

    if !reading.is_wrong(&["WHISPER_MODEL", "CALLFOLD_VAD_MODEL"]) {
        let transcriber = &config.transcriber;
        let has_whisper = transcriber.engines.contains(&EngineName::Whisper);
        let has_others = transcriber.engines.len() > usize::from(has_whisper);
        if has_whisper {
            checks.extend(model::speech(&transcriber.models, has_others, data_dir).await);
        }
    }
    let summary_is_wrong = reading.is_wrong(&["OPENAI_API_KEY", "OPENAI_BASE_URL"]);
    let asked_model = async {
        if summary_is_wrong {
            (None, None)
        } else {
            model::summary(&http, config.summarizer.model.as_ref()).await
        }
    };
    let asked_google = async {
        if reading.is_wrong(&google::SETTINGS) {
            None
        } else {
            Some(google::speech(config.transcriber.google.clone()).await)
        }
    };
    let asked_server = async {
        if reading.is_wrong(&speech_api::SETTINGS) {
            None
        } else {
            Some(speech_api::speech(config.transcriber.openai.clone()).await)
        }
    };
    let asked_twilio = twilio::checks(
        &http,
        config.reconciler.api.clone(),
        &config.gateway,
        reading.is_wrong(&["PUBLIC_URL"]),
    );
    let (google, server, (summary, server_time), twilio) =
        tokio::join!(asked_google, asked_server, asked_model, asked_twilio);
    checks.extend(google);
    checks.extend(server);
    checks.extend(summary);
    checks.extend(twilio);
    if !reading.is_wrong(&["CALLFOLD_TIMEZONE"]) {
        checks.push(machine::timezone(&config.api.timezone, clock.now()));
    }
    checks.push(machine::clock(clock.now(), newest, server_time));
    Ok(checks)
}

/// Every mistake by its setting, once; names that look like ours and are not.
fn settings_checks(mistakes: &[Mistake], known: &BTreeSet<String>, set: &[String]) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for mistake in mistakes {
        // Two sections may read the same setting, and say the same of it or not.
        match checks.iter_mut().find(|check| check.name == mistake.name) {
            Some(check) if !check.found.contains(&mistake.what) => {
                check.found.push_str("; ");
                check.found.push_str(&mistake.what);
            }
            Some(_) => {}
            None => checks.push(Check::wrong(&mistake.name, &mistake.what, "")),
        }
    }
    if checks.is_empty() {
        let count = set.iter().filter(|name| known.contains(*name)).count();
        checks.push(Check::ok(
            "settings",
            format!("{count} of {} are set, without a mistake", known.len()),
        ));
    }
    for name in set {
        let is_ours = known.contains(name) || COMPOSE_SETTINGS.contains(&name.as_str());
        if name.starts_with("CALLFOLD_") && !is_ours {
            checks.push(Check::note(
                name,
                "is not a setting of this release",
                "check its spelling, or remove it",
            ));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(name: &str, what: &str) -> Mistake {
        Mistake {
            name: name.to_owned(),
            what: what.to_owned(),
        }
    }

    #[test]
    fn a_mistake_is_told_once_and_an_unknown_name_is_noticed() {
        let mistakes = [
            mistake("A", "is odd"),
            mistake("A", "is odd"),
            mistake("A", "is long"),
            mistake("B", "is bad"),
        ];
        let known = BTreeSet::from(["A".to_owned(), "CALLFOLD_LOG".to_owned()]);
        let set = ["A", "CALLFOLD_LOG", "CALLFOLD_LOGG", "CALLFOLD_NATS_USER", "HOME"].map(str::to_owned);
        let checks = settings_checks(&mistakes, &known, &set);
        let told: Vec<(&str, State, &str)> = checks
            .iter()
            .map(|check| (check.name.as_str(), check.state, check.found.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("A", State::Wrong, "is odd; is long"),
                ("B", State::Wrong, "is bad"),
                ("CALLFOLD_LOGG", State::Note, "is not a setting of this release"),
            ]
        );
        assert_eq!(
            settings_checks(&[], &known, &set)[0].found,
            "2 of 2 are set, without a mistake"
        );
    }

    #[test]
    fn mistakes_become_rows_instead_of_an_end() {
        let source: std::collections::BTreeMap<String, String> = [
            ("CALLFOLD_LOG_FORMAT", "xml"),
            ("PUBLIC_URL", "no url"),
            ("CALLFOLD_TIMEZONE", "Mars"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let reading = read(
            &source,
            SocketAddr::from(([0, 0, 0, 0], 5000)),
            Path::new("/nonexistent"),
        );
        let checks = settings_checks(&reading.mistakes, &reading.known, &[]);
        let names: BTreeSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        // The last one because of the address.
        let expected = [
            "CALLFOLD_LOG_FORMAT",
            "PUBLIC_URL",
            "CALLFOLD_TIMEZONE",
            "TWILIO_AUTH_TOKEN",
        ];
        assert_eq!(names, BTreeSet::from(expected));
        assert!(reading.is_wrong(&["PUBLIC_URL"]) && !reading.is_wrong(&BUS_SETTINGS));
    }

    #[test]
    fn the_readme_names_every_setting() {
        let readme = include_str!("../../../../README.md");
        let missing: Vec<String> = known_settings()
            .into_iter()
            .filter(|name| !readme.contains(&format!("`{name}`")))
            .collect();
        assert!(missing.is_empty(), "README.md does not name {missing:?}");
    }
}

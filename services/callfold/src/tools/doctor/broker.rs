//! The broker, the stream, the lead table's place in it, and what the stream tells of media that was refused.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use callfold_kit::Bus;
use callfold_kit::broker::{VERSION_MIN, find_server};
use callfold_kit::bus::{BusError, StreamState};
use callfold_kit::config::Environment;
use callfold_lead::FOLD_VERSION;
use callfold_schema::decode::PAYLOAD_BYTES_MAX;
use callfold_schema::event::FailureClass;
use callfold_schema::{Event, EventKind, UnixMillis};
use callfold_store::{Projection, Resume};
use callfold_twilio::AllowedHosts;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::check::Check;
use crate::stack::{DatabaseConfig, open_store};

/// How many positions at the end of the stream are searched for failures.
const POSITIONS_SEARCHED: u64 = 2_000;
/// How long that search may take.
const SEARCH_PATIENCE: Duration = Duration::from_secs(5);
/// How long the reader may be silent: with a filter the last event may not be one of those asked for.
const SEARCH_SILENCE: Duration = Duration::from_secs(1);
/// A refusal that is older is history.
const REFUSAL_AGE_MS: i64 = 24 * 3_600 * 1_000;
/// How many different refusals are shown.
const REFUSALS_SHOWN: usize = 5;

/// The program that `callfold up` would start.
pub(super) async fn server_program() -> Check {
    let name = "nats-server";
    let found =
        tokio::task::spawn_blocking(|| find_server(&Environment).map(|path| (told_version(&path), path)))
            .await;
    match found {
        Ok(Ok((version, path))) => Check::ok(name, format!("{version} ({})", path.display())),
        Ok(Err(error)) => Check::missing(name, error.to_string(), "run `make build`"),
        Err(_) => Check::unknown(name, "the search for it panicked", ""),
    }
}

/// `2.10.27`, as the program says it: `nats-server: v2.10.27`.
fn told_version(path: &Path) -> String {
    let output = std::process::Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.trim().rsplit_once(": v").map_or_else(
        || "of unknown version".to_owned(),
        |(_, version)| version.to_owned(),
    )
}

/// A broker that is connected, and the stream that was verified with it.
pub(super) async fn connected(bus: &Bus, is_external: bool) -> Vec<Check> {
    let version = bus.server_version();
    let whose = if is_external { "NATS_URL" } else { "callfold's own" };
    let mut checks = vec![if is_recent(&version) {
        let payload = PAYLOAD_BYTES_MAX >> 20;
        Check::ok(
            "broker",
            format!("{whose}, version {version}, JetStream on, takes messages of {payload} MB"),
        )
    } else {
        let (major, minor) = VERSION_MIN;
        Check::wrong(
            "broker",
            format!("{whose}, version {version}"),
            format!("{major}.{minor} or newer is needed"),
        )
    }];
    checks.push(match bus.stream_state().await {
        Ok(state) => Check::ok(
            "stream CALLS",
            format!("{} events, {}", state.messages, megabytes(state.bytes)),
        ),
        Err(error) => Check::wrong(
            "stream CALLS",
            callfold_kit::chain(&error),
            "look into the broker's log",
        ),
    });
    checks.push(if is_external {
        Check::unknown(
            "sync policy",
            "a client cannot see it",
            "a single server has to have `sync_interval: always` in its configuration (see nats.conf): by default it \
             acknowledges calls up to two minutes before they are on the disk",
        )
    } else {
        Check::ok("sync policy", "always: what is acknowledged is on the disk")
    });
    checks
}

/// A broker that could not be used.
pub(super) fn not_connected(error: &anyhow::Error, is_external: bool) -> Check {
    let found = callfold_kit::chain(error.as_ref());
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<BusError>());
    let to_do = match cause {
        Some(BusError::Connect(_)) if is_external => {
            "start the broker, or correct NATS_URL (address, user, password)"
        }
        Some(BusError::Stream(_)) => {
            "see that JetStream is on (`jetstream { }` in its configuration) and has space"
        }
        // These texts say what to do themselves.
        Some(_) => "",
        None if is_external => "",
        None => "its log is nats/nats.log in the data folder",
    };
    Check::wrong("broker", found, to_do)
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        .map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= VERSION_MIN,
        _ => false,
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The lead table: whether it opens, and how far it is behind the stream.
pub(super) async fn database(config: &DatabaseConfig, bus: Option<&Bus>) -> Vec<Check> {
    let name = "lead table";
    let (kind, to_do) = match config {
        DatabaseConfig::Sqlite(path) if !path.exists() => {
            return vec![Check::note(
                name,
                "nothing yet (SQLite)",
                "the projector makes it at its first start",
            )];
        }
        DatabaseConfig::Sqlite(_) => (
            "SQLite",
            "see that the file can be read and written, and that there is space",
        ),
        DatabaseConfig::Postgres(_) => (
            "PostgreSQL",
            "see that the server runs and that DATABASE_URL is right",
        ),
    };
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        vec![Check::wrong(name, callfold_kit::chain(error), to_do)]
    };
    let leads = match open_store(config).await {
        Ok((leads, _)) => leads,
        Err(error) => return wrong(error.as_ref()),
    };
    // The table first: it may move on meanwhile, and must not seem to be ahead of the stream.
    let projection = match leads.projection().await {
        Ok(projection) => projection,
        Err(error) => return wrong(&error),
    };
    let mut checks = vec![Check::ok(name, format!("{kind} opens"))];
    if let Some(bus) = bus
        && let Ok(state) = bus.stream_state().await
    {
        checks.push(lag(&projection, &state));
    }
    match leads.unreadable(1).await {
        Ok(events) => checks.extend(events.first().map(|event| {
            let found = format!("the newest is at position {}: {}", event.position, event.reason);
            Check::note(
                "unreadable events",
                found,
                "they were passed over; `callfold events` shows them",
            )
        })),
        Err(error) => return wrong(&error),
    }
    checks
}

/// How the lead table stands to the stream.
fn lag(projection: &Projection, state: &StreamState) -> Check {
    let name = "projection";
    match projection.resume(&state.identity, state.last) {
        Err(error) => Check::wrong(name, error.to_string(), ""),
        Ok(Resume::Anew) => Check::note(
            name,
            "the table is empty",
            "the projector folds the stream when it runs",
        ),
        Ok(Resume::Behind(_)) => Check::note(
            name,
            format!(
                "an older fold ({}, not {FOLD_VERSION}) made the table",
                projection.fold_version
            ),
            "the projector rebuilds it beside when it runs, and the table serves until then",
        ),
        Ok(Resume::After(position)) if position >= state.last => {
            Check::ok(name, format!("at position {position}, the end of the stream"))
        }
        Ok(Resume::After(position)) => Check::note(
            name,
            format!(
                "at position {position}, {} behind the end of the stream",
                state.last - position
            ),
            "a running projector catches up; if the distance does not shrink, its /readyz says why",
        ),
    }
}

/// When the newest event was stored.
pub(super) async fn newest_event(bus: &Bus) -> Option<UnixMillis> {
    let last = bus.stream_state().await.ok()?.last;
    bus.get(last).await.ok()?.map(|event| event.stored_at)
}

/// Failures of the class "our own rules refuse it".
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    text: String,
    count: usize,
    newest: UnixMillis,
}

/// Media that our own rules refused lately.
pub(super) async fn refused_media(bus: &Bus, allowed: &AllowedHosts, now: UnixMillis) -> Vec<Check> {
    match refusals(bus).await {
        Ok(refusals) => judge_refusals(&refusals, allowed, now),
        Err(error) => vec![Check::unknown("refused media", callfold_kit::chain(&error), "")],
    }
}

async fn refusals(bus: &Bus) -> Result<Vec<Refusal>, callfold_kit::bus::ReadError> {
    let mut refusals: Vec<Refusal> = Vec::new();
    let state = bus.stream_state().await?;
    if state.messages == 0 {
        return Ok(refusals);
    }
    let from = state.last.saturating_sub(POSITIONS_SEARCHED) + 1;
    let filter = callfold_schema::subject::kind_filter(EventKind::StageFailed);
    let mut reader = bus.read_from(from, vec![filter]);
    let deadline = Instant::now() + SEARCH_PATIENCE;
    loop {
        let next = match timeout_at(deadline.min(Instant::now() + SEARCH_SILENCE), reader.next()).await {
            Ok(next) => next?,
            Err(_) => return Ok(refusals),
        };
        // An unreadable one has a row of its own.
        if let Ok(record) = next.decode()
            && let Event::StageFailed(failed) = &record.event
            && failed.class == FailureClass::NotAllowed
        {
            let time = record.envelope.time;
            match refusals.iter_mut().find(|refusal| refusal.text == failed.text) {
                Some(refusal) => {
                    refusal.count += 1;
                    refusal.newest = refusal.newest.max(time);
                }
                None => refusals.push(Refusal {
                    text: failed.text.clone(),
                    count: 1,
                    newest: time,
                }),
            }
        }
        if next.pending == 0 || next.position >= state.last {
            return Ok(refusals);
        }
    }
}

/// The words with which a host is refused, up to the host (`callfold_twilio::MediaError::HostRefused`).
const HOST_REFUSED: &str = "recordings may not be fetched from ";

fn judge_refusals(refusals: &[Refusal], allowed: &AllowedHosts, now: UnixMillis) -> Vec<Check> {
    let name = "refused media";
    if refusals.is_empty() {
        return vec![Check::ok(
            name,
            format!("none in the last {POSITIONS_SEARCHED} events"),
        )];
    }
    let mut newest_first: Vec<&Refusal> = refusals.iter().collect();
    newest_first.sort_by_key(|refusal| std::cmp::Reverse(refusal.newest));
    newest_first
        .into_iter()
        .take(REFUSALS_SHOWN)
        .map(|refusal| {
            let found = format!(
                "{} time(s), last at {}: {}",
                refusal.count,
                refusal.newest.rfc3339(),
                refusal.text
            );
            if now.0.saturating_sub(refusal.newest.0) > REFUSAL_AGE_MS {
                return Check::note(name, found, "");
            }
            let host = refusal
                .text
                .strip_prefix(HOST_REFUSED)
                .and_then(|rest| rest.split(';').next());
            let is_allowed_now = |host: &str| {
                // A loopback host may be plain http, any other one is fetched by https.
                ["http", "https"].iter().any(|scheme| {
                    Url::parse(&format!("{scheme}://{host}/")).is_ok_and(|url| allowed.check(&url).is_ok())
                })
            };
            match host {
                Some(host) if is_allowed_now(host.trim()) => Check::note(
                    name,
                    found,
                    "the host is allowed now; restart callfold if it ran before the change",
                ),
                Some(_) => Check::wrong(
                    name,
                    found,
                    "if the host is not yours, leave it: somebody tried something",
                ),
                None => Check::note(name, found, ""),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use callfold_kit::testing::{TestNats, publish};
    use callfold_schema::event::StageFailed;
    use callfold_schema::{CallSid, Key, NewEvent, RecordingSid, Run, Stage};

    use super::super::check::State;
    use super::*;

    fn state(last: u64) -> StreamState {
        StreamState {
            identity: "s1".to_owned(),
            first: 1,
            last,
            messages: last,
            bytes: 10,
        }
    }

    fn projection(identity: Option<&str>, position: u64) -> Projection {
        Projection {
            identity: identity.map(str::to_owned),
            position,
            fold_version: FOLD_VERSION,
            writer: None,
        }
    }

    #[test]
    fn versions_are_numbers() {
        assert!(is_recent("2.10.27") && is_recent("v2.12.0-RC.1") && is_recent("3.0"));
        assert!(!is_recent("2.9.10") && !is_recent("") && !is_recent("main"));
    }

    #[test]
    fn the_lag_is_told_and_another_stream_is_wrong() {
        let of = |stored: Projection, last| lag(&stored, &state(last));
        assert_eq!(of(projection(Some("s1"), 7), 7).state, State::Ok);
        let behind = of(projection(Some("s1"), 7), 12);
        assert_eq!(
            (behind.state, behind.found.as_str()),
            (State::Note, "at position 7, 5 behind the end of the stream")
        );
        assert_eq!(of(projection(None, 0), 12).state, State::Note);
        assert_eq!(of(projection(Some("s2"), 7), 12).state, State::Wrong);
        assert_eq!(of(projection(Some("s1"), 13), 12).state, State::Wrong);
    }

    #[test]
    fn a_refused_host_is_wrong_until_it_is_allowed_or_old() {
        let text = format!(
            "{HOST_REFUSED}media.example:8443; if that host is yours, add it to CALLFOLD_RECORDING_HOSTS"
        );
        let refusals = [Refusal {
            text,
            count: 2,
            newest: UnixMillis(1_000),
        }];
        let judge = |hosts: &str, now| {
            let allowed = AllowedHosts::parse(hosts).expect("a list");
            judge_refusals(&refusals, &allowed, UnixMillis(now)).remove(0)
        };
        let wrong = judge("", 2_000);
        assert_eq!(wrong.state, State::Wrong);
        assert!(
            wrong.found.contains("media.example:8443") && wrong.found.contains("CALLFOLD_RECORDING_HOSTS")
        );
        assert_eq!(judge("media.example:8443", 2_000).state, State::Note);
        assert_eq!(judge("", 2_000 + REFUSAL_AGE_MS).state, State::Note);
        assert_eq!(
            judge_refusals(&[], &AllowedHosts::default(), UnixMillis(0))[0].state,
            State::Ok
        );
    }

    #[test]
    fn the_words_of_a_refusal_are_those_of_the_downloader() {
        let error = callfold_twilio::MediaError::HostRefused {
            host: "a.example".to_owned(),
        };
        assert_eq!(error.to_string(), format!("{HOST_REFUSED}a.example"));
    }

    #[tokio::test]
    async fn refusals_are_found_in_a_real_stream() {
        let nats = TestNats::start().await;
        let bus = nats.bus().await;
        assert_eq!(refusals(&bus).await.expect("reads"), []);
        for (sid, class) in [
            ("CA1", FailureClass::NotAllowed),
            ("CA2", FailureClass::Network),
            ("CA3", FailureClass::NotAllowed),
        ] {
            let recording = RecordingSid::parse("RE1").expect("a sid");
            let key = Key::failure(recording, Run(0), Stage::Download, 1);
            let failed = StageFailed {
                attempts_max: 8,
                class,
                text: format!("{HOST_REFUSED}evil.example"),
                next_attempt_at: None,
                delivery: 1,
                elapsed_ms: 1,
            };
            let call = CallSid::parse(sid).expect("a sid");
            let event = NewEvent::new(call, key, UnixMillis(5_000), Event::StageFailed(failed));
            publish(&bus, &event).await;
        }
        let expected = Refusal {
            text: format!("{HOST_REFUSED}evil.example"),
            count: 2,
            newest: UnixMillis(5_000),
        };
        assert_eq!(refusals(&bus).await.expect("reads"), [expected]);
        assert!(newest_event(&bus).await.is_some());
        let checks = connected(&bus, true).await;
        assert_eq!(
            checks.iter().map(|check| check.state).collect::<Vec<_>>(),
            [State::Ok, State::Ok, State::Unknown]
        );
    }

    #[tokio::test]
    async fn a_table_that_is_not_there_yet_is_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("leads.db");
        let checks = database(&DatabaseConfig::Sqlite(path.clone()), None).await;
        assert_eq!(checks[0].state, State::Note);
        assert!(!path.exists());
        std::fs::write(
            &path,
            b"this is no database, but long enough to be looked at ........................",
        )
        .expect("writes");
        assert_eq!(
            database(&DatabaseConfig::Sqlite(path), None).await[0].state,
            State::Wrong
        );
    }
}

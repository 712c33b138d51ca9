//! The machine: the port, the disk, files and folders, the clock.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use callfold_kit::Numbers;
use callfold_schema::UnixMillis;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::net::TcpListener;

use super::check::Check;
use crate::run_file::api_token_file;
use crate::stack::{StackConfig, open_blobs};

/// Less free space than this is no longer enough to go on with, in bytes.
const SPACE_MIN: u64 = 512 << 20;
/// Less free space than this is worth a word, in bytes.
const SPACE_LOW: u64 = 5 << 30;
/// How far a clock may be off before it is told, in milliseconds.
const CLOCK_SLACK_MS: i64 = 60_000;
/// No clock that is right shows a time before this one: 2026-01-01.
const CLOCK_MIN: UnixMillis = UnixMillis(1_767_225_600_000);
/// How long something that listens may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What is at the address: a callfold and how it and its engines are, another program, or nothing.
pub(super) async fn listen(http: &reqwest::Client, address: SocketAddr) -> Vec<Check> {
    let mut ask = address;
    if ask.ip().is_unspecified() {
        ask.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let answer = http
        .get(format!("http://{ask}/readyz"))
        .timeout(ASK_TIMEOUT)
        .send()
        .await;
    let told: Option<Value> = match answer {
        Ok(answer) => answer.json().await.ok(),
        Err(_) => None,
    };
    if let Some(told) = told
        && let Some(check) = readiness(&ask.to_string(), &told)
    {
        return std::iter::once(check)
            .chain(engines(&told))
            .chain(summary_model(&told))
            .collect();
    }
    vec![match TcpListener::bind(address).await {
        Ok(_) => Check::ok("listen", format!("{address} is free; nothing runs there")),
        Err(error) => Check::wrong(
            "listen",
            format!("{address} cannot be listened on: {}", error.kind()),
            "stop the other program, or choose another address with --listen (CALLFOLD_LISTEN)",
        ),
    }]
}

/// How the speech engines of the callfold that runs are; `None` where it has none.
fn engines(told: &Value) -> Option<Check> {
    let part = told.get("parts")?.get("speech-engines")?;
    let found = part.get("reason")?.as_str()?;
    let name = "speech engines";
    let to_do = "see docs/operations.md, \"An engine rests\"";
    if part.get("ready")?.as_bool()? {
        // What is told is written in `callfold_transcriber::chain`.
        let all_work = found.split("; ").all(|engine| engine.ends_with(" working"));
        return Some(if all_work || found == "none" {
            Check::ok(name, found)
        } else {
            Check::note(name, found, to_do)
        });
    }
    Some(Check::wrong(name, format!("recordings wait: {found}"), to_do))
}

/// How the model for summaries of the callfold that runs is; `None` where it has none.
fn summary_model(told: &Value) -> Option<Check> {
    let part = told.get("parts")?.get("summary-model")?;
    let found = part.get("reason")?.as_str()?;
    let name = "summary model";
    Some(if part.get("ready")?.as_bool()? {
        Check::ok(name, found)
    } else {
        let to_do = "see docs/operations.md, \"The summary model rests\"";
        Check::note(name, format!("summaries are offline ones: {found}"), to_do)
    })
}

/// What `/readyz` of a callfold says; `None` when it is something else.
fn readiness(address: &str, told: &Value) -> Option<Check> {
    let ready = told.get("ready")?.as_bool()?;
    let parts = told.get("parts")?.as_object()?;
    let waiting: Vec<String> = parts
        .iter()
        .filter(|(_, part)| part.get("ready").and_then(Value::as_bool) != Some(true))
        .map(|(name, part)| {
            let reason = part.get("reason").and_then(Value::as_str).unwrap_or("not ready");
            format!("{name}: {reason}")
        })
        .collect();
    Some(match (ready, waiting.is_empty()) {
        (true, true) => Check::ok("listen", format!("callfold runs at {address} and is ready")),
        (true, false) => Check::wrong(
            "listen",
            format!(
                "callfold runs at {address} and takes calls, but not everything works: {}",
                waiting.join("; ")
            ),
            "see the rows below, and the log",
        ),
        (false, _) => Check::wrong(
            "listen",
            format!(
                "callfold runs at {address} and is not ready: {}",
                waiting.join("; ")
            ),
            "see the rows below, and the log",
        ),
    })
}

/// Free space where the data folder is, or will be.
pub(super) fn disk(data_dir: &Path) -> Check {
    let there = data_dir
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(stat) => space(data_dir, stat.f_bavail.saturating_mul(stat.f_frsize)),
        Err(error) => Check::unknown(
            "disk",
            format!("could not ask for the space of {}: {error}", there.display()),
            "",
        ),
    }
}

fn space(data_dir: &Path, free: u64) -> Check {
    let found = format!("{:.1} GB free for {}", free as f64 / 1e9, data_dir.display());
    if free < SPACE_MIN {
        Check::wrong(
            "disk",
            found,
            "make room: without it the broker takes no more calls",
        )
    } else if free < SPACE_LOW {
        Check::note("disk", found, "a message of a minute takes about 1 MB")
    } else {
        Check::ok("disk", found)
    }
}

/// The file of the API token, when no setting stands in its place.
pub(super) fn api_token(is_set: bool, data_dir: &Path) -> Option<Check> {
    use std::os::unix::fs::PermissionsExt as _;
    let name = "API token";
    if is_set {
        return Some(Check::ok(name, "set by CALLFOLD_API_TOKEN"));
    }
    let path = api_token_file(data_dir);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => Some(Check::wrong(
            name,
            format!("others can read {}", path.display()),
            format!(
                "chmod 600 {}; if others may have read it, delete it and restart: a new one is made",
                path.display()
            ),
        )),
        Ok(_) => Some(Check::ok(name, format!("in {}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Check::note(
            name,
            "nothing yet",
            "the first start makes one in the data folder",
        )),
        Err(error) => Some(Check::wrong(
            name,
            format!("{}: {}", path.display(), error.kind()),
            "",
        )),
    }
}

/// The recordings: written, read, deleted.
pub(super) async fn recordings(config: &StackConfig) -> Check {
    let name = "recordings";
    if config.blobs.is_none() && !config.data_dir.exists() {
        return Check::note(name, "nothing yet", "the first start makes the folder");
    }
    let whose = if config.blobs.is_some() {
        "RECORDINGS_URL"
    } else {
        "the data folder"
    };
    let to_do = if config.blobs.is_some() {
        "see that RECORDINGS_URL is right, and its AWS_… settings for s3"
    } else {
        "see that the folder can be written by this user"
    };
    let checked = match open_blobs(config) {
        Ok(blobs) => blobs.check().await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => Check::ok(name, format!("{whose}: a file was written, read and deleted")),
        Err(error) => Check::wrong(name, callfold_kit::chain(error.as_ref()), to_do),
    }
}

/// The file with settings of single numbers, where there is one; its mistakes are those of its setting.
pub(super) fn numbers(numbers: &Numbers) -> Vec<Check> {
    let book = numbers.book();
    let (true, Some(path)) = (book.is_from_file, numbers.path()) else {
        return Vec::new();
    };
    let found = format!(
        "numbers with settings of their own: {}, in {}",
        book.numbers.len(),
        path.display()
    );
    let mut checks = vec![Check::ok("numbers", found)];
    checks.extend(
        book.remarks
            .iter()
            .map(|remark| Check::note("numbers", *remark, "")),
    );
    checks
}

/// What "today" means.
pub(super) fn timezone(zone: &TimeZone, now: UnixMillis) -> Check {
    let moment = jiff::Timestamp::from_millisecond(now.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let local = moment
        .to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M")
        .to_string();
    Check::ok(
        "time zone",
        format!("{}, where it is {local}", zone.iana_name().unwrap_or("unnamed")),
    )
}

/// The clock, beside the newest event and another server's clock where one was seen.
pub(super) fn clock(now: UnixMillis, newest: Option<UnixMillis>, server: Option<UnixMillis>) -> Check {
    let (name, to_do) = (
        "clock",
        "set the machine's clock (timedatectl set-ntp true): deadlines and \"today\" follow it",
    );
    let off = |other: UnixMillis| now.0.saturating_sub(other.0);
    if now < CLOCK_MIN {
        return Check::wrong(name, format!("shows {}", now.rfc3339()), to_do);
    }
    if let Some(newest) = newest.filter(|newest| off(*newest) < -CLOCK_SLACK_MS) {
        return Check::wrong(
            name,
            format!("is {} s behind the newest event", -off(newest) / 1_000),
            to_do,
        );
    }
    match server.map(off) {
        Some(off) if off.abs() > CLOCK_SLACK_MS => Check::wrong(
            name,
            format!("is {} s off from that of the model's server", off / 1_000),
            to_do,
        ),
        _ => Check::ok(name, now.rfc3339()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::check::State;
    use super::*;

    #[test]
    fn parts_that_wait_are_told_with_their_reason() {
        let told = json!({"ready": true, "parts": {
            "gateway": {"ready": true, "gates": true},
            "transcriber": {"ready": false, "gates": false, "reason": "no speech model"},
        }});
        let check = readiness("127.0.0.1:5000", &told).expect("a callfold");
        assert_eq!(check.state, State::Wrong);
        assert!(
            check.found.ends_with("transcriber: no speech model"),
            "{}",
            check.found
        );
        assert_eq!(
            readiness("a", &json!({"ready": true, "parts": {}}))
                .expect("a callfold")
                .state,
            State::Ok
        );
        assert_eq!(readiness("a", &json!({"status": "up"})), None);
    }

    #[test]
    fn engines_that_rest_are_told() {
        let of = |ready: bool, reason: &str| {
            let part = json!({"ready": ready, "gates": false, "reason": reason});
            engines(&json!({"ready": true, "parts": {"speech-engines": part}})).map(|check| check.state)
        };
        assert_eq!(of(true, "google working; whisper working"), Some(State::Ok));
        let resting = "google resting until 12:00:41 UTC (HTTP 503)";
        assert_eq!(
            of(true, &format!("{resting}; whisper working")),
            Some(State::Note)
        );
        assert_eq!(of(false, resting), Some(State::Wrong));
        assert_eq!(engines(&json!({"ready": true, "parts": {}})), None);
    }

    #[test]
    fn a_summary_model_that_rests_is_told() {
        let of = |ready: bool, reason: &str| {
            let part = json!({"ready": ready, "gates": false, "reason": reason});
            summary_model(&json!({"ready": true, "parts": {"summary-model": part}})).map(|check| check.state)
        };
        assert_eq!(of(true, "openai working"), Some(State::Ok));
        assert_eq!(
            of(false, "openai resting until 12:00:41 UTC (HTTP 503)"),
            Some(State::Note)
        );
        assert_eq!(summary_model(&json!({"ready": true, "parts": {}})), None);
    }

    #[test]
    fn space_has_three_steps() {
        let of = |free| space(Path::new("/data"), free).state;
        assert_eq!(
            [of(0), of(SPACE_MIN), of(SPACE_LOW)],
            [State::Wrong, State::Note, State::Ok]
        );
    }

    #[test]
    fn a_clock_is_compared_with_what_is_known() {
        let now = UnixMillis(CLOCK_MIN.0 + 1_000_000);
        let at = |ms: i64| Some(UnixMillis(now.0 + ms));
        assert_eq!(clock(now, None, None).state, State::Ok);
        assert_eq!(clock(UnixMillis(0), None, None).state, State::Wrong);
        assert_eq!(clock(now, at(30_000), at(-30_000)).state, State::Ok);
        assert_eq!(clock(now, at(-9_000_000), None).state, State::Ok);
        assert_eq!(clock(now, at(90_000), None).state, State::Wrong);
        assert_eq!(clock(now, None, at(-90_000)).state, State::Wrong);
    }

    #[test]
    fn a_token_that_others_can_read_is_wrong() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let state = || api_token(false, folder.path()).expect("a row").state;
        assert_eq!(state(), State::Note);
        crate::run_file::read_or_make_api_token(folder.path()).expect("makes one");
        assert_eq!(state(), State::Ok);
        let path = api_token_file(folder.path());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changes the mode");
        assert_eq!(state(), State::Wrong);
        let text = std::fs::read_to_string(&path).expect("reads");
        assert!(!format!("{:?}", api_token(false, folder.path())).contains(text.trim()));
    }

    #[tokio::test]
    async fn a_port_that_another_program_has_is_told() {
        let other = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = other.local_addr().expect("an address");
        // It takes the connection and closes it without a word of HTTP.
        let closing = tokio::spawn(async move { other.accept().await.map(|_| other) });
        let http = callfold_kit::http::client_builder().build().expect("a client");
        let check = listen(&http, address).await.remove(0);
        assert_eq!(check.state, State::Wrong, "{check:?}");
        drop(closing.await);
        assert_eq!(listen(&http, address).await[0].state, State::Ok);
    }
}

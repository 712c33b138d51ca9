//! When it is compared: at start, when the broker is back after an outage, and on a schedule.

use std::time::Duration;

use bytes::Bytes;
use callfold_kit::bus::{BusError, ReadError};
use callfold_kit::health::Part;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::metric::CounterName;
use callfold_kit::stage::StageDeps;
use callfold_kit::{Bus, chain};
use callfold_schema::UnixMillis;
use callfold_twilio::rest::RestClient;
use tokio::time::Instant;

use super::{Ours, ReconcileError, Reconciliation, Report};
use crate::config::ReconcilerConfig;

/// Key-value bucket: up to when the lists were compared.
const BUCKET: &str = "reconciled";
/// The key in it: milliseconds since the epoch, in decimal.
const UNTIL: &str = "until";
/// How far back the first look goes.
const FIRST_LOOK_MS: i64 = 24 * 3_600_000;
/// How far back the longest look goes.
const LONGEST_LOOK_MS: i64 = 7 * 24 * 3_600_000;
/// Looks overlap by so much: entries come into the lists late, and recordings are not done at once.
const OVERLAP_MS: i64 = 6 * 3_600_000;
/// How often the connection to the broker is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The pause after a look that failed, doubled up to the bound.
const RETRY: Duration = Duration::from_secs(15);
const RETRY_MAX: Duration = Duration::from_secs(900);

/// Compares for the life of the process. Without an account it says so once and does nothing.
///
/// # Errors
/// The client cannot be made.
pub async fn run(bus: Bus, config: ReconcilerConfig, deps: StageDeps, part: Part) -> Result<(), BoxError> {
    let Some(account) = &config.account else {
        tracing::info!("no Twilio account is set: the stream is not compared with Twilio's lists");
        part.ready_with("no Twilio account is set");
        deps.soft.cancelled().await;
        return Ok(());
    };
    let http = callfold_kit::http::client_builder().build()?;
    let reconciliation = Reconciliation {
        client: RestClient::new(
            http,
            config.api.clone(),
            account.sid.clone(),
            account.tokens.clone(),
        ),
        account_sid: account.sid.clone(),
        api: config.api.clone(),
        ours: config.ours,
        clock: deps.clock.clone(),
        metrics: deps.metrics.clone(),
        dry_run: false,
        stop: deps.soft.clone(),
        bus,
    };
    part.ready();
    let mut failures: u32 = 0;
    loop {
        // Before the look: an outage in the middle of it counts, too.
        let connections = reconciliation.bus.connections();
        let next = match look(&reconciliation).await {
            Ok(report) => {
                failures = 0;
                part.ready();
                tell(&report);
                config.reconcile_every
            }
            Err(LookError::Look(ReconcileError::Stopped)) => return Ok(()),
            Err(error) => {
                failures += 1;
                let text = chain(&error);
                deps.metrics.count(CounterName::ReconcileFailures, &[]);
                tracing::warn!(error = %text, "the stream was not compared with Twilio's lists; trying again later");
                // Calls are taken without it: nothing is lost but time.
                part.ready_with(text);
                Some((RETRY * 2_u32.saturating_pow(failures.min(8) - 1)).min(RETRY_MAX))
            }
        };
        if !wait(&reconciliation, connections, next).await {
            return Ok(());
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("could not open the note of the last look")]
    Bucket(#[source] BusError),
    #[error("could not read or write the note of the last look")]
    Note(#[source] ReadError),
    #[error(transparent)]
    Look(ReconcileError),
}

/// From the last look on, with an overlap. The note moves only behind a look that came to its end.
async fn look(reconciliation: &Reconciliation) -> Result<Report, LookError> {
    let notes = reconciliation
        .bus
        .kv(BUCKET, None)
        .await
        .map_err(LookError::Bucket)?;
    let now = reconciliation.clock.now().0;
    let until = notes.get(UNTIL).await.map_err(LookError::Note)?;
    let until = until.and_then(|note| std::str::from_utf8(&note).ok()?.parse::<i64>().ok());
    let since = until.map_or(now - FIRST_LOOK_MS, |until| until - OVERLAP_MS);
    let since = since.clamp(now - LONGEST_LOOK_MS, now);
    let report = reconciliation
        .period(UnixMillis(since), UnixMillis(now), &mut |_, _| {})
        .await
        .map_err(LookError::Look)?;
    notes
        .put(UNTIL, Bytes::from(now.to_string()))
        .await
        .map_err(LookError::Note)?;
    Ok(report)
}

fn tell(report: &Report) {
    if report.missing > 0 {
        tracing::warn!(
            calls = report.calls,
            recordings = report.recordings,
            missing = report.missing,
            published = report.published,
            refused = report.refused,
            "Twilio's lists had {} events that the stream had not; {} were published",
            report.missing,
            report.published
        );
    } else {
        tracing::info!(
            calls = report.calls,
            recordings = report.recordings,
            foreign = report.foreign,
            "the stream has what Twilio's lists have"
        );
    }
}

/// Until it is time, or the broker is back after an outage; `false` on a stop.
async fn wait(reconciliation: &Reconciliation, connections: u64, next: Option<Duration>) -> bool {
    let end = next.map(|next| Instant::now() + next);
    let mut tick = tokio::time::interval(WATCH_EVERY);
    loop {
        // Both arms only wait.
        tokio::select! {
            () = reconciliation.stop.cancelled() => return false,
            _ = tick.tick() => {}
        }
        // By the number of connections and not by a look at this one: an outage may be shorter than the time between two looks.
        let is_back = reconciliation.bus.connections() != connections && reconciliation.bus.is_connected();
        if is_back || end.is_some_and(|end| Instant::now() >= end) {
            return true;
        }
    }
}

impl std::str::FromStr for Ours {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "numbers" => Ok(Self::Numbers),
            "all" => Ok(Self::All),
            _ => Err(()),
        }
    }
}

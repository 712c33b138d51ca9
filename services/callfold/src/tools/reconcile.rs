//! `callfold reconcile`: a period of Twilio's lists against the stream.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use callfold_kit::config::{Environment, Settings};
use callfold_kit::{Metrics, SystemClock};
use callfold_reconciler::ReconcilerConfig;
use callfold_reconciler::reconcile::{Reconciliation, Report};
use indicatif::ProgressBar;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::Access;
use crate::cli::ReconcileArgs;

/// The longest period that is compared in one go, in milliseconds: Twilio keeps calls for longer than anybody waits.
const PERIOD_MAX_MS: i64 = 400 * 86_400_000;

/// Compares, publishes what is missing, and prints a report. Ctrl-C stops behind the page in hand.
pub async fn run(args: ReconcileArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let mut settings = Settings::new(&Environment);
    let config = ReconcilerConfig::from_settings(&mut settings);
    settings.finish()?;
    let account = config
        .account
        .clone()
        .context("no account is set: TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN say whose lists to read")?;
    let now = callfold_kit::Clock::now(&SystemClock);
    // Days are those of GMT, as Twilio counts.
    let moment = |text: &str| super::moment(text, &TimeZone::UTC, false);
    let since = moment(&args.since).context("--since")?;
    let until = match &args.until {
        Some(until) => moment(until).context("--until")?.min(now),
        None => now,
    };
    anyhow::ensure!(since < until, "--since is not before --until");
    anyhow::ensure!(
        until.0 - since.0 <= PERIOD_MAX_MS,
        "the period is longer than 400 days: look at it in parts"
    );
    let access = Access::open(&data_dir).await?;
    let stop = CancellationToken::new();
    let client = callfold_reconciler::twilio(&config)
        .map_err(|error| anyhow::anyhow!(error))?
        .context("no account is set")?;
    let look = Reconciliation {
        bus: access.bus.clone(),
        client,
        account_sid: account.sid,
        api: config.api,
        ours: config.ours,
        clock: Arc::new(SystemClock),
        metrics: Metrics::new(),
        dry_run: args.dry_run,
        stop: stop.clone(),
    };
    let bar = ProgressBar::new_spinner();
    let mut tell = |day: callfold_twilio::rest::Date, report: &Report| {
        bar.set_message(format!(
            "{day}: {} calls, {} missing",
            report.calls, report.missing
        ));
        bar.tick();
    };
    let compared = {
        let mut comparing = std::pin::pin!(look.period(since, until, &mut tell));
        tokio::select! {
            compared = &mut comparing => compared,
            signal = tokio::signal::ctrl_c() => {
                signal.context("could not catch Ctrl-C")?;
                stop.cancel();
                comparing.await
            }
        }
    };
    bar.finish_and_clear();
    access.close().await;
    let report =
        compared.context("the period was not compared to its end; the command can be given again")?;
    print(&report, args.dry_run);
    // What cannot be recorded needs a person.
    Ok(ExitCode::from(u8::from(report.refused > 0)))
}

fn print(report: &Report, dry_run: bool) {
    println!("calls in Twilio's list         {}", report.calls);
    println!("recordings in Twilio's list    {}", report.recordings);
    println!("events missing in the stream   {}", report.missing);
    if dry_run {
        println!("published                      0 (--dry-run)");
    } else {
        println!("published                      {}", report.published);
        println!("recorded meanwhile             {}", report.already);
        println!("refused                        {}", report.refused);
    }
    println!("calls of other numbers         {}", report.foreign);
    println!("erased, left alone             {}", report.erased);
    println!("not finished, or too fresh     {}", report.unfinished);
    println!("with names that do not read    {}", report.malformed);
}

//! `callfold rebuild`: asks the projector that writes the leads to fold them anew, and shows how far it is.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::Bus;
use callfold_projector::{RebuildAnswer, RebuildProgress, RebuildRequest};
use callfold_schema::subject::{REBUILD, REBUILD_PROGRESS};
use callfold_store::{Comparison, DifferenceKind};
use futures::{Stream, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};

use super::Access;
use crate::cli::RebuildArgs;
use crate::run_file::RunFile;

/// How long the projector may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long nothing has to be heard before it is asked whether anything goes on: an index of many leads takes minutes.
const SILENCE: Duration = Duration::from_secs(15);

/// Asks, follows, and prints the report. Ctrl-C ends this command only.
pub async fn run(args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    anyhow::ensure!(
        std::env::var_os("NATS_URL").is_some() || RunFile::read(&data_dir)?.is_some(),
        "no callfold runs on {}: leads are rebuilt by the running projector",
        data_dir.display()
    );
    let access = Access::open(&data_dir).await?;
    let ended = follow(&args, &access.bus).await;
    access.close().await;
    ended
}

async fn follow(args: &RebuildArgs, bus: &Bus) -> anyhow::Result<ExitCode> {
    // Before the question, so that no answer is missed.
    let mut notices = bus
        .notices(REBUILD_PROGRESS)
        .await
        .context("could not follow the rebuild")?;
    bus.flush().await.context("could not follow the rebuild")?;
    let request = if args.drop_old {
        RebuildRequest::DropOld
    } else {
        RebuildRequest::Rebuild {
            accept_differences: args.accept_differences,
        }
    };
    match ask(bus, request).await? {
        RebuildAnswer::Begun => {}
        RebuildAnswer::UnderWay if args.drop_old => {
            anyhow::bail!("a rebuild is under way: the old leads can be deleted when it has ended")
        }
        RebuildAnswer::UnderWay => say("a rebuild is under way already; this is how far it is"),
        RebuildAnswer::Idle | RebuildAnswer::NotUnderstood => {
            anyhow::bail!("the running projector is of another release: run its own `callfold rebuild`")
        }
    }
    let bar = bar();
    let ended = end(bus, &mut notices, bar.as_ref()).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    match ended? {
        RebuildProgress::Switched {
            comparison,
            events,
            elapsed_ms,
        } => {
            report(&comparison);
            let per_second = events.saturating_mul(1_000) / elapsed_ms.max(1);
            say(&format!(
                "the rebuilt leads serve: {events} events in {:.1} s, {per_second} a second. The old ones are kept until \
                 `callfold rebuild --drop-old` or the next rebuild",
                Duration::from_millis(elapsed_ms).as_secs_f64()
            ));
            Ok(ExitCode::SUCCESS)
        }
        RebuildProgress::Refused { comparison } => {
            report(&comparison);
            say(
                "the same fold has made other leads, so the old ones go on serving. Find out why; `callfold rebuild \
                 --accept-differences` lets the rebuilt ones serve all the same",
            );
            Ok(ExitCode::FAILURE)
        }
        _ => {
            say("the old leads are deleted");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn ask(bus: &Bus, request: RebuildRequest) -> anyhow::Result<RebuildAnswer> {
    let bytes = serde_json::to_vec(&request).context("could not ask for a rebuild")?;
    let answer = bus
        .ask(REBUILD, bytes.into(), ANSWER_MAX)
        .await
        .context("the projector does not answer")?
        .context("no projector writes the leads now: is one running, and ready?")?;
    serde_json::from_slice(&answer).context("the projector's answer does not read")
}

/// Waits for the end of it, and shows what goes on until then.
async fn end(
    bus: &Bus,
    notices: &mut (impl Stream<Item = bytes::Bytes> + Unpin),
    bar: Option<&ProgressBar>,
) -> anyhow::Result<RebuildProgress> {
    loop {
        let notice = match tokio::time::timeout(SILENCE, notices.next()).await {
            Ok(notice) => notice.context("the broker is gone; the rebuild goes on when it is back")?,
            Err(_) => {
                let answer = ask(bus, RebuildRequest::Look).await?;
                anyhow::ensure!(
                    answer == RebuildAnswer::UnderWay,
                    "nothing goes on any more, and what was said at the end is lost: the projector's log has it"
                );
                continue;
            }
        };
        let progress: RebuildProgress =
            serde_json::from_slice(&notice).context("the projector's progress does not read")?;
        match &progress {
            RebuildProgress::Folding { position, of } => match bar {
                Some(bar) => {
                    bar.set_length(*of);
                    bar.set_position(*position);
                    bar.set_message("folding");
                }
                None => tell(bar, &format!("folding: {position} of {of}")),
            },
            RebuildProgress::Clearing => tell(bar, "emptying the tables"),
            RebuildProgress::Indexing => tell(bar, "making the search indexes"),
            RebuildProgress::Comparing => tell(bar, "comparing"),
            RebuildProgress::Interrupted { reason } => {
                let text = format!("interrupted, it goes on by itself: {reason}");
                match bar {
                    Some(bar) => bar.println(text),
                    None => say(&text),
                }
            }
            RebuildProgress::Switched { .. } | RebuildProgress::Refused { .. } | RebuildProgress::Dropped => {
                return Ok(progress);
            }
        }
    }
}

fn bar() -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{msg:26} {bar:30} {pos}/{len} {per_sec} {eta}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    })
}

fn tell(bar: Option<&ProgressBar>, step: &str) {
    match bar {
        Some(bar) => bar.set_message(step.to_owned()),
        None => eprintln!("{step}"),
    }
}

fn report(comparison: &Comparison) {
    say(&format!(
        "compared at position {}: {} calls serve (hash {}), {} were rebuilt (hash {})",
        comparison.position,
        comparison.live,
        comparison.live_hash,
        comparison.rebuilt,
        comparison.rebuilt_hash
    ));
    if comparison.is_same() {
        say("they are the same");
        return;
    }
    say(&format!(
        "different {}, served and not rebuilt {}, rebuilt and not served {}",
        comparison.different, comparison.missing, comparison.extra
    ));
    for difference in &comparison.calls {
        let kind = match difference.kind {
            DifferenceKind::Different => "different",
            DifferenceKind::Missing => "served and not rebuilt",
            DifferenceKind::Extra => "rebuilt and not served",
        };
        say(&format!("  {} {kind}", difference.call_sid));
    }
    let more = comparison.different + comparison.missing + comparison.extra;
    let more = more.saturating_sub(comparison.calls.len() as u64);
    if more > 0 {
        say(&format!("  and {more} more"));
    }
}

fn say(text: &str) {
    crate::up::say(text);
}

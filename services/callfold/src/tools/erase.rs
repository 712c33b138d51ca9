//! `callfold erase`: calls are forgotten, and it is proved.

mod prove;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::bus::Published;
use callfold_kit::{Bus, Clock, SystemClock};
use callfold_reconciler::erase::tombstone;
use callfold_schema::event::{EraseDone, ErasureReason, TwilioErasure};
use callfold_schema::{CallSid, Event, EventKind, Key, Subject};
use callfold_store::read::LIMIT_MAX;
use callfold_store::{LeadFilter, ReadLeads};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::Access;
use crate::cli::EraseArgs;
use crate::stack::{StackConfig, open_store};

/// How long a tombstone may take to become durable.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);
/// How often it is asked how far an erasure is.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Who erases at a terminal.
const BY: &str = "command line";

/// Erases, waits until it is done, and proves it where that is asked for.
pub async fn run(args: EraseArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let config = super::settings(&data_dir, &[])?;
    let mut calls = Vec::new();
    for text in &args.call_sids {
        let call = CallSid::parse(text).map_err(|error| anyhow::anyhow!("the call's name {error}"))?;
        calls.push(call);
    }
    anyhow::ensure!(
        !calls.is_empty() || args.phone.is_some() || (args.prove_only && !args.text.is_empty()),
        "name calls (CA…), or a caller with --phone"
    );
    let access = Access::open(&data_dir).await?;
    let done = work(&args, &access, &config, calls).await;
    access.close().await;
    done
}

async fn work(
    args: &EraseArgs,
    access: &Access,
    config: &StackConfig,
    mut calls: Vec<CallSid>,
) -> anyhow::Result<ExitCode> {
    if let Some(phone) = &args.phone {
        let (leads, _) = open_store(&config.database).await?;
        calls.extend(calls_of(&*leads, phone).await?);
        calls.sort_unstable();
        calls.dedup();
        println!("calls of the number: {}", calls.len());
    }
    if !args.prove_only {
        let why = if args.request {
            ErasureReason::Request
        } else {
            ErasureReason::Person
        };
        for call in &calls {
            begin(&access.bus, call, why).await?;
        }
        if args.no_wait {
            println!("{} calls are hidden and are being erased", calls.len());
            return Ok(ExitCode::SUCCESS);
        }
        if access.broker.is_some() {
            println!(
                "callfold does not run: {} calls are hidden, and are erased when it runs next",
                calls.len()
            );
            return Ok(ExitCode::SUCCESS);
        }
        wait(&access.bus, &calls, Duration::from_secs(args.patience)).await?;
    }
    if !args.prove && !args.prove_only {
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = prove::Wanted::new(&calls, args.phone.as_deref(), &args.text)?;
    let found = prove::search(&access.bus, config, &wanted).await?;
    found.print();
    Ok(ExitCode::from(u8::from(!found.is_empty())))
}

/// All calls of a number, as the lead table knows them.
async fn calls_of(leads: &dyn ReadLeads, phone: &str) -> anyhow::Result<Vec<CallSid>> {
    let filter = LeadFilter {
        phone: Some(phone.to_owned()),
        ..LeadFilter::default()
    };
    let (mut calls, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = leads
            .list(&filter, LIMIT_MAX, cursor.as_deref())
            .await
            .context("could not read the leads")?;
        calls.extend(page.leads.into_iter().map(|lead| lead.call_sid));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(calls);
        }
    }
}

async fn begin(bus: &Bus, call: &CallSid, why: ErasureReason) -> anyhow::Result<()> {
    let event = tombstone(call.clone(), BY, why, SystemClock.now());
    match bus.publish(&event, PUBLISH_WAIT).await {
        Ok(Published::Recorded { .. } | Published::AlreadyRecorded) => Ok(()),
        Err(error) => Err(error).context("could not publish that the call is to be erased"),
    }
}

/// Until each call has its note. A system that does not run erases when it does.
async fn wait(bus: &Bus, calls: &[CallSid], patience: Duration) -> anyhow::Result<()> {
    let bar = ProgressBar::new(calls.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} calls erased") {
        bar.set_style(style);
    }
    let deadline = Instant::now() + patience;
    let mut tick = tokio::time::interval(ASK_EVERY);
    for call in calls {
        let subject = Subject::new(call.clone(), EventKind::EraseDone, Key::single());
        let note = loop {
            if let Some(found) = bus.find(&subject).await.context("could not read the stream")? {
                break found;
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "call {call} is hidden, and not erased yet: does callfold run, with the reconciler and the projector? \
                 The erasure goes on by itself; --patience waits longer"
            );
            tick.tick().await;
        };
        bar.inc(1);
        if let Ok(record) = note.decode()
            && let Event::EraseDone(done) = &record.event
        {
            bar.suspend(|| println!("{call}: {}", told(done)));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn told(done: &EraseDone) -> String {
    let twilio = match done.twilio {
        TwilioErasure::Deleted => "the recordings at Twilio deleted",
        TwilioErasure::NotFound => "no recording left at Twilio",
        TwilioErasure::NotAsked => "Twilio not asked",
    };
    format!(
        "{} events and {} files deleted, {twilio}",
        done.events, done.blobs
    )
}

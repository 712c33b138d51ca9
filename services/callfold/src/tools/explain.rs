//! `callfold explain CA…`: the story of a call in plain words.

use std::process::ExitCode;

use anyhow::Context;
use callfold_schema::{CallSid, EventKind, Key, Record, Subject};
use futures::TryStreamExt;
use jiff::tz::TimeZone;

use super::Access;
use crate::cli::ExplainArgs;
use crate::stack::{Role, StackConfig, open_store};
use crate::up::say;

/// How many events are read at once.
const READ_AT_ONCE: usize = 16;

/// Prints the story.
pub async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let call_sid = CallSid::parse(&args.call_sid).context("that is no CallSid")?;
    let config = super::settings(&data_dir, &[Role::Projector])?;
    let access = Access::open(&data_dir).await?;
    let told = tell(&config, &access, &call_sid).await;
    access.close().await;
    told
}

async fn tell(config: &StackConfig, access: &Access, call_sid: &CallSid) -> anyhow::Result<ExitCode> {
    let (leads, _) = open_store(&config.database).await?;
    let mut positions = leads
        .positions(call_sid)
        .await
        .context("could not read the lead table")?;
    positions.sort_unstable();
    if positions.is_empty() {
        // Of an erased call nothing is left in the table; what is left in the stream has known subjects.
        for kind in [EventKind::CallErased, EventKind::EraseDone] {
            let subject = Subject::new(call_sid.clone(), kind, Key::single());
            let found = access.bus.find(&subject).await;
            positions.extend(
                found
                    .context("could not read the stream")?
                    .map(|event| event.position),
            );
        }
    }
    if positions.is_empty() {
        say(&format!("no event of call {call_sid} is known"));
        return Ok(ExitCode::FAILURE);
    }
    let mut began = None;
    let mut read = access.bus.get_each(positions, READ_AT_ONCE);
    while let Some((position, stored)) = read.try_next().await.context("could not read the stream")? {
        let Some(stored) = stored else {
            say(&format!("{position:>8}  (deleted)"));
            continue;
        };
        match stored.decode() {
            Ok(record) => {
                let began = *began.get_or_insert(record.envelope.time.0);
                let after = record.envelope.time.0 - began;
                let moment = local(&record, &config.api.timezone);
                say(&format!(
                    "{position:>8}  {moment}  +{:>7.1} s  {}",
                    after as f64 / 1_000.0,
                    callfold_lead::tell(&record).text
                ));
            }
            Err(error) => say(&format!("{position:>8}  {error}")),
        }
    }
    if let Some(lead) = leads
        .lead(call_sid)
        .await
        .context("could not read the lead table")?
    {
        let status = serde_json::to_value(lead.status).ok();
        say(&format!(
            "the card says: {}",
            status.as_ref().and_then(|s| s.as_str()).unwrap_or_default()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn local(record: &Record, zone: &TimeZone) -> String {
    let moment =
        jiff::Timestamp::from_millisecond(record.envelope.time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment
        .to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S%.3f")
        .to_string()
}

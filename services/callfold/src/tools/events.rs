//! `callfold events`: the stream as JSON lines.

use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::bus::StoredEvent;
use callfold_schema::EventKind;
use serde_json::{Value, json};

use super::Access;
use crate::cli::EventsArgs;

/// Prints events in order.
pub async fn run(args: EventsArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let filters = match &args.kind {
        None => Vec::new(),
        Some(name) => {
            let kind = EventKind::from_token(name).with_context(|| {
                let names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.token()).collect();
                format!("{name} is no kind of event; there are {}", names.join(", "))
            })?;
            vec![callfold_schema::subject::kind_filter(kind)]
        }
    };
    let access = Access::open(&data_dir).await?;
    let printed = print(&args, &access, filters).await;
    access.close().await;
    printed.map(|()| ExitCode::SUCCESS)
}

async fn print(args: &EventsArgs, access: &Access, filters: Vec<String>) -> anyhow::Result<()> {
    use std::io::Write;
    let state = access
        .bus
        .stream_state()
        .await
        .context("could not read the stream")?;
    let last = args.to.map_or(state.last, |to| to.min(state.last));
    let mut out = std::io::stdout().lock();
    let mut reader = access.bus.read_from(args.from, filters);
    if !args.follow && (state.messages == 0 || args.from > last) {
        return Ok(());
    }
    loop {
        let next = tokio::select! {
            next = reader.next() => next.context("could not read the stream")?,
            signal = tokio::signal::ctrl_c() => return signal.context("could not catch Ctrl-C"),
            // With a filter the last event may not be one of those asked for.
            () = tokio::time::sleep(std::time::Duration::from_secs(2)), if !args.follow => return Ok(()),
        };
        if !args.follow && next.position > last {
            return Ok(());
        }
        let line = describe(&next, args.data_too);
        match writeln!(out, "{line}") {
            Ok(()) => {}
            // Whoever reads has seen enough (`| head`).
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("could not print"),
        }
        if !args.follow && (next.position >= last || next.pending == 0) {
            return Ok(());
        }
    }
}

/// One event as JSON.
pub fn describe(stored: &StoredEvent, with_data: bool) -> Value {
    match stored.decode() {
        Ok(record) => {
            let subject = &record.envelope.subject;
            let mut line = json!({
                "position": stored.position,
                "time": record.envelope.time.rfc3339(),
                "call_sid": subject.call_sid,
                "kind": subject.kind,
                "version": record.envelope.version,
                "lane": subject.lane.token(),
                "key": subject.key.to_string(),
                "cause": record.envelope.cause,
            });
            if with_data {
                let event = serde_json::to_value(&record.event)
                    .ok()
                    .and_then(|mut e| e.get_mut("data").map(Value::take));
                line["data"] = event.unwrap_or_default();
            }
            line
        }
        Err(error) => json!({
            "position": stored.position,
            "subject": stored.subject(),
            "stored_at": stored.stored_at.rfc3339(),
            "unreadable": error.to_string(),
        }),
    }
}

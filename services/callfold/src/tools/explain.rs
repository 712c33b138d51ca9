//! `callfold explain CA…`: the story of a call in plain words.

use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::config::{Environment, Settings};
use callfold_schema::event::{FailureClass, MissingReason};
use callfold_schema::{CallSid, Event, Record};
use jiff::tz::TimeZone;

use super::Access;
use crate::cli::ExplainArgs;
use crate::stack::{Role, StackConfig, open_store};
use crate::up::say;

/// Prints the story.
pub async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let call_sid = CallSid::parse(&args.call_sid).context("that is no CallSid")?;
    let mut settings = Settings::new(&Environment);
    let config = StackConfig::from_settings(
        &mut settings,
        &[Role::Projector],
        std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        &data_dir,
    );
    settings.finish()?;
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
        say(&format!("no event of call {call_sid} is known"));
        return Ok(ExitCode::FAILURE);
    }
    let mut began = None;
    for position in positions {
        let Some(stored) = access
            .bus
            .get(position)
            .await
            .context("could not read the stream")?
        else {
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
                    sentence(&record)
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

/// An event in plain words. Numbers and texts are left to the card: a story is often copied into a ticket.
pub fn sentence(record: &Record) -> String {
    let key = &record.envelope.subject.key;
    let recording = key
        .recording
        .as_ref()
        .map(|sid| format!("recording {sid}"))
        .unwrap_or_default();
    match &record.event {
        Event::CallStarted(call) => {
            let caller = if call.from.is_e164() {
                "a caller with a number"
            } else {
                "a caller without a number"
            };
            format!(
                "{caller} was greeted by {} and could speak for up to {} s",
                call.voice, call.record_max_s
            )
        }
        Event::CallEnded(call) => {
            let length = call
                .duration_s
                .map(|s| format!(" after {s} s"))
                .unwrap_or_default();
            format!("the call ended{length} ({})", call.status)
        }
        Event::RecordingStarted(_) => format!("{recording} began"),
        Event::RecordingReady(ready) => {
            let length = ready
                .duration_s
                .map(|s| format!(", {s} s long"))
                .unwrap_or_default();
            format!("{recording} is ready at Twilio{length}")
        }
        Event::RecordingMissing(missing) => {
            let why = match missing.reason {
                MissingReason::Absent => "Twilio says there is none (too short or silent)",
                MissingReason::Failed => "Twilio says that it failed",
                MissingReason::NeverLeft => "the caller hung up before one began",
                MissingReason::DeadlinePassed => "nothing was heard of it in time",
            };
            let which = if recording.is_empty() {
                "there is no recording".to_owned()
            } else {
                format!("{recording} is missing")
            };
            format!(
                "{which}: {why}{}",
                if key.reconciled {
                    " (found by the reconciler)"
                } else {
                    ""
                }
            )
        }
        Event::RecordingDownloaded(done) => format!(
            "{recording} was stored: {} bytes, {:.1} s of {} audio, in {} ms",
            done.bytes,
            done.duration_ms as f64 / 1_000.0,
            done.content_type,
            done.elapsed_ms
        ),
        Event::TranscriptReady(done) => {
            let passed: Vec<String> = done
                .failed_engines
                .iter()
                .map(|f| format!("{} failed ({})", f.engine, f.text))
                .collect();
            let passed = if passed.is_empty() {
                String::new()
            } else {
                format!("; before that {}", passed.join(", "))
            };
            let words = done.text.split_whitespace().count();
            format!(
                "{recording} became {words} words by {} {} in {} ms{passed}",
                done.engine, done.model, done.elapsed_ms
            )
        }
        Event::SummaryReady(done) => {
            let passed: Vec<String> = done
                .failed_engines
                .iter()
                .map(|f| format!("{} failed ({})", f.engine, f.text))
                .collect();
            let passed = if passed.is_empty() {
                String::new()
            } else {
                format!("; before that {}", passed.join(", "))
            };
            format!(
                "{recording} was summarised by {} in {} ms{passed}",
                done.engine, done.elapsed_ms
            )
        }
        Event::StageFailed(failed) => {
            let (stage, attempt) = key
                .attempt
                .map(|(stage, n)| (stage.token(), n))
                .unwrap_or_default();
            if failed.class == FailureClass::NotYet && attempt == 0 {
                return format!("{stage} of {recording} waits: {}", failed.text);
            }
            let next = match failed.next_attempt_at {
                Some(at) => format!("next try at {}", at.rfc3339()),
                None => "no further try".to_owned(),
            };
            format!(
                "{stage} of {recording} failed, attempt {attempt} of {}: {}; {next}",
                failed.attempts_max, failed.text
            )
        }
    }
}

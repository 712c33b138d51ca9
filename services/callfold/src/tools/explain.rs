//! `callfold explain CA…`: the story of a call in plain words.

use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::config::{Environment, Settings};
use callfold_schema::event::{EngineFailure, FailureClass, LeadAction, MissingReason};
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
            let may = match call.record_max_s {
                0 => "; no message is taken on this number".to_owned(),
                secs => format!(" and could speak for up to {secs} s"),
            };
            format!("{caller} was greeted by {}{may}", call.voice)
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
            let passed = passed_over(&done.failed_engines);
            if done.engine.is_empty() {
                return format!("{passed}{recording} holds nothing to hear; no engine was asked");
            }
            let pieces = match done.pieces {
                0 | 1 => String::new(),
                pieces => format!(" from {pieces} pieces"),
            };
            format!(
                "{passed}{} answered: {recording} became {} words{pieces} in {} ms",
                named(&done.engine, &done.model),
                done.text.split_whitespace().count(),
                done.elapsed_ms
            )
        }
        Event::SummaryReady(done) => {
            let parts = match done.parts {
                0 | 1 => String::new(),
                parts => format!(" in {parts} parts"),
            };
            let tries = match done.tries {
                0 | 1 => String::new(),
                tries => format!(" with {tries} questions"),
            };
            format!(
                "{}{} answered: {recording} was summarised{parts}{tries} in {} ms",
                passed_over(&done.failed_engines),
                named(&done.engine, &done.model),
                done.elapsed_ms
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
        Event::ReprocessRequested(asked) => {
            let with = asked.engine.as_ref().map_or(String::new(), |engine| {
                format!(
                    " with {}",
                    named(engine, asked.model.as_deref().unwrap_or_default())
                )
            });
            let part = asked
                .campaign
                .as_ref()
                .map_or(String::new(), |campaign| format!(", a part of {campaign}"));
            let held = if asked.hold {
                "; the result is held for comparison"
            } else {
                ""
            };
            format!(
                "{} asked for run {} from {} on{with}{part}{held}",
                asked.by, asked.run, asked.from
            )
        }
        Event::LeadUpdated(update) => format!("{} {}", update.by, did(&update.action)),
        Event::CallErased(erased) => format!("{} erased the call ({})", erased.by, erased.why.token()),
        Event::EraseDone(done) => format!(
            "nothing is left of the call: {} events and {} audio files were deleted; Twilio: {}",
            done.events,
            done.blobs,
            done.twilio.token()
        ),
    }
}

/// What a person did; the words they wrote stand on the card.
fn did(action: &LeadAction) -> String {
    match action {
        LeadAction::Seen { seen: true } => "looked at it".to_owned(),
        LeadAction::Seen { seen: false } => "marked it as not looked at".to_owned(),
        LeadAction::Disposition { disposition } => format!("set it to {disposition}"),
        LeadAction::Note { text } if text.trim().is_empty() => "took the note away".to_owned(),
        LeadAction::Note { .. } => "wrote the note".to_owned(),
        LeadAction::Assignee { assignee: Some(name) } => format!("gave it to {name}"),
        LeadAction::Assignee { assignee: None } => "gave it to nobody".to_owned(),
        LeadAction::Tags { tags } => format!("set {} tags", tags.len()),
        LeadAction::Transcript {
            recording_sid,
            text: Some(_),
        } => format!("corrected the transcript of {recording_sid}"),
        LeadAction::Transcript {
            recording_sid,
            text: None,
        } => format!("took the correction of {recording_sid} back"),
        LeadAction::CallerName { .. } => "corrected the caller's name".to_owned(),
        LeadAction::CallbackNumber { .. } => "corrected the number to call back at".to_owned(),
        LeadAction::Adopt { run: Some(run) } => format!("chose run {run} to be shown"),
        LeadAction::Adopt { run: None } => "left the choice of the run to the rule".to_owned(),
    }
}

fn named(engine: &str, model: &str) -> String {
    if model.is_empty() {
        engine.to_owned()
    } else {
        format!("{engine} ({model})")
    }
}

/// `google was passed over: HTTP 503 (8.2 s); `, engine by engine; empty where the first one answered.
fn passed_over(failed: &[EngineFailure]) -> String {
    failed
        .iter()
        .map(|failed| {
            let what = match failed.class {
                FailureClass::Resting => "was at rest",
                FailureClass::Overtaken => "was overtaken",
                _ => "was passed over",
            };
            let took = match failed.elapsed_ms {
                0 => String::new(),
                ms => format!(" ({:.1} s)", ms as f64 / 1_000.0),
            };
            format!("{} {what}: {}{took}; ", failed.engine, failed.text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use callfold_schema::event::{SummaryReady, TranscriptReady};
    use callfold_schema::{Key, NewEvent, RecordingSid, Run, UnixMillis};

    use super::*;

    fn told(event: impl Into<Event>) -> String {
        let key = Key::stage(RecordingSid::parse("RE1").unwrap(), Run::FIRST);
        let new = NewEvent::new(CallSid::parse("CA1").unwrap(), key, UnixMillis(0), event);
        sentence(&Record {
            envelope: new.envelope,
            event: new.event,
        })
    }

    fn failed(engine: &str, class: FailureClass, text: &str, elapsed_ms: u64) -> EngineFailure {
        EngineFailure {
            engine: engine.to_owned(),
            model: String::new(),
            class,
            text: text.to_owned(),
            elapsed_ms,
        }
    }

    #[test]
    fn a_transcript_tells_who_was_passed_over_and_who_answered() {
        let mut transcript = TranscriptReady {
            text: "two words".to_owned(),
            segments: Vec::new(),
            language: "he".to_owned(),
            engine: "whisper".to_owned(),
            model: "turbo".to_owned(),
            failed_engines: vec![
                failed("google", FailureClass::Unavailable, "HTTP 503", 8_204),
                failed("openai", FailureClass::Resting, "failed 5 times in a row", 0),
            ],
            pieces: 3,
            audio_ms: 60_000,
            elapsed_ms: 900,
        };
        assert_eq!(
            told(transcript.clone()),
            "google was passed over: HTTP 503 (8.2 s); openai was at rest: failed 5 times in a row; \
             whisper (turbo) answered: recording RE1 became 2 words from 3 pieces in 900 ms"
        );
        transcript.engine = String::new();
        transcript.failed_engines = Vec::new();
        assert_eq!(
            told(transcript),
            "recording RE1 holds nothing to hear; no engine was asked"
        );
    }

    #[test]
    fn a_summary_tells_its_parts_and_questions_and_nothing_that_was_said() {
        let mut summary = SummaryReady {
            title: "כותרת".to_owned(),
            points: Vec::new(),
            text: "כותרת".to_owned(),
            caller_name: Some("דנה".to_owned()),
            callback_number: Some("0501234567".to_owned()),
            topic: Some("תור".to_owned()),
            urgency: None,
            engine: "openai".to_owned(),
            model: "gpt-4o-mini".to_owned(),
            prompt_version: 2,
            failed_engines: Vec::new(),
            parts: 4,
            tries: 6,
            tokens_in: None,
            tokens_out: None,
            elapsed_ms: 930,
        };
        assert_eq!(
            told(summary.clone()),
            "openai (gpt-4o-mini) answered: recording RE1 was summarised in 4 parts with 6 questions in 930 ms"
        );
        summary.failed_engines = vec![failed(
            "openai",
            FailureClass::Timeout,
            "no answer in time",
            20_000,
        )];
        (summary.engine, summary.model) = ("extractive".to_owned(), String::new());
        (summary.parts, summary.tries) = (1, 0);
        assert_eq!(
            told(summary),
            "openai was passed over: no answer in time (20.0 s); extractive answered: recording RE1 was summarised \
             in 930 ms"
        );
    }
}

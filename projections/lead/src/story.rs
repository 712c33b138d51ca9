//! The story of a call: each event in plain words. One code for the API and `callfold explain`.
//!
//! Numbers of callers and what they said are left to the card: a story is often copied into a ticket. A page words the
//! [`Told::message`] itself, in its own language; the English [`Told::text`] is for people at a terminal and for programs
//! that just pass it on.

use std::collections::BTreeMap;

use callfold_schema::event::{
    CallEnded, CallErased, CallStarted, EngineFailure, EraseDone, FailureClass, LeadAction, LeadUpdated,
    MissingReason, RecordingDownloaded, RecordingMissing, RecordingReady, ReprocessRequested, StageFailed,
    SummaryReady, TranscriptReady,
};
use callfold_schema::{Event, Key, Record};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// What one event says.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Told {
    /// Which sentence it is: stays the same for the same kind of fact, whatever its English wording.
    pub message: &'static str,
    /// What stands in the sentence, by name: identifiers, counts, milliseconds, reasons. What does not apply is left out.
    pub arguments: BTreeMap<&'static str, Value>,
    /// The sentence in English.
    pub text: String,
}

impl Told {
    fn new(message: &'static str, text: impl Into<String>) -> Self {
        Self {
            message,
            arguments: BTreeMap::new(),
            text: text.into(),
        }
    }

    /// One more argument; `null` is left out.
    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.arguments.insert(name, value);
        }
        self
    }
}

/// Tells one event.
pub fn tell(record: &Record) -> Told {
    let key = &record.envelope.subject.key;
    let told = match &record.event {
        Event::CallStarted(call) => call_started(call),
        Event::CallEnded(call) => call_ended(call),
        Event::RecordingStarted(_) => Told::new("recording_started", format!("{} began", recording(key))),
        Event::RecordingReady(ready) => recording_ready(key, ready),
        Event::RecordingMissing(missing) => recording_missing(key, missing),
        Event::RecordingDownloaded(done) => recording_downloaded(key, done),
        Event::TranscriptReady(done) => transcript_ready(key, done),
        Event::SummaryReady(done) => summary_ready(key, done),
        Event::StageFailed(failed) => stage_failed(key, failed),
        Event::ReprocessRequested(asked) => reprocess_requested(asked),
        Event::LeadUpdated(update) => lead_updated(update),
        Event::CallErased(erased) => call_erased(erased),
        Event::EraseDone(done) => erase_done(done),
    };
    let told = told.with("recording", key.recording.as_ref().map(|sid| sid.as_str()));
    let told = match key.run {
        Some(run) if run.0 > 0 => told.with("run", run.0),
        _ => told,
    };
    if !key.reconciled {
        return told;
    }
    Told {
        text: format!("{} (found by the reconciler)", told.text),
        ..told.with("reconciled", true)
    }
}

/// `recording RE…`, with its run where it is not the first; empty where the event is about none.
fn recording(key: &Key) -> String {
    let Some(sid) = &key.recording else {
        return String::new();
    };
    match key.run {
        Some(run) if run.0 > 0 => format!("recording {sid} (run {run})"),
        _ => format!("recording {sid}"),
    }
}

fn call_started(call: &CallStarted) -> Told {
    let caller = if call.from.is_e164() {
        "a caller with a number"
    } else {
        "a caller without a number"
    };
    let may = match call.record_max_s {
        0 => "; no message is taken on this number".to_owned(),
        secs => format!(" and could speak for up to {secs} s"),
    };
    Told::new(
        "call_started",
        format!("{caller} was greeted by {}{may}", call.voice),
    )
    .with("has_number", call.from.is_e164())
    .with("voice", call.voice.as_str())
    .with("record_max_s", call.record_max_s)
}

fn call_ended(call: &CallEnded) -> Told {
    let length = call
        .duration_s
        .map(|s| format!(" after {s} s"))
        .unwrap_or_default();
    Told::new("call_ended", format!("the call ended{length} ({})", call.status))
        .with("status", call.status.as_str())
        .with("duration_s", call.duration_s)
}

fn recording_ready(key: &Key, ready: &RecordingReady) -> Told {
    let length = ready
        .duration_s
        .map(|s| format!(", {s} s long"))
        .unwrap_or_default();
    Told::new(
        "recording_ready",
        format!("{} is ready at Twilio{length}", recording(key)),
    )
    .with("duration_s", ready.duration_s)
}

fn recording_missing(key: &Key, missing: &RecordingMissing) -> Told {
    let why = match missing.reason {
        MissingReason::Absent => "Twilio says there is none (too short or silent)",
        MissingReason::Failed => "Twilio says that it failed",
        MissingReason::NeverLeft => "the caller hung up before one began",
        MissingReason::DeadlinePassed => "nothing was heard of it in time",
    };
    let which = match &key.recording {
        Some(sid) => format!("recording {sid} is missing"),
        None => "there is no recording".to_owned(),
    };
    Told::new("recording_missing", format!("{which}: {why}"))
        .with("reason", missing.reason.token())
        .with("error_code", missing.error_code)
}

fn recording_downloaded(key: &Key, done: &RecordingDownloaded) -> Told {
    let text = format!(
        "{} was stored: {} bytes, {:.1} s of {} audio, in {} ms",
        recording(key),
        done.bytes,
        done.duration_ms as f64 / 1_000.0,
        done.content_type,
        done.elapsed_ms
    );
    Told::new("recording_downloaded", text)
        .with("bytes", done.bytes)
        .with("duration_ms", done.duration_ms)
        .with("content_type", done.content_type.as_str())
        .with("elapsed_ms", done.elapsed_ms)
}

fn transcript_ready(key: &Key, done: &TranscriptReady) -> Told {
    let passed = passed_over(&done.failed_engines);
    let told = if done.engine.is_empty() {
        Told::new(
            "transcript_silent",
            format!(
                "{passed}{} holds nothing to hear; no engine was asked",
                recording(key)
            ),
        )
    } else {
        let words = done.text.split_whitespace().count();
        let pieces = match done.pieces {
            0 | 1 => String::new(),
            pieces => format!(" from {pieces} pieces"),
        };
        let text = format!(
            "{passed}{} answered: {} became {words} words{pieces} in {} ms",
            named(&done.engine, &done.model),
            recording(key),
            done.elapsed_ms
        );
        Told::new("transcript_ready", text)
            .with("engine", done.engine.as_str())
            .with("model", filled(&done.model))
            .with("words", words)
            .with("pieces", done.pieces)
    };
    told.with("elapsed_ms", done.elapsed_ms)
        .with("failed_engines", engines(&done.failed_engines))
}

fn summary_ready(key: &Key, done: &SummaryReady) -> Told {
    let parts = match done.parts {
        0 | 1 => String::new(),
        parts => format!(" in {parts} parts"),
    };
    let tries = match done.tries {
        0 | 1 => String::new(),
        tries => format!(" with {tries} questions"),
    };
    let text = format!(
        "{}{} answered: {} was summarised{parts}{tries} in {} ms",
        passed_over(&done.failed_engines),
        named(&done.engine, &done.model),
        recording(key),
        done.elapsed_ms
    );
    Told::new("summary_ready", text)
        .with("engine", done.engine.as_str())
        .with("model", filled(&done.model))
        .with("parts", done.parts)
        .with("tries", done.tries)
        .with("elapsed_ms", done.elapsed_ms)
        .with("failed_engines", engines(&done.failed_engines))
}

fn stage_failed(key: &Key, failed: &StageFailed) -> Told {
    let (stage, attempt) = key
        .attempt
        .map(|(stage, n)| (stage.token(), n))
        .unwrap_or_default();
    let told = if failed.class == FailureClass::NotYet && attempt == 0 {
        Told::new(
            "stage_waits",
            format!("{stage} of {} waits: {}", recording(key), failed.text),
        )
    } else {
        let next = match failed.next_attempt_at {
            Some(at) => format!("next try at {}", at.rfc3339()),
            None => "no further try".to_owned(),
        };
        let text = format!(
            "{stage} of {} failed, attempt {attempt} of {}: {}; {next}",
            recording(key),
            failed.attempts_max,
            failed.text
        );
        let message = match failed.next_attempt_at {
            Some(_) => "stage_retries",
            None => "stage_failed",
        };
        Told::new(message, text)
            .with("attempt", attempt)
            .with("attempts_max", failed.attempts_max)
            .with("next_attempt_at", failed.next_attempt_at.map(|at| at.rfc3339()))
    };
    told.with("stage", stage)
        .with("class", failed.class.token())
        .with("reason", failed.text.as_str())
}

fn reprocess_requested(asked: &ReprocessRequested) -> Told {
    let with = asked.engine.as_ref().map_or(String::new(), |engine| {
        let model = asked.model.as_deref().unwrap_or_default();
        format!(" with {}", named(engine, model))
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
    let text = format!(
        "{} asked for run {} from {} on{with}{part}{held}",
        asked.by, asked.run, asked.from
    );
    Told::new("reprocess_requested", text)
        .with("by", asked.by.as_str())
        .with("from", asked.from.token())
        .with("engine", asked.engine.as_deref())
        .with("model", asked.model.as_deref())
        .with("campaign", asked.campaign.as_deref())
        .with("hold", asked.hold)
}

/// The words that people wrote stand on the card.
fn lead_updated(update: &LeadUpdated) -> Told {
    let told = |message, did: String| Told::new(message, format!("{} {did}", update.by));
    let told = match &update.action {
        LeadAction::Seen { seen: true } => told("lead_seen", "looked at it".to_owned()),
        LeadAction::Seen { seen: false } => told("lead_unseen", "marked it as not looked at".to_owned()),
        LeadAction::Disposition { disposition } => {
            told("lead_disposition", format!("set it to {disposition}"))
                .with("disposition", disposition.token())
        }
        LeadAction::Note { text } if text.trim().is_empty() => {
            told("lead_note_removed", "took the note away".to_owned())
        }
        LeadAction::Note { .. } => told("lead_note", "wrote the note".to_owned()),
        LeadAction::Assignee { assignee: Some(name) } => {
            told("lead_assigned", format!("gave it to {name}")).with("assignee", name.as_str())
        }
        LeadAction::Assignee { assignee: None } => told("lead_unassigned", "gave it to nobody".to_owned()),
        LeadAction::Tags { tags } => {
            told("lead_tags", format!("set {} tags", tags.len())).with("tags", tags.len())
        }
        LeadAction::Transcript { recording_sid, text } => {
            let told = match text {
                Some(_) => told(
                    "transcript_corrected",
                    format!("corrected the transcript of {recording_sid}"),
                ),
                None => told(
                    "transcript_correction_removed",
                    format!("took the correction of {recording_sid} back"),
                ),
            };
            told.with("recording", recording_sid.as_str())
        }
        LeadAction::CallerName { .. } => {
            told("caller_name_corrected", "corrected the caller's name".to_owned())
        }
        LeadAction::CallbackNumber { .. } => told(
            "callback_number_corrected",
            "corrected the number to call back at".to_owned(),
        ),
        LeadAction::Adopt { run: Some(run) } => {
            told("run_adopted", format!("chose run {run} to be shown")).with("run", run.0)
        }
        LeadAction::Adopt { run: None } => {
            told("run_by_rule", "left the choice of the run to the rule".to_owned())
        }
    };
    told.with("by", update.by.as_str())
        .with("revision", update.revision)
}

fn call_erased(erased: &CallErased) -> Told {
    Told::new(
        "call_erased",
        format!("{} erased the call ({})", erased.by, erased.why.token()),
    )
    .with("by", erased.by.as_str())
    .with("why", erased.why.token())
}

fn erase_done(done: &EraseDone) -> Told {
    let text = format!(
        "nothing is left of the call: {} events and {} audio files were deleted; Twilio: {}",
        done.events,
        done.blobs,
        done.twilio.token()
    );
    Told::new("erase_done", text)
        .with("events", done.events)
        .with("blobs", done.blobs)
        .with("twilio", done.twilio.token())
}

fn named(engine: &str, model: &str) -> String {
    if model.is_empty() {
        engine.to_owned()
    } else {
        format!("{engine} ({model})")
    }
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
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

/// The same as an argument; `null` where the first engine answered.
fn engines(failed: &[EngineFailure]) -> Value {
    if failed.is_empty() {
        return Value::Null;
    }
    failed
        .iter()
        .map(|failed| {
            json!({
                "engine": failed.engine,
                "model": filled(&failed.model),
                "class": failed.class.token(),
                "reason": failed.text,
                "elapsed_ms": failed.elapsed_ms,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use callfold_schema::{CallSid, NewEvent, RecordingSid, Run, Stage, UnixMillis};

    use super::*;

    fn told_under(key: Key, event: impl Into<Event>) -> Told {
        let new = NewEvent::new(CallSid::parse("CA1").unwrap(), key, UnixMillis(0), event);
        tell(&Record {
            envelope: new.envelope,
            event: new.event,
        })
    }

    fn told(event: impl Into<Event>) -> String {
        told_under(Key::stage(RecordingSid::parse("RE1").unwrap(), Run::FIRST), event).text
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
        let whole = serde_json::to_string(&told_under(
            Key::stage(RecordingSid::parse("RE1").unwrap(), Run::FIRST),
            summary.clone(),
        ))
        .unwrap();
        for said in ["דנה", "0501234567", "תור", "כותרת"] {
            assert!(!whole.contains(said), "{whole}");
        }
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

    #[test]
    fn a_failure_is_told_with_what_a_page_needs_to_word_it_itself() {
        let event = StageFailed {
            attempts_max: 8,
            class: FailureClass::Unavailable,
            text: "HTTP 503 from the media host".to_owned(),
            next_attempt_at: Some(UnixMillis(1_000)),
            delivery: 1,
            elapsed_ms: 5,
        };
        let key = Key::failure(RecordingSid::parse("RE1").unwrap(), Run(7), Stage::Download, 3);
        let told = told_under(key, event);
        assert_eq!(told.message, "stage_retries");
        assert_eq!(
            serde_json::to_value(&told.arguments).unwrap(),
            json!({
                "attempt": 3, "attempts_max": 8, "class": "unavailable", "reason": "HTTP 503 from the media host",
                "next_attempt_at": "1970-01-01T00:00:01.000Z", "stage": "download", "recording": "RE1", "run": 7,
            })
        );
        assert_eq!(
            told.text,
            "download of recording RE1 (run 7) failed, attempt 3 of 8: HTTP 503 from the media host; \
             next try at 1970-01-01T00:00:01.000Z"
        );
    }

    #[test]
    fn what_people_did_is_told_with_their_names_and_without_their_words() {
        let update = |action| {
            let event = LeadUpdated {
                revision: 2,
                by: "dana".to_owned(),
                action,
                request: None,
            };
            told_under(Key::revision(2), event)
        };
        let note = update(LeadAction::Note {
            text: "call after six".to_owned(),
        });
        assert_eq!(
            (note.message, note.text.as_str()),
            ("lead_note", "dana wrote the note")
        );
        assert!(!serde_json::to_string(&note).unwrap().contains("six"));
        let adopted = update(LeadAction::Adopt { run: Some(Run(7)) });
        assert_eq!(adopted.text, "dana chose run 7 to be shown");
        assert_eq!(
            serde_json::to_value(&adopted.arguments).unwrap(),
            json!({ "by": "dana", "revision": 2, "run": 7 })
        );
        let number = update(LeadAction::CallbackNumber {
            number: Some("+972501234567".into()),
        });
        assert!(!serde_json::to_string(&number).unwrap().contains("+972"));

        let asked = ReprocessRequested {
            run: Run(7),
            from: Stage::Transcribe,
            by: "dana".to_owned(),
            why: None,
            engine: Some("whisper".to_owned()),
            model: Some("turbo".to_owned()),
            prompt: None,
            campaign: Some("c1".to_owned()),
            hold: true,
            inputs: Vec::new(),
        };
        assert_eq!(
            told_under(Key::run(Run(7)), asked).text,
            "dana asked for run 7 from transcribe on with whisper (turbo), a part of c1; the result is held for comparison"
        );
        let erased = CallErased {
            by: "retention".to_owned(),
            why: callfold_schema::event::ErasureReason::Retention,
        };
        assert_eq!(
            told_under(Key::single(), erased).text,
            "retention erased the call (retention)"
        );
        let done = EraseDone {
            positions: Vec::new(),
            events: 7,
            blobs: 1,
            twilio: callfold_schema::event::TwilioErasure::NotFound,
        };
        assert_eq!(
            told_under(Key::single(), done).text,
            "nothing is left of the call: 7 events and 1 audio files were deleted; Twilio: not_found"
        );
    }

    #[test]
    fn what_the_reconciler_found_says_so() {
        let event = RecordingMissing {
            recording_sid: None,
            reason: MissingReason::NeverLeft,
            error_code: None,
            idempotency_token: None,
            form: Vec::new(),
        };
        let told = told_under(Key::missing(None, "never_left").reconciled(), event);
        assert_eq!(
            told.text,
            "there is no recording: the caller hung up before one began (found by the reconciler)"
        );
        assert_eq!(told.arguments.get("reconciled"), Some(&json!(true)));
    }
}

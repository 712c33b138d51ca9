//! Given events, then the lead. Situations are those of the table "what can go wrong"; the property at the end says
//! that order and repetition never matter.
#![allow(clippy::unwrap_used, reason = "tests")]

use callfold_schema::event::{
    CallEnded, CallErased, CallStarted, Caller, Disposition, EngineFailure, EraseDone, ErasureReason,
    FailureClass, LeadAction, LeadUpdated, MissingReason, PositionRange, RecordingDownloaded,
    RecordingMissing, RecordingReady, RecordingStarted, ReprocessRequested, RerunInput, Segment, Speaker,
    StageFailed, SummaryReady, TranscriptReady, TwilioErasure, Urgency,
};
use callfold_schema::{
    CallSid, Event, EventKind, Key, NewEvent, Record, RecordingSid, Run, Stage, UnixMillis,
};
use proptest::prelude::*;
use serde_json::json;

use crate::lead::{NoMessageReason, RecordingState, RerunState, StageState, Status};
use crate::{Lead, LeadState, corrections, lead_view, run_result};

const CALL: &str = "CA_test";
const T0: i64 = 1_795_341_600_000;

fn re(text: &str) -> RecordingSid {
    RecordingSid::parse(text).unwrap()
}

fn at(seconds: i64) -> UnixMillis {
    UnixMillis(T0 + seconds * 1_000)
}

fn record(key: Key, seconds: i64, event: impl Into<Event>) -> Record {
    let new = NewEvent::new(CallSid::parse(CALL).unwrap(), key, at(seconds), event);
    Record {
        envelope: new.envelope,
        event: new.event,
    }
}

fn state(events: &[Record]) -> LeadState {
    let mut state = LeadState::new(CallSid::parse(CALL).unwrap());
    for (n, event) in events.iter().enumerate() {
        assert!(state.apply_record(n as u64 + 1, event).unwrap());
    }
    state
}

fn given(events: &[Record]) -> Lead {
    lead_view(&state(events)).unwrap()
}

fn started(s: i64) -> Record {
    let event = CallStarted {
        account_sid: "AC1".into(),
        from: "+972501234567".into(),
        to: "+97239999999".into(),
        direction: "inbound".into(),
        caller: Caller {
            city: Some("Haifa".into()),
            ..Caller::default()
        },
        greeting: "שלום".into(),
        voice: "Google.he-IL-Wavenet-A".into(),
        language: "he-IL".into(),
        record_max_s: 180,
        idempotency_token: None,
        form: vec![("From".into(), "+972501234567".into())],
    };
    record(Key::single(), s, event)
}

fn ended(s: i64) -> Record {
    let event = CallEnded {
        status: "completed".into(),
        duration_s: Some(31),
        ended_at: None,
        idempotency_token: None,
        form: vec![],
    };
    record(Key::single(), s, event)
}

fn recording_started(s: i64, recording: &str) -> Record {
    let event = RecordingStarted {
        recording_sid: re(recording),
        started_at: Some(at(s)),
        idempotency_token: None,
        form: vec![],
    };
    record(Key::recording(re(recording)), s, event)
}

fn ready_event(s: i64, recording: &str, started_s: Option<i64>) -> (RecordingSid, RecordingReady, i64) {
    let event = RecordingReady {
        recording_sid: re(recording),
        account_sid: "AC1".into(),
        media_url: "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1".into(),
        duration_s: Some(24),
        channels: Some(1),
        source: Some("RecordVerb".into()),
        started_at: started_s.map(at),
        idempotency_token: None,
        form: vec![],
    };
    (re(recording), event, s)
}

fn ready(s: i64, recording: &str) -> Record {
    let (sid, event, s) = ready_event(s, recording, None);
    record(Key::recording(sid), s, event)
}

fn missing(s: i64, recording: Option<&str>, reason: MissingReason) -> Record {
    let event = RecordingMissing {
        recording_sid: recording.map(re),
        reason,
        error_code: None,
        idempotency_token: None,
        form: vec![],
    };
    record(Key::missing(recording.map(re), reason.token()), s, event)
}

fn downloaded(s: i64, recording: &str, run: u64) -> Record {
    let event = RecordingDownloaded {
        blob_key: format!("{CALL}/{recording}-{run}.wav"),
        bytes: 192_044,
        sha256: "0".repeat(64),
        content_type: "audio/x-wav".into(),
        duration_ms: 24_000,
        sample_rate_hz: 8_000,
        channels: 1,
        elapsed_ms: 120,
    };
    record(Key::stage(re(recording), Run(run)), s, event)
}

fn transcript(s: i64, recording: &str, run: u64, text: &str) -> Record {
    let segment = Segment {
        start_ms: 0,
        end_ms: 2_100,
        channel: 0,
        speaker: None,
        text: text.into(),
        confidence: None,
        words: vec![],
    };
    let event = TranscriptReady {
        text: text.into(),
        segments: if text.is_empty() { vec![] } else { vec![segment] },
        language: "he".into(),
        engine: "whisper".into(),
        model: "ggml-micro-he".into(),
        failed_engines: vec![EngineFailure {
            engine: "google".into(),
            model: "chirp_3".into(),
            class: FailureClass::Credentials,
            text: "no key".into(),
            elapsed_ms: 1,
        }],
        pieces: 1,
        audio_ms: 24_000,
        elapsed_ms: 900,
    };
    record(Key::stage(re(recording), Run(run)), s, event)
}

fn summary(s: i64, recording: &str, run: u64, title: &str) -> Record {
    let event = SummaryReady {
        title: title.into(),
        points: vec![format!("{title} 1"), format!("{title} 2")],
        text: format!("{title}: both points"),
        caller_name: None,
        callback_number: None,
        topic: None,
        urgency: None,
        engine: "extractive".into(),
        model: String::new(),
        prompt_version: 1,
        failed_engines: vec![],
        parts: 1,
        tries: 0,
        tokens_in: None,
        tokens_out: None,
        elapsed_ms: 4,
    };
    record(Key::stage(re(recording), Run(run)), s, event)
}

fn failed(s: i64, recording: &str, run: u64, stage: Stage, attempt: u32, next_s: Option<i64>) -> Record {
    let event = StageFailed {
        attempts_max: 8,
        class: FailureClass::Unavailable,
        text: "HTTP 503".into(),
        next_attempt_at: next_s.map(at),
        delivery: u64::from(attempt),
        elapsed_ms: 30,
    };
    record(Key::failure(re(recording), Run(run), stage, attempt), s, event)
}

fn processed(recording: &str, s: i64) -> Vec<Record> {
    vec![
        ready(s, recording),
        downloaded(s + 1, recording, 0),
        transcript(s + 2, recording, 0, "שלום, יש נזילה"),
        summary(s + 3, recording, 0, "נזילה"),
    ]
}

fn states(lead: &Lead) -> [StageState; 3] {
    [
        lead.stages.download.state,
        lead.stages.transcribe.state,
        lead.stages.summarize.state,
    ]
}

/// A summary that says more than headline and points.
fn with_said(
    mut summary: Record,
    name: Option<&str>,
    number: Option<&str>,
    urgency: Option<Urgency>,
) -> Record {
    if let Event::SummaryReady(event) = &mut summary.event {
        event.caller_name = name.map(Into::into);
        event.callback_number = number.map(Into::into);
        event.topic = name.map(|name| format!("the topic of {name}"));
        event.urgency = urgency;
    }
    summary
}

/// The transcript of a recording of two channels.
fn with_speakers(mut transcript: Record) -> Record {
    if let Event::TranscriptReady(event) = &mut transcript.event {
        event.segments = (0..2)
            .flat_map(|channel| {
                event.segments.iter().map(move |segment| Segment {
                    channel,
                    speaker: Speaker::of_channel(channel, 2),
                    ..segment.clone()
                })
            })
            .collect();
    }
    transcript
}

use StageState::{Done, Failed, Retrying, Skipped, Waiting};

#[test]
fn a_call_goes_through_every_status() {
    let mut events = vec![started(0)];
    let mut seen = vec![(given(&events).status, states(&given(&events)))];
    for event in [recording_started(8, "RE1")]
        .into_iter()
        .chain(processed("RE1", 32))
    {
        events.push(event);
        seen.push((given(&events).status, states(&given(&events))));
    }
    assert_eq!(
        seen,
        [
            (Status::New, [Waiting, Waiting, Waiting]),
            (Status::Recording, [Waiting, Waiting, Waiting]),
            (Status::Recorded, [Waiting, Waiting, Waiting]),
            (Status::Downloaded, [Done, Waiting, Waiting]),
            (Status::Transcribed, [Done, Done, Waiting]),
            (Status::Processed, [Done, Done, Done]),
        ]
    );
}

#[test]
fn the_json_is_what_the_design_promises() {
    let mut events = vec![started(0), ended(31)];
    events.extend(processed("RE1", 32));
    let lead = serde_json::to_value(given(&events)).unwrap();
    let promised = json!({
        "call_sid": CALL, "phone": "+972501234567", "to": "+97239999999", "status": "processed",
        "created_at": "2026-11-22T10:00:00.000Z", "updated_at": "2026-11-22T10:00:35.000Z",
        "transcript": "שלום, יש נזילה",
        "summary": "נזילה: both points", "summary_title": "נזילה", "summary_points": ["נזילה 1", "נזילה 2"],
        "engines": {"transcribe": "whisper:ggml-micro-he", "summarize": "extractive"},
        "run": 0, "rerun": null, "disposition": "open", "revision": 0, "position": 6, "language": "he",
        "missing": null,
    });
    for (name, value) in promised.as_object().unwrap() {
        assert_eq!(&lead[name], value, "{name}");
    }
    assert_eq!(lead["call"]["status"], "completed");
    assert_eq!(lead["call"]["duration_s"], 31);
    assert_eq!(lead["caller"]["city"], "Haifa");
    let recording = &lead["recordings"][0];
    assert_eq!(recording["recording_sid"], "RE1");
    assert_eq!(recording["duration_s"], 24);
    assert_eq!(recording["bytes"], 192_044);
    assert_eq!(recording["content_type"], "audio/x-wav");
    assert_eq!(recording["stages"]["download"]["state"], "done");
    assert_eq!(recording["stages"]["download"]["elapsed_ms"], 120);
    let segment = json!({"recording_sid": "RE1", "start_ms": 0, "end_ms": 2_100, "channel": 0, "speaker": null, "text": "שלום, יש נזילה", "confidence": null});
    assert_eq!(lead["segments"], json!([segment]));
    assert_eq!(lead["stages"]["summarize"]["state"], "done");
    let failed = json!({"recording_sid": "RE1", "stage": "transcribe", "engine": "google", "model": "chirp_3", "class": "credentials", "text": "no key", "elapsed_ms": 1});
    assert_eq!(lead["failed_engines"], json!([failed]));
    for said in ["caller_name", "callback_number", "topic", "urgency"] {
        assert_eq!(lead[said], json!(null), "{said}");
    }
    let again: Lead = serde_json::from_value(lead.clone()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), lead);
}

#[test]
fn what_the_caller_said_is_told_by_the_first_recording_that_has_it() {
    let mut events = vec![started(0)];
    events.extend(processed("RE1", 10));
    events.extend(processed("RE2", 20));
    let last = events.len() - 1;
    events[4] = with_said(events[4].clone(), Some(" "), None, Some(Urgency::High));
    events[last] = with_said(
        events[last].clone(),
        Some("דנה"),
        Some("0501234567"),
        Some(Urgency::Low),
    );
    let lead = given(&events);
    assert_eq!(lead.caller_name.as_deref(), Some("דנה"));
    assert_eq!(lead.callback_number.as_ref().unwrap().as_str(), "0501234567");
    assert_eq!(lead.topic.as_deref(), Some("the topic of"));
    assert_eq!(lead.urgency, Some(Urgency::High));
    let told = serde_json::to_value(&lead).unwrap();
    assert_eq!(
        (&told["callback_number"], &told["urgency"]),
        (&json!("0501234567"), &json!("high"))
    );

    // A re-run that is shown speaks for itself: what it does not say is not known any more.
    let run = u64::try_from(at(100).0).unwrap() * 1_000;
    for recording in ["RE1", "RE2"] {
        events.push(transcript(101, recording, run, "שלום"));
        assert_eq!(given(&events).caller_name.as_deref(), Some("דנה"));
        events.push(summary(102, recording, run, "שלום"));
    }
    let lead = given(&events);
    assert_eq!(lead.run, Run(run));
    assert_eq!(
        (lead.caller_name, lead.callback_number, lead.urgency),
        (None, None, None)
    );
}

#[test]
fn the_speakers_of_two_channels_are_told() {
    let mut events = vec![started(0)];
    events.extend(processed("RE1", 10));
    events[3] = with_speakers(events[3].clone());
    let speakers: Vec<_> = given(&events)
        .segments
        .iter()
        .map(|segment| segment.speaker)
        .collect();
    assert_eq!(speakers, [Some(Speaker::Caller), Some(Speaker::Callee)]);
}

#[test]
fn a_row_of_the_release_before_is_read() {
    let lead = given(&processed("RE1", 10));
    let mut row: serde_json::Value = serde_json::from_str(&lead.to_row().unwrap().0).unwrap();
    let fields = row.as_object_mut().unwrap();
    for field in ["caller_name", "callback_number", "topic", "urgency"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    row["segments"][0]
        .as_object_mut()
        .unwrap()
        .remove("speaker")
        .unwrap();
    row["failed_engines"][0]
        .as_object_mut()
        .unwrap()
        .remove("model")
        .unwrap();
    let read = Lead::from_row(&row.to_string(), lead.position).unwrap();
    assert_eq!((read.caller_name, read.segments[0].speaker), (None, None));
}

#[test]
fn a_caller_who_hangs_up_in_the_greeting_left_no_message() {
    let lead = given(&[started(0), ended(4)]);
    assert_eq!(
        (lead.status, lead.call.status.as_deref()),
        (Status::New, Some("completed"))
    );
    let lead = given(&[started(0), ended(4), missing(300, None, MissingReason::NeverLeft)]);
    assert_eq!(
        (lead.status, states(&lead)),
        (Status::NoMessage, [Skipped, Skipped, Skipped])
    );
    assert_eq!(lead.missing.unwrap().reason, NoMessageReason::NeverLeft);
    assert_eq!(lead.transcript, None);
}

#[test]
fn a_number_that_takes_no_messages_leaves_a_lead_that_ends_with_the_call() {
    let mut greeted = started(0);
    let Event::CallStarted(event) = &mut greeted.event else {
        panic!("call_started")
    };
    event.record_max_s = 0;
    assert_eq!(given(std::slice::from_ref(&greeted)).status, Status::New);
    let over = [greeted.clone(), ended(4)];
    let given_up = [greeted.clone(), missing(300, None, MissingReason::DeadlinePassed)];
    for events in [&over, &given_up] {
        let lead = given(events);
        assert_eq!(
            (lead.status, states(&lead)),
            (Status::NoMessage, [Skipped, Skipped, Skipped])
        );
        assert_eq!(lead.missing.unwrap().reason, NoMessageReason::NotRecorded);
    }
    // What exists all the same is not passed over.
    let lead = given(&[greeted, ended(4), ready(20, "RE1")]);
    assert_eq!((lead.status, lead.missing), (Status::Recorded, None));
}

#[test]
fn a_silent_message_is_no_message() {
    let events = [
        started(0),
        ready(20, "RE1"),
        downloaded(21, "RE1", 0),
        transcript(22, "RE1", 0, ""),
    ];
    let lead = given(&events);
    assert_eq!(
        (lead.status, states(&lead)),
        (Status::NoMessage, [Done, Done, Skipped])
    );
    assert_eq!(lead.missing.unwrap().reason, NoMessageReason::Silent);
    assert_eq!(lead.transcript.as_deref(), Some(""));
    assert_eq!(lead.summary, None);

    let lead = given(&[started(0), missing(20, Some("RE1"), MissingReason::Absent)]);
    assert_eq!(
        (lead.status, lead.missing.unwrap().reason),
        (Status::NoMessage, NoMessageReason::Absent)
    );
    assert_eq!(lead.recordings[0].state, RecordingState::Missing);
}

#[test]
fn a_recording_of_any_age_beats_missing() {
    for late in [
        missing(900, None, MissingReason::DeadlinePassed),
        missing(900, Some("RE1"), MissingReason::Failed),
    ] {
        let mut before = vec![started(0), late.clone(), ready(1_000, "RE1")];
        assert_eq!(given(&before).status, Status::Recorded);
        assert_eq!(given(&before).missing, None);
        before.swap(1, 2);
        assert_eq!(given(&before).status, Status::Recorded);
        before.extend(processed("RE1", 1_000).into_iter().skip(1));
        assert_eq!(given(&before).status, Status::Processed);
    }
}

#[test]
fn a_deadline_ends_a_recording_that_only_began() {
    let events = [
        started(0),
        recording_started(8, "RE1"),
        ended(40),
        missing(900, None, MissingReason::DeadlinePassed),
    ];
    assert_eq!(given(&events).status, Status::NoMessage);
    // A second one that began keeps the lead open, as long as only the first one is missing.
    let events = [
        started(0),
        missing(8, Some("RE1"), MissingReason::Absent),
        recording_started(9, "RE2"),
    ];
    assert_eq!(given(&events).status, Status::Recording);
}

#[test]
fn a_recording_of_an_unknown_call_is_a_lead() {
    let lead = given(&[ready(5, "RE1")]);
    assert_eq!(
        (lead.status, lead.phone.as_str(), lead.call.status),
        (Status::Recorded, "", None)
    );
    assert_eq!(lead.created_at.0, at(5));
    // What the call says later is taken in; its time is that of the first event.
    let lead = given(&[ready(5, "RE1"), started(2)]);
    assert_eq!((lead.phone.as_str(), lead.created_at.0), ("+972501234567", at(2)));
}

#[test]
fn failures_are_told_with_attempt_and_next_try() {
    let mut events = vec![
        started(0),
        ready(10, "RE1"),
        failed(11, "RE1", 0, Stage::Download, 0, Some(20)),
    ];
    let lead = given(&events);
    assert_eq!(
        (
            lead.status,
            lead.stages.download.state,
            lead.stages.download.attempt
        ),
        (Status::Recorded, Waiting, None)
    );
    assert_eq!(lead.stages.download.text.as_deref(), Some("HTTP 503"));
    events.push(failed(30, "RE1", 0, Stage::Download, 1, Some(40)));
    events.push(failed(40, "RE1", 0, Stage::Download, 2, Some(60)));
    let download = given(&events).stages.download;
    assert_eq!(
        (download.state, download.attempt, download.attempts_max),
        (Retrying, Some(2), Some(8))
    );
    assert_eq!(download.next_attempt_at.unwrap().0, at(60));
    let mut done = events.clone();
    done.push(downloaded(60, "RE1", 0));
    let download = given(&done).stages.download;
    assert_eq!((download.state, download.attempt), (Done, Some(3)));
    events.push(failed(60, "RE1", 0, Stage::Download, 3, None));
    let lead = given(&events);
    assert_eq!(
        (lead.status, states(&lead)),
        (Status::Failed, [Failed, Skipped, Skipped])
    );
    assert_eq!(lead.stages.download.class, Some(FailureClass::Unavailable));
    // An answer that arrives after all beats the failure.
    events.push(downloaded(70, "RE1", 0));
    assert_eq!(given(&events).status, Status::Downloaded);
}

#[test]
fn a_failed_summary_leaves_the_transcript() {
    let mut events = vec![started(0)];
    events.extend(processed("RE1", 10));
    events.pop();
    events.push(failed(20, "RE1", 0, Stage::Summarize, 8, None));
    let lead = given(&events);
    assert_eq!(
        (lead.status, states(&lead)),
        (Status::Failed, [Done, Done, Failed])
    );
    assert!(lead.transcript.is_some());
}

#[test]
fn two_recordings_are_joined_in_the_order_of_their_start() {
    let with_start = |recording: &str, s: i64, started_s: i64| {
        let (sid, event, s) = ready_event(s, recording, Some(started_s));
        record(Key::recording(sid), s, event)
    };
    let mut events = vec![started(0), with_start("RE2", 50, 10), with_start("RE1", 51, 30)];
    for (recording, text, title) in [("RE1", "שנייה", "second"), ("RE2", "ראשונה", "first")] {
        events.push(downloaded(60, recording, 0));
        events.push(transcript(61, recording, 0, text));
        events.push(summary(62, recording, 0, title));
    }
    let lead = given(&events);
    assert_eq!(lead.status, Status::Processed);
    assert_eq!(lead.transcript.as_deref(), Some("ראשונה\nשנייה"));
    assert_eq!(lead.summary_title.as_deref(), Some("first"));
    assert_eq!(
        lead.summary_points,
        ["first 1", "first 2", "second 1", "second 2"]
    );
    assert_eq!(lead.segments[0].recording_sid, re("RE2"));
    assert_eq!(lead.engines.transcribe.as_deref(), Some("whisper:ggml-micro-he"));
    // The least advanced one decides.
    events.truncate(events.len() - 1);
    let lead = given(&events);
    assert_eq!(
        (lead.status, states(&lead)),
        (Status::Transcribed, [Done, Done, Waiting])
    );
    assert_eq!(lead.summary_title.as_deref(), Some("second"));
}

#[test]
fn of_two_recordings_one_that_failed_is_not_hidden_and_one_that_is_missing_or_silent_is() {
    let mut events = vec![started(0)];
    events.extend(processed("RE1", 10));
    let with = |more: &[Record]| given(&[events.clone(), more.to_vec()].concat());
    let lead = with(&[ready(20, "RE2"), failed(21, "RE2", 0, Stage::Download, 8, None)]);
    assert_eq!(
        (lead.status, states(&lead)),
        (Status::Failed, [Failed, Skipped, Skipped])
    );
    assert!(lead.summary_title.is_some());
    let lead = with(&[missing(20, Some("RE2"), MissingReason::Absent)]);
    assert_eq!((lead.status, lead.missing), (Status::Processed, None));
    let lead = with(&[
        ready(20, "RE2"),
        downloaded(21, "RE2", 0),
        transcript(22, "RE2", 0, " "),
    ]);
    assert_eq!(
        (lead.status, lead.transcript.as_deref()),
        (Status::Processed, Some("שלום, יש נזילה"))
    );
}

#[test]
fn a_live_event_wins_over_a_reconciled_one() {
    let mut reconciled = started(500);
    reconciled.envelope.subject.key.reconciled = true;
    if let Event::CallStarted(event) = &mut reconciled.event {
        event.from = "+10000000000".into();
    }
    assert_eq!(given(&[reconciled.clone()]).phone.as_str(), "+10000000000");
    assert_eq!(
        given(&[reconciled.clone(), started(600)]).phone.as_str(),
        "+972501234567"
    );
    assert_eq!(given(&[started(600), reconciled]).phone.as_str(), "+972501234567");

    let mut guess = missing(10, None, MissingReason::DeadlinePassed);
    guess.envelope.subject.key.reconciled = true;
    let lead = given(&[guess, missing(900, Some("RE1"), MissingReason::Absent)]);
    assert_eq!(lead.missing.unwrap().reason, NoMessageReason::Absent);
}

#[test]
fn a_re_run_is_shown_only_when_it_is_complete() {
    let run = u64::try_from(at(100).0).unwrap() * 1_000 + 7;
    let mut events = vec![started(0)];
    events.extend(processed("RE1", 10));
    let before = given(&events);

    events.push(failed(101, "RE1", run, Stage::Transcribe, 1, Some(110)));
    events.push(transcript(111, "RE1", run, "תמלול חדש"));
    let lead = given(&events);
    assert_eq!(
        (lead.status, lead.run, &lead.transcript),
        (Status::Processed, Run::FIRST, &before.transcript)
    );
    assert_eq!(lead.stages, before.stages);
    let rerun = lead.rerun.unwrap();
    assert_eq!((rerun.run, rerun.state), (Run(run), RerunState::Running));
    let of = [
        rerun.stages.download.state,
        rerun.stages.transcribe.state,
        rerun.stages.summarize.state,
    ];
    assert_eq!(of, [Skipped, Done, Waiting]);

    let mut gave_up = events.clone();
    gave_up.push(failed(112, "RE1", run, Stage::Summarize, 8, None));
    let lead = given(&gave_up);
    assert_eq!(
        (lead.status, lead.rerun.unwrap().state),
        (Status::Processed, RerunState::Failed)
    );

    events.push(summary(113, "RE1", run, "חדש"));
    let lead = given(&events);
    assert_eq!(
        (lead.run, lead.rerun.is_none(), lead.status),
        (Run(run), true, Status::Processed)
    );
    assert_eq!(
        (lead.transcript.as_deref(), lead.summary_title.as_deref()),
        (Some("תמלול חדש"), Some("חדש"))
    );
    // The file is still that of the first run.
    assert_eq!(lead.recordings[0].bytes, Some(192_044));

    // A recording that arrives after the run was asked for is none of its business.
    events.push(ready(200, "RE2"));
    let lead = given(&events);
    assert_eq!((lead.run, lead.status), (Run(run), Status::Recorded));
    assert_eq!(lead.summary_title.as_deref(), Some("חדש"));
}

#[test]
fn a_re_run_covers_all_recordings_and_takes_nothing_away() {
    let run = u64::try_from(at(100).0).unwrap() * 1_000;
    let mut events = vec![started(0)];
    events.extend(processed("RE1", 10));
    events.extend(processed("RE2", 20));
    events.push(transcript(101, "RE1", run, "חדש"));
    events.push(summary(102, "RE1", run, "חדש"));
    let lead = given(&events);
    assert_eq!(
        (lead.run, lead.rerun.unwrap().stages.transcribe.state),
        (Run::FIRST, Waiting)
    );
    let mut one_failed = events.clone();
    one_failed.push(failed(103, "RE2", run, Stage::Transcribe, 8, None));
    let lead = given(&one_failed);
    assert_eq!(
        (lead.run, lead.rerun.unwrap().state),
        (Run::FIRST, RerunState::Failed)
    );
    events.push(transcript(103, "RE2", run, "שני"));
    events.push(summary(104, "RE2", run, "שני"));
    assert_eq!((given(&events).run, given(&events).rerun), (Run(run), None));
}

#[test]
fn a_re_run_mends_what_failed() {
    let run = u64::try_from(at(100).0).unwrap() * 1_000;
    let mut events = vec![
        started(0),
        ready(10, "RE1"),
        failed(11, "RE1", 0, Stage::Download, 8, None),
    ];
    assert_eq!(given(&events).status, Status::Failed);
    events.push(downloaded(101, "RE1", run));
    let lead = given(&events);
    assert_eq!(
        (lead.status, lead.rerun.unwrap().stages.download.state),
        (Status::Failed, Done)
    );
    events.push(transcript(102, "RE1", run, "שלום"));
    events.push(summary(103, "RE1", run, "שלום"));
    let lead = given(&events);
    assert_eq!(
        (lead.status, lead.run, states(&lead)),
        (Status::Processed, Run(run), [Done, Done, Done])
    );
}

#[test]
fn the_hash_leaves_the_position_out_and_nothing_else() {
    let lead = given(&processed("RE1", 10));
    let moved = Lead {
        position: 99,
        ..lead.clone()
    };
    assert_eq!(lead.hash().unwrap(), moved.hash().unwrap());
    let other = Lead {
        transcript: Some("x".into()),
        ..lead.clone()
    };
    assert_ne!(lead.hash().unwrap(), other.hash().unwrap());
    let (row, _) = lead.to_row().unwrap();
    assert!(Lead::from_row(&row, 99).unwrap() == moved);
}

#[test]
fn damaged_state_bytes_are_an_error() {
    let bytes = state(&processed("RE1", 10)).to_bytes().unwrap();
    assert!(LeadState::from_bytes(&[]).is_err());
    assert!(LeadState::from_bytes(&[2, 0]).is_err());
    for cut in 0..bytes.len() {
        assert!(LeadState::from_bytes(&bytes[..cut]).is_err());
    }
    assert!(LeadState::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn debug_output_holds_nothing_personal() {
    let mut events = [vec![started(0)], processed("RE1", 10)].concat();
    let said = with_said(events.pop().unwrap(), Some("דנה"), Some("0507654321"), None);
    events.push(said);
    let state = state(&events);
    let text = format!("{state:?} {:?}", lead_view(&state).unwrap());
    for secret in [
        "972501234567",
        "נזילה",
        "Haifa",
        "api.twilio.com",
        "דנה",
        "0507654321",
    ] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn asked(s: i64, run: u64, from: Stage, hold: bool, recordings: &[&str]) -> Record {
    let event = ReprocessRequested {
        run: Run(run),
        from,
        by: "user:noa".into(),
        why: Some("heard badly".into()),
        engine: Some("openai".into()),
        model: None,
        prompt: None,
        campaign: hold.then(|| "c1".into()),
        hold,
        inputs: recordings
            .iter()
            .map(|recording| RerunInput {
                recording_sid: re(recording),
                run: Run::FIRST,
                corrected: None,
            })
            .collect(),
    };
    record(Key::run(Run(run)), s, event)
}

fn updated(s: i64, revision: u64, action: LeadAction) -> Record {
    let event = LeadUpdated {
        revision,
        by: "user:noa".into(),
        action,
        request: None,
    };
    record(Key::revision(revision), s, event)
}

fn erased(s: i64) -> Record {
    let event = CallErased {
        by: "user:noa".into(),
        why: ErasureReason::Request,
    };
    record(Key::single(), s, event)
}

fn erase_done(s: i64) -> Record {
    let event = EraseDone {
        positions: vec![PositionRange { first: 1, last: 4 }],
        events: 4,
        blobs: 1,
        twilio: TwilioErasure::Deleted,
    };
    record(Key::single(), s, event)
}

/// The number of a run that is asked for at a moment.
fn run_at(s: i64) -> u64 {
    u64::try_from(at(s).0).unwrap() * 1_000 + 7
}

/// A complete re-run of one recording, from the transcript on, with the copy of its input.
fn rerun(s: i64, run: u64, hold: bool, text: &str) -> Vec<Record> {
    vec![
        asked(s, run, Stage::Transcribe, hold, &["RE1"]),
        downloaded(s + 1, "RE1", run),
        transcript(s + 2, "RE1", run, text),
        summary(s + 3, "RE1", run, text),
    ]
}

fn shown(lead: &Lead) -> (Run, &str) {
    (lead.run, lead.transcript.as_deref().unwrap_or_default())
}

#[test]
fn a_re_run_stands_on_the_card_from_the_moment_it_is_asked_for() {
    let run = run_at(100);
    let mut events = [vec![started(0)], processed("RE1", 10)].concat();
    events.push(asked(100, run, Stage::Transcribe, false, &["RE1"]));
    let lead = given(&events);
    let waiting = lead.rerun.clone().unwrap();
    assert_eq!((waiting.run, waiting.state), (Run(run), RerunState::Running));
    assert_eq!(waiting.stages.download.state, Skipped);
    assert_eq!(waiting.stages.transcribe.state, Waiting);
    assert_eq!((lead.status, lead.run), (Status::Processed, Run::FIRST));
    // The copy of the input is no work of the run.
    events.push(downloaded(101, "RE1", run));
    let waiting = given(&events).rerun.unwrap();
    assert_eq!(waiting.stages.download.state, Skipped);
    let mut from_download = events[..5].to_vec();
    from_download.push(asked(100, run, Stage::Download, false, &["RE1"]));
    let (sid, order, s) = ready_event(101, "RE1", None);
    from_download.push(record(Key::stage(sid, Run(run)), s, order));
    let lead = given(&from_download);
    assert_eq!(lead.rerun.unwrap().stages.download.state, Waiting);
    assert_eq!(lead.recordings[0].runs.download, Some(Run::FIRST));
    let last = given(&[events, rerun(100, run, false, "חדש")[2..].to_vec()].concat());
    assert_eq!((shown(&last), last.rerun.is_none()), ((Run(run), "חדש"), true));
    assert_eq!(last.runs.len(), 1);
    assert_eq!(
        (last.runs[0].state, last.runs[0].from),
        (RerunState::Done, Some(Stage::Transcribe))
    );
    assert_eq!(last.recordings[0].runs.transcribe, Some(Run(run)));
}

#[test]
fn a_held_run_is_shown_when_it_is_adopted_and_goes_when_that_is_reverted() {
    let (run, text) = (run_at(100), "שלום, יש נזילה");
    let mut events = [
        vec![started(0)],
        processed("RE1", 10),
        rerun(100, run, true, "חדש"),
    ]
    .concat();
    let lead = given(&events);
    assert_eq!(shown(&lead), (Run::FIRST, text));
    assert_eq!(lead.rerun.unwrap().state, RerunState::Held);
    assert_eq!(lead.runs[0].campaign.as_deref(), Some("c1"));

    events.push(updated(200, 1, LeadAction::Adopt { run: Some(Run(run)) }));
    let lead = given(&events);
    assert_eq!((shown(&lead), lead.adopted), ((Run(run), "חדש"), Some(Run(run))));
    assert_eq!((lead.rerun.is_none(), lead.revision), (true, 1));

    events.push(updated(210, 2, LeadAction::Adopt { run: None }));
    let lead = given(&events);
    assert_eq!((shown(&lead), lead.adopted), ((Run::FIRST, text), None));
    assert_eq!(lead.rerun.unwrap().state, RerunState::Held);
}

#[test]
fn an_older_run_can_be_chosen_and_a_newer_one_replaces_it_again() {
    let run = run_at(100);
    let mut events = [
        vec![started(0)],
        processed("RE1", 10),
        rerun(100, run, false, "חדש"),
    ]
    .concat();
    assert_eq!(given(&events).run, Run(run));
    let first = Some(Run::FIRST);
    events.push(updated(200, 1, LeadAction::Adopt { run: first }));
    let lead = given(&events);
    assert_eq!(shown(&lead), (Run::FIRST, "שלום, יש נזילה"));
    assert_eq!((lead.adopted, lead.rerun), (first, None));
    let newer = run_at(300);
    events.extend(rerun(300, newer, false, "שוב"));
    assert_eq!(shown(&given(&events)), (Run(newer), "שוב"));
    // One that waits for comparison does not, and the one passed over does not come back.
    let mut held = events[..events.len() - 4].to_vec();
    held.extend(rerun(300, newer, true, "שוב"));
    assert_eq!(shown(&given(&held)).0, Run::FIRST);
    held.push(updated(400, 2, LeadAction::Adopt { run: None }));
    assert_eq!(given(&held).run, Run(run));
}

#[test]
fn a_request_says_what_its_run_covers() {
    let run = run_at(100);
    let mut events = [vec![started(0)], processed("RE1", 10), processed("RE2", 20)].concat();
    events.extend(rerun(100, run, false, "חדש"));
    let lead = given(&events);
    assert_eq!(
        (lead.run, lead.transcript.as_deref()),
        (Run(run), Some("חדש\nשלום, יש נזילה"))
    );
    let both = [
        &events[..9],
        &[asked(100, run, Stage::Transcribe, false, &["RE1", "RE2"])],
    ]
    .concat();
    let lead = given(&[both, events[10..].to_vec()].concat());
    assert_eq!((lead.run, lead.rerun.unwrap().run), (Run::FIRST, Run(run)));
}

#[test]
fn what_a_person_corrected_wins_over_every_engine() {
    let run = run_at(100);
    let correct = |text: Option<&str>| LeadAction::Transcript {
        recording_sid: re("RE1"),
        text: text.map(str::to_owned),
    };
    let mut events = [vec![started(0)], processed("RE1", 10)].concat();
    events.push(updated(50, 1, correct(Some("שלום, יש נזילה במטבח"))));
    events.extend(rerun(100, run, false, "חדש"));
    let lead = given(&events);
    assert_eq!(shown(&lead), (Run(run), "שלום, יש נזילה במטבח"));
    assert_eq!(lead.recordings[0].corrected, Some(1));
    assert_eq!(lead.segments[0].text, "חדש");
    events.push(updated(200, 2, correct(None)));
    let lead = given(&events);
    assert_eq!((shown(&lead).1, lead.recordings[0].corrected), ("חדש", None));
}

#[test]
fn the_last_revision_decides_and_undo_is_the_older_value() {
    let disposition = |disposition| LeadAction::Disposition { disposition };
    let note = |text: &str| LeadAction::Note { text: text.into() };
    let mut events = [vec![started(0)], processed("RE1", 10)].concat();
    events[4] = with_said(events[4].clone(), Some("דנה"), Some("0501234567"), None);
    let before = given(&events);
    for (revision, action) in [
        disposition(Disposition::CalledBack),
        note(" נשלח טכנאי "),
        LeadAction::Seen { seen: true },
        LeadAction::Assignee {
            assignee: Some("user:avi".into()),
        },
        LeadAction::Tags {
            tags: vec!["דחוף".into()],
        },
        LeadAction::CallerName {
            name: Some("דנה לוי".into()),
        },
        LeadAction::CallbackNumber {
            number: Some("+972500000000".into()),
        },
    ]
    .into_iter()
    .enumerate()
    {
        events.push(updated(50, revision as u64 + 1, action));
    }
    let lead = given(&events);
    assert_eq!(
        (
            lead.disposition,
            lead.note.as_deref(),
            lead.seen,
            lead.assignee.as_deref()
        ),
        (
            Disposition::CalledBack,
            Some("נשלח טכנאי"),
            true,
            Some("user:avi")
        )
    );
    assert_eq!(
        (lead.tags, lead.caller_name.as_deref()),
        (vec!["דחוף".to_owned()], Some("דנה לוי"))
    );
    assert_eq!(
        (lead.callback_number.unwrap().0.as_str(), lead.revision),
        ("+972500000000", 7)
    );
    for (revision, action) in [
        disposition(Disposition::Open),
        note(""),
        LeadAction::Seen { seen: false },
        LeadAction::Assignee { assignee: None },
        LeadAction::Tags { tags: vec![] },
        LeadAction::CallerName { name: None },
        LeadAction::CallbackNumber { number: None },
    ]
    .into_iter()
    .enumerate()
    {
        events.push(updated(60, revision as u64 + 8, action));
    }
    let undone = given(&events);
    assert_eq!(undone.revision, 14);
    let bare = Lead {
        revision: 0,
        updated_at: before.updated_at,
        ..undone
    };
    assert_eq!(bare.hash().unwrap(), before.hash().unwrap());
}

#[test]
fn of_an_erased_call_nothing_is_left_but_where_it_stood() {
    let events = [vec![started(0)], processed("RE1", 10), vec![erased(20)]].concat();
    let mut state = state(&events);
    assert!(state.is_erased());
    let kinds = |state: &LeadState| state.events().iter().map(|event| event.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&state), [EventKind::CallErased]);
    let bytes = state.to_bytes().unwrap();
    for secret in ["972501234567", "נזילה", "Haifa", "api.twilio.com"] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
    // What comes later is dropped, and found by an erasure all the same.
    assert!(state.apply_record(7, &ended(21)).unwrap());
    assert!(state.apply_record(8, &erase_done(22)).unwrap());
    assert!(!state.apply_record(7, &ended(21)).unwrap());
    assert_eq!(kinds(&state), [EventKind::CallErased, EventKind::EraseDone]);
    assert_eq!(state.positions(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let lead = lead_view(&state).unwrap();
    assert_eq!(
        (lead.phone.as_str(), lead.recordings.len(), lead.transcript),
        ("", 0, None)
    );
    assert!(!given(&events[..5]).transcript.unwrap().is_empty());
}

#[test]
fn the_results_of_two_runs_stand_side_by_side_without_what_people_corrected() {
    let run = run_at(100);
    let mut events = [
        vec![started(0)],
        processed("RE1", 10),
        rerun(100, run, true, "חדש"),
    ]
    .concat();
    events.push(updated(
        200,
        1,
        LeadAction::Transcript {
            recording_sid: re("RE1"),
            text: Some(" מה שנאמר ".into()),
        },
    ));
    let state = state(&events);
    let of = |run| run_result(&state, Run(run)).unwrap().unwrap();
    let (first, second) = (of(0), of(run));
    assert_eq!(
        (first.transcript.as_str(), second.transcript.as_str()),
        ("שלום, יש נזילה", "חדש")
    );
    assert_eq!(second.summary_title.as_deref(), Some("חדש"));
    assert!(first.transcripts[0].own && second.transcripts[0].own);
    assert_eq!(run_result(&state, Run(5)).unwrap(), None);
    let corrected = corrections(&state).unwrap();
    assert_eq!(corrected.get(&re("RE1")).map(String::as_str), Some("מה שנאמר"));
    let lead = lead_view(&state).unwrap();
    assert_eq!(
        lead.rerun_inputs(Stage::Summarize),
        [RerunInput {
            recording_sid: re("RE1"),
            run: Run::FIRST,
            corrected: Some(1)
        }]
    );
    assert_eq!(lead.rerun_inputs(Stage::Transcribe)[0].corrected, None);
    // A copied transcript is nobody's own work.
    let copy = run_at(300);
    events.push(asked(300, copy, Stage::Summarize, false, &["RE1"]));
    events.push(transcript(301, "RE1", copy, "מה שנאמר"));
    events.push(summary(302, "RE1", copy, "אחר"));
    let result = run_result(&self::state(&events), Run(copy)).unwrap().unwrap();
    assert!(!result.transcripts[0].own);
    assert!(
        given(&[started(0), ready(1, "RE1")])
            .rerun_inputs(Stage::Transcribe)
            .is_empty()
    );
}

/// What a person could do, in one of several ways.
fn any_action() -> impl Strategy<Value = LeadAction> {
    let run = prop_oneof![
        Just(None),
        Just(Some(Run(0))),
        Just(Some(Run(1))),
        Just(Some(Run(u64::try_from(at(15).0).unwrap() * 1_000)))
    ];
    (0..9_u8, any::<bool>(), run).prop_map(|(n, some, run)| {
        let text = some.then(|| "שלום".to_owned());
        match n {
            0 => LeadAction::Seen { seen: some },
            1 => LeadAction::Disposition {
                disposition: if some {
                    Disposition::Done
                } else {
                    Disposition::Spam
                },
            },
            2 => LeadAction::Note {
                text: text.unwrap_or_default(),
            },
            3 => LeadAction::Assignee { assignee: text },
            4 => LeadAction::Tags {
                tags: text.into_iter().collect(),
            },
            5 => LeadAction::Transcript {
                recording_sid: re("RE1"),
                text,
            },
            6 => LeadAction::CallerName { name: text },
            7 => LeadAction::CallbackNumber {
                number: text.map(|text| text.as_str().into()),
            },
            _ => LeadAction::Adopt { run },
        }
    })
}

/// An event of any kind about one of two recordings, in one of three runs, in one of two versions of the fact.
fn any_record() -> impl Strategy<Value = Record> {
    let recording = prop_oneof![Just("RE1"), Just("RE2")];
    let run = prop_oneof![Just(0), Just(1), Just(u64::try_from(at(15).0).unwrap() * 1_000)];
    let stage = prop_oneof![
        Just(Stage::Download),
        Just(Stage::Transcribe),
        Just(Stage::Summarize)
    ];
    let text = prop_oneof![Just(""), Just("שלום"), Just("two words")];
    // An erasure is rare: it makes the rest of a case uniform.
    let kind = prop_oneof![40 => 0..12_u8, 1 => 12..14_u8];
    let facts = (kind, recording, run, stage, text, 0..40_i64);
    (facts, 0..4_u32, any::<bool>(), any::<bool>(), any_action()).prop_map(
        |((kind, recording, run, stage, text, s), attempt, flag, reconciled, action)| {
            let reason = MissingReason::ALL[attempt as usize % MissingReason::ALL.len()];
            let mut record = match kind {
                0 => started(s),
                1 => ended(s),
                2 => recording_started(s, recording),
                3 => {
                    let (sid, event, s) = ready_event(s, recording, flag.then_some(s / 2));
                    record(Key::recording(sid), s, event)
                }
                4 => missing(s, flag.then_some(recording), reason),
                5 => downloaded(s, recording, run),
                6 if flag => with_speakers(transcript(s, recording, run, text)),
                6 => transcript(s, recording, run, text),
                7 => {
                    // Each of the four is said by some and left out by others.
                    let name = ["", "דנה", "יוסי"][attempt as usize % 3];
                    let number = flag.then_some(if reconciled { "0501234567" } else { "+97231234567" });
                    let urgency = Urgency::ALL.get(attempt as usize).copied();
                    let name = Some(name).filter(|_| attempt != 1);
                    with_said(summary(s, recording, run, text), name, number, urgency)
                }
                8 => failed(s, recording, run, stage, attempt, flag.then_some(s + 10)),
                9 => {
                    let inputs: &[&str] = if reconciled { &["RE1"] } else { &["RE1", "RE2"] };
                    asked(s, run.max(1), stage, flag, inputs)
                }
                10 => updated(s, u64::from(attempt) + 1, action),
                11 => {
                    let (sid, event, s) = ready_event(s, recording, None);
                    record(Key::stage(sid, Run(run.max(1))), s, event)
                }
                12 => erased(s),
                _ => erase_done(s),
            };
            record.envelope.subject.key.reconciled = reconciled && kind < 5;
            record
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_repetition_give_the_same_lead(
        records in prop::collection::vec(any_record(), 1..24),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        store_at in any::<prop::sample::Index>(),
    ) {
        let set: Vec<(u64, &Record)> = records.iter().enumerate().map(|(n, record)| (n as u64 + 1, record)).collect();
        let call = CallSid::parse(CALL).unwrap();
        let mut in_order = LeadState::new(call.clone());
        for (position, record) in &set {
            in_order.apply_record(*position, record).unwrap();
        }
        let expected = lead_view(&in_order).unwrap();

        // Some of them in any order and several times, then all of them backwards.
        let mut shuffled = LeadState::new(call);
        let picked: Vec<_> = order.iter().map(|index| set[index.index(set.len())]).collect();
        let store_at = store_at.index(picked.len() + 1);
        for (n, (position, record)) in picked.into_iter().chain(set.iter().rev().copied()).enumerate() {
            if n == store_at {
                shuffled = LeadState::from_bytes(&shuffled.to_bytes().unwrap()).unwrap();
            }
            shuffled.apply_record(position, record).unwrap();
        }
        prop_assert_eq!(&shuffled, &in_order);
        let lead = lead_view(&shuffled).unwrap();
        prop_assert_eq!(serde_json::to_value(&lead).unwrap(), serde_json::to_value(&expected).unwrap());
        prop_assert_eq!(in_order.positions(), (1..=set.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(lead.position, set.len() as u64);

        // A second time changes nothing, and says so.
        for (position, record) in &set {
            prop_assert!(!shuffled.apply_record(*position, record).unwrap());
        }
        // An end state has no stage at work, and what is at work is no end state.
        let at_work = lead.stages.current().is_some_and(|(_, stage)| stage.state != StageState::Failed);
        prop_assert_eq!(lead.status.is_end(), !at_work, "{:?} {:?}", lead.status, lead.stages);
        let row = lead.to_row().unwrap();
        prop_assert!(Lead::from_row(&row.0, lead.position).unwrap() == lead);
    }
}

/// They are read while the table is rebuilt, so that a release reads the rows of the one before.
#[test]
fn a_row_of_the_first_fold_reads_without_what_came_later() {
    let events = [vec![started(0)], processed("RE1", 10)].concat();
    let lead = lead_view(&state(&events)).unwrap();
    let mut row: serde_json::Value = serde_json::from_str(&lead.to_row().unwrap().0).unwrap();
    let later = [
        "caller_name",
        "callback_number",
        "topic",
        "urgency",
        "runs",
        "adopted",
        "seen",
        "note",
        "assignee",
        "tags",
    ];
    for name in later {
        assert!(row.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    for recording in row["recordings"].as_array_mut().unwrap() {
        for name in ["runs", "corrected"] {
            assert!(
                recording.as_object_mut().unwrap().remove(name).is_some(),
                "{name}"
            );
        }
    }
    for segment in row["segments"].as_array_mut().unwrap() {
        segment.as_object_mut().unwrap().remove("speaker");
    }
    let read = Lead::from_row(&row.to_string(), 7).unwrap();
    assert_eq!(
        (&read.call_sid, &read.summary_title),
        (&lead.call_sid, &lead.summary_title)
    );
    assert_eq!(
        (read.position, read.seen, read.runs.len(), read.tags.len()),
        (7, false, 0, 0)
    );
}

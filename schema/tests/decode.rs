//! What a stream may hold is read or is a value that says why not; nothing panics. Keys and subjects have one spelling.

use std::collections::BTreeMap;
use std::path::Path;

use callfold_schema::decode::{PAYLOAD_BYTES_MAX, decode_envelope, encode, newest_version};
use callfold_schema::event::{CallStarted, MissingReason, StageFailed};
use callfold_schema::subject::{
    HEADER_CAUSE, HEADER_EXPECTED_LAST_SUBJECT_SEQUENCE, HEADER_KIND, HEADER_MSG_ID, HEADER_TIME,
    HEADER_VERSION, RawSubject, kind_filter, stage_consumer, stage_filter,
};
use callfold_schema::{
    CallSid, EncodeError, Event, EventKind, IdError, Key, Lane, NewEvent, PhoneNumber, RawEvent, Record,
    RecordingSid, Run, Stage, Subject, UnixMillis, Unreadable, decode, decode_event,
};
use proptest::prelude::*;

fn call() -> CallSid {
    CallSid::parse("CA_test").expect("an id")
}

fn recording() -> RecordingSid {
    RecordingSid::parse("RE1").expect("an id")
}

fn example(kind: EventKind) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("events")
        .join(kind.token());
    std::fs::read(folder.join(format!("v{}.example.postcard", newest_version(kind)))).expect("a golden file")
}

/// A message as it would lie in the stream.
struct Message {
    subject: String,
    headers: BTreeMap<String, String>,
    payload: Vec<u8>,
}

impl Message {
    fn of(event: &NewEvent) -> Self {
        Self {
            subject: event.envelope.subject.to_string(),
            headers: event
                .envelope
                .headers()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            payload: event.event.encode().expect("small"),
        }
    }

    fn failed() -> Self {
        let event =
            decode_event(EventKind::StageFailed, 2, &example(EventKind::StageFailed)).expect("decodes");
        let key = Key::failure(recording(), Run(7), Stage::Download, 2);
        Self::of(&NewEvent::new(call(), key, UnixMillis(1_795_341_600_000), event))
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn at(mut self, subject: &str) -> Self {
        self.subject = subject.to_owned();
        self
    }

    fn read(&self) -> Result<Record, Unreadable> {
        let header = |name: &str| self.headers.get(name).map(String::as_str);
        decode(&RawEvent {
            subject: &self.subject,
            header: &header,
            payload: &self.payload,
        })
    }

    fn malformed(&self) -> &'static str {
        match self.read() {
            Err(Unreadable::Malformed { reason }) => reason,
            other => panic!("not malformed: {other:?}"),
        }
    }
}

/// A key of the right form for each kind.
fn key_of(kind: EventKind) -> Key {
    match kind {
        EventKind::CallStarted | EventKind::CallEnded | EventKind::CallErased | EventKind::EraseDone => {
            Key::single()
        }
        EventKind::ReprocessRequested => Key::run(Run(7)),
        EventKind::LeadUpdated => Key::revision(3),
        EventKind::RecordingStarted | EventKind::RecordingReady => Key::recording(recording()),
        EventKind::RecordingMissing => Key::missing(None, MissingReason::NeverLeft.token()),
        EventKind::RecordingDownloaded | EventKind::TranscriptReady | EventKind::SummaryReady => {
            Key::stage(recording(), Run::FIRST)
        }
        EventKind::StageFailed => Key::failure(recording(), Run::FIRST, Stage::Transcribe, 3),
    }
}

#[test]
fn what_is_written_is_read_for_every_kind() {
    let time = UnixMillis(1_795_341_600_123);
    let first = NewEvent::new(call(), Key::single(), time, started());
    for kind in EventKind::ALL.iter().copied() {
        let event = decode_event(kind, newest_version(kind), &example(kind)).expect("a golden file decodes");
        for key in [key_of(kind), key_of(kind).reconciled()] {
            let event = NewEvent::new(call(), key.clone(), time, event.clone()).caused_by(&first.envelope);
            let message = Message::of(&event);
            assert_eq!(message.headers[HEADER_KIND], kind.token());
            assert_eq!(message.headers[HEADER_MSG_ID], message.subject);
            assert_eq!(message.headers[HEADER_EXPECTED_LAST_SUBJECT_SEQUENCE], "0");
            assert_eq!(message.headers[HEADER_TIME], "2026-11-22T10:00:00.123Z");
            assert_eq!(message.headers[HEADER_CAUSE], "calls.CA_test.call_started.new.0");
            let record = message.read().expect("reads what it writes");
            assert_eq!(record.envelope, event.envelope);
            assert_eq!(record.event, event.event);
            assert_eq!(record.envelope.subject.key, key);
        }
    }
}

fn started() -> CallStarted {
    match decode_event(EventKind::CallStarted, 1, &example(EventKind::CallStarted)) {
        Ok(Event::CallStarted(event)) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trace_travels_from_cause_to_effect_and_is_not_replaced() {
    let mut cause = NewEvent::new(call(), Key::single(), UnixMillis(0), started()).envelope;
    cause.traceparent = Some("00-0123-4567-01".to_owned());
    let effect = NewEvent::new(call(), Key::single(), UnixMillis(0), started()).caused_by(&cause);
    assert_eq!(effect.envelope.traceparent, cause.traceparent);
    assert_eq!(
        Message::of(&effect).read().expect("reads").envelope.traceparent,
        cause.traceparent
    );
    let mut own = NewEvent::new(call(), Key::single(), UnixMillis(0), started());
    own.envelope.traceparent = Some("own".to_owned());
    assert_eq!(own.caused_by(&cause).envelope.traceparent.as_deref(), Some("own"));
}

#[test]
fn an_unknown_kind_and_a_newer_version_are_told_apart_from_damage() {
    let unknown = Message::failed()
        .at("calls.CA_test.lead_merged.sideways.any.key")
        .read();
    assert!(!unknown.expect_err("six tokens").is_newer());
    let unknown = Message::failed()
        .at("calls.CA_test.lead_merged.new.4")
        .with(HEADER_KIND, "lead_merged")
        .read();
    assert_eq!(
        unknown,
        Err(Unreadable::UnknownKind {
            kind: "lead_merged".to_owned()
        })
    );
    // Its lane, key and headers may be of a form this release does not know either.
    let unknown = Message::failed()
        .at("calls.CA_test.lead_merged.later.a-b-c")
        .without(HEADER_VERSION)
        .read();
    assert!(unknown.expect_err("unknown").is_newer());
    for kind in EventKind::ALL.iter().copied() {
        let version = newest_version(kind) + 1;
        let newer = Message::failed()
            .at(&format!("calls.CA_test.{kind}.new.a-newer-key"))
            .with(HEADER_KIND, kind.token())
            .with(HEADER_VERSION, &version.to_string())
            .read()
            .expect_err("newer");
        assert_eq!(newer, Unreadable::NewerVersion { kind, version });
        assert!(newer.is_newer());
        assert_eq!(
            decode_event(kind, version, &example(kind)),
            Err(Unreadable::NewerVersion { kind, version })
        );
    }
}

#[test]
fn a_message_that_does_not_hold_its_promises_is_malformed_with_a_reason() {
    let reasons = [
        Message::failed()
            .at("calls.CA_test.stage_failed.again")
            .malformed(),
        Message::failed()
            .at("other.CA_test.stage_failed.again.RE1-7-download-2")
            .malformed(),
        Message::failed()
            .at("calls.CA-test.stage_failed.again.RE1-7-download-2")
            .malformed(),
        Message::failed().with(HEADER_KIND, "call_started").malformed(),
        Message::failed().without(HEADER_VERSION).malformed(),
        Message::failed().with(HEADER_VERSION, "one").malformed(),
        Message::failed().with(HEADER_VERSION, "0").malformed(),
        Message::failed()
            .at("calls.CA_test.stage_failed.again.RE1-7-download")
            .malformed(),
        Message::failed()
            .at("calls.CA_test.stage_failed.sideways.RE1-7-download-2")
            .malformed(),
        Message::failed()
            .at("calls.CA_test.stage_failed.new.RE1-7-download-2")
            .malformed(),
        Message::failed().without(HEADER_TIME).malformed(),
        Message::failed().with(HEADER_TIME, "yesterday").malformed(),
        Message {
            payload: b"\xff\xff".to_vec(),
            ..Message::failed()
        }
        .malformed(),
        Message {
            payload: [example(EventKind::StageFailed), vec![0]].concat(),
            ..Message::failed()
        }
        .malformed(),
        Message {
            payload: vec![0; PAYLOAD_BYTES_MAX + 1],
            ..Message::failed()
        }
        .malformed(),
    ];
    // A run of 0 in lane `again` is as wrong as a re-run in lane `new`.
    let run_0 = Message::failed()
        .at("calls.CA_test.stage_failed.again.RE1-0-download-2")
        .malformed();
    assert_eq!(run_0, reasons[9]);
    let unique: std::collections::BTreeSet<_> = reasons.iter().collect();
    // Two ways each to have no subject, no version and no time share a reason.
    assert_eq!(unique.len(), reasons.len() - 2, "{reasons:#?}");
}

#[test]
fn bytes_cut_at_any_length_and_bytes_left_over_are_malformed() {
    for kind in EventKind::ALL.iter().copied() {
        let whole = example(kind);
        for length in 0..whole.len() {
            let cut = decode_event(kind, newest_version(kind), &whole[..length]);
            assert!(
                matches!(cut, Err(Unreadable::Malformed { .. })),
                "{kind} cut to {length} bytes: {cut:?}"
            );
        }
        for rest in [&[0][..], &[0xff], &whole] {
            let longer = decode_event(kind, newest_version(kind), &[&whole, rest].concat());
            assert!(
                matches!(longer, Err(Unreadable::Malformed { .. })),
                "{kind}: {longer:?}"
            );
        }
    }
}

#[test]
fn a_version_0_does_not_exist() {
    let error =
        decode_event(EventKind::CallStarted, 0, &example(EventKind::CallStarted)).expect_err("no version 0");
    assert!(!error.is_newer(), "{error}");
}

#[test]
fn an_event_larger_than_the_broker_takes_is_refused_when_it_is_written() {
    let large = StageFailed {
        attempts_max: 1,
        class: callfold_schema::event::FailureClass::Internal,
        text: "x".repeat(PAYLOAD_BYTES_MAX),
        next_attempt_at: None,
        delivery: 1,
        elapsed_ms: 0,
    };
    assert!(matches!(encode(&large), Err(EncodeError::TooLarge { bytes }) if bytes > PAYLOAD_BYTES_MAX));
}

#[test]
fn a_key_has_one_spelling() {
    let ok = |kind, text: &str| {
        assert_eq!(
            Key::parse(kind, text).map(|key| key.to_string()).as_deref(),
            Some(text)
        )
    };
    let no = |kind, text: &str| assert_eq!(Key::parse(kind, text), None, "{kind} {text:?}");
    ok(EventKind::CallStarted, "0");
    ok(EventKind::CallStarted, "0-reconciled");
    ok(EventKind::RecordingReady, "RE1");
    ok(EventKind::RecordingMissing, "0-never_left");
    ok(EventKind::RecordingMissing, "RE1-absent-reconciled");
    ok(EventKind::TranscriptReady, "RE1-0");
    ok(EventKind::TranscriptReady, "RE1-9007199254740991");
    ok(EventKind::StageFailed, "RE1-0-download-0");
    ok(EventKind::RecordingReady, "RE1-7");
    ok(EventKind::ReprocessRequested, "7");
    ok(EventKind::LeadUpdated, "1");
    ok(EventKind::CallErased, "0");
    ok(EventKind::EraseDone, "0");
    // The first run is asked for by nobody, and a change has a number.
    no(EventKind::RecordingReady, "RE1-0");
    no(EventKind::ReprocessRequested, "0");
    no(EventKind::ReprocessRequested, "07");
    no(EventKind::LeadUpdated, "0");
    no(EventKind::LeadUpdated, "9007199254740992");
    no(EventKind::CallErased, "1");
    for text in [
        "",
        "1",
        "00",
        "0-",
        "-0",
        "0-reconciled-reconciled",
        "reconciled",
        "0-Reconciled",
        " 0",
        "0 ",
    ] {
        no(EventKind::CallStarted, text);
    }
    for text in [
        "RE1-00",
        "RE1-+0",
        "RE1--0",
        "RE1- 0",
        "RE1-0 ",
        "RE1-9007199254740992",
        "RE1-٠",
        "RE1",
        "RE1-0-x",
    ] {
        no(EventKind::SummaryReady, text);
    }
    for text in [
        "RE1-0-download-01",
        "RE1-0-download-+1",
        "RE1-0-Download-1",
        "RE1-0-upload-1",
        "RE1-0-download",
    ] {
        no(EventKind::StageFailed, text);
    }
    for text in [
        "0",
        "RE1",
        "0-",
        "RE1--reconciled",
        "0-גם",
        "0-a b",
        "0-whatever",
        "RE!-absent",
    ] {
        no(EventKind::RecordingMissing, text);
    }
}

#[test]
fn a_runs_number_grows_with_time_and_stays_exact() {
    let at = |ms, random| Run::mint(UnixMillis(ms), random);
    assert_eq!(at(1_795_341_600_000, 42), Run(1_795_341_600_000_042));
    assert!(at(1_795_341_600_001, 0) > at(1_795_341_600_000, 60_999));
    assert_eq!(at(0, 0), Run(1));
    assert_eq!(at(i64::MAX, 0), Run(Run::BOUND - 1));
}

#[test]
fn a_subject_splits_into_five_tokens_or_not_at_all() {
    let raw = RawSubject::split("calls.CA1.call_ended.new.0").expect("splits");
    assert_eq!(
        raw,
        RawSubject {
            call_sid: "CA1",
            kind: "call_ended",
            lane: "new",
            key: "0"
        }
    );
    for subject in [
        "",
        "calls",
        "calls.CA1.call_ended.new",
        "calls.CA1.call_ended.new.0.",
        "Calls.CA1.call_ended.new.0",
    ] {
        assert_eq!(RawSubject::split(subject), None, "{subject:?}");
    }
}

#[test]
fn each_stage_has_a_consumer_and_a_filter_a_lane() {
    assert_eq!(
        stage_filter(Stage::Download, Lane::New),
        "calls.*.recording_ready.new.*"
    );
    assert_eq!(
        stage_filter(Stage::Summarize, Lane::Again),
        "calls.*.transcript_ready.again.*"
    );
    assert_eq!(stage_consumer(Stage::Transcribe, Lane::New), "transcribe_new");
    assert_eq!(kind_filter(EventKind::SummaryReady), "calls.*.summary_ready.>");
    for [before, after] in [
        [Stage::Download, Stage::Transcribe],
        [Stage::Transcribe, Stage::Summarize],
    ] {
        assert_eq!(before.output(), after.input());
    }
}

#[test]
fn tokens_and_json_names_are_the_same_words() {
    for kind in EventKind::ALL.iter().copied() {
        assert_eq!(EventKind::from_token(kind.token()), Some(kind));
        assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.token());
    }
    for stage in Stage::ALL {
        assert_eq!(Stage::from_token(stage.token()), Some(stage));
        assert_eq!(serde_json::to_value(stage).expect("JSON"), stage.token());
    }
    for lane in Lane::ALL {
        assert_eq!(Lane::from_token(lane.token()), Some(lane));
        assert_eq!(serde_json::to_value(lane).expect("JSON"), lane.token());
    }
}

#[test]
fn ids_take_what_can_stand_in_a_subject_and_nothing_else() {
    assert!(CallSid::parse("CA_test").is_ok());
    assert!(CallSid::parse(&"x".repeat(64)).is_ok());
    assert_eq!(CallSid::parse(""), Err(IdError::Empty));
    assert_eq!(CallSid::parse(&"x".repeat(65)), Err(IdError::TooLong));
    for text in ["CA.1", "CA*", ">", "CA 1", "CA-1", "CA\n", "שלום", "CA\0"] {
        assert_eq!(RecordingSid::parse(text), Err(IdError::Character), "{text:?}");
        assert!(
            serde_json::from_value::<RecordingSid>(text.into()).is_err(),
            "{text:?}"
        );
    }
    // Bytes from the stream are checked by the same rule.
    let whole = example(EventKind::RecordingReady);
    let at = whole
        .windows(3)
        .position(|window| window == b"RE0")
        .expect("the recording stands in it");
    let mut spoilt = whole.clone();
    spoilt[at + 2] = b'.';
    assert!(decode_event(EventKind::RecordingReady, 1, &whole).is_ok());
    assert!(decode_event(EventKind::RecordingReady, 1, &spoilt).is_err());
}

#[test]
fn what_is_personal_does_not_show_in_debug() {
    let json = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("events/call_started/v1.example.json"),
    )
    .expect("a golden file");
    for kind in EventKind::ALL.iter().copied() {
        let event = decode_event(kind, newest_version(kind), &example(kind)).expect("decodes");
        let shown = format!("{event:?}");
        for secret in ["+972501234567", "+97239999999", "דנה", "תור", "https://"] {
            assert!(!shown.contains(secret), "{kind} shows {secret}: {shown}");
        }
    }
    assert!(
        json.contains("+972501234567") && json.contains("דנה"),
        "the examples hold what must not show"
    );
    assert_eq!(
        format!("{:?}", PhoneNumber::from("+972501234567")),
        "PhoneNumber(…)"
    );
}

#[test]
fn moments_are_written_with_milliseconds_in_utc() {
    assert_eq!(UnixMillis(0).rfc3339(), "1970-01-01T00:00:00.000Z");
    assert_eq!(
        UnixMillis::parse_rfc3339("2026-11-22T12:00:00.5+02:00"),
        Some(UnixMillis(1_795_341_600_500))
    );
    assert_eq!(UnixMillis::parse_rfc3339("2026-11-22"), None);
    assert_eq!(UnixMillis(i64::MAX).rfc3339(), "9999-12-30T22:00:00.999Z");
    assert!(UnixMillis::parse_rfc3339(&UnixMillis(i64::MIN).rfc3339()).is_some());
}

fn id() -> impl Strategy<Value = RecordingSid> {
    // `0` stands for "no recording" in keys.
    "[A-Za-z0-9_]{1,64}"
        .prop_filter("0 is no recording", |text| text != "0")
        .prop_map(|text| RecordingSid::parse(&text).expect("the rule of identifiers"))
}

fn run() -> impl Strategy<Value = Run> {
    prop_oneof![Just(Run::FIRST), (1..Run::BOUND).prop_map(Run)]
}

fn kind_and_key() -> impl Strategy<Value = (EventKind, Key)> {
    let reason = prop::sample::select(MissingReason::ALL.map(MissingReason::token).to_vec());
    let stage = prop::sample::select(Stage::ALL.to_vec());
    let key = (
        prop::sample::select(EventKind::ALL.to_vec()),
        id(),
        run(),
        reason,
        stage,
        any::<u32>(),
        any::<bool>(),
    );
    (key, any::<bool>()).prop_map(|((kind, id, run, reason, stage, attempt, some), reconciled)| {
        let key = match kind {
            EventKind::CallStarted | EventKind::CallEnded | EventKind::CallErased | EventKind::EraseDone => {
                Key::single()
            }
            EventKind::ReprocessRequested => Key::run(Run(run.0.max(1))),
            EventKind::LeadUpdated => Key::revision(run.0.max(1)),
            EventKind::RecordingReady if some && run != Run::FIRST => Key::stage(id, run),
            EventKind::RecordingStarted | EventKind::RecordingReady => Key::recording(id),
            EventKind::RecordingMissing => Key::missing(some.then_some(id), reason),
            EventKind::RecordingDownloaded | EventKind::TranscriptReady | EventKind::SummaryReady => {
                Key::stage(id, run)
            }
            EventKind::StageFailed => Key::failure(id, run, stage, attempt),
        };
        (kind, if reconciled { key.reconciled() } else { key })
    })
}

proptest! {
    // A failing case is printed with its values: nothing is written into the tree.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_and_subjects_round_trip((kind, key) in kind_and_key(), call in "[A-Za-z0-9_]{1,64}") {
        prop_assert_eq!(Key::parse(kind, &key.to_string()), Some(key.clone()));
        let subject = Subject::new(CallSid::parse(&call).expect("an id"), kind, key.clone());
        let text = subject.to_string();
        let raw = RawSubject::split(&text).expect("splits");
        prop_assert_eq!(raw.call_sid, call);
        prop_assert_eq!(EventKind::from_token(raw.kind), Some(kind));
        prop_assert_eq!(Lane::from_token(raw.lane), Some(key.run.unwrap_or(Run::FIRST).lane()));
        prop_assert_eq!(Key::parse(kind, raw.key), Some(key));
    }

    #[test]
    fn any_text_is_a_key_in_its_own_spelling_or_none(kind in prop::sample::select(EventKind::ALL.to_vec()), text in "[-A-Za-z0-9_+. ]{0,40}|\\PC{0,20}") {
        if let Some(key) = Key::parse(kind, &text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn random_bytes_never_panic(kind in prop::sample::select(EventKind::ALL.to_vec()), bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        match decode_event(kind, newest_version(kind), &bytes) {
            // What decodes has a normal form that decodes to the same.
            Ok(event) => {
                let again = event.encode().expect("small");
                let decoded = decode_event(kind, newest_version(kind), &again).expect("what is written is read");
                prop_assert_eq!(decoded.encode().expect("small"), again);
            }
            Err(error) => prop_assert!(!error.is_newer()),
        }
    }

    #[test]
    fn a_changed_byte_never_panics(kind in prop::sample::select(EventKind::ALL.to_vec()), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = example(kind);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(error) = decode_event(kind, newest_version(kind), &bytes) {
            prop_assert!(!error.is_newer());
        }
    }

    #[test]
    fn any_subject_and_headers_never_panic(subject in "(calls\\.)?\\PC{0,60}", headers in prop::collection::btree_map("Callfold-(Kind|Version|Time|Cause)|traceparent", "\\PC{0,30}", 0..5)) {
        let header = |name: &str| headers.get(name).map(String::as_str);
        let raw = RawEvent { subject: &subject, header: &header, payload: &[] };
        if let Ok(envelope) = decode_envelope(&raw) {
            prop_assert_eq!(envelope.subject.to_string(), subject);
        }
    }

    #[test]
    fn a_moment_round_trips(ms in -377_000_000_000_000_i64..253_000_000_000_000) {
        prop_assert_eq!(UnixMillis::parse_rfc3339(&UnixMillis(ms).rfc3339()), Some(UnixMillis(ms)));
    }
}

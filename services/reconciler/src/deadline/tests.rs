#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use callfold_schema::event::{
    CallEnded, CallErased, CallStarted, Caller, ErasureReason, RecordingDownloaded, RecordingMissing,
    RecordingReady, RecordingStarted,
};
use callfold_schema::{NewEvent, PhoneNumber, Run};

use super::*;

/// A morning; other times are seconds after it.
const T0: i64 = 1_800_000_000_000;
const PATIENCE: i64 = 300;

fn at(secs: i64) -> UnixMillis {
    UnixMillis(T0 + secs * 1_000)
}

fn call(text: &str) -> CallSid {
    CallSid::parse(text).unwrap()
}

fn re(text: &str) -> RecordingSid {
    RecordingSid::parse(text).unwrap()
}

fn record(call_sid: &str, key: Key, secs: i64, event: impl Into<Event>) -> Record {
    let NewEvent { envelope, event } = NewEvent::new(call(call_sid), key, at(secs), event);
    Record { envelope, event }
}

fn started(call_sid: &str, secs: i64) -> Record {
    let event = CallStarted {
        account_sid: String::new(),
        from: PhoneNumber::default(),
        to: PhoneNumber::default(),
        direction: "inbound".to_owned(),
        caller: Caller::default(),
        greeting: String::new(),
        voice: String::new(),
        language: "he-IL".to_owned(),
        record_max_s: 120,
        idempotency_token: None,
        form: Vec::new(),
    };
    record(call_sid, Key::single(), secs, event)
}

fn ended(call_sid: &str, secs: i64) -> Record {
    let event = CallEnded {
        status: "completed".to_owned(),
        duration_s: None,
        ended_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    record(call_sid, Key::single(), secs, event)
}

fn recording(call_sid: &str, sid: &str, secs: i64) -> Record {
    let event = RecordingStarted {
        recording_sid: re(sid),
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    record(call_sid, Key::recording(re(sid)), secs, event)
}

fn ready(call_sid: &str, sid: &str, secs: i64) -> Record {
    let event = RecordingReady {
        recording_sid: re(sid),
        account_sid: String::new(),
        media_url: String::new(),
        duration_s: None,
        channels: None,
        source: None,
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    record(call_sid, Key::recording(re(sid)), secs, event)
}

fn missing(call_sid: &str, sid: Option<&str>, reason: MissingReason, secs: i64) -> Record {
    let recording_sid = sid.map(re);
    let key = Key::missing(recording_sid.clone(), reason.token());
    let event = RecordingMissing {
        recording_sid,
        reason,
        error_code: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    record(call_sid, key, secs, event)
}

fn calls() -> OpenCalls {
    OpenCalls::new(Duration::from_secs(PATIENCE as u64), Bounds::default())
}

/// Keys and due times (seconds) of everything that will be overdue, whatever the order of the events and however often
/// they come.
fn then(events: &[Record]) -> Vec<(String, i64)> {
    let answer = |order: &[usize]| {
        let mut calls = calls();
        for &index in order {
            calls.observe(&events[index]);
        }
        let due = calls.overdue(at(1_000_000), usize::MAX);
        due.iter()
            .map(|owed| (owed.key().to_string(), (owed.due.0 - T0) / 1_000))
            .collect::<Vec<_>>()
    };
    let mut order: Vec<usize> = (0..events.len()).collect();
    let expected = answer(&order);
    permute(&mut order, 0, &mut |order| {
        assert_eq!(answer(order), expected, "in the order {order:?}");
        let twice: Vec<usize> = order.iter().chain(order).copied().collect();
        assert_eq!(answer(&twice), expected, "twice in the order {order:?}");
    });
    expected
}

fn permute(order: &mut Vec<usize>, from: usize, check: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        return check(order);
    }
    for index in from..order.len() {
        order.swap(from, index);
        permute(order, from + 1, check);
        order.swap(from, index);
    }
}

#[test]
fn a_call_that_ended_without_a_recording_never_left_one() {
    let expected = [("0-never_left-reconciled".to_owned(), 20 + PATIENCE)];
    assert_eq!(then(&[started("CA1", 0), ended("CA1", 20)]), expected);
    assert_eq!(then(&[ended("CA1", 20)]), expected);
}

#[test]
fn a_call_on_a_number_that_takes_no_messages_owes_none() {
    let mut greeted = started("CA1", 0);
    let Event::CallStarted(event) = &mut greeted.event else {
        panic!("call_started")
    };
    event.record_max_s = 0;
    assert_eq!(then(&[greeted.clone(), ended("CA1", 20)]), []);
    // Its end is still waited for.
    assert_eq!(
        then(&[greeted]),
        [("0-deadline_passed-reconciled".to_owned(), 60 + PATIENCE)]
    );
}

#[test]
fn a_call_whose_end_is_not_told_waits_for_the_longest_message() {
    let due = 60 + 120 + PATIENCE;
    assert_eq!(
        then(&[started("CA1", 0)]),
        [("0-deadline_passed-reconciled".to_owned(), due)]
    );
}

#[test]
fn a_recording_that_began_is_due_after_the_end() {
    let key = "RE1-deadline_passed-reconciled".to_owned();
    let all = [started("CA1", 0), recording("CA1", "RE1", 10), ended("CA1", 40)];
    assert_eq!(then(&all), [(key.clone(), 40 + PATIENCE)]);
    assert_eq!(
        then(&[ended("CA1", 40), recording("CA1", "RE1", 50)]),
        [(key.clone(), 50 + PATIENCE)]
    );
    assert_eq!(
        then(&[started("CA1", 0), recording("CA1", "RE1", 10)]),
        [(key.clone(), 10 + 120 + PATIENCE)]
    );
    assert_eq!(
        then(&[recording("CA1", "RE1", 10)]),
        [(key, 10 + 3_600 + PATIENCE)]
    );
}

#[test]
fn what_arrived_is_not_missed() {
    let normal = [
        started("CA1", 0),
        recording("CA1", "RE1", 10),
        ready("CA1", "RE1", 40),
        ended("CA1", 41),
    ];
    assert_eq!(then(&normal), []);
    assert_eq!(then(&[ready("CA1", "RE1", 40)]), []);
    assert_eq!(then(&[started("CA1", 0), ready("CA1", "RE1", 40)]), []);
}

#[test]
fn what_is_known_to_be_missing_is_not_missed_again() {
    for (sid, reason) in [
        (Some("RE1"), MissingReason::Absent),
        (Some("RE1"), MissingReason::Failed),
        (None, MissingReason::NeverLeft),
        (None, MissingReason::DeadlinePassed),
    ] {
        assert_eq!(
            then(&[
                started("CA1", 0),
                ended("CA1", 20),
                missing("CA1", sid, reason, 21)
            ]),
            []
        );
    }
}

#[test]
fn each_of_several_recordings_counts_for_itself() {
    let events = [
        started("CA1", 0),
        recording("CA1", "RE1", 10),
        recording("CA1", "RE2", 50),
        ready("CA1", "RE1", 40),
        ended("CA1", 80),
    ];
    assert_eq!(
        then(&events),
        [("RE2-deadline_passed-reconciled".to_owned(), 80 + PATIENCE)]
    );
    let both = [
        recording("CA1", "RE1", 10),
        recording("CA1", "RE2", 50),
        ended("CA1", 80),
    ];
    assert_eq!(then(&both).len(), 2);
}

#[test]
fn calls_are_due_in_their_order_and_not_before() {
    let mut calls = calls();
    for event in [
        started("CA2", 0),
        ended("CA2", 30),
        started("CA1", 5),
        ended("CA1", 10),
        started("CA3", 6),
    ] {
        calls.observe(&event);
    }
    assert_eq!((calls.open(), calls.next_due()), (3, Some(at(10 + PATIENCE))));
    assert_eq!(calls.overdue(at(9 + PATIENCE), 9), []);
    let sids = |now| {
        calls
            .overdue(at(now), 9)
            .iter()
            .map(|owed| owed.call_sid.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(sids(10 + PATIENCE), ["CA1"]);
    assert_eq!(sids(30 + PATIENCE), ["CA1", "CA2"]);
    assert_eq!(calls.overdue(at(10_000), 2).len(), 2);
}

#[test]
fn what_was_told_is_told_once() {
    let mut calls = calls();
    calls.observe(&ended("CA1", 0));
    let overdue = calls.overdue(at(PATIENCE), 9);
    assert_eq!(overdue[0].cause.to_string(), "calls.CA1.call_ended.new.0");
    calls.settle(&overdue[0]);
    assert_eq!((calls.open(), calls.next_due()), (0, None));
    // Late news opens only what it is about.
    calls.observe(&started("CA1", 1));
    assert_eq!(calls.open(), 0);
    calls.observe(&recording("CA1", "RE1", 400));
    assert_eq!(
        calls.overdue(at(400 + PATIENCE), 9)[0].recording_sid,
        Some(re("RE1"))
    );
}

#[test]
fn a_settled_call_is_not_opened_by_a_late_event_until_it_is_forgotten() {
    let mut calls = calls();
    calls.observe(&ready("CA1", "RE1", 0));
    calls.observe(&started("CA1", 1));
    assert_eq!((calls.open(), calls.calls.len()), (0, 1));
    calls.observe(&ready("CA2", "RE2", 24 * 3_600 + 2));
    assert_eq!(calls.calls.len(), 1, "CA1 is forgotten");
}

#[test]
fn memory_is_bounded() {
    let bounds = Bounds {
        settled_max: 3,
        open_max: 2,
        ..Bounds::default()
    };
    let mut calls = OpenCalls::new(Duration::from_secs(1), bounds);
    for index in 0..10 {
        calls.observe(&ready(&format!("CAr{index}"), "RE1", index));
        calls.observe(&ended(&format!("CAe{index}"), index));
    }
    assert_eq!(
        (calls.settled.len(), calls.due.len(), calls.calls.len()),
        (3, 2, 5)
    );
    assert_eq!(calls.dropped(), 8);
}

#[test]
fn the_work_of_the_stages_is_passed_over() {
    let mut calls = calls();
    let event = RecordingDownloaded {
        blob_key: String::new(),
        bytes: 1,
        sha256: String::new(),
        content_type: String::new(),
        duration_ms: 1,
        sample_rate_hz: 8_000,
        channels: 1,
        elapsed_ms: 1,
    };
    calls.observe(&record("CA1", Key::stage(re("RE1"), Run::FIRST), 0, event));
    assert_eq!((calls.open(), calls.calls.len()), (0, 0));
}

#[test]
fn an_erased_call_owes_nothing_whatever_still_comes() {
    let event = CallErased {
        by: "test".to_owned(),
        why: ErasureReason::Request,
    };
    let erased = record("CA1", Key::single(), 40, event);
    let owed = then(&[ended("CA1", 30), erased, recording("CA1", "RE1", 10)]);
    assert!(owed.is_empty(), "{owed:?}");
}

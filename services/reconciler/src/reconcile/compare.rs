//! What Twilio's lists say and the stream does not. Pure: entries and what is held go in, events come out.
//!
//! An event made here has the time of the fact by Twilio's clock, not that of the look: the card of a call that was
//! learned of in the evening belongs to the morning in which the caller rang. Its key ends in `-reconciled`, so a live
//! event that comes later wins.

use callfold_schema::event::{
    CallEnded, CallStarted, Caller, MissingReason, RecordingMissing, RecordingReady,
};
use callfold_schema::{CallSid, Event, Key, NewEvent, PhoneNumber, RecordingSid, UnixMillis};
use callfold_twilio::rest::{CallEntry, RecordingEntry};
use url::Url;

/// The longest message of a call whose greeting is not known, in seconds; Twilio's own default.
const RECORD_MAX_UNKNOWN_S: u32 = 3_600;

/// What the stream holds of a call, by live events or by the reconciler's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldCall {
    /// Its beginning.
    pub started: bool,
    /// Its end.
    pub ended: bool,
}

/// What is missing of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MissingCall {
    /// Its beginning. To be published first.
    pub started: Option<NewEvent>,
    /// Its end. To be published behind the recordings, so that nobody takes them for never left.
    pub ended: Option<NewEvent>,
}

/// What the list says of a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum ListedRecording {
    /// It can be fetched, or never will be: the event that says so.
    Told(Box<NewEvent>),
    /// Twilio is not done with it; a later look will tell.
    Unfinished,
    /// There is nothing to say of it: it was deleted, or is in a state that this version does not know.
    Nothing,
    /// Its names cannot stand in a subject.
    Malformed,
}

/// Whether a call is one that a caller made: no leg of another one, and not ours to somebody.
#[must_use]
pub fn is_incoming(entry: &CallEntry) -> bool {
    entry.direction == "inbound" && entry.parent_call_sid.as_deref().is_none_or(str::is_empty)
}

/// What is missing of a call; `None` when its name cannot stand in a subject.
#[must_use]
pub fn missing_of_call(entry: &CallEntry, held: HeldCall, now: UnixMillis) -> Option<MissingCall> {
    let call_sid = CallSid::parse(&entry.sid).ok()?;
    let key = || Key::single().reconciled();
    let began = entry.started_ms.map_or(now, UnixMillis);
    let started = (!held.started).then(|| {
        let event = CallStarted {
            account_sid: entry.account_sid.clone(),
            from: PhoneNumber(entry.from.clone()),
            to: PhoneNumber(entry.to.clone()),
            direction: entry.direction.clone(),
            caller: Caller {
                name: said(entry.caller_name.as_deref()),
                forwarded_from: said(entry.forwarded_from.as_deref()).map(PhoneNumber),
                ..Caller::default()
            },
            // What was heard is not known: whoever answered the call did not tell us.
            greeting: String::new(),
            voice: String::new(),
            language: String::new(),
            record_max_s: RECORD_MAX_UNKNOWN_S,
            idempotency_token: None,
            form: Vec::new(),
        };
        NewEvent::new(call_sid.clone(), key(), began, event)
    });
    let ended = (!held.ended && entry.is_over()).then(|| {
        let length = i64::from(entry.duration_s.unwrap_or(0)) * 1_000;
        let end = entry
            .ended_ms
            .map_or(UnixMillis(began.0.saturating_add(length)), UnixMillis);
        let event = CallEnded {
            status: entry.status.0.clone(),
            duration_s: entry.duration_s,
            ended_at: entry.ended_ms.map(UnixMillis),
            idempotency_token: None,
            form: Vec::new(),
        };
        NewEvent::new(call_sid.clone(), key(), end, event)
    });
    Some(MissingCall { started, ended })
}

/// The event that a listed recording stands for. `api`: where the account's media is; `account_sid`: whose it is where
/// the entry does not say.
#[must_use]
pub fn listed_recording(
    entry: &RecordingEntry,
    api: &Url,
    account_sid: &str,
    now: UnixMillis,
) -> ListedRecording {
    let (Ok(call_sid), Ok(recording_sid)) =
        (CallSid::parse(&entry.call_sid), RecordingSid::parse(&entry.sid))
    else {
        return ListedRecording::Malformed;
    };
    let account = if entry.account_sid.is_empty() {
        account_sid
    } else {
        &entry.account_sid
    };
    let began = entry.started_ms.map(UnixMillis);
    let length = i64::from(entry.duration_s.unwrap_or(0)) * 1_000;
    let time = began.map_or(now, |began| UnixMillis(began.0.saturating_add(length)));
    let (key, event): (Key, Event) = match entry.status.0.as_str() {
        "completed" => {
            let mut media = api.clone();
            if let Ok(mut path) = media.path_segments_mut() {
                path.pop_if_empty().extend([
                    "2010-04-01",
                    "Accounts",
                    account,
                    "Recordings",
                    recording_sid.as_str(),
                ]);
            }
            let event = RecordingReady {
                recording_sid: recording_sid.clone(),
                account_sid: account.to_owned(),
                media_url: media.into(),
                duration_s: entry.duration_s,
                channels: entry.channels.and_then(|channels| u8::try_from(channels).ok()),
                source: entry.source.clone(),
                started_at: began,
                idempotency_token: None,
                form: Vec::new(),
            };
            (Key::recording(recording_sid), event.into())
        }
        "absent" => missing(recording_sid, MissingReason::Absent, entry.error_code),
        "failed" => missing(recording_sid, MissingReason::Failed, entry.error_code),
        "in-progress" | "paused" | "stopped" | "processing" => return ListedRecording::Unfinished,
        _ => return ListedRecording::Nothing,
    };
    ListedRecording::Told(Box::new(NewEvent::new(call_sid, key.reconciled(), time, event)))
}

fn missing(recording_sid: RecordingSid, reason: MissingReason, error_code: Option<u32>) -> (Key, Event) {
    let event = RecordingMissing {
        recording_sid: Some(recording_sid.clone()),
        reason,
        error_code: error_code.filter(|code| *code != 0),
        idempotency_token: None,
        form: Vec::new(),
    };
    (Key::missing(Some(recording_sid), reason.token()), event.into())
}

fn said(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

    use callfold_schema::EventKind;

    use super::*;

    fn call(status: &str) -> CallEntry {
        let json = format!(
            r#"{{"sid":"CA1","account_sid":"AC1","from":"+1","to":"+2","direction":"inbound","status":"{status}",
            "start_time":"Sun, 22 Nov 2026 10:00:00 +0000","end_time":null,"duration":"31","price":null}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn recording(status: &str) -> RecordingEntry {
        let json = format!(
            r#"{{"sid":"RE1","account_sid":null,"call_sid":"CA1","status":"{status}","channels":1,
            "start_time":"Sun, 22 Nov 2026 10:00:05 +0000","duration":"-1","error_code":null}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    const TEN: i64 = 1_795_341_600_000;

    #[test]
    fn a_call_gets_the_time_of_the_call_and_a_reconciled_key() {
        let missing = missing_of_call(&call("completed"), HeldCall::default(), UnixMillis(0)).unwrap();
        let (started, ended) = (missing.started.unwrap(), missing.ended.unwrap());
        assert_eq!(started.envelope.time, UnixMillis(TEN));
        assert_eq!(ended.envelope.time, UnixMillis(TEN + 31_000));
        assert_eq!(
            started.envelope.subject.to_string(),
            "calls.CA1.call_started.new.0-reconciled"
        );
        assert_eq!(
            ended.envelope.subject.to_string(),
            "calls.CA1.call_ended.new.0-reconciled"
        );
    }

    #[test]
    fn what_is_held_is_not_missing_and_a_call_that_goes_on_has_no_end() {
        let held = HeldCall {
            started: true,
            ended: false,
        };
        let missing = missing_of_call(&call("completed"), held, UnixMillis(0)).unwrap();
        assert!(missing.started.is_none() && missing.ended.is_some());
        let missing = missing_of_call(&call("in-progress"), held, UnixMillis(0)).unwrap();
        assert_eq!(missing, MissingCall::default());
        let mut leg = call("completed");
        assert!(is_incoming(&leg));
        leg.parent_call_sid = Some("CA2".to_owned());
        assert!(!is_incoming(&leg));
    }

    #[test]
    fn a_recording_is_told_by_its_status() {
        let api = Url::parse("https://api.twilio.com").unwrap();
        let told = |status: &str| listed_recording(&recording(status), &api, "AC9", UnixMillis(0));
        let ListedRecording::Told(ready) = told("completed") else {
            panic!("it can be fetched")
        };
        assert_eq!(
            ready.envelope.subject.to_string(),
            "calls.CA1.recording_ready.new.RE1-reconciled"
        );
        let Event::RecordingReady(event) = &ready.event else {
            panic!("another event")
        };
        assert_eq!(
            event.media_url,
            "https://api.twilio.com/2010-04-01/Accounts/AC9/Recordings/RE1"
        );
        assert_eq!(
            (event.duration_s, event.started_at),
            (None, Some(UnixMillis(TEN + 5_000)))
        );
        for (status, reason) in [("absent", "absent"), ("failed", "failed")] {
            let ListedRecording::Told(missing) = told(status) else {
                panic!("{status}")
            };
            assert_eq!(missing.envelope.subject.kind, EventKind::RecordingMissing);
            assert_eq!(
                missing.envelope.subject.key.to_string(),
                format!("RE1-{reason}-reconciled")
            );
        }
        assert_eq!(told("processing"), ListedRecording::Unfinished);
        assert_eq!(told("deleted"), ListedRecording::Nothing);
        let mut odd = recording("completed");
        odd.sid = "RE.1".to_owned();
        assert_eq!(
            listed_recording(&odd, &api, "AC9", UnixMillis(0)),
            ListedRecording::Malformed
        );
    }
}

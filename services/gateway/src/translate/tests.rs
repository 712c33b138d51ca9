#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use super::*;

fn form(body: &str) -> Form {
    Form::parse(body.as_bytes()).unwrap()
}

fn fact(body: &str) -> Fact {
    match recording(form(body), None).unwrap() {
        RecordingNews::Fact(fact) => *fact,
        RecordingNews::Ignored => panic!("{body} is a fact"),
    }
}

#[test]
fn a_call_becomes_call_started_with_its_whole_form() {
    let body = "CallSid=CA_test&AccountSid=AC1&From=%2B972501234567&To=+97239999999&CallerCity=Haifa&FromCountry=IL\
                &CallerName=%D7%99%D7%A9%D7%A8%D7%90%D7%9C&Direction=inbound&StirVerstat=&New=%20kept%20";
    let script = Script::default();
    let started = call_started(form(body), Some("token-1".to_owned()), &Heard::of(&script, true)).unwrap();
    assert_eq!(started.call_sid.as_str(), "CA_test");
    assert_eq!(started.key, Key::single());
    let Event::CallStarted(event) = started.event else {
        panic!("call_started")
    };
    assert_eq!(
        (event.from.as_str(), event.to.as_str()),
        ("+972501234567", "+97239999999")
    );
    assert_eq!(event.caller.city.as_deref(), Some("Haifa"));
    assert_eq!(event.caller.country.as_deref(), Some("IL"));
    assert_eq!(event.caller.name.as_deref(), Some("ישראל"));
    assert_eq!(event.caller.stir_verdict, None);
    assert_eq!((event.greeting, event.record_max_s), (script.greeting, 180));
    assert_eq!(event.idempotency_token.as_deref(), Some("token-1"));
    assert_eq!(event.form.len(), 10);
    assert!(event.form.contains(&("New".to_owned(), " kept ".to_owned())));
}

#[test]
fn a_call_sid_that_is_no_identifier_is_refused() {
    let long = format!("CallSid={}", "a".repeat(65));
    for body in [
        "",
        "CallSid=",
        "CallSid=CA.x",
        "CallSid=CA*",
        "CallSid=CA%3E",
        "CallSid=a%20b",
        &long,
    ] {
        assert!(matches!(
            call_started(form(body), None, &Heard::of(&Script::default(), true)),
            Err(Untranslatable::CallSid(_))
        ));
        assert!(matches!(
            recording(form(body), None),
            Err(Untranslatable::CallSid(_))
        ));
        assert!(matches!(
            call_ended(form(body), None),
            Err(Untranslatable::CallSid(_))
        ));
    }
}

#[test]
fn the_recording_s_status_chooses_the_event() {
    let with = |status: &str| {
        fact(&format!(
            "CallSid=CA1&RecordingSid=RE1&RecordingUrl=https://a/RE1{status}"
        ))
    };
    let subject = |fact: &Fact| format!("{} {}", fact.event.kind(), fact.key);
    assert_eq!(
        subject(&with("&RecordingStatus=in-progress")),
        "recording_started RE1"
    );
    assert_eq!(
        subject(&with("&RecordingStatus=completed")),
        "recording_ready RE1"
    );
    assert_eq!(subject(&with("")), "recording_ready RE1");
    assert_eq!(
        subject(&with("&RecordingStatus=absent")),
        "recording_missing RE1-absent"
    );
    let failed = with("&RecordingStatus=failed&ErrorCode=16105");
    assert_eq!(subject(&failed), "recording_missing RE1-failed");
    let Event::RecordingMissing(event) = failed.event else {
        panic!("recording_missing")
    };
    assert_eq!(event.error_code, Some(16105));
    assert_eq!(
        subject(&fact("CallSid=CA1&RecordingStatus=absent")),
        "recording_missing 0-absent"
    );
    for unknown in ["paused", "deleted"] {
        let body = format!("CallSid=CA1&RecordingSid=RE1&RecordingStatus={unknown}");
        assert_eq!(recording(form(&body), None).unwrap(), RecordingNews::Ignored);
    }
}

#[test]
fn a_finished_recording_tells_all_it_knows() {
    let ready = fact(
        "CallSid=CA1&AccountSid=AC1&RecordingSid=RE1&RecordingUrl=https://a/RE1&RecordingDuration=24&RecordingChannels=1\
         &RecordingSource=RecordVerb&RecordingStartTime=Fri,+20+Aug+2010+01:13:42+%2B0000&RecordingStatus=completed&ErrorCode=0",
    );
    let Event::RecordingReady(event) = ready.event else {
        panic!("recording_ready")
    };
    assert_eq!(event.account_sid, "AC1");
    assert_eq!(event.media_url, "https://a/RE1");
    assert_eq!((event.duration_s, event.channels), (Some(24), Some(1)));
    assert_eq!(event.source.as_deref(), Some("RecordVerb"));
    assert_eq!(event.started_at, Some(UnixMillis(1_282_266_822_000)));
    assert_eq!(event.form.len(), 10);
}

#[test]
fn a_missing_recording_sid_comes_from_the_url() {
    let key = |body: &str| {
        fact(&format!("CallSid=CA_test&RecordingUrl={body}"))
            .key
            .to_string()
    };
    assert_eq!(key("https://api.twilio.com/recordings/abc123"), "abc123");
    assert_eq!(key("https://api.twilio.com/recordings/abc123?x=1%23y"), "abc123");
    let hashed = key("https://api.twilio.com/recordings/abc.wav");
    assert!(hashed.starts_with("url_") && hashed.len() == 64, "{hashed}");
    assert_eq!(hashed, key("https://api.twilio.com/recordings/abc.wav"));
    assert_ne!(hashed, key("https://api.twilio.com/recordings/abd.wav"));
    assert_ne!(key("not a url"), key("https://api.twilio.com/"));
}

#[test]
fn a_missing_url_comes_from_account_and_recording() {
    let ready = fact("CallSid=CA1&AccountSid=AC1&RecordingSid=RE1");
    let Event::RecordingReady(event) = ready.event else {
        panic!("recording_ready")
    };
    assert_eq!(
        event.media_url,
        "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1"
    );
    for (body, error) in [
        ("CallSid=CA1&RecordingSid=RE1", Untranslatable::NoMedia),
        (
            "CallSid=CA1&RecordingSid=RE1&AccountSid=../x",
            Untranslatable::NoMedia,
        ),
        ("CallSid=CA1", Untranslatable::NoRecording),
        (
            "CallSid=CA1&RecordingStatus=in-progress",
            Untranslatable::NoRecording,
        ),
    ] {
        assert_eq!(recording(form(body), None), Err(error), "{body}");
    }
    assert!(matches!(
        recording(
            form("CallSid=CA1&RecordingSid=RE-1&RecordingUrl=https://a/RE1"),
            None
        ),
        Err(Untranslatable::RecordingSid(_))
    ));
}

#[test]
fn only_an_ended_call_is_an_event() {
    for going_on in ["queued", "initiated", "ringing", "in-progress", "", "what"] {
        assert_eq!(
            call_ended(form(&format!("CallSid=CA1&CallStatus={going_on}")), None),
            Ok(None)
        );
    }
    for over in ["completed", "busy", "failed", "no-answer", "canceled"] {
        let body = format!(
            "CallSid=CA1&CallStatus={over}&CallDuration=31&Timestamp=Fri,+20+Aug+2010+01:13:42+%2B0000"
        );
        let ended = call_ended(form(&body), None).unwrap().unwrap();
        assert_eq!(ended.key, Key::single());
        let Event::CallEnded(event) = ended.event else {
            panic!("call_ended")
        };
        assert_eq!((event.status.as_str(), event.duration_s), (over, Some(31)));
        assert_eq!(event.ended_at, Some(UnixMillis(1_282_266_822_000)));
    }
}

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use super::*;

fn base() -> PublicUrl {
    PublicUrl::parse("https://calls.example.com/").unwrap()
}

#[test]
fn the_answer_is_the_recommended_document() {
    let expected = concat!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "<Response>\n",
        "  <Say voice=\"Google.he-IL-Wavenet-A\" language=\"he-IL\">",
        "שלום, הגעתם אלינו. השיחה מוקלטת. אנא השאירו הודעה אחרי הצליל.</Say>\n",
        "  <Record action=\"https://calls.example.com/webhook/twilio/record_action",
        "#rc=2&amp;rp=ct,rt,5xx&amp;ct=2000&amp;rt=4000&amp;tt=12000&amp;e=frankfurt,dublin\" method=\"POST\"",
        " timeout=\"8\" maxLength=\"180\" finishOnKey=\"#\" playBeep=\"true\" trim=\"do-not-trim\"",
        " recordingStatusCallback=\"https://calls.example.com/webhook/twilio/recording_done",
        "#rc=5&amp;rp=all&amp;rt=3000&amp;tt=15000&amp;e=frankfurt,dublin\"",
        " recordingStatusCallbackMethod=\"POST\" recordingStatusCallbackEvent=\"in-progress completed absent\"/>\n",
        "  <Say voice=\"Google.he-IL-Wavenet-A\" language=\"he-IL\">לא התקבלה הקלטה. להתראות.</Say>\n",
        "  <Hangup/>\n",
        "</Response>\n",
    );
    assert_eq!(Script::default().answer(&base()), expected);
}

#[test]
fn the_closing_says_goodbye_and_hangs_up() {
    let closing = Script::default().closing();
    let document = roxmltree::Document::parse(&closing).unwrap();
    let verbs: Vec<&str> = document
        .root_element()
        .children()
        .filter(|n| n.is_element())
        .map(|n| n.tag_name().name())
        .collect();
    assert_eq!(verbs, ["Say", "Hangup"]);
    assert!(closing.contains(">תודה, נחזור אליכם.</Say>"));
}

#[test]
fn texts_and_urls_survive_the_xml() {
    let greeting = "כהן & בניו <\"מוסך\"> 'א'";
    let script = Script {
        greeting: greeting.to_owned(),
        ..Script::default()
    };
    let base = PublicUrl::parse("https://calls.example.com/a&b").unwrap();
    let answer = script.answer(&base);
    let document = roxmltree::Document::parse(&answer).unwrap();
    let verb = |name: &str| document.descendants().find(|n| n.has_tag_name(name)).unwrap();
    assert_eq!(verb("Say").text(), Some(greeting));
    assert_eq!(
        verb("Record").attribute("action"),
        Some(
            "https://calls.example.com/a&b/webhook/twilio/record_action#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=12000&e=frankfurt,dublin"
        ),
    );
}

#[test]
fn only_voices_that_speak_the_language_are_taken() {
    for voice in HEBREW_VOICES {
        assert!(Voice::new(voice, "he-IL").is_ok(), "{voice}");
    }
    for voice in [
        "Polly.Carmit",
        "Polly-Noa",
        "Google.he-IL-Wavenet-E",
        "Google.he-IL-Chirp3-HD-Kore",
        "man",
        "google.he-il-wavenet-a",
        "",
    ] {
        assert_eq!(
            Voice::new(voice, "he-IL"),
            Err(ScriptError::HebrewVoice),
            "{voice}"
        );
    }
    for language in ["he", "iw IL", "", "he-il"] {
        assert_eq!(
            Voice::new("Google.he-IL-Wavenet-A", language),
            Err(ScriptError::Language),
            "{language}"
        );
    }
    for voice in ["man", "woman", "Polly.Joanna", "Google.en-US-Wavenet-A"] {
        assert!(Voice::new(voice, "en-US").is_ok(), "{voice}");
    }
    for voice in [
        "Google.he-IL-Wavenet-A",
        "Google.en-US-",
        "Polly.",
        "Polly.a\"b",
        "alice",
    ] {
        assert_eq!(Voice::new(voice, "en-US"), Err(ScriptError::Voice), "{voice}");
    }
}

#[test]
fn the_standard_script_passes_its_own_checks() {
    let script = Script::default();
    for text in [&script.greeting, &script.nothing_recorded, &script.goodbye] {
        assert_eq!(Script::check_text(text), Ok(()));
    }
    assert_eq!(script.check_lengths(), Ok(()));
    assert_eq!(
        Voice::new(script.voice.name(), script.voice.language()),
        Ok(Voice::default())
    );
}

#[test]
fn unusable_texts_and_lengths_are_refused() {
    assert_eq!(Script::check_text(" \n"), Err(ScriptError::EmptyText));
    assert_eq!(
        Script::check_text(&"א".repeat(SAY_CHARS_MAX + 1)),
        Err(ScriptError::LongText)
    );
    assert_eq!(Script::check_text("a\u{1}b"), Err(ScriptError::ControlCharacter));
    for (max_length_secs, silence_secs, expected) in [
        (1, 0, Err(ScriptError::MaxLength)),
        (14_401, 8, Err(ScriptError::MaxLength)),
        (5, 6, Err(ScriptError::Timeout)),
        (2, 0, Ok(())),
    ] {
        let script = Script {
            max_length_secs,
            silence_secs,
            ..Script::default()
        };
        assert_eq!(script.check_lengths(), expected);
    }
}

#[test]
fn the_number_s_urls_carry_their_overrides() {
    assert_eq!(
        recommended_voice_url(&base()),
        "https://calls.example.com/webhook/twilio/voice#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=12000&e=frankfurt,dublin",
    );
    assert_eq!(
        recommended_status_callback(&base()),
        "https://calls.example.com/webhook/twilio/status#rc=5&rp=all&rt=3000&tt=15000&e=frankfurt,dublin",
    );
}

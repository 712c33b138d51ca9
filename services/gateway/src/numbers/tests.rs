#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use callfold_kit::Numbers;
use callfold_kit::numbers::LoadError;

use super::*;

const EXAMPLE: &str = include_str!("../../../../deploy/numbers.example.toml");
const GUIDE: &str = include_str!("../../../../docs/numbers.md");

fn load(text: &str) -> Result<Numbers, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.toml");
    std::fs::write(&path, text).unwrap();
    Numbers::load(&path, check())
}

fn told(text: &str) -> Vec<String> {
    match load(text) {
        Ok(_) => Vec::new(),
        Err(LoadError::Mistakes { mistakes, .. }) => mistakes.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
    }
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber(text.to_owned())
}

#[test]
fn what_twilio_would_not_take_is_refused_with_its_place() {
    let long = format!("default.greeting = \"{}\"", "א".repeat(4_097));
    let hebrew = "is no Hebrew voice of Twilio; use Google.he-IL-Wavenet-A (or -B to -D, or Google.he-IL-Standard-A to -D)";
    let cases: &[(&str, &[&str])] = &[
        (
            &long,
            &["line 1, column 20: `greeting` is longer than 4096 characters"],
        ),
        (
            "default.nothing_recorded = \"a\\rb\"",
            &["line 1, column 28: `nothing_recorded` contains a control character"],
        ),
        (
            "[default]\nvoice = \"Polly.Carmit\"",
            &[&format!(
                "line 2, column 9: `voice` {hebrew}; a voice of another language needs `language` beside it"
            )],
        ),
        (
            "[default]\nvoice = \"Polly.Carmit\"\nlanguage = \"he-IL\"",
            &[&format!("line 2, column 9: `voice` {hebrew}")],
        ),
        (
            "[default]\nlanguage = \"Hebrew!\"",
            &["line 2, column 12: `language` is not a language such as he-IL"],
        ),
        (
            "[default]\nlanguage = \"en-GB\"",
            &["line 2, column 12: `language` needs a `voice` of that language beside it"],
        ),
        (
            "[default]\nvoice = \"Google.he-IL-Wavenet-A\"\n[numbers.\"+97239999999\"]\nlanguage = \"en-GB\"",
            &[
                "line 3, column 10: `voice` of [default] does not fit the language; use man, woman, Polly.<name> or a \
               Google voice of that language",
            ],
        ),
        (
            "[default]\nrecord_max_secs = 1\nrecord_silence_secs = 14401",
            &["line 2, column 19: `record_max_secs` must be from 2 to 14400 seconds"],
        ),
        (
            "default.record_max_secs = 14401",
            &["line 1, column 27: `record_max_secs` must be from 2 to 14400 seconds"],
        ),
        (
            "default.record_silence_secs = 14401",
            &["line 1, column 31: `record_silence_secs` must be from 0 to 14400 seconds"],
        ),
        (
            "[default]\nrecord_max_secs = 10\nrecord_silence_secs = 11",
            &["line 3, column 23: `record_silence_secs` must not be longer than `record_max_secs`"],
        ),
        ("[default]\nvoice = \"Google.en-GB-Wavenet-A\"", &[]),
        ("[default]\nvoice = \"Polly.Amy\"\nlanguage = \"en-GB\"", &[]),
        ("default.language = \"he-IL\"", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(told(text), *expected, "{text}");
    }
}

#[test]
fn what_a_number_leaves_out_comes_from_the_environment() {
    let english = Script {
        greeting: "Please speak.".to_owned(),
        goodbye: "Bye.".to_owned(),
        voice: Voice::new("woman", "en-GB").unwrap(),
        max_length_secs: 60,
        silence_secs: 30,
        ..Script::default()
    };
    let of = |text: &str, environment: &Script| {
        let book = load(text).unwrap().book();
        let is_greeting_set = environment.greeting != Script::default().greeting;
        script(&book.default, environment, is_greeting_set)
    };
    assert_eq!(of("", &english), english);
    let own = of(
        "default.greeting = \"Hi\"\ndefault.record_max_secs = 10",
        &english,
    );
    assert_eq!((own.greeting.as_str(), own.goodbye.as_str()), ("Hi", "Bye."));
    // Silence that is longer than the message would be refused by Twilio.
    assert_eq!((own.max_length_secs, own.silence_secs), (10, 10));
    assert_eq!(of("default.record_silence_secs = 90", &english).silence_secs, 60);
    // A voice and its language go together.
    let voice = |text: &str, environment: &Script| {
        let voice = of(text, environment).voice;
        (voice.name().to_owned(), voice.language().to_owned())
    };
    let pair = |name: &str, language: &str| (name.to_owned(), language.to_owned());
    assert_eq!(
        voice("default.voice = \"Google.he-IL-Standard-C\"", &english),
        pair("Google.he-IL-Standard-C", "he-IL")
    );
    assert_eq!(
        voice("default.voice = \"Google.en-GB-Wavenet-B\"", &Script::default()),
        pair("Google.en-GB-Wavenet-B", "en-GB")
    );
    assert_eq!(
        voice("default.language = \"he-IL\"", &english),
        pair("Google.he-IL-Wavenet-A", "he-IL")
    );
    let male = Script {
        voice: Voice::new("Google.he-IL-Wavenet-D", "he-IL").unwrap(),
        ..Script::default()
    };
    assert_eq!(
        voice("default.language = \"he-IL\"", &male),
        pair("Google.he-IL-Wavenet-D", "he-IL")
    );
    // A number that takes no message must not ask for one.
    let silent = "default.record = false";
    assert_eq!(
        of(silent, &Script::default()).greeting,
        GREETING_WITHOUT_RECORDING
    );
    assert_eq!(of(silent, &english).greeting, "Please speak.");
    assert!(Script::check_text(GREETING_WITHOUT_RECORDING).is_ok());
}

#[test]
fn numbers_that_sound_alike_share_their_answer() {
    let listed: String = (0..1_000)
        .map(|n| format!("[numbers.\"+9723{n:07}\"]\nphrases = [\"{n}\"]\n"))
        .collect();
    let book = load(&listed).unwrap().book();
    let base = PublicUrl::parse("https://calls.example.com").unwrap();
    let answers = Answers::of(&book, &Script::default(), &base);
    let first = answers.to(&number("+97230000000"));
    assert!(Arc::ptr_eq(first, answers.to(&number("+97230000999"))));
    assert!(Arc::ptr_eq(first, answers.to(&number("+1"))));
    assert_eq!(answers.numbers.len(), 1_000);
}

#[test]
fn the_example_is_a_file_and_stands_in_the_guide() {
    let (_, block) = GUIDE.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    assert_eq!(block, EXAMPLE);
    let book = load(EXAMPLE).unwrap().book();
    let first = book.settings(&number("+97239999999"));
    assert_eq!((first.record_max_secs, first.phrases.len()), (Some(300), 2));
    assert!(first.goodbye.is_some() && first.summary_prompt.is_some());
    let english = book.settings(&number("+97248888888"));
    assert_eq!(english.language.as_deref(), Some("en-GB"));
    assert!(!book.settings(&number("+97237777777")).record);
    let kept = book.settings(&number("+97246666666"));
    assert!(kept.engines.as_ref() == ["whisper"] && !kept.may_summarize("openai"));
    assert_eq!(book.numbers.len(), 4);
    // Every key is explained, and the bounds are those of the code.
    for key in [
        "business_name",
        "greeting",
        "goodbye",
        "nothing_recorded",
        "voice",
        "language",
        "record_max_secs",
        "record_silence_secs",
        "record",
        "engines",
        "phrases",
        "retention_days",
        "summary.prompt",
        "summary.engines",
    ] {
        assert!(GUIDE.contains(&format!("`{key}`")), "{key} is not explained");
        assert!(EXAMPLE.contains(&format!("{key} = ")), "{key} is not shown");
    }
    use callfold_kit::numbers as kit;
    for (bound, text) in [
        (kit::BUSINESS_NAME_CHARS_MAX, "up to 200 characters"),
        (kit::PHRASES_MAX, "up to 500 entries"),
        (kit::PHRASE_CHARS_MAX, "of up to 100 characters"),
        (kit::PROMPT_CHARS_MAX, "up to 2000 characters"),
        (kit::RETENTION_DAYS_MAX as usize, "1 to 36500"),
        (callfold_twilio::twiml::SAY_CHARS_MAX, "up to 4096 characters"),
    ] {
        assert!(
            text.contains(&bound.to_string()) && GUIDE.contains(text),
            "{text}"
        );
    }
    let told = told("[default]\n\ngreting = \"x\"");
    assert_eq!(
        told,
        ["line 3, column 1: unknown key `greting`; did you mean `greeting`?"]
    );
    assert!(GUIDE.contains("numbers.toml:3:1: unknown key `greting`; did you mean `greeting`?"));
}

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::parse::parse;
use super::*;
use crate::config::Settings;

/// A voice is Carla, a greeting has at most 20 characters, silence is shorter than the message.
fn check() -> Check {
    Arc::new(|settings: &NumberSettings| {
        let mut wrong = Vec::new();
        if settings.voice.as_deref().is_some_and(|voice| voice != "Carla") {
            wrong.push(("voice", "is not Carla".to_owned()));
        }
        if settings
            .greeting
            .as_deref()
            .is_some_and(|text| text.chars().count() > 20)
        {
            wrong.push(("greeting", "is longer than 20 characters".to_owned()));
        }
        if let (Some(silence), Some(longest)) = (settings.record_silence_secs, settings.record_max_secs)
            && silence > longest
        {
            wrong.push(("record_silence_secs", "must not be longer".to_owned()));
        }
        wrong
    })
}

fn book(text: &str) -> Book {
    parse(text.as_bytes(), &check()).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = parse(text.as_bytes(), &check()).expect_err(text);
    mistakes
        .iter()
        .map(|m| format!("{}:{} {}", m.line, m.column, m.what))
        .collect()
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber(text.to_owned())
}

#[test]
fn a_number_has_its_own_values_and_those_of_default() {
    let book = book(
        r#"
[default]
business_name = "Plumbers"
greeting = "Hello"
voice = "Carla"
record_max_secs = 60
engines = ["whisper", "google"]
phrases = ["boiler"]
retention_days = 365
[default.summary]
prompt = "Name the street."

[numbers."+97239999999"]
greeting = "שלום"
record = false
phrases = []
[numbers."+97248888888".summary]
prompt = """
Two
lines."""
"#,
    );
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let first = book.settings(&number("+97239999999"));
    assert_eq!(text(&first.greeting).as_deref(), Some("שלום"));
    assert_eq!(text(&first.business_name).as_deref(), Some("Plumbers"));
    assert_eq!((first.record, first.record_max_secs), (false, Some(60)));
    assert_eq!(first.engines.as_ref(), ["whisper", "google"]);
    assert!(first.phrases.is_empty(), "an empty list is a value");
    assert_eq!(first.retention_days, Some(365));
    assert_eq!(text(&first.summary_prompt).as_deref(), Some("Name the street."));
    assert_eq!((&first.goodbye, &first.language), (&None, &None));

    let second = book.settings(&number("+97248888888"));
    assert_eq!(text(&second.summary_prompt).as_deref(), Some("Two\nlines."));
    assert_eq!(second.phrases.as_ref(), ["boiler"]);
    assert!(second.record);
    // Inherited texts are shared, not copied.
    let shared = |settings: &NumberSettings| settings.business_name.clone().unwrap();
    assert!(Arc::ptr_eq(&shared(first), &shared(second)));

    for other in ["+97230000000", "client:anna", ""] {
        assert!(
            Arc::ptr_eq(book.settings(&number(other)), &book.default),
            "{other}"
        );
    }
    assert!(book.remarks.is_empty(), "{:?}", book.remarks);
}

#[test]
fn a_number_may_keep_its_calls_from_the_model_for_summaries() {
    let text = r#"
[numbers."+97239999999"]
engines = ["whisper"]
summary.engines = ["extractive"]
[numbers."+97248888888"]
summary.engines = ["openai", "extractive"]
"#;
    let kept = book(text);
    let may = |to: &str| kept.settings(&number(to)).may_summarize("openai");
    assert_eq!(
        ["+97239999999", "+97248888888", "+97230000000"].map(may),
        [false, true, true]
    );
    assert!(kept.settings(&number("+97239999999")).may_summarize("extractive"));
    assert!(kept.keeps_summaries_from("openai") && !kept.keeps_summaries_from("extractive"));
    assert!(kept.remarks.is_empty(), "{:?}", kept.remarks);

    let of_default = book("default.summary.engines = [\"extractive\"]");
    assert!(of_default.keeps_summaries_from("openai"));
    assert!(
        !of_default
            .settings(&number("+97230000000"))
            .may_summarize("openai")
    );

    // Recordings are kept here and words are not: that should be known.
    let half = book("[numbers.\"+97239999999\"]\nengines = [\"whisper\"]");
    assert!(!half.keeps_summaries_from("openai"));
    assert_eq!(half.remarks.len(), 1, "{:?}", half.remarks);
}

#[test]
fn an_empty_file_says_nothing() {
    for text in [
        "",
        "# nothing\n",
        "[default]\n[numbers]\n",
        "\u{feff}[default]\r\n",
    ] {
        let book = book(text);
        assert_eq!(*book.default, NumberSettings::default());
        assert!(book.numbers.is_empty() && book.remarks.is_empty());
    }
}

#[test]
fn each_mistake_is_told_with_its_line_and_column() {
    let long_prompt = format!("default.summary.prompt = \"{}\"", "א".repeat(2_001));
    let long_phrase = format!("default.phrases = [\"ok\", \"{}\"]", "א".repeat(101));
    let phrases = (0..501).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
    let many_phrases = format!("default.phrases = [{phrases}]");
    let keys = "business_name, greeting, goodbye, nothing_recorded, voice, language, record_max_secs, \
                record_silence_secs, record, engines, phrases, retention_days, summary";
    let e164 =
        "is no number in the form E.164: a plus, the country's code, 4 to 15 digits in all, without spaces";
    let cases: &[(&str, &[&str])] = &[
        (
            "[default]\n  greting = \"x\"",
            &["2:3 unknown key `greting`; did you mean `greeting`?"],
        ),
        (
            "[default]\nvocie = \"x\"",
            &["2:1 unknown key `vocie`; did you mean `voice`?"],
        ),
        (
            "[default]\nsecret_key = \"x\"",
            &[&format!("2:1 unknown key `secret_key`; there are {keys}")],
        ),
        (
            "[defaults]",
            &["1:2 unknown key `defaults`; did you mean `default`?"],
        ),
        (
            "[\"+972 50 123 4567\"]\nrecord = true",
            &["1:2 unknown key; there are default, numbers"],
        ),
        (
            "default.summary.promt = \"x\"",
            &["1:17 unknown key `promt`; did you mean `prompt`?"],
        ),
        (
            "default.summary.engine = [\"openai\"]",
            &["1:17 unknown key `engine`; did you mean `engines`?"],
        ),
        (
            "default.summary.engines = [\"whisper\", \"openai\", \"openai\", \"extractive\", 3]",
            &[
                "1:28 is no engine of summaries: openai, extractive are",
                "1:49 is named twice",
                "1:73 must be a text in quotes",
            ],
        ),
        (
            "default.summary.engines = [\"extractive\", \"openai\"]",
            &["1:42 stands behind extractive, which always answers: put it first or leave it out"],
        ),
        (
            "default.summary.engines = []",
            &[
                "1:27 `summary.engines` is empty: leave the line out, or name \"extractive\" to keep calls here",
            ],
        ),
        ("default = 3", &["1:11 must be a table: [default]"]),
        (
            "default.summary = \"x\"",
            &["1:19 must be a table: `summary.prompt = \"…\"`"],
        ),
        (
            "numbers = []",
            &["1:11 must hold a table for each number: [numbers.\"+97239999999\"]"],
        ),
        (
            "numbers.\"+97239999999\" = 1",
            &["1:26 must be a table: [numbers.\"+97239999999\"], with the settings below it"],
        ),
        ("[numbers.\"03-9999999\"]", &[&format!("1:10 {e164}")]),
        ("[numbers.\"+972 39999999\"]", &[&format!("1:10 {e164}")]),
        ("[numbers.\"+0391234567\"]", &[&format!("1:10 {e164}")]),
        ("[numbers.\"+1234567890123456\"]", &[&format!("1:10 {e164}")]),
        (
            "[numbers.\"+97239999999\"]\n[numbers.\"+97239999999\"]",
            &["2:10 stands here for the second time"],
        ),
        (
            "[default]\nrecord = true\nrecord = false",
            &["3:1 stands here for the second time"],
        ),
        (
            "default.record = \"no\"",
            &["1:18 `record` must be true or false"],
        ),
        (
            "default.greeting = 3",
            &["1:20 `greeting` must be a text in quotes"],
        ),
        (
            "default.greeting = \" \"",
            &["1:20 `greeting` is empty: leave the line out instead"],
        ),
        (
            "default.goodbye = \"a\\u0007\"",
            &["1:19 `goodbye` contains a control character"],
        ),
        (
            "default.business_name = \"a\\nb\"",
            &["1:25 `business_name` must be one line without control characters"],
        ),
        (
            "default.record_max_secs = \"60\"",
            &["1:27 `record_max_secs` must be a whole number"],
        ),
        (
            "default.record_max_secs = -1",
            &["1:27 `record_max_secs` must be a whole number"],
        ),
        (
            "default.record_max_secs = 6e1",
            &["1:27 `record_max_secs` must be a whole number"],
        ),
        (
            "default.record_max_secs = 99999999999999999999",
            &["1:27 `record_max_secs` must be a whole number"],
        ),
        (
            "default.retention_days = 0",
            &["1:26 `retention_days` must be a whole number from 1 to 36500"],
        ),
        (
            "default.engines = []",
            &["1:19 `engines` names no engine: leave it out to have all of them"],
        ),
        (
            "default.engines = \"google\"",
            &["1:19 `engines` must be a list of texts: [\"…\", \"…\"]"],
        ),
        (
            "default.engines = [\"google\", \"watson\", 3, \"google\"]",
            &[
                "1:30 is no speech engine: google, whisper, openai are",
                "1:40 must be a text in quotes",
                "1:43 is named twice",
            ],
        ),
        (
            &long_prompt,
            &["1:26 `summary.prompt` is longer than 2000 characters"],
        ),
        (&long_phrase, &["1:26 is longer than 100 characters"]),
        (&many_phrases, &["1:19 `phrases` has more than 500 entries"]),
        ("[default]\nvoice = \"Hanna\"", &["2:9 `voice` is not Carla"]),
        // A column is a character, not a byte.
        (
            "# שלום\ndefault = { goodbye = \"שלום\", voice = \"Hanna\" }",
            &["2:39 `voice` is not Carla"],
        ),
        (
            "[default\nrecord = true",
            &["1:9 is not TOML: unclosed table, expected `]`"],
        ),
        (
            "[default]\ngreeting = \"Hello\nvoice = \"Carla\"",
            &["2:18 is not TOML: invalid basic string, expected `\"`"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(mistakes(text), *expected, "{text}");
    }
    assert_eq!(
        parse(b"[default]\n\xff", &check()).unwrap_err(),
        [Mistake {
            line: 2,
            column: 1,
            what: "is not UTF-8 from here on".to_owned()
        }]
    );
}

#[test]
fn several_mistakes_are_told_together_in_the_order_of_the_file() {
    let text = r#"
[numbers."+97239999999"]
voice = "Hanna"
retention_days = 0
[numbers."123"]
recrod = true
[default]
greeting = "much longer than twenty characters"
record_silence_secs = 30
[numbers."+97248888888"]
record_max_secs = 10
"#;
    let told = mistakes(text);
    let expected = [
        "3:9 `voice` is not Carla",
        "4:18 `retention_days` must be",
        "5:10 is no number",
        "6:1 unknown key `recrod`; did you mean `record`?",
        // Once, though every number inherits it.
        "8:12 `greeting` is longer than 20 characters",
        // What is wrong only together is told at the number.
        "10:10 `record_silence_secs` of [default] must not be longer",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told} is not {expected}");
    }
    // Neither values nor numbers are repeated.
    let all = told.join("\n");
    for value in ["Hanna", "+972", "123\"", "much longer"] {
        assert!(!all.contains(value), "{all}");
    }
    // A bound on what is told.
    let many: String = (0..50).map(|n| format!("x{n} = 1\n")).collect();
    let told = mistakes(&format!("[default]\n{many}"));
    assert_eq!(told.len(), 20);
    assert!(told[19].ends_with("(and 30 more mistakes)"), "{}", told[19]);
}

#[test]
fn a_file_is_bounded() {
    let list = |count: usize| {
        (0..count)
            .map(|n| format!("[numbers.\"+9725{n:08}\"]\n"))
            .collect::<String>()
    };
    assert_eq!(book(&list(NUMBERS_MAX)).numbers.len(), NUMBERS_MAX);
    assert_eq!(mistakes(&list(NUMBERS_MAX + 1)).len(), 1);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.toml");
    std::fs::write(&path, "#".repeat(FILE_BYTES_MAX)).unwrap();
    assert!(Numbers::load(&path, check()).is_ok());
    std::fs::write(&path, "#".repeat(FILE_BYTES_MAX + 1)).unwrap();
    assert!(matches!(
        Numbers::load(&path, check()),
        Err(LoadError::TooLarge(_))
    ));
    assert!(matches!(
        Numbers::load(folder.path(), check()),
        Err(LoadError::NotAFile(_))
    ));
}

#[test]
fn the_setting_names_the_file_and_its_mistakes_are_told_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let read = |values: &[(&str, &str)]| {
        let source: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::new(&source);
        let numbers = Numbers::from_settings(&mut settings, folder.path(), check());
        (numbers, settings.finish().map_err(|errors| errors.to_string()))
    };
    // Nothing there, and nothing asked for.
    let (numbers, finished) = read(&[]);
    assert_eq!(finished, Ok(()));
    assert!(!numbers.book().is_from_file);
    assert_eq!(numbers.path().unwrap(), folder.path().join(FILE_NAME));
    // The file of the data folder.
    std::fs::write(folder.path().join(FILE_NAME), "[default]\nrecord = false").unwrap();
    let (numbers, finished) = read(&[]);
    assert_eq!(finished, Ok(()));
    assert!(!numbers.settings(&number("+97239999999")).record);
    // One that is named.
    let other = folder.path().join("other.toml");
    let named = [(SETTING, other.to_str().unwrap())];
    let (_, finished) = read(&named);
    assert!(finished.unwrap_err().contains("could not read"));
    std::fs::write(&other, "[default]\nrecord = 1\nvoice = 2\n").unwrap();
    let (_, finished) = read(&named);
    let path = other.display();
    assert_eq!(
        finished.unwrap_err(),
        format!(
            "2 mistake(s) in the settings\n  {SETTING}: {path}:2:10: `record` must be true or false\n  \
             {SETTING}: {path}:3:9: `voice` must be a text in quotes"
        )
    );
}

/// A watched file, and everything by which its state shows.
struct Watched {
    folder: tempfile::TempDir,
    numbers: Numbers,
    health: crate::Health,
    metrics: crate::Metrics,
    lifecycle: crate::Lifecycle,
    checked: Arc<AtomicUsize>,
}

impl Watched {
    fn start(text: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.toml");
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let checked = Arc::new(AtomicUsize::new(0));
        let (counting, inner) = (Arc::clone(&checked), check());
        let check: Check = Arc::new(move |settings| {
            counting.fetch_add(1, Ordering::Relaxed);
            inner(settings)
        });
        let numbers = Numbers::load_if_there(&path, check).unwrap();
        let (health, metrics, lifecycle) = (
            crate::Health::new(),
            crate::Metrics::new(),
            crate::Lifecycle::new(),
        );
        let part = health.part("numbers", false);
        let every = std::time::Duration::from_millis(20);
        numbers.watch_every(every, &lifecycle, part, metrics.clone());
        Self {
            folder,
            numbers,
            health,
            metrics,
            lifecycle,
            checked,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("numbers.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn greeting(&self) -> Option<String> {
        let settings = self.numbers.settings(&number("+97239999999"));
        settings.greeting.as_deref().map(str::to_owned)
    }

    async fn greets(&self, expected: Option<&str>) {
        crate::testing::wait_for("the greeting", async || {
            (self.greeting().as_deref() == expected && self.part().ready).then_some(())
        })
        .await;
        assert!(self.metrics.render().contains("callfold_numbers_mistakes 0.0"));
    }

    fn part(&self) -> crate::health::PartState {
        let readiness = self.health.readiness();
        assert!(readiness.ready, "it never gates");
        readiness.parts["numbers"].clone()
    }

    /// Waits until the file is refused, and tells how health says so.
    async fn refused(&self, what: &str) -> String {
        crate::testing::wait_for(what, async || {
            self.part().reason.filter(|reason| reason.contains(what))
        })
        .await
    }

    async fn stop(self) {
        self.lifecycle.stop();
        self.lifecycle
            .stopped(std::time::Duration::from_secs(10))
            .await
            .unwrap();
    }
}

fn greeting(text: &str) -> String {
    format!("[numbers.\"+97239999999\"]\ngreeting = \"{text}\"\n")
}

#[tokio::test]
async fn a_change_is_taken_and_a_mistake_is_not() {
    let watched = Watched::start(Some(&greeting("one")));
    assert_eq!(watched.greeting().as_deref(), Some("one"));
    watched.write(&greeting("two"));
    watched.greets(Some("two")).await;

    watched.write("[numbers.\"+97239999999\"]\ngreeting = 3\nrecord = 4\n");
    let reason = watched.refused("line 2").await;
    assert_eq!(
        reason,
        "numbers.toml line 2, column 12: `greeting` must be a text in quotes (the first of 2 mistakes); \
         the settings read before stay in force"
    );
    assert!(!watched.part().ready);
    assert!(watched.metrics.render().contains("callfold_numbers_mistakes 2.0"));
    assert_eq!(watched.greeting().as_deref(), Some("two"));
    // What the check says counts as well.
    watched.write("[default]\nvoice = \"Hanna\"\n");
    watched.refused("line 2, column 9: `voice` is not Carla").await;
    assert_eq!(watched.greeting().as_deref(), Some("two"));

    watched.write(&greeting("three"));
    watched.greets(Some("three")).await;
    // Another file in its place, as editors do.
    let other = watched.folder.path().join("new.toml");
    std::fs::write(&other, greeting("four")).unwrap();
    std::fs::rename(&other, watched.path()).unwrap();
    watched.greets(Some("four")).await;
    // A file that does not change is not read again and again.
    let checked = watched.checked.load(Ordering::Relaxed);
    watched.write(&greeting("five"));
    watched.greets(Some("five")).await;
    assert_eq!(watched.checked.load(Ordering::Relaxed), checked + 2);
    watched.stop().await;
}

#[tokio::test]
async fn a_half_written_file_is_not_taken() {
    let watched = Watched::start(Some(&greeting("whole")));
    let next = greeting("the next one");
    let (half, rest) = next.split_at(next.len() - 6);
    let mut file = std::fs::File::create(watched.path()).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    file.sync_all().unwrap();
    watched.refused("is not TOML").await;
    assert_eq!(watched.greeting().as_deref(), Some("whole"));
    file.write_all(rest.as_bytes()).unwrap();
    file.sync_all().unwrap();
    watched.greets(Some("the next one")).await;
    watched.stop().await;
}

#[tokio::test]
async fn a_file_may_come_later_and_its_settings_outlive_it() {
    let watched = Watched::start(None);
    watched.greets(None).await;
    watched.write(&greeting("now"));
    watched.greets(Some("now")).await;
    std::fs::remove_file(watched.path()).unwrap();
    let reason = watched.refused("is gone").await;
    assert_eq!(reason, "the file is gone; the settings read before stay in force");
    assert_eq!(watched.greeting().as_deref(), Some("now"));
    // Another kind of thing in its place.
    std::fs::create_dir(watched.path()).unwrap();
    watched.refused("is no file").await;
    std::fs::remove_dir(watched.path()).unwrap();
    watched.refused("is gone").await;
    watched.write(&greeting("again"));
    watched.greets(Some("again")).await;
    // The same mistake after a while without a file is told again.
    for _ in 0..2 {
        watched.write("[default]\ngreeting = 3\n");
        watched.refused("line 2").await;
        std::fs::remove_file(watched.path()).unwrap();
        watched.refused("is gone").await;
    }
    watched.stop().await;
}

#[test]
fn a_call_to_nobody_knows_which_number_goes_to_engines_that_all_numbers_allow() {
    let engines = |text: &str| book(text).unknown().engines.to_vec();
    let numbers = |engines: [&str; 2]| {
        let [one, other] = engines;
        format!(
            "[numbers.\"+97231111111\"]\nengines = {one}\n[numbers.\"+97232222222\"]\nengines = {other}\n\
             [numbers.\"+97233333333\"]\ngreeting = \"free\"\n"
        )
    };
    assert!(
        engines("[default]\ngreeting = \"x\"\n").is_empty(),
        "as the environment says"
    );
    assert!(engines("[numbers.\"+97233333333\"]\ngreeting = \"free\"\n").is_empty());
    let both = numbers([
        "[\"openai\", \"whisper\"]",
        "[\"google\", \"whisper\", \"openai\"]",
    ]);
    assert_eq!(engines(&both), ["whisper", "openai"]);
    let default = format!("[default]\nengines = [\"openai\", \"google\", \"whisper\"]\n{both}");
    assert_eq!(engines(&default), ["openai", "whisper"]);
    let none = numbers(["[\"google\"]", "[\"openai\"]"]);
    assert_eq!(engines(&none), ["whisper"], "what it hears goes nowhere");
    let summaries = |text: &str| book(text).unknown().summary_engines.to_vec();
    assert!(summaries(&both).is_empty());
    let kept = format!("{both}summary.engines = [\"extractive\"]\n");
    assert_eq!(summaries(&kept), ["extractive"]);
    // Everything else is that of [default].
    let unknown =
        book("[default]\ngreeting = \"d\"\n[numbers.\"+97231111111\"]\nengines = [\"whisper\"]\n").unknown();
    assert_eq!(unknown.greeting.as_deref(), Some("d"));
}

#[test]
fn callers_are_expected_to_speak_the_language_of_the_voice() {
    let any_voice: Check = Arc::new(|_| Vec::new());
    let spoken = |text: &str| {
        let book = parse(text.as_bytes(), &any_voice).unwrap();
        let settings = book.settings(&number("+97239999999"));
        settings.spoken_language().map(str::to_owned)
    };
    assert_eq!(spoken("[default]\nrecord = true\n"), None);
    assert_eq!(
        spoken("[default]\nvoice = \"Google.en-GB-Wavenet-A\"\n").as_deref(),
        Some("en-GB")
    );
    // A name without a language in it, and a language that is set.
    assert_eq!(spoken("[default]\nvoice = \"Polly.Amy\"\n"), None);
    assert_eq!(spoken("[default]\nvoice = \"Google.he\"\n"), None);
    assert_eq!(
        spoken("[default]\nvoice = \"Google.en-GB-Wavenet-A\"\nlanguage = \"he-IL\"\n").as_deref(),
        Some("he-IL")
    );
}

#[tokio::test]
async fn whoever_follows_is_told_of_a_change() {
    let watched = Watched::start(Some(&greeting("one")));
    let mut changes = watched.numbers.clone().subscribe();
    watched.write(&greeting("two"));
    changes.changed().await.unwrap();
    let book = Arc::clone(&changes.borrow_and_update());
    let settings = book.settings(&number("+97239999999"));
    assert_eq!(settings.greeting.as_deref(), Some("two"));
    watched.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_a_file_or_mistakes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(mistakes) = parse(&bytes, &check()) {
            prop_assert!(!mistakes.is_empty());
        }
    }

    #[test]
    fn any_pieces_of_toml_are_a_file_or_mistakes(pieces in proptest::collection::vec(
        prop_oneof![
            Just("[default]\n"), Just("[numbers.\"+97239999999\"]\n"), Just("[[numbers]]\n"), Just("greeting = "),
            Just("\"שלום\"\n"), Just("phrases = ["), Just("]"), Just("{"), Just("}"), Just(","), Just("\n"), Just("="),
            Just("\"\"\""), Just("'"), Just("."), Just("summary"), Just("0x7fffffffffffffffffff"), Just("1979-05-27"),
            Just("nan\n"), Just("\\"), Just("\u{feff}"), Just("\r"), Just("record = true\n"), Just("#"),
        ],
        0..40,
    )) {
        let text = pieces.concat();
        if let Err(mistakes) = parse(text.as_bytes(), &check()) {
            let lines = text.split('\n').count();
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.iter().all(|m| (1..=lines).contains(&m.line) && m.column >= 1), "{mistakes:?}");
        }
    }
}

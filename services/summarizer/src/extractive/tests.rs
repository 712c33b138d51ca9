#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn lines(text: &str) -> Vec<String> {
    summarize(text)
        .map(|(summary, _)| summary.text().lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../../transcriber/assets/samples/", $name, ".txt"))
    };
}

/// As whisper writes it at times: without full stops.
fn in_one_breath(text: &str) -> String {
    text.replace(['.', ','], "")
}

#[test]
fn the_summary_of_each_sample_is_worth_reading() {
    let table: &[(&str, &[&str])] = &[
        (
            sample!("message-1"),
            &[
                "אני רוצה לקבל ייעוץ לניקיון משרד",
                "מדברת רונית מרמת גן",
                "המספר שלי 9389209",
            ],
        ),
        (
            sample!("message-2"),
            &[
                "אני מעוניין לקבל הצעת מחיר להובלת רהיטים בחיפה",
                "מדבר משה מזרחי מרמת גן",
                "זה יעלה 10,000 שקל",
            ],
        ),
        (
            sample!("message-3"),
            &[
                "אני מבקשת הצעת מחיר לביטוח דירה בנתניה",
                "שמי מיכל פרץ מחיפה",
                "אפשר להתקשר אליי ביום חמישי בשעה שבע",
            ],
        ),
        (
            sample!("message-4"),
            &[
                "אני צריך פרטים נוספים לשיפוץ אמבטיה ברמת גן",
                "מדבר אלון פרץ מהרצליה",
                "תחזרו אליי ביום שני בשעה עשר",
            ],
        ),
        (
            sample!("message-5"),
            &[
                "אני מחפש ייעוץ לצביעת דירה בירושלים",
                "שמי יעל מזרחי",
                "בבקשה לחזור אליי ביום חמישי בשעה אחת עשרה",
            ],
        ),
        (
            sample!("message-6"),
            &[
                "אני מחפשת הצעת מחיר לאתר אינטרנט ברמת גן",
                "שמי דוד מזרחי מאשדוד",
                "התקציב שלי 30,000 שקלים",
            ],
        ),
        (sample!("silence"), &[]),
    ];
    for (text, expected) in table {
        assert_eq!(lines(text), *expected);
        assert_eq!(lines(&in_one_breath(text)), *expected, "without full stops");
    }
}

#[test]
fn the_details_of_each_sample_are_found() {
    let details = |name: &str, number: Option<&str>, topic: &str| Details {
        caller_name: Some(name.to_owned()),
        callback_number: number.map(str::to_owned),
        topic: Some(topic.to_owned()),
        urgency: None,
    };
    let table = [
        (
            sample!("message-1"),
            details("רונית", Some("9389209"), "ניקיון משרד"),
        ),
        (
            sample!("message-2"),
            details("משה מזרחי", None, "הובלת רהיטים בחיפה"),
        ),
        (
            sample!("message-3"),
            details("מיכל פרץ", None, "ביטוח דירה בנתניה"),
        ),
        (
            sample!("message-4"),
            details("אלון פרץ", None, "שיפוץ אמבטיה ברמת גן"),
        ),
        (
            sample!("message-5"),
            details("יעל מזרחי", None, "צביעת דירה בירושלים"),
        ),
        (
            sample!("message-6"),
            details("דוד מזרחי", None, "אתר אינטרנט ברמת גן"),
        ),
    ];
    for (text, expected) in table {
        for text in [text.to_owned(), in_one_breath(text)] {
            let found = summarize(&text).map(|(_, details)| details).unwrap_or_default();
            let fields = |d: &Details| {
                (
                    d.caller_name.clone(),
                    d.callback_number.clone(),
                    d.topic.clone(),
                    d.urgency,
                )
            };
            assert_eq!(fields(&found), fields(&expected), "{text}");
        }
    }
}

#[test]
fn of_several_requests_the_first_is_the_headline() {
    for text in [
        sample!("long-call").to_owned(),
        in_one_breath(sample!("long-call")),
    ] {
        let summary = lines(&text);
        assert_eq!(summary.len(), 3);
        assert_eq!(summary[0], "אני צריך פרטים נוספים לשיפוץ אמבטיה");
        let (_, details) = summarize(&text).expect("something was said");
        assert_eq!(details.caller_name.as_deref(), Some("נדב פרידמן"));
        assert_eq!(details.callback_number.as_deref(), Some("0530272811"));
        assert_eq!(details.topic.as_deref(), Some("שיפוץ אמבטיה"));
        assert_eq!(details.urgency, Some(Urgency::High));
    }
}

#[test]
fn a_message_in_one_breath_is_cut_into_its_thoughts() {
    assert_eq!(
        lines("שלום מדבר דוד כהן מחיפה אני צריך ייעוץ לצביעת דירה תחזרו אליי מחר בבוקר תודה"),
        [
            "אני צריך ייעוץ לצביעת דירה",
            "מדבר דוד כהן מחיפה",
            "תחזרו אליי מחר בבוקר"
        ],
    );
    assert_eq!(
        lines("שלום, אני צריך לקבוע תור לבדיקת רכב, אפשר מחר בבוקר או ביום שלישי, תודה רבה ויום טוב לכולם"),
        ["אני צריך לקבוע תור לבדיקת רכב", "אפשר מחר בבוקר או ביום שלישי"],
    );
    // "That you call" and "I did not get" go on with the sentence before.
    assert_eq!(
        lines("אני מבקש מאוד מאוד שתחזרו אליי היום כי עדיין לא קיבלתי את המשלוח"),
        ["אני מבקש מאוד מאוד שתחזרו אליי היום כי עדיין לא קיבלתי את המשלוח"],
    );
}

#[test]
fn english_messages_are_read_by_the_same_rules() {
    assert_eq!(
        lines(
            "Hi, this is Dana Cohen. I need a quote for painting a three room flat. Please call me back at 050-123-4567. Thank you very much."
        ),
        [
            "I need a quote for painting a three room flat",
            "this is Dana Cohen",
            "Please call me back at 050-123-4567",
        ],
    );
    assert_eq!(
        lines(
            "hello my name is Tom I would like to book an appointment for next Tuesday my number is five five five one two three four thanks bye"
        ),
        [
            "I would like to book an appointment for next Tuesday",
            "my name is Tom",
            "my number is 5551234",
        ],
    );
}

#[test]
fn a_trouble_is_the_headline_where_nothing_is_asked_for() {
    assert_eq!(
        lines("שלום. מדברת שרה מחולון. יש נזילה במטבח. זה דחוף מאוד. תודה."),
        ["יש נזילה במטבח", "מדברת שרה מחולון", "זה דחוף מאוד"],
    );
}

#[test]
fn asking_for_a_call_is_no_headline_where_there_is_a_matter() {
    assert_eq!(
        lines("אני מבקש שתחזרו אליי בקשר לחשבונית. קיבלתי חשבונית כפולה על התיקון."),
        [
            "קיבלתי חשבונית כפולה על התיקון",
            "אני מבקש שתחזרו אליי בקשר לחשבונית"
        ],
    );
    assert_eq!(lines("תחזרו אליי בבקשה."), ["תחזרו אליי בבקשה"]);
}

#[test]
fn short_messages_have_fewer_points_and_silence_has_no_summary() {
    assert_eq!(lines("אני צריך טכנאי."), ["אני צריך טכנאי"]);
    assert_eq!(
        lines("שלום. אני צריך טכנאי. תודה רבה, יום טוב."),
        ["אני צריך טכנאי"]
    );
    assert_eq!(lines("שלום."), ["שלום"]);
    for silent in ["", " \n", "...", "\u{200f}"] {
        assert!(summarize(silent).is_none());
    }
}

#[test]
fn no_sentence_is_said_twice() {
    assert_eq!(
        lines("אני צריך טכנאי! אני צריך טכנאי. אני, צריך טכנאי? שמי דן."),
        ["אני צריך טכנאי", "שמי דן"],
    );
    assert_eq!(
        lines(
            "שמי דן. אני צריך הצעת מחיר לשיפוץ מטבח בחיפה. כן, אני רוצה הצעת מחיר לשיפוץ המטבח בחיפה. \
             המספר שלי אפס חמש שתיים שלוש ארבע חמש שש שבע שמונה תשע. שוב המספר שלי 0523456789."
        ),
        [
            "אני צריך הצעת מחיר לשיפוץ מטבח בחיפה",
            "שמי דן",
            "המספר שלי 0523456789",
        ],
    );
}

#[test]
fn calls_as_people_make_them_have_a_headline() {
    let table = [
        (
            "היי, מה שלומכם? רציתי לשאול כמה עולה טיפול פנים ואם יש תור פנוי מחר בבוקר. קוראים לי שירה בן חיים, 054-9876543.",
            "רציתי לשאול כמה עולה טיפול פנים ואם יש תור פנוי מחר בבוקר",
        ),
        (
            "בוקר טוב, חייבתם אותי פעמיים על סכום של 450 שקל ואני רוצה החזר. זה דחוף. מספר לקוח 12345678.",
            "אני רוצה החזר",
        ),
        (
            "הלו? הלו? יש שם מישהו? טוב, אז תחזרו אליי בבקשה לאפס חמש שתיים שלוש ארבע חמש שש שבע שמונה תשע.",
            "תחזרו אליי בבקשה ל-0523456789",
        ),
        (
            "שלום מדבר ויקטור יש לי נזילה בתקרה של המקלחת זה ממש דחוף בבקשה תחזרו אליי מיד",
            "יש לי נזילה בתקרה של המקלחת",
        ),
        (
            "Hello, this is Mark. My washing machine stopped working and I need a technician. Call me at 052 345 6789.",
            "I need a technician",
        ),
        (
            "שלום, שמי רות. אני רוצה לבטל את התור שלי ליום שלישי. תודה.",
            "אני רוצה לבטל את התור שלי ליום שלישי",
        ),
    ];
    for (text, headline) in table {
        assert_eq!(lines(text)[0], headline);
    }
}

#[test]
fn fillers_in_front_are_no_headline() {
    assert_eq!(
        lines("אה, אז, אני צריך טכנאי למזגן. תודה."),
        ["אני צריך טכנאי למזגן"]
    );
}

#[test]
fn headlines_are_bounded() {
    let text = format!("אני צריך {}", "מברגים ".repeat(80));
    let (summary, _) = summarize(&text).expect("something was said");
    assert!(summary.title().chars().count() <= crate::summary::TITLE_CHARS_MAX);
    assert!(summary.title().ends_with("מברגים…"));
}

#[test]
fn numbers_and_addresses_keep_their_full_stops() {
    assert_eq!(
        lines("אני צריך צינור של 3.5 מטר. האתר הוא example.co.il."),
        ["אני צריך צינור של 3.5 מטר", "האתר הוא example.co.il",]
    );
}

/// What a recogniser gives that puts no punctuation: the longest texts that are looked at, and the worst of them.
#[test]
fn two_hours_without_punctuation_are_summarised_with_few_comparisons() {
    let fill = |word: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        let mut at = 0;
        while text.chars().count() < TEXT_CHARS_MAX {
            // Counted now and then only: this is the slow part of the test.
            for _ in 0..500 {
                text.push_str(&word(at));
                at += 1;
            }
        }
        text
    };
    let texts = [
        fill(&|_| "ארונות ".to_owned()),
        fill(&|at| format!("ארון{} ", at % 97)),
        // Two sentences of half the text each.
        fill(&|at| format!("ארון{}{}", at % 97, if at == 9_000 { ". " } else { " " })),
        fill(&|at| format!("ארון{},", at % 97)),
        fill(&|_| "א".to_owned()),
        fill(&|_| "חמש ".to_owned()),
    ];
    for text in texts {
        let words = crate::words::plain_words(&text).len();
        let before = crate::repeat::count::words();
        let (summary, _) = summarize(&text).unwrap();
        let compared = crate::repeat::count::words() - before;
        // Each word with the headline and each of the points, at most, and those once more with each other.
        assert!(
            compared <= (1 + POINTS_MAX) * words + 1_000,
            "{compared} comparisons of {words} words"
        );
        assert!(crate::text::count_words(&summary.text()) <= crate::summary::WORDS_MAX);
    }
}

#[test]
fn a_long_sentence_is_cut_between_words_and_not_within_a_number() {
    let filler = "ארון ".repeat(56);
    let digits = "אפס חמש שתיים שלוש ארבע חמש שש שבע שמונה תשע";
    let cut = sentence::sentences(&format!("{filler}{digits} {filler}"));
    assert!(cut.len() >= 2 && cut[0].ends_with(digits), "{cut:?}");
    assert!(cut.iter().all(|sentence| sentence.split(' ').count() <= 80));
    let cut = sentence::sentences(&"חמש ".repeat(1_000));
    assert!(cut.iter().all(|sentence| sentence.split(' ').count() <= 80));
    let endless = sentence::sentences(&"א".repeat(1_000));
    assert!(
        endless
            .iter()
            .all(|sentence| sentence.split(' ').all(|word| word.chars().count() <= 200))
    );
}

use super::*;

fn lines(text: &str) -> Vec<String> {
    summarize(text)
        .map(|summary| summary.text().lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

#[test]
fn the_headline_of_each_sample_is_the_request() {
    let table = [
        (
            "מדברת רונית מרמת גן. אני רוצה לקבל ייעוץ לניקיון משרד. המספר שלי תשע שלוש שמונה תשע שתיים אפס תשע.",
            [
                "אני רוצה לקבל ייעוץ לניקיון משרד",
                "מדברת רונית מרמת גן",
                "המספר שלי תשע שלוש שמונה תשע שתיים אפס תשע",
            ],
        ),
        (
            "מדבר משה מזרחי מרמת גן. אני מעוניין לקבל הצעת מחיר להובלת רהיטים בחיפה. זה יעלה עשרת אלפים שקל. יום טוב.",
            [
                "אני מעוניין לקבל הצעת מחיר להובלת רהיטים בחיפה",
                "מדבר משה מזרחי מרמת גן",
                "זה יעלה עשרת אלפים שקל",
            ],
        ),
        (
            "שמי מיכל פרץ מחיפה. אני מבקשת הצעת מחיר לביטוח דירה בנתניה. אפשר להתקשר אליי ביום חמישי בשעה שבע.",
            [
                "אני מבקשת הצעת מחיר לביטוח דירה בנתניה",
                "שמי מיכל פרץ מחיפה",
                "אפשר להתקשר אליי ביום חמישי בשעה שבע",
            ],
        ),
        (
            "בוקר טוב מדבר אלון פרץ מהרצליה. אני צריך פרטים נוספים לשיפוץ אמבטיה ברמת גן. תחזרו אליי ביום שני בשעה עשר.",
            [
                "אני צריך פרטים נוספים לשיפוץ אמבטיה ברמת גן",
                "מדבר אלון פרץ מהרצליה",
                "תחזרו אליי ביום שני בשעה עשר",
            ],
        ),
        (
            "שמי יעל מזרחי. אני מחפש ייעוץ לצביעת דירה בירושלים. קיבלתי המלצה משכן. בבקשה לחזור אליי ביום חמישי בשעה אחת עשרה.",
            [
                "אני מחפש ייעוץ לצביעת דירה בירושלים",
                "שמי יעל מזרחי",
                "בבקשה לחזור אליי ביום חמישי בשעה אחת עשרה",
            ],
        ),
        (
            "ערב טוב שמי דוד מזרחי מאשדוד. אני מחפשת הצעת מחיר לאתר אינטרנט ברמת גן. התקציב שלי שלושים אלף שקלים.",
            [
                "אני מחפשת הצעת מחיר לאתר אינטרנט ברמת גן",
                "שמי דוד מזרחי מאשדוד",
                "התקציב שלי שלושים אלף שקלים",
            ],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(lines(text), expected);
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
            "my number is five five five one two three four",
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
}

#[test]
fn of_several_requests_the_first_is_the_headline() {
    let text = include_str!("../../../transcriber/assets/samples/long-call.txt");
    let summary = lines(text);
    assert_eq!(summary.len(), 3);
    assert_eq!(summary[0], "אני צריך פרטים נוספים לשיפוץ אמבטיה");
}

#[test]
fn headlines_are_bounded() {
    let text = format!("אני צריך {}", "מברגים ".repeat(80));
    let summary = summarize(&text).expect("something was said");
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

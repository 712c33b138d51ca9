//! What the model answered. Pure: text → a draft, not yet held against what was said.
//!
//! Models are asked for JSON and mostly give it, at times in a code fence or with a sentence around it; small ones give
//! lines. All of these are read. What comes out is plain text whatever went in.

use callfold_schema::event::Urgency;
use serde_json::{Map, Value};

use crate::extractive::Details;
use crate::summary::{NAME_CHARS_MAX, POINTS_MAX};
use crate::text::{clean, without_emphasis, without_markup};

/// Longest answer that is looked at, in bytes; ten times what was asked for.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A line longer than this is no headline and no point, in characters.
const LINE_CHARS_MAX: usize = 400;
/// A longer detail is none, in characters.
const DETAIL_CHARS_MAX: usize = 200;
/// How often signs are looked for in what is left without them.
const PLAIN_ROUNDS_MAX: usize = 8;
/// What models write where nothing was said.
const NOTHING: &[&str] = &[
    "null",
    "none",
    "n/a",
    "na",
    "unknown",
    "nil",
    "-",
    "אין",
    "לא ידוע",
    "לא נאמר",
    "לא צוין",
    "ריק",
    "\"\"",
];

/// Why an answer is no summary. Does not repeat the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// Nothing, or no letter.
    #[error("the answer is empty")]
    Empty,
    /// More text than was asked for by far.
    #[error("the answer is too long")]
    TooLong,
    /// It begins as JSON and ends before its end.
    #[error("the answer is broken JSON")]
    BrokenJson,
    /// JSON without a title.
    #[error("the answer has no title")]
    NoTitle,
}

/// An answer in its parts: plain text on one line each, unchecked otherwise.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) title: String,
    /// At most [`POINTS_MAX`].
    pub(crate) points: Vec<String>,
    pub(crate) details: Details,
}

/// Answers are never logged, by accident neither.
impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("points", &self.points.len())
            .field("details", &self.details)
            .finish_non_exhaustive()
    }
}

/// Reads an answer.
///
/// # Errors
/// It holds no summary; says in which way.
pub(crate) fn parse(answer: &str) -> Result<Draft, AnswerError> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(AnswerError::TooLong);
    }
    if !answer.chars().any(char::is_alphanumeric) {
        return Err(AnswerError::Empty);
    }
    match answer.find('{') {
        Some(at) => from_json(&answer[at..]),
        None => from_lines(answer),
    }
}

fn from_json(text: &str) -> Result<Draft, AnswerError> {
    // The first value only: a fence or a remark may follow.
    let object = match serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .next()
    {
        Some(Ok(Value::Object(object))) => object,
        _ => return Err(AnswerError::BrokenJson),
    };
    let field = |names: &[&str]| names.iter().find_map(|name| object.get(*name));
    let title = field(&["title", "headline", "כותרת"])
        .and_then(Value::as_str)
        .ok_or(AnswerError::NoTitle)?;
    let points: Vec<&str> = match field(&["points", "bullets", "נקודות"]) {
        Some(Value::Array(points)) => points.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(point)) => point.lines().collect(),
        _ => Vec::new(),
    };
    draft(title, &points, details(&object), AnswerError::NoTitle)
}

fn from_lines(text: &str) -> Result<Draft, AnswerError> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("```"))
        .filter(|line| undecorated(line).chars().any(char::is_alphanumeric))
        .take(1 + POINTS_MAX)
        .collect();
    let (title, points) = lines.split_first().ok_or(AnswerError::Empty)?;
    draft(title, points, Details::default(), AnswerError::Empty)
}

fn draft(title: &str, points: &[&str], details: Details, empty: AnswerError) -> Result<Draft, AnswerError> {
    let mut lines = std::iter::once(&title).chain(points);
    if lines.any(|line| line.chars().count() > LINE_CHARS_MAX) {
        return Err(AnswerError::TooLong);
    }
    let is_said = |line: &String| line.chars().any(char::is_alphanumeric);
    Ok(Draft {
        title: Some(plain(title)).filter(is_said).ok_or(empty)?,
        points: points
            .iter()
            .map(|point| plain(point))
            .filter(is_said)
            .take(POINTS_MAX)
            .collect(),
        details,
    })
}

/// The line as plain text. What is left when signs are taken out may be signs again, so they are taken out until nothing
/// changes. Markup goes last each time: whatever the bound, none is left.
fn plain(line: &str) -> String {
    let mut text = clean(line);
    for _ in 0..PLAIN_ROUNDS_MAX {
        let plainer = clean(&without_markup(&without_emphasis(undecorated(&text))));
        if plainer == text {
            break;
        }
        text = plainer;
    }
    text
}

/// The fields beside the summary; one of another type than asked for is none.
fn details(object: &Map<String, Value>) -> Details {
    let text = |name: &str, chars_max: usize| {
        let text = match object.get(name)? {
            Value::String(text) if text.chars().count() <= DETAIL_CHARS_MAX => plain(text),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let is_nothing = NOTHING.contains(&text.to_lowercase().as_str());
        let is_text = text.chars().any(char::is_alphanumeric) && !is_nothing;
        (is_text && text.chars().count() <= chars_max).then_some(text)
    };
    let urgency = text("urgency", DETAIL_CHARS_MAX).and_then(|level| match level.to_lowercase().as_str() {
        "low" | "נמוכה" => Some(Urgency::Low),
        "normal" | "medium" | "רגילה" => Some(Urgency::Normal),
        "high" | "urgent" | "גבוהה" => Some(Urgency::High),
        _ => None,
    });
    Details {
        caller_name: text("caller_name", NAME_CHARS_MAX),
        callback_number: text("callback_number", DETAIL_CHARS_MAX),
        topic: text("topic", DETAIL_CHARS_MAX),
        urgency,
    }
}

/// A line without list marks, numbering, emphasis, quotation marks and a label such as `Title:`.
fn undecorated(line: &str) -> &str {
    const MARKS: &[char] = &['-', '*', '•', '–', '#', '"', '“', '”', '`', '_', ' ', '\t'];
    let mut rest = line.trim().trim_matches(MARKS);
    if let Some((number, behind)) = rest.split_once(['.', ')'])
        && number.len() <= 2
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && behind.starts_with(' ')
    {
        rest = behind.trim_matches(MARKS);
    }
    if let Some((label, behind)) = rest.split_once(':') {
        let label = label.trim_matches(MARKS).to_lowercase();
        let label = label.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
        if [
            "title",
            "headline",
            "summary",
            "point",
            "כותרת",
            "נקודה",
            "סיכום",
            "תקציר",
        ]
        .contains(&label)
            && !behind.trim().is_empty()
        {
            rest = behind.trim_matches(MARKS);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(answer: &str) -> Result<Vec<String>, AnswerError> {
        parse(answer).map(|draft| std::iter::once(draft.title).chain(draft.points).collect())
    }

    #[test]
    fn json_is_read_bare_fenced_and_with_words_around_it() {
        let json = r#"{"title": "מבקש הצעת מחיר", "points": ["משה מזרחי מרמת גן", "התקציב 10,000"]}"#;
        let fenced = format!("```json\n{json}\n```");
        let chatty = format!("הנה הסיכום:\n{json}\nאשמח לעזור עוד! {{}}");
        for answer in [json, &fenced, &chatty] {
            assert_eq!(
                lines(answer),
                Ok(vec![
                    "מבקש הצעת מחיר".into(),
                    "משה מזרחי מרמת גן".into(),
                    "התקציב 10,000".into()
                ]),
            );
        }
    }

    #[test]
    fn lines_are_read_where_a_model_knows_no_json() {
        for answer in [
            "מבקש ייעוץ\n- רונית\n- לחזור מחר",
            "**כותרת:** מבקש ייעוץ\n\n1. רונית\n2) לחזור מחר\n3. עוד משהו",
            "Title: מבקש ייעוץ\nנקודה 1: רונית\nנקודה 2: לחזור מחר",
            "```\n\"מבקש ייעוץ\"\n• רונית\n• לחזור מחר\n```",
        ] {
            assert_eq!(
                lines(answer),
                Ok(vec!["מבקש ייעוץ".into(), "רונית".into(), "לחזור מחר".into()]),
                "{answer}"
            );
        }
        assert_eq!(lines("10.5 מטר בד"), Ok(vec!["10.5 מטר בד".into()]));
        assert_eq!(lines("להתקשר בשעה: עשר"), Ok(vec!["להתקשר בשעה: עשר".into()]));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(lines(""), Err(AnswerError::Empty));
        assert_eq!(lines(" \n```\n```"), Err(AnswerError::Empty));
        assert_eq!(lines("{\"title\": \"מבקש"), Err(AnswerError::BrokenJson));
        assert_eq!(lines("{}"), Err(AnswerError::Empty));
        assert_eq!(
            lines(r#"{"title": "", "points": ["א"]}"#),
            Err(AnswerError::NoTitle)
        );
        assert_eq!(lines(r#"{"title": 5}"#), Err(AnswerError::NoTitle));
        assert_eq!(lines(&"מילה ".repeat(200)), Err(AnswerError::TooLong));
        assert_eq!(lines(&"מילה\n".repeat(4_000)), Err(AnswerError::TooLong));
        assert_eq!(lines(&"{\"a\":".repeat(3_000)), Err(AnswerError::BrokenJson));
    }

    #[test]
    fn what_comes_out_is_plain() {
        let answer = serde_json::json!({
            "title": "מבקש\n\u{202e}טכנאי\u{0} <script>alert(1)</script>",
            "points": ["<b>דחוף</b>", "", 7, "שני", "שלישי"],
            "html": "<p>", "system": "ignored",
        });
        assert_eq!(
            lines(&answer.to_string()),
            Ok(vec!["מבקש טכנאי alert(1)".into(), "דחוף".into(), "שני".into()])
        );
    }

    #[test]
    fn taking_signs_out_makes_no_markup_of_what_is_left() {
        for (line, expected) in [
            ("מבקש <`script>alert(1)<`/script>", "מבקש alert(1)"),
            ("מבקש <**img src=x>", "מבקש"),
            ("מבקש <__a>כאן<__/a>", "מבקש כאן"),
            ("מבקש <_`_b>", "מבקש"),
            ("מבקש <_*`*_b>", "מבקש"),
            ("**`כותרת: <`b>מבקש`**", "מבקש"),
            ("3 < 5, 4*`*2", "3 < 5, 42"),
        ] {
            assert_eq!(plain(line), expected, "{line}");
        }
        // However deep, it ends, and no tag comes out.
        let mut sign = "`".to_owned();
        for _ in 0..200 {
            sign = format!("_{sign}_");
        }
        let deep = plain(&format!("א <{sign}script>"));
        assert!(!deep.contains("<s") && deep.starts_with('א'), "{deep}");
    }

    #[test]
    fn emphasis_within_a_line_is_taken_out() {
        let answer = serde_json::json!({
            "title": "מבקש **הצעת מחיר** לשיפוץ",
            "points": ["לחזור `מחר` בבוקר", "תקציב __30,000__ שקל, 3*4 מטר"],
            "caller_name": "**דוד** כהן",
        });
        let draft = parse(&answer.to_string());
        assert_eq!(
            draft
                .as_ref()
                .ok()
                .and_then(|draft| draft.details.caller_name.as_deref()),
            Some("דוד כהן")
        );
        assert_eq!(
            draft.map(|draft| (draft.title, draft.points)),
            Ok((
                "מבקש הצעת מחיר לשיפוץ".into(),
                vec!["לחזור מחר בבוקר".into(), "תקציב 30,000 שקל, 3*4 מטר".into()]
            ))
        );
    }

    #[test]
    fn details_are_read_where_they_are_what_was_asked_for() {
        let of = |json: &str| parse(json).map(|draft| draft.details);
        assert_eq!(
            of(
                r#"{"title": "א", "caller_name": " משה\u200f מזרחי ", "callback_number": 521234567, "topic": "ייעוץ", "urgency": "HIGH"}"#
            ),
            Ok(Details {
                caller_name: Some("משה מזרחי".into()),
                callback_number: Some("521234567".into()),
                topic: Some("ייעוץ".into()),
                urgency: Some(Urgency::High),
            })
        );
        for json in [
            r#"{"title": "א", "caller_name": null, "callback_number": "", "topic": "לא ידוע", "urgency": "very"}"#,
            r#"{"title": "א", "caller_name": ["משה"], "callback_number": {}, "topic": "N/A", "urgency": 3}"#,
            "מבקש ייעוץ",
        ] {
            assert_eq!(of(json), Ok(Details::default()), "{json}");
        }
        let long = serde_json::json!({"title": "א", "caller_name": "א".repeat(61), "topic": "א".repeat(201)});
        assert_eq!(of(&long.to_string()), Ok(Details::default()));
    }
}

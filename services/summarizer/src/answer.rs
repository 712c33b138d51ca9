//! What the model answered. Pure: text → checked summary.
//!
//! Models are asked for JSON and mostly give it, at times in a code fence or with a sentence around it; small ones give
//! lines. All of these are read. What comes out is plain, bounded text whatever went in.

use serde_json::Value;

use crate::summary::{POINTS_MAX, Summary};

/// Longest answer that is looked at, in bytes; ten times what was asked for.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A line longer than this is no headline and no point, in characters.
const LINE_CHARS_MAX: usize = 400;

/// Why an answer is no summary. Does not repeat the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
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

/// Reads an answer.
///
/// # Errors
/// It holds no summary; says in which way.
pub fn parse(answer: &str) -> Result<Summary, AnswerError> {
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

fn from_json(text: &str) -> Result<Summary, AnswerError> {
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
    if std::iter::once(&title)
        .chain(&points)
        .any(|line| line.chars().count() > LINE_CHARS_MAX)
    {
        return Err(AnswerError::TooLong);
    }
    Summary::new(undecorated(title), points.into_iter().map(undecorated)).ok_or(AnswerError::NoTitle)
}

fn from_lines(text: &str) -> Result<Summary, AnswerError> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("```"))
        .map(undecorated)
        .filter(|line| line.chars().any(char::is_alphanumeric))
        .take(1 + POINTS_MAX)
        .collect();
    if lines.iter().any(|line| line.chars().count() > LINE_CHARS_MAX) {
        return Err(AnswerError::TooLong);
    }
    let (title, points) = lines.split_first().ok_or(AnswerError::Empty)?;
    Summary::new(title, points).ok_or(AnswerError::Empty)
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
        parse(answer).map(|summary| summary.text().lines().map(str::to_owned).collect())
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
    fn what_comes_out_is_plain_and_bounded() {
        let point = "פרט ".repeat(70);
        let answer = serde_json::json!({
            "title": "מבקש\n\u{202e}טכנאי\u{0}",
            "points": ["מבקש טכנאי.", point, 7, "שני", "שלישי"],
        });
        let summary = lines(&answer.to_string()).unwrap_or_default();
        assert_eq!(summary.len(), 3);
        assert_eq!(summary[0], "מבקש טכנאי");
        assert!(summary[1].chars().count() <= crate::summary::POINT_CHARS_MAX && summary[1].ends_with('…'));
        assert_eq!(summary[2], "שני");
    }
}

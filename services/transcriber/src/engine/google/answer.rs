//! What the service heard in one piece, as segments of the recording.

use google_cloud_speech_v2::model::{RecognizeResponse, SpeechRecognitionResult};
use serde_json::Value;

use super::config::domain_language;
use crate::audio::SAMPLE_RATE_HZ;
use crate::engine::RecognisedSegment;
use crate::speech::Piece;

/// Most text of one piece, in characters: ten times what can be said in its time.
const PIECE_CHARS_MAX: usize = 20_000;
/// Most results of one piece.
const RESULTS_MAX: usize = 2_000;

/// What was heard in a piece.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// In order of time.
    pub(super) segments: Vec<RecognisedSegment>,
    /// The language of the first text, where the service says it.
    pub(super) language: Option<String>,
}

/// Reads an answer. No results are silence.
///
/// # Errors
/// It is no answer to what was asked; says why.
pub(super) fn read(answer: RecognizeResponse, piece: &Piece) -> Result<Heard, &'static str> {
    if answer.results.is_empty() && answer.metadata.is_none() && has_fields(&answer) {
        // Fields that nobody knows alone: somebody else answered, and that must not pass for silence.
        return Err("the answer of Google Speech holds nothing of what was asked");
    }
    if answer.results.len() > RESULTS_MAX {
        return Err("the answer of Google Speech has too many results");
    }
    let results: Vec<Part> = answer.results.into_iter().map(Part::new).collect();
    if results.iter().map(|part| part.chars).sum::<usize>() > PIECE_CHARS_MAX {
        return Err("the answer of Google Speech has more text than can be said");
    }
    let language = results
        .iter()
        .find(|part| part.chars > 0)
        .and_then(|part| part.language.clone());
    Ok(Heard {
        segments: place(results, piece),
        language,
    })
}

fn has_fields(answer: &RecognizeResponse) -> bool {
    serde_json::to_value(answer)
        .is_ok_and(|value| matches!(value, Value::Object(fields) if !fields.is_empty()))
}

/// One result.
struct Part {
    text: String,
    chars: usize,
    confidence: Option<f32>,
    language: Option<String>,
    /// From the start of the piece, in milliseconds.
    end_ms: Option<u64>,
}

impl Part {
    fn new(result: SpeechRecognitionResult) -> Self {
        let best = result.alternatives.into_iter().next().unwrap_or_default();
        let text: String = best
            .transcript
            .chars()
            .map(|sign| if sign.is_control() { ' ' } else { sign })
            .collect();
        let text = text.trim().to_owned();
        let language = domain_language(&result.language_code);
        let is_code = (2..=35).contains(&language.len()) && language.is_ascii();
        Self {
            chars: text.chars().count(),
            text,
            // Zero means that the service does not say.
            confidence: (best.confidence > 0.0).then(|| best.confidence.min(1.0)),
            language: is_code.then(|| language.to_owned()),
            end_ms: result.result_end_offset.and_then(|offset| {
                let offset = std::time::Duration::try_from(offset).ok()?;
                u64::try_from(offset.as_millis()).ok().filter(|ms| *ms > 0)
            }),
        }
    }
}

/// Gives every part its time: from the end of the one before it to its own end. Parts without an end share the time
/// until the next known one by the length of their text.
fn place(parts: Vec<Part>, piece: &Piece) -> Vec<RecognisedSegment> {
    let length_ms = (piece.frames.end - piece.frames.start) * 1000 / u64::from(SAMPLE_RATE_HZ);
    let mut ends = Vec::with_capacity(parts.len());
    let mut start_ms = 0;
    let mut open = 0;
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let Some(end_ms) = part.end_ms.or(is_last.then_some(length_ms)) else {
            continue;
        };
        let end_ms = end_ms.clamp(start_ms, length_ms.max(start_ms));
        let span = &parts[open..=at];
        let chars: u64 = span.iter().map(|part| part.chars as u64).sum::<u64>().max(1);
        let mut said = 0;
        for part in &span[..span.len() - 1] {
            said += part.chars as u64;
            ends.push(start_ms + (end_ms - start_ms) * said / chars);
        }
        ends.push(end_ms);
        start_ms = end_ms;
        open = at + 1;
    }
    let mut start_ms = 0;
    let mut segments = Vec::new();
    for (part, end_ms) in parts.into_iter().zip(ends) {
        if !part.text.is_empty() {
            segments.push(RecognisedSegment {
                start_ms: piece.start_ms() + start_ms,
                end_ms: piece.start_ms() + end_ms,
                channel: piece.channel,
                text: part.text,
                confidence: part.confidence,
            });
        }
        start_ms = end_ms;
    }
    segments
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    /// Ten seconds, from 20 s on.
    const PIECE: Piece = Piece {
        channel: 1,
        frames: 320_000..480_000,
    };

    fn heard(answer: Value) -> Result<Heard, &'static str> {
        read(serde_json::from_value(answer).unwrap(), &PIECE)
    }

    fn times(answer: Value) -> Vec<(u64, u64, String)> {
        let segments = heard(answer).unwrap().segments;
        assert!(segments.iter().all(|segment| segment.channel == 1));
        segments
            .into_iter()
            .map(|segment| (segment.start_ms, segment.end_ms, segment.text))
            .collect()
    }

    fn result(text: &str, end: &str) -> Value {
        json!({"alternatives": [{"transcript": text}], "resultEndOffset": end})
    }

    #[test]
    fn a_result_lasts_from_the_end_of_the_one_before_it() {
        let answer = json!({"results": [
            result("שלום", "2.500s"), result(" מדבר דני ", "4s"), result(" ", "6s"), result("תודה", "9.25s")
        ]});
        assert_eq!(
            times(answer),
            [
                (20_000, 22_500, "שלום".to_owned()),
                (22_500, 24_000, "מדבר דני".to_owned()),
                (26_000, 29_250, "תודה".to_owned())
            ]
        );
    }

    #[test]
    fn times_that_cannot_be_stay_within_the_piece_and_in_order() {
        let answer = json!({"results": [result("א", "8s"), result("ב", "3s"), result("ג", "3600s")]});
        assert_eq!(
            times(answer),
            [
                (20_000, 28_000, "א".to_owned()),
                (28_000, 28_000, "ב".to_owned()),
                (28_000, 30_000, "ג".to_owned())
            ]
        );
    }

    #[test]
    fn results_without_an_end_share_the_time_by_their_length() {
        let bare = |text: &str| json!({"alternatives": [{"transcript": text}]});
        let answer = json!({"results": [bare("א"), bare("אבג"), result("אבגד", "8s"), bare("סוף")]});
        assert_eq!(
            times(answer),
            [
                (20_000, 21_000, "א".to_owned()),
                (21_000, 24_000, "אבג".to_owned()),
                (24_000, 28_000, "אבגד".to_owned()),
                (28_000, 30_000, "סוף".to_owned())
            ]
        );
        assert_eq!(
            times(json!({"results": [bare("לבד")]})),
            [(20_000, 30_000, "לבד".to_owned())]
        );
        assert_eq!(times(json!({"results": [bare(""), bare(" ")]})), []);
    }

    #[test]
    fn confidence_and_language_are_taken_where_they_are_said() {
        let answer = json!({"results": [
            {"alternatives": [], "languageCode": "iw-IL", "resultEndOffset": "1s"},
            {"alternatives": [{"transcript": "привет", "confidence": 0.75}, {"transcript": "x"}], "languageCode": "ru-RU"},
            {"alternatives": [{"transcript": "a\u{0}b\nc", "confidence": 0.0}], "languageCode": "iw-il"},
            {"alternatives": [{"transcript": "d", "confidence": 1.5}]}
        ]});
        let heard = heard(answer).unwrap();
        assert_eq!(heard.language.as_deref(), Some("ru-RU"));
        let said: Vec<_> = heard
            .segments
            .iter()
            .map(|segment| (segment.text.as_str(), segment.confidence))
            .collect();
        assert_eq!(said, [("привет", Some(0.75)), ("a b c", None), ("d", Some(1.0))]);
    }

    #[test]
    fn nothing_is_silence_and_something_else_is_not() {
        assert_eq!(heard(json!({})), Ok(Heard::default()));
        assert_eq!(
            heard(json!({"metadata": {"totalBilledDuration": "10s"}, "new": 1})),
            Ok(Heard::default())
        );
        assert!(heard(json!({"choices": []})).is_err());
        assert!(heard(json!({"error": {"code": 503}})).is_err());
    }

    #[test]
    fn an_answer_without_end_is_refused() {
        let long = "א".repeat(PIECE_CHARS_MAX);
        assert!(heard(json!({"results": [result(&long, "1s")]})).is_ok());
        assert!(heard(json!({"results": [result(&long, "1s"), result("ב", "2s")]})).is_err());
        assert!(heard(json!({"results": vec![json!({}); RESULTS_MAX + 1]})).is_err());
    }
}

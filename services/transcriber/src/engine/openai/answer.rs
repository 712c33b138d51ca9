//! What a server answered becomes segments. Pure.
//!
//! Servers that call themselves compatible agree on `text` and on little else: times come as numbers or as strings,
//! fields are missing or null, segments overlap or end behind the audio. So nothing is taken for granted but what an
//! answer needs to make sense.

use serde_json::{Map, Value};

use crate::engine::RecognisedSegment;

/// A segment is left out where the model thinks that nobody spoke …
const NO_SPEECH_PROB: f64 = 0.6;
/// … and is not sure of what it heard. Both are whisper's own bounds.
const AVG_LOGPROB_MIN: f64 = -1.0;
/// What whisper.cpp writes for silence.
const BLANK: &str = "[BLANK_AUDIO]";

/// Most text of one piece, in characters: ten times what can be said in its five minutes.
const PIECE_CHARS_MAX: usize = 100_000;
/// Most segments of one piece.
const SEGMENTS_MAX: usize = 10_000;

/// The part of the recording that an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) channel: u8,
    /// Within the recording, in milliseconds.
    pub(super) start_ms: u64,
    /// Within the recording, in milliseconds.
    pub(super) end_ms: u64,
    /// Nothing in it was told from noise: what a model makes of it is believed only where it says that somebody spoke.
    pub(super) is_doubtful: bool,
}

/// An answer without sense. The text holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the speech server did not answer in the form of a transcription: {0}")]
pub(super) struct Nonsense(&'static str);

const TOO_LONG: Nonsense = Nonsense("it has more text than can be said");

/// The segments that an answer tells, ordered, within the span. Silence gives none.
pub(super) fn read(body: &[u8], span: Span) -> Result<Vec<RecognisedSegment>, Nonsense> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| Nonsense("it is no JSON"))?;
    let answer = answer.as_object().ok_or(Nonsense("it is no object"))?;
    let text = match answer.get("text") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => return Err(Nonsense("its text is none")),
    };
    if text.is_some_and(|text| text.chars().count() > PIECE_CHARS_MAX) {
        return Err(TOO_LONG);
    }
    match (answer.get("segments"), text) {
        (Some(Value::Array(segments)), None) => timed(segments, span),
        (Some(Value::Array(segments)), Some(_)) if !segments.is_empty() => timed(segments, span),
        (None | Some(Value::Null | Value::Array(_)), Some(text)) => Ok(untimed(text, span)),
        (None | Some(Value::Null), None) => Err(Nonsense("it has no text")),
        (Some(_), _) => Err(Nonsense("its segments are no list")),
    }
}

/// One segment over the whole span. Such an answer does not say how sure the model is, so that it says nothing of what is
/// doubtful.
fn untimed(text: &str, span: Span) -> Vec<RecognisedSegment> {
    if span.is_doubtful {
        return Vec::new();
    }
    let segment = words(text).map(|text| RecognisedSegment {
        start_ms: span.start_ms,
        end_ms: span.end_ms,
        channel: span.channel,
        text,
        confidence: None,
    });
    segment.into_iter().collect()
}

fn timed(segments: &[Value], span: Span) -> Result<Vec<RecognisedSegment>, Nonsense> {
    if segments.len() > SEGMENTS_MAX {
        return Err(Nonsense("it has too many segments"));
    }
    let length_ms = span.end_ms - span.start_ms;
    let mut chars = 0;
    let mut heard = Vec::with_capacity(segments.len());
    // Where a time is missing, the segment begins with the one before it, and ends with the next one or the audio.
    let mut last_start_ms = 0;
    for segment in segments {
        let segment = segment
            .as_object()
            .ok_or(Nonsense("one of its segments is no object"))?;
        let text = segment
            .get("text")
            .and_then(Value::as_str)
            .ok_or(Nonsense("one of its segments has no text"))?;
        chars += text.chars().count();
        if chars > PIECE_CHARS_MAX {
            return Err(TOO_LONG);
        }
        let start_ms = time_ms(segment, "start").unwrap_or(last_start_ms);
        let end_ms = time_ms(segment, "end");
        last_start_ms = start_ms;
        let logprob = number(segment, "avg_logprob");
        let no_speech = number(segment, "no_speech_prob");
        let is_unlikely = no_speech.is_some_and(|probability| probability > NO_SPEECH_PROB);
        let is_unsure = logprob.is_some_and(|logprob| logprob < AVG_LOGPROB_MIN);
        let is_left_out = if span.is_doubtful {
            is_unlikely || is_unsure || no_speech.is_none()
        } else {
            is_unlikely && is_unsure
        };
        if is_left_out {
            continue;
        }
        if let Some(text) = words(text) {
            heard.push((start_ms, end_ms, text, logprob.and_then(confidence)));
        }
    }
    heard.sort_by_key(|(start_ms, ..)| *start_ms);
    let mut next_starts_ms: Vec<u64> = heard.iter().skip(1).map(|(start_ms, ..)| *start_ms).collect();
    next_starts_ms.push(length_ms);
    let mut free_from_ms = span.start_ms;
    let segments =
        heard
            .into_iter()
            .zip(next_starts_ms)
            .map(|((start_ms, end_ms, text, confidence), next_ms)| {
                let within = |ms: u64| span.start_ms.saturating_add(ms).min(span.end_ms);
                let start_ms = within(start_ms).max(free_from_ms);
                let end_ms = within(end_ms.unwrap_or(next_ms)).max(start_ms);
                free_from_ms = end_ms;
                RecognisedSegment {
                    start_ms,
                    end_ms,
                    channel: span.channel,
                    text,
                    confidence,
                }
            });
    Ok(segments.collect())
}

/// The text with single blanks; `None` when nothing is left.
fn words(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty() && text != BLANK).then_some(text)
}

/// Geometric mean of the tokens' probabilities. Exactly 0 is what servers send that do not know it.
fn confidence(avg_logprob: f64) -> Option<f32> {
    (avg_logprob < 0.0).then(|| avg_logprob.exp() as f32)
}

fn number(segment: &Map<String, Value>, name: &str) -> Option<f64> {
    let number = match segment.get(name)? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// A time in seconds, or as `hours:minutes:seconds`; what is before the start is the start.
fn time_ms(segment: &Map<String, Value>, name: &str) -> Option<u64> {
    let seconds = match segment.get(name)? {
        Value::String(text) if text.contains(':') => {
            text.trim().split(':').try_fold(0.0, |seconds, part| {
                let part: f64 = part.replace(',', ".").parse().ok()?;
                Some(seconds * 60.0 + part)
            })?
        }
        _ => number(segment, name)?,
    };
    // The cast takes what is too large for the largest, which is then cut to the span.
    seconds
        .is_finite()
        .then(|| (seconds.max(0.0) * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    const SPAN: Span = Span {
        channel: 1,
        start_ms: 10_000,
        end_ms: 20_000,
        is_doubtful: false,
    };

    fn heard(answer: Value) -> Vec<(u64, u64, String)> {
        let segments = read(answer.to_string().as_bytes(), SPAN).unwrap();
        assert!(segments.iter().all(|segment| segment.channel == 1));
        segments
            .into_iter()
            .map(|segment| (segment.start_ms, segment.end_ms, segment.text))
            .collect()
    }

    fn entry(start_ms: u64, end_ms: u64, text: &str) -> (u64, u64, String) {
        (start_ms, end_ms, text.to_owned())
    }

    #[test]
    fn what_a_model_makes_of_noise_is_believed_only_where_it_says_that_somebody_spoke() {
        let doubtful = Span {
            is_doubtful: true,
            ..SPAN
        };
        let texts = |answer: Value| -> Vec<String> {
            let segments = read(answer.to_string().as_bytes(), doubtful).unwrap();
            segments.into_iter().map(|segment| segment.text).collect()
        };
        let segment = |no_speech: Value, logprob: Value| json!({"segments": [{"start": 0, "end": 1, "text": "תודה שצפיתם", "no_speech_prob": no_speech, "avg_logprob": logprob}]});
        assert_eq!(texts(segment(json!(0.1), json!(-0.3))), ["תודה שצפיתם"]);
        for (no_speech, logprob) in [
            (json!(0.7), json!(-0.3)),
            (json!(0.1), json!(-1.2)),
            (Value::Null, json!(-0.3)),
        ] {
            assert_eq!(texts(segment(no_speech, logprob)), [""; 0]);
        }
        assert_eq!(texts(json!({"text": "תודה שצפיתם"})), [""; 0]);
    }

    #[test]
    fn times_are_read_in_every_form_and_put_into_order() {
        let segments = json!([
            {"start": 6, "end": 99.5, "text": "ד"},
            {"start": "00:00:01.500", "end": "0:02,5", "text": " ב\n ב "},
            {"start": -3, "end": "1.25", "text": "א"},
            {"start": 2.0, "end": 5, "text": "ג"},
        ]);
        assert_eq!(
            heard(json!({"segments": segments})),
            [
                entry(10_000, 11_250, "א"),
                entry(11_500, 12_500, "ב ב"),
                entry(12_500, 15_000, "ג"),
                entry(16_000, 20_000, "ד"),
            ]
        );
    }

    #[test]
    fn times_that_are_missing_or_beyond_stay_within_the_piece() {
        let segments = json!([
            {"start": 1.0, "end": 2.0, "text": "א"},
            {"start": null, "text": "ב"},
            {"start": "soon", "end": {}, "text": "ג"},
            {"start": 1e300, "end": 1e301, "text": "ד"},
            {"start": 5, "end": 3, "text": "ה"},
        ]);
        let got = heard(json!({"text": "", "segments": segments}));
        assert_eq!(
            got,
            [
                entry(11_000, 12_000, "א"),
                entry(12_000, 12_000, "ב"),
                entry(12_000, 15_000, "ג"),
                entry(15_000, 15_000, "ה"),
                entry(20_000, 20_000, "ד"),
            ]
        );
    }

    #[test]
    fn without_segments_the_text_stands_for_the_piece() {
        for answer in [
            json!({"text": " שלום\nלך "}),
            json!({"text": "שלום לך", "segments": null}),
            json!({"text": "שלום לך", "segments": []}),
        ] {
            assert_eq!(heard(answer), [entry(10_000, 20_000, "שלום לך")]);
        }
    }

    #[test]
    fn silence_is_no_error() {
        for answer in [
            json!({"text": ""}),
            json!({"text": " \n", "segments": []}),
            json!({"segments": []}),
            json!({"text": " [BLANK_AUDIO]\n"}),
            json!({"text": "x", "segments": [{"start": 0, "end": 1, "text": " "}]}),
        ] {
            assert!(heard(answer).is_empty());
        }
    }

    #[test]
    fn what_the_model_takes_for_no_speech_is_left_out_unless_it_is_sure() {
        let segment = |no_speech: f64, logprob: Value| json!({"start": 0, "end": 1, "text": "תודה", "no_speech_prob": no_speech, "avg_logprob": logprob});
        let kept = |segment: Value| heard(json!({"segments": [segment]})).len();
        assert_eq!(kept(segment(0.9, json!(-1.2))), 0);
        assert_eq!(kept(segment(0.9, json!("-1.2"))), 0);
        assert_eq!(kept(segment(0.9, json!(-0.4))), 1);
        assert_eq!(kept(segment(0.3, json!(-1.2))), 1);
        assert_eq!(kept(segment(0.9, Value::Null)), 1);
    }

    #[test]
    fn confidence_is_told_where_the_server_knows_it() {
        let confidence = |logprob: Value| {
            let answer = json!({"segments": [{"start": 0, "end": 1, "text": "א", "avg_logprob": logprob}]});
            read(answer.to_string().as_bytes(), SPAN).unwrap()[0].confidence
        };
        assert!((confidence(json!(-0.5)).unwrap() - 0.6065).abs() < 1e-3);
        assert_eq!(confidence(json!(0.0)), None);
        assert_eq!(confidence(json!(0.3)), None);
        assert_eq!(confidence(Value::Null), None);
    }

    #[test]
    fn an_answer_without_end_is_refused() {
        let text = |chars| "א".repeat(chars);
        let segments = |chars| json!([{"text": text(chars)}, {"text": text(chars)}]);
        for (answer, is_taken) in [
            (json!({"text": text(PIECE_CHARS_MAX)}), true),
            (json!({"text": text(PIECE_CHARS_MAX + 1)}), false),
            (json!({"segments": segments(PIECE_CHARS_MAX / 2)}), true),
            (json!({"segments": segments(PIECE_CHARS_MAX / 2 + 1)}), false),
            (
                json!({"segments": vec![json!({"text": "א"}); SEGMENTS_MAX]}),
                true,
            ),
            (
                json!({"segments": vec![json!({"text": ""}); SEGMENTS_MAX + 1]}),
                false,
            ),
        ] {
            assert_eq!(read(answer.to_string().as_bytes(), SPAN).is_ok(), is_taken);
        }
    }

    #[test]
    fn nonsense_is_told_without_quoting_it() {
        for body in [
            "",
            "סוד",
            "<html>סוד</html>",
            "\"סוד\"",
            "[\"סוד\"]",
            "{}",
            r#"{"error": {"message": "סוד"}}"#,
            r#"{"text": ["סוד"]}"#,
            r#"{"text": "סוד", "segments": "סוד"}"#,
            r#"{"text": "סוד", "segments": ["סוד"]}"#,
            r#"{"text": "סוד", "segments": [{"start": 0, "end": 1}]}"#,
            r#"{"text": "סוד", "segm"#,
        ] {
            let error = read(body.as_bytes(), SPAN).unwrap_err().to_string();
            assert!(!error.contains("סוד"), "{error}");
        }
    }
}

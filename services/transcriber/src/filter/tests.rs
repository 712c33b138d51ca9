#![expect(
    clippy::single_range_in_vec_init,
    reason = "one stretch of speech, not its numbers"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;

use super::*;

fn said(start_ms: u64, end_ms: u64, text: &str) -> RecognisedSegment {
    RecognisedSegment {
        start_ms,
        end_ms,
        channel: 0,
        text: text.to_owned(),
        confidence: None,
    }
}

fn on(channel: u8, segment: RecognisedSegment) -> RecognisedSegment {
    RecognisedSegment { channel, ..segment }
}

fn texts(segments: &[RecognisedSegment]) -> Vec<&str> {
    segments.iter().map(|segment| segment.text.as_str()).collect()
}

fn times(segments: &[RecognisedSegment]) -> Vec<(u64, u64)> {
    segments
        .iter()
        .map(|segment| (segment.start_ms, segment.end_ms))
        .collect()
}

#[test]
fn text_where_nobody_speaks_is_dropped() {
    let speech = [1_000..4_000, 12_000..15_000];
    let kept = clean(
        vec![
            said(1_000, 4_000, "מדבר דוד"),
            said(6_000, 9_000, "תודה שצפיתם"),
            // A little off is no reason.
            said(11_200, 11_900, "שלום"),
            said(20_000, 21_000, "סוף"),
        ],
        &speech,
    );
    assert_eq!(texts(&kept), ["מדבר דוד", "שלום"]);
    assert!(clean(vec![said(0, 2_000, "תודה")], &[]).is_empty());
    assert!(clean(Vec::new(), &speech).is_empty());
}

#[test]
fn more_text_than_can_be_said_is_dropped() {
    let long = "תודה רבה לכם על הצפייה ולהתראות בסרטון הבא שלנו";
    // Half a second of sound, and a sentence of three.
    assert!(clean(vec![said(0, 500, long)], &[0..500]).is_empty());
    // In three seconds it can be said, also when the model dates it too short.
    let speech = [0..3_000];
    assert_eq!(clean(vec![said(0, 3_000, long)], &speech).len(), 1);
    assert_eq!(clean(vec![said(1_000, 1_100, long)], &speech).len(), 1);
    // But not when its neighbours speak then.
    let kept = clean(
        vec![
            said(0, 1_400, "שלום"),
            said(1_400, 1_600, long),
            said(1_600, 3_000, "להתראות"),
        ],
        &speech,
    );
    assert_eq!(texts(&kept), ["שלום", "להתראות"]);
    // One short word in no time at all.
    assert_eq!(clean(vec![said(100, 100, "כן")], &[0..300]).len(), 1);
}

#[test]
fn loops_are_dropped() {
    let speech = [0..60_000];
    let of = |texts: &[&str]| -> Vec<String> {
        let segments = texts
            .iter()
            .enumerate()
            .map(|(i, text)| said(i as u64 * 5_000, i as u64 * 5_000 + 5_000, text))
            .collect();
        clean(segments, &speech)
            .into_iter()
            .map(|segment| segment.text)
            .collect()
    };
    // Nothing but a loop.
    assert!(of(&["תודה תודה תודה"]).is_empty());
    assert!(of(&["תודה רבה.", "תודה רבה.", "תודה רבה!"]).is_empty());
    assert!(of(&["אני אני אני אני", "אני אני אני"]).is_empty());
    assert!(of(&["תודה רבה. תודה רבה. תודה רבה. תודה"]).is_empty());
    // Twice is not a loop.
    assert_eq!(of(&["שלום שלום"]).len(), 1);
    assert_eq!(of(&["תודה רבה.", "תודה רבה."]).len(), 2);
    // A sentence that comes again and again is said once.
    assert_eq!(
        of(&["שמי דוד.", "תודה.", "תודה.", "תודה.", "תודה."]),
        ["שמי דוד.", "תודה."]
    );
    // What people really say in the middle of other things stays.
    assert_eq!(
        of(&["שמי דוד.", "כן כן כן.", "אפס חמש אפס אפס אפס שבע."]).len(),
        3
    );
    assert_eq!(of(&["שמי דוד.", "לה לה לה לה לה לה לה לה."]), ["שמי דוד."]);
}

#[test]
fn ends_move_to_where_the_speech_is() {
    let speech = [400..2_300, 3_000..5_700, 6_700..8_000, 8_150..10_800];
    let kept = clean(
        vec![
            said(200, 2_500, "אחת"),
            said(2_700, 6_000, "שתיים"),
            // The short pause at 8.0 s is nearer to its end than to nothing, but its sentence goes on.
            said(6_500, 11_000, "שלוש"),
        ],
        &speech,
    );
    assert_eq!(times(&kept), [(400, 2_300), (3_000, 5_700), (6_700, 10_800)]);
    // Of two pauses the longer one divides.
    let kept = clean(
        vec![said(0, 2_000, "אחת"), said(2_000, 4_000, "שתיים")],
        &[0..1_700, 1_850..2_200, 2_800..4_000],
    );
    assert_eq!(times(&kept), [(0, 2_200), (2_800, 4_000)]);
    // Where there is no pause near, the model's word counts.
    let kept = clean(
        vec![said(0, 2_000, "אחת"), said(2_000, 4_000, "שתיים")],
        &[0..4_000],
    );
    assert_eq!(times(&kept), [(0, 2_000), (2_000, 4_000)]);
}

#[test]
fn segments_keep_their_order_and_do_not_overlap() {
    let mut dice = crate::speech::signals::Dice::new(1);
    let mut ranges = |apart: u64, least: u64| -> Vec<Range<u64>> {
        let mut at = 0;
        (0..8)
            .map(|_| {
                let start = at + apart + (dice.even() * 800.0) as u64;
                at = start + least + (dice.even() * 1_500.0) as u64;
                start..at
            })
            .collect()
    };
    for _ in 0..2_000 {
        let speech = ranges(120, 16);
        let segments: Vec<_> = ranges(0, 0)
            .into_iter()
            .enumerate()
            .map(|(n, times)| said(times.start, times.end, &format!("word {n}")))
            .collect();
        let kept = clean(segments, &speech);
        let mut free_from = 0;
        for segment in &kept {
            assert!(
                segment.start_ms >= free_from && segment.end_ms >= segment.start_ms,
                "{speech:?} {kept:?}"
            );
            free_from = segment.end_ms;
        }
    }
}

#[test]
fn an_echo_on_the_other_channel_is_dropped() {
    let segments = || {
        vec![
            said(1_000, 3_000, "אני צריך הצעת מחיר לצביעת דירה"),
            on(1, said(1_100, 3_100, "אני צריך הצעת מחיר לצביעת דירה")),
            on(1, said(4_000, 5_000, "לאיזה מועד")),
        ]
    };
    let level = |quiet: f32| {
        move |segment: &RecognisedSegment| {
            Ok::<_, Infallible>(if segment.channel == 1 && segment.start_ms < 2_000 {
                quiet
            } else {
                -20.0
            })
        }
    };
    let kept = without_echoes(segments(), level(-40.0)).unwrap();
    assert_eq!(
        kept.iter().map(|s| (s.channel, s.start_ms)).collect::<Vec<_>>(),
        [(0, 1_000), (1, 4_000)]
    );
    // As loud: two people, or one microphone.
    assert_eq!(without_echoes(segments(), level(-25.0)).unwrap().len(), 3);
    // The louder one is on the other channel.
    let kept = without_echoes(segments(), level(0.0)).unwrap();
    assert_eq!(kept.iter().map(|s| s.channel).collect::<Vec<_>>(), [1, 1]);
    // Other words, another time, one word only.
    for other in [
        said(1_100, 3_100, "בוקר טוב מדברת רונית מחיפה"),
        said(2_500, 4_500, "אני צריך הצעת מחיר לצביעת דירה"),
    ] {
        let segments = vec![segments().remove(0), on(1, other)];
        assert_eq!(without_echoes(segments, level(-60.0)).unwrap().len(), 2);
    }
    let yes = vec![said(1_000, 1_500, "כן"), on(1, said(1_000, 1_500, "כן"))];
    assert_eq!(without_echoes(yes, level(-60.0)).unwrap().len(), 2);
}

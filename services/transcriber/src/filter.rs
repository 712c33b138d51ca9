//! What a speech model invents is told by its form, not by its words: text where nobody speaks, more of it than can be
//! said in the time, one thing over and over. No list of phrases: a caller may say any of them.
//!
//! All functions are pure, and take the segments of one channel in their order unless they say otherwise.

use std::ops::Range;

use crate::engine::RecognisedSegment;
use crate::wer::word_error_rate;

/// How far from the detected speech a segment may lie, in milliseconds: models do not date better.
const OUTSIDE_MS: u64 = 300;
/// Nobody speaks faster, in characters a second.
const CHARS_PER_SEC_MAX: u64 = 25;
/// Shorter times are taken for this when a rate is computed, in milliseconds.
const RATE_MS_MIN: u64 = 400;
/// What is said so often is a loop.
const LOOP_MIN: usize = 3;
/// A loop within a longer transcript: people say "yes, yes, yes", and phone numbers have zeros.
const LOOP_WITHIN_MIN: usize = 6;
/// Longest sentence that is looked at for loops, in words.
const LOOP_WORDS_MAX: usize = 12;
/// How far an end of a segment is moved to where the speech really begins or ends, in milliseconds.
const SNAP_MS: u64 = 700;
/// Longer pauses do not attract ends more than this one, in milliseconds.
const PAUSE_GOOD_MS: u64 = 600;
/// How much quieter an echo is, in dB.
const ECHO_DB: f32 = 12.0;
/// Share of words in which it may differ.
const ECHO_WORDS: f64 = 0.25;

/// Drops what was invented and puts the rest where the speech is. `speech`: the channel's stretches in milliseconds.
pub(crate) fn clean(segments: Vec<RecognisedSegment>, speech: &[Range<u64>]) -> Vec<RecognisedSegment> {
    let segments = without_silent(segments, speech);
    let segments = without_hasty(segments, speech);
    let mut segments = without_loops(segments);
    snap(&mut segments, speech);
    segments
}

/// Only drops what was invented, for segments that an engine dates itself: more than can be said, and loops. A channel
/// without detected speech has no time to compare with.
pub(crate) fn without_inventions(
    segments: Vec<RecognisedSegment>,
    speech: &[Range<u64>],
) -> Vec<RecognisedSegment> {
    let segments = if speech.is_empty() {
        segments
    } else {
        without_hasty(segments, speech)
    };
    without_loops(segments)
}

/// Milliseconds of speech between two times.
fn speech_ms(speech: &[Range<u64>], times: Range<u64>) -> u64 {
    // The first stretch that ends behind the beginning.
    let first = speech.partition_point(|stretch| stretch.end <= times.start);
    speech[first..]
        .iter()
        .take_while(|stretch| stretch.start < times.end)
        .map(|stretch| stretch.end.min(times.end) - stretch.start.max(times.start))
        .sum()
}

/// Without segments where nobody speaks.
fn without_silent(mut segments: Vec<RecognisedSegment>, speech: &[Range<u64>]) -> Vec<RecognisedSegment> {
    segments.retain(|segment| {
        let near = segment.start_ms.saturating_sub(OUTSIDE_MS)..segment.end_ms + OUTSIDE_MS;
        speech_ms(speech, near) > 0
    });
    segments
}

/// Without segments that hold more text than can be said in the time there is. A model may date a segment too short,
/// so the time is that of the speech between its neighbours when that is longer.
fn without_hasty(segments: Vec<RecognisedSegment>, speech: &[Range<u64>]) -> Vec<RecognisedSegment> {
    let fits: Vec<bool> = (0..segments.len())
        .map(|at| {
            let segment = &segments[at];
            let from = at.checked_sub(1).map_or(0, |last| segments[last].end_ms);
            let to = segments.get(at + 1).map_or(u64::MAX, |next| next.start_ms);
            // Not the speech of the whole recording: what is as far away belongs to something else.
            let from = from.max(segment.start_ms.saturating_sub(2 * SNAP_MS));
            let to = to.min(segment.end_ms + 2 * SNAP_MS);
            let room = speech_ms(speech, from..to.max(from));
            let ms = (segment.end_ms - segment.start_ms).max(room).max(RATE_MS_MIN);
            segment.text.chars().count() as u64 * 1000 <= ms * CHARS_PER_SEC_MAX
        })
        .collect();
    keep(segments, &fits)
}

/// Without loops: sentences that come again and again are kept once, a segment that is one phrase over and over is
/// dropped, and nothing is left of a transcript that is nothing but a loop.
fn without_loops(segments: Vec<RecognisedSegment>) -> Vec<RecognisedSegment> {
    let words: Vec<Vec<String>> = segments.iter().map(|segment| words(&segment.text)).collect();
    if loop_count(&words.concat(), LOOP_WORDS_MAX) >= LOOP_MIN {
        return Vec::new();
    }
    let mut fits = vec![true; segments.len()];
    let mut at = 0;
    while at < segments.len() {
        let run = words[at..]
            .iter()
            .take_while(|other| **other == words[at])
            .count();
        if run >= LOOP_MIN {
            fits[at + 1..at + run].fill(false);
        }
        if loop_count(&words[at], LOOP_WORDS_MAX) >= LOOP_WITHIN_MIN {
            fits[at..at + run].fill(false);
        }
        at += run;
    }
    keep(segments, &fits)
}

fn keep(segments: Vec<RecognisedSegment>, fits: &[bool]) -> Vec<RecognisedSegment> {
    segments
        .into_iter()
        .zip(fits)
        .filter_map(|(segment, fits)| fits.then_some(segment))
        .collect()
}

/// Words without the marks around them.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '"' && c != '״' && c != '׳')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// How often the shortest phrase of at most `longest` words that makes up all of `words` is in it; 1: it is no loop. The
/// last time it may be cut off.
fn loop_count(words: &[String], longest: usize) -> usize {
    (1..=longest.min(words.len() / 2))
        .find(|period| words.iter().zip(&words[*period..]).all(|(a, b)| a == b))
        .map_or(1, |period| words.len() / period)
}

/// Moves the ends of segments to where the speech begins and ends, as far as there is an edge near. Segments keep their
/// order and do not overlap.
fn snap(segments: &mut [RecognisedSegment], speech: &[Range<u64>]) {
    if speech.is_empty() {
        return;
    }
    if let Some(first) = segments.first_mut() {
        first.start_ms = start_edge(speech, first, 0);
    }
    for at in 1..segments.len() {
        let (before, behind) = segments.split_at_mut(at);
        let (Some(last), Some(next)) = (before.last_mut(), behind.first_mut()) else {
            return;
        };
        if let Some(pause) = pause_between(speech, last, next) {
            (last.end_ms, next.start_ms) = (pause.start, pause.end);
        } else {
            // Far from each other, or no pause between: each has an edge of its own.
            last.end_ms = end_edge(speech, last, next.start_ms);
            next.start_ms = start_edge(speech, next, last.end_ms);
        }
    }
    if let Some(last) = segments.last_mut() {
        last.end_ms = end_edge(speech, last, u64::MAX);
    }
}

/// The pause that divides two segments: near the end of the one and the start of the other, rather a long one.
fn pause_between(
    speech: &[Range<u64>],
    last: &RecognisedSegment,
    next: &RecognisedSegment,
) -> Option<Range<u64>> {
    // How far a time is from a pause; within it, not at all.
    let far = |pause: &Range<u64>, ms: u64| pause.start.saturating_sub(ms) + ms.saturating_sub(pause.end);
    let first = speech.partition_point(|stretch| stretch.end <= last.start_ms);
    speech[first..]
        .windows(2)
        .map(|pair| pair[0].end..pair[1].start)
        .take_while(|pause| pause.end < next.end_ms)
        .filter(|pause| far(pause, last.end_ms) <= SNAP_MS && far(pause, next.start_ms) <= SNAP_MS)
        .min_by_key(|pause| {
            let far = (pause.start + pause.end).abs_diff(last.end_ms + next.start_ms) / 2;
            far + PAUSE_GOOD_MS - (pause.end - pause.start).min(PAUSE_GOOD_MS)
        })
}

/// Where the speech of a segment begins: not before `free_from`, and before its end.
fn start_edge(speech: &[Range<u64>], segment: &RecognisedSegment, free_from: u64) -> u64 {
    let ms = segment.start_ms;
    // The first stretch that ends later. In a silence it is the one that is meant, however long the silence.
    let at = speech.partition_point(|stretch| stretch.end <= ms);
    let next = speech.get(at).map(|stretch| stretch.start);
    let edge = match next {
        Some(start) if start >= ms => Some(start),
        start => [start, speech.get(at + 1).map(|stretch| stretch.start)]
            .into_iter()
            .flatten()
            .filter(|edge| edge.abs_diff(ms) <= SNAP_MS)
            .min_by_key(|edge| edge.abs_diff(ms)),
    };
    edge.filter(|edge| *edge >= free_from && *edge < segment.end_ms)
        .unwrap_or(ms)
}

/// Where the speech of a segment ends: not behind `free_to`, and after its beginning.
fn end_edge(speech: &[Range<u64>], segment: &RecognisedSegment, free_to: u64) -> u64 {
    let ms = segment.end_ms;
    // The last stretch that begins earlier.
    let behind = speech.partition_point(|stretch| stretch.start < ms);
    let last = behind.checked_sub(1).map(|at| speech[at].end);
    let edge = match last {
        Some(end) if end <= ms => Some(end),
        end => [end, behind.checked_sub(2).map(|at| speech[at].end)]
            .into_iter()
            .flatten()
            .filter(|edge| edge.abs_diff(ms) <= SNAP_MS)
            .min_by_key(|edge| edge.abs_diff(ms)),
    };
    edge.filter(|edge| *edge > segment.start_ms && *edge <= free_to)
        .unwrap_or(ms)
}

/// Drops what one channel hears of another: the same words at the same time, and much quieter. `segments` are those of
/// all channels, ordered by start; `level_db` tells how loud one is.
///
/// # Errors
/// What `level_db` returns.
pub(crate) fn without_echoes<E>(
    segments: Vec<RecognisedSegment>,
    mut level_db: impl FnMut(&RecognisedSegment) -> Result<f32, E>,
) -> Result<Vec<RecognisedSegment>, E> {
    let mut fits = vec![true; segments.len()];
    for (at, one) in segments.iter().enumerate() {
        for (behind, other) in segments[at + 1..].iter().enumerate() {
            if other.start_ms >= one.end_ms {
                break;
            }
            if other.channel == one.channel || !is_same(one, other) {
                continue;
            }
            let louder_db = level_db(one)? - level_db(other)?;
            if louder_db >= ECHO_DB {
                fits[at + 1 + behind] = false;
            } else if louder_db <= -ECHO_DB {
                fits[at] = false;
            }
        }
    }
    Ok(keep(segments, &fits))
}

/// The same words at the same time. One word alone proves nothing: two people may say yes at once.
fn is_same(one: &RecognisedSegment, other: &RecognisedSegment) -> bool {
    let together = one
        .end_ms
        .min(other.end_ms)
        .saturating_sub(one.start_ms.max(other.start_ms));
    let longer = (one.end_ms - one.start_ms).max(other.end_ms - other.start_ms);
    let errors = word_error_rate(&one.text, &other.text);
    together * 10 >= longer * 7 && errors.words > 1 && errors.rate() <= ECHO_WORDS
}

#[cfg(test)]
mod tests;

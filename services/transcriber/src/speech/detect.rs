//! Which measurements are speech.

use std::collections::VecDeque;
use std::ops::Range;

use super::features::Hop;

/// What is below is silence whatever else is heard. Levels are in hundredths of a dB. A quiet talker's voice is
/// 20 dB above it.
const SILENCE: i16 = -7_200;
/// How far a sound has to stand out of the noise.
const ABOVE_NOISE: i16 = 700;
/// How far the first and last sounds of a stretch have to.
const EDGE_ABOVE_NOISE: i16 = 400;
/// How far a stretch is widened by them, in hops: 0.4 s.
const EDGE_MAX: usize = 25;
/// How far below the loudest sound near it something is still part of speech.
const BELOW_PEAK: i16 = 3_600;
/// How far the noise is looked for to both sides, in hops: 10 s.
const NOISE_REACH: usize = 625;
/// How far the loudest sound is looked for to both sides, in hops: 1 s.
const PEAK_REACH: usize = 62;
/// Hops over which loudness is averaged when noise is looked for: 80 ms.
const SMOOTH: usize = 5;
/// The change that syllables make and steady sounds do not, in tenths of a dB: noise stays below 1.5 dB.
const CHANGE: u8 = 20;
/// Share of two lines, of 255, from which on a sound is a signal and no voice.
const LINES: u8 = 238;
/// Hops between the spectra that make up [`Hop::change`].
const APART: usize = 4;
/// So many changing hops within [`NEAR`] are speech: what a short word has.
const LIKE_SPEECH_MIN: u8 = 4;
/// Hops within which they are counted: 0.4 s to both sides.
const NEAR: u8 = 25;
/// How far from changing sounds others still belong to the speech, in hops: 0.4 s. Vowels are held, words die away.
const REACH: u8 = 25;
/// Pauses below are part of the speech, in hops: 0.12 s. The closure of a consonant takes as long.
const PAUSE_MIN: usize = 8;
/// A machine's tone: so many hops (0.16 s) with everything in two lines that change by less than half a dB.
const TONE_MIN: usize = 10;
const TONE_LINES: u8 = 245;
const TONE_CHANGE: u8 = 5;

/// The stretches of speech, in hops: ordered, with pauses of at least [`PAUSE_MIN`] between them.
pub(super) fn speech(hops: &[Hop]) -> Vec<Range<usize>> {
    let levels = Levels::of(hops);
    let loud: Vec<bool> = (0..hops.len())
        .map(|at| levels.stands_out(at, hops[at].level, ABOVE_NOISE))
        .collect();
    let tone = tone(hops, &loud);
    // A change counts between two sounds, not from silence to a sound: knocks and switched tones have only that.
    let like_speech: Vec<bool> = (0..hops.len())
        .map(|at| {
            at >= APART && loud[at] && loud[at - APART] && hops[at].change >= CHANGE && hops[at].lines < LINES
        })
        .collect();
    let near = within(&like_speech, NEAR);
    // Keys that a machine presses change as fast as syllables, but between the changes there are only lines.
    let lines: Vec<bool> = (0..hops.len())
        .map(|at| loud[at] && hops[at].lines >= LINES)
        .collect();
    let lines = within(&lines, NEAR);
    let seeds: Vec<bool> = (0..hops.len())
        .map(|at| {
            like_speech[at] && near[at] >= LIKE_SPEECH_MIN && 2 * u16::from(near[at]) >= u16::from(lines[at])
        })
        .collect();
    let near = within(&seeds, REACH);
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for at in (0..hops.len()).filter(|at| loud[*at] && !tone[*at] && near[*at] > 0) {
        match stretches.last_mut() {
            Some(last) if at - last.end < PAUSE_MIN => last.end = at + 1,
            _ => stretches.push(at..at + 1),
        }
    }
    levels.widen(&mut stretches, &tone);
    stretches
}

/// How loud it is, and how loud around.
struct Levels {
    smooth: Vec<i16>,
    noise: Vec<i16>,
    peak: Vec<i16>,
}

impl Levels {
    fn of(hops: &[Hop]) -> Self {
        let smooth: Vec<i16> = (0..hops.len())
            .map(|at| {
                let near = &hops[at.saturating_sub(SMOOTH / 2)..(at + SMOOTH / 2 + 1).min(hops.len())];
                (near.iter().map(|hop| i32::from(hop.level)).sum::<i32>() / near.len() as i32) as i16
            })
            .collect();
        Self {
            noise: extreme(&smooth, NOISE_REACH, |a, b| a <= b),
            peak: extreme(&smooth, PEAK_REACH, |a, b| a >= b),
            smooth,
        }
    }

    fn stands_out(&self, at: usize, level: i16, above_noise: i16) -> bool {
        level
            > SILENCE
                .max(self.noise[at] + above_noise)
                .max(self.peak[at] - BELOW_PEAK)
    }

    /// Moves the ends of the stretches out over what is a little louder than the noise: where there is much of it, first
    /// and last sounds hardly stand out.
    fn widen(&self, stretches: &mut Vec<Range<usize>>, tone: &[bool]) {
        let goes_on = |at: usize| !tone[at] && self.stands_out(at, self.smooth[at], EDGE_ABOVE_NOISE);
        let count = stretches.len();
        for at in 0..count {
            let free_from = at.checked_sub(1).map_or(0, |last| stretches[last].end);
            let free_to = stretches.get(at + 1).map_or(tone.len(), |next| next.start);
            let stretch = &mut stretches[at];
            let least = free_from.max(stretch.start.saturating_sub(EDGE_MAX));
            while stretch.start > least && goes_on(stretch.start - 1) {
                stretch.start -= 1;
            }
            let most = free_to.min(stretch.end + EDGE_MAX);
            while stretch.end < most && goes_on(stretch.end) {
                stretch.end += 1;
            }
        }
        stretches.dedup_by(|next, last| {
            let joined = next.start - last.end < PAUSE_MIN;
            if joined {
                last.end = next.end;
            }
            joined
        });
    }
}

/// The runs that are a machine's tone, with their edges.
fn tone(hops: &[Hop], loud: &[bool]) -> Vec<bool> {
    let mut tone = vec![false; hops.len()];
    let mut run = 0;
    let is_line = |(hop, loud): (&Hop, &bool)| *loud && hop.lines >= TONE_LINES && hop.change <= TONE_CHANGE;
    // What stands behind the last hop ends a run as well.
    let runs = hops.iter().zip(loud).map(is_line).chain([false]);
    for (at, goes_on) in runs.enumerate() {
        if goes_on {
            run += 1;
            continue;
        }
        if run >= TONE_MIN {
            // Switching it on is a change that lasts as long as the comparison reaches.
            let from = (at - run).saturating_sub(APART + 3);
            let to = (at + APART).min(hops.len());
            tone[from..to].fill(true);
        }
        run = 0;
    }
    tone
}

/// How many of `marks` are set within `reach` to both sides of each place.
fn within(marks: &[bool], reach: u8) -> Vec<u8> {
    let reach = usize::from(reach.min(127));
    let mut count = marks.iter().take(reach).map(|mark| u8::from(*mark)).sum::<u8>();
    (0..marks.len())
        .map(|at| {
            count += u8::from(marks.get(at + reach).is_some_and(|mark| *mark));
            let out = at.checked_sub(reach + 1).is_some_and(|out| marks[out]);
            count -= u8::from(out);
            count
        })
        .collect()
}

/// The extreme value within `reach` to both sides of each place.
fn extreme(values: &[i16], reach: usize, first: impl Fn(i16, i16) -> bool) -> Vec<i16> {
    // Places of values that can still become the extreme, the present one first.
    let mut candidates: VecDeque<usize> = VecDeque::new();
    let mut next = 0;
    (0..values.len())
        .map(|at| {
            while next < values.len() && next <= at + reach {
                while candidates
                    .back()
                    .is_some_and(|last| first(values[next], values[*last]))
                {
                    candidates.pop_back();
                }
                candidates.push_back(next);
                next += 1;
            }
            while candidates.front().is_some_and(|front| front + reach < at) {
                candidates.pop_front();
            }
            candidates.front().map_or(values[at], |front| values[*front])
        })
        .collect()
}

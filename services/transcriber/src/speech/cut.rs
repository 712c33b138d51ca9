//! Cutting speech into pieces.

use std::ops::Range;

use super::PAD;
use super::features::Hop;

/// Silences longer than this are in no piece, in hops: 6 s.
const GAP_MAX: usize = 375;
/// Silences longer than this are as good as one of this length, in hops: 1 s.
const GAP_GOOD: usize = 62;
/// Hops over which loudness is averaged when a cut is looked for in the middle of sounds: 96 ms.
const SMOOTH: usize = 6;
/// The shortest `max` that makes sense, in hops: 1 s.
const MAX_LEAST: usize = 62;

/// Pieces of at most `max` hops with their padding, ordered and apart from each other.
pub(super) fn pieces(stretches: &[Range<usize>], hops: &[Hop], max: usize) -> Vec<Range<usize>> {
    let inner = max.max(MAX_LEAST) - 2 * PAD;
    let mut bare: Vec<Range<usize>> = Vec::new();
    for talk in stretches.chunk_by(|a, b| b.start - a.end <= GAP_MAX) {
        cut_talk(talk, hops, inner, &mut bare);
    }
    // Padding takes no more than half of a silence.
    (0..bare.len())
        .map(|at| {
            let before = at
                .checked_sub(1)
                .map_or(bare[at].start, |last| (bare[at].start - bare[last].end) / 2);
            let behind = bare
                .get(at + 1)
                .map_or(hops.len() - bare[at].end, |next| (next.start - bare[at].end) / 2);
            bare[at].start - before.min(PAD)..bare[at].end + behind.min(PAD)
        })
        .collect()
}

/// Stretches without a long silence between them.
fn cut_talk(talk: &[Range<usize>], hops: &[Hop], max: usize, pieces: &mut Vec<Range<usize>>) {
    let (Some(first), Some(last)) = (talk.first(), talk.last()) else {
        return;
    };
    let (mut start, end) = (first.start, last.end);
    // The first stretch that ends behind `start`.
    let mut next = 0;
    while end - start > max {
        let low = start + max / 2;
        // What is left should not be tiny either.
        let high = (start + max).min(end - max / 4);
        while talk[next].end <= low {
            next += 1;
        }
        // Silences that begin within reach; the one at the very end is none.
        let best = talk[next..]
            .windows(2)
            .take_while(|pair| pair[0].end <= high)
            .map(|pair| pair[0].end..pair[1].start)
            .max_by_key(|gap| gap.len().min(GAP_GOOD) * (high - low + gap.start - low));
        let (piece_end, next_start) = match best {
            Some(gap) => (gap.start, gap.end),
            None => {
                let quiet = quietest(hops, low..high);
                (quiet, quiet)
            }
        };
        pieces.push(start..piece_end);
        start = next_start;
    }
    pieces.push(start..end);
}

/// The quietest moment in `range`.
fn quietest(hops: &[Hop], range: Range<usize>) -> usize {
    let near = |at: usize| &hops[at.saturating_sub(SMOOTH / 2)..(at + SMOOTH / 2).min(hops.len())];
    let loudness = |at: usize| near(at).iter().map(|hop| i32::from(hop.level)).sum::<i32>();
    let start = range.start;
    range.min_by_key(|at| loudness(*at)).unwrap_or(start)
}

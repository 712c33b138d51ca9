//! Where somebody speaks, and where a recording can be cut.
//!
//! Speech is told from other sounds by what it does: it stands out of the noise (whose level is followed), and the
//! shape of its spectrum changes all the time, syllable by syllable, with more in it than one or two lines. Steady
//! noise and hum do not stand out or do not change, tones of telephones are lines, chords stay for a while. This is a
//! gate and not a judge: a doubtful sound counts as speech, and what a model makes of it is looked at again
//! (`filter.rs`).
//!
//! A channel is read once, a few seconds at a time. What is kept of it while it is looked at is some 20 bytes each 16 ms:
//! 18 MB for four hours.

use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::audio::{Audio16k, SAMPLE_RATE_HZ};

mod cut;
mod detect;
mod features;
#[cfg(test)]
pub(crate) mod signals;
#[cfg(test)]
mod tests;

use features::HOP;

/// A channel is silent when no tenth of a second of it is louder than this root mean square (-60 dB of full scale): the
/// noise of an idle telephone line is below, a whisper 20 dB above.
const SILENCE_RMS: f32 = 0.001;

/// Silence that a piece keeps before and behind its speech, in hops: 160 ms, so that no first sound is clipped.
const PAD: usize = 10;

/// A part of one channel that is recognised by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The channel, from 0.
    pub channel: u8,
    /// From the first frame to the one behind the last.
    pub frames: Range<u64>,
}

impl Piece {
    /// When it begins, in milliseconds from the start of the recording.
    pub fn start_ms(&self) -> u64 {
        self.frames.start * 1000 / u64::from(SAMPLE_RATE_HZ)
    }
}

/// What is to be recognised of a recording.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Ordered by start, then channel.
    pub(crate) pieces: Vec<Piece>,
    /// By channel, the stretches of speech in milliseconds: ordered, with pauses of at least 0.12 s between them.
    pub(crate) speech: Vec<Vec<Range<u64>>>,
}

/// Cuts the speech of a recording into pieces of at most `max`: at silences, a long one near the end of a piece rather
/// than a short one; where there is none, at the quietest moment. What holds no speech is in no piece. Ordered by
/// start, then channel. May read a file: call it off the async threads.
///
/// # Errors
/// The samples cannot be read.
pub fn pieces(audio: &Audio16k, max: Duration) -> io::Result<Vec<Piece>> {
    Ok(plan(audio, max, &|| true)?.unwrap_or_default().pieces)
}

/// As [`plan`], for engines that judge by themselves whether somebody speaks: a channel that is heard and in which no
/// speech is told from the noise is cut by time, without what is silent. Whoever cannot be told from the noise is then
/// heard by an engine all the same; a channel without speech in the plan is such a one. `None`: `go_on` said no; it is
/// asked every few seconds of audio.
///
/// # Errors
/// The samples cannot be read.
pub(crate) fn audible_plan(
    audio: &Audio16k,
    max: Duration,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Option<Plan>> {
    let mut found = Vec::new();
    let Some(Plan {
        pieces: spoken,
        speech,
    }) = plan(audio, max, go_on)?
    else {
        return Ok(None);
    };
    let step = (max.as_millis() * u128::from(SAMPLE_RATE_HZ) / 1000).max(1);
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    for channel in 0..audio.channel_count() {
        if spoken.iter().any(|piece| piece.channel == channel) {
            continue;
        }
        for start in (0..audio.frames()).step_by(step) {
            if !go_on() {
                return Ok(None);
            }
            let frames = start..start.saturating_add(step as u64).min(audio.frames());
            let piece = Piece { channel, frames };
            if !is_silent(audio, &piece)? {
                found.push(piece);
            }
        }
    }
    found.extend(spoken);
    found.sort_by_key(|piece| (piece.frames.start, piece.channel));
    Ok(Some(Plan {
        pieces: found,
        speech,
    }))
}

/// Whether nothing is heard in a piece. Reads it a second at a time: call it off the async threads.
///
/// # Errors
/// The samples cannot be read.
pub(crate) fn is_silent(audio: &Audio16k, piece: &Piece) -> io::Result<bool> {
    for start in piece.frames.clone().step_by(SAMPLE_RATE_HZ as usize) {
        let end = (start + u64::from(SAMPLE_RATE_HZ)).min(piece.frames.end);
        let samples = audio.read(piece.channel, start..end)?;
        let is_heard = samples.chunks(SAMPLE_RATE_HZ as usize / 10).any(|step| {
            let power = step.iter().map(|sample| sample * sample).sum::<f32>() / step.len() as f32;
            power >= SILENCE_RMS * SILENCE_RMS
        });
        if is_heard {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As [`pieces`], with the speech itself. `None`: `go_on` said no.
pub(crate) fn plan(audio: &Audio16k, max: Duration, go_on: &dyn Fn() -> bool) -> io::Result<Option<Plan>> {
    let max_frames = u64::try_from(max.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_mul(u64::from(SAMPLE_RATE_HZ))
        / 1000;
    let max_hops = usize::try_from(max_frames / HOP as u64).unwrap_or(usize::MAX);
    let mut plan = Plan::default();
    for channel in 0..audio.channel_count() {
        let Some(hops) = features::measure(audio, channel, go_on)? else {
            return Ok(None);
        };
        let stretches = detect::speech(&hops);
        plan.pieces.extend(
            cut::pieces(&stretches, &hops, max_hops)
                .into_iter()
                .map(|piece| Piece {
                    channel,
                    frames: (piece.start * HOP) as u64..((piece.end * HOP) as u64).min(audio.frames()),
                }),
        );
        let ms = |hop: usize| (hop * HOP) as u64 * 1000 / u64::from(SAMPLE_RATE_HZ);
        plan.speech.push(
            stretches
                .into_iter()
                .map(|stretch| ms(stretch.start)..ms(stretch.end).min(audio.duration_ms()))
                .collect(),
        );
    }
    plan.pieces
        .sort_by_key(|piece| (piece.frames.start, piece.channel));
    Ok(Some(plan))
}

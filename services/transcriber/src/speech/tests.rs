#![expect(
    clippy::single_range_in_vec_init,
    reason = "one stretch of speech, not its numbers"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use callfold_kit::audio::{Limits, Pcm, decode};

use super::features::Hop;
use super::signals::*;
use super::*;

fn sounds(samples: &[f64]) -> Audio16k {
    Audio16k::from_pcm(Pcm {
        sample_rate_hz: RATE_HZ,
        channels: vec![mu_law(samples)],
    })
    .unwrap()
}

fn sample(name: &str) -> Vec<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets/samples")
        .join(name);
    let pcm = decode(&path, &Limits::default()).unwrap();
    pcm.channels[0].iter().map(|sample| f64::from(*sample)).collect()
}

fn planned(samples: &[f64]) -> Plan {
    plan(&sounds(samples), Duration::from_secs(28), &|| true)
        .unwrap()
        .unwrap()
}

/// From the first speech to the last, in milliseconds.
fn extent(plan: &Plan) -> Range<u64> {
    let speech = &plan.speech[0];
    speech.first().map_or(0, |first| first.start)..speech.last().map_or(0, |last| last.end)
}

/// A message as it may come: its name, its samples, and by how much it is later than the message itself.
fn spoilt(n: u32) -> Vec<(&'static str, Vec<f64>, u64)> {
    let plain = sample(&format!("message-{n}.wav"));
    let power = plain.iter().map(|s| s * s).sum::<f64>() / plain.len() as f64;
    let level_db = 10.0 * power.log10();
    let with_noise = |colour, below_db| -> Vec<f64> {
        let noise = noise(
            colour,
            plain.len() as f64 / f64::from(RATE_HZ) + 0.1,
            level_db - below_db,
            9,
        );
        plain.iter().zip(&noise).map(|(a, b)| a + b).collect()
    };
    let offset: Vec<f64> = plain.iter().map(|s| s * 0.5 + 0.02).collect();
    let fade: Vec<f64> = plain
        .iter()
        .enumerate()
        .map(|(i, s)| s * (0.1 + i as f64 / plain.len() as f64).min(1.0))
        .collect();
    vec![
        ("plain", plain.clone(), 0),
        (
            "30 dB quieter",
            plain.iter().map(|s| s * gain(-30.0)).collect(),
            0,
        ),
        ("white noise", with_noise("white", 15.0), 0),
        ("pink noise", with_noise("pink", 15.0), 0),
        ("an offset", offset, 0),
        ("growing louder", fade, 0),
        (
            "after a beep",
            [tones(&[1000.0], 0.8, -12.0), plain.clone()].concat(),
            800,
        ),
        (
            "after a beep and a moment",
            [tones(&[1400.0], 0.5, -6.0), vec![0.0; 2_400], plain.clone()].concat(),
            800,
        ),
    ]
}

#[test]
fn what_is_no_speech_is_in_no_piece() {
    for signal in no_speech() {
        let plan = planned(&signal.samples);
        assert!(plan.pieces.is_empty(), "{}: {:?}", signal.name, plan.speech);
    }
}

#[test]
fn real_speech_is_found_whatever_the_line_does_to_it() {
    for n in 1..=6 {
        let wanted = extent(&planned(&sample(&format!("message-{n}.wav"))));
        for (name, samples, later_ms) in spoilt(n) {
            let plan = planned(&samples);
            let found = extent(&plan);
            // In noise a soft first or last sound is not to be told from it.
            let most = if name.ends_with("noise") { 500 } else { 320 };
            assert!(
                found.start.abs_diff(wanted.start + later_ms) <= most
                    && found.end.abs_diff(wanted.end + later_ms) <= most,
                "message {n}, {name}: {found:?} instead of {wanted:?}"
            );
            // In one piece, with a little silence around.
            assert_eq!(plan.pieces.len(), 1, "message {n}, {name}");
            let piece = &plan.pieces[0];
            assert!(piece.start_ms() <= found.start && piece.start_ms() + 200 >= found.start);
            assert!(piece.frames.end / 16 >= found.end.min(samples.len() as u64 / 8));
        }
    }
}

#[test]
fn a_beep_before_a_message_is_not_part_of_it() {
    for (name, samples, later_ms) in spoilt(1) {
        if later_ms > 0 {
            let plan = planned(&samples);
            assert!(plan.pieces[0].start_ms() > 500, "{name}: {:?}", plan.pieces);
        }
    }
}

#[test]
fn speech_within_long_silence_is_a_piece_of_its_own() {
    let message = sample("message-1.wav");
    let quiet = noise("white", 40.0, -60.0, 3);
    let samples = [&quiet[..], &message[..], &quiet[..], &message[..], &quiet[..]].concat();
    let plan = planned(&samples);
    assert_eq!(plan.pieces.len(), 2);
    let message_ms = message.len() as u64 / 8;
    for (piece, from) in plan.pieces.iter().zip([40_000, 80_000 + message_ms]) {
        assert!(
            piece.start_ms() >= from && piece.frames.end / 16 <= from + message_ms,
            "{piece:?}"
        );
    }
}

#[test]
fn a_channel_is_cut_by_what_is_on_it() {
    let message = mu_law(&sample("message-1.wav"));
    let audio = Audio16k::from_pcm(Pcm {
        sample_rate_hz: RATE_HZ,
        channels: vec![vec![0.0; message.len()], message],
    })
    .unwrap();
    let found = pieces(&audio, Duration::from_secs(28)).unwrap();
    assert_eq!((found.len(), found[0].channel), (1, 1));
}

#[test]
fn looking_for_speech_stops_when_it_is_told_to() {
    let audio = sounds(&sample("long-call.mp3"));
    let left = std::cell::Cell::new(3);
    let go_on = || {
        left.set(left.get() - 1);
        left.get() > 0
    };
    assert_eq!(plan(&audio, Duration::from_secs(28), &go_on).unwrap(), None);
    assert_eq!(left.get(), 0);
}

/// Loud where there is a stretch, and quietest at `quiet`.
fn hops(length: usize, stretches: &[Range<usize>], quiet: usize) -> Vec<Hop> {
    (0..length)
        .map(|at| {
            let speaks = stretches.iter().any(|stretch| stretch.contains(&at));
            let level = if !speaks {
                -6_000
            } else if at.abs_diff(quiet) < 6 {
                -3_500
            } else {
                -2_000 - 100 * (at % 7) as i16
            };
            Hop {
                level,
                lines: 100,
                change: 40,
            }
        })
        .collect()
}

fn cut(stretches: &[Range<usize>], length: usize, quiet: usize, max: usize) -> Vec<Range<usize>> {
    let pieces = cut::pieces(stretches, &hops(length, stretches, quiet), max);
    for (at, piece) in pieces.iter().enumerate() {
        assert!(
            piece.len() <= max && !piece.is_empty() && piece.end <= length,
            "{piece:?}"
        );
        assert!(at == 0 || pieces[at - 1].end <= piece.start, "{pieces:?}");
    }
    // All speech is in a piece.
    for at in stretches.iter().cloned().flatten() {
        assert!(
            pieces.iter().any(|piece| piece.contains(&at)),
            "{at} is in none of {pieces:?}"
        );
    }
    pieces
}

#[test]
fn a_long_silence_is_a_better_place_than_a_short_one() {
    // Silences of 0.3 s at 900 and of 1 s at 1100, and a short one at the very end of what fits.
    let stretches = [0..900, 920..1100, 1162..1600, 1610..2400];
    let pieces = cut(&stretches, 2400, 0, 1700);
    assert_eq!(pieces, [0..1110, 1152..2400]);
}

#[test]
fn what_is_left_is_not_tiny() {
    // 29 s with a good silence just before the end: better two of the same size.
    let stretches = [0..800, 815..1740, 1800..1812];
    let pieces = cut(&stretches, 1812, 0, 1750);
    assert_eq!(pieces.len(), 2);
    assert!(pieces[1].len() > 400, "{pieces:?}");
}

#[test]
fn where_there_is_no_silence_the_quietest_moment_is_taken() {
    let pieces = cut(&[0..5_000], 5_000, 1_300, 1_750);
    assert!(
        pieces[0].end.abs_diff(1_300) < 8 && pieces[0].end == pieces[1].start,
        "{pieces:?}"
    );
    assert!(pieces.iter().all(|piece| piece.len() > 400), "{pieces:?}");
}

#[test]
fn pieces_hold_all_speech_and_are_never_too_long() {
    let mut dice = Dice::new(7);
    for round in 0..300 {
        let mut stretches = Vec::new();
        let mut at = 0;
        for _ in 0..(dice.even() * 60.0) as usize {
            let start = at + 8 + (dice.even().powi(3) * 600.0) as usize;
            at = start + 1 + (dice.even().powi(3) * 2_500.0) as usize;
            stretches.push(start..at);
        }
        let max = 62 + (dice.even() * 3_000.0) as usize;
        let pieces = cut(&stretches, at + 30, at / 2, max);
        assert_eq!(pieces.is_empty(), stretches.is_empty(), "{round}");
    }
}

#[test]
fn the_long_call_is_cut_at_its_pauses() {
    let audio = sounds(&sample("long-call.mp3"));
    let plan = plan(&audio, Duration::from_secs(28), &|| true).unwrap().unwrap();
    for piece in &plan.pieces {
        let (start, end) = (piece.start_ms(), piece.frames.end / 16);
        assert!(end - start <= 28_000 && end - start > 7_000, "{piece:?}");
        // No piece ends or begins within speech.
        assert!(
            !plan.speech[0]
                .iter()
                .any(|s| s.start < start && start < s.end || s.start < end && end < s.end)
        );
    }
    // Shorter pieces for an engine that takes less.
    for max in [5, 10, 55] {
        for piece in pieces(&audio, Duration::from_secs(max)).unwrap() {
            assert!(piece.frames.end - piece.frames.start <= max * u64::from(SAMPLE_RATE_HZ));
        }
    }
}

#[test]
fn what_is_heard_and_not_told_from_noise_is_cut_by_time_and_silence_is_not() {
    let second = SAMPLE_RATE_HZ as usize;
    let tone: Vec<f32> = (0..50 * second).map(|at| 0.3 * (at as f32 * 0.3).sin()).collect();
    let mut late = vec![0.0; 50 * second];
    late[45 * second..].copy_from_slice(&tone[45 * second..]);
    let hiss: Vec<f32> = tone.iter().map(|sample| sample * 0.001).collect();
    let audio = Audio16k::from_samples(vec![tone, late, hiss]);
    let max = Duration::from_secs(20);
    assert_eq!(pieces(&audio, max).unwrap(), []);
    let found: Vec<_> = audible_plan(&audio, max, &|| true)
        .unwrap()
        .unwrap()
        .pieces
        .into_iter()
        .map(|piece| (piece.channel, piece.start_ms(), piece.frames.end / second as u64))
        .collect();
    assert_eq!(
        found,
        [(0, 0, 20), (0, 20_000, 40), (0, 40_000, 50), (1, 40_000, 50)]
    );
    // Whoever gives up while the levels are looked at is heard.
    let asked = std::cell::Cell::new(0);
    let go_on = || asked.replace(asked.get() + 1) < 2;
    assert_eq!(audible_plan(&audio, max, &go_on).unwrap(), None);
    assert!(asked.get() < 10, "{}", asked.get());
}

//! Sounds that are no speech, as a telephone line carries them: 8 kHz, mu-law.

use std::f64::consts::PI;

/// Sample rate of the sounds, in Hz.
pub(crate) const RATE_HZ: u32 = 8_000;

/// A sound by name.
pub(crate) struct Signal {
    pub(crate) name: String,
    pub(crate) samples: Vec<f64>,
}

/// Numbers that look random and are always the same.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Even over 0 to 1.
    pub(crate) fn even(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal, of variance 1, near enough.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }
}

/// Factor of a level in dB.
pub(crate) fn gain(db: f64) -> f64 {
    10_f64.powf(db / 20.0)
}

/// What becomes of samples on a telephone line.
pub(crate) fn mu_law(samples: &[f64]) -> Vec<f32> {
    samples
        .iter()
        .map(|sample| {
            let x = sample.clamp(-1.0, 1.0);
            let y = (1.0 + 255.0 * x.abs()).ln() / 256_f64.ln();
            let y = (y * 127.0).round() / 127.0;
            (x.signum() * ((256_f64.powf(y) - 1.0) / 255.0)) as f32
        })
        .collect()
}

fn frames(secs: f64) -> usize {
    (secs * f64::from(RATE_HZ)) as usize
}

/// Several sines at once, together of level `db`, for `secs`.
pub(crate) fn tones(hz: &[f64], secs: f64, db: f64) -> Vec<f64> {
    let each = gain(db) / hz.len() as f64;
    (0..frames(secs))
        .map(|i| {
            let t = i as f64 / f64::from(RATE_HZ);
            // Edges of 4 ms: a switch, not a click.
            let edge = (i.min(frames(secs) - i) as f64 / 32.0).min(1.0);
            edge * hz.iter().map(|hz| each * (2.0 * PI * hz * t).sin()).sum::<f64>()
        })
        .collect()
}

fn silence(secs: f64) -> Vec<f64> {
    vec![0.0; frames(secs)]
}

/// Noise of a colour, of effective level `db`: `white`, `pink`, `brown`.
pub(crate) fn noise(colour: &str, secs: f64, db: f64, seed: u64) -> Vec<f64> {
    let mut dice = Dice::new(seed);
    let mut rows = [0.0; 12];
    let mut walk = 0.0;
    let samples: Vec<f64> = (0..frames(secs))
        .map(|i: usize| match colour {
            "white" => dice.normal(),
            "pink" => {
                let row = (i.trailing_zeros() as usize).min(11);
                rows[row] = dice.normal();
                rows.iter().sum::<f64>() + dice.normal()
            }
            _ => {
                walk = walk * 0.995 + dice.normal();
                walk
            }
        })
        .collect();
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    let power = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / samples.len() as f64;
    let factor = gain(db) / power.sqrt();
    samples
        .into_iter()
        .map(|sample| (sample - mean) * factor)
        .collect()
}

fn repeat(parts: &[Vec<f64>], times: usize) -> Vec<f64> {
    parts.concat().repeat(times)
}

const DTMF: [(f64, f64); 12] = [
    (697.0, 1209.0),
    (697.0, 1336.0),
    (697.0, 1477.0),
    (770.0, 1209.0),
    (770.0, 1336.0),
    (770.0, 1477.0),
    (852.0, 1209.0),
    (852.0, 1336.0),
    (852.0, 1477.0),
    (941.0, 1209.0),
    (941.0, 1336.0),
    (941.0, 1477.0),
];

fn dtmf(on: f64, off: f64, digits: usize, db: f64) -> Vec<f64> {
    let mut dice = Dice::new(digits as u64 + 5);
    (0..digits)
        .flat_map(|_| {
            let (low, high) = DTMF[(dice.even() * 12.0) as usize % 12];
            [tones(&[low, high], on, db), silence(off)].concat()
        })
        .collect()
}

/// Notes with overtones, one chord after the other. `fall`: how fast a note dies away, per second.
fn music(chords: &[&[f64]], each: f64, times: usize, fall: f64, db: f64) -> Vec<f64> {
    let one: Vec<f64> = chords
        .iter()
        .flat_map(|chord| {
            let hz: Vec<f64> = chord
                .iter()
                .flat_map(|note| [*note, note * 2.0, note * 3.0])
                .collect();
            tones(&hz, each, db)
                .into_iter()
                .enumerate()
                .map(|(i, sample)| sample * (-fall * i as f64 / f64::from(RATE_HZ)).exp())
                .collect::<Vec<_>>()
        })
        .collect();
    one.repeat(times)
}

fn sweep(low: f64, high: f64, per_sec: f64, secs: f64, db: f64) -> Vec<f64> {
    let mut phase = 0.0;
    (0..frames(secs))
        .map(|i| {
            let t = i as f64 / f64::from(RATE_HZ);
            let hz = low + (high - low) * (0.5 - 0.5 * (2.0 * PI * per_sec * t).cos());
            phase += 2.0 * PI * hz / f64::from(RATE_HZ);
            gain(db) * phase.sin()
        })
        .collect()
}

fn keyed(low: f64, high: f64, baud: f64, secs: f64, db: f64) -> Vec<f64> {
    let mut dice = Dice::new(3);
    let (mut phase, mut bit, mut left) = (0.0, true, 0.0);
    (0..frames(secs))
        .map(|_| {
            if left <= 0.0 {
                bit = dice.even() < 0.5;
                left += f64::from(RATE_HZ) / baud;
            }
            left -= 1.0;
            phase += 2.0 * PI * if bit { low } else { high } / f64::from(RATE_HZ);
            gain(db) * f64::sin(phase)
        })
        .collect()
}

fn clicks(per_sec: f64, secs: f64, db: f64) -> Vec<f64> {
    let mut dice = Dice::new(11);
    let mut samples = silence(secs);
    let count = (per_sec * secs) as usize;
    for _ in 0..count {
        let at = (dice.even() * (samples.len() - 8) as f64) as usize;
        for (i, sample) in samples[at..at + 8].iter_mut().enumerate() {
            *sample = gain(db) * if i % 2 == 0 { 1.0 } else { -1.0 } / (i + 1) as f64;
        }
    }
    samples
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Everything a line carries that is no speech.
pub(crate) fn no_speech() -> Vec<Signal> {
    let mut signals: Vec<(String, Vec<f64>)> = vec![("nothing".into(), silence(12.0))];
    for colour in ["white", "pink", "brown"] {
        for db in [-70.0, -55.0, -40.0, -30.0, -20.0, -12.0] {
            signals.push((format!("{colour} noise, {db} dB"), noise(colour, 12.0, db, 1)));
        }
    }
    // The level of the room changes: a car passes, a door opens.
    let swell: Vec<f64> = noise("pink", 12.0, -30.0, 2)
        .into_iter()
        .enumerate()
        .map(|(i, s)| s * (1.0 + 0.9 * (i as f64 / 8_000.0).sin()))
        .collect();
    signals.push(("swelling pink noise".into(), swell));
    signals.push((
        "noise that begins at once".into(),
        [silence(5.0), noise("white", 7.0, -25.0, 4)].concat(),
    ));
    for db in [-45.0, -20.0] {
        let hum = tones(&[50.0, 100.0, 150.0, 250.0, 350.0], 12.0, db);
        signals.push((
            format!("hum, {db} dB"),
            add(&hum, &noise("white", 12.0, -60.0, 6)),
        ));
    }
    for db in [-30.0, -10.0] {
        let mut tone = |name: &str, samples| signals.push((format!("{name}, {db} dB"), samples));
        tone("dial tone", tones(&[425.0], 10.0, db));
        tone("busy tone", repeat(&[tones(&[425.0], 0.5, db), silence(0.5)], 10));
        tone(
            "congestion tone",
            repeat(&[tones(&[425.0], 0.25, db), silence(0.25)], 20),
        );
        tone(
            "ringing tone",
            repeat(&[tones(&[400.0, 450.0], 1.0, db), silence(3.0)], 3),
        );
        tone(
            "no such number",
            repeat(
                &[
                    tones(&[950.0], 0.33, db),
                    tones(&[1400.0], 0.33, db),
                    tones(&[1800.0], 0.33, db),
                    silence(1.0),
                ],
                5,
            ),
        );
        tone("keys, fast", dtmf(0.05, 0.05, 60, db));
        tone("keys", dtmf(0.1, 0.1, 40, db));
        tone("keys by hand", dtmf(0.2, 0.35, 16, db));
        tone("a key held", tones(&[770.0, 1336.0], 6.0, db));
        tone(
            "fax calling",
            repeat(&[tones(&[1100.0], 0.5, db), silence(3.0)], 3),
        );
        tone("fax answering", tones(&[2100.0], 4.0, db));
        tone("fax talking", keyed(1650.0, 1850.0, 300.0, 8.0, db));
        tone("siren", sweep(500.0, 1500.0, 1.0, 10.0, db));
        tone("siren, fast", sweep(700.0, 1600.0, 4.0, 10.0, db));
        let chords: [&[f64]; 4] = [
            &[261.6, 329.6, 392.0],
            &[293.7, 349.2, 440.0],
            &[246.9, 293.7, 392.0],
            &[220.0, 261.6, 329.6],
        ];
        tone("chords", music(&chords, 1.0, 3, 0.0, db));
        tone("chords, struck", music(&chords, 0.5, 6, 4.0, db));
        let notes: [&[f64]; 8] = [
            &[523.3],
            &[587.3],
            &[659.3],
            &[523.3],
            &[392.0],
            &[440.0],
            &[493.9],
            &[523.3],
        ];
        tone("melody", music(&notes, 0.25, 5, 3.0, db));
        tone("clicks", clicks(3.0, 12.0, db));
        let beep = tones(&[1000.0], 0.8, db);
        tone(
            "beep, then nothing",
            [silence(0.3), beep.clone(), silence(10.0)].concat(),
        );
        tone(
            "beep, then a quiet line",
            add(
                &[silence(0.3), beep, silence(10.0)].concat(),
                &noise("white", 11.1, -58.0, 8),
            ),
        );
        tone(
            "three beeps",
            [
                repeat(&[tones(&[1400.0], 0.2, db), silence(0.3)], 3),
                silence(8.0),
            ]
            .concat(),
        );
    }
    signals
        .into_iter()
        .map(|(name, samples)| Signal { name, samples })
        .collect()
}

//! Decoded recordings as engines want them: 16 kHz, 32-bit float, one vector a channel.

use callfold_kit::audio::Pcm;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// The sample rate that every engine is given, in Hz.
pub const SAMPLE_RATE_HZ: u32 = 16_000;
/// Least length of the filter's blocks, in frames of the source: sharp enough to keep the band of telephone
/// audio up to 3.9 kHz.
const BLOCK_FRAMES: usize = 512;

/// A recording at 16 kHz. All channels have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audio16k {
    channels: Vec<Vec<f32>>,
}

/// Why audio could not be brought to 16 kHz: a rate that the resampler cannot serve.
#[derive(Debug, thiserror::Error)]
#[error("cannot resample audio of {from_hz} Hz")]
pub struct ResampleError {
    /// The rate of the source, in Hz.
    pub from_hz: u32,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Audio16k {
    /// Resamples `pcm`. Blocks for some milliseconds a minute of audio: call it off the async threads.
    ///
    /// Every instant keeps its place: the filter's delay is cut off, so that times of segments are times in
    /// the recording.
    ///
    /// # Errors
    /// [`ResampleError`] when the rate cannot be served.
    pub fn from_pcm(pcm: Pcm) -> Result<Self, ResampleError> {
        let from_hz = pcm.sample_rate_hz;
        if from_hz == SAMPLE_RATE_HZ {
            return Ok(Self {
                channels: pcm.channels,
            });
        }
        // Channel after channel, so that only one of them is in memory twice.
        let channels = pcm
            .channels
            .into_iter()
            .map(|samples| resample(&samples, from_hz).map_err(|source| ResampleError { from_hz, source }))
            .collect::<Result<_, _>>()?;
        Ok(Self { channels })
    }

    /// Wraps samples that are at 16 kHz already.
    pub fn from_samples(channels: Vec<Vec<f32>>) -> Self {
        Self { channels }
    }

    /// The samples, by channel.
    pub fn channels(&self) -> &[Vec<f32>] {
        &self.channels
    }

    /// Length in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        let frames = self.channels.iter().map(Vec::len).max().unwrap_or(0);
        frames as u64 * 1000 / u64::from(SAMPLE_RATE_HZ)
    }
}

fn resample(samples: &[f32], from_hz: u32) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
    if samples.is_empty() {
        return Ok(Vec::new());
    }
    if from_hz == 0 {
        return Err("no sample rate".into());
    }
    let (from, to) = (from_hz as usize, SAMPLE_RATE_HZ as usize);
    // An even number of the smallest blocks: the delay is half a block, and only then whole frames.
    let smallest = from / gcd(from, to);
    let block = smallest * BLOCK_FRAMES.div_ceil(smallest).next_multiple_of(2);
    let window = WindowFunction::BlackmanHarris2;
    let mut resampler = Fft::<f32>::new_custom(from, to, block, 1, 1, window, FixedSync::Both)?;
    let input = InterleavedSlice::new(samples, 1, samples.len())?;
    Ok(resampler.process_all(&input, samples.len(), None)?.take_data())
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tone(rate: u32, hz: f64, frames: usize) -> Vec<f32> {
        (0..frames)
            .map(|i| (0.5 * (2.0 * std::f64::consts::PI * hz * i as f64 / f64::from(rate)).sin()) as f32)
            .collect()
    }

    fn at_16k(rate: u32, channels: Vec<Vec<f32>>) -> Audio16k {
        Audio16k::from_pcm(Pcm {
            sample_rate_hz: rate,
            channels,
        })
        .unwrap()
    }

    #[test]
    fn a_tone_of_any_rate_comes_out_in_phase() {
        for rate in [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000] {
            for hz in [200.0, 1000.0, 3000.0] {
                let got = at_16k(rate, vec![tone(rate, hz, rate as usize * 2)]);
                let wanted = tone(16_000, hz, 32_000);
                assert_eq!(got.channels()[0].len(), 32_000, "{rate}");
                // The edges are the filter's; the middle must be the same wave at the same time.
                let error: f64 = got.channels()[0][2_000..30_000]
                    .iter()
                    .zip(&wanted[2_000..30_000])
                    .map(|(a, b)| f64::from(a - b).powi(2))
                    .sum::<f64>()
                    / 28_000.0;
                assert!(error.sqrt() < 0.002, "{rate} Hz, tone of {hz}: {}", error.sqrt());
            }
        }
    }

    #[test]
    fn what_telephone_audio_cannot_hold_is_not_invented() {
        let got = at_16k(8_000, vec![tone(8_000, 1000.0, 16_000)]);
        // Above 4 kHz there is only the mirror image of the tone, at 7 kHz.
        let image = tone(16_000, 7000.0, 32_000);
        let product: f64 = got.channels()[0]
            .iter()
            .zip(&image)
            .map(|(a, b)| f64::from(a * b))
            .sum();
        assert!((product / 32_000.0).abs() < 1e-4, "{product}");
    }

    #[test]
    fn a_click_stays_where_it_was() {
        let mut samples = vec![0.0; 16_000];
        samples[8_000] = 1.0;
        let got = at_16k(8_000, vec![samples]);
        let (at, _) = got.channels()[0]
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        assert!(at.abs_diff(16_000) <= 1, "{at}");
    }

    #[test]
    fn channels_and_length_are_kept() {
        let got = at_16k(8_000, vec![vec![0.1; 4_001], vec![0.2; 4_001]]);
        assert_eq!(got.channels().len(), 2);
        assert_eq!(got.channels()[0].len(), got.channels()[1].len());
        assert_eq!(got.duration_ms(), 500);
        assert_eq!(at_16k(8_000, vec![Vec::new()]).duration_ms(), 0);
        assert_eq!(at_16k(8_000, vec![vec![0.5]]).channels()[0].len(), 2);
    }
}

//! Decoded recordings as engines want them: 16 kHz, each channel apart.
//!
//! A recording is decoded and resampled block by block and its samples are laid down as they come, so that memory
//! does not grow with its length: at most 4 MiB of samples (`store::IN_MEMORY_SAMPLES_MAX`) and the blocks in hand,
//! whether it lasts two seconds or four hours. Longer ones are in a file without a name.

use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use callfold_kit::audio::{AudioError, Format, Limits, Pcm, decode_frames};

mod resample;
mod store;

use resample::{Broken, Resampler};
use store::{Samples, Writer};

/// The sample rate that every engine is given, in Hz.
pub const SAMPLE_RATE_HZ: u32 = 16_000;
/// What is decoded by default: 4 h.
pub const LIMITS: Limits = limits(Duration::from_secs(4 * 3600));
/// Channels that a recording of the longest duration may have.
const CHANNELS_MAX: u64 = 2;
/// The highest rate that a recording of the longest duration may have, in Hz.
const SOURCE_HZ_MAX: u64 = 48_000;

/// What is decoded: recordings up to this long, of two channels at 48 kHz.
pub const fn limits(max_duration: Duration) -> Limits {
    Limits {
        max_duration,
        max_samples: samples_max(max_duration, SOURCE_HZ_MAX),
    }
}

/// Most samples of all channels together. At 16 kHz 4 h are 922 MB on disk.
const fn samples_max(max_duration: Duration, rate_hz: u64) -> u64 {
    // A second more, for a duration that is no whole number of them and for what the last block brings.
    max_duration
        .as_secs()
        .saturating_add(1)
        .saturating_mul(CHANNELS_MAX * rate_hz)
}

/// A recording at 16 kHz. All channels have the same length. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Audio16k {
    samples: Samples,
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

/// Why a recording did not become samples.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It could not be read or understood.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// It could not be brought to 16 kHz.
    #[error(transparent)]
    Resample(#[from] ResampleError),
    /// Its samples could not be kept.
    #[error("cannot keep the decoded samples")]
    Keep(#[source] io::Error),
}

impl DecodeError {
    fn of(broken: Broken, from_hz: u32) -> Self {
        match broken {
            Broken::Filter(source) => ResampleError { from_hz, source }.into(),
            Broken::Sink(source) => Self::Keep(source),
        }
    }
}

impl Audio16k {
    /// Decodes and resamples a recording (see [`decode_frames`]; [`LIMITS`] are what a stage allows). A long one's
    /// samples go into a file without a name in `work_dir`. Blocks for some milliseconds a minute of audio: call it off
    /// the async threads.
    ///
    /// Every instant keeps its place: the filter's delay is cut off, so that times of segments are times in
    /// the recording.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode<R>(reader: R, limits: &Limits, work_dir: &Path) -> Result<Self, DecodeError>
    where
        R: Read + Seek + Send + Sync,
    {
        let max_samples = samples_max(limits.max_duration, u64::from(SAMPLE_RATE_HZ));
        let mut state: Option<(Resampler, Writer<'_>)> = None;
        let (format, _) = decode_frames(reader, limits, |format: Format, planes| {
            let (from_hz, channels) = (format.sample_rate_hz, usize::from(format.channels));
            let (resampler, writer) = match &mut state {
                Some(state) => state,
                None => {
                    let resampler = Resampler::new(from_hz, channels)
                        .map_err(|source| ResampleError { from_hz, source })?;
                    let writer = Writer::new(channels, Some(work_dir), store::IN_MEMORY_SAMPLES_MAX);
                    state.insert((resampler, writer))
                }
            };
            resampler
                .push(planes, &mut |planes| writer.push(planes))
                .map_err(|broken| DecodeError::of(broken, from_hz))?;
            if writer.samples() > max_samples {
                return Err(DecodeError::Audio(AudioError::TooManySamples { max_samples }));
            }
            Ok::<(), DecodeError>(())
        })?;
        let (resampler, mut writer) = state.ok_or(AudioError::Empty)?;
        resampler
            .finish(&mut |planes| writer.push(planes))
            .map_err(|broken| DecodeError::of(broken, format.sample_rate_hz))?;
        let samples = writer.finish().map_err(DecodeError::Keep)?;
        Ok(Self { samples })
    }

    /// Resamples what is in memory, and keeps it there.
    ///
    /// # Errors
    /// [`ResampleError`] when the rate cannot be served.
    pub fn from_pcm(pcm: Pcm) -> Result<Self, ResampleError> {
        let from_hz = pcm.sample_rate_hz;
        let failed = |source| ResampleError { from_hz, source };
        let mut writer = Writer::new(pcm.channels.len(), None, usize::MAX);
        let mut resampler = Resampler::new(from_hz, pcm.channels.len()).map_err(failed)?;
        let mut keep = |planes: &[&[f32]]| writer.push(planes);
        resampler
            .push(&pcm.channels, &mut keep)
            .and_then(|()| resampler.finish(&mut keep))
            .map_err(|broken| match broken {
                Broken::Filter(source) => failed(source),
                Broken::Sink(source) => failed(source.into()),
            })?;
        let samples = writer.finish().map_err(|e| failed(e.into()))?;
        Ok(Self { samples })
    }

    /// Keeps samples that are at 16 kHz already. All channels get the length of the longest.
    pub fn from_samples(mut channels: Vec<Vec<f32>>) -> Self {
        let frames = channels.iter().map(Vec::len).max().unwrap_or(0);
        channels
            .iter_mut()
            .for_each(|channel| channel.resize(frames, 0.0));
        Self {
            samples: Samples::in_memory(&channels),
        }
    }

    /// How many channels there are.
    pub fn channel_count(&self) -> u8 {
        u8::try_from(self.samples.channels()).unwrap_or(u8::MAX)
    }

    /// Length in frames.
    pub fn frames(&self) -> u64 {
        self.samples.frames()
    }

    /// Samples of one channel, -1 to 1. What is asked for beyond the end, or of a channel that is none, is left out.
    /// May read a file: call it off the async threads. Memory is taken for all that is asked for: ask for pieces.
    ///
    /// # Errors
    /// The samples cannot be read.
    pub fn read(&self, channel: u8, frames: Range<u64>) -> io::Result<Vec<f32>> {
        self.samples.read(usize::from(channel), frames)
    }

    /// The same as a WAV file of one channel, 16 bit, at [`SAMPLE_RATE_HZ`].
    ///
    /// # Errors
    /// The samples cannot be read.
    pub fn wav(&self, channel: u8, frames: Range<u64>) -> io::Result<Vec<u8>> {
        let samples = self.read(channel, frames)?;
        let bytes = u32::try_from(samples.len() * 2).map_err(io::Error::other)?;
        let mut wav = Vec::with_capacity(44 + samples.len() * 2);
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(36_u32.saturating_add(bytes)).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt ");
        for number in [
            16_u32,
            0x0001_0001,
            SAMPLE_RATE_HZ,
            SAMPLE_RATE_HZ * 2,
            0x0010_0002,
        ] {
            wav.extend_from_slice(&number.to_le_bytes());
        }
        wav.extend_from_slice(b"data");
        wav.extend_from_slice(&bytes.to_le_bytes());
        for sample in samples {
            wav.extend_from_slice(&store::to_i16(sample).to_le_bytes());
        }
        Ok(wav)
    }

    /// Length in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.frames() * 1000 / u64::from(SAMPLE_RATE_HZ)
    }
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
                assert_eq!(got.frames(), 32_000, "{rate}");
                // The edges are the filter's; the middle must be the same wave at the same time.
                let error: f64 = got
                    .read(0, 2_000..30_000)
                    .unwrap()
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
        let product: f64 = got
            .read(0, 0..32_000)
            .unwrap()
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
        let samples = got.read(0, 0..32_000).unwrap();
        let (at, _) = samples
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        assert!(at.abs_diff(16_000) <= 1, "{at}");
    }

    #[test]
    fn a_piece_reads_back_from_its_wav() {
        let audio = Audio16k::from_samples(vec![vec![0.0; 100], tone(16_000, 440.0, 100)]);
        let wav = audio.wav(1, 20..60).unwrap();
        let pcm = callfold_kit::audio::decode_reader(
            std::io::Cursor::new(wav),
            &callfold_kit::audio::Limits::default(),
        )
        .unwrap();
        assert_eq!((pcm.sample_rate_hz, pcm.channels.len()), (16_000, 1));
        let wanted = audio.read(1, 20..60).unwrap();
        assert_eq!(pcm.channels[0].len(), 40);
        for (got, wanted) in pcm.channels[0].iter().zip(&wanted) {
            assert!((got - wanted).abs() < 1e-3);
        }
        assert_eq!(audio.read(1, 90..500).unwrap().len(), 10);
        assert!(audio.read(7, 0..10).unwrap().is_empty());
    }

    #[test]
    fn channels_and_length_are_kept() {
        let got = at_16k(8_000, vec![vec![0.1; 4_001], vec![0.2; 4_001]]);
        assert_eq!(
            (got.channel_count(), got.frames(), got.duration_ms()),
            (2, 8_002, 500)
        );
        for (channel, level) in [(0, 0.1), (1, 0.2)] {
            let middle = got.read(channel, 4_000..4_100).unwrap();
            assert!(middle.iter().all(|sample| (sample - level).abs() < 1e-3));
        }
        assert_eq!(at_16k(8_000, vec![Vec::new()]).duration_ms(), 0);
        assert_eq!(at_16k(8_000, vec![vec![0.5]]).frames(), 2);
    }

    #[test]
    fn a_recording_gives_the_same_samples_block_by_block_and_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples");
        for (name, in_file) in [
            ("message-1.wav", false),
            ("message-1.mp3", false),
            ("long-call.mp3", true),
        ] {
            let path = samples.join(name);
            let whole = Audio16k::from_pcm(callfold_kit::audio::decode(&path, &LIMITS).unwrap()).unwrap();
            let got = Audio16k::decode(std::fs::File::open(&path).unwrap(), &LIMITS, folder.path()).unwrap();
            assert_eq!(
                (got.frames(), got.samples.is_in_file()),
                (whole.frames(), in_file),
                "{name}"
            );
            let (a, b) = (
                got.read(0, 0..got.frames()).unwrap(),
                whole.read(0, 0..got.frames()).unwrap(),
            );
            assert!(a == b, "{name}");
        }
        // The file has no name.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_bound_of_the_samples_follows_the_longest_duration() {
        for hours in [1_u64, 4, 12] {
            let limits = limits(Duration::from_secs(hours * 3_600));
            let frames = hours * 3_600 * u64::from(SAMPLE_RATE_HZ);
            assert!(limits.max_samples >= 2 * 3 * frames);
            let kept = samples_max(limits.max_duration, u64::from(SAMPLE_RATE_HZ));
            assert!((2 * frames..2 * frames + 100_000).contains(&kept), "{hours}");
        }
    }

    #[test]
    fn a_recording_that_cannot_be_kept_or_read_is_an_error() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples/long-call.mp3");
        let decode = |limits: &Limits, folder: &Path| {
            Audio16k::decode(std::fs::File::open(&path).unwrap(), limits, folder).unwrap_err()
        };
        let nowhere = Path::new("/nowhere/at/all");
        assert!(matches!(decode(&LIMITS, nowhere), DecodeError::Keep(_)));
        let short = Limits {
            max_duration: Duration::from_secs(60),
            ..LIMITS
        };
        assert!(matches!(
            decode(&short, &std::env::temp_dir()),
            DecodeError::Audio(AudioError::TooLong { .. })
        ));
        let empty = Audio16k::decode(io::Cursor::new(Vec::new()), &LIMITS, nowhere);
        assert!(matches!(empty, Err(DecodeError::Audio(AudioError::Empty))));
    }
}

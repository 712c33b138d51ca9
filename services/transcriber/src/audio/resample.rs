//! Bringing audio to 16 kHz, block by block.

use std::io;

use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, WindowFunction};

use super::SAMPLE_RATE_HZ;

/// Least length of the filter's blocks, in frames of the source: sharp enough to keep the band of telephone
/// audio up to 3.9 kHz.
const BLOCK_FRAMES: usize = 512;

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong on the way.
#[derive(Debug)]
pub(super) enum Broken {
    /// The filter failed.
    Filter(Cause),
    /// What takes the samples did.
    Sink(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Sink(error)
    }
}

/// Resamples all channels of a recording together. Every instant keeps its place: the filter's delay is cut off.
pub(super) struct Resampler {
    /// `None`: the rate is right already.
    fft: Option<Fft<f32>>,
    from_hz: u64,
    channels: usize,
    /// What has come and fills no block yet, by channel.
    waiting: Vec<Vec<f32>>,
    out: Vec<Vec<f32>>,
    /// Frames of the filter's delay that are still to be cut off.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    pub(super) fn new(from_hz: u32, channels: usize) -> Result<Self, Cause> {
        if from_hz == 0 {
            return Err("no sample rate".into());
        }
        let (from, to) = (from_hz as usize, SAMPLE_RATE_HZ as usize);
        let mut out = vec![Vec::new(); channels];
        let fft = if from == to || channels == 0 {
            None
        } else {
            // An even number of the smallest blocks: the delay is half a block, and only then whole frames.
            let smallest = from / gcd(from, to);
            let block = smallest * BLOCK_FRAMES.div_ceil(smallest).next_multiple_of(2);
            let window = WindowFunction::BlackmanHarris2;
            let fft = Fft::<f32>::new_custom(from, to, block, 1, channels, window, FixedSync::Both)?;
            out = vec![vec![0.0; fft.output_frames_max()]; channels];
            Some(fft)
        };
        Ok(Self {
            delay: fft.as_ref().map_or(0, |fft| fft.output_delay()),
            fft,
            from_hz: u64::from(from_hz),
            channels,
            waiting: vec![Vec::new(); channels],
            out,
            taken: 0,
            given: 0,
        })
    }

    /// Takes a stretch of each channel, all of one length, and hands what is ready to `sink`.
    pub(super) fn push<C: AsRef<[f32]>>(
        &mut self,
        planes: &[C],
        sink: &mut impl FnMut(&[&[f32]]) -> io::Result<()>,
    ) -> Result<(), Broken> {
        let frames = planes.first().map_or(0, |plane| plane.as_ref().len());
        self.taken += frames as u64;
        let Some(fft) = &self.fft else {
            self.given = self.taken;
            let block: Vec<&[f32]> = planes.iter().map(AsRef::as_ref).collect();
            return Ok(sink(&block)?);
        };
        let block = fft.input_frames_next();
        for (waiting, plane) in self.waiting.iter_mut().zip(planes) {
            waiting.extend_from_slice(plane.as_ref());
        }
        let there = self.waiting.first().map_or(0, Vec::len);
        let mut at = 0;
        while there - at >= block {
            self.process(at, block, sink)?;
            at += block;
        }
        self.waiting.iter_mut().for_each(|waiting| {
            waiting.drain(..at);
        });
        Ok(())
    }

    /// Hands over the rest.
    pub(super) fn finish(mut self, sink: &mut impl FnMut(&[&[f32]]) -> io::Result<()>) -> Result<(), Broken> {
        if self.fft.is_none() {
            return Ok(());
        }
        let rest = self.waiting.first().map_or(0, Vec::len);
        self.process(0, rest, sink)?;
        // What the filter still holds comes out behind silence.
        while self.given < self.wanted() {
            self.process(0, 0, sink)?;
        }
        Ok(())
    }

    /// Frames at 16 kHz that what has come is worth.
    fn wanted(&self) -> u64 {
        (self.taken * u64::from(SAMPLE_RATE_HZ)).div_ceil(self.from_hz)
    }

    /// One block of `frames` frames, filled up with silence, from `at` in what is waiting.
    fn process(
        &mut self,
        at: usize,
        frames: usize,
        sink: &mut impl FnMut(&[&[f32]]) -> io::Result<()>,
    ) -> Result<(), Broken> {
        let wanted = self.wanted();
        let Some(fft) = &mut self.fft else {
            return Ok(());
        };
        let there = self.waiting.first().map_or(0, Vec::len);
        let length = self.out.first().map_or(0, Vec::len);
        // Both hold by construction: every vector has the length that is stated.
        let input = SequentialSliceOfVecs::new(&self.waiting, self.channels, there)
            .map_err(|e| Broken::Filter(e.into()))?;
        let mut output = SequentialSliceOfVecs::new_mut(&mut self.out, self.channels, length)
            .map_err(|e| Broken::Filter(e.into()))?;
        let indexing = Indexing {
            input_offset: at,
            partial_len: Some(frames),
            ..Indexing::default()
        };
        let (_, made) = fft
            .process_into_buffer(&input, &mut output, Some(&indexing))
            .map_err(|e| Broken::Filter(e.into()))?;
        let cut = self.delay.min(made);
        self.delay -= cut;
        let room = usize::try_from(wanted - self.given).unwrap_or(usize::MAX);
        let keep = (made - cut).min(room);
        if keep > 0 {
            let block: Vec<&[f32]> = self.out.iter().map(|out| &out[cut..cut + keep]).collect();
            sink(&block)?;
            self.given += keep as u64;
        }
        Ok(())
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

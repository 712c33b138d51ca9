//! What is measured of the sound, sixty times a second.

use std::f32::consts::PI;
use std::io;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use crate::audio::{Audio16k, SAMPLE_RATE_HZ};

/// Frames between two measurements: 16 ms.
pub(super) const HOP: usize = 256;
/// Frames that a measurement looks at: 32 ms, its own hop in the middle.
const WINDOW: usize = 512;
/// Frames that are read at once: 8.2 s.
const READ: usize = 512 * HOP;
/// Edges of the bands in Hz: about what the ear keeps apart, within what a telephone carries.
const BAND_EDGES_HZ: [f32; BANDS + 1] = [180.0, 400.0, 650.0, 950.0, 1300.0, 1750.0, 2300.0, 3000.0, 3800.0];
const BANDS: usize = 8;
/// Hops between the two spectra that are compared: 64 ms, a good part of a syllable.
const APART: usize = 4;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hop {
    /// Loudness between 180 and 3800 Hz in hundredths of a dB, where 0 is a sine of full scale.
    pub(super) level: i16,
    /// Share of the energy that is in the strongest lines of the spectrum, 0 to 255.
    pub(super) lines: u8,
    /// How much the shape of the spectrum has changed within 64 ms, in tenths of a dB.
    pub(super) change: u8,
}

/// Measures a channel: 4 bytes each 16 ms. Memory besides is a few blocks. `None`: `go_on` said no.
///
/// # Errors
/// The samples cannot be read.
pub(super) fn measure(
    audio: &Audio16k,
    channel: u8,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Option<Vec<Hop>>> {
    let frames = audio.frames();
    let mut measurer = Measurer::new();
    let mut hops = Vec::with_capacity((frames as usize).div_ceil(HOP));
    // The window reaches a quarter of its length over each side of its hop.
    let before = (WINDOW - HOP) / 2;
    let mut block = vec![0.0; before];
    let mut at = 0;
    while at < frames {
        if !go_on() {
            return Ok(None);
        }
        let end = frames.min(at + READ as u64);
        block.extend(audio.read(channel, at..end)?);
        let last = end == frames;
        if last {
            block.resize(block.len() + WINDOW, 0.0);
        }
        let mut from = 0;
        while from + WINDOW <= block.len() && (hops.len() as u64) * (HOP as u64) < frames {
            hops.push(measurer.measure(&block[from..from + WINDOW]));
            from += HOP;
        }
        block.drain(..from);
        at = end;
    }
    Ok(Some(hops))
}

struct Measurer {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    input: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    power: Vec<f32>,
    bands: [std::ops::Range<usize>; BANDS],
    /// Energies of the last hops, for smoothing.
    recent: [[f32; BANDS]; 3],
    /// Shapes of the last hops, the oldest first.
    shapes: [[f32; BANDS]; APART],
}

impl Measurer {
    fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(WINDOW);
        let bin = |hz: f32| (hz * WINDOW as f32 / SAMPLE_RATE_HZ as f32).round() as usize;
        Self {
            window: (0..WINDOW)
                .map(|i| 0.5 - 0.5 * (2.0 * PI * (i as f32 + 0.5) / WINDOW as f32).cos())
                .collect(),
            input: vec![0.0; WINDOW],
            spectrum: fft.make_output_vec(),
            power: vec![0.0; WINDOW / 2 + 1],
            bands: std::array::from_fn(|band| bin(BAND_EDGES_HZ[band])..bin(BAND_EDGES_HZ[band + 1])),
            recent: [[0.0; BANDS]; 3],
            shapes: [[0.0; BANDS]; APART],
            fft,
        }
    }

    fn measure(&mut self, samples: &[f32]) -> Hop {
        for ((to, sample), window) in self.input.iter_mut().zip(samples).zip(&self.window) {
            *to = sample * window;
        }
        // Both have the lengths that were planned for.
        let done = self.fft.process(&mut self.input, &mut self.spectrum);
        debug_assert!(done.is_ok());
        for (power, bin) in self.power.iter_mut().zip(&self.spectrum) {
            *power = bin.norm_sqr();
        }
        let (low, high) = (self.bands[0].start, self.bands[BANDS - 1].end);
        let total: f32 = self.power[low..high].iter().sum();
        // A sine of full scale: half the window's sum, squared, spread over three bins.
        let full = (WINDOW as f32 / 4.0).powi(2) * 1.5;
        // -110 dB is digital silence.
        let level = 1000.0 * (total / full).max(1e-11).log10();
        Hop {
            level: level.round() as i16,
            lines: (255.0 * self.lines(low, high, total)).round() as u8,
            change: self.change(),
        }
    }

    /// Share of the energy in the two strongest lines. A line is a peak with the two bins on either side of it.
    fn lines(&self, low: usize, high: usize, total: f32) -> f32 {
        if total <= 0.0 {
            return 0.0;
        }
        let mut power = [0.0_f32; WINDOW / 2 + 1];
        power[low..high].copy_from_slice(&self.power[low..high]);
        let mut sum = 0.0;
        for _ in 0..2 {
            let (peak, _) = power
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .unwrap_or((0, &0.0));
            let line = &mut power[peak.saturating_sub(2)..(peak + 3).min(WINDOW / 2 + 1)];
            sum += line.iter().sum::<f32>();
            line.fill(0.0);
        }
        (sum / total).min(1.0)
    }

    fn change(&mut self) -> u8 {
        self.recent.rotate_left(1);
        self.recent[2] = std::array::from_fn(|band| self.power[self.bands[band].clone()].iter().sum());
        let energy: [f32; BANDS] = std::array::from_fn(|band| self.recent.iter().map(|hop| hop[band]).sum());
        let total: f32 = energy.iter().sum::<f32>().max(1e-9);
        // Bands more than 25 dB below the whole say nothing: they are noise.
        let shape: [f32; BANDS] = std::array::from_fn(|band| 10.0 * (energy[band] / total + 0.003).log10());
        let old = self.shapes[0];
        self.shapes.rotate_left(1);
        self.shapes[APART - 1] = shape;
        let change = shape.iter().zip(&old).map(|(a, b)| (a - b).abs()).sum::<f32>() / BANDS as f32;
        (change * 10.0).round().min(255.0) as u8
    }
}

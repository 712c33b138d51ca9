//! Where the samples of a recording are: in memory while they are few, in a file without a name when they are many.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// Frames that are laid down together, one channel after the other: 1 s. One channel is then read without the others.
pub(super) const BLOCK_FRAMES: usize = 16_000;
/// Most samples of a recording that are kept in memory, all channels together: 4 MiB, 131 s of one channel.
pub(super) const IN_MEMORY_SAMPLES_MAX: usize = 2 << 20;

/// Samples of 16 bit. Telephone audio has no more; what is louder than full scale is cut.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    channels: usize,
    frames: u64,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<Vec<i16>>),
    File(Arc<File>),
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            channels: 0,
            frames: 0,
            place: Place::Memory(Arc::default()),
        }
    }
}

impl Samples {
    /// Keeps channels of one length.
    pub(super) fn in_memory(channels: &[Vec<f32>]) -> Self {
        let frames = channels.first().map_or(0, Vec::len);
        let mut samples = Vec::with_capacity(frames.next_multiple_of(BLOCK_FRAMES) * channels.len());
        for at in (0..frames).step_by(BLOCK_FRAMES) {
            let end = frames.min(at + BLOCK_FRAMES);
            for channel in channels {
                samples.extend(channel[at..end].iter().copied().map(to_i16));
                samples.resize(samples.len() + BLOCK_FRAMES - (end - at), 0);
            }
        }
        Self {
            channels: channels.len(),
            frames: frames as u64,
            place: Place::Memory(Arc::new(samples)),
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    #[cfg(test)]
    pub(super) fn is_in_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// What is beyond the end, or of no channel, is left out.
    pub(super) fn read(&self, channel: usize, frames: Range<u64>) -> io::Result<Vec<f32>> {
        let end = frames.end.min(self.frames);
        let mut at = frames.start.min(end);
        if channel >= self.channels {
            return Ok(Vec::new());
        }
        let mut out = Vec::with_capacity(usize::try_from(end - at).map_err(io::Error::other)?);
        let mut bytes = Vec::new();
        while at < end {
            let (block, within) = (at / BLOCK_FRAMES as u64, (at % BLOCK_FRAMES as u64) as usize);
            let count = ((end - at).min(BLOCK_FRAMES as u64) as usize).min(BLOCK_FRAMES - within);
            let from = (block as usize * self.channels + channel) * BLOCK_FRAMES + within;
            match &self.place {
                Place::Memory(samples) => {
                    let there = samples
                        .get(from..from + count)
                        .ok_or(io::ErrorKind::UnexpectedEof)?;
                    out.extend(there.iter().copied().map(to_float));
                }
                Place::File(file) => {
                    bytes.resize(count * 2, 0);
                    file.read_exact_at(&mut bytes, from as u64 * 2)?;
                    let (pairs, _) = bytes.as_chunks();
                    out.extend(pairs.iter().map(|pair| to_float(i16::from_le_bytes(*pair))));
                }
            }
            at += count as u64;
        }
        Ok(out)
    }
}

fn to_float(sample: i16) -> f32 {
    f32::from(sample) / f32::from(i16::MAX)
}

pub(super) fn to_i16(sample: f32) -> i16 {
    (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16
}

/// Takes samples in the order of time.
pub(super) struct Writer<'d> {
    /// `None`: everything stays in memory.
    work_dir: Option<&'d Path>,
    in_memory_max: usize,
    /// The block that is being filled, by channel.
    block: Vec<Vec<i16>>,
    done: Done,
    frames: u64,
}

enum Done {
    Memory(Vec<i16>),
    File(File),
}

impl<'d> Writer<'d> {
    /// The file is created in `work_dir` when it is needed.
    pub(super) fn new(channels: usize, work_dir: Option<&'d Path>, in_memory_max: usize) -> Self {
        Self {
            work_dir,
            in_memory_max,
            block: vec![Vec::with_capacity(BLOCK_FRAMES); channels],
            done: Done::Memory(Vec::new()),
            frames: 0,
        }
    }

    /// Takes a stretch of each channel, all of one length.
    pub(super) fn push<C: AsRef<[f32]>>(&mut self, planes: &[C]) -> io::Result<()> {
        let frames = planes.first().map_or(0, |plane| plane.as_ref().len());
        let mut at = 0;
        while at < frames {
            let room = BLOCK_FRAMES - self.block[0].len();
            let count = room.min(frames - at);
            for (block, plane) in self.block.iter_mut().zip(planes) {
                block.extend(plane.as_ref()[at..at + count].iter().copied().map(to_i16));
            }
            at += count;
            self.frames += count as u64;
            if count == room {
                self.put_block()?;
            }
        }
        Ok(())
    }

    /// Samples so far, all channels together.
    pub(super) fn samples(&self) -> u64 {
        self.frames * self.block.len() as u64
    }

    fn put_block(&mut self) -> io::Result<()> {
        let samples = self.block.len() * BLOCK_FRAMES;
        if let (Done::Memory(done), Some(work_dir)) = (&mut self.done, self.work_dir)
            && done.len() + samples > self.in_memory_max
        {
            // Without a name: nobody else can open it, and it is gone with the handle even when the process is killed.
            let mut file = tempfile::tempfile_in(work_dir)?;
            for part in std::mem::take(done).chunks(BLOCK_FRAMES) {
                write(&mut file, part)?;
            }
            self.done = Done::File(file);
        }
        for channel in &mut self.block {
            // Only the last block is not full.
            channel.resize(BLOCK_FRAMES, 0);
            match &mut self.done {
                Done::Memory(done) => done.extend_from_slice(channel),
                Done::File(file) => write(file, channel)?,
            }
            channel.clear();
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Samples> {
        if self.block.first().is_some_and(|channel| !channel.is_empty()) {
            self.put_block()?;
        }
        Ok(Samples {
            channels: self.block.len(),
            frames: self.frames,
            place: match self.done {
                Done::Memory(mut samples) => {
                    samples.shrink_to_fit();
                    Place::Memory(Arc::new(samples))
                }
                Done::File(file) => Place::File(Arc::new(file)),
            },
        })
    }
}

fn write(file: &mut File, samples: &[i16]) -> io::Result<()> {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    file.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// A different value at every place.
    fn value(channel: usize, frame: u64) -> f32 {
        to_float(((frame * 7 + channel as u64 * 13_001) % 32_000) as i16)
    }

    fn written(channels: usize, frames: u64, in_memory_max: usize) -> Samples {
        let folder = std::env::temp_dir();
        let mut writer = Writer::new(channels, Some(&folder), in_memory_max);
        let mut at = 0;
        // Stretches that fit nothing.
        for step in [1, 700, 15_999, 40_001].into_iter().cycle() {
            let end = (at + step).min(frames);
            let planes: Vec<Vec<f32>> = (0..channels)
                .map(|channel| (at..end).map(|frame| value(channel, frame)).collect())
                .collect();
            writer.push(&planes).unwrap();
            at = end;
            if at == frames {
                break;
            }
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_wherever_it_is() {
        for (channels, frames) in [(1, 50_000), (2, 50_000), (3, 32_000), (1, 5), (2, 0)] {
            for in_memory_max in [usize::MAX, 40_000, 0] {
                let samples = written(channels, frames, in_memory_max);
                assert_eq!((samples.channels(), samples.frames()), (channels, frames));
                let blocks = frames.next_multiple_of(BLOCK_FRAMES as u64) as usize * channels;
                assert_eq!(samples.is_in_file(), blocks > in_memory_max);
                for channel in 0..channels {
                    for range in [
                        0..frames,
                        15_990..16_010,
                        31_999..32_001,
                        7..7,
                        49_000..90_000,
                        60_000..70_000,
                    ] {
                        let wanted: Vec<f32> = (range.start.min(frames)..range.end.min(frames))
                            .map(|frame| value(channel, frame))
                            .collect();
                        assert!(
                            samples.read(channel, range.clone()).unwrap() == wanted,
                            "{channel} {range:?}"
                        );
                    }
                }
                assert!(samples.read(channels, 0..10).unwrap().is_empty());
            }
        }
    }

    #[test]
    fn a_folder_that_takes_no_file_is_an_error() {
        let mut writer = Writer::new(1, Some(Path::new("/nowhere/at/all")), 0);
        assert!(writer.push(&[vec![0.5; BLOCK_FRAMES]]).is_err());
    }
}

//! Recordings as they come from outside: what a file really is, how long it lasts, and its samples.
//!
//! Two containers are understood: WAV (PCM of 8, 16, 24 and 32 bit, float, mu-law, A-law) and MP3.
//! [`probe`] measures without decoding and is what decides whether a fetched file is stored at all;
//! [`decode_frames`] gives the samples as they are decoded, [`decode`] all at once. All are bounded by [`Limits`],
//! since the bytes come from the network, and all block: call them off the async threads.
//!
//! Lengths written in a WAV header are not believed: a recorder that streams writes them before it
//! knows them. What counts is what is there. MP3 is measured frame by frame for the same reason.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatReader, TrackType};

mod limits;
mod mp3;
mod wav;

pub use limits::RecordingLimits;

/// Lowest and highest sample rate that is taken for speech, in Hz.
const SAMPLE_RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=192_000;
/// Most channels of a recording; a call has one or two.
const CHANNELS_MAX: u16 = 8;

/// The container of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// RIFF/WAVE.
    Wav,
    /// An MPEG audio layer III stream, with or without ID3 tags.
    Mp3,
}

impl Container {
    /// The media type under which such a file is stored and served.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/x-wav",
            Self::Mp3 => "audio/mpeg",
        }
    }

    /// The usual file name ending, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
        }
    }
}

/// What [`probe`] found out about a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioInfo {
    /// The container, by content and not by name.
    pub container: Container,
    /// Its media type (`audio/x-wav` or `audio/mpeg`).
    pub content_type: &'static str,
    /// Measured length in milliseconds, rounded to the nearest.
    pub duration_ms: u64,
    /// Samples per second of each channel, in Hz.
    pub sample_rate_hz: u32,
    /// Number of channels.
    pub channels: u16,
}

/// Decoded audio, one vector a channel, all of one length; samples lie in −1.0 ..= 1.0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pcm {
    /// Samples per second of each channel, in Hz.
    pub sample_rate_hz: u32,
    /// The samples, by channel.
    pub channels: Vec<Vec<f32>>,
}

impl Pcm {
    /// Number of samples of each channel.
    pub fn frames(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// Length in milliseconds, rounded to the nearest.
    pub fn duration_ms(&self) -> u64 {
        duration_ms(self.frames() as u64, self.sample_rate_hz)
    }
}

/// How the samples of a recording are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Samples per second of each channel, in Hz.
    pub sample_rate_hz: u32,
    /// Number of channels.
    pub channels: u16,
}

/// How much audio is accepted. A few kilobytes can unpack to hours, so the bound is on what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest recording.
    pub max_duration: Duration,
    /// Most decoded samples, all channels together (4 bytes each).
    pub max_samples: u64,
}

impl Default for Limits {
    /// Four hours, and 128 Mi samples (512 MiB: two channels at 8 kHz for 2 h 19 min).
    fn default() -> Self {
        Self {
            max_duration: Duration::from_secs(4 * 3600),
            max_samples: 128 << 20,
        }
    }
}

/// Why a recording could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The file could not be read; the only failure that another try may mend.
    #[error("cannot read the audio")]
    Io(#[source] io::Error),
    /// The bytes are something else than audio.
    #[error("not audio but {found}")]
    NotAudio {
        /// What they look like instead.
        found: &'static str,
    },
    /// No sample at all: a header without data, or nothing.
    #[error("the recording is empty")]
    Empty,
    /// Longer than allowed.
    #[error("the recording is longer than {} s", .max.as_secs())]
    TooLong {
        /// The bound.
        max: Duration,
    },
    /// More samples than allowed.
    #[error("the recording has more than {max_samples} samples")]
    TooManySamples {
        /// The bound, all channels together.
        max_samples: u64,
    },
    /// Audio of a sort that is not understood.
    #[error("unsupported audio: {0}")]
    Unsupported(&'static str),
    /// Audio whose bytes make no sense.
    #[error("malformed audio: {0}")]
    Malformed(&'static str),
}

impl AudioError {
    /// Whether the same bytes would fail again, so that no retry helps.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Io(_) => false,
            Self::NotAudio { .. }
            | Self::Empty
            | Self::TooLong { .. }
            | Self::TooManySamples { .. }
            | Self::Unsupported(_)
            | Self::Malformed(_) => true,
        }
    }
}

impl From<SymphoniaError> for AudioError {
    fn from(error: SymphoniaError) -> Self {
        match error {
            SymphoniaError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Malformed("it ends inside a header")
            }
            SymphoniaError::IoError(e) => Self::Io(e),
            SymphoniaError::DecodeError(what) => Self::Malformed(what),
            SymphoniaError::Unsupported(what) => Self::Unsupported(what),
            SymphoniaError::LimitError(what) => Self::Unsupported(what),
            SymphoniaError::SeekError(_) => Self::Malformed("it cannot be read in order"),
            SymphoniaError::ResetRequired => Self::Malformed("its format changes on the way"),
            _ => Self::Malformed("it cannot be decoded"),
        }
    }
}

/// Finds out what the file at `path` is and how long it lasts, without decoding it.
///
/// # Errors
/// Every [`AudioError`] but `TooManySamples`; `TooLong` as soon as `max_duration` is passed.
pub fn probe(path: &Path, max_duration: Duration) -> Result<AudioInfo, AudioError> {
    probe_reader(File::open(path).map_err(AudioError::Io)?, max_duration)
}

/// As [`probe`], from anything that can be read and sought.
///
/// # Errors
/// As [`probe`].
pub fn probe_reader<R>(reader: R, max_duration: Duration) -> Result<AudioInfo, AudioError>
where
    R: Read + Seek + Send + Sync,
{
    let mut stream = open(reader)?;
    let frames = stream.measure(max_duration)?;
    Ok(AudioInfo {
        container: stream.container,
        content_type: stream.container.content_type(),
        duration_ms: duration_ms(frames, stream.sample_rate_hz),
        sample_rate_hz: stream.sample_rate_hz,
        channels: stream.channels,
    })
}

/// Decodes the file at `path`.
///
/// # Errors
/// Every [`AudioError`]. A torn last sample or frame is dropped and no error; MP3 frames that cannot be
/// decoded become silence of their length, so that times stay right, unless they are more than the others.
pub fn decode(path: &Path, limits: &Limits) -> Result<Pcm, AudioError> {
    decode_reader(File::open(path).map_err(AudioError::Io)?, limits)
}

/// As [`decode`], from anything that can be read and sought, such as a [`std::io::Cursor`].
///
/// # Errors
/// As [`decode`].
pub fn decode_reader<R>(reader: R, limits: &Limits) -> Result<Pcm, AudioError>
where
    R: Read + Seek + Send + Sync,
{
    let stream = open(reader)?;
    let format = stream.format();
    let mut channels = vec![Vec::new(); usize::from(format.channels)];
    if let Some(frames) = stream.known_frames {
        stream.bound(limits, frames)?;
        let frames = usize::try_from(frames).map_err(|_| AudioError::Unsupported("its size"))?;
        channels
            .iter_mut()
            .for_each(|channel| channel.reserve_exact(frames));
    }
    stream.decode(limits, |_, block| {
        for (to, from) in channels.iter_mut().zip(block) {
            to.extend_from_slice(from);
        }
        Ok::<(), AudioError>(())
    })?;
    Ok(Pcm {
        sample_rate_hz: format.sample_rate_hz,
        channels,
    })
}

/// Decodes block by block, so that no more than one is in memory: `sink` is given each block's samples by channel, all
/// of one length, in −1.0 ..= 1.0. A block is what the container packs together (1152 frames of WAV, one frame of MP3)
/// and, at the end of an MP3, at most 4095 frames that were held back. Returns the format and the number of frames.
///
/// Malformed files may be found out late: what the sink has seen of one counts for nothing when this fails.
///
/// # Errors
/// As [`decode`], and what the sink returns.
pub fn decode_frames<R, E>(
    reader: R,
    limits: &Limits,
    sink: impl FnMut(Format, &[&[f32]]) -> Result<(), E>,
) -> Result<(Format, u64), E>
where
    R: Read + Seek + Send + Sync,
    E: From<AudioError>,
{
    let stream = open(reader)?;
    let format = stream.format();
    let frames = stream.decode(limits, sink)?;
    Ok((format, frames))
}

/// A recording whose header has been read.
struct Stream<'s> {
    container: Container,
    sample_rate_hz: u32,
    channels: u16,
    /// Frames that the container states, when that can be believed.
    known_frames: Option<u64>,
    gaps: Gaps,
    format: Box<dyn FormatReader + 's>,
    decoder: Box<dyn AudioDecoder>,
}

/// What an encoder put around the audio, in frames.
#[derive(Clone, Copy, Default)]
struct Gaps {
    delay: u64,
    padding: u64,
    /// Frames between the two, as stated.
    stated: Option<u64>,
}

impl Gaps {
    /// The range of real audio within `total` decoded frames. The padding is only cut when the count fits
    /// exactly: a torn or patched file must not lose audio to a number in its first frame.
    fn real(self, total: u64) -> std::ops::Range<u64> {
        let start = self.delay.min(total);
        let end = match self.stated {
            Some(stated) if self.delay + stated + self.padding == total => total - self.padding,
            _ => total,
        };
        start..end.max(start)
    }
}

fn open<'s, R>(mut reader: R) -> Result<Stream<'s>, AudioError>
where
    R: Read + Seek + Send + Sync + 's,
{
    let total_bytes = reader.seek(SeekFrom::End(0)).map_err(AudioError::Io)?;
    reader.seek(SeekFrom::Start(0)).map_err(AudioError::Io)?;
    let mut head = [0_u8; 64];
    let read = read_up_to(&mut reader, &mut head).map_err(AudioError::Io)?;
    let head = &head[..read];
    if head.is_empty() {
        return Err(AudioError::Empty);
    }
    if head.len() >= 12 && &head[..4] == b"RIFF" && &head[8..12] == b"WAVE" {
        let (format, frames) = wav::open(reader, total_bytes)?;
        return Stream::new(Container::Wav, Some(frames), format);
    }
    if let Some(found) = looks_like_text(head) {
        return Err(AudioError::NotAudio { found });
    }
    if head.starts_with(b"RIFF") {
        return Err(AudioError::NotAudio {
            found: "a RIFF file of another kind",
        });
    }
    let format = mp3::open(reader, total_bytes)?;
    Stream::new(Container::Mp3, None, format)
}

/// Names the texts that servers answer with when they have no audio.
fn looks_like_text(head: &[u8]) -> Option<&'static str> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let head = head.trim_ascii_start().to_ascii_lowercase();
    if head.starts_with(b"<?xml") {
        Some("an XML document")
    } else if head.starts_with(b"<!doctype html") || head.starts_with(b"<html") {
        Some("a web page")
    } else if head.starts_with(b"<") {
        Some("a marked-up text")
    } else if head.starts_with(b"{") || head.starts_with(b"[") {
        Some("a JSON text")
    } else {
        None
    }
}

impl<'s> Stream<'s> {
    fn new(
        container: Container,
        known_frames: Option<u64>,
        format: Box<dyn FormatReader + 's>,
    ) -> Result<Self, AudioError> {
        let track = format
            .default_track(TrackType::Audio)
            .ok_or(AudioError::Malformed("it has no track"))?;
        let params = track
            .codec_params
            .as_ref()
            .and_then(|params| params.audio())
            .ok_or(AudioError::Unsupported("its encoding is unknown"))?;
        let sample_rate_hz = params
            .sample_rate
            .ok_or(AudioError::Malformed("it states no sample rate"))?;
        if !SAMPLE_RATES_HZ.contains(&sample_rate_hz) {
            return Err(AudioError::Unsupported("its sample rate is not one of speech"));
        }
        let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
        let channels = u16::try_from(channels)
            .ok()
            .filter(|count| (1..=CHANNELS_MAX).contains(count))
            .ok_or(AudioError::Unsupported("its number of channels"))?;
        let gaps = Gaps {
            delay: u64::from(track.delay.unwrap_or(0)),
            padding: u64::from(track.padding.unwrap_or(0)),
            stated: track.num_frames,
        };
        // Trimming is done here (`Gaps::real`), because the library would also cut what a wrong count leaves out.
        let options = AudioDecoderOptions::default().gapless(false);
        let decoder = symphonia::default::get_codecs().make_audio_decoder(params, &options)?;
        Ok(Self {
            container,
            sample_rate_hz,
            channels,
            known_frames,
            gaps,
            format,
            decoder,
        })
    }

    fn max_frames(&self, max_duration: Duration) -> u64 {
        let frames = max_duration.as_millis() * u128::from(self.sample_rate_hz) / 1000;
        u64::try_from(frames).unwrap_or(u64::MAX)
    }

    /// Counts the frames of real audio.
    fn measure(&mut self, max_duration: Duration) -> Result<u64, AudioError> {
        let max = self.max_frames(max_duration);
        let too_long = AudioError::TooLong { max: max_duration };
        if let Some(frames) = self.known_frames {
            return if frames > max { Err(too_long) } else { Ok(frames) };
        }
        let slack = self.gaps.delay + self.gaps.padding;
        let mut total = 0_u64;
        while let Some(packet) = next_packet(&mut self.format)? {
            total += packet_frames(self.container, &packet);
            if total > max.saturating_add(slack) {
                return Err(too_long);
            }
        }
        let real = self.gaps.real(total);
        match real.end - real.start {
            0 => Err(AudioError::Empty),
            frames => Ok(frames),
        }
    }

    fn format(&self) -> Format {
        Format {
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
        }
    }

    /// Refuses more frames than the limits allow.
    fn bound(&self, limits: &Limits, frames: u64) -> Result<(), AudioError> {
        if frames > self.max_frames(limits.max_duration) {
            Err(AudioError::TooLong {
                max: limits.max_duration,
            })
        } else if frames > limits.max_samples / u64::from(self.channels) {
            Err(AudioError::TooManySamples {
                max_samples: limits.max_samples,
            })
        } else {
            Ok(())
        }
    }

    /// Hands all real audio to `sink`, and says how many frames that was.
    fn decode<E: From<AudioError>>(
        mut self,
        limits: &Limits,
        mut sink: impl FnMut(Format, &[&[f32]]) -> Result<(), E>,
    ) -> Result<u64, E> {
        if let Some(frames) = self.known_frames {
            self.bound(limits, frames)?;
        }
        let slack = self.gaps.delay + self.gaps.padding;
        let mut real = Real::new(self.format(), self.gaps);
        let mut planes: Vec<Vec<f32>> = Vec::new();
        let (mut good, mut bad) = (0_u64, 0_u64);
        while let Some(packet) = next_packet(&mut self.format)? {
            let frames = packet_frames(self.container, &packet);
            self.bound(limits, (real.total + frames).saturating_sub(slack))?;
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    buffer.copy_to_vecs_planar(&mut planes);
                    good += 1;
                }
                Err(SymphoniaError::IoError(e)) if e.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(AudioError::Io(e).into());
                }
                Err(_) => {
                    planes.clear();
                    bad += 1;
                }
            }
            if planes.len() != usize::from(self.channels) {
                // What cannot be decoded is silence of its length.
                let silent = usize::try_from(frames).map_err(|_| AudioError::Unsupported("its size"))?;
                planes.resize_with(usize::from(self.channels), Vec::new);
                for plane in &mut planes {
                    plane.clear();
                    plane.resize(silent, 0.0);
                }
            }
            real.push(&planes, &mut sink)?;
        }
        if bad > good {
            return Err(AudioError::Malformed("most of it cannot be decoded").into());
        }
        match real.finish(&mut sink)? {
            0 => Err(AudioError::Empty.into()),
            frames => Ok(frames),
        }
    }
}

/// Passes real audio on and keeps back what may be an encoder's filling until it is known (see [`Gaps::real`]).
struct Real {
    format: Format,
    gaps: Gaps,
    /// Decoded frames.
    total: u64,
    /// Frames passed on.
    passed: u64,
    /// The newest frames, never more than the filling and a block.
    held: Vec<Vec<f32>>,
}

impl Real {
    fn new(format: Format, gaps: Gaps) -> Self {
        Self {
            format,
            gaps,
            total: 0,
            passed: 0,
            held: vec![Vec::new(); usize::from(format.channels)],
        }
    }

    fn push<E>(
        &mut self,
        planes: &[Vec<f32>],
        sink: &mut impl FnMut(Format, &[&[f32]]) -> Result<(), E>,
    ) -> Result<(), E> {
        let frames = planes.first().map_or(0, Vec::len);
        // The delay is cut off as it comes.
        let skip = frames.min(usize::try_from(self.gaps.delay.saturating_sub(self.total)).unwrap_or(frames));
        for (held, plane) in self.held.iter_mut().zip(planes) {
            // Float files may hold anything; what follows reckons with −1 ..= 1.
            held.extend(plane[skip.min(plane.len())..].iter().map(|sample| {
                if sample.is_finite() {
                    sample.clamp(-1.0, 1.0)
                } else {
                    0.0
                }
            }));
        }
        self.total += frames as u64;
        self.pass(usize::try_from(self.gaps.padding).unwrap_or(usize::MAX), sink)
    }

    /// Passes on all but the newest `keep` frames.
    fn pass<E>(
        &mut self,
        keep: usize,
        sink: &mut impl FnMut(Format, &[&[f32]]) -> Result<(), E>,
    ) -> Result<(), E> {
        let ready = self.held.first().map_or(0, Vec::len).saturating_sub(keep);
        if ready == 0 {
            return Ok(());
        }
        let block: Vec<&[f32]> = self.held.iter().map(|held| &held[..ready]).collect();
        sink(self.format, &block)?;
        self.passed += ready as u64;
        for held in &mut self.held {
            held.drain(..ready);
        }
        Ok(())
    }

    fn finish<E>(mut self, sink: &mut impl FnMut(Format, &[&[f32]]) -> Result<(), E>) -> Result<u64, E> {
        let real = self.gaps.real(self.total);
        let filling = usize::try_from(self.total - real.end).unwrap_or(usize::MAX);
        self.pass(filling, sink)?;
        Ok(self.passed)
    }
}

/// The next packet; a file that ends in the middle of one simply ends.
fn next_packet(
    format: &mut Box<dyn FormatReader + '_>,
) -> Result<Option<symphonia::core::packet::Packet>, AudioError> {
    match format.next_packet() {
        Ok(packet) => Ok(packet),
        Err(SymphoniaError::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Frames that the packet decodes to, with an encoder's delay and padding. For MP3 the frame's own header is
/// asked: whether the library's duration includes what it would trim has changed between versions.
fn packet_frames(container: Container, packet: &symphonia::core::packet::Packet) -> u64 {
    match container {
        Container::Wav => packet.dur.get(),
        Container::Mp3 => mp3::frames(&packet.data),
    }
}

fn duration_ms(frames: u64, sample_rate_hz: u32) -> u64 {
    let rate = u64::from(sample_rate_hz.max(1));
    (frames.saturating_mul(1000) + rate / 2) / rate
}

/// Fills as much of `buffer` as the reader has, and says how much that was.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;

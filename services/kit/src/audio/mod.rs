//! Recordings as they come from outside: what a file really is, how long it lasts, and its samples.
//!
//! Two containers are understood: WAV (PCM of 8, 16, 24 and 32 bit, float, mu-law, A-law) and MP3.
//! [`probe`] measures without decoding and is what decides whether a fetched file is stored at all;
//! [`decode`] gives the samples. Both are bounded by [`Limits`], since the bytes come from the network,
//! and both block: call them off the async threads.
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

mod mp3;
mod wav;

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
    open(reader)?.decode(limits)
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

    fn decode(mut self, limits: &Limits) -> Result<Pcm, AudioError> {
        let max_frames = self.max_frames(limits.max_duration);
        let max_by_samples = limits.max_samples / u64::from(self.channels);
        let bound = |frames: u64| {
            if frames > max_frames {
                Err(AudioError::TooLong {
                    max: limits.max_duration,
                })
            } else if frames > max_by_samples {
                Err(AudioError::TooManySamples {
                    max_samples: limits.max_samples,
                })
            } else {
                Ok(())
            }
        };
        let mut channels = vec![Vec::new(); usize::from(self.channels)];
        if let Some(frames) = self.known_frames {
            bound(frames)?;
            let frames = usize::try_from(frames).map_err(|_| AudioError::Unsupported("its size"))?;
            channels
                .iter_mut()
                .for_each(|channel| channel.reserve_exact(frames));
        }
        let slack = self.gaps.delay + self.gaps.padding;
        let mut planes: Vec<Vec<f32>> = Vec::new();
        let (mut good, mut bad) = (0_u64, 0_u64);
        while let Some(packet) = next_packet(&mut self.format)? {
            let frames = packet_frames(self.container, &packet);
            bound((channels[0].len() as u64 + frames).saturating_sub(slack))?;
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    buffer.copy_to_vecs_planar(&mut planes);
                    good += 1;
                }
                Err(SymphoniaError::IoError(e)) if e.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(AudioError::Io(e));
                }
                Err(_) => {
                    planes.clear();
                    bad += 1;
                }
            }
            if planes.len() == channels.len() {
                channels
                    .iter_mut()
                    .zip(&planes)
                    .for_each(|(to, from)| to.extend_from_slice(from));
            } else {
                let silent = channels[0].len() + usize::try_from(frames).unwrap_or(0);
                channels
                    .iter_mut()
                    .for_each(|channel| channel.resize(silent, 0.0));
            }
        }
        if bad > good {
            return Err(AudioError::Malformed("most of it cannot be decoded"));
        }
        let real = self.gaps.real(channels[0].len() as u64);
        let (start, end) = (real.start as usize, real.end as usize);
        for channel in &mut channels {
            channel.truncate(end);
            channel.drain(..start);
            // Float files may hold anything; what follows reckons with −1 ..= 1.
            for sample in channel.iter_mut() {
                *sample = if sample.is_finite() {
                    sample.clamp(-1.0, 1.0)
                } else {
                    0.0
                };
            }
        }
        let pcm = Pcm {
            sample_rate_hz: self.sample_rate_hz,
            channels,
        };
        if pcm.frames() == 0 {
            Err(AudioError::Empty)
        } else {
            Ok(pcm)
        }
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

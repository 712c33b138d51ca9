//! Opening an MP3 stream: past its tags, at a frame that is followed by another one.

use std::io::{Read, Seek, SeekFrom};

use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::MpaReader;

use super::{AudioError, read_up_to};

/// How far behind the tags the first frame is looked for, in bytes.
const SEARCH_BYTES_MAX: usize = 64 * 1024;
/// Most ID3 tags at the beginning.
const TAGS_MAX: usize = 4;

pub(super) fn open<'s, R>(mut reader: R, total_bytes: u64) -> Result<Box<dyn FormatReader + 's>, AudioError>
where
    R: Read + Seek + Send + Sync + 's,
{
    let after_tags = skip_tags(&mut reader)?;
    if after_tags > 0 && after_tags >= total_bytes {
        return Err(AudioError::Empty);
    }
    reader.seek(SeekFrom::Start(after_tags)).map_err(AudioError::Io)?;
    let mut window = vec![0_u8; SEARCH_BYTES_MAX];
    let read = read_up_to(&mut reader, &mut window).map_err(AudioError::Io)?;
    window.truncate(read);
    let at_end = after_tags + read as u64 == total_bytes;
    let first = first_frame(&window, at_end).ok_or(AudioError::NotAudio {
        found: "neither RIFF/WAVE nor MP3",
    })?;
    reader
        .seek(SeekFrom::Start(after_tags + first as u64))
        .map_err(AudioError::Io)?;
    // Not seekable on purpose: the library would guess a length from the bit rate and trim to it.
    let source = ReadOnlySource::new(reader);
    let stream = MediaSourceStream::new(Box::new(source), Default::default());
    Ok(Box::new(MpaReader::try_new(stream, FormatOptions::default())?))
}

/// Samples of each channel in the layer III frame with these bytes.
pub(super) fn frames(frame: &[u8]) -> u64 {
    match frame.get(1) {
        Some(version) if (version >> 3) & 3 == 3 => 1152,
        _ => 576,
    }
}

/// The position behind the ID3v2 tags.
fn skip_tags<R: Read + Seek>(reader: &mut R) -> Result<u64, AudioError> {
    let mut at = 0_u64;
    for _ in 0..TAGS_MAX {
        reader.seek(SeekFrom::Start(at)).map_err(AudioError::Io)?;
        let mut header = [0_u8; 10];
        let read = read_up_to(reader, &mut header).map_err(AudioError::Io)?;
        if read < header.len() || &header[..3] != b"ID3" {
            break;
        }
        // Seven bits a byte; a footer repeats the header.
        let size = header[6..]
            .iter()
            .fold(0_u64, |size, byte| (size << 7) | u64::from(byte & 0x7f));
        let footer = if header[5] & 0x10 != 0 { 10 } else { 0 };
        at += 10 + size + footer;
    }
    Ok(at)
}

/// The first place where a frame header is followed by another one at the right distance. A single frame
/// that fills the rest of the file counts as well.
fn first_frame(bytes: &[u8], at_end: bool) -> Option<usize> {
    (0..bytes.len().saturating_sub(3)).find(|&at| {
        let Some(length) = frame_bytes(&bytes[at..]) else {
            return false;
        };
        let next = at + length;
        match bytes.get(next..) {
            Some(rest) if rest.len() >= 4 => frame_bytes(rest).is_some(),
            Some(rest) => at == 0 && at_end && rest.is_empty(),
            None => false,
        }
    })
}

/// The length of the layer III frame that begins here, if one does.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    const KBITS_V1: [u32; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const KBITS_V2: [u32; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let &[sync, version, rates, _] = bytes.first_chunk::<4>()?;
    // Eleven bits of sync, then the version, then layer III.
    if sync != 0xff || version & 0xe0 != 0xe0 || version & 0x06 != 0x02 {
        return None;
    }
    let (table, divider, factor) = match (version >> 3) & 3 {
        3 => (KBITS_V1, 1, 144),
        2 => (KBITS_V2, 2, 72),
        0 => (KBITS_V2, 4, 72),
        _ => return None,
    };
    let kbits = *table.get(usize::from(rates >> 4).checked_sub(1)?)?;
    let rate_hz = [44_100, 48_000, 32_000].get(usize::from((rates >> 2) & 3))? / divider;
    let padding = u32::from((rates >> 1) & 1);
    usize::try_from(factor * kbits * 1000 / rate_hz + padding).ok()
}

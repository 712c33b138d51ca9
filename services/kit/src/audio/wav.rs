//! Opening a WAV file by what is in it rather than by the lengths it states.

use std::io::{Cursor, Read, Seek, SeekFrom};

use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::WavReader;

use super::{AudioError, CHANNELS_MAX, read_up_to};

/// Most chunks that are passed over on the way to the data.
const CHUNKS_MAX: usize = 256;
/// Longest format chunk, in bytes; the extensible one has 40.
const FORMAT_BYTES_MAX: u32 = 256;

/// Finds the format and the data, and hands both to the library behind a header with true lengths. The
/// second value is the number of sample frames.
pub(super) fn open<'s, R>(
    mut reader: R,
    total_bytes: u64,
) -> Result<(Box<dyn FormatReader + 's>, u64), AudioError>
where
    R: Read + Seek + Send + Sync + 's,
{
    let mut at = 12_u64;
    let mut format: Option<Vec<u8>> = None;
    for _ in 0..CHUNKS_MAX {
        let Some((id, length)) = chunk_header(&mut reader, at)? else {
            return Err(AudioError::Empty);
        };
        let body = at + 8;
        match &id {
            b"fmt " => {
                if length > FORMAT_BYTES_MAX {
                    return Err(AudioError::Malformed("its format chunk is too long"));
                }
                let mut bytes = vec![0; length as usize];
                let read = read_up_to(&mut reader, &mut bytes).map_err(AudioError::Io)?;
                if read < bytes.len() {
                    return Err(AudioError::Malformed("it ends inside a header"));
                }
                format = Some(bytes);
            }
            b"data" => {
                let format = format.ok_or(AudioError::Malformed("its data comes before its format"))?;
                let there = total_bytes.saturating_sub(body);
                let length = true_length(&mut reader, body, u64::from(length), there)?;
                return wrap(reader, body, length, &format);
            }
            _ => {}
        }
        at = body + u64::from(length) + u64::from(length % 2);
    }
    Err(AudioError::Malformed("it has too many chunks"))
}

/// Id and stated length of the chunk at `at`; `None` when the file has ended.
fn chunk_header<R: Read + Seek>(reader: &mut R, at: u64) -> Result<Option<([u8; 4], u32)>, AudioError> {
    reader.seek(SeekFrom::Start(at)).map_err(AudioError::Io)?;
    let mut header = [0_u8; 8];
    if read_up_to(reader, &mut header).map_err(AudioError::Io)? < header.len() {
        return Ok(None);
    }
    let [a, b, c, d, length @ ..] = header;
    Ok(Some(([a, b, c, d], u32::from_le_bytes(length))))
}

/// How many bytes of samples there are. A stated length is right when it leads to the end of the file or to
/// another chunk; a recorder that did not know it wrote zero, something too small, or something huge.
fn true_length<R: Read + Seek>(
    reader: &mut R,
    body: u64,
    stated: u64,
    there: u64,
) -> Result<u64, AudioError> {
    if stated >= there {
        return Ok(there);
    }
    let next = body + stated + stated % 2;
    let end = body + there;
    if next + 8 > end {
        // A few bytes of filling at the end, unless nothing was stated at all.
        return Ok(if stated == 0 { there } else { stated });
    }
    let chunk_follows = chunk_header(reader, next)?.is_some_and(|(id, length)| {
        id.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ')
            && u64::from(length) <= end - next - 8
    });
    Ok(if chunk_follows { stated } else { there })
}

fn wrap<'s, R>(
    mut reader: R,
    body: u64,
    length: u64,
    format: &[u8],
) -> Result<(Box<dyn FormatReader + 's>, u64), AudioError>
where
    R: Read + Seek + Send + Sync + 's,
{
    let field = |at: usize| match format.get(at..at + 2) {
        Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
        _ => Err(AudioError::Malformed("its format chunk is too short")),
    };
    let (tag, channels, block_align, bits) = (field(0)?, field(2)?, field(12)?, field(14)?);
    if !matches!(tag, 1 | 3 | 6 | 7 | 0xfffe) {
        return Err(AudioError::Unsupported(
            "its encoding is neither PCM, float, mu-law nor A-law",
        ));
    }
    if !(1..=CHANNELS_MAX).contains(&channels) {
        return Err(AudioError::Unsupported("its number of channels"));
    }
    if !matches!(bits, 8 | 16 | 24 | 32 | 64) || block_align != channels * (bits / 8) {
        return Err(AudioError::Malformed("its sample size contradicts itself"));
    }
    let frames = length / u64::from(block_align);
    if frames == 0 {
        return Err(AudioError::Empty);
    }
    let length = frames * u64::from(block_align);
    let data_length =
        u32::try_from(length).map_err(|_| AudioError::Unsupported("it is larger than 4 GiB"))?;
    // The library wants the form with an empty extension for some encodings, writers often leave it away.
    let format = match tag {
        0xfffe => format.to_vec(),
        _ => format.iter().take(16).chain(&[0, 0]).copied().collect(),
    };
    let padded = format.len() + format.len() % 2;
    let mut header = Vec::with_capacity(28 + padded);
    header.extend_from_slice(b"RIFF");
    // The length of the whole, or "unknown" where it would not fit.
    let riff = data_length.saturating_add(20 + padded as u32);
    header.extend_from_slice(&riff.to_le_bytes());
    header.extend_from_slice(b"WAVEfmt ");
    header.extend_from_slice(&(format.len() as u32).to_le_bytes());
    header.extend_from_slice(&format);
    header.resize(20 + padded, 0);
    header.extend_from_slice(b"data");
    header.extend_from_slice(&data_length.to_le_bytes());

    reader.seek(SeekFrom::Start(body)).map_err(AudioError::Io)?;
    let source = ReadOnlySource::new(Cursor::new(header).chain(reader.take(length)));
    let stream = MediaSourceStream::new(Box::new(source), Default::default());
    let format = WavReader::try_new(stream, FormatOptions::default())?;
    Ok((Box::new(format), frames))
}

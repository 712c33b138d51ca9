//! Recordings as Twilio makes them: WAV, 16 bit, 8 kHz, one channel.

use std::sync::LazyLock;

use bytes::Bytes;
use callfold::simulate::{Message, message_from};

const RATE_HZ: u32 = 8_000;

/// Three seconds in which somebody speaks, out of a sample, long enough for the sentences that doubles answer: a tone, which nobody takes for speech, would not be sent to
/// engines as speech is.
pub(crate) fn tone() -> Message {
    static SPEECH: LazyLock<Vec<i16>> = LazyLock::new(|| {
        let wav = include_bytes!("../../services/transcriber/assets/samples/message-1.wav");
        let samples = wav[44..].chunks_exact(2);
        samples
            .map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]]))
            .skip(RATE_HZ as usize)
            .collect()
    });
    message("tone", 3, |n| SPEECH[n as usize])
}

/// A second of nothing.
pub(crate) fn silence() -> Message {
    message("silence", 1, |_| 0)
}

fn message(name: &str, seconds: u32, sample: impl Fn(u32) -> i16) -> Message {
    let frames = seconds * RATE_HZ;
    let samples: Vec<u8> = (0..frames).flat_map(|n| sample(n).to_le_bytes()).collect();
    let data_bytes = frames * 2;
    let mut wav = Vec::with_capacity(44 + samples.len());
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16_u32.to_le_bytes());
    // PCM, one channel.
    wav.extend_from_slice(&1_u16.to_le_bytes());
    wav.extend_from_slice(&1_u16.to_le_bytes());
    wav.extend_from_slice(&RATE_HZ.to_le_bytes());
    wav.extend_from_slice(&(RATE_HZ * 2).to_le_bytes());
    wav.extend_from_slice(&2_u16.to_le_bytes());
    wav.extend_from_slice(&16_u16.to_le_bytes());
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&data_bytes.to_le_bytes());
    wav.extend_from_slice(&samples);
    message_from(name, Bytes::from(wav)).unwrap()
}

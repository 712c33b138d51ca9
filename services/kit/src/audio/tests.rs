#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::PathBuf;

use super::*;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../transcriber/assets/samples")
        .join(name)
}

/// A WAV file of the given encoding, with whatever lengths are stated.
fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8], stated: (u32, u32)) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&stated.0.to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt ");
    bytes.extend_from_slice(&16_u32.to_le_bytes());
    bytes.extend_from_slice(&tag.to_le_bytes());
    bytes.extend_from_slice(&channels.to_le_bytes());
    bytes.extend_from_slice(&rate.to_le_bytes());
    bytes.extend_from_slice(&(rate * u32::from(block)).to_le_bytes());
    bytes.extend_from_slice(&block.to_le_bytes());
    bytes.extend_from_slice(&bits.to_le_bytes());
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&stated.1.to_le_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn honest(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    wav(tag, channels, rate, bits, data, (length + 36, length))
}

fn decoded(bytes: Vec<u8>) -> Result<Pcm, AudioError> {
    decode_reader(Cursor::new(bytes), &Limits::default())
}

fn probed(bytes: Vec<u8>) -> Result<AudioInfo, AudioError> {
    probe_reader(Cursor::new(bytes), Limits::default().max_duration)
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02)
}

#[test]
fn every_pcm_width_decodes_to_the_same_values() {
    let wanted = [0.0_f32, 0.5, -0.5, 0.25];
    let of = |encode: &dyn Fn(f32) -> Vec<u8>| wanted.iter().flat_map(|v| encode(*v)).collect::<Vec<u8>>();
    let int = |v: f32, bits: u32| ((f64::from(v)) * f64::from(1_u32 << (bits - 1))) as i32;
    let files = [
        honest(1, 1, 8000, 8, &of(&|v| vec![(int(v, 8) + 128) as u8])),
        honest(
            1,
            1,
            8000,
            16,
            &of(&|v| (int(v, 16) as i16).to_le_bytes().to_vec()),
        ),
        honest(1, 1, 8000, 24, &of(&|v| int(v, 24).to_le_bytes()[..3].to_vec())),
        honest(1, 1, 8000, 32, &of(&|v| int(v, 32).to_le_bytes().to_vec())),
        honest(3, 1, 8000, 32, &of(&|v| v.to_le_bytes().to_vec())),
    ];
    for file in files {
        let pcm = decoded(file).unwrap();
        assert_eq!(pcm.sample_rate_hz, 8000);
        assert!(close(&pcm.channels[0], &wanted), "{:?}", pcm.channels[0]);
    }
}

#[test]
fn mu_law_is_expanded() {
    // 0xFF is silence, 0x80 and 0x00 are the two extremes.
    let pcm = decoded(honest(7, 1, 8000, 8, &[0xff, 0x80, 0x00])).unwrap();
    assert!(
        close(&pcm.channels[0], &[0.0, 0.98, -0.98]),
        "{:?}",
        pcm.channels[0]
    );
}

#[test]
fn channels_are_kept_apart() {
    let data: Vec<u8> = (0..800)
        .flat_map(|_| [8192_i16.to_le_bytes(), (-8192_i16).to_le_bytes()].concat())
        .collect();
    let pcm = decoded(honest(1, 2, 8000, 16, &data)).unwrap();
    assert_eq!(pcm.duration_ms(), 100);
    assert!(pcm.channels[0].iter().all(|v| *v == 0.25) && pcm.channels[1].iter().all(|v| *v == -0.25));
}

#[test]
fn wrong_lengths_in_the_header_do_not_matter() {
    let data = vec![1_u8; 16_001];
    for stated in [
        (0, 0),
        (u32::MAX, u32::MAX),
        (36 + 16_000, 16_000),
        (40, 4),
        (1 << 20, 1 << 20),
        (36, 0),
    ] {
        let info = probed(wav(1, 1, 8000, 16, &data, stated)).unwrap();
        assert_eq!((info.duration_ms, info.channels), (1000, 1), "{stated:?}");
        assert_eq!(
            decoded(wav(1, 1, 8000, 16, &data, stated)).unwrap().frames(),
            8000,
            "{stated:?}"
        );
    }
}

#[test]
fn chunks_around_the_data_are_no_audio() {
    let mut bytes = honest(1, 1, 8000, 16, &[1; 160]);
    bytes.extend_from_slice(b"LIST\x04\x00\x00\x00INFO");
    assert_eq!(decoded(bytes).unwrap().frames(), 80);
    let mut empty = honest(1, 1, 8000, 16, &[]);
    empty.extend_from_slice(b"LIST\x04\x00\x00\x00INFO");
    assert!(matches!(probed(empty), Err(AudioError::Empty)));
}

#[test]
fn a_recording_without_samples_is_empty() {
    assert!(matches!(probed(Vec::new()), Err(AudioError::Empty)));
    assert!(matches!(
        probed(honest(1, 1, 8000, 16, &[])),
        Err(AudioError::Empty)
    ));
    assert!(matches!(
        decoded(honest(1, 1, 8000, 16, &[7])),
        Err(AudioError::Empty)
    ));
    assert!(matches!(
        probed(b"RIFF\x04\0\0\0WAVE".to_vec()),
        Err(AudioError::Empty)
    ));
}

#[test]
fn pages_and_documents_are_named_as_such() {
    for (bytes, name) in [
        (
            &b"<?xml version=\"1.0\"?><TwilioResponse/>"[..],
            "an XML document",
        ),
        (b"\n <!DOCTYPE html><title>404</title>", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b"{\"code\":20404}", "a JSON text"),
        (b"RIFF\x04\0\0\0AVI LIST", "a RIFF file of another kind"),
        (
            b"plain words that are no sound at all",
            "neither RIFF/WAVE nor MP3",
        ),
    ] {
        match probed(bytes.to_vec()) {
            Err(AudioError::NotAudio { found }) => assert_eq!(found, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn bounds_hold_before_anything_large_is_built() {
    let minute = honest(1, 1, 8000, 16, &vec![0; 960_000]);
    let short = Limits {
        max_duration: Duration::from_secs(59),
        ..Limits::default()
    };
    assert!(matches!(
        decode_reader(Cursor::new(&minute), &short),
        Err(AudioError::TooLong { .. })
    ));
    assert!(matches!(
        probe_reader(Cursor::new(&minute), short.max_duration),
        Err(AudioError::TooLong { .. })
    ));
    let few = Limits {
        max_samples: 479_999,
        ..Limits::default()
    };
    assert!(matches!(
        decode_reader(Cursor::new(&minute), &few),
        Err(AudioError::TooManySamples { .. })
    ));
    let mp3 = std::fs::read(sample("long-call.mp3")).unwrap();
    assert!(matches!(
        decode_reader(Cursor::new(&mp3), &short),
        Err(AudioError::TooLong { .. })
    ));
    assert!(matches!(
        probe_reader(Cursor::new(&mp3), short.max_duration),
        Err(AudioError::TooLong { .. })
    ));
}

#[test]
fn odd_headers_are_errors_and_no_panics() {
    let rates = [
        honest(1, 1, 1, 16, &[0; 32]),
        honest(1, 1, u32::MAX / 2, 16, &[0; 32]),
    ];
    for bytes in rates {
        assert!(matches!(probed(bytes), Err(AudioError::Unsupported(_))));
    }
    assert!(matches!(
        probed(honest(2, 1, 8000, 16, &[0; 32])),
        Err(AudioError::Unsupported(_))
    ));
    assert!(matches!(
        probed(honest(1, 0, 8000, 16, &[0; 32])),
        Err(AudioError::Unsupported(_))
    ));
    assert!(matches!(
        probed(honest(1, 1, 8000, 12, &[0; 32])),
        Err(AudioError::Malformed(_))
    ));
    let whole = std::fs::read(sample("message-1.wav")).unwrap();
    for cut in 1..100 {
        let _ = decoded(whole[..cut].to_vec());
    }
    let whole = std::fs::read(sample("message-1.mp3")).unwrap();
    for cut in (1..2000).step_by(7) {
        let _ = decoded(whole[..cut].to_vec());
    }
}

#[test]
fn samples_are_measured_as_they_decode() {
    for n in 1..=6 {
        for (ending, kind, content_type) in [
            ("wav", Container::Wav, "audio/x-wav"),
            ("mp3", Container::Mp3, "audio/mpeg"),
        ] {
            let path = sample(&format!("message-{n}.{ending}"));
            let limits = Limits::default();
            let info = probe(&path, limits.max_duration).unwrap();
            let pcm = decode(&path, &limits).unwrap();
            assert_eq!((info.container, info.content_type), (kind, content_type));
            assert_eq!(info.duration_ms, pcm.duration_ms());
            assert_eq!(
                (info.sample_rate_hz, usize::from(info.channels)),
                (pcm.sample_rate_hz, pcm.channels.len())
            );
        }
        let limits = Limits::default();
        let wav = probe(&sample(&format!("message-{n}.wav")), limits.max_duration).unwrap();
        let mp3 = probe(&sample(&format!("message-{n}.mp3")), limits.max_duration).unwrap();
        assert!(
            wav.duration_ms.abs_diff(mp3.duration_ms) <= 150,
            "{} {}",
            wav.duration_ms,
            mp3.duration_ms
        );
    }
}

#[test]
fn a_torn_mp3_decodes_to_what_is_there() {
    let whole = std::fs::read(sample("message-1.mp3")).unwrap();
    let all = decoded(whole.clone()).unwrap().duration_ms();
    let half = decoded(whole[..whole.len() / 2 + 13].to_vec())
        .unwrap()
        .duration_ms();
    assert!(half.abs_diff(all / 2) < 200, "{half} of {all}");
    // A hole in the middle costs the frames it hits, but not the place of the others.
    let mut hole = whole.clone();
    hole[20_000..20_400].fill(0x55);
    let holed = decoded(hole).unwrap().duration_ms();
    assert!(holed.abs_diff(all) < 400, "{holed} of {all}");
}

#[test]
fn tags_before_an_mp3_are_passed_over() {
    let whole = std::fs::read(sample("message-1.mp3")).unwrap();
    let plain = probed(whole.clone()).unwrap();
    let mut tagged = b"ID3\x04\x00\x00\x00\x00\x02\x00".to_vec();
    // The tag holds something that looks like a frame.
    tagged.extend_from_slice(&[0xff, 0xfb, 0x90, 0x64].repeat(64));
    tagged.extend_from_slice(&whole);
    assert_eq!(probed(tagged).unwrap(), plain);
}

#[test]
fn blocks_are_small_and_join_to_the_whole() {
    for name in ["message-1.wav", "message-1.mp3", "long-call.mp3"] {
        let bytes = std::fs::read(sample(name)).unwrap();
        let whole = decoded(bytes.clone()).unwrap();
        let mut joined = vec![Vec::new(); whole.channels.len()];
        let mut longest = 0;
        let (format, frames) = decode_frames(Cursor::new(bytes), &Limits::default(), |_, block| {
            longest = longest.max(block[0].len());
            for (to, from) in joined.iter_mut().zip(block) {
                to.extend_from_slice(from);
            }
            Ok::<(), AudioError>(())
        })
        .unwrap();
        assert_eq!(
            (format.sample_rate_hz, frames),
            (whole.sample_rate_hz, whole.frames() as u64)
        );
        assert!(joined == whole.channels, "{name}");
        assert!(longest <= 4095 + 1152, "{name}: {longest}");
    }
}

#[test]
fn a_sink_that_fails_ends_the_decoding() {
    #[derive(Debug)]
    enum Error {
        Audio,
        Full,
    }
    impl From<AudioError> for Error {
        fn from(_: AudioError) -> Self {
            Self::Audio
        }
    }
    let bytes = std::fs::read(sample("long-call.mp3")).unwrap();
    let mut blocks = 0;
    let outcome = decode_frames(Cursor::new(bytes), &Limits::default(), |_, _| {
        blocks += 1;
        if blocks == 3 { Err(Error::Full) } else { Ok(()) }
    });
    assert!(matches!(outcome, Err(Error::Full)) && blocks == 3);
    let outcome = decode_frames(Cursor::new(b"plain"), &Limits::default(), |_, _| {
        Ok::<(), Error>(())
    });
    assert!(matches!(outcome, Err(Error::Audio)));
}

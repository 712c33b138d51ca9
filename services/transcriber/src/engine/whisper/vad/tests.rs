#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

/// A model in the format of silero's with weights made by hand: it finds speech where there is a tone of 500 Hz, which is
/// all that its spectrum shows, and everything behind passes that one number on.
fn energy_model() -> Vec<u8> {
    model(20.0, -5.0)
}

/// A model that finds speech everywhere, or nowhere.
pub(in crate::engine::whisper) fn stubborn_model(says: bool) -> Vec<u8> {
    model(0.0, if says { 10.0 } else { -10.0 })
}

/// What its last layer makes of the one number.
fn model(weight: f32, bias: f32) -> Vec<u8> {
    let mut bytes = GGML_MAGIC.to_vec();
    let mut put = |number: u32| bytes.extend_from_slice(&number.to_le_bytes());
    put(KIND.len() as u32);
    bytes.extend_from_slice(KIND);
    let mut put = |number: u32| bytes.extend_from_slice(&number.to_le_bytes());
    for number in [6, 2, 0] {
        put(number);
    }
    for number in SHAPE {
        put(number.unwrap_or(64));
    }
    for (name, elements, element_bytes) in TENSORS {
        let dims: &[usize] = match name {
            "_model.stft.forward_basis_buffer" => &[256, 1, 258],
            "_model.encoder.0.reparam_conv.weight" => &[3, 129, 128],
            "_model.encoder.1.reparam_conv.weight" => &[3, 128, 64],
            "_model.encoder.2.reparam_conv.weight" => &[3, 64, 64],
            "_model.encoder.3.reparam_conv.weight" => &[3, 64, 128],
            "_model.decoder.rnn.weight_ih" | "_model.decoder.rnn.weight_hh" => &[128, 512],
            "_model.decoder.decoder.2.weight" => &[128, 1],
            _ => &[elements],
        };
        let mut values = vec![0.0_f32; elements];
        match name {
            // Both parts of bin 0 at 500 Hz.
            "_model.stft.forward_basis_buffer" => {
                for i in 0..256 {
                    let phase = 2.0 * std::f32::consts::PI * 500.0 * i as f32 / 16_000.0;
                    (values[i], values[129 * 256 + i]) = (phase.cos(), phase.sin());
                }
            }
            // The middle of the three taps of channel 0.
            _ if name.starts_with("_model.encoder") && name.ends_with("weight") => values[1] = 1.0,
            // In the order input, forget, cell and output gate: let in what is above 2, forget everything, give it out.
            "_model.decoder.rnn.weight_ih" => values[256 * 128] = 1.0,
            "_model.decoder.rnn.bias_ih" => {
                values[..128].fill(20.0);
                values[128..256].fill(-20.0);
                values[256] = -2.0;
                values[384..].fill(20.0);
            }
            "_model.decoder.decoder.2.weight" => values[0] = weight,
            "_model.decoder.decoder.2.bias" => values[0] = bias,
            _ => {}
        }
        put_all(
            &mut bytes,
            &[dims.len(), name.len(), usize::from(element_bytes == 2)],
        );
        put_all(&mut bytes, dims);
        bytes.extend_from_slice(name.as_bytes());
        for value in values {
            if element_bytes == 2 {
                bytes.extend_from_slice(&half(value).to_le_bytes());
            } else {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
    bytes
}

fn put_all(bytes: &mut Vec<u8>, numbers: &[usize]) {
    for number in numbers {
        bytes.extend_from_slice(&(*number as u32).to_le_bytes());
    }
}

/// A number with 16 bits; what is too small is zero.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    if exponent <= 0 {
        return sign;
    }
    sign | ((exponent as u16) << 10) | ((bits >> 13) & 0x3ff) as u16
}

fn sound(secs: &[(f32, f32)]) -> Vec<f32> {
    let mut samples = Vec::new();
    for (length, level) in secs {
        samples.extend(
            (0..(length * 16_000.0) as usize)
                .map(|i| level * (2.0 * std::f32::consts::PI * 500.0 * i as f32 / 16_000.0).sin()),
        );
    }
    samples
}

#[test]
fn a_model_that_hears_sound_finds_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ggml-silero.bin");
    std::fs::write(&path, energy_model()).unwrap();
    let source = Arc::new(VadSource::new(path));
    let mut vad = Vad::of(&source, None).unwrap();
    // Twice: the first has left nothing behind.
    for _ in 0..2 {
        let samples = sound(&[(2.0, 0.0), (1.5, 0.5), (3.0, 0.0)]);
        let speech = vad.speech(&samples).unwrap();
        assert!(speech.start.abs_diff(32_000 - PAD_SAMPLES) < 1_600, "{speech:?}");
        assert!(speech.end.abs_diff(56_000 + PAD_SAMPLES) < 3_200, "{speech:?}");
        assert_eq!(vad.speech(&sound(&[(3.0, 0.0)])), None);
    }
    assert_eq!(vad.speech(&sound(&[(0.5, 0.5)])), Some(0..8_000));
    // The same source gives the same model, another one another.
    assert!(Vad::of(&source, Some(vad)).is_some());
}

#[test]
fn a_file_that_is_no_whole_model_is_refused_before_whisper_reads_it() {
    let whole = energy_model();
    assert!(walk(&whole).is_some());
    let tensors = whole.len();
    for cut in [0, 3, 4, 8, 17, 40, 100, 5_000, tensors - 1] {
        assert!(walk(&whole[..cut]).is_none(), "{cut}");
    }
    let mut longer = whole.clone();
    longer.extend_from_slice(&[0; 12]);
    assert!(walk(&longer).is_none());
    // Each number of the head decides over memory that whisper.cpp takes or reads.
    for at in (4..8)
        .chain(18 + 12..18 + 12 + 4)
        .chain(18 + 20..18 + 20 + 17 * 4)
    {
        let mut other = whole.clone();
        other[at] ^= 0x40;
        assert!(walk(&other).is_none(), "{at}");
    }
}

#[test]
fn a_model_that_cannot_be_used_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ggml-silero.bin");
    for bytes in [&b"lmgg\x0a\0\0\0silero-16k"[..], b"<html>", b""] {
        std::fs::write(&path, bytes).unwrap();
        let source = Arc::new(VadSource::new(path.clone()));
        assert!(Vad::of(&source, None).is_none() && source.failed.load(Ordering::Relaxed));
        // It was said, and is not tried again.
        std::fs::write(&path, energy_model()).unwrap();
        assert!(Vad::of(&source, None).is_none());
    }
    let source = Arc::new(VadSource::new(folder.path().join("none.bin")));
    assert!(Vad::of(&source, None).is_none());
}

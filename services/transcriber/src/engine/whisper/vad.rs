//! A model that tells where somebody speaks (silero), where there is one.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use whisper_rs::{WhisperError, WhisperVadContext, WhisperVadContextParams, WhisperVadParams};

use super::model::GGML_MAGIC;
use crate::audio::SAMPLE_RATE_HZ;

/// Largest file that is looked at, in bytes; silero's have less than one million.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Kept around the speech, so that no first sound is clipped: 200 ms.
const PAD_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 5;
/// What such a file names itself.
const KIND: &[u8] = b"silero-16k";
/// The numbers at its head: samples of a step, of the context; four layers of channels in, channels out and width; the
/// memory's sizes; the last layer's.
const SHAPE: [Option<u32>; 19] = [
    Some(512),
    None,
    Some(4),
    Some(129),
    Some(128),
    Some(3),
    Some(128),
    Some(64),
    Some(3),
    Some(64),
    Some(64),
    Some(3),
    Some(64),
    Some(128),
    Some(3),
    Some(128),
    Some(128),
    Some(128),
    Some(1),
];
/// Tensors that whisper.cpp expects, with their elements and the bytes of one.
const TENSORS: [(&str, usize, usize); 15] = [
    ("_model.stft.forward_basis_buffer", 258 * 256, 2),
    ("_model.encoder.0.reparam_conv.weight", 129 * 128 * 3, 2),
    ("_model.encoder.0.reparam_conv.bias", 128, 4),
    ("_model.encoder.1.reparam_conv.weight", 128 * 64 * 3, 2),
    ("_model.encoder.1.reparam_conv.bias", 64, 4),
    ("_model.encoder.2.reparam_conv.weight", 64 * 64 * 3, 2),
    ("_model.encoder.2.reparam_conv.bias", 64, 4),
    ("_model.encoder.3.reparam_conv.weight", 64 * 128 * 3, 2),
    ("_model.encoder.3.reparam_conv.bias", 128, 4),
    ("_model.decoder.rnn.weight_ih", 128 * 512, 4),
    ("_model.decoder.rnn.bias_ih", 512, 4),
    ("_model.decoder.rnn.weight_hh", 128 * 512, 4),
    ("_model.decoder.rnn.bias_hh", 512, 4),
    ("_model.decoder.decoder.2.weight", 128, 2),
    ("_model.decoder.decoder.2.bias", 1, 4),
];

/// The model that is to be used.
#[derive(Debug)]
pub(super) struct VadSource {
    path: PathBuf,
    /// It cannot be used, and that was said.
    failed: AtomicBool,
}

impl VadSource {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            failed: AtomicBool::new(false),
        }
    }
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
enum VadError {
    #[error("it cannot be read")]
    Read(#[from] std::io::Error),
    #[error("it is not a whole silero model in whisper.cpp's format")]
    Malformed,
    #[error("its path is not text")]
    Path,
    #[error("whisper.cpp does not take it")]
    Whisper(#[from] WhisperError),
}

/// The model in memory.
pub(super) struct Vad {
    source: Arc<VadSource>,
    context: WhisperVadContext,
}

impl Vad {
    /// What was `kept` if it is of this source, else newly loaded. A model that cannot be used is `None` and said once.
    pub(super) fn of(source: &Arc<VadSource>, kept: Option<Self>) -> Option<Self> {
        if let Some(vad) = kept.filter(|vad| Arc::ptr_eq(&vad.source, source)) {
            return Some(vad);
        }
        if source.failed.load(Ordering::Relaxed) {
            return None;
        }
        match load(&source.path) {
            Ok(context) => Some(Self {
                source: Arc::clone(source),
                context,
            }),
            Err(error) => {
                source.say(&error);
                None
            }
        }
    }

    /// From the first speech to the last with a little silence around, in samples; `None`: there is none. When the model
    /// fails, everything may be speech.
    pub(super) fn speech(&mut self, samples: &[f32]) -> Option<Range<usize>> {
        let segments = match self
            .context
            .segments_from_samples(WhisperVadParams::new(), samples)
        {
            Ok(segments) => segments,
            Err(error) => {
                self.source.say(&error.into());
                return Some(0..samples.len());
            }
        };
        let per_centi = SAMPLE_RATE_HZ as f32 / 100.0;
        let mut speech: Option<Range<usize>> = None;
        for segment in segments {
            let (start, end) = (
                (segment.start * per_centi) as usize,
                (segment.end * per_centi) as usize,
            );
            speech = Some(speech.map_or(start, |speech| speech.start)..end);
        }
        speech.map(|speech| {
            let start = speech.start.saturating_sub(PAD_SAMPLES).min(samples.len());
            start..(speech.end + PAD_SAMPLES).min(samples.len()).max(start)
        })
    }
}

impl VadSource {
    fn say(&self, error: &VadError) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the voice detection model {} cannot be used; recognition goes on without",
                self.path.display()
            );
        }
    }
}

fn load(path: &Path) -> Result<WhisperVadContext, VadError> {
    check(path)?;
    let path = path
        .to_str()
        .filter(|path| !path.contains('\0'))
        .ok_or(VadError::Path)?;
    // As for speech models: nothing is printed.
    whisper_rs::install_logging_hooks();
    let mut params = WhisperVadContextParams::new();
    // So small a network is slower on more.
    params.set_n_threads(1);
    Ok(WhisperVadContext::new(path, params)?)
}

/// Reads the file as whisper.cpp does, which believes every number in it: a torn or strange file would end the process.
fn check(path: &Path) -> Result<(), VadError> {
    let file = File::open(path)?;
    if file.metadata()?.len() > FILE_BYTES_MAX {
        return Err(VadError::Malformed);
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    walk(&bytes).ok_or(VadError::Malformed)
}

fn walk(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes.strip_prefix(&GGML_MAGIC)?;
    if number(&mut rest)? != KIND.len() as u32 {
        return None;
    }
    rest = rest.strip_prefix(KIND)?;
    let _version = [number(&mut rest)?, number(&mut rest)?, number(&mut rest)?];
    for wanted in SHAPE {
        let got = number(&mut rest)?;
        if wanted.is_some_and(|wanted| wanted != got) {
            return None;
        }
    }
    let mut missing: Vec<_> = TENSORS.to_vec();
    while !rest.is_empty() {
        let (dims, name_bytes, kind) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let mut elements = 1_usize;
        for _ in 0..Some(dims).filter(|dims| *dims <= 4)? {
            elements = elements.checked_mul(usize::try_from(number(&mut rest)?).ok()?)?;
        }
        let (name, behind) = rest.split_at_checked(usize::try_from(name_bytes).ok()?)?;
        let at = missing.iter().position(|tensor| tensor.0.as_bytes() == name)?;
        let (_, wanted, element_bytes) = missing.swap_remove(at);
        // 0: 32 bit; 1: 16 bit.
        let fits = match kind {
            0 => element_bytes == 4,
            1 => element_bytes == 2,
            _ => false,
        };
        if !fits || elements != wanted {
            return None;
        }
        rest = behind.get(elements * element_bytes..)?;
    }
    missing.is_empty().then_some(())
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(super) mod tests;

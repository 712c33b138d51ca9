//! One piece: from samples to words with times.

use std::sync::Arc;

use callfold_schema::event::FailureClass;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperError, WhisperSegment, WhisperState};

use super::model::Model;
use super::vad::{Vad, VadSource};
use super::{PARALLEL_MAX, WhisperOptions, unreadable};
use crate::audio::{Audio16k, SAMPLE_RATE_HZ};
use crate::engine::EngineError;
use crate::engine::abort::{self, Abort};
use crate::speech::Piece;

/// Shorter audio is filled up with silence; whisper.cpp ignores what is too short.
const MIN_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// A recording that is to be recognised.
pub(super) struct Order {
    pub(super) model: Arc<Model>,
    pub(super) audio: Arc<Audio16k>,
    pub(super) pieces: Vec<Piece>,
    pub(super) options: WhisperOptions,
    pub(super) vad: Option<Arc<VadSource>>,
    pub(super) abort: Arc<Abort>,
}

/// A stretch of text, at its time in the recording.
pub(super) struct Heard {
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    pub(super) text: String,
    pub(super) confidence: Option<f32>,
}

/// What a worker keeps between pieces.
#[derive(Default)]
pub(super) struct Tools {
    vad: Option<Vad>,
}

impl Tools {
    /// Recognises one piece as a window of its own: nothing is known of what came before.
    pub(super) fn recognise(&mut self, order: &Order, piece: usize) -> Result<Vec<Heard>, EngineError> {
        if order.abort.is_raised() {
            return Err(EngineError::Cancelled);
        }
        let Some(piece) = order.pieces.get(piece) else {
            return Ok(Vec::new());
        };
        let mut samples = order
            .audio
            .read(piece.channel, piece.frames.clone())
            .map_err(unreadable)?;
        let mut start_ms = piece.start_ms();
        self.vad = order
            .vad
            .as_ref()
            .and_then(|source| Vad::of(source, self.vad.take()));
        if let Some(vad) = &mut self.vad {
            let Some(speech) = vad.speech(&samples) else {
                return Ok(Vec::new());
            };
            start_ms += speech.start as u64 * 1000 / u64::from(SAMPLE_RATE_HZ);
            samples.truncate(speech.end);
            samples.drain(..speech.start);
        }
        let length_ms = samples.len() as u64 * 1000 / u64::from(SAMPLE_RATE_HZ);
        samples.resize(samples.len().max(MIN_SAMPLES), 0.0);
        // A state of its own for each piece: the dice that whisper.cpp throws when it is not sure are in the state, and
        // what was thrown for one piece must not depend on those before it.
        let mut state = order.model.context.create_state().map_err(failed)?;
        match abort::full(&mut state, params(order), &samples, &order.abort) {
            Ok(()) => Ok(collect(&order.model.context, &state, start_ms, length_ms)),
            Err(_) if order.abort.is_raised() => Err(EngineError::Cancelled),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(source: WhisperError) -> EngineError {
    EngineError::Unavailable {
        class: FailureClass::Internal,
        text: "whisper.cpp failed".to_owned(),
        after: None,
        source: Some(source.into()),
    }
}

fn params(order: &Order) -> FullParams<'_, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 5 });
    // whisper-rs copies this string and never frees it: some 30 bytes a piece.
    params.set_language(Some(&order.options.language));
    params.set_n_threads(order.options.threads.get().min(PARALLEL_MAX) as i32);
    params.set_translate(false);
    // Neither the text of another piece nor that of an earlier window of this one becomes a prompt: one invented
    // sentence would lead to the next.
    params.set_no_context(true);
    params.set_n_max_text_ctx(0);
    params.set_no_timestamps(false);
    params.set_suppress_blank(true);
    params.set_suppress_nst(true);
    // What comes out improbable or repeats itself is decoded again, a little less greedily each time.
    params.set_temperature(0.0);
    params.set_temperature_inc(0.2);
    params.set_entropy_thold(2.4);
    params.set_logprob_thold(-1.0);
    params.set_no_speech_thold(0.6);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

/// What the state heard in a piece that begins at `start_ms` of the recording.
fn collect(context: &WhisperContext, state: &WhisperState, start_ms: u64, length_ms: u64) -> Vec<Heard> {
    // whisper.cpp counts in hundredths of a second, and may end a segment behind the audio.
    let ms = |centis: i64| {
        u64::try_from(centis)
            .unwrap_or(0)
            .saturating_mul(10)
            .min(length_ms)
    };
    let mut free_from = 0;
    let mut heard = Vec::new();
    for segment in state.as_iter() {
        let Ok(text) = segment.to_str_lossy() else {
            continue;
        };
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let start = ms(segment.start_timestamp()).max(free_from);
        let end = ms(segment.end_timestamp()).max(start);
        free_from = end;
        heard.push(Heard {
            start_ms: start_ms + start,
            end_ms: start_ms + end,
            text: text.to_owned(),
            confidence: confidence(context, &segment),
        });
    }
    heard
}

/// Geometric mean of the probabilities of the text's tokens; time stamps and markers do not count.
fn confidence(context: &WhisperContext, segment: &WhisperSegment<'_>) -> Option<f32> {
    let first_special = context.token_eot();
    let logs: Vec<f32> = (0..segment.n_tokens())
        .filter_map(|at| segment.get_token(at))
        .filter(|token| token.token_id() < first_special)
        .map(|token| token.token_probability().clamp(1e-6, 1.0).ln())
        .collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f32>() / logs.len() as f32).exp())
}

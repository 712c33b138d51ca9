//! whisper.cpp in this process: any ggml model, and the small demonstration model that is built in.
//!
//! The model is loaded once. An inference runs on a blocking thread of its own with some threads of
//! whisper.cpp's; how many run at once is bounded, so that together they fit the machine. Each gets a fresh
//! state: making one takes milliseconds (5 ms for the demonstration model), and its buffers (50 MB there, up to
//! GBs for large models) are given back while nothing is to be done.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use callfold_schema::event::FailureClass;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperError, WhisperSegment,
    WhisperState,
};

use super::abort::{self, Abort};
use super::{Engine, EngineError, Recognised, RecognisedSegment};
use crate::audio::{Audio16k, SAMPLE_RATE_HZ};

/// The demonstration model: a real Whisper network that knows 181 words of synthetic Hebrew.
static DEMO_MODEL: &[u8] = include_bytes!("../../assets/ggml-micro-he.bin");
/// Its name in events and on cards.
pub const DEMO_MODEL_NAME: &str = "ggml-micro-he";
/// First bytes of a ggml model file.
const GGML_MAGIC: [u8; 4] = *b"lmgg";
/// Shorter audio is filled up with silence; whisper.cpp ignores what is too short.
const MIN_SAMPLES: usize = SAMPLE_RATE_HZ as usize;
/// Most threads and workers that a setting may ask for.
const PARALLEL_MAX: usize = 256;

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// The built-in demonstration model.
    Demo,
    /// A ggml file.
    File(PathBuf),
}

impl ModelSource {
    /// Reads a setting: `demo`, or the path of a ggml file.
    pub fn from_setting(value: &str) -> Self {
        if value == "demo" {
            Self::Demo
        } else {
            Self::File(PathBuf::from(value))
        }
    }

    /// The model's name: the file's, without its ending.
    pub fn model_name(&self) -> String {
        match self {
            Self::Demo => DEMO_MODEL_NAME.to_owned(),
            Self::File(path) => path
                .file_stem()
                .map_or(Cow::Borrowed("unnamed"), |name| name.to_string_lossy())
                .into_owned(),
        }
    }
}

/// How whisper.cpp is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhisperOptions {
    /// Inferences at once.
    pub workers: NonZeroUsize,
    /// Threads of each.
    pub threads: NonZeroUsize,
    /// Spoken language as whisper.cpp names it.
    pub language: String,
}

impl WhisperOptions {
    /// What fits a machine of `cores`: up to four threads each, beyond which whisper.cpp gains little, as many
    /// inferences as there is room for, and a core left over for everything else.
    ///
    /// That core matters: whisper.cpp's threads wait for each other spinning, thousands of times an inference. On
    /// two cores with other work an inference on both took six to fourteen times as long as on one.
    pub fn for_cores(cores: NonZeroUsize) -> Self {
        let fit = |n: usize| NonZeroUsize::new(n.clamp(1, PARALLEL_MAX)).unwrap_or(NonZeroUsize::MIN);
        let spare = cores.get() - 1;
        let threads = fit(spare.min(4));
        Self {
            workers: fit(spare / threads),
            threads,
            language: "he".to_owned(),
        }
    }
}

impl Default for WhisperOptions {
    /// What fits this machine, in Hebrew.
    fn default() -> Self {
        Self::for_cores(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// Why a model cannot be used. Says what is wrong with the file; nothing secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the speech model {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        #[source]
        #[doc = "Why."]
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{} is not a ggml model for whisper.cpp", .path.display())]
    NotGgml {
        /// The file.
        path: PathBuf,
    },
    /// The file is only the beginning of a model.
    #[error("the speech model {} is not complete; fetch it again", .path.display())]
    Torn {
        /// The file.
        path: PathBuf,
    },
    /// whisper.cpp does not take it.
    #[error("whisper.cpp cannot load the model {name}")]
    Load {
        /// The model's name.
        name: String,
        #[source]
        #[doc = "What whisper.cpp says."]
        source: WhisperError,
    },
    /// It was trained on English only.
    #[error("the model {name} knows English only; take one without `.en` in its name")]
    EnglishOnly {
        /// The model's name.
        name: String,
    },
}

impl ModelError {
    /// What is behind it, for an error that has taken over its text.
    fn into_cause(self) -> Option<super::Cause> {
        match self {
            Self::Read { source, .. } => Some(source.into()),
            Self::Load { source, .. } => Some(source.into()),
            Self::NotGgml { .. } | Self::Torn { .. } | Self::EnglishOnly { .. } => None,
        }
    }
}

/// The whisper engine.
pub struct Whisper {
    source: ModelSource,
    model: String,
    options: WhisperOptions,
    context: OnceCell<Arc<WhisperContext>>,
    slots: Arc<Semaphore>,
}

impl fmt::Debug for Whisper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whisper")
            .field("source", &self.source)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Whisper {
    /// An engine that loads its model when it is prepared, or at the first recording.
    pub fn new(source: ModelSource, options: WhisperOptions) -> Self {
        Self {
            model: source.model_name(),
            slots: Arc::new(Semaphore::new(options.workers.get().min(PARALLEL_MAX))),
            context: OnceCell::new(),
            source,
            options,
        }
    }

    async fn context(&self) -> Result<Arc<WhisperContext>, EngineError> {
        let load = || async {
            let (source, language) = (self.source.clone(), self.options.language.clone());
            tokio::task::spawn_blocking(move || load(&source, &language))
                .await
                .map_err(|source| worker_lost(source.into()))?
                .map(Arc::new)
                .map_err(|error| EngineError::Unavailable {
                    class: FailureClass::Invalid,
                    text: error.to_string(),
                    source: error.into_cause(),
                })
        };
        self.context.get_or_try_init(load).await.map(Arc::clone)
    }

    /// Runs one job, and stops it when this future is dropped or `cancel` is cancelled.
    async fn run(
        &self,
        audio: Arc<Audio16k>,
        cancel: CancellationToken,
        abort: Arc<Abort>,
    ) -> Result<Recognised, EngineError> {
        let context = self.context().await?;
        let slot = tokio::select! {
            // Both may be dropped half-way: neither has begun anything.
            slot = Arc::clone(&self.slots).acquire_owned() => slot.map_err(|e| worker_lost(e.into()))?,
            () = cancel.cancelled() => return Err(EngineError::Cancelled),
        };
        let stop = RaiseOnDrop(Arc::clone(&abort));
        let options = self.options.clone();
        let mut job = tokio::task::spawn_blocking(move || {
            // The slot is free when the thread is, not when somebody stops waiting for it.
            let _slot = slot;
            recognise(&context, &audio, &options, &abort)
        });
        let done = tokio::select! {
            // The job runs on when this arm is dropped; the next line waits for it.
            done = &mut job => done,
            () = cancel.cancelled() => {
                stop.0.raise();
                job.await
            }
        };
        done.map_err(|source| worker_lost(source.into()))?
    }
}

#[async_trait]
impl Engine for Whisper {
    fn name(&self) -> &str {
        "whisper"
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn is_demonstration(&self) -> bool {
        self.source == ModelSource::Demo
    }

    async fn prepare(&self) -> Result<(), EngineError> {
        self.context().await.map(drop)
    }

    async fn transcribe(
        &self,
        audio: Arc<Audio16k>,
        cancel: CancellationToken,
    ) -> Result<Recognised, EngineError> {
        self.run(audio, cancel, Arc::default()).await
    }
}

/// Raises the flag when the one who waits goes away.
struct RaiseOnDrop(Arc<Abort>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

fn worker_lost(source: super::Cause) -> EngineError {
    EngineError::Unavailable {
        class: FailureClass::WorkerLost,
        text: "the recognition ended without an answer".to_owned(),
        source: Some(source),
    }
}

fn load(source: &ModelSource, language: &str) -> Result<WhisperContext, ModelError> {
    // Without a backend feature this drops what whisper.cpp says: it would print to standard error.
    whisper_rs::install_logging_hooks();
    let name = source.model_name();
    let params = WhisperContextParameters::default();
    let loaded = match source {
        ModelSource::Demo => WhisperContext::new_from_buffer_with_params(DEMO_MODEL, params),
        ModelSource::File(path) => {
            check_file(path)?;
            WhisperContext::new_with_params(path, params)
        }
    };
    let context = loaded.map_err(|source| ModelError::Load {
        name: name.clone(),
        source,
    })?;
    if language != "en" && !context.is_multilingual() {
        return Err(ModelError::EnglishOnly { name });
    }
    tracing::info!(model.name = name, "speech model {name} loaded");
    Ok(context)
}

/// Looks at the file before whisper.cpp does, which takes a model without any weights for one to test with.
fn check_file(path: &Path) -> Result<(), ModelError> {
    let read = |source| ModelError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(read)?;
    let bytes = file.metadata().map_err(read)?.len();
    // The magic, then numbers of four bytes: the first is the size of the vocabulary, the seventh the width.
    let mut head = [0_u8; 4 + 7 * 4];
    match file.read_exact(&mut head) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(e) => return Err(read(e)),
    }
    if head[..4] != GGML_MAGIC {
        return Err(ModelError::NotGgml {
            path: path.to_owned(),
        });
    }
    let number = |at: usize| {
        head[4 + 4 * at..]
            .first_chunk()
            .map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
    };
    // The weights of the words alone, at two bits each.
    let least = number(0).saturating_mul(number(6)) / 4;
    if least == 0 || bytes < least {
        return Err(ModelError::Torn {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// One recording, channel after channel.
fn recognise(
    context: &WhisperContext,
    audio: &Audio16k,
    options: &WhisperOptions,
    abort: &Abort,
) -> Result<Recognised, EngineError> {
    if abort.is_raised() {
        return Err(EngineError::Cancelled);
    }
    let mut state = context.create_state().map_err(failed)?;
    let mut segments = Vec::new();
    for (channel, samples) in (0_u8..).zip(audio.channels()) {
        if abort.is_raised() {
            return Err(EngineError::Cancelled);
        }
        let padded: Cow<'_, [f32]> = if samples.len() < MIN_SAMPLES {
            let mut padded = samples.clone();
            padded.resize(MIN_SAMPLES, 0.0);
            padded.into()
        } else {
            samples.into()
        };
        match abort::full(&mut state, params(options), &padded, abort) {
            Ok(()) => collect(context, &state, channel, audio.duration_ms(), &mut segments),
            Err(_) if abort.is_raised() => return Err(EngineError::Cancelled),
            Err(error) => return Err(failed(error)),
        }
    }
    segments.sort_by_key(|segment| (segment.start_ms, segment.channel));
    Ok(Recognised {
        language: options.language.clone(),
        segments,
    })
}

fn failed(source: WhisperError) -> EngineError {
    EngineError::Unavailable {
        class: FailureClass::Internal,
        text: "whisper.cpp failed".to_owned(),
        source: Some(source.into()),
    }
}

fn params(options: &WhisperOptions) -> FullParams<'_, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    // whisper-rs copies this string and never frees it: some 30 bytes a recording.
    params.set_language(Some(&options.language));
    params.set_n_threads(options.threads.get().min(PARALLEL_MAX) as i32);
    params.set_translate(false);
    // The text of one recording must never become the prompt of the next.
    params.set_no_context(true);
    params.set_no_timestamps(false);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

/// Appends what the state heard on `channel`.
fn collect(
    context: &WhisperContext,
    state: &WhisperState,
    channel: u8,
    duration_ms: u64,
    segments: &mut Vec<RecognisedSegment>,
) {
    // whisper.cpp counts in hundredths of a second, and may end a segment behind the audio.
    let ms = |centis: i64| {
        u64::try_from(centis)
            .unwrap_or(0)
            .saturating_mul(10)
            .min(duration_ms)
    };
    let mut free_from = 0;
    for segment in state.as_iter() {
        let Ok(text) = segment.to_str_lossy() else {
            continue;
        };
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let start_ms = ms(segment.start_timestamp()).max(free_from);
        let end_ms = ms(segment.end_timestamp()).max(start_ms);
        free_from = end_ms;
        segments.push(RecognisedSegment {
            start_ms,
            end_ms,
            channel,
            text: text.to_owned(),
            confidence: confidence(context, &segment),
        });
    }
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

#[cfg(test)]
mod tests;

//! whisper.cpp in this process: any ggml model, and the small demonstration model that is built in.
//!
//! A recording is cut at silences into pieces of at most 28 s ([`crate::speech`]); what holds no speech is not decoded.
//! Each piece is a window of its own: nothing of one is known to the next, so they can be recognised in any order and
//! at once. Workers take piece after piece, of whichever recording has its turn (`queue.rs`): a call that comes while
//! a long one is worked on waits for one piece. What was heard is looked at by its form (`filter.rs`) and put
//! where the speech is.
//!
//! Memory: the model once; for each worker what whisper.cpp needs to compute (50 MB for the demonstration model, up to
//! GBs for large ones), freed while nothing is to be done, and one piece's samples (2 MB); for each recording in hand at
//! most 4 MiB of samples (longer ones are in files), 20 bytes each 16 ms while speech is looked for, and its text. None
//! but the last two grow with a recording's length: 10 MB for two hours.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use callfold_schema::event::FailureClass;
use tokio::time::Instant;

use super::abort::Abort;
use super::{Cause, Engine, EngineError, Recognised, RecognisedSegment, Request};
use crate::audio::{Audio16k, SAMPLE_RATE_HZ};
use crate::filter;
use crate::model_choice::{FileKind, models};
use crate::speech::{self, Plan};

mod decode;
mod model;
mod pool;
mod queue;
mod vad;

pub use model::{DEMO_MODEL_NAME, ModelError, ModelSource, check_file};

use decode::{Heard, Order};
use model::Model;
use pool::Pool;
use vad::VadSource;

/// Longest piece: what whisper takes in at once is 30 s, and a little room helps it to end.
const PIECE_MAX: Duration = Duration::from_secs(28);
/// Most threads and workers that a setting may ask for.
const PARALLEL_MAX: usize = 256;

/// How long a model that a re-run was asked for with is kept behind its last recording: a campaign has the next one at once.
const ASIDE_IDLE: Duration = Duration::from_secs(60);
/// Most names of models in an error's text.
const MODELS_LISTED_MAX: usize = 10;

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

/// The whisper engine. It can begin without a model, and change to another one while it works.
pub struct Whisper {
    options: WhisperOptions,
    /// What it was told to use: loaded, or to be loaded when it is needed.
    wanted: Mutex<Option<ModelSource>>,
    model: Mutex<Option<Arc<Model>>>,
    /// Where other models are, for re-runs that are asked for with one.
    folder: Option<PathBuf>,
    /// The one that such a re-run was asked for with.
    aside: Arc<Mutex<Option<Aside>>>,
    vad: Mutex<Option<Arc<VadSource>>>,
    /// Held while a model is loaded: one at a time.
    loading: tokio::sync::Mutex<()>,
    pool: Pool,
}

impl fmt::Debug for Whisper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whisper")
            .field("source", &*lock(&self.wanted))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Whisper {
    /// An engine that loads its model when it is prepared, or at the first recording. `None`: it has none, and says so
    /// until [`Whisper::set_model`] gives it one.
    pub fn new(source: impl Into<Option<ModelSource>>, options: WhisperOptions) -> Self {
        Self {
            pool: Pool::new(options.workers.get().min(PARALLEL_MAX)),
            wanted: Mutex::new(source.into()),
            model: Mutex::new(None),
            folder: None,
            aside: Arc::default(),
            vad: Mutex::new(None),
            loading: tokio::sync::Mutex::new(()),
            options,
        }
    }

    /// With a folder of models that re-runs may ask for by name.
    #[must_use]
    pub fn with_folder(self, folder: Option<PathBuf>) -> Self {
        Self { folder, ..self }
    }

    /// With a model that tells where somebody speaks (silero, in whisper.cpp's format). One that cannot be loaded is
    /// told once in the log, and recognition goes on without.
    #[must_use]
    pub fn with_vad(self, vad: Option<PathBuf>) -> Self {
        self.set_vad(vad);
        self
    }

    /// Changes the model that tells where somebody speaks, for recordings that come from now on.
    pub fn set_vad(&self, vad: Option<PathBuf>) {
        *lock(&self.vad) = vad.map(|path| Arc::new(VadSource::new(path)));
    }

    /// Changes the model. It is loaded beside the one in use; recordings in hand keep the one they began with, which is
    /// freed when they end. When this fails, the one in use stays.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the model cannot be loaded.
    pub async fn set_model(&self, source: ModelSource) -> Result<(), EngineError> {
        let _loading = self.loading.lock().await;
        let model = self.load(source.clone()).await?;
        *lock(&self.wanted) = Some(source);
        *lock(&self.model) = Some(model);
        Ok(())
    }

    /// Prepares the model; one that cannot be loaded is given up, and there is none until [`Whisper::set_model`] gives
    /// one.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub async fn prepare_or_give_up(&self) -> Result<(), EngineError> {
        let loaded = self.loaded().await;
        if loaded.is_err() {
            *lock(&self.wanted) = None;
        }
        loaded.map(drop)
    }

    /// Where the model in use comes from, or the one that will be loaded; `None`: there is none.
    pub fn source(&self) -> Option<ModelSource> {
        lock(&self.wanted).clone()
    }

    async fn load(&self, source: ModelSource) -> Result<Arc<Model>, EngineError> {
        let language = self.options.language.clone();
        let model = tokio::task::spawn_blocking(move || Model::load(&source, &language))
            .await
            .map_err(|source| worker_lost(source.into()))??;
        Ok(Arc::new(model))
    }

    /// The model, loaded when it was not yet.
    async fn loaded(&self) -> Result<Option<Arc<Model>>, EngineError> {
        if let Some(model) = lock(&self.model).clone() {
            return Ok(Some(model));
        }
        let _loading = self.loading.lock().await;
        // Somebody else may have loaded one meanwhile.
        if let Some(model) = lock(&self.model).clone() {
            return Ok(Some(model));
        }
        let Some(source) = self.source() else {
            return Ok(None);
        };
        let model = self.load(source).await?;
        *lock(&self.model) = Some(Arc::clone(&model));
        Ok(Some(model))
    }

    /// The model of this name, which a re-run was asked for with: the one in use, or one of the folder, which is loaded beside
    /// it and freed when no recording has asked for it for [`ASIDE_IDLE`]. There is one such at a time.
    async fn named(&self, name: &str) -> Result<Arc<Model>, EngineError> {
        if self.model() == name
            && let Some(model) = self.loaded().await?
        {
            return Ok(model);
        }
        let source = self.find(name).await?;
        let _loading = self.loading.lock().await;
        let known = lock(&self.aside)
            .as_ref()
            .filter(|aside| aside.source == source)
            .map(|aside| Arc::clone(&aside.model));
        let model = match known {
            Some(model) => model,
            None => {
                // Never three at once: what the one before is still needed for keeps it until then.
                *lock(&self.aside) = None;
                self.load(source.clone()).await?
            }
        };
        *lock(&self.aside) = Some(Aside {
            source,
            model: Arc::clone(&model),
            used: Instant::now(),
        });
        let aside = Arc::clone(&self.aside);
        tokio::spawn(async move {
            tokio::time::sleep(ASIDE_IDLE).await;
            lock(&aside).take_if(|aside| aside.used.elapsed() >= ASIDE_IDLE);
        });
        Ok(model)
    }

    /// The file of this name in the folder.
    async fn find(&self, name: &str) -> Result<ModelSource, EngineError> {
        let (name, folder) = (name.to_owned(), self.folder.clone());
        let look = move || {
            if name == DEMO_MODEL_NAME {
                return Ok(ModelSource::Demo);
            }
            let Some(folder) = folder else {
                return Err(no_such_model(Vec::new()));
            };
            let mut sources: Vec<ModelSource> = models(&folder)
                .map_err(|source| EngineError::Unavailable {
                    class: FailureClass::Storage,
                    text: "the folder for models cannot be read".to_owned(),
                    after: None,
                    source: Some(source.into()),
                })?
                .into_iter()
                .filter(|(path, _)| matches!(FileKind::of(path), Ok(FileKind::Speech)))
                .map(|(path, _)| ModelSource::File(path))
                .collect();
            sources.sort_by_key(ModelSource::model_name);
            match sources.iter().position(|source| source.model_name() == name) {
                Some(found) => Ok(sources.swap_remove(found)),
                None => Err(no_such_model(
                    sources.iter().map(ModelSource::model_name).collect(),
                )),
            }
        };
        tokio::task::spawn_blocking(look)
            .await
            .map_err(|source| worker_lost(source.into()))?
    }

    /// Runs one job, and stops it when this future is dropped or the request is cancelled.
    async fn run(&self, request: Request, abort: Arc<Abort>) -> Result<Recognised, EngineError> {
        let cancel = request.cancel.clone();
        // Whatever ends this future ends the work: looking for speech, and the pieces in hand and in the queue.
        let _stop = RaiseOnDrop(Arc::clone(&abort));
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(EngineError::Cancelled),
            recognised = self.recognise(request, abort) => recognised,
        }
    }

    async fn recognise(&self, request: Request, abort: Arc<Abort>) -> Result<Recognised, EngineError> {
        let model = match &request.model {
            Some(name) => self.named(name).await?,
            None => self.loaded().await?.ok_or_else(no_model)?,
        };
        let vad = lock(&self.vad).clone();
        let mut options = self.options.clone();
        if let Some(language) = request.language.as_deref().and_then(known_language) {
            options.language = language;
        }
        let audio = request.audio;
        let plan = {
            let (audio, abort) = (Arc::clone(&audio), Arc::clone(&abort));
            tokio::task::spawn_blocking(move || speech::plan(&audio, PIECE_MAX, &|| !abort.is_raised()))
                .await
                .map_err(|source| worker_lost(source.into()))?
                .map_err(unreadable)?
                .ok_or(EngineError::Cancelled)?
        };
        let mut recognised = Recognised {
            language: options.language.clone(),
            model: model.name.clone(),
            pieces: u32::try_from(plan.pieces.len()).unwrap_or(u32::MAX).max(1),
            segments: Vec::new(),
        };
        if plan.pieces.is_empty() {
            return Ok(recognised);
        }
        let order = Order {
            model,
            audio: Arc::clone(&audio),
            pieces: plan.pieces.clone(),
            options,
            vad,
            abort,
        };
        let heard = self.pool.submit(order, request.lane).outcome().await?;
        let join = move || join(&audio, &plan, heard);
        recognised.segments = tokio::task::spawn_blocking(join)
            .await
            .map_err(|source| worker_lost(source.into()))?
            .map_err(unreadable)?;
        Ok(recognised)
    }
}

/// Puts what was heard in the pieces together: channel by channel, without what was invented, then by time.
fn join(audio: &Audio16k, plan: &Plan, heard: Vec<Vec<Heard>>) -> io::Result<Vec<RecognisedSegment>> {
    let mut channels: Vec<Vec<RecognisedSegment>> = plan.speech.iter().map(|_| Vec::new()).collect();
    for (piece, heard) in plan.pieces.iter().zip(heard) {
        if let Some(segments) = channels.get_mut(usize::from(piece.channel)) {
            segments.extend(heard.into_iter().map(|heard| RecognisedSegment {
                start_ms: heard.start_ms,
                end_ms: heard.end_ms,
                channel: piece.channel,
                text: heard.text,
                confidence: heard.confidence,
            }));
        }
    }
    let mut segments: Vec<RecognisedSegment> = channels
        .into_iter()
        .zip(&plan.speech)
        .flat_map(|(segments, speech)| filter::clean(segments, speech))
        .collect();
    segments.sort_by_key(|segment| (segment.start_ms, segment.channel));
    filter::without_echoes(segments, |segment| level_db(audio, segment))
}

/// How loud the channel is while a segment lasts, in dB.
fn level_db(audio: &Audio16k, segment: &RecognisedSegment) -> io::Result<f32> {
    let frame = |ms: u64| ms * u64::from(SAMPLE_RATE_HZ) / 1000;
    let samples = audio.read(segment.channel, frame(segment.start_ms)..frame(segment.end_ms))?;
    let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32;
    Ok(10.0 * power.max(1e-12).log10())
}

/// A language as whisper.cpp names it, if it knows it: `he` of `he-IL`, and of `iw-IL`, its old name.
fn known_language(tag: &str) -> Option<String> {
    let language = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let language = if language == "iw" {
        "he".to_owned()
    } else {
        language
    };
    // whisper-rs takes no text with a NUL in it.
    let is_plain = !language.is_empty() && language.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_plain && whisper_rs::get_lang_id(&language).is_some()).then_some(language)
}

#[async_trait]
impl Engine for Whisper {
    fn name(&self) -> &str {
        "whisper"
    }

    /// `none` as long as there is no model.
    fn model(&self) -> String {
        self.source()
            .map_or_else(|| "none".to_owned(), |source| source.model_name())
    }

    /// Which models are in the folder is looked at when one is needed.
    fn may_have(&self, model: &str) -> bool {
        self.folder.is_some() || model == self.model()
    }

    fn is_demonstration(&self) -> bool {
        self.source() == Some(ModelSource::Demo)
    }

    fn is_local(&self) -> bool {
        true
    }

    fn is_present(&self) -> bool {
        self.source().is_some()
    }

    /// Loads the model. Without one there is nothing to prepare, and no error.
    async fn prepare(&self) -> Result<(), EngineError> {
        self.loaded().await.map(drop)
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        self.run(request, Arc::default()).await
    }
}

/// A model beside the one in use.
struct Aside {
    source: ModelSource,
    model: Arc<Model>,
    used: Instant,
}

/// Raises the flag when the one who waits goes away.
struct RaiseOnDrop(Arc<Abort>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

/// `there`: the names of those that are.
fn no_such_model(there: Vec<String>) -> EngineError {
    let text = if there.is_empty() {
        "the folder for models does not hold the one that was asked for".to_owned()
    } else {
        let listed = there.iter().take(MODELS_LISTED_MAX).map(String::as_str);
        format!(
            "the folder for models does not hold the one that was asked for, but {}",
            listed.collect::<Vec<_>>().join(", ")
        )
    };
    EngineError::Rejected {
        class: FailureClass::NotFound,
        text,
        source: None,
    }
}

fn no_model() -> EngineError {
    EngineError::Unavailable {
        class: FailureClass::NotYet,
        text: "no speech model".to_owned(),
        after: None,
        source: None,
    }
}

fn unreadable(source: io::Error) -> EngineError {
    EngineError::Unavailable {
        class: FailureClass::Storage,
        text: "the decoded recording cannot be read".to_owned(),
        after: None,
        source: Some(source.into()),
    }
}

fn worker_lost(source: Cause) -> EngineError {
    EngineError::Unavailable {
        class: FailureClass::WorkerLost,
        text: "the recognition ended without an answer".to_owned(),
        after: None,
        source: Some(source),
    }
}

/// What a lock guards here is replaced whole, so that a panic elsewhere leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

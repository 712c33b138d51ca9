//! Which speech model is used, and how a change of it is noticed while the transcriber runs.
//!
//! In this order: the setting `WHISPER_MODEL`, the file `in-use` of the folder for models (`callfold model use` writes
//! it), the largest speech model in that folder, and the demonstration model as long as no real calls come in. The
//! folder is looked at every few seconds, so that a model that is fetched, chosen or replaced needs no restart.

use std::cmp::Ordering;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::config::Settings;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::setting;
use crate::engine::EngineError;
use crate::engine::whisper::{ModelSource, Whisper, check_file};

/// The file in the folder for models that names the one to use: a file of the folder, an absolute path, or `demo`.
pub const IN_USE_FILE: &str = "in-use";
/// Longest content of that file that is read, in bytes.
const IN_USE_BYTES_MAX: u64 = 4096;
/// First bytes of a ggml file.
const GGML_MAGIC: [u8; 4] = *b"lmgg";
/// How often the folder is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Whisper's vocabulary where it knows English only; larger ones know all languages.
const ENGLISH_WORDS: u32 = 51_864;
/// No vocabulary of a whisper model is as large as this.
const WORDS_MAX: u32 = 100_000;

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A speech model for many languages.
    Speech,
    /// A speech model that knows English only.
    English,
    /// A model that tells speech from silence (Silero VAD).
    Vad,
    /// Something else, or only the beginning of a model.
    Other,
}

impl FileKind {
    /// Looks at a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        // A VAD model: the magic, the length of its name, its name. A speech model: the magic, the size of its vocabulary.
        let mut head = Vec::new();
        File::open(path)?.take(4 + 4 + 6).read_to_end(&mut head)?;
        let Some((magic, rest)) = head.split_first_chunk::<4>() else {
            return Ok(Self::Other);
        };
        let Some((number, name)) = rest.split_first_chunk::<4>() else {
            return Ok(Self::Other);
        };
        if *magic != GGML_MAGIC {
            return Ok(Self::Other);
        }
        if name == b"silero" {
            return Ok(Self::Vad);
        }
        let words = u32::from_le_bytes(*number);
        Ok(match words.cmp(&ENGLISH_WORDS) {
            _ if words >= WORDS_MAX || check_file(path).is_err() => Self::Other,
            Ordering::Less => Self::Other,
            Ordering::Equal => Self::English,
            Ordering::Greater => Self::Speech,
        })
    }
}

/// Why a model is the one that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `WHISPER_MODEL` names it.
    Setting,
    /// The file `in-use` names it.
    InUse,
    /// It is the largest one in the folder.
    Largest,
    /// There is no other, and no real calls come in.
    TryingOut,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setting => "WHISPER_MODEL names it",
            Self::InUse => "`callfold model use` chose it",
            Self::Largest => "it is the largest one in the folder",
            Self::TryingOut => "there is no other one",
        })
    }
}

/// A model and why it is the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The model.
    pub source: ModelSource,
    /// Why this one.
    pub reason: Reason,
}

/// Why no model could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// The folder, or `in-use` in it, cannot be read.
    #[error("cannot look for speech models in {}", .folder.display())]
    Read {
        /// The folder.
        folder: PathBuf,
        #[source]
        #[doc = "Why."]
        source: io::Error,
    },
    /// `in-use` names a file that is not there.
    #[error("{} is to be used as the speech model and is not there", .path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// `in-use` does not name anything.
    #[error("{} names no speech model; choose one with `callfold model use`", .path.display())]
    Unreadable {
        /// The file `in-use`.
        path: PathBuf,
    },
}

/// What decides which model is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelChoice {
    /// `WHISPER_MODEL`: a path or `demo`.
    pub setting: Option<String>,
    /// `CALLFOLD_VAD_MODEL`: the file that tells speech from silence.
    pub vad_setting: Option<PathBuf>,
    /// The folder for models; `None`: there is none.
    pub folder: Option<PathBuf>,
    /// Whether real calls come in, for which the demonstration model is no choice.
    pub real_calls: bool,
}

impl ModelChoice {
    /// Reads the settings. `folder` is the one for models.
    pub fn from_settings(settings: &mut Settings<'_>, folder: Option<&Path>) -> Self {
        let trimmed = |text: String| text.trim().to_owned();
        let choice = Self {
            setting: settings.text(setting::WHISPER_MODEL).map(trimmed),
            vad_setting: settings.text(setting::VAD_MODEL).map(trimmed).map(PathBuf::from),
            folder: folder.map(Path::to_owned),
            real_calls: settings.secret(setting::TWILIO_AUTH_TOKEN).is_some(),
        };
        if let Some(ModelSource::File(path)) = choice.setting.as_deref().map(ModelSource::from_setting)
            && !path.is_file()
        {
            settings.mistake(
                setting::WHISPER_MODEL,
                "is neither `demo` nor the path of a model file",
            );
        }
        if let Some(path) = &choice.vad_setting
            && !matches!(FileKind::of(path), Ok(FileKind::Vad))
        {
            settings.mistake(
                setting::VAD_MODEL,
                "is not the path of a Silero VAD model for whisper.cpp (`callfold model fetch vad` brings one)",
            );
        }
        choice
    }

    /// The model to use now; `None`: there is none, and recordings wait. Reads the folder: call it off the async threads.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn current(&self) -> Result<Option<ModelSource>, ChoiceError> {
        Ok(self.choose()?.map(|chosen| chosen.source))
    }

    /// As [`ModelChoice::current`], with the reason.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn choose(&self) -> Result<Option<Chosen>, ChoiceError> {
        let chosen = |source, reason| Ok(Some(Chosen { source, reason }));
        if let Some(value) = &self.setting {
            return chosen(ModelSource::from_setting(value), Reason::Setting);
        }
        if let Some(folder) = &self.folder {
            if let Some(source) = in_use(folder)? {
                return chosen(source, Reason::InUse);
            }
            if let Some(path) = self.largest(folder)? {
                return chosen(ModelSource::File(path), Reason::Largest);
            }
        }
        if self.real_calls {
            return Ok(None);
        }
        chosen(ModelSource::Demo, Reason::TryingOut)
    }

    /// The model that tells speech from silence, where there is one: that of the setting, else the last by name in the
    /// folder. Reads the folder: call it off the async threads.
    pub fn vad(&self) -> Option<PathBuf> {
        if let Some(path) = &self.vad_setting {
            return Some(path.clone());
        }
        // A folder that cannot be read is told by `choose`.
        let mut found: Vec<PathBuf> = models(self.folder.as_deref()?)
            .ok()?
            .into_iter()
            .filter(|(path, _)| matches!(FileKind::of(path), Ok(FileKind::Vad)))
            .map(|(path, _)| path)
            .collect();
        found.sort();
        found.pop()
    }

    fn largest(&self, folder: &Path) -> Result<Option<PathBuf>, ChoiceError> {
        let read = |source| ChoiceError::Read {
            folder: folder.to_owned(),
            source,
        };
        let mut found = models(folder).map_err(read)?;
        // Larger models are better ones; of two of one size the last by name, so that the choice is always the same.
        found.sort_by(|(a, a_bytes), (b, b_bytes)| (b_bytes, b).cmp(&(a_bytes, a)));
        for (path, _) in found {
            match FileKind::of(&path) {
                Ok(FileKind::Speech) => return Ok(Some(path)),
                Ok(FileKind::English | FileKind::Vad | FileKind::Other) => {}
                // Deleted since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(read(error)),
            }
        }
        Ok(None)
    }
}

/// The `.bin` files of a folder with their sizes in bytes. No folder, no files.
///
/// # Errors
/// The folder cannot be read.
pub fn models(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "bin") {
            continue;
        }
        // A link that leads nowhere, and a file that is just being deleted, are none.
        if let Ok(meta) = std::fs::metadata(&path)
            && meta.is_file()
        {
            found.push((path, meta.len()));
        }
    }
    Ok(found)
}

fn in_use(folder: &Path) -> Result<Option<ModelSource>, ChoiceError> {
    let path = folder.join(IN_USE_FILE);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(IN_USE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(ChoiceError::Unreadable { path });
        }
        Err(source) => {
            return Err(ChoiceError::Read {
                folder: folder.to_owned(),
                source,
            });
        }
    }
    let name = text.trim();
    if name.is_empty() || name.contains(['\n', '\0']) {
        return Err(ChoiceError::Unreadable { path });
    }
    match ModelSource::from_setting(name) {
        ModelSource::Demo => Ok(Some(ModelSource::Demo)),
        // A path that is absolute already stays as it is.
        ModelSource::File(name) => {
            let path = folder.join(name);
            if path.is_file() {
                Ok(Some(ModelSource::File(path)))
            } else {
                Err(ChoiceError::Gone { path })
            }
        }
    }
}

/// Where a model is put. [`Whisper`] is one.
#[async_trait]
pub trait ModelSlot: Send + Sync + 'static {
    /// Loads a model beside the one in use and lets it take its place; recordings in hand keep the old one. Dropping the
    /// future leaves the old one.
    ///
    /// # Errors
    /// The model cannot be used: the old one stays.
    async fn set_model(&self, source: ModelSource) -> Result<(), EngineError>;

    /// Changes the model that tells speech from silence, for recordings that come from now on.
    fn set_vad(&self, vad: Option<PathBuf>);
}

#[async_trait]
impl ModelSlot for Whisper {
    async fn set_model(&self, source: ModelSource) -> Result<(), EngineError> {
        Whisper::set_model(self, source).await
    }

    fn set_vad(&self, vad: Option<PathBuf>) {
        Whisper::set_vad(self, vad);
    }
}

/// What [`watch`] did or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This model is used from now on.
    Taken(ModelSource),
    /// What is chosen cannot be used, and why; the model that was loaded before goes on.
    Refused(String),
    /// What is chosen is again what is loaded, after something else was refused.
    Back,
}

/// A look at the folder: which model, and which state of its file. Two looks are equal as long as nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Model(ModelSource, Option<Stamp>),
    None,
    Wrong(String),
}

/// What changes with a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(source: &ModelSource) -> Option<Self> {
        match source {
            ModelSource::File(path) => Self::of_file(path),
            ModelSource::Demo => None,
        }
    }

    fn of_file(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            bytes: meta.len(),
            inode: meta.ino(),
            changed: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

impl Look {
    fn at(choice: &ModelChoice) -> Self {
        match choice.current() {
            Ok(Some(source)) => {
                let stamp = Stamp::of(&source);
                Self::Model(source, stamp)
            }
            Ok(None) => Self::None,
            Err(error) => Self::Wrong(callfold_kit::chain(&error)),
        }
    }

    fn loaded(source: Option<ModelSource>) -> Self {
        source.map_or(Self::None, |source| {
            let stamp = Stamp::of(&source);
            Self::Model(source, stamp)
        })
    }
}

/// What follows from a look.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Load(ModelSource),
    Tell(Change),
}

/// What was seen so far.
struct Watcher {
    /// What is in the slot.
    loaded: Look,
    /// What was last acted on.
    settled: Look,
    /// The look before this one.
    before: Look,
}

impl Watcher {
    fn new(loaded: Look) -> Self {
        Self {
            settled: loaded.clone(),
            before: loaded.clone(),
            loaded,
        }
    }

    /// A change counts when two looks in a row see it: a file that is being copied into the folder is left alone until
    /// it no longer grows.
    fn see(&mut self, look: Look) -> Step {
        let is_stable = look == self.before;
        self.before = look;
        if self.before == self.settled || !is_stable {
            return Step::Nothing;
        }
        self.settled = self.before.clone();
        if self.settled == self.loaded {
            return Step::Tell(Change::Back);
        }
        match &self.settled {
            Look::Model(source, _) => Step::Load(source.clone()),
            Look::None => Step::Tell(Change::Refused("its file is gone".to_owned())),
            Look::Wrong(why) => Step::Tell(Change::Refused(why.clone())),
        }
    }
}

/// Which VAD model, and which state of its file.
type VadLook = Option<(PathBuf, Option<Stamp>)>;

fn look_at_vad(choice: &ModelChoice) -> VadLook {
    choice.vad().map(|path| {
        let stamp = Stamp::of_file(&path);
        (path, stamp)
    })
}

/// What was seen of the VAD model so far. A change counts when two looks in a row see it, as for the speech model: one
/// that is taken too early is a torn file, which is given up, and its path would stay the same.
struct VadWatcher {
    settled: VadLook,
    before: VadLook,
}

impl VadWatcher {
    fn new(look: VadLook) -> Self {
        Self {
            settled: look.clone(),
            before: look,
        }
    }

    /// Whether the model is to be set to what `look` found.
    fn see(&mut self, look: VadLook) -> bool {
        let is_stable = look == self.before;
        self.before = look;
        let is_new = is_stable && self.before != self.settled;
        if is_new {
            self.settled = self.before.clone();
        }
        is_new
    }

    fn path(&self) -> Option<PathBuf> {
        self.settled.as_ref().map(|(path, _)| path.clone())
    }
}

/// Looks every `every` until `stop`, and puts what was chosen since into `slot`. `loaded` is what is in it now. `tell`
/// hears of each change once, not at each look. When nothing is chosen any more the model that is loaded goes on.
pub async fn watch(
    choice: ModelChoice,
    slot: &dyn ModelSlot,
    loaded: Option<ModelSource>,
    every: Duration,
    stop: CancellationToken,
    tell: impl Fn(Change),
) {
    let asked = choice.clone();
    let first = tokio::task::spawn_blocking(move || (Look::loaded(loaded), look_at_vad(&asked))).await;
    let Ok((loaded, vad)) = first else {
        return;
    };
    let mut vad = VadWatcher::new(vad);
    // It may be another one than when the engine was made.
    slot.set_vad(vad.path());
    let mut watcher = Watcher::new(loaded);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Nothing is in hand here.
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let asked = choice.clone();
        let looked = tokio::task::spawn_blocking(move || (Look::at(&asked), look_at_vad(&asked))).await;
        let Ok((look, vad_now)) = looked else {
            continue;
        };
        if vad.see(vad_now) {
            slot.set_vad(vad.path());
        }
        let change = match watcher.see(look) {
            Step::Nothing => continue,
            Step::Tell(change) => change,
            Step::Load(source) => {
                let taken = tokio::select! {
                    // A model that is being loaded is then loaded for nothing.
                    () = stop.cancelled() => return,
                    taken = slot.set_model(source.clone()) => taken,
                };
                match taken {
                    Ok(()) => {
                        watcher.loaded = watcher.settled.clone();
                        Change::Taken(source)
                    }
                    Err(error) => Change::Refused(callfold_kit::chain(&error)),
                }
            }
        };
        match &change {
            Change::Taken(source) => {
                let name = source.model_name();
                tracing::info!(model.name = name, "the speech model is now {name}");
            }
            Change::Refused(why) => {
                tracing::error!(
                    why,
                    "the speech model cannot be changed; what was there before goes on: {why}"
                );
            }
            Change::Back => tracing::info!("the speech model that is loaded is again the one to use"),
        }
        tell(change);
    }
}

#[cfg(test)]
mod tests;

//! The transcriber's settings.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callfold_kit::config::Settings;
use callfold_kit::stage::StagePolicy;
use callfold_schema::Stage;

use crate::engine::whisper::{ModelSource, Whisper, WhisperOptions};
use crate::engine::{Chain, Engine};

/// Names of the settings.
pub mod setting {
    /// Path of a ggml model file, or `demo`.
    pub const WHISPER_MODEL: &str = "WHISPER_MODEL";
    /// Folder for recordings that are being decoded.
    pub const WORK_DIR: &str = "CALLFOLD_WORK_DIR";
    /// Inferences at once.
    pub const WHISPER_WORKERS: &str = "CALLFOLD_WHISPER_WORKERS";
    /// Threads of each inference.
    pub const WHISPER_THREADS: &str = "CALLFOLD_WHISPER_THREADS";
    /// Its presence says that real calls come in, for which the demonstration model is no choice.
    pub const TWILIO_AUTH_TOKEN: &str = "TWILIO_AUTH_TOKEN";
}

/// Most workers and threads that can be asked for.
const PARALLEL_MAX: u64 = 256;

/// What the transcriber is told.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriberConfig {
    /// The whisper model; `None`: there is none, and recordings wait for one.
    pub whisper: Option<ModelSource>,
    /// How whisper.cpp is run.
    pub options: WhisperOptions,
    /// Where recordings are kept while they are decoded; `None`: the system's folder for temporary files.
    pub work_dir: Option<PathBuf>,
    /// How the stage runs.
    pub policy: StagePolicy,
}

impl TranscriberConfig {
    /// Reads the section. `models` is the folder in which a model is looked for when none is named.
    pub fn from_settings(settings: &mut Settings<'_>, models: Option<&Path>) -> Self {
        let real_calls = settings.secret(setting::TWILIO_AUTH_TOKEN).is_some();
        let whisper = match settings.text(setting::WHISPER_MODEL) {
            Some(value) => {
                let source = ModelSource::from_setting(value.trim());
                if let ModelSource::File(path) = &source
                    && !path.is_file()
                {
                    settings.mistake(
                        setting::WHISPER_MODEL,
                        "is neither `demo` nor the path of a model file",
                    );
                }
                Some(source)
            }
            None => match models.map(find_model).transpose() {
                Ok(Some(Some(path))) => Some(ModelSource::File(path)),
                Ok(Some(None) | None) => (!real_calls).then_some(ModelSource::Demo),
                Err(error) => {
                    let what = format!(
                        "is unset, and the folder for models cannot be read ({})",
                        error.kind()
                    );
                    settings.mistake(setting::WHISPER_MODEL, what);
                    None
                }
            },
        };
        let fitting = WhisperOptions::default();
        let mut parallel = |name, default: NonZeroUsize, unit| {
            let number = settings.number(name, default.get() as u64, 1, PARALLEL_MAX, unit);
            usize::try_from(number)
                .ok()
                .and_then(NonZeroUsize::new)
                .unwrap_or(default)
        };
        let options = WhisperOptions {
            workers: parallel(setting::WHISPER_WORKERS, fitting.workers, "inferences at once"),
            threads: parallel(setting::WHISPER_THREADS, fitting.threads, "threads"),
            language: fitting.language,
        };
        // One more than can be recognised at once: it is fetched and decoded meanwhile.
        let policy = StagePolicy::from_settings(settings, Stage::Transcribe, options.workers.get() + 1);
        Self {
            whisper,
            options,
            work_dir: settings.text(setting::WORK_DIR).map(PathBuf::from),
            policy,
        }
    }

    /// Whether recordings go to the demonstration model, which knows a few words only.
    pub fn is_demonstration(&self) -> bool {
        self.whisper == Some(ModelSource::Demo)
    }

    /// The engines in the order in which they are asked. Loads nothing.
    pub fn chain(&self) -> Chain {
        let whisper = self
            .whisper
            .clone()
            .map(|source| Arc::new(Whisper::new(source, self.options.clone())) as Arc<dyn Engine>);
        Chain::new(whisper.into_iter().collect())
    }
}

/// The model in a folder: the largest `.bin` file, since larger models are better ones. No folder, no model.
fn find_model(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut best: Option<(u64, PathBuf)> = None;
    for entry in entries {
        let path = entry?.path();
        let meta = std::fs::metadata(&path)?;
        if !meta.is_file() || path.extension().is_none_or(|ending| ending != "bin") {
            continue;
        }
        let found = (meta.len(), path);
        if best.as_ref().is_none_or(|best| *best < found) {
            best = Some(found);
        }
    }
    Ok(best.map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;

    fn read(values: &[(&str, &str)], models: Option<&Path>) -> (TranscriberConfig, Vec<String>) {
        let source: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::new(&source);
        let config = TranscriberConfig::from_settings(&mut settings, models);
        let wrong = settings.finish().map_or_else(|errors| errors.0, |()| Vec::new());
        (config, wrong.into_iter().map(|mistake| mistake.name).collect())
    }

    #[test]
    fn the_demonstration_model_is_for_trying_out_only() {
        let (config, wrong) = read(&[], None);
        assert!(wrong.is_empty() && config.is_demonstration());
        assert_eq!(config.chain().engines()[0].model(), "ggml-micro-he");
        let (config, wrong) = read(&[(setting::TWILIO_AUTH_TOKEN, "t")], None);
        assert!(wrong.is_empty() && config.whisper.is_none() && config.chain().is_empty());
        let named = [
            (setting::TWILIO_AUTH_TOKEN, "t"),
            (setting::WHISPER_MODEL, "demo"),
        ];
        assert!(read(&named, None).0.is_demonstration());
    }

    #[test]
    fn a_model_in_the_data_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        assert!(read(&[], Some(&models)).0.is_demonstration());
        std::fs::create_dir(&models).unwrap();
        std::fs::write(models.join("notes.txt"), [0; 64]).unwrap();
        std::fs::create_dir(models.join("folder.bin")).unwrap();
        assert!(read(&[], Some(&models)).0.is_demonstration());
        std::fs::write(models.join("ggml-small.bin"), [0; 8]).unwrap();
        std::fs::write(models.join("ggml-large.bin"), [0; 16]).unwrap();
        let (config, _) = read(&[(setting::TWILIO_AUTH_TOKEN, "t")], Some(&models));
        assert_eq!(
            config.whisper,
            Some(ModelSource::File(models.join("ggml-large.bin")))
        );
        let (config, wrong) = read(
            &[(
                setting::WHISPER_MODEL,
                models.join("ggml-small.bin").to_str().unwrap(),
            )],
            Some(&models),
        );
        assert_eq!(
            (config.chain().engines()[0].model(), wrong.len()),
            ("ggml-small", 0)
        );
    }

    #[test]
    fn all_mistakes_are_told() {
        let (_, wrong) = read(
            &[
                (setting::WHISPER_MODEL, "/nowhere/ggml.bin"),
                (setting::WHISPER_WORKERS, "0"),
                (setting::WHISPER_THREADS, "many"),
            ],
            None,
        );
        assert_eq!(
            wrong,
            [
                setting::WHISPER_MODEL,
                setting::WHISPER_WORKERS,
                setting::WHISPER_THREADS
            ]
        );
        let (config, wrong) = read(
            &[
                (setting::WHISPER_WORKERS, "3"),
                (setting::WHISPER_THREADS, "2"),
                (setting::WORK_DIR, "/work"),
            ],
            None,
        );
        assert!(wrong.is_empty());
        assert_eq!(config.work_dir.as_deref(), Some(Path::new("/work")));
        assert_eq!(
            (
                config.options.workers.get(),
                config.options.threads.get(),
                config.policy.slots
            ),
            (3, 2, 4)
        );
    }
}

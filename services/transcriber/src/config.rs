//! The transcriber's settings.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use callfold_kit::audio::RecordingLimits;
use callfold_kit::config::Settings;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::stage::StagePolicy;
use callfold_schema::Stage;

use crate::chain::{Chain, ChainPolicy};
use crate::engine::Engine;
use crate::engine::google::{self, Google, GoogleConfig};
use crate::engine::openai::{self, SpeechApi, SpeechApiConfig};
use crate::engine::whisper::{ModelSource, Whisper, WhisperOptions};
use crate::model_choice::{ChoiceError, ModelChoice};

/// Names of the settings.
pub mod setting {
    /// Path of a ggml model file, or `demo`.
    pub const WHISPER_MODEL: &str = "WHISPER_MODEL";
    /// Path of a Silero VAD model, which tells speech from silence.
    pub const VAD_MODEL: &str = "CALLFOLD_VAD_MODEL";
    /// Folder for recordings that are being decoded.
    pub const WORK_DIR: &str = "CALLFOLD_WORK_DIR";
    /// Inferences at once.
    pub const WHISPER_WORKERS: &str = "CALLFOLD_WHISPER_WORKERS";
    /// Threads of each inference.
    pub const WHISPER_THREADS: &str = "CALLFOLD_WHISPER_THREADS";
    /// The engines that are asked, in this order: names with commas between them.
    pub const ENGINES: &str = "CALLFOLD_TRANSCRIBE_ENGINES";
    /// How long a recording may take, in seconds, besides what its length adds.
    pub const BUDGET_SECS: &str = "CALLFOLD_TRANSCRIBE_BUDGET_SECS";
    /// How many seconds each second of audio adds to the budget, and to every deadline.
    pub const BUDGET_PER_AUDIO_SEC: &str = "CALLFOLD_TRANSCRIBE_BUDGET_PER_AUDIO_SEC";
    /// The longest time an engine is alone, in seconds.
    pub const SHARE_MAX_SECS: &str = "CALLFOLD_TRANSCRIBE_SHARE_MAX_SECS";
    /// How long google may take, in seconds, besides what the recording's length adds.
    pub const GOOGLE_DEADLINE_SECS: &str = "CALLFOLD_GOOGLE_DEADLINE_SECS";
    /// The same for whisper.
    pub const WHISPER_DEADLINE_SECS: &str = "CALLFOLD_WHISPER_DEADLINE_SECS";
    /// The same for openai.
    pub const OPENAI_DEADLINE_SECS: &str = "CALLFOLD_OPENAI_DEADLINE_SECS";
    /// So many failures in a row make an engine rest.
    pub const REST_AFTER: &str = "CALLFOLD_TRANSCRIBE_REST_AFTER";
    /// The first rest, in seconds; each failed trial doubles it.
    pub const REST_SECS: &str = "CALLFOLD_TRANSCRIBE_REST_SECS";
    /// The longest rest, in seconds.
    pub const REST_MAX_SECS: &str = "CALLFOLD_TRANSCRIBE_REST_MAX_SECS";
    /// Its presence says that real calls come in, for which the demonstration model is no choice.
    pub const TWILIO_AUTH_TOKEN: &str = "TWILIO_AUTH_TOKEN";
}

/// Most workers and threads that can be asked for.
const PARALLEL_MAX: u64 = 256;

/// Longest budget, deadline and rest that can be asked for, in seconds.
const SECS_MAX: u64 = 86_400;
/// Most seconds that a second of audio can be given.
const PER_AUDIO_SEC_MAX: f64 = 100.0;

/// An engine by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineName {
    /// Google Speech-to-Text v2.
    Google,
    /// whisper.cpp in this process.
    Whisper,
    /// A server with OpenAI's transcriptions.
    Openai,
}

impl EngineName {
    /// All of them, in the order in which they are asked where nothing is said.
    pub const ALL: [EngineName; 3] = [Self::Google, Self::Whisper, Self::Openai];

    /// The name in settings, events and on cards.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Whisper => "whisper",
            Self::Openai => "openai",
        }
    }

    const fn deadline_setting(self) -> &'static str {
        match self {
            Self::Google => setting::GOOGLE_DEADLINE_SECS,
            Self::Whisper => setting::WHISPER_DEADLINE_SECS,
            Self::Openai => setting::OPENAI_DEADLINE_SECS,
        }
    }
}

/// What the transcriber is told.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriberConfig {
    /// The engines that take part, in the order in which they are asked.
    pub engines: Vec<EngineName>,
    /// How long engines may take, and when they rest.
    pub chain: ChainPolicy,
    /// How to reach Google; `None`: it is not configured.
    pub google: Option<GoogleConfig>,
    /// How to reach a server that transcribes; `None`: none is configured.
    pub openai: Option<SpeechApiConfig>,
    /// The largest recordings that are worked on.
    pub recording: RecordingLimits,
    /// The whisper model; `None`: there is none, and recordings wait for one.
    pub whisper: Option<ModelSource>,
    /// What decides which model that is, now and while the transcriber runs.
    pub models: ModelChoice,
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
        let models = ModelChoice::from_settings(settings, models);
        let whisper = match models.current() {
            Ok(whisper) => whisper,
            Err(error @ ChoiceError::Read { .. }) => {
                settings.mistake(
                    setting::WHISPER_MODEL,
                    format!("is unset, and: {}", callfold_kit::chain(&error)),
                );
                None
            }
            // No reason not to take calls: recordings wait, and `model_choice` tells why until another one is chosen.
            Err(ChoiceError::Gone { .. } | ChoiceError::Unreadable { .. }) => None,
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
        // More than can be recognised at once: a short new call goes between the pieces of long ones and must not wait
        // outside for them. Their samples are in files.
        let policy = StagePolicy::from_settings(settings, Stage::Transcribe, options.workers.get() + 8);
        let google = GoogleConfig::from_settings(settings);
        let openai = SpeechApiConfig::from_settings(settings);
        let engines = read_engines(settings, google.is_some(), openai.is_some());
        Self {
            engines,
            chain: read_policy(settings),
            google,
            openai,
            recording: RecordingLimits::from_settings(settings),
            whisper,
            models,
            options,
            work_dir: settings.text(setting::WORK_DIR).map(PathBuf::from),
            policy,
        }
    }

    /// Whether recordings go to the demonstration model first, which knows a few words only. Behind another engine it is
    /// asked when that one fails, and is better than nothing.
    pub fn is_demonstration(&self) -> bool {
        self.engines.first() == Some(&EngineName::Whisper) && self.whisper == Some(ModelSource::Demo)
    }

    /// Whether recordings wait: there is no model, and no other engine.
    pub fn has_no_engine(&self) -> bool {
        !self
            .engines
            .iter()
            .any(|name| *name != EngineName::Whisper || self.whisper.is_some())
    }

    /// The engines in the order in which they are asked. Loads nothing and asks nobody.
    ///
    /// # Errors
    /// A client cannot be made, which no setting mends: there are no certificates of authorities, say.
    pub fn build(&self) -> Result<Engines, BoxError> {
        let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
        let mut local = None;
        for name in &self.engines {
            match name {
                EngineName::Google => {
                    let google = self.google.clone().map(Google::new);
                    engines.extend(google.map(|google| Arc::new(google) as Arc<dyn Engine>));
                }
                EngineName::Whisper => {
                    let whisper = Whisper::new(self.whisper.clone(), self.options.clone())
                        .with_folder(self.models.folder.clone());
                    let whisper = Arc::new(whisper);
                    local = Some(Arc::clone(&whisper));
                    engines.push(whisper);
                }
                EngineName::Openai => {
                    let openai = self.openai.clone().map(SpeechApi::new).transpose()?;
                    engines.extend(openai.map(|openai| Arc::new(openai) as Arc<dyn Engine>));
                }
            }
        }
        Ok(Engines {
            chain: Chain::with_policy(engines, self.chain.clone()),
            whisper: local,
        })
    }
}

/// The engines of a configuration.
pub struct Engines {
    /// All of them.
    pub chain: Chain,
    /// The one among them whose model may change while it works.
    pub whisper: Option<Arc<Whisper>>,
}

/// Google and openai take part where they are configured, whisper always: a model may come later. Who names engines
/// means them.
fn read_engines(settings: &mut Settings<'_>, has_google: bool, has_openai: bool) -> Vec<EngineName> {
    let is_configured = |name: &EngineName| match name {
        EngineName::Google => has_google,
        EngineName::Whisper => true,
        EngineName::Openai => has_openai,
    };
    let Some(text) = settings.text(setting::ENGINES) else {
        return EngineName::ALL.into_iter().filter(is_configured).collect();
    };
    let mut names = Vec::new();
    for word in text.split(',').map(str::trim) {
        let Some(name) = EngineName::ALL.into_iter().find(|name| name.token() == word) else {
            settings.mistake(
                setting::ENGINES,
                "is not a list of google, whisper and openai with commas between them",
            );
            return Vec::new();
        };
        if names.contains(&name) {
            settings.mistake(setting::ENGINES, format!("names {word} twice"));
        } else if is_configured(&name) {
            names.push(name);
        } else {
            let needs = match name {
                EngineName::Google => google::setting::CREDENTIALS,
                EngineName::Whisper => setting::WHISPER_MODEL,
                EngineName::Openai => openai::setting::OPENAI_API_KEY,
            };
            settings.mistake(setting::ENGINES, format!("names {word}, which needs {needs}"));
        }
    }
    names
}

fn read_policy(settings: &mut Settings<'_>) -> ChainPolicy {
    let defaults = ChainPolicy::default();
    let mut secs = |name: &str, default: Duration| {
        Duration::from_secs(settings.number(name, default.as_secs(), 1, SECS_MAX, "seconds"))
    };
    let budget = secs(setting::BUDGET_SECS, defaults.budget);
    let share_max = secs(setting::SHARE_MAX_SECS, defaults.share_max);
    let mut breaker = defaults.breaker;
    breaker.rest.base = secs(setting::REST_SECS, breaker.rest.base);
    breaker.rest.max = secs(setting::REST_MAX_SECS, breaker.rest.max.max(breaker.rest.base));
    if breaker.rest.max < breaker.rest.base {
        settings.mistake(
            setting::REST_MAX_SECS,
            format!("is less than {}", setting::REST_SECS),
        );
    }
    let failures = settings.number(
        setting::REST_AFTER,
        u64::from(breaker.failures),
        1,
        1_000,
        "failures",
    );
    breaker.failures = u32::try_from(failures).unwrap_or(breaker.failures);
    let expects = format!("a number of seconds, 0 to {PER_AUDIO_SEC_MAX}");
    let mut per_audio_sec = settings.parse(setting::BUDGET_PER_AUDIO_SEC, defaults.per_audio_sec, &expects);
    if !(0.0..=PER_AUDIO_SEC_MAX).contains(&per_audio_sec) {
        settings.mistake(setting::BUDGET_PER_AUDIO_SEC, format!("is not {expects}"));
        per_audio_sec = defaults.per_audio_sec;
    }
    let mut deadlines = BTreeMap::new();
    for name in EngineName::ALL {
        // 0 means the same as nothing: no deadline of its own.
        let secs = settings.number(name.deadline_setting(), 0, 0, SECS_MAX, "seconds");
        if secs > 0 {
            deadlines.insert(name.token().to_owned(), Duration::from_secs(secs));
        }
    }
    ChainPolicy {
        budget,
        per_audio_sec,
        share_max,
        deadlines,
        breaker,
    }
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

    /// The engines that are there to be asked.
    fn models_of(config: &TranscriberConfig) -> Vec<String> {
        let built = config.build().unwrap();
        let name = |engine: &Arc<dyn Engine>| format!("{}:{}", engine.name(), engine.model());
        built.chain.engines().map(name).collect()
    }

    #[test]
    fn engines_take_part_where_they_are_configured_and_in_the_order_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let key = crate::testing::google::write_key_file(folder.path());
        let google = (google::setting::CREDENTIALS, key.to_str().unwrap());
        let openai = (openai::setting::OPENAI_API_KEY, "sk-1");
        let token = (setting::TWILIO_AUTH_TOKEN, "t");
        let order = |order| (setting::ENGINES, order);
        let of = |values: &[(&str, &str)]| {
            let (config, wrong) = read(values, None);
            assert!(wrong.is_empty(), "{wrong:?}");
            (models_of(&config), config.is_demonstration())
        };
        let all = of(&[google, openai]);
        assert_eq!(
            all.0,
            ["google:chirp_3", "whisper:ggml-micro-he", "openai:whisper-1"]
        );
        // Behind Google the demonstration model is no reason for a warning; before the API it is.
        assert!(!all.1 && of(&[openai]).1);
        assert_eq!(of(&[google, token]).0, ["google:chirp_3"]);
        assert_eq!(
            of(&[google, openai, order(" openai , google ")]).0,
            ["openai:whisper-1", "google:chirp_3"]
        );
        // A model may come later: whisper has its place.
        let (config, wrong) = read(&[google, token, order("whisper,google")], None);
        assert!(wrong.is_empty());
        assert_eq!(config.engines, [EngineName::Whisper, EngineName::Google]);
        assert!(config.build().unwrap().whisper.is_some());
        for wrong_order in [
            "google",
            "openai",
            "whisper,whisper",
            "whisper,azure",
            "google;whisper",
        ] {
            assert_eq!(
                read(&[order(wrong_order)], None).1,
                [setting::ENGINES],
                "{wrong_order}"
            );
        }
    }

    #[test]
    fn times_of_the_chain_are_read_with_their_bounds() {
        assert_eq!(read(&[], None).0.chain, ChainPolicy::default());
        let (config, wrong) = read(
            &[
                (setting::BUDGET_SECS, "30"),
                (setting::BUDGET_PER_AUDIO_SEC, "0.5"),
                (setting::SHARE_MAX_SECS, "9"),
                (setting::GOOGLE_DEADLINE_SECS, "12"),
                (setting::REST_AFTER, "5"),
                (setting::REST_SECS, "60"),
                (setting::REST_MAX_SECS, "120"),
            ],
            None,
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        let policy = config.chain;
        assert_eq!(
            (policy.budget, policy.per_audio_sec, policy.share_max),
            (Duration::from_secs(30), 0.5, Duration::from_secs(9))
        );
        assert_eq!(
            policy.deadlines,
            BTreeMap::from([("google".to_owned(), Duration::from_secs(12))])
        );
        let rest = policy.breaker.rest;
        assert_eq!(
            (policy.breaker.failures, rest.base.as_secs(), rest.max.as_secs()),
            (5, 60, 120)
        );
        let wrong = read(
            &[
                (setting::BUDGET_SECS, "0"),
                (setting::BUDGET_PER_AUDIO_SEC, "NaN"),
                (setting::REST_SECS, "700"),
                (setting::REST_MAX_SECS, "600"),
            ],
            None,
        )
        .1;
        assert_eq!(
            wrong,
            [
                setting::BUDGET_SECS,
                setting::REST_MAX_SECS,
                setting::BUDGET_PER_AUDIO_SEC
            ]
        );
    }

    #[test]
    fn the_demonstration_model_is_for_trying_out_only() {
        let (config, wrong) = read(&[], None);
        assert!(wrong.is_empty() && config.is_demonstration());
        assert_eq!(models_of(&config), ["whisper:ggml-micro-he"]);
        let (config, wrong) = read(&[(setting::TWILIO_AUTH_TOKEN, "t")], None);
        assert!(wrong.is_empty() && config.whisper.is_none() && config.has_no_engine());
        assert!(models_of(&config).is_empty());
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
        std::fs::create_dir(&models).unwrap();
        assert!(read(&[], Some(&models)).0.is_demonstration());
        let path = models.join("ggml-large.bin");
        std::fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/ggml-micro-he.bin"),
            &path,
        )
        .unwrap();
        let (config, _) = read(&[(setting::TWILIO_AUTH_TOKEN, "t")], Some(&models));
        assert_eq!(config.whisper, Some(ModelSource::File(path.clone())));
        let (config, wrong) = read(
            &[(setting::WHISPER_MODEL, path.to_str().unwrap())],
            Some(Path::new("/nowhere")),
        );
        assert_eq!(
            (models_of(&config), wrong.len()),
            (vec!["whisper:ggml-large".to_owned()], 0)
        );
        // A choice that leads nowhere keeps nobody from taking calls.
        std::fs::write(models.join("in-use"), "gone.bin").unwrap();
        let (config, wrong) = read(&[], Some(&models));
        assert_eq!((config.whisper, wrong.len()), (None, 0));
    }

    #[test]
    fn all_mistakes_are_told() {
        let (_, wrong) = read(
            &[
                (setting::WHISPER_MODEL, "/nowhere/ggml.bin"),
                (setting::VAD_MODEL, "/nowhere/silero.bin"),
                (setting::WHISPER_WORKERS, "0"),
                (setting::WHISPER_THREADS, "many"),
            ],
            None,
        );
        assert_eq!(
            wrong,
            [
                setting::WHISPER_MODEL,
                setting::VAD_MODEL,
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
            (3, 2, 11)
        );
    }
}

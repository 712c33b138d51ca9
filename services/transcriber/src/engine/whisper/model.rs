//! Model files: which one, whether it is one, and loading it.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use callfold_schema::event::FailureClass;
use whisper_rs::{WhisperContext, WhisperContextParameters, WhisperError};

use crate::engine::{Cause, EngineError};

/// The demonstration model: a real Whisper network that knows 181 words of synthetic Hebrew.
pub(super) static DEMO_MODEL: &[u8] = include_bytes!("../../../assets/ggml-micro-he.bin");
/// Its name in events and on cards.
pub const DEMO_MODEL_NAME: &str = "ggml-micro-he";
/// First bytes of a ggml model file.
pub(super) const GGML_MAGIC: [u8; 4] = *b"lmgg";
/// What a model that detects voices names itself, behind the length of that name.
const VAD_KIND: &[u8] = b"silero";

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
    /// The file is a model that tells where somebody speaks, not what is said.
    #[error("{} is a voice detection model, not a speech model", .path.display())]
    VoiceDetector {
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

impl From<ModelError> for EngineError {
    fn from(error: ModelError) -> Self {
        let text = error.to_string();
        let source: Option<Cause> = match error {
            ModelError::Read { source, .. } => Some(source.into()),
            ModelError::Load { source, .. } => Some(source.into()),
            ModelError::NotGgml { .. }
            | ModelError::VoiceDetector { .. }
            | ModelError::Torn { .. }
            | ModelError::EnglishOnly { .. } => None,
        };
        Self::Unavailable {
            class: FailureClass::Invalid,
            text,
            after: None,
            source,
        }
    }
}

/// A model in memory. It is freed when the last job that began with it ends.
pub(super) struct Model {
    pub(super) name: String,
    pub(super) context: WhisperContext,
}

impl Model {
    /// Reads the model's weights: takes seconds for a large one and blocks.
    pub(super) fn load(source: &ModelSource, language: &str) -> Result<Self, ModelError> {
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
        Ok(Self { name, context })
    }
}

/// Looks at the head of a speech model before whisper.cpp does, which takes a model without any weights for one to
/// test with. Blocks for a moment; reads a few bytes whatever the file's size.
///
/// # Errors
/// `Read`, `NotGgml`, `VoiceDetector` and `Torn`.
pub fn check_file(path: &Path) -> Result<(), ModelError> {
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
    if head[8..].starts_with(VAD_KIND) {
        return Err(ModelError::VoiceDetector {
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

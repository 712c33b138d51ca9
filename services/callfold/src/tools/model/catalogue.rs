//! The models that can be fetched by name. To add one: an entry in [`MODELS`].

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It writes down what is said.
    Speech,
    /// It tells speech from silence.
    Vad,
}

impl Kind {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Speech => "speech",
            Self::Vad => "vad",
        }
    }
}

/// How large a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many bytes, no more and no fewer.
    Exact(u64),
    /// About so many bytes: its source rounds.
    About(u64),
}

impl Size {
    /// The number, exact or not.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Exact(bytes) | Self::About(bytes) => bytes,
        }
    }

    /// Whether a file of `bytes` can be the one that is meant. A rounded size leaves room for another conversion of the
    /// same weights, and none for a page that says that something went wrong, or for another model.
    pub fn fits(self, bytes: u64) -> bool {
        match self {
            Self::Exact(exact) => bytes == exact,
            Self::About(about) => (about / 4 * 3..=self.max()).contains(&bytes),
        }
    }

    /// No file of this size has more bytes.
    pub fn max(self) -> u64 {
        match self {
            Self::Exact(exact) => exact,
            Self::About(about) => about / 4 * 5,
        }
    }
}

/// A model that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What it is called here.
    pub name: &'static str,
    /// What its file is called in the folder for models.
    pub file: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// What it is, in one line.
    pub about: &'static str,
    /// `owner/name` at the hub.
    pub repository: &'static str,
    /// The file there.
    pub path: &'static str,
    /// Branch, tag or commit there.
    pub revision: &'static str,
    /// How large it is.
    pub size: Size,
    /// Its licence.
    pub licence: &'static str,
    /// SHA-256 of the file in lower-case hex, where it is known beforehand. Without one the hub's own hash is taken at
    /// the first fetch, and kept; where the hub gives none either, `--sha256` has to.
    pub sha256: Option<&'static str>,
}

/// The name of the built-in demonstration model.
pub const DEMO: &str = "demo";
/// The name of the model for real calls.
pub const RECOMMENDED: &str = "ivrit-turbo";
/// The name of the model that tells speech from silence.
pub const VAD: &str = "vad";

/// The models.
pub static MODELS: [Model; 5] = [
    Model {
        name: RECOMMENDED,
        file: "ivrit-turbo.bin",
        kind: Kind::Speech,
        about: "recommended: ivrit.ai's Hebrew large-v3-turbo (word errors on FLEURS 14.4 %; stock: 28.6 %)",
        repository: "ivrit-ai/whisper-large-v3-turbo-ggml",
        path: "ggml-model.bin",
        revision: "main",
        // Said to be 1549 MB, which is in MiB: another model of the same shape has 1.5 GiB.
        size: Size::About(1_624_000_000),
        licence: "Apache-2.0",
        sha256: None,
    },
    Model {
        name: "ivrit-large",
        file: "ivrit-large.bin",
        kind: Kind::Speech,
        about: "ivrit.ai's Hebrew large-v3: the most accurate, several times slower",
        repository: "ivrit-ai/whisper-large-v3-ggml",
        path: "ggml-model.bin",
        revision: "main",
        size: Size::Exact(3_095_033_483),
        licence: "Apache-2.0",
        sha256: Some("09e66ec67b2e00c6933afab6684cbf78fe023e8ad153c1848f62000e4335a07f"),
    },
    Model {
        name: "large-v3-turbo",
        file: "large-v3-turbo.bin",
        kind: Kind::Speech,
        about: "OpenAI's large-v3-turbo, all languages",
        repository: "ggerganov/whisper.cpp",
        path: "ggml-large-v3-turbo.bin",
        revision: "main",
        // whisper.cpp's list says 1.5 GiB.
        size: Size::About(1_624_000_000),
        licence: "MIT",
        sha256: None,
    },
    Model {
        name: "large-v3-turbo-q5_0",
        file: "large-v3-turbo-q5_0.bin",
        kind: Kind::Speech,
        about: "the same in 5 bits a weight: a third of the memory",
        repository: "ggerganov/whisper.cpp",
        path: "ggml-large-v3-turbo-q5_0.bin",
        revision: "main",
        // whisper.cpp's list says 547 MiB.
        size: Size::About(574_000_000),
        licence: "MIT",
        sha256: None,
    },
    Model {
        name: VAD,
        file: "silero-vad.bin",
        kind: Kind::Vad,
        about: "Silero VAD 6.2: tells speech from silence and noise; used beside any speech model",
        repository: "ggml-org/whisper-vad",
        path: "ggml-silero-v6.2.0.bin",
        revision: "main",
        size: Size::About(864_000),
        licence: "MIT",
        sha256: None,
    },
];

/// The model of this name.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

/// The model whose file in the folder has this name.
pub fn of_file(file: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.file == file)
}

/// All names, for a message.
pub fn names() -> String {
    MODELS
        .iter()
        .map(|model| model.name)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_files_and_hashes_are_as_they_have_to_be() {
        let names: BTreeSet<&str> = MODELS.iter().map(|model| model.name).collect();
        let files: BTreeSet<&str> = MODELS.iter().map(|model| model.file).collect();
        assert_eq!((names.len(), files.len()), (MODELS.len(), MODELS.len()));
        for model in &MODELS {
            assert_ne!(model.name, DEMO);
            assert!(model.file.ends_with(".bin") && !model.file.contains('/'));
            assert!(model.size.fits(model.size.bytes()) && !model.size.fits(0));
            assert!(!model.size.fits(model.size.max() + 1));
            if let Some(sha256) = model.sha256 {
                assert_eq!(
                    super::super::store::Sha256Hex::parse(sha256).map(|hash| hash.to_string()),
                    Some(sha256.to_owned())
                );
            }
        }
        assert_eq!(find(RECOMMENDED).map(|model| model.kind), Some(Kind::Speech));
        assert_eq!(find(VAD).map(|model| model.kind), Some(Kind::Vad));
    }
}

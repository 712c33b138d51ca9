//! What an archive is of.

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::Archive;
use crate::run_file::write_private;

/// The form of archives that this release writes and reads.
pub const FORMAT: &str = "callfold-archive-1";

/// Which events are in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The calls of one number. Which one stands in the events.
    pub one_number: bool,
    /// Calls that began at this moment or later, RFC 3339.
    pub since: Option<String>,
    /// Calls that began before this moment, RFC 3339.
    pub until: Option<String>,
}

impl Selection {
    /// Whether the whole history is meant.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// The recordings of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingCounts {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Keys of recordings that the events speak of and the store did not have.
    pub missing: Vec<String>,
    /// Keys of recordings that are not what their event says.
    pub damaged: Vec<String>,
}

/// `manifest.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`]
    pub format: String,
    /// The release that wrote it.
    pub made_by: String,
    /// When the last export into it began, RFC 3339.
    pub made_at: String,
    /// The identity of the stream.
    pub stream: String,
    /// Which events.
    pub selection: Selection,
    /// Whether the export came to its end. Where not, the same command goes on.
    pub complete: bool,
    /// The end of the stream when it was made: what came later is not in it.
    pub up_to: u64,
    /// How many lines `events.ndjson` has.
    pub events: u64,
    /// How many of them this release could not read.
    pub unreadable: u64,
    /// The size of `events.ndjson` in bytes.
    pub bytes: u64,
    /// The SHA-256 of `events.ndjson`.
    pub sha256: String,
    /// The recordings.
    pub recordings: RecordingCounts,
}

impl Manifest {
    /// Reads it; `None` where there is none.
    pub fn read(archive: &Archive) -> anyhow::Result<Option<Self>> {
        let path = archive.manifest();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        };
        let manifest: Self =
            serde_json::from_str(&text).with_context(|| format!("{} does not read", path.display()))?;
        anyhow::ensure!(
            manifest.format == FORMAT,
            "{} has another format than {FORMAT}: use the release that wrote it ({})",
            path.display(),
            manifest.made_by
        );
        Ok(Some(manifest))
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, archive: &Archive) -> anyhow::Result<()> {
        let path = archive.manifest();
        let bytes = serde_json::to_vec_pretty(self).context("could not encode the manifest")?;
        write_private(&path, &bytes).with_context(|| format!("could not write {}", path.display()))
    }
}

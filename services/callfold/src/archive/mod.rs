//! An archive: a folder that holds what the stream and the recordings hold, readable without callfold.
//!
//! ```text
//! manifest.json     what it is of, counts, the SHA-256 of events.ndjson; `complete` when the export came to its end
//! events.ndjson     an event a line: subject, headers, the decoded event for people, its payload for the import,
//!                   and the SHA-256 of the line itself
//! recordings/       audio under its blob key; the event `recording_downloaded` says its SHA-256 and size
//! ```
//!
//! The payload is what counts: an event comes back byte by byte as it was written, in the version it was written in.

pub mod line;
pub mod manifest;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub use line::{Line, LineError};
pub use manifest::{Manifest, RecordingCounts, Selection};

/// The longest line that is read, in bytes: a payload of 4 MiB as base64 and decoded.
const LINE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// How much of a file is hashed at once, in bytes.
const HASH_BYTES: usize = 256 * 1024;

/// The places of an archive.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// The archive in a folder; nothing is read yet.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lines.
    pub fn events(&self) -> PathBuf {
        self.folder.join("events.ndjson")
    }

    /// The description.
    pub fn manifest(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    /// The file of a recording; `None` for a key that would lead out of the folder.
    pub fn recording(&self, key: &str) -> Option<PathBuf> {
        let is_plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let mut path = self.folder.join("recordings");
        for part in key.split('/') {
            if !is_plain(part) {
                return None;
            }
            path.push(part);
        }
        Some(path)
    }

    /// Reads the lines from the first one.
    pub fn lines(&self) -> anyhow::Result<Lines> {
        let path = self.events();
        let file = File::open(&path).with_context(|| format!("could not open {}", path.display()))?;
        Ok(Lines::new(file))
    }
}

/// The lines of an archive, one after the other, each held against its own checksum.
pub struct Lines {
    reader: BufReader<File>,
    number: u64,
    /// Behind the last whole line, in bytes.
    end: u64,
    digest: Sha256,
}

impl Lines {
    fn new(file: File) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 20, file),
            number: 0,
            end: 0,
            digest: Sha256::new(),
        }
    }

    /// The next line; `None` behind the last one. A last line that was not written to its end is an error.
    #[expect(
        clippy::should_implement_trait,
        reason = "an error ends the reading, which an iterator cannot say"
    )]
    pub fn next(&mut self) -> anyhow::Result<Option<Line>> {
        let mut text = Vec::new();
        let number = self.number + 1;
        let read = self
            .reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut text);
        let bytes = read.with_context(|| format!("could not read line {number}"))?;
        if bytes == 0 {
            return Ok(None);
        }
        let line = text
            .strip_suffix(b"\n")
            .ok_or(LineError::Unsealed)
            .and_then(Line::from_text)
            .with_context(|| format!("line {number} of events.ndjson"))?;
        self.number = number;
        self.end += bytes as u64;
        self.digest.update(&text);
        Ok(Some(line))
    }

    /// How many lines were read.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// The digest of all lines that were read.
    pub fn digest(&self) -> Sha256 {
        self.digest.clone()
    }
}

/// A digest as text.
pub fn hex(digest: Sha256) -> String {
    HEXLOWER.encode(&digest.finalize())
}

/// The SHA-256 and the size of a file.
pub async fn hash_file(path: PathBuf) -> anyhow::Result<(String, u64)> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut file = File::open(path)?;
        let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; HASH_BYTES]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok::<_, std::io::Error>((hex(digest), bytes)),
                read => {
                    digest.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
    });
    hashed
        .await
        .context("the thread that reads a recording panicked")?
        .context("could not read a recording")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_stays_inside_its_folder() {
        let archive = Archive::at(Path::new("/a"));
        assert_eq!(
            archive.recording("CA1/RE1-0.wav"),
            Some(PathBuf::from("/a/recordings/CA1/RE1-0.wav"))
        );
        for key in [
            "",
            "../x",
            "CA1//x",
            "/etc/passwd",
            "CA1/..",
            "CA1/.x",
            "a\\b",
            "CA1/\u{5d0}",
        ] {
            assert_eq!(archive.recording(key), None, "{key}");
        }
    }
}

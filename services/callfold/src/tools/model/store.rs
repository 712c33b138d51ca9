//! The folder for models: the files, what is remembered of each, and which one is in use.
//!
//! Models are no secret, and other users' processes read them (a container's, for one): files are 0644, the folder 0755.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use callfold_transcriber::model_choice::IN_USE_FILE;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How much of a file is hashed at once, in bytes.
const CHUNK: usize = 1 << 20;
/// Longest record that is read, in bytes.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// The SHA-256 of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex([u8; 32]);

impl Sha256Hex {
    /// Reads 64 hexadecimal digits, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// What was hashed.
    pub fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl std::str::FromStr for Sha256Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text.trim()).ok_or_else(|| "is not a SHA-256: 64 hexadecimal digits".to_owned())
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Sha256Hex> for String {
    fn from(hash: Sha256Hex) -> Self {
        hash.to_string()
    }
}

/// What a file was checked against when it was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckedBy {
    /// The hash on the command line.
    Asked,
    /// The hash that is built in.
    BuiltIn,
    /// The hash of an earlier fetch.
    Earlier,
    /// The hash that the hub gives for the file's content.
    Hub,
    /// Nothing: the hub gave none. Only releases before this one took such a file.
    Nothing,
}

impl fmt::Display for CheckedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "the hash of --sha256",
            Self::BuiltIn => "the hash that is built in",
            Self::Earlier => "the hash of its first fetch",
            Self::Hub => "the hub's hash",
            Self::Nothing => "nothing: the hub gave no hash",
        })
    }
}

/// What is remembered of a file that was fetched: `<file>.json` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of the content.
    pub sha256: Sha256Hex,
    /// Its size.
    pub bytes: u64,
    /// Where it came from.
    pub source: String,
    /// What it was checked against.
    pub checked_by: CheckedBy,
    /// When, as RFC 3339.
    pub fetched_at: String,
}

/// How a file stands to its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it was fetched.
    Same(Record),
    /// Another content than was fetched.
    Differs(Record),
    /// It was not fetched by this program: there is nothing to hold it against.
    Unknown,
}

/// The folder for models.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The one of a data folder. Makes nothing.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("models"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes it where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(&self) -> io::Result<()> {
        if self.0.is_dir() {
            return Ok(());
        }
        if let Some(data_dir) = self.0.parent() {
            callfold_kit::blob::create_private_folder(data_dir)?;
        }
        DirBuilder::new().recursive(true).mode(0o755).create(&self.0)
    }

    /// What is remembered of a file.
    ///
    /// # Errors
    /// The record is there and does not read.
    pub fn record(&self, file: &str) -> anyhow::Result<Option<Record>> {
        read_json(&self.file(&format!("{file}.json")))
    }

    /// Remembers a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_record(&self, file: &str, record: &Record) -> anyhow::Result<()> {
        write_json(&self.file(&format!("{file}.json")), record)
    }

    /// Names the model to use: a file of the folder, an absolute path, or `demo`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_in_use(&self, name: &str) -> anyhow::Result<()> {
        self.make()
            .and_then(|()| write(&self.file(IN_USE_FILE), format!("{name}\n").as_bytes()))
            .with_context(|| format!("could not write {}", self.file(IN_USE_FILE).display()))
    }

    /// Holds a file of the folder against its record. Reads all of it: seconds for a large model, and blocking.
    ///
    /// # Errors
    /// File or record cannot be read.
    pub fn check(&self, file: &str) -> anyhow::Result<Verdict> {
        let Some(record) = self.record(file)? else {
            return Ok(Verdict::Unknown);
        };
        let path = self.file(file);
        let read = || format!("could not read {}", path.display());
        // A file of another size need not be hashed.
        if std::fs::metadata(&path).with_context(read)?.len() != record.bytes {
            return Ok(Verdict::Differs(record));
        }
        if self.hash(file)? == record.sha256 {
            Ok(Verdict::Same(record))
        } else {
            Ok(Verdict::Differs(record))
        }
    }

    /// The hash of a file of the folder. Reads all of it, and blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn hash(&self, file: &str) -> anyhow::Result<Sha256Hex> {
        let path = self.file(file);
        let read = || format!("could not read {}", path.display());
        let mut hasher = Sha256::new();
        let content = File::open(&path).with_context(read)?;
        hash_into(&mut hasher, content, u64::MAX).with_context(read)?;
        Ok(Sha256Hex::finish(hasher))
    }
}

/// Hashes what `from` has, up to `max` bytes. Blocks.
pub(super) fn hash_into(hasher: &mut Sha256, from: impl Read, max: u64) -> io::Result<u64> {
    let mut from = from.take(max);
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(bytes);
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<Option<T>> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(RECORD_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    }
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("{} does not read; delete it", path.display()))
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let bytes = serde_json::to_vec_pretty(value).context("could not encode a record")?;
    write(path, &bytes).with_context(|| format!("could not write {}", path.display()))
}

/// Writes a small file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Of this process: two that write the same thing do not meet in one file.
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o644)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // It was never a file of anybody's; that it may stay behind changes nothing.
        let _ = std::fs::remove_file(&draft);
    }
    written?;
    sync_folder(path)
}

/// Makes a rename last.
pub(super) fn sync_folder(of: &Path) -> io::Result<()> {
    match of.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_against_what_was_fetched() {
        let folder = tempfile::tempdir().expect("a folder");
        let models = Folder::of(folder.path());
        models.make().expect("makes it");
        let path = models.file("m.bin");
        std::fs::write(&path, b"abc").expect("writes");
        assert_eq!(models.check("m.bin").expect("checks"), Verdict::Unknown);
        let record = Record {
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015AD"
                .parse()
                .expect("a hash"),
            bytes: 3,
            source: "here".to_owned(),
            checked_by: CheckedBy::BuiltIn,
            fetched_at: "2026-11-22T10:00:00.000Z".to_owned(),
        };
        models.set_record("m.bin", &record).expect("writes");
        assert_eq!(
            models.check("m.bin").expect("checks"),
            Verdict::Same(record.clone())
        );
        std::fs::write(&path, b"abd").expect("writes");
        assert_eq!(
            models.check("m.bin").expect("checks"),
            Verdict::Differs(record.clone())
        );
        std::fs::write(&path, b"abcd").expect("writes");
        assert_eq!(models.check("m.bin").expect("checks"), Verdict::Differs(record));
        std::fs::write(models.file("m.bin.json"), b"{\"sha256\": \"00\"}").expect("writes");
        assert!(
            models.check("m.bin").is_err(),
            "a record that does not read is no record"
        );
    }

    #[test]
    fn nothing_but_64_digits_is_a_hash() {
        for wrong in ["", "abc", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert_eq!(Sha256Hex::parse(wrong), None, "{wrong}");
        }
        assert!(Sha256Hex::parse(&"aB".repeat(32)).is_some());
    }
}

//! `<data>/run.json`: where the running system is, for the tools. Only its owner can read it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use callfold_kit::Secret;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// How often the lock of the data folder is asked for, and the pause between.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What the tools need to know.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunFile {
    /// The process.
    pub pid: u32,
    /// Where webhooks, API and page are served.
    pub listen: SocketAddr,
    /// The broker's address with credentials.
    pub nats_url: String,
    /// Where the API token stands.
    pub api_token_file: PathBuf,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run.json")
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}

impl RunFile {
    /// Writes it.
    pub fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let path = path(data_dir);
        let bytes = serde_json::to_vec_pretty(self).context("could not encode run.json")?;
        write_private(&path, &bytes).with_context(|| format!("could not write {}", path.display()))
    }

    /// Removes it at the end of a run.
    pub fn remove(data_dir: &Path) {
        if let Err(error) = std::fs::remove_file(path(data_dir))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "could not remove run.json");
        }
    }

    /// Reads it; `None` when nothing runs on this data folder. A file left behind by a process that was killed counts as
    /// none: its lock is free.
    pub fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = path(data_dir);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        };
        if !is_taken(data_dir)? {
            return Ok(None);
        }
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} does not read", path.display()))
    }
}

fn open_lock(data_dir: &Path) -> anyhow::Result<std::fs::File> {
    let path = data_dir.join("lock");
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true);
    options
        .open(&path)
        .with_context(|| format!("could not open {}", path.display()))
}

/// Whether a process has the data folder. Looking takes a lock, too, but a shared one and for no time.
fn is_taken(data_dir: &Path) -> anyhow::Result<bool> {
    match open_lock(data_dir)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(error).context("could not lock the data folder"),
    }
}

/// Takes the lock of the data folder; `None` when another process has it. A tool that is just looking is waited for.
pub async fn lock(data_dir: &Path) -> anyhow::Result<Option<std::fs::File>> {
    let file = open_lock(data_dir)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(error).context("could not lock the data folder");
            }
        }
    }
    Ok(None)
}

/// The file that holds the API token.
pub fn api_token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("api-token")
}

/// Reads the API token, or makes one on the first start.
pub fn read_or_make_api_token(data_dir: &Path) -> anyhow::Result<Secret> {
    let path = api_token_file(data_dir);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= callfold_api::TOKEN_CHARS_MIN => Ok(Secret::new(text.trim())),
        Ok(_) => anyhow::bail!("{} holds no token: delete it, and one is made", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes: [u8; 32] = rand::rng().random();
            let token = data_encoding::BASE64URL_NOPAD.encode(&bytes);
            write_private(&path, token.as_bytes())
                .with_context(|| format!("could not write {}", path.display()))?;
            Ok(Secret::new(token))
        }
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

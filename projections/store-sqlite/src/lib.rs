//! Leads in SQLite: the default, embedded.
//!
//! One connection writes, a few read. WAL, so that readers never wait for the writer. `synchronous = NORMAL`: a power
//! cut may take the last transactions with it, but position and rows stay consistent, and the projector folds again
//! from the position that is left. `secure_delete`: what an erased lead leaves in the file is overwritten with zeros.

mod error;
mod migrate;
mod read;
mod write;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use callfold_store::{BackendError, StoreError};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::error::unavailable;

/// How many reads run at once; more of them wait.
const READERS_MAX: u32 = 4;
/// How long a read waits for a connection.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);
/// How long a statement waits for another process's lock.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Pages of 4 KiB that the log may hold before it is folded into the file: a batch of a thousand events is larger than
/// the default, and would be folded in, and synced, at once.
const WAL_PAGES: &str = "8192";
/// The writer's page cache, in KiB (negative: SQLite's way to say so).
const WRITER_CACHE: &str = "-8192";

/// The leads in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, which is made (for its owner only, with the folders above it) when it is not there, and brings
    /// its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        // Held until the tables are up to date: two processes that make a new file at once would run into each other
        // while they switch it to a write-ahead log, which does not wait for locks.
        let _turn = {
            let path = path.to_owned();
            let turn = tokio::task::spawn_blocking(move || create(&path)).await;
            turn.map_err(io::Error::other)
                .flatten()
                .map_err(|source| StoreError::Unavailable {
                    attempt: "create the file of the leads",
                    source: BackendError(source.to_string()),
                })?
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_MAX)
            .foreign_keys(false)
            .pragma("wal_autocheckpoint", WAL_PAGES);
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(ACQUIRE_MAX)
                .test_before_acquire(false)
        };
        let writer = pool()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(
                options
                    .clone()
                    .pragma("cache_size", WRITER_CACHE)
                    .pragma("secure_delete", "ON"),
            )
            .await
            .map_err(|error| unavailable("open the database of the leads", &error))?;
        migrate::migrate(&writer).await?;
        let reader = pool()
            .max_connections(READERS_MAX)
            .connect_lazy_with(options.pragma("query_only", "1"));
        Ok(Self { writer, reader })
    }

    /// Closes all connections; the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// Waits for its turn and makes the file when it is not there. SQLite would make it readable for everybody; its `-wal`
/// and `-shm` take the mode of the file. The turn ends when what is returned is dropped.
fn create(path: &Path) -> io::Result<fs::File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let private = |options: &mut fs::OpenOptions, path: &Path| options.write(true).mode(0o600).open(path);
    let mut turn = path.as_os_str().to_owned();
    turn.push("-open");
    let turn = private(
        fs::OpenOptions::new().create(true).truncate(false),
        Path::new(&turn),
    )?;
    turn.lock()?;
    // A file that is there is not opened: closing it again would drop the locks that this process has on it.
    match private(fs::OpenOptions::new().create_new(true), path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(turn),
    }
}

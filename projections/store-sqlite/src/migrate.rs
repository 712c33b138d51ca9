//! Brings the tables up to date.

use std::time::Duration;

use callfold_store::{BackendError, StoreError};
use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::error::unavailable;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Two processes that open a new file at once run into each other: there is no lock around all migrations in SQLite.
const ATTEMPTS: u32 = 5;

pub(crate) async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut attempt = 1;
    loop {
        let error = match MIGRATOR.run(pool).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error {
            MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
                return Err(StoreError::NewerTables);
            }
            MigrateError::VersionMismatch(version) => {
                return Err(StoreError::Damaged(BackendError(format!(
                    "migration {version} is not the one that was applied"
                ))));
            }
            _ if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100 * u64::from(attempt))).await;
                attempt += 1;
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                return Err(unavailable("bring the tables up to date", &error));
            }
            _ => {
                return Err(StoreError::Unavailable {
                    attempt: "bring the tables up to date",
                    source: BackendError("the migrations could not be run".to_owned()),
                });
            }
        }
    }
}

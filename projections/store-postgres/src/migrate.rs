//! Brings the tables up to date. Processes that start at once wait for each other (the migrator takes a lock).

use callfold_store::{BackendError, StoreError};
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::error::unavailable;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

pub(crate) async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    const ATTEMPT: &str = "bring the tables up to date";
    match MIGRATOR.run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..)) => {
            Err(StoreError::NewerTables)
        }
        Err(MigrateError::VersionMismatch(version)) => Err(StoreError::Damaged(BackendError(format!(
            "migration {version} is not the one that was applied"
        )))),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(unavailable(ATTEMPT, &error))
        }
        Err(_) => Err(StoreError::Unavailable {
            attempt: ATTEMPT,
            source: BackendError("the migrations could not be run".to_owned()),
        }),
    }
}

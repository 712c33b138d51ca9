//! Brings the tables up to date.

use callfold_store::{BackendError, StoreError};
use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::error::unavailable;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

pub(crate) async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let Err(error) = MIGRATOR.run(pool).await else {
        return Ok(());
    };
    Err(match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => StoreError::NewerTables,
        MigrateError::VersionMismatch(version) => StoreError::Damaged(BackendError(format!(
            "migration {version} is not the one that was applied"
        ))),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            unavailable("bring the tables up to date", &error)
        }
        _ => StoreError::Unavailable {
            attempt: "bring the tables up to date",
            source: BackendError("the migrations could not be run".to_owned()),
        },
    })
}

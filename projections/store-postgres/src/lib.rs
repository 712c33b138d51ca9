//! Leads in PostgreSQL: for processes on several machines.

mod error;
mod migrate;
mod read;
mod shadow;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use callfold_store::{BackendError, StoreError};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::error::unavailable;

/// How many connections one process holds at most.
const CONNECTIONS_MAX: u32 = 8;
/// How long a call waits for a connection, the making of one included.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);
/// How long one call may take. A server that has gone without a word would otherwise hold its callers for ever.
const CALL_MAX: Duration = Duration::from_secs(30);

/// The leads in a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// The generation that was seen last.
    generation: Arc<AtomicI64>,
}

impl PostgresStore {
    /// Connects to `postgres://…` and brings the tables up to date.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url
            .parse()
            // The text of the error may repeat the address, which holds a password.
            .map_err(|_| {
                StoreError::Address("postgres://user:password@host:port/database is expected".to_owned())
            })?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_MAX)
            .connect_with(options.application_name("callfold"))
            .await
            .map_err(|error| unavailable("connect to the database", &error))?;
        migrate::migrate(&pool).await?;
        Ok(Self {
            pool,
            generation: Arc::default(),
        })
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Bounds one call in time; dropping its future rolls its transaction back.
    async fn bounded<T>(
        &self,
        attempt: &'static str,
        call: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, StoreError> {
        Self::bounded_by(CALL_MAX, attempt, call).await
    }

    async fn bounded_by<T>(
        most: Duration,
        attempt: &'static str,
        call: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(most, call).await {
            Ok(result) => result.map_err(|error| unavailable(attempt, &error)),
            Err(_) => Err(StoreError::Unavailable {
                attempt,
                source: BackendError(format!("no answer in {} s", most.as_secs())),
            }),
        }
    }
}

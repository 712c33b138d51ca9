//! Key-value buckets: what is not a lead (sessions, users, tokens) lives in the broker, too.

use std::time::Duration;

use async_nats::jetstream::kv::{Config, CreateErrorKind, Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};

use super::Bus;
use super::error::{BusError, ReadError};

/// How many values are asked for at once when a whole bucket is read.
const READS_AT_ONCE: usize = 32;

/// A bucket.
#[derive(Clone)]
pub struct Kv {
    store: Store,
    bucket: String,
}

/// A key that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvChange {
    /// Which.
    pub key: String,
    /// Whether it has no value any more.
    pub is_gone: bool,
}

impl Bus {
    /// Opens a bucket, creating it when it is missing; entries live for `ttl`.
    pub async fn kv(&self, bucket: &str, ttl: Option<Duration>) -> Result<Kv, BusError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BusError::Bucket {
            bucket: bucket.to_owned(),
            source,
        };
        let store = match self.context.get_key_value(bucket).await {
            Ok(store) => store,
            Err(_) => self
                .context
                .create_key_value(Config {
                    bucket: bucket.to_owned(),
                    history: 1,
                    max_age: ttl.unwrap_or_default(),
                    num_replicas: self.stream.cached_info().config.num_replicas,
                    ..Config::default()
                })
                .await
                .map_err(|error| failed(Box::new(error)))?,
        };
        Ok(Kv {
            store,
            bucket: bucket.to_owned(),
        })
    }
}

impl Kv {
    fn failed(&self, source: impl std::error::Error + Send + Sync + 'static) -> ReadError {
        ReadError::Bucket {
            bucket: self.bucket.clone(),
            source: Box::new(source),
        }
    }

    /// The value of a key.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        self.store.get(key).await.map_err(|error| self.failed(error))
    }

    /// The value of a key and its revision, by which [`Kv::update`] knows whether it is still the same.
    pub async fn entry(&self, key: &str) -> Result<Option<(Bytes, u64)>, ReadError> {
        let entry = self.store.entry(key).await.map_err(|error| self.failed(error))?;
        Ok(entry
            .filter(|entry| entry.operation == Operation::Put)
            .map(|entry| (entry.value, entry.revision)))
    }

    /// Sets a value where the revision is still the one that was read; the new revision, or `None` when it is not. A
    /// `revision` of 0: where there is no value.
    pub async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<Option<u64>, ReadError> {
        if revision == 0 {
            return match self.store.create(key, value).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(self.failed(error)),
            };
        }
        match self.store.update(key, value, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Everything in the bucket, in the order of the keys. For buckets of a few thousand.
    pub async fn all(&self) -> Result<Vec<(String, Bytes)>, ReadError> {
        let keys = self.keys().await?;
        let entries = futures::stream::iter(keys).map(|key| async move {
            let value = self.get(&key).await?;
            Ok(value.map(|value| (key, value)))
        });
        // A key that went meanwhile has no value.
        entries
            .buffered(READS_AT_ONCE)
            .try_filter_map(|entry| async move { Ok(entry) })
            .try_collect()
            .await
    }

    /// What changes from now on. The stream ends with an error when changes may have been missed.
    pub async fn changes(
        &self,
    ) -> Result<impl Stream<Item = Result<KvChange, ReadError>> + use<>, ReadError> {
        let watch = self.store.watch_all().await.map_err(|error| self.failed(error))?;
        let bucket = self.bucket.clone();
        Ok(watch.map(move |entry| {
            let change = entry.map(|entry| KvChange {
                is_gone: entry.operation != Operation::Put,
                key: entry.key,
            });
            change.map_err(|error| ReadError::Bucket {
                bucket: bucket.clone(),
                source: Box::new(error),
            })
        }))
    }

    /// Sets a value.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<(), ReadError> {
        self.store
            .put(key, value)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(error))
    }

    /// Sets a value where there is none; `false` when there was one.
    pub async fn create(&self, key: &str, value: Bytes) -> Result<bool, ReadError> {
        match self.store.create(key, value).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// All keys, in their order. For buckets of a few thousand.
    pub async fn keys(&self) -> Result<Vec<String>, ReadError> {
        let keys = self.store.keys().await.map_err(|error| self.failed(error))?;
        let mut keys: Vec<String> = keys.try_collect().await.map_err(|error| self.failed(error))?;
        keys.sort_unstable();
        Ok(keys)
    }

    /// Removes a key and its history.
    pub async fn remove(&self, key: &str) -> Result<(), ReadError> {
        self.store.purge(key).await.map_err(|error| self.failed(error))
    }
}

//! A bucket of JSON entries of one type, with a cache that forgets what changed elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use callfold_kit::bus::{Kv, KvChange};
use callfold_kit::chain::chain;
use callfold_schema::UnixMillis;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::PeopleError;

/// How long an entry is believed without asking the broker again, in milliseconds. Changes elsewhere are heard of at
/// once; this is the bound for when the hearing is broken.
const FRESH_MS: u64 = 10_000;
/// How many entries the cache knows; beyond it, it starts again empty.
const CACHED_MAX: usize = 2_048;
/// How often a change steps behind somebody else's.
const TRIES_MAX: u32 = 8;

struct Cached<T> {
    value: T,
    seen_at: UnixMillis,
}

struct Cache<T> {
    entries: HashMap<String, Cached<T>>,
    /// Counts what was forgotten: an answer that was on its way meanwhile is not remembered.
    forgotten: u64,
}

/// What became of a change.
pub(crate) enum Changed<T> {
    /// The entry as it is now.
    Now(T),
    /// There is no such entry.
    Missing,
}

pub(crate) struct Bucket<T> {
    kv: Kv,
    cache: Mutex<Cache<T>>,
}

impl<T: Clone + Serialize + DeserializeOwned> Bucket<T> {
    pub(crate) fn new(kv: Kv) -> Self {
        Self {
            kv,
            cache: Mutex::new(Cache {
                entries: HashMap::new(),
                forgotten: 0,
            }),
        }
    }

    pub(crate) fn kv(&self) -> &Kv {
        &self.kv
    }

    /// The entry, from the cache while that is fresh. Where the broker does not answer, a known entry goes on.
    pub(crate) async fn get(&self, key: &str, now: UnixMillis) -> Result<Option<T>, PeopleError> {
        let (known, forgotten) = self.with(|cache| {
            let known = cache.entries.get(key).map(|cached| {
                let is_fresh = now.0.abs_diff(cached.seen_at.0) < FRESH_MS;
                (cached.value.clone(), is_fresh)
            });
            (known, cache.forgotten)
        });
        if let Some((value, true)) = known {
            return Ok(Some(value));
        }
        match self.kv.get(key).await {
            Ok(found) => {
                let value = found.and_then(|bytes| decode::<T>(&bytes));
                self.with(|cache| {
                    if cache.forgotten != forgotten {
                        return;
                    }
                    match &value {
                        Some(value) => cache.remember(key, value.clone(), now),
                        None => {
                            cache.entries.remove(key);
                        }
                    }
                });
                Ok(value)
            }
            Err(error) => match known {
                Some((value, _)) => {
                    tracing::debug!(error = %chain(&error), "who works here cannot be read; what is known goes on");
                    // Not every click is to wait for a broker that does not answer.
                    self.with(|cache| cache.remember(key, value.clone(), now));
                    Ok(Some(value))
                }
                None => Err(PeopleError::Bucket(error)),
            },
        }
    }

    /// Everything, from the broker.
    pub(crate) async fn all(&self) -> Result<Vec<(String, T)>, PeopleError> {
        let entries = self.kv.all().await.map_err(PeopleError::Bucket)?;
        let read = entries
            .into_iter()
            .filter_map(|(key, bytes)| Some((key, decode(&bytes)?)));
        Ok(read.collect())
    }

    /// `false` when there was an entry.
    pub(crate) async fn create(&self, key: &str, value: &T, now: UnixMillis) -> Result<bool, PeopleError> {
        let bytes = serde_json::to_vec(value).map_err(PeopleError::Encode)?;
        let is_new = self
            .kv
            .create(key, bytes.into())
            .await
            .map_err(PeopleError::Bucket)?;
        if is_new {
            self.with(|cache| cache.remember(key, value.clone(), now));
        }
        Ok(is_new)
    }

    /// Changes an entry as it is in the broker, however many others do so at the same time.
    pub(crate) async fn change(
        &self,
        key: &str,
        change: impl Fn(&mut T) -> Result<(), PeopleError>,
    ) -> Result<Changed<T>, PeopleError> {
        for _ in 0..TRIES_MAX {
            let Some((bytes, revision)) = self.kv.entry(key).await.map_err(PeopleError::Bucket)? else {
                return Ok(Changed::Missing);
            };
            let Some(mut value) = decode::<T>(&bytes) else {
                return Ok(Changed::Missing);
            };
            change(&mut value)?;
            let bytes = serde_json::to_vec(&value).map_err(PeopleError::Encode)?;
            let is_ours = self
                .kv
                .update(key, bytes.into(), revision)
                .await
                .map_err(PeopleError::Bucket)?;
            if is_ours.is_some() {
                self.forget(key);
                return Ok(Changed::Now(value));
            }
        }
        Err(PeopleError::Contended)
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), PeopleError> {
        self.kv.remove(key).await.map_err(PeopleError::Bucket)?;
        self.forget(key);
        Ok(())
    }

    /// The next look at this entry asks the broker.
    pub(crate) fn forget(&self, key: &str) {
        self.with(|cache| {
            cache.entries.remove(key);
            cache.forgotten += 1;
        });
    }

    /// Something changed elsewhere, or here a moment ago. What is gone is forgotten; what is otherwise now is asked for again,
    /// and until the broker answers what is known goes on. `None`: changes may have been missed.
    pub(crate) fn heard(&self, change: Option<&KvChange>) {
        match change {
            None => self.doubt(|_| true),
            Some(KvChange { key, is_gone: true }) => self.forget(key),
            Some(KvChange { key, is_gone: false }) => self.doubt(|known| known == key),
        }
    }

    /// The next look at these entries asks the broker. What is known stays for when that does not answer: a broker that goes
    /// away ends the watch, too, and must not sign everybody out.
    fn doubt(&self, is_meant: impl Fn(&str) -> bool) {
        self.with(|cache| {
            for (_, cached) in cache.entries.iter_mut().filter(|(key, _)| is_meant(key)) {
                cached.seen_at = UnixMillis(i64::MIN);
            }
            cache.forgotten += 1;
        });
    }

    fn with<R>(&self, work: impl FnOnce(&mut Cache<T>) -> R) -> R {
        work(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Cache<T> {
    fn remember(&mut self, key: &str, value: T, now: UnixMillis) {
        if self.entries.len() >= CACHED_MAX && !self.entries.contains_key(key) {
            self.entries.clear();
        }
        self.entries
            .insert(key.to_owned(), Cached { value, seen_at: now });
    }
}

/// What does not read is no entry.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

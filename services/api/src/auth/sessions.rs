//! Sessions live in the broker's bucket `sessions`, by the hash of their token, so that every api process knows them
//! and a restart does not sign anybody out. A small cache spares the broker a request a click.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use callfold_kit::bus::{Bus, BusError, Kv};
use callfold_kit::chain::chain;
use callfold_kit::secret::Secret;
use callfold_schema::UnixMillis;
use callfold_schema::subject::BUCKET_SESSIONS;
use serde::{Deserialize, Serialize};

use super::{TokenHash, new_token};
use crate::error::ApiError;

/// How long a session lasts, in seconds: 12 hours.
pub(crate) const SESSION_SECONDS: i64 = 12 * 60 * 60;

/// How long a look-up is believed without asking the broker again, in milliseconds: a sign-out elsewhere is known here
/// after that time.
const FRESH_MS: i64 = 30 * 1000;

/// How many sessions the cache knows; beyond it, it starts again empty.
const CACHED_MAX: usize = 1024;

/// What the bucket holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    created_at: UnixMillis,
    expires_at: UnixMillis,
}

#[derive(Clone, Copy)]
struct Cached {
    expires_at: UnixMillis,
    seen_at: UnixMillis,
}

/// The open sessions.
pub(crate) struct Sessions {
    kv: Kv,
    cache: Mutex<HashMap<TokenHash, Cached>>,
}

impl Sessions {
    /// Opens the bucket.
    pub(crate) async fn open_bucket(bus: &Bus) -> Result<Self, BusError> {
        let ttl = Duration::from_secs(SESSION_SECONDS.unsigned_abs());
        Ok(Self {
            kv: bus.kv(BUCKET_SESSIONS, Some(ttl)).await?,
            cache: Mutex::default(),
        })
    }

    /// Opens a session and gives its token.
    pub(crate) async fn open(&self, now: UnixMillis) -> Result<Secret, ApiError> {
        let token = new_token();
        let hash = TokenHash::of(token.expose());
        let expires_at = UnixMillis(now.0.saturating_add(SESSION_SECONDS * 1000));
        let stored = serde_json::to_vec(&Stored {
            created_at: now,
            expires_at,
        })
        .map_err(ApiError::Encode)?;
        self.kv
            .put(&hash.hex(), Bytes::from(stored))
            .await
            .map_err(ApiError::Sessions)?;
        self.remember(
            hash,
            Cached {
                expires_at,
                seen_at: now,
            },
        );
        Ok(token)
    }

    /// Whether there is such a session now.
    pub(crate) async fn is_open(&self, hash: &TokenHash, now: UnixMillis) -> Result<bool, ApiError> {
        let cached = self.with(|cache| cache.get(hash).copied());
        if let Some(cached) = cached
            && now.0.abs_diff(cached.seen_at.0) < FRESH_MS.unsigned_abs()
        {
            return Ok(now < cached.expires_at);
        }
        match self.kv.get(&hash.hex()).await {
            Ok(Some(value)) => {
                // What does not read is no session.
                let Ok(stored) = serde_json::from_slice::<Stored>(&value) else {
                    return Ok(false);
                };
                self.remember(
                    *hash,
                    Cached {
                        expires_at: stored.expires_at,
                        seen_at: now,
                    },
                );
                Ok(now < stored.expires_at)
            }
            Ok(None) => {
                self.with(|cache| cache.remove(hash));
                Ok(false)
            }
            // The broker is away: whoever was known before goes on reading until the session's own end.
            Err(error) => match cached {
                Some(cached) => {
                    tracing::debug!(error = %chain(&error), "the sessions cannot be read; a known one goes on");
                    // Not every click is to wait for a broker that does not answer.
                    self.remember(
                        *hash,
                        Cached {
                            seen_at: now,
                            ..cached
                        },
                    );
                    Ok(now < cached.expires_at)
                }
                None => Err(ApiError::Sessions(error)),
            },
        }
    }

    /// Ends a session.
    pub(crate) async fn close(&self, hash: &TokenHash) -> Result<(), ApiError> {
        self.kv.remove(&hash.hex()).await.map_err(ApiError::Sessions)?;
        self.with(|cache| cache.remove(hash));
        Ok(())
    }

    fn remember(&self, hash: TokenHash, cached: Cached) {
        self.with(|cache| {
            if cache.len() >= CACHED_MAX {
                cache.clear();
            }
            cache.insert(hash, cached);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<TokenHash, Cached>) -> T) -> T {
        work(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

//! "Alive" and "able to do its work" are two questions.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use tokio::sync::watch;

/// The state of one part of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartState {
    /// Whether it can do its work.
    pub ready: bool,
    /// Whether the process counts as ready only with it.
    pub gates: bool,
    /// Why not, or a remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether every gating part is ready.
    pub ready: bool,
    /// All parts by name.
    pub parts: BTreeMap<String, PartState>,
}

/// The health of a process.
#[derive(Clone)]
pub struct Health {
    parts: Arc<RwLock<BTreeMap<String, PartState>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            parts: Arc::default(),
            changed: Arc::new(watch::channel(0).0),
        }
    }
}

impl Health {
    /// Without parts: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, not ready yet. With the gateway in the process only the gateway gates readiness: calls are
    /// accepted even when the rest waits.
    pub fn part(&self, name: impl Into<String>, gates: bool) -> Part {
        let part = Part {
            name: name.into(),
            health: self.clone(),
        };
        part.set(PartState {
            ready: false,
            gates,
            reason: Some("starting".to_owned()),
        });
        part
    }

    /// The state of all parts.
    pub fn readiness(&self) -> Readiness {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner).clone();
        Readiness {
            ready: parts.values().all(|part| part.ready || !part.gates),
            parts,
        }
    }

    /// Waits until every part, gating or not, is ready.
    pub async fn all_ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.readiness().parts.values().all(|part| part.ready) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the gating parts are ready.
    pub async fn ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.readiness().ready {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The handle by which a part tells its state.
#[derive(Clone)]
pub struct Part {
    name: String,
    health: Health,
}

impl Part {
    fn set(&self, state: PartState) {
        self.health
            .parts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.name.clone(), state);
        self.health.changed.send_modify(|n| *n += 1);
    }

    fn gates(&self) -> bool {
        let parts = self.health.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.get(&self.name).is_some_and(|part| part.gates)
    }

    /// It can do its work.
    pub fn ready(&self) {
        self.set(PartState {
            ready: true,
            gates: self.gates(),
            reason: None,
        });
    }

    /// It can do its work, with a remark.
    pub fn ready_with(&self, remark: impl Into<String>) {
        self.set(PartState {
            ready: true,
            gates: self.gates(),
            reason: Some(remark.into()),
        });
    }

    /// It cannot do its work.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(PartState {
            ready: false,
            gates: self.gates(),
            reason: Some(reason.into()),
        });
    }
}

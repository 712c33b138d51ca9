//! The settings of the reconciler.

use std::time::Duration;

use callfold_kit::config::Settings;

use crate::deadline::Bounds;

/// The settings of the reconciler.
#[derive(Debug, Clone)]
pub struct ReconcilerConfig {
    /// How long after the end of a call its recording is waited for.
    pub patience: Duration,
    /// How far back the stream is read at start. Older calls that still owe a recording are left as they are.
    pub look_back: Duration,
    /// Bounds of what is kept in memory.
    pub bounds: Bounds,
    /// Most events taken in before the clock is looked at again.
    pub batch_events: usize,
}

impl Default for ReconcilerConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(300),
            look_back: Duration::from_secs(30 * 24 * 3_600),
            bounds: Bounds::default(),
            batch_events: 1_000,
        }
    }
}

impl ReconcilerConfig {
    /// `CALLFOLD_MISSING_AFTER_SECS`.
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let defaults = Self::default();
        let patience = settings.number(
            "CALLFOLD_MISSING_AFTER_SECS",
            defaults.patience.as_secs(),
            1,
            86_400,
            "seconds",
        );
        Self {
            patience: Duration::from_secs(patience),
            ..defaults
        }
    }
}

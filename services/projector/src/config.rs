//! The settings of the projector.

use callfold_kit::config::Settings;

/// The settings of the projector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectorConfig {
    /// The most events of one transaction. Fewer are taken when fewer are there.
    pub batch_events_max: usize,
    /// Where a batch ends, in bytes of payload; the event that crosses it is still in.
    pub batch_bytes_max: usize,
    /// What the states of recent calls may take in memory, in bytes; others are read from the database again.
    pub cache_bytes_max: usize,
    /// What a rebuild folds in memory before it writes, in bytes, about.
    pub rebuild_bytes_max: usize,
}

impl Default for ProjectorConfig {
    fn default() -> Self {
        Self {
            batch_events_max: 1_000,
            batch_bytes_max: 8 << 20,
            cache_bytes_max: 16 << 20,
            rebuild_bytes_max: 48 << 20,
        }
    }
}

impl ProjectorConfig {
    /// `CALLFOLD_PROJECTOR_BATCH_EVENTS`, `CALLFOLD_PROJECTOR_CACHE_MB`, `CALLFOLD_PROJECTOR_REBUILD_MB`.
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let defaults = Self::default();
        let events = settings.number("CALLFOLD_PROJECTOR_BATCH_EVENTS", 1_000, 1, 10_000, "events");
        let cache_mb = settings.number("CALLFOLD_PROJECTOR_CACHE_MB", 16, 0, 4_096, "megabytes");
        let rebuild_mb = settings.number("CALLFOLD_PROJECTOR_REBUILD_MB", 48, 1, 4_096, "megabytes");
        // All are bounded far below what a usize holds.
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            batch_events_max: size(events),
            cache_bytes_max: size(cache_mb << 20),
            rebuild_bytes_max: size(rebuild_mb << 20),
            ..defaults
        }
    }
}

//! How large recordings may be: one setting for those who fetch them and those who work on them.

use std::time::Duration;

use crate::config::Settings;

/// 512 MiB: nine hours of Twilio's WAV.
const BYTES_MAX: u64 = 512 << 20;
/// Twilio's own bound for `<Record>`.
const DURATION_MAX_SECS: u64 = 14_400;
/// Recordings may be a little longer than was asked for.
const DURATION_SLACK: Duration = Duration::from_secs(60);

/// The largest recordings that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingLimits {
    /// Largest file, in bytes.
    pub bytes_max: u64,
    /// Longest recording.
    pub duration_max: Duration,
}

impl Default for RecordingLimits {
    fn default() -> Self {
        Self {
            bytes_max: BYTES_MAX,
            duration_max: Duration::from_secs(DURATION_MAX_SECS) + DURATION_SLACK,
        }
    }
}

impl RecordingLimits {
    /// `CALLFOLD_RECORDING_BYTES_MAX` and `CALLFOLD_RECORDING_SECS_MAX`; a minute more than the latter is let pass.
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let bytes_max = settings.number(
            "CALLFOLD_RECORDING_BYTES_MAX",
            BYTES_MAX,
            1 << 10,
            1 << 40,
            "bytes",
        );
        let secs = settings.number(
            "CALLFOLD_RECORDING_SECS_MAX",
            DURATION_MAX_SECS,
            1,
            86_400,
            "seconds",
        );
        Self {
            bytes_max,
            duration_max: Duration::from_secs(secs) + DURATION_SLACK,
        }
    }
}

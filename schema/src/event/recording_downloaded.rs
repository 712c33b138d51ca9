//! The recording is in our blob store, checked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `recording_downloaded`, version 1. The recording and the run stand in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingDownloadedV1 {
    /// The key in the blob store.
    pub blob_key: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// `audio/x-wav` or `audio/mpeg`: what the file is, not what was claimed.
    pub content_type: String,
    /// Measured length in milliseconds.
    pub duration_ms: u64,
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Channels in the file.
    pub channels: u8,
    /// How long the download took, in milliseconds.
    pub elapsed_ms: u64,
}

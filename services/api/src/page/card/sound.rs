//! The players of a card.

use callfold_lead::{Lead, LeadRecording};

use super::super::Frame;
use crate::show;
use crate::words::fill;

/// A player.
pub(crate) struct SoundView {
    pub(crate) recording_sid: String,
    pub(crate) label: String,
    pub(crate) length: Option<String>,
    /// Measured length in milliseconds; 0 where it is not known.
    pub(crate) millis: u64,
}

/// The recordings whose audio is stored, in the order of their start.
pub(super) fn sounds(lead: &Lead, f: &Frame) -> Vec<SoundView> {
    let view = |(n, recording): (usize, &LeadRecording)| {
        recording.blob_key.as_ref()?;
        Some(SoundView {
            recording_sid: recording.recording_sid.to_string(),
            label: label(lead, n, f),
            length: recording.duration_ms.map(show::length_ms),
            millis: recording.duration_ms.unwrap_or(0),
        })
    };
    lead.recordings.iter().enumerate().filter_map(view).collect()
}

/// What a recording is called: it has a number where there are several.
pub(super) fn label(lead: &Lead, n: usize, f: &Frame) -> String {
    if lead.recordings.len() > 1 {
        fill(f.w.card.recording_of, n + 1)
    } else {
        f.w.card.recording.to_owned()
    }
}

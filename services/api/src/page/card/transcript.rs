//! What was said, piece by piece, so that it can follow the sound.

use std::collections::BTreeMap;

use callfold_lead::{Lead, LeadRecording, LeadSegment};
use callfold_schema::RecordingSid;
use callfold_schema::event::Speaker;

use super::super::Frame;
use super::super::row::non_empty;
use super::sound::label;
use crate::show;
use crate::words::fill;

/// How many pieces stand open; a call of 40 minutes has hundreds, and what is below has to stay within reach.
const PIECES_OPEN: usize = 40;

/// A piece of the transcript.
pub(crate) struct SaidView {
    pub(crate) at: String,
    /// From the start of the recording, in milliseconds.
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
    /// The start in seconds, for the address of that place in the audio.
    pub(crate) start_s: String,
    /// Who said it, where that changes.
    pub(crate) speaker: Option<String>,
    /// 0 or 1: whose side of the page it stands on.
    pub(crate) side: u8,
    /// `rtl` or `ltr`: the moment stands where the text begins.
    pub(crate) direction: &'static str,
    pub(crate) text: String,
}

/// What was said in one recording.
pub(crate) struct HeardView {
    pub(crate) recording_sid: String,
    /// Which recording, where there are several.
    pub(crate) label: Option<String>,
    /// The pieces that stand open.
    pub(crate) said: Vec<SaidView>,
    /// The others.
    pub(crate) more: Vec<SaidView>,
    /// The whole text in place of the pieces: a person wrote it, or no engine said when what was said.
    pub(crate) text: Option<String>,
    /// Whether a person corrected it.
    pub(crate) corrected: bool,
    /// What a correction begins with.
    pub(crate) whole: String,
    /// Whether the audio is there.
    pub(crate) has_sound: bool,
}

impl HeardView {
    /// All pieces.
    pub(crate) fn count(&self) -> usize {
        self.said.len() + self.more.len()
    }
}

/// The transcript of each recording that has one.
pub(super) fn heard(lead: &Lead, corrections: &BTreeMap<RecordingSid, String>, f: &Frame) -> Vec<HeardView> {
    let several_speakers = lead
        .segments
        .iter()
        .any(|segment| segment.channel > 0 || segment.speaker.is_some());
    let several = lead.recordings.len() > 1;
    let view = |(n, recording): (usize, &LeadRecording)| {
        let sid = &recording.recording_sid;
        let segments = lead
            .segments
            .iter()
            .filter(|segment| segment.recording_sid == *sid);
        let mut said = pieces(segments, several_speakers, f);
        let correction = corrections.get(sid);
        // Without pieces the lead's own text stands for its only recording.
        let bare = || {
            let text = non_empty(lead.transcript.as_deref());
            text.filter(|_| said.is_empty() && !several)
        };
        let text = correction.cloned().or_else(bare);
        let joined = || {
            let texts: Vec<&str> = said.iter().map(|piece| piece.text.as_str()).collect();
            texts.join("\n")
        };
        let whole = text.clone().unwrap_or_else(joined);
        if correction.is_some() {
            said.clear();
        }
        if said.is_empty() && text.is_none() {
            return None;
        }
        // A few more are not worth folding away.
        let more = if said.len() > PIECES_OPEN + PIECES_OPEN / 4 {
            said.split_off(PIECES_OPEN)
        } else {
            Vec::new()
        };
        Some(HeardView {
            recording_sid: sid.to_string(),
            label: several.then(|| label(lead, n, f)),
            said,
            more,
            text,
            corrected: correction.is_some(),
            whole,
            has_sound: recording.blob_key.is_some(),
        })
    };
    lead.recordings.iter().enumerate().filter_map(view).collect()
}

fn pieces<'a>(
    segments: impl Iterator<Item = &'a LeadSegment>,
    several_speakers: bool,
    f: &Frame,
) -> Vec<SaidView> {
    let mut last = None;
    segments
        .filter_map(|segment| {
            let text = non_empty(Some(&segment.text))?;
            let is_new = last.replace(segment.channel) != Some(segment.channel);
            let speaker = (several_speakers && is_new).then(|| match segment.speaker {
                Some(Speaker::Caller) => f.w.card.speaker_caller.to_owned(),
                Some(Speaker::Callee) => f.w.card.speaker_callee.to_owned(),
                None => fill(f.w.card.speaker, u32::from(segment.channel) + 1),
            });
            Some(SaidView {
                at: show::length(segment.start_ms / 1000),
                start_ms: segment.start_ms,
                end_ms: segment.end_ms.max(segment.start_ms),
                start_s: format!("{}.{}", segment.start_ms / 1000, segment.start_ms % 1000 / 100),
                speaker,
                side: segment.channel % 2,
                direction: direction(&text),
                text,
            })
        })
        .collect()
}

/// Where a text begins: by its first letter, as browsers do for `dir="auto"`.
fn direction(text: &str) -> &'static str {
    let is_rtl = |c: char| {
        // Hebrew, Arabic and the scripts between them, and their presentation forms.
        ('\u{590}'..='\u{8ff}').contains(&c)
            || ('\u{fb1d}'..='\u{fdff}').contains(&c)
            || ('\u{fe70}'..='\u{feff}').contains(&c)
    };
    match text.chars().find(|c| c.is_alphabetic()) {
        Some(letter) if is_rtl(letter) => "rtl",
        _ => "ltr",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_begins_where_its_first_letter_does() {
        assert_eq!(direction("12 מטר"), "rtl");
        assert_eq!(direction("(שלום) hello"), "rtl");
        assert_eq!(direction("hello שלום"), "ltr");
        assert_eq!(direction("مرحبا"), "rtl");
        assert_eq!(direction("1234"), "ltr");
    }
}

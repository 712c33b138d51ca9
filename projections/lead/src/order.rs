//! What late, repeated and missing events mean. Every rule is a function of the set of events, never of the order in
//! which they came.
//!
//! - *Repeated*: the lowest position holds a key ([`crate::LeadState::apply`]).
//! - *Reconciled*: an event with the suffix `-reconciled` counts only where no live event says the same ([`settle`]).
//! - *Ready beats missing*: a recording that can be fetched, or of which a stage has made something, is not missing,
//!   whatever else was said and whenever. A `recording_missing` without a recording speaks of all recordings of the call
//!   that are not ready.
//! - *Several reasons*: the live one, then the one that names a recording, then the earliest ([`NoMessageRank`]).
//! - *Nothing was to be recorded* (`record_max_s` 0): the end of the call is the end of the lead, whatever is missing;
//!   a recording that exists all the same counts as any other.
//! - *Recordings* are joined by their start: Twilio's clock, else the time of the first event heard of them.
//! - *Missing `call_started`*: the lead stands with empty numbers, its time is that of the first event.
//! - *Later output implies earlier*: a transcript without its `recording_downloaded` means that the download was done.
//! - *Corrected wins*: a person's text of a recording stands in place of any engine's, of any run (`fold/person.rs`).
//! - *Erased*: `call_erased` of any age takes every other event of the call away but `erase_done`
//!   ([`crate::LeadState::is_erased`]).
//! - *Output beats failure*: a failed attempt counts for a stage only while the stage has no output.

use callfold_schema::UnixMillis;

/// An event with what the rules need of its envelope.
pub(crate) struct Fact<T> {
    pub(crate) position: u64,
    pub(crate) time: UnixMillis,
    pub(crate) reconciled: bool,
    pub(crate) data: T,
}

/// Keeps the live one of two events that say the same; at most one of each exists, so the order does not matter.
pub(crate) fn settle<T>(slot: &mut Option<Fact<T>>, fact: Fact<T>) {
    match slot {
        Some(held) if !held.reconciled => {}
        _ => *slot = Some(fact),
    }
}

/// Which of several reasons is shown: the lowest rank.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NoMessageRank {
    reconciled: bool,
    of_the_call: bool,
    time: UnixMillis,
    position: u64,
}

impl NoMessageRank {
    pub(crate) fn of<T>(fact: &Fact<T>, names_a_recording: bool) -> Self {
        Self {
            reconciled: fact.reconciled,
            of_the_call: !names_a_recording,
            time: fact.time,
            position: fact.position,
        }
    }
}

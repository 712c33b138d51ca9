//! Which calls still owe a recording, and until when. Pure: events and the time of day go in, what is overdue comes out.
//!
//! | known of the call | overdue | reason |
//! |---|---|---|
//! | it ended, no recording ever began | the end + patience | `never_left` |
//! | it ended, and nothing was to be recorded | never | |
//! | it started, and nothing more | the start + greeting + longest message + patience | `deadline_passed` |
//! | a recording began, the call ended | the later of both + patience | `deadline_passed` |
//! | a recording began, no end is known | its begin + longest message + patience | `deadline_passed` |
//!
//! Events come in any order and any number of times: the state of a call is a set of facts, and every question is asked
//! of that set. A call that owes nothing is kept for a while all the same: an event that came late (spooled while the
//! broker was away) must not open it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use callfold_schema::event::MissingReason;
use callfold_schema::{CallSid, Event, EventKind, Key, Record, RecordingSid, Subject, UnixMillis};

/// How long the greeting and the first moments of a call are believed to take at most.
const GREETING: Duration = Duration::from_secs(60);
/// The longest message where `call_started` is not known; Twilio's own default.
const RECORD_MAX_UNKNOWN: Duration = Duration::from_secs(3_600);

/// Bounds of what is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long a call that owes nothing is remembered, by the times in the events.
    pub settled_kept: Duration,
    /// Most calls that owe nothing; the oldest go first.
    pub settled_max: usize,
    /// Most calls that owe a recording; those due first go first, unresolved.
    pub open_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            settled_kept: Duration::from_secs(24 * 3_600),
            settled_max: 50_000,
            open_max: 1_000_000,
        }
    }
}

/// A recording that did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The call.
    pub call_sid: CallSid,
    /// Which one; `None` when none ever began.
    pub recording_sid: Option<RecordingSid>,
    /// Which way it is missing.
    pub reason: MissingReason,
    /// When it was due.
    pub due: UnixMillis,
    /// The event whose time began the wait.
    pub cause: Subject,
}

impl Overdue {
    /// The key of the event that says so.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::missing(self.recording_sid.clone(), self.reason.token()).reconciled()
    }
}

/// All calls that owe a recording, by when it is due, and some that do not.
#[derive(Debug)]
pub struct OpenCalls {
    patience: Duration,
    bounds: Bounds,
    calls: HashMap<CallSid, Call>,
    /// Calls that owe something, by when.
    due: BTreeSet<(UnixMillis, CallSid)>,
    /// Calls that owe nothing, by their newest event.
    settled: BTreeSet<(UnixMillis, CallSid)>,
    /// The newest time seen in an event.
    newest: UnixMillis,
    dropped: u64,
}

/// What is known of one call.
#[derive(Debug, Default)]
struct Call {
    /// When it was accepted, and the longest message.
    started: Option<(UnixMillis, Duration)>,
    ended: Option<UnixMillis>,
    recordings: BTreeMap<RecordingSid, Recording>,
    /// Told to be missing, without saying which recording.
    missing: bool,
    /// It owes nothing, for there is to be nothing of it.
    erased: bool,
    newest: UnixMillis,
    /// Under which time it stands in `due`, or else in `settled`.
    indexed: Option<Indexed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indexed {
    Due(UnixMillis),
    Settled(UnixMillis),
}

#[derive(Debug, Default)]
struct Recording {
    started: Option<UnixMillis>,
    /// Ready, or told to be missing.
    settled: bool,
}

impl OpenCalls {
    /// Nothing is known yet. `patience`: how long after its end a call's recording is waited for.
    #[must_use]
    pub fn new(patience: Duration, bounds: Bounds) -> Self {
        Self {
            patience,
            bounds,
            calls: HashMap::new(),
            due: BTreeSet::new(),
            settled: BTreeSet::new(),
            newest: UnixMillis::default(),
            dropped: 0,
        }
    }

    /// Takes an event in. Kinds that say nothing of calls and recordings are passed over.
    pub fn observe(&mut self, record: &Record) {
        let time = record.envelope.time;
        let call_sid = &record.envelope.subject.call_sid;
        match &record.event {
            Event::CallStarted(event) => {
                let longest = Duration::from_secs(u64::from(event.record_max_s));
                self.change(call_sid, time, |call| {
                    earliest(&mut call.started, (time, longest))
                });
            }
            Event::CallEnded(_) => self.change(call_sid, time, |call| earliest(&mut call.ended, time)),
            Event::RecordingStarted(event) => {
                let recording = event.recording_sid.clone();
                self.change(call_sid, time, |call| {
                    earliest(&mut call.recordings.entry(recording).or_default().started, time)
                });
            }
            Event::RecordingReady(event) => {
                let recording = event.recording_sid.clone();
                self.change(call_sid, time, |call| call.settle(Some(recording)));
            }
            Event::RecordingMissing(event) => {
                let recording = event.recording_sid.clone();
                self.change(call_sid, time, |call| call.settle(recording));
            }
            Event::RecordingDownloaded(_)
            | Event::TranscriptReady(_)
            | Event::SummaryReady(_)
            | Event::StageFailed(_)
            | Event::ReprocessRequested(_)
            | Event::LeadUpdated(_)
            | Event::EraseDone(_) => {}
            // Nothing is waited for any more, whatever still comes.
            Event::CallErased(_) => self.change(call_sid, time, |call| call.erased = true),
        }
    }

    /// When the next recording is due; `None` when none is owed.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What was due by `now`, the oldest first, of at most `calls_max` calls. It stays so until [`OpenCalls::settle`].
    #[must_use]
    pub fn overdue(&self, now: UnixMillis, calls_max: usize) -> Vec<Overdue> {
        self.due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(calls_max)
            .flat_map(|(_, call_sid)| {
                let owed = self
                    .calls
                    .get(call_sid)
                    .map(|call| call.owed(call_sid, self.patience))
                    .unwrap_or_default();
                owed.into_iter().filter(|overdue| overdue.due <= now)
            })
            .collect()
    }

    /// It was told that the recording is missing, or found that it is not.
    pub fn settle(&mut self, overdue: &Overdue) {
        let recording = overdue.recording_sid.clone();
        self.change(&overdue.call_sid, overdue.due, |call| call.settle(recording));
    }

    /// How many calls owe a recording.
    #[must_use]
    pub fn open(&self) -> usize {
        self.due.len()
    }

    /// How many calls were forgotten though they owed a recording, because there were too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn change(&mut self, call_sid: &CallSid, time: UnixMillis, change: impl FnOnce(&mut Call)) {
        self.newest = self.newest.max(time);
        let call = self.calls.entry(call_sid.clone()).or_default();
        call.newest = call.newest.max(time);
        change(call);
        let due = call
            .owed(call_sid, self.patience)
            .iter()
            .map(|owed| owed.due)
            .min();
        let indexed = due.map_or(Indexed::Settled(call.newest), Indexed::Due);
        match call.indexed.replace(indexed) {
            Some(before) if before == indexed => {}
            before => {
                match before {
                    Some(Indexed::Due(time)) => self.due.remove(&(time, call_sid.clone())),
                    Some(Indexed::Settled(time)) => self.settled.remove(&(time, call_sid.clone())),
                    None => false,
                };
                match indexed {
                    Indexed::Due(time) => self.due.insert((time, call_sid.clone())),
                    Indexed::Settled(time) => self.settled.insert((time, call_sid.clone())),
                };
            }
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        let horizon = minus(self.newest, self.bounds.settled_kept);
        while let Some((time, _)) = self.settled.first()
            && (*time < horizon || self.settled.len() > self.bounds.settled_max)
        {
            if let Some((_, call_sid)) = self.settled.pop_first() {
                self.calls.remove(&call_sid);
            }
        }
        while self.due.len() > self.bounds.open_max {
            if let Some((_, call_sid)) = self.due.pop_first() {
                self.calls.remove(&call_sid);
                self.dropped += 1;
            }
        }
    }
}

impl Call {
    fn settle(&mut self, recording: Option<RecordingSid>) {
        match recording {
            Some(recording) => self.recordings.entry(recording).or_default().settled = true,
            None => self.missing = true,
        }
    }

    /// What it owes and when, overdue or not.
    fn owed(&self, call_sid: &CallSid, patience: Duration) -> Vec<Overdue> {
        if self.erased {
            return Vec::new();
        }
        if self.recordings.is_empty() {
            let owed = if self.missing {
                None
            } else {
                self.owed_by_call(call_sid, patience)
            };
            return owed.into_iter().collect();
        }
        self.recordings
            .iter()
            .filter(|(_, recording)| !recording.settled)
            .filter_map(|(sid, recording)| {
                Some(self.owed_by_recording(call_sid, sid, recording.started?, patience))
            })
            .collect()
    }

    /// No recording is known: one may be on its way still.
    fn owed_by_call(&self, call_sid: &CallSid, patience: Duration) -> Option<Overdue> {
        let (reason, due, kind) = match (self.ended, self.started) {
            // The number takes no messages: with the end of the call everything is said.
            (Some(_), Some((_, Duration::ZERO))) => return None,
            (Some(ended), _) => (
                MissingReason::NeverLeft,
                plus(ended, patience),
                EventKind::CallEnded,
            ),
            (None, Some((started, longest))) => {
                let due = plus(started, GREETING + longest + patience);
                (MissingReason::DeadlinePassed, due, EventKind::CallStarted)
            }
            (None, None) => return None,
        };
        let cause = Subject::new(call_sid.clone(), kind, Key::single());
        Some(Overdue {
            call_sid: call_sid.clone(),
            recording_sid: None,
            reason,
            due,
            cause,
        })
    }

    /// A recording began and nothing was heard of it since.
    fn owed_by_recording(
        &self,
        call_sid: &CallSid,
        sid: &RecordingSid,
        began: UnixMillis,
        patience: Duration,
    ) -> Overdue {
        let (due, kind, key) = match self.ended {
            Some(ended) => (
                plus(ended.max(began), patience),
                EventKind::CallEnded,
                Key::single(),
            ),
            None => {
                let longest = self.started.map_or(RECORD_MAX_UNKNOWN, |(_, longest)| longest);
                (
                    plus(began, longest + patience),
                    EventKind::RecordingStarted,
                    Key::recording(sid.clone()),
                )
            }
        };
        Overdue {
            call_sid: call_sid.clone(),
            recording_sid: Some(sid.clone()),
            reason: MissingReason::DeadlinePassed,
            due,
            cause: Subject::new(call_sid.clone(), kind, key),
        }
    }
}

/// The first of several tellings of one fact counts.
fn earliest<T: Ord>(slot: &mut Option<T>, value: T) {
    if slot.as_ref().is_none_or(|before| value < *before) {
        *slot = Some(value);
    }
}

fn plus(time: UnixMillis, duration: Duration) -> UnixMillis {
    UnixMillis(
        time.0
            .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
    )
}

fn minus(time: UnixMillis, duration: Duration) -> UnixMillis {
    UnixMillis(
        time.0
            .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
    )
}

#[cfg(test)]
mod tests;

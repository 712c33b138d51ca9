//! Every name that crosses the broker: streams, subjects, consumers, headers, buckets; and the key rule.
//!
//! A subject is `calls.<call_sid>.<kind>.<lane>.<key>`; the parts of a key are joined with `-`, and no part
//! holds one (identifiers are `A-Z a-z 0-9 _`), so a key reads back without doubt.

use std::fmt;

use crate::event::MissingReason;
use crate::id::{CallSid, Lane, RecordingSid, Run};
use crate::kind::{EventKind, Stage};

/// The stream of all events.
pub const STREAM: &str = "CALLS";
/// The subjects of [`STREAM`].
pub const STREAM_SUBJECTS: &str = "calls.>";
/// Core NATS, outside the stream: "lead changed, position n", JSON `{"call_sid","status","position"}`; may be lost.
pub const LEAD_CHANGED: &str = "callfold.lead.changed";

/// Core NATS, outside the stream: asks the projector that writes the leads for a rebuild, or to delete the old tables.
pub const REBUILD: &str = "callfold.rebuild";
/// Core NATS, outside the stream: how far a rebuild is; may be lost.
pub const REBUILD_PROGRESS: &str = "callfold.rebuild.progress";

/// Key-value bucket: hash of a session's token → whose it is, and when and where it was opened.
pub const BUCKET_SESSIONS: &str = "sessions";
/// Key-value bucket: hash of a person's name → role, hash of the password, settings.
pub const BUCKET_USERS: &str = "users";
/// Key-value bucket: hash of a one-time sign-in link's token → for whom it is.
pub const BUCKET_LINKS: &str = "links";
/// Key-value bucket: hash of an API token → its name and what it is for.
pub const BUCKET_TOKENS: &str = "tokens";
/// Key-value bucket: the key that push messages are signed with.
pub const BUCKET_KEYS: &str = "keys";
/// Key-value bucket: what was told to whom, so that nobody is told twice.
pub const BUCKET_NOTIFICATIONS: &str = "notifications";
/// Key-value bucket: redeliveries that a stage asked for and no event tells of, `<stage>_<position>` → the delivery that
/// was answered so, in decimal.
pub const BUCKET_REDELIVERIES: &str = "redeliveries";

/// Key-value bucket: campaigns of re-runs, what each asks for and how far it is.
pub const BUCKET_CAMPAIGNS: &str = "campaigns";
/// Key-value bucket: hash of a request's `Idempotency-Key` → the run it asked for.
pub const BUCKET_REQUESTS: &str = "requests";

/// The name of the durable consumer that begins re-runs.
pub const STARTER_CONSUMER: &str = "reprocess_again";

/// The subject token of the kind.
pub const HEADER_KIND: &str = "Callfold-Kind";
/// The version of the payload, a decimal number.
pub const HEADER_VERSION: &str = "Callfold-Version";
/// When the fact was accepted, RFC 3339 with milliseconds.
pub const HEADER_TIME: &str = "Callfold-Time";
/// The `Nats-Msg-Id` of the event that led to this one.
pub const HEADER_CAUSE: &str = "Callfold-Cause";
/// W3C trace context.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// The server's de-duplication header; carries [`Subject::message_id`].
pub const HEADER_MSG_ID: &str = "Nats-Msg-Id";
/// Makes a subject writable once, for ever.
pub const HEADER_EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// The suffix of keys that the reconciler adds.
const RECONCILED: &str = "reconciled";

/// What makes an event the same fact as another one of its call and kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The recording it is about; `None` stands as `0`.
    pub recording: Option<RecordingSid>,
    /// The run, for what a stage did.
    pub run: Option<Run>,
    /// The stage and the number of the attempt, for failures. Attempt 0 is "waiting", not an attempt.
    pub attempt: Option<(Stage, u32)>,
    /// The number of a person's change, from 1.
    pub revision: Option<u64>,
    /// Why a recording is missing (a token, see [`crate::event::MissingReason`]).
    pub reason: Option<String>,
    /// Added by the reconciler; a live event wins over it.
    pub reconciled: bool,
}

impl Key {
    const EMPTY: Key = Key {
        recording: None,
        run: None,
        attempt: None,
        revision: None,
        reason: None,
        reconciled: false,
    };

    /// `0`: a fact of which a call has one.
    pub fn single() -> Self {
        Self::EMPTY
    }

    /// `<RE>`
    pub fn recording(recording: RecordingSid) -> Self {
        Self {
            recording: Some(recording),
            ..Self::EMPTY
        }
    }

    /// `<RE>-<run>`
    pub fn stage(recording: RecordingSid, run: Run) -> Self {
        Self {
            recording: Some(recording),
            run: Some(run),
            ..Self::EMPTY
        }
    }

    /// `<run>`: a re-run that was asked for.
    pub fn run(run: Run) -> Self {
        Self {
            run: Some(run),
            ..Self::EMPTY
        }
    }

    /// `<revision>`: a person's change.
    pub fn revision(revision: u64) -> Self {
        Self {
            revision: Some(revision),
            ..Self::EMPTY
        }
    }

    /// `<RE>-<run>-<stage>-<attempt>`
    pub fn failure(recording: RecordingSid, run: Run, stage: Stage, attempt: u32) -> Self {
        Self {
            recording: Some(recording),
            run: Some(run),
            attempt: Some((stage, attempt)),
            ..Self::EMPTY
        }
    }

    /// `<RE or 0>-<reason>`
    pub fn missing(recording: Option<RecordingSid>, reason: &str) -> Self {
        Self {
            recording,
            reason: Some(reason.to_owned()),
            ..Self::EMPTY
        }
    }

    /// The same key with the suffix of what the reconciler adds.
    pub fn reconciled(self) -> Self {
        Self {
            reconciled: true,
            ..self
        }
    }

    /// Reads the key of an event of `kind`; `None` where it does not have the form of that kind.
    pub fn parse(kind: EventKind, text: &str) -> Option<Self> {
        let mut parts: Vec<&str> = text.split('-').collect();
        let reconciled = parts.len() > 1 && parts.last() == Some(&RECONCILED);
        if reconciled {
            parts.pop();
        }
        let recording = |part: &str| RecordingSid::parse(part).ok();
        let run = |part: &str| part.parse::<u64>().ok().filter(|n| *n < Run::BOUND).map(Run);
        let again = |part: &str| run(part).filter(|run| *run != Run::FIRST);
        let key = match (kind, parts.as_slice()) {
            (
                EventKind::CallStarted | EventKind::CallEnded | EventKind::CallErased | EventKind::EraseDone,
                ["0"],
            ) => Self::single(),
            (EventKind::RecordingStarted | EventKind::RecordingReady, [re]) => {
                Self::recording(recording(re)?)
            }
            // A re-run from the download on: the first run stands without its number.
            (EventKind::RecordingReady, [re, n]) => Self::stage(recording(re)?, again(n)?),
            (EventKind::ReprocessRequested, [n]) => Self::run(again(n)?),
            (EventKind::LeadUpdated, [n]) => {
                Self::revision(n.parse().ok().filter(|n| (1..Run::BOUND).contains(n))?)
            }
            (EventKind::RecordingMissing, [re, reason]) => {
                let reason = MissingReason::ALL
                    .into_iter()
                    .find(|known| known.token() == *reason)?;
                Self::missing(
                    if *re == "0" { None } else { Some(recording(re)?) },
                    reason.token(),
                )
            }
            (
                EventKind::RecordingDownloaded | EventKind::TranscriptReady | EventKind::SummaryReady,
                [re, n],
            ) => Self::stage(recording(re)?, run(n)?),
            (EventKind::StageFailed, [re, n, stage, attempt]) => Self::failure(
                recording(re)?,
                run(n)?,
                Stage::from_token(stage)?,
                attempt.parse().ok()?,
            ),
            _ => return None,
        };
        let key = Self { reconciled, ..key };
        // A key has one spelling: `00` or `+1` would be a second subject for the same fact.
        (key.to_string() == text).then_some(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.recording {
            Some(recording) => f.write_str(recording.as_str())?,
            None => match (self.run, self.revision) {
                (Some(run), _) => write!(f, "{run}")?,
                (None, Some(revision)) => write!(f, "{revision}")?,
                (None, None) => f.write_str("0")?,
            },
        }
        if let (Some(_), Some(run)) = (&self.recording, self.run) {
            write!(f, "-{run}")?;
        }
        if let Some((stage, attempt)) = self.attempt {
            write!(f, "-{stage}-{attempt}")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, "-{reason}")?;
        }
        if self.reconciled {
            write!(f, "-{RECONCILED}")?;
        }
        Ok(())
    }
}

/// The subject of one event. Its text is also the event's `Nats-Msg-Id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// The call.
    pub call_sid: CallSid,
    /// The kind.
    pub kind: EventKind,
    /// The lane.
    pub lane: Lane,
    /// The key.
    pub key: Key,
}

impl Subject {
    /// The subject of an event; the lane follows from the key's run.
    pub fn new(call_sid: CallSid, kind: EventKind, key: Key) -> Self {
        let lane = key.run.unwrap_or(Run::FIRST).lane();
        Self {
            call_sid,
            kind,
            lane,
            key,
        }
    }

    /// The identity of the fact: the subject itself, for a subject is written once.
    pub fn message_id(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "calls.{}.{}.{}.{}",
            self.call_sid,
            self.kind,
            self.lane.token(),
            self.key
        )
    }
}

/// The tokens of a subject before they are understood; what an unknown kind still tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawSubject<'a> {
    /// The call's token.
    pub call_sid: &'a str,
    /// The kind's token.
    pub kind: &'a str,
    /// The lane's token.
    pub lane: &'a str,
    /// The key's text.
    pub key: &'a str,
}

impl<'a> RawSubject<'a> {
    /// Splits `calls.<call_sid>.<kind>.<lane>.<key>`.
    pub fn split(subject: &'a str) -> Option<Self> {
        let mut tokens = subject.split('.');
        let raw = match (
            tokens.next()?,
            tokens.next()?,
            tokens.next()?,
            tokens.next()?,
            tokens.next()?,
        ) {
            ("calls", call_sid, kind, lane, key) => Self {
                call_sid,
                kind,
                lane,
                key,
            },
            _ => return None,
        };
        tokens.next().is_none().then_some(raw)
    }
}

/// The filter of a stage's durable consumer: every call, one kind, one lane.
pub fn stage_filter(stage: Stage, lane: Lane) -> String {
    format!("calls.*.{}.{}.*", stage.input(), lane.token())
}

/// The name of a stage's durable consumer.
pub fn stage_consumer(stage: Stage, lane: Lane) -> String {
    format!("{stage}_{}", lane.token())
}

/// The filter for all events of one kind in both lanes.
pub fn kind_filter(kind: EventKind) -> String {
    format!("calls.*.{kind}.>")
}

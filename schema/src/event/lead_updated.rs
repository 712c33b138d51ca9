//! A person did something with the lead.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{PhoneNumber, RecordingSid, Run};

/// What a person made of a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Nobody did anything yet.
    Open,
    /// The caller was called back.
    CalledBack,
    /// There is nothing left to do.
    Done,
    /// It is none.
    Spam,
}

impl Disposition {
    /// All of them, the first one in front.
    pub const ALL: [Disposition; 4] = [
        Disposition::Open,
        Disposition::CalledBack,
        Disposition::Done,
        Disposition::Spam,
    ];

    /// The name in JSON and in the database.
    pub const fn token(self) -> &'static str {
        match self {
            Disposition::Open => "open",
            Disposition::CalledBack => "called_back",
            Disposition::Done => "done",
            Disposition::Spam => "spam",
        }
    }

    /// The value of a name.
    pub fn from_token(token: &str) -> Option<Self> {
        Disposition::ALL.into_iter().find(|value| value.token() == token)
    }
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// What a person did. Each says the whole new value, so that undoing is the same action with the value from before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LeadAction")]
pub enum LeadActionV1 {
    /// Looked at it for the first time, or marked it as not looked at.
    Seen {
        /// Whether it counts as seen.
        seen: bool,
    },
    /// Said what became of it.
    Disposition {
        /// What.
        disposition: Disposition,
    },
    /// Wrote the note.
    Note {
        /// The whole note; empty: none.
        text: String,
    },
    /// Gave it to somebody.
    Assignee {
        /// To whom; `None`: to nobody.
        assignee: Option<String>,
    },
    /// Put tags on it.
    Tags {
        /// All tags it has from now on.
        tags: Vec<String>,
    },
    /// Corrected what an engine heard.
    Transcript {
        /// The recording.
        recording_sid: RecordingSid,
        /// What was said, by a person who listened; `None` takes the correction back.
        text: Option<String>,
    },
    /// Corrected the caller's name.
    CallerName {
        /// The name; `None`: the one the summary found.
        name: Option<String>,
    },
    /// Corrected the number to call back at.
    CallbackNumber {
        /// The number; `None`: the one the summary found.
        number: Option<PhoneNumber>,
    },
    /// Chose the run that is shown; one that is asked for later replaces it when it is complete.
    Adopt {
        /// The run; `None`: the newest complete one that is not held for comparison.
        run: Option<Run>,
    },
}

impl LeadActionV1 {
    /// The name in JSON.
    pub const fn token(&self) -> &'static str {
        match self {
            LeadActionV1::Seen { .. } => "seen",
            LeadActionV1::Disposition { .. } => "disposition",
            LeadActionV1::Note { .. } => "note",
            LeadActionV1::Assignee { .. } => "assignee",
            LeadActionV1::Tags { .. } => "tags",
            LeadActionV1::Transcript { .. } => "transcript",
            LeadActionV1::CallerName { .. } => "caller_name",
            LeadActionV1::CallbackNumber { .. } => "callback_number",
            LeadActionV1::Adopt { .. } => "adopt",
        }
    }
}

// What people write about callers stays out of logs.
impl fmt::Debug for LeadActionV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeadActionV1({})", self.token())
    }
}

/// `lead_updated`, version 1. Its key is the revision: the first writer of a number wins, the other one reads again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeadUpdatedV1 {
    /// The number of the change, from 1; the highest one decides a value.
    pub revision: u64,
    /// Who did it: the name of an account or a token.
    pub by: String,
    /// What.
    pub action: LeadActionV1,
    /// A hash of the request's `Idempotency-Key` and content, by which the same request is known when it comes again.
    pub request: Option<String>,
}

impl fmt::Debug for LeadUpdatedV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeadUpdatedV1")
            .field("revision", &self.revision)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

//! Identifiers that are part of subjects, and personal values that must not be printed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest identifier that is taken as it is, in characters.
pub const ID_CHARS_MAX: usize = 64;

/// Why a text is not an identifier that can stand in a subject. Does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("is empty; 1 to 64 characters of A-Z, a-z, 0-9 and _ are taken")]
    Empty,
    /// More than [`ID_CHARS_MAX`] characters.
    #[error("is longer than 64 characters; 1 to 64 characters of A-Z, a-z, 0-9 and _ are taken")]
    TooLong,
    /// A character that has a meaning in subjects, or none at all.
    #[error("holds a character other than A-Z, a-z, 0-9 and _")]
    Character,
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_CHARS_MAX {
        return Err(IdError::TooLong);
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(IdError::Character);
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes 1 to 64 characters of `A-Z a-z 0-9 _`, as they are.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self(text.to_owned()))
            }

            /// The text as Twilio sent it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// One Twilio call. There is one lead for each.
    CallSid
}

id! {
    /// One recording of a call.
    RecordingSid
}

/// One pass of the stages over a call: `0` is the first; a re-run's number is minted by whoever asks for it
/// (milliseconds since the epoch × 1000 + random, below 2^53), so it is unique and grows with time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(transparent)]
pub struct Run(pub u64);

impl Run {
    /// The first pass.
    pub const FIRST: Run = Run(0);
    /// The bound: numbers stay exact where a reader keeps them as IEEE doubles.
    pub const BOUND: u64 = 1 << 53;

    /// The number of a new run: the moment, and a random part below 1,000.
    pub fn mint(now: UnixMillis, random: u16) -> Self {
        let ms = u64::try_from(now.0).unwrap_or_default();
        let number = ms.saturating_mul(1_000).saturating_add(u64::from(random % 1_000));
        Self(number.clamp(1, Self::BOUND - 1))
    }

    /// The lane in which events of this run travel.
    pub fn lane(self) -> Lane {
        if self == Run::FIRST {
            Lane::New
        } else {
            Lane::Again
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `new` for run 0, `again` for re-runs, so that a re-run never stands before a new call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// First runs.
    New,
    /// Re-runs.
    Again,
}

impl Lane {
    /// Both lanes, the one that goes first in front.
    pub const ALL: [Lane; 2] = [Lane::New, Lane::Again];

    /// The subject token.
    pub fn token(self) -> &'static str {
        match self {
            Lane::New => "new",
            Lane::Again => "again",
        }
    }

    /// The lane of a subject token.
    pub fn from_token(token: &str) -> Option<Self> {
        Lane::ALL.into_iter().find(|lane| lane.token() == token)
    }
}

/// A phone number, or what stands in its place (`anonymous`, `client:…`, `sip:…`). `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Default)]
#[serde(transparent)]
pub struct PhoneNumber(pub String);

impl PhoneNumber {
    /// The text, for the one place that shows or stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can be called back: E.164, `+` and 4 to 15 digits.
    pub fn is_e164(&self) -> bool {
        self.0.strip_prefix('+').is_some_and(|digits| {
            (4..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        })
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

impl From<&str> for PhoneNumber {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// `2026-11-22T10:00:00.000Z`; a moment outside the years −9999 to 9999 is clamped.
    pub fn rfc3339(self) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        format!("{moment:.3}")
    }

    /// Reads what [`UnixMillis::rfc3339`] writes, and any other RFC 3339 moment.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|moment| Self(moment.as_millisecond()))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

//! Sessions: a browser that is signed in.

use callfold_kit::Secret;
use callfold_schema::UnixMillis;
use serde::{Deserialize, Serialize};

/// How long a session lasts, in seconds: 12 hours.
pub const SESSION_SECONDS: i64 = 12 * 60 * 60;
/// How many sessions a person may have; a further one ends the oldest.
pub const SESSIONS_PER_PERSON: usize = 20;
/// The longest description of a browser that is kept, in characters.
pub(crate) const AGENT_CHARS_MAX: usize = 160;

/// How somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// With a one-time link.
    Link,
    /// With name and password.
    Password,
}

/// A session, without its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// The key of the person; `None`: whoever looks after the installation, before there was an owner. Sessions of earlier
    /// releases have none of what follows the times.
    #[serde(default)]
    pub person: Option<String>,
    /// When it was opened.
    pub created_at: UnixMillis,
    /// When it ends by itself.
    pub expires_at: UnixMillis,
    /// How.
    #[serde(default = "by_link")]
    pub via: Via,
    /// From which address.
    #[serde(default)]
    pub address: Option<String>,
    /// What the browser says it is.
    #[serde(default)]
    pub agent: Option<String>,
}

fn by_link() -> Via {
    Via::Link
}

/// A session that was just opened.
#[derive(Debug)]
pub struct Opened {
    /// Its token, for the cookie.
    pub token: Secret,
    /// What is kept of it.
    pub session: Session,
}

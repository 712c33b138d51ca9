//! One-time sign-in links.

use callfold_schema::UnixMillis;
use serde::{Deserialize, Serialize};

/// How long a link is good for, in milliseconds: 15 minutes.
pub const LINK_MS: i64 = 15 * 60 * 1_000;

/// A link, without its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    /// The key of the person it signs in; `None`: whoever looks after the installation, while there is no owner.
    pub person: Option<String>,
    /// Until when it is good.
    pub expires_at: UnixMillis,
    /// It was used.
    pub used: bool,
}

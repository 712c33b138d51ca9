//! Tokens: random texts that open something, and what is kept of them.

use callfold_kit::Secret;
use callfold_schema::UnixMillis;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How many API tokens there may be besides the one of the settings.
pub const TOKENS_MAX: usize = 100;

/// What a form token is made for, so that the same secret never signs something else.
const FORM: &[u8] = b"callfold form";

/// SHA-256 of a token: what is kept and compared in its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Compares in a time that tells nothing.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// 64 hexadecimal digits, a key of the broker's bucket.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A new token: 256 random bits that may stand in a URL and in a cookie.
pub fn new_secret() -> Secret {
    let bytes: [u8; 32] = rand::random();
    Secret::new(BASE64URL_NOPAD.encode(&bytes))
}

/// What the forms of a session carry: made from the session's own token, which no other site knows, so that every process
/// can check it and nothing has to be kept.
pub fn form_token(session: &str) -> String {
    BASE64URL_NOPAD.encode(&form_mac(session).finalize().into_bytes())
}

/// Whether a form token is that of the session; compared in a time that tells nothing.
pub fn is_form_token(session: &str, given: &str) -> bool {
    BASE64URL_NOPAD
        .decode(given.as_bytes())
        .is_ok_and(|given| form_mac(session).verify_slice(&given).is_ok())
}

fn form_mac(session: &str) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(session.as_bytes())
        .expect("an HMAC takes a key of any length");
    mac.update(FORM);
    mac
}

/// What a program may do. Each includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Reads leads, stories, recordings.
    Read,
    /// Acts on leads and asks for re-runs, too.
    Write,
    /// Erases and exports, too.
    Erase,
}

impl Scope {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Erase];

    /// `read`, `write`, `erase`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Erase => "erase",
        }
    }

    /// The reverse of [`Scope::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// An API token, without the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    /// What it is called, in events too.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: UnixMillis,
    /// The beginning of the hour in which it was last used, UTC; `None`: never.
    pub used_at: Option<UnixMillis>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_token_belongs_to_one_session() {
        let (one, other) = (new_secret(), new_secret());
        let token = form_token(one.expose());
        assert!(is_form_token(one.expose(), &token));
        assert!(!is_form_token(other.expose(), &token));
        for wrong in ["", "x", &token[..token.len() - 1], &format!("{token}A")] {
            assert!(!is_form_token(one.expose(), wrong), "{wrong}");
        }
        assert!(!token.contains(one.expose()));
    }

    #[test]
    fn scopes_include_the_smaller_ones_and_have_names() {
        assert!(Scope::Erase > Scope::Write && Scope::Write > Scope::Read);
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.name()), Some(scope));
        }
        assert_eq!(Scope::from_name("all"), None);
    }
}

//! A person: name, role, and what they chose.

use callfold_kit::Secret;
use callfold_schema::UnixMillis;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Refusal;

/// How many people there may be.
pub const PEOPLE_MAX: usize = 500;
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 60;
/// The longest e-mail address, in bytes.
pub const EMAIL_BYTES_MAX: usize = 254;
/// How many browsers of a person may be sent push messages; a further one takes the place of the oldest.
pub const SUBSCRIPTIONS_MAX: usize = 10;
/// The longest address of a push subscription, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 1_024;

/// What somebody may do. Each includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads leads and nothing more.
    Viewer,
    /// Acts on leads and asks for re-runs; sees how the system works.
    Agent,
    /// Erases, exports, and decides who works here.
    Owner,
}

impl Role {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Agent, Self::Owner];

    /// `viewer`, `agent`, `owner`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Agent => "agent",
            Self::Owner => "owner",
        }
    }

    /// The reverse of [`Role::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A browser that a person asked to be told in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSubscription {
    /// Where the browser's push service takes messages. Whoever knows it can disturb the person: never logged.
    pub endpoint: String,
    /// The browser's public key, base64url: an uncompressed point of P-256, 65 bytes.
    pub p256dh: String,
    /// The browser's secret, base64url: 16 bytes.
    pub auth: String,
    /// When it was made.
    pub created_at: UnixMillis,
}

impl std::fmt::Debug for PushSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushSubscription")
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

impl PushSubscription {
    /// Checked: lengths, an https address (plain http on this machine, for tests), and keys that are keys.
    pub fn checked(
        endpoint: &str,
        p256dh: &str,
        auth: &str,
        created_at: UnixMillis,
    ) -> Result<Self, Refusal> {
        let decoded = |text: &str, bytes: usize| {
            BASE64URL_NOPAD
                .decode(text.trim_end_matches('=').as_bytes())
                .is_ok_and(|decoded| decoded.len() == bytes)
        };
        let is_address = endpoint.len() <= ENDPOINT_BYTES_MAX
            && endpoint.is_ascii()
            && !endpoint.contains(char::is_whitespace)
            && (endpoint.starts_with("https://") || endpoint.starts_with("http://127.0.0.1:"));
        if !is_address || !decoded(p256dh, 65) || !decoded(auth, 16) {
            return Err(Refusal::Subscription);
        }
        Ok(Self {
            endpoint: endpoint.to_owned(),
            p256dh: p256dh.trim_end_matches('=').to_owned(),
            auth: auth.trim_end_matches('=').to_owned(),
            created_at,
        })
    }

    /// A short name for this browser that tells nothing of the address.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.endpoint.as_bytes())[..8])
    }
}

/// Somebody who works here.
#[derive(Clone, Serialize, Deserialize)]
pub struct Person {
    /// As it stands in events and on pages.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The hash of their password (PHC string); `None`: they sign in by links only.
    pub password: Option<String>,
    /// Where e-mail goes.
    pub email: Option<String>,
    /// Whether a new lead is told by e-mail.
    pub notify_email: bool,
    /// Whether a new lead is told in the browsers below.
    pub notify_push: bool,
    /// The language of messages and pages, BCP 47; `None`: what the browser says.
    pub language: Option<String>,
    /// Browsers that are sent push messages, the oldest first.
    pub subscriptions: Vec<PushSubscription>,
    /// When they were added. Older sessions of the same name are those of somebody who left.
    pub created_at: UnixMillis,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Who is to be added.
#[derive(Debug)]
pub struct NewPerson {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The password; `None`: by links only.
    pub password: Option<Secret>,
}

impl Person {
    /// The key of the bucket.
    pub fn key(&self) -> String {
        key_of_name(&self.name)
    }
}

/// The name as it is kept: without blanks around it.
pub(crate) fn checked_name(name: &str) -> Result<String, Refusal> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(Refusal::Name);
    }
    Ok(name)
}

/// The key of a name: names are in any script and a key is not. Upper and lower case are the same person.
pub fn key_of_name(name: &str) -> String {
    let name = name
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase();
    HEXLOWER.encode(&Sha256::digest(name.as_bytes())[..16])
}

/// An address that mail can be sent to. What is behind it is found out by sending.
pub(crate) fn checked_email(email: &str) -> Result<Option<String>, Refusal> {
    let email = email.trim();
    if email.is_empty() {
        return Ok(None);
    }
    let is_address = email.len() <= EMAIL_BYTES_MAX
        && !email.contains(|c: char| c.is_whitespace() || c.is_control() || "<>,;\"".contains(c))
        && email
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    if is_address {
        Ok(Some(email.to_owned()))
    } else {
        Err(Refusal::Email)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_in_other_letters_is_the_same_person() {
        assert_eq!(key_of_name("  Dana   Levi "), key_of_name("dana levi"));
        assert_ne!(key_of_name("דנה"), key_of_name("דן"));
        assert_eq!(key_of_name("דנה").len(), 32);
    }

    #[test]
    fn a_name_is_short_and_can_be_printed() {
        assert_eq!(checked_name(" דנה  לוי "), Ok("דנה לוי".to_owned()));
        for wrong in ["", "  ", "a\u{7}b", &"א".repeat(61)] {
            assert_eq!(checked_name(wrong), Err(Refusal::Name));
        }
        assert!(checked_name(&"א".repeat(60)).is_ok());
    }

    #[test]
    fn an_address_has_two_sides_and_no_second_header() {
        assert_eq!(checked_email(" "), Ok(None));
        assert!(checked_email("dana@example.com").is_ok());
        for wrong in [
            "dana",
            "@example.com",
            "dana@",
            "a@b@c",
            "a@b\r\nBcc: c@d",
            "<a@b>",
            "a@b,c@d",
        ] {
            assert_eq!(checked_email(wrong), Err(Refusal::Email), "{wrong}");
        }
    }

    #[test]
    fn a_subscription_has_an_https_address_and_keys() {
        let key = BASE64URL_NOPAD.encode(&[4; 65]);
        let auth = BASE64URL_NOPAD.encode(&[1; 16]);
        let now = UnixMillis(0);
        assert!(PushSubscription::checked("https://push.example/x", &key, &auth, now).is_ok());
        for (endpoint, key, auth) in [
            ("http://push.example/x", key.as_str(), auth.as_str()),
            ("https://push.example/x", "AAAA", &auth),
            ("https://push.example/x", &key, "AAAA"),
            ("https://push.example/ x", &key, &auth),
        ] {
            assert_eq!(
                PushSubscription::checked(endpoint, key, auth, now),
                Err(Refusal::Subscription)
            );
        }
    }
}

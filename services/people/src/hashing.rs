//! Passwords: what is taken, and how they are hashed: Argon2id with 19 MiB, two passes and one lane, what OWASP recommends.
//! Hashing takes tens of milliseconds of a core: it is done off the async threads, and by a few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use callfold_kit::Secret;
use tokio::sync::{OnceCell, Semaphore};

use crate::error::{PeopleError, Refusal};

/// The shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// How many are hashed at a time: 19 MiB each.
const AT_ONCE: usize = 2;
/// How many may wait for that.
const WAITING_MAX: usize = 32;
/// Memory in KiB, passes, lanes.
const COST: (u32, u32, u32) = (19 * 1_024, 2, 1);
/// Fewer different characters are a pattern.
const DIFFERENT_CHARS_MIN: usize = 5;

/// What many people take when twelve characters are asked for, without digits behind it and in lower case.
const COMMON: &[&str] = &[
    "password",
    "passwordpassword",
    "passw0rd",
    "qwertyuiop",
    "qwertyuiopasdfgh",
    "qwerty",
    "iloveyou",
    "letmein",
    "letmeinletmein",
    "administrator",
    "adminadmin",
    "welcome",
    "welcomewelcome",
    "abcdefghijkl",
    "abcdefghijklm",
    "changeme",
    "changemechangeme",
    "callfold",
    "callfoldcallfold",
    "trustno",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "superman",
    "correcthorsebatterystaple",
    "asdfghjkl",
    "zxcvbnm",
    "qazwsxedcrfv",
    "סיסמה",
    "סיסמא",
    "1q2w3e4r5t6y",
    "q1w2e3r4t5y6",
    "qwerty123456",
    "password1234",
];

/// Whether the password may be taken for somebody of this name.
pub(crate) fn check(password: &str, name: &str) -> Result<(), Refusal> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Refusal::PasswordLong);
    }
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(Refusal::PasswordShort);
    }
    let plain = password.to_lowercase();
    let mut different: Vec<char> = plain.chars().collect();
    different.sort_unstable();
    different.dedup();
    let stem =
        plain.trim_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation() || c.is_whitespace());
    let name = name.to_lowercase();
    let is_digits = plain.chars().all(|c| c.is_ascii_digit());
    if different.len() < DIFFERENT_CHARS_MIN
        || COMMON.contains(&plain.as_str())
        || COMMON.contains(&stem)
        || is_digits
        || stem == name
    {
        return Err(Refusal::PasswordCommon);
    }
    Ok(())
}

/// Hashes and checks passwords.
pub(crate) struct Hashing {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The hash of a password that nobody has: names that are not there take as long as those that are.
    nobody: OnceCell<String>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            nobody: OnceCell::new(),
        }
    }
}

fn argon2() -> Result<Argon2<'static>, PeopleError> {
    let (memory, passes, lanes) = COST;
    let params =
        Params::new(memory, passes, lanes, None).map_err(|error| PeopleError::Hash(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &Secret) -> Result<String, PeopleError> {
    let salt: [u8; 16] = rand::random();
    let hashed = argon2()?
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|error| PeopleError::Hash(error.to_string()))?;
    Ok(hashed.to_string())
}

fn verify_now(password: &Secret, hash: &str) -> Result<bool, PeopleError> {
    let hash = PasswordHash::new(hash).map_err(|error| PeopleError::Hash(error.to_string()))?;
    // The costs are those that stand in the hash.
    Ok(argon2()?
        .verify_password(password.expose().as_bytes(), &hash)
        .is_ok())
}

impl Hashing {
    pub(crate) async fn hash(&self, password: Secret) -> Result<String, PeopleError> {
        self.in_turn(move || hash_now(&password)).await
    }

    /// Whether it is the password behind `hash`. Without a hash the answer is no, after the same time.
    pub(crate) async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool, PeopleError> {
        let is_there = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => {
                let made = self
                    .nobody
                    .get_or_try_init(|| self.hash(crate::token::new_secret()))
                    .await?;
                made.clone()
            }
        };
        let is_it = self.in_turn(move || verify_now(&password, &hash)).await?;
        Ok(is_it && is_there)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PeopleError> + Send + 'static,
    ) -> Result<T, PeopleError> {
        let waiting = Waiting::begin(&self.waiting)?;
        // Never closed.
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|_| PeopleError::Busy)?;
        drop(waiting);
        tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _turn = turn;
            work()
        })
        .await
        .map_err(|_| PeopleError::Panicked)?
    }
}

/// One who waits; counted until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Result<Self, PeopleError> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(count);
        if before >= WAITING_MAX {
            return Err(PeopleError::Busy);
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easy_passwords_are_refused() {
        for (password, why) in [
            ("kitchen-42", Refusal::PasswordShort),
            ("Password1234", Refusal::PasswordCommon),
            ("letmein!!!!!!", Refusal::PasswordCommon),
            ("aaaaaaaaaaaaaaaa", Refusal::PasswordCommon),
            ("123456789012", Refusal::PasswordCommon),
            ("Dana Levi 2026", Refusal::PasswordCommon),
            (&"ab3-".repeat(65), Refusal::PasswordLong),
        ] {
            assert_eq!(check(password, "Dana Levi"), Err(why), "{password}");
        }
        for good in ["four words on a line", "מטבח ירוק ליד הים", "k3-Zp_vv91xQ"] {
            assert_eq!(check(good, "Dana Levi"), Ok(()), "{good}");
        }
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_another_one_is_not() {
        let hashing = Hashing::default();
        let secret = |text: &str| Secret::new(text);
        let hash = hashing
            .hash(secret("four words on a line"))
            .await
            .expect("it hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let is_it = async |password: &str, hash: Option<&String>| {
            hashing
                .verify(secret(password), hash.cloned())
                .await
                .expect("it verifies")
        };
        assert!(is_it("four words on a line", Some(&hash)).await);
        assert!(!is_it("four words on a lime", Some(&hash)).await);
        assert!(!is_it("four words on a line", None).await);
        let again = hashing
            .hash(secret("four words on a line"))
            .await
            .expect("it hashes");
        assert_ne!(hash, again, "salted");
    }
}

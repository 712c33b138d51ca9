//! What can go wrong.

use callfold_kit::bus::ReadError;

/// Why something about people was not done. A variant is an attempt.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The broker.
    #[error("could not read or write who works here")]
    Bucket(#[source] ReadError),
    /// JSON.
    #[error("could not encode an entry about people")]
    Encode(#[source] serde_json::Error),
    /// Argon2 refused; its text tells nothing of the password.
    #[error("could not hash a password: {0}")]
    Hash(String),
    /// A thread that hashes panicked.
    #[error("the thread that hashes passwords panicked")]
    Panicked,
    /// As many passwords are being checked, and wait to be, as may be.
    #[error("too many passwords are being checked")]
    Busy,
    /// Others change the same entry all the time.
    #[error("others are changing the same entry")]
    Contended,
    /// What was asked for is not allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What is not allowed, and what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name.
    #[error("a name has 1 to 60 characters, none of them a control character")]
    Name,
    /// The name is there.
    #[error("there is somebody of that name already")]
    NameTaken,
    /// There is nobody of that name.
    #[error("there is nobody of that name")]
    Nobody,
    /// The first person must be able to add others.
    #[error("the first person has to be an owner")]
    FirstIsOwner,
    /// Somebody must be able to manage people.
    #[error("this is the last owner: make somebody else one first")]
    LastOwner,
    /// As many people as there may be.
    #[error("there are as many people as there may be (500)")]
    TooMany,
    /// The password is too short.
    #[error("a password has 12 characters or more")]
    PasswordShort,
    /// The password is too long.
    #[error("a password has 256 bytes at most")]
    PasswordLong,
    /// The password is easy to guess.
    #[error(
        "this password is easy to guess: take one that is not common, not the name, and has more different characters"
    )]
    PasswordCommon,
    /// The address.
    #[error("this is no e-mail address")]
    Email,
    /// A push subscription.
    #[error("this is no push subscription: an https address and the keys p256dh and auth")]
    Subscription,
    /// The name of an API token.
    #[error("a token's name has 1 to 60 characters, none of them a control character, and is not taken")]
    TokenName,
    /// As many API tokens as there may be.
    #[error("there are as many API tokens as there may be (100)")]
    TooManyTokens,
}

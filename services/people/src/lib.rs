//! Who works here: people with roles, their passwords, sessions and sign-in links, and the tokens of programs.
//!
//! All of it lives in buckets of the broker, outside the stream: a rebuild of the leads leaves it alone, and every process
//! that serves pages knows the same. Tokens, links and passwords are kept as hashes only.

mod attempts;
mod bucket;
mod error;
mod hashing;
mod link;
mod people;
mod person;
mod session;
mod token;

pub use attempts::{Attempts, FREE_PER_ADDRESS, FREE_PER_NAME, WAIT_MS_MAX};
pub use error::{PeopleError, Refusal};
pub use hashing::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
pub use link::{LINK_MS, Link};
pub use people::People;
pub use person::{
    EMAIL_BYTES_MAX, ENDPOINT_BYTES_MAX, NAME_CHARS_MAX, NewPerson, PEOPLE_MAX, Person, PushSubscription,
    Role, SUBSCRIPTIONS_MAX, key_of_name,
};
pub use session::{Opened, SESSION_SECONDS, SESSIONS_PER_PERSON, Session, Via};
pub use token::{Scope, TOKENS_MAX, Token, TokenHash, form_token, is_form_token, new_secret};

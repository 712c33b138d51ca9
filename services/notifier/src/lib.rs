//! Tells people of a new lead, by e-mail and by push message: the headline, and where the card is.
//!
//! **When.** With the first `summary_ready` of a call's first run: then there is something to say. Re-runs, corrections and
//! calls without a message tell nobody; they are on the page.
//!
//! **Duplicates.** The input may come again after a crash, a lost acknowledgement or a retry, and a call of several
//! recordings has several. What was told to whom is kept in the bucket `notifications` as soon as the mail server or the
//! push service has taken it, and is not told again. Only a crash between those two moments tells twice; mails carry
//! the same `Message-ID` then, and push messages replace each other in the browser.
//!
//! **Order.** None: a message that is put off does not hold up others.

mod config;
mod mail;
mod news;
mod notifier;
mod push;

pub use config::{MailConfig, NotifierConfig, PUSH_HOSTS};
pub use mail::Smtp;
pub use notifier::{ATTEMPTS_MAX, BuildError, Deps, NEWS_MS_MAX, Notifier, Retries, build, run};
pub use push::{PushKey, encrypt};

//! What should have come and did not.
//!
//! Deadlines: a call whose recording does not come ends as `RecordingMissing`, so that no card waits for ever. Deciding is
//! pure ([`deadline`]); [`run`] reads the stream and publishes. [`reconcile`] compares the stream with Twilio's own lists.
//! Re-runs begin here ([`rerun`]), and [`erase`] sees to it that nothing is left of calls that are to be forgotten.

pub mod config;
pub mod deadline;
pub mod erase;
pub mod reconcile;
pub mod rerun;
mod run;

pub use config::ReconcilerConfig;
pub use run::run;

use callfold_kit::lifecycle::BoxError;
use callfold_twilio::rest::RestClient;

/// A client of the account's REST API; `None` where no account is set.
///
/// # Errors
/// The HTTP client cannot be made.
pub fn twilio(config: &ReconcilerConfig) -> Result<Option<RestClient>, BoxError> {
    let Some(account) = &config.account else {
        return Ok(None);
    };
    let http = callfold_kit::http::client_builder().build()?;
    Ok(Some(RestClient::new(
        http,
        config.api.clone(),
        account.sid.clone(),
        account.tokens.clone(),
    )))
}

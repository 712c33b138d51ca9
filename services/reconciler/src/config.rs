//! The settings of the reconciler.

use std::time::Duration;

use callfold_kit::config::Settings;
use callfold_twilio::AuthToken;
use callfold_twilio::rest::RestClient;
use url::Url;

use crate::deadline::Bounds;
use crate::reconcile::{Account, Ours};

/// How often the stream is compared with Twilio's lists, in seconds.
const RECONCILE_EVERY_SECS: u64 = 3_600;

/// The settings of the reconciler.
#[derive(Debug, Clone)]
pub struct ReconcilerConfig {
    /// How long after the end of a call its recording is waited for.
    pub patience: Duration,
    /// How far back the stream is read at start. Older calls that still owe a recording are left as they are.
    pub look_back: Duration,
    /// Bounds of what is kept in memory.
    pub bounds: Bounds,
    /// Most events taken in before the clock is looked at again.
    pub batch_events: usize,
    /// Whose lists of calls and recordings the stream is compared with; `None`: nobody's.
    pub account: Option<Account>,
    /// Where Twilio's REST API is.
    pub api: Url,
    /// Which of the account's calls are callfold's.
    pub ours: Ours,
    /// How often it is compared; `None`: at start and after an outage only.
    pub reconcile_every: Option<Duration>,
}

impl Default for ReconcilerConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(300),
            look_back: Duration::from_secs(30 * 24 * 3_600),
            bounds: Bounds::default(),
            batch_events: 1_000,
            account: None,
            api: Url::parse(RestClient::DEFAULT_BASE).expect("a constant that is a URL"),
            ours: Ours::default(),
            reconcile_every: Some(Duration::from_secs(RECONCILE_EVERY_SECS)),
        }
    }
}

impl ReconcilerConfig {
    /// `CALLFOLD_MISSING_AFTER_SECS`, `TWILIO_ACCOUNT_SID`, `TWILIO_AUTH_TOKEN`, `TWILIO_API_URL`,
    /// `CALLFOLD_RECONCILE_EVERY_SECS` (0: not by the clock), `CALLFOLD_RECONCILE_CALLS` (`numbers` or `all`).
    pub fn from_settings(settings: &mut Settings<'_>) -> Self {
        let defaults = Self::default();
        let patience = settings.number(
            "CALLFOLD_MISSING_AFTER_SECS",
            defaults.patience.as_secs(),
            1,
            86_400,
            "seconds",
        );
        let sid = settings
            .text("TWILIO_ACCOUNT_SID")
            .map(|sid| sid.trim().to_owned());
        let tokens = settings
            .secret("TWILIO_AUTH_TOKEN")
            .map(|list| AuthToken::parse_list(list.expose()))
            .unwrap_or_default();
        let account = sid
            .filter(|sid| !sid.is_empty() && !tokens.is_empty())
            .map(|sid| Account { sid, tokens });
        let api = settings
            .base_url(
                "TWILIO_API_URL",
                Some(RestClient::DEFAULT_BASE),
                "https://api.dublin.ie1.twilio.com",
            )
            .and_then(|url| Url::parse(&url).ok())
            .unwrap_or(defaults.api);
        let every = settings.number(
            "CALLFOLD_RECONCILE_EVERY_SECS",
            RECONCILE_EVERY_SECS,
            0,
            7 * 86_400,
            "seconds",
        );
        let ours = settings.parse("CALLFOLD_RECONCILE_CALLS", Ours::default(), "numbers or all");
        Self {
            patience: Duration::from_secs(patience),
            account,
            api,
            ours,
            reconcile_every: (every > 0).then(|| Duration::from_secs(every)),
            ..defaults
        }
    }
}

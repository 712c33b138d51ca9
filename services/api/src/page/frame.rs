//! What every page shares: words, addresses of assets, warnings, and where live updates take up.

use callfold_schema::UnixMillis;
use jiff::tz::TimeZone;

use crate::app::App;
use crate::assets;
use crate::words::{HEBREW, Words};

/// The frame around a page, and what its parts need to say times and words.
pub(crate) struct Frame {
    pub(crate) w: &'static Words,
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
    pub(crate) demonstration_model: bool,
    pub(crate) unsigned_webhooks: bool,
    /// Signed in, with live updates.
    pub(crate) live: bool,
    /// The position of the lead table before it was read for this page: updates take up behind it.
    pub(crate) position: u64,
    pub(crate) now_ms: i64,
    pub(crate) zone: String,
    pub(crate) timezone: TimeZone,
}

impl Frame {
    /// A page that follows live updates behind `position`.
    pub(crate) fn live(app: &App, position: u64) -> Self {
        Self {
            live: true,
            position,
            ..Self::still(app)
        }
    }

    /// A page that stands still.
    pub(crate) fn still(app: &App) -> Self {
        let warnings = (app.warnings)();
        Self {
            w: &HEBREW,
            style: assets::style_url(),
            script: assets::script_url(),
            icon: assets::icon_url(),
            demonstration_model: warnings.demonstration_model,
            unsigned_webhooks: warnings.unsigned_webhooks,
            live: false,
            position: 0,
            now_ms: app.clock.now().0,
            zone: app.timezone.iana_name().unwrap_or("UTC").to_owned(),
            timezone: app.timezone.clone(),
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.now_ms)
    }
}

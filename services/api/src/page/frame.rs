//! What every page shares: words, addresses of assets, warnings, and where live updates take up.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use callfold_schema::UnixMillis;
use jiff::tz::TimeZone;

use crate::app::App;
use crate::auth;
use crate::words::{Language, Words};

/// Who looks at a page, and in which language.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    pub(crate) language: Language,
    /// The name that leads are assigned to; `None` for who is not signed in.
    pub(crate) person: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            language: Language::of(&parts.headers),
            person: auth::person(parts),
        })
    }
}

/// The frame around a page, and what its parts need to say times and words.
pub(crate) struct Frame {
    pub(crate) w: &'static Words,
    pub(crate) viewer: Viewer,
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
    pub(crate) fn live(app: &App, viewer: &Viewer, position: u64) -> Self {
        Self {
            live: true,
            position,
            ..Self::still(app, viewer)
        }
    }

    /// A page that stands still.
    pub(crate) fn still(app: &App, viewer: &Viewer) -> Self {
        let warnings = (app.warnings)();
        Self {
            w: viewer.language.words(),
            viewer: viewer.clone(),
            demonstration_model: warnings.demonstration_model,
            unsigned_webhooks: warnings.unsigned_webhooks,
            live: false,
            position: 0,
            now_ms: app.clock.now().0,
            zone: app.timezone.iana_name().unwrap_or("UTC").to_owned(),
            timezone: app.timezone.clone(),
        }
    }

    /// The languages to choose from: tag, name, whether it is the one of this page.
    pub(crate) fn languages(&self) -> [(&'static str, &'static str, bool); 2] {
        Language::ALL.map(|language| (language.tag(), language.name(), language == self.viewer.language))
    }

    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.now_ms)
    }
}

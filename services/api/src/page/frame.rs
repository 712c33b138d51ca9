//! What every page shares: words, addresses of assets, warnings, and where live updates take up.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use callfold_people::Role;
use callfold_schema::UnixMillis;
use jiff::tz::TimeZone;

use crate::app::App;
use crate::auth::{self, Who};
use crate::words::{Language, Words};

/// Who looks at a page, and in which language.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    pub(crate) language: Language,
    /// The name that leads are assigned to; `None` for who is not signed in.
    pub(crate) person: Option<String>,
    /// Who it is; `None` for who is not signed in.
    pub(crate) who: Option<Arc<Who>>,
}

impl Viewer {
    /// Whether the session is somebody's by name.
    pub(crate) fn has_name(&self) -> bool {
        self.who.as_ref().is_some_and(|who| who.person.is_some())
    }

    /// Whether they may do what needs this role.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.who.as_ref().is_some_and(|who| who.may(role))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            language: Language::of(&parts.headers),
            person: auth::person(parts),
            who: auth::who(parts),
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

    /// What forms carry, so that it is known that this page sent them; empty for who is not signed in.
    pub(crate) fn form_token(&self) -> &str {
        self.viewer.who.as_ref().map_or("", |who| &who.form_token)
    }

    /// Whether the reader may act on leads, and see how the system works.
    pub(crate) fn is_agent(&self) -> bool {
        self.viewer.may(Role::Agent)
    }

    /// Whether the reader may erase, export, and decide who works here.
    pub(crate) fn is_owner(&self) -> bool {
        self.viewer.may(Role::Owner)
    }

    /// The roles to choose from: token and words.
    pub(crate) fn roles(&self) -> [(&'static str, &'static str); 3] {
        Role::ALL.map(|role| (role.name(), self.role(role)))
    }

    /// A role in words.
    pub(crate) fn role(&self, role: Role) -> &'static str {
        let w = &self.w.people;
        match role {
            Role::Viewer => w.role_viewer,
            Role::Agent => w.role_agent,
            Role::Owner => w.role_owner,
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.now_ms)
    }
}

//! The api as a whole: what it is built from, its router, its one background task.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use callfold_kit::blob::Blobs;
use callfold_kit::bus::{Bus, BusError, Kv};
use callfold_kit::clock::SharedClock;
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::metric::Metrics;
use callfold_people::{Attempts, People, PeopleError, TokenHash};
use callfold_schema::subject::BUCKET_REQUESTS;
use callfold_store::ReadLeads;
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;

use crate::auth::{Auth, Links};
use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::export::EXPORTS_MAX;
use crate::operation::Remembered;
use crate::page::Colleagues;
use crate::peaks::Peaks;
use crate::routes;
use crate::sse::Feed;

/// How long a request with an `Idempotency-Key` is known again.
const REQUESTS_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// What every page warns of. The caller knows which speech model is in use and whether webhooks are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warnings {
    /// The speech model is the demonstration model.
    pub demonstration_model: bool,
    /// Signatures of webhooks are not checked.
    pub unsigned_webhooks: bool,
}

/// What the api works with.
pub struct Deps {
    /// The broker: sessions, stories, notices.
    pub bus: Bus,
    /// The lead table.
    pub leads: Arc<dyn ReadLeads>,
    /// The recordings.
    pub blobs: Blobs,
    /// The time of day.
    pub clock: SharedClock,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The life of the process; the background task runs in it.
    pub lifecycle: Lifecycle,
    /// What every page warns of, asked for each: the speech model may change.
    pub warnings: Box<dyn Fn() -> Warnings + Send + Sync>,
}

/// The state that handlers share.
pub(crate) type App = Arc<AppState>;

pub(crate) struct AppState {
    pub(crate) bus: Bus,
    pub(crate) leads: Arc<dyn ReadLeads>,
    pub(crate) blobs: Blobs,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) warnings: Box<dyn Fn() -> Warnings + Send + Sync>,
    pub(crate) timezone: TimeZone,
    pub(crate) auth: Auth,
    pub(crate) feed: Feed,
    /// The waveforms of recordings.
    pub(crate) peaks: Peaks,
    /// Who a lead can be given to.
    pub(crate) colleagues: Colleagues,
    /// What requests with an `Idempotency-Key` were answered.
    pub(crate) requests: Kv,
    /// Places for tables that are sent.
    pub(crate) exports: Arc<Semaphore>,
    /// How the system works, as it was found out last.
    pub(crate) operation: Remembered,
}

impl AppState {
    /// The position behind which live updates take up.
    pub(crate) async fn position(&self) -> Result<u64, ApiError> {
        self.leads.newest_position().await.map_err(ApiError::Store)
    }
}

/// The api, built.
#[derive(Clone)]
pub struct Api {
    app: App,
}

/// Opens the buckets of people and sessions and starts the tasks that live updates and changes of people come from.
pub async fn build(config: ApiConfig, deps: Deps) -> Result<Api, BusError> {
    let people = Arc::new(People::open(&deps.bus).await?);
    people.watch(&deps.lifecycle);
    let requests = deps.bus.kv(BUCKET_REQUESTS, Some(REQUESTS_KEPT)).await?;
    let auth = Auth {
        token: config.token.as_ref().map(|token| TokenHash::of(token.expose())),
        links: Links::default(),
        people,
        attempts: Attempts::default(),
        public_url: config.public_url,
    };
    let feed = Feed::start(Arc::clone(&deps.leads), deps.bus.clone(), &deps.lifecycle);
    let app = Arc::new(AppState {
        bus: deps.bus,
        leads: deps.leads,
        blobs: deps.blobs,
        clock: deps.clock,
        metrics: deps.metrics,
        lifecycle: deps.lifecycle,
        warnings: deps.warnings,
        timezone: config.timezone,
        auth,
        feed,
        peaks: Peaks::default(),
        colleagues: Colleagues::default(),
        requests,
        exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
        operation: Remembered::default(),
    });
    Ok(Api { app })
}

impl Api {
    /// Pages, API and assets. Has a fallback for unknown paths, so a router it is merged with must have none.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.app))
    }

    /// Whether there is an owner: then people sign in by name, and [`Api::issue_sign_in_link`] gives links that are refused.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn has_owner(&self) -> Result<bool, PeopleError> {
        self.app.auth.people.has_owner(self.app.clock.now()).await
    }

    /// Path and query of a new sign-in link (`/signin?token=…`), good once within 15 minutes, for the owner while nobody has
    /// been added as one. A secret: it goes to standard output or to the person, never to a log.
    pub fn issue_sign_in_link(&self) -> String {
        let token = self.app.auth.links.issue(self.app.clock.now());
        format!("/signin?token={}", token.expose())
    }
}

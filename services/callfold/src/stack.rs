//! Roles joined in one process: one straight list. `up`, a role alone and whole-system tests build the same way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use callfold_kit::blob::{BlobConfig, Blobs};
use callfold_kit::bus::BusConfig;
use callfold_kit::config::Settings;
use callfold_kit::lifecycle::{BoxError, Lifecycle};
use callfold_kit::stage::{StageDeps, StageHandler, StagePolicy, run_stage};
use callfold_kit::{Bus, Health, Metrics, Numbers, SharedClock, SystemClock};
use callfold_reconciler::erase::{Eraser, retention};
use callfold_store::{ReadLeads, WriteLeads};
use callfold_store_postgres::PostgresStore;
use callfold_store_sqlite::SqliteStore;
use tokio::net::TcpListener;

use crate::lead_index::LeadIndex;

/// A service inside the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Webhooks → events.
    Gateway,
    /// Media → blob store.
    Downloader,
    /// Audio → text.
    Transcriber,
    /// Text → headline and points.
    Summarizer,
    /// Events → lead table.
    Projector,
    /// Lead table → JSON and page.
    Api,
    /// What never arrived.
    Reconciler,
    /// Leads → e-mail and push messages.
    Notifier,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 8] = [
        Role::Gateway,
        Role::Downloader,
        Role::Transcriber,
        Role::Summarizer,
        Role::Projector,
        Role::Api,
        Role::Reconciler,
        Role::Notifier,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Downloader => "downloader",
            Role::Transcriber => "transcriber",
            Role::Summarizer => "summarizer",
            Role::Projector => "projector",
            Role::Api => "api",
            Role::Reconciler => "reconciler",
            Role::Notifier => "notifier",
        }
    }
}

/// Where the lead table is.
#[derive(Debug, Clone)]
pub enum DatabaseConfig {
    /// A file.
    Sqlite(PathBuf),
    /// `postgres://…`, a secret because of the password in it.
    Postgres(callfold_kit::Secret),
}

impl DatabaseConfig {
    fn from_settings(settings: &mut Settings<'_>, data_dir: &Path) -> Self {
        let standard = Self::Sqlite(data_dir.join("leads.db"));
        let Some(url) = settings.secret("DATABASE_URL") else {
            return standard;
        };
        let text = url.expose();
        if let Some(path) = text
            .strip_prefix("sqlite://")
            .or_else(|| text.strip_prefix("sqlite:"))
        {
            return Self::Sqlite(PathBuf::from(path));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(url);
        }
        settings.mistake("DATABASE_URL", "is neither sqlite://<path> nor postgres://…");
        standard
    }
}

/// The settings of all roles.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Which roles run.
    pub roles: Vec<Role>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of what has no place of its own.
    pub data_dir: PathBuf,
    /// Where the lead table is.
    pub database: DatabaseConfig,
    /// Where recordings are; `None`: `<data>/recordings`.
    pub blobs: Option<BlobConfig>,
    /// `NATS_URL` and its companions; `None`: a child of our own.
    pub bus: Option<BusConfig>,
    /// The gateway's.
    pub gateway: callfold_gateway::GatewayConfig,
    /// The downloader's.
    pub downloader: callfold_downloader::DownloaderConfig,
    /// The transcriber's.
    pub transcriber: callfold_transcriber::TranscriberConfig,
    /// The summarizer's.
    pub summarizer: callfold_summarizer::SummarizerConfig,
    /// The projector's.
    pub projector: callfold_projector::ProjectorConfig,
    /// The api's.
    pub api: callfold_api::ApiConfig,
    /// The reconciler's.
    pub reconciler: callfold_reconciler::ReconcilerConfig,
    /// The notifier's.
    pub notifier: callfold_notifier::NotifierConfig,
    /// The settings of single numbers.
    pub numbers: Numbers,
}

/// The roles that ask for the settings of numbers. Others are not stopped by a mistake in the file.
const OF_NUMBERS: [Role; 4] = [
    Role::Gateway,
    Role::Transcriber,
    Role::Summarizer,
    Role::Reconciler,
];

impl StackConfig {
    /// Reads every section; mistakes are remembered by `settings`.
    pub fn from_settings(
        settings: &mut Settings<'_>,
        roles: &[Role],
        listen: SocketAddr,
        data_dir: &Path,
    ) -> Self {
        // Only what faces Twilio is bound to the rule about loopback; a role alone may listen for its health anywhere.
        let guarded = if roles.contains(&Role::Gateway) {
            listen
        } else {
            SocketAddr::from(([127, 0, 0, 1], 0))
        };
        let config = Self {
            roles: roles.to_vec(),
            listen,
            data_dir: data_dir.to_owned(),
            database: DatabaseConfig::from_settings(settings, data_dir),
            blobs: BlobConfig::from_settings(settings),
            bus: BusConfig::from_settings(settings),
            gateway: callfold_gateway::GatewayConfig::from_settings(settings, guarded),
            downloader: callfold_downloader::DownloaderConfig::from_settings(settings),
            transcriber: callfold_transcriber::TranscriberConfig::from_settings(
                settings,
                Some(&data_dir.join("models")),
            ),
            summarizer: callfold_summarizer::SummarizerConfig::from_settings(settings),
            projector: callfold_projector::ProjectorConfig::from_settings(settings),
            api: callfold_api::ApiConfig::from_settings(settings),
            reconciler: callfold_reconciler::ReconcilerConfig::from_settings(settings),
            notifier: callfold_notifier::NotifierConfig::from_settings(settings),
            numbers: if roles.iter().any(|role| OF_NUMBERS.contains(role)) {
                Numbers::from_settings(settings, data_dir, callfold_gateway::numbers::check())
            } else {
                Numbers::none()
            },
        };
        if roles.contains(&Role::Api)
            && !listen.ip().is_loopback()
            && config.api.token.is_none()
            && roles.len() == 1
        {
            settings.mistake(
                "CALLFOLD_API_TOKEN",
                "is not set, and the api is not on loopback: set one of 16 characters or more",
            );
        }
        config
    }
}

/// What the settings cannot name; what is `None` is built from them.
#[derive(Default)]
pub struct Parts {
    /// The speech engines, in the order in which they are asked.
    pub engines: Option<callfold_transcriber::chain::Chain>,
}

/// Roles that run.
pub struct Stack {
    /// Where they listen.
    pub address: SocketAddr,
    /// Their health.
    pub health: Health,
    /// Their metrics.
    pub metrics: Metrics,
    /// Their connection to the broker.
    pub bus: Bus,
    /// The api, when it is among them.
    pub api: Option<callfold_api::Api>,
    /// The read side of the lead table, when a role uses it.
    pub leads: Option<Arc<dyn ReadLeads>>,
}

type Store = (Arc<dyn ReadLeads>, Arc<dyn WriteLeads>);

/// Opens the lead table.
pub async fn open_store(config: &DatabaseConfig) -> anyhow::Result<Store> {
    match config {
        DatabaseConfig::Sqlite(path) => {
            let store = Arc::new(
                SqliteStore::open(path)
                    .await
                    .context("could not open the lead table")?,
            );
            Ok((store.clone(), store))
        }
        DatabaseConfig::Postgres(url) => {
            let store = PostgresStore::connect(url.expose())
                .await
                .context("could not open the lead table")?;
            let store = Arc::new(store);
            Ok((store.clone(), store))
        }
    }
}

/// Opens the recordings.
pub fn open_blobs(config: &StackConfig) -> anyhow::Result<Blobs> {
    let folder = match &config.blobs {
        Some(blobs) => blobs.clone(),
        None => BlobConfig::folder(&config.data_dir.join("recordings"))
            .context("could not open the recordings")?,
    };
    Blobs::open(&folder).context("could not open the recordings")
}

impl Stack {
    /// Starts the roles of `config` on a listener that is bound already. `embedded`: this process alone has the data
    /// folder.
    pub async fn start(
        config: &StackConfig,
        bus: &BusConfig,
        listener: TcpListener,
        lifecycle: &Lifecycle,
        embedded: bool,
    ) -> anyhow::Result<Self> {
        Self::start_with(config, bus, listener, lifecycle, embedded, Parts::default()).await
    }

    /// As [`Stack::start`], with parts of the caller's choice.
    pub async fn start_with(
        config: &StackConfig,
        bus: &BusConfig,
        listener: TcpListener,
        lifecycle: &Lifecycle,
        embedded: bool,
        parts: Parts,
    ) -> anyhow::Result<Self> {
        let address = listener
            .local_addr()
            .context("could not read the address that is listened on")?;
        let has = |role: Role| config.roles.contains(&role);
        let clock: SharedClock = Arc::new(SystemClock);
        let (health, metrics) = (Health::new(), Metrics::new());
        // With the gateway in the process readiness means "accepts calls"; the rest is told in the body.
        let gates = !has(Role::Gateway);

        let bus = Bus::connect(bus).await.context("could not use the broker")?;
        bus.watch(lifecycle, metrics.clone(), health.part("broker", gates));
        let store = if has(Role::Projector) || has(Role::Api) || has(Role::Reconciler) {
            Some(open_store(&config.database).await?)
        } else {
            None
        };
        let needs_blobs = [Role::Downloader, Role::Transcriber, Role::Api, Role::Reconciler]
            .into_iter()
            .any(has);
        let blobs = if needs_blobs {
            Some(open_blobs(config)?)
        } else {
            None
        };

        let mut router = callfold_kit::http::ops_router(health.clone(), metrics.clone());
        let stage_deps = |role: Role| StageDeps {
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            health: health.part(role.name(), gates),
            soft: lifecycle.soft(),
            hard: lifecycle.hard(),
        };
        let run = |role: Role, handler: Arc<dyn StageHandler>, policy: StagePolicy| {
            let (bus, deps) = (bus.clone(), stage_deps(role));
            lifecycle.spawn(
                role.name(),
                async move { run_stage(bus, handler, policy, deps).await },
            );
        };

        if OF_NUMBERS.into_iter().any(has) {
            config
                .numbers
                .watch(lifecycle, health.part("numbers", false), metrics.clone());
        }
        if has(Role::Gateway) {
            let deps = callfold_gateway::Deps {
                bus: bus.clone(),
                clock: Arc::clone(&clock),
                metrics: metrics.clone(),
                health: health.clone(),
                numbers: config.numbers.clone(),
            };
            let gateway = callfold_gateway::build(config.gateway.clone(), address, deps);
            gateway.watch(lifecycle);
            router = router.merge(gateway.router());
        }
        if let (true, Some(blobs)) = (has(Role::Downloader), &blobs) {
            let handler = callfold_downloader::build(
                &config.downloader,
                blobs.clone(),
                Arc::clone(&clock),
                metrics.clone(),
            );
            let handler = handler.map_err(boxed).context("could not build the downloader")?;
            run(
                Role::Downloader,
                Arc::new(handler),
                config.downloader.policy.clone(),
            );
        }
        // A role alone knows only its own settings: what it cannot know it does not warn of.
        let mut is_demonstration: Box<dyn Fn() -> bool + Send + Sync> = Box::new(|| false);
        if let (true, Some(blobs)) = (has(Role::Transcriber), &blobs) {
            let deps = callfold_transcriber::Deps {
                bus: bus.clone(),
                blobs: blobs.clone(),
                numbers: config.numbers.clone(),
                clock: Arc::clone(&clock),
                metrics: metrics.clone(),
                health: health.clone(),
                gates,
            };
            let transcriber = match parts.engines {
                Some(engines) => callfold_transcriber::build_with(&config.transcriber, engines, deps),
                None => callfold_transcriber::build(&config.transcriber, deps)
                    .map_err(boxed)
                    .context("could not build the transcriber")?,
            };
            is_demonstration = Box::new(transcriber.demonstration());
            transcriber.run(lifecycle);
        }
        if has(Role::Summarizer) {
            let deps = callfold_summarizer::Deps {
                bus: bus.clone(),
                numbers: config.numbers.clone(),
                clock: Arc::clone(&clock),
                metrics: metrics.clone(),
                health: health.clone(),
            };
            let handler = callfold_summarizer::build(&config.summarizer, deps);
            let handler = handler.map_err(boxed).context("could not build the summarizer")?;
            run(
                Role::Summarizer,
                Arc::new(handler),
                config.summarizer.policy.clone(),
            );
        }
        if let (true, Some((_, write))) = (has(Role::Projector), &store) {
            let deps = callfold_projector::Deps {
                bus: bus.clone(),
                leads: Arc::clone(write),
                metrics: metrics.clone(),
                health: health.part(Role::Projector.name(), gates),
                embedded,
            };
            callfold_projector::start(&config.projector, deps, lifecycle);
        }
        if has(Role::Reconciler) {
            let (bus, reconciler, deps) = (
                bus.clone(),
                config.reconciler.clone(),
                stage_deps(Role::Reconciler),
            );
            let part = |name| StageDeps {
                health: health.part(name, false),
                ..deps.clone()
            };
            lifecycle.spawn(
                "reruns",
                callfold_reconciler::rerun::run_starter(bus.clone(), part("reruns")),
            );
            lifecycle.spawn(
                "campaigns",
                callfold_reconciler::rerun::run_campaigns(bus.clone(), part("campaigns")),
            );
            let part = health.part("reconcile", false);
            let with_lists =
                callfold_reconciler::reconcile::run(bus.clone(), reconciler.clone(), deps.clone(), part);
            lifecycle.spawn("reconcile", with_lists);
            lifecycle.spawn("reconciler", async move {
                callfold_reconciler::run(bus, reconciler, deps).await
            });
        }
        if let (true, Some((read, write)), Some(blobs)) = (has(Role::Reconciler), &store, &blobs) {
            let eraser = Eraser {
                bus: bus.clone(),
                index: Arc::new(LeadIndex {
                    read: Arc::clone(read),
                    write: Arc::clone(write),
                }),
                blobs: blobs.clone(),
                twilio: callfold_reconciler::twilio(&config.reconciler)
                    .map_err(boxed)
                    .context("could not build the reconciler")?,
                clock: Arc::clone(&clock),
                metrics: metrics.clone(),
            };
            lifecycle.spawn(
                "retention",
                retention::run(eraser.clone(), config.numbers.clone(), lifecycle.soft()),
            );
            callfold_reconciler::erase::run(eraser, health.part("erase", false), lifecycle);
        }
        if has(Role::Notifier) {
            let deps = callfold_notifier::Deps {
                bus: bus.clone(),
                clock: Arc::clone(&clock),
                metrics: metrics.clone(),
                // Calls are taken and shown without it.
                health: health.part(Role::Notifier.name(), gates && config.roles.len() == 1),
                retries: callfold_notifier::Retries::default(),
            };
            let notifier = Box::pin(callfold_notifier::build(&config.notifier, deps))
                .await
                .context("could not build the notifier")?;
            callfold_notifier::run(notifier, lifecycle);
        }
        let mut api = None;
        if let (true, Some((read, _)), Some(blobs)) = (has(Role::Api), &store, &blobs) {
            let unsigned_webhooks = has(Role::Gateway) && config.gateway.tokens.is_empty();
            let deps = callfold_api::Deps {
                bus: bus.clone(),
                leads: Arc::clone(read),
                blobs: blobs.clone(),
                clock: Arc::clone(&clock),
                metrics: metrics.clone(),
                lifecycle: lifecycle.clone(),
                warnings: Box::new(move || callfold_api::Warnings {
                    demonstration_model: is_demonstration(),
                    unsigned_webhooks,
                }),
            };
            let built = callfold_api::build(config.api.clone(), deps)
                .await
                .context("could not build the api")?;
            router = router.merge(built.router());
            api = Some(built);
        }
        serve(listener, router, lifecycle);
        Ok(Self {
            address,
            health,
            metrics,
            bus,
            api,
            leads: store.map(|(read, _)| read),
        })
    }
}

/// An error of any kind as the source of another one.
fn boxed(error: BoxError) -> anyhow::Error {
    anyhow::anyhow!(error)
}

fn serve(listener: TcpListener, router: Router, lifecycle: &Lifecycle) {
    let life = lifecycle.clone();
    lifecycle.spawn("http", async move {
        callfold_kit::http::serve(listener, router, life).await
    });
}

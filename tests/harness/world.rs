//! What outlives one run of the system.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use callfold::simulate::{Account, MediaHost, Player};
use callfold::stack::{Parts, Role, Stack, StackConfig};
use callfold_kit::Lifecycle;
use callfold_kit::bus::BusConfig;
use callfold_kit::config::Settings;
use callfold_kit::testing::TestNats;
use callfold_schema::Writing;
use callfold_store::testing::TestPostgres;
use callfold_transcriber::chain::Chain;
use callfold_transcriber::engine::Engine;
use callfold_twilio::{AuthToken, PublicUrl};
use tokio::net::TcpListener;
use url::Url;

use super::logs::Logs;
use super::speech::Spoken;
use super::system::System;

/// The account that calls come from.
pub(crate) const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
/// Its auth token, where webhooks are signed.
pub(crate) const AUTH_TOKEN: &str = "b7c1a5e2d9f04c3c8a1e6f2d7b9c0a4e";
/// What Twilio was given, where webhooks are signed.
pub(crate) const PUBLIC_URL: &str = "https://calls.example.com";
/// The API's bearer token.
pub(crate) const API_TOKEN: &str = "an-api-token-for-whole-system-tests";

/// Where the lead table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// How a world is to be.
pub(crate) struct WorldBuilder {
    database: Database,
    is_signed: bool,
    engines: Option<Vec<Arc<dyn Engine>>>,
    settings: BTreeMap<String, String>,
}

impl WorldBuilder {
    /// Webhooks are signed, media is guarded, and Twilio knows the system by a public URL.
    pub(crate) fn signed(mut self) -> Self {
        self.is_signed = true;
        self
    }

    /// The demonstration model itself instead of the engine's double.
    pub(crate) fn real_speech(mut self) -> Self {
        self.engines = None;
        self.with("WHISPER_MODEL", "demo")
    }

    /// The engines that the settings lead to.
    pub(crate) fn engines_of_settings(self) -> Self {
        Self {
            engines: None,
            ..self
        }
    }

    /// Another double.
    pub(crate) fn engine(mut self, engine: impl Engine + 'static) -> Self {
        self.engines = Some(vec![Arc::new(engine)]);
        self
    }

    /// One more setting.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Starts what stands around the system.
    pub(crate) async fn build(self) -> World {
        Logs::capture();
        let nats = TestNats::start().await;
        let data = tempfile::tempdir().unwrap();
        let account = Account {
            sid: ACCOUNT_SID.to_owned(),
            token: self.is_signed.then(|| AuthToken::new(AUTH_TOKEN)),
        };
        let media_life = Lifecycle::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let media = MediaHost::start(listener, account.clone(), &media_life).unwrap();
        let mut settings = self.settings;
        let mut set = |name: &str, value: String| {
            settings.entry(name.to_owned()).or_insert(value);
        };
        set("CALLFOLD_API_TOKEN", API_TOKEN.to_owned());
        set("CALLFOLD_RECORDING_HOSTS", media.address().to_string());
        // A failed attempt is repeated at once, as far as a test can tell.
        set("CALLFOLD_RETRY_BASE_MS", "50".to_owned());
        set("CALLFOLD_RETRY_MAX_MS", "400".to_owned());
        if self.is_signed {
            set("TWILIO_ACCOUNT_SID", ACCOUNT_SID.to_owned());
            set("TWILIO_AUTH_TOKEN", AUTH_TOKEN.to_owned());
            set("PUBLIC_URL", PUBLIC_URL.to_owned());
            // No test asks the real one; a double is named by the test that needs it.
            set("TWILIO_API_URL", "http://127.0.0.1:9".to_owned());
        }
        if self.database == Database::Postgres {
            set("DATABASE_URL", fresh_postgres().await);
        }
        World {
            nats,
            data,
            settings,
            engines: self.engines,
            account,
            media,
            _media_life: media_life,
        }
    }
}

/// An empty database on the PostgreSQL server of this process.
pub(crate) async fn fresh_postgres() -> String {
    tokio::task::spawn_blocking(|| TestPostgres::shared().fresh_database())
        .await
        .unwrap()
}

/// Broker, data folder, media host and settings.
pub(crate) struct World {
    pub(crate) nats: TestNats,
    pub(crate) data: tempfile::TempDir,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) engines: Option<Vec<Arc<dyn Engine>>>,
    pub(crate) account: Account,
    pub(crate) media: MediaHost,
    _media_life: Lifecycle,
}

impl World {
    /// Leads in `database`, webhooks unsigned, speech by a double that answers at once.
    pub(crate) fn on(database: Database) -> WorldBuilder {
        WorldBuilder {
            database,
            is_signed: false,
            engines: Some(vec![Arc::new(Spoken(Spoken::TEXT))]),
            settings: BTreeMap::new(),
        }
    }

    /// Leads in SQLite.
    pub(crate) fn sqlite() -> WorldBuilder {
        Self::on(Database::Sqlite)
    }

    /// The settings as the program reads them.
    pub(crate) fn config(&self, roles: &[Role]) -> StackConfig {
        self.config_with(roles, &BTreeMap::new())
    }

    /// The same, with other values for some.
    pub(crate) fn config_with(&self, roles: &[Role], others: &BTreeMap<String, String>) -> StackConfig {
        let mut source = self.settings.clone();
        source.extend(others.clone());
        let mut settings = Settings::new(&source);
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let config = StackConfig::from_settings(&mut settings, roles, listen, self.data.path());
        settings.finish().unwrap();
        config
    }

    /// Starts every role in this process.
    pub(crate) async fn start(&self) -> System {
        self.start_with(&self.config(&Role::ALL)).await
    }

    /// Starts the roles of `config` in this process, and waits until each can do its work.
    pub(crate) async fn start_with(&self, config: &StackConfig) -> System {
        self.start_writing(config, Writing::Newest).await
    }

    /// The same, with events written in the versions of one release: `CALLFOLD_WRITE_EVENTS`.
    pub(crate) async fn start_writing(&self, config: &StackConfig, writing: Writing) -> System {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lifecycle = Lifecycle::new();
        let parts = Parts {
            engines: self.engines.clone().map(Chain::new),
        };
        let bus = BusConfig {
            writing,
            ..self.nats.config()
        };
        // The future of all roles together is too large for the stack of a test.
        let starting = Box::pin(Stack::start_with(
            config, &bus, listener, &lifecycle, false, parts,
        ));
        let stack = starting.await.unwrap();
        let base = Url::parse(&format!("http://{}", stack.address)).unwrap();
        let public = match self.settings.get("PUBLIC_URL") {
            Some(public) => PublicUrl::parse(public).unwrap(),
            None => PublicUrl::parse(base.as_str().trim_end_matches('/')).unwrap(),
        };
        let http = callfold_kit::http::client_builder().build().unwrap();
        let player = Player::new(
            http.clone(),
            self.account.clone(),
            public,
            &base,
            self.media.clone(),
        );
        let system = System::new(stack, lifecycle, base, http, player);
        system.ready().await;
        system
    }

    /// The file or folder of this name in the data folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }
}

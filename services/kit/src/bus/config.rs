//! How to reach the broker.

use std::path::PathBuf;
use std::time::Duration;

use callfold_schema::Writing;
use tokio::sync::watch;

use super::error::BusError;
use crate::config::Settings;
use crate::secret::Secret;

/// Settings of the connection and of the stream.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// `nats://[user:password@]host:port`, several separated by commas.
    pub url: Secret,
    /// A credentials file (`NATS_CREDS`).
    pub credentials: Option<PathBuf>,
    /// The name that the server shows for this connection.
    pub name: String,
    /// Copies of the stream in a cluster: 1, 3 or 5.
    pub stream_replicas: usize,
    /// The bound of the stream in bytes; new events are refused beyond it, old ones never dropped.
    pub stream_bytes_max: u64,
    /// In which versions events are written.
    pub writing: Writing,
    /// How long the first connection may take.
    pub connect_timeout: Duration,
}

/// 32 GiB: some ten million calls.
const STREAM_BYTES_DEFAULT: u64 = 32 << 30;

impl BusConfig {
    /// A connection to `url` with the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            credentials: None,
            name: "callfold".to_owned(),
            stream_replicas: 1,
            stream_bytes_max: STREAM_BYTES_DEFAULT,
            writing: Writing::Newest,
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// `NATS_URL`, `NATS_CREDS`, `CALLFOLD_STREAM_REPLICAS`, `CALLFOLD_STREAM_BYTES_MAX`, `CALLFOLD_WRITE_EVENTS`. Without
    /// `NATS_URL` there is no external broker: `None`, but the other settings are checked all the same.
    pub fn from_settings(settings: &mut Settings<'_>) -> Option<Self> {
        let url = settings.secret("NATS_URL");
        let credentials = settings.text("NATS_CREDS").map(PathBuf::from);
        let replicas = settings.number("CALLFOLD_STREAM_REPLICAS", 1, 1, 5, "copies");
        if replicas.is_multiple_of(2) {
            settings.mistake("CALLFOLD_STREAM_REPLICAS", "is neither 1, 3 nor 5");
        }
        let bytes = settings.number(
            "CALLFOLD_STREAM_BYTES_MAX",
            STREAM_BYTES_DEFAULT,
            64 << 20,
            1 << 50,
            "bytes",
        );
        let writing = settings.parse("CALLFOLD_WRITE_EVENTS", Writing::Newest, "newest or previous");
        if let Some(path) = &credentials
            && !path.is_file()
        {
            settings.mistake("NATS_CREDS", "is not the path of a file");
        }
        let url = url?;
        for part in url.expose().split(',') {
            let scheme = part.trim().split_once("://").map(|(scheme, _)| scheme);
            if !matches!(scheme, Some("nats" | "tls")) {
                settings.mistake("NATS_URL", "is not nats://host:port or tls://host:port");
                return None;
            }
        }
        Some(Self {
            credentials,
            stream_replicas: usize::try_from(replicas).unwrap_or(1),
            stream_bytes_max: bytes,
            writing,
            ..Self::new(url.expose())
        })
    }

    pub(super) async fn connect(&self) -> Result<(async_nats::Client, Connections), BusError> {
        let connect = |error: Box<dyn std::error::Error + Send + Sync>| BusError::Connect(error);
        let (connected, connections) = watch::channel(0);
        let mut options = async_nats::ConnectOptions::new()
            .event_callback(move |event| {
                match event {
                    async_nats::Event::Connected => connected.send_modify(|n| *n += 1),
                    async_nats::Event::Disconnected => tracing::warn!("the connection to the broker broke"),
                    _ => {}
                }
                std::future::ready(())
            })
            .name(&self.name)
            .connection_timeout(self.connect_timeout)
            .request_timeout(Some(super::REQUEST_TIMEOUT))
            // Forever: a broker that is away for days comes back one day.
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| Duration::from_millis((50_u64 << attempt.min(6)).min(2_000)));
        if let Some(path) = &self.credentials {
            let text = tokio::fs::read_to_string(path)
                .await
                .map_err(BusError::Credentials)?;
            options = options.credentials(&text).map_err(BusError::Credentials)?;
        }
        let mut addresses = Vec::new();
        for part in self.url.expose().split(',') {
            let mut url = url::Url::parse(part.trim()).map_err(|error| connect(Box::new(error)))?;
            // User and password go into the options: an address with them in it would be printed by the client.
            if let (user, Some(password)) = (url.username().to_owned(), url.password().map(str::to_owned)) {
                let decode = |text: &str| form_urlencoded_component(text);
                options = options.user_and_password(decode(&user), decode(&password));
                if url
                    .set_username("")
                    .and_then(|()| url.set_password(None))
                    .is_err()
                {
                    return Err(connect("NATS_URL has a form without a host".into()));
                }
            }
            let address: async_nats::ServerAddr = url
                .as_str()
                .parse()
                .map_err(|error: std::io::Error| connect(Box::new(error)))?;
            addresses.push(address);
        }
        let client = options
            .connect(addresses)
            .await
            .map_err(|error| connect(Box::new(error)))?;
        Ok((client, Connections(connections)))
    }
}

/// Tells when the connection was made anew: the server has then forgotten what was asked of it on the old one.
#[derive(Clone)]
pub(super) struct Connections(watch::Receiver<u64>);

impl Connections {
    /// How many connections there were, the present one included.
    pub(super) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// From here on.
    pub(super) fn mark(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for a new connection; for ever when the client is gone. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Decodes `%41` in the user-info part of a URL. A `+` stays a plus there.
fn form_urlencoded_component(text: &str) -> String {
    let protected = text.replace('+', "%2B");
    url::form_urlencoded::parse(protected.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

//! `callfold up`: every role in one process, with a broker of its own unless `NATS_URL` says otherwise.
//!
//! The data folder has a lock, so that two never run on it; the broker's store has one of its own, which the child
//! inherits, so that a restart after `kill -9` waits until the old server is really gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::broker::{Broker, find_server};
use callfold_kit::bus::BusConfig;
use callfold_kit::config::{Environment, Overlay, Settings};
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::telemetry::TelemetryConfig;
use callfold_twilio::PublicUrl;
use tokio::net::TcpListener;
use url::Url;

use crate::cli::UpArgs;
use crate::client::ApiClient;
use crate::run_file::{self, RunFile};
use crate::simulate;
use crate::stack::{Role, Stack, StackConfig};

/// How long work in hand may take at the end.
pub const GRACE: Duration = Duration::from_secs(20);
/// How long the start may take before it is given up.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long the demonstration call may take.
const DEMO_PATIENCE: Duration = Duration::from_secs(180);

/// Runs until a signal.
pub async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let data_dir = std::path::absolute(&args.data.data_dir).context("could not make sense of --data-dir")?;
    let mut first = BTreeMap::new();
    if args.demo {
        // The demonstration's recording is served from here.
        let own = format!("127.0.0.1:{}", args.media_port);
        let hosts = std::env::var("CALLFOLD_RECORDING_HOSTS").unwrap_or_default();
        if !hosts.split(',').any(|host| host.trim() == own) {
            let list = if hosts.trim().is_empty() {
                own
            } else {
                format!("{hosts},{own}")
            };
            first.insert("CALLFOLD_RECORDING_HOSTS".to_owned(), list);
        }
    }
    let source = Overlay {
        first,
        rest: &Environment,
    };
    let mut settings = Settings::new(&source);
    let telemetry = TelemetryConfig::from_settings(&mut settings);
    let mut config = StackConfig::from_settings(&mut settings, &Role::ALL, args.listen, &data_dir);
    settings.finish()?;
    telemetry.init();

    callfold_kit::blob::create_private_folder(&data_dir)
        .with_context(|| format!("could not create {}", data_dir.display()))?;
    let Some(_lock) = run_file::lock(&data_dir).await? else {
        anyhow::bail!(
            "another callfold runs on {}: stop it first, or choose another --data-dir",
            data_dir.display()
        );
    };
    let is_new = !data_dir.join("nats").exists() && config.bus.is_none();
    if config.api.token.is_none() {
        config.api.token = Some(run_file::read_or_make_api_token(&data_dir)?);
    }
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "could not listen on {}: is another program there? Choose another --listen",
            args.listen
        )
    })?;
    let address = listener
        .local_addr()
        .context("could not read the address that is listened on")?;

    // Signals are caught from here on, so that a Ctrl-C in the middle of the start stops the child as well.
    let lifecycle = Lifecycle::new();
    stop_at_signal(&lifecycle)?;
    let (bus, broker) = match &config.bus {
        Some(bus) => (bus.clone(), None),
        None => {
            let broker = start_broker(&data_dir).await?;
            (own_bus(&mut settings_of_stream(&source), &broker), Some(broker))
        }
    };
    let served = serve(
        &args, &config, &bus, listener, address, &data_dir, is_new, &lifecycle,
    );
    let result = Box::pin(served).await;
    lifecycle.stop();
    let stopped = lifecycle.stopped(GRACE).await;
    RunFile::remove(&data_dir);
    if let Some(broker) = broker {
        broker.stop().await;
    }
    result?;
    stopped?;
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call, to separate what is undone afterwards from what is not"
)]
async fn serve(
    args: &UpArgs,
    config: &StackConfig,
    bus: &BusConfig,
    listener: TcpListener,
    address: std::net::SocketAddr,
    data_dir: &Path,
    is_new: bool,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let soft = lifecycle.soft();
    // Nothing of a start that is given up outlives the end of the process.
    let stack = tokio::select! {
        () = soft.cancelled() => return Ok(()),
        started = Stack::start(config, bus, listener, lifecycle, config.bus.is_none()) => started?,
    };
    let run_file = RunFile {
        pid: std::process::id(),
        listen: address,
        nats_url: bus.url.expose().to_owned(),
        api_token_file: run_file::api_token_file(data_dir),
    };
    run_file.write(data_dir)?;
    let prepared = async {
        // Calls are accepted: whatever else is not ready yet is told in /readyz.
        stack.health.ready().await;
        say(&format!(
            "ready http://{address} (data in {})",
            data_dir.display()
        ));
        let link = match &stack.api {
            Some(api) => Some(sign_in_line(api, config, address).await),
            None => None,
        };
        if let Some(link) = &link {
            say(link);
        }
        if args.demo && is_new {
            // The page and the webhooks are up whatever becomes of the demonstration.
            if let Err(error) = demonstrate(args, config, address, &stack, lifecycle).await {
                say(&format!(
                    "the demonstration call did not work: {}",
                    callfold_kit::chain(error.as_ref())
                ));
            }
            // Once more, below the card: it is still good unless it was used meanwhile.
            if let Some(link) = &link {
                say(link);
            }
        }
    };
    tokio::select! {
        () = soft.cancelled() => {}
        () = prepared => soft.cancelled().await,
    }
    say("stopping");
    Ok(())
}

/// Prints a line for whoever started this. Where nobody reads (any more), that is no reason to stop.
pub fn say(line: &str) {
    use std::io::Write;
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        tracing::debug!(%error, "nobody reads what is printed");
    }
}

/// How to sign in, for this machine and for the public address where there is one: with a new one-time link while there is no
/// owner, by name and password afterwards.
pub async fn sign_in_line(
    api: &callfold_api::Api,
    config: &StackConfig,
    address: std::net::SocketAddr,
) -> String {
    let has_owner = match api.has_owner().await {
        Ok(has_owner) => has_owner,
        Err(error) => {
            // Such a link is refused where there is an owner; no link would lock out where there is none.
            tracing::warn!(error = %callfold_kit::chain(&error), "it could not be found out whether there is an owner");
            false
        }
    };
    let (how, path) = if has_owner {
        (
            "sign in with name and password (or `callfold user link NAME`)",
            "/signin".to_owned(),
        )
    } else {
        ("sign in (once, within 15 minutes)", api.issue_sign_in_link())
    };
    let mut line = format!("{how}: http://{address}{path}");
    if let Some(public) = &config.api.public_url {
        line.push_str(&format!(
            "\n  or, where the page is public: {}{path}",
            public.as_str().trim_end_matches('/')
        ));
    }
    line
}

/// Starts `nats-server` with its store in the data folder.
pub async fn start_broker(data_dir: &Path) -> anyhow::Result<Broker> {
    let folder = data_dir.join("nats");
    let broker = tokio::task::spawn_blocking(move || {
        let server = find_server(&Environment)?;
        Broker::start(&server, &folder)
    });
    broker
        .await
        .context("the thread that starts the broker panicked")?
        .context("could not start the broker")
}

fn settings_of_stream<'a>(source: &'a Overlay<'a>) -> Settings<'a> {
    Settings::new(source)
}

/// The bus of our own broker, with the settings that hold for any.
fn own_bus(settings: &mut Settings<'_>, broker: &Broker) -> BusConfig {
    let mut bus = BusConfig::new(broker.url());
    // Checked before; read again because without NATS_URL the section has no value of its own.
    bus.stream_bytes_max = settings.parse(
        "CALLFOLD_STREAM_BYTES_MAX",
        bus.stream_bytes_max,
        "a number of bytes",
    );
    bus.writing = settings.parse("CALLFOLD_WRITE_EVENTS", bus.writing, "newest or previous");
    bus
}

/// One soft stop at the first signal, the end of the process at the second one.
pub fn stop_at_signal(lifecycle: &Lifecycle) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("could not catch Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("could not catch the signal to stop")?;
    let life = lifecycle.clone();
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            // Signals that arrive meanwhile are remembered by both receivers.
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked {
                eprintln!("stopped at once; what was in hand is taken up again at the next start");
                std::process::exit(130);
            }
            asked = true;
            life.stop();
        }
    });
    Ok(())
}

/// Plays one call through the whole system and prints its card.
async fn demonstrate(
    args: &UpArgs,
    config: &StackConfig,
    address: std::net::SocketAddr,
    stack: &Stack,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        !config.transcriber.has_no_engine(),
        "there is no speech model: with a Twilio token set the demonstration model is not used (WHISPER_MODEL=demo asks for it)"
    );
    let ready = tokio::time::timeout(START_PATIENCE, stack.health.all_ready()).await;
    ready.context("not every part is ready; /readyz says which is not")?;
    say("playing one demonstration call …");
    let base = Url::parse(&format!("http://{address}")).context("the address is no URL")?;
    let public = match &config.gateway.public_url {
        Some(public) => public.clone(),
        None => PublicUrl::parse(base.as_str().trim_end_matches('/')).context("the address is no URL")?,
    };
    let account = simulate::Account {
        sid: config
            .gateway
            .account_sid
            .clone()
            .unwrap_or(simulate::Account::default().sid),
        token: config.gateway.tokens.first().cloned(),
    };
    let http = callfold_kit::http::client_builder()
        .build()
        .context("could not make an HTTP client")?;
    let token = config.api.token.clone().context("the api has no token")?;
    let api = ApiClient::new(http, base.clone(), token);
    let listener = simulate::open_media(args.media_port).await?;
    let plan = simulate::Plan {
        calls: 1,
        rate: None,
        messages: simulate::demo_messages(),
        from: "+972501234567".to_owned(),
        to: "+97239999999".to_owned(),
        repeat: 1,
        hang_up: simulate::HangUp::AfterMessage,
        real_time: false,
        wait: Some(DEMO_PATIENCE),
    };
    let report = simulate::run(&plan, account, public, &base, listener, Some(&api), lifecycle).await?;
    let call = report.calls.first().context("the call was not taken")?;
    let ask = |error: callfold_kit::lifecycle::BoxError| anyhow::anyhow!("{}", callfold_kit::chain(&*error));
    let lead = api
        .lead(&call.call_sid)
        .await
        .map_err(ask)?
        .context("the call has no card")?;
    let story = api.story(&call.call_sid).await.map_err(ask)?.unwrap_or_default();
    let card = crate::card::render(&lead, &story);
    say(&format!(
        "\nThe card of call {}:\n{card}\n{report}",
        call.call_sid
    ));
    Ok(())
}

//! One role in a process of its own.

use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::config::{Environment, Settings};
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::telemetry::TelemetryConfig;
use tokio::net::TcpListener;

use crate::cli::RoleArgs;
use crate::stack::{Role, Stack, StackConfig};
use crate::up::{GRACE, say, sign_in_line, stop_at_signal};

/// Runs a role until a signal.
pub async fn run(role: Role, args: RoleArgs) -> anyhow::Result<ExitCode> {
    let data_dir = std::path::absolute(&args.data.data_dir).context("could not make sense of --data-dir")?;
    let mut settings = Settings::new(&Environment);
    let telemetry = TelemetryConfig::from_settings(&mut settings);
    let mut config = StackConfig::from_settings(&mut settings, &[role], args.listen, &data_dir);
    if config.bus.is_none() && settings.text("NATS_URL").is_none() {
        settings.mistake(
            "NATS_URL",
            "is not set: a role alone needs a broker, nats://host:4222 (`callfold up` brings its own)",
        );
    }
    settings.finish()?;
    telemetry.init();
    let bus = config.bus.clone().context("NATS_URL is not set")?;
    callfold_kit::blob::create_private_folder(&data_dir)
        .with_context(|| format!("could not create {}", data_dir.display()))?;
    if role == Role::Api && config.api.token.is_none() {
        config.api.token = Some(crate::run_file::read_or_make_api_token(&data_dir)?);
    }
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "could not listen on {}: is another program there? Choose another --listen",
            args.listen
        )
    })?;
    let lifecycle = Lifecycle::new();
    stop_at_signal(&lifecycle)?;
    let soft = lifecycle.soft();
    let work = async {
        let stack = Stack::start(&config, &bus, listener, &lifecycle, false).await?;
        stack.health.ready().await;
        say(&format!("ready http://{} ({})", stack.address, role.name()));
        if let Some(api) = &stack.api {
            say(&sign_in_line(api, &config, stack.address).await);
        }
        lifecycle.soft().cancelled().await;
        anyhow::Ok(())
    };
    let served = tokio::select! {
        () = soft.cancelled() => Ok(()),
        served = Box::pin(work) => served,
    };
    lifecycle.stop();
    let stopped = lifecycle.stopped(GRACE).await;
    served?;
    stopped?;
    Ok(ExitCode::SUCCESS)
}

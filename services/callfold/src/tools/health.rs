//! `callfold health`: `/readyz` as an exit code, for container health checks.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::cli::HealthArgs;

/// Asks once.
pub async fn run(args: HealthArgs) -> anyhow::Result<ExitCode> {
    let mut address = args.listen;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let http = callfold_kit::http::client_builder()
        .timeout(Duration::from_secs(5))
        .build()
        .context("could not make an HTTP client")?;
    let answer = http
        .get(format!("http://{address}/readyz"))
        .send()
        .await
        .with_context(|| format!("nothing answers at {address}"))?;
    let ready = answer.status().is_success();
    crate::up::say(&answer.text().await.context("the answer broke off")?);
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

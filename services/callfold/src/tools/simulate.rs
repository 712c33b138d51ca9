//! `callfold simulate`: the command around [`crate::simulate`].

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::Secret;
use callfold_kit::config::{Environment, Settings};
use callfold_kit::lifecycle::Lifecycle;
use callfold_twilio::{AuthToken, PublicUrl};
use url::Url;

use crate::cli::SimulateArgs;
use crate::client::ApiClient;
use crate::run_file::RunFile;
use crate::simulate;
use crate::up::{say, stop_at_signal};

/// Plays calls and prints the table.
pub async fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.target.data.data_dir)?;
    let mut settings = Settings::new(&Environment);
    let account_sid = settings.text("TWILIO_ACCOUNT_SID");
    let tokens = settings.secret("TWILIO_AUTH_TOKEN");
    let public = settings.text("PUBLIC_URL");
    let api_token = settings.secret("CALLFOLD_API_TOKEN");
    settings.finish()?;
    let running = RunFile::read(&data_dir)?;
    let base = match (&args.target.url, &running) {
        (Some(url), _) => url.clone(),
        (None, Some(running)) => {
            Url::parse(&format!("http://{}", running.listen)).context("the address in run.json is no URL")?
        }
        (None, None) => anyhow::bail!(
            "no callfold runs on {}: start `callfold up`, or say where it is with --url",
            data_dir.display()
        ),
    };
    let public = PublicUrl::parse(
        public
            .as_deref()
            .unwrap_or(base.as_str())
            .trim()
            .trim_end_matches('/'),
    )
    .context("PUBLIC_URL cannot be used")?;
    let account = simulate::Account {
        sid: account_sid.unwrap_or(simulate::Account::default().sid),
        token: tokens.and_then(|tokens| AuthToken::parse_list(tokens.expose()).into_iter().next()),
    };
    // Only waiting for cards asks the API.
    let token = match (api_token, &running) {
        _ if !args.wait => None,
        (Some(token), _) => Some(token),
        (None, Some(running)) => {
            let text = std::fs::read_to_string(&running.api_token_file)
                .context("could not read the API token that callfold made; set CALLFOLD_API_TOKEN to the one it was given")?;
            Some(Secret::new(text.trim()))
        }
        (None, None) => None,
    };
    if args.wait && token.is_none() {
        anyhow::bail!("--wait asks the API: set CALLFOLD_API_TOKEN");
    }
    let http = callfold_kit::http::client_builder()
        .build()
        .context("could not make an HTTP client")?;
    let api_url = args.api_url.clone().unwrap_or_else(|| base.clone());
    let api = token.map(|token| ApiClient::new(http, api_url, token));
    if let Some(rate) = args.rate
        && !(rate.is_finite() && rate > 0.0)
    {
        anyhow::bail!("--rate is a number of calls a second, above 0");
    }
    let plan = simulate::Plan {
        calls: args.calls,
        rate: args.rate,
        messages: if args.recording.is_empty() {
            simulate::demo_messages()
        } else {
            simulate::messages_from(&args.recording)?
        },
        from: args.from,
        to: args.to,
        repeat: args.repeat,
        hang_up: if args.hang_up_early {
            simulate::HangUp::InGreeting
        } else {
            simulate::HangUp::AfterMessage
        },
        real_time: args.real_time,
        wait: args.wait.then(|| Duration::from_secs(args.patience)),
    };
    let lifecycle = Lifecycle::new();
    stop_at_signal(&lifecycle)?;
    let listener = simulate::open_media(args.media_port).await?;
    let soft = lifecycle.soft();
    let report = tokio::select! {
        () = soft.cancelled() => anyhow::bail!("stopped"),
        report = simulate::run(&plan, account, public, &base, listener, api.as_ref(), &lifecycle) => report?,
    };
    if let (true, 1, Some(call), Some(api)) = (args.wait, args.calls, report.calls.first(), &api) {
        let ask =
            |error: callfold_kit::lifecycle::BoxError| anyhow::anyhow!("{}", callfold_kit::chain(&*error));
        if let Some(lead) = api.lead(&call.call_sid).await.map_err(ask)? {
            let story = api.story(&call.call_sid).await.map_err(ask)?.unwrap_or_default();
            say(&format!(
                "The card of call {}:\n{}",
                call.call_sid,
                crate::card::render(&lead, &story)
            ));
        }
    }
    say(report.to_string().trim_end());
    let media_may_be_wanted = !args.wait && !args.hang_up_early;
    if media_may_be_wanted {
        say("the recordings are served until Ctrl-C (or use --wait)");
        soft.cancelled().await;
    }
    let clean = report.is_clean(args.wait);
    lifecycle.stop();
    lifecycle.stopped(Duration::from_secs(2)).await?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

//! `callfold token`: what programs may do.

use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::{Clock, SystemClock};
use callfold_people::{People, Scope};

use super::{Access, prepare};
use crate::cli::{DataArgs, TokenCommand};
use crate::up::say;

/// Makes, prints or ends tokens.
pub async fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    let data: &DataArgs = match &command {
        TokenCommand::Add { data, .. } | TokenCommand::Revoke { data, .. } => data,
        TokenCommand::List(args) => &args.data,
    };
    let access = Access::open(&prepare(&data.data_dir)?).await?;
    let done = Box::pin(work(&command, &access)).await;
    access.close().await;
    done
}

async fn work(command: &TokenCommand, access: &Access) -> anyhow::Result<ExitCode> {
    let people = People::open(&access.bus)
        .await
        .context("could not use the broker")?;
    match command {
        TokenCommand::Add { name, scope, .. } => {
            let scope = Scope::from_name(scope)
                .with_context(|| format!("{scope} is no scope; there are read, write, erase"))?;
            let token = people.add_token(name, scope, SystemClock.now()).await?;
            say(token.expose());
            eprintln!("keep it: it is not shown again. Send it as `Authorization: Bearer …`");
        }
        TokenCommand::List(_) => {
            let tokens = people.tokens().await?;
            if tokens.is_empty() {
                say("there are no tokens besides CALLFOLD_API_TOKEN");
            }
            for token in tokens {
                let used = token
                    .used_at
                    .map_or_else(|| "never".to_owned(), |at| format!("in the hour from {at}"));
                say(&format!(
                    "{}  {}  made {}, last used {used}",
                    token.name,
                    token.scope.name(),
                    token.created_at
                ));
            }
        }
        TokenCommand::Revoke { name, .. } => {
            if !people.revoke_token(name).await? {
                say("there is no such token; `callfold token list` prints them");
                return Ok(ExitCode::FAILURE);
            }
            say("revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}

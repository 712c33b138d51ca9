//! `callfold user`: who works here.

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::{Clock, Secret, SystemClock};
use callfold_people::{NewPerson, PASSWORD_BYTES_MAX, People, Role, key_of_name};

use super::{Access, prepare};
use crate::cli::{DataArgs, UserCommand};
use crate::run_file::RunFile;
use crate::up::say;

/// Adds, prints, changes or removes people.
pub async fn run(command: UserCommand) -> anyhow::Result<ExitCode> {
    let data: &DataArgs = match &command {
        UserCommand::Add { data, .. }
        | UserCommand::Role { data, .. }
        | UserCommand::Password { data, .. }
        | UserCommand::Remove { data, .. }
        | UserCommand::Link { data, .. } => data,
        UserCommand::List(args) => &args.data,
    };
    let data_dir = prepare(&data.data_dir)?;
    // Asked for before the broker is: nobody is to type while a connection waits.
    let password = match &command {
        UserCommand::Add {
            no_password: false, ..
        }
        | UserCommand::Password { .. } => Some(tokio::task::spawn_blocking(ask_password).await??),
        _ => None,
    };
    let access = Access::open(&data_dir).await?;
    let done = Box::pin(work(&command, password, &access, &data_dir)).await;
    access.close().await;
    done
}

fn role_of(name: &str) -> anyhow::Result<Role> {
    Role::from_name(name).with_context(|| format!("{name} is no role; there are viewer, agent, owner"))
}

async fn work(
    command: &UserCommand,
    password: Option<Secret>,
    access: &Access,
    data_dir: &Path,
) -> anyhow::Result<ExitCode> {
    let people = People::open(&access.bus)
        .await
        .context("could not use the broker")?;
    let now = SystemClock.now();
    match command {
        UserCommand::Add { name, role, .. } => {
            let new = NewPerson {
                name: name.clone(),
                role: role_of(role)?,
                password,
            };
            let person = people.add(new, now).await?;
            say(&format!("{} was added as {}", person.name, person.role.name()));
            if person.password.is_none() {
                say(&format!(
                    "`callfold user link \"{}\"` prints a sign-in link",
                    person.name
                ));
            }
        }
        UserCommand::List(_) => {
            let everybody = people.everybody().await?;
            if everybody.is_empty() {
                say("nobody was added yet: `callfold user add NAME --role owner`");
            }
            let sessions = people.all_sessions(now).await?;
            for person in everybody {
                let key = person.key();
                let open = sessions
                    .iter()
                    .filter(|(_, session)| session.person.as_ref() == Some(&key))
                    .count();
                let how = if person.password.is_some() {
                    "password"
                } else {
                    "links only"
                };
                say(&format!(
                    "{}  {}  {how}, {open} open sign-ins",
                    person.name,
                    person.role.name()
                ));
            }
        }
        UserCommand::Role { name, role, .. } => {
            let person = people.set_role(name, role_of(role)?).await?;
            say(&format!("{} is {} now", person.name, person.role.name()));
        }
        UserCommand::Password { name, .. } => {
            let person = people.set_password(name, password, None).await?;
            say(&format!(
                "{} has a new password; open sign-ins were ended",
                person.name
            ));
        }
        UserCommand::Remove { name, .. } => {
            people.remove(name).await?;
            say("removed; open sign-ins were ended");
        }
        UserCommand::Link { name, .. } => {
            let key = match name {
                Some(name) => {
                    let key = key_of_name(name);
                    anyhow::ensure!(
                        people.person(&key, now).await?.is_some(),
                        "there is nobody of that name; `callfold user list` prints who there is"
                    );
                    Some(key)
                }
                None => {
                    anyhow::ensure!(
                        !people.has_owner(now).await?,
                        "there is an owner: say for whom the link is, `callfold user link NAME`"
                    );
                    None
                }
            };
            let token = people.issue_link(key, now).await?;
            say(&format!("{}/signin?token={}", base(data_dir)?, token.expose()));
            eprintln!("good once, within 15 minutes");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the page is: the public address, else where the running system listens.
fn base(data_dir: &Path) -> anyhow::Result<String> {
    if let Some(public) = super::settings(data_dir, &[crate::stack::Role::Api])?
        .api
        .public_url
    {
        return Ok(public.as_str().trim_end_matches('/').to_owned());
    }
    let listen = RunFile::read(data_dir)?.map_or_else(
        || "127.0.0.1:5000".to_owned(),
        |running| running.listen.to_string(),
    );
    Ok(format!("http://{listen}"))
}

/// From a prompt that does not show it, twice; or, where no person sits in front of it, the first line of standard input.
fn ask_password() -> anyhow::Result<Secret> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        // One byte more than is taken, and the end of the line: what is too long is told as such.
        let bytes_max = PASSWORD_BYTES_MAX as u64 + 3;
        stdin
            .lock()
            .take(bytes_max)
            .read_line(&mut line)
            .context("could not read the password from standard input: it is text of one line")?;
        let password = line.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(
            !password.is_empty(),
            "no password: type it in a terminal, or send it to standard input"
        );
        return Ok(Secret::new(password));
    }
    let ask = |what: &str| rpassword::prompt_password(what).context("could not read the password");
    let password = ask("Password (12 characters or more): ")?;
    anyhow::ensure!(password == ask("Once more: ")?, "the two are not the same");
    Ok(Secret::new(password))
}

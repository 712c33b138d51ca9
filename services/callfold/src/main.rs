//! Logs, configuration, run, exit code.

use std::pin::Pin;
use std::process::ExitCode;

use callfold::cli::{Cli, Command};
use callfold::stack::Role;
use callfold::{role, tools, up};
use clap::Parser;

fn main() -> ExitCode {
    callfold_kit::memory::give_back_large_blocks();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => {
            // Help and version are answers, not errors. Where there is nobody to print to, nothing can be said.
            let _ = asked.print();
            return ExitCode::from(if asked.use_stderr() {
                callfold_kit::config::EXIT_USAGE
            } else {
                0
            });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("callfold: could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command));
    // Blocking work that was cancelled may still be unwinding; it has nothing left to say.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callfold: {}", callfold_kit::chain(error.as_ref()));
            let usage = error
                .chain()
                .any(|cause| cause.is::<callfold_kit::config::ConfigErrors>());
            ExitCode::from(if usage {
                callfold_kit::config::EXIT_USAGE
            } else {
                1
            })
        }
    }
}

/// What a command does. Boxed, for each is large and made once.
fn run(command: Command) -> Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>>>> {
    match command {
        Command::Up(args) => Box::pin(up::run(args)),
        Command::Gateway(args) => Box::pin(role::run(Role::Gateway, args)),
        Command::Downloader(args) => Box::pin(role::run(Role::Downloader, args)),
        Command::Transcriber(args) => Box::pin(role::run(Role::Transcriber, args)),
        Command::Summarizer(args) => Box::pin(role::run(Role::Summarizer, args)),
        Command::Projector(args) => Box::pin(role::run(Role::Projector, args)),
        Command::Api(args) => Box::pin(role::run(Role::Api, args)),
        Command::Reconciler(args) => Box::pin(role::run(Role::Reconciler, args)),
        Command::Notifier(args) => Box::pin(role::run(Role::Notifier, args)),
        Command::Simulate(args) => Box::pin(tools::simulate::run(*args)),
        Command::Events(args) => Box::pin(tools::events::run(args)),
        Command::Explain(args) => Box::pin(tools::explain::run(args)),
        Command::Rebuild(args) => Box::pin(tools::rebuild::run(args)),
        Command::Reprocess(args) => Box::pin(tools::reprocess::run(*args)),
        Command::Adopt(args) => Box::pin(tools::adopt::run(args)),
        Command::Accuracy(args) => Box::pin(tools::accuracy::run(args)),
        Command::Export(args) => Box::pin(tools::export::run(args)),
        Command::Import(args) => Box::pin(tools::import::run(args)),
        Command::Verify(args) => Box::pin(tools::verify::run(args)),
        Command::Reconcile(args) => Box::pin(tools::reconcile::run(args)),
        Command::Erase(args) => Box::pin(tools::erase::run(args)),
        Command::Model(command) => Box::pin(tools::model::run(command)),
        Command::User(command) => Box::pin(tools::user::run(command)),
        Command::Token(command) => Box::pin(tools::token::run(command)),
        Command::Doctor(args) => Box::pin(tools::doctor::run(args)),
        Command::Health(args) => Box::pin(tools::health::run(args)),
    }
}

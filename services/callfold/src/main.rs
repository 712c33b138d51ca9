//! Logs, configuration, run, exit code.

use std::process::ExitCode;

use callfold::cli::{Cli, Command};
use clap::Parser;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => {
            // Help and version are answers, not errors. Where there is nobody to print to, nothing can be said.
            let _ = asked.print();
            return ExitCode::from(if asked.use_stderr() { callfold_kit::config::EXIT_USAGE } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("callfold: could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Up(args) => callfold::up::run(args).await,
            Command::Gateway(args) => callfold::role::run(callfold::stack::Role::Gateway, args).await,
            Command::Downloader(args) => callfold::role::run(callfold::stack::Role::Downloader, args).await,
            Command::Transcriber(args) => callfold::role::run(callfold::stack::Role::Transcriber, args).await,
            Command::Summarizer(args) => callfold::role::run(callfold::stack::Role::Summarizer, args).await,
            Command::Projector(args) => callfold::role::run(callfold::stack::Role::Projector, args).await,
            Command::Api(args) => callfold::role::run(callfold::stack::Role::Api, args).await,
            Command::Reconciler(args) => callfold::role::run(callfold::stack::Role::Reconciler, args).await,
            Command::Simulate(args) => callfold::tools::simulate::run(args).await,
            Command::Events(args) => callfold::tools::events::run(args).await,
            Command::Explain(args) => callfold::tools::explain::run(args).await,
            Command::Doctor(args) => callfold::tools::doctor::run(args).await,
            Command::Health(args) => callfold::tools::health::run(args).await,
        }
    });
    // Blocking work that was cancelled may still be unwinding; it has nothing left to say.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callfold: {}", callfold_kit::chain(error.as_ref()));
            let usage = error.chain().any(|cause| cause.is::<callfold_kit::config::ConfigErrors>());
            ExitCode::from(if usage { callfold_kit::config::EXIT_USAGE } else { 1 })
        }
    }
}

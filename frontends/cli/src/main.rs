//! Burdock on the command line: identities, a listener, a dialler, the chat, the simulator, and the demo.

#![forbid(unsafe_code)]

mod args;
mod chat;
mod connect;
mod converse;
mod demo;
mod failure;
mod gallery;
mod i2p;
mod id;
mod lines;
mod listen;
mod output;
mod sim;
mod stop;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::failure::{Failure, USAGE};
use crate::output::Console;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return not_understood(&error),
    };
    start_logging();
    let console = Console::new(args.command.json());
    match run(args.command, console) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            console.failure(&failure);
            ExitCode::from(failure.status)
        }
    }
}

fn run(command: Command, console: Console) -> Result<u8, Failure> {
    match command {
        Command::Id(args) => id::run(&args, console),
        Command::Listen(args) => on_runtime(listen::run(args, console)),
        Command::Connect(args) => on_runtime(connect::run(args, console)),
        Command::Chat(args) => on_runtime(chat::run(args, console)),
        Command::Gallery(args) => gallery::run(&args),
        Command::Demo(args) => on_runtime(demo::run(args)),
        Command::Sim(args) => sim::run(&args),
    }
}

fn on_runtime(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("the runtime does not start: {error}")))?;
    let result = runtime.block_on(work);
    // A read of standard input may be under way and cannot be taken back.
    runtime.shutdown_background();
    result
}

/// One sentence in place of clap's paragraphs, except where help was asked for.
fn not_understood(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody is left to be told when standard output is closed.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return ExitCode::from(USAGE);
        }
        _ => {}
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error:").split_whitespace().collect();
    let failure = Failure::usage(format!("{}; see `burdock --help`", words.join(" ")));
    Console::new(false).failure(&failure);
    ExitCode::from(failure.status)
}

fn start_logging() {
    let Ok(filter) = EnvFilter::try_from_env("BURDOCK_LOG") else { return };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
}

//! The commands of Switchyard's developers, behind `cargo xtask`. Each subcommand is a module with its arguments and a
//! `run`; this file only chooses.

mod contracts;
mod devnet;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Development commands of Switchyard",
    after_help = "Needs Rust and Node.js 20 or newer. The pinned Node.js packages (among them the dev chain's node) are \
                  installed into tests/js by whichever command needs them first."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the EVM dev chain with funded keys and planted contracts; it stays until Ctrl-C
    Devnet(devnet::Args),
    /// Compile the test contracts, or check that the artefacts match their sources
    Contracts(contracts::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Devnet(args) => devnet::run(args),
        Command::Contracts(args) => contracts::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

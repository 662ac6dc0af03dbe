//! The commands of `cargo xtask`. Each subcommand is a module with its arguments and a `run`; this file selects it.

mod bench;
mod cargo;
mod chaos;
mod citations;
mod continued;
mod contracts;
mod dashboard;
mod demo;
mod devnet;
mod dist;
mod docs;
mod events;
mod failures;
mod files;
mod full;
mod house;
mod links;
mod lint;
mod monitoring;
mod openapi;
mod paint;
mod previous;
mod quotes;
mod reasons;
mod rust;
mod sim;
mod test;
mod tools;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Development commands of Switchyard",
    after_help = "Needs Rust and Node.js 20 or newer. The pinned Node.js packages (among them the dev chain's node) are \
                  installed into tests/js by whichever command needs them first. `cargo xtask COMMAND --help` says \
                  what a command does and needs."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show payments: starts chains, facilitator, paid API and buyers
    Demo(demo::Args),
    /// Run every test, or some
    Test(test::Args),
    /// Run checks that take too long for every change: many seeds, an hour of lying nodes and kills, surfpool, licences
    Full(full::Args),
    /// Run the simulator over many seeds, with a table of which fault struck at which step
    Sim(sim::Args),
    /// Kill, stop and end processes of the release binary under load, on one node and on three
    Chaos(chaos::Args),
    /// Measure the release binary beside other facilitators
    Bench(bench::Args),
    /// Check formatting, citations, links, words, clippy, rustdoc and test contracts
    Lint(lint::Args),
    /// Check alert rules, dashboard and runbook against each other and the code
    Monitoring(monitoring::Args),
    /// Build and test the dashboard of the admin listener, or check that its built files match their sources
    Dashboard(dashboard::Args),
    /// Build the handbook as HTML
    Docs(docs::Args),
    Dist(dist::Args),
    /// Start an EVM and a Solana dev chain with funded keys; they run until Ctrl-C
    Devnet(devnet::Args),
    /// Compile the test contracts, or check that the artefacts match their sources
    Contracts(contracts::Args),
}

/// An error message for the developer.
#[derive(Debug)]
struct Failure(String);

impl From<::devnet::Error> for Failure {
    fn from(error: ::devnet::Error) -> Failure {
        Failure(error.to_string())
    }
}

impl From<e2e::Error> for Failure {
    fn from(error: e2e::Error) -> Failure {
        Failure(error.to_string())
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Full(args) => full::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Monitoring(args) => monitoring::run(&args),
        Command::Dashboard(args) => dashboard::run(&args),
        Command::Docs(docs::Args {}) => docs::run(),
        Command::Dist(args) => dist::run(&args),
        Command::Devnet(args) => devnet::run(&args),
        Command::Contracts(args) => contracts::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(what)) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

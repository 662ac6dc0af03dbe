//! `cargo xtask full`: what is too dear for every change.

use devnet::Npm;

use crate::{Failure, cargo};

/// Seeds of the simulator: ten times what every change runs.
const SEEDS: &str = "3000";
/// Seeds of random lives of escrowed payments against the release binary; every change runs one. A seed takes about half a
/// minute.
const ESCROW_SEEDS: &str = "20";

/// Runs what is too dear for every change: the simulator with many more seeds, random lives of escrowed payments with many
/// more seeds, and payments on surfpool, a fuller Solana runtime than the dev chain. Run it before closing work on the
/// engine, on auth-capture or on Solana.
///
/// The first run compiles surfpool, some 900 crates, which takes a quarter of an hour on two cores.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run() -> Result<(), Failure> {
    Npm::ensure()?;
    let seeds = [
        "test",
        "--release",
        "--locked",
        "--package",
        "simulator",
        "--test",
        "seeds",
    ];
    cargo::run(
        "The simulator, with many seeds",
        &[&seeds[..], &["--", "--nocapture"]].concat(),
        &[("SIMULATOR_SEEDS", SEEDS)],
    )?;
    cargo::build_what_is_shipped()?;
    let escrow = [
        "test",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "auth_capture::property",
        "--",
        "--nocapture",
    ];
    cargo::run(
        "Escrowed payments, with many seeds",
        &escrow,
        &[("ESCROW_SEEDS", ESCROW_SEEDS)],
    )?;
    // In the same target directory: the tests look for the release binaries beside themselves.
    let surfpool = [
        "test",
        "--locked",
        "--manifest-path",
        "tests/surfpool/Cargo.toml",
        "--target-dir",
        "target",
        "--",
        "--test-threads",
        "2",
    ];
    cargo::run("Payments on surfpool", &surfpool, &[])
}

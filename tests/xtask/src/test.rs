//! `cargo xtask test`: all tests, in the order in which they fail fastest.

use devnet::Npm;

use crate::{Failure, cargo, dashboard};

/// Runs every test: those of each crate, then the end-to-end tests, which drive the release binary with its plugin file
/// against a real node (anvil) and the official x402 clients.
///
/// It installs the Node.js packages and builds what is missing. The first run compiles everything and takes a while;
/// afterwards the tests themselves take a few minutes. Nothing needs a network but the installation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test                        everything
  cargo xtask test --only unit            the crates' own tests
  cargo xtask test --only e2e             the end-to-end tests
  cargo xtask test --only e2e t02         one threat, by its number in the test's name
  cargo xtask test --only e2e crash::     one module of tests/e2e/tests/e2e")]
pub(crate) struct Args {
    /// Only one kind of test
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// Only tests whose path contains this
    filter: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Tests of single crates, those of the dev chain among them
    Unit,
    /// Tests of the release binary
    E2e,
}

/// End-to-end tests mostly wait for blocks: more of them than cores run at once.
const E2E_THREADS: &str = "5";

/// A file of tests for `exact`, `upto` and their Permit2 payments, for `auth-capture`, and for Solana. `cargo xtask full` runs all.
const ISOLATED: [&str; 3] = ["permit2::", "auth_capture::lives", "solana::answers"];

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    Npm::ensure()?;
    let filter: Vec<&str> = args.filter.as_deref().into_iter().collect();
    if args.only != Some(Kind::E2e) {
        // The Solana chain is built separately: in one build, the features that its many dependencies enable would make
        // the other crates' dependencies compile once more for the release binary.
        // The official Solana clients and the benchmarks are parts of `cargo xtask full`.
        let exclude = [
            "--exclude",
            "e2e",
            "--exclude",
            cargo::SOLANA_DEVNET,
            "--exclude",
            cargo::SOLANA_OFFICIAL,
            "--exclude",
            cargo::BENCHES,
            "--exclude",
            cargo::NOOP,
        ];
        let all = ["test", "--release", "--locked", "--workspace"];
        cargo::run(
            "Tests of every crate",
            &[&all[..], &exclude, filter.as_slice()].concat(),
            &[],
        )?;
        let solana = ["test", "--release", "--locked", "--package", cargo::SOLANA_DEVNET];
        cargo::run(
            "Tests of the Solana dev chain",
            &[&solana, filter.as_slice()].concat(),
            &[],
        )?;
    }
    if args.only != Some(Kind::Unit) {
        // After the tests above, because their build overwrites the binaries with ones that have test features.
        cargo::build_what_is_shipped()?;
        cargo::build_solana_devnet()?;
        let e2e = ["test", "--release", "--locked", "--package", "e2e"];
        let threads = ["--", "--test-threads", E2E_THREADS];
        cargo::run(
            "End-to-end tests",
            &[&e2e, filter.as_slice(), &threads].concat(),
            &[],
        )?;
        if filter.is_empty() {
            of_the_page(&e2e)?;
            cargo::run(
                "End-to-end tests with isolated plugins, one file for each scheme",
                &[&e2e[..], &threads, &ISOLATED].concat(),
                &[e2e::ISOLATED],
            )?;
        }
    }
    Ok(())
}

/// The dashboard of a facilitator that runs. Without a browser it is left out.
fn of_the_page(e2e: &[&str]) -> Result<(), Failure> {
    let Some(browser) = dashboard::ready()? else {
        println!("Chromium is not installed, so the dashboard of a real facilitator was not tested in it.");
        return Ok(());
    };
    let browser = browser.to_string_lossy().into_owned();
    cargo::run(
        "The dashboard of a facilitator in trouble",
        &[e2e, &["admin::page", "--", "--ignored"]].concat(),
        &[("CHROMIUM", &browser)],
    )
}

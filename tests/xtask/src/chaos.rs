//! `cargo xtask chaos`: the release binary under load while its processes are killed, stopped and ended.

use devnet::Npm;

use crate::{Failure, cargo};

const SECONDS_PER_MINUTE: u64 = 60;

/// Runs the release binary on a real chain under load and disturbs its processes: SIGKILL, SIGSTOP and SIGCONT, SIGTERM. One
/// node with its journal in SQLite, and three nodes on one PostgreSQL database. Afterwards every answer that a caller got is
/// compared with the chain: nothing may be lost, paid twice, released twice or misreported, and a lane whose node was gone
/// must have had another owner within 10 seconds.
///
/// PostgreSQL is installed from Debian's packages where it is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask chaos                              15 minutes on one node, then 5 minutes on three
  cargo xtask chaos --only three --minutes 5     three nodes only
  cargo xtask chaos --seed 7                     other disturbances")]
pub(crate) struct Args {
    /// Minutes on one node; a third of it on three nodes. With --only: minutes of that part
    #[arg(long, value_name = "MINUTES", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Only one part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Decides what happens to which node
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One node, SQLite
    One,
    /// Three nodes, PostgreSQL
    Three,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    Npm::ensure()?;
    cargo::build_what_is_shipped()?;
    let seconds = args.minutes.saturating_mul(SECONDS_PER_MINUTE);
    if args.only != Some(Part::Three) {
        part("one node", "chaos::one_node", seconds, args.seed)?;
    }
    if args.only != Some(Part::One) {
        let seconds = if args.only.is_some() { seconds } else { seconds / 3 };
        part("three nodes", "chaos::three_nodes", seconds, args.seed)?;
    }
    Ok(())
}

fn part(name: &str, test: &str, seconds: u64, seed: u64) -> Result<(), Failure> {
    let command = [
        "test",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "--test",
        "e2e",
        "--",
        "--nocapture",
        test,
    ];
    cargo::run(
        &format!("Chaos on {name}, {seconds} s"),
        &command,
        &[
            ("CHAOS_SECONDS", seconds.to_string().as_str()),
            ("CHAOS_SEED", seed.to_string().as_str()),
        ],
    )
}

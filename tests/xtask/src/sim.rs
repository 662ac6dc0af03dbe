//! `cargo xtask sim`: many seeds of the simulator, and the table of which fault struck at which step.

use crate::{Failure, cargo};

/// Runs the simulator over many seeds: the real engine in virtual time, on a scripted chain, while nodes, plugins, callers
/// and the process fail at every step. It prints how many settlements were lost, paid twice, released twice or answered
/// falsely (all must be zero), and a table of every step and every fault with how often it struck. A cell that can exist and
/// was never struck is an error, too.
///
/// A part of the seeds runs on the real SQLite journal, on files that lose, tear and reorder what was not synced when the
/// power fails. This needs a C compiler (`cc`).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask sim                       1,000 seeds, about a minute
  cargo xtask sim --seeds 10000         run this before a release
  cargo xtask sim --from 470 --trace    one seed, with everything that happened in it")]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// How many seeds run at once
    #[arg(long, value_name = "J", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,
    /// Only the first seed, with a trace
    #[arg(long)]
    trace: bool,
    /// Plant defects, one at a time, and show which law noticed each
    #[arg(long)]
    defects: bool,
}

/// The simulator is a program of its own, so that no other command compiles it.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (seeds, from, jobs) = (
        args.seeds.to_string(),
        args.from.to_string(),
        args.jobs.to_string(),
    );
    let mut simulator = vec!["--seeds", &seeds, "--from", &from, "--jobs", &jobs];
    if args.trace {
        simulator.push("--trace");
    }
    if args.defects {
        simulator.push("--defects");
    }
    let build = [
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "simulator",
        "--",
    ];
    cargo::run("The simulator", &[&build[..], &simulator].concat(), &[])
}

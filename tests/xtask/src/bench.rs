//! `cargo xtask bench`: the release binary beside other facilitators.

use std::path::Path;

use devnet::Npm;

use crate::{Failure, cargo};

/// Where the handbook has the report of the last kept run.
const KEPT: &str = "docs/src/benchmarks";
/// Where a run that is not kept writes its report.
const OUT: &str = "target/bench";
/// Build of the peers that are written in Rust.
const PEERS: &str = "target/peers";
const QUICK_ROUNDS: u64 = 1;
const QUICK_WINDOW_MS: &str = "700";

/// Measures the release binary with its plugin files beside two other facilitators: that of x402-rs, built from its published
/// crates, and the official TypeScript one. All run in front of one chain (anvil; for one part the Solana dev chain), each with
/// a key of its own, and through the same counting proxy. It builds and installs everything that it needs; the first run compiles for about half an hour.
///
/// The report has ratios first: how many times better we are in the same round, with the range of all rounds. Absolute numbers
/// follow. What else the machine does changes the absolute numbers, and changes the ratios less.
///
/// The report goes to target/bench; with --keep it replaces the page of the handbook, docs/src/benchmarks. With --check
/// the ratios are compared with that page. One that is more than 15 % below it in the median, and below it in every round, is
/// printed as worse. This is no error, because a busy machine can cause it.
///
/// All load goes to 127.0.0.1, and each measurement ends by itself. Every process ends with this command, also on Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench                      everything, five rounds: about 20 minutes after the build
  cargo xtask bench --quick              everything, one short round: is it complete?
  cargo xtask bench --only verify        one part
  cargo xtask bench --check              everything, and what is worse than in the handbook
  cargo xtask bench --keep --remark 'A quiet machine.'
                                         everything, and the report into the handbook")]
pub(crate) struct Args {
    /// Measurements of each subject for each number
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with = "quick",
          value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// One short round of everything
    #[arg(long)]
    quick: bool,
    /// Only one part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Compare the ratios with those of the handbook
    #[arg(long)]
    check: bool,
    /// Replace the handbook's report
    #[arg(long, conflicts_with_all = ["quick", "only", "check"])]
    keep: bool,
    /// A sentence for the report, for instance about what else the machine did
    #[arg(long, value_name = "TEXT")]
    remark: Option<String>,
}

/// The names are those of `tests/benches/src/bin/peers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Verify of accounts beside the chain, and with a recorded node of 5 ms and of 50 ms
    Verify,
    /// Settle on instant blocks and on blocks of 2 seconds
    Settle,
    /// Verify of a contract wallet
    Wallet,
    /// Verify of payments by Permit2
    Permits,
    /// Verify and settle on Solana
    Solana,
    /// A flood of forged payments
    Refusals,
    /// From a killed process to a ready one, and memory idle and loaded
    Starts,
    /// The core with a no-op plugin, beside axum alone and beside the same handlers linked in
    Core,
    /// Start, memory and verify with 100 networks
    Networks,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Verify => "verify",
            Part::Settle => "settle",
            Part::Wallet => "wallet",
            Part::Permits => "permits",
            Part::Solana => "solana",
            Part::Refusals => "refusals",
            Part::Starts => "starts",
            Part::Core => "core",
            Part::Networks => "networks",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    Npm::ensure()?;
    cargo::build_what_is_shipped_with(cargo::NOOP)?;
    cargo::build_solana_devnet()?;
    build_peers()?;
    let root = cargo::root();
    let path = |below: &str| text(&root.join(below));
    let x402_rs = path(&format!("{PEERS}/release/peer-x402-rs"))?;
    let (out, kept) = (path(if args.keep { KEPT } else { OUT })?, path(KEPT)?);
    let rounds = if args.quick { QUICK_ROUNDS } else { args.rounds };
    let rounds = rounds.to_string();
    let line = shown(args);
    let mut command = vec!["run", "--release", "--locked", "--package", cargo::BENCHES];
    command.extend(["--bin", "peers", "--", "--x402-rs", &x402_rs, "--out", &out]);
    command.extend(["--rounds", &rounds, "--command", &line]);
    if args.quick {
        command.extend(["--window-ms", QUICK_WINDOW_MS]);
    }
    if args.check {
        command.extend(["--check", &kept]);
    }
    if let Some(only) = args.only {
        command.extend(["--only", only.name()]);
    }
    if let Some(remark) = &args.remark {
        command.extend(["--remark", remark]);
    }
    cargo::run("The facilitators beside each other", &command, &[])
}

/// Their dependencies are locked in their own workspace.
fn build_peers() -> Result<(), Failure> {
    let build = [
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "tests/peers/x402-rs/Cargo.toml",
        "--target-dir",
        PEERS,
    ];
    cargo::run(
        "The facilitator of x402-rs, from its published crates",
        &build,
        &[],
    )
}

/// The command of this run, for its report.
fn shown(args: &Args) -> String {
    let mut line = "cargo xtask bench".to_owned();
    if args.quick {
        line += " --quick";
    } else {
        line += &format!(" --rounds {}", args.rounds);
    }
    if let Some(only) = args.only {
        line += &format!(" --only {}", only.name());
    }
    line
}

fn text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure(format!("{} is no UTF-8", path.display())))
}

//! Benchmarks beside the peers: `cargo xtask bench` builds everything and runs this program.
//!
//! Load goes to 127.0.0.1 only, and every measurement ends by itself. Every child process ends with this one, however it ends.

mod bench;
mod conditions;
mod load;
mod node;
mod payments;
mod plot;
mod process;
mod report;
mod results;
mod subject;
mod wire;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use devnet::Npm;

use crate::bench::{Bench, Effort};
use crate::results::{Results, THRESHOLD, shown};
use crate::subject::{Kind, Programs};
use crate::workloads::Workload;

/// Measures three facilitators beside each other.
#[derive(Debug, Parser)]
struct Args {
    /// The binary of tests/peers/x402-rs
    #[arg(long, value_name = "FILE")]
    x402_rs: PathBuf,
    /// Where the report goes
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The folder of an earlier report, to compare ratios with
    #[arg(long, value_name = "FOLDER")]
    check: Option<PathBuf>,
    /// Measurements of each subject for each number
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of one measurement
    #[arg(long, value_name = "MS", default_value_t = 1_500)]
    window_ms: u64,
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Workload>,
    /// A sentence for the report
    #[arg(long, value_name = "TEXT")]
    remark: Option<String>,
    /// The command of the report
    #[arg(long, value_name = "TEXT", default_value = "cargo xtask bench")]
    command: String,
}

/// An error message for the developer.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl From<devnet::Error> for Failure {
    fn from(error: devnet::Error) -> Failure {
        Failure(error.to_string())
    }
}

impl From<e2e::Error> for Failure {
    fn from(error: e2e::Error) -> Failure {
        Failure(error.to_string())
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(what)) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    // Read first: a missing file is not worth a run.
    let kept = args.check.as_deref().map(report::read).transpose()?;
    let effort = Effort {
        rounds: args.rounds.max(1),
        window: Duration::from_millis(args.window_ms.max(100)),
    };
    let parts = args.only.map_or(Workload::ALL.to_vec(), |part| vec![part]);
    let whole: Duration = parts.iter().map(|part| part.expected(effort)).sum();
    println!("{} rounds; about {}", effort.rounds, minutes(whole));
    let npm = Npm::ensure()?;
    let conditions = conditions::of(&npm, effort.rounds, &args.command);
    let programs = Programs {
        npm,
        x402_rs: args.x402_rs.clone(),
    };
    let mut bench = Bench::start(programs, effort)?;
    println!("Each subject accepts good payments and refuses a forged one.");
    bench.results.conditions = conditions;
    let started = Instant::now();
    let mut failures = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        println!(
            "[{}/{}] {part}, about {}; {} s so far",
            number + 1,
            parts.len(),
            minutes(part.expected(effort)),
            started.elapsed().as_secs()
        );
        // The other parts may still show something. None meets what another left in a subject.
        if let Err(Failure(what)) = bench.restart().and_then(|()| part.run(&mut bench)) {
            eprintln!("error in {part}: {what}");
            failures.push(format!("{part}: {what}"));
        }
    }
    let mut results = bench.results.clone();
    let found = std::mem::take(&mut bench.remarks);
    // Ends the subjects and the chain.
    drop(bench);
    results.order(&[&Kind::ALL.map(Kind::name)[..], &workloads::core::SIDES].concat());
    let remarks: Vec<String> = args
        .remark
        .iter()
        .cloned()
        .chain(found)
        .chain(failures.iter().map(|what| format!("Incomplete: {what}")))
        .collect();
    report::write(&args.out, &results, &remarks)?;
    println!("Report: {}", args.out.display());
    if let Some(kept) = kept {
        compare(&kept, &results);
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("these parts failed: {}", failures.join("; "))))
}

/// Noise is no failure: what got worse is only printed.
fn compare(kept: &Results, now: &Results) {
    let worse = results::worse(kept, now);
    if worse.is_empty() {
        println!("No ratio is more than {THRESHOLD} % below the kept one.");
    }
    for worse in worse {
        println!(
            "worse: {}: {} (all rounds {} to {}), kept {}",
            worse.what,
            shown(worse.now.median),
            shown(worse.now.from),
            shown(worse.now.to),
            shown(worse.kept)
        );
    }
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

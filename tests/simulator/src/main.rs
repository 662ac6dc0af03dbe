//! `cargo xtask sim`: many seeds of the simulator, with the table of which fault struck at which step.

use std::process::ExitCode;

use simulator::campaign::{self, PAYMENTS, Plan, story};
use simulator::defects;
use simulator::disk::recorder;
use simulator::run::simulate_traced;

/// Seeds within which a planted defect must be noticed.
const MOST_SEEDS: u64 = 60;
/// Seeds that are named when several are bad.
const NAMED: usize = 10;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

fn number(args: &[String], name: &str, default: u64) -> Result<u64, String> {
    let Some(at) = args.iter().position(|arg| arg == name) else {
        return Ok(default);
    };
    args.get(at + 1)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("write a number after {name}"))
}

fn run(args: &[String]) -> Result<bool, String> {
    let plan = Plan {
        first: number(args, "--from", 0)?,
        seeds: number(args, "--seeds", 1_000)?,
        step: number(args, "--step", 1)?,
        jobs: usize::try_from(number(args, "--jobs", 2)?).unwrap_or(1),
        payments: number(args, "--payments", PAYMENTS)?,
    };
    if recorder::root().is_none() {
        // The journals in files need a process whose writes are recorded.
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        return recorder::run(&program, args).map(|status| status.success());
    }
    if args.iter().any(|arg| arg == "--trace") {
        let (report, trace) =
            simulate_traced(&story(plan.first, plan.payments)).map_err(|error| error.to_string())?;
        println!("{trace}\n{:#?}", report.verdict);
        return Ok(report.verdict.is_clean());
    }
    if args.iter().any(|arg| arg == "--defects") {
        return Ok(defects::print_table(MOST_SEEDS));
    }
    let found = campaign::run(plan);
    println!("{found}");
    for (seed, verdict) in found.bad.iter().take(NAMED) {
        println!("seed {seed}: {verdict:#?}\nrepeat it with: cargo xtask sim --from {seed} --trace");
    }
    let empty = found.table.empty();
    if !empty.is_empty() && plan.seeds > 1 {
        println!("no fault struck here, run more seeds or aim at them: {empty:?}");
    }
    Ok(found.is_clean() && (empty.is_empty() || plan.seeds <= 1))
}

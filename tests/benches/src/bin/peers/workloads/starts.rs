//! From a killed process to a ready one, and its memory before and after a load.

use std::time::Duration;

use crate::Failure;
use crate::bench::{Bench, VALID, ms};
use crate::payments::{self, Payer};
use crate::process::resident_kib;
use crate::results::Quantity;

/// What a process still does after its start.
const SETTLED: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 64;
/// Verifies of the load, at most.
const REQUESTS: usize = 8_000;

pub(crate) fn run(bench: &mut Bench) -> Result<(), Failure> {
    for round in 0..bench.effort.rounds {
        for turn in 0..bench.subjects.len() {
            once(bench, round + turn)?;
        }
    }
    for (group, name) in [("Start", "to ready"), ("Memory", "idle"), ("Memory", "loaded")] {
        println!("   {group}, {name}: {}", bench.summary(group, name));
    }
    Ok(())
}

fn once(bench: &mut Bench, turn: usize) -> Result<(), Failure> {
    let at = turn % bench.subjects.len();
    let Some(subject) = bench.subjects.get_mut(at) else {
        return Ok(());
    };
    let start = subject.restart()?;
    std::thread::sleep(SETTLED);
    let Some(subject) = bench.subjects.get(at) else {
        return Ok(());
    };
    let idle = resident_kib(subject.id()?)?;
    let requests = payments::requests(&bench.chain, Payer::Accounts, "/verify", REQUESTS);
    let outcome = bench.load(subject, &requests, CONNECTIONS, VALID).run();
    let loaded = resident_kib(subject.id()?)?;
    let name = subject.name();
    outcome.mostly_accepted(name, VALID)?;
    let results = &mut bench.results;
    results.add(&Quantity::lower("Start", "to ready", "ms"), name, ms(start));
    results.add(&Quantity::lower("Memory", "idle", "MiB"), name, mib(idle));
    results.add(&Quantity::lower("Memory", "loaded", "MiB"), name, mib(loaded));
    Ok(())
}

/// Hundredths of a MiB.
pub(crate) fn mib(kib: u64) -> u64 {
    kib.saturating_mul(100) / 1_024
}

//! Settle: distinct payments of many buyers, sent at once to a facilitator with one signer.

use std::collections::BTreeSet;
use std::time::Duration;

use devnet::Mining;
use e2e::wait;
use serde_json::Value;

use super::verify::{connections_text, costs};
use crate::Failure;
use crate::bench::{Bench, Measured, SUCCESS, ms};
use crate::load::Load;
use crate::payments::{self, Payer};
use crate::results::{Quantity, Results};

/// Connections, and payments.
pub(super) const SIZES: [(usize, usize); 3] = [(1, 2), (16, 16), (64, 64)];
/// No settle begins later.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
const SOURCES: [(&str, Mining); 2] = [
    ("instant blocks", Mining::Auto),
    ("blocks of 2 s", Mining::Every(2)),
];

pub(crate) fn run(bench: &mut Bench) -> Result<(), Failure> {
    let result = SOURCES
        .into_iter()
        .try_for_each(|(source, mining)| on(bench, source, mining));
    bench.chain.set_mining(Mining::Auto)?;
    result
}

fn on(bench: &mut Bench, source: &str, mining: Mining) -> Result<(), Failure> {
    bench.chain.set_mining(mining)?;
    let group = format!("Settle, {source}");
    for (connections, count) in SIZES {
        // What a subject could not settle is not held against its next series.
        bench.restart()?;
        let name = size_text(connections, count);
        for round in 0..bench.effort.rounds {
            for turn in 0..bench.subjects.len() {
                if mining != Mining::Auto {
                    next_block(bench)?;
                }
                once(bench, &group, &name, (connections, count), round + turn)?;
            }
        }
        println!("   {group}, {name}: {}", bench.summary(&group, &name));
    }
    Ok(())
}

pub(super) fn size_text(connections: usize, count: usize) -> String {
    match connections {
        1 => connections_text(1),
        _ => format!("{count} at once"),
    }
}

/// Waits until a block has just come: every series then has the same time until the next one.
fn next_block(bench: &Bench) -> Result<(), Failure> {
    let (before, _) = bench.chain.head()?;
    let came = wait::try_until(LIMIT, || {
        let (now, _) = bench.chain.head().ok()?;
        (now > before).then_some(())
    });
    came.ok_or_else(|| Failure("no block came".to_owned()))
}

fn once(
    bench: &mut Bench,
    group: &str,
    name: &str,
    (connections, count): (usize, usize),
    turn: usize,
) -> Result<(), Failure> {
    let Some(subject) = bench.subjects.get(turn % bench.subjects.len()) else {
        return Ok(());
    };
    let requests = payments::requests(&bench.chain, Payer::Accounts, "/settle", count);
    let load = Load {
        limit: LIMIT,
        keep_bodies: true,
        ..bench.load(subject, &requests, connections, SUCCESS)
    };
    let measured = subject.target()?.measure(load)?;
    let (subject, outcome) = (subject.name(), &measured.outcome);
    record(&mut bench.results, (group, name), subject, &measured, count);
    if let Some(gas) = gas_of_each(bench, &outcome.bodies)? {
        // Payments that come at once may share a transaction.
        let name = if connections == 1 { "single" } else { name };
        let quantity = Quantity::lower("Gas of a payment", name, "gas");
        bench.results.add(&quantity, subject, gas);
    }
    Ok(())
}

/// What a series of so many settles gave.
pub(super) fn record(
    results: &mut Results,
    (group, name): (&str, &str),
    subject: &str,
    measured: &Measured,
    count: usize,
) {
    let outcome = &measured.outcome;
    if let Some(what) = outcome.shortfall(subject, SUCCESS) {
        println!("   note: {group}, {name}: {what}");
    }
    let share = outcome.accepted * 100 * 100 / u64::try_from(count).unwrap_or(1).max(1);
    for (quantity, value) in [
        (Quantity::higher(group, name, "settled, of 100"), share),
        (Quantity::higher(group, name, "settles/s"), outcome.rate()),
        (
            Quantity::lower(group, name, "ms, median"),
            ms(outcome.percentile(50)),
        ),
        (
            Quantity::lower(group, name, "ms, the last one"),
            ms(outcome.elapsed),
        ),
    ] {
        results.add(&quantity, subject, value);
    }
    costs(results, (group, name), subject, measured);
}

/// The gas of each of these accepted settles, in hundredths: their transactions' gas, shared evenly; `None` without any.
fn gas_of_each(bench: &Bench, bodies: &[Vec<u8>]) -> Result<Option<u64>, Failure> {
    let hashes: BTreeSet<String> = bodies.iter().map(|body| transaction_of(body)).collect();
    let mut gas = 0_u64;
    for hash in &hashes {
        gas = gas.saturating_add(gas_of(bench, hash)?);
    }
    let payments = u64::try_from(bodies.len()).unwrap_or(u64::MAX);
    Ok(gas.saturating_mul(100).checked_div(payments))
}

fn transaction_of(body: &[u8]) -> String {
    let reply: Value = serde_json::from_slice(body).unwrap_or_default();
    reply["transaction"].as_str().unwrap_or_default().to_owned()
}

/// What a transaction used.
fn gas_of(bench: &Bench, hash: &str) -> Result<u64, Failure> {
    let receipt = bench.chain.receipt(hash)?.unwrap_or_default();
    let gas = receipt["gasUsed"]
        .as_str()
        .unwrap_or_default()
        .trim_start_matches("0x");
    u64::from_str_radix(gas, 16).map_err(|_| {
        Failure(format!(
            "a settle was answered success, and its transaction {hash:?} has no receipt"
        ))
    })
}

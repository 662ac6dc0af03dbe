//! Settle: distinct payments of many buyers, sent at once to a facilitator with one signer.

use std::time::Duration;

use devnet::Mining;
use e2e::wait;
use serde_json::Value;

use super::verify::{connections_text, costs};
use crate::Failure;
use crate::bench::{Bench, SUCCESS, ms};
use crate::load::Load;
use crate::payments::{self, Payer};
use crate::results::Quantity;

/// Connections, and payments.
const SIZES: [(usize, usize); 3] = [(1, 2), (16, 16), (64, 64)];
/// No settle begins later.
const LIMIT: Duration = Duration::from_secs(60);
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
        let name = match count {
            _ if connections == 1 => connections_text(1),
            count => format!("{count} at once"),
        };
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
    let share = outcome.accepted * 100 * 100 / u64::try_from(count).unwrap_or(1).max(1);
    let results = &mut bench.results;
    results.add(&Quantity::higher(group, name, "settled, of 100"), subject, share);
    results.add(
        &Quantity::higher(group, name, "settles/s"),
        subject,
        outcome.rate(),
    );
    results.add(
        &Quantity::lower(group, name, "ms, median"),
        subject,
        ms(outcome.percentile(50)),
    );
    results.add(
        &Quantity::lower(group, name, "ms, the last one"),
        subject,
        ms(outcome.elapsed),
    );
    costs(results, (group, name), subject, &measured);
    if connections == 1 {
        // Payments that share a transaction get a row of their own in this group.
        for body in &outcome.bodies {
            let gas = gas_of(bench, body)?;
            let quantity = Quantity::lower("Gas of a payment", "single", "gas");
            bench.results.add(&quantity, subject, gas.saturating_mul(100));
        }
    }
    Ok(())
}

/// What the transaction of an accepted settle used.
fn gas_of(bench: &Bench, body: &[u8]) -> Result<u64, Failure> {
    let reply: Value = serde_json::from_slice(body).unwrap_or_default();
    let hash = reply["transaction"].as_str().unwrap_or_default();
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

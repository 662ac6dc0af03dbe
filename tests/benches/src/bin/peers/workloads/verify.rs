//! Verify: throughput, latency, and what an answer costs in CPU, context switches and calls to the node.

use std::time::Duration;

use crate::Failure;
use crate::bench::{Bench, INVALID, Measured, VALID, ms};
use crate::node::Mode;
use crate::payments::Payer;
use crate::results::{Quantity, Results};

pub(super) const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// Where the node's answers come from.
const SOURCES: [(&str, Mode); 3] = [
    ("beside anvil", Mode::Forward),
    ("recorded node, 5 ms", Mode::Recorded(Duration::from_millis(5))),
    ("recorded node, 50 ms", Mode::Recorded(Duration::from_millis(50))),
];

pub(crate) fn accounts(bench: &mut Bench) -> Result<(), Failure> {
    for (source, mode) in SOURCES {
        bench.set_mode(mode);
        for connections in CONNECTIONS {
            let group = format!("Verify, {source}");
            let name = connections_text(connections);
            bench.verify_rounds(
                Payer::Accounts,
                connections,
                VALID,
                |results, subject, measured| {
                    record(results, (&group, &name), "verifies/s", subject, measured);
                    let cost = format!("Cost of a verify, {source}");
                    costs(results, (&cost, &name), subject, measured);
                },
            )?;
            println!("   {group}, {name}: {}", bench.summary(&group, &name));
        }
    }
    bench.set_mode(Mode::Forward);
    Ok(())
}

pub(crate) fn wallet(bench: &mut Bench) -> Result<(), Failure> {
    other_payers(bench, Payer::Wallet, "Verify, contract wallet (ERC-1271)")
}

pub(crate) fn permits(bench: &mut Bench) -> Result<(), Failure> {
    other_payers(bench, Payer::Permits, "Verify, Permit2")
}

fn other_payers(bench: &mut Bench, payer: Payer, group: &str) -> Result<(), Failure> {
    let name = connections_text(16);
    bench.verify_rounds(payer, 16, VALID, |results, subject, measured| {
        record(results, (group, &name), "verifies/s", subject, measured);
        costs(results, (group, &name), subject, measured);
    })?;
    println!("   {group}, {name}: {}", bench.summary(group, &name));
    Ok(())
}

pub(crate) fn refusals(bench: &mut Bench) -> Result<(), Failure> {
    let (group, name) = ("Flood of forged payments", connections_text(64));
    bench.verify_rounds(Payer::Forged, 64, INVALID, |results, subject, measured| {
        record(results, (group, &name), "refusals/s", subject, measured);
        costs(results, (group, &name), subject, measured);
    })?;
    println!("   {group}, {name}: {}", bench.summary(group, &name));
    Ok(())
}

pub(super) fn record(
    results: &mut Results,
    (group, name): (&str, &str),
    unit: &str,
    subject: &str,
    measured: &Measured,
) {
    let outcome = &measured.outcome;
    results.add(&Quantity::higher(group, name, unit), subject, outcome.rate());
    let latency = |percent| ms(outcome.percentile(percent));
    results.add(&Quantity::lower(group, name, "ms, median"), subject, latency(50));
    results.add(
        &Quantity::lower(group, name, "ms, 99 of 100"),
        subject,
        latency(99),
    );
}

/// What an answer costs.
pub(crate) fn costs(results: &mut Results, (group, name): (&str, &str), subject: &str, measured: &Measured) {
    for (unit, value) in [
        ("µs of CPU", measured.cpu_us()),
        ("context switches", measured.switches()),
        ("calls to the node", measured.calls()),
    ] {
        results.add(&Quantity::lower(group, name, unit), subject, value);
    }
}

pub(crate) fn connections_text(connections: usize) -> String {
    match connections {
        1 => "1 connection".to_owned(),
        _ => format!("{connections} connections"),
    }
}

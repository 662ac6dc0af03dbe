//! Several nodes on one journal, which die, are stopped and wake, and are cut off: whatever happens, nothing is lost, paid
//! twice, released twice or answered falsely, and no lane is long without an owner.
//!
//! `SIMULATOR_SEEDS` and `SIMULATOR_FIRST_SEED` make a run longer or repeat one seed.

use simulator::cluster::{ClusterReport, Nodes, nodes, simulate, simulate_traced};
use simulator::random::scenario;
use simulator::run::Scenario;

/// The longest time without an owner, milliseconds.
const LONGEST_MS: u64 = 10_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn of_seed(seed: u64, count: usize, signers: usize) -> (Scenario, Nodes) {
    let mut scenario = scenario(seed, 40);
    scenario.terms.signers = signers;
    let nodes = nodes(seed, count, scenario.calm_at_ms);
    (scenario, nodes)
}

/// Runs all seeds and returns what came out.
fn survive(seeds: u64, count: usize, signers: usize) -> Vec<ClusterReport> {
    let first = number("SIMULATOR_FIRST_SEED", 0);
    let seeds = number("SIMULATOR_SEEDS", seeds);
    let began = std::time::Instant::now();
    let (mut bad, mut reports) = (Vec::new(), Vec::new());
    for seed in first..first + seeds {
        let (scenario, nodes) = of_seed(seed, count, signers);
        let report = simulate(&scenario, &nodes).expect("a runtime");
        let longest_ms = report.takeovers_ms.iter().max().copied().unwrap_or(0);
        if !report.verdict.is_clean() || longest_ms > LONGEST_MS {
            eprintln!(
                "seed {seed}: {longest_ms} ms without an owner; {:#?}",
                report.verdict
            );
            bad.push(seed);
        }
        reports.push(report);
    }
    let takeovers: Vec<u64> = reports
        .iter()
        .flat_map(|report| report.takeovers_ms.clone())
        .collect();
    eprintln!(
        "{seeds} seeds on {count} nodes: {} lives, {} payments, {} handed over, {} lanes taken over, at most {} ms without an \
         owner, in {:.1} s",
        reports.iter().map(|report| report.lives).sum::<u64>(),
        reports.iter().map(|report| report.payments).sum::<usize>(),
        reports.iter().map(|report| report.handed_over).sum::<usize>(),
        takeovers.len(),
        takeovers.iter().max().unwrap_or(&0),
        began.elapsed().as_secs_f64()
    );
    if let Some(seed) = bad.first() {
        let (scenario, nodes) = of_seed(*seed, count, signers);
        let (report, trace) = simulate_traced(&scenario, &nodes).expect("a runtime");
        eprintln!("{trace}\nseed {seed}: {:#?}", report.verdict);
        panic!("{} of {seeds} seeds failed: {bad:?}", bad.len());
    }
    reports
}

#[test]
fn no_seed_on_three_nodes_loses_or_repeats_or_misreports_a_payment() {
    let reports = survive(60, 3, 3);
    assert!(reports.iter().any(|report| report.handed_over > 0));
    assert!(reports.iter().any(|report| !report.takeovers_ms.is_empty()));
}

/// More nodes than lanes: most of them hand everything over.
#[test]
fn no_seed_on_thirty_nodes_with_few_lanes_loses_or_repeats_or_misreports_a_payment() {
    survive(4, 30, 4);
}

#[test]
fn no_seed_on_thirty_nodes_with_a_lane_each_loses_or_repeats_or_misreports_a_payment() {
    survive(4, 30, 30);
}

//! Several nodes on one journal, which die, are stopped and wake, and are cut off: whatever happens, nothing is lost, paid
//! twice, released twice or answered falsely, and no lane is long without an owner.
//!
//! `SIMULATOR_SEEDS` and `SIMULATOR_FIRST_SEED` make a run longer or repeat one seed.

use std::collections::BTreeMap;

use simulator::cluster::{ClusterReport, Nodes, Owned, Trouble, nodes, simulate, simulate_traced};
use simulator::random::scenario;
use simulator::run::Scenario;
use simulator::scheme::Shape;
use simulator::script::{payment, quiet};

/// The longest time without an owner, milliseconds. A node that dies alone is replaced within 10 s; here its successor may die
/// too, or its journal may refuse, while it takes over.
const LONGEST_MS: u64 = 12_000;

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

/// A payment waited 33 seconds between its plan and its first attempt, on blocks of 400 ms, and a stranger made it meanwhile:
/// before the blocks in which the searches for it began. It was pending for ever.
#[test]
fn a_payment_by_a_stranger_long_before_the_first_attempt_is_found() {
    let (scenario, nodes) = of_seed(1_338, 3, 3);
    let verdict = simulate(&scenario, &nodes).expect("a runtime").verdict;
    assert!(verdict.is_clean(), "{verdict:#?}");
}

/// Minutes in which a payment comes every few seconds.
fn steady(signers: usize, calm_at_ms: u64) -> Scenario {
    let mut scenario = quiet();
    scenario.terms.signers = signers;
    scenario.terms.lane_queue = 32;
    scenario.calm_at_ms = calm_at_ms;
    for at in 0..calm_at_ms / 4_000 {
        let payer = ["ann", "bob", "cyd", "dan"][usize::try_from(at % 4).expect("small")];
        scenario = scenario.settle(2_000 + at * 4_000, &payment(payer, at, Shape::Plain), 25_000, 20);
    }
    scenario
}

fn two_nodes(troubles: Vec<(u64, usize, Trouble)>) -> Nodes {
    Nodes {
        count: 2,
        troubles,
        others: BTreeMap::new(),
    }
}

#[track_caller]
fn clean(scenario: &Scenario, nodes: &Nodes) -> ClusterReport {
    let report = simulate(scenario, nodes).expect("a runtime");
    assert!(
        report.verdict.is_clean(),
        "{:#?}\n{:#?}",
        report.verdict,
        report.owned
    );
    assert_eq!(report.payments, scenario.requests.len(), "{:#?}", report.owned);
    report
}

/// The owner of each lane, and of the tasks that one node does for all, at a moment.
fn owners_at(report: &ClusterReport, at_ms: u64) -> BTreeMap<&str, Option<usize>> {
    let until = report.owned.iter().filter(|owned| owned.at_ms <= at_ms);
    until.map(|owned| (owned.unit.as_str(), owned.node)).collect()
}

fn changes(owned: &[Owned]) -> usize {
    owned.iter().filter(|owned| owned.node.is_some()).count()
}

#[test]
fn lanes_and_tasks_of_a_node_that_reaches_no_chain_move_to_one_that_does_and_stay() {
    let troubles = vec![(40_000, 0, Trouble::OffChain(90_000))];
    let report = clean(&steady(3, 150_000), &two_nodes(troubles));
    let before = owners_at(&report, 39_000);
    let of_first = before.values().filter(|node| **node == Some(0)).count();
    assert!(of_first >= 2, "{before:?}");
    // The failure is noticed, lasts for 5 s, and the other node takes what it finds.
    for at_ms in [65_000, 90_000, 125_000] {
        let owners = owners_at(&report, at_ms);
        assert!(
            owners.values().all(|node| *node == Some(1)),
            "{at_ms}: {owners:?}"
        );
    }
    assert!(changes(&report.owned) <= 16, "{:#?}", report.owned);
}

#[test]
fn nodes_that_all_reach_no_chain_keep_their_lanes() {
    let long = Trouble::OffChain(60_000);
    let report = clean(
        &steady(3, 130_000),
        &two_nodes(vec![(40_000, 0, long), (40_000, 1, long)]),
    );
    let before = owners_at(&report, 39_000);
    assert_eq!(before, owners_at(&report, 95_000), "{:#?}", report.owned);
    assert!(before.values().all(Option::is_some), "{before:?}");
}

#[test]
fn a_node_that_loses_the_chain_again_and_again_moves_its_lanes_more_seldom_each_time() {
    let troubles = (0..12).map(|at| (30_000 + at * 25_000, 0, Trouble::OffChain(14_000)));
    let report = clean(&steady(3, 360_000), &two_nodes(troubles.collect()));
    assert!(changes(&report.owned) <= 4 * 12, "{:#?}", report.owned);
    let of_first = |owned: &&Owned| owned.node == Some(0) && owned.unit.contains("signer-k0");
    let returns = report.owned.iter().filter(of_first).count();
    assert!(returns <= 6, "{:#?}", report.owned);
}

/// It has another signer than the others, and lives.
#[test]
fn a_lane_that_another_node_can_not_take_is_not_offered_to_it_again_and_again() {
    let nodes = Nodes {
        others: BTreeMap::from([(1, 1)]),
        ..two_nodes(Vec::new())
    };
    let report = clean(&steady(3, 300_000), &nodes);
    let owned: Vec<Owned> = report.owned.clone();
    let lane = |owned: &&Owned| owned.unit.contains("signer-k");
    // It is taken, offered, and taken back.
    assert!(owned.iter().filter(lane).count() <= 3 * 4, "{owned:#?}");
    let last = owners_at(&report, 299_000);
    let of_first = last
        .iter()
        .filter(|(unit, node)| unit.contains("signer-k") && **node == Some(0));
    assert!(of_first.count() >= 2, "{last:?}");
}

#[test]
fn a_node_that_is_leaving_takes_no_lanes_even_if_it_is_the_only_one() {
    let troubles = vec![
        (40_000, 0, Trouble::Leave(25_000)),
        (45_000, 1, Trouble::Kill(30_000)),
        (45_500, 2, Trouble::Kill(30_000)),
    ];
    let nodes = Nodes {
        count: 3,
        ..two_nodes(troubles)
    };
    let report = clean(&steady(6, 120_000), &nodes);
    let before = owners_at(&report, 39_000);
    let of_others = before.values().filter(|node| **node != Some(0)).count();
    assert!(of_others >= 2, "{before:?}");
    let taken = report
        .owned
        .iter()
        .filter(|owned| owned.at_ms > 41_000 && owned.node == Some(0));
    assert_eq!(taken.count(), 0, "{:#?}", report.owned);
    let owners = owners_at(&report, 110_000);
    let is_other = |node: &Option<usize>| matches!(node, Some(1 | 2));
    assert!(owners.values().all(is_other), "{owners:?}");
}

#[test]
fn an_owner_that_takes_little_does_not_get_a_longer_and_longer_list_and_each_caller_an_answer() {
    let mut scenario = quiet();
    scenario.terms.max_in_flight = 1;
    scenario.terms.lane_queue = 2;
    scenario.weather.block_ms = 4_000;
    for at in 0..24 {
        let payer = ["ann", "bob", "cyd", "dan"][usize::try_from(at % 4).expect("small")];
        scenario = scenario.settle(10_000 + at * 20, &payment(payer, at, Shape::Plain), 5_000, 400);
    }
    let nodes = Nodes {
        count: 4,
        ..two_nodes(Vec::new())
    };
    let report = clean(&scenario, &nodes);
    assert!(report.handed_over > 0);
    // Three nodes hand over, and each counts for itself now and then.
    assert!(report.most_waiting <= 3 * 2, "{} waited", report.most_waiting);
}

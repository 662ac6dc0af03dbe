//! Many seeds: whatever goes wrong, nothing is lost, paid twice, released twice or answered falsely.
//!
//! `SIMULATOR_SEEDS` (default 300, half as many without numbers), `SIMULATOR_FIRST_SEED` (0) and `SIMULATOR_PAYMENTS`
//! (40) make a run longer or repeat one seed.

use std::collections::BTreeMap;

use engine::Retention;
use journal::{Event, Stage};
use simulator::random::{scenario, unnumbered};
use simulator::run::{Report, Scenario, simulate, simulate_traced};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Runs all seeds. The verdict of each must be clean, and `demand` must find no further violation.
fn survive(
    seeds: u64,
    make: fn(u64, u64) -> Scenario,
    mut demand: impl FnMut(&Report) -> Result<(), String>,
) {
    let first = number("SIMULATOR_FIRST_SEED", 0);
    let seeds = number("SIMULATOR_SEEDS", seeds);
    let payments = number("SIMULATOR_PAYMENTS", 40);
    let began = std::time::Instant::now();
    let mut bad = Vec::new();
    let mut faults: BTreeMap<_, u64> = BTreeMap::new();
    let (mut paid, mut restarts, mut replies, mut blocks) = (0, 0, 0, 0);
    for seed in first..first + seeds {
        let report = simulate(&make(seed, payments)).expect("a runtime");
        let demanded = demand(&report);
        if !report.verdict.is_clean() || demanded.is_err() {
            eprintln!("seed {seed}: {:#?} {demanded:?}", report.verdict);
            bad.push(seed);
        }
        paid += report.payments;
        restarts += report.restarts;
        replies += report.exchanges.len();
        blocks += report.blocks;
        for (fault, count) in report.faults {
            *faults.entry(fault).or_default() += count;
        }
    }
    eprintln!(
        "{seeds} seeds, {paid} payments on chain, {replies} answers, {restarts} restarts, {blocks} blocks, {} kinds of \
         fault struck {} times, in {:.1} s",
        faults.len(),
        faults.values().sum::<u64>(),
        began.elapsed().as_secs_f64()
    );
    if let Some(seed) = bad.first() {
        let (report, trace) = simulate_traced(&make(*seed, payments)).expect("a runtime");
        eprintln!("{trace}\nseed {seed}: {:#?}", report.verdict);
        panic!(
            "{} of {seeds} seeds failed: {bad:?}; repeat one with SIMULATOR_FIRST_SEED={seed} SIMULATOR_SEEDS=1",
            bad.len()
        );
    }
}

#[test]
fn no_seed_loses_or_repeats_or_misreports_a_payment() {
    survive(300, scenario, |_| Ok(()));
}

#[test]
fn no_unnumbered_seed_loses_or_repeats_or_misreports_a_payment_or_replaces_a_transaction() {
    let (mut seeds, mut failed) = (0, 0);
    survive(150, unnumbered, |report| {
        let too_old = |event: &&Event| matches!(event, Event::Failed { proof, .. } if proof.starts_with("good up to block"));
        failed += report.log.iter().filter(too_old).count();
        seeds += 1;
        report.never_replaced()
    });
    eprintln!("{failed} payments failed because their transactions were too old");
    assert!(seeds < 100 || failed > 50, "{failed} of {seeds}");
}

/// The details of a settlement go within a minute after it finished, in the middle of everything.
#[test]
fn rows_that_are_removed_early_lose_and_misreport_nothing() {
    let removed_early = |seed, payments| {
        let mut scenario = scenario(seed, payments);
        scenario.terms.retention = Retention {
            payloads_ms: 0,
            details_ms: 0,
            ..Retention::default()
        };
        scenario
    };
    let (mut payloads, mut details) = (0, 0);
    survive(60, removed_early, |report| {
        for event in &report.log {
            match event {
                Event::Dropped {
                    stage: Stage::Payloads,
                    due,
                } => payloads += due.len(),
                Event::Dropped {
                    stage: Stage::Details,
                    due,
                } => details += due.len(),
                _ => {}
            }
        }
        Ok(())
    });
    eprintln!("payloads of {payloads} settlements and details of {details} were removed");
    assert!(payloads > 0 && details > 0, "{payloads}, {details}");
}

/// Without this no seed could be repeated.
#[test]
fn a_seed_always_runs_the_same_way() {
    for make in [scenario, unnumbered] {
        for seed in [3, 17, 29] {
            let first = simulate(&make(seed, 40)).expect("a runtime");
            let second = simulate(&make(seed, 40)).expect("a runtime");
            assert_eq!(first.log, second.log, "seed {seed}");
            assert_eq!(
                format!("{:?}", first.exchanges),
                format!("{:?}", second.exchanges),
                "seed {seed}"
            );
        }
    }
}

//! Chains that do not number transactions, as Solana: the same bytes are sent again until they land, and a payment has
//! failed only when they never can.

use journal::Event;
use simulator::chain::{Nodes, Read};
use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::matrix::spread;
use simulator::random::unnumbered;
use simulator::run::{Act, Report, simulate};
use simulator::scheme::Shape;
use simulator::script::{Outcome, offered, quiet_unnumbered, signed, unnumbered_tour};

/// Passes of one point that are struck one by one.
const PASSES: u64 = 12;

fn hashes(report: &Report) -> Vec<String> {
    let replies = report.exchanges.iter().filter_map(|exchange| exchange.reply());
    replies.map(|reply| reply.transaction).collect()
}

fn points() -> impl Iterator<Item = Point> {
    // There is nothing to fill, and nothing is held that a job would give back.
    let not_here =
        |point: &Point| point.is_rare() || matches!(point, Point::Fill | Point::Job | Point::CommitJob);
    Point::ALL.into_iter().filter(move |point| !not_here(point))
}

#[test]
fn the_tour_passes_every_step_but_fills_and_jobs() {
    let tour = unnumbered_tour();
    let report = tour.scenario.run_clean();
    for point in points() {
        assert!(report.passes.contains_key(&point), "{point:?} is not passed");
    }
    assert!(!report.passes.contains_key(&Point::Fill));
    assert_eq!(report.never_replaced(), Ok(()));
    assert_eq!(report.payments, 7);
    for request in &tour.payments {
        let outcomes = report.outcomes(request);
        let successes = outcomes.iter().filter(|outcome| **outcome == Outcome::Success);
        assert_eq!(successes.count(), 1, "{}: {outcomes:?}", request.payload.from);
    }
}

#[test]
fn law4_law5_any_single_fault_at_any_pass_of_any_step_harms_nothing() {
    let tour = unnumbered_tour();
    let passes = tour.scenario.run_clean().passes;
    let (mut runs, mut struck) = (0_u64, 0);
    for point in points() {
        for harm in point.harms() {
            for pass in spread(passes.get(&point).copied().unwrap_or(0), PASSES) {
                let report = tour.strike(point, *harm, pass, 1);
                assert_eq!(
                    report.never_replaced(),
                    Ok(()),
                    "{harm:?} at pass {pass} of {point:?}"
                );
                struck += report.struck(point, *harm);
                runs += 1;
            }
        }
    }
    eprintln!("{runs} runs, {struck} faults");
    assert_eq!(struck, runs, "every scripted fault strikes");
}

#[test]
fn faults_that_last_several_passes_harm_nothing() {
    let tour = unnumbered_tour();
    for point in points() {
        for harm in point.harms() {
            let fatal = matches!(harm, Harm::CrashBefore | Harm::CrashAfter);
            for count in if fatal { [2, 3] } else { [5, 12] } {
                let report = tour.strike(point, *harm, 0, count);
                assert_eq!(report.never_replaced(), Ok(()), "{harm:?} at {point:?}");
            }
        }
    }
}

#[test]
fn law3_a_journal_that_lies_about_attempts_is_caught() {
    let mut lying = unnumbered_tour().scenario;
    lying.journal_lies = true;
    let verdict = simulate(&lying).expect("a runtime").verdict;
    assert!(!verdict.sent_unjournaled.is_empty(), "{verdict:#?}");
    assert!(!verdict.lost.is_empty(), "{verdict:#?}");
    for seed in 0..3 {
        let mut lying = unnumbered(seed, 10);
        lying.journal_lies = true;
        let verdict = simulate(&lying).expect("a runtime").verdict;
        assert!(!verdict.sent_unjournaled.is_empty(), "seed {seed}: {verdict:#?}");
    }
}

#[test]
fn a_transaction_that_the_nodes_forget_is_sent_again_and_lands_with_the_same_id() {
    let request = signed("ann", 10, Shape::Plain, 100);
    let report = quiet_unnumbered()
        .settle(500, &request, 25_000, 1)
        .harm(Point::Broadcast, Harm::AcceptedAndForgotten, 0, 5)
        .run_clean();
    assert_eq!(report.struck(Point::Broadcast, Harm::AcceptedAndForgotten), 5);
    assert_eq!(report.outcomes(&request), [Outcome::Success, Outcome::Duplicate]);
    assert_eq!((report.payments, report.transactions), (1, 1));
    assert_eq!(report.never_replaced(), Ok(()));
}

/// A replacement would be the same bytes, and a row in the journal for each.
#[test]
fn a_transaction_that_bids_too_little_waits_for_the_price_and_is_not_replaced() {
    let request = signed("ann", 10, Shape::Plain, 100);
    let report = quiet_unnumbered()
        .act(100, Act::Fee(Some(200)))
        .settle(500, &request, 25_000, 3)
        .act(20_000, Act::Fee(None))
        .run_clean();
    assert_eq!(report.outcomes(&request), [Outcome::Success, Outcome::Duplicate]);
    assert_eq!(report.never_replaced(), Ok(()));
}

#[test]
fn law4_a_payment_fails_only_when_no_block_can_include_it_any_more() {
    let request = signed("ann", 10, Shape::Plain, 12);
    let report = quiet_unnumbered()
        .act(0, Act::Delay(true))
        .settle(500, &request, 2_000, 20)
        .run_clean();
    let refused = Outcome::Refused("sim_transaction_failed".into());
    let outcomes = report.outcomes(&request);
    let first = outcomes
        .iter()
        .position(|outcome| *outcome != Outcome::Pending)
        .expect("an end");
    assert_eq!(outcomes[first], refused, "{outcomes:?}");
    // Block 13 is final when block 18 comes, 18 s after the start, and two nodes must show their history.
    let (began, exchange) = (1_800_000_000_000, &report.exchanges[first]);
    assert!(
        exchange.answered_ms >= began + 18_000,
        "{}",
        exchange.answered_ms - began
    );
    let proof = report.log.iter().find_map(|event| match event {
        Event::Failed { proof, .. } => Some(proof.as_str()),
        _ => None,
    });
    assert!(
        proof.is_some_and(|proof| proof.starts_with("good up to block 12, block 13 is final")),
        "{proof:?}"
    );
    // The hash that callers know while it may land is not in the failure: nothing of it is on the chain.
    let hashes = hashes(&report);
    assert!(
        hashes[..first]
            .iter()
            .all(|hash| *hash == hashes[0] && !hash.is_empty())
    );
    assert!(hashes[first..].iter().all(String::is_empty), "{hashes:?}");
    // The same answer when it has long ended.
    assert_eq!(outcomes.last(), Some(&refused));
    assert_eq!(report.payments, 0);
}

#[test]
fn law4_a_payment_lost_by_a_fork_is_not_reversed_while_it_can_still_land() {
    let request = signed("ann", 10, Shape::Plain, 100);
    for kill in [false, true] {
        let mut scenario = quiet_unnumbered()
            .settle(500, &request, 25_000, 1)
            .act(3_900, Act::LoseInReorgs(1_000))
            .act(4_000, Act::Reorg(4));
        if kill {
            scenario = scenario.act(4_001, Act::Kill);
        }
        let report = scenario.run_clean();
        assert_eq!(report.outcomes(&request), [Outcome::Success, Outcome::Duplicate]);
        let hashes = hashes(&report);
        assert_eq!(hashes[0], hashes[1], "it can only land as itself");
        assert_eq!(report.payments, 1);
        assert!(
            report
                .log
                .iter()
                .any(|event| matches!(event, Event::Reorged { .. })),
            "the fork was seen"
        );
    }
}

/// Answered `success`, then lost by a fork when it was too old to land again: it is reported, and never answered `success` again.
#[test]
fn law4_an_answered_payment_that_a_fork_loses_for_good_is_reversed() {
    let request = signed("ann", 10, Shape::Plain, 3);
    let report = quiet_unnumbered()
        .settle(500, &request, 25_000, 1)
        .act(4_400, Act::LoseInReorgs(1_000))
        .act(4_500, Act::Reorg(4))
        .act(4_501, Act::Halt(8_000))
        .run_clean();
    let outcomes = report.outcomes(&request);
    assert_eq!(outcomes.first(), Some(&Outcome::Success), "{outcomes:?}");
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Success)
            .count(),
        1
    );
    assert_eq!(report.payments, 0);
    assert!(
        report
            .log
            .iter()
            .any(|event| matches!(event, Event::Failed { .. })),
        "it is proven dead"
    );
}

#[test]
fn law5_two_messages_of_one_buyer_are_two_payments_and_one_message_is_one() {
    let one = signed("ann", 10, Shape::Plain, 100);
    let other = signed("ann", 20, Shape::Plain, 101);
    let mut scenario = quiet_unnumbered();
    for at_ms in [500, 510, 520, 9_000] {
        scenario = scenario
            .settle(at_ms, &one, 25_000, 2)
            .settle(at_ms, &other, 25_000, 2);
    }
    let report = scenario.run_clean();
    assert_eq!((report.payments, report.transactions), (2, 2));
    for request in [&one, &other] {
        let outcomes = report.outcomes(request);
        assert_eq!(
            outcomes
                .iter()
                .filter(|outcome| **outcome == Outcome::Success)
                .count(),
            1,
            "{outcomes:?}"
        );
        let others = outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Duplicate)
            .count();
        assert_eq!(others, outcomes.len() - 1, "{outcomes:?}");
    }
}

/// A later step of which every byte is signed beforehand may be too old when its turn comes.
#[test]
fn a_later_step_that_expires_before_it_is_sent_ends_the_payment() {
    let request: SettleRequest = signed("ann", 10, Shape::Escrow, 4);
    let report = quiet_unnumbered()
        .settle(500, &request, 25_000, 2)
        .act(2_500, Act::Delay(true))
        .act(9_000, Act::Delay(false))
        .run_clean();
    assert_eq!(report.payments, 0);
    assert!(
        matches!(report.outcomes(&request).first(), Some(Outcome::Refused(_))),
        "{:?}",
        report.outcomes(&request)
    );
    assert_eq!(report.never_replaced(), Ok(()));
}

fn null_statuses(nodes: Nodes, for_ms: u64) -> Act {
    Act::Null {
        nodes,
        read: Read::Receipts,
        for_ms,
    }
}

#[test]
fn law4_statuses_of_null_for_longer_than_a_transaction_is_good_fail_nothing() {
    for nodes in [Nodes::All, Nodes::One(0), Nodes::One(1), Nodes::One(2)] {
        for (at_ms, for_ms) in [(900, 45_000), (900, 75_000), (5_000, 45_000)] {
            for kill in [false, true] {
                let request = signed("ann", 10, Shape::Plain, 12);
                let mut scenario = quiet_unnumbered()
                    .settle(500, &request, 5_000, 30)
                    .act(at_ms, null_statuses(nodes, for_ms));
                if kill {
                    scenario = scenario.act(15_000, Act::Kill);
                }
                let report = scenario.run_clean();
                report.assert_paid_once(&request);
                assert_eq!(report.payments, 1);
            }
        }
    }
}

/// The status index shows what is older than our transaction, and not yet ours.
#[test]
fn law4_statuses_that_lag_the_last_block_fail_nothing() {
    let request = signed("ann", 10, Shape::Plain, 4);
    let other = signed("bob", 20, Shape::Plain, 100);
    for nodes in [Nodes::All, Nodes::One(0)] {
        let lag = Act::Lag {
            nodes,
            read: Read::Receipts,
            blocks: 12,
            for_ms: 80_000,
        };
        let report = quiet_unnumbered()
            .settle(500, &other, 5_000, 30)
            .act(2_100, lag)
            .settle(2_500, &request, 5_000, 30)
            .run_clean();
        report.assert_paid_once(&request);
        report.assert_paid_once(&other);
        assert_eq!(report.payments, 2);
    }
}

/// The slots of all attempts, in the order of the log.
fn slots(report: &Report) -> Vec<u64> {
    let prepared = report.log.iter().filter_map(|event| match event {
        Event::Prepared(attempt) => Some(attempt.row.sequence),
        _ => None,
    });
    prepared.collect()
}

/// Nothing on the chain would keep two of them from landing.
#[test]
fn law5_a_transaction_that_the_driver_made_is_made_again_once_it_is_dead() {
    let request = offered("ann", 10, Shape::Plain, 1_000);
    for kill_at_ms in [None, Some(6_000), Some(26_000), Some(31_000)] {
        let mut scenario = quiet_unnumbered()
            .act(100, Act::Delay(true))
            .settle(500, &request, 5_000, 30)
            .act(30_000, Act::Delay(false));
        if let Some(at_ms) = kill_at_ms {
            scenario = scenario.act(at_ms, Act::Kill);
        }
        let report = scenario.run_clean();
        report.assert_paid_once(&request);
        assert_eq!((report.payments, report.transactions), (1, 1));
        let slots = slots(&report);
        assert!((2..=3).contains(&slots.len()), "{slots:?}");
        assert!(slots.windows(2).all(|pair| pair[0] != pair[1]), "{slots:?}");
    }
}

#[test]
fn a_transaction_that_never_lands_is_made_three_times_and_the_payment_fails_with_proof() {
    let request = offered("ann", 10, Shape::Plain, 10);
    let report = quiet_unnumbered()
        .act(100, Act::Delay(true))
        .settle(500, &request, 5_000, 40)
        .act(140_000, Act::Delay(false))
        .run_clean();
    assert_eq!(slots(&report).len(), 3);
    assert_eq!(report.payments, 0);
    let outcomes = report.outcomes(&request);
    assert!(
        outcomes.contains(&Outcome::Refused("sim_transaction_failed".into())),
        "{outcomes:?}"
    );
    assert!(!outcomes.contains(&Outcome::Success), "{outcomes:?}");
}

/// The step ends while its first transaction may still land.
#[test]
fn a_transaction_is_not_made_again_when_its_step_has_ended() {
    let mut request = offered("ann", 10, Shape::Plain, 10);
    request.payload.valid_before_s = 1_800_000_000 + 8;
    let report = quiet_unnumbered()
        .act(100, Act::Delay(true))
        .settle(500, &request, 5_000, 20)
        .act(140_000, Act::Delay(false))
        .run_clean();
    assert_eq!(slots(&report).len(), 1);
    assert_eq!(report.payments, 0);
    let outcomes = report.outcomes(&request);
    assert!(
        outcomes.contains(&Outcome::Refused("sim_transaction_failed".into())),
        "{outcomes:?}"
    );
}

/// All nodes show no status for longer than each transaction is good, although the first one has landed.
#[test]
fn law4_a_status_of_null_makes_no_transaction_again() {
    for nodes in [Nodes::All, Nodes::One(0), Nodes::One(1)] {
        for kill in [false, true] {
            let request = offered("ann", 10, Shape::Plain, 1_000);
            let mut scenario = quiet_unnumbered()
                .settle(500, &request, 5_000, 30)
                .act(900, null_statuses(nodes, 75_000));
            if kill {
                scenario = scenario.act(15_000, Act::Kill);
            }
            let report = scenario.run_clean();
            report.assert_paid_once(&request);
            assert_eq!((report.payments, slots(&report).len()), (1, 1));
        }
    }
}

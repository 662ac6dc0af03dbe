//! The laws about money, each in the shape in which the simulator can prove it.

use std::collections::BTreeMap;

use simulator::chain::{Keeps, Nodes, Read};
use simulator::clients::SettleRequest;
use simulator::defects::Defect;
use simulator::faults::{Harm, Point};
use simulator::oracle::Verdict;
use simulator::planted::Planted;
use simulator::random::scenario;
use simulator::run::{Act, Scenario, simulate, simulate_traced};
use simulator::scheme::{REPLAY, Shape};
use simulator::script::{Outcome, held, offered, payment, quiet, quiet_unnumbered, signed, tour};

/// Skipping the journal's commit of an attempt makes the simulator fail: it sees bytes that the journal does not hold,
/// and, once the process has died, payments that nobody can learn of.
#[test]
fn law3_a_journal_that_lies_about_attempts_is_caught() {
    let mut lying = tour();
    lying.journal_lies = true;
    let verdict = simulate(&lying).expect("a runtime").verdict;
    assert!(!verdict.sent_unjournaled.is_empty(), "{verdict:#?}");
    assert!(!verdict.lost.is_empty(), "{verdict:#?}");
    for seed in 0..3 {
        let mut lying = scenario(seed, 10);
        lying.journal_lies = true;
        let verdict = simulate(&lying).expect("a runtime").verdict;
        assert!(!verdict.sent_unjournaled.is_empty(), "seed {seed}: {verdict:#?}");
    }
}

/// Whatever a scheme says of a payload, the core settles it under one claim.
#[test]
fn law6_a_scheme_that_names_one_payload_in_two_ways_pays_it_once() {
    let mut payments = 0;
    for seed in 0..40 {
        let report = simulate(&Defect::ClaimNotUnique.scenario(seed)).expect("a runtime");
        payments += report.payments;
        let verdict = report.verdict;
        assert!(
            verdict.twice.is_empty() && verdict.released_twice.is_empty() && verdict.moved.is_empty(),
            "seed {seed}: {verdict:#?}"
        );
    }
    assert!(payments > 400, "{payments} payments");
}

/// The scheme takes them for two payments, and nothing on the chain would keep the second one from landing.
#[test]
fn law6_an_authorization_that_a_scheme_gives_two_claims_is_used_once() {
    let first = offered("ann", 10, Shape::Plain, 1_000);
    let mut second = first.clone();
    second.payload.valid_before_s += 1;
    for kill in [false, true] {
        let mut scenario = quiet_unnumbered()
            .settle(500, &first, 25_000, 4)
            .settle(600, &second, 25_000, 4)
            .settle(30_000, &second, 25_000, 4);
        if kill {
            scenario = scenario.act(20_000, Act::Kill);
        }
        let report = scenario.run_clean();
        assert_eq!(report.payments, 1);
        report.assert_paid_once(&first);
        assert!(
            report
                .outcomes(&second)
                .contains(&Outcome::Refused(REPLAY.into())),
            "{:?}",
            report.outcomes(&second)
        );
    }
}

/// The transaction has landed, and its scheme names no evidence of it, evidence that is not there, or another transaction.
#[test]
fn law6_a_judgement_without_evidence_is_pending_and_reported_once() {
    let request = payment("ann", 10, Shape::Plain);
    let scenario = quiet()
        .settle(500, &request, 4_000, 20)
        .harm(Point::Judge, Harm::Garbage, 0, 40);
    let (report, trace) = simulate_traced(&scenario).expect("a runtime");
    assert!(report.verdict.is_clean(), "{:#?}", report.verdict);
    assert_eq!(report.struck(Point::Judge, Harm::Garbage), 40);
    let outcomes = report.outcomes(&request);
    assert_eq!(outcomes.first(), Some(&Outcome::Pending), "{outcomes:?}");
    report.assert_paid_once(&request);
    let mut reported: BTreeMap<&str, u32> = BTreeMap::new();
    for line in trace.lines() {
        if let Some((_, why)) = line.split_once("a judgement was refused: ") {
            *reported
                .entry(why.split(" settlement=").next().unwrap_or(why))
                .or_default() += 1;
        }
    }
    assert!(
        reported.keys().any(|why| why.starts_with("it names no evidence")),
        "{reported:?}"
    );
    assert!(reported.values().all(|times| *times == 1), "{reported:?}");
}

/// The same run without the defect is clean; with it the judge reports what is wrong.
#[track_caller]
fn caught(scenario: &Scenario, planted: Planted) -> Verdict {
    let _ = scenario.run_clean();
    let mut lying = scenario.clone();
    lying.planted = Some(planted);
    let verdict = simulate(&lying).expect("a runtime").verdict;
    assert!(!verdict.is_clean(), "{planted:?} is not caught");
    verdict
}

fn null_receipts(at_ms: u64, for_ms: u64) -> (u64, Act) {
    let act = Act::Null {
        nodes: Nodes::All,
        read: Read::Receipts,
        for_ms,
    };
    (at_ms, act)
}

/// A capture whose receipt is missing until its slot is final.
fn capture_without_receipt() -> Scenario {
    let (at_ms, act) = null_receipts(10_300, 12_000);
    quiet()
        .settle(500, &held("ann", 10), 25_000, 8)
        .settle(10_200, &payment("ann", 10, Shape::Close), 25_000, 8)
        .act(at_ms, act)
}

#[test]
fn law4_a_driver_that_calls_a_used_slot_dead_is_caught() {
    let verdict = caught(&capture_without_receipt(), Planted::UsedIsDead);
    assert!(!verdict.false_answers.is_empty(), "{verdict:#?}");
}

#[test]
fn law5_a_driver_that_calls_an_unread_guard_unchanged_is_caught() {
    let verdict = caught(&capture_without_receipt(), Planted::GuardAlwaysUnchanged);
    assert!(
        !verdict.twice.is_empty() && !verdict.moved.is_empty(),
        "{verdict:#?}"
    );
}

#[test]
fn law4_a_driver_that_calls_a_block_replaced_because_of_null_is_caught() {
    let (at_ms, act) = null_receipts(2_900, 12_000);
    let scenario = quiet()
        .settle(500, &payment("ann", 10, Shape::Plain), 25_000, 1)
        .act(at_ms, act);
    let verdict = caught(&scenario, Planted::NullIsReplaced);
    assert!(!verdict.undone.is_empty(), "{verdict:#?}");
}

#[test]
fn law5_a_driver_that_calls_the_newest_block_final_is_caught() {
    let scenario = quiet()
        .act(0, Act::Delay(true))
        .settle(500, &payment("ann", 10, Shape::Plain), 25_000, 8)
        .act(1_500, Act::KeyElsewhere(0))
        .act(1_600, Act::Delay(false));
    let verdict = caught(&scenario, Planted::NewestIsFinal);
    assert!(!verdict.moved.is_empty(), "{verdict:#?}");
}

#[test]
fn law4_a_driver_that_leaves_our_own_transactions_out_of_the_search_is_caught() {
    let keeps = Keeps {
        history: Some(20),
        state: None,
    };
    let scenario = quiet()
        .settle(10_200, &payment("ann", 10, Shape::Plain), 25_000, 8)
        .act(10_600, Act::KillFor(60_000))
        .act(
            65_000,
            Act::Prune {
                nodes: Nodes::All,
                keeps,
            },
        );
    let verdict = caught(&scenario, Planted::OwnIsNotFound);
    assert!(!verdict.lost.is_empty(), "{verdict:#?}");
}

#[test]
fn law4_a_driver_that_takes_a_status_of_null_for_proof_is_caught() {
    let (at_ms, act) = null_receipts(900, 45_000);
    let scenario = quiet_unnumbered()
        .settle(500, &signed("ann", 10, Shape::Plain, 12), 25_000, 8)
        .act(at_ms, act);
    let verdict = caught(&scenario, Planted::ExpiredByNull);
    assert!(!verdict.false_answers.is_empty(), "{verdict:#?}");
}

/// Each of the transactions that the driver makes for an offer moves money.
#[test]
fn law5_a_driver_that_calls_a_transaction_dead_by_null_is_caught_paying_twice() {
    let (at_ms, act) = null_receipts(900, 45_000);
    let scenario = quiet_unnumbered()
        .settle(500, &offered("ann", 10, Shape::Plain, 1_000), 25_000, 8)
        .act(at_ms, act);
    let verdict = caught(&scenario, Planted::ExpiredByNull);
    assert!(!verdict.twice.is_empty(), "{verdict:#?}");
}

#[test]
fn law4_while_no_block_comes_the_answer_is_pending_with_the_hash() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .act(100, Act::Halt(60_000))
        .settle(500, &request, 5_000, 20)
        .run_clean();
    let outcomes = report.outcomes(&request);
    assert!(outcomes.len() >= 12, "{outcomes:?}");
    let hashes: Vec<String> = report
        .exchanges
        .iter()
        .filter_map(|exchange| exchange.reply())
        .map(|reply| reply.transaction)
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    assert!(
        outcomes
            .iter()
            .take(11)
            .all(|outcome| *outcome == Outcome::Pending),
        "{outcomes:?}"
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Success)
            .count(),
        1,
        "{outcomes:?}"
    );
}

#[test]
fn law4_a_payment_that_reverts_is_failed_with_its_hash_and_can_be_tried_again() {
    let request = payment("ann", 10, Shape::Plain);
    let spend = simulator::token::Op::Spend {
        from: "ann".into(),
        value: 9_950,
    };
    let report = quiet()
        .act(600, Act::Outside(spend))
        .settle(500, &request, 25_000, 1)
        .run_clean();
    let first = report
        .exchanges
        .first()
        .and_then(|exchange| exchange.reply())
        .expect("a reply");
    assert!(!first.success && !first.transaction.is_empty(), "{first:?}");
    assert_eq!(first.error_reason.as_deref(), Some("sim_insufficient_balance"));
    // In a retry when that is final, another try is planned: the funds are still missing, and the answer stays.
    let last = report
        .exchanges
        .last()
        .and_then(|exchange| exchange.reply())
        .expect("a reply");
    assert_eq!(
        (last.error_reason, last.transaction),
        (first.error_reason, first.transaction)
    );
    assert_eq!(report.payments, 0);
}

#[test]
fn law5_of_64_equal_requests_one_is_answered_success_and_63_duplicate_with_the_hash() {
    let request = payment("ann", 10, Shape::Plain);
    let mut scenario = quiet();
    for _ in 0..64 {
        scenario = scenario.settle(500, &request, 25_000, 1);
    }
    let report = scenario.run_clean();
    let outcomes: Vec<Outcome> = report
        .exchanges
        .iter()
        .filter(|exchange| !exchange.is_last)
        .map(Outcome::of)
        .collect();
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Success)
            .count(),
        1
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Duplicate)
            .count(),
        63
    );
    assert_eq!((report.payments, outcomes.len()), (1, 64));
}

#[test]
fn law5_the_same_payload_for_another_seller_or_amount_is_never_success() {
    let request = payment("ann", 10, Shape::Plain);
    let seller = SettleRequest {
        pay_to: "thief".into(),
        ..request.clone()
    };
    let amount = SettleRequest {
        amount: 100_000_000,
        ..request.clone()
    };
    let tenant = SettleRequest {
        tenant: Some("other".into()),
        ..request.clone()
    };
    // The first caller is answered pending and goes; the others come while it is open, landed, released and long after.
    let mut scenario = quiet()
        .settle(500, &request, 200, 1)
        .settle(30_000, &request, 25_000, 2);
    for at_ms in [600, 2_500, 31_000, 60_000] {
        for other in [&seller, &amount, &tenant] {
            scenario = scenario.settle(at_ms, other, 25_000, 1);
        }
    }
    let report = scenario.run_clean();
    for other in [&seller, &amount, &tenant] {
        for exchange in report
            .exchanges
            .iter()
            .filter(|exchange| *exchange.request == *other)
        {
            assert_eq!(Outcome::of(exchange), Outcome::Refused(REPLAY.into()));
            assert_eq!(
                exchange.reply().map(|reply| reply.transaction).as_deref(),
                Some(""),
                "never the hash"
            );
        }
    }
    assert_eq!(
        report.outcomes(&request)[..2],
        [Outcome::Pending, Outcome::Success]
    );
}

#[test]
fn law5_fifty_authorizations_over_one_balance_make_one_transaction() {
    let mut scenario = quiet();
    scenario.balances = vec![("ann".into(), 100)];
    scenario.terms.lane_queue = 64;
    scenario.terms.max_in_flight = 64;
    for nonce in 0..50 {
        scenario = scenario.settle(500, &payment("ann", nonce, Shape::Plain), 25_000, 1);
    }
    let report = scenario.run_clean();
    assert_eq!((report.payments, report.transactions), (1, 1));
}

#[test]
fn law5_a_full_lane_accepts_what_fits_and_refuses_the_rest() {
    let mut scenario = quiet().act(100, Act::Halt(8_000));
    scenario.terms.lane_queue = 2;
    scenario.terms.max_in_flight = 3;
    let requests: Vec<SettleRequest> = (0..12).map(|nonce| payment("ann", nonce, Shape::Plain)).collect();
    for request in &requests {
        scenario = scenario.settle(500, request, 25_000, 1);
    }
    let report = scenario.run_clean();
    let first: Vec<Outcome> = requests
        .iter()
        .filter_map(|request| report.outcomes(request).first().cloned())
        .collect();
    assert!(
        first.contains(&Outcome::Success) && first.contains(&Outcome::Unavailable),
        "{first:?}"
    );
    assert_eq!(report.payments, 12, "those turned away are paid when they retry");
}

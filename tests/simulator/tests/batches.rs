//! Payments that share a transaction: each lands once, is answered truly, and fails alone.

use journal::{AttemptKind, AttemptRow, Event};
use simulator::chain::{Nodes, Read};
use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::run::{Act, Report, Scenario};
use simulator::scheme::Shape;
use simulator::script::{EPOCH_S, Outcome, payment, quiet};
use simulator::token::Op;

const PAYERS: [&str; 6] = ["ann", "bob", "cyd", "dan", "eve", "fay"];

fn requests() -> Vec<SettleRequest> {
    PAYERS
        .iter()
        .zip(1..)
        .map(|(payer, at)| payment(payer, at * 10, Shape::Plain))
        .collect()
}

/// All come while the lane is busy with the first one.
fn together(requests: &[SettleRequest], wait_ms: u64) -> Scenario {
    let mut scenario = quiet().harm(Point::Quote, Harm::Slow, 0, 1);
    scenario.terms.max_batch = 8;
    for (at_ms, request) in [300].into_iter().chain(std::iter::repeat(500)).zip(requests) {
        scenario = scenario.settle(at_ms, request, wait_ms, 6);
    }
    scenario
}

/// The transactions that carry several steps.
fn shared(report: &Report) -> Vec<&AttemptRow> {
    let several = |attempt: &&AttemptRow| attempt.kind == AttemptKind::Steps && attempt.covers.len() > 1;
    report.attempts().filter(several).collect()
}

fn is_paid(report: &Report, request: &SettleRequest) -> bool {
    report.outcomes(request).contains(&Outcome::Success)
}

#[test]
fn payments_that_wait_together_share_a_transaction() {
    let requests = requests();
    let report = together(&requests, 25_000).run_clean();
    for request in &requests {
        report.assert_paid_once(request);
    }
    let [first, second] = Vec::from_iter(report.attempts())
        .try_into()
        .expect("two transactions");
    assert_eq!(
        (first.covers.len(), second.covers.len()),
        (1, 5),
        "a payment alone goes alone"
    );
    // One commit opens the five and records their transaction.
    assert_eq!(report.payments, 6);
}

#[test]
fn without_company_and_without_leave_each_goes_alone() {
    let requests = requests();
    let mut scenario = together(&requests, 25_000);
    scenario.terms.max_batch = 1;
    let report = scenario.run_clean();
    assert_eq!((report.payments, report.attempts().count()), (6, 6));
    // Plans of several steps share nothing.
    let several: Vec<SettleRequest> = PAYERS
        .iter()
        .zip(1..)
        .map(|(payer, at)| payment(payer, at * 10, Shape::Noted))
        .collect();
    let report = together(&several, 25_000).run_clean();
    assert_eq!(shared(&report).len(), 0);
    assert_eq!(report.payments, 6);
}

#[test]
fn a_payment_that_fails_on_chain_fails_alone() {
    let requests = requests();
    let report = together(&requests, 25_000)
        .act(0, Act::Delay(true))
        .act(
            4_500,
            Act::Outside(Op::Spend {
                from: "cyd".into(),
                value: 10_000,
            }),
        )
        .act(5_500, Act::Delay(false))
        .run_clean();
    assert_eq!(shared(&report).len(), 1);
    for request in requests.iter().filter(|request| request.payload.from != "cyd") {
        assert!(is_paid(&report, request), "{}", request.payload.from);
    }
    let outcomes = report.outcomes(&requests[2]);
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!(report.payments, 5);
}

#[test]
fn a_call_that_would_fail_is_taken_out_before_the_commit() {
    // Its balance is spent between its plan and the transaction.
    let requests = requests();
    let mut scenario = together(&requests, 25_000).act(
        600,
        Act::Outside(Op::Spend {
            from: "cyd".into(),
            value: 10_000,
        }),
    );
    scenario = scenario.harm(Point::Quote, Harm::Slow, 1, 1);
    let report = scenario.run_clean();
    assert_eq!(report.payments, 5);
    let reverted = report.attempts().filter(|attempt| {
        let covers_cyd = |id: u64| {
            report.log.iter().any(
                |event| matches!(event, Event::Opened(new) if new.row.id == id && new.row.payer == "cyd"),
            )
        };
        attempt.covers.iter().any(|(id, _)| covers_cyd(*id))
    });
    assert_eq!(reverted.count(), 0, "nothing was sent for it");
}

/// A stranger submits one of the authorizations after it was recorded: that payment is proven by the stranger's transaction,
/// and the others by ours.
#[test]
fn a_stranger_that_pays_one_of_them_proves_that_one() {
    let requests = requests();
    let of_cyd = &requests[2];
    let report = together(&requests, 25_000)
        .act(0, Act::Delay(true))
        .act(
            4_500,
            Act::Outside(Op::Transfer {
                by_allowance: false,
                from: "cyd".into(),
                to: of_cyd.payload.to.clone(),
                value: of_cyd.payload.value,
                nonce: of_cyd.payload.nonce,
                valid_before_s: of_cyd.payload.valid_before_s,
            }),
        )
        .act(5_500, Act::Delay(false))
        .run_clean();
    for request in &requests {
        assert!(is_paid(&report, request), "{}", request.payload.from);
    }
    assert_eq!(report.payments, 6);
}

/// A signer's key is used elsewhere in the slot of a shared transaction: each payment takes another slot.
#[test]
fn payments_of_a_lost_slot_are_sent_again() {
    let requests = requests();
    let report = together(&requests, 60_000)
        .act(0, Act::Delay(true))
        .act(4_500, Act::KeyElsewhere(0))
        .act(4_600, Act::Delay(false))
        .run_clean();
    for request in &requests {
        report.assert_paid_once(request);
    }
    assert_eq!(report.payments, 6);
}

#[test]
fn a_crash_at_the_commit_of_a_shared_transaction_loses_and_repeats_nothing() {
    for harm in [Harm::CrashBefore, Harm::CrashAfter, Harm::AnswerLost, Harm::Full] {
        let requests = requests();
        let report = together(&requests, 25_000)
            // The second first commit is that of the five.
            .harm(Point::CommitFirst, harm, 1, 1)
            .run_clean();
        assert_eq!(report.payments, 6, "{harm:?}");
        assert!(report.struck(Point::CommitFirst, harm) > 0, "{harm:?}");
        for request in &requests {
            report.assert_paid_once(request);
        }
    }
}

/// A reorganisation loses the shared transaction after it was answered, and one of the payers spends before it lands again.
#[test]
fn a_reorganisation_that_takes_a_shared_transaction_apart_is_answered_truly() {
    let requests = requests();
    for nodes_lag in [false, true] {
        let mut scenario = together(&requests, 25_000)
            .act(9_000, Act::Delay(true))
            .act(
                9_010,
                Act::Outside(Op::Spend {
                    from: "cyd".into(),
                    value: 10_000,
                }),
            )
            .act(9_020, Act::Reorg(5))
            .act(11_000, Act::Delay(false));
        if nodes_lag {
            scenario = scenario.act(
                9_015,
                Act::Lag {
                    nodes: Nodes::One(1),
                    read: Read::Receipts,
                    blocks: 4,
                    for_ms: 6_000,
                },
            );
        }
        let report = scenario.run_clean();
        assert!(report.payments >= 5, "{}", report.payments);
    }
}

/// Two of three nodes stopped on a fork that has the shared transaction, and show nothing at the height of the block that
/// decided. One payment of it failed, so that the slot stays open until that is final: what the two show undoes nothing.
#[test]
fn a_node_on_a_shorter_fork_undoes_no_payment_of_a_shared_transaction() {
    let requests = requests();
    for seed in 1..=6 {
        let mut scenario = together(&requests, 25_000)
            .act(0, Act::Delay(true))
            .act(
                4_500,
                Act::Outside(Op::Spend {
                    from: "cyd".into(),
                    value: 10_000,
                }),
            )
            .act(5_500, Act::Delay(false));
        for node in [0, 1] {
            scenario = scenario.act(7_100, Act::Freeze { node, for_ms: 60_000 });
        }
        scenario = scenario
            .act(7_200, Act::Delay(true))
            .act(7_210, Act::Reorg(2))
            .act(8_500, Act::Delay(false));
        scenario.seed = seed;
        scenario.terms.finality = 12;
        let report = scenario.run_clean();
        assert_eq!(report.payments, 5, "seed {seed}");
    }
}

/// None is busy, and their tenant lets payments wait for each other.
#[test]
fn payments_that_may_wait_gather_by_time_and_by_number() {
    let requests = requests();
    let apart = |gather_ms: u64, max_batch: usize| {
        let mut scenario = quiet();
        scenario.terms.max_batch = max_batch;
        scenario.terms.gather_ms = gather_ms;
        for (request, at_ms) in requests.iter().zip((300..).step_by(50)) {
            scenario = scenario.settle(at_ms, request, 25_000, 1);
        }
        let report = scenario.run_clean();
        for request in &requests {
            report.assert_paid_once(request);
        }
        let sizes: Vec<usize> = report.attempts().map(|attempt| attempt.covers.len()).collect();
        let first = report.attempts().map(|attempt| attempt.prepared_at_ms).min();
        (sizes, first.unwrap_or_default() - EPOCH_S * 1_000)
    };
    let (sizes, first_ms) = apart(400, 8);
    assert_eq!(sizes, [6], "by time");
    assert!((700..800).contains(&first_ms), "{first_ms}");
    let (sizes, first_ms) = apart(5_000, 3);
    assert_eq!(sizes, [3, 3], "by number");
    assert!((400..500).contains(&first_ms), "{first_ms}");
    let (sizes, _) = apart(0, 8);
    assert_eq!(
        sizes,
        [1, 1, 1, 1, 2],
        "they wait for nobody, until the lane has no room"
    );
}

/// A caller that hangs up takes its payment along, and the others still share a transaction.
#[test]
fn a_payment_that_is_withdrawn_while_it_gathers_leaves_the_others_together() {
    let requests = requests();
    let mut scenario = quiet();
    scenario.terms.max_batch = 8;
    scenario.terms.gather_ms = 1_000;
    for (at, request) in requests.iter().enumerate() {
        scenario = if at == 2 {
            scenario.hang_up(400, request, 300)
        } else {
            scenario.settle(400, request, 25_000, 1)
        };
    }
    let report = scenario.run_clean();
    let first = report.attempts().next().expect("one");
    assert_eq!(first.covers.len(), 5);
}

/// A payment whose logs don't tell it from others of its payer shares a transaction with other payers' payments only.
#[test]
fn payments_that_could_be_mistaken_for_each_other_go_apart() {
    let mut scenario = quiet();
    scenario.terms.max_batch = 8;
    scenario.terms.gather_ms = 300;
    let requests = [("ann", 17), ("bob", 27), ("cyd", 30), ("ann", 40), ("cyd", 50)]
        .map(|(payer, nonce)| payment(payer, nonce, Shape::Plain));
    for (request, at_ms) in requests.iter().zip((300..).step_by(10)) {
        scenario = scenario.settle(at_ms, request, 25_000, 1);
    }
    let report = scenario.run_clean();
    for request in &requests {
        report.assert_paid_once(request);
    }
    let sizes: Vec<usize> = report.attempts().map(|attempt| attempt.covers.len()).collect();
    assert_eq!(sizes, [3, 2]);
}

/// A reorganisation forgets the shared transaction while one of its payments is open, and the price rises: the others are
/// undone, or no higher bid could be recorded.
#[test]
fn a_shared_transaction_that_is_lost_while_one_payment_is_open_gets_a_higher_bid() {
    let requests = requests();
    let report = together(&requests, 60_000)
        .act(0, Act::Delay(true))
        .act(
            4_500,
            // What changed its guard is found when the slot closes.
            Act::Outside(Op::Cancel {
                from: "cyd".into(),
                nonce: requests[2].payload.nonce,
            }),
        )
        .act(5_500, Act::Delay(false))
        .act(7_700, Act::LoseInReorgs(1_000))
        .act(7_700, Act::Fee(Some(60)))
        .act(7_710, Act::Reorg(2))
        .run_clean();
    assert_eq!(report.payments, 5);
    let undone = report
        .log
        .iter()
        .filter(|event| matches!(event, Event::Reorged { .. }));
    assert!(undone.count() > 0, "nothing was decided before");
    assert!(shared(&report).len() > 1, "a higher bid");
}

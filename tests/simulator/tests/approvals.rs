//! Plans with a transaction that the client has signed: it is sent as it is, beside the signer's own ones, and given up when its
//! time is over. Whatever becomes of it, the payment after it is made once or not at all.

use journal::{AttemptRow, is_client_signed};
use simulator::chain::{Nodes, Read};
use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::matrix::spread;
use simulator::run::{Act, Report, Scenario, simulate};
use simulator::scheme::Shape;
use simulator::script::{Outcome, good_until, payment, quiet};

fn approved(nonce: u64) -> SettleRequest {
    payment("ann", nonce, Shape::Approved)
}

fn of_clients(report: &Report) -> Vec<&AttemptRow> {
    report
        .attempts()
        .filter(|attempt| is_client_signed(attempt.sequence))
        .collect()
}

fn own(report: &Report) -> Vec<u64> {
    let own = report
        .attempts()
        .filter(|attempt| !is_client_signed(attempt.sequence));
    own.map(|attempt| attempt.sequence).collect()
}

#[test]
fn a_client_s_transaction_comes_first_and_uses_no_sequence_of_the_signer() {
    let (first, second) = (approved(10), approved(20));
    let report = quiet()
        .settle(500, &first, 25_000, 8)
        .settle(20_000, &second, 25_000, 8)
        .run_clean();
    report.assert_paid_once(&first);
    report.assert_paid_once(&second);
    assert_eq!(own(&report), [0, 1], "the second needs no approval");
    let [approval] = of_clients(&report)[..] else {
        panic!("one approval")
    };
    assert!(!approval.lane.ordered);
    assert_eq!(approval.max_cost, 0u64.into(), "the client pays for it");
}

#[test]
fn two_payments_of_one_payer_need_one_approval() {
    let (first, second) = (approved(10), approved(20));
    let report = quiet()
        .settle(500, &first, 25_000, 8)
        .settle(500, &second, 25_000, 8)
        .run_clean();
    report.assert_paid_once(&first);
    report.assert_paid_once(&second);
    assert_eq!((of_clients(&report).len(), own(&report).len()), (1, 2));
}

/// The payer uses its nonce for another transaction. Its payment fails when the approval's time is over, other payments of the
/// same signer continue, and its keys are free.
#[test]
fn an_approval_that_never_lands_fails_its_payment_and_holds_up_no_other() {
    let request = approved(10);
    let other = payment("bob", 30, Shape::Plain);
    let report = quiet()
        .act(0, Act::Delay(true))
        .settle(500, &request, 90_000, 3)
        // It bids more than the client has offered.
        .act(1_400, Act::Fee(Some(20)))
        .act(1_500, Act::KeyElsewhere(0))
        .act(2_000, Act::Delay(false))
        .settle(5_000, &other, 25_000, 8)
        .run_clean();
    report.assert_paid_once(&other);
    let outcomes = report.outcomes(&request);
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!((report.payments, own(&report).len()), (1, 1));
    let bob = report
        .exchanges
        .iter()
        .find(|exchange| *exchange.request == other);
    let took_ms = bob.map(|exchange| exchange.answered_ms - exchange.requested_ms);
    assert!(took_ms.is_some_and(|took| took < 10_000), "{took_ms:?}");
}

fn kinds() -> Scenario {
    quiet().settle(500, &approved(10), 25_000, 8)
}

#[test]
fn law3_a_kill_at_any_moment_between_the_approval_and_the_payment_loses_nothing() {
    for at_ms in (600..12_000).step_by(300) {
        let report = kinds().act(at_ms, Act::Kill).run_clean();
        report.assert_paid_once(&approved(10));
        assert_eq!(
            of_clients(&report).len(),
            1,
            "killed at {at_ms}: its bytes are sent again"
        );
    }
}

#[test]
fn law5_a_reorganisation_that_takes_the_approval_back_pays_once_at_most() {
    for lost in [0, 1_000] {
        for at_ms in (2_600..9_000).step_by(500) {
            let report = kinds()
                .act(at_ms - 100, Act::LoseInReorgs(lost))
                .act(at_ms, Act::Reorg(3))
                .run_clean();
            assert!(report.payments <= 1, "{at_ms}");
        }
    }
}

/// A node that does not show the approval makes the payment wait, and one that simulates before the approval does not fail it.
#[test]
fn nodes_that_lag_delay_the_payment_and_do_not_fail_it() {
    for read in [Read::Receipts, Read::State, Read::Nonces, Read::Heads] {
        for nodes in [Nodes::One(0), Nodes::All] {
            let report = kinds()
                .act(
                    400,
                    Act::Lag {
                        nodes,
                        read,
                        blocks: 3,
                        for_ms: 15_000,
                    },
                )
                .run_clean();
            report.assert_paid_once(&approved(10));
        }
    }
}

#[test]
fn law4_law5_any_single_fault_beside_a_client_s_transaction_harms_nothing() {
    let passes = kinds().run_clean().passes;
    for point in Point::ALL {
        for harm in point.harms() {
            for pass in spread(passes.get(&point).copied().unwrap_or(0), 12) {
                let scenario = kinds().harm(point, *harm, pass, 1);
                let report = simulate(&scenario).expect("a runtime");
                assert!(
                    report.verdict.is_clean(),
                    "{harm:?} at pass {pass} of {point:?}: {:?}",
                    report.verdict
                );
            }
        }
    }
}

/// A commit takes longer than its caller is kept, and the process ends before it has. What was answered is true: the approval had been
/// signed, and might have been sent.
#[test]
fn a_pending_answer_may_name_an_approval_whose_commit_never_ends() {
    let request = good_until(approved(10), 12);
    let mut scenario = quiet()
        .settle(500, &request, 2_000, 1)
        .harm(Point::CommitFirst, Harm::Slow, 0, 1)
        .act(8_000, Act::Kill);
    scenario.terms.confirmations = 1;
    let report = scenario.run_clean();
    assert_eq!(report.struck(Point::CommitFirst, Harm::Slow), 1);
    assert_eq!(report.outcomes(&request).first(), Some(&Outcome::Pending));
    assert_eq!(of_clients(&report).len(), 0, "its time was over at the next try");
}

//! Defects that reading or the simulator found in the engine, each as the shortest run that shows it.

use simulator::chain::Nodes;
use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::run::Act;
use simulator::scheme::Shape;
use simulator::script::{EPOCH_S, Outcome, good_until, payment, quiet, transfer};
use simulator::token::Op;

#[test]
fn a_pending_answer_has_a_hash_before_the_paying_step_has_one() {
    let request = payment("ann", 10, Shape::Shaky);
    let report = quiet().settle(500, &request, 2_000, 1).run_clean();
    assert_eq!(report.outcomes(&request).first(), Some(&Outcome::Pending));
}

#[test]
fn a_first_step_that_stops_the_plan_fails_the_payment() {
    let request = payment("ann", 10, Shape::Stopped);
    let report = quiet().settle(500, &request, 25_000, 1).run_clean();
    assert_eq!(
        report.outcomes(&request).first(),
        Some(&Outcome::Refused("sim_transaction_failed".into()))
    );
    let hash = report
        .exchanges
        .first()
        .and_then(|exchange| exchange.reply())
        .map(|reply| reply.transaction);
    assert_eq!(
        hash.as_deref(),
        Some(""),
        "the payment's own transaction was never started"
    );
    assert_eq!(report.payments, 0);
}

/// The payment is on chain and no caller was answered; while the process is down its block is replaced, and in the new one
/// it reverts.
#[test]
fn a_reorganisation_during_a_restart_is_noticed() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .settle(500, &request, 200, 1)
        .act(3_000, Act::Kill)
        .act(
            3_005,
            Act::Outside(Op::Spend {
                from: "ann".into(),
                value: 10_000,
            }),
        )
        .act(3_010, Act::Reorg(3))
        .run_clean();
    assert_eq!(report.payments, 0);
    assert!(
        !report.outcomes(&request).contains(&Outcome::Success),
        "{:?}",
        report.outcomes(&request)
    );
}

#[test]
fn a_full_disk_at_the_last_commit_only_delays_the_end_of_the_settlement() {
    let request = payment("ann", 10, Shape::Plain);
    for (from, count) in [(0, 1), (0, 6), (1, 1), (1, 6)] {
        let scenario =
            quiet()
                .settle(500, &request, 25_000, 1)
                .harm(Point::CommitClose, Harm::Full, from, count);
        let report = scenario.run_clean();
        assert_eq!(report.outcomes(&request)[..1], [Outcome::Success]);
    }
}

#[test]
fn a_retry_is_not_answered_as_failed_while_the_plugin_fails() {
    let request = payment("ann", 10, Shape::Plain);
    let scenario = quiet()
        .settle(500, &request, 300, 6)
        // The first settle identifies twice.
        .harm(Point::Identify, Harm::Panic, 2, 3);
    let report = scenario.run_clean();
    assert_eq!(report.struck(Point::Identify, Harm::Panic), 3);
    assert!(
        !report.outcomes(&request).contains(&Outcome::Unexpected),
        "{:?}",
        report.outcomes(&request)
    );
    // The same after a restart, from the journal.
    let report = scenario.act(900, Act::Kill).run_clean();
    assert!(
        !report.outcomes(&request).contains(&Outcome::Unexpected),
        "{:?}",
        report.outcomes(&request)
    );
}

/// Answered `success`, reorganised away and forgotten, replaced at a higher price: the old answer names a transaction that
/// will never be.
#[test]
fn an_idempotent_replay_names_the_transaction_that_landed() {
    let request = SettleRequest {
        idempotency_key: Some("k".into()),
        ..payment("ann", 10, Shape::Plain)
    };
    let report = quiet()
        .settle(500, &request, 25_000, 1)
        .act(3_000, Act::LoseInReorgs(1_000))
        .act(3_000, Act::Fee(Some(60)))
        .act(3_100, Act::Reorg(3))
        .settle(60_000, &request, 25_000, 1)
        .run_clean();
    assert_eq!(
        report.outcomes(&request)[..2],
        [Outcome::Success, Outcome::Duplicate]
    );
    let hashes: Vec<String> = report
        .exchanges
        .iter()
        .filter_map(|exchange| exchange.reply())
        .map(|reply| reply.transaction)
        .collect();
    assert_ne!(hashes[0], hashes[1], "it landed as another transaction");
}

/// The signer's key was used elsewhere in our slot, another sender made the payment, and that is reorganised away.
#[test]
fn a_payment_by_another_sender_is_watched_until_it_is_final() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .act(0, Act::Delay(true))
        .settle(500, &request, 200, 1)
        .act(1_500, Act::KeyElsewhere(0))
        .act(1_600, Act::Delay(false))
        .act(5_500, Act::Outside(transfer(&request)))
        .act(8_500, Act::LoseInReorgs(1_000))
        .act(8_600, Act::Reorg(3))
        .run_clean();
    assert_eq!(report.payments, 1);
    let reply = report
        .exchanges
        .iter()
        .rfind(|exchange| Outcome::of(exchange) == Outcome::Success)
        .and_then(|exchange| exchange.reply());
    assert!(reply.is_some(), "{:?}", report.outcomes(&request));
}

#[test]
fn a_step_that_expires_between_two_slots_ends() {
    let request = good_until(payment("ann", 10, Shape::Plain), 14);
    let report = quiet()
        .act(0, Act::Delay(true))
        .settle(500, &request, 25_000, 2)
        .act(1_500, Act::KeyElsewhere(0))
        .act(1_600, Act::Delay(false))
        .harm(Point::Quote, Harm::Unavailable, 1, 500)
        .run_clean();
    assert_eq!(report.payments, 0);
    assert!(
        matches!(report.outcomes(&request).first(), Some(Outcome::Refused(_))),
        "{:?}",
        report.outcomes(&request)
    );
}

/// A transaction from elsewhere was in front of ours, and a reorganisation lost it.
#[test]
fn a_gap_below_the_first_open_slot_is_filled() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .act(500, Act::KeyElsewhere(0))
        .act(1_100, Act::Kill)
        .settle(5_200, &request, 25_000, 4)
        .act(5_900, Act::LoseInReorgs(1_000))
        .act(5_950, Act::Reorg(5))
        .run_clean();
    assert_eq!(report.payments, 1);
    assert!(
        report.outcomes(&request).contains(&Outcome::Success),
        "{:?}",
        report.outcomes(&request)
    );
}

/// The same, and the process dies while the gap is there: a lane must not wait for the chain to pass it by itself.
#[test]
fn a_gap_below_the_first_open_slot_does_not_keep_the_lane_closed_after_a_restart() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .act(500, Act::KeyElsewhere(0))
        .act(1_100, Act::Kill)
        .settle(5_200, &request, 25_000, 4)
        .act(5_900, Act::LoseInReorgs(1_000))
        .act(5_950, Act::Reorg(5))
        .act(5_951, Act::Kill)
        .run_clean();
    assert_eq!(report.payments, 1);
    assert!(
        report.outcomes(&request).contains(&Outcome::Success),
        "{:?}",
        report.outcomes(&request)
    );
}

/// A transaction from elsewhere had used the slot, and a reorganisation lost it and ours. The slot counts as unused again:
/// otherwise no better bid is made for it, and every later transaction of the signer waits for ever.
#[test]
fn a_slot_that_a_reorganisation_frees_is_in_flight_again() {
    let request = payment("ann", 10, Shape::Plain);
    for reorg_at_ms in [9_100, 9_600, 10_100] {
        let report = quiet()
            .act(0, Act::Delay(true))
            .settle(500, &request, 200, 1)
            .act(6_990, Act::KeyElsewhere(0))
            .act(6_991, Act::Delay(false))
            .act(reorg_at_ms - 10, Act::LoseInReorgs(1_000))
            .act(reorg_at_ms, Act::Reorg(reorg_at_ms / 1_000 - 6))
            .settle(60_000, &request, 25_000, 4)
            .run_clean();
        assert_eq!(report.payments, 1, "reorganised at {reorg_at_ms}");
    }
}

/// It failed on chain. Another payment has most of the balance when it is sent again: that try is refused when it is
/// recorded, and gets the failure that it got before.
#[test]
fn a_failed_payment_gets_the_same_failure_when_the_balance_no_longer_suffices() {
    let request = good_until(payment("ann", 10, Shape::Stopped), 60);
    let mut other = payment("ann", 20, Shape::Plain);
    other.payload.value = 9_950;
    other.amount = 9_950;
    let report = quiet()
        .settle(500, &request, 25_000, 1)
        .act(19_000, Act::Delay(true))
        .settle(20_000, &other, 200, 1)
        .settle(21_000, &request, 25_000, 1)
        .act(25_000, Act::Delay(false))
        .run_clean();
    let outcomes = report.outcomes(&request);
    let failed = Outcome::Refused("sim_transaction_failed".into());
    assert!(outcomes.len() >= 3, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| *outcome == failed), "{outcomes:?}");
}

/// Two of three nodes stopped on a fork whose newest block has the payment, and show nothing at the height of the block that
/// decided. What they show is old, and undoes nothing.
#[test]
fn a_node_on_a_shorter_fork_undoes_no_payment() {
    let request = payment("ann", 10, Shape::Plain);
    for seed in 1..=12 {
        let mut scenario = quiet()
            .settle(500, &request, 25_000, 1)
            .act(
                1_100,
                Act::Freeze {
                    node: 0,
                    for_ms: 60_000,
                },
            )
            .act(
                1_100,
                Act::Freeze {
                    node: 1,
                    for_ms: 60_000,
                },
            )
            .act(1_200, Act::Delay(true))
            .act(1_210, Act::Reorg(1))
            .act(2_500, Act::Delay(false));
        scenario.seed = seed;
        let report = scenario.run_clean();
        report.assert_paid_once(&request);
        let undone = report
            .log
            .iter()
            .filter(|event| matches!(event, journal::Event::Reorged { .. }));
        assert_eq!(undone.count(), 0, "seed {seed}");
    }
}

/// Nodes on a fork undo a decision, and the core panics right after that is recorded. The slot must not keep the decision in
/// memory: once its block is final, it would be closed with a step that is open.
#[test]
fn a_decision_that_was_undone_before_a_panic_is_made_again() {
    let request = payment("ann", 10, Shape::Plain);
    let mut panics = 0;
    for (seed, for_ms) in
        (1..=8).flat_map(|seed| (2_000..8_000).step_by(500).map(move |for_ms| (seed, for_ms)))
    {
        let mut scenario = quiet()
            .act(0, Act::Delay(true))
            .settle(500, &request, 25_000, 1)
            .act(3_100, Act::Freeze { node: 0, for_ms })
            .act(3_100, Act::Freeze { node: 1, for_ms })
            .act(3_200, Act::Delay(false))
            .act(3_210, Act::Reorg(1))
            .harm(Point::CommitReorg, Harm::PanicAfter, 0, 1);
        scenario.seed = seed;
        let report = scenario.run_clean();
        report.assert_paid_once(&request);
        panics += report.struck(Point::CommitReorg, Harm::PanicAfter);
    }
    assert!(panics > 0, "no run undid the decision");
}

/// The first step lost its slot, and then the payer withdrew the authorization: the log of that is seen later than the
/// state. Once it is found the payment has failed, although its own step was skipped meanwhile.
#[test]
fn a_payment_behind_a_step_that_is_explained_late_ends() {
    let request = payment("ann", 10, Shape::Escrow);
    let mut explained_late = 0;
    for cancelled_at_ms in [5_500, 6_500, 7_500] {
        let report = quiet()
            .act(0, Act::Delay(true))
            .settle(500, &request, 60_000, 1)
            .act(1_500, Act::KeyElsewhere(0))
            .act(1_600, Act::Delay(false))
            // The second slot is built when the nodes show that the call would fail.
            .harm(Point::Quote, Harm::Unavailable, 1, 4)
            .act(
                cancelled_at_ms,
                Act::Outside(Op::Cancel {
                    from: "ann".into(),
                    nonce: 10,
                }),
            )
            .run_clean();
        let unexplained = report
            .log
            .iter()
            .filter(|event| matches!(event, journal::Event::StepUnexplained { .. }));
        explained_late += unexplained.count();
        assert_eq!(
            report.outcomes(&request).first(),
            Some(&Outcome::Refused("sim_nonce_already_used".into())),
            "cancelled at {cancelled_at_ms}"
        );
    }
    assert!(explained_late > 0, "no step was explained late");
}

/// A node showed a head far in the future together with the jump. The jump is where it was seen at a lower height, and does
/// not wait for that head.
#[test]
fn a_head_in_the_future_does_not_keep_a_lane_closed() {
    let request = payment("ann", 10, Shape::Plain);
    let mut scenario = quiet()
        .act(500, Act::KeyElsewhere(0))
        .act(1_500, Act::KeyElsewhere(0))
        .settle(2_200, &request, 60_000, 4);
    for at_ms in (2_150..3_000).step_by(10) {
        let ahead = Act::FutureHead {
            nodes: Nodes::All,
            blocks: 1_000_000,
        };
        scenario = scenario.act(at_ms, ahead);
    }
    let report = scenario.run_clean();
    report.assert_paid_once(&request);
    for attempt in report.attempts().filter(|attempt| attempt.sequence > 0) {
        assert!(attempt.prepared_at_ms >= EPOCH_S * 1_000 + 7_000, "{attempt:?}");
    }
}

/// Two tenants settle the same payload at the same time. One of them is paid, and settles again while the commit of the other
/// is in progress, which the journal refuses: the answer is the payment's, not that its authorization is used up.
#[test]
fn a_commit_that_will_be_refused_answers_no_other_caller() {
    let request = SettleRequest {
        idempotency_key: Some("key".into()),
        ..payment("ann", 10, Shape::Plain)
    };
    let rival = SettleRequest {
        tenant: Some("rival".into()),
        ..request.clone()
    };
    let mut scenario = quiet()
        .settle(500, &request, 25_000, 1)
        .settle(500, &rival, 25_000, 1)
        .harm(Point::Quote, Harm::Slow, 1, 1)
        .harm(Point::Build, Harm::Slow, 1, 1)
        .harm(Point::CommitFirst, Harm::Slow, 1, 1);
    scenario.terms.signers = 2;
    scenario.terms.confirmations = 1;
    scenario.terms.finality = 2;
    for at_ms in (1_000..12_000).step_by(250) {
        scenario = scenario.settle(at_ms, &request, 25_000, 1);
    }
    let report = scenario.run_clean();
    let answers = report.outcomes(&request);
    assert_eq!(report.struck(Point::CommitFirst, Harm::Slow), 1);
    let refused = |answer: &&Outcome| matches!(answer, Outcome::Refused(_));
    assert_eq!(answers.iter().find(refused), None, "{answers:?}");
}

//! The decision table of proof.md section 1 for operations on a payment, row by row: they count by the escrow's
//! event in a transaction of ours, and fail only where the balances are as before or where transactions of others explain
//! all of the change.

use sdk_plugin::HexBytes;
use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::Judgement;

use super::judging::{TX, judge, landed, state};
use super::moves::{FOREIGN, HEIGHT, Move, Operation, foreign};
use super::world::*;
use schemes_evm::auth_capture::deployment::V1_1;

#[derive(Debug, PartialEq)]
enum Expected {
    Done,
    /// The reason without its prefix, and whether the message names a transaction of others.
    Failed(&'static str, bool),
    Open,
}

use Expected::{Done, Failed, Open};
use GuardState::{Absent, Changed, Unchanged, Unread};
use Operation::{Capture, Refund, Void};

fn check(seen: &str, operation: Operation, evidence: &Evidence, expected: &Expected) {
    let (world, plan) = operation.planned();
    let judged = match judge(&world, &plan, evidence) {
        Judgement::Paid(paid) => {
            assert_eq!(paid.tx_id, TX);
            assert_eq!(paid.items, [format!("{TX}/5")]);
            Done
        }
        Judgement::Unproven { why } => {
            assert!(!why.is_empty());
            Open
        }
        Judgement::NotPaid(refusal) => match expected {
            Failed(reason, _) if refusal.reason == format!("invalid_auth_capture_evm_{reason}") => {
                let message = refusal.message.unwrap_or_default();
                Failed(reason, message.contains(&FOREIGN[..64]))
            }
            _ => panic!("{operation:?}, {seen}: {refusal:?}"),
        },
        other => panic!("{operation:?}, {seen}: {other:?}"),
    };
    assert_eq!(judged, *expected, "{operation:?}, {seen}");
}

fn reverted(message: &str) -> Shown {
    Shown::Reverted {
        height: HEIGHT,
        message: Some(message.into()),
    }
}

fn dead() -> Shown {
    Shown::Dead {
        why: "its slot was used".into(),
    }
}

/// What became of ours, the guard's state, and what others did at which heights.
struct Row {
    seen: &'static str,
    operation: Operation,
    shown: Shown,
    guard: GuardState,
    /// The state at our transaction's block.
    read: Option<(u64, u64)>,
    others: Vec<(u64, Move)>,
    expected: Expected,
}

#[rustfmt::skip]
fn effectless() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |seen, operation, shown: &Shown, guard, read, others: &[(u64, Move)], expected| {
        let (shown, others) = (shown.clone(), others.to_vec());
        rows.push(Row { seen, operation, shown, guard, read, others, expected });
    };
    let (failed, gone) = (reverted("execution reverted"), dead());
    let other_capture = |amount| [(103, Move::CaptureAtNoFee(amount))];
    let reclaimed = [(103, Move::Reclaim(250_000))];
    let read = Some((240_000, 760_000));
    for operation in [Capture, Void, Refund] {
        let own = operation.event();
        for shown in [&failed, &gone] {
            let mut changed = |seen, others: &[(u64, Move)], expected| {
                row(seen, operation, shown, Changed, None, others, expected);
            };
            changed("changed, and nothing found", &[], Open);
            changed("changed by exactly this operation, in a transaction that is not known as ours", &[(103, own)], Open);
            changed("the same, and no room for another one", &[(103, own), (104, Move::CaptureAtNoFee(50_000))], Open);
            changed("changed, and a move that no escrow allows", &[(103, Move::Reclaim(249_999))], Open);
            changed("changed, and a second collection", &[(103, Move::Authorize(HELD))], Open);
            let plain = || Failed("transaction_reverted", false);
            row("balances as before", operation, shown, Unchanged, None, &[], plain());
            row("a plan without a guard", operation, shown, Absent, None, &[], plain());
            row("the guard was not read", operation, shown, Unread, None, &[], Open);
            row("the guard was not read, and a reclaim was found", operation, shown, Unread, None, &reclaimed, Open);
        }
        // The state at our reverted transaction's block shows whether what was found until then is all.
        let mut with_state = |seen, read, others: &[(u64, Move)], expected| {
            row(seen, operation, &failed, Changed, read, others, expected);
        };
        let moved = || Failed("unexpected_payment_state", true);
        let later = [(HEIGHT, Move::CaptureAtNoFee(10_000)), (HEIGHT + 1, Move::CaptureAtNoFee(1_000))];
        let ruled_out = || Failed("unexpected_payment_state", false);
        with_state("a state that ours could not leave", read, &[], ruled_out());
        with_state("a state that ours may have left", Some((0, 749_500)), &[], Open);
        with_state("others come to the state that was read", read, &other_capture(10_000), moved());
        with_state("others come to another state", Some((0, 749_500)), &other_capture(10_000), Open);
        with_state("others come to it only after our block", read, &later[1..], ruled_out());
        with_state("what came after our block does not count", read, &later, moved());
    }
    for shown in [&failed, &gone] {
        let mut changed = |seen, operation, others: &[(u64, Move)], expected| {
            row(seen, operation, shown, Changed, None, others, expected);
        };
        let lacking = || Failed("insufficient_authorization", true);
        let nothing_held = || Failed("zero_authorization", true);
        let in_chain_order = [(105, Move::Reclaim(150_000)), (104, Move::CaptureAtNoFee(100_000))];
        let nothing_left = [(103, Move::Reclaim(250_000)), (104, Move::Refund(749_501))];
        changed("reclaimed", Capture, &reclaimed, lacking());
        changed("reclaimed", Void, &reclaimed, nothing_held());
        changed("reclaimed: ours may have happened as well", Refund, &reclaimed, Open);
        changed("voided by a use of the key elsewhere", Capture, &[(103, Move::Void(250_000))], lacking());
        changed("captured elsewhere, no room for ours", Capture, &other_capture(50_001), lacking());
        changed("captured elsewhere, room for ours", Capture, &other_capture(50_000), Open);
        changed("captured, then reclaimed, found in another order", Capture, &in_chain_order, lacking());
        changed("a reclaim of less: something else came before", Capture, &[(105, Move::Reclaim(50_000))], Open);
        changed("captured whole elsewhere", Void, &other_capture(250_000), nothing_held());
        changed("captured elsewhere, with a rest", Void, &other_capture(249_999), Open);
        changed("refunded elsewhere, nothing capturable", Refund, &nothing_left, Failed("refund_exceeds_capture", true));
        changed("refunded elsewhere, captures may be missing", Refund, &[(104, Move::Refund(749_501))], Open);
    }
    let typed = reverted("execution reverted (error data 0x36f2d211…)");
    let by_contract = Failed("capture_deadline_expired", true);
    row("the contract's own reason is kept", Capture, &typed, Changed, None, &reclaimed, by_contract);
    rows
}

#[test]
fn law4_every_row_of_what_proves_that_it_did_not_happen() {
    for row in effectless() {
        let reads = row
            .read
            .map(|(capturable, refundable)| state(true, capturable, refundable));
        let evidence = Evidence {
            shown: row.shown,
            guard: row.guard,
            foreign: foreign(&row.others),
            ..landed(0, Vec::new(), reads.unwrap_or_default())
        };
        let seen = format!("{}, {:?}", row.seen, evidence.shown);
        check(&seen, row.operation, &evidence, &row.expected);
    }
}

#[test]
fn law4_every_row_of_what_proves_that_it_happened() {
    for operation in [Capture, Void, Refund] {
        let ours = |reads| operation.landed(reads);
        for (seen, evidence, expected) in [
            ("event and balances", ours(operation.after()), Done),
            (
                "event and balances, the guard read as well",
                Evidence {
                    guard: Changed,
                    ..ours(operation.after())
                },
                Done,
            ),
            ("the event, balances not read", ours(vec![]), Open),
            (
                "the event, balances as before",
                ours(state(true, 250_000, 750_000)),
                Open,
            ),
            (
                "the event, balances that every node has forgotten",
                Evidence {
                    head_height: HEIGHT + 64,
                    ..ours(vec![])
                },
                Done,
            ),
            (
                "landed, no event",
                landed(0, vec![], operation.after()),
                Failed("unexpected_payment_state", false),
            ),
            (
                "landed, no event, and what the escrow holds has changed",
                Evidence {
                    guard: Changed,
                    ..landed(0, vec![], operation.after())
                },
                Open,
            ),
        ] {
            check(seen, operation, &evidence, &expected);
        }
    }
}

#[test]
fn a_transaction_shown_at_two_heights_is_not_counted_twice() {
    // A search before and one after a reorganisation: 30,000 twice would leave no room for ours.
    let mut evidence = Evidence {
        shown: dead(),
        guard: Changed,
        foreign: foreign(&[(103, Move::CaptureAtNoFee(30_000))]),
        ..landed(0, Vec::new(), Vec::new())
    };
    let again = ForeignTx {
        height: 104,
        ..evidence.foreign[0].clone()
    };
    evidence.foreign.push(again);
    check("at two heights", Capture, &evidence, &Open);
    // The same log found by two searches counts once.
    evidence.foreign[1].height = 103;
    check("found twice", Capture, &evidence, &Open);
    evidence.foreign = foreign(&[(103, Move::CaptureAtNoFee(50_001))]);
    evidence.foreign.push(evidence.foreign[0].clone());
    let lacking = Failed("insufficient_authorization", true);
    check("found twice, and enough", Capture, &evidence, &lacking);
}

#[test]
fn the_same_operation_in_our_place_by_a_lost_journals_transaction_is_ours() {
    for operation in [Capture, Void, Refund] {
        let seen = |change: fn(&mut ForeignTx)| {
            let mut foreign = foreign(&[(103, operation.event())]);
            foreign[0].in_slot = true;
            change(&mut foreign[0]);
            Evidence {
                shown: dead(),
                guard: Changed,
                foreign,
                ..landed(0, Vec::new(), Vec::new())
            }
        };
        let (world, plan) = operation.planned();
        match judge(&world, &plan, &seen(|_| {})) {
            Judgement::Paid(paid) => {
                assert!(paid.tx_id.starts_with(&FOREIGN[..64]), "{paid:?}");
                assert_eq!(paid.items, [format!("{}/0", paid.tx_id)]);
            }
            other => panic!("{operation:?}: {other:?}"),
        }
        // In another slot, from before we ordered it, or another operation: another sender's.
        let elsewhere: [fn(&mut ForeignTx); 3] = [
            |tx| tx.in_slot = false,
            |tx| tx.earlier = true,
            |tx| tx.logs.clear(),
        ];
        for change in elsewhere {
            check("not ours", operation, &seen(change), &Open);
        }
    }
}

#[test]
fn hostile_logs_of_others_explain_nothing() {
    let with = |change: fn(&mut LogEntry)| {
        let mut foreign = foreign(&[(103, Move::Reclaim(250_000))]);
        change(&mut foreign[0].logs[0]);
        Evidence {
            shown: dead(),
            guard: Changed,
            foreign,
            ..landed(0, Vec::new(), Vec::new())
        }
    };
    for change in [
        (|log| log.emitter = lower(STRANGER)) as fn(&mut LogEntry),
        |log| log.topics[1].0[31] ^= 1,
        |log| log.topics[0].0[31] ^= 1,
        |log| log.topics.truncate(1),
        |log| log.topics.push(HexBytes(vec![0; 32])),
        |log| log.data.0.truncate(31),
        |log| log.id = "0xcdcd".into(),
        |log| log.id = "0xcdcd/x".into(),
        |log| log.id = format!("{FOREIGN}/-1"),
    ] {
        check("hostile", Capture, &with(change), &Open);
    }
}

#[test]
fn the_void_after_a_capture_ends_when_the_payer_reclaimed_before_it() {
    let world = World::new();
    let plan = world
        .plan(&Payment::on(V1_1).capture_and_void(750_000, balances(HELD, 0)))
        .expect("a plan");
    let mut evidence = Evidence {
        shown: reverted("execution reverted (error data 0x93bb7a12…)"),
        guard: Changed,
        ..landed(1, Vec::new(), Vec::new())
    };
    assert!(matches!(
        judge(&world, &plan, &evidence),
        Judgement::Unproven { .. }
    ));
    evidence.foreign = foreign(&[(103, Move::Reclaim(250_000))]);
    let Judgement::NotPaid(refusal) = judge(&world, &plan, &evidence) else {
        panic!("not decided");
    };
    assert_eq!(refusal.reason, "invalid_auth_capture_evm_zero_authorization");
    assert_eq!(refusal.writes.len(), 1, "why, for the payment's page");

    // A paying step's failure is in its answer.
    let evidence = Evidence {
        shown: reverted("execution reverted"),
        guard: Unchanged,
        ..landed(0, Vec::new(), Vec::new())
    };
    let Judgement::NotPaid(refusal) = judge(&world, &plan, &evidence) else {
        panic!("not decided");
    };
    assert_eq!(refusal.writes, []);
}

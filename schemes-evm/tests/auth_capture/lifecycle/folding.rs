//! Several operations of one payment in one block: proven by all events of the block together, and by nothing less.

use alloy_primitives::U256;
use proptest::prelude::*;
use schemes_evm::auth_capture::deployment::V1_1;
use schemes_evm::auth_capture::fold;
use schemes_evm::auth_capture::state::{Event, State};
use sdk_plugin::HexBytes;
use sdk_plugin::chain::{Evidence, LogEntry, ReadResult};
use sdk_plugin::scheme::Judgement;

use super::judging::{TX, judge, state};
use super::moves::{FOREIGN, Move, Operation, before};
use super::world::*;

/// The payment of [`Operation`] before the block.
fn parent() -> ReadResult {
    before(true, 250_000, 750_000)
}

/// Ours as log 5, with others before and after it in the block, and the state after all of them.
fn in_block(operation: Operation, others: &[(u64, Move)], after: (u64, u64)) -> Evidence {
    let own = operation.event().log(TX, 5);
    let others = others.iter().map(|(index, done)| done.log(FOREIGN, *index));
    let mut block_logs: Vec<LogEntry> = others.chain([own]).collect();
    block_logs.sort_by_key(|log| log.id.rsplit_once('/').unwrap().1.parse::<u64>().unwrap());
    let mut reads = state(true, after.0, after.1);
    reads.push(parent());
    Evidence {
        block_logs,
        ..operation.landed(reads)
    }
}

fn is_done(operation: Operation, evidence: &Evidence) -> bool {
    let (world, plan) = operation.planned();
    match judge(&world, &plan, evidence) {
        Judgement::Paid(paid) => {
            assert_eq!(paid.tx_id, TX);
            assert_eq!(paid.items, [format!("{TX}/5")]);
            true
        }
        Judgement::Unproven { .. } => false,
        other => panic!("{other:?}"),
    }
}

use Operation::{Capture, Refund, Void};

#[test]
fn neighbours_in_one_block_are_proven() {
    for (operation, others, after) in [
        // Two captures, ours first and ours second.
        (Capture, vec![(7, Move::Capture(50_000))], (0, 1_000_000)),
        (Capture, vec![(2, Move::Capture(10_000))], (40_000, 960_000)),
        // Twins: the same amount and fee twice, each in a transaction of its own.
        (Refund, vec![(7, Move::Refund(500))], (250_000, 749_000)),
        (Capture, vec![(7, Move::Refund(300))], (50_000, 949_700)),
        (
            Capture,
            vec![(7, Move::Reclaim(50_000)), (8, Move::Refund(1))],
            (0, 949_999),
        ),
        (Refund, vec![(2, Move::Capture(250_000))], (0, 999_500)),
        (Void, vec![(2, Move::Refund(750_000))], (0, 0)),
        (
            Void,
            vec![(2, Move::Refund(1)), (7, Move::Refund(1))],
            (0, 749_998),
        ),
    ] {
        let mut evidence = in_block(operation, &others, after);
        assert!(is_done(operation, &evidence), "{operation:?} with {others:?}");
        // The order in which a driver returns them does not matter, their positions do.
        evidence.block_logs.reverse();
        assert!(
            is_done(operation, &evidence),
            "{operation:?} with {others:?}, reversed"
        );
        // The states alone show nothing.
        evidence.block_logs.clear();
        assert!(
            !is_done(operation, &evidence),
            "{operation:?}, no events of the block"
        );
    }
}

#[test]
fn each_of_two_equal_captures_has_its_own_event() {
    let twin = Operation::Capture.event();
    let world = World::on(|chain| chain.state = state_result(true, 400_000, 0));
    let plan = world
        .plan(&Payment::on(V1_1).capture(200_000, balances(400_000, 0)))
        .expect("a plan");
    for (tx_id, index) in [(TX, 5), (FOREIGN, 6)] {
        let mut reads = state(true, 0, 400_000);
        reads.push(before(true, 400_000, 0));
        let evidence = Evidence {
            tx_id: tx_id.into(),
            logs: vec![twin.log(tx_id, index)],
            block_logs: vec![twin.log(TX, 5), twin.log(FOREIGN, 6)],
            ..Operation::Capture.landed(reads)
        };
        let Judgement::Paid(paid) = judge(&world, &plan, &evidence) else {
            panic!("{tx_id} is not proven");
        };
        assert_eq!(paid.items, [format!("{tx_id}/{index}")]);
    }
}

#[test]
fn a_collection_and_its_captures_may_share_a_block() {
    // Authorized, captured by another order, captured by ours: before the block there was no payment.
    let (world, plan) = Capture.planned();
    let mut reads = state(true, 50_000, 950_000);
    reads.push(before(false, 0, 0));
    let mut evidence = Evidence {
        block_logs: vec![
            Move::Authorize(HELD).log(FOREIGN, 1),
            Move::Capture(750_000).log(FOREIGN, 3),
            Capture.event().log(TX, 5),
            Move::Refund(950_000).log(FOREIGN, 8),
        ],
        ..Capture.landed(reads)
    };
    evidence.reads[0] = state(true, 50_000, 0).remove(0);
    assert!(matches!(judge(&world, &plan, &evidence), Judgement::Paid(_)));
}

#[test]
fn a_void_gives_back_what_others_left() {
    // Its order names no amount: another capture before it leaves less than was planned.
    let (world, plan) = Void.planned();
    let mut reads = state(true, 0, 760_000);
    reads.push(before(true, 240_000, 760_000));
    let own = Move::Void(240_000).log(TX, 5);
    let evidence = Evidence {
        logs: vec![own.clone()],
        block_logs: vec![own],
        ..Void.landed(reads)
    };
    let Judgement::Paid(paid) = judge(&world, &plan, &evidence) else {
        panic!("not proven");
    };
    assert_eq!(paid.writes[0].value["amount"], serde_json::json!("0x3a980"));
}

#[test]
fn what_does_not_add_up_proves_nothing() {
    let good = || {
        in_block(
            Capture,
            &[(7, Move::Reclaim(50_000)), (8, Move::Refund(1))],
            (0, 949_999),
        )
    };
    assert!(is_done(Capture, &good()));
    type Change = fn(&mut Evidence);
    let cases: [(&str, Change); 16] = [
        ("another state after", |evidence| {
            evidence.reads[0] = state(true, 0, 949_998).remove(0);
        }),
        ("another state before", |evidence| {
            evidence.reads[1] = before(true, 250_000, 750_001);
        }),
        ("a state before that was not read", |evidence| {
            evidence.reads[1].data = None;
        }),
        ("no state before", |evidence| {
            evidence.reads.pop();
        }),
        ("a state after that was not read", |evidence| {
            evidence.reads[0].data = None;
        }),
        ("never collected before", |evidence| {
            evidence.reads[1] = before(false, 250_000, 750_000);
        }),
        ("one event missing", |evidence| {
            evidence.block_logs.pop();
        }),
        ("ours missing", |evidence| {
            evidence.block_logs.remove(0);
        }),
        ("ours in another's transaction", |evidence| {
            evidence.block_logs[0].id = format!("{FOREIGN}/5");
        }),
        ("ours at another position", |evidence| {
            evidence.block_logs[0].id = format!("{TX}/6");
        }),
        (
            "ours with another fee in the block than in the receipt",
            |evidence| {
                evidence.block_logs[0] = Move::CaptureAtNoFee(200_000).log(TX, 5);
            },
        ),
        ("two events at one position", |evidence| {
            let twin = Move::Refund(1).log(FOREIGN, 5);
            evidence.block_logs.push(twin);
        }),
        ("another order", |evidence| {
            evidence.block_logs[1].id = format!("{FOREIGN}/4");
        }),
        ("an event that can't be read", |evidence| {
            let mut strange = Move::Refund(1).log(FOREIGN, 9);
            strange.topics[0] = HexBytes(vec![7; 32]);
            evidence.block_logs.push(strange);
        }),
        ("an id that names no position", |evidence| {
            evidence.block_logs[2].id = FOREIGN.into();
        }),
        ("ours in a receipt of another transaction", |evidence| {
            evidence.tx_id = FOREIGN.into();
        }),
    ];
    for (seen, change) in cases {
        let mut evidence = good();
        change(&mut evidence);
        let (world, plan) = Capture.planned();
        let judged = judge(&world, &plan, &evidence);
        assert!(matches!(judged, Judgement::Unproven { .. }), "{seen}: {judged:?}");
    }
    // Events of other payments and of other contracts do not count.
    let mut evidence = good();
    let mut others = Move::Refund(1).log(FOREIGN, 9);
    others.topics[1].0[0] ^= 1;
    let mut fake = Move::Refund(1).log(FOREIGN, 10);
    fake.emitter = lower(STRANGER);
    evidence.block_logs.extend([others, fake]);
    assert!(is_done(Capture, &evidence));
}

#[test]
fn a_forgotten_block_is_proven_by_the_event_alone() {
    for operation in [Capture, Void, Refund] {
        let mut evidence = in_block(operation, &[(7, Move::Refund(1))], (1, 1));
        evidence.reads.iter_mut().for_each(|read| read.data = None);
        assert!(!is_done(operation, &evidence));
        evidence.head_height += 64;
        assert!(is_done(operation, &evidence));
    }
}

/// A move of a tenth of what is there, so that long sequences stay possible. Its kind may be impossible.
fn any_move() -> impl Strategy<Value = (u8, u64)> {
    (0u8..5, 1u64..=10)
}

fn moved(now: State, (kind, tenth): (u8, u64)) -> Move {
    let part = |whole: U256| u64::try_from(whole).unwrap() / 10 * tenth;
    let (capturable, refundable) = (now.balances.capturable, now.balances.refundable);
    match kind {
        0 => Move::Capture(part(capturable)),
        1 => Move::CaptureAtNoFee(part(capturable)),
        2 => Move::Void(u64::try_from(capturable).unwrap()),
        3 => Move::Reclaim(u64::try_from(capturable).unwrap()),
        _ => Move::Refund(part(refundable)),
    }
}

fn event(log: &LogEntry) -> Event {
    let hash = Payment::on(V1_1).hash();
    schemes_evm::auth_capture::state::event(hash, log).expect("an event")
}

fn of_state(now: State) -> Vec<ReadResult> {
    let words = |amount: U256| u64::try_from(amount).unwrap();
    state(
        now.collected,
        words(now.balances.capturable),
        words(now.balances.refundable),
    )
}

proptest! {
    /// A block without our event proves nothing about our operation, whatever else is in it.
    #[test]
    fn folding_never_proves_an_operation_whose_event_is_absent(
        capturable in 0u64..1_000_000, refundable in 0u64..1_000_000, story in prop::collection::vec(any_move(), 0..6),
        operation in prop_oneof![Just(Capture), Just(Void), Just(Refund)], in_receipt in any::<bool>(),
        index in 0u64..9,
    ) {
        let start = State { collected: true, balances: balances(capturable, refundable) };
        let mut now = start;
        let mut block_logs = Vec::new();
        for (at, step) in (0u64..).zip(story) {
            let log = moved(now, step).log(FOREIGN, at);
            let Some(next) = now.after(&event(&log)) else { continue };
            now = next;
            block_logs.push(log);
        }
        let own = operation.event().log(TX, index);
        let hash = Payment::on(V1_1).hash();
        let mut reads = of_state(now);
        reads.push(before(true, capturable, refundable));
        let evidence = Evidence {
            logs: if in_receipt { vec![own.clone()] } else { Vec::new() },
            block_logs,
            ..operation.landed(reads)
        };
        let own = (own.id.as_str(), &event(&own));
        prop_assert!(!fold::proves(V1_1.escrow, hash, &evidence, own, start, now));
        let (world, plan) = operation.planned();
        let is_paid = matches!(judge(&world, &plan, &evidence), Judgement::Paid(_));
        // By the balances after the block alone, as always; never without an event of ours at all.
        let fits = evidence.reads[0] == operation.after()[0]
            || (operation == Capture && evidence.reads[0] == state(true, 0, 950_000)[0]);
        prop_assert!(!is_paid || (in_receipt && fits), "{evidence:?}");
    }

    /// A block with ours somewhere in it is proven, at any position.
    #[test]
    fn folding_proves_ours_among_any_neighbours(
        front in prop::collection::vec(any_move(), 0..4), back in prop::collection::vec(any_move(), 0..4),
    ) {
        let start = State { collected: true, balances: balances(250_000, 750_000) };
        let (mut now, mut block_logs) = (start, Vec::new());
        for (at, step) in (0u64..).zip(front) {
            let log = moved(now, step).log(FOREIGN, at);
            let next = now.after(&event(&log)).filter(|next| next.balances.refundable >= units(500));
            let Some(next) = next else { continue };
            now = next;
            block_logs.push(log);
        }
        let own = Refund.event().log(TX, 5);
        now = now.after(&event(&own)).expect("enough to refund");
        block_logs.push(own);
        for (at, step) in (6u64..).zip(back) {
            let log = moved(now, step).log(FOREIGN, at);
            let Some(next) = now.after(&event(&log)) else { continue };
            now = next;
            block_logs.push(log);
        }
        let mut reads = of_state(now);
        reads.push(parent());
        let evidence = Evidence { block_logs, ..Refund.landed(reads) };
        prop_assert!(is_done(Refund, &evidence), "{evidence:?}");
    }
}

//! What the chain showed, and what follows from it.

use alloy_primitives::{Address, B256, LogData};
use alloy_sol_types::{SolEvent, SolValue};
use schemes_evm::auth_capture::abi::{Escrow, EscrowV10, EscrowV11};
use schemes_evm::auth_capture::deployment::{V1_0, V1_1};
use schemes_evm::auth_capture::records::{self, OperationKind};
use sdk_plugin::chain::{Evidence, GuardState, LogEntry, ReadResult, Shown};
use sdk_plugin::scheme::{Judgement, Plan};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{HexBytes, SchemeHandler, StepIndex};

use super::world::*;

pub const TX: &str = "0xabababababababababababababababababababababababababababababababab";

pub fn log(emitter: Address, data: LogData) -> LogEntry {
    LogEntry {
        id: format!("{TX}/0"),
        emitter: lower(emitter),
        topics: data
            .topics()
            .iter()
            .map(|topic| HexBytes(topic.to_vec()))
            .collect(),
        data: HexBytes(data.data.to_vec()),
    }
}

pub fn captured(hash: B256, amount: u64) -> LogData {
    EscrowV11::PaymentCaptured {
        paymentInfoHash: hash,
        amount: units(amount),
        feeAmount: units(amount / 100),
        feeReceiver: FEE_RECIPIENT,
    }
    .encode_log_data()
}

pub fn voided(hash: B256, amount: u64) -> LogData {
    Escrow::PaymentVoided {
        paymentInfoHash: hash,
        amount: units(amount),
    }
    .encode_log_data()
}

pub fn state(collected: bool, capturable: u64, refundable: u64) -> Vec<ReadResult> {
    vec![ReadResult {
        name: "paymentState".into(),
        data: Some(HexBytes(
            (collected, units(capturable), units(refundable)).abi_encode(),
        )),
    }]
}

pub fn landed(step: u32, logs: Vec<LogEntry>, reads: Vec<ReadResult>) -> Evidence {
    Evidence {
        step: StepIndex::new(step),
        shown: Shown::Landed { height: 107 },
        tx_id: TX.into(),
        head_height: 108,
        logs,
        deltas: Vec::new(),
        reads,
        foreign: Vec::new(),
        guard: GuardState::Absent,
        block_logs: Vec::new(),
        shared: false,
    }
}

pub fn failed(shown: Shown) -> Evidence {
    Evidence {
        shown,
        ..landed(0, Vec::new(), Vec::new())
    }
}

pub fn judge(world: &World, plan: &Plan, evidence: &Evidence) -> Judgement {
    block_on(world.scheme.judge(&world.cx(), plan, evidence)).expect("no fault")
}

fn reason(judgement: Judgement) -> String {
    match judgement {
        Judgement::NotPaid(refusal) => {
            assert_eq!(refusal.payer, lower(PAYER));
            refusal.reason.replace("invalid_auth_capture_evm_", "")
        }
        other => panic!("{other:?}"),
    }
}

pub fn planned_capture() -> (World, Payment, Plan) {
    let (world, payment) = (World::new(), Payment::on(V1_1));
    let plan = world
        .plan(&payment.capture_and_void(750_000, balances(HELD, 0)))
        .expect("a plan");
    (world, payment, plan)
}

#[test]
fn a_capture_is_paid_by_the_escrows_event_and_the_balances_after_it() {
    let (world, payment, plan) = planned_capture();
    let logs = vec![log(V1_1.escrow, captured(payment.hash(), 750_000))];
    let judgement = judge(&world, &plan, &landed(0, logs, state(true, 250_000, 750_000)));
    let Judgement::Paid(paid) = judgement else {
        panic!("{judgement:?}");
    };
    assert_eq!(paid.tx_id, TX);
    assert_eq!(paid.items, [format!("{TX}/0")]);
    assert_eq!(paid.reply.amount, Some(750_000u64.into()));
    assert!(!paid.repeatable);
    // What is kept can be listed.
    world.store(paid.writes);
    let kept = block_on(records::operations(&world.cx(), NETWORK, payment.hash())).expect("rows");
    let [operation] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    assert_eq!(operation.kind, OperationKind::Capture);
    assert_eq!(operation.transaction, TX);
    assert_eq!(operation.height, 107);
    assert!(operation.voids_remainder);
}

#[test]
fn the_void_after_a_capture_is_judged_by_its_own_evidence() {
    let (world, payment, plan) = planned_capture();
    let logs = vec![log(V1_1.escrow, voided(payment.hash(), 250_000))];
    let judgement = judge(&world, &plan, &landed(1, logs.clone(), state(true, 0, 750_000)));
    let Judgement::Paid(paid) = judgement else {
        panic!("{judgement:?}");
    };
    assert_eq!(paid.reply.amount, Some(0u64.into()));
    let reverted = Evidence {
        step: StepIndex::new(1),
        ..failed(Shown::Reverted {
            height: 107,
            message: Some("execution reverted (error data 0x93bb7a12…)".into()),
        })
    };
    assert_eq!(reason(judge(&world, &plan, &reverted)), "zero_authorization");
    // A void's event proves no capture.
    assert_eq!(
        reason(judge(&world, &plan, &landed(0, logs, state(true, 0, 750_000)))),
        "unexpected_payment_state"
    );
}

#[test]
fn voids_and_refunds_are_paid_in_their_own_words() {
    let payment = Payment::on(V1_1);
    let world = World::on(|chain| chain.state = state_result(true, 250_000, 750_000));
    let void = world.plan(&payment.void()).expect("a plan");
    let logs = vec![log(V1_1.escrow, voided(payment.hash(), 250_000))];
    let Judgement::Paid(paid) = judge(&world, &void, &landed(0, logs, state(true, 0, 750_000))) else {
        panic!("not paid");
    };
    assert_eq!(paid.reply.amount, Some(0u64.into()), "a void's amount is \"0\"");

    let refund = world
        .plan(&payment.refund(500, balances(250_000, 750_000)))
        .expect("a plan");
    let event = |collector: Address, amount: u64| {
        vec![log(
            V1_1.escrow,
            Escrow::PaymentRefunded {
                paymentInfoHash: payment.hash(),
                amount: units(amount),
                tokenCollector: collector,
            }
            .encode_log_data(),
        )]
    };
    let ours = V1_1.operator_refund_collector;
    let after = || state(true, 250_000, 749_500);
    let Judgement::Paid(paid) = judge(&world, &refund, &landed(0, event(ours, 500), after())) else {
        panic!("not paid");
    };
    assert_eq!(paid.reply.amount, Some(500u64.into()));
    for other in [event(STRANGER, 500), event(ours, 499)] {
        assert_eq!(
            reason(judge(&world, &refund, &landed(0, other, after()))),
            "unexpected_payment_state"
        );
    }
}

#[test]
fn another_events_amount_fee_receiver_payment_or_emitter_proves_nothing() {
    let (world, payment, plan) = planned_capture();
    let hash = payment.hash();
    let other_fee = EscrowV11::PaymentCaptured {
        paymentInfoHash: hash,
        amount: units(750_000),
        feeAmount: units(7_501),
        feeReceiver: FEE_RECIPIENT,
    };
    let other_receiver = EscrowV11::PaymentCaptured {
        feeAmount: units(7_500),
        feeReceiver: STRANGER,
        ..other_fee.clone()
    };
    let other_form = EscrowV10::PaymentCaptured {
        paymentInfoHash: hash,
        amount: units(750_000),
        feeBps: 100,
        feeReceiver: FEE_RECIPIENT,
    };
    for logs in [
        Vec::new(),
        vec![log(V1_1.escrow, captured(hash, 749_999))],
        vec![log(V1_1.escrow, other_fee.encode_log_data())],
        vec![log(V1_1.escrow, other_receiver.encode_log_data())],
        vec![log(V1_1.escrow, other_form.encode_log_data())],
        vec![log(V1_1.escrow, captured(B256::repeat_byte(1), 750_000))],
        vec![log(STRANGER, captured(hash, 750_000))],
        vec![log(V1_0.escrow, captured(hash, 750_000))],
    ] {
        let evidence = landed(0, logs, state(true, 250_000, 750_000));
        assert_eq!(
            reason(judge(&world, &plan, &evidence)),
            "unexpected_payment_state"
        );
    }
}

#[test]
fn t76_an_event_without_the_balances_after_it_proves_nothing_yet() {
    let (world, payment, plan) = planned_capture();
    let logs = || vec![log(V1_1.escrow, captured(payment.hash(), 750_000))];
    for reads in [
        state(false, 0, 0),
        state(true, HELD, 0),
        state(true, 250_000, 749_999),
        state(true, 249_999, 750_000),
        Vec::new(),
        vec![ReadResult {
            name: "paymentState".into(),
            data: None,
        }],
    ] {
        let judgement = judge(&world, &plan, &landed(0, logs(), reads.clone()));
        assert!(matches!(judgement, Judgement::Unproven { .. }), "{reads:?}");
    }
    // The scheme stops waiting for balances that every node has forgotten: otherwise no one could move the payment.
    let forgotten = Evidence {
        head_height: 107 + 64,
        ..landed(0, logs(), Vec::new())
    };
    assert!(matches!(judge(&world, &plan, &forgotten), Judgement::Paid(_)));
    // Its payer took back the rest in the same block.
    let judgement = judge(&world, &plan, &landed(0, logs(), state(true, 0, 750_000)));
    assert!(matches!(judgement, Judgement::Paid(_)));
}

#[test]
fn what_had_no_effect_says_why() {
    let (world, _, plan) = planned_capture();
    let reverted = |message: Option<&str>| {
        failed(Shown::Reverted {
            height: 107,
            message: message.map(str::to_owned),
        })
    };
    for (evidence, expected) in [
        (reverted(None), "transaction_reverted"),
        (reverted(Some("out of gas")), "transaction_reverted"),
        (
            reverted(Some("execution reverted (error data 0x36f2d211…)")),
            "capture_deadline_expired",
        ),
        (
            reverted(Some("execution reverted (error data 0x604b0947…)")),
            "insufficient_authorization",
        ),
        (
            failed(Shown::Dead {
                why: "its slot went to another".into(),
            }),
            "transaction_reverted",
        ),
    ] {
        assert_eq!(reason(judge(&world, &plan, &evidence)), expected);
    }
    world.host.advance_ms(86_400_000);
    let dead = failed(Shown::Dead {
        why: "expired".into(),
    });
    assert_eq!(reason(judge(&world, &plan, &dead)), "capture_deadline_expired");
}

#[test]
fn a_memo_of_nobodys_is_a_fault() {
    let (world, _, mut plan) = planned_capture();
    let evidence = landed(0, Vec::new(), Vec::new());
    for memo in [
        serde_json::Value::Null,
        serde_json::json!({ "kind": "other" }),
        serde_json::json!({ "kind": "lifecycle" }),
    ] {
        plan.steps[0].memo = memo;
        assert!(block_on(world.scheme.judge(&world.cx(), &plan, &evidence)).is_err());
    }
    let beyond = landed(7, Vec::new(), Vec::new());
    assert!(block_on(world.scheme.judge(&world.cx(), &plan, &beyond)).is_err());
}

//! Each check of the escrow refuses with its own error, in the note's order: every test starts from what is checked last
//! and makes one thing more wrong at a time, so that each new error has to win over all that come after it.

mod common;

use common::escrow::{DEPLOYMENTS, FEE_RECEIVER, NOBODY, Payment, UNITS};
use common::refusals::{
    STRANGER, address, answer, answer_to_operator, assert_expired, error, invalid_sender, number, payment_of,
};
use devnet::{Arg, Devnet, FeeForm, Options};

const TOO_MUCH: u128 = 1 << 120;

fn chain() -> Devnet {
    Devnet::start(Options::default()).expect("the chain starts")
}

/// Amount and caller, which authorize, charge, capture and refund check before everything else.
fn assert_amount_and_caller(chain: &Devnet, payment: &Payment, call: impl Fn(u128) -> String) {
    assert_eq!(
        answer_to_operator(chain, payment, &call(0)),
        error("ZeroAmount()", &[])
    );
    let overflow = [number(TOO_MUCH), number(TOO_MUCH - 1)];
    assert_eq!(
        answer_to_operator(chain, payment, &call(TOO_MUCH)),
        error("AmountOverflow(uint256,uint256)", &overflow)
    );
    assert_eq!(
        answer(chain, payment, STRANGER, &call(0)),
        invalid_sender(&payment.info.operator)
    );
}

/// The terms that are checked when a payment comes in, from the last check to the first.
fn assert_terms(chain: &Devnet, payment: &mut Payment, call: impl Fn(&Payment, u128) -> String) {
    let operator_answer =
        |payment: &Payment, amount| answer_to_operator(chain, payment, &call(payment, amount));
    (payment.info.min_fee_bps, payment.info.max_fee_bps) = (200, 100);
    let range = [number(200_u16), number(100_u16)];
    assert_eq!(
        operator_answer(payment, UNITS),
        error("InvalidFeeBpsRange(uint16,uint16)", &range)
    );
    (payment.info.min_fee_bps, payment.info.max_fee_bps) = (10_002, 10_001);
    assert_eq!(
        operator_answer(payment, UNITS),
        error("FeeBpsOverflow(uint16)", &[number(10_001_u16)])
    );

    let expiries = |payment: &Payment| {
        let info = &payment.info;
        let all = [
            info.pre_approval_expiry,
            info.authorization_expiry,
            info.refund_expiry,
        ];
        error("InvalidExpiries(uint48,uint48,uint48)", &all.map(number))
    };
    payment.info.refund_expiry = payment.info.authorization_expiry - 1;
    assert_eq!(operator_answer(payment, UNITS), expiries(payment));
    payment.info.authorization_expiry = payment.info.pre_approval_expiry - 1;
    payment.info.refund_expiry = payment.info.authorization_expiry;
    assert_eq!(operator_answer(payment, UNITS), expiries(payment));
    payment.info.pre_approval_expiry = 1;
    payment.info.authorization_expiry = 0;
    assert_expired(
        &operator_answer(payment, UNITS),
        "AfterPreApprovalExpiry(uint48,uint48)",
        1,
    );
    let exceeds = [number(UNITS + 1), number(UNITS)];
    assert_eq!(
        operator_answer(payment, UNITS + 1),
        error("ExceedsMaxAmount(uint256,uint256)", &exceeds)
    );
}

/// Fee terms of 1 to 2 percent; `call` takes fee and receiver.
fn assert_fees(chain: &Devnet, payment: &Payment, call: impl Fn(u128, &str) -> String) {
    let operator_answer =
        |fee: u128, receiver: &str| answer_to_operator(chain, payment, &call(fee, receiver));
    let (one, two) = (payment.fee_of(UNITS), 2 * payment.fee_of(UNITS));
    let receiver = [address(STRANGER), address(FEE_RECEIVER)];
    assert_eq!(
        operator_answer(one, STRANGER),
        error("InvalidFeeReceiver(address,address)", &receiver)
    );
    assert_eq!(operator_answer(two, NOBODY), error("ZeroFeeReceiver()", &[]));
    let out_of_range = match payment.deployment.fee_form {
        FeeForm::Bps => "FeeBpsOutOfRange(uint16,uint16,uint16)",
        FeeForm::Amount => "FeeAmountOutOfRange(uint256,uint256,uint256)",
    };
    for fee in [0, one - 1, two + 1] {
        let limits = [number(fee), number(one), number(two)];
        assert_eq!(
            operator_answer(fee, NOBODY),
            error(out_of_range, &limits),
            "fee {fee}"
        );
    }
}

#[test]
fn authorize_checks_in_the_documented_order() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let mut payment = payment_of(&chain, deployment);
        let call = |payment: &Payment, amount| {
            let collector = deployment.operator_refund_collector;
            deployment
                .authorize(&payment.info, amount, collector, &[])
                .expect("encodes")
        };
        let wrong_collector = error("InvalidCollectorForOperation()", &[]);
        assert_eq!(
            answer_to_operator(&chain, &payment, &call(&payment, UNITS)),
            wrong_collector
        );
        payment.hold(&chain, &chain.buyers[1]);
        let hash = Arg::word(&payment.hash(&chain)).expect("hash");
        let collected = error("PaymentAlreadyCollected(bytes32)", &[hash]);
        assert_eq!(
            answer_to_operator(&chain, &payment, &call(&payment, UNITS)),
            collected
        );
        assert_terms(&chain, &mut payment, call);
        assert_amount_and_caller(&chain, &payment, |amount| call(&payment, amount));
    }
}

#[test]
fn charge_checks_in_the_documented_order() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let mut payment = payment_of(&chain, deployment);
        payment.info.max_fee_bps = 200;
        let charge = |payment: &Payment, amount, fee, to: &str| {
            let (info, collector) = (&payment.info, deployment.operator_refund_collector);
            deployment
                .charge(info, amount, collector, &[], fee, to)
                .expect("encodes")
        };
        let fee = payment.fee_of(UNITS);
        let good = charge(&payment, UNITS, fee, FEE_RECEIVER);
        let wrong_collector = error("InvalidCollectorForOperation()", &[]);
        assert_eq!(answer_to_operator(&chain, &payment, &good), wrong_collector);
        payment.hold(&chain, &chain.buyers[1]);
        let hash = Arg::word(&payment.hash(&chain)).expect("hash");
        let collected = error("PaymentAlreadyCollected(bytes32)", &[hash]);
        assert_eq!(answer_to_operator(&chain, &payment, &good), collected);
        // Collected already, and yet the fee is complained of first.
        assert_fees(&chain, &payment, |fee, to| charge(&payment, UNITS, fee, to));
        assert_terms(&chain, &mut payment, |payment, amount| {
            charge(payment, amount, 0, NOBODY)
        });
        assert_amount_and_caller(&chain, &payment, |amount| charge(&payment, amount, 0, NOBODY));
    }
}

#[test]
fn capture_checks_in_the_documented_order() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let mut payment = payment_of(&chain, deployment);
        payment.info.max_fee_bps = 200;
        payment.hold(&chain, &chain.buyers[1]);
        let capture = |payment: &Payment, amount, fee, to: &str| {
            deployment
                .capture(&payment.info, amount, fee, to)
                .expect("encodes")
        };
        let fee = payment.fee_of(UNITS + 1);
        let hash = Arg::word(&payment.hash(&chain)).expect("hash");
        let insufficient = [hash, number(UNITS), number(UNITS + 1)];
        assert_eq!(
            answer_to_operator(&chain, &payment, &capture(&payment, UNITS + 1, fee, FEE_RECEIVER)),
            error(
                "InsufficientAuthorization(bytes32,uint256,uint256)",
                &insufficient
            )
        );
        // Of an expired payment nothing is held either, but the time is checked first.
        payment.info.authorization_expiry = 1;
        let expired = capture(&payment, UNITS + 1, fee, FEE_RECEIVER);
        assert_expired(
            &answer_to_operator(&chain, &payment, &expired),
            "AfterAuthorizationExpiry(uint48,uint48)",
            1,
        );
        assert_fees(&chain, &payment, |fee, to| capture(&payment, UNITS, fee, to));
        assert_amount_and_caller(&chain, &payment, |amount| capture(&payment, amount, 0, NOBODY));
    }
}

#[test]
fn a_fixed_fee_receiver_is_enforced_for_a_zero_fee_too() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let mut payment = payment_of(&chain, deployment);
        (payment.info.min_fee_bps, payment.info.max_fee_bps) = (0, 0);
        payment.hold(&chain, &chain.buyers[1]);
        let capture = |to| deployment.capture(&payment.info, UNITS, 0, to).expect("encodes");
        let refused = error(
            "InvalidFeeReceiver(address,address)",
            &[address(NOBODY), address(FEE_RECEIVER)],
        );
        assert_eq!(answer_to_operator(&chain, &payment, &capture(NOBODY)), refused);
        payment.send(&chain, &capture(FEE_RECEIVER));
    }
}

#[test]
fn t78_fee_amounts_are_floored_for_each_capture() {
    let chain = chain();
    let mut payment = payment_of(&chain, &devnet::AUTH_CAPTURE_V11);
    payment.info.min_fee_bps = 0;
    payment.hold(&chain, &chain.buyers[1]);
    // One percent of 99 units is less than a unit: no fee is possible, however often.
    let none = [number(1_u128), number(0_u128), number(0_u128)];
    assert_eq!(
        answer_to_operator(&chain, &payment, &payment.capture(99, 1)),
        error("FeeAmountOutOfRange(uint256,uint256,uint256)", &none)
    );
    payment.send(&chain, &payment.capture(99, 0));
    payment.send(&chain, &payment.capture(100, 1));
    assert_eq!(payment.balances(&chain)[2..], [198, 1]);
}

#[test]
fn void_and_reclaim_check_in_the_documented_order() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let payment = payment_of(&chain, deployment);
        let void = deployment.void(&payment.info).expect("encodes");
        let reclaim = deployment.reclaim(&payment.info).expect("encodes");
        let hash = Arg::word(&payment.hash(&chain)).expect("hash");
        let nothing = error("ZeroAuthorization(bytes32)", &[hash]);
        assert_eq!(answer_to_operator(&chain, &payment, &void), nothing);
        assert_eq!(
            answer(&chain, &payment, STRANGER, &void),
            invalid_sender(&payment.info.operator)
        );

        let early = answer(&chain, &payment, &payment.info.payer, &reclaim);
        let deadline = payment.info.authorization_expiry;
        assert_expired(&early, "BeforeAuthorizationExpiry(uint48,uint48)", deadline);
        assert_eq!(
            answer(&chain, &payment, STRANGER, &reclaim),
            invalid_sender(&payment.info.payer)
        );
        let start = chain.snapshot().expect("snapshot");
        chain.increase_time(3_601).expect("time");
        chain.mine(1).expect("mine");
        assert_eq!(answer(&chain, &payment, &payment.info.payer, &reclaim), nothing);
        chain.revert(&start).expect("back to the start");
    }
}

#[test]
fn refund_checks_in_the_documented_order() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let mut payment = payment_of(&chain, deployment);
        payment.hold(&chain, &chain.buyers[1]);
        payment.send(&chain, &payment.capture(UNITS, payment.fee_of(UNITS)));
        let refund = |payment: &Payment, amount| {
            let collector = deployment.erc3009_collector;
            let arguments = deployment
                .authorize(&payment.info, amount, collector, &[])
                .expect("encodes");
            format!("0xd458db5a{}", &arguments[10..])
        };
        assert_eq!(
            answer_to_operator(&chain, &payment, &refund(&payment, UNITS)),
            error("InvalidCollectorForOperation()", &[])
        );
        assert_eq!(
            answer_to_operator(&chain, &payment, &refund(&payment, UNITS + 1)),
            error(
                "RefundExceedsCapture(uint256,uint256)",
                &[number(UNITS + 1), number(UNITS)]
            )
        );
        payment.info.refund_expiry = 1;
        let expired = answer_to_operator(&chain, &payment, &refund(&payment, UNITS));
        assert_expired(&expired, "AfterRefundExpiry(uint48,uint48)", 1);
        assert_amount_and_caller(&chain, &payment, |amount| refund(&payment, amount));
    }
}

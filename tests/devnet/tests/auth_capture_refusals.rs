//! What the escrow and its collectors refuse besides: money that arrives short, signatures for another payment, strangers,
//! and everything that happens twice.

mod common;

use common::escrow::{DEPLOYMENTS, Method, Payment, UNITS};
use common::refusals::{
    STRANGER, address, answer_to_operator, assert_expired, error, invalid_sender, number, payment_of,
};
use common::{refusal, revert_data};
use devnet::{Arg, Devnet, FEE_TOKEN, LYING_TOKEN, Options, encode};

fn chain() -> Devnet {
    Devnet::start(Options::default()).expect("the chain starts")
}

#[test]
fn a_store_that_receives_less_than_the_amount_fails_the_collection() {
    let chain = chain();
    let failed = error("TokenCollectionFailed()", &[]);
    for deployment in DEPLOYMENTS {
        // One percent is lost between the payer and the store.
        let mut payment = payment_of(&chain, deployment);
        payment.method = Method::Permit2;
        payment.info.token = FEE_TOKEN.to_owned();
        let signature = payment.sign(&chain, &chain.buyers[1]);
        assert_eq!(
            answer_to_operator(&chain, &payment, &payment.authorize(UNITS, &signature)),
            failed
        );
        // Here the collector itself gets too little to pass on.
        payment.method = Method::Eip3009;
        let signature = payment.sign(&chain, &chain.buyers[1]);
        let refused = refusal(payment.eth_call(&chain, &payment.authorize(UNITS, &signature)));
        assert!(refused.contains("exceeds balance"), "{refused}");

        // A single unit is lost between the collector and the store.
        payment.info.token = LYING_TOKEN.to_owned();
        let authorize = payment.authorize(UNITS, &payment.sign(&chain, &chain.buyers[1]));
        payment
            .eth_call(&chain, &authorize)
            .expect("in an honest mood it pays");
        chain.set_token_mood(10).expect("mood");
        assert_eq!(answer_to_operator(&chain, &payment, &authorize), failed);
        chain.set_token_mood(0).expect("mood");
    }
}

#[test]
fn a_signature_is_valid_for_its_own_payment_and_deployment_only() {
    let chain = chain();
    for (deployment, other) in [(DEPLOYMENTS[0], DEPLOYMENTS[1]), (DEPLOYMENTS[1], DEPLOYMENTS[0])] {
        for method in [Method::Eip3009, Method::Permit2] {
            let mut payment = payment_of(&chain, deployment);
            payment.method = method;
            let signature = payment.sign(&chain, &chain.buyers[1]);
            payment
                .eth_call(&chain, &payment.authorize(UNITS, &signature))
                .expect("as signed it pays");
            let changes: [fn(&mut Payment); 6] = [
                |p| p.info.receiver = STRANGER.to_owned(),
                |p| p.info.salt[31] ^= 1,
                |p| p.info.max_fee_bps += 1,
                |p| p.info.refund_expiry += 1,
                |p| p.info.fee_receiver = STRANGER.to_owned(),
                |p| p.info.max_amount -= 1,
            ];
            for change in changes {
                let mut changed = payment.clone();
                change(&mut changed);
                let amount = changed.info.max_amount;
                changed
                    .eth_call(&chain, &changed.authorize(amount, &signature))
                    .expect_err("other terms need another signature");
            }
            let elsewhere = Payment {
                deployment: other,
                ..payment.clone()
            };
            elsewhere
                .eth_call(&chain, &elsewhere.authorize(UNITS, &signature))
                .expect_err("another escrow needs another signature");
            // A collector of the other deployment does not serve this escrow.
            let collector = elsewhere.collector();
            let foreign = deployment.authorize(&payment.info, UNITS, collector, &signature);
            let refused = answer_to_operator(&chain, &payment, &foreign.expect("encodes"));
            assert_eq!(refused, "0xbde034f9", "OnlyAuthCaptureEscrow");
        }
    }
}

#[test]
fn only_the_escrow_moves_what_collectors_and_stores_hold() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let payment = payment_of(&chain, deployment);
        let collectors = [
            deployment.erc3009_collector,
            deployment.permit2_collector,
            deployment.operator_refund_collector,
            deployment.pre_approval_collector,
        ];
        let mut args = payment.info.args().expect("terms");
        args.extend([address(STRANGER), number(UNITS), Arg::Bytes(Vec::new())]);
        let collect = encode("0x49884788", &args).expect("encodes");
        for collector in collectors {
            let refused = revert_data(chain.rpc().eth_call(Some(STRANGER), collector, &collect));
            assert_eq!(refused, "0xbde034f9", "{collector}");
        }
        payment.hold(&chain, &chain.buyers[1]);
        payment.send(&chain, &payment.capture(1_000, payment.fee_of(1_000)));
        let store = chain
            .token_store(deployment, &payment.info.operator)
            .expect("store");
        let args = [address(&payment.info.token), address(STRANGER), number(1_u128)];
        let send = encode("0xe6d66ac8", &args).expect("encodes");
        let refused = revert_data(chain.rpc().eth_call(Some(&payment.info.operator), &store, &send));
        assert_eq!(refused, "0xbde034f9");
    }
}

#[test]
fn a_pre_approval_is_the_payers_own_in_time_and_once() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let mut payment = payment_of(&chain, deployment);
        let approve = |payment: &Payment, from: &str| {
            let data = encode("0xc6184c2f", &payment.info.args().expect("terms")).expect("encodes");
            revert_data(
                chain
                    .rpc()
                    .eth_call(Some(from), deployment.pre_approval_collector, &data),
            )
        };
        let payer = payment.info.payer.clone();
        assert_eq!(approve(&payment, STRANGER), invalid_sender(&payer));
        payment.hold(&chain, &chain.buyers[1]);
        let hash = |payment: &Payment| Arg::word(&payment.hash(&chain)).expect("hash");
        let collected = error("PaymentAlreadyCollected(bytes32)", &[hash(&payment)]);
        assert_eq!(approve(&payment, &payer), collected);

        payment.info.salt = [9; 32];
        chain.pre_approve(deployment, &payment.info).expect("approves");
        let twice = error("PaymentAlreadyPreApproved(bytes32)", &[hash(&payment)]);
        assert_eq!(approve(&payment, &payer), twice);
        payment.info.pre_approval_expiry = 1;
        assert_expired(
            &approve(&payment, &payer),
            "AfterPreApprovalExpiry(uint48,uint48)",
            1,
        );
    }
}

#[test]
fn a_signature_works_once_also_after_everything_was_given_back() {
    let chain = chain();
    for method in [Method::Eip3009, Method::Permit2] {
        let mut payment = payment_of(&chain, DEPLOYMENTS[0]);
        payment.method = method;
        payment.info.salt = [method as u8 + 1; 32];
        let signature = payment.sign(&chain, &chain.buyers[1]);
        payment.send(&chain, &payment.authorize(UNITS, &signature));
        payment.send(&chain, &payment.deployment.void(&payment.info).expect("encodes"));
        let hash = Arg::word(&payment.hash(&chain)).expect("hash");
        let collected = error("PaymentAlreadyCollected(bytes32)", &[hash]);
        for data in [
            payment.authorize(1, &signature),
            payment.charge(100, 1, &signature),
        ] {
            assert_eq!(answer_to_operator(&chain, &payment, &data), collected);
        }
    }
}

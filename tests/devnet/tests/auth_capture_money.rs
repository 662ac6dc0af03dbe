//! The escrow moves the right money: for both deployments and both ways to sign, through the whole life of a payment.

mod common;

use common::escrow::{DEPLOYMENTS, FEE_RECEIVER, Method, NOBODY, Payment, UNITS, state, wrapped};
use common::{logs_of, refusal, revert_data, succeeded};
use devnet::{AUTH_CAPTURE_V11, Arg, BUYER_TOKENS, Devnet, Options, PERMIT2, USDC, WALLET, WALLET_FACTORY};

const METHODS: [Method; 2] = [Method::Eip3009, Method::Permit2];

fn chain() -> Devnet {
    Devnet::start(Options::default()).expect("the chain starts")
}

/// Runs a story for each deployment and method, each time on a fresh world.
fn for_every_kind(chain: &Devnet, story: impl Fn(Payment)) {
    for deployment in DEPLOYMENTS {
        for method in METHODS {
            let start = chain.snapshot().expect("snapshot");
            story(Payment::new(chain, deployment, method, &chain.buyers[1].address));
            chain.revert(&start).expect("back to the start");
        }
    }
}

#[test]
fn a_held_payment_is_captured_in_parts_and_the_rest_voided() {
    let chain = chain();
    let event = |name: &str| -> String {
        let escrow = chain.artifact("AuthCaptureEscrowV11").expect("artefact");
        let found = escrow
            .events
            .iter()
            .find(|(signature, _)| signature.starts_with(name));
        found.expect(name).1.clone()
    };
    for_every_kind(&chain, |payment| {
        let signature = payment.sign(&chain, &chain.buyers[1]);
        assert_eq!(payment.state(&chain), state(false, 0, 0));
        let receipt = payment.send(&chain, &payment.authorize(UNITS, &signature));
        let (emitter, topics, _) = logs_of(&receipt).remove(0);
        assert_eq!(emitter, payment.deployment.escrow.to_lowercase());
        assert_eq!(topics, [event("PaymentAuthorized"), payment.hash(&chain)]);
        assert_eq!(payment.state(&chain), state(true, UNITS, 0));
        assert_eq!(payment.balances(&chain), [BUYER_TOKENS - UNITS, UNITS, 0, 0]);

        payment.send(&chain, &payment.capture(300_000, payment.fee_of(300_000)));
        payment.send(&chain, &payment.capture(200_000, payment.fee_of(200_000)));
        assert_eq!(payment.state(&chain), state(true, 500_000, 500_000));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - UNITS, 500_000, 495_000, 5_000]
        );

        let void = payment.deployment.void(&payment.info).expect("encodes");
        let receipt = payment.send(&chain, &void);
        assert_eq!(
            logs_of(&receipt)[0].1,
            [event("PaymentVoided"), payment.hash(&chain)]
        );
        assert_eq!(payment.state(&chain), state(true, 0, 500_000));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - 500_000, 0, 495_000, 5_000]
        );
    });
}

#[test]
fn a_charge_below_the_signed_amount_takes_no_more_than_the_charge() {
    let chain = chain();
    for_every_kind(&chain, |payment| {
        let signature = payment.sign(&chain, &chain.buyers[1]);
        payment.send(
            &chain,
            &payment.charge(400_000, payment.fee_of(400_000), &signature),
        );
        assert_eq!(payment.state(&chain), state(true, 0, 400_000));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - 400_000, 0, 396_000, 4_000]
        );
        let collector = chain.balance_of(USDC, payment.collector()).expect("balance");
        assert_eq!(collector, 0, "nothing stays with the collector");
    });
}

#[test]
fn an_eip3009_payer_needs_the_whole_signed_amount_even_for_a_smaller_charge() {
    let chain = chain();
    for (method, pays) in [(Method::Eip3009, false), (Method::Permit2, true)] {
        let start = chain.snapshot().expect("snapshot");
        let mut payment = Payment::new(&chain, &AUTH_CAPTURE_V11, method, &chain.buyers[1].address);
        payment.info.max_amount = BUYER_TOKENS + 1;
        let signature = payment.sign(&chain, &chain.buyers[1]);
        let result = payment.eth_call(&chain, &payment.charge(1_000, payment.fee_of(1_000), &signature));
        assert_eq!(result.is_ok(), pays, "{method:?}: {result:?}");
        chain.revert(&start).expect("back to the start");
    }
}

#[test]
fn after_the_capture_deadline_the_payer_reclaims_unless_the_operator_voids() {
    let chain = chain();
    for_every_kind(&chain, |payment| {
        payment.hold(&chain, &chain.buyers[1]);
        payment.send(&chain, &payment.capture(250_000, payment.fee_of(250_000)));
        chain.increase_time(3_600).expect("time");
        chain.mine(1).expect("mine");
        // Void has no deadline: the operator could still be first.
        let void = payment.deployment.void(&payment.info).expect("encodes");
        payment.eth_call(&chain, &void).expect("void works at any time");

        let receipt = chain
            .reclaim(payment.deployment, &payment.info)
            .expect("reclaims");
        assert!(succeeded(&receipt));
        assert_eq!(
            chain.wei_of(&payment.info.payer).expect("wei"),
            0,
            "the gas was lent"
        );
        assert_eq!(payment.state(&chain), state(true, 0, 250_000));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - 250_000, 0, 247_500, 2_500]
        );
    });
}

#[test]
fn a_refund_is_paid_by_the_operators_allowance() {
    let chain = chain();
    for_every_kind(&chain, |payment| {
        let signature = payment.sign(&chain, &chain.buyers[1]);
        payment.send(&chain, &payment.charge(UNITS, payment.fee_of(UNITS), &signature));
        let (operator, collector) = (
            &payment.info.operator,
            payment.deployment.operator_refund_collector,
        );
        let refund = payment
            .deployment
            .refund(&payment.info, 600_000)
            .expect("encodes");

        let refused = refusal(payment.eth_call(&chain, &refund));
        assert!(refused.contains("exceeds allowance"), "{refused}");
        chain
            .set_allowance(USDC, operator, collector, 600_000)
            .expect("allowance");
        let refused = refusal(payment.eth_call(&chain, &refund));
        assert!(refused.contains("exceeds balance"), "{refused}");
        chain.mint(USDC, operator, UNITS).expect("mint");
        payment.send(&chain, &refund);

        assert_eq!(payment.state(&chain), state(true, 0, 400_000));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - 400_000, 0, 990_000, 10_000]
        );
        assert_eq!(chain.balance_of(USDC, operator).expect("balance"), 400_000);
        assert_eq!(chain.allowance(USDC, operator, collector).expect("allowance"), 0);
    });
}

#[test]
fn a_token_store_holds_money_before_it_has_code() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let payment = Payment::new(&chain, deployment, Method::Eip3009, &chain.buyers[1].address);
        let store = chain
            .token_store(deployment, &payment.info.operator)
            .expect("store");
        let code = || {
            let code = chain
                .rpc()
                .call("eth_getCode", serde_json::json!([store, "latest"]));
            common::text(&code.expect("code")).to_owned()
        };
        payment.hold(&chain, &chain.buyers[1]);
        assert_eq!(code(), "0x");
        assert_eq!(chain.balance_of(USDC, &store).expect("balance"), UNITS);

        let receipt = payment.send(&chain, &payment.capture(1_000, payment.fee_of(1_000)));
        let created = "0xd8699a107a4fe8ea740423e52159bafb235249dce5c2df55fa265db06964d136";
        let logs = logs_of(&receipt);
        let (_, topics, data) = logs
            .iter()
            .find(|(_, topics, _)| topics[0] == created)
            .expect("created");
        let operator = payment.info.operator.trim_start_matches("0x").to_lowercase();
        assert_eq!(topics[1], format!("0x{operator:0>64}"));
        assert!(data.ends_with(store.trim_start_matches("0x")), "{data}");
        // A minimal clone (EIP-1167) of the deployment's implementation.
        let implementation = deployment.token_store.trim_start_matches("0x").to_lowercase();
        assert_eq!(
            code(),
            format!("0x363d3d373d3d3d363d73{implementation}5af43d82803e903d91602b57fd5bf3")
        );
        let again = payment.send(&chain, &payment.capture(1_000, payment.fee_of(1_000)));
        assert!(logs_of(&again).iter().all(|(_, topics, _)| topics[0] != created));
    }
}

#[test]
fn a_pre_approved_payment_needs_no_signature_and_an_allowance() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let start = chain.snapshot().expect("snapshot");
        let payment = Payment::new(&chain, deployment, Method::Eip3009, &chain.buyers[0].address);
        let collector = deployment.pre_approval_collector;
        let authorize = deployment
            .authorize(&payment.info, UNITS, collector, &[])
            .expect("encodes");
        let refused = revert_data(payment.eth_call(&chain, &authorize));
        assert!(
            refused.starts_with("0xa8334d15"),
            "PaymentNotPreApproved, not {refused}"
        );

        let receipt = chain.pre_approve(deployment, &payment.info).expect("approves");
        let approved = "0x648e07873d502d2121c8e8dfb7efab466b43a83ef86ada8626ae88cf568becde";
        assert_eq!(
            logs_of(&receipt)[0].1,
            [approved.to_owned(), payment.hash(&chain)]
        );
        chain
            .set_allowance(USDC, &payment.info.payer, collector, UNITS)
            .expect("allowance");
        payment.send(&chain, &authorize);
        assert_eq!(payment.state(&chain), state(true, UNITS, 0));
        assert_eq!(payment.balances(&chain), [BUYER_TOKENS - UNITS, UNITS, 0, 0]);
        chain.revert(&start).expect("back to the start");
    }
}

#[test]
fn a_deployed_wallet_pays_with_and_without_a_wrapper() {
    let chain = chain();
    let factory = chain.artifact("WalletFactory").expect("artefact");
    let args = [
        Arg::address(&chain.buyers[1].address).expect("address"),
        Arg::Word([9; 32]),
    ];
    let create = factory.call("create(address,bytes32)", &args).expect("encodes");
    for_every_kind(&chain, |mut payment| {
        payment.info.payer = WALLET.to_owned();
        let plain = payment.sign(&chain, &chain.buyers[1]);
        // The wrapped call runs although this payer has code; also one that fails stops nothing.
        let noisy = wrapped(WALLET_FACTORY, &create, &plain);
        let failing = wrapped(USDC, "0xdeadbeef", &plain);
        for signature in [&plain, &noisy, &failing] {
            payment
                .eth_call(&chain, &payment.authorize(UNITS, signature))
                .expect("the wallet pays");
        }
        payment.send(&chain, &payment.authorize(UNITS, &noisy));
        assert_eq!(payment.balances(&chain), [BUYER_TOKENS - UNITS, UNITS, 0, 0]);
    });
}

#[test]
fn a_counterfactual_wallet_is_deployed_by_its_own_payment() {
    let chain = chain();
    let owner = chain.buyers[2].clone();
    let factory = chain.artifact("WalletFactory").expect("artefact");
    let args = [Arg::address(&owner.address).expect("address"), Arg::Word([3; 32])];
    let create = factory.call("create(address,bytes32)", &args).expect("encodes");
    let wallet_of = factory.call("walletOf(address,bytes32)", &args).expect("encodes");
    let answer = chain
        .rpc()
        .eth_call(None, WALLET_FACTORY, &wallet_of)
        .expect("predicts");
    let wallet = format!("0x{}", hex::encode(&answer[12..]));
    for_every_kind(&chain, |mut payment| {
        payment.info.payer = wallet.clone();
        chain.mint(USDC, &wallet, UNITS).expect("mint");
        let inner = payment.sign(&chain, &owner);
        let signature = wrapped(WALLET_FACTORY, &create, &inner);
        payment
            .eth_call(&chain, &payment.authorize(UNITS, &inner))
            .expect_err("there is no code yet");
        payment.send(&chain, &payment.authorize(UNITS, &signature));
        assert_eq!(payment.state(&chain), state(true, UNITS, 0));
        let [payer, store, ..] = payment.balances(&chain);
        assert_eq!((payer, store), (0, UNITS));
        let code = chain
            .rpc()
            .call("eth_getCode", serde_json::json!([wallet, "latest"]));
        assert_ne!(code.expect("code"), "0x");
    });
}

#[test]
fn without_terms_no_fee_is_possible_and_a_range_is_the_operators_choice() {
    let chain = chain();
    for_every_kind(&chain, |mut payment| {
        let range = payment.clone();
        // No fee: receiver zero, bounds zero.
        payment.info.min_fee_bps = 0;
        payment.info.max_fee_bps = 0;
        payment.info.fee_receiver = NOBODY.to_owned();
        let signature = payment.sign(&chain, &chain.buyers[1]);
        payment.send(&chain, &payment.charge(UNITS, 0, &signature));
        assert_eq!(payment.balances(&chain), [BUYER_TOKENS - UNITS, 0, UNITS, 0]);

        // The operator may take anything up to the maximum, and send it to whom it likes.
        payment = range;
        payment.info.salt = [8; 32];
        payment.info.min_fee_bps = 0;
        payment.info.fee_receiver = NOBODY.to_owned();
        payment.hold(&chain, &chain.buyers[1]);
        let most = payment.fee_of(UNITS);
        let capture = payment
            .deployment
            .capture(&payment.info, UNITS, most, FEE_RECEIVER);
        payment.send(&chain, &capture.expect("encodes"));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - 2 * UNITS, 0, UNITS + 990_000, 10_000]
        );
    });
}

#[test]
fn a_permit2_payer_without_allowance_pays_nothing() {
    let chain = chain();
    for deployment in DEPLOYMENTS {
        let payment = Payment::new(&chain, deployment, Method::Permit2, &chain.buyers[1].address);
        let authorize = payment.authorize(UNITS, &payment.sign(&chain, &chain.buyers[1]));
        payment
            .eth_call(&chain, &authorize)
            .expect("with the allowance it pays");
        chain
            .set_allowance(USDC, &payment.info.payer, PERMIT2, UNITS - 1)
            .expect("allowance");
        let refused = refusal(payment.eth_call(&chain, &authorize));
        assert!(refused.contains("TRANSFER_FROM_FAILED"), "{refused}");
    }
}

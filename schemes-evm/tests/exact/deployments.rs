//! Wallets that do not exist yet (ERC-6492): deployed in the transaction of their transfer, or not at all.

use alloy_primitives::{Address, Bytes, address, hex};
use alloy_sol_types::{SolCall, SolValue};
use schemes_evm::abi::AuthorizedToken::transferWithAuthorization_1Call as TransferCall;
use schemes_evm::abi::{MULTICALL3, Multicall};
use schemes_evm::deployment::MAX_FACTORY_CALLDATA_BYTES;
use sdk_plugin::chain::Shown;
use sdk_plugin::host::RpcResult;
use sdk_plugin::request::{ProtocolVersion, Purpose};
use sdk_plugin::scheme::{Judgement, Plan};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{FaultKind, PaymentRequest, SchemeHandler, Value};
use serde_json::json;

use crate::judge::{OTHER_NONCE, evidence, exact_logs, moved, used};
use crate::world::{
    ASSET, Chain, FACILITATOR, NONCE, OTHER, Offer, PAYEE, PAYER, Token, World, good, hex_result, magic,
    revert,
};

const FACTORY: Address = address!("0x64920000000000000000000000000000000000fa");
const CREATE: [u8; 4] = hex!("3ffba36f");
const NOT_ALLOWED: &str = "eip6492_factory_not_allowed";
const SIGNATURE: &str = "invalid_exact_evm_signature";
const SIMULATION: &str = "invalid_exact_evm_transaction_simulation_failed";
const DEPLOYMENT: &str = "smart_wallet_deployment_failed";
/// A signature in the wallet's own form.
const INNER: [u8; 130] = [7; 130];

fn options() -> Value {
    json!({ "wallet_factories": { FACTORY.to_string(): ["0x3ffba36f"] } })
}

fn wrap(factory: Address, calldata: &[u8], inner: &[u8]) -> Vec<u8> {
    let parts = (
        factory,
        Bytes::copy_from_slice(calldata),
        Bytes::copy_from_slice(inner),
    );
    let mut wrapped = parts.abi_encode_params();
    wrapped.extend([0x64, 0x92].repeat(16));
    wrapped
}

fn calldata() -> Vec<u8> {
    [&CREATE[..], &[1; 64]].concat()
}

fn wrapped() -> PaymentRequest {
    Offer::default().with_signature(&wrap(FACTORY, &calldata(), &INNER))
}

/// What Multicall3 answers to the two calls: whether each worked.
fn rehearsal(deployed: bool, transferred: bool) -> RpcResult {
    let outcome = |success: bool| Multicall::Outcome {
        success,
        returnData: if success { Bytes::new() } else { refusal_data() },
    };
    hex_result(&vec![outcome(deployed), outcome(transferred)].abi_encode())
}

fn refusal_data() -> Bytes {
    use alloy_sol_types::{Revert, SolError};
    Revert::from("FiatTokenV2: invalid signature").abi_encode().into()
}

/// A chain on which the factory may deploy, and the transfer works after it.
fn world(change: impl FnOnce(&mut Chain)) -> World {
    let mut world = World::with(|chain| {
        chain.rehearsal = rehearsal(true, true);
        chain.simulation = revert("the wallet does not exist");
        change(chain);
    });
    world.options = options();
    world
}

fn plan() -> Plan {
    world(|_| {}).plan(&wrapped()).expect("a plan")
}

#[test]
fn t28_a_wallet_is_deployed_and_pays_in_one_transaction() {
    let world = world(|_| {});
    assert_eq!(world.verify(&wrapped()).as_deref(), Ok(PAYER));
    let plan = world.plan(&wrapped()).expect("a plan");
    let [step] = plan.steps.as_slice() else {
        panic!("one step")
    };
    assert_eq!(step.call.target, MULTICALL3.to_string().to_lowercase());
    assert_eq!(step.call.operation, "0x82ad56cb");
    assert!(step.call.native_value.is_zero());
    let calls = Multicall::aggregate3Call::abi_decode(step.call.data.as_ref())
        .expect("decodes")
        .calls;
    let [deployment, transfer] = calls.as_slice() else {
        panic!("two calls")
    };
    // The wallet may exist by then; without the transfer nothing is paid for.
    assert_eq!((deployment.target, deployment.allowFailure), (FACTORY, true));
    assert_eq!(deployment.callData, calldata());
    assert_eq!(
        (
            transfer.target.to_string().to_lowercase().as_str(),
            transfer.allowFailure
        ),
        (ASSET, false)
    );
    let transfer = TransferCall::abi_decode(&transfer.callData).expect("the overload with bytes");
    assert_eq!(transfer.signature.as_ref(), INNER);
    // Guard and evidence are those of every EIP-3009 payment, and no batch runs a payer's code.
    let plain = World::new().plan(&good()).expect("a plan");
    assert_eq!(step.evidence, plain.steps[0].evidence);
    assert!(!step.batchable && step.pays);
    assert_eq!(plan.reserves, plain.reserves);
}

#[test]
fn the_deployment_is_simulated_as_it_is_sent_at_the_price_of_gas() {
    let world = world(|_| {});
    let plan = world.plan(&wrapped()).expect("a plan");
    let cold = world.batches();
    let methods = |batch: &[sdk_plugin::host::RpcCall]| -> Vec<String> {
        batch.iter().map(|call| call.method.clone()).collect()
    };
    assert_eq!(methods(&cold[0]), ["eth_getCode"], "whether the wallet exists");
    let estimated = cold
        .iter()
        .flatten()
        .filter(|call| call.method == "eth_estimateGas")
        .collect::<Vec<_>>();
    assert_eq!(estimated.len(), 2, "without a price, and at one");
    for call in &estimated {
        assert_eq!(call.params[0]["from"], json!(FACILITATOR));
        assert_eq!(call.params[0]["data"], json!(plan.steps[0].call.data.to_string()));
        assert_eq!(call.params[0]["gas"], json!("0x155cc0"), "400,000 and 1,000,000");
    }
    assert_eq!(estimated[1].params[0]["gasPrice"], json!("0x3b9aca00"));
    // Once the price is known: the code, and everything else.
    world.plan(&wrapped()).expect("a plan");
    world.verify(&wrapped()).expect("valid");
    assert_eq!(world.batches().len() - cold.len(), 4);
}

#[test]
fn t28_a_factory_call_that_is_not_allowed_is_refused() {
    let token: Address = ASSET.parse().expect("an address");
    let transfer = [&hex!("a9059cbb")[..], &[0; 64]].concat();
    let other_function = [&hex!("12345678")[..], &[0; 64]].concat();
    let too_long = [&CREATE[..], &vec![0; MAX_FACTORY_CALLDATA_BYTES]].concat();
    for (factory, calldata, named) in [
        (token, &transfer, "wallet_factories"),
        (MULTICALL3, &transfer, "wallet_factories"),
        (FACTORY, &other_function, "selector"),
        (FACTORY, &CREATE[..3].to_vec(), "selector"),
        (FACTORY, &too_long, "at most 8192"),
    ] {
        let request = Offer::default().with_signature(&wrap(factory, calldata, &INNER));
        let world = world(|_| {});
        assert_eq!(world.refused(&request), NOT_ALLOWED, "{named}");
        let refusal = world.verify(&request).expect_err("refused");
        assert!(refusal.message.unwrap_or_default().contains(named), "{named}");
    }
    // Without a list no factory is allowed.
    let mut world = world(|_| {});
    world.options = Value::Null;
    assert_eq!(world.refused(&wrapped()), NOT_ALLOWED);
}

#[test]
fn a_wrapper_that_can_not_be_opened_is_an_invalid_signature() {
    let mut broken = wrap(FACTORY, &calldata(), &INNER);
    broken.drain(..64);
    for bytes in [broken, [0x64, 0x92].repeat(16)] {
        let world = world(|_| {});
        let request = Offer::default().with_signature(&bytes);
        assert_eq!(world.refused(&request), SIGNATURE);
        assert!(world.batches().is_empty(), "nothing is read for it");
    }
    // Nothing to call: the inner signature must be an account's.
    for (factory, calldata) in [(Address::ZERO, calldata()), (FACTORY, Vec::new())] {
        let request = Offer::default().with_signature(&wrap(factory, &calldata, &INNER));
        assert_eq!(world(|_| {}).refused(&request), SIGNATURE);
    }
}

#[test]
fn t28_a_bad_signature_pays_for_no_deployment() {
    let refusing = || world(|chain| chain.rehearsal = rehearsal(true, false));
    assert_eq!(refusing().refused(&wrapped()), SIMULATION);
    let refusal = refusing().verify(&wrapped()).expect_err("refused");
    assert_eq!(refusal.message.as_deref(), Some("FiatTokenV2: invalid signature"));
    // The diagnosis names what else is wrong, in its order.
    let world = world(|chain| {
        chain.rehearsal = rehearsal(false, false);
        chain.diagnosis = Token {
            balance: Some(9_999),
            ..Token::default()
        }
        .answer();
    });
    assert_eq!(
        world.refused(&wrapped()),
        "invalid_exact_evm_insufficient_balance"
    );
}

#[test]
fn a_deployment_that_fails_is_named_at_settle_only() {
    let failing = || world(|chain| chain.rehearsal = rehearsal(false, false));
    assert_eq!(failing().refused(&wrapped()), DEPLOYMENT);
    let verify = PaymentRequest {
        purpose: Purpose::Verify,
        ..wrapped()
    };
    assert_eq!(failing().verify(&verify).expect_err("refused").reason, SIMULATION);
    // Another sender deployed the wallet meanwhile: the factory fails, and the transfer counts.
    let world = world(|chain| chain.rehearsal = rehearsal(false, true));
    assert!(world.verify(&wrapped()).is_ok() && world.plan(&wrapped()).is_ok());
    // No Multicall3 on this network: its address answers every call with nothing.
    let world = self::world(|chain| chain.rehearsal = hex_result(&[]));
    assert_eq!(world.refused(&wrapped()), SIMULATION);
}

#[test]
fn a_wallet_that_exists_decides_itself_and_is_never_deployed() {
    for options in [options(), Value::Null] {
        let exists = |answer: RpcResult| {
            let mut world = World::with(|chain| {
                chain.payer_code = hex_result(&[0x60]);
                chain.wallet = answer;
                chain.rehearsal = revert("never called");
            });
            world.options = options.clone();
            world
        };
        let plan = exists(magic()).plan(&wrapped()).expect("a plan");
        assert_eq!(plan.steps[0].call.target, ASSET);
        assert_eq!(plan.steps[0].call.operation, "0xcf092995");
        assert!(!plan.steps[0].batchable, "a wallet pays alone");
        assert_eq!(exists(hex_result(&[0; 32])).refused(&wrapped()), SIGNATURE);
    }
}

#[test]
fn an_account_in_a_wrapper_signs_for_itself() {
    let signed = good();
    let signature = hex::decode(signed.payload["signature"].as_str().expect("hex")).expect("hex");
    let request = Offer::default().with_signature(&wrap(FACTORY, &calldata(), &signature));
    let mut world = World::with(|chain| chain.rehearsal = revert("never called"));
    world.options = options();
    let plan = world.plan(&request).expect("a plan");
    assert_eq!(
        plan.steps[0].call.target, ASSET,
        "nothing is deployed for an account"
    );
    world.options = Value::Null;
    assert_eq!(
        world.refused(&request),
        NOT_ALLOWED,
        "the order of the specification"
    );
}

#[test]
fn the_factory_is_checked_before_the_terms_and_the_terms_before_the_simulation() {
    for version in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let offer = Offer {
            version,
            to: OTHER,
            ..Offer::default()
        };
        let request = offer.with_signature(&wrap(FACTORY, &calldata(), &INNER));
        let mut world = world(|chain| chain.rehearsal = revert("never called"));
        assert_eq!(world.refused(&request), "invalid_exact_evm_recipient_mismatch");
        world.options = Value::Null;
        assert_eq!(world.refused(&request), NOT_ALLOWED);
    }
}

#[test]
fn a_deployment_has_gas_of_its_own_and_a_ceiling() {
    let needs = |gas: u64| world(|chain| chain.estimate = RpcResult::Ok(json!(format!("{gas:#x}"))));
    let plan = needs(1_000_000).plan(&wrapped()).expect("a plan");
    assert_eq!(plan.steps[0].call.compute_limit, Some(1_250_000));
    let plan = needs(1_400_000).plan(&wrapped()).expect("a plan");
    assert_eq!(plan.steps[0].call.compute_limit, Some(1_400_000));
    assert_eq!(
        needs(1_400_001).plan(&wrapped()).expect_err("refused").reason,
        SIMULATION
    );
    let mut world = needs(500_001);
    world.options["deployment_gas"] = json!(100_000);
    assert_eq!(world.plan(&wrapped()).expect_err("refused").reason, SIMULATION);
}

#[test]
fn a_node_that_does_not_answer_refuses_nobody() {
    for trip in 0..3 {
        let world = world(|_| {});
        let cx = world.cx_failing_at(trip);
        let verdict = block_on(world.exact.verify(&cx, &wrapped()));
        let fault = verdict.expect_err("no answer");
        assert_eq!(fault.kind, FaultKind::Unavailable, "trip {trip}");
    }
}

#[test]
fn t28_what_a_deployments_own_transfers_leave_open_is_not_decided() {
    let plan = plan();
    let judge = |logs| {
        let world = World::new();
        let shown = Shown::Landed { height: 110 };
        block_on(
            world
                .exact
                .judge(&world.cx(), &plan, &evidence(shown, logs, vec![])),
        )
        .expect("no fault")
    };
    assert!(matches!(judge(exact_logs()), Judgement::Paid(_)));
    let transfer_first = vec![
        moved(3, ASSET, PAYER, PAYEE, 10_000),
        used(4, ASSET, PAYER, NONCE),
    ];
    assert!(matches!(judge(transfer_first), Judgement::Paid(_)));
    // The wallet's code used the nonce for another payee, on a token that does not revert, and moved tokens to ours.
    let open = vec![
        moved(2, ASSET, PAYER, PAYEE, 10_000),
        used(3, ASSET, PAYER, NONCE),
        moved(4, ASSET, PAYER, OTHER, 10_000),
    ];
    assert!(matches!(judge(open), Judgement::Unproven { .. }));
    let elsewhere = vec![
        used(3, ASSET, PAYER, NONCE),
        moved(4, ASSET, PAYER, OTHER, 10_000),
    ];
    assert!(matches!(judge(elsewhere), Judgement::NotPaid(_)));
    // A second authorization of the wallet in the same transaction proves nothing for this one.
    let other = vec![
        used(2, ASSET, PAYER, OTHER_NONCE),
        moved(3, ASSET, PAYER, PAYEE, 10_000),
        used(4, ASSET, PAYER, NONCE),
        moved(5, ASSET, PAYER, OTHER, 10_000),
    ];
    assert!(!matches!(judge(other), Judgement::Paid(_)));
    // Nothing remains of a deployment whose transfer fails.
    let reverted = Shown::Reverted {
        height: 110,
        message: Some("Multicall3: call failed".into()),
    };
    let world = World::new();
    let judged = block_on(
        world
            .exact
            .judge(&world.cx(), &plan, &evidence(reverted, vec![], vec![])),
    );
    let Ok(Judgement::NotPaid(refusal)) = judged else {
        panic!("{judged:?}")
    };
    assert_eq!(refusal.reason, "invalid_exact_evm_transaction_failed");
}

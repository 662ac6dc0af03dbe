//! The contents of a plan.

use alloy_primitives::U256;
use schemes_evm::abi::{PERMIT2, TRANSFER_TOPIC};
use schemes_evm::builder_code::OwnCodes;
use schemes_evm::exact::{Config, ExactEvm};
use schemes_evm::permit2::{EXTENSION, Proxy};
use schemes_evm::upto::UptoEvm;
use sdk_plugin::PaymentRequest;
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::{Gate, LaneChoice, OnFail, ReadAt, Reserve, Verdict};
use serde_json::json;

use crate::world::{ASSET, BOTH, Chain, PAYER, World, good, sponsored, word_result};

#[test]
fn a_plan_is_one_call_of_the_proxy_with_its_proof_and_reserve() {
    for proxy in BOTH {
        let world = World::new(proxy);
        let plan = world.plan(&good(proxy)).expect("a plan");
        assert_eq!(plan.payer, PAYER);
        assert!(plan.writes.is_empty() && plan.jobs.is_empty());
        let [step] = plan.steps.as_slice() else {
            panic!("one step")
        };
        assert_eq!(step.call.target, proxy.address().to_string().to_lowercase());
        let operations = proxy
            .selectors()
            .map(|selector| format!("0x{}", hex::encode(selector)));
        assert_eq!(step.call.operation, operations[0]);
        assert!(step.call.native_value.is_zero());
        assert_eq!(step.call.compute_limit, Some(90_000 + 22_500));
        assert_eq!((step.gate, step.on_fail), (Gate::None, OnFail::Stop));
        assert!(step.pays && step.one_per_payer, "no log has the nonce");
        assert_eq!(
            step.batchable,
            proxy == Proxy::Exact,
            "the proxy of upto takes one caller"
        );
        assert_eq!(step.expires_at_s, Some(4_102_444_800));

        // Whatever uses up the nonce: a transfer from the payer, or a cancellation.
        assert_eq!(step.evidence.foreign, step.evidence.logs);
        let [transfers, cancellations] = step.evidence.logs.as_slice() else {
            panic!("two filters")
        };
        assert_eq!(transfers.emitter, ASSET);
        let topics = json!(transfers.topics);
        assert_eq!(topics[0], json!(TRANSFER_TOPIC.to_string()));
        assert!(
            topics[1]
                .as_str()
                .is_some_and(|payer| payer.ends_with(&PAYER.to_lowercase()[2..]))
        );
        assert_eq!(topics.as_array().map(Vec::len), Some(2));
        assert_eq!(cancellations.emitter, PERMIT2.to_string().to_lowercase());
        assert_eq!(
            plan.reserves,
            [Reserve {
                asset: ASSET.into(),
                payer: PAYER.to_lowercase(),
                amount: 10_000u64.into(),
                available: 50_000u64.into(),
                as_of_height: 100,
                refusal_reason: "permit2_insufficient_balance".into(),
            }]
        );
        let reserves = |request: &PaymentRequest| match World::new(proxy).try_verify(request) {
            Ok(Verdict::Valid(valid)) => valid.reserves,
            other => panic!("{other:?}"),
        };
        let promised = PaymentRequest {
            wants_reserves: true,
            ..good(proxy)
        };
        assert_eq!(reserves(&promised).as_ref(), Some(&plan.reserves));
        assert_eq!(reserves(&good(proxy)), None);
        // What is sent is tried at a price, which is read once.
        let batches = world.batches();
        let [_, at_price] = batches.as_slice() else {
            panic!("two batches: {batches:?}")
        };
        let mut estimates = at_price.iter().filter(|call| call.method == "eth_estimateGas");
        assert_eq!(
            estimates.next().expect("an estimate").params[0]["gasPrice"],
            json!("0x3b9aca00")
        );
        world.plan(&good(proxy)).expect("a plan");
        assert_eq!(world.batches().len(), 3, "the price is remembered");
    }
    let exact = World::new(Proxy::Exact)
        .plan(&good(Proxy::Exact))
        .expect("a plan");
    assert_eq!(exact.steps[0].lane, LaneChoice::Any);
    assert!(exact.holds.is_empty());
}

#[test]
fn the_guard_is_the_nonces_bit() {
    let plan = World::new(Proxy::Exact)
        .plan(&good(Proxy::Exact))
        .expect("a plan");
    let guard = plan.steps[0].evidence.guard.as_ref().expect("a guard");
    assert_eq!(guard.read.target, PERMIT2.to_string().to_lowercase());
    assert_eq!(guard.read.at, ReadAt::Block);
    // Nonce 263: word 1, bit 7.
    let call = format!("0x4fe02b44{:0>64}{:064x}", &PAYER.to_lowercase()[2..], 1);
    assert_eq!(guard.read.data.to_string(), call);
    let word = |word: U256| word.to_be_bytes::<32>();
    let bit: U256 = U256::ONE << 7;
    assert_eq!(guard.is_unchanged(&word(!bit)), Some(true));
    assert_eq!(guard.is_unchanged(&word(bit)), Some(false));
    assert_eq!(guard.is_unchanged(&[]), None);
}

#[test]
fn t40_more_gas_than_allowed_is_refused() {
    let chain = Chain {
        estimate: RpcResult::Ok(json!("0x61a81")),
        ..Chain::default()
    };
    for proxy in BOTH {
        assert_eq!(
            World::on(proxy, chain.clone()).not_planned(&good(proxy)),
            "permit2_simulation_failed"
        );
    }
}

#[test]
fn a_payer_with_too_little_is_refused_whatever_the_simulation_says() {
    let chain = Chain {
        balance: word_result(9_999),
        ..Chain::default()
    };
    for proxy in BOTH {
        assert_eq!(
            World::on(proxy, chain.clone()).not_planned(&good(proxy)),
            "permit2_insufficient_balance"
        );
    }
}

#[test]
fn builder_codes_are_sent_and_simulated_as_they_are_sent() {
    let suffix = "a1617765666163696c00090280218021802180218021802180218021";
    for proxy in BOTH {
        let plain = World::new(proxy).plan(&good(proxy)).expect("a plan").steps[0]
            .call
            .data
            .to_string();
        let config = Config {
            builder_code: OwnCodes {
                facilitator: Some("facil".into()),
                service: None,
            },
            ..Config::default()
        };
        let mut world = World::new(proxy);
        world.scheme = match proxy {
            Proxy::Exact => Box::new(ExactEvm::new(config)),
            Proxy::Upto => Box::new(UptoEvm::new(config)),
        };
        let sent = world.plan(&good(proxy)).expect("a plan").steps[0]
            .call
            .data
            .to_string();
        assert_eq!(sent, format!("{plain}{suffix}"), "{proxy:?}");
        let simulated: Vec<String> = world
            .batches()
            .into_iter()
            .flatten()
            .filter(|call| call.method == "eth_estimateGas")
            .map(|call| call.params[0]["data"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert!(!simulated.is_empty() && simulated.iter().all(|data| *data == sent));
        world.check();
        let supported = world.supported().expect("no fault");
        assert_eq!(supported.extensions, [EXTENSION, "builder-code"], "{proxy:?}");
    }
}

/// Nothing that others wrote runs in a transaction with other payments.
#[test]
fn only_plain_payments_of_accounts_in_listed_assets_share_a_transaction() {
    let is_batchable =
        |world: World, request: &PaymentRequest| world.plan(request).expect("a plan").steps[0].batchable;
    let exact = Proxy::Exact;
    assert!(is_batchable(World::new(exact), &good(exact)));
    let any_asset = World::new(exact).allowing(None);
    assert!(!is_batchable(any_asset, &good(exact)), "it is not listed");
    let wallet = World::on(exact, Chain::of_wallet());
    assert!(!is_batchable(wallet, &good(exact)), "a wallet runs code");
    assert!(
        !is_batchable(World::new(exact), &sponsored(exact)),
        "the token's permit comes first"
    );
}

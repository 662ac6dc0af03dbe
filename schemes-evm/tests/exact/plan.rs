//! The contents of a plan.

use schemes_evm::abi::{AUTHORIZATION_CANCELED_TOPIC, AUTHORIZATION_USED_TOPIC};
use sdk_plugin::chain::GuardState;
use sdk_plugin::host::RpcError;
use sdk_plugin::request::{ProtocolVersion, Purpose};
use sdk_plugin::scheme::{
    Gate, Judgement, LaneChoice, LogFilter, OnFail, Plan, Planned, ReadAt, Reserve, Verdict,
};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{PaymentRequest, SchemeHandler, Value};
use serde_json::json;

use crate::judge::{evidence, reverted};
use crate::world::{
    ASSET, Chain, FACILITATOR, NONCE, Offer, PAYER, World, good, internal_error, revert, word_result,
};

#[test]
fn only_assets_that_the_operator_lists_share_transactions() {
    let is_batchable = |world: World| world.plan(&good()).expect("a plan").steps[0].batchable;
    let any_asset = || World::new().allowing(None);
    assert!(!is_batchable(any_asset()), "it is not listed");
    let mut described = any_asset();
    described.options = json!({ "tokens": { ASSET: { "decimals": 6 } } });
    assert!(is_batchable(described));
    assert!(is_batchable(World::new()));
}

#[test]
fn a_plan_is_one_step_with_its_proof_and_reserve() {
    let world = World::new();
    let plan = world.plan(&good()).expect("a plan");
    assert_eq!(plan.payer, PAYER);
    assert!(plan.holds.is_empty() && plan.writes.is_empty());
    let [step] = plan.steps.as_slice() else {
        panic!("one step")
    };
    assert_eq!(step.call.target, ASSET);
    assert_eq!(step.call.operation, "0xe3ee160e");
    assert!(step.call.native_value.is_zero());
    assert_eq!(step.call.compute_limit, Some(90_000 + 22_500));
    assert_eq!(
        (&step.lane, step.gate, step.on_fail),
        (&LaneChoice::Any, Gate::None, OnFail::Stop)
    );
    assert!(step.pays && step.batchable);
    assert_eq!(step.expires_at_s, Some(4_102_444_800));
    assert_eq!(step.max_cost, None);
    // Whatever uses up the nonce is found by payer and nonce: a use, and a cancellation.
    let [used, canceled] = step.evidence.foreign.as_slice() else {
        panic!("two filters")
    };
    let topic = |filter: &LogFilter, at: usize| filter.topics[at].as_ref().map(ToString::to_string);
    for (filter, event) in [
        (used, AUTHORIZATION_USED_TOPIC),
        (canceled, AUTHORIZATION_CANCELED_TOPIC),
    ] {
        assert_eq!(filter.emitter, ASSET);
        assert_eq!(topic(filter, 0), Some(event.to_string()));
        assert_eq!(topic(filter, 2).as_deref(), Some(NONCE));
    }
    assert!(step.evidence.logs.contains(canceled), "judge must see it");
    assert_eq!(
        plan.reserves,
        [Reserve {
            asset: ASSET.into(),
            payer: PAYER.to_lowercase(),
            amount: 10_000u64.into(),
            available: 50_000u64.into(),
            as_of_height: 100,
            refusal_reason: "invalid_exact_evm_insufficient_balance".into(),
        }]
    );
    // A verify for a seller who wants a promise reports the same, and its balance is read in the same round trip.
    let promised = PaymentRequest {
        wants_reserves: true,
        purpose: Purpose::Verify,
        ..good()
    };
    let other = World::new();
    let reserves = |request: &PaymentRequest| match other.try_verify(request) {
        Ok(Verdict::Valid(valid)) => valid.reserves,
        other => panic!("{other:?}"),
    };
    assert_eq!(reserves(&promised).as_ref(), Some(&plan.reserves));
    assert_eq!(other.batches().len(), 1);
    assert_eq!(reserves(&good()), None, "without a promise no balance is read");
    let batches = world.batches();
    let [first, at_price] = batches.as_slice() else {
        panic!("two batches: {batches:?}")
    };
    let methods: Vec<_> = first.iter().map(|call| call.method.as_str()).collect();
    assert_eq!(
        methods,
        [
            "eth_getCode",
            "eth_getCode",
            "eth_blockNumber",
            "eth_call",
            "eth_estimateGas",
            "eth_call",
            "eth_gasPrice"
        ],
        "the height is read before the balance"
    );
    // What is sent is tried from the account that sends it, at a price.
    let estimate = at_price.iter().find(|call| call.method == "eth_estimateGas");
    let estimate = &estimate.expect("an estimate").params[0];
    assert_eq!(
        (&estimate["from"], &estimate["gasPrice"]),
        (&json!(FACILITATOR), &json!("0x3b9aca00"))
    );
    world.plan(&good()).expect("a plan");
    assert_eq!(world.batches().len(), 3, "the price is remembered");
}

#[test]
fn the_guard_is_the_authorizations_state() {
    let plan = World::new().plan(&good()).expect("a plan");
    let guard = plan.steps[0].evidence.guard.as_ref().expect("a guard");
    let payer = PAYER.to_lowercase();
    let call = format!("0xe94a0102{:0>64}{}", &payer[2..], &NONCE[2..]);
    assert_eq!(guard.read.target, ASSET);
    assert_eq!(guard.read.data.to_string(), call);
    assert_eq!(guard.read.at, ReadAt::Block);
    let mut word = [0u8; 32];
    assert_eq!(guard.is_unchanged(&word), Some(true));
    word[31] = 1;
    assert_eq!(guard.is_unchanged(&word), Some(false));
    // A token that counts (used 1, cancelled 2), and an answer that is no word.
    word[31] = 2;
    assert_eq!(guard.is_unchanged(&word), Some(false));
    assert_eq!(guard.is_unchanged(&[]), None);
}

#[test]
fn both_versions_plan_the_same() {
    let plan = |version| {
        World::new()
            .plan(
                &Offer {
                    version,
                    ..Offer::default()
                }
                .signed(),
            )
            .expect("a plan")
    };
    assert_eq!(plan(ProtocolVersion::V2), plan(ProtocolVersion::V1));
    assert_eq!(plan(ProtocolVersion::V2), plan(ProtocolVersion::Legacy0));
}

#[test]
fn gas_is_limited() {
    let gas = |estimate: u64| {
        let world = World::with(|chain| {
            chain.estimate = sdk_plugin::host::RpcResult::Ok(json!(format!("{estimate:#x}")));
        });
        world.plan(&good()).map(|plan| plan.steps[0].call.compute_limit)
    };
    assert_eq!(gas(100_000), Ok(Some(125_000)));
    assert_eq!(gas(60_000), Ok(Some(100_672)), "enough for a common transfer");
    assert_eq!(gas(390_000), Ok(Some(400_000)));
    assert_eq!(gas(400_000), Ok(Some(400_000)));
    let refusal = gas(400_001).expect_err("refused");
    assert_eq!(refusal.reason, "invalid_exact_evm_transaction_simulation_failed");
    assert!(
        refusal
            .message
            .is_some_and(|message| message.contains("400001 gas") && message.contains("max_gas is 400000"))
    );
}

#[test]
fn an_estimate_that_no_transfer_can_have_is_replaced_by_the_ceiling_once_the_call_works() {
    let low = |chain: &mut Chain| chain.estimate = sdk_plugin::host::RpcResult::Ok(json!("0x7530"));
    let limit = |plan: Plan| plan.steps[0].call.compute_limit;
    assert_eq!(World::with(low).plan(&good()).map(limit), Ok(Some(400_000)));
    // Another node's estimate is better than the ceiling.
    let (one, other) = (World::with(low), World::new());
    let planned = block_on(one.exact.plan(&one.cx_beside(&other), &good())).expect("no fault");
    let Planned::Plan(plan) = planned else {
        panic!("{planned:?}")
    };
    assert_eq!(limit(plan), Some(112_500));
    // Gas that runs out shows before the send.
    let world = World::with(|chain| {
        low(chain);
        chain.simulation = sdk_plugin::host::RpcResult::Error(RpcError {
            code: -32000,
            message: "out of gas".into(),
            data: Value::Null,
        });
    });
    let refusal = world.plan(&good()).expect_err("refused");
    assert!(
        refusal
            .message
            .is_some_and(|message| message.contains("max_gas is 400000"))
    );
}

#[test]
fn after_a_transfer_ran_out_of_gas_the_assets_transfers_get_max_gas_for_an_hour() {
    let limit = |world: &World| world.plan(&good()).expect("a plan").steps[0].call.compute_limit;
    let judged = |world: &World, message: &str, guard| {
        let mut evidence = evidence(reverted(message), vec![], vec![]);
        evidence.guard = guard;
        let plan = world.plan(&good()).expect("a plan");
        let judgement = block_on(world.exact.judge(&world.cx(), &plan, &evidence)).expect("no fault");
        assert_eq!(
            matches!(judgement, Judgement::NotPaid(_)),
            guard == GuardState::Unchanged
        );
    };
    for message in ["out of gas", "EVM error OutOfGas", "execution reverted", ""] {
        let world = World::new();
        judged(&world, message, GuardState::Unchanged);
        assert_eq!(limit(&world), Some(400_000), "{message:?}");
        world.host.advance_ms(3_600_000);
        assert_eq!(limit(&world), Some(112_500), "{message:?}");
    }
    for (message, guard) in [
        ("Blacklistable: account is blacklisted", GuardState::Unchanged),
        ("out of gas", GuardState::Changed),
    ] {
        let world = World::new();
        judged(&world, message, guard);
        assert_eq!(limit(&world), Some(112_500), "{message:?}");
    }
}

#[test]
fn a_token_without_balances_gets_no_plan() {
    for balance in [
        revert("no balances"),
        sdk_plugin::host::RpcResult::Ok(json!("0x")),
    ] {
        let world = World::with(|chain| chain.balance = balance);
        let refusal = world.plan(&good()).expect_err("refused");
        assert_eq!(refusal.reason, "invalid_exact_evm_transaction_simulation_failed");
    }
    let world = World::with(|chain| chain.balance = internal_error());
    assert!(world.try_plan(&good()).is_err());
    let world = World::with(|chain| chain.balance = word_result(10_000));
    assert_eq!(
        world.plan(&good()).expect("a plan").reserves[0].available,
        10_000u64.into()
    );
}

#[test]
fn an_authorization_for_ever_has_no_end() {
    let mut request = good();
    let max = alloy_primitives::U256::MAX.to_string();
    crate::world::set_authorization(&mut request, "validBefore", json!(max));
    assert_eq!(
        World::new().identify(&request).expect("a key").replayable_until_s,
        None
    );
    let wallet = World::with(|chain| {
        chain.payer_code = crate::world::hex_result(&[1]);
        chain.wallet = crate::world::magic();
    });
    assert_eq!(wallet.plan(&request).expect("a plan").steps[0].expires_at_s, None);
}

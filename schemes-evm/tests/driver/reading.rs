//! check, lane and quote.

use alloy_primitives::Address;
use schemes_evm::abi::{MULTICALL3, PERMIT2};
use schemes_evm::driver::EvmDriver;
use sdk_plugin::chain::{Bid, KeyInfo, Network, NodeFault, Readiness};
use sdk_plugin::host::{RpcResult, Suite};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{ChainDriver, Cx, Fault, FaultKind, HexBytes, Value};
use serde_json::json;

use crate::node::{ASSET, NETWORK, NOW_S, SIGNER, World, hash, lane, node_error, revert};

/// With a `finality` that suits the chain.
fn deep_world() -> World {
    let mut world = World::new();
    world.finality = 64;
    world
}

fn keys() -> Vec<KeyInfo> {
    let key = k256::ecdsa::SigningKey::from_slice(&[0x33; 32]).unwrap();
    vec![KeyInfo {
        name: "main".into(),
        suite: Suite::Secp256k1,
        public_key: HexBytes(key.verifying_key().to_encoded_point(false).as_bytes().to_vec()),
    }]
}

fn network(options: Value, keys: Vec<KeyInfo>) -> Network {
    Network {
        id: NETWORK.into(),
        keys,
        options,
        calls_failed: false,
        brief: false,
    }
}

/// The network with its key and no options.
pub fn network_of_keys() -> Network {
    network(Value::Null, keys())
}

fn check_with(world: &World, options: Value, keys: Vec<KeyInfo>) -> Readiness {
    block_on(world.driver.check(&world.cx(), &network(options, keys))).expect("no fault")
}

/// Through a call that the caller has made.
pub fn check_on(world: &World, cx: &Cx, options: Value) -> Readiness {
    block_on(world.driver.check(cx, &network(options, keys()))).expect("no fault")
}

pub fn try_check(world: &World) -> Result<Readiness, Fault> {
    block_on(world.driver.check(&world.cx(), &network(Value::Null, keys())))
}

/// After calls to the nodes have failed.
fn check_again(world: &World) -> Readiness {
    let network = Network {
        calls_failed: true,
        ..network(Value::Null, keys())
    };
    block_on(world.driver.check(&world.cx(), &network)).expect("no fault")
}

pub fn check(world: &World, options: Value) -> Readiness {
    check_with(world, options, keys())
}

#[test]
fn a_healthy_network_is_ready() {
    let world = deep_world();
    let readiness = check(&world, Value::Null);
    assert_eq!(
        readiness,
        Readiness {
            ready: true,
            why_not: None,
            addresses: [("main".to_owned(), SIGNER.to_owned())].into(),
            ordered: true,
            head_height: 100,
            warnings: vec![],
            node_fault: None,
        }
    );
    assert_eq!(world.trips(), [4, 3]);
}

#[test]
fn t43_another_chain_id_is_not_ready() {
    let world = deep_world();
    world.node().chain_id = 1;
    let readiness = check(&world, Value::Null);
    assert!(!readiness.ready);
    let why = readiness.why_not.expect("a sentence");
    assert!(why.contains("chain id 1") && why.contains(NETWORK), "{why}");
    assert_eq!(readiness.node_fault, Some(NodeFault::WrongChain));
}

#[test]
fn t20_heads_that_are_old_or_of_the_future_stop_the_network_unless_allowed() {
    let at = |head_time_s: u64, options: Value| {
        let world = deep_world();
        world.node().head_time_s = head_time_s;
        let readiness = check(&world, options);
        assert_eq!(readiness.ready, readiness.why_not.is_none());
        let behind = (!readiness.ready).then_some(NodeFault::Behind);
        assert_eq!(readiness.node_fault, behind, "another node may be better");
        for warning in &readiness.warnings {
            assert!(
                !warning.contains("write") && !warning.contains("0 only"),
                "{warning}"
            );
        }
        (readiness.ready, readiness.warnings.len())
    };
    assert_eq!(at(NOW_S - 180, json!({})), (true, 0));
    assert_eq!(at(NOW_S - 181, json!({})), (false, 0));
    assert_eq!(at(NOW_S - 181, json!({"max_head_age_s": 600})), (true, 0));
    assert_eq!(
        at(NOW_S - 181, json!({"max_head_age_s": 0})),
        (true, 1),
        "a chain without regular blocks"
    );
    assert_eq!(at(NOW_S + 5, json!({})), (true, 0));
    assert_eq!(at(NOW_S + 6, json!({})), (false, 0));
    assert_eq!(at(NOW_S + 6, json!({"max_clock_skew_s": 0})), (true, 1));
}

#[test]
fn what_deserves_an_eye_is_a_warning() {
    let world = deep_world();
    world.node().multicall = false;
    world.node().balance = 999_999_999_999_999;
    let readiness = check(&world, Value::Null);
    assert!(readiness.ready);
    let [multicall, balance] = readiness.warnings.as_slice() else {
        panic!("{readiness:?}")
    };
    assert!(multicall.contains("Multicall3"), "{multicall}");
    assert!(
        balance.contains(SIGNER) && balance.contains("999999999999999"),
        "{balance}"
    );
}

#[test]
fn a_depth_that_is_too_small_for_the_chain_is_a_warning() {
    let mut world = deep_world();
    world.finality = 2;
    let readiness = check(&world, Value::Null);
    assert!(readiness.ready);
    let [warning] = readiness.warnings.as_slice() else {
        panic!("{readiness:?}")
    };
    assert!(
        warning.contains("finality = 2 is too small") && warning.contains("write finality = 60 or more"),
        "{warning}"
    );
}

#[test]
fn keys_and_options_that_do_not_fit_are_named() {
    let world = deep_world();
    let mut ed25519 = keys();
    ed25519[0].suite = Suite::Ed25519;
    let mut compressed = keys();
    compressed[0].public_key = HexBytes(vec![2; 33]);
    for wrong in [ed25519, compressed] {
        let why = check_with(&world, Value::Null, wrong)
            .why_not
            .expect("a sentence");
        assert!(why.contains("key main"), "{why}");
    }
    let why = check(&world, json!({"max_fee": 1})).why_not.expect("a sentence");
    assert!(why.contains("max_fee"), "{why}");
}

#[test]
fn a_node_that_does_not_answer_is_a_fault() {
    let world = deep_world();
    world.host.queue_rpc_fault(Fault::unavailable("no node answers"));
    let network = network(Value::Null, keys());
    let fault = block_on(world.driver.check(&world.cx(), &network)).expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::Unavailable);
}

#[test]
fn a_lane_is_read_in_one_round_trip() {
    let world = deep_world();
    let state = block_on(world.driver.lane(&world.cx(), &lane())).expect("no fault");
    assert_eq!((state.next_sequence, state.head_height), (7, 100));
    assert_eq!(state.balance, 5_000_000_000_000_000_000u64.into());
    assert_eq!(world.trips(), [4]);
}

fn quote(world: &World, previous: Option<&Bid>) -> Result<Bid, Fault> {
    block_on(world.driver.quote(&world.cx(), &lane(), previous))
}

fn fees(bid: &Bid) -> Value {
    bid.terms["fees"].clone()
}

#[test]
fn quotes_follow_the_market_and_are_remembered_for_two_seconds() {
    let world = deep_world();
    let bid = quote(&world, None).expect("a bid");
    assert_eq!(bid.head_height, 100);
    let expected = json!({"type": "eip1559", "maxFee": "5002000", "maxPriorityFee": "5000000"});
    assert_eq!(fees(&bid), expected);
    world.node().base_fee = Some(2_000);
    world.host.advance_ms(1_999);
    assert_eq!(fees(&quote(&world, None).expect("a bid")), expected);
    assert_eq!(world.trips().len(), 1);
    world.host.advance_ms(1);
    let later = json!({"type": "eip1559", "maxFee": "5004000", "maxPriorityFee": "5000000"});
    assert_eq!(fees(&quote(&world, None).expect("a bid")), later);
}

#[test]
fn a_replacement_raises_both_fees() {
    let world = deep_world();
    let first = quote(&world, None).expect("a bid");
    let second = quote(&world, Some(&first)).expect("a bid");
    let fee = |bid: &Bid, name: &str| fees(bid)[name].as_str().unwrap().parse::<u64>().unwrap();
    for name in ["maxFee", "maxPriorityFee"] {
        assert!(fee(&second, name) * 8 >= fee(&first, name) * 9, "{name}");
    }
    let alien = Bid {
        terms: json!({"lamports": 1}),
        head_height: 1,
    };
    assert_eq!(
        quote(&world, Some(&alien)).expect_err("a fault").kind,
        FaultKind::Invalid
    );
}

#[test]
fn chains_without_base_fee_and_legacy_options_price_the_old_way() {
    let world = deep_world();
    world.node().base_fee = None;
    let bid = quote(&world, None).expect("a bid");
    assert_eq!(fees(&bid), json!({"type": "legacy", "gasPrice": "1500"}));
    let world = World::with_options(json!({"legacy": true}));
    assert_eq!(
        fees(&quote(&world, None).expect("a bid")),
        json!({"type": "legacy", "gasPrice": "5001000"})
    );
}

#[test]
fn empty_blocks_leave_the_tip_to_the_node_and_the_floor() {
    let world = World::with_options(json!({"min_priority_fee_per_gas_wei": 1}));
    world.node().tips = vec![0; 5];
    let expected = json!({"type": "eip1559", "maxFee": "2500", "maxPriorityFee": "500"});
    assert_eq!(fees(&quote(&world, None).expect("a bid")), expected);
    // One transaction in a quiet hour, and two of them.
    for tips in [
        vec![0, 0, 6_000_000_000, 0, 0],
        vec![6_000_000_000, 0, 0, 0, 6_000_000_000],
    ] {
        let world = World::with_options(json!({"min_priority_fee_per_gas_wei": 1}));
        world.node().tips = tips;
        assert_eq!(fees(&quote(&world, None).expect("a bid")), expected);
    }
}

#[test]
fn t40_a_price_spike_is_refused_by_name() {
    let world = World::with_options(json!({"max_fee_per_gas_wei": "6000000"}));
    assert!(quote(&world, None).is_ok());
    world.host.advance_ms(2_000);
    world.node().base_fee = Some(1_000_000_000);
    let fault = quote(&world, None).expect_err("too expensive");
    assert_eq!(fault.kind, FaultKind::Denied, "nothing is started");
    assert!(fault.message.contains("max_fee_per_gas_wei (6000000)"), "{fault}");
}

#[test]
fn t41_the_data_fee_of_rollups_is_part_of_the_bid() {
    let world = deep_world();
    world.node().l1_fee = RpcResult::Ok(json!(format!("0x{:064x}", 12_345)));
    assert_eq!(
        quote(&world, None).expect("a bid").terms["l1FeePerUnit"],
        json!("12345")
    );
    for other in [RpcResult::Ok(json!("0x")), revert("")] {
        let world = deep_world();
        world.node().l1_fee = other;
        assert_eq!(
            quote(&world, None).expect("a bid").terms["l1FeePerUnit"],
            json!("0")
        );
    }
}

fn with_asset() -> World {
    let mut world = deep_world();
    world.assets = Some(vec![ASSET.into()]);
    world
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

#[test]
fn t42_an_allowance_of_a_signer_stops_the_network_until_it_is_revoked() {
    for (spender, name) in [(MULTICALL3, "Multicall3"), (PERMIT2, "Permit2")] {
        for multicall in [true, false] {
            let world = with_asset();
            world.node().multicall = multicall;
            world.node().allowances.insert((address(SIGNER), spender), 5);
            for _ in 0..2 {
                let readiness = check(&world, Value::Null);
                assert!(!readiness.ready);
                let why = readiness.why_not.expect("a sentence");
                for part in [
                    ASSET,
                    SIGNER,
                    name,
                    "an allowance of 5",
                    &format!("{spender:#x}"),
                    "revoke",
                ] {
                    assert!(why.contains(part), "{part:?} in {why}");
                }
                assert_eq!(readiness.addresses["main"], SIGNER, "what is open is carried on");
            }
            world.node().allowances.clear();
            assert!(check(&world, Value::Null).ready, "revoked");
        }
    }
}

/// Any account can have Multicall3 approve any address: an outsider must not be able to stop the network by it.
#[test]
fn t42_an_allowance_of_multicall_to_a_signer_is_a_warning() {
    let world = with_asset();
    world.node().allowances.insert((MULTICALL3, address(SIGNER)), 7);
    let readiness = check(&world, Value::Null);
    assert!(readiness.ready);
    let [warning] = readiness.warnings.as_slice() else {
        panic!("{readiness:?}")
    };
    assert!(
        warning.contains(SIGNER) && warning.contains(ASSET) && warning.contains("Multicall3"),
        "{warning}"
    );
}

#[test]
fn t42_allowances_are_checked_once_and_after_every_failure() {
    let world = with_asset();
    for _ in 0..3 {
        assert!(check(&world, Value::Null).ready);
    }
    assert_eq!(
        world.trips(),
        [4, 1, 3, 4, 4],
        "one call of Multicall3, and a transfer tried, once"
    );
    world.node().allowances.insert((address(SIGNER), PERMIT2), 1);
    world
        .host
        .answer_rpc("eth_chainId", |_| RpcResult::Ok(json!("not a number")));
    let network = network(Value::Null, keys());
    block_on(world.driver.check(&world.cx(), &network)).expect_err("a fault");
    world
        .host
        .answer_rpc("eth_chainId", |_| RpcResult::Ok(json!("0x14a34")));
    assert!(!check(&world, Value::Null).ready, "another node may know more");
}

#[test]
fn t42_where_any_asset_is_taken_the_known_ones_are_checked() {
    let mut world = deep_world();
    let known = vec![
        (NETWORK.to_owned(), ASSET.to_owned()),
        ("eip155:1".to_owned(), SIGNER.to_owned()),
    ];
    world.driver = EvmDriver::with_known_assets(known);
    world.node().allowances.insert((address(SIGNER), PERMIT2), 1);
    let why = check(&world, Value::Null).why_not.expect("a sentence");
    assert!(why.contains(ASSET), "{why}");
}

/// A token without allowances has none that could be used.
#[test]
fn t42_an_asset_that_answers_nothing_is_passed_over() {
    let mut world = with_asset();
    world.assets = Some(vec![ASSET.into(), "no address".into()]);
    world.node().multicall = false;
    world.host.answer_rpc("eth_call", |_| RpcResult::Ok(json!("0x")));
    assert!(check(&world, Value::Null).ready);
}

#[test]
fn t114_an_asset_that_needs_more_gas_than_is_allowed_is_warned_of_at_each_check() {
    let world = with_asset();
    world.node().estimate = RpcResult::Ok(json!("0x9eb10"));
    for _ in 0..2 {
        let readiness = check(&world, Value::Null);
        assert!(readiness.ready);
        let [warning] = readiness.warnings.as_slice() else {
            panic!("{readiness:?}")
        };
        for part in [ASSET, "needs 650000 gas", "max_gas is 400000", "asset_gas"] {
            assert!(warning.contains(part), "{part:?} in {warning}");
        }
    }
    let mut world = with_asset();
    world.node().estimate = RpcResult::Ok(json!("0x9eb10"));
    world.options = json!({ "max_gas": 1_000_000 });
    assert!(check(&world, Value::Null).warnings.is_empty());
    // The limit that `exact` is configured with counts where the network names none.
    let mut world = with_asset();
    world.driver = EvmDriver::new().with_max_gas(1_000_000);
    world.node().estimate = RpcResult::Ok(json!("0x9eb10"));
    assert!(check(&world, Value::Null).warnings.is_empty());
    // A token that refuses a transfer of 0 may still be used for payments.
    let world = with_asset();
    world.node().estimate = revert("no transfer of nothing");
    assert!(check(&world, Value::Null).warnings.is_empty());
}

#[test]
fn t113_nodes_that_can_not_estimate_are_warned_of_and_those_that_can_not_call_are_not_ready() {
    let world = with_asset();
    world.node().estimate = node_error("Exec Failed");
    let readiness = check(&world, Value::Null);
    assert!(readiness.ready);
    assert!(
        readiness.warnings[0].contains("eth_estimateGas") && readiness.warnings[0].contains("fixed_gas"),
        "{readiness:?}"
    );
    let world = with_asset();
    world.node().estimate = node_error("Exec Failed");
    world.node().transfer = node_error("Exec Failed");
    for _ in 0..2 {
        let readiness = check(&world, Value::Null);
        let why = readiness.why_not.expect("not ready");
        assert!(
            !readiness.ready && why.contains("eth_estimateGas") && why.contains("eth_call"),
            "{why}"
        );
    }
    world.node().transfer = RpcResult::Ok(json!("0x01"));
    assert!(check(&world, Value::Null).ready, "queried again");
}

#[test]
fn t113_methods_that_break_later_are_found_once_calls_have_failed() {
    let world = with_asset();
    assert!(check(&world, Value::Null).ready);
    let trips = world.trips();
    world.node().estimate = node_error("Exec Failed");
    world.node().transfer = node_error("Exec Failed");
    assert!(check(&world, Value::Null).ready, "nothing has failed yet");
    assert_eq!(
        world.trips()[trips.len()..],
        [4],
        "no reads beyond the usual ones"
    );
    let readiness = check_again(&world);
    let why = readiness.why_not.expect("not ready");
    assert!(
        why.contains("eth_estimateGas") && why.contains("eth_call"),
        "{why}"
    );
    // Where another node is better it is used; where none is, in-flight settlements are still observed.
    assert_eq!(readiness.node_fault, Some(NodeFault::Behind));
    assert!(!check(&world, Value::Null).ready, "until they work");
    world.node().estimate = RpcResult::Ok(json!("0xc350"));
    world.node().transfer = RpcResult::Ok(json!("0x01"));
    assert!(check(&world, Value::Null).ready);
    let trips = world.trips();
    assert!(check_again(&world).ready);
    assert_eq!(world.trips()[trips.len()..], [4, 3], "one more round trip");
    // Estimates work, calls do not.
    world.host.answer_rpc("eth_call", |_| node_error("Exec Failed"));
    let why = check_again(&world).why_not.expect("not ready");
    assert!(why.contains("eth_call"), "{why}");
}

#[test]
fn t113_without_a_known_asset_an_empty_call_shows_whether_calls_work() {
    let world = deep_world();
    assert!(check(&world, Value::Null).ready);
    world.node().estimate = node_error("Exec Failed");
    world.host.answer_rpc("eth_call", |_| node_error("Exec Failed"));
    let why = check_again(&world).why_not.expect("not ready");
    assert!(
        why.contains("eth_estimateGas") && why.contains("eth_call"),
        "{why}"
    );
}

#[test]
fn one_token_that_nodes_can_not_run_does_not_stop_the_others() {
    let mut world = with_asset();
    let other = "0x00000000000000000000000000000000000000aa";
    world.assets = Some(vec![ASSET.to_owned(), other.to_owned()]);
    world.node().cannot_run = Some(other);
    let readiness = check(&world, Value::Null);
    assert!(readiness.ready, "{readiness:?}");
    assert!(
        readiness.warnings.iter().any(|warning| warning.contains(other)),
        "{readiness:?}"
    );
}

#[test]
fn a_method_for_prices_that_a_node_lacks_is_done_without() {
    let lacks = |method: &str| node_error(&format!("the method {method} does not exist/is not available"));
    // By the head's base fee, and what the node's price has above it: 1,500 - 1,000, raised to the floor.
    let world = World::new();
    world
        .host
        .answer_rpc("eth_feeHistory", move |_| lacks("eth_feeHistory"));
    let bid = quote(&world, None).expect("a bid");
    assert_eq!(fees(&bid)["maxPriorityFee"], json!("1000000"));
    world.node().gas_price = 3_001_000;
    world.host.advance_ms(2_000);
    let bid = quote(&world, None).expect("a bid");
    assert_eq!(fees(&bid)["maxPriorityFee"], json!("3000000"));
    // Neither: no price is invented, and both are named.
    world
        .host
        .answer_rpc("eth_gasPrice", move |_| lacks("eth_gasPrice"));
    world.host.advance_ms(2_000);
    let fault = quote(&world, None).expect_err("no price");
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.message.contains("eth_feeHistory") && fault.message.contains("eth_gasPrice"));
    // The history alone.
    let world = World::new();
    world
        .host
        .answer_rpc("eth_gasPrice", move |_| lacks("eth_gasPrice"));
    let bid = quote(&world, None).expect("a bid");
    assert_eq!(fees(&bid)["maxPriorityFee"], json!("5000000"));
    // Without base fees only the price is meaningful.
    world.node().base_fee = None;
    world.host.advance_ms(2_000);
    assert!(quote(&world, None).is_err());
    // An oracle of L1 fees that fails: the last fee counts, and before one was read none.
    let world = World::new();
    world.node().l1_fee = node_error("Exec Failed");
    let l1_fee = |world: &World| quote(world, None).expect("a bid").terms["l1FeePerUnit"].clone();
    assert_eq!(l1_fee(&world), json!("0"));
    world.node().l1_fee = RpcResult::Ok(json!(hash(77)));
    world.host.advance_ms(2_000);
    assert_eq!(l1_fee(&world), json!("77"));
    world.node().l1_fee = node_error("Exec Failed");
    world.host.advance_ms(2_000);
    assert_eq!(l1_fee(&world), json!("77"));
}

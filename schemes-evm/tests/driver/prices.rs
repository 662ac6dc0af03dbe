//! Prices that can't be, and prices above the ceiling.

use sdk_plugin::FaultKind;
use sdk_plugin::host::RpcResult;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{ChainDriver, Cx, Value};
use serde_json::json;

use crate::node::{World, hex, lane};
use crate::reading::check_on;
use crate::two_nodes::TwoNodes;

const GWEI: u64 = 1_000_000_000;

fn beside(one: &World, other: &World) -> Cx {
    TwoNodes::cx(&one.host, &other.host, &one.cx())
}

fn world_at(base_fee: u64) -> World {
    let world = World::new();
    set_price(&world, base_fee);
    world
}

fn set_price(world: &World, base_fee: u64) {
    let mut node = world.node();
    node.base_fee = Some(base_fee);
    node.gas_price = base_fee + GWEI;
    node.tips = vec![GWEI; 5];
}

/// A head block whose base fee is this, in an otherwise honest node.
fn with_head_fee(world: &World, base_fee: Value) {
    let block = json!({
        "number": "0x64", "timestamp": hex(crate::node::NOW_S - 2), "hash": crate::node::block_id(100),
        "parentHash": crate::node::block_id(99), "baseFeePerGas": base_fee,
    });
    world
        .host
        .answer_rpc("eth_getBlockByNumber", move |_| RpcResult::Ok(block.clone()));
}

fn max_fee(world: &World, cx: &Cx) -> Result<u64, FaultKind> {
    let bid = block_on(world.driver.quote(cx, &lane(), None)).map_err(|fault| fault.kind)?;
    let fees = &bid.terms["fees"];
    let shown = fees.get("maxFee").or_else(|| fees.get("gasPrice"));
    Ok(shown
        .and_then(Value::as_str)
        .expect("a price")
        .parse()
        .expect("a number"))
}

fn absurd_fees() -> [Value; 5] {
    let large = format!("0x1{}", "0".repeat(50));
    [
        json!("0x0"),
        json!("0x1"),
        json!(large),
        json!("0xffffffffffffffff"),
        hex(500 * GWEI),
    ]
}

#[test]
fn a_base_fee_that_can_not_follow_from_the_history_is_no_answer() {
    for fee in absurd_fees() {
        let (one, other) = (world_at(30 * GWEI), world_at(30 * GWEI));
        with_head_fee(&one, fee.clone());
        assert_eq!(max_fee(&one, &beside(&one, &other)), Ok(61 * GWEI), "{fee}");
        // One node alone: what was known a moment ago.
        let alone = world_at(30 * GWEI);
        assert_eq!(max_fee(&alone, &alone.cx()), Ok(61 * GWEI));
        alone.host.advance_ms(2_000);
        with_head_fee(&alone, fee.clone());
        assert_eq!(max_fee(&alone, &alone.cx()), Ok(61 * GWEI), "{fee}");
    }
}

#[test]
fn a_price_that_fits_is_read_once_and_a_jump_that_two_nodes_show_is_believed() {
    let world = world_at(30 * GWEI);
    for base_fee in [30 * GWEI, 34 * GWEI, 60 * GWEI] {
        set_price(&world, base_fee);
        world.host.advance_ms(2_000);
        assert_eq!(max_fee(&world, &world.cx()), Ok(2 * base_fee + GWEI));
    }
    assert_eq!(world.host.round_trips(), 3, "nothing more is read");
    let other = world_at(GWEI);
    set_price(&world, GWEI);
    world.host.advance_ms(2_000);
    assert_eq!(max_fee(&world, &beside(&world, &other)), Ok(3 * GWEI));
}

#[test]
fn while_the_price_is_above_the_ceiling_the_network_is_not_ready_and_names_the_option() {
    let options = json!({ "max_fee_per_gas_wei": "100000000000" });
    let expensive = || {
        let mut world = world_at(200 * GWEI);
        world.options = options.clone();
        world
    };
    let world = expensive();
    let readiness = check_on(&world, &beside(&world, &expensive()), options.clone());
    assert!(!readiness.ready);
    assert_eq!(readiness.node_fault, None, "no node's fault");
    let why = readiness.why_not.expect("a sentence");
    for part in [
        "max_fee_per_gas_wei (100000000000)",
        "200001000000 wei",
        "wait for a lower price",
    ] {
        assert!(why.contains(part), "{part:?} in {why}");
    }
    // Settlements that arrive in between are not started, and are requested again later.
    assert_eq!(max_fee(&world, &world.cx()), Err(FaultKind::Denied));
    // It is over as soon as the price has fallen.
    set_price(&world, GWEI);
    world.host.advance_ms(60_000);
    assert!(check_on(&world, &world.cx(), options.clone()).ready);
    // One node's answer alone stops nothing.
    let (lying, honest) = (expensive(), world_at(GWEI));
    assert!(check_on(&lying, &beside(&lying, &honest), options.clone()).ready);
    // Where blocks have no base fee, the last price that was read counts.
    let legacy = expensive();
    legacy.node().base_fee = None;
    assert!(check_on(&legacy, &legacy.cx(), options.clone()).ready);
    assert_eq!(max_fee(&legacy, &legacy.cx()), Err(FaultKind::Denied));
    assert!(!check_on(&legacy, &legacy.cx(), options).ready);
}

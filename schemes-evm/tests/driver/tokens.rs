//! What the operator says of tokens, compared with the chain.

use alloy_primitives::U256;
use alloy_sol_types::SolValue;
use serde_json::{Value, json};

use crate::node::{ASSET, World};
use crate::reading::check;

/// A chain whose token is named like this, with 6 decimals.
fn world(name: &str) -> World {
    let mut world = World::new();
    world.assets = Some(vec![ASSET.into()]);
    world.node().token = [
        ("0x06fdde03", name.to_owned().abi_encode()),
        ("0x54fd4d50", "2".to_owned().abi_encode()),
        ("0x95d89b41", "USDC".to_owned().abi_encode()),
        ("0x313ce567", U256::from(6).abi_encode()),
    ]
    .into();
    world
}

fn described() -> Value {
    let usdc = json!({ "name": "USDC", "version": "2", "symbol": "USDC", "decimals": 6 });
    json!({ "tokens": { ASSET.to_uppercase().replace("0X", "0x"): usdc } })
}

fn about_tokens(world: &World, options: Value) -> Vec<String> {
    let readiness = check(world, options);
    assert!(readiness.ready, "{readiness:?}");
    let warnings = readiness.warnings.into_iter();
    warnings
        .filter(|warning| warning.contains("the chain says"))
        .collect()
}

#[test]
fn a_token_that_is_as_described_causes_no_warning() {
    assert!(about_tokens(&world("USDC"), described()).is_empty());
    assert!(
        about_tokens(&world("USD Coin"), json!({})).is_empty(),
        "nothing is described"
    );
}

#[test]
fn a_difference_names_network_asset_key_and_both_values() {
    let world = world("USD Coin");
    world
        .node()
        .token
        .insert("0x313ce567", U256::from(18).abi_encode());
    let warnings = about_tokens(&world, described());
    let [name, decimals] = warnings.as_slice() else {
        panic!("two differences: {warnings:?}")
    };
    for part in [
        ASSET,
        "eip155:84532",
        "name \"USD Coin\"",
        "\"USDC\"",
        "options.tokens",
    ] {
        assert!(name.contains(part), "{part}: {name}");
    }
    assert!(
        decimals.contains("decimals \"18\"") && decimals.contains("\"6\""),
        "{decimals}"
    );
    // It is repeated with each check.
    assert_eq!(about_tokens(&world, described()), warnings);
}

#[test]
fn what_a_token_does_not_answer_is_not_compared() {
    let world = world("USDC");
    world.node().token.remove("0x54fd4d50");
    world.node().token.insert("0x95d89b41", vec![1, 2, 3]);
    assert!(about_tokens(&world, described()).is_empty());
}

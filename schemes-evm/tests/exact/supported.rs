//! What `/supported` shows.

use sdk_plugin::SchemeHandler;
use sdk_plugin::testkit::block_on;
use serde_json::{Value, json};

use schemes_evm::builder_code::OwnCodes;
use schemes_evm::exact::{Config, ExactEvm};

use crate::world::{ASSET, OTHER, World, good, is_transfer};

#[test]
fn described_tokens_that_are_accepted_are_in_the_extra_of_each_kind() {
    let extras = |options: Value| -> Vec<Value> {
        let mut world = World::new();
        world.options = options;
        let supported = block_on(world.exact.supported(&world.cx())).expect("supported");
        assert_eq!(supported.kinds.len(), 2);
        supported
            .kinds
            .into_iter()
            .map(|kind| json!(kind.extra))
            .collect()
    };
    assert_eq!(extras(Value::Null), [Value::Null, Value::Null]);
    let usdc = json!({ "name": "USDC", "version": "2", "symbol": "USDC", "decimals": 6 });
    let options = json!({ "tokens": { ASSET: usdc, OTHER: { "name": "Other" } } });
    let shown = json!({
        "assets": [{ "address": ASSET, "name": "USDC", "version": "2", "symbol": "USDC", "decimals": 6 }]
    });
    assert_eq!(extras(options), [shown.clone(), shown]);
    // What is not described is not guessed.
    let options = json!({ "tokens": { ASSET: { "decimals": 6 } } });
    let shown = json!({ "assets": [{ "address": ASSET, "decimals": 6 }] });
    assert_eq!(extras(options), [shown.clone(), shown]);
}

#[test]
fn a_builder_code_is_advertised_sent_and_simulated_as_it_is_sent() {
    let mut request = good();
    let codes = json!({ "info": { "a": "shop_1", "s": ["svc_a", "svc_b"] } });
    request.extensions.insert("builder-code".into(), codes);
    let suffix = "a361616673686f705f31617765666163696c617382657376635f61657376635f6200210280218021802180218021802180218021";
    let plain = World::new().plan(&request).expect("a plan").steps[0]
        .call
        .data
        .to_string();

    let mut world = World::new();
    world.exact = ExactEvm::new(Config {
        builder_code: OwnCodes {
            facilitator: Some("facil".into()),
            service: None,
        },
        ..Config::default()
    });
    let supported = block_on(world.exact.supported(&world.cx())).expect("supported");
    assert_eq!(supported.extensions, ["builder-code"]);
    let sent = world.plan(&request).expect("a plan").steps[0]
        .call
        .data
        .to_string();
    assert_eq!(
        sent,
        format!("{plain}{suffix}"),
        "the overload's own bytes, then the suffix"
    );
    let simulated: Vec<String> = world
        .batches()
        .into_iter()
        .flatten()
        .filter_map(|call| call.params[0]["data"].as_str().map(str::to_owned))
        .filter(|data| is_transfer(data))
        .collect();
    assert!(!simulated.is_empty() && simulated.iter().all(|data| *data == sent));
    // The codes are no part of what was signed.
    let digest = |request| world.identify(request).expect("a key").payload_digest;
    assert_eq!(digest(&request), digest(&good()));
}

//! What `/supported` shows.

use sdk_plugin::SchemeHandler;
use sdk_plugin::testkit::block_on;
use serde_json::{Value, json};

use crate::world::{ASSET, OTHER, World};

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

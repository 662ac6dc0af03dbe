//! Starts of the facilitator beside a bad node.

use devnet::{Devnet, Options};
use e2e::{Facilitator, Payment, Settings, wait};
use serde_json::{Value, json};

use super::node::AnyNode;
use super::{ANY_CLOCK, HEALED, Report, short};

#[test]
fn a_start_with_a_first_node_that_answers_nonsense_still_serves_payments() {
    let mut report = Report::default();
    for (name, method, result) in [
        ("count: null", "eth_getTransactionCount", Value::Null),
        ("code: null", "eth_getCode", Value::Null),
        ("estimate: null", "eth_estimateGas", Value::Null),
        ("chain id: decimal", "eth_chainId", json!("84532")),
        ("block: null", "eth_getBlockByNumber", Value::Null),
    ] {
        let chain = Devnet::start(Options::default()).expect("the chain starts");
        let (first, second) = (AnyNode::start(chain.url()), AnyNode::start(chain.url()));
        first.result(method, result);
        let facilitator = Facilitator::start_unready(&Settings {
            rpc: vec![first.url(), second.url()],
            network: ANY_CLOCK.to_owned(),
            server: "settle_wait_seconds = 5".to_owned(),
            ..Settings::new("", &chain.facilitators[..1])
        });
        let facilitator = facilitator.expect("it listens");
        let body = Payment::new(&chain.buyers[3], &chain.merchant.address).v2();
        let paid = wait::try_until(HEALED, || facilitator.settle(&body).is_success().then_some(()));
        if paid.is_none() {
            report.add(name, &[short(&facilitator.settle(&body))]);
        }
    }
    report.end();
}

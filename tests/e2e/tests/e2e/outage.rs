//! Nodes that fail: an outage is never a verdict about a payment.

use devnet::{AnvilOptions, Devnet, Options};
use e2e::{Facilitator, Fault, Payment, Proxy, Settings, World, wait};
use serde_json::json;

use crate::reason;

#[test]
fn t13_trouble_with_the_node_is_never_a_reason_of_the_scheme() {
    let world = World::builder().network("rpc_timeout_ms = 500").start();
    world.verify(&world.payment(2).v2()).valid();
    let limit = json!({"code": -32005, "message": "limit exceeded"});
    let internal = json!({"code": -32603, "message": "internal error"});
    let faults = [
        Fault::Refuse,
        Fault::Status(500),
        Fault::Status(429),
        Fault::HoldAnswer,
        Fault::RpcError(limit),
        Fault::RpcError(internal),
        Fault::Answer(json!("garbage")),
        Fault::Answer(json!(null)),
    ];
    world.untouched(|| {
        for method in ["*", "eth_getCode", "eth_call"] {
            for fault in &faults {
                let payment = world.payment(3);
                world.proxy.on(method, fault.clone());
                let reply = world.verify(&payment.v2());
                assert_eq!(
                    (reply.status, reply.field("invalidReason")),
                    (200, reason::UNEXPECTED_VERIFY),
                    "{method} {fault:?}: {reply:?}"
                );
                let reply = world.settle(&payment.v2());
                let outcome = (reply.status, reply.field("errorReason"));
                let undecided = [(200, "unexpected_settle_error"), (503, "service_unavailable")];
                assert!(undecided.contains(&outcome), "{method} {fault:?}: {reply:?}");
                assert_eq!(reply.field("transaction"), "");
                world.proxy.heal();
                world.facilitator.wait_ready().expect("the network recovers");
            }
        }
    });
    // Where a call works the estimate is not needed.
    for fault in &faults {
        let payment = world.payment(3);
        world.proxy.on("eth_estimateGas", fault.clone());
        let reply = world.settle(&payment.v2());
        let outcome = (reply.status, reply.field("errorReason"));
        let undecided = [(200, "unexpected_settle_error"), (503, "service_unavailable")];
        assert!(
            reply.json["success"] == json!(true) || undecided.contains(&outcome),
            "{fault:?}: {reply:?}"
        );
        world.proxy.heal();
        world.facilitator.wait_ready().expect("the network recovers");
    }
    let _ = world.settle(&world.payment(3).v2()).paid();
}

#[test]
fn a_chain_that_is_down_at_the_start_is_not_ready_and_comes_up_by_itself() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let proxy = Proxy::start(chain.url()).expect("the proxy starts");
    proxy.on("*", Fault::Refuse);
    let signers = &chain.facilitators[..1];
    let facilitator =
        Facilitator::start_unready(&Settings::new(&proxy.url(), signers)).expect("it starts all the same");
    let ready = facilitator.get("/ready");
    assert_eq!(
        (ready.status, &ready.json["networks"][0]["ready"]),
        (503, &json!(false)),
        "{ready:?}"
    );
    assert_eq!(facilitator.get("/health").status, 200);
    assert_eq!(
        facilitator.get("/supported").json["kinds"],
        json!([]),
        "nothing is advertised"
    );
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address).v2();
    let settle = facilitator.settle(&body);
    assert!(
        settle.status == 503 && settle.header("retry-after").is_some(),
        "{settle:?}"
    );
    assert_eq!(facilitator.verify(&body).failed(reason::UNEXPECTED_VERIFY), "");
    proxy.heal();
    facilitator.wait_ready().expect("it recovers");
    let _ = facilitator.settle(&body).paid();
}

#[test]
fn t43_a_node_of_another_chain_is_not_used() {
    let options = Options {
        anvil: AnvilOptions {
            chain_id: 8453,
            ..AnvilOptions::default()
        },
        ..Options::default()
    };
    let chain = Devnet::start(options).expect("the chain starts");
    let settings = Settings::new(chain.url(), &chain.facilitators[..1]);
    let facilitator = Facilitator::start_unready(&settings).expect("it starts all the same");
    let why = wait::until("the check's verdict", wait::LONG, || {
        let ready = facilitator.get("/ready");
        assert_eq!(ready.status, 503, "{ready:?}");
        Some(ready.json["networks"][0]["why"].as_str()?.to_owned()).filter(|why| why.contains("8453"))
    });
    assert!(why.contains("chain id"), "{why}");
    assert_eq!(
        facilitator.get("/supported").json["kinds"],
        json!([]),
        "not advertised"
    );
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address).v2();
    assert_eq!(facilitator.settle(&body).status, 503);
    assert_eq!(facilitator.verify(&body).failed(reason::UNEXPECTED_VERIFY), "");
    let signer = &chain.facilitators[0].address;
    assert_eq!(chain.pending_count(signer).expect("the node answers"), 0);
}

#[test]
fn a_second_node_takes_over_when_the_first_fails() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let (first, second) = (
        Proxy::start(chain.url()).expect("starts"),
        Proxy::start(chain.url()).expect("starts"),
    );
    let settings = Settings {
        rpc: vec![first.url(), second.url()],
        ..Settings::new("", &chain.facilitators[..1])
    };
    let facilitator = Facilitator::start(&settings).expect("starts");
    for (buyer, fault) in [
        (2, Fault::Refuse),
        (3, Fault::Status(503)),
        (4, Fault::Status(429)),
    ] {
        first.on("*", fault);
        let _ = facilitator
            .settle(&Payment::new(&chain.buyers[buyer], &chain.merchant.address).v2())
            .paid();
    }
    assert!(second.calls_of("eth_sendRawTransaction") >= 3);
    assert_eq!(
        chain
            .transaction_count(&chain.facilitators[0].address)
            .expect("the node answers"),
        3
    );
}

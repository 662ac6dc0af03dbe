//! How an attempt is sent.

use sdk_plugin::chain::{Attempt, Sent};
use sdk_plugin::host::{RpcRequest, RpcResponse, RpcResult, SendEncoding};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{ChainDriver, Fault, FaultKind};
use serde_json::json;

use crate::node::{World, lane, refusal, tx_id};

fn broadcast(world: &World) -> Result<Sent, Fault> {
    let attempt = Attempt {
        id: "7".into(),
        tx_id: tx_id(1),
        lane: lane(),
        sequence: 1,
    };
    block_on(world.driver.broadcast(&world.cx(), &attempt))
}

#[test]
fn the_journals_bytes_go_out_once_without_preflight() {
    let world = World::new();
    world.host.answer_send(|request| {
        let RpcRequest::Send {
            attempt_id,
            method,
            params,
            encoding,
            ..
        } = request
        else {
            panic!("a send");
        };
        assert_eq!((attempt_id.as_str(), method.as_str()), ("7", "sendTransaction"));
        let options = json!({"encoding": "base64", "skipPreflight": true, "maxRetries": 0});
        assert_eq!(*params, json!(["$bytes", options]));
        assert_eq!(*encoding, SendEncoding::Base64);
        Ok(RpcResponse {
            results: vec![RpcResult::Ok(json!(tx_id(1)))],
        })
    });
    assert_eq!(broadcast(&world), Ok(Sent::Accepted));
    assert_eq!(world.host.logs(), []);
}

#[test]
fn another_signature_than_expected_is_noted() {
    let world = World::new();
    world.host.answer_send(|_| {
        Ok(RpcResponse {
            results: vec![RpcResult::Ok(json!(tx_id(2)))],
        })
    });
    assert_eq!(broadcast(&world), Ok(Sent::Accepted));
    assert_eq!(world.host.logs().len(), 1);
}

#[test]
fn silence_is_unknown_and_a_refusal_of_the_host_is_a_fault() {
    for (kind, is_fault) in [
        (FaultKind::Indeterminate, false),
        (FaultKind::Unavailable, false),
        (FaultKind::Denied, true),
    ] {
        let world = World::new();
        world.host.answer_send(move |_| Err(Fault::new(kind, "x")));
        assert_eq!(broadcast(&world).is_err(), is_fault, "{kind:?}");
    }
    let world = World::new();
    world.host.answer_send(|_| {
        Ok(RpcResponse {
            results: vec![refusal(
                -32002,
                "Transaction simulation failed: Blockhash not found",
            )],
        })
    });
    assert!(
        matches!(broadcast(&world), Ok(Sent::Unknown { .. })),
        "it may be out all the same"
    );
}

//! broadcast.

use sdk_plugin::chain::Sent;
use sdk_plugin::host::{RpcRequest, RpcResponse, RpcResult, SendEncoding};
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::{ChainDriver, Fault, FaultKind};
use serde_json::json;

use crate::node::{NETWORK, World, attempt, hash, lane, node_error};

fn broadcast(answer: Result<Vec<RpcResult>, Fault>) -> (Result<Sent, Fault>, World) {
    let world = World::new();
    world
        .host
        .answer_send(move |_| answer.clone().map(|results| RpcResponse { results }));
    let sent = block_on(world.driver.broadcast(&world.cx(), &attempt(1)));
    (sent, world)
}

#[test]
fn a_send_names_the_attempt_and_leaves_the_bytes_to_the_host() {
    let (sent, world) = broadcast(Ok(vec![RpcResult::Ok(json!(hash(1)))]));
    assert_eq!(sent, Ok(Sent::Accepted));
    let recorded = world.host.recorded();
    let [Recorded::Rpc { request, .. }] = recorded.as_slice() else {
        panic!("{recorded:?}")
    };
    assert_eq!(
        *request,
        RpcRequest::Send {
            network: NETWORK.into(),
            attempt_id: "attempt-1".into(),
            method: "eth_sendRawTransaction".into(),
            params: json!(["$bytes"]),
            encoding: SendEncoding::Hex,
        }
    );
    assert!(world.host.logs().is_empty());
}

#[test]
fn nodes_tried_in_sequence_are_weighed() {
    let of = |results| broadcast(Ok(results)).0.expect("no fault");
    assert_eq!(
        of(vec![node_error("txpool is full"), RpcResult::Ok(json!(hash(1)))]),
        Sent::Accepted
    );
    assert_eq!(of(vec![node_error("already known")]), Sent::Accepted);
    assert_eq!(of(vec![node_error("nonce too low")]), Sent::SequenceUsed);
    assert_eq!(
        of(vec![node_error("invalid sender")]),
        Sent::Rejected {
            message: "invalid sender (-32000)".into()
        }
    );
    assert!(matches!(of(vec![]), Sent::Unknown { .. }));
}

#[test]
fn silence_is_unknown_and_a_refusing_host_is_a_fault() {
    for kind in [
        FaultKind::Unavailable,
        FaultKind::Deadline,
        FaultKind::Indeterminate,
        FaultKind::Cancelled,
    ] {
        let (sent, _) = broadcast(Err(Fault::new(kind, "nothing")));
        assert_eq!(
            sent,
            Ok(Sent::Unknown {
                message: "nothing".into()
            }),
            "{kind:?}"
        );
    }
    let (sent, _) = broadcast(Err(Fault::denied("not this attempt")));
    assert_eq!(sent.expect_err("a fault").kind, FaultKind::Denied);
}

#[test]
fn another_hash_is_written_down() {
    let (sent, world) = broadcast(Ok(vec![RpcResult::Ok(json!(hash(2)))]));
    assert_eq!(sent, Ok(Sent::Accepted));
    assert_eq!(world.host.logs().len(), 1);
}

#[test]
fn t112_after_a_price_refusal_the_next_bid_reads_the_newest_block_and_heeds_a_named_minimum() {
    let world = World::new();
    let bid = || {
        let bid = block_on(world.driver.quote(&world.cx(), &lane(), None)).expect("a bid");
        bid.terms["fees"].clone()
    };
    let refuse = |message: &'static str| {
        world.host.answer_send(move |_| {
            Ok(RpcResponse {
                results: vec![node_error(message)],
            })
        });
        let sent = block_on(world.driver.broadcast(&world.cx(), &attempt(1)));
        assert_eq!(sent, Ok(Sent::Underpriced));
    };
    assert_eq!(bid()["maxFee"], json!("5002000"));
    // The base fee has jumped within the two seconds for which prices are remembered.
    world.node().base_fee = Some(9_000);
    assert_eq!(bid()["maxFee"], json!("5002000"));
    refuse("max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 9000");
    assert_eq!(bid()["maxFee"], json!("5018000"));
    refuse("transaction underpriced: gas tip cap 5000000, minimum needed 7000000");
    assert_eq!(bid()["maxPriorityFee"], json!("7000000"));
    // One far above every block's price is ignored.
    refuse("transaction underpriced: gas tip cap 5000000, minimum needed 900000000000");
    assert_eq!(bid()["maxPriorityFee"], json!("5000000"));
    refuse("transaction underpriced: gas tip cap 5000000, minimum needed 7000000");
    world.host.advance_ms(60_000);
    assert_eq!(bid()["maxPriorityFee"], json!("5000000"));
}

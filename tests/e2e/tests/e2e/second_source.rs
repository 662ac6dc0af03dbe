//! One node is not enough for high-value payments.

use devnet::{Mining, USDC};
use e2e::payment::PRICE;
use e2e::sign::keccak;
use e2e::{Fault, Payment, Reply, World, wait};
use serde_json::{Value, json};

use crate::reason;

const MUCH: u128 = PRICE * 100;

fn world() -> World {
    World::builder()
        .mining(Mining::Manual)
        .two_nodes()
        .server("settle_wait_seconds = 1")
        .network(&format!(
            "finality = 4\nsecond_source_above = {{ {USDC:?} = \"{MUCH}\" }}"
        ))
        .start()
}

fn word(text: &str) -> String {
    format!("0x{:0>64}", text.trim_start_matches("0x").to_lowercase())
}

fn topic(event: &str) -> String {
    format!("0x{}", hex::encode(keccak(event.as_bytes())))
}

/// A perfect receipt of a payment that never happened.
fn fabricated(world: &World, payment: &Payment, hash: &str) -> Value {
    let (head, _) = world.chain.head().expect("the node answers");
    // A real block, in which it is not: one that no node has would be searched for in vain.
    let newest = world
        .chain
        .rpc()
        .call("eth_getBlockByNumber", json!(["latest", false]));
    let block = newest.expect("the node answers")["hash"].clone();
    let log = |index: u64, topics: Value, data: &str| {
        json!({
            "address": USDC, "topics": topics, "data": data, "logIndex": format!("{index:#x}"),
            "transactionHash": hash, "transactionIndex": "0x0", "blockHash": block,
            "blockNumber": format!("{head:#x}"), "removed": false,
        })
    };
    let payer = word(&payment.transfer.from);
    let used = json!([
        topic("AuthorizationUsed(address,bytes32)"),
        payer,
        payment.nonce()
    ]);
    let moved = json!([
        topic("Transfer(address,address,uint256)"),
        payer,
        word(&payment.pay_to)
    ]);
    let value = word(&format!("{:x}", payment.amount));
    json!({
        "transactionHash": hash, "transactionIndex": "0x0", "blockHash": block,
        "blockNumber": format!("{head:#x}"), "status": "0x1", "gasUsed": "0x5208",
        "logs": [log(0, used, "0x"), log(1, moved, &value)],
    })
}

#[test]
fn t14_a_fabricated_receipt_is_no_success_above_the_configured_value() {
    let world = world();
    // What the lie is good for below that value: the second node is not queried.
    let little = world.payment(2);
    let hash = world.settle(&little.v2()).pending();
    let lie = fabricated(&world, &little, &hash);
    world.proxy.on("eth_getTransactionReceipt", Fault::Answer(lie));
    assert_eq!(
        world.settle(&little.v2()).paid(),
        hash,
        "the lie would be believed"
    );
    world.proxy.heal();
    world.chain.mine(1).expect("mines");

    for lying in [&world.proxy, &world.second] {
        let much = world.payment(3).of(MUCH);
        let before = world.transfers();
        let hash = world.settle(&much.v2()).pending();
        lying.on(
            "eth_getTransactionReceipt",
            Fault::Answer(fabricated(&world, &much, &hash)),
        );
        for _ in 0..2 {
            assert_eq!(world.settle(&much.v2()).pending(), hash, "never success");
        }
        assert_eq!(world.transfers(), before);
        // Nor while the one lies about the block of what has really landed.
        world.chain.mine(1).expect("mines");
        lying.forget();
        assert_eq!(world.settle(&much.v2()).pending(), hash);
        lying.wait_for("eth_getTransactionReceipt");
        lying.heal();
        let paid = wait::until("both nodes show it", wait::LONG, || {
            Some(world.settle(&much.v2())).filter(Reply::is_success)
        });
        assert_eq!(paid.paid(), hash);
        assert_eq!(world.transfers(), before + 1);
        assert_eq!(world.settle(&much.v2()).failed(reason::DUPLICATE), hash);
    }
    let metrics = world.facilitator.get("/metrics").text;
    assert!(
        metrics.contains("switchyard_second_source_waits_total{"),
        "{metrics}"
    );
}

#[test]
fn t14_while_the_second_node_is_away_high_value_payments_wait_and_small_ones_do_not() {
    let mut world = world();
    world.chain.set_mining(Mining::Auto).expect("mining starts");
    world.second.on("*", Fault::Refuse);
    let much = world.payment(2).of(MUCH).v2();
    let hash = world.settle(&much).pending();
    wait::until("it has landed", wait::LONG, || {
        (world.transfers() == 1).then_some(())
    });
    let little = world.payment(3).of(MUCH - 1).v2();
    let _ = wait::until("a small one needs one node", wait::LONG, || {
        Some(world.settle(&little)).filter(Reply::is_success)
    });
    // A restart remembers which payments these are.
    world.facilitator.kill();
    world.facilitator.restart();
    assert_eq!(world.settle(&much).pending(), hash);
    world.second.heal();
    let paid = wait::until("both nodes show it", wait::LONG, || {
        Some(world.settle(&much)).filter(Reply::is_success)
    });
    assert_eq!(paid.paid(), hash);
    assert_eq!((world.sent(), world.transfers()), (2, 2));
}

#[test]
fn t14_a_fabricated_failure_is_no_failure_above_the_configured_value() {
    let world = world();
    let much = world.payment(2).of(MUCH);
    let hash = world.settle(&much.v2()).pending();
    let mut lie = fabricated(&world, &much, &hash);
    lie["status"] = json!("0x0");
    lie["logs"] = json!([]);
    world.proxy.on("eth_getTransactionReceipt", Fault::Answer(lie));
    assert_eq!(world.settle(&much.v2()).pending(), hash);
    world.proxy.heal();
    world.chain.mine(1).expect("mines");
    let paid = wait::until("both nodes show it", wait::LONG, || {
        Some(world.settle(&much.v2())).filter(Reply::is_success)
    });
    assert_eq!(paid.paid(), hash);
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

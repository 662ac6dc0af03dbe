//! The levers work: mining modes, the pool, time, fees, snapshots, reorganisations, and a node that ends with its handle.

mod common;

use std::time::{Duration, Instant};

use common::{PAYEE, text, vectors};
use devnet::{BUYER_TOKENS, Devnet, FACILITATOR_WEI, Mining, Options, Rpc, USDC};
use serde_json::json;

fn start(mining: Mining) -> Devnet {
    Devnet::start(Options {
        mining,
        ..Options::default()
    })
    .expect("the chain starts")
}

fn submit(chain: &Devnet) -> String {
    let (from, data) = (
        &chain.facilitators[1].address,
        vectors()["exact_eip3009"]["calldata_vrs"].clone(),
    );
    let transaction = json!({"from": from, "to": USDC, "data": data, "gas": "0x30d40"});
    text(
        &chain
            .rpc()
            .call("eth_sendTransaction", json!([transaction]))
            .expect("is taken"),
    )
    .to_owned()
}

// As above, and a block holds it: also a node that mines at once answers before it does.
fn pay(chain: &Devnet) -> String {
    let vectors = vectors();
    let data = text(&vectors["exact_eip3009"]["calldata_vrs"]);
    let receipt = chain
        .send_with_gas(&chain.facilitators[1].address, USDC, data, 200_000)
        .expect("a block takes it");
    text(&receipt["transactionHash"]).to_owned()
}

#[test]
fn the_chain_starts_funded_and_on_time() {
    let chain = start(Mining::Auto);
    assert_eq!((chain.facilitators.len(), chain.buyers.len()), (4, 16));
    for facilitator in &chain.facilitators {
        assert_eq!(
            chain.wei_of(&facilitator.address).expect("balance"),
            FACILITATOR_WEI
        );
    }
    for buyer in &chain.buyers {
        assert_eq!(
            chain.balance_of(USDC, &buyer.address).expect("balance"),
            BUYER_TOKENS
        );
        assert_eq!(chain.wei_of(&buyer.address).expect("balance"), 0);
    }
    let (number, time) = chain.head().expect("head");
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    assert_eq!(number, 1);
    assert!(
        time.abs_diff(now.into()) <= 2,
        "the chain's clock is {time}, ours {now}"
    );
    assert_eq!(chain.rpc().quantity("eth_chainId", json!([])).expect("id"), 84532);
}

#[test]
fn with_mining_stopped_transactions_wait_for_a_command() {
    let chain = start(Mining::Manual);
    let sender = chain.facilitators[1].address.clone();
    let first = submit(&chain);
    assert_eq!(chain.pending_count(&sender).expect("count"), 1);
    assert_eq!(chain.transaction_count(&sender).expect("count"), 0);
    chain.drop_transaction(&first).expect("drop");
    chain.mine(1).expect("mine");
    assert!(
        chain.receipt(&first).expect("the node answers").is_none(),
        "it was dropped"
    );

    // A minted balance is there although nothing is mined.
    chain.mint(USDC, PAYEE, 5).expect("mint");
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 5);

    chain.set_next_block_base_fee(7_000_000_000).expect("base fee");
    chain.mine(1).expect("mine");
    let block = chain
        .rpc()
        .call("eth_getBlockByNumber", json!(["latest", false]))
        .expect("block");
    assert_eq!(block["baseFeePerGas"], "0x1a13b8600");
    let second = submit(&chain);
    chain.mine(1).expect("mine");
    let receipt = chain.receipt(&second).expect("the node answers").expect("mined");
    let (number, _) = chain.head().expect("head");
    assert_eq!(chain.receipts(number).expect("receipts"), [receipt]);
    assert_eq!(chain.logs(USDC, None).expect("logs").len(), 2);
}

#[test]
fn blocks_come_on_a_timer() {
    let chain = start(Mining::Every(1));
    let hash = submit(&chain);
    assert!(
        chain.receipt(&hash).expect("the node answers").is_none(),
        "not at once"
    );
    let started = Instant::now();
    while chain.receipt(&hash).expect("the node answers").is_none() {
        assert!(started.elapsed() < Duration::from_secs(10), "no block came");
        std::thread::sleep(Duration::from_millis(50));
    }
    chain.set_mining(Mining::Auto).expect("automine");
    let (number, _) = chain.head().expect("head");
    chain
        .send(&chain.admin.address, PAYEE, "0x")
        .expect("mined at once");
    assert!(chain.head().expect("head").0 > number);
}

#[test]
fn snapshots_and_time_go_back_and_forth() {
    let chain = start(Mining::Auto);
    let (number, time) = chain.head().expect("head");
    let snapshot = chain.snapshot().expect("snapshot");
    chain.increase_time(3600).expect("time");
    chain.mine(1).expect("mine");
    assert!(chain.head().expect("head").1 >= time + 3600);
    pay(&chain);
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 10_000);
    chain.revert(&snapshot).expect("revert");
    assert_eq!(chain.head().expect("head").0, number);
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 0);
    chain.revert(&snapshot).expect_err("a snapshot works once");
}

#[test]
fn a_reorganisation_takes_a_payment_back() {
    let chain = start(Mining::Auto);
    chain.mine(3).expect("mine");
    let hash = pay(&chain);
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 10_000);
    chain.reorg(2).expect("reorg");
    assert!(
        chain.receipt(&hash).expect("the node answers").is_none(),
        "its block is gone"
    );
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 0);
    assert_eq!(
        chain.balance_of(USDC, &chain.buyers[0].address).expect("balance"),
        BUYER_TOKENS
    );
}

#[test]
fn the_node_stops_when_its_handle_is_dropped() {
    let mut chain = start(Mining::Auto);
    assert!(chain.anvil().is_running().expect("the node answers"));
    let rpc = Rpc::new(chain.url());
    rpc.quantity("eth_chainId", json!([])).expect("answers");
    drop(chain);
    let started = Instant::now();
    while rpc.quantity("eth_chainId", json!([])).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(5), "it still answers");
        std::thread::sleep(Duration::from_millis(20));
    }
}

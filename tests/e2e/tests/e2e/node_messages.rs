//! Error messages of EVM nodes, and what such nodes refuse or do not know. No message fails a payment that verify calls
//! valid, and none fills a slot.

use std::time::Duration;

use devnet::{Mining, USDC};
use e2e::payment::PRICE;
use e2e::raw::RawTransaction;
use e2e::{Blocks, Fault, World, wait};
use serde_json::{Value, json};

use crate::reason;

const SEND: &str = "eth_sendRawTransaction";
const BLOCK: Duration = Duration::from_millis(250);

fn error(code: i64, message: &str) -> Value {
    json!({ "code": code, "message": message })
}

/// Transactions that reached the proxy, without repetitions of the same bytes.
fn sent(world: &World) -> Vec<RawTransaction> {
    let mut all = world.proxy.transactions();
    all.sort();
    all.dedup();
    all.iter().map(|raw| RawTransaction::read(raw)).collect()
}

/// A filler needs 21,000 gas and no more.
fn is_transfer(bid: &RawTransaction) -> bool {
    bid.gas_limit > 21_000
}

/// All of them are transfers, at the same nonce: no filler, and no gap.
#[track_caller]
fn is_one_slot(world: &World) {
    let bids = sent(world);
    for bid in &bids {
        assert_eq!(bid.nonce, bids[0].nonce, "{bids:?}");
        assert!(is_transfer(bid), "{bids:?}");
    }
}

#[test]
fn t112_a_base_fee_that_jumped_is_bid_again_at_the_same_nonce() {
    let world = World::builder().mining(Mining::Manual).start();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let message = "failed to calculate effective gas tip: fee cap less than base fee";
    for _ in 0..3 {
        world.proxy.once(SEND, Fault::Reject(error(-32000, message)));
        let body = world.payment(2).v2();
        let _ = world.settle(&body).paid();
    }
    drop(blocks);
    assert_eq!((world.sent(), world.transfers()), (3, 3));
    assert!(sent(&world).iter().all(is_transfer));
}

#[test]
fn t112_t162_three_refusals_in_a_row_fill_nothing_and_leave_no_gap() {
    for (code, message) in [
        (
            -32000,
            "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 2",
        ),
        (-32000, "txpool is full"),
        (-32003, "the node does not like this, for a reason of its own"),
        (
            -32601,
            "the method eth_sendRawTransaction does not exist/is not available",
        ),
    ] {
        let world = World::builder()
            .server("settle_wait_seconds = 1")
            .mining(Mining::Manual)
            .start();
        let rejections = Fault::Reject(error(code, message));
        world.proxy.on_for(SEND, rejections, Duration::from_secs(4));
        let body = world.payment(2).v2();
        let first = world.settle(&body);
        assert!(first.status == 200 && !first.is_success(), "{message}: {first:?}");
        assert_eq!(first.field("errorReason"), "settlement_pending", "{message}");
        let blocks = Blocks::every(&world.chain, BLOCK);
        let _ = wait::until("success", Duration::from_secs(60), || {
            let reply = world.settle(&body);
            reply.is_success().then(|| reply.paid())
        });
        is_one_slot(&world);
        assert_eq!(
            (world.sent(), world.transfers(), world.earned()),
            (1, 1, PRICE),
            "{message}"
        );
        let bodies: Vec<Value> = (0..20).map(|buyer| world.payment(2 + buyer % 4).v2()).collect();
        wait::until("all of them to land", Duration::from_secs(60), || {
            let replies = world.settle_all(&bodies);
            replies
                .iter()
                .all(|reply| reply.is_success() || reply.field("errorReason") == reason::DUPLICATE)
                .then_some(())
        });
        drop(blocks);
        assert_eq!((world.sent(), world.mined()), (21, 21), "no gap: {message}");
    }
}

#[test]
fn t113_a_chain_without_gas_estimates_is_served_by_calls() {
    let world = World::start();
    world
        .proxy
        .on("eth_estimateGas", Fault::RpcError(error(-32000, "Exec Failed")));
    let body = world.payment(2).v2();
    world.verify(&body).valid();
    let _ = world.settle(&body).paid();
    assert_eq!(sent(&world)[0].gas_limit, 400_000, "the ceiling");
    // Nothing works: nothing is decided about the payment, and the log names the methods.
    assert_eq!(world.facilitator.get("/ready").status, 200);
    world
        .proxy
        .on("eth_call", Fault::RpcError(error(-32000, "Exec Failed")));
    world.untouched(|| {
        let reply = world.settle(&world.payment(3).v2());
        assert_eq!(reply.status, 503, "{reply:?}");
    });
    wait::until("a network that names the methods", wait::LONG, || {
        let ready = world.facilitator.get("/ready");
        let why = ready.json["networks"][0]["why"].as_str().unwrap_or_default();
        let names_both = why.contains("eth_estimateGas") && why.contains("eth_call");
        (ready.status == 503 && names_both).then_some(())
    });
    // It stays so while nobody pays.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(world.facilitator.get("/ready").status, 503);
    world.proxy.heal();
    world.facilitator.wait_ready().expect("it recovers");
    let _ = world.settle(&world.payment(3).v2()).paid();
}

#[test]
fn t114_gas_above_the_ceiling_names_the_option_and_a_higher_one_pays() {
    let more_gas = || {
        Fault::edit(|_, result| {
            let gas = result
                .as_str()
                .and_then(|gas| u64::from_str_radix(&gas[2..], 16).ok());
            *result = json!(format!("{:#x}", gas.expect("gas") + 600_000));
        })
    };
    let world = World::start();
    world.proxy.on("eth_estimateGas", more_gas());
    let body = world.payment(2).v2();
    world.untouched(|| {
        let reply = world.settle(&body);
        reply.refused(reason::SIMULATION);
        let text = reply.json.to_string();
        assert!(text.contains("max_gas"), "{text}");
    });
    drop(world);
    let world = World::builder()
        .network("options = { max_clock_skew_s = 0, max_head_age_s = 0, max_gas = 1000000 }")
        .start();
    world.proxy.on("eth_estimateGas", more_gas());
    let _ = world.settle(&world.payment(2).v2()).paid();
}

#[test]
fn t115_a_provider_that_limits_logs_to_ten_blocks_keeps_no_payment_pending() {
    let world = World::builder()
        .server("settle_wait_seconds = 1")
        .network("finality = 2\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }")
        .mining(Mining::Manual)
        .start();
    world.chain.mine(80).expect("mines");
    world.proxy.on(
        "eth_getLogs",
        Fault::refuse_when(|params| {
            let number = |name: &str| {
                let text = params[0][name].as_str()?;
                u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
            };
            let blocks = number("toBlock")?.checked_sub(number("fromBlock")?)?;
            (blocks >= 10).then(|| error(-32602, "exceed maximum block range: 10"))
        }),
    );
    // Another sender submits the authorization first: ours reverts, and the logs show that it is paid.
    let payment = world.payment(2);
    let body = payment.v2();
    let _ = world.settle(&body).pending();
    let stranger = &world.chain.facilitators[1].address;
    let taken = world
        .chain
        .enqueue(stranger, USDC, &payment.calldata(), 200_000, 20_000_000_000);
    let taken = taken.expect("taken");
    let blocks = Blocks::every(&world.chain, BLOCK);
    let hash = wait::until("an end", Duration::from_secs(60), || {
        let reply = world.settle(&body);
        let is_open = reply.status == 503 || reply.field("errorReason") == "settlement_pending";
        (!is_open).then(|| reply.field("transaction").to_owned())
    });
    assert_eq!(hash, taken, "the transaction that paid");
    assert_eq!((world.transfers(), world.earned()), (1, PRICE));
    wait::until("the limit in the log", wait::LONG, || {
        world
            .facilitator
            .log()
            .contains("write max_log_range = 10")
            .then_some(())
    });
    drop(blocks);
}

#[test]
fn t160_a_node_without_the_pending_state_serves_all_requests() {
    let world = World::start();
    for method in [
        "eth_call",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_getBalance",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getTransactionCount",
    ] {
        world.proxy.on(
            method,
            Fault::refuse_when(|params| {
                let is_pending = params.to_string().contains("\"pending\"");
                is_pending.then(|| error(-32000, "pending block is not available"))
            }),
        );
    }
    let body = world.payment(2).v2();
    world.verify(&body).valid();
    let _ = world.settle(&body).paid();
    assert_eq!(world.earned(), PRICE);
}

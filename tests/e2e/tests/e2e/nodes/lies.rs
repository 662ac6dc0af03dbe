//! Further lies and races about payments on EVM chains.

use std::time::{Duration, Instant};

use devnet::{Mining, USDC};
use e2e::payment::PRICE;
use e2e::{Blocks, Fault, Kind, Reply, View, World, wait};
use serde_json::{Value, json};

use super::{
    BLOCK, DECIDED, escrow_world, held, is_on_chain, order, settle_down, state, until_failed, world,
};
use crate::reason;

const RECEIPT: &str = "eth_getTransactionReceipt";
const TRANSACTION: &str = "eth_getTransactionByHash";
const LOGS: &str = "eth_getLogs";
/// How long a lie is told.
const LIE: Duration = Duration::from_secs(6);
const GAS: u64 = 200_000;
const TIP_WEI: u128 = 20_000_000_000;

/// While a lie lasts, with blocks that come, each answer is pending (or 503), or a success that is true.
#[track_caller]
fn no_false_word(world: &World, settle: impl Fn() -> Reply) {
    let started = Instant::now();
    let mut told = false;
    while started.elapsed() < LIE {
        let reply = settle();
        if reply.is_success() {
            assert!(!told, "told twice");
            let hash = reply.paid();
            assert!(is_on_chain(world, &hash), "{hash} is not on chain");
            told = true;
        } else if told || reply.field("errorReason") == reason::DUPLICATE {
            assert_eq!(reply.field("errorReason"), reason::DUPLICATE, "{reply:?}");
            let hash = reply.field("transaction");
            assert!(is_on_chain(world, hash), "{hash} is not on chain");
            // Nothing new is to be heard, and callers have a rate.
            std::thread::sleep(BLOCK);
        } else if reply.status != 503 {
            let _ = reply.pending();
        }
        world.chain.mine(1).expect("mines");
    }
}

/// Settles until it is told as `success`, or was told before, and gives its transaction.
#[track_caller]
fn until_told(settle: impl Fn() -> Reply) -> String {
    wait::until("success", DECIDED, || {
        let reply = settle();
        if reply.is_success() {
            return Some(reply.paid());
        }
        if reply.field("errorReason") == reason::DUPLICATE {
            return Some(reply.field("transaction").to_owned());
        }
        if reply.status != 503 {
            let _ = reply.pending();
        }
        None
    })
}

/// One payment was made, by this transaction.
#[track_caller]
fn once(world: &World, hash: &str) {
    settle_down(world, 6);
    assert!(is_on_chain(world, hash), "{hash} is not on chain");
    assert_eq!((world.transfers(), world.earned()), (1, PRICE));
}

/// Mines a block with exactly these transactions in this order, in place of the newest one.
fn replaced_by(world: &World, raws: &[String]) {
    let txs: Vec<Value> = raws.iter().map(|raw| json!([raw, 0])).collect();
    world
        .chain
        .rpc()
        .call("anvil_reorg", json!([1, txs]))
        .expect("the newest block is replaced");
}

fn stranger_first(world: &World, calldata: &str) -> String {
    let stranger = &world.chain.facilitators[1].address;
    let hash = world
        .chain
        .enqueue(stranger, USDC, calldata, GAS, TIP_WEI)
        .expect("taken");
    world.chain.mine(1).expect("mines");
    hash
}

fn unrelated(receipt: &mut Value) {
    receipt["logs"] = json!([]);
    receipt["logsBloom"] = json!(format!("0x{}", "0".repeat(512)));
}

/// The logs that a filter's emitter and topics ask for, wherever its blocks are.
fn matching(logs: &[Value], filter: &Value) -> Vec<Value> {
    let equal = |one: &Value, other: &Value| {
        let (one, other) = (
            one.as_str().unwrap_or_default(),
            other.as_str().unwrap_or_default(),
        );
        one.eq_ignore_ascii_case(other)
    };
    let is_asked = |log: &&Value| {
        let topics = filter["topics"].as_array().cloned().unwrap_or_default();
        equal(&log["address"], &filter["address"])
            && topics.iter().enumerate().all(|(at, wanted)| match wanted {
                Value::Null => true,
                Value::Array(any) => any.iter().any(|one| equal(one, &log["topics"][at])),
                one => equal(one, &log["topics"][at]),
            })
    };
    logs.iter().filter(is_asked).cloned().collect()
}

// 1. The receipt says status 1, and its logs are missing.
#[test]
fn a01_a_receipt_without_its_logs_fails_no_payment() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
    );
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_told(|| world.settle(&body)), sent);
    once(&world, &sent);
}

// 1b. The same for a capture.
#[test]
fn a01b_a_receipt_without_its_logs_fails_no_capture() {
    let world = escrow_world(4).start();
    let bound = held(&world, 2, 10_000, "without logs");
    world.chain.mine(6).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
    );
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || order(&world, &body));
    world.proxy.heal();
    assert_eq!(until_told(|| order(&world, &body)), sent);
    settle_down(&world, 6);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

// 2. The receipt says status 0 and has no logs, though the transaction paid; state and logs are honest.
#[test]
fn a02_a_receipt_that_calls_a_success_reverted_fails_no_payment() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
                result["status"] = json!("0x0");
            }
        }),
    );
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_told(|| world.settle(&body)), sent);
    once(&world, &sent);
}

#[test]
fn a02b_a_receipt_that_calls_a_success_reverted_fails_no_capture() {
    let world = escrow_world(4).start();
    let bound = held(&world, 2, 10_000, "called reverted");
    world.chain.mine(6).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
                result["status"] = json!("0x0");
            }
        }),
    );
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || order(&world, &body));
    world.proxy.heal();
    assert_eq!(until_told(|| order(&world, &body)), sent);
    settle_down(&world, 6);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

// 3. A receipt with a log index that occurs twice, and one of another transaction.
#[test]
fn a03_malformed_receipts_decide_nothing() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if let Some(logs) = result["logs"].as_array_mut() {
                for log in logs {
                    log["logIndex"] = json!("0x0");
                }
            }
        }),
    );
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || world.settle(&body));
    // Somebody else's, that did exactly the same for another payer.
    let other = world.payment(3);
    let theirs = stranger_first(&world, &other.calldata());
    let receipt = world.chain.receipt(&theirs).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(receipt.clone()));
    no_false_word(&world, || world.settle(&body));
    // The same with our hash at its top.
    let ours = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |_, result| {
            *result = receipt.clone();
            result["transactionHash"] = json!(ours);
        }),
    );
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_told(|| world.settle(&body)), sent);
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (1, 2, 2 * PRICE)
    );
}

// 4. The receipt of a block that a reorganisation has taken away stays for ever; the transaction is nowhere.
#[test]
fn a04_a_receipt_of_a_block_that_is_gone_is_no_success() {
    let world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    // Whatever is sent again gets lost.
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    assert_eq!(world.transfers(), 0);
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    no_false_word(&world, || world.settle(&body));
    assert_eq!(world.transfers(), 0);
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_told(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

// 5. The same, seen as paid and not told before the reorganisation.
#[test]
fn a05_a_stale_receipt_releases_no_payment_that_was_reorganised_away() {
    let world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    assert_eq!(world.transfers(), 0);
    no_false_word(&world, || world.settle(&body));
    assert_eq!(world.transfers(), 0);
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_told(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

// 6. Logs of a sibling fork, where a stranger was first. Ours landed; its receipt is late.
#[test]
fn a06_logs_of_a_sibling_fork_name_no_transaction_of_a_success() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    world.proxy.on(TRANSACTION, Fault::Answer(json!(null)));
    world.proxy.on(LOGS, Fault::Answer(json!([])));
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    let theirs = stranger_first(&world, &payment.calldata());
    let fork = world.chain.logs(USDC, None).expect("answers");
    let fork: Vec<Value> = fork
        .into_iter()
        .filter(|log| log["transactionHash"] == theirs.as_str())
        .collect();
    assert!(fork.len() >= 2, "{fork:?}");
    replaced_by(&world, &[ours]);
    world.chain.drop_all_transactions().expect("dropped");
    assert!(is_on_chain(&world, &sent) && !is_on_chain(&world, &theirs));
    world.proxy.on(
        LOGS,
        Fault::answer_with(move |params| json!(matching(&fork, &params[0]))),
    );
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_told(|| world.settle(&body)), sent);
    once(&world, &sent);
}

// 7. A front-runner in a block that is gone: ours reverted there, and its stale receipt stays; ours has landed since.
#[test]
fn a07_a_stale_reverted_receipt_fails_no_payment_that_landed_since() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    let theirs = stranger_first(&world, &payment.calldata());
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(stale["status"], "0x0");
    replaced_by(&world, &[ours]);
    world.chain.drop_all_transactions().expect("dropped");
    assert!(!is_on_chain(&world, &theirs) && world.transfers() == 1);
    let ours = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == ours.as_str() {
                *result = stale.clone();
            }
        }),
    );
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_told(|| world.settle(&body)), sent);
    once(&world, &sent);
}

// 8. A reorganisation moves it to another block of the same height, between the record and the release.
#[test]
fn a08_a_payment_that_moves_to_another_block_of_its_height_is_told_once() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let before = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    let (paid, others) = std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut told = 0;
                    wait::until("a decision", DECIDED, || {
                        let reply = world.settle(&body);
                        if reply.is_success() {
                            assert_eq!(reply.paid(), sent);
                            told += 1;
                        }
                        (reply.status == 200 && reply.field("errorReason") != "settlement_pending")
                            .then_some(())
                    });
                    told
                })
            })
            .collect();
        replaced_by(&world, std::slice::from_ref(&ours));
        let told: Vec<i32> = waiting
            .into_iter()
            .map(|one| one.join().expect("a decision"))
            .collect();
        (told.iter().sum::<i32>(), told.len())
    });
    let after = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(before["blockNumber"], after["blockNumber"]);
    assert_ne!(before["blockHash"], after["blockHash"]);
    assert_eq!((paid, others), (1, 4));
    once(&world, &sent);
    world.wait_slots_closed();
}

// 9. The nonce moves without any transaction (as an EIP-7702 authorization does), once, and every time.
#[test]
fn a09_a_nonce_that_moves_without_a_transaction_costs_a_new_slot_only() {
    let world = world(3).mining(Mining::Manual).start();
    let signer = world.chain.facilitators[0].address.clone();
    let body = world.payment(2).v2();
    let _ = world.settle(&body).pending();
    world.chain.drop_all_transactions().expect("dropped");
    world.chain.set_nonce(&signer, 1).expect("set");
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_told(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

#[test]
fn a09b_a_nonce_that_keeps_moving_without_a_transaction_fails_the_payment_with_proof() {
    let world = world(3).mining(Mining::Manual).start();
    let signer = world.chain.facilitators[0].address.clone();
    let body = world.payment(2).v2();
    let _ = world.settle(&body).pending();
    let mut nonce = 0;
    let failed = wait::until("a failure", DECIDED, || {
        let pending = world.chain.pending_count(&signer).expect("answers");
        if pending > u128::from(nonce) {
            world.chain.drop_all_transactions().expect("dropped");
            nonce += 1;
            world.chain.set_nonce(&signer, nonce).expect("set");
        }
        world.chain.mine(1).expect("mines");
        let reply = world.settle(&body);
        assert!(!reply.is_success(), "{reply:?}");
        (reply.status == 200 && reply.field("errorReason") != "settlement_pending").then_some(reply)
    });
    println!("{nonce} nonces: {failed:?}");
    assert_eq!(nonce, 3, "a slot and two new ones");
    let hash = failed.field("transaction");
    assert!(hash.is_empty() || is_on_chain(&world, hash));
    // Nobody disturbs any more: asked again it is paid.
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::until("success", DECIDED, || {
        let reply = world.settle(&body);
        reply.is_success().then(|| reply.paid())
    });
    drop(blocks);
    once(&world, &paid);
}

// 10. Two nodes; the slot was taken from us, and one calls the authorization used though it is not.
#[test]
fn a10_nodes_that_disagree_about_the_authorization_decide_nothing() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let signer = world.chain.facilitators[0].address.clone();
    let body = world.payment(2).v2();
    let _ = world.settle(&body).pending();
    let used = json!(format!("0x{:064x}", 1));
    world.second.on("eth_call", Fault::Answer(used));
    world.chain.drop_all_transactions().expect("dropped");
    world.chain.set_nonce(&signer, 1).expect("set");
    no_false_word(&world, || world.settle(&body));
    world.second.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_told(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

// 10b. Two nodes; ours has landed, both hide it, and the first calls the authorization unused.
#[test]
fn a10b_a_node_that_calls_a_used_authorization_unused_has_nothing_sent_again() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let unused = json!(format!("0x{:064x}", 0));
    let sent = world.settle(&body).pending();
    for node in [&world.proxy, &world.second] {
        for method in [RECEIPT, TRANSACTION] {
            node.on(method, Fault::Answer(json!(null)));
        }
        node.on(LOGS, Fault::Answer(json!([])));
    }
    world.proxy.on("eth_call", Fault::Answer(unused));
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || world.settle(&body));
    assert_eq!(world.sent(), 1);
    world.proxy.heal();
    world.second.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_told(|| world.settle(&body)), sent);
    drop(blocks);
    once(&world, &sent);
    assert_eq!(world.sent(), 1);
}

// 11. A capture that nobody shows until its slot is closed; meanwhile a void is ordered; then the nodes are honest.
#[test]
fn a11_a_void_behind_a_capture_that_nobody_shows_leaves_both_told() {
    let mut world = escrow_world(3).start();
    let bound = held(&world, 2, 10_000, "void races");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let capture = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let void = bound.order(&world, &e2e::order::Order::Void);
    let captured = order(&world, &capture).pending();
    world.proxy.see(View {
        empty: vec![Kind::Receipts, Kind::Transactions, Kind::Logs],
        ..View::default()
    });
    world.chain.mine(1).expect("mines");
    assert_eq!(state(&world, &bound), (8_000, 2_000));
    wait::until("nobody can explain it", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        std::thread::sleep(Duration::from_millis(200));
        let reply = order(&world, &capture);
        assert_eq!(reply.pending(), captured);
        (world.metric("switchyard_unexplained_total", "") > 0).then_some(())
    });
    let early = order(&world, &void);
    println!("void: {early:?}");
    assert!(!early.is_success(), "nothing is shown");
    world.chain.mine(3).expect("mines");
    world.facilitator.kill();
    world.facilitator.restart();
    no_false_word(&world, || order(&world, &capture));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_told(|| order(&world, &capture)), captured);
    let voided = wait::until("the void", DECIDED, || {
        let reply = order(&world, &void);
        (reply.is_success() || (reply.status == 200 && reply.field("errorReason") != "settlement_pending"))
            .then_some(reply)
    });
    drop(blocks);
    println!("void at last: {voided:?}");
    let _ = voided.paid();
    settle_down(&world, 4);
    assert_eq!((world.sent(), state(&world, &bound)), (3, (0, 2_000)));
}

// 13. The front-runner's block has ours reverted and both reports; its Transfer log is not served, its use is.
#[test]
fn a13_half_of_a_front_runners_logs_fail_no_payment() {
    let world = world(3).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let _ = world.settle(&body).pending();
    let used = format!(
        "0x{}",
        hex::encode(e2e::sign::keccak(b"AuthorizationUsed(address,bytes32)"))
    );
    world.proxy.on(
        LOGS,
        Fault::edit(move |_, result| {
            if let Some(logs) = result.as_array_mut() {
                logs.retain(|log| log["topics"][0] == used.as_str());
            }
        }),
    );
    let theirs: std::sync::Arc<std::sync::Mutex<String>> = std::sync::Arc::default();
    let hidden = std::sync::Arc::clone(&theirs);
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            let hidden = hidden.lock().expect("unpoisoned");
            if hidden.is_empty() || params[0] == hidden.as_str() {
                *result = Value::Null;
            }
        }),
    );
    let hash = stranger_first(&world, &payment.calldata());
    theirs.lock().expect("unpoisoned").clone_from(&hash);
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_told(|| world.settle(&body)), hash);
    drop(blocks);
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    once(&world, &hash);
}

// 14. Ours failed for a reason that is gone with its block: a reverted block is reorganised away after the failure was told.
#[test]
fn a14_a_failure_whose_block_is_reorganised_away_ends_in_the_truth() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    // The token stops, our transaction reverts, and a reorganisation has it land.
    world.chain.drop_all_transactions().expect("dropped");
    let snapshot = world.chain.snapshot().expect("a snapshot");
    world.chain.pause(USDC, true).expect("paused");
    let taken = world.chain.rpc().call("eth_sendRawTransaction", json!([ours]));
    let _ = taken;
    world.chain.mine(1).expect("mines");
    let receipt = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(receipt["status"], "0x0");
    let failed = until_failed(|| world.settle(&body));
    assert_eq!(failed.field("transaction"), sent);
    world.chain.revert(&snapshot).expect("reverted");
    let taken = world.chain.rpc().call("eth_sendRawTransaction", json!([ours]));
    let _ = taken;
    world.chain.mine(3).expect("mines");
    assert_eq!(world.transfers(), 1);
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::until("success", DECIDED, || {
        let reply = world.settle(&body);
        reply.is_success().then(|| reply.paid())
    });
    drop(blocks);
    assert_eq!(paid, sent);
    once(&world, &sent);
}

/// Hides whatever shows our transaction but logs.
fn only_logs(world: &World) {
    for method in [RECEIPT, TRANSACTION] {
        world.proxy.on(method, Fault::Answer(json!(null)));
    }
}

// 15. Logs of a sibling fork show ours in a block that is gone; on the chain a stranger was first.
#[test]
fn a15_logs_of_a_sibling_fork_make_no_success_of_ours() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    only_logs(&world);
    world.proxy.on(LOGS, Fault::Answer(json!([])));
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    world.chain.mine(1).expect("mines");
    let fork = world.chain.logs(USDC, None).expect("answers");
    assert_eq!(world.transfers(), 1);
    // In its place: the stranger's first, then ours, which reverts.
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    let taken = world.chain.rpc().call("eth_sendRawTransaction", json!([ours]));
    let _ = taken;
    let theirs = stranger_first(&world, &payment.calldata());
    let receipt = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(world.transfers(), 1);
    world.proxy.on(
        LOGS,
        Fault::answer_with(move |params| json!(matching(&fork, &params[0]))),
    );
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_told(|| world.settle(&body)), theirs);
    drop(blocks);
    once(&world, &theirs);
}

// 16. Our own receipt is missing for long, and of its logs only the use is served.
#[test]
fn a16_half_of_our_own_logs_fail_no_payment() {
    let world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let used = format!(
        "0x{}",
        hex::encode(e2e::sign::keccak(b"AuthorizationUsed(address,bytes32)"))
    );
    only_logs(&world);
    world.proxy.on(
        LOGS,
        Fault::edit(move |_, result| {
            if let Some(logs) = result.as_array_mut() {
                logs.retain(|log| log["topics"][0] == used.as_str());
            }
        }),
    );
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_told(|| world.settle(&body)), sent);
    drop(blocks);
    once(&world, &sent);
}

// 17. A receipt of ours that says status 0, with state that is three blocks old by whatever name: guard and receipt agree.
#[test]
fn a17_a_stranger_who_was_first_with_a_receipt_without_logs_is_no_failure() {
    let world = world(3).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let ours = world.settle(&body).pending();
    let mine = ours.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if !result.is_null() && params[0] != mine.as_str() {
                unrelated(result);
            }
        }),
    );
    let theirs = stranger_first(&world, &payment.calldata());
    no_false_word(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_told(|| world.settle(&body)), theirs);
    drop(blocks);
    once(&world, &theirs);
}

// 18. Final by a stale receipt: the transaction is nowhere, the receipt stays past finality, the process starts anew.
#[test]
fn a18_a_stale_receipt_makes_nothing_final() {
    let mut world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    // Far past finality: nobody asks meanwhile.
    settle_down(&world, 12);
    world.proxy.heal();
    world.facilitator.kill();
    world.facilitator.restart_unready();
    let first = world.settle(&body);
    println!("a18: {}; transfers {}", first.text, world.transfers());
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::until("the transfer", DECIDED, || {
        let reply = world.settle(&body);
        assert!(!reply.is_success() || world.transfers() == 1, "{reply:?}");
        (world.transfers() == 1 && (reply.is_success() || reply.field("errorReason") == reason::DUPLICATE))
            .then_some(reply)
    });
    drop(blocks);
    once(&world, paid.field("transaction"));
}

// 19. The stale receipt while two nodes are configured, one honest: a pool of which the first lies.
#[test]
fn a19_a_stale_receipt_of_the_first_node_of_two_is_no_success() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    for node in [&world.proxy, &world.second] {
        node.on("eth_sendRawTransaction", Fault::Refuse);
    }
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    no_false_word(&world, || world.settle(&body));
    for node in [&world.proxy, &world.second] {
        node.heal();
    }
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_told(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

// 20. One receipt without logs once, then honest: the false failure is not told again, the payment is told paid.
#[test]
fn a20_one_receipt_without_logs_is_no_lasting_failure() {
    let world = world(6).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.proxy.on_for(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
        Duration::from_secs(1),
    );
    world.chain.mine(1).expect("mines");
    std::thread::sleep(Duration::from_millis(1_200));
    let paid = wait::try_until(Duration::from_secs(30), || {
        world.chain.mine(1).expect("mines");
        std::thread::sleep(Duration::from_millis(250));
        let reply = world.settle(&body);
        reply.is_success().then(|| reply.paid())
    });
    assert_eq!(paid, Some(sent.clone()));
    once(&world, &sent);
}

// 1c. A hold whose receipt has no logs.
#[test]
fn a01c_a_receipt_without_its_logs_fails_no_hold() {
    let world = escrow_world(4).mining(Mining::Manual).start();
    let hold = e2e::hold::Hold::v1_1(&world, 2, devnet::AUTH_CAPTURE_V11, e2e::hold::Method::Eip3009);
    let bound = e2e::order::Bound::new(&world, hold, "hold without logs");
    let body = bound.collect(&world);
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
    );
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    no_false_word(&world, || order(&world, &body));
    world.proxy.heal();
    assert_eq!(until_told(|| order(&world, &body)), sent);
    assert_eq!(world.sent(), 1);
}

// 21. A capture's receipt of a block that is gone, for ever, and far deeper than state is kept.
#[test]
fn a21_a_stale_receipt_makes_no_capture_however_deep_it_seems() {
    let world = escrow_world(3).start();
    let bound = held(&world, 2, 10_000, "stale receipt");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    assert_eq!(state(&world, &bound), (10_000, 0));
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    no_false_word(&world, || order(&world, &body));
    world.chain.mine(300).expect("mines");
    no_false_word(&world, || order(&world, &body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_told(|| order(&world, &body));
    drop(blocks);
    settle_down(&world, 5);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

// 23. The node gives one payment's receipt malformed for ever; its neighbour's is good.
#[test]
fn a23_one_malformed_receipt_keeps_no_other_payment_pending() {
    let world = world(3).mining(Mining::Manual).start();
    let bad = world.payment(2).v2();
    let sent = world.settle(&bad).pending();
    let spoiled = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == spoiled.as_str() && !result.is_null() {
                result["status"] = json!("0x7");
            }
        }),
    );
    world.chain.mine(1).expect("mines");
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = world.settle(&good);
        reply.is_success().then(|| reply.paid())
    });
    no_false_word(&world, || world.settle(&bad));
    world.proxy.heal();
    assert_eq!(until_told(|| world.settle(&bad)), sent);
    drop(blocks);
    assert!(paid.is_some(), "the neighbour stays pending");
    assert_eq!((world.transfers(), world.earned()), (2, 2 * PRICE));
}

// 24. The same with an error in place of one receipt, as of a node that still indexes.
#[test]
fn a24_an_error_for_one_receipt_keeps_no_other_payment_pending() {
    let world = world(3).mining(Mining::Manual).start();
    let bad = world.payment(2).v2();
    let sent = world.settle(&bad).pending();
    let spoiled = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::Edit(e2e::Edit(std::sync::Arc::new(move |params, answer| {
            if params[0] == spoiled.as_str() {
                *answer = json!({"jsonrpc": "2.0", "id": answer["id"],
                    "error": {"code": -32000, "message": "transaction indexing is in progress"}});
            }
        }))),
    );
    world.chain.mine(1).expect("mines");
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = world.settle(&good);
        reply.is_success().then(|| reply.paid())
    });
    no_false_word(&world, || world.settle(&bad));
    world.proxy.heal();
    assert_eq!(until_told(|| world.settle(&bad)), sent);
    drop(blocks);
    assert!(paid.is_some(), "the neighbour stays pending");
    assert_eq!((world.transfers(), world.earned()), (2, 2 * PRICE));
}

// 27. A capture that nobody shows, and behind it another of the same amount that nobody shows.
#[test]
fn a27_two_equal_captures_that_nobody_shows_are_told_with_their_own_hashes() {
    let world = escrow_world(3).start();
    let bound = held(&world, 2, 10_000, "equal captures");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let first = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let second = bound.order(&world, &bound.capture(2_000, (8_000, 2_000)));
    let one = order(&world, &first).pending();
    world.proxy.see(View {
        empty: vec![Kind::Receipts, Kind::Transactions, Kind::Logs],
        ..View::default()
    });
    world.chain.mine(1).expect("mines");
    wait::until("nobody can explain it", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        std::thread::sleep(Duration::from_millis(200));
        (world.metric("switchyard_unexplained_total", "") > 0).then_some(())
    });
    let two = order(&world, &second).pending();
    assert_ne!(one, two);
    world.chain.mine(6).expect("mines");
    assert_eq!(state(&world, &bound), (6_000, 4_000));
    no_false_word(&world, || order(&world, &first));
    no_false_word(&world, || order(&world, &second));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_told(|| order(&world, &second)), two);
    assert_eq!(until_told(|| order(&world, &first)), one);
    drop(blocks);
    settle_down(&world, 4);
    assert_eq!((world.sent(), state(&world, &bound)), (3, (6_000, 4_000)));
}

// 18b. The same without a restart: past finality by the stale receipt, then the nodes are honest.
#[test]
fn a18b_what_a_stale_receipt_called_final_is_no_success_from_memory() {
    let world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    settle_down(&world, 12);
    world.proxy.heal();
    let first = world.settle(&body);
    println!("a18b: {}; transfers {}", first.text, world.transfers());
    assert!(!first.is_success() || world.transfers() == 1, "{first:?}");
    let blocks = Blocks::every(&world.chain, BLOCK);
    let end = wait::try_until(Duration::from_secs(30), || {
        let reply = world.settle(&body);
        assert!(!reply.is_success() || world.transfers() == 1, "{reply:?}");
        std::thread::sleep(Duration::from_millis(200));
        (world.transfers() == 1).then_some(reply)
    });
    drop(blocks);
    println!("a18b: /ready {}", world.facilitator.get("/ready").text);
    assert!(end.is_some(), "never sent again");
}

// 21b. As 21, from a node that has no state of the block that is gone.
#[test]
fn a21b_a_stale_receipt_without_state_makes_no_capture_however_deep_it_seems() {
    stale_capture("header not found");
}

#[test]
fn a21c_a_stale_receipt_with_forgotten_state_makes_no_capture_however_deep_it_seems() {
    stale_capture("missing trie node 00 (path ) state is not available");
}

fn stale_capture(error: &'static str) {
    let world = escrow_world(3).start();
    let bound = held(&world, 2, 10_000, "stale receipt, no state");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    let gone = stale["blockHash"].clone();
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    world.proxy.on(
        "eth_call",
        Fault::Edit(e2e::Edit(std::sync::Arc::new(move |params, answer| {
            if params[1]["blockHash"] == gone {
                *answer = json!({"jsonrpc": "2.0", "id": answer["id"],
                    "error": {"code": -32000, "message": error}});
            }
        }))),
    );
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    no_false_word(&world, || order(&world, &body));
    world.chain.mine(80).expect("mines");
    no_false_word(&world, || order(&world, &body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_told(|| order(&world, &body));
    drop(blocks);
    settle_down(&world, 5);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

// 30. The signer's key is used elsewhere for another capture; logs of a sibling fork show ours, long ago.
#[test]
fn a30_logs_of_a_sibling_fork_make_no_capture_however_deep_they_seem() {
    let world = escrow_world(3).start();
    let bound = held(&world, 2, 10_000, "forked logs");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    only_logs(&world);
    world.proxy.on(LOGS, Fault::answer_with(|_| json!([])));
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    let deployment = bound.hold.deployment;
    let fork = world.chain.logs(deployment.escrow, None).expect("answers");
    let fork: Vec<Value> = fork
        .into_iter()
        .filter(|log| log["transactionHash"] == sent.as_str())
        .collect();
    assert!(!fork.is_empty());
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    let info = bound.hold.info.clone();
    let fee = e2e::order::fee_of(&deployment, 3_000, info.min_fee_bps);
    let other = deployment
        .capture(&info, 3_000, fee, &info.fee_receiver)
        .expect("encodes");
    let signer = &world.chain.facilitators[0].address;
    let hash = world
        .chain
        .enqueue(signer, deployment.escrow, &other, 500_000, TIP_WEI)
        .expect("taken");
    world.chain.mine(1).expect("mines");
    let receipt = world.chain.receipt(&hash).expect("answers");
    println!(
        "a30: {:?}",
        receipt.map(|receipt| (receipt["status"].clone(), receipt["transactionHash"].clone()))
    );
    assert_eq!(state(&world, &bound), (7_000, 3_000));
    world.proxy.on(
        LOGS,
        Fault::answer_with(move |params| json!(matching(&fork, &params[0]))),
    );
    no_false_word(&world, || order(&world, &body));
    world.chain.mine(80).expect("mines");
    no_false_word(&world, || order(&world, &body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let end = until_failed(|| order(&world, &body));
    drop(blocks);
    println!("a30: {}", end.text);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (7_000, 3_000)));
}

// 23b. As 23, with a second node that is honest.
#[test]
fn a23b_one_malformed_receipt_of_one_of_two_nodes_keeps_nobody_pending() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let bad = world.payment(2).v2();
    let sent = world.settle(&bad).pending();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == sent.as_str() && !result.is_null() {
                result["status"] = json!("0x7");
            }
        }),
    );
    world.chain.mine(1).expect("mines");
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = world.settle(&good);
        reply.is_success().then(|| reply.paid())
    });
    drop(blocks);
    assert!(paid.is_some(), "the neighbour stays pending");
}

// 24b. A reorganisation moves a capture; its receipt keeps naming the block that is gone, of which there is no state.
#[test]
fn a24b_a_receipt_of_a_block_without_state_keeps_no_other_payment_pending() {
    let world = escrow_world(3).start();
    let bound = held(&world, 2, 10_000, "neighbour");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let sent = order(&world, &body).pending();
    let ours = world.proxy.transactions().pop().expect("sent");
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    let gone = stale["blockHash"].clone();
    replaced_by(&world, &[ours]);
    assert_eq!(state(&world, &bound), (8_000, 2_000));
    world.proxy.on(
        "eth_call",
        Fault::Edit(e2e::Edit(std::sync::Arc::new(move |params, answer| {
            if params[1]["blockHash"] == gone {
                *answer = json!({"jsonrpc": "2.0", "id": answer["id"],
                    "error": {"code": -32000, "message": "header not found"}});
            }
        }))),
    );
    let spoiled = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == spoiled.as_str() {
                *result = stale.clone();
            }
        }),
    );
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = order(&world, &good);
        reply.is_success().then(|| reply.paid())
    });
    assert_eq!(order(&world, &body).pending(), sent);
    world.proxy.heal();
    assert_eq!(until_told(|| order(&world, &body)), sent);
    drop(blocks);
    assert_eq!((world.sent(), state(&world, &bound)), (3, (8_000, 2_000)));
    assert!(paid.is_some(), "the neighbour stays pending");
}

//! Logs of a sibling fork, half of them, or none.

use std::time::Duration;

use devnet::{Mining, USDC};
use e2e::{Blocks, Fault, Kind, View, World, wait};
use serde_json::{Value, json};

use super::super::{
    BLOCK, ahead_of_all, escrow_world, held_for_good, is_on_chain, order, settle_down, state, until_failed,
    world,
};
use super::{no_false_success, once, replaced_by, unrelated, until_answered};
use crate::reason;

const RECEIPT: &str = "eth_getTransactionReceipt";
const TRANSACTION: &str = "eth_getTransactionByHash";
const LOGS: &str = "eth_getLogs";
const TIP_WEI: u128 = 20_000_000_000;

/// Hides whatever shows our transaction but logs.
fn only_logs(world: &World) {
    for method in [RECEIPT, TRANSACTION] {
        world.proxy.on(method, Fault::Answer(json!(null)));
    }
}

/// The logs that a filter's emitter and topics match, wherever its blocks are.
fn matching(logs: &[Value], filter: &Value) -> Vec<Value> {
    let equal = |one: &Value, other: &Value| {
        let (one, other) = (
            one.as_str().unwrap_or_default(),
            other.as_str().unwrap_or_default(),
        );
        one.eq_ignore_ascii_case(other)
    };
    let fits_filter = |log: &&Value| {
        let topics = filter["topics"].as_array().cloned().unwrap_or_default();
        equal(&log["address"], &filter["address"])
            && topics.iter().enumerate().all(|(at, wanted)| match wanted {
                Value::Null => true,
                Value::Array(any) => any.iter().any(|one| equal(one, &log["topics"][at])),
                one => equal(one, &log["topics"][at]),
            })
    };
    logs.iter().filter(fits_filter).cloned().collect()
}

/// Logs of a sibling fork, where a stranger was first. Ours landed; its receipt is late.
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
    let theirs = ahead_of_all(&world, &payment.calldata());
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
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_answered(|| world.settle(&body)), sent);
    once(&world, &sent);
}

/// The front-runner's block has ours reverted and both reports; its Transfer log is not served, its use is.
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
    let hash = ahead_of_all(&world, &payment.calldata());
    theirs.lock().expect("unpoisoned").clone_from(&hash);
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_answered(|| world.settle(&body)), hash);
    drop(blocks);
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    once(&world, &hash);
}

/// Logs of a sibling fork show ours in a block that is gone; on the chain a stranger was first.
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
    let theirs = ahead_of_all(&world, &payment.calldata());
    let receipt = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(world.transfers(), 1);
    world.proxy.on(
        LOGS,
        Fault::answer_with(move |params| json!(matching(&fork, &params[0]))),
    );
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_answered(|| world.settle(&body)), theirs);
    drop(blocks);
    once(&world, &theirs);
}

/// Our own receipt is missing for long, and of its logs only the use is served.
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
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_answered(|| world.settle(&body)), sent);
    drop(blocks);
    once(&world, &sent);
}

/// A receipt of ours that has status 0, with state that is three blocks old by whatever name: guard and receipt agree.
#[test]
fn a17_another_sender_who_was_first_with_a_receipt_without_logs_is_no_failure() {
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
    let theirs = ahead_of_all(&world, &payment.calldata());
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_answered(|| world.settle(&body)), theirs);
    drop(blocks);
    once(&world, &theirs);
}

/// A capture that nobody shows, and after it another of the same amount that nobody shows.
#[test]
fn a27_two_equal_captures_without_receipts_are_answered_with_their_own_hashes() {
    let world = escrow_world(3).start();
    let bound = held_for_good(&world, "equal captures");
    let first = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let second = bound.order(&world, &bound.capture(2_000, (8_000, 2_000)));
    let one = order(&world, &first).pending();
    world.proxy.set_view(View {
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
    no_false_success(&world, || order(&world, &first));
    no_false_success(&world, || order(&world, &second));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_answered(|| order(&world, &second)), two);
    assert_eq!(until_answered(|| order(&world, &first)), one);
    drop(blocks);
    settle_down(&world, 4);
    assert_eq!((world.sent(), state(&world, &bound)), (3, (6_000, 4_000)));
}

/// The signer's key is used elsewhere for another capture; logs of a sibling fork show ours, long ago.
#[test]
fn a30_logs_of_a_sibling_fork_make_no_capture_however_deep_they_seem() {
    let world = escrow_world(3).start();
    let bound = held_for_good(&world, "forked logs");
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
    assert!(is_on_chain(&world, &hash));
    assert_eq!(state(&world, &bound), (7_000, 3_000));
    world.proxy.on(
        LOGS,
        Fault::answer_with(move |params| json!(matching(&fork, &params[0]))),
    );
    no_false_success(&world, || order(&world, &body));
    world.chain.mine(80).expect("mines");
    no_false_success(&world, || order(&world, &body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_failed(|| order(&world, &body));
    drop(blocks);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (7_000, 3_000)));
}

//! Nodes that show receipts and logs that are not so. Each payment ends in one transfer and a true answer.

mod logs;
mod receipts;
mod stale;

use std::time::{Duration, Instant};

use e2e::payment::PRICE;
use e2e::{Reply, World, wait};
use serde_json::{Value, json};

use super::{BLOCK, DECIDED, is_on_chain, settle_down};
use crate::reason;

/// How long a node lies.
const LIE: Duration = Duration::from_secs(6);

/// While a lie lasts, with blocks that come, each answer is pending (or 503), or a success that is true.
#[track_caller]
pub(super) fn no_false_success(world: &World, settle: impl Fn() -> Reply) {
    let started = Instant::now();
    let mut is_answered = false;
    while started.elapsed() < LIE {
        let reply = settle();
        if reply.is_success() {
            assert!(!is_answered, "answered twice");
            let hash = reply.paid();
            assert!(is_on_chain(world, &hash), "{hash} is not on chain");
            is_answered = true;
        } else if is_answered || reply.field("errorReason") == reason::DUPLICATE {
            assert_eq!(reply.field("errorReason"), reason::DUPLICATE, "{reply:?}");
            let hash = reply.field("transaction");
            assert!(is_on_chain(world, hash), "{hash} is not on chain");
            // The answer does not change any more, and callers have a rate limit.
            std::thread::sleep(BLOCK);
        } else if reply.status != 503 {
            let _ = reply.pending();
        }
        world.chain.mine(1).expect("mines");
    }
}

/// Settles until the reply is `success`, or `duplicate_settlement` after an earlier one, and returns its transaction.
#[track_caller]
pub(super) fn until_answered(settle: impl Fn() -> Reply) -> String {
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
pub(super) fn once(world: &World, hash: &str) {
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

fn unrelated(receipt: &mut Value) {
    receipt["logs"] = json!([]);
    receipt["logsBloom"] = json!(format!("0x{}", "0".repeat(512)));
}

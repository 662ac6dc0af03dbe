//! Nodes as they are: late, pruned, balanced, of another chain. What a node does not show proves nothing; each payment
//! here ends in one transfer and a true answer.

mod bids;
mod by_blocks;
mod calls;
mod chains;
mod copies;
mod cost;
mod kinds;
mod late;
mod lies;
mod other_senders;
mod releases;
mod restart;
mod reverts;
mod slots;

use std::time::Duration;

use devnet::{AUTH_CAPTURE_V11, Mining, USDC};
use e2e::escrow::{self, SHOP_KEY, post};
use e2e::hold::{Hold, Method};
use e2e::order::Bound;
use e2e::world::Builder;
use e2e::{Reply, World, wait};
use serde_json::Value;

/// Far beyond any wait of the engine that these tests provoke.
const DECIDED: Duration = Duration::from_secs(90);
/// A block of a fast chain.
const BLOCK: Duration = Duration::from_millis(250);

/// A world for payments by `exact`, whose callers wait a second.
fn world(finality: u64) -> Builder {
    World::builder()
        .server("settle_wait_seconds = 1")
        .network(&network(finality))
}

/// A world for payments by `auth-capture`, whose callers wait a second.
fn escrow_world(finality: u64) -> Builder {
    escrow::world("")
        .server("settle_wait_seconds = 1")
        .network(&network(finality))
}

fn network(finality: u64) -> String {
    format!("finality = {finality}\noptions = {{ max_clock_skew_s = 0, max_head_age_s = 0 }}")
}

/// Settles until the answer is `success`, and gives its transaction. Until then every answer is `settlement_pending`, or
/// 503 from a facilitator that has just started.
#[track_caller]
fn until_paid(settle: impl Fn() -> Reply) -> String {
    wait::until("success", DECIDED, || {
        let reply = settle();
        if reply.is_success() {
            return Some(reply.paid());
        }
        if reply.status != 503 {
            let _ = reply.pending();
        }
        None
    })
}

/// The same for a decided failure: its reason and transaction.
#[track_caller]
fn until_failed(settle: impl Fn() -> Reply) -> Reply {
    wait::until("a failure", DECIDED, || {
        let reply = settle();
        assert!(!reply.is_success(), "{reply:?}");
        (reply.status == 200 && reply.field("errorReason") != "settlement_pending").then_some(reply)
    })
}

/// A payment of so many units that is held in escrow and takes orders.
#[track_caller]
fn held(world: &World, buyer: usize, units: u128, name: &str) -> Bound {
    let mut hold = Hold::v1_1(world, buyer, AUTH_CAPTURE_V11, Method::Eip3009);
    hold.info.max_amount = units;
    let bound = Bound::new(world, hold, name);
    let body = bound.collect(world);
    let _ = until_paid(|| order(world, &body));
    bound
}

/// A payment of 10,000 units whose hold is final. From then on blocks come by hand.
#[track_caller]
fn held_for_good(world: &World, name: &str) -> Bound {
    let bound = held(world, 2, 10_000, name);
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    bound
}

/// Sends a stranger's call to the dollar so that the next block has it ahead of everything that waits, and mines it.
fn ahead_of_all(world: &World, calldata: &str) -> String {
    // Enough for a transfer by authorization, and above any tip that the facilitator offers.
    let (gas, tip_wei) = (200_000, 20_000_000_000);
    let stranger = &world.chain.facilitators[1].address;
    let hash = world.chain.enqueue(stranger, USDC, calldata, gas, tip_wei);
    let hash = hash.expect("taken");
    world.chain.mine(1).expect("mines");
    let receipt = world.chain.receipt(&hash).expect("the node answers");
    let status = receipt.expect("a receipt")["status"].clone();
    assert_eq!(status, "0x1", "the stranger was first");
    hash
}

/// Gives an order of the shop.
#[track_caller]
fn order(world: &World, body: &Value) -> Reply {
    post(world, "/settle", body, SHOP_KEY)
}

/// What is held and what was captured of a payment.
#[track_caller]
fn state(world: &World, bound: &Bound) -> (u128, u128) {
    let hash = bound.hold.hash(world);
    let state = world.chain.payment_state(&bound.hold.deployment, &hash);
    let state = state.expect("the node answers");
    (state.capturable, state.refundable)
}

/// Lets so many further blocks come, so that whatever might still be sent is sent.
fn settle_down(world: &World, blocks: u64) {
    for _ in 0..blocks {
        world.chain.mine(1).expect("mines");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether a transaction is in a block of the chain.
#[track_caller]
fn is_on_chain(world: &World, hash: &str) -> bool {
    world.chain.receipt(hash).expect("the node answers").is_some()
}

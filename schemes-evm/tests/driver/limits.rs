//! What nodes and the host limit: the size of answers, and the range of searches.

use sdk_plugin::chain::{TxState, Watch};
use sdk_plugin::scheme::EvidenceWanted;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{ChainDriver, Fault, FaultKind};
use serde_json::json;

use crate::node::{ASSET, World, hash, log, node_error, watch};
use crate::observing::{filter, with_evidence};
use crate::reading::check;

/// Captures by passkeys, or payments by wallets, as a node shows them: some 11 KiB each.
fn with_large_transactions(count: u64) -> (World, Vec<Watch>) {
    let world = World::new();
    for number in 0..count {
        world.node().transactions.insert(
            hash(number),
            json!({ "hash": hash(number), "blockHash": null, "input": format!("0x{}", "ab".repeat(5_500)) }),
        );
    }
    let pool = |number| Watch {
        pool: true,
        ..watch(number, 7 + number)
    };
    (world, (0..count).map(pool).collect())
}

#[test]
fn an_answer_above_the_message_limit_is_read_in_parts() {
    let (world, watches) = with_large_transactions(120);
    world.node().land(&hash(3), 99, true, vec![]);
    let seen = block_on(world.driver.observe(&world.narrow_cx(1 << 20), &watches)).expect("no fault");
    for (number, seen) in seen.iter().enumerate() {
        let landed = matches!(seen.state, TxState::Landed { .. });
        assert_eq!(landed, number == 3, "{number}: {seen:?}");
        assert!(landed || seen.state == TxState::Pending, "{seen:?}");
    }
    // Below the limit nothing changes.
    let (world, watches) = with_large_transactions(50);
    let seen = block_on(world.driver.observe(&world.narrow_cx(1 << 20), &watches)).expect("no fault");
    assert!(seen.iter().all(|seen| seen.state == TxState::Pending));
    assert_eq!(world.trips().len(), 1);
}

#[test]
fn one_answer_that_is_too_large_is_that_transactions_trouble_alone() {
    let world = World::new();
    let logs = (0..200).map(|index| log(index, ASSET, &[1, 10])).collect();
    world.node().land(&hash(1), 99, true, logs);
    world.node().land(&hash(2), 99, true, vec![]);
    let watches = [watch(1, 7), watch(2, 8)];
    let seen = block_on(world.driver.observe(&world.narrow_cx(16 << 10), &watches)).expect("no fault");
    assert_eq!(seen[0].state, TxState::Pending, "its receipt can't be read");
    assert!(matches!(seen[1].state, TxState::Landed { .. }));
}

#[test]
fn an_answer_that_the_host_refuses_whole_is_read_in_parts_and_an_outage_is_not() {
    let (world, watches) = with_large_transactions(3);
    let too_large = "no node of n gave a usable answer: node.example answered more than 16777216 bytes";
    world.host.queue_rpc_fault(Fault::unavailable(too_large));
    let seen = world.observe(&watches);
    assert!(seen.iter().all(|seen| seen.state == TxState::Pending));
    assert_eq!(world.trips(), [9, 4, 5]);
    world
        .host
        .queue_rpc_fault(Fault::unavailable("node.example did not answer"));
    let fault = block_on(world.driver.observe(&world.cx(), &watches)).expect_err("a fault");
    assert_eq!((fault.kind, world.trips().len()), (FaultKind::Unavailable, 4));
}

#[test]
fn an_answer_that_a_node_leaves_out_of_a_batch_is_requested_again() {
    let (world, watches) = with_large_transactions(2);
    world.node().land(&hash(1), 99, true, vec![]);
    for _ in 0..2 {
        world
            .host
            .queue_rpc("eth_getTransactionReceipt", node_error("response too large"));
    }
    let seen = world.observe(&watches);
    assert_eq!(seen[0].state, TxState::Pending);
    assert!(matches!(seen[1].state, TxState::Landed { .. }), "{:?}", seen[1]);
    assert_eq!(world.trips(), [7, 2, 1]);
}

#[test]
fn trouble_with_one_signers_nonce_is_no_trouble_of_the_others() {
    let world = World::new();
    world.node().land(&hash(2), 99, true, vec![]);
    let mut other = watch(1, 7);
    // Read first.
    other.lane.signer = "0x0000000000000000000000000000000000000001".into();
    world
        .host
        .queue_rpc("eth_getTransactionCount", node_error("missing trie node"));
    let seen = world.observe(&[other, watch(2, 7)]);
    assert_eq!(seen[0].state, TxState::Pending);
    assert!(matches!(seen[1].state, TxState::Landed { .. }));
}

fn searching(since_height: u64) -> Watch {
    let watch = Watch {
        search_foreign: true,
        since_height,
        ..watch(1, 7)
    };
    with_evidence(watch, |evidence: &mut EvidenceWanted| {
        evidence.foreign = vec![filter(&[Some(1), Some(10)])];
    })
}

/// Transactions found in the last 500 blocks, one of them 300 blocks deep; and whether the search was whole.
fn found(world: &World) -> (usize, bool) {
    let seen = world.observe(&[searching(500)]).remove(0);
    (seen.foreign.len(), seen.foreign_searched)
}

fn world_with_limit(blocks: u64, code: i64, message: &str) -> World {
    let world = World::new();
    {
        let mut node = world.node();
        node.head = 1_000;
        node.land(&hash(50), 700, true, vec![log(3, ASSET, &[1, 10])]);
        node.logs_limit = Some((blocks, code, message.to_owned()));
    }
    world
}

#[test]
fn t115_a_range_that_is_too_large_is_made_smaller_until_it_is_taken_and_that_is_remembered() {
    for (code, message, queries) in [
        (-32600, "eth_getLogs requests with up to a 10 block range", 50),
        (-32602, "exceed maximum block range: 10", 50),
        // Halved: 250, 125, 62, 31, 15, 7.
        (-32005, "Requested range exceeds maximum RPC range limit", 72),
        (-32005, "query timeout exceeded", 72),
    ] {
        let world = world_with_limit(10, code, message);
        assert_eq!(found(&world), (1, true), "{message}");
        let before = world.trips().len();
        assert_eq!(found(&world), (1, true), "{message}");
        let trips = world.trips().split_off(before);
        assert_eq!(trips[1], queries, "searched in one go: {message}: {trips:?}");
        // The operator gets a warning, with what to write.
        let warnings = check(&world, json!({})).warnings;
        let told = warnings.iter().find(|warning| warning.contains("eth_getLogs"));
        assert!(
            told.is_some_and(|told| told.contains(message) && told.contains("max_log_range = ")),
            "{warnings:?}"
        );
        // Limits change: it is tried again after an hour.
        world.node().logs_limit = None;
        world.host.advance_ms(3_600_000);
        let before = world.trips().len();
        assert_eq!(found(&world), (1, true));
        assert_eq!(world.trips()[before + 1], 1);
    }
}

#[test]
fn t115_a_search_that_is_refused_ends_incomplete_and_everything_else_is_observed() {
    let world = world_with_limit(0, -32005, "Requested range exceeds maximum RPC range limit");
    world.node().land(&hash(2), 999, true, vec![]);
    let seen = world.observe(&[searching(500), watch(2, 8)]);
    assert!(!seen[0].foreign_searched && seen[0].foreign.is_empty());
    assert!(matches!(seen[1].state, TxState::Landed { .. }));
    let is_told = || {
        let warnings = check(&world, json!({})).warnings;
        warnings
            .iter()
            .any(|warning| warning.contains("no node gives a whole answer to eth_getLogs"))
    };
    assert!(is_told());
    world.node().logs_limit = None;
    assert_eq!(found(&world), (1, true));
    assert!(!is_told());
}

#[test]
fn t115_a_search_that_no_node_answers_is_no_fault_of_the_view() {
    // By the host's message alone, which takes -32005 for a node's own error; then an outage during a poll.
    for (why, whole) in [
        (
            "node.example answered that it can't serve now (error -32005)",
            true,
        ),
        ("node.example did not answer", false),
    ] {
        let world = world_with_limit(1_000, 0, "");
        world.node().land(&hash(2), 1_000, true, vec![]);
        let watches = [searching(500), watch(2, 8)];
        // The poll itself comes first.
        let cx = world.cx_failing_at(1, Fault::unavailable(why));
        let seen = block_on(world.driver.observe(&cx, &watches)).expect("no fault");
        assert!(matches!(seen[1].state, TxState::Landed { .. }), "{why}");
        assert_eq!(
            (seen[0].foreign.len(), seen[0].foreign_searched),
            (usize::from(whole), whole),
            "{why}"
        );
    }
}

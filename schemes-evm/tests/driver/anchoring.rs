//! observe: slots that are used, guards, and blocks that were seen earlier. Absence decides nothing.

use sdk_plugin::chain::{Anchor, BlockRef, BlockStands, GuardState, Observation, TxState, Watch};
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::{ReadAt, ReadWanted};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{ChainDriver, FaultKind, Value};
use serde_json::json;

use crate::node::{ASSET, GUARD_DATA, NOW_S, World, block_id, guard, hash, log, node_error, watch};
use crate::observing::{filter, with_evidence};

/// A watch on a step with a guard, in the slot 7.
fn guarded(number: u64) -> Watch {
    with_evidence(watch(number, 7), |evidence| evidence.guard = Some(guard()))
}

/// A world whose slot 7 is used from this height on.
fn used_from(height: u64) -> World {
    let world = World::new();
    world.node().nonces.insert(height, 8);
    world
}

fn anchor(world: &World, watch: &Watch) -> Option<Anchor> {
    observe(world, watch).anchor
}

fn observe(world: &World, watch: &Watch) -> Observation {
    world.observe(std::slice::from_ref(watch)).remove(0)
}

fn following(height: u64) -> Watch {
    Watch {
        block: Some(BlockRef {
            id: block_id(height),
            height,
            time_s: 0,
        }),
        ..guarded(1)
    }
}

#[test]
fn a_used_slot_comes_with_nonce_and_guard_at_the_head_named_by_its_hash() {
    for (changed_at, expected) in [(None, GuardState::Unchanged), (Some(95), GuardState::Changed)] {
        let world = used_from(95);
        world.node().changed_at = changed_at;
        let seen = observe(&world, &guarded(1));
        assert_eq!(seen.state, TxState::SlotUsed);
        let found = seen.anchor.expect("an anchor");
        let block = BlockRef {
            id: block_id(100),
            height: 100,
            time_s: NOW_S - 2,
        };
        assert_eq!((found.block, found.next_sequence), (block, 8));
        assert_eq!(found.guards, [expected]);
        let recorded = format!("{:?}", world.host.recorded());
        assert!(recorded.contains("blockHash"), "{recorded}");
        assert_eq!(world.trips(), [4, 2]);
    }
}

#[test]
fn a_mined_transaction_without_a_receipt_is_a_used_slot_and_nothing_more() {
    let world = World::new();
    world.node().land(&hash(1), 100, true, vec![]);
    world.node().receipts.clear();
    world.node().nonces.insert(100, 8);
    assert_eq!(world.state(&guarded(1)), TxState::SlotUsed);
    // A nonce that is not used: the slot is still open.
    assert_eq!(world.state(&watch(2, 8)), TxState::Pending);
}

#[test]
fn a_block_that_the_node_lacks_or_has_forgotten_gives_no_anchor() {
    let world = used_from(95);
    world.host.queue_rpc("eth_call", node_error("header not found"));
    assert_eq!(anchor(&world, &guarded(1)).unwrap().guards, [GuardState::Unread]);
    // The state of every block is gone: the nonce at the named block is unknown too.
    world.node().state_from = 101;
    let fault = block_on(world.driver.observe(&world.cx(), &[guarded(1)]));
    assert!(fault.is_err(), "not even the newest nonce: {fault:?}");
}

#[test]
fn guards_that_answer_nonsense_are_unread() {
    for nonsense in [json!("0x"), json!("0x01"), Value::Null, json!(7)] {
        let world = used_from(95);
        world.host.queue_rpc("eth_call", RpcResult::Ok(nonsense.clone()));
        let found = anchor(&world, &guarded(1)).expect("an anchor");
        assert_eq!(found.guards, [GuardState::Unread], "{nonsense}");
    }
}

#[test]
fn a_node_without_eip_1898_is_read_by_number_between_two_reads_of_the_blocks_hash() {
    let world = used_from(95);
    world.node().by_number_only = true;
    world.node().changed_at = Some(95);
    let found = anchor(&world, &guarded(1)).expect("an anchor");
    assert_eq!(
        (found.next_sequence, found.guards),
        (8, vec![GuardState::Changed])
    );
    assert_eq!(world.trips(), [4, 2, 4]);
    let _ = anchor(&world, &guarded(1));
    assert_eq!(world.trips(), [4, 2, 4, 4, 4], "remembered");
}

#[test]
fn answers_by_number_count_only_while_the_number_means_the_same_block() {
    let world = used_from(95);
    world.node().by_number_only = true;
    let _ = anchor(&world, &guarded(1));
    let header = |height: u64, fork: u64| json!({"number": format!("{height:#x}"), "hash": block_id(height + fork), "timestamp": "0x1"});
    for (before, after) in [(0, 7), (7, 0), (7, 7)] {
        // The head of the first batch, then the block before and after the reads.
        for fork in [0, before, after] {
            world
                .host
                .queue_rpc("eth_getBlockByNumber", RpcResult::Ok(header(100, fork)));
        }
        assert_eq!(anchor(&world, &guarded(1)), None, "{before} {after}");
    }
    assert!(anchor(&world, &guarded(1)).is_some());
}

#[test]
fn a_reverted_transaction_comes_with_the_guard_at_its_own_block_or_later() {
    let reverted_at = |height| {
        let world = used_from(height);
        world.node().land(&hash(1), height, false, vec![]);
        world
    };
    let world = reverted_at(98);
    // Changed after the block in question: it was unchanged there.
    world.node().changed_at = Some(99);
    let found = anchor(&world, &guarded(1)).expect("an anchor");
    assert_eq!(
        (found.block.height, found.guards),
        (98, vec![GuardState::Unchanged])
    );
    // That block's state is forgotten: a later read that shows it unchanged proves as much.
    let world = reverted_at(98);
    world.node().state_from = 100;
    let found = anchor(&world, &guarded(1)).expect("an anchor");
    assert_eq!(
        (found.block.height, found.guards),
        (100, vec![GuardState::Unchanged])
    );
    // What is decided needs none.
    let decided = Watch {
        block: following(98).block,
        ..guarded(1)
    };
    assert_eq!(anchor(&world, &decided), None);
}

#[test]
fn an_anchor_brings_the_reads_of_the_step() {
    let world = used_from(95);
    world.node().changed_at = Some(95);
    let wanted = with_evidence(guarded(1), |evidence| {
        evidence.reads = vec![ReadWanted {
            name: "state".into(),
            target: ASSET.into(),
            data: GUARD_DATA.parse().unwrap(),
            required: false,
            at: ReadAt::Block,
        }];
    });
    let found = anchor(&world, &wanted).expect("an anchor");
    assert_eq!(found.reads[0].data, Some(hash(1).parse().unwrap()));
}

#[test]
fn guards_are_read_on_demand_while_the_slot_is_open() {
    let world = World::new();
    assert_eq!(anchor(&world, &guarded(1)), None);
    let asking = Watch {
        read_guards: true,
        ..guarded(1)
    };
    let found = anchor(&world, &asking).expect("an anchor");
    assert_eq!(
        (found.next_sequence, found.guards),
        (7, vec![GuardState::Unchanged])
    );
    let unguarded = Watch {
        read_guards: true,
        ..watch(1, 7)
    };
    assert_eq!(anchor(&world, &unguarded).unwrap().guards, [GuardState::Absent]);
}

#[test]
fn a_block_that_was_seen_earlier_stands_is_replaced_or_is_not_shown() {
    let world = used_from(95);
    let stands = |world: &World| observe(world, &following(97)).block;
    assert_eq!(stands(&world), Some(BlockStands::Canonical { depth: 4 }));
    assert_eq!(world.trips(), [5], "no anchor: one is being followed");
    world.node().forks.insert(97, 500);
    assert_eq!(stands(&world), Some(BlockStands::Replaced));
    world.node().head = 96;
    assert_eq!(stands(&world), Some(BlockStands::Unknown), "the node lags behind");
    world.node().head = 100;
    for nothing in [node_error("header not found"), RpcResult::Ok(Value::Null)] {
        let head = json!({"number": "0x64", "hash": block_id(100), "timestamp": "0x1"});
        world.host.queue_rpc("eth_getBlockByNumber", RpcResult::Ok(head));
        world.host.queue_rpc("eth_getBlockByNumber", nothing);
        assert_eq!(stands(&world), Some(BlockStands::Unknown));
    }
}

#[test]
fn t21_a_head_that_is_only_a_number_makes_nothing_final() {
    let world = World::new();
    world.node().land(&hash(1), 98, true, vec![]);
    let depth = |world: &World| match observe(world, &watch(1, 7)).state {
        TxState::Landed { depth, .. } => depth,
        other => panic!("{other:?}"),
    };
    assert_eq!(depth(&world), 3);
    let far = |height: u64| json!({"number": format!("{height:#x}"), "hash": hash(7), "timestamp": "0x1"});
    world
        .host
        .queue_rpc("eth_getBlockByNumber", RpcResult::Ok(far(1_000_100)));
    assert_eq!(
        depth(&world),
        world.finality - 1,
        "the block that would make it final is not shown"
    );
    world.node().head = 98 + world.finality;
    assert_eq!(depth(&world), world.finality + 1);
    // The same of a block that is followed.
    let stands = |world: &World| observe(world, &following(97)).block;
    assert_eq!(
        stands(&world),
        Some(BlockStands::Canonical {
            depth: world.finality + 2
        })
    );
    world.node().head = 100;
    world
        .host
        .queue_rpc("eth_getBlockByNumber", RpcResult::Ok(far(1_000_100)));
    assert_eq!(
        stands(&world),
        Some(BlockStands::Canonical {
            depth: world.finality - 1
        })
    );
}

#[test]
fn a_node_of_another_chain_shows_nothing() {
    let world = World::new();
    world.node().chain_id = 1;
    let fault = block_on(world.driver.observe(&world.cx(), &[guarded(1)])).expect_err("another chain");
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(
        fault.message.contains("reports chain id 1, expected 84532"),
        "{fault}"
    );
    let lane = crate::node::lane();
    let fault = block_on(world.driver.lane(&world.cx(), &lane)).expect_err("another chain");
    assert!(fault.message.contains("reports chain id 1"), "{fault}");
}

#[test]
fn the_whole_block_comes_in_order_and_with_its_parents_state_or_not_at_all() {
    let world = World::new();
    {
        let mut node = world.node();
        node.land(&hash(1), 98, true, vec![log(4, ASSET, &[1, 10])]);
        node.land(
            &hash(60),
            98,
            true,
            vec![log(2, ASSET, &[1, 10]), log(3, ASSET, &[9])],
        );
        node.changed_at = Some(98);
    }
    let read = |name: &str, at| ReadWanted {
        name: name.into(),
        target: ASSET.into(),
        data: GUARD_DATA.parse().unwrap(),
        required: false,
        at,
    };
    let wanted = with_evidence(guarded(1), |evidence| {
        evidence.block_logs = vec![filter(&[Some(1), Some(10)])];
        evidence.reads = vec![read("after", ReadAt::Block), read("before", ReadAt::Parent)];
    });
    let plain = observe(&world, &wanted);
    assert!(plain.block_logs.is_empty() && plain.reads.len() == 1, "{plain:?}");
    let whole = Watch {
        whole_block: true,
        ..wanted
    };
    let seen = observe(&world, &whole);
    let ids: Vec<_> = seen.block_logs.iter().map(|log| log.id.clone()).collect();
    assert_eq!(ids, [format!("{}/2", hash(60)), format!("{}/4", hash(1))]);
    let reads: Vec<_> = seen
        .reads
        .iter()
        .map(|read| (read.name.as_str(), read.data.clone()))
        .collect();
    assert_eq!(
        reads,
        [
            ("after", Some(hash(1).parse().unwrap())),
            ("before", Some(hash(0).parse().unwrap()))
        ]
    );
    world.node().logs_error = Some("limit exceeded".into());
    assert!(observe(&world, &whole).block_logs.is_empty());
}

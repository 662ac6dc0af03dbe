//! Brief polls and brief checks: few calls, and a complete poll for everything that does not bind itself to the chain.

use sdk_plugin::ChainDriver;
use sdk_plugin::chain::{BlockRef, BlockStands, Network, NodeFault, Observation, TxState, Watch};
use sdk_plugin::testkit::block_on;

use crate::node::{ASSET, World, block_id, hash, log, node_error, watch};
use crate::reading::network_of_keys;

fn brief(number: u64) -> Watch {
    Watch {
        brief: true,
        ..watch(number, 7)
    }
}

fn decided(height: u64, final_at: Option<u64>) -> Watch {
    Watch {
        block: Some(BlockRef {
            id: block_id(height),
            height,
            time_s: 0,
        }),
        by_block: true,
        final_at,
        ..brief(1)
    }
}

fn observe(world: &World, watch: Watch) -> Observation {
    world.observe(&[watch]).remove(0)
}

#[test]
fn a_transaction_in_no_block_costs_one_call_and_one_in_a_block_two() {
    let world = World::new();
    let seen = observe(&world, brief(1));
    assert_eq!((seen.state, seen.head_height), (TxState::Pending, 0));
    assert_eq!(world.trips(), [1]);
    world
        .node()
        .land(&hash(1), 99, true, vec![log(3, ASSET, &[1, 10])]);
    let seen = observe(&world, brief(1));
    let block = block_id(99);
    assert_eq!(
        seen.state,
        TxState::Landed {
            height: 99,
            block,
            depth: 1
        }
    );
    assert_eq!(world.trips(), [1, 1, 1]);
}

#[test]
fn a_decided_block_costs_two_calls_and_is_final_only_by_the_block_above_it() {
    let mut world = World::new();
    world.finality = 4;
    let depth = |seen: &Observation| match seen.block {
        Some(BlockStands::Canonical { depth }) => depth,
        Some(BlockStands::Replaced | BlockStands::Unknown) | None => 0,
    };
    assert_eq!(depth(&observe(&world, decided(97, Some(100)))), 4);
    assert_eq!(world.trips(), [2]);
    let seen = observe(&world, decided(90, None));
    assert_eq!(depth(&seen), 3, "a head's number makes nothing final");
    assert_eq!(world.trips(), [2, 2]);
}

#[test]
fn what_does_not_show_this_chain_by_itself_needs_a_complete_poll() {
    let complete = |change: fn(&World), watch: Watch| {
        let world = World::new();
        change(&world);
        let seen = observe(&world, watch);
        let recorded = format!("{:?}", world.host.recorded());
        assert!(recorded.contains("eth_chainId"), "{recorded}");
        seen
    };
    let seen = complete(
        |world| {
            world.node().forks.insert(97, 1_000);
        },
        decided(97, None),
    );
    assert_eq!(seen.block, Some(BlockStands::Replaced));
    let seen = complete(|world| world.node().land(&hash(1), 99, false, vec![]), brief(1));
    assert!(matches!(seen.state, TxState::Reverted { .. }));
    // A receipt of a block that the chain has left.
    let seen = complete(
        |world| {
            world.node().land(&hash(1), 99, true, vec![]);
            world.node().forks.insert(99, 1_000);
        },
        brief(1),
    );
    assert_eq!(seen.state, TxState::Pending);
    for watch in [
        Watch {
            pool: true,
            ..brief(1)
        },
        Watch {
            read_guards: true,
            ..brief(1)
        },
        Watch {
            by_block: false,
            ..decided(97, None)
        },
        decided(99, Some(102)),
    ] {
        let _ = complete(|_| {}, watch);
    }
    let fails = |world: &World| {
        world
            .host
            .queue_rpc("eth_getTransactionReceipt", node_error("indexing"));
    };
    let _ = complete(fails, brief(1));
}

#[test]
fn a_node_of_another_chain_replaces_no_block_of_a_brief_poll() {
    let world = World::new();
    world.node().chain_id = 1;
    world.node().forks.insert(97, 1_000);
    let fault = block_on(world.driver.observe(&world.cx(), &[decided(97, None)])).expect_err("another chain");
    assert!(fault.message.contains("reports chain id 1"), "{fault}");
}

#[test]
fn a_brief_check_reads_the_chain_id_and_the_head() {
    let world = World::new();
    let network = Network {
        brief: true,
        ..network_of_keys()
    };
    let check = || block_on(world.driver.check(&world.cx(), &network)).expect("no fault");
    let readiness = check();
    assert!(readiness.ready && readiness.head_height == 100, "{readiness:?}");
    assert_eq!(world.trips(), [2]);
    world.node().chain_id = 1;
    assert_eq!(check().node_fault, Some(NodeFault::WrongChain));
}

//! A first node that hides what was sent, or answers nonsense, beside a healthy second one.

use sdk_plugin::chain::{Observation, TxState};
use sdk_plugin::host::{RpcRequest, RpcResult};
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::{ChainDriver, Value};
use serde_json::json;

use crate::node::{Chain, World, lane, refusal, status, tx_id, watch};
use crate::nodes::{Nodes, Second};
use crate::observing::shown;

/// A chain in which the transaction has landed.
fn landed(chain: &mut Chain) {
    chain
        .statuses
        .insert(tx_id(1), status(998, "confirmed", Value::Null));
    chain.transactions.insert(tx_id(1), shown(998, 10_000));
}

/// A first node that does not show what the second one shows.
fn beside(second: impl FnOnce(&mut Chain)) -> (World, Nodes) {
    let world = World::new();
    let mut chain = world.chain().clone();
    second(&mut chain);
    let nodes = Nodes::of(&world, Second::Shows(Box::new(chain)));
    (world, nodes)
}

/// Polls for some seconds as the core does, and gives how long it took until the transaction was shown to have landed.
fn shown_after_ms(world: &World, nodes: &Nodes, most_ms: u64) -> Option<u64> {
    (0..most_ms / 250).find_map(|poll| {
        let seen = nodes.try_observe(world, &[watch(1, 990)]);
        let has_landed = seen.is_ok_and(|seen| matches!(seen[0].state, TxState::Landed { .. }));
        world.host.advance_ms(250);
        has_landed.then_some(poll * 250)
    })
}

fn comparisons(world: &World) -> usize {
    let recorded = world.host.recorded().into_iter();
    recorded
        .filter(|one| {
            matches!(
                one,
                Recorded::Rpc {
                    request: RpcRequest::Compare { .. },
                    ..
                }
            )
        })
        .count()
}

#[test]
fn a_transaction_that_the_first_node_hides_is_shown_by_the_second_within_seconds() {
    // No status; a status and no transaction; a status that never comes on; methods that are missing in part.
    let hides: [fn(&mut Chain); 5] = [
        |_| {},
        |chain| {
            chain
                .statuses
                .insert(tx_id(1), status(998, "confirmed", Value::Null));
        },
        |chain| {
            landed(chain);
            chain
                .instead
                .insert("getTransaction".into(), RpcResult::Ok(json!({})));
        },
        |chain| {
            landed(chain);
            chain
                .instead
                .insert("getTransaction".into(), refusal(-32_601, "Method not found"));
        },
        |chain| {
            chain
                .statuses
                .insert(tx_id(1), status(998, "processed", Value::Null));
        },
    ];
    for (number, hide) in hides.into_iter().enumerate() {
        let (world, nodes) = beside(landed);
        hide(&mut world.chain());
        let took = shown_after_ms(&world, &nodes, 8_000);
        assert!(took.is_some_and(|took| took <= 4_000), "{number}: {took:?}");
        // Each later query is a new one, and not at each poll.
        let before = comparisons(&world);
        assert!(shown_after_ms(&world, &nodes, 4_000).is_some(), "{number}");
        assert!(comparisons(&world) - before <= 4, "{number}");
    }
}

#[test]
fn what_another_node_shows_is_whole_and_marked_as_no_nodes_own_word() {
    let (world, nodes) = beside(landed);
    nodes.observe(&world, &watch(1, 990));
    world.host.advance_ms(3_000);
    let seen = nodes.observe(&world, &watch(1, 990));
    let own = {
        landed(&mut world.chain());
        nodes.observe(&world, &watch(1, 990))
    };
    assert!(matches!(seen.state, TxState::Landed { height: 998, .. }));
    assert_eq!((&seen.logs, &seen.deltas), (&own.logs, &own.deltas));
    assert_eq!(own.reads, [], "what the node shows itself");
    assert_eq!(
        seen.reads.len(),
        1,
        "never equal to another node's own observation"
    );
    assert_eq!(seen.reads[0].data, None);
}

#[test]
fn a_failure_that_only_another_node_shows_is_none() {
    let error = json!({"InstructionError": [2, {"Custom": 1}]});
    let (world, nodes) = beside(|chain| {
        let mut failed = shown(998, 10_000);
        failed["meta"]["err"] = error.clone();
        chain.transactions.insert(tx_id(1), failed);
        chain
            .statuses
            .insert(tx_id(1), status(998, "finalized", error.clone()));
    });
    for _ in 0..20 {
        let seen = nodes.observe(&world, &watch(1, 990));
        assert_eq!(seen.state, TxState::Unknown);
        world.host.advance_ms(1_000);
    }
}

#[test]
fn half_of_what_another_node_must_show_shows_nothing() {
    let halves: [fn(&mut Chain); 4] = [
        |chain| {
            chain.transactions.remove(&tx_id(1));
        },
        |chain| {
            chain.transactions.insert(tx_id(1), shown(997, 10_000));
        },
        |chain| {
            chain
                .statuses
                .insert(tx_id(1), status(998, "processed", Value::Null));
        },
        |chain| {
            let far = 1_000_000_000_000_000;
            chain
                .statuses
                .insert(tx_id(1), status(far, "finalized", Value::Null));
            chain.transactions.insert(tx_id(1), shown(far, 10_000));
        },
    ];
    for half in halves {
        let (world, nodes) = beside(|chain| {
            landed(chain);
            half(chain);
        });
        for _ in 0..10 {
            assert_eq!(nodes.observe(&world, &watch(1, 990)).state, TxState::Unknown);
            world.host.advance_ms(1_000);
        }
    }
}

#[test]
fn an_only_node_is_not_queried_twice_all_the_time() {
    let world = World::new();
    let nodes = Nodes::of(&world, Second::Missing);
    for _ in 0..50 {
        assert_eq!(nodes.observe(&world, &watch(1, 990)).state, TxState::Unknown);
        world.host.advance_ms(1_000);
    }
    assert_eq!(comparisons(&world), 1);
}

#[test]
fn nonsense_of_the_first_node_does_not_end_a_poll() {
    let at = |value: Value| json!({"context": {"slot": 1_000}, "value": value});
    for (method, nonsense) in [
        ("getSlot", Value::Null),
        ("getSlot", json!("17")),
        ("getSlot", json!(9_223_372_036_854_775_807_u64)),
        ("getBlockHeight", Value::Null),
        ("getBlockHeight", json!(9_223_372_036_854_775_807_u64)),
        ("getSignatureStatuses", Value::Null),
        ("getSignatureStatuses", at(json!([]))),
        ("getSignatureStatuses", at(Value::Null)),
        (
            "getSignatureStatuses",
            at(json!([{"slot": 1, "confirmationStatus": "sure"}])),
        ),
    ] {
        let (world, nodes) = beside(landed);
        landed(&mut world.chain());
        world
            .chain()
            .instead
            .insert(method.into(), RpcResult::Ok(nonsense.clone()));
        let took = shown_after_ms(&world, &nodes, 8_000);
        assert!(
            took.is_some_and(|took| took <= 1_000),
            "{method} {nonsense}: {took:?}"
        );
    }
}

#[test]
fn a_far_slot_of_the_first_node_is_not_taken_for_the_head() {
    let (world, nodes) = beside(landed);
    world.chain().advance(500_000);
    {
        let mut second = nodes.second.lock().unwrap();
        let Second::Shows(chain) = &mut *second else {
            panic!("two")
        };
        chain.advance(500_000);
    }
    let head = |seen: &Observation| seen.head_height;
    assert_eq!(head(&nodes.observe(&world, &watch(1, 500_990))), 501_000);
    for far in [0_u64, 1, 1_000_000_000_000] {
        world
            .chain()
            .instead
            .insert("getSlot".into(), RpcResult::Ok(json!(far)));
        world.host.advance_ms(3_000);
        assert_eq!(head(&nodes.observe(&world, &watch(1, 500_990))), 501_000, "{far}");
        let quote = block_on(world.driver.quote(&world.cx(), &lane(), None)).expect("a head");
        assert_eq!(quote.head_height, 501_000, "{far}");
    }
}

#[test]
fn an_absurd_block_height_of_one_check_does_not_keep_a_payment_for_ever() {
    let world = World::new();
    let absurd = RpcResult::Ok(json!(9_223_372_036_854_775_807_u64));
    world.chain().instead.insert("getBlockHeight".into(), absurd);
    block_on(world.driver.check(&world.cx(), &world.network())).expect("no fault");
    world.chain().instead.clear();
    let state = |world: &World| world.observe(&[watch(1, 1_000)])[0].state.clone();
    assert_eq!(state(&world), TxState::Unknown);
    world.chain().advance(300);
    assert_eq!(state(&world), TxState::Lapsed);
}

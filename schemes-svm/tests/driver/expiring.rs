//! What can't land any more: when it has lapsed, and when it is proven that it has not landed.

use schemes_svm::testkit::Deal;
use sdk_plugin::chain::{TxState, Watch};
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::{ReadAt, ReadWanted};
use sdk_plugin::{HexBytes, Value};
use serde_json::json;

use crate::node::{Chain, GENESIS, World, canary, refusal, status, tx_id, watch};
use crate::nodes::{Nodes, Second};
use crate::observing::shown;

/// The slot at which the transaction is journaled, at block height 900.
const SINCE: u64 = 1_000;
/// It can land in block 1082 at most: 150 blocks, and 32 by which nodes may be apart.
const BLOCKS_TO_LAPSE: u64 = 900 + 182 - 868 + 1;
/// The last slot in which it can land.
const LAST_SLOT: u64 = 1_182;
const MINUTE_MS: u64 = 60_000;
/// More than any pause between two tries.
const NEXT_TRY_MS: u64 = 60_000;

/// A world whose transaction was sent and can't land any more. No node knows a status of it.
fn lapsed() -> World {
    let world = World::new();
    assert_eq!(world.observe(&[watch(1, SINCE)])[0].state, TxState::Unknown);
    world.chain().advance(BLOCKS_TO_LAPSE);
    world
}

/// A second node that shows what the first one does.
fn like_the_first(world: &World) -> Second {
    Second::Shows(Box::new(world.chain().clone()))
}

fn with_second(world: &World, change: impl FnOnce(&mut Chain)) -> Nodes {
    let mut chain = world.chain().clone();
    change(&mut chain);
    Nodes::of(world, Second::Shows(Box::new(chain)))
}

fn state(world: &World, nodes: &Nodes) -> TxState {
    nodes.observe(world, &watch(1, SINCE)).state
}

fn proof(state: TxState) -> String {
    match state {
        TxState::Expired { proof } => proof,
        other => panic!("not proven: {other:?}"),
    }
}

/// The events that were logged, in order.
fn events(world: &World) -> Vec<String> {
    let logs = world.host.logs().into_iter();
    logs.map(|line| line.fields["event"].as_str().expect("an event").to_owned())
        .collect()
}

fn land(chain: &mut Chain, slot: u64) {
    chain
        .history
        .insert(tx_id(1), status(slot, "finalized", Value::Null));
    chain.transactions.insert(tx_id(1), shown(slot, 10_000));
    chain.contained.insert(slot, tx_id(1));
}

#[test]
fn t46_what_can_not_land_any_more_has_lapsed_and_expires_by_the_proof_of_two_nodes() {
    let world = World::new();
    let nodes = Nodes::of(&world, Second::Missing);
    assert_eq!(state(&world, &nodes), TxState::Unknown);
    world.chain().advance(BLOCKS_TO_LAPSE - 1);
    nodes.set(like_the_first(&world));
    assert_eq!(
        state(&world, &nodes),
        TxState::Unknown,
        "it may be in the last block"
    );
    assert!(world.reads().iter().all(|(_, compared)| !compared));

    world.chain().advance(1);
    nodes.set(like_the_first(&world));
    let proof = proof(state(&world, &nodes));
    for part in [
        "block 1082",
        "block 1083",
        "2 nodes",
        "slots 1000 to 1182",
        canary(SINCE, 0).as_str(),
    ] {
        assert!(proof.contains(part), "{part} in {proof}");
    }
    assert_eq!(events(&world), Vec::<String>::new());
}

#[test]
fn t46_a_proof_stands_for_the_next_polls_and_not_against_a_status() {
    let world = lapsed();
    let nodes = Nodes::of(&world, like_the_first(&world));
    let first = proof(state(&world, &nodes));
    let comparisons = |world: &World| world.reads().iter().filter(|(_, compared)| *compared).count();
    let before = comparisons(&world);
    assert_eq!(
        proof(state(&world, &nodes)),
        first,
        "a caller that wants to see it twice"
    );
    assert_eq!(comparisons(&world), before);
    world.host.advance_ms(NEXT_TRY_MS);
    proof(state(&world, &nodes));
    assert_eq!(comparisons(&world), before + 1, "it is proven anew");
    land(&mut world.chain(), 1_100);
    assert!(matches!(state(&world, &nodes), TxState::Landed { .. }));
}

#[test]
fn t46_one_node_alone_must_answer_twice_a_minute_apart() {
    let world = lapsed();
    let alone = Nodes::of(&world, Second::Missing);
    assert_eq!(state(&world, &alone), TxState::Lapsed);
    // The clock jumps: no time has passed on the chain.
    world.host.advance_ms(MINUTE_MS);
    assert_eq!(state(&world, &alone), TxState::Lapsed);
    world.chain().advance(32);
    world.host.advance_ms(MINUTE_MS);
    let proof = proof(state(&world, &alone));
    assert!(
        proof.contains("1 node knows") && proof.contains("twice"),
        "{proof}"
    );

    // Time passes on the chain and not here.
    let world = lapsed();
    let alone = Nodes::of(&world, Second::Missing);
    for _ in 0..2 {
        assert_eq!(state(&world, &alone), TxState::Lapsed);
        world.chain().advance(500);
        world.host.advance_ms(MINUTE_MS / 2 - 1);
    }
    assert_eq!(state(&world, &alone), TxState::Lapsed);
}

#[test]
fn t46_an_only_nodes_count_begins_again_with_each_answer_that_is_no_proof() {
    let world = lapsed();
    let alone = Nodes::of(&world, Second::Missing);
    assert_eq!(state(&world, &alone), TxState::Lapsed);
    world.chain().advance(100);
    world.host.advance_ms(MINUTE_MS - 1);
    world.chain().indexed = 0..0;
    assert_eq!(state(&world, &alone), TxState::Lapsed);
    world.chain().indexed = 0..u64::MAX;
    world.chain().advance(100);
    world.host.advance_ms(NEXT_TRY_MS);
    assert_eq!(state(&world, &alone), TxState::Lapsed, "this is the first again");
    world.chain().advance(100);
    world.host.advance_ms(MINUTE_MS);
    proof(state(&world, &alone));
}

#[test]
fn t46_while_one_of_two_nodes_is_away_the_other_must_answer_so_for_ten_minutes() {
    let world = lapsed();
    let nodes = Nodes::of(&world, Second::Away);
    for _ in 0..10 {
        assert_eq!(state(&world, &nodes), TxState::Lapsed);
        world.chain().advance(100);
        world.host.advance_ms(MINUTE_MS);
    }
    let proof = proof(state(&world, &nodes));
    assert!(
        proof.contains("1 node knows") && proof.contains("did not answer"),
        "{proof}"
    );
}

#[test]
fn t46_an_only_node_shows_every_block_without_it_before_it_counts() {
    // It has lost this one status, and its block lists the transaction, anywhere in the window.
    for slot in [SINCE + 1, SINCE + 50, SINCE + 130, LAST_SLOT - 1] {
        let world = lapsed();
        let alone = Nodes::of(&world, Second::Missing);
        world.chain().contained.insert(slot, tx_id(1));
        for _ in 0..10 {
            let seen = state(&world, &alone);
            assert!(
                matches!(seen, TxState::Lapsed | TxState::Pending),
                "slot {slot}: {seen:?}"
            );
            world.chain().advance(100);
            world.host.advance_ms(NEXT_TRY_MS);
        }
        assert_eq!(state(&world, &alone), TxState::Pending, "its block has it");
        assert_eq!(events(&world), ["expiry_answers_contradictory"]);
        // It has landed as soon as the node shows it, still without a status.
        world.chain().transactions.insert(tx_id(1), shown(slot, 10_000));
        assert!(matches!(state(&world, &alone), TxState::Landed { .. }));
    }
    // A block that it does not show may have it.
    let world = lapsed();
    let alone = Nodes::of(&world, Second::Missing);
    let hidden = SINCE + 77;
    world.chain().hidden.insert(hidden);
    for _ in 0..10 {
        assert_eq!(state(&world, &alone), TxState::Lapsed);
        world.chain().advance(100);
        world.host.advance_ms(NEXT_TRY_MS);
    }
    assert_eq!(events(&world), ["expiry_blocks_missing"]);
    world.chain().hidden.clear();
    assert_eq!(state(&world, &alone), TxState::Lapsed);
    world.chain().advance(100);
    world.host.advance_ms(NEXT_TRY_MS);
    proof(state(&world, &alone));
}

#[test]
fn t46_statuses_of_null_from_one_node_fail_nothing_that_landed() {
    // The first node forgets this one transaction, and knows everything else.
    let world = lapsed();
    let nodes = with_second(&world, |second| land(second, 1_050));
    world.chain().transactions.insert(tx_id(1), shown(1_050, 10_000));
    assert!(
        matches!(state(&world, &nodes), TxState::Landed { .. }),
        "the other one knows it"
    );

    // The other one does not answer, and answers again within the minute.
    let world = lapsed();
    let nodes = Nodes::of(&world, Second::Away);
    for _ in 0..3 {
        assert_eq!(state(&world, &nodes), TxState::Lapsed);
        world.chain().advance(40);
        world.host.advance_ms(15_000);
    }
    world.chain().transactions.insert(tx_id(1), shown(1_050, 10_000));
    let mut second = world.chain().clone();
    land(&mut second, 1_050);
    nodes.set(Second::Shows(Box::new(second)));
    world.host.advance_ms(14_000);
    assert!(matches!(state(&world, &nodes), TxState::Landed { .. }));

    // All statuses are null for 45 s on the only node, canaries too.
    let world = lapsed();
    let alone = Nodes::of(&world, Second::Missing);
    world.chain().indexed = 0..0;
    for _ in 0..45 {
        assert_eq!(state(&world, &alone), TxState::Lapsed);
        world.chain().advance(3);
        world.host.advance_ms(1_000);
    }
    land(&mut world.chain(), 1_050);
    assert!(matches!(state(&world, &alone), TxState::Landed { .. }));
}

#[test]
fn t46_a_node_that_lags_proves_nothing_for_the_other() {
    let world = lapsed();
    let nodes = with_second(&world, |second| second.finalized_height -= 1);
    for _ in 0..5 {
        assert_eq!(state(&world, &nodes), TxState::Lapsed);
        world.host.advance_ms(NEXT_TRY_MS);
    }
    assert_eq!(events(&world), ["expiry_node_behind"], "when it stays so");
    nodes.set(like_the_first(&world));
    proof(state(&world, &nodes));

    // The first one lags: its own height does not even show that the transaction has lapsed.
    let world = lapsed();
    let nodes = Nodes::of(&world, like_the_first(&world));
    world.chain().finalized_height -= 1;
    assert_eq!(state(&world, &nodes), TxState::Unknown);
}

/// What a plan records of the transaction's lifetime.
fn planned(blockhash: &str, simulated_at: u64) -> Watch {
    let mut watch = watch(1, SINCE);
    watch.evidence[0].reads = vec![ReadWanted {
        name: "blockhash".into(),
        target: blockhash.into(),
        data: HexBytes(simulated_at.to_be_bytes().to_vec()),
        required: false,
        at: ReadAt::Block,
    }];
    watch
}

#[test]
fn t46_a_transaction_that_a_lagging_node_journaled_lives_for_as_long_as_its_blockhash() {
    // The chain is 300 blocks further than the node whose slot is journaled.
    let hash = Deal::example().blockhash.to_string();
    for simulated_at in [SINCE - 2, SINCE + 300] {
        let world = World::new();
        let watch = planned(&hash, simulated_at);
        let nodes = Nodes::of(&world, Second::Missing);
        assert_eq!(nodes.observe(&world, &watch).state, TxState::Unknown);
        world.chain().advance(300);
        world.chain().good_blockhashes.insert(hash.clone());
        for _ in 0..3 {
            nodes.set(like_the_first(&world));
            let seen = nodes.observe(&world, &watch).state;
            assert!(matches!(seen, TxState::Unknown | TxState::Lapsed), "{seen:?}");
            world.chain().advance(50);
            world.host.advance_ms(NEXT_TRY_MS);
        }
        // One node knows the blockhash for one moment longer.
        world.chain().advance(300);
        let before = world.chain().clone();
        world.chain().good_blockhashes.clear();
        nodes.set(Second::Shows(Box::new(before)));
        assert_eq!(nodes.observe(&world, &watch).state, TxState::Lapsed);
        world.host.advance_ms(NEXT_TRY_MS);
        nodes.set(like_the_first(&world));
        proof(nodes.observe(&world, &watch).state);
    }
}

#[test]
fn t46_a_head_in_the_future_holds_no_transaction_for_ever_and_hides_no_slot() {
    let hash = Deal::example().blockhash.to_string();
    let watch = Watch {
        since_height: 9_000_000,
        ..planned(&hash, SINCE)
    };
    let world = World::new();
    let nodes = Nodes::of(&world, Second::Missing);
    nodes.observe(&world, &watch);
    world.chain().advance(BLOCKS_TO_LAPSE);
    // The node has nothing of the time when it was really sent.
    world.chain().first_available = SINCE + 1;
    nodes.set(like_the_first(&world));
    assert_eq!(nodes.observe(&world, &watch).state, TxState::Lapsed);
    world.chain().first_available = SINCE;
    nodes.set(like_the_first(&world));
    world.host.advance_ms(NEXT_TRY_MS);
    proof(nodes.observe(&world, &watch).state);
}

/// Whatever one of two nodes lacks, nothing expires, and the log reports once what is missing.
#[track_caller]
fn unproven_with(event: &str, change: impl Fn(&mut Chain)) {
    for both in [false, true] {
        let world = lapsed();
        let nodes = with_second(&world, &change);
        if both {
            change(&mut world.chain());
        }
        for _ in 0..6 {
            assert_eq!(state(&world, &nodes), TxState::Lapsed, "{event}");
            // Both move on, so that more time proves nothing either.
            world.chain().advance(10);
            if let Second::Shows(second) = &mut *nodes.second.lock().unwrap() {
                second.advance(10);
            }
            world.host.advance_ms(NEXT_TRY_MS);
        }
        assert_eq!(events(&world), [event], "both {both}");
        // A node that has it all again proves it.
        *world.chain() = {
            let mut healthy = lapsed().chain().clone();
            healthy.advance(100);
            healthy
        };
        nodes.set(like_the_first(&world));
        proof(state(&world, &nodes));
    }
}

#[test]
fn t46_beside_a_node_without_history_the_other_must_stay_alone_with_it_for_ten_minutes() {
    let lacks: [fn(&mut Chain); 3] = [
        |node| node.first_available = SINCE + 1,
        |node| node.indexed = 0..LAST_SLOT,
        |node| {
            node.holes.insert(SINCE + 1);
        },
    ];
    let pass = |world: &World, nodes: &Nodes| {
        world.chain().advance(100);
        if let Second::Shows(second) = &mut *nodes.second.lock().unwrap() {
            second.advance(100);
        }
        world.host.advance_ms(NEXT_TRY_MS);
    };
    for lack in lacks {
        let world = lapsed();
        let nodes = with_second(&world, lack);
        for _ in 0..10 {
            assert_eq!(state(&world, &nodes), TxState::Lapsed);
            pass(&world, &nodes);
        }
        let proof = proof(state(&world, &nodes));
        assert!(proof.contains("did not have that history"), "{proof}");
        assert_eq!(events(&world).len(), 1, "a log event names what is missing");
    }
    // What both lack, one that shows another chain, and one that knows a status after all.
    let never: [fn(&mut Chain); 3] = [
        |node| node.first_available = SINCE + 1,
        |node| node.genesis = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d".into(),
        |node| {
            node.first_available = SINCE + 1;
            node.statuses
                .insert(tx_id(1), status(SINCE, "confirmed", Value::Null));
        },
    ];
    for (at, lack) in never.into_iter().enumerate() {
        let world = lapsed();
        if at == 0 {
            lack(&mut world.chain());
        }
        let nodes = with_second(&world, lack);
        for _ in 0..25 {
            let state = state(&world, &nodes);
            assert!(!matches!(state, TxState::Expired { .. }), "case {at}");
            pass(&world, &nodes);
        }
    }
}

#[test]
fn t46_a_pruned_node_proves_nothing() {
    unproven_with("expiry_history_pruned", |node| node.first_available = SINCE + 1);
}

#[test]
fn t46_a_node_without_a_history_of_statuses_proves_nothing() {
    let refused = || refusal(-32_011, "Transaction history is not available from this node");
    let world = lapsed();
    let nodes = with_second(&world, |second| {
        second.instead.insert("getSignatureStatuses".into(), refused());
    });
    assert_eq!(state(&world, &nodes), TxState::Lapsed);
    assert_eq!(events(&world), ["expiry_history_refused"]);
}

#[test]
fn t46_a_node_that_lacks_a_block_of_the_window_proves_nothing() {
    // It was restarted from a snapshot, for example: it knows what is around the hole.
    for hole in [SINCE, SINCE + 1, 1_100, LAST_SLOT - 1, LAST_SLOT] {
        unproven_with("expiry_blocks_missing", |node| {
            node.holes.insert(hole);
        });
    }
}

#[test]
fn t46_a_node_that_has_forgotten_the_oldest_slot_or_not_indexed_the_last_proves_nothing() {
    unproven_with("expiry_canary_missing", |node| node.indexed = SINCE + 1..u64::MAX);
    unproven_with("expiry_canary_missing", |node| node.indexed = 0..LAST_SLOT);
    unproven_with("expiry_canary_missing", |node| node.indexed = 0..0);
}

#[test]
fn t46_blocks_without_transactions_are_passed_over_a_few_times() {
    let empty = |slots: &[u64]| {
        let world = lapsed();
        world.chain().empty.extend(slots);
        let nodes = Nodes::of(&world, like_the_first(&world));
        (state(&world, &nodes), events(&world))
    };
    let (proven, _) = empty(&[SINCE, SINCE + 1, LAST_SLOT - 1, LAST_SLOT]);
    let proof = proof(proven);
    assert!(proof.contains(&canary(SINCE + 2, 0)), "{proof}");
    let (lapsed, events) = empty(&[SINCE, SINCE + 1, SINCE + 2, SINCE + 3]);
    assert_eq!(
        (lapsed, events),
        (TxState::Lapsed, vec!["expiry_canary_missing".to_owned()])
    );
}

#[test]
fn t46_a_node_that_keeps_no_votes_has_canaries_all_the_same() {
    let world = lapsed();
    let nodes = with_second(&world, |second| {
        // All but one of the queried signatures.
        for slot in [SINCE, LAST_SLOT] {
            for number in [0, 2, 5] {
                second.statuses.insert(canary(slot, number), Value::Null);
            }
        }
    });
    proof(state(&world, &nodes));
}

#[test]
fn t46_answers_that_contradict_each_other_prove_nothing() {
    // The block has the transaction of which there is no status.
    for slot in [SINCE, LAST_SLOT] {
        let world = lapsed();
        world.chain().contained.insert(slot, tx_id(1));
        let nodes = Nodes::of(&world, like_the_first(&world));
        for _ in 0..3 {
            assert_eq!(state(&world, &nodes), TxState::Pending, "its block has it");
            world.host.advance_ms(NEXT_TRY_MS);
        }
        assert_eq!(events(&world), ["expiry_answers_contradictory"]);
    }
    // The canary is elsewhere.
    unproven_with("expiry_answers_contradictory", |node| {
        node.statuses
            .insert(canary(SINCE, 0), status(SINCE + 1, "finalized", Value::Null));
    });
}

#[test]
fn t46_a_node_of_another_chain_proves_nothing() {
    const MAINNET: &str = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d";
    unproven_with("expiry_wrong_chain", |node| node.genesis = MAINNET.into());
    let mut world = lapsed();
    world.options = json!({"any_genesis": true});
    let nodes = with_second(&world, |second| second.genesis = MAINNET.into());
    proof(state(&world, &nodes));
    assert_eq!(world.chain().genesis, GENESIS);
}

#[test]
fn t46_null_at_any_one_call_of_any_node_proves_nothing_in_that_poll() {
    // Of the second node, which answers only the batch of the proof.
    let batch = {
        let world = lapsed();
        let nodes = with_second(&world, |second| second.calls = 0);
        proof(state(&world, &nodes));
        let Second::Shows(second) = &*nodes.second.lock().unwrap() else {
            panic!("it is there");
        };
        second.calls
    };
    assert_eq!(
        batch, 6,
        "genesis, slot, height, first available block, blocks, statuses"
    );
    for call in 1..=batch {
        let world = lapsed();
        let nodes = with_second(&world, |second| {
            second.calls = 0;
            second.null_at = Some(call);
        });
        assert_eq!(state(&world, &nodes), TxState::Lapsed, "call {call}");
        world.host.advance_ms(NEXT_TRY_MS);
        proof(state(&world, &nodes));
    }
    // Of the first one: the poll, the blocks, and its half of the batch.
    let all = {
        let world = lapsed();
        world.chain().calls = 0;
        let nodes = Nodes::of(&world, like_the_first(&world));
        proof(state(&world, &nodes));
        world.chain().calls
    };
    assert_eq!(
        all,
        4 + 3 + 2 + batch,
        "the poll, a height, the first block and the list, two blocks, the batch"
    );
    for call in 1..=all {
        let world = lapsed();
        let nodes = Nodes::of(&world, like_the_first(&world));
        world.chain().calls = 0;
        world.chain().null_at = Some(call);
        match nodes.try_observe(&world, &[watch(1, SINCE)]) {
            // The poll itself did not succeed.
            Err(_) => assert!(call <= 4, "call {call}"),
            Ok(seen) => assert_eq!(seen[0].state, TxState::Lapsed, "call {call}"),
        }
        world.host.advance_ms(NEXT_TRY_MS);
        proof(state(&world, &nodes));
    }
}

#[test]
fn t46_null_at_any_one_call_of_an_only_node_delays_and_never_fails() {
    // Polls every few seconds for three minutes, one of whose calls is answered with null.
    let run = |null_at: Option<usize>| {
        let world = lapsed();
        world.chain().calls = 0;
        world.chain().null_at = null_at;
        let alone = Nodes::of(&world, Second::Missing);
        let mut proven_ms = None;
        for at_ms in (0..3 * MINUTE_MS).step_by(5_000) {
            let seen = alone.try_observe(&world, &[watch(1, SINCE)]);
            if proven_ms.is_none()
                && matches!(
                    seen.map(|seen| seen[0].state.clone()),
                    Ok(TxState::Expired { .. })
                )
            {
                proven_ms = Some(at_ms);
            }
            world.chain().advance(12);
            world.host.advance_ms(5_000);
        }
        (proven_ms, world.chain().calls)
    };
    let (proven_ms, calls) = run(None);
    assert_eq!(proven_ms, Some(MINUTE_MS));
    for call in 1..=calls {
        let (proven_ms, _) = run(Some(call));
        assert!(
            proven_ms.is_some_and(|at_ms| at_ms >= MINUTE_MS),
            "call {call}: {proven_ms:?}"
        );
    }
}

#[test]
fn t46_trouble_with_the_proof_costs_no_other_poll() {
    let world = lapsed();
    land_other(&mut world.chain());
    let nodes = with_second(&world, |second| {
        second
            .instead
            .insert("getBlocks".into(), RpcResult::Ok(json!("x")));
    });
    let seen = nodes
        .try_observe(&world, &[watch(1, SINCE), watch(2, SINCE)])
        .expect("no fault");
    assert_eq!(seen[0].state, TxState::Lapsed);
    assert!(matches!(seen[1].state, TxState::Landed { .. }));
}

fn land_other(chain: &mut Chain) {
    chain
        .history
        .insert(tx_id(2), status(1_001, "finalized", Value::Null));
    chain.transactions.insert(tx_id(2), shown(1_001, 10_000));
}

#[test]
fn t46_a_restarted_driver_counts_from_what_it_sees() {
    let world = World::new();
    world.chain().advance(1_000);
    let nodes = Nodes::of(&world, like_the_first(&world));
    assert_eq!(
        state(&world, &nodes),
        TxState::Unknown,
        "how high slot 1000 was is not known"
    );
    world.chain().advance(214);
    assert_eq!(state(&world, &nodes), TxState::Unknown);
    world.chain().advance(1);
    nodes.set(like_the_first(&world));
    proof(state(&world, &nodes));
}

#[test]
fn t46_neighbours_are_proven_together_and_others_in_turn() {
    let world = World::new();
    let sinces: Vec<u64> = (0..40)
        .map(|n| SINCE + n)
        .chain((0..40).map(|n| SINCE + 500 + n))
        .collect();
    let watches: Vec<Watch> = (0..)
        .zip(&sinces)
        .map(|(seed, since)| watch(seed, *since))
        .collect();
    for _ in 0..200 {
        // Another payer's payment, so that heights are seen.
        world.observe(&[watch(200, 5_000)]);
        world.chain().advance(4);
    }
    let nodes = Nodes::of(&world, like_the_first(&world));
    let before = world.host.round_trips();
    let look = || {
        let seen = nodes.try_observe(&world, &watches).expect("no fault");
        let expired = seen
            .iter()
            .filter(|seen| matches!(seen.state, TxState::Expired { .. }))
            .count();
        (
            expired,
            seen.iter().filter(|seen| seen.state == TxState::Lapsed).count(),
        )
    };
    assert_eq!(look(), (40, 40));
    assert_eq!(look(), (80, 0));
    // Each: the poll, the list of blocks, three blocks in one batch, and the comparison.
    assert_eq!(world.host.round_trips() - before, 8);
}

#[test]
fn a_payment_whose_listed_blockhash_has_died_frees_its_place_at_once_and_fails_only_with_proof() {
    let hash = Deal::example().blockhash.to_string();
    let mut watch = planned(&hash, SINCE);
    watch.evidence[0].reads[0].data.0.extend(20u64.to_be_bytes());
    let world = World::new();
    let nodes = Nodes::of(&world, Second::Missing);
    assert_eq!(nodes.observe(&world, &watch).state, TxState::Unknown);
    // 20 blocks, and 32 by which nodes may be apart.
    world.chain().advance(52);
    assert_eq!(nodes.observe(&world, &watch).state, TxState::Unknown);
    world.chain().advance(1);
    assert_eq!(nodes.observe(&world, &watch).state, TxState::Lapsed);
    for _ in 0..3 {
        world.host.advance_ms(MINUTE_MS);
        assert_eq!(
            nodes.observe(&world, &watch).state,
            TxState::Lapsed,
            "a list proves nothing"
        );
    }
    // It has landed all the same.
    let landed = status(1_010, "finalized", Value::Null);
    world.chain().statuses.insert(tx_id(1), landed);
    world.chain().transactions.insert(tx_id(1), shown(1_010, 10_000));
    let seen = nodes.observe(&world, &watch).state;
    assert!(matches!(seen, TxState::Landed { .. }), "{seen:?}");
}

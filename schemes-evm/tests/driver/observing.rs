//! observe.

use sdk_plugin::chain::{BlockRef, BlockStands, Observation, TxState, Watch};
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::{EvidenceWanted, LogFilter, ReadAt, ReadWanted};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{Amount, ChainDriver, FaultKind, Value};
use serde_json::json;

use crate::node::{ASSET, SIGNER, World, block_id, hash, hex, log, node_error, topic, watch};

const OTHER: &str = "0x4444444444444444444444444444444444444444";

pub fn filter(topics: &[Option<u64>]) -> LogFilter {
    LogFilter {
        emitter: ASSET.into(),
        topics: topics.iter().map(|number| number.and_then(topic)).collect(),
    }
}

pub fn with_evidence(mut watch: Watch, change: impl FnOnce(&mut EvidenceWanted)) -> Watch {
    change(&mut watch.evidence[0]);
    watch
}

#[test]
fn one_round_trip_answers_for_all() {
    let world = World::new();
    {
        let mut node = world.node();
        node.land(&hash(1), 99, true, vec![]);
        node.pend(&hash(2));
        node.nonces.insert(99, 8);
    }
    let seen = world.observe(&[watch(1, 7), watch(2, 8), watch(3, 9)]);
    let block = block_id(99);
    assert_eq!(
        seen[0].state,
        TxState::Landed {
            height: 99,
            block,
            depth: 2
        }
    );
    assert_eq!(seen[1].state, TxState::Pending);
    assert_eq!(seen[2].state, TxState::Pending, "no node was queried for it");
    assert!(
        seen.iter()
            .all(|seen| seen.head_height == 100 && !seen.foreign_searched && seen.anchor.is_none())
    );
    // The chain, its head, one nonce, and one receipt for each transaction; then the block of the receipt.
    assert_eq!(world.trips(), [6, 1]);
    assert!(world.observe(&[]).is_empty());
    assert_eq!(world.trips(), [6, 1]);
    let pool = |number, sequence| Watch {
        pool: true,
        ..watch(number, sequence)
    };
    let seen = world.observe(&[pool(2, 8), pool(3, 9)]);
    let states: Vec<&TxState> = seen.iter().map(|seen| &seen.state).collect();
    assert_eq!(states, [&TxState::Pending, &TxState::Unknown]);
    assert_eq!(world.trips(), [6, 1, 7]);
}

#[test]
fn a_receipt_in_the_head_block_needs_no_read_of_that_block() {
    let world = World::new();
    world.node().land(&hash(1), 100, true, vec![]);
    assert!(matches!(
        world.state(&watch(1, 7)),
        TxState::Landed { depth: 1, .. }
    ));
    assert_eq!(world.trips(), [4]);
}

#[test]
fn t21_a_receipt_of_a_block_that_the_chain_has_left_is_none() {
    for height in [97, 100] {
        let world = World::new();
        {
            let mut node = world.node();
            node.land(&hash(1), height, true, vec![log(3, ASSET, &[1, 10])]);
            node.forks.insert(height, 1_000);
        }
        let seen = world.observe(&[watch(1, 7)]).remove(0);
        assert_eq!(seen.state, TxState::Pending, "{height}");
        assert!(seen.logs.is_empty());
        world.node().nonces.insert(90, 8);
        assert_eq!(world.state(&watch(1, 7)), TxState::SlotUsed, "{height}");
    }
}

#[test]
fn t21_what_was_seen_in_a_block_is_there_while_the_block_is_whatever_receipts_say() {
    let world = World::new();
    world.node().land(&hash(1), 97, true, vec![]);
    let seen = |world: &World, pool| {
        let block = BlockRef {
            id: block_id(97),
            height: 97,
            time_s: 0,
        };
        let watch = Watch {
            block: Some(block),
            by_block: true,
            pool,
            ..watch(1, 7)
        };
        world.observe(&[watch]).remove(0)
    };
    let landed = |seen: &Observation| {
        matches!(
            seen.state,
            TxState::Landed {
                height: 97,
                depth: 4,
                ..
            }
        )
    };
    assert!(landed(&seen(&world, false)));
    assert_eq!(world.trips(), [4], "no receipt is requested");
    world.node().receipts.clear();
    assert!(landed(&seen(&world, false)));
    world.node().land(&hash(1), 97, true, vec![]);
    world.node().forks.insert(97, 1_000);
    for pool in [false, true] {
        let seen = seen(&world, pool);
        assert_eq!(seen.state, TxState::Pending);
        assert_eq!(seen.block, Some(BlockStands::Replaced));
    }
}

#[test]
fn what_waits_for_a_block_has_not_lost_its_slot_whatever_the_nonce() {
    let world = World::new();
    world.node().pend(&hash(1));
    world.node().nonces.insert(0, 8);
    let asked = Watch {
        pool: true,
        ..watch(1, 7)
    };
    assert_eq!(world.state(&asked), TxState::Pending);
    world.node().drop_transaction(&hash(1));
    assert_eq!(world.state(&asked), TxState::SlotUsed);
}

#[test]
fn trouble_with_one_receipt_is_no_trouble_of_the_others() {
    for trouble in [
        node_error("transaction indexing is in progress"),
        RpcResult::Ok(json!({"blockHash": 1})),
    ] {
        let world = World::new();
        world.node().land(&hash(1), 100, true, vec![]);
        world.node().land(&hash(2), 100, true, vec![]);
        world.host.queue_rpc("eth_getTransactionReceipt", trouble);
        let seen = world.observe(&[watch(1, 7), watch(2, 8)]);
        assert_eq!(seen[0].state, TxState::Pending);
        assert!(matches!(seen[1].state, TxState::Landed { .. }));
    }
}

#[test]
fn big_batches_are_cut() {
    let world = World::new();
    let watches: Vec<_> = (0..150).map(|number| watch(number, 7 + number)).collect();
    let seen = world.observe(&watches);
    assert!(seen.iter().all(|seen| seen.state == TxState::Pending));
    assert_eq!(world.trips(), [153]);
    let watches: Vec<_> = (0..250).map(|number| watch(number, 7 + number)).collect();
    let _ = world.observe(&watches);
    assert_eq!(world.trips(), [153, 200, 53]);
}

#[test]
fn logs_that_were_wanted_come_in_their_order() {
    let world = World::new();
    world.node().land(
        &hash(1),
        100,
        true,
        vec![
            log(9, ASSET, &[2, 20]),
            log(7, ASSET, &[1, 10, 11]),
            log(8, OTHER, &[1, 10]),
            log(10, ASSET, &[1, 99]),
            log(11, ASSET, &[]),
            log(12, ASSET, &[3, 5, 30]),
        ],
    );
    let wanted = with_evidence(watch(1, 7), |evidence| {
        evidence.logs = vec![
            filter(&[Some(2)]),
            filter(&[Some(1), Some(10)]),
            filter(&[Some(3), None, Some(30)]),
        ];
    });
    let seen = world.observe(&[wanted]);
    let ids: Vec<_> = seen[0].logs.iter().map(|log| log.id.clone()).collect();
    assert_eq!(ids, [7, 9, 12].map(|index| format!("{}/{index}", hash(1))));
    assert_eq!(seen[0].logs[0].emitter, ASSET);
    assert_eq!(seen[0].logs[0].data.to_string(), "0x2a");
}

#[test]
fn receipts_that_can_not_be_right_are_none() {
    type Damage = fn(&mut sdk_plugin::Value);
    let damage: [(&str, Damage); 9] = [
        ("another hash", |receipt| {
            receipt["transactionHash"] = json!(hash(2))
        }),
        ("no status", |receipt| {
            drop(receipt.as_object_mut().unwrap().remove("status"))
        }),
        ("status 2", |receipt| receipt["status"] = json!("0x2")),
        ("no height", |receipt| receipt["blockNumber"] = json!(null)),
        ("no logs", |receipt| {
            drop(receipt.as_object_mut().unwrap().remove("logs"))
        }),
        ("a log of another transaction", |receipt| {
            receipt["logs"][0]["transactionHash"] = json!(hash(2))
        }),
        ("a removed log", |receipt| {
            receipt["logs"][0]["removed"] = json!(true)
        }),
        ("a log twice", |receipt| {
            receipt["logs"][1] = receipt["logs"][0].clone()
        }),
        ("a short topic", |receipt| {
            receipt["logs"][0]["topics"][0] = json!("0x01")
        }),
    ];
    for (name, change) in damage {
        let world = World::new();
        world.node().land(
            &hash(1),
            100,
            true,
            vec![log(1, ASSET, &[1]), log(2, ASSET, &[2])],
        );
        change(world.node().receipts.get_mut(&hash(1)).unwrap());
        assert_eq!(world.state(&watch(1, 7)), TxState::Pending, "{name}");
    }
}

#[test]
fn a_receipt_ahead_of_the_head_waits_for_its_block() {
    let world = World::new();
    world.node().land(&hash(1), 103, true, vec![]);
    let seen = world.observe(&[watch(1, 7)]).remove(0);
    assert_eq!((seen.state, seen.head_height), (TxState::Pending, 100));
    world.node().head = 103;
    assert!(matches!(
        world.state(&watch(1, 7)),
        TxState::Landed { depth: 1, .. }
    ));
}

#[test]
fn t33_what_logs_or_receipts_of_a_left_block_show_is_not_found() {
    for by_logs in [false, true] {
        let world = World::new();
        {
            let mut node = world.node();
            node.land(
                &hash(50),
                95,
                true,
                vec![log(3, ASSET, &[1, 10]), log(4, ASSET, &[2])],
            );
            node.forks.insert(95, 1_000);
            if by_logs {
                node.receipts.clear();
            }
        }
        let seen = world.observe(&[searching()]).remove(0);
        assert!(seen.foreign.is_empty() && !seen.foreign_searched, "{seen:?}");
    }
}

#[test]
fn a_receipt_without_the_log_that_was_found_is_not_believed() {
    let damage: [fn(&mut sdk_plugin::Value); 2] = [
        |receipt| receipt["logs"] = json!([]),
        |receipt| receipt["status"] = json!("0x0"),
    ];
    for change in damage {
        let world = World::new();
        {
            let mut node = world.node();
            node.land(
                &hash(50),
                95,
                true,
                vec![log(3, ASSET, &[1, 10]), log(4, ASSET, &[2])],
            );
            change(node.receipts.get_mut(&hash(50)).unwrap());
        }
        let seen = world.observe(&[searching()]).remove(0);
        let [found] = seen.foreign.as_slice() else {
            panic!("{seen:?}")
        };
        assert_eq!(found.logs.len(), 2, "as the logs of its block show it");
    }
}

#[test]
fn a_reorganised_transaction_is_pending_again() {
    let world = World::new();
    world.node().land(&hash(1), 99, true, vec![]);
    assert!(matches!(world.state(&watch(1, 7)), TxState::Landed { .. }));
    world.node().drop_transaction(&hash(1));
    world.node().pend(&hash(1));
    assert_eq!(world.state(&watch(1, 7)), TxState::Pending);
    world
        .node()
        .receipts
        .insert(hash(1), json!({"transactionHash": hash(1), "blockHash": null}));
    assert_eq!(
        world.state(&watch(1, 7)),
        TxState::Pending,
        "a receipt outside a block is none"
    );
}

#[test]
fn reverts_come_with_their_message() {
    let world = World::new();
    world.node().land(&hash(1), 98, false, vec![]);
    let message = |state| match state {
        TxState::Reverted {
            height: 98,
            depth: 3,
            message,
            ..
        } => message,
        other => panic!("{other:?}"),
    };
    let text = message(world.state(&watch(1, 7)));
    assert_eq!(
        text.as_deref(),
        Some("execution reverted: FiatTokenV2: authorization is used or canceled")
    );
    // Its block, the head's nonce for the anchor, the transaction, and its call again.
    assert_eq!(world.trips(), [4, 1, 1, 1, 1]);
    for no_help in [node_error("missing trie node"), RpcResult::Ok(json!("0x"))] {
        world.node().replay = no_help;
        assert_eq!(message(world.state(&watch(1, 7))), None);
    }
}

#[test]
fn reads_are_made_at_the_transactions_block_or_marked_as_gone() {
    let world = World::new();
    world.node().land(&hash(1), 98, true, vec![]);
    let wanted = with_evidence(watch(1, 7), |evidence| {
        evidence.reads = vec![ReadWanted {
            name: "state".into(),
            target: ASSET.into(),
            data: "0x01".parse().unwrap(),
            required: true,
            at: ReadAt::Block,
        }];
    });
    world.node().replay = RpcResult::Ok(json!("0x2a"));
    let read = |world: &World| {
        world
            .observe(std::slice::from_ref(&wanted))
            .remove(0)
            .reads
            .remove(0)
    };
    assert_eq!(read(&world).data, Some("0x2a".parse().unwrap()));
    let call = world.host.recorded().pop().expect("a call");
    assert!(
        format!("{call:?}").contains(&block_id(98)),
        "by block hash: {call:?}"
    );
    world.node().replay = node_error("missing trie node");
    assert_eq!((read(&world).name.as_str(), read(&world).data), ("state", None));
}

#[test]
fn nonces_are_read_at_latest_and_before_receipts() {
    let world = World::new();
    world.state(&watch(1, 7));
    let recorded = format!("{:?}", world.host.recorded());
    assert!(!recorded.contains("pending"), "{recorded}");
    let at = |text: &str| recorded.find(text).expect("the request");
    assert!(at("eth_chainId") < at("eth_getTransactionCount"));
    assert!(at("eth_getTransactionCount") < at("eth_getTransactionReceipt"));
    assert!(recorded.contains(SIGNER));
}

#[test]
fn blocks_are_read_from_the_top_down() {
    let world = World::new();
    let mut watch = watch(1, 7);
    let block = |height: u64| BlockRef {
        id: block_id(height),
        height,
        time_s: 0,
    };
    watch.block = Some(block(95));
    watch.final_at = Some(98);
    let seen = world.observe(&[watch]).remove(0);
    assert!(
        matches!(seen.block, Some(BlockStands::Canonical { .. })),
        "{seen:?}"
    );
    let recorded = format!("{:?}", world.host.recorded());
    let at = |height: u64| {
        recorded
            .find(&format!("{height:#x}\"), Bool(false)"))
            .expect("the request")
    };
    assert!(
        at(98) < at(95),
        "a block that is replaced in between would count as final: {recorded}"
    );
}

fn searching() -> Watch {
    let mut watch = with_evidence(watch(1, 7), |evidence| {
        evidence.foreign = vec![filter(&[Some(1), Some(10)])];
        evidence.logs = vec![filter(&[Some(1)]), filter(&[Some(2)])];
    });
    watch.search_foreign = true;
    watch
}

#[test]
fn t33_another_senders_transactions_are_found_whole() {
    let world = World::new();
    {
        let mut node = world.node();
        node.land(
            &hash(50),
            95,
            true,
            vec![log(3, ASSET, &[1, 10]), log(4, ASSET, &[2]), log(5, OTHER, &[2])],
        );
        // Before the search begins, and other topics.
        node.land(&hash(51), 90, true, vec![log(1, ASSET, &[1, 10])]);
        node.land(&hash(52), 96, true, vec![log(1, ASSET, &[1, 11])]);
    }
    let seen = world.observe(&[searching()]).remove(0);
    assert!(seen.foreign_searched);
    let [foreign] = seen.foreign.as_slice() else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (foreign.tx_id.as_str(), foreign.height, foreign.depth),
        (hash(50).as_str(), 95, 6)
    );
    assert_eq!(foreign.block, block_id(95));
    let ids: Vec<_> = foreign.logs.iter().map(|log| log.id.clone()).collect();
    assert_eq!(ids, [3, 4].map(|index| format!("{}/{index}", hash(50))));
    assert_eq!(world.trips(), [4, 1, 3]);
}

#[test]
fn a_transaction_found_in_our_own_place_says_so() {
    let in_slot = |from: &str, nonce: &str, with_receipt: bool| {
        let world = World::new();
        {
            let mut node = world.node();
            node.land(&hash(50), 95, true, vec![log(3, ASSET, &[1, 10])]);
            let sent = json!({"hash": hash(50), "from": from, "nonce": nonce});
            node.transactions.insert(hash(50), sent);
            if !with_receipt {
                node.receipts.clear();
            }
        }
        let seen = world.observe(&[searching()]).remove(0);
        seen.foreign.first().expect("found").in_slot
    };
    for with_receipt in [true, false] {
        assert!(in_slot(SIGNER, "0x7", with_receipt));
        assert!(in_slot(
            &SIGNER.to_uppercase().replace('X', "x"),
            "0x7",
            with_receipt
        ));
        assert!(!in_slot(SIGNER, "0x8", with_receipt));
        assert!(!in_slot(OTHER, "0x7", with_receipt));
        assert!(!in_slot(SIGNER, "seven", with_receipt));
    }
}

#[test]
fn a_transaction_found_shows_its_call_unless_that_is_too_large() {
    let call = |sent: Value, with_receipt: bool| {
        let world = World::new();
        {
            let mut node = world.node();
            node.land(&hash(50), 95, true, vec![log(3, ASSET, &[1, 10])]);
            node.transactions.insert(hash(50), sent);
            if !with_receipt {
                node.receipts.clear();
            }
        }
        let seen = world.observe(&[searching()]).remove(0);
        seen.foreign.first().expect("found").call.clone()
    };
    let sent = |id: u64, to: Value, bytes: usize| {
        let input = format!("0x{}", "ab".repeat(bytes));
        json!({ "hash": hash(id), "from": OTHER, "nonce": "0x1", "to": to, "input": input })
    };
    for with_receipt in [true, false] {
        let shown = call(
            sent(50, json!(OTHER.to_uppercase().replace('X', "x")), 3),
            with_receipt,
        );
        let shown = shown.expect("a call");
        assert_eq!(
            (shown.target.as_str(), shown.data.to_string().as_str()),
            (OTHER, "0xababab")
        );
        assert!(call(sent(50, json!(OTHER), 16 * 1024), with_receipt).is_some());
        for hidden in [
            sent(50, json!(OTHER), 16 * 1024 + 1),
            sent(50, Value::Null, 3),
            sent(51, json!(OTHER), 3),
            Value::Null,
        ] {
            assert_eq!(call(hidden, with_receipt), None);
        }
    }
}

#[test]
fn our_own_transaction_is_found_by_its_logs_when_its_receipt_is_missing() {
    let world = World::new();
    {
        let mut node = world.node();
        node.land(
            &hash(1),
            95,
            true,
            vec![log(3, ASSET, &[1, 10]), log(4, ASSET, &[2]), log(5, OTHER, &[2])],
        );
        // Another transaction of the same block.
        node.land(&hash(60), 95, true, vec![log(9, ASSET, &[2])]);
        node.receipts.clear();
        node.nonces.insert(95, 8);
    }
    let seen = world.observe(&[searching()]).remove(0);
    assert_eq!(seen.state, TxState::SlotUsed);
    let [own] = seen.foreign.as_slice() else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (own.tx_id.clone(), own.height, own.block.clone()),
        (hash(1), 95, block_id(95))
    );
    let ids: Vec<_> = own.logs.iter().map(|log| log.id.clone()).collect();
    assert_eq!(ids, [3, 4].map(|index| format!("{}/{index}", hash(1))));
}

#[test]
fn a_search_that_is_not_complete_says_so() {
    let found = |change: fn(&World), options: sdk_plugin::Value| {
        let world = World::with_options(options);
        world
            .node()
            .land(&hash(50), 95, true, vec![log(3, ASSET, &[1, 10])]);
        change(&world);
        let seen = world.observe(&[searching()]).remove(0);
        (seen.foreign.len(), seen.foreign_searched, world.trips())
    };
    let plain = json!({});
    assert_eq!(found(|_| {}, plain.clone()), (1, true, vec![4, 1, 3]));
    assert_eq!(
        found(|_| {}, json!({"max_log_range": 3})),
        (1, true, vec![4, 4, 3])
    );
    let error = |world: &World| {
        world.node().logs_error = Some("the method eth_getLogs does not exist/is not available".into())
    };
    assert_eq!(found(error, plain.clone()), (0, false, vec![4, 1]));
    let gone = |world: &World| drop(world.node().receipts.remove(&hash(50)));
    assert_eq!(
        found(gone, plain.clone()),
        (1, true, vec![4, 1, 3, 2]),
        "by its logs"
    );
    let damaged = |world: &World| world.node().logs[0]["topics"] = json!("none");
    assert_eq!(found(damaged, plain.clone()), (0, false, vec![4, 1]));
    let too_long = |world: &World| world.node().head = 90 + 64 * 1_000 + 1;
    assert_eq!(
        found(too_long, plain.clone()),
        (1, false, vec![4, 64, 3]),
        "the newest only"
    );
    let in_the_future = |world: &World| world.node().head = 80;
    assert_eq!(found(in_the_future, plain.clone()), (0, false, vec![4, 1]));
    let no_block_since = |world: &World| {
        world.node().drop_transaction(&hash(50));
        world.node().head = 90;
    };
    assert_eq!(found(no_block_since, plain), (0, true, vec![4]));
}

#[test]
fn t13_a_node_that_fails_is_a_fault_of_the_whole_view() {
    for method in ["eth_chainId", "eth_getBlockByNumber", "eth_getTransactionCount"] {
        let world = World::new();
        world
            .host
            .queue_rpc(method, node_error("transaction indexing is in progress"));
        let watch = Watch {
            pool: true,
            ..watch(1, 7)
        };
        let fault = block_on(world.driver.observe(&world.cx(), &[watch])).expect_err(method);
        assert_eq!(fault.kind, FaultKind::Unavailable, "{method}");
    }
    assert_eq!(hex(16), json!("0x10"));
}

#[test]
fn the_fee_is_what_the_receipt_shows_of_it_whether_or_not_the_call_had_its_effect() {
    let gas = json!({"gasUsed": "0x5208", "effectiveGasPrice": "0x3b9aca00"});
    let with = |more: Value| {
        let mut members = gas.clone();
        for (name, value) in more.as_object().unwrap() {
            members[name.as_str()] = value.clone();
        }
        members
    };
    for (members, fee) in [
        (gas.clone(), Some(21_000_000_000_000_u64)),
        (with(json!({"l1Fee": "0x3e8"})), Some(21_000_000_001_000)),
        (
            with(json!({"l1Fee": null, "operatorFeeScalar": "0x0"})),
            Some(21_000_000_000_000),
        ),
        // How an operator's fee is computed differs by fork.
        (with(json!({"operatorFeeConstant": "0x1"})), None),
        (with(json!({"l1Fee": "many"})), None),
        (
            with(json!({"effectiveGasPrice": format!("0x{}", "f".repeat(64))})),
            None,
        ),
        (json!({"gasUsed": "0x5208"}), None),
        (json!({}), None),
    ] {
        for success in [true, false] {
            for brief in [true, false] {
                let world = World::new();
                world.node().land(&hash(1), 100, success, vec![]);
                for (name, value) in members.as_object().unwrap() {
                    world.node().receipts.get_mut(&hash(1)).unwrap()[name.as_str()] = value.clone();
                }
                let watch = Watch { brief, ..watch(1, 7) };
                let seen = world.observe(&[watch]).remove(0);
                assert!(
                    matches!(seen.state, TxState::Landed { .. } | TxState::Reverted { .. }),
                    "{members}: {seen:?}"
                );
                assert_eq!(seen.fee, fee.map(Amount::from), "{members}");
            }
        }
    }
}

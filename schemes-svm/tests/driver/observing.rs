//! The state of attempts, and what landed ones did.

use schemes_svm::testkit::Deal;
use sdk_plugin::chain::{BlockRef, BlockStands, Observation, TxState, Watch};
use sdk_plugin::host::RpcResult;
use sdk_plugin::{Amount, HexBytes, Value};
use serde_json::json;

use crate::node::{World, called_methods, status, tx_id, watch};
use crate::nodes::{Nodes, Second};

/// The transaction of the official client as a node shows it when it has landed.
pub fn shown(slot: u64, amount: u64) -> Value {
    let deal = Deal {
        amount,
        ..Deal::example()
    };
    let draft = deal.official();
    let message = draft.message();
    let keys: Vec<String> = message.keys.iter().map(ToString::to_string).collect();
    let place =
        |address: solana_address::Address| message.keys.iter().position(|key| *key == address).unwrap();
    let base58 = |bytes: &[u8]| base58(bytes);
    let instructions: Vec<Value> = message
        .instructions
        .iter()
        .map(|one| json!({"programIdIndex": one.program_id_index, "accounts": one.accounts, "data": base58(&one.data)}))
        .collect();
    let balance = |address: solana_address::Address, amount: u64| json!({"accountIndex": place(address), "mint": deal.mint.to_string(), "uiTokenAmount": {"amount": amount.to_string()}});
    json!({
        "slot": slot,
        "transaction": {"message": {"accountKeys": keys, "instructions": instructions}},
        "meta": {
            "err": null,
            "fee": 10_000,
            "innerInstructions": [{"index": 2, "instructions": [instructions[2].clone()]}],
            "loadedAddresses": {"writable": [], "readonly": []},
            "preTokenBalances": [balance(deal.source(), 50_000)],
            "postTokenBalances": [balance(deal.source(), 50_000 - amount), balance(deal.destination(), amount)],
        }
    })
}

/// Written here once more: the crate only reads it.
fn base58(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = std::iter::repeat_n(0, zeros).chain(digits.into_iter().rev());
    digits.map(|digit| ALPHABET[usize::from(digit)] as char).collect()
}

fn one(world: &World, since: u64) -> Observation {
    world.observe(&[watch(1, since)]).remove(0)
}

#[test]
fn many_attempts_are_one_round_trip() {
    let world = World::new();
    let watches: Vec<_> = (0..200).map(|seed| watch(seed, 990)).collect();
    let seen = world.observe(&watches);
    assert_eq!(seen.len(), 200);
    assert!(
        seen.iter()
            .all(|seen| seen.state == TxState::Unknown && seen.head_height == 1_000)
    );
    assert_eq!(world.host.round_trips(), 1);
    assert_eq!(world.observe(&[]), []);
}

#[test]
fn stages_become_depths() {
    let world = World::new();
    world.chain().transactions.insert(tx_id(1), shown(998, 10_000));
    let depth = |stage: &str| {
        world
            .chain()
            .statuses
            .insert(tx_id(1), status(998, stage, Value::Null));
        match one(&world, 990).state {
            TxState::Landed { height, block, depth } => {
                assert_eq!((height, block.as_str()), (998, "998"));
                Some(depth)
            }
            TxState::Pending => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(depth("processed"), None, "some nodes have seen it");
    assert_eq!(depth("confirmed"), Some(3));
    assert_eq!(depth("finalized"), Some(32));
    world.chain().advance(500);
    assert_eq!(depth("confirmed"), Some(31), "never as deep as what is final");
    assert_eq!(depth("finalized"), Some(503));
}

#[test]
fn a_landed_transaction_shows_its_transfers_and_balances() {
    let world = World::new();
    let deal = Deal::example();
    world
        .chain()
        .statuses
        .insert(tx_id(1), status(998, "confirmed", Value::Null));
    assert_eq!(
        one(&world, 990).state,
        TxState::Pending,
        "known to have landed, and not shown yet"
    );
    world.chain().transactions.insert(tx_id(1), shown(998, 10_000));
    let seen = one(&world, 990);
    let id = tx_id(1);
    let ids: Vec<&str> = seen.logs.iter().map(|log| log.id.as_str()).collect();
    assert_eq!(seen.fee, Some(Amount::from(10_000_u64)), "lamports");
    assert_eq!(
        ids,
        [format!("{id}/2"), format!("{id}/2.0")],
        "by position, and only what was wanted"
    );
    assert_eq!(seen.logs[0].emitter, deal.token_program.to_string());
    assert_eq!(
        seen.logs[0].topics[2],
        HexBytes(deal.destination().to_bytes().to_vec())
    );
    assert_eq!(seen.logs[0].data, HexBytes(deal.transfer().data));
    let delta = seen
        .deltas
        .iter()
        .find(|delta| delta.account == deal.destination().to_string())
        .expect("a delta");
    assert_eq!(
        (delta.received, delta.sent),
        (Amount::from(10_000u64), Amount::ZERO)
    );
    assert_eq!(delta.asset, deal.mint.to_string());
    let delta = seen
        .deltas
        .iter()
        .find(|delta| delta.account == deal.source().to_string())
        .expect("a delta");
    assert_eq!(
        (delta.received, delta.sent),
        (Amount::ZERO, Amount::from(10_000u64))
    );

    // A transaction in another block than its status has, or malformed, shows nothing.
    for wrong in [shown(997, 10_000), json!({"slot": 998}), json!(7)] {
        world.chain().transactions.insert(tx_id(1), wrong);
        assert_eq!(one(&world, 990).state, TxState::Pending);
    }
}

#[test]
fn a_transaction_that_failed_on_chain_is_reverted_with_its_error() {
    let world = World::new();
    let error = json!({"InstructionError": [2, {"Custom": 1}]});
    world
        .chain()
        .statuses
        .insert(tx_id(1), status(998, "finalized", error.clone()));
    assert_eq!(one(&world, 990).state, TxState::Pending, "one word of one node");
    let mut failed = shown(998, 10_000);
    failed["meta"]["err"] = error.clone();
    world.chain().transactions.insert(tx_id(1), failed);
    let seen = one(&world, 990);
    let TxState::Reverted { message, .. } = seen.state else {
        panic!("reverted");
    };
    assert_eq!(message, Some(error.to_string()));
    assert_eq!(
        seen.fee,
        Some(Amount::from(10_000_u64)),
        "it is paid all the same"
    );
    for stage in ["processed", "confirmed"] {
        world
            .chain()
            .statuses
            .insert(tx_id(1), status(998, stage, error.clone()));
        assert_eq!(one(&world, 990).state, TxState::Pending, "on a fork, perhaps");
    }
    // The same node shows that it succeeded.
    world
        .chain()
        .statuses
        .insert(tx_id(1), status(998, "finalized", error));
    world.chain().transactions.insert(tx_id(1), shown(998, 10_000));
    assert_eq!(one(&world, 990).state, TxState::Pending);
}

#[test]
fn an_old_attempt_is_looked_up_in_the_history() {
    let world = World::new();
    world
        .chain()
        .history
        .insert(tx_id(1), status(700, "finalized", Value::Null));
    world.chain().transactions.insert(tx_id(1), shown(700, 10_000));
    // A driver that has just started knows nothing of ages.
    assert!(matches!(
        one(&world, 690).state,
        TxState::Landed { depth: 301, .. }
    ));
    assert!(matches!(
        one(&world, 690).state,
        TxState::Landed { depth: 301, .. }
    ));
    assert_eq!(
        one(&world, 990).state,
        TxState::Unknown,
        "what is young is not searched for"
    );
}

#[test]
fn a_fault_free_payment_costs_as_many_calls_as_ever() {
    let world = World::new();
    world.chain().transactions.insert(tx_id(1), shown(1_001, 10_000));
    // Not known yet, processed, confirmed, and final after it was remembered as paid for a while.
    for stage in [None, Some("processed"), Some("confirmed"), Some("finalized")] {
        if let Some(stage) = stage {
            let status = status(1_001, stage, Value::Null);
            world.chain().statuses.insert(tx_id(1), status);
        }
        one(&world, 1_000);
        world.chain().advance(20);
    }
    let first = (4, false);
    let second = (1, false);
    assert_eq!(
        world.reads(),
        [first, first, first, second, first, second],
        "slot, two heights and statuses; and the transaction when it has landed"
    );
    let asked = [
        "getBlockHeight",
        "getSignatureStatuses",
        "getSlot",
        "getTransaction",
    ];
    assert_eq!(called_methods(&world.host), asked.map(str::to_owned).into());
}

#[test]
fn a_block_seen_earlier_stands_by_the_status_of_its_transaction() {
    let world = World::new();
    let stands = |block: &str| {
        let block = BlockRef {
            id: block.into(),
            height: 998,
            time_s: 0,
        };
        let watch = Watch {
            block: Some(block),
            ..watch(1, 990)
        };
        world.observe(&[watch]).remove(0).block
    };
    assert_eq!(one(&world, 990).block, None, "not requested");
    assert_eq!(stands("998"), Some(BlockStands::Unknown), "null proves nothing");
    let shows = |stage: &str, error: Value| {
        let status = status(998, stage, error);
        world.chain().statuses.insert(tx_id(1), status);
    };
    for error in [Value::Null, json!("AccountInUse")] {
        shows("processed", error.clone());
        assert_eq!(stands("998"), Some(BlockStands::Unknown));
        assert_eq!(stands("997"), Some(BlockStands::Unknown), "a fork of one node");
        shows("confirmed", error.clone());
        assert_eq!(stands("998"), Some(BlockStands::Canonical { depth: 3 }));
        assert_eq!(stands("997"), Some(BlockStands::Replaced));
        assert_eq!(stands("gone:998"), Some(BlockStands::Unknown), "no slot");
        shows("finalized", error);
        assert_eq!(stands("998"), Some(BlockStands::Canonical { depth: 32 }));
        assert_eq!(stands("999"), Some(BlockStands::Replaced));
    }
    let seen = one(&world, 990);
    assert_eq!(
        (seen.anchor, seen.block_logs),
        (None, vec![]),
        "there are no guards here"
    );
}

#[test]
fn malformed_answers_of_an_only_node_are_faults() {
    for (method, answer) in [
        ("getSlot", json!("1")),
        ("getBlockHeight", json!(null)),
        (
            "getSignatureStatuses",
            json!({"context": {"slot": 1}, "value": []}),
        ),
        ("getSignatureStatuses", json!({"value": [null]})),
        (
            "getSignatureStatuses",
            json!({"context": {"slot": 1}, "value": [{"slot": 1, "confirmationStatus": "sure"}]}),
        ),
    ] {
        let world = World::new();
        let nonsense = RpcResult::Ok(answer.clone());
        world.chain().instead.insert(method.into(), nonsense);
        let seen = sdk_plugin::testkit::block_on(sdk_plugin::ChainDriver::observe(
            &world.driver,
            &world.cx(),
            &[watch(1, 990)],
        ));
        assert!(seen.is_err(), "{method} {answer}");
    }
}

#[test]
fn an_error_that_only_one_node_shows_fails_nothing() {
    let error = json!({"InstructionError": [2, {"Custom": 1}]});
    let world = || {
        let world = World::new();
        let failed = status(998, "finalized", error.clone());
        world.chain().statuses.insert(tx_id(1), failed);
        world
    };
    let pass = |world: &World| {
        world.chain().advance(100);
        world.host.advance_ms(60_000);
    };
    let state = |world: &World, nodes: &Nodes| nodes.observe(world, &watch(1, 990)).state;
    let is_failed = |state: &TxState| matches!(state, TxState::Reverted { .. });

    // The second one does not know it, or knows that it succeeded.
    for word in [None, Some(status(998, "finalized", Value::Null))] {
        let world = world();
        let mut second = world.chain().clone();
        second.statuses.remove(&tx_id(1));
        second.statuses.extend(word.map(|word| (tx_id(1), word)));
        let nodes = Nodes::of(&world, Second::Shows(Box::new(second)));
        for _ in 0..15 {
            assert!(!is_failed(&state(&world, &nodes)));
            pass(&world);
        }
        nodes.set(Second::Shows(Box::new(world.chain().clone())));
        assert!(!is_failed(&state(&world, &nodes)), "and neither shows it");
        let mut failed = shown(998, 10_000);
        failed["meta"]["err"] = error.clone();
        world.chain().transactions.insert(tx_id(1), failed);
        assert!(is_failed(&state(&world, &nodes)), "both say so");
    }
    // The second one does not answer.
    let away = world();
    let nodes = Nodes::of(&away, Second::Away);
    for _ in 0..10 {
        assert!(!is_failed(&state(&away, &nodes)));
        pass(&away);
    }
    assert!(is_failed(&state(&away, &nodes)));
    // There is no other, and it does not show the transaction.
    let alone = world();
    let nodes = Nodes::of(&alone, Second::Missing);
    assert!(!is_failed(&state(&alone, &nodes)));
    pass(&alone);
    assert!(is_failed(&state(&alone, &nodes)), "it said so twice");
}

#[test]
fn a_second_node_whose_word_on_a_failure_can_not_be_read_withholds_that_failure_only() {
    let error = json!({"InstructionError": [2, {"Custom": 1}]});
    for nonsense in [
        RpcResult::Ok(json!({"context": {"slot": 1}, "value": []})),
        RpcResult::Ok(Value::Null),
        crate::node::refusal(-32_603, "internal error"),
    ] {
        let world = World::new();
        {
            let mut chain = world.chain();
            let mut failed = shown(998, 10_000);
            failed["meta"]["err"] = error.clone();
            chain.transactions.insert(tx_id(1), failed);
            chain.transactions.insert(tx_id(2), shown(998, 10_000));
            let word = |error| status(998, "finalized", error);
            chain.statuses.insert(tx_id(1), word(error.clone()));
            chain.statuses.insert(tx_id(2), word(Value::Null));
        }
        let mut second = world.chain().clone();
        second.instead.insert("getSignatureStatuses".into(), nonsense);
        let nodes = Nodes::of(&world, Second::Shows(Box::new(second)));
        let watches = [watch(1, 990), watch(2, 990)];
        let seen = nodes.try_observe(&world, &watches).expect("the poll continues");
        let [doubtful, paid] = seen.as_slice() else {
            panic!("two observations");
        };
        let is_failed = |seen: &Observation| matches!(seen.state, TxState::Reverted { .. });
        assert!(!is_failed(doubtful), "{doubtful:?}");
        assert!(matches!(paid.state, TxState::Landed { .. }), "{paid:?}");
        nodes.set(Second::Shows(Box::new(world.chain().clone())));
        let seen = nodes.try_observe(&world, &watches).expect("no fault");
        assert!(is_failed(&seen[0]), "both say so now");
    }
}

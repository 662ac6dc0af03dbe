//! A first node that answers well-formed nonsense: a healthy second node serves the payment, and no payment is refused.

use schemes_svm::exact::reason;
use schemes_svm::testkit::Deal;
use sdk_plugin::host::RpcResult;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{FaultKind, SchemeHandler, Value};
use serde_json::json;

use crate::world::{Chain, World, fee_payer, good, internal_error};

/// Slots far from those of every other node.
const ABSURD: [u64; 5] = [0, 1, 9_000_000, 1_000_000_000_000_000, u64::MAX - 1_000];
/// High enough that there are slots far below.
const HEAD: u64 = 500_000;

fn too_little() -> Value {
    json!({"InstructionError": [2, {"Custom": 1}]})
}

/// The first node shows this at this slot, and the second one sees the chain as it is.
fn first_says(error: Value, slot: u64) -> World {
    World::new()
        .with(|chain| {
            chain.error = error;
            chain.slot = slot;
        })
        .with_second(|chain| chain.slot = HEAD)
}

#[test]
fn an_absurd_slot_of_one_node_is_no_newer_state() {
    for slot in ABSURD {
        for error in [too_little(), json!("BlockhashNotFound"), json!("AccountInUse")] {
            let world = first_says(error.clone(), slot);
            for _ in 0..3 {
                assert!(world.verify(&good()).is_ok(), "{slot} {error}");
                assert!(world.plan(&good()).is_ok(), "{slot} {error}");
            }
        }
    }
}

#[test]
fn an_absurd_slot_of_the_second_node_is_no_newer_state() {
    for slot in ABSURD {
        // The first one does not know the payer's new balance yet when it is read alone.
        let world = World::new().with(|chain| chain.slot = HEAD).with_second(|chain| {
            chain.slot = slot;
            chain.error = json!("BlockhashNotFound");
        });
        let early = json!({"context": {"slot": HEAD - 1}, "value": {"err": too_little(), "logs": []}});
        world.host.queue_rpc("simulateTransaction", RpcResult::Ok(early));
        assert!(world.verify(&good()).is_ok(), "{slot}");
    }
}

#[test]
fn an_absurd_slot_is_not_held_against_refusals_that_follow() {
    for slot in ABSURD {
        let world = first_says(too_little(), slot).with_second(|chain| {
            chain.slot = HEAD;
            chain.error = too_little();
        });
        assert_eq!(world.refusal(&good()).reason, reason::SIMULATION_FAILED);
        world.chain().slot = HEAD + 20;
        assert_eq!(world.refusal(&good()).reason, reason::SIMULATION_FAILED, "{slot}");
    }
}

#[test]
fn an_absurd_slot_of_a_node_that_is_alone_blames_nobody() {
    let second = |chain: &mut Chain| {
        chain.slot = HEAD;
        chain.error = too_little();
    };
    for slot in [1, 9_000_000, u64::MAX - 1_000] {
        let world = first_says(too_little(), HEAD).with_second(second);
        assert_eq!(world.refusal(&good()).reason, reason::SIMULATION_FAILED);
        world.chain().slot = slot;
        let world = world.with_second(|chain| chain.simulation = Some(internal_error()));
        let fault = world.try_verify(&good()).expect_err("nobody is blamed");
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
    }
}

#[test]
fn our_fee_payer_is_unfunded_only_if_more_than_one_node_reports_it() {
    let poor_by_rent = json!({"InsufficientFundsForRent": {"account_index": 0}});
    for error in [
        json!("AccountNotFound"),
        json!("InsufficientFundsForFee"),
        poor_by_rent,
    ] {
        for slot in [HEAD, HEAD + 3, HEAD - 3, 1, 1_000_000_000_000_000] {
            let world = first_says(error.clone(), slot);
            assert!(world.verify(&good()).is_ok(), "{slot} {error}");
            assert!(world.plan(&good()).is_ok(), "{slot} {error}");
        }
        let world = first_says(error.clone(), HEAD).with_second(|chain| {
            chain.slot = HEAD;
            chain.error = error.clone();
        });
        let fault = world.try_verify(&good()).expect_err("both say so");
        assert!(fault.message.contains("send it SOL"), "{fault}");
    }
}

#[test]
fn a_malformed_simulation_is_put_to_the_second_node() {
    for nonsense in [
        RpcResult::Ok(Value::Null),
        RpcResult::Ok(json!({"context": {"slot": HEAD}, "value": null})),
        RpcResult::Ok(json!({"context": {"slot": HEAD}, "value": {}})),
        RpcResult::Ok(
            json!({"context": {"slot": HEAD}, "value": {"err": null, "preBalances": ["x"], "postBalances": []}}),
        ),
        internal_error(),
    ] {
        let world = first_says(Value::Null, HEAD);
        world.chain().simulation = Some(nonsense.clone());
        assert!(world.verify(&good()).is_ok(), "{nonsense:?}");
        assert!(world.plan(&good()).is_ok(), "{nonsense:?}");
        let alone = World::new().with(|chain| chain.simulation = Some(nonsense.clone()));
        assert!(alone.try_verify(&good()).is_err(), "{nonsense:?}");
    }
}

/// A list in which the example's blockhash is so many blocks old.
fn listed(age: usize) -> Vec<[u8; 32]> {
    let mut list: Vec<[u8; 32]> = (100..250u8).map(|number| [number; 32]).collect();
    list[age] = Deal::example().blockhash.to_bytes();
    list
}

/// The scheme has read this list before.
fn has_read(world: &World) {
    world.chain().lamports.insert(fee_payer(), 1_000_000_000);
    assert!(block_on(world.exact.supported(&world.cx())).is_ok());
}

#[test]
fn a_simulation_at_an_absurd_slot_makes_no_blockhash_old() {
    for slot in ABSURD {
        let world = World::new()
            .with(|chain| {
                chain.slot = HEAD;
                chain.blockhashes = listed(30);
            })
            .with_second(|chain| {
                chain.slot = HEAD;
                chain.blockhashes = listed(30);
            });
        has_read(&world);
        world.chain().slot = slot;
        assert!(world.verify(&good()).is_ok(), "{slot}");
        let plan = world.plan(&good()).expect("planned");
        let named = plan.steps[0].evidence.reads[0].data.as_ref();
        let named = u64::from_be_bytes(named[..8].try_into().expect("a slot"));
        assert!(named.abs_diff(HEAD) < 100, "{slot}: the plan names slot {named}");
    }
}

#[test]
fn a_list_of_blockhashes_is_one_nodes_word() {
    let old = |chain: &mut Chain| {
        chain.stands = true;
        chain.blockhashes = listed(145);
    };
    let world = World::new().with(old).with_second(|chain| {
        chain.stands = true;
        chain.blockhashes = listed(10);
    });
    has_read(&world);
    assert!(world.verify(&good()).is_ok(), "the second one lists it as young");
    let both = World::new().with(old).with_second(old);
    has_read(&both);
    assert_eq!(both.refusal(&good()).reason, reason::SIMULATION_FAILED);
}

#[test]
fn many_payments_with_a_blockhash_that_two_nodes_call_old_cost_one_simulation_each() {
    let old = |chain: &mut Chain| {
        chain.stands = true;
        chain.blockhashes = listed(145);
    };
    let world = World::new().with(old).with_second(old);
    has_read(&world);
    assert!(world.verify(&good()).is_err());
    let before = world.host.round_trips();
    for _ in 0..50 {
        assert!(world.verify(&good()).is_err());
    }
    assert_eq!(world.host.round_trips() - before, 50);
}

#[test]
fn a_list_at_an_absurd_slot_does_not_replace_what_is_known() {
    let world = World::new().with(|chain| {
        chain.slot = HEAD;
        chain.stands = true;
        chain.blockhashes = listed(145);
    });
    has_read(&world);
    for slot in ABSURD {
        world.host.advance_ms(11_000);
        {
            let mut chain = world.chain();
            chain.slot = slot;
            chain.blockhashes = Vec::from([[200; 32]]);
        }
        has_read(&world);
        world.host.advance_ms(11_000);
        {
            let mut chain = world.chain();
            chain.slot = HEAD;
            chain.time_s = Some(world.host.cx(world.context()).now_s());
            chain.blockhashes = listed(145);
        }
        has_read(&world);
        assert_eq!(world.refusal(&good()).reason, reason::SIMULATION_FAILED, "{slot}");
    }
}

#[test]
fn malformed_balances_of_the_first_node_are_read_of_the_second() {
    let nonsense = [
        json!(null),
        json!({"context": {"slot": 1}, "value": []}),
        json!({"context": {"slot": 1}, "value": null}),
    ];
    for nonsense in nonsense {
        let world = World::new().with_second(|chain| {
            chain.lamports.insert(fee_payer(), 1_000);
        });
        world
            .host
            .answer_rpc("getMultipleAccounts", move |_| RpcResult::Ok(nonsense.clone()));
        let supported = block_on(world.exact.supported(&world.cx())).expect("no fault");
        assert!(
            supported.kinds.is_empty(),
            "the second one reports an empty balance"
        );
    }
}

//! One node's answers alone refuse no payer.

use sdk_plugin::SchemeHandler;
use sdk_plugin::host::{RpcError, RpcResult};
use sdk_plugin::scheme::{Planned, Verdict};
use sdk_plugin::testkit::block_on;
use serde_json::{Value, json};

use super::custom;
use super::offer::Offer;
use super::order::Draft;
use super::world::{Chain, World, hex_result, revert, state, typed, word_result};

/// The verdict of verify and plan on a payment whose first answer comes from `one`.
fn both(draft: &Draft, one: &World, other: &World) -> [Result<(), String>; 2] {
    let (cx, request) = (|| one.cx_beside(other), draft.request());
    let verified = match block_on(one.scheme.verify(&cx(), &request)).expect("no fault") {
        Verdict::Valid(valid) => {
            assert_eq!(
                valid.reserves.expect("a promise")[0].available,
                5_000_000u64.into()
            );
            Ok(())
        }
        Verdict::Invalid(refusal) => Err(refusal.reason),
    };
    let planned = match block_on(one.scheme.plan(&cx(), &request)).expect("no fault") {
        Planned::Plan(plan) => {
            assert_eq!(plan.reserves[0].available, 5_000_000u64.into());
            Ok(())
        }
        Planned::Refused(refusal) => Err(refusal.reason),
        Planned::Done(done) => panic!("{done:?}"),
    };
    [verified, planned]
}

#[test]
fn one_nodes_refusal_refuses_no_collection() {
    type Lie = (&'static str, fn(&mut Chain));
    let lies: [Lie; 11] = [
        ("collected", |chain| chain.state = state(true, 0, 0)),
        ("no escrow", |chain| chain.state = hex_result(&[])),
        ("balance 0", |chain| chain.balance = word_result(0)),
        ("no balance", |chain| chain.balance = hex_result(&[])),
        ("a simulation that reverts", |chain| {
            chain.simulation = revert("ERC20: transfer amount exceeds balance");
            chain.estimate = revert("ERC20: transfer amount exceeds balance");
        }),
        ("a typed error", |chain| {
            chain.simulation = typed(0xad7c_145a);
            chain.estimate = typed(0xad7c_145a);
        }),
        ("out of gas", |chain| {
            chain.estimate = RpcResult::Error(RpcError {
                code: -32000,
                message: "out of gas".into(),
                data: Value::Null,
            });
        }),
        ("gas", |chain| chain.estimate = RpcResult::Ok(json!("0x200000"))),
        ("the payer has code", |chain| {
            chain.payer_code = hex_result(&[0x60])
        }),
        ("the authorizer has code", |chain| {
            chain.authorizer_code = hex_result(&[0x60])
        }),
        ("a clock of tomorrow", |chain| chain.head_s += 86_400),
    ];
    for (name, lie) in lies {
        for offer in [Offer::default(), Offer::charged()] {
            let draft = Draft::of(offer);
            let lying = || {
                let world = draft.world();
                lie(&mut world.chain());
                world
            };
            let good = [Ok(()), Ok(())];
            assert_eq!(both(&draft, &lying(), &draft.world()), good, "{name}");
            assert_eq!(both(&draft, &draft.world(), &lying()), good, "{name}");
            // What both report is reported, or the case concerns no hold or no verdict.
            let refused = both(&draft, &lying(), &lying());
            assert!(
                refused[1].is_err()
                    || (name == "the authorizer has code" && draft.offer.completion.is_none()),
                "{name}: {refused:?}"
            );
        }
    }
}

#[test]
fn one_nodes_word_does_not_deny_a_contract_operators_store() {
    let draft = custom::draft(Offer::custom());
    let (lying, honest) = (draft.world(), draft.world());
    lying.chain().store = hex_result(&[]);
    let verdict = block_on(lying.scheme.verify(&lying.cx_beside(&honest), &draft.request()));
    assert!(matches!(verdict, Ok(Verdict::Valid(_))), "{verdict:?}");
    let lying = draft.world();
    lying.chain().sandbox.instead = Some(RpcResult::Error(RpcError {
        code: -32601,
        message: "the method eth_simulateV1 does not exist/is not available".into(),
        data: Value::Null,
    }));
    let verdict = block_on(lying.scheme.verify(&lying.cx_beside(&honest), &draft.request()));
    assert!(matches!(verdict, Ok(Verdict::Valid(_))), "{verdict:?}");
}

//! What `upto` adds: the facilitator of the witness, and the actual amount.

use schemes_evm::permit2::Proxy;
use sdk_plugin::PaymentRequest;
use sdk_plugin::scheme::{Hold, LaneChoice, Planned};
use serde_json::{Value, json};

use crate::judge::{evidence, landed, moved, outcome};
use crate::world::{
    ASSET, Chain, FACILITATOR, Findings, NOW_S, Offer, PAYEE, PAYER, RETAINED, World, good, set,
};

const UPTO: Proxy = Proxy::Upto;

fn settling(amount: u64) -> PaymentRequest {
    let mut request = good(UPTO);
    request.requirements.amount = amount.into();
    request
}

#[test]
fn t131_another_facilitator_is_refused_before_a_read() {
    let mut absent = good(UPTO);
    let witness = absent.payload["permit2Authorization"]["witness"].as_object_mut();
    witness.expect("a witness").remove("facilitator");
    let of = |facilitator| {
        Offer {
            facilitator,
            ..Offer::of(UPTO)
        }
        .signed()
    };
    let mut malformed = good(UPTO);
    set(&mut malformed, "/witness/facilitator", json!(7));
    for request in [
        absent,
        malformed,
        of("0x4444444444444444444444444444444444444444"),
        of("0x0000000000000000000000000000000000000000"),
    ] {
        let world = World::new(UPTO);
        assert_eq!(world.refused(&request), "upto_facilitator_mismatch");
        assert_eq!(world.host.round_trips(), 0);
    }
}

#[test]
fn t88_each_payment_is_sent_by_the_signer_that_its_witness_names() {
    for facilitator in [FACILITATOR, RETAINED] {
        let offer = Offer {
            facilitator,
            ..Offer::of(UPTO)
        };
        let world = World::new(UPTO);
        let plan = world.plan(&offer.signed()).expect("a plan");
        assert_eq!(
            plan.steps[0].lane,
            LaneChoice::Signer {
                address: facilitator.into()
            }
        );
        let calls = world.batches().concat();
        let sender = calls.iter().find_map(|call| call.params[0]["from"].as_str());
        assert_eq!(sender, Some(facilitator), "simulated from the key that sends");
    }
}

#[test]
fn the_key_is_held_until_the_signed_deadline_but_not_for_ever() {
    let held = |deadline| {
        let offer = Offer {
            deadline,
            ..Offer::of(UPTO)
        };
        World::new(UPTO).plan(&offer.signed()).expect("a plan").holds
    };
    let hold = |until_s| {
        vec![Hold {
            signer: FACILITATOR.into(),
            until_s,
        }]
    };
    assert_eq!(held(NOW_S + 3_600), hold(NOW_S + 3_600));
    assert_eq!(held(4_102_444_800), hold(NOW_S + 7_776_000));
    assert_eq!(held(u64::MAX), hold(NOW_S + 7_776_000));
}

#[test]
fn t132_less_than_the_maximum_is_settled() {
    for amount in [1, 7_000, 10_000] {
        let plan = World::new(UPTO).plan(&settling(amount)).expect("a plan");
        assert_eq!(plan.reserves[0].amount, amount.into());
        let logs = vec![moved(4, ASSET, PAYER, PAYEE, amount)];
        let judged = outcome(UPTO, &plan, &evidence(landed(), logs, vec![]));
        assert_eq!(judged.map(|(_, _, amount)| amount), Ok(amount));
    }
    let refusal = World::new(UPTO).verify(&settling(7_000)).expect_err("refused");
    assert_eq!(
        refusal.reason, "permit2_amount_mismatch",
        "a verify names the maximum"
    );
}

#[test]
fn more_than_the_maximum_is_refused() {
    assert_eq!(
        World::new(UPTO).not_planned(&settling(10_001)),
        "invalid_upto_evm_payload_settlement_exceeds_amount"
    );
}

#[test]
fn t90_nothing_is_sent_for_zero() {
    let world = World::new(UPTO);
    let planned = world.try_plan(&settling(0)).expect("no fault");
    let Planned::Done(done) = planned else {
        panic!("{planned:?}")
    };
    assert_eq!(done.reply.payer, PAYER);
    assert_eq!(done.reply.amount, Some(0u64.into()));
    assert!(done.writes.is_empty() && done.jobs.is_empty());
    // One permit, one claim: another amount is another payment, which the claim refuses.
    let identified = |amount| world.identify(&settling(amount)).expect("a key");
    assert_eq!(identified(0).claim_key, identified(5_000).claim_key);
    assert_ne!(identified(0).fingerprint, identified(5_000).fingerprint);
    assert_eq!(identified(5_000).replay_reason, "permit2_invalid_nonce");
}

#[test]
fn t89_the_actual_amount_is_part_of_the_fingerprint() {
    let world = World::new(UPTO);
    let identified = |amount| world.identify(&settling(amount)).expect("a key");
    let (pending, retried) = (identified(7_000), identified(9_000));
    assert_eq!(pending.claim_key, retried.claim_key);
    assert_ne!(pending.fingerprint, retried.fingerprint);
}

/// Every check runs again before a settlement, with the maximum; also before one of zero.
#[test]
fn a_settlement_is_verified_again_first() {
    for amount in [0, 7_000, 10_001] {
        for (change, reason) in [
            (json!({ "/spender": ASSET }), "invalid_permit2_spender"),
            (
                json!({ "/witness/facilitator": ASSET }),
                "upto_facilitator_mismatch",
            ),
            (json!({ "/deadline": "1" }), "permit2_deadline_expired"),
            (
                json!({ "/witness/validAfter": "4102444800" }),
                "permit2_not_yet_valid",
            ),
            (json!({ "/nonce": "9" }), "invalid_permit2_signature"),
        ] {
            let mut request = settling(amount);
            for (path, value) in change.as_object().expect("an object") {
                set(&mut request, path, Value::clone(value));
            }
            assert_eq!(World::new(UPTO).not_planned(&request), reason, "{amount}");
        }
        let poor = Chain::failing(&Findings {
            balance: Some(9_999),
            ..Findings::default()
        });
        assert_eq!(
            World::on(UPTO, poor).not_planned(&settling(amount)),
            "permit2_insufficient_balance",
            "the maximum is simulated"
        );
    }
}

//! The golden vectors of Permit2, and what is advertised.

use schemes_evm::permit2::Proxy;

use sdk_plugin::Value;
use sdk_plugin::testkit::block_on;
use serde_json::json;

use crate::world::{
    Chain, FACILITATOR, NETWORK, Offer, PAYER, World, good, hex_result, internal, lane, request, with_info,
};

fn vectors(proxy: Proxy) -> Value {
    let text = match proxy {
        Proxy::Exact => include_str!("../vectors/permit2_exact.json"),
        Proxy::Upto => include_str!("../vectors/permit2_upto.json"),
    };
    serde_json::from_str(text).expect("vectors parse")
}

fn vector_offer(proxy: Proxy) -> Offer {
    Offer {
        nonce: alloy_primitives::U256::ONE,
        facilitator: "0x3333333333333333333333333333333333333333",
        ..Offer::of(proxy)
    }
}

fn vector_world(proxy: Proxy) -> World {
    let mut world = World::new(proxy);
    world.lanes = vec![lane("0x3333333333333333333333333333333333333333")];
    world
}

#[test]
fn t36_the_digest_signed_and_checked_is_the_vectors() {
    for proxy in [Proxy::Exact, Proxy::Upto] {
        let vectors = vectors(proxy);
        let offer = vector_offer(proxy);
        assert_eq!(json!(offer.digest().to_string()), vectors["digest"]);
        assert_eq!(
            json!(format!("0x{}", hex::encode(offer.signature()))),
            vectors["signature"]
        );
        let world = vector_world(proxy);
        let payload = request(proxy, vectors["payload"].clone());
        assert_eq!(world.verify(&payload), Ok(PAYER.to_owned()), "{proxy:?}");
    }
}

#[test]
fn the_calldata_is_the_vectors() {
    let exact = vectors(Proxy::Exact);
    let payload = request(Proxy::Exact, exact["payload"].clone());
    let plan = vector_world(Proxy::Exact).plan(&payload).expect("a plan");
    assert_eq!(json!(plan.steps[0].call.data), exact["settleCalldata"]);
    let sponsored = with_info(payload, exact["eip2612"]["extensionInfo"].clone());
    let plan = vector_world(Proxy::Exact).plan(&sponsored).expect("a plan");
    assert_eq!(
        json!(plan.steps[0].call.data),
        exact["eip2612"]["settleWithPermitCalldata"]
    );

    let upto = vectors(Proxy::Upto);
    let mut payload = request(Proxy::Upto, upto["payload"].clone());
    payload.requirements.amount = 7_000u64.into();
    let plan = vector_world(Proxy::Upto).plan(&payload).expect("a plan");
    assert_eq!(json!(plan.steps[0].call.data), upto["settleCalldata_amount_7000"]);
}

#[test]
fn the_key_is_the_owner_and_the_nonce() {
    for proxy in [Proxy::Exact, Proxy::Upto] {
        let world = World::new(proxy);
        let identified = world.identify(&good(proxy)).expect("a key");
        assert_eq!(
            identified.claim_key,
            format!("permit2/{}/263", PAYER.to_lowercase())
        );
        assert_eq!(identified.payer, PAYER);
        assert_eq!(identified.replay_reason, "permit2_invalid_nonce");
        assert_eq!(identified.replayable_until_s, Some(4_102_444_800));
        assert!(identified.conflict_keys.is_empty());
        assert_eq!(world.host.round_trips(), 0);

        // Other spellings of one payload have one key and one digest.
        let mut spelled = good(proxy);
        crate::world::set(&mut spelled, "/from", json!(PAYER.to_lowercase()));
        crate::world::set(&mut spelled, "/nonce", json!("0x107"));
        crate::world::set(&mut spelled, "/deadline", json!(4_102_444_800u64));
        let again = world.identify(&spelled).expect("a key");
        assert_eq!(again.claim_key, identified.claim_key);
        assert_eq!(again.payload_digest, identified.payload_digest);
        assert_eq!(again.fingerprint, identified.fingerprint);
        // Another signature of the same permit has the same key and another digest.
        let other = world
            .identify(&Offer::of(proxy).with_signature(&[1; 65]))
            .expect("a key");
        assert_eq!(other.claim_key, identified.claim_key);
        assert_ne!(other.payload_digest, identified.payload_digest);
    }
}

#[test]
fn everything_signed_is_part_of_the_digest_and_the_terms_of_the_fingerprint() {
    let world = World::new(Proxy::Upto);
    let known = world.identify(&good(Proxy::Upto)).expect("a key");
    for (path, value) in [
        ("/permitted/token", json!(FACILITATOR)),
        ("/permitted/amount", json!("1")),
        ("/spender", json!(FACILITATOR)),
        ("/deadline", json!("1")),
        ("/witness/to", json!(FACILITATOR)),
        ("/witness/facilitator", json!("0x")),
        ("/witness/validAfter", json!("1")),
    ] {
        let mut request = good(Proxy::Upto);
        crate::world::set(&mut request, path, value);
        let other = world.identify(&request).expect("a key");
        assert_eq!(other.claim_key, known.claim_key, "{path}");
        assert_ne!(other.payload_digest, known.payload_digest, "{path}");
    }
    let changes: [fn(&mut sdk_plugin::PaymentRequest); 3] = [
        |request| request.requirements.amount = 9_000u64.into(),
        |request| request.requirements.asset = FACILITATOR.into(),
        |request| request.requirements.pay_to = FACILITATOR.into(),
    ];
    for change in changes {
        let mut request = good(Proxy::Upto);
        change(&mut request);
        let other = world.identify(&request).expect("a key");
        assert_ne!(other.fingerprint, known.fingerprint);
        assert_eq!(other.payload_digest, known.payload_digest);
    }
}

#[test]
fn t130_a_network_without_the_proxy_does_not_advertise_the_method() {
    let without = || Chain {
        proxy: hex_result(&[]),
        ..Chain::default()
    };
    let world = World::new(Proxy::Upto);
    let supported = world.supported().expect("no fault");
    let [kind] = supported.kinds.as_slice() else {
        panic!("one kind")
    };
    assert_eq!(
        json!(kind),
        json!({
            "x402Version": 2,
            "scheme": "upto",
            "network": NETWORK,
            "extra": { "facilitatorAddress": FACILITATOR },
        })
    );
    assert_eq!(supported.extensions, ["eip2612GasSponsoring"]);
    assert_eq!(
        supported.signers,
        [FACILITATOR],
        "a retained signer gets nothing new"
    );
    let trips = world.host.round_trips();
    assert_eq!(world.supported().as_ref(), Ok(&supported));
    assert_eq!(world.host.round_trips(), trips, "the probe is kept");

    for chain in [
        without(),
        Chain {
            permit2_code: hex_result(&[]),
            ..Chain::default()
        },
    ] {
        let world = World::on(Proxy::Upto, chain.clone());
        assert!(world.supported().expect("no fault").kinds.is_empty());
        let check = world.check();
        assert!(check.ready && check.warnings.len() == 1, "{check:?}");

        let exact = World::on(Proxy::Exact, chain);
        exact.check();
        let supported = exact.supported().expect("no fault");
        assert_eq!(supported.kinds.len(), 2, "EIP-3009 is served");
        assert!(supported.extensions.is_empty());
    }

    // One lying node of two does not delist; the next check brings the kind back.
    let (lying, honest) = (World::on(Proxy::Upto, without()), World::new(Proxy::Upto));
    assert!(lying.supported().expect("no fault").kinds.is_empty());
    assert_eq!(lying.check().warnings.len(), 1);
    assert_eq!(
        lying.host.round_trips(),
        1,
        "an absent proxy is read again after ten minutes"
    );
    lying.host.advance_ms(10 * 60 * 1_000);
    let check = block_on(lying.scheme.check(&lying.cx_beside(&honest))).expect("no fault");
    assert!(check.ready && check.warnings.is_empty(), "{check:?}");
    assert_eq!(lying.supported().expect("no fault").kinds.len(), 1);
}

#[test]
fn signers_take_turns_and_without_one_nothing_is_served() {
    let second = "0x7777777777777777777777777777777777777777";
    let mut world = World::new(Proxy::Upto);
    world.lanes = vec![lane(FACILITATOR), lane(second)];
    let mut named = Vec::new();
    for _ in 0..2 {
        let kind = world.supported().expect("no fault").kinds.remove(0);
        let address = kind.extra.expect("extra")["facilitatorAddress"].clone();
        named.push(address.as_str().expect("a text").to_owned());
        world.host.advance_ms(600_000);
    }
    named.sort();
    assert_eq!(named, [FACILITATOR, second]);
    world.lanes = Vec::new();
    assert!(world.supported().expect("no fault").kinds.is_empty());
}

#[test]
fn exact_is_served_when_nodes_do_not_answer_about_the_proxy() {
    let chain = Chain {
        proxy: internal(),
        ..Chain::default()
    };
    let world = World::on(Proxy::Exact, chain);
    let offered = || {
        assert!(world.check().ready);
        let supported = world.supported().expect("no fault");
        (supported.kinds.len(), supported.extensions)
    };
    assert_eq!(offered(), (2, vec![]));
    world.chain().proxy = Chain::default().proxy;
    let both = (2, vec!["eip2612GasSponsoring".to_owned()]);
    assert_eq!(offered(), both);
    let trips = world.host.round_trips();
    assert_eq!(offered(), both);
    assert_eq!(world.host.round_trips(), trips, "what was seen lasts an hour");
    world.host.advance_ms(60 * 60 * 1_000);
    assert_eq!(offered(), both);
    assert_eq!(world.host.round_trips(), trips + 1);
}

//! The golden vectors of EIP-3009.

use sdk_plugin::request::ProtocolVersion;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{PaymentRequest, SchemeHandler, Value};
use serde_json::json;

use crate::world::{Chain, NETWORK, NOW_S, Offer, World, good, hex_result, magic, request};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/exact_eip3009.json")).expect("vectors parse")
}

/// As the core normalises the vectors' requests: the terms are those of [`request`].
fn normalised(version: ProtocolVersion, body: &Value) -> PaymentRequest {
    let request = request(version, body["paymentPayload"]["payload"].clone());
    let terms = &body["paymentRequirements"];
    let amount = terms.get("amount").or(terms.get("maxAmountRequired"));
    assert_eq!(amount, Some(&json!(request.requirements.amount)));
    assert_eq!(terms["asset"], json!(request.requirements.asset));
    assert_eq!(terms["payTo"], json!(request.requirements.pay_to));
    assert_eq!(terms["extra"], json!(request.requirements.extra));
    request
}

fn variant(name: &str) -> PaymentRequest {
    let mut request = good();
    request.payload["signature"] = vectors()["variants"][name]["signature"].clone();
    request
}

#[test]
fn the_digest_signed_and_checked_is_the_vectors() {
    let vectors = vectors();
    assert_eq!(
        Offer::default().digest().to_string(),
        vectors["digest"].as_str().unwrap()
    );
    assert_eq!(
        good().payload["signature"],
        vectors["signature"],
        "RFC 6979 is deterministic"
    );

    // The scheme's own digest shows in the question to a wallet.
    let world = World::with(|chain| {
        chain.payer_code = hex_result(&[1]);
        chain.wallet = magic();
    });
    assert!(world.verify(&good()).is_ok());
    let asked = world.batches()[1][0].params[0]["data"]
        .as_str()
        .unwrap()
        .to_owned();
    let digest = vectors["digest"].as_str().unwrap().trim_start_matches("0x");
    assert_eq!(asked.get(10..74), Some(digest));
}

#[test]
fn both_versions_of_the_vectors_request_verify() {
    let vectors = vectors();
    for (version, name) in [
        (ProtocolVersion::V2, "request_v2"),
        (ProtocolVersion::V1, "request_v1"),
        (ProtocolVersion::Legacy0, "request_v1"),
    ] {
        let request = normalised(version, &vectors[name]);
        let world = World::new();
        assert_eq!(
            world.verify(&request),
            Ok(vectors["expectedPayer"].as_str().unwrap().to_owned())
        );
        let identified = world.identify(&request).expect("a key");
        assert_eq!(
            identified.claim_key,
            format!(
                "{}/{}/{}",
                "0x036cbd53842c5426634e7929541ec2318f3dcf7e",
                "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a",
                vectors["message"]["nonce"].as_str().unwrap()
            )
        );
        assert_eq!(identified.payer, vectors["expectedPayer"].as_str().unwrap());
        assert_eq!(identified.replay_reason, "invalid_exact_evm_nonce_already_used");
        assert_eq!(identified.replayable_until_s, Some(4_102_444_800));
        assert_eq!(
            identified.fingerprint,
            format!(
                r#"["exact","{NETWORK}","0x036cbd53842c5426634e7929541ec2318f3dcf7e","0x2222222222222222222222222222222222222222","10000","USDC","2"]"#
            )
        );
    }
}

#[test]
fn the_planned_calldata_is_the_vectors() {
    let vectors = vectors();
    let planned = |request: &PaymentRequest, chain: Chain| {
        let plan = World::with(|old| *old = chain).plan(request).expect("a plan");
        (
            plan.steps[0].call.operation.clone(),
            plan.steps[0].call.data.to_string(),
        )
    };
    let (operation, data) = planned(&good(), Chain::default());
    assert_eq!(
        (operation.as_str(), json!(data)),
        ("0xe3ee160e", vectors["calldata_vrs"].clone())
    );

    // Any length but 65 goes into the overload with bytes; the layout is the vectors' with another signature.
    let wallet = Chain {
        payer_code: hex_result(&[1]),
        wallet: magic(),
        ..Chain::default()
    };
    let (operation, data) = planned(&Offer::default().with_signature(&[0xaa; 96]), wallet);
    assert_eq!(operation, "0xcf092995");
    let golden = vectors["calldata_bytes"].as_str().unwrap();
    let head = 2 + 8 + 7 * 64;
    assert_eq!(data.get(..head), golden.get(..head));
    assert_eq!(data.get(head..head + 64), Some(format!("{:064x}", 96).as_str()));
    assert_eq!(data.get(head + 64..), Some("aa".repeat(96).as_str()));
}

#[test]
fn t25_signature_variants() {
    let refused = |name: &str| World::new().refused(&variant(name));
    assert_eq!(refused("high_s"), "invalid_exact_evm_signature");
    assert_eq!(refused("eip2098_64_bytes"), "invalid_exact_evm_signature");
    let mut long = good();
    let signature = format!("{}00", good().payload["signature"].as_str().unwrap());
    long.payload["signature"] = json!(signature);
    assert_eq!(World::new().refused(&long), "invalid_exact_evm_signature");

    let world = World::new();
    assert!(world.verify(&variant("v_0_or_1")).is_ok());
    let plan = world.plan(&variant("v_0_or_1")).expect("a plan");
    assert_eq!(
        json!(plan.steps[0].call.data),
        vectors()["calldata_vrs"],
        "v is sent as 27 or 28"
    );
    assert_eq!(
        world.identify(&variant("v_0_or_1")).unwrap().payload_digest,
        world.identify(&good()).unwrap().payload_digest
    );
}

#[test]
fn t28_no_factory_is_allowed() {
    let wrapped = variant("erc6492_wrapped");
    let world = World::new();
    assert_eq!(world.refused(&wrapped), "eip6492_factory_not_allowed");
    // Nothing of the wrapper was executed.
    let factory = vectors()["variants"]["erc6492_wrapped"]["factory"]
        .as_str()
        .unwrap()
        .to_owned();
    for call in world.batches().concat() {
        assert_ne!(call.params[0]["to"], json!(factory));
    }

    // Where the wallet exists, the inner signature is what counts, for the question and for the transfer.
    let deployed = World::with(|chain| {
        chain.payer_code = hex_result(&[1]);
        chain.wallet = magic();
    });
    let plan = deployed.plan(&wrapped).expect("a plan");
    assert_eq!(json!(plan.steps[0].call.data), vectors()["calldata_vrs"]);
    // A digest of its own: the buyer signed the same, the bytes differ.
    let digest = |request: &PaymentRequest| world.identify(request).unwrap().payload_digest;
    assert_ne!(digest(&wrapped), digest(&good()));
}

#[test]
fn supported_names_both_versions_and_all_signers() {
    let world = World::new();
    let supported = block_on(world.exact.supported(&world.cx())).expect("no fault");
    let kinds: Vec<_> = supported
        .kinds
        .iter()
        .map(|kind| {
            (
                kind.x402_version,
                kind.scheme.as_str(),
                kind.network.as_str(),
                kind.extra.clone(),
            )
        })
        .collect();
    assert_eq!(kinds, [(2, "exact", NETWORK, None), (1, "exact", NETWORK, None)]);
    assert_eq!(supported.signers, [crate::world::FACILITATOR]);
    assert!(
        supported.extensions.is_empty(),
        "the proxy of Permit2 is not deployed"
    );

    let mut context = world.host.context(NETWORK);
    context.network.lanes = vec![crate::world::lane("0xa"), crate::world::lane("0xb")];
    context.network.retained = vec![crate::world::lane("0xc")];
    let supported = block_on(world.exact.supported(&world.host.cx(context))).expect("no fault");
    assert_eq!(
        supported.signers,
        ["0xa", "0xb"],
        "T-23: a retired key is not advertised"
    );

    let without_lanes = world.host.cx(world.host.context(NETWORK));
    let supported = block_on(world.exact.supported(&without_lanes)).expect("no fault");
    assert!(supported.kinds.is_empty());
    assert_eq!(world.host.round_trips(), 0);
    assert_eq!(
        sdk_plugin::HostServices::now_unix_ns(&*world.host),
        NOW_S * 1_000_000_000
    );
}

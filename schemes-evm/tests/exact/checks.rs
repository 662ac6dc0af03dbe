//! Every check with its reason, the order among them, and what they cost.

use sdk_plugin::request::{ProtocolVersion, Purpose};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{FaultKind, PaymentRequest, SchemeHandler};
use serde_json::json;

use crate::world::{
    ASSET, Chain, FACILITATOR, NOW_S, OTHER, Offer, Token, World, good, hex_result, internal_error,
    is_transfer, magic, revert, set_authorization,
};

const V1: ProtocolVersion = ProtocolVersion::V1;
const V2: ProtocolVersion = ProtocolVersion::V2;

fn with(change: impl FnOnce(&mut PaymentRequest)) -> PaymentRequest {
    let mut request = good();
    change(&mut request);
    request
}

fn bad_signature(offer: &Offer) -> PaymentRequest {
    offer.with_signature(&[0x11; 65])
}

/// One reason after the other, in the specified order, each reached by a request that only breaks this check.
fn one_by_one(version: ProtocolVersion) -> Vec<(&'static str, PaymentRequest, Chain)> {
    let offer = Offer {
        version,
        ..Offer::default()
    };
    let signed = |offer: Offer| Offer { version, ..offer }.signed();
    let request = |change: fn(&mut PaymentRequest)| {
        let mut request = offer.signed();
        change(&mut request);
        request
    };
    let chain = Chain::default;
    vec![
        (
            "invalid_exact_evm_scheme",
            request(|r| r.accepted.scheme = "upto".into()),
            chain(),
        ),
        (
            "invalid_exact_evm_scheme",
            request(|r| r.requirements.scheme = String::new()),
            chain(),
        ),
        (
            "invalid_exact_evm_missing_eip712_domain",
            request(|r| drop(r.requirements.extra.remove("name"))),
            chain(),
        ),
        (
            "invalid_exact_evm_missing_eip712_domain",
            request(|r| r.requirements.extra["version"] = json!("")),
            chain(),
        ),
        (
            "invalid_exact_evm_missing_eip712_domain",
            request(|r| r.requirements.extra["version"] = json!(2.5)),
            chain(),
        ),
        (
            "invalid_exact_evm_network_mismatch",
            request(|r| r.accepted.network = "eip155:8453".into()),
            chain(),
        ),
        (
            "invalid_payload",
            request(|r| drop(r.payload.remove("authorization"))),
            chain(),
        ),
        (
            "invalid_payload",
            request(|r| drop(r.payload.remove("signature"))),
            chain(),
        ),
        (
            "invalid_payment_requirements",
            request(|r| r.requirements.pay_to = "0x12".into()),
            chain(),
        ),
        (
            "invalid_payment_requirements",
            request(|r| r.requirements.asset = "USDC".into()),
            chain(),
        ),
        ("invalid_exact_evm_signature", bad_signature(&offer), chain()),
        (
            "invalid_exact_evm_recipient_mismatch",
            signed(Offer {
                to: OTHER,
                ..offer.clone()
            }),
            chain(),
        ),
        (
            "invalid_exact_evm_payload_authorization_valid_before",
            signed(Offer {
                valid_before: NOW_S + 5,
                ..offer.clone()
            }),
            chain(),
        ),
        (
            "invalid_exact_evm_payload_authorization_valid_after",
            signed(Offer {
                valid_after: NOW_S + 1,
                ..offer.clone()
            }),
            chain(),
        ),
        (
            if version == V2 {
                "invalid_exact_evm_payload_authorization_value_mismatch"
            } else {
                "invalid_exact_evm_authorization_value"
            },
            signed(Offer {
                value: 9_999,
                ..offer.clone()
            }),
            chain(),
        ),
        (
            "asset_not_deployed_contract",
            offer.signed(),
            Chain {
                asset_code: hex_result(&[]),
                ..chain()
            },
        ),
        (
            "invalid_exact_evm_transaction_simulation_failed",
            offer.signed(),
            Chain {
                simulation: revert("Pausable: paused"),
                estimate: revert("Pausable: paused"),
                ..chain()
            },
        ),
    ]
}

#[test]
fn each_check_has_its_reason() {
    for version in [V2, V1, ProtocolVersion::Legacy0] {
        for (reason, request, chain) in one_by_one(version) {
            assert_eq!(
                World::with(|old| *old = chain).refused(&request),
                reason,
                "{version:?}"
            );
        }
    }
}

#[test]
fn t20_an_authorization_has_started_and_lasts_six_seconds_more() {
    let times = |valid_after, valid_before| Offer {
        valid_after,
        valid_before,
        ..Offer::default()
    };
    let ever = Offer::default().valid_before;
    for good in [times(0, NOW_S + 6), times(NOW_S, ever)] {
        assert!(World::new().verify(&good.signed()).is_ok(), "{good:?}");
    }
    for (bad, reason) in [
        (
            times(0, NOW_S + 5),
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        (
            times(NOW_S + 1, ever),
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
    ] {
        assert_eq!(World::new().refused(&bad.signed()), reason, "{bad:?}");
    }
}

#[test]
fn the_value_is_exact() {
    for value in [9_999, 10_001] {
        let other = Offer {
            value,
            ..Offer::default()
        };
        assert_eq!(
            World::new().refused(&other.signed()),
            "invalid_exact_evm_payload_authorization_value_mismatch"
        );
    }
}

/// A request that breaks every check from one on gives that check's reason.
#[test]
fn the_first_failing_check_answers() {
    for version in [V2, V1] {
        let everything = Offer {
            version,
            to: OTHER,
            value: 1,
            valid_after: NOW_S + 100,
            valid_before: NOW_S - 100,
            ..Offer::default()
        };
        let broken_chain = || {
            let world = World::with(|chain| {
                chain.asset_code = hex_result(&[]);
                chain.simulation = revert("no");
                chain.estimate = revert("no");
            });
            world.allowing(Some(vec![]))
        };
        let refused = |request: &PaymentRequest| broken_chain().refused(request);

        let mut request = bad_signature(&everything);
        set_authorization(&mut request, "nonce", json!("0x12"));
        request.requirements.asset = "no".into();
        request.requirements.extra.clear();
        request.accepted.network = "eip155:1".into();
        request.accepted.scheme = "no".into();
        assert_eq!(refused(&request), "invalid_exact_evm_scheme");
        request.accepted.scheme = "exact".into();
        assert_eq!(refused(&request), "invalid_exact_evm_missing_eip712_domain");
        let well_formed = bad_signature(&everything);
        request.requirements.extra = well_formed.requirements.extra.clone();
        assert_eq!(refused(&request), "invalid_exact_evm_network_mismatch");
        request.accepted.network = well_formed.accepted.network.clone();
        assert_eq!(refused(&request), "invalid_payload");
        request.payload = well_formed.payload.clone();
        assert_eq!(refused(&request), "invalid_payment_requirements");

        assert_eq!(refused(&well_formed), "invalid_exact_evm_signature");
        assert_eq!(
            refused(&everything.signed()),
            "invalid_exact_evm_recipient_mismatch"
        );
        let mut offer = Offer {
            to: Offer::default().to,
            ..everything
        };
        assert_eq!(
            refused(&offer.signed()),
            "invalid_exact_evm_payload_authorization_valid_before"
        );
        offer.valid_before = Offer::default().valid_before;
        assert_eq!(
            refused(&offer.signed()),
            "invalid_exact_evm_payload_authorization_valid_after"
        );
        offer.valid_after = 0;
        let value = refused(&offer.signed());
        assert!(
            value.starts_with("invalid_exact_evm_") && value.contains("authorization_value"),
            "{value}"
        );
        offer.value = 10_000;
        assert_eq!(
            refused(&offer.signed()),
            "invalid_payment_requirements",
            "not on the allow-list"
        );
        let world = broken_chain().allowing(None);
        assert_eq!(world.refused(&offer.signed()), "asset_not_deployed_contract");
        world.chain().asset_code = hex_result(&[1]);
        let reason = world.refused(&offer.signed());
        assert_eq!(reason, "invalid_exact_evm_transaction_simulation_failed");
    }
}

#[test]
fn v1_knows_the_network_before_it_requests_the_domain() {
    let mut request = Offer {
        version: V1,
        ..Offer::default()
    }
    .signed();
    request.accepted.network = "base-nowhere".into();
    request.requirements.extra.clear();
    assert_eq!(
        World::new().refused(&request),
        "invalid_exact_evm_network_mismatch"
    );
    request.version = V2;
    assert_eq!(
        World::new().refused(&request),
        "invalid_exact_evm_missing_eip712_domain"
    );
}

/// A good payment whose requirements name a method.
fn named(method: &str) -> PaymentRequest {
    with(|request| {
        let extra = &mut request.requirements.extra;
        extra.insert("assetTransferMethod".into(), json!(method));
    })
}

#[test]
fn other_ways_to_move_the_asset_are_refused_clearly() {
    let permit2 = with(|r| drop(r.payload.insert("permit2Authorization".into(), json!({}))));
    assert_eq!(
        World::new().refused(&permit2),
        "invalid_payload",
        "the shape decides"
    );
    assert_eq!(
        World::new().identify(&permit2).expect_err("no key").reason,
        "invalid_payload"
    );
    let in_v1 = PaymentRequest {
        version: V1,
        ..permit2.clone()
    };
    assert!(World::new().verify(&in_v1).is_ok(), "v1 knows EIP-3009 only");
    let named_otherwise = PaymentRequest {
        requirements: named("eip3009").requirements,
        ..permit2
    };
    assert_eq!(World::new().refused(&named_otherwise), "unsupported_payload_type");
    for method in ["permit2", "erc7710"] {
        assert_eq!(World::new().refused(&named(method)), "unsupported_payload_type");
    }
    assert!(World::new().verify(&named("eip3009")).is_ok());
    let null = with(|r| drop(r.payload.insert("permit2Authorization".into(), json!(null))));
    assert!(World::new().verify(&null).is_ok());
}

#[test]
fn a_refused_asset_names_the_configuration() {
    let world = World::new().allowing(Some(vec![OTHER.into()]));
    let refusal = world.verify(&good()).expect_err("refused");
    assert_eq!(refusal.reason, "invalid_payment_requirements");
    let message = refusal.message.expect("a message");
    assert!(
        message.contains("`assets`") && message.contains(ASSET) && message.contains("eip155:84532"),
        "{message}"
    );
    let upper = World::new().allowing(Some(vec![ASSET.to_uppercase().replace("0X", "0x")]));
    assert!(upper.verify(&good()).is_ok());
    assert!(World::new().allowing(None).verify(&good()).is_ok());
}

#[test]
fn t26_code_at_the_payer_means_its_word_alone() {
    let with_code = |code: &[u8], wallet| {
        World::with(|chain| {
            chain.payer_code = hex_result(code);
            chain.wallet = wallet;
        })
    };
    let mut delegated = vec![0xef, 0x01, 0x00];
    delegated.extend([0x33; 20]);
    // The signature is a perfect ECDSA signature of the payer's key.
    for refuses in [
        hex_result(&[0xff; 32]),
        hex_result(&[]),
        revert("no"),
        hex_result(&[0x16, 0x26, 0xba, 0x7e]),
    ] {
        assert_eq!(
            with_code(&delegated, refuses).refused(&good()),
            "invalid_exact_evm_signature"
        );
    }
    assert!(with_code(&delegated, magic()).verify(&good()).is_ok());
    // And a signature that no key made is valid when the wallet accepts it.
    let wallet = with_code(&[0x60], magic());
    let by_wallet = Offer::default().with_signature(&[7; 130]);
    assert!(wallet.verify(&by_wallet).is_ok());
    assert_eq!(wallet.batches().len(), 2, "once more at the price that was read");
    assert!(wallet.verify(&by_wallet).is_ok());
    assert_eq!(
        wallet.batches().len(),
        3,
        "the wallet is queried in the same round trip, and the price is remembered"
    );
    assert!(
        wallet.verify(&Offer::default().with_signature(&[])).is_ok(),
        "an empty signature is the wallet's business"
    );
}

#[test]
fn t27_a_wallet_gets_a_gas_limit() {
    let world = World::with(|chain| {
        chain.payer_code = hex_result(&[1]);
        chain.wallet = magic();
    });
    assert!(world.verify(&Offer::default().with_signature(&[7; 130])).is_ok());
    for call in world
        .batches()
        .concat()
        .iter()
        .filter(|call| call.method == "eth_call")
    {
        assert!(call.params[0]["gas"].is_string(), "{call:?}");
    }
}

#[test]
fn t29_an_asset_without_code_is_refused_and_the_answer_is_not_kept() {
    let world = World::with(|chain| chain.asset_code = hex_result(&[]));
    assert_eq!(world.refused(&good()), "asset_not_deployed_contract");
    world.chain().asset_code = hex_result(&[1]);
    assert!(world.verify(&good()).is_ok());
}

#[test]
fn one_verify_of_an_account_is_one_round_trip_with_the_simulation_in_it() {
    let world = World::new();
    let verify = with(|request| request.purpose = Purpose::Verify);
    assert!(world.verify(&verify).is_ok());
    assert!(world.verify(&verify).is_ok());
    let batches = world.batches();
    let [cold, warm] = batches.as_slice() else {
        panic!("two verifies, two round trips: {batches:?}");
    };
    let methods: Vec<_> = cold.iter().map(|call| call.method.as_str()).collect();
    assert_eq!(
        methods,
        [
            "eth_getCode",
            "eth_getCode",
            "eth_call",
            "eth_call",
            "eth_gasPrice"
        ]
    );
    let [code, simulation, state] = warm.as_slice() else {
        panic!("the asset's code is remembered: {warm:?}");
    };
    assert_eq!(code.method, "eth_getCode");
    assert_eq!(simulation.method, "eth_call");
    let call = &simulation.params[0];
    assert_eq!((&call["from"], &call["to"]), (&json!(FACILITATOR), &json!(ASSET)));
    assert!(is_transfer(call["data"].as_str().unwrap()));
    assert_eq!(call["gas"], json!("0x61a80"));
    assert_eq!(call["gasPrice"], json!("0x3b9aca00"), "tokens can answer by it");
    assert!(
        state.params[0]["data"]
            .as_str()
            .unwrap()
            .starts_with("0xe94a0102")
    );

    world.host.advance_ms(15 * 60 * 1000);
    assert!(world.verify(&verify).is_ok());
    assert_eq!(
        world.batches()[2].len(),
        5,
        "after 15 minutes the code is read again, and the price"
    );
}

#[test]
fn t15_refusals_cost_little() {
    let cost = |request: &PaymentRequest| {
        let world = World::new();
        assert!(world.verify(request).is_err());
        (world.batches().len(), world.batches().concat().len())
    };
    assert_eq!(cost(&with(|r| r.accepted.scheme = "no".into())), (0, 0));
    assert_eq!(
        cost(&with(|r| set_authorization(r, "value", json!("1e4")))),
        (0, 0)
    );
    let mut malformed_wrapper = vec![1];
    malformed_wrapper.extend([0x64, 0x92].repeat(16));
    assert_eq!(cost(&Offer::default().with_signature(&malformed_wrapper)), (0, 0));
    // The payer's code alone decides whose turn it is; nothing is simulated.
    assert_eq!(
        cost(
            &Offer {
                to: OTHER,
                ..Offer::default()
            }
            .signed()
        ),
        (1, 1)
    );
    let world = World::with(|chain| chain.simulation = revert("no"));
    assert!(world.verify(&good()).is_err());
    assert_eq!(world.batches().len(), 2, "simulation and diagnosis");
    // A forged signature: the code of the payer and of the asset, a wallet's answer, the price; then the code once more, and on
    // which block. Nothing is simulated.
    let world = World::new();
    let forged = bad_signature(&Offer::default());
    assert!(world.verify(&forged).is_err());
    let methods: Vec<String> = world
        .batches()
        .concat()
        .into_iter()
        .map(|call| call.method)
        .collect();
    assert_eq!(world.batches().len(), 2);
    assert!(!methods.contains(&"eth_estimateGas".to_owned()), "{methods:?}");
    assert_eq!(methods.len(), 4 + 3, "{methods:?}");
}

#[test]
fn a_bad_signature_wins_over_later_trouble() {
    let world = World::with(|chain| {
        chain.simulation = internal_error();
        chain.asset_code = internal_error();
    });
    let refusal = world
        .verify(&bad_signature(&Offer::default()))
        .expect_err("refused");
    assert_eq!(refusal.reason, "invalid_exact_evm_signature");
    assert_eq!(refusal.payer, crate::world::PAYER);
}

#[test]
fn t34_a_cancelled_authorization_is_refused_by_plan() {
    let world = World::new();
    assert!(world.verify(&good()).is_ok());
    {
        let mut chain = world.chain();
        chain.estimate = revert("FiatTokenV2: authorization is used or canceled");
        chain.diagnosis = Token {
            used: Some(true),
            ..Token::default()
        }
        .answer();
    }
    assert_eq!(
        world.plan(&good()).expect_err("refused").reason,
        "invalid_exact_evm_nonce_already_used"
    );
}

#[test]
fn without_a_signer_or_with_another_network_nothing_is_said_of_the_payment() {
    let world = World::new();
    let no_lanes = world.host.cx(world.host.context("eip155:84532"));
    let fault = block_on(world.exact.verify(&no_lanes, &good())).expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::Unavailable);
    let elsewhere = world.host.cx(world.host.context("eip155:1"));
    let fault = block_on(world.exact.verify(&elsewhere, &good())).expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::Internal);
    assert_eq!(world.host.round_trips(), 0);
}

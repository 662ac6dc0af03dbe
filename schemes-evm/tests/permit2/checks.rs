//! Every check with its reason, the order among them, and what they cost.

use alloy_primitives::Address;
use schemes_evm::permit2::Proxy;
use sdk_plugin::PaymentRequest;
use sdk_plugin::host::{RpcError, RpcResult};
use sdk_plugin::request::Purpose;
use serde_json::{Value, json};

use crate::world::{
    ASSET, BOTH, Chain, Findings, NOW_S, OTHER, Offer, World, good, hex_result, info, request, set,
    sponsored, with_info, word_result,
};

pub fn names(proxy: Proxy) -> [&'static str; 2] {
    match proxy {
        Proxy::Exact => ["unsupported_payload_type", "invalid_exact_evm_network_mismatch"],
        Proxy::Upto => ["invalid_upto_evm_scheme", "invalid_upto_evm_network_mismatch"],
    }
}

fn with(proxy: Proxy, change: impl FnOnce(&mut PaymentRequest)) -> PaymentRequest {
    let mut request = good(proxy);
    change(&mut request);
    request
}

/// A verify's reasons that need no chain, in the specified order, each reached by a request that breaks only this check.
fn without_chain(proxy: Proxy) -> Vec<(&'static str, PaymentRequest)> {
    let [scheme, network] = names(proxy);
    let signed = |change: fn(&mut Offer)| {
        let mut offer = Offer::of(proxy);
        change(&mut offer);
        offer.signed()
    };
    let mut cases = vec![
        (
            "unsupported_payload_type",
            with(proxy, |r| {
                r.requirements.extra["assetTransferMethod"] = json!("eip3009");
            }),
        ),
        (scheme, with(proxy, |r| r.accepted.scheme = "other".into())),
        (scheme, with(proxy, |r| r.requirements.scheme = String::new())),
        (
            network,
            with(proxy, |r| r.accepted.network = "eip155:8453".into()),
        ),
        (
            "invalid_payload",
            with(proxy, |r| drop(r.payload.remove("signature"))),
        ),
        (
            "invalid_payment_requirements",
            with(proxy, |r| r.requirements.pay_to = "0x12".into()),
        ),
        (
            "invalid_permit2_spender",
            signed(|offer| offer.spender = Address::repeat_byte(7)),
        ),
        (
            "invalid_permit2_recipient_mismatch",
            signed(|offer| offer.to = OTHER),
        ),
        (
            "permit2_deadline_expired",
            signed(|offer| offer.deadline = NOW_S + 5),
        ),
        (
            "permit2_not_yet_valid",
            signed(|offer| offer.valid_after = NOW_S + 1),
        ),
        ("permit2_token_mismatch", signed(|offer| offer.token = OTHER)),
    ];
    if proxy == Proxy::Upto {
        cases.insert(
            8,
            (
                "upto_facilitator_mismatch",
                signed(|offer| offer.facilitator = OTHER),
            ),
        );
    }
    cases
}

/// The others, by what the chain shows.
fn with_chain() -> Vec<(&'static str, Chain)> {
    let findings = Findings::default;
    vec![
        (
            "asset_not_deployed_contract",
            Chain {
                asset_code: hex_result(&[]),
                ..Chain::default()
            },
        ),
        (
            "permit2_proxy_not_deployed",
            Chain {
                proxy: hex_result(&[]),
                estimate: RpcResult::Ok(json!("0x6270")),
                ..Chain::default()
            },
        ),
        (
            "permit2_proxy_not_deployed",
            Chain::failing(&Findings {
                proxy: None,
                ..findings()
            }),
        ),
        (
            "permit2_insufficient_balance",
            Chain::failing(&Findings {
                balance: Some(9_999),
                allowance: Some(0),
                ..findings()
            }),
        ),
        (
            "permit2_allowance_required",
            Chain::failing(&Findings {
                allowance: Some(9_999),
                ..findings()
            }),
        ),
        ("permit2_simulation_failed", Chain::failing(&findings())),
    ]
}

#[test]
fn each_check_has_its_reason() {
    for proxy in BOTH {
        for (reason, request) in without_chain(proxy) {
            let world = World::new(proxy);
            assert_eq!(world.refused(&request), reason, "{proxy:?}");
            assert_eq!(
                world.host.round_trips(),
                0,
                "{proxy:?} {reason}: no read is needed"
            );
        }
        for (reason, chain) in with_chain() {
            assert_eq!(World::on(proxy, chain).refused(&good(proxy)), reason, "{proxy:?}");
        }
        let unsigned = Offer::of(proxy).with_signature(&[0x11; 65]);
        assert_eq!(World::new(proxy).refused(&unsigned), "invalid_permit2_signature");
    }
}

#[test]
fn the_permitted_amount_is_the_required_one_at_verify() {
    for proxy in BOTH {
        for amount in [9_999, 10_001] {
            let other = Offer {
                amount,
                ..Offer::of(proxy)
            };
            let world = World::new(proxy);
            let refusal = world.verify(&other.signed()).expect_err("refused");
            assert_eq!(refusal.reason, "permit2_amount_mismatch");
            assert_eq!(world.host.round_trips(), 0);
        }
    }
    let other = Offer {
        amount: 10_001,
        ..Offer::of(Proxy::Exact)
    };
    assert_eq!(
        World::new(Proxy::Exact).not_planned(&other.signed()),
        "permit2_amount_mismatch"
    );
}

#[test]
fn t20_a_permit_has_started_and_lasts_six_seconds_more() {
    for proxy in BOTH {
        let times = |valid_after, deadline| Offer {
            valid_after,
            deadline,
            ..Offer::of(proxy)
        };
        for good in [times(0, NOW_S + 6), times(NOW_S, NOW_S + 60)] {
            assert!(World::new(proxy).verify(&good.signed()).is_ok(), "{good:?}");
        }
        for (bad, reason) in [
            (times(0, NOW_S + 5), "permit2_deadline_expired"),
            (times(NOW_S + 1, NOW_S + 60), "permit2_not_yet_valid"),
        ] {
            assert_eq!(World::new(proxy).refused(&bad.signed()), reason, "{bad:?}");
        }
    }
}

/// A request that breaks every check from one on gives that check's reason.
#[test]
fn the_first_failing_check_answers() {
    for proxy in BOTH {
        let [scheme, network] = names(proxy);
        let mut broken = Chain::failing(&Findings {
            proxy: None,
            balance: Some(0),
            allowance: Some(0),
            ..Findings::default()
        });
        broken.asset_code = hex_result(&[]);
        let world = World::on(proxy, broken).allowing(Some(vec![OTHER.into()]));
        let refused = |request: &PaymentRequest| world.verify(request).expect_err("refused").reason;

        let mut offer = Offer {
            token: OTHER,
            amount: 1,
            spender: Address::repeat_byte(7),
            to: OTHER,
            facilitator: OTHER,
            deadline: NOW_S - 100,
            valid_after: NOW_S + 100,
            ..Offer::of(proxy)
        };
        let bad = |offer: &Offer| {
            let mut info = info();
            info["version"] = json!("one");
            with_info(offer.with_signature(&[0x11; 65]), info)
        };
        let mut request = bad(&offer);
        request.requirements.extra["assetTransferMethod"] = json!("erc7710");
        request.accepted.scheme = "other".into();
        request.accepted.network = "eip155:1".into();
        request.requirements.asset = "no".into();
        set(&mut request, "/nonce", json!("many"));
        assert_eq!(refused(&request), "unsupported_payload_type");
        request.requirements.extra.clear();
        assert_eq!(refused(&request), scheme);
        request.accepted.scheme = request.requirements.scheme.clone();
        assert_eq!(refused(&request), network);
        request.accepted.network = request.requirements.network.clone();
        assert_eq!(refused(&request), "invalid_payload");
        set(&mut request, "/nonce", json!("1"));
        assert_eq!(refused(&request), "invalid_payment_requirements");

        assert_eq!(refused(&bad(&offer)), "invalid_permit2_spender");
        offer.spender = proxy.address();
        assert_eq!(refused(&bad(&offer)), "invalid_permit2_recipient_mismatch");
        offer.to = Offer::of(proxy).to;
        if proxy == Proxy::Upto {
            assert_eq!(refused(&bad(&offer)), "upto_facilitator_mismatch");
            offer.facilitator = Offer::of(proxy).facilitator;
        }
        assert_eq!(refused(&bad(&offer)), "permit2_deadline_expired");
        offer.deadline = NOW_S + 60;
        assert_eq!(refused(&bad(&offer)), "permit2_not_yet_valid");
        offer.valid_after = 0;
        assert_eq!(refused(&bad(&offer)), "permit2_amount_mismatch");
        offer.amount = 10_000;
        assert_eq!(refused(&bad(&offer)), "permit2_token_mismatch");
        offer.token = ASSET;
        assert_eq!(
            refused(&bad(&offer)),
            "invalid_payment_requirements",
            "not listed"
        );
        assert_eq!(world.host.round_trips(), 0, "nothing was read until here");

        let chain = world.chain().clone();
        let world = World::on(proxy, chain);
        let refused = |request: &PaymentRequest| world.verify(request).expect_err("refused").reason;
        assert_eq!(
            refused(&bad(&offer)),
            "asset_not_deployed_contract",
            "wins over the signature"
        );
        world.chain().asset_code = hex_result(&[1]);
        assert_eq!(refused(&bad(&offer)), "invalid_permit2_signature");
        let bad_info = with_info(
            offer.signed(),
            bad(&offer).extensions["eip2612GasSponsoring"]["info"].clone(),
        );
        assert_eq!(refused(&bad_info), "invalid_eip2612_extension_format");
        assert_eq!(refused(&offer.signed()), "permit2_proxy_not_deployed");
        let found = |findings: Findings| world.chain().diagnosis = findings.answer();
        found(Findings {
            balance: Some(0),
            allowance: Some(0),
            ..Findings::default()
        });
        assert_eq!(refused(&offer.signed()), "permit2_insufficient_balance");
        found(Findings {
            allowance: Some(0),
            ..Findings::default()
        });
        assert_eq!(refused(&offer.signed()), "permit2_allowance_required");
        found(Findings::default());
        assert_eq!(refused(&offer.signed()), "permit2_simulation_failed");
    }
}

#[test]
fn t157_a_permit_for_another_protocols_spender_is_refused_before_a_read() {
    for proxy in BOTH {
        for spender in [Proxy::Exact.address(), Proxy::Upto.address(), Address::ZERO] {
            if spender == proxy.address() {
                continue;
            }
            let foreign = Offer {
                spender,
                ..Offer::of(proxy)
            };
            let world = World::new(proxy);
            assert_eq!(world.refused(&foreign.signed()), "invalid_permit2_spender");
            assert_eq!(world.host.round_trips(), 0);
        }
    }
}

#[test]
fn t130_without_a_proxy_nothing_is_planned() {
    for proxy in BOTH {
        // A call of an address without code succeeds, and so does its estimate.
        for answer in [
            hex_result(&[]),
            word_result(0),
            RpcResult::Error(RpcError {
                code: 3,
                message: "execution reverted".into(),
                data: Value::Null,
            }),
        ] {
            let chain = Chain {
                proxy: answer,
                ..Chain::default()
            };
            let world = World::on(proxy, chain);
            assert_eq!(world.refused(&good(proxy)), "permit2_proxy_not_deployed");
        }
    }
}

#[test]
fn a_used_nonce_is_a_replay() {
    for proxy in BOTH {
        let nonces = alloy_primitives::U256::ONE << 7;
        let used = Findings {
            nonces: Some(nonces),
            ..Findings::default()
        };
        assert_eq!(
            World::on(proxy, Chain::failing(&used)).refused(&good(proxy)),
            "permit2_invalid_nonce"
        );
        let others = Findings {
            nonces: Some(!nonces),
            ..Findings::default()
        };
        assert_eq!(
            World::on(proxy, Chain::failing(&others)).refused(&good(proxy)),
            "permit2_simulation_failed"
        );
    }
}

#[test]
fn the_reverts_text_is_the_message() {
    let chain = Chain::default().reverting("Pausable: paused");
    let refusal = World::on(Proxy::Exact, chain)
        .verify(&good(Proxy::Exact))
        .expect_err("refused");
    assert_eq!(refusal.reason, "permit2_simulation_failed");
    assert!(refusal.message.unwrap_or_default().contains("Pausable: paused"));
}

#[test]
fn a_good_payment_costs_one_round_trip_and_is_tried_as_it_is_sent() {
    for (proxy, request, selector) in [
        (Proxy::Exact, good(Proxy::Exact), "0x13cd3b53"),
        (Proxy::Exact, sponsored(Proxy::Exact), "0xfa340378"),
        (Proxy::Upto, good(Proxy::Upto), "0xff11e7b4"),
        (Proxy::Upto, sponsored(Proxy::Upto), "0x016c1748"),
    ] {
        let world = World::new(proxy);
        let verify = PaymentRequest {
            purpose: Purpose::Verify,
            ..request
        };
        world.verify(&verify).expect("a good payment");
        let batches = world.batches();
        assert_eq!(batches.len(), 1, "{proxy:?}");
        let tried = batches[0]
            .iter()
            .find(|call| {
                call.params[0]["data"]
                    .as_str()
                    .is_some_and(|data| data.starts_with(selector))
            })
            .expect("the call");
        assert_eq!(tried.params[0]["from"], json!(crate::world::FACILITATOR));
        assert_eq!(tried.params[0]["gas"], json!("0x61a80"));
    }
}

#[test]
fn a_wallet_answers_for_itself_and_one_without_code_is_not_deployed() {
    for proxy in BOTH {
        let signature = vec![7; 100];
        let request = Offer::of(proxy).with_signature(&signature);
        let world = World::on(proxy, Chain::of_wallet());
        world.verify(&request).expect("the wallet accepts");
        let refusing = Chain {
            wallet: word_result(0),
            ..Chain::of_wallet()
        };
        assert_eq!(
            World::on(proxy, refusing.clone()).refused(&request),
            "invalid_permit2_signature"
        );
        // No way back to ECDSA for an address with code.
        assert_eq!(
            World::on(proxy, refusing).refused(&good(proxy)),
            "invalid_permit2_signature"
        );
        let wrapped = wrapped(&Offer::of(proxy).signature());
        assert_eq!(
            World::new(proxy).refused(&Offer::of(proxy).with_signature(&wrapped)),
            "invalid_permit2_signature",
            "no wallet is deployed on this path"
        );
        let world = World::on(proxy, Chain::of_wallet());
        world
            .verify(&Offer::of(proxy).with_signature(&wrapped))
            .expect("the wallet exists");
    }
}

/// An ERC-6492 wrapper that names a factory.
fn wrapped(inner: &[u8]) -> Vec<u8> {
    use alloy_primitives::Bytes;
    use alloy_sol_types::SolValue;
    let mut bytes = (
        Address::repeat_byte(9),
        Bytes::from(vec![1, 2, 3]),
        Bytes::copy_from_slice(inner),
    )
        .abi_encode_params();
    bytes.extend([0x64, 0x92].repeat(16));
    bytes
}

#[test]
fn an_accounts_signature_is_sent_in_the_form_that_permit2_reads() {
    for proxy in BOTH {
        let mut signature = Offer::of(proxy).signature();
        let v = signature[64];
        signature[64] -= 27;
        let world = World::new(proxy);
        world
            .verify(&Offer::of(proxy).with_signature(&signature))
            .expect("v is 0 or 1");
        let calls = world.batches().concat();
        let sent = calls.iter().filter_map(|call| call.params[0]["data"].as_str());
        let rs = hex::encode(&signature[..64]);
        assert!(
            sent.clone().any(|data| data.contains(&format!("{rs}{v:02x}"))),
            "Permit2 takes 27 and 28 only"
        );
        for bad in [&signature[..64], &[signature.as_slice(), &[0]].concat()] {
            assert_eq!(
                World::new(proxy).refused(&Offer::of(proxy).with_signature(bad)),
                "invalid_permit2_signature",
                "EIP-2098 and longer ones"
            );
        }
    }
}

#[test]
fn upto_wants_a_permit() {
    let eip3009 = request(Proxy::Upto, json!({ "signature": "0x", "authorization": {} }));
    assert_eq!(
        World::new(Proxy::Upto).refused(&eip3009),
        "unsupported_payload_type"
    );
    let null = with(Proxy::Upto, |r| {
        drop(r.payload.insert("permit2Authorization".into(), Value::Null));
    });
    assert_eq!(World::new(Proxy::Upto).refused(&null), "unsupported_payload_type");
}

//! Rules of v1.1 that take more than one request to show.

use alloy_primitives::Address;
use schemes_evm::auth_capture::config::{OwnFeeTerms, TenantReceiver};
use schemes_evm::auth_capture::deployment::V1_0;
use serde_json::json;

use super::offer::{FACILITATOR, NOW_S, OTHER, Offer, PAYEE, TENANT, config, delegating};
use super::order::Draft;
use super::v1_1::{extra, fails, hold, unbound, v1_1};
use super::world::{Chain, World, hex_result, magic, revert, word_result};

#[test]
fn a_charge_may_be_checked_before_it_is_completed_and_not_settled() {
    let draft = Draft::of(Offer {
        completion: None,
        ..Offer::charged()
    });
    let request = draft.request();
    let world = draft.world();
    assert!(world.verify(&request).is_ok());
    // The most that could be charged is tried, at the least fee.
    let tried = world.batches().concat();
    let call = tried.iter().rev().find(|call| call.method == "eth_call").unwrap();
    let data = call.params[0]["data"].as_str().unwrap();
    assert!(data.starts_with("0xc449d17c"));
    let refusal = draft.world().plan(&request).expect_err("not completed");
    assert_eq!(refusal.reason, v1_1!("payload_format"));
}

#[test]
fn t68_a_signature_for_another_escrow_is_refused() {
    // The collector of v1.0, where the terms name v1.1.
    let mut draft = Draft::of(hold());
    draft.offer.collector = Some(V1_0.erc3009_collector);
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("token_collector_mismatch")
    );
    // The nonce of v1.0 with the collector of v1.1.
    let mut draft = Draft::of(Offer {
        collector: Some(hold().collector()),
        deployment: V1_0,
        ..hold()
    });
    draft.edit(|r| {
        extra(
            r,
            "authCaptureEscrow",
            json!(schemes_evm::auth_capture::deployment::V1_1.escrow),
        )
    });
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("nonce_mismatch")
    );
}

#[test]
fn t69_a_fee_of_the_other_form_is_refused_and_never_converted() {
    let mut draft = Draft::of(Offer::charged());
    draft.edit(|r| {
        r.payload.remove("feeAmount");
        r.payload.insert("feeBps".into(), json!(100));
    });
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("payload_format")
    );
    let mut draft = Draft::of(Offer {
        deployment: V1_0,
        completion: Some((750_000, 100)),
        ..Offer::charged()
    });
    assert!(draft.world().verify(&draft.request()).is_ok());
    draft.edit(|r| {
        r.payload.remove("feeBps");
        r.payload.insert("feeAmount".into(), json!("7500"));
    });
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("payload_format")
    );
}

#[test]
fn t70_a_short_salt_is_refused() {
    for salt in [
        "0x1",
        "0xab",
        "ab",
        "",
        &"0".repeat(66),
        &format!("0x{}", "0".repeat(63)),
    ] {
        let mut request = unbound().signed();
        request.payload["salt"] = json!(salt);
        let refusal = World::new(config(), Chain::default()).refused(&request);
        assert_eq!(refusal.reason, v1_1!("payload_format"), "{salt:?}");
    }
}

#[test]
fn t71_valid_after_must_be_zero_and_the_balance_covers_the_signed_maximum() {
    let mut draft = Draft::of(Offer {
        valid_after: 1,
        ..Offer::charged()
    });
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("authorization_not_yet_valid")
    );
    // Enough for the charge, and not for what the collector takes before it gives the rest back.
    draft.offer.valid_after = 0;
    draft.chain.balance = word_result(800_000);
    fails(&mut draft.chain, revert("ERC20: transfer amount exceeds balance"));
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("insufficient_balance")
    );
}

#[test]
fn t73_auto_capture_is_never_a_hold_in_v1_1() {
    let mut draft = Draft::of(hold());
    draft.edit(|r| extra(r, "autoCapture", json!(true)));
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("unsupported_payment_flow")
    );
    let mut draft = Draft::of(hold());
    draft.edit(|r| extra(r, "autoCapture", json!(false)));
    assert!(draft.world().verify(&draft.request()).is_ok());
}

#[test]
fn t77_a_range_without_a_recipient_and_terms_that_are_not_ours_are_refused() {
    let draft = Draft::of(Offer {
        min_bps: 0,
        recipient: Address::ZERO,
        ..hold()
    });
    assert_eq!(draft.world().refused(&draft.request()).reason, v1_1!("extra"));
    let mut draft = Draft::of(hold());
    let own = |min_fee_bps| {
        Some(OwnFeeTerms {
            fee_recipient: OTHER.parse().unwrap(),
            min_fee_bps,
            max_fee_bps: 100,
        })
    };
    draft.config.fee_terms = own(100);
    assert!(draft.world().verify(&draft.request()).is_ok());
    draft.config.fee_terms = own(0);
    assert_eq!(draft.world().refused(&draft.request()).reason, v1_1!("extra"));
    // A contract operator's terms are its own.
    let draft = Draft {
        config: draft.config,
        ..Draft::of(Offer::custom())
    };
    let refusal = draft
        .world()
        .verify(&draft.request())
        .expect_err("the sandbox is empty");
    assert_eq!(refusal.reason, v1_1!("simulation_failed"));
}

#[test]
fn the_chains_clock_counts_where_it_is_ahead() {
    let mut draft = Draft::of(hold());
    draft.chain.head_s = NOW_S + 594;
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("authorization_expired")
    );
    draft.chain.head_s = NOW_S - 100;
    assert!(draft.world().verify(&draft.request()).is_ok());
}

#[test]
fn wallets_answer_for_payers_and_for_authorizers() {
    let mut draft = Draft::of(Offer::charged());
    draft.chain.payer_code = hex_result(&[0x60]);
    draft.chain.authorizer_code = hex_result(&[0x60]);
    assert_eq!(draft.world().refused(&draft.request()).reason, v1_1!("signature"));
    draft.chain.payer_wallet = magic();
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        v1_1!("authorizer_signature")
    );
    draft.chain.authorizer_wallet = magic();
    assert!(draft.world().verify(&draft.request()).is_ok());
    assert!(draft.world().plan(&draft.request()).is_ok());
}

#[test]
fn a_former_signer_takes_no_new_payments_and_one_without_funds_does() {
    use super::world::{RETAINED, lane};
    for (offer, reason) in [
        (hold(), v1_1!("operator_not_admitted")),
        (Offer::charged(), v1_1!("operator_not_admitted")),
        (Offer::v1_0(), "invalid_capture_authorizer"),
    ] {
        let draft = Draft::of(Offer {
            operator: RETAINED,
            ..offer
        });
        let mut world = draft.world();
        let plan = world
            .plan(&draft.request())
            .expect("it can't pay now, and is current");
        assert_eq!(plan.holds[0].signer, RETAINED);
        world.retired = true;
        let refusal = world.refused(&draft.request());
        assert_eq!(refusal.reason, reason);
        let message = refusal.message.expect("a sentence");
        assert!(
            message.contains("takes no new payments") && message.contains("fetch a new offer"),
            "{message}"
        );
        // Another key of the configuration with the same address is a current signer.
        world.lanes.push(lane(RETAINED));
        assert!(world.verify(&draft.request()).is_ok());
    }
    assert_ne!(FACILITATOR.to_lowercase(), RETAINED);
}

#[test]
fn the_tenant_stands_for_the_authorizer_where_that_is_us() {
    let mut draft = Draft::of(Offer::charged());
    draft.config = delegating();
    draft.tenant = Some(TENANT);
    draft.edit(|r| drop(r.payload.remove("authorizerSignature")));
    assert!(draft.world().verify(&draft.request()).is_ok());
    assert!(draft.world().plan(&draft.request()).is_ok());
    let refused = |draft: &Draft| {
        draft
            .world()
            .plan(&draft.request())
            .expect_err("no caller may collect")
            .reason
    };
    // Another seller's tenant, and no tenant.
    for tenant in [Some("stranger"), None] {
        draft.tenant = tenant;
        assert_eq!(refused(&draft), v1_1!("unauthenticated_authorizer_request"));
    }
    // A hold is bound to its tenant too: there must be one at settle, not at verify.
    let mut draft = Draft::of(hold());
    draft.config = delegating();
    assert!(draft.world().verify(&draft.request()).is_ok());
    for tenant in [Some("stranger"), None] {
        draft.tenant = tenant;
        assert_eq!(refused(&draft), v1_1!("unauthenticated_authorizer_request"));
    }
}

#[test]
fn a_receiver_that_belongs_to_a_tenant_has_its_payments_collected_by_that_tenant_alone() {
    for offer in [
        hold(),
        unbound(),
        Offer::charged(),
        Offer::v1_0(),
        Offer::custom(),
    ] {
        let mut draft = Draft::of(offer);
        let reason = if draft.offer.v1_0 {
            "unauthenticated_authorizer_request"
        } else {
            v1_1!("unauthenticated_authorizer_request")
        };
        draft.config.receivers = vec![TenantReceiver {
            tenant: TENANT.into(),
            receiver: PAYEE.parse().unwrap(),
        }];
        // The payload is good, also with the authorizer's signature, and nothing is read of the chain for it.
        for tenant in [Some("stranger"), None] {
            draft.tenant = tenant;
            let world = draft.world();
            let refusal = world.refused(&draft.request());
            assert_eq!(refusal.reason, reason, "{tenant:?} {refusal:?}");
            assert!(world.batches().is_empty());
        }
        draft.tenant = Some(TENANT);
        if !draft.offer.custom {
            let plan = draft.world().plan(&draft.request()).expect("planned");
            assert_eq!(plan.writes[0].value["tenant"], json!(TENANT));
        }
        // Others' receivers are not concerned.
        draft.config.receivers[0].receiver = OTHER.parse().unwrap();
        draft.tenant = Some("stranger");
        if !draft.offer.custom {
            assert!(draft.world().verify(&draft.request()).is_ok());
        }
    }
}

#[test]
fn one_list_of_receivers_serves_the_delegated_authorizer_too() {
    let mut draft = Draft::of(Offer::charged());
    draft.config = delegating();
    let delegated = draft.config.delegated_authorizer.as_mut().expect("ours");
    draft.config.receivers = delegated.receivers.drain(..).take(1).collect();
    assert_eq!(draft.config.check(), Ok(()));
    draft.tenant = Some(TENANT);
    draft.edit(|r| drop(r.payload.remove("authorizerSignature")));
    assert!(draft.world().verify(&draft.request()).is_ok());
    assert!(draft.world().plan(&draft.request()).is_ok());
}

//! Promises of verify: to one seller at a time, and never in the way of a settlement.

use std::sync::Arc;
use std::time::Duration;

use base::service::ReservationEnd;
use sdk_plugin::wire::VerifyReply;
use sdk_plugin::{Amount, PaymentRequest, Purpose};

use super::releases::{Disk, ready, request, summary};
use crate::Engine;

const MINUTE: Duration = Duration::from_secs(60);
const RESERVED: Option<&str> = Some("payment_reserved");

/// A verify of this claim by this tenant, for 40 of the payer's 100.
fn verify(claim: &str, tenant: &str) -> PaymentRequest {
    let mut request = PaymentRequest {
        tenant: Some(tenant.into()),
        purpose: Purpose::Verify,
        ..request(10_000)
    };
    request.requirements.amount = Amount::from(40u64);
    request.payload.insert("k".into(), claim.into());
    request
}

fn settle(claim: &str, tenant: &str) -> PaymentRequest {
    PaymentRequest {
        purpose: Purpose::Settle,
        remaining_ms: 25_000,
        ..verify(claim, tenant)
    }
}

/// Whether the claim was promised to this tenant.
async fn promised(engine: &Arc<Engine>, claim: &str, tenant: &str) -> bool {
    let reply = engine.verify_reserving(verify(claim, tenant), MINUTE).await;
    if reply.is_valid {
        assert!(reply.extensions.is_some(), "{reply:?}");
    } else {
        refused(&reply);
    }
    reply.is_valid
}

/// The refusal names no holder and no amounts.
fn refused(reply: &VerifyReply) {
    let VerifyReply {
        is_valid: false,
        invalid_reason,
        invalid_message: None,
        payer,
        extra: None,
        extensions: None,
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!((invalid_reason.as_deref(), payer.as_str()), (RESERVED, "p"));
}

#[tokio::test(start_paused = true)]
async fn t171_twenty_tenants_get_one_promise_of_one_authorization() {
    let engine = ready(&Disk::new()).await;
    let mut replies = Vec::new();
    for n in 0..20 {
        let engine = Arc::clone(&engine);
        replies.push(tokio::spawn(async move {
            let request = verify("k", &format!("tenant {n}"));
            engine.verify_reserving(request, MINUTE).await
        }));
    }
    let mut valid = 0_u32;
    for reply in replies {
        let reply = reply.await.unwrap();
        if reply.is_valid {
            valid += 1;
        } else {
            refused(&reply);
        }
    }
    assert_eq!(valid, 1);
    tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
    let before = engine.verify_reserving(verify("k", "late"), MINUTE).await;
    refused(&before);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(promised(&engine, "k", "late").await, "its time is over");
}

#[tokio::test(start_paused = true)]
async fn t171_a_balance_is_promised_once() {
    let engine = ready(&Disk::new()).await;
    assert!(promised(&engine, "k1", "one").await);
    assert!(promised(&engine, "k2", "two").await);
    assert!(!promised(&engine, "k3", "three").await, "120 of 100");
    assert!(promised(&engine, "k1", "one").await, "its own, again");
    assert_eq!(summary(&engine.settle(settle("k1", "one")).await), "success");
    assert!(
        promised(&engine, "k3", "three").await,
        "an outcome ends a promise"
    );
}

#[tokio::test(start_paused = true)]
async fn t170_a_promise_to_another_tenant_stops_no_settlement_and_no_other_verify() {
    let engine = ready(&Disk::new()).await;
    assert!(promised(&engine, "k", "attacker").await);
    assert!(!promised(&engine, "k", "seller").await);
    let reply = engine.verify(verify("k", "seller")).await;
    assert!(
        reply.is_valid && reply.extensions.is_none(),
        "it reserves nothing, and reads no reservation: {reply:?}"
    );
    assert!(!promised(&engine, "k", "seller").await, "it ended nothing either");
    assert_eq!(summary(&engine.settle(settle("k", "seller")).await), "success");
    // The settlement ended it: the attacker learns the replay reason, as any other caller.
    let reply = engine.verify_reserving(verify("k", "attacker"), MINUTE).await;
    assert_eq!(reply.invalid_reason.as_deref(), Some("r"));
    assert!(promised(&engine, "k2", "seller").await && promised(&engine, "k3", "seller").await);
}

#[tokio::test(start_paused = true)]
async fn a_promise_ends_with_the_terms_and_with_the_authorization() {
    let engine = ready(&Disk::new()).await;
    let mut short = verify("k1", "one");
    short.requirements.max_timeout_seconds = 5;
    let mut ending = verify("k2", "one");
    let until_s = engine.runtime.clock.now_s() + 7;
    ending.payload.insert("until_s".into(), until_s.into());
    for (request, seconds) in [(ending, 7), (short, 5)] {
        let reply = engine.verify_reserving(request.clone(), MINUTE).await;
        let extensions = reply.extensions.unwrap();
        let claim = extensions["reservation"]["claim"].as_str().unwrap().to_owned();
        assert_eq!(extensions["reservation"]["seconds"], seconds);
        let other = PaymentRequest {
            tenant: Some("two".into()),
            ..request
        };
        refused(&engine.verify_reserving(other.clone(), MINUTE).await);
        assert_eq!(
            engine.end_reservation(&claim, "two").await,
            ReservationEnd::NotHeld
        );
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(
            engine.end_reservation(&claim, "one").await,
            ReservationEnd::NotHeld,
            "it has ended"
        );
    }
    let gone = {
        let mut request = verify("k3", "one");
        request.payload.insert("until_s".into(), 1.into());
        request
    };
    let reply = engine.verify_reserving(gone, MINUTE).await;
    assert!(
        reply.is_valid && reply.extensions.is_none(),
        "nothing is left to reserve: {reply:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_holder_ends_its_promise_and_without_tenants_there_is_none() {
    let engine = ready(&Disk::new()).await;
    let reply = engine.verify_reserving(verify("k", "one"), MINUTE).await;
    let extensions = reply.extensions.unwrap();
    let claim = extensions["reservation"]["claim"].as_str().unwrap();
    assert_eq!(
        engine.end_reservation(claim, "two").await,
        ReservationEnd::NotHeld
    );
    assert_eq!(engine.end_reservation(claim, "one").await, ReservationEnd::Ended);
    assert!(promised(&engine, "k", "two").await);
    let nameless = PaymentRequest {
        tenant: None,
        ..verify("k", "")
    };
    let reply = engine.verify_reserving(nameless, MINUTE).await;
    assert!(reply.is_valid && reply.extensions.is_none());
}

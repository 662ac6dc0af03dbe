//! Threats T-119 to T-123: the answers that buyers and sellers get, and that nobody is blamed for a node that lags.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::solana::PRICE;
use e2e::{Fault, Reply, SolanaWorld};
use schemes_svm::exact::reason;
use schemes_svm::testkit::Deal;
use schemes_svm::text;
use serde_json::{Value, json};

/// Both routes refuse it with this sentence, and nothing moves.
#[track_caller]
fn refused_with(world: &SolanaWorld, body: &Value, reason: &str, sentence: &str) {
    world.untouched(|| {
        let verify = world.verify(body);
        verify.refused(reason);
        assert_eq!(verify.field("invalidMessage"), sentence);
        world.settle(body).refused(reason);
    });
}

/// So many simulations answer that the blockhash is not known.
fn forgets(times: usize) -> Fault {
    let left = Arc::new(AtomicUsize::new(times));
    Fault::edit(move |_, result| {
        let lower = |left: usize| left.checked_sub(1);
        if left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lower)
            .is_ok()
        {
            result["value"] = json!({"err": "BlockhashNotFound", "logs": []});
        }
    })
}

#[test]
fn t119_a_blockhash_that_the_node_learns_late_is_valid_and_settles() {
    let world = SolanaWorld::start();
    let body = world.official(0, "new blockhash");
    world.proxy.on("simulateTransaction", forgets(2));
    world.verify(&body).valid();
    world.proxy.on("simulateTransaction", forgets(2));
    let _ = world.settle(&body).paid();
    assert_eq!((world.landed().len(), world.earned()), (1, PRICE));
}

#[test]
fn t119_contradictory_answers_of_a_node_refuse_no_payment() {
    let world = SolanaWorld::start();
    let body = world.official(0, "contradicts");
    world.proxy.on("simulateTransaction", forgets(usize::MAX));
    let reply: Reply = world.verify(&body);
    assert_eq!(
        reply.field("invalidReason"),
        "unexpected_verify_error",
        "the node calls it valid elsewhere: {reply:?}"
    );
    world.proxy.heal();
    world.verify(&body).valid();
}

#[test]
fn t120_a_payment_to_oneself_is_refused_with_a_message_and_not_sent() {
    let world = SolanaWorld::start();
    let deal = Deal {
        pay_to: world.deal(0).buyer.address(),
        ..world.deal(0)
    };
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    refused_with(
        &world,
        &body,
        reason::SIMULATION_FAILED,
        "payer and payTo are the same account: no balance would change",
    );
}

#[test]
fn t121_a_version_1_transaction_is_refused_by_name_and_the_kinds_list_the_versions() {
    let world = SolanaWorld::start();
    let deal = world.deal(0);
    let mut retagged = deal.official().sign(&deal.buyer);
    retagged[129] = 0x81;
    let mut own_format = vec![0; 3_900];
    own_format[0] = 0x81;
    for bytes in [retagged, own_format] {
        refused_with(
            &world,
            &world.body(&deal, &bytes),
            reason::UNSUPPORTED_VERSION,
            "unsupported transaction version 1; accepted: legacy, 0",
        );
    }
    let supported = world.facilitator.get("/supported").json;
    let kinds = supported["kinds"].as_array().expect("kinds");
    assert!(!kinds.is_empty());
    for kind in kinds {
        assert_eq!(kind["extra"]["transactionVersions"], json!([0]), "{kind}");
    }
}

#[test]
fn t123_a_refusal_for_a_payee_without_token_account_names_the_fix() {
    let world = SolanaWorld::start();
    let deal = Deal {
        pay_to: text::address(&world.chain.newcomer.address).expect("an address"),
        ..world.deal(0)
    };
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    refused_with(
        &world,
        &body,
        reason::SIMULATION_FAILED,
        "payTo has no token account for this asset; open it once or enable create_ata",
    );
}

#[test]
fn a_payment_signed_two_blocks_before_its_blockhash_expires_is_refused_and_takes_no_slot() {
    // Long enough slots for two blocks to be left when the request comes.
    let world = SolanaWorld::builder()
        .chain(|options| options.slot_ms = 400)
        .start();
    let body = world.official(0, "late");
    world.chain.advance(135).expect("time passes");
    world.untouched(|| {
        let verify = world.verify(&body);
        verify.refused(reason::SIMULATION_FAILED);
        let message = verify.field("invalidMessage");
        assert!(
            message.ends_with("20 are needed to land: sign with a new one"),
            "{message}"
        );
        world.settle(&body).refused(reason::SIMULATION_FAILED);
    });
    let _ = world.settle(&world.official(1, "in time")).paid();
}

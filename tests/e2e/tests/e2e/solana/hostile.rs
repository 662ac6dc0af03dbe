//! Payments that are almost good: refused with a reason of the scheme, before anything is sent, at no cost.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::{Fault, SolanaWorld};
use schemes_svm::exact::reason;
use schemes_svm::testkit::{Fate, mutations};
use serde_json::json;

#[test]
fn more_than_200_mutations_are_refused_with_the_schemes_reasons_and_cost_no_lamport() {
    // Long enough slots for one blockhash to outlive the test: what is refused is the mutation.
    let world = SolanaWorld::builder()
        .chain(|options| options.slot_ms = 2_000)
        .start();
    let deal = world.deal(0);
    let mut refused = 0;
    world.untouched(|| {
        for mutation in mutations(&deal)
            .iter()
            .filter(|mutation| mutation.fate != Fate::Pays)
        {
            let body = world.body(&deal, &mutation.transaction);
            let verify = world.verify(&body);
            let refusal = verify.field("invalidReason").to_owned();
            // A reason may be followed by what it is about.
            let bare = refusal.split(':').next().unwrap_or_default();
            assert!(reason::ALL.contains(&bare), "{}: {verify:?}", mutation.name);
            verify.refused(&refusal);
            world.settle(&body).refused(&refusal);
            refused += 1;
        }
    });
    assert!(refused >= 200, "{refused} mutations");
    world
        .verify(&world.body(&deal, &deal.official().sign(&deal.buyer)))
        .valid();
}

#[test]
fn bytes_that_are_no_transaction_are_refused_and_nothing_panics() {
    let world = SolanaWorld::start();
    let deal = world.deal(0);
    let good = deal.official().sign(&deal.buyer);
    let mut bad: Vec<Vec<u8>> = (0..good.len())
        .step_by(7)
        .map(|end| good[..end].to_vec())
        .collect();
    bad.push([good.as_slice(), &[0]].concat());
    bad.push(vec![0xff; 1_232]);
    bad.push(vec![0; 100_000]);
    world.untouched(|| {
        for bytes in &bad {
            let body = world.body(&deal, bytes);
            world.verify(&body).refused(reason::UNDECODABLE);
            world.settle(&body).refused(reason::UNDECODABLE);
        }
        for transaction in [json!(null), json!(7), json!("%"), json!(["AA=="]), json!("")] {
            let mut body = world.body(&deal, &good);
            body["paymentPayload"]["payload"]["transaction"] = transaction.clone();
            for reply in [world.verify(&body), world.settle(&body)] {
                assert!(
                    reply.status == 200 || reply.status == 400,
                    "{transaction}: {reply:?}"
                );
                assert_ne!(reply.json["isValid"], true);
                assert_ne!(reply.json["success"], true);
            }
        }
    });
    assert!(!world.facilitator.log().contains("panic"), "nothing panicked");
    let _ = world.settle(&world.body(&deal, &good)).paid();
}

#[test]
fn one_verify_with_warm_caches_is_one_round_trip_with_the_simulation_in_it() {
    // Nothing else talks to the node: no payment is open, and the caches were filled by the first verify.
    let world = SolanaWorld::builder().network("poll_interval_ms = 60000").start();
    world.verify(&world.official(0, "warm")).valid();
    let deal = world.deal(2);
    let transaction = deal.official().sign(&deal.buyer);
    world.proxy.forget();
    world.verify(&world.body(&deal, &transaction)).valid();
    let mut trips = world.proxy.trips();
    // The watch on the fee payer's funds goes its own way.
    let funds = json!([deal.fee_payer.to_string()]);
    trips.retain(|trip| trip.body["params"][0] != funds);
    assert_eq!(trips.len(), 1, "{trips:?}");
    let simulated = |method: &String| method == "simulateTransaction";
    assert_eq!(
        trips[0].methods.iter().filter(|method| simulated(method)).count(),
        1
    );
    assert!(
        trips[0].body.to_string().contains(&STANDARD.encode(&transaction)),
        "this very payment"
    );
}

#[test]
fn t13_trouble_with_the_node_is_never_a_reason_of_the_scheme() {
    let world = SolanaWorld::builder().network("rpc_timeout_ms = 500").start();
    world.verify(&world.official(0, "warm")).valid();
    let behind = json!({"code": -32005, "message": "Node is behind by 42 slots"});
    let faults = [
        Fault::Refuse,
        Fault::Status(500),
        Fault::HoldAnswer,
        Fault::RpcError(behind),
        Fault::Answer(json!("garbage")),
        Fault::Answer(json!(null)),
    ];
    world.untouched(|| {
        for (number, fault) in faults.iter().enumerate() {
            let body = world.official(2, &format!("fault {number}"));
            world.proxy.on("simulateTransaction", fault.clone());
            let reply = world.verify(&body);
            assert_eq!(
                (reply.status, reply.field("invalidReason")),
                (200, "unexpected_verify_error"),
                "{fault:?}: {reply:?}"
            );
            let reply = world.settle(&body);
            let outcome = (reply.status, reply.field("errorReason"));
            let undecided = [(200, "unexpected_settle_error"), (503, "service_unavailable")];
            assert!(undecided.contains(&outcome), "{fault:?}: {reply:?}");
            world.proxy.heal();
            world.facilitator.wait_ready().expect("the network recovers");
        }
    });
    let _ = world.settle(&world.official(2, "healed")).paid();
}

//! Callers with keys of their own.

use devnet::Mining;
use e2e::{Reply, World, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::reason;

pub(crate) fn tenant(name: &str, key: &str, more: &str) -> String {
    let hash = hex::encode(Sha256::digest(key));
    format!("[[tenants]]\nname = {name:?}\nkey_sha256 = {hash:?}\n{more}\n")
}

fn world() -> e2e::world::Builder {
    let tenants = [
        tenant("one", "key-one", ""),
        tenant("two", "key-two", ""),
        tenant("reader", "key-reader", "scopes = [\"verify\", \"supported\"]"),
    ];
    World::builder().more(&tenants.concat())
}

pub(crate) fn post(world: &World, path: &str, body: &Value, key: &str) -> Reply {
    let value = format!("Bearer {key}");
    let headers = [("authorization", value.as_str())];
    world
        .facilitator
        .client()
        .post(path, body.to_string().as_bytes(), &headers)
        .expect("an answer")
}

#[test]
fn t18_without_a_good_key_for_the_path_it_is_401() {
    let world = world().start();
    let body = world.payment(2).v2();
    let bytes = body.to_string();
    world.untouched(|| {
        let bad: [&[(&str, &str)]; 6] = [
            &[],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer key-three")],
            &[("authorization", "Basic key-one")],
            &[("authorization", "key-one")],
            &[("x-api-key", "key-onE")],
        ];
        for headers in bad {
            for path in ["/verify", "/settle"] {
                let reply = world
                    .facilitator
                    .client()
                    .post(path, bytes.as_bytes(), headers)
                    .expect("an answer");
                assert_eq!(reply.status, 401, "{headers:?}: {reply:?}");
                reply.is_object_of_the_protocol();
                assert!(reply.text.contains("unauthorized"), "{reply:?}");
            }
            assert_eq!(world.facilitator.get("/supported").status, 401);
        }
        post(&world, "/verify", &body, "key-reader").valid();
        assert_eq!(
            post(&world, "/settle", &body, "key-reader").status,
            401,
            "its key is not for this path"
        );
    });
    let _ = post(&world, "/settle", &body, "key-one").paid();
    // Operators' paths stay open.
    assert_eq!(world.facilitator.get("/health").status, 200);
}

#[test]
fn t17_a_tenants_result_is_shown_to_no_other_tenant() {
    let world = world()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start();
    let body = world.payment(2).v2();
    let hash = post(&world, "/settle", &body, "key-one").pending();
    let stranger = || {
        let reply = post(&world, "/settle", &body, "key-two");
        reply.refused(reason::NONCE_USED);
        assert!(!reply.text.contains(&hash), "{reply:?}");
    };
    stranger();
    world.chain.mine(1).expect("mines");
    wait::until("it lands", wait::LONG, || (world.transfers() == 1).then_some(()));
    stranger();
    assert_eq!(post(&world, "/settle", &body, "key-one").paid(), hash);
    stranger();
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

/// The identifier is the buyer's own: it finds nothing and unlocks nothing.
#[test]
fn t101_a_payment_identifier_of_two_tenants_is_two_payments() {
    let world = world()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start();
    let with_id = |buyer: usize| {
        let mut body = world.payment(buyer).v2();
        let extension = json!({"info": {"required": true, "id": "order-0123456789abcdef"}});
        body["paymentPayload"]["extensions"] = json!({ "payment-identifier": extension });
        body
    };
    let (one, two) = (with_id(2), with_id(3));
    let first = post(&world, "/settle", &one, "key-one").pending();
    let second = post(&world, "/settle", &two, "key-two");
    assert_ne!(second.pending(), first, "a payment of its own");
    // Neither tenant learns of the other's by the identifier they share, before and after it has landed.
    let settle_for_others = || {
        for (body, key) in [(&one, "key-two"), (&two, "key-one")] {
            let reply = post(&world, "/settle", body, key);
            reply.refused(reason::NONCE_USED);
            assert!(
                !reply.text.contains(&first) && !reply.text.contains(&second.pending()),
                "{reply:?}"
            );
        }
        assert_eq!(world.sent(), 2);
    };
    settle_for_others();
    world.chain.mine(1).expect("mines");
    wait::until("they land", wait::LONG, || (world.transfers() == 2).then_some(()));
    settle_for_others();
    assert_eq!(post(&world, "/settle", &one, "key-one").paid(), first);
    assert_eq!(post(&world, "/settle", &two, "key-two").paid(), second.pending());
    // The same identifier under another payment of the same tenant is a payment as well, and replays nothing.
    let third = post(&world, "/settle", &with_id(4), "key-one").pending();
    assert_ne!(third, first);
    assert_eq!(
        post(&world, "/settle", &one, "key-one").failed(reason::DUPLICATE),
        first
    );
    assert_eq!((world.sent(), world.transfers()), (3, 2));
}

#[test]
fn a_tenant_with_an_open_payment_can_not_be_removed() {
    let gone = tenant("one", "key-one", "settle_wait_seconds = 1");
    let mut world = World::builder()
        .mining(Mining::Manual)
        .more(&(gone.clone() + &tenant("two", "key-two", "")))
        .start();
    let body = world.payment(2).v2();
    let reply = post(&world, "/settle", &body, "key-one");
    let hash = reply.pending();
    world.facilitator.kill();
    world.facilitator.reconfigure(&gone, "");
    let (good, output) = world.facilitator.command(&["check"]);
    assert!(
        !good && output.contains("\"one\" is no longer configured"),
        "{output}"
    );
    let (status, log) = world.facilitator.restart_refused();
    assert!(!status.success(), "{log}");
    assert!(
        log.contains("tenants: \"one\" is no longer configured, and 1 payment that is open or held needs it")
            && log.contains(&hash)
            && log.contains("switchyard.toml:"),
        "{log}"
    );
    world.facilitator.reconfigure(
        &tenant("two", "key-two", ""),
        &(gone + &tenant("two", "key-two", "")),
    );
    world.facilitator.restart();
    world.chain.mine(1).expect("mines");
    let again = wait::until("the payment has landed", wait::LONG, || {
        let reply = post(&world, "/settle", &body, "key-one");
        reply.is_success().then_some(reply)
    });
    assert_eq!(again.paid(), hash);
}

/// Twenty sellers that want their payments reserved.
fn sellers() -> String {
    let seller = |n: u32| {
        let name = format!("seller-{n}");
        tenant(&name, &format!("key-{n}"), "reserve_at_verify = true")
    };
    (0..20).map(seller).collect()
}

/// Verifies for every one of the twenty sellers at once. Returns who got valid; all others are refused as reserved.
fn verify_for_all(world: &World, body: &Value) -> Vec<u32> {
    std::thread::scope(|scope| {
        let verify = |n: u32| scope.spawn(move || post(world, "/verify", body, &format!("key-{n}")));
        let replies: Vec<_> = (0..20).map(verify).collect();
        let mut valid = Vec::new();
        for (n, reply) in (0..).zip(replies) {
            let reply = reply.join().expect("no panic");
            reply.is_object_of_the_protocol();
            if reply.json["isValid"] == true {
                valid.push(n);
            } else {
                assert_eq!(reply.json["invalidReason"], "payment_reserved", "{reply:?}");
                assert!(reply.json.get("extensions").is_none(), "{reply:?}");
            }
        }
        valid
    })
}

#[test]
fn t171_of_twenty_sellers_one_is_promised_an_authorization_until_its_time_is_over() {
    let world = World::builder().more(&sellers()).start();
    let body = world.payment(2).v2();
    let valid = verify_for_all(&world, &body);
    let [holder] = valid.as_slice() else {
        panic!("one valid, nineteen refused: {valid:?}")
    };
    let holder_key = format!("key-{holder}");
    // The holder may verify as often as it likes, and ends its reservation when it does not sell.
    let reply = post(&world, "/verify", &body, &holder_key);
    reply.valid();
    let claim = reply.json["extensions"]["reservation"]["claim"]
        .as_str()
        .expect("the claim")
        .replace('|', "%7C")
        .replace('/', "%2F");
    let end = |key: &str| {
        let path = format!("/reservations/{claim}");
        let client = world.facilitator.client();
        let ended = client.send("DELETE", &path, b"", &[("x-api-key", key)]);
        ended.expect("an answer").status
    };
    let other = (holder + 1) % 20;
    assert_eq!(end(&format!("key-{other}")), 404);
    assert_eq!(end(&holder_key), 200);
    assert_eq!(verify_for_all(&world, &body).len(), 1);

    // Released after its time: at most what the seller's own terms allow.
    let mut short = world.payment(3).v2();
    for terms in ["/paymentRequirements", "/paymentPayload/accepted"] {
        short.pointer_mut(terms).expect("terms")["maxTimeoutSeconds"] = json!(2);
    }
    post(&world, "/verify", &short, "key-0").valid();
    wait::until("the reservation ends", wait::LONG, || {
        let reply = post(&world, "/verify", &short, "key-1");
        (reply.json["isValid"] == true).then_some(())
    });
}

#[test]
fn t170_a_reservation_refuses_a_second_promise_and_no_settle() {
    let more = sellers() + &tenant("plain", "key-plain", "");
    let world = World::builder().more(&more).start();
    let balance = world.balance(&world.chain.buyers[2].address);
    let [first, second] = [0, 1].map(|_| world.payment(2).of(balance / 3 * 2).v2());
    post(&world, "/verify", &first, "key-0").valid();
    // Another authorization of the same payer: together they are more than it has.
    post(&world, "/verify", &second, "key-1").refused("payment_reserved");
    post(&world, "/verify", &second, "key-0").refused("payment_reserved");
    post(&world, "/verify", &second, "key-plain").valid();
    let _ = post(&world, "/settle", &second, "key-plain").paid();
    // It was a promise, not money: the chain decides.
    post(&world, "/settle", &first, "key-0").refused(reason::BALANCE);
}

#[test]
fn a_tenant_that_waits_for_finality_gets_success_when_the_payment_is_final() {
    let more = tenant("patient", "key-patient", "wait_until = \"final\"");
    let world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .network("confirmations = 1\nfinality = 3\nblock_time_ms = 1000")
        .more(&more)
        .start();
    let body = world.payment(2).v2();
    let hash = post(&world, "/settle", &body, "key-patient").pending();
    world.chain.mine(1).expect("mines");
    wait::until("the payment is confirmed", wait::LONG, || {
        world.facilitator.log().contains("height=").then_some(())
    });
    for _ in 0..2 {
        let reply = post(&world, "/settle", &body, "key-patient");
        assert_eq!(reply.pending(), hash, "confirmed, and not final");
    }
    world.chain.mine(3).expect("mines");
    let paid = wait::until("the payment is final", wait::LONG, || {
        Some(post(&world, "/settle", &body, "key-patient")).filter(Reply::is_success)
    });
    assert_eq!(paid.paid(), hash);
    let again = post(&world, "/settle", &body, "key-patient");
    assert_eq!(again.failed(reason::DUPLICATE), hash);
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn a_tenant_that_waits_for_the_submission_gets_the_hash_and_may_request_more() {
    let more = tenant("hasty", "key-hasty", "wait_until = \"submitted\"");
    let world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 85")
        .more(&more)
        .start();
    let body = world.payment(2).v2();
    // Without a wait: no block comes, and the reply does.
    let hash = post(&world, "/settle", &body, "key-hasty").pending();
    // The reply does not wait for the node: the next block may come before the transaction.
    wait::until("the payment is confirmed", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        world.facilitator.log().contains("height=").then_some(())
    });
    let reply = post(&world, "/settle", &body, "key-hasty");
    assert_eq!(reply.paid(), hash, "what is confirmed is a success");
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

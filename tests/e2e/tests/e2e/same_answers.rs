//! A plugin answers the same, byte for byte, in the facilitator's process and in one of its own: payments of every shipped
//! scheme, and each of them with one member changed, before the same chain.

use devnet::AUTH_CAPTURE_V11;
use e2e::hold::{Hold, Method};
use e2e::payment::PRICE;
use e2e::{Facilitator, SolanaWorld, World};
use schemes_svm::testkit::mutations;
use serde_json::{Value, json};

use crate::permit2;

/// What a member is changed to.
fn values() -> [Value; 5] {
    [
        Value::Null,
        json!("0"),
        json!("not what is expected"),
        json!("0xaf88d065e77c8cc2239327c5edb3a432268e5831"),
        json!({ "an": "object" }),
    ]
}

/// Pointers to everything in a body that has no members, outside what names the protocol, scheme and network.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| leaves(member, &format!("{at}/{name}")))
            .collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .flat_map(|(number, item)| leaves(item, &format!("{at}/{number}")))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![at.to_owned()],
    }
}

/// The body, and each that differs from it in one member.
fn variants(body: &Value) -> Vec<Value> {
    let mut all = vec![body.clone()];
    for pointer in leaves(body, "") {
        for value in values() {
            let mut changed = body.clone();
            if let Some(leaf) = changed.pointer_mut(&pointer) {
                *leaf = value;
            }
            all.push(changed);
        }
    }
    all
}

/// Both facilitators answer alike; what the answer was.
#[track_caller]
fn same(loaded: &Facilitator, isolated: &Facilitator, body: &Value) -> String {
    let (first, second) = (loaded.verify(body), isolated.verify(body));
    let extensions = "extension-responses";
    assert_eq!(
        (first.status, &first.text, first.header(extensions)),
        (second.status, &second.text, second.header(extensions)),
        "{body}"
    );
    match first.field("invalidReason") {
        "" => format!("{} {}", first.status, first.json["isValid"]),
        reason => reason.to_owned(),
    }
}

/// The same of many bodies, some at once.
fn all_the_same(loaded: &Facilitator, isolated: &Facilitator, bodies: &[Value]) -> Vec<String> {
    const AT_ONCE: usize = 8;
    std::thread::scope(|scope| {
        let parts = bodies.chunks(bodies.len().div_ceil(AT_ONCE));
        let parts: Vec<_> = parts
            .map(|part| {
                scope.spawn(|| {
                    part.iter()
                        .map(|body| same(loaded, isolated, body))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("all are the same"))
            .collect()
    })
}

/// What both said, sorted and without repetitions.
fn reasons(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all.dedup();
    all
}

#[test]
fn the_evm_plugins_answer_the_same_in_a_process_of_their_own() {
    let world = World::builder().auth_capture("").start();
    permit2::approve(&world, 2);
    let isolated = world.isolated();
    let loaded = &world.facilitator;
    assert_eq!(loaded.get("/supported").text, isolated.get("/supported").text);
    let payment = world.payment(2);
    let bodies = [
        payment.v2(),
        payment.v1(),
        payment.legacy0(),
        permit2::exact(&payment),
        permit2::upto(&world, &payment, PRICE),
        Hold::v1_0(&world, 2, Method::Eip3009, false).body(&world),
        Hold::v1_0(&world, 2, Method::Permit2, true).body(&world),
        Hold::v1_1(&world, 2, AUTH_CAPTURE_V11, Method::Eip3009).body(&world),
    ];
    for body in &bodies {
        loaded.verify(body).valid();
    }
    let variants: Vec<Value> = bodies.iter().flat_map(variants).collect();
    let answers = all_the_same(loaded, &isolated, &variants);
    let count = answers.len();
    let reasons = reasons(answers);
    eprintln!(
        "{count} answers are equal, of {} kinds: {reasons:?}",
        reasons.len()
    );
    assert!(count > 1_000 && reasons.len() > 25, "{count}: {reasons:?}");
}

#[test]
fn the_solana_plugin_answers_the_same_in_a_process_of_its_own() {
    // A blockhash is good for a minute: none gets too old between two answers.
    let world = SolanaWorld::builder()
        .chain(|options| options.slot_ms = 400)
        .start();
    let isolated = world.isolated();
    let loaded = &world.facilitator;
    assert_eq!(loaded.get("/supported").text, isolated.get("/supported").text);
    let mut answers = Vec::new();
    let names = mutations(&world.deal(0)).len();
    for number in 0..names {
        let deal = world.deal(0);
        let Some(mutation) = mutations(&deal).into_iter().nth(number) else {
            continue;
        };
        let body = world.body(&deal, &mutation.transaction);
        answers.push(same(loaded, &isolated, &body));
    }
    let deal = world.deal(0);
    let official = deal.official().sign(&deal.buyer);
    for body in [world.body(&deal, &official), world.body_v1(&deal, &official)] {
        loaded.verify(&body).valid();
        answers.extend(all_the_same(loaded, &isolated, &variants(&body)));
    }
    let count = answers.len();
    let reasons = reasons(answers);
    eprintln!(
        "{count} answers are equal, of {} kinds: {reasons:?}",
        reasons.len()
    );
    assert!(count > 300 && reasons.len() > 15, "{count}: {reasons:?}");
}

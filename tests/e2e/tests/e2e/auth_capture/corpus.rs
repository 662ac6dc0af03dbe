//! A generated corpus of hostile requests: every member of a good payment is replaced by everything that members can be
//! mistaken for, in the payload, in the seller's terms, and in both at once. Each request has a payment of its own.

use devnet::{AUTH_CAPTURE_V11, BUYER_TOKENS};
use e2e::World;
use e2e::escrow::{self, PRICE, SHOP_KEY, ask};
use e2e::hold::{Hold, Method, allow_permit2};
use e2e::sign;
use serde_json::{Value, json};

/// What one call of an escrow may cost, in any case.
const MOST_GAS: u128 = 1_500_000;
const LEAST_CASES: usize = 300;
const BUYER: usize = 2;

fn replacements() -> Vec<Value> {
    let mut all = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!([]),
        json!({}),
    ];
    let texts = ["", "0", "1", "-1", "1e3", " 1", "0x", "0x0", "escrow", "eip155:1"].map(str::to_owned);
    let long = [
        format!("0x{}", "00".repeat(20)),
        format!("0x{}", "ff".repeat(20)),
        format!("0x{}", "ff".repeat(32)),
        format!("0x{}", "ff".repeat(65)),
        // An ERC-6492 suffix behind nothing.
        format!("0x{}{}", "00".repeat(96), "6492".repeat(16)),
        "9".repeat(78),
        "9".repeat(5_000),
    ];
    all.extend(texts.into_iter().chain(long).map(Value::String));
    all
}

/// JSON pointers to everything that is no object or list.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(member, &format!("{path}/{name}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

fn of_the_payload(body: &Value) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let payload = &body["paymentPayload"]["payload"];
    leaves(payload, "/paymentPayload/payload", &mut all);
    all.into_iter().map(|one| vec![one]).collect()
}

/// The payload's leaves, and those of the terms in either of their copies and in both.
fn of_everything(body: &Value) -> Vec<Vec<String>> {
    let mut places = of_the_payload(body);
    let mut terms = Vec::new();
    leaves(&body["paymentRequirements"], "", &mut terms);
    for leaf in terms {
        let accepted = format!("/paymentPayload/accepted{leaf}");
        let required = format!("/paymentRequirements{leaf}");
        places.extend([
            vec![accepted.clone(), required.clone()],
            vec![accepted],
            vec![required],
        ]);
    }
    places
}

fn run(
    world: &World,
    method: Method,
    places: impl Fn(&Value) -> Vec<Vec<String>>,
    turn: &mut u64,
) -> (usize, u128) {
    let hold = |turn: u64| {
        let mut hold = Hold::v1_1(world, BUYER, AUTH_CAPTURE_V11, method);
        hold.info.salt = sign::keccak(&turn.to_be_bytes());
        hold.body(world)
    };
    let (mut cases, mut paid) = (0, 0);
    for place in places(&hold(*turn)) {
        for replacement in replacements() {
            *turn += 1;
            cases += 1;
            let mut body = hold(*turn);
            for pointer in &place {
                *body.pointer_mut(pointer).expect("a leaf") = replacement.clone();
            }
            let sent = world.sent();
            let reply = ask(world, "/settle", &body, SHOP_KEY);
            let what = format!("{place:?} = {replacement}: {reply:?}");
            assert!([200, 400].contains(&reply.status), "{what}");
            assert!(!reply.text.contains("unexpected_settle_error"), "{what}");
            if !reply.is_success() {
                assert_eq!((reply.field("transaction"), world.sent()), ("", sent), "{what}");
                continue;
            }
            // What was replaced does not matter to the payment, which then is as good as any.
            paid += 1;
            let receipt = world
                .chain
                .receipt(&reply.paid())
                .expect("the node answers")
                .expect("a receipt");
            let gas = receipt["gasUsed"]
                .as_str()
                .expect("gas")
                .trim_start_matches("0x")
                .to_owned();
            assert!(u128::from_str_radix(&gas, 16).expect("hex") <= MOST_GAS, "{what}");
        }
    }
    (cases, paid)
}

#[test]
fn no_request_of_a_hostile_corpus_costs_what_it_should_not() {
    let world = escrow::world("").start();
    allow_permit2(&world, BUYER);
    let buyer = world.chain.buyers[BUYER].address.clone();
    let mut turn = 0;
    let mut paid = 0;
    let (cases, of_them) = run(&world, Method::Eip3009, of_everything, &mut turn);
    assert!(cases >= LEAST_CASES, "{cases}");
    paid += of_them;
    // The terms are read the same way, whatever the payload is.
    paid += run(&world, Method::Permit2, of_the_payload, &mut turn).1;
    assert_eq!(
        world.balance(&buyer),
        BUYER_TOKENS - paid * PRICE,
        "{paid} were paid"
    );
    assert_eq!((world.sent(), world.earned()), (paid, 0));
}

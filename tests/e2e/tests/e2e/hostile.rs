//! Bytes that no client sends: each gets a clear answer, the process lives, nothing moves.

use e2e::{World, wait};
use serde_json::{Value, json};

/// Statuses that a malformed request may get: refused in dispatch, too large, or a decided refusal.
fn is_clear(status: u16) -> bool {
    [200, 400, 413].contains(&status)
}

fn check(world: &World, what: &str, body: &[u8]) {
    for path in ["/verify", "/settle"] {
        let reply = world.facilitator.post(path, body);
        assert!(is_clear(reply.status), "{what} at {path}: {reply:?}");
        let (key, reason) = if path == "/verify" {
            ("isValid", "invalidReason")
        } else {
            ("success", "errorReason")
        };
        assert_eq!(reply.json[key], false, "{what} at {path}: {reply:?}");
        assert!(
            reply.json[reason].is_string() && reply.text.len() < 4_096,
            "{what} at {path}: {reply:?}"
        );
    }
}

#[test]
fn t12_hostile_bodies_get_clear_answers() {
    let mut world = World::start();
    let good = world.payment(2).v2().to_string();
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let with = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    let mut latin1 = good.clone().into_bytes();
    let place = latin1.iter().position(|byte| *byte == b'w').expect("a letter");
    latin1[place] = 0xe9;
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("null", b"null".to_vec()),
        ("a number", b"1".to_vec()),
        ("a list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("zeroes", vec![0; 1_000]),
        ("not UTF-8", latin1),
        ("cut off", good.as_bytes()[..good.len() - 3].to_vec()),
        ("trailing bytes", format!("{good}{good}").into_bytes()),
        ("deep nesting", deep(100_000).into_bytes()),
        (
            "a deep member",
            with(&format!("\"deep\":{}", deep(5_000))).into_bytes(),
        ),
        ("a duplicate key", with("\"paymentRequirements\":{}").into_bytes()),
        (
            "a duplicate amount",
            good.replace("\"amount\":", "\"amount\":\"1\",\"amount\":")
                .into_bytes(),
        ),
        (
            "a duplicate nonce",
            good.replace("\"nonce\":", "\"nonce\":\"0x00\",\"nonce\":")
                .into_bytes(),
        ),
        (
            "a huge number",
            good.replace("\"10000\"", &"9".repeat(10_000)).into_bytes(),
        ),
        (
            "an endless exponent",
            good.replace("\"10000\"", "1e999999999").into_bytes(),
        ),
        (
            "lone surrogates",
            with(r#""\ud800":1"#).replace("USDC", r"\udead").into_bytes(),
        ),
        (
            "a version of its own",
            good.replace("\"x402Version\":2", "\"x402Version\":3")
                .into_bytes(),
        ),
        (
            "another version as text",
            good.replace("\"x402Version\":2", "\"x402Version\":\"two\"")
                .into_bytes(),
        ),
    ];
    world.untouched(|| {
        for (what, body) in &bodies {
            check(&world, what, body);
        }
    });
    assert!(!world.facilitator.has_ended());
    let _ = world.facilitator.post("/settle", good.as_bytes()).paid();
}

#[test]
fn ten_megabytes_are_413() {
    let world = World::start();
    let body = vec![b' '; 10 << 20];
    for path in ["/verify", "/settle"] {
        match world.facilitator.client().post(path, &body, &[]) {
            Ok(reply) => assert_eq!(reply.status, 413, "{reply:?}"),
            // The answer came while the client was still writing, and the connection closed on it.
            Err(error) => assert!(!error.0.contains("refused"), "{error}"),
        }
    }
    world.verify(&world.payment(2).v2()).valid();
}

/// Returns after a check of the network, which queries its nodes too: the next one is ten seconds away.
fn after_a_check(world: &World) {
    world.proxy.forget();
    wait::until("a check of the network", wait::LONG, || {
        (world.proxy.calls_of("eth_chainId") > 0).then_some(())
    });
    let (mut known, mut quiet) = (0, 0);
    wait::until("the end of the check", wait::LONG, || {
        let trips = world.proxy.trips().len();
        quiet = if trips == known { quiet + 1 } else { 0 };
        known = trips;
        (quiet >= QUIET_LOOKS).then_some(())
    });
    world.proxy.forget();
}

/// Polls in a row, ten milliseconds apart, without a request: the check is over.
const QUIET_LOOKS: u32 = 20;

#[test]
fn a_signature_of_100_kilobytes_is_refused_without_querying_the_chain() {
    let world = World::builder().network("poll_interval_ms = 60000").start();
    world.verify(&world.payment(2).v2()).valid();
    for wallet in [world.chain.buyers[2].address.clone(), devnet::WALLET.to_owned()] {
        let mut body = world.payment(2).from_wallet(&wallet).v2();
        body["paymentPayload"]["payload"]["signature"] = format!("0x{}", "ab".repeat(100_000)).into();
        let trips = world.untouched(|| {
            after_a_check(&world);
            world.verify(&body).refused("invalid_payload");
            world.settle(&body).refused("invalid_payload");
            world.proxy.trips().len()
        });
        assert_eq!(trips, 0);
    }
}

#[test]
fn t06_hostile_values_in_every_field_get_the_protocols_object() {
    let mut world = World::start();
    let good = world.payment(2).v2();
    let mut pointers = Vec::new();
    walk(&good, &mut String::new(), &mut pointers);
    assert!(pointers.len() > 25, "{pointers:?}");
    let long = "x".repeat(20_000);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("\u{0}"),
        json!(long),
        json!("0x"),
        json!("' OR 1=1 --"),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!({"a": {"b": {}}}),
        json!(u64::MAX),
        json!("0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    ];
    for pointer in &pointers {
        for value in &values {
            let mut body = good.clone();
            *body.pointer_mut(pointer).expect("the member") = value.clone();
            let reply = world.verify(&body);
            assert!(is_clear(reply.status), "{value} at {pointer}: {reply:?}");
            reply.is_object_of_the_protocol();
        }
    }
    assert!(!world.facilitator.has_ended());
    assert_eq!((world.sent(), world.transfers()), (0, 0));
    let _ = world.settle(&good).paid();
}

fn walk(value: &Value, at: &mut String, pointers: &mut Vec<String>) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        let length = at.len();
        at.push('/');
        at.push_str(name);
        pointers.push(at.clone());
        walk(member, at, pointers);
        at.truncate(length);
    }
}

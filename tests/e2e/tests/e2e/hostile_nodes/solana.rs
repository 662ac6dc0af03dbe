//! The same on Solana: two nodes, of which the first answers nonsense, errors, or what is not true.

use std::time::Duration;

use e2e::{Fault, SolanaWorld, wait};
use serde_json::{Value, json};

use super::{FIRST_AGAIN, HEALED, POLLED, Report, is_valid, serve, settle_until, short};

const PAYMENTS: usize = 300;

fn start(settle_wait_s: u64) -> SolanaWorld {
    SolanaWorld::builder()
        .chain(|options| options.slot_ms = 400)
        .two_nodes()
        .server(&format!("settle_wait_seconds = {settle_wait_s}"))
        .start()
}

/// Makes one payment with this memo as things are.
fn serve_one(world: &SolanaWorld, memo: &str) -> Vec<String> {
    let before = world.landed().len();
    serve(&world.facilitator, &world.official(0, memo), &|| {
        world.landed().len() - before
    })
}

/// Heals the first node and waits until reads go to it again.
fn recover(world: &SolanaWorld, variant: &str) {
    world.proxy.heal();
    world.facilitator.wait_ready().expect("ready again");
    let body = world.official(1, &format!("after {variant}"));
    world.proxy.forget();
    let _ = wait::try_until(FIRST_AGAIN, || {
        let _ = world.verify(&body);
        (world.proxy.calls_of("simulateTransaction") > 0).then_some(())
    });
}

#[test]
fn a_first_solana_node_with_well_formed_nonsense_stops_no_payment() {
    let at =
        |slot: u64, value: Value| json!({"context": {"slot": slot, "apiVersion": "4.0.0"}, "value": value});
    let value = |value: Value| at(1_000_000, value);
    let failed = |error: &str| value(json!({"err": error, "logs": []}));
    let absurd = json!(9_223_372_036_854_775_807_u64);
    let unfunded = json!({
        "err": {"InstructionError": [2, {"Custom": 1}]},
        "logs": ["Program log: Error: insufficient funds"],
    });
    let empty = json!({"err": null, "logs": null, "accounts": null});
    let other_genesis = json!("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d");
    let variants = [
        ("simulation: null", "simulateTransaction", Value::Null),
        (
            "simulation: null value",
            "simulateTransaction",
            value(Value::Null),
        ),
        ("simulation: {}", "simulateTransaction", value(json!({}))),
        ("no blockhash", "simulateTransaction", failed("BlockhashNotFound")),
        ("no account", "simulateTransaction", failed("AccountNotFound")),
        ("no fee", "simulateTransaction", failed("InsufficientFundsForFee")),
        ("unfunded in slot 1", "simulateTransaction", at(1, unfunded)),
        ("simulation: empty", "simulateTransaction", value(empty)),
        ("slot: null", "getSlot", Value::Null),
        ("slot: 0", "getSlot", json!(0)),
        ("slot: text", "getSlot", json!("17")),
        ("slot: 2^63", "getSlot", absurd.clone()),
        ("height: null", "getBlockHeight", Value::Null),
        ("height: 0", "getBlockHeight", json!(0)),
        ("height: 2^63", "getBlockHeight", absurd),
        ("accounts: null", "getMultipleAccounts", Value::Null),
        ("accounts: none", "getMultipleAccounts", value(json!([]))),
        ("statuses: null", "getSignatureStatuses", Value::Null),
        ("statuses: none", "getSignatureStatuses", value(json!([]))),
        (
            "statuses: eight nulls",
            "getSignatureStatuses",
            value(json!([null, null, null, null, null, null, null, null])),
        ),
        ("blockhash: null", "isBlockhashValid", value(Value::Null)),
        ("blockhash: false", "isBlockhashValid", value(json!(false))),
        ("genesis: null", "getGenesisHash", Value::Null),
        ("genesis: another", "getGenesisHash", other_genesis),
        ("transaction: null", "getTransaction", Value::Null),
        ("transaction: {}", "getTransaction", json!({})),
        ("block: null", "getBlock", Value::Null),
        ("health: text", "getHealth", json!("behind")),
        ("version: null", "getVersion", Value::Null),
        ("send: null", "sendTransaction", Value::Null),
        ("send: another", "sendTransaction", json!("1".repeat(64))),
    ];
    let world = start(8);
    let mut report = Report::default();
    report.add("before", &serve_one(&world, "before"));
    for (name, method, result) in variants {
        world.proxy.on(method, Fault::Answer(result));
        std::thread::sleep(POLLED);
        report.add(name, &serve_one(&world, name));
        recover(&world, name);
    }
    report.end();
}

/// Every error is the answer to each of these methods, and to all of them.
fn assert_errors_stop_no_payment(errors: &[(&str, i64, &str)]) {
    let world = start(8);
    let mut report = Report::default();
    report.add("before", &serve_one(&world, "before"));
    for (name, code, message) in errors {
        for method in [
            "simulateTransaction",
            "sendTransaction",
            "getSignatureStatuses",
            "getSlot",
            "*",
        ] {
            let error = json!({"code": code, "message": message});
            world.proxy.on(method, Fault::RpcError(error));
            let variant = format!("{name} to {method}");
            report.add(&variant, &serve_one(&world, &variant));
            world.proxy.heal();
            world.facilitator.wait_ready().expect("ready again");
        }
        recover(&world, name);
    }
    report.end();
}

#[test]
fn a_first_solana_node_that_lags_or_is_limited_stops_no_payment() {
    assert_errors_stop_no_payment(&[
        (
            "minimum slot",
            -32016,
            "Minimum context slot has not been reached",
        ),
        ("behind", -32005, "Node is behind by 50 slots"),
        ("unhealthy", -32005, "Node is unhealthy"),
        (
            "skipped slot",
            -32007,
            "Slot 1 was skipped, or missing due to ledger jump to recent snapshot",
        ),
        (
            "no history",
            -32011,
            "Transaction history is not available from this node",
        ),
        ("plan", -32052, "API key is not allowed to access blockchain"),
    ]);
}

#[test]
fn a_first_solana_node_that_calls_good_transactions_wrong_stops_no_payment() {
    assert_errors_stop_no_payment(&[
        (
            "no blockhash",
            -32002,
            "Transaction simulation failed: Blockhash not found",
        ),
        (
            "processed",
            -32002,
            "Transaction simulation failed: This transaction has already been processed",
        ),
        (
            "no account",
            -32002,
            "Transaction simulation failed: Attempt to debit an account but found no record of a prior credit.",
        ),
        ("signature", -32003, "Transaction signature verification failure"),
        (
            "parameters",
            -32602,
            "invalid transaction: Transaction failed to sanitize accounts offsets correctly",
        ),
    ]);
}

#[test]
fn payments_near_the_end_of_their_blockhash_stop_no_other_buyer() {
    let world = start(8);
    let mut report = Report::default();
    for (name, age) in [
        ("30 slots left", 120),
        ("22 slots left", 128),
        ("19 slots left", 131),
    ] {
        let before = world.landed().len();
        let old: Vec<Value> = (0..PAYMENTS)
            .map(|at| world.official(0, &format!("{name} {at}")))
            .collect();
        world.chain.advance(age).expect("time passes");
        let mut complaints = Vec::new();
        let replies = std::thread::scope(|scope| {
            let flood = scope.spawn(|| world.settle_all(&old));
            // The flood has started.
            std::thread::sleep(POLLED);
            for at in 0..6 {
                let body = world.official(1, &format!("new, {name} {at}"));
                let verify = world.verify(&body);
                let settle = world.settle(&body);
                if !is_valid(&verify) || !settle.is_success() {
                    complaints.push(format!("payment {at}: {}; {}", short(&verify), short(&settle)));
                    let later = settle_until(&world.facilitator, &body, HEALED);
                    complaints.push(format!("later {:?}", later.seen));
                }
            }
            flood.join().expect("answers")
        });
        let paid = replies.iter().filter(|reply| reply.is_success()).count();
        let landed = world.landed().len() - before;
        if landed < paid {
            complaints.push(format!("{paid} were answered success, {landed} landed"));
        }
        report.add(name, &complaints);
    }
    report.end();
}

#[test]
fn a_solana_payment_that_both_nodes_drop_is_pending_and_made_when_they_do_not() {
    let world = start(3);
    let mut report = Report::default();
    report.add("before", &serve_one(&world, "before"));
    let body = world.official(0, "dropped");
    let before = world.landed().len();
    world.chain.drop_incoming(true).expect("set");
    let open = settle_until(&world.facilitator, &body, Duration::from_secs(8)).seen;
    world.chain.drop_incoming(false).expect("set");
    let settled = settle_until(&world.facilitator, &body, HEALED);
    report.end();
    assert!(
        open.iter().all(|one| one.contains("settlement_pending")),
        "{open:?}"
    );
    assert!(settled.last.is_success(), "{:?}", settled.seen);
    assert_eq!(world.landed().len() - before, 1);
}

#[test]
fn a_first_solana_node_that_drops_transactions_stops_no_payment() {
    let world = start(3);
    let mut report = Report::default();
    report.add("before", &serve_one(&world, "before"));
    // A signature, of another transaction.
    let other = "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW";
    world.proxy.on("sendTransaction", Fault::Swallow(json!(other)));
    for round in ["first", "second"] {
        let name = format!("{round} payment");
        report.add(&name, &serve_one(&world, &name));
    }
    report.end();
}

#[test]
fn a_first_solana_node_that_finds_no_blockhash_stops_no_payment() {
    let world = start(8);
    let mut report = Report::default();
    report.add("before", &serve_one(&world, "before"));
    for (name, valid, slots) in [
        ("and calls them invalid", false, 0),
        ("and calls them valid", true, 0),
        ("and lags by 50 slots", false, 50),
    ] {
        let missing = json!({"err": "BlockhashNotFound", "logs": []});
        let simulation = Fault::edit(move |_, result| result["value"] = missing.clone());
        let validity = Fault::edit(move |_, result| result["value"] = json!(valid));
        world.proxy.on("simulateTransaction", simulation);
        world.proxy.on("isBlockhashValid", validity);
        let behind = Fault::edit(move |_, result| {
            if let Some(slot) = result["context"]["slot"].as_u64() {
                result["context"]["slot"] = json!(slot.saturating_sub(slots));
            }
        });
        world.proxy.on("*", behind);
        for round in ["first", "second"] {
            let variant = format!("{name}, {round}");
            report.add(&variant, &serve_one(&world, &variant));
        }
        recover(&world, name);
    }
    report.end();
}

#[test]
fn a_first_solana_node_that_never_shows_a_status_loses_no_payment() {
    let world = start(5);
    let mut report = Report::default();
    report.add("before", &serve_one(&world, "before"));
    report.end();
    let unknown = Fault::edit(|params, result| {
        let count = params[0].as_array().map_or(0, Vec::len);
        result["value"] = Value::Array(vec![Value::Null; count]);
    });
    world.proxy.on("getSignatureStatuses", unknown);
    let before = world.landed().len();
    let settled = settle_until(&world.facilitator, &world.official(0, "no status"), HEALED);
    assert!(settled.last.is_success(), "{:?}", settled.seen);
    assert_eq!(world.landed().len() - before, 1);
}

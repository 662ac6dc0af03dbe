//! Well-formed answers of the first node that are nonsense, or not true.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::{Answer, edited, failure, result};
use super::{CHECKED, HEALED, POLLED, PRICE_FORGOTTEN, Pair, Report, SEND, short};

/// A method has a result, whatever its parameters are.
fn of(method: &str, value: Value) -> Answer {
    let method = method.to_owned();
    edited(move |call, answer| {
        if call["method"] == method.as_str() {
            *answer = result(call, &value);
        }
    })
}

/// One payment for each variant, so long after the first node answers like this.
fn assert_no_payment_stops(pause: Duration, variants: Vec<(&str, Answer)>) {
    let pair = Pair::start();
    let mut report = Report::default();
    report.add("before", &pair.serve());
    for (name, answer) in variants {
        pair.first.answer(answer);
        std::thread::sleep(pause);
        report.add(name, &pair.serve());
        pair.recover();
    }
    report.add("all payments", &pair.check_earned());
    report.end();
}

#[test]
fn a_first_node_with_well_formed_nonsense_stops_no_payment() {
    let absurd = json!("0x7fffffffffffffff");
    let variants = [
        ("call: null", "eth_call", Value::Null),
        ("call: 0x", "eth_call", json!("0x")),
        ("call: object", "eth_call", json!({})),
        ("estimate: 0", "eth_estimateGas", json!("0x0")),
        ("estimate: 1", "eth_estimateGas", json!("0x1")),
        ("estimate: 2^63", "eth_estimateGas", json!("0x8000000000000000")),
        ("estimate: 2^64", "eth_estimateGas", json!("0x10000000000000000")),
        ("estimate: null", "eth_estimateGas", Value::Null),
        ("block number: null", "eth_blockNumber", Value::Null),
        ("block number: decimal", "eth_blockNumber", json!("123")),
        ("block number: 2^63", "eth_blockNumber", absurd.clone()),
        ("code: null", "eth_getCode", Value::Null),
        ("code: 0x", "eth_getCode", json!("0x")),
        ("count: null", "eth_getTransactionCount", Value::Null),
        ("count: 2^63", "eth_getTransactionCount", absurd),
        ("count: 0", "eth_getTransactionCount", json!("0x0")),
        ("balance: null", "eth_getBalance", Value::Null),
        ("balance: 0", "eth_getBalance", json!("0x0")),
        ("receipt: {}", "eth_getTransactionReceipt", json!({})),
        ("receipt: text", "eth_getTransactionReceipt", json!("pending")),
        ("receipt: null", "eth_getTransactionReceipt", Value::Null),
        ("transaction: {}", "eth_getTransactionByHash", json!({})),
        ("chain id: decimal", "eth_chainId", json!("84532")),
        ("chain id: number", "eth_chainId", json!(84532)),
        ("chain id: null", "eth_chainId", Value::Null),
        ("send: null", SEND, Value::Null),
        ("send: true", SEND, json!(true)),
        ("send: another hash", SEND, json!(format!("0x{}", "a".repeat(64)))),
    ];
    let variants = variants.map(|(name, method, value)| (name, of(method, value)));
    assert_no_payment_stops(POLLED, variants.into());
}

/// The signers' balances and numbers are read now and then: also then a node that shows too little stops nothing.
#[test]
fn a_first_node_that_shows_an_emptied_or_a_new_signer_stops_no_payment() {
    let pair = Pair::start();
    let mut report = Report::default();
    for (name, method) in [
        ("balance: 0", "eth_getBalance"),
        ("count: 0", "eth_getTransactionCount"),
    ] {
        report.add(&format!("before {name}"), &pair.serve());
        pair.first.answer(of(method, json!("0x0")));
        let began = Instant::now();
        while began.elapsed() < CHECKED {
            std::thread::sleep(POLLED);
            report.add(name, &pair.serve());
        }
        pair.recover();
    }
    report.add("all payments", &pair.check_earned());
    report.end();
}

#[test]
fn a_first_node_with_nonsense_about_blocks_and_prices_stops_no_payment() {
    let of_results = [
        ("history: null", "eth_feeHistory", Value::Null),
        ("history: {}", "eth_feeHistory", json!({})),
        (
            "history: empty",
            "eth_feeHistory",
            json!({"oldestBlock": "0x1", "baseFeePerGas": [], "reward": []}),
        ),
        (
            "history: [null]",
            "eth_feeHistory",
            json!({"baseFeePerGas": [null], "reward": [[null]]}),
        ),
        (
            "history: decimal",
            "eth_feeHistory",
            json!({"baseFeePerGas": ["1000"], "reward": [["1000"]]}),
        ),
        (
            "history: absurd base fee",
            "eth_feeHistory",
            json!({"baseFeePerGas": ["0xffffffffffffffffffffffff"], "reward": [["0x1"]]}),
        ),
        (
            "history: absurd tip",
            "eth_feeHistory",
            json!({"baseFeePerGas": ["0x1"], "reward": [["0xffffffffffffffffffff"]]}),
        ),
        ("gas price: null", "eth_gasPrice", Value::Null),
        (
            "gas price: absurd",
            "eth_gasPrice",
            json!("0xffffffffffffffffffffffff"),
        ),
        ("block: null", "eth_getBlockByNumber", Value::Null),
        ("block: {}", "eth_getBlockByNumber", json!({})),
    ];
    let of_members = [
        ("base fee: null", "baseFeePerGas", Value::Null),
        (
            "base fee: absurd",
            "baseFeePerGas",
            json!("0xffffffffffffffffffff"),
        ),
        ("base fee: decimal", "baseFeePerGas", json!("7")),
        ("number: null", "number", Value::Null),
        ("timestamp: null", "timestamp", Value::Null),
        ("hash: null", "hash", Value::Null),
    ];
    let of_results = of_results.map(|(name, method, value)| (name, of(method, value)));
    let of_members = of_members.map(|(name, member, value)| {
        let answer = edited(move |call, answer| {
            if call["method"] == "eth_getBlockByNumber" && answer["result"].is_object() {
                answer["result"][member] = value.clone();
            }
        });
        (name, answer)
    });
    let variants = of_results.into_iter().chain(of_members);
    assert_no_payment_stops(PRICE_FORGOTTEN, variants.collect());
}

#[test]
fn a_first_node_with_false_call_results_refuses_no_payment() {
    let word = |digit: &str| json!(format!("0x{digit:0>64}"));
    let exceeds = json!({"code": 3, "message": "execution reverted: ERC20: transfer amount exceeds balance"});
    let variants: Vec<(&str, Answer)> = vec![
        ("every call: 1", of("eth_call", word("1"))),
        ("every call: 0", of("eth_call", word("0"))),
        (
            "every call exceeds a balance",
            edited(move |call, answer| {
                if call["method"] == "eth_call" || call["method"] == "eth_estimateGas" {
                    *answer = failure(call, &exceeds);
                }
            }),
        ),
        (
            "every balance: 0",
            edited(move |call, answer| {
                let data = call["params"][0]["data"].as_str().unwrap_or_default();
                // balanceOf(address)
                if call["method"] == "eth_call" && data.starts_with("0x70a08231") {
                    *answer = result(call, &word("0"));
                }
            }),
        ),
        ("every account has code", of("eth_getCode", json!("0x6001"))),
    ];
    assert_no_payment_stops(POLLED, variants);
}

#[test]
fn a_first_node_whose_estimates_are_too_low_fails_no_payment() {
    let pair = Pair::start_with(2, super::ANY_CLOCK, "settle_wait_seconds = 8");
    let mut report = Report::default();
    report.add("before", &pair.serve());
    for round in ["first", "second"] {
        pair.first.result("eth_estimateGas", json!("0x7530"));
        report.add(&format!("{round} payment"), &pair.serve());
    }
    report.add("all payments", &pair.check_earned());
    report.end();
}

#[test]
fn after_one_absurd_estimate_the_next_payments_are_served() {
    let pair = Pair::start_with(2, super::ANY_CLOCK, "settle_wait_seconds = 8");
    let mut report = Report::default();
    report.add("before", &pair.serve());
    pair.first.result("eth_estimateGas", json!("0x1"));
    let body = pair.payment().v2();
    let reply = pair.facilitator.settle(&body);
    pair.heal();
    report.add("the next payment", &pair.serve());
    let settled = pair.settle_until(&body, HEALED);
    if !settled.is_made() {
        let complaint = format!("{}, then {:?}", short(&reply), settled.seen);
        report.add("the payment itself", &[complaint]);
    }
    report.end();
    assert_eq!(pair.transfers(), 3);
}

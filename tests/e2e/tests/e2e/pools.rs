//! Networks with two nodes, of which one answers nonsense, serves another chain, or does not keep what it takes.

use std::time::Duration;

use devnet::{Devnet, Options, USDC};
use e2e::payment::PRICE;
use e2e::{Blocks, Facilitator, Fault, Lags, Payment, Proxy, Settings, View, wait};
use serde_json::{Value, json};

const SEND: &str = "eth_sendRawTransaction";

struct Pool {
    facilitator: Facilitator,
    first: Proxy,
    second: Proxy,
    chain: Devnet,
}

fn proxies(chain: &Devnet) -> (Proxy, Proxy) {
    let proxy = || Proxy::start(chain.url()).expect("the proxy starts");
    (proxy(), proxy())
}

fn settings(chain: &Devnet, first: &Proxy, second: &Proxy) -> Settings {
    Settings {
        rpc: vec![first.url(), second.url()],
        ..Settings::new("", &chain.facilitators[..1])
    }
}

impl Pool {
    fn start() -> Pool {
        let chain = Devnet::start(Options::default()).expect("the chain starts");
        let (first, second) = proxies(&chain);
        let facilitator = Facilitator::start(&settings(&chain, &first, &second)).expect("it starts");
        Pool {
            facilitator,
            first,
            second,
            chain,
        }
    }

    fn payment(&self, buyer: usize) -> Value {
        Payment::new(&self.chain.buyers[buyer], &self.chain.merchant.address).v2()
    }

    fn earned(&self) -> u128 {
        let earned = self.chain.balance_of(USDC, &self.chain.merchant.address);
        earned.expect("the node answers")
    }
}

/// A chain with the same addresses on it and another id.
fn elsewhere() -> Devnet {
    let chain = Devnet::of_chain(8453).expect("the other chain starts");
    chain.mine(300).expect("mines");
    chain
}

#[test]
fn t165_whatever_the_first_node_answers_a_healthy_second_one_serves_all_callers() {
    let pool = Pool::start();
    let error = |code: i64, message: &str| Fault::Reject(json!({"code": code, "message": message}));
    let faults = [
        error(-32601, "the method does not exist/is not available"),
        error(-32000, "Unauthorized"),
        error(-32603, "internal error"),
        error(-32051, "no backend is left"),
        Fault::Status(400),
        Fault::Status(402),
        Fault::Status(403),
    ];
    let count = u128::try_from(faults.len()).expect("few");
    for (at, fault) in faults.into_iter().enumerate() {
        pool.first.on("*", fault.clone());
        let body = pool.payment(2 + at % 4);
        pool.facilitator.verify(&body).valid();
        let _ = pool.facilitator.settle(&body).paid();
        assert_eq!(pool.facilitator.get("/ready").status, 200, "{fault:?}");
        pool.first.heal();
        pool.facilitator.wait_ready().expect("both are healthy");
    }
    assert_eq!(pool.earned(), count * PRICE);
}

#[test]
fn t165_an_answer_without_its_methods_shape_is_no_answer_while_another_node_gives_one() {
    let pool = Pool::start();
    let nonsense = [
        ("eth_estimateGas", Value::Null),
        ("eth_estimateGas", json!("0x0")),
        ("eth_estimateGas", json!("0x8000000000000000")),
        ("eth_call", Value::Null),
        ("eth_call", json!({})),
        (
            "eth_feeHistory",
            json!({"oldestBlock": "0x1", "baseFeePerGas": [null]}),
        ),
        (
            "eth_feeHistory",
            json!({"oldestBlock": "0x1", "baseFeePerGas": ["0xffffffffffffffffffffff"]}),
        ),
    ];
    let count = u128::try_from(nonsense.len()).expect("few");
    for (at, (method, result)) in nonsense.into_iter().enumerate() {
        pool.first.on(method, Fault::Answer(result.clone()));
        // Longer than a price is remembered.
        std::thread::sleep(Duration::from_millis(2_100));
        let body = pool.payment(2 + at % 4);
        pool.facilitator.verify(&body).valid();
        let reply = pool.facilitator.settle(&body);
        assert!(reply.is_success(), "{method} {result}: {reply:?}");
        pool.first.heal();
        pool.facilitator.wait_ready().expect("both are healthy");
    }
    assert_eq!(pool.earned(), count * PRICE);
}

#[test]
fn t43_a_second_node_of_another_chain_does_not_take_over() {
    let other = elsewhere();
    let pool = Pool::start();
    let _ = pool.facilitator.settle(&pool.payment(2)).paid();
    pool.second.point_at(other.url());
    // Longer than what a node has shown counts as new.
    std::thread::sleep(Duration::from_secs(3));
    pool.first.on("*", Fault::Refuse);
    let body = pool.payment(3);
    for _ in 0..3 {
        let reply = pool.facilitator.verify(&body);
        assert_eq!(reply.failed("unexpected_verify_error"), "");
        let reply = pool.facilitator.settle(&body);
        assert!(!reply.is_success(), "{reply:?}");
        assert_eq!(reply.field("transaction"), "");
    }
    let ready = wait::until("a network that names the other chain", wait::LONG, || {
        let ready = pool.facilitator.get("/ready");
        (ready.status == 503 && ready.text.contains("8453")).then_some(ready.text)
    });
    assert!(ready.contains("(node 2) is not used"), "{ready}");
    let signer = &pool.chain.facilitators[0].address;
    assert_eq!(other.pending_count(signer).expect("the node answers"), 0);
    pool.first.heal();
    pool.facilitator
        .wait_ready()
        .expect("it recovers, with the second as it is");
    let _ = pool.facilitator.settle(&body).paid();
    assert_eq!(other.pending_count(signer).expect("the node answers"), 0);
    assert_eq!(pool.earned(), 2 * PRICE);
}

#[test]
fn t43_a_first_node_of_another_chain_at_the_start_leaves_the_work_to_the_second() {
    let other = elsewhere();
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let (first, second) = proxies(&chain);
    first.point_at(other.url());
    let facilitator = Facilitator::start(&settings(&chain, &first, &second)).expect("it is ready");
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address).v2();
    facilitator.verify(&body).valid();
    let _ = facilitator.settle(&body).paid();
    assert_eq!((first.calls_of(SEND), second.calls_of(SEND)), (0, 1));
    first.point_at(chain.url());
    second.on("*", Fault::Refuse);
    let body = Payment::new(&chain.buyers[3], &chain.merchant.address).v2();
    wait::until("the first node to be used", wait::LONG, || {
        facilitator.settle(&body).is_success().then_some(())
    });
    assert_eq!(first.calls_of(SEND), 1);
}

#[test]
fn t163_a_first_node_that_accepts_and_drops_transactions_does_not_get_all_resends() {
    let pool = Pool::start();
    let hash = format!("0x{}", "ab".repeat(32));
    pool.first.on(SEND, Fault::Swallow(json!(hash)));
    for buyer in [2, 3] {
        let body = pool.payment(buyer);
        wait::until("success", wait::LONG, || {
            let reply = pool.facilitator.settle(&body);
            if reply.is_success() {
                return Some(());
            }
            let _ = reply.pending();
            None
        });
    }
    assert!(pool.first.calls_of(SEND) >= 1);
    assert!((1..=4).contains(&pool.second.calls_of(SEND)));
    assert_eq!(pool.earned(), 2 * PRICE);
}

#[test]
fn t164_a_payer_funded_a_moment_ago_pays_through_a_first_node_that_lags_three_blocks() {
    let pool = Pool::start();
    // As a whole, and with the newest head but calls and balances of three blocks ago.
    let lags = [
        Lags::all(3),
        Lags {
            state: 3,
            ..Lags::default()
        },
    ];
    for (buyer, lags) in (2..).zip(lags) {
        let payer = &pool.chain.buyers[buyer].address;
        let has = pool.chain.balance_of(USDC, payer).expect("the node answers");
        pool.chain.set_wei(payer, 1 << 60).expect("gas");
        let away = format!("0xa9059cbb{:0>64}{has:064x}", "dead");
        pool.chain.send(payer, USDC, &away).expect("emptied");
        pool.chain.mine(5).expect("mines");
        pool.first.set_view(View::lagging(lags));
        pool.facilitator.wait_ready().expect("one node is healthy");
        let body = pool.payment(buyer);
        let unfunded = pool.facilitator.verify(&body);
        assert_eq!(unfunded.json["isValid"], json!(false), "{unfunded:?}");
        pool.chain.mint(USDC, payer, PRICE).expect("funded");
        pool.chain.mine(1).expect("mines");
        pool.facilitator.verify(&body).valid();
        // The first node shows the receipt once there are blocks above it.
        let blocks = Blocks::every(&pool.chain, Duration::from_millis(300));
        let _ = pool.facilitator.settle(&body).paid();
        drop(blocks);
        pool.first.heal();
    }
    assert_eq!(pool.earned(), 2 * PRICE);
    assert!(pool.first.calls_of("eth_call") > 0, "it was queried");
}

#[test]
fn t161_a_first_node_whose_head_is_old_leaves_the_work_to_the_second() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let (first, second) = proxies(&chain);
    let block = json!({
        "number": "0x0", "hash": format!("0x{}", "11".repeat(32)), "timestamp": "0x1", "baseFeePerGas": "0x7",
    });
    first.on("eth_getBlockByNumber", Fault::Answer(block));
    let settings = Settings {
        network: "options = { max_clock_skew_s = 0, max_head_age_s = 3600 }".to_owned(),
        ..settings(&chain, &first, &second)
    };
    let facilitator = Facilitator::start(&settings).expect("it is ready");
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address).v2();
    facilitator.verify(&body).valid();
    let _ = facilitator.settle(&body).paid();
    assert_eq!((first.calls_of(SEND), second.calls_of(SEND)), (0, 1));
}

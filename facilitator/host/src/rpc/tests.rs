//! The pools against real HTTP servers on the loopback interface.

use axum::http::StatusCode as Status;
use axum::response::IntoResponse;
use parking_lot::Mutex;
use sdk_plugin::host::{RpcResult, SendEncoding};
use sdk_plugin::{FaultKind, HexBytes, Value};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fake_node::{FakeNode, SECRET, closed_port, reply, url};
use super::*;

pub(super) const NETWORK: &str = "eip155:84532";

pub(super) fn network(urls: Vec<SecretUrl>) -> RpcNetwork {
    RpcNetwork {
        timeout: Duration::from_millis(300),
        deadline: Duration::from_secs(5),
        max_answer_bytes: 12 << 20,
        ..RpcNetwork::new(NETWORK, urls)
    }
}

pub(super) fn pools(nodes: &[&FakeNode]) -> RpcPools {
    of_urls(nodes.iter().map(|node| node.url.clone()).collect())
}

pub(super) fn of_urls(urls: Vec<SecretUrl>) -> RpcPools {
    RpcPools::new(vec![network(urls)], Arc::new(())).unwrap()
}

pub(super) fn calls(methods: &[&str]) -> Vec<RpcCall> {
    methods
        .iter()
        .map(|method| RpcCall {
            method: (*method).into(),
            params: json!([]),
        })
        .collect()
}

pub(super) fn list() -> MethodList {
    ["a", "b", "c"].into_iter().collect()
}

pub(super) async fn read(pools: &RpcPools, methods: &[&str]) -> Result<Vec<RpcResult>, Fault> {
    pools
        .read(NETWORK, &calls(methods), &list(), Traffic::Intake)
        .await
}

pub(super) async fn send(pools: &RpcPools) -> Result<Vec<RpcResult>, Fault> {
    let request = SendRequest {
        method: "a",
        params: &json!(["$bytes", {"x": 1}]),
        bytes: &HexBytes(vec![1, 2, 255]),
        encoding: SendEncoding::Hex,
    };
    pools.send(NETWORK, request, &list()).await
}

pub(super) fn ok(value: &str) -> RpcResult {
    RpcResult::Ok(json!(value))
}

#[tokio::test]
async fn a_batch_is_one_round_trip_and_its_order_is_restored() {
    let node = FakeNode::new(|body| {
        let mut answers: Vec<Value> = body
            .as_array()
            .unwrap()
            .iter()
            .map(|call| json!({"jsonrpc": "2.0", "id": call["id"], "result": call["method"]}))
            .collect();
        answers.reverse();
        Value::from(answers).to_string().into_response()
    })
    .await;
    let pools = pools(&[&node]);
    assert_eq!(
        read(&pools, &["c", "a", "b"]).await,
        Ok(vec![ok("c"), ok("a"), ok("b")])
    );
    assert_eq!(pools.round_trips(NETWORK), 1);
    assert_eq!(node.request_count(), 1);
    assert_eq!(read(&pools, &[]).await, Ok(vec![]));
    assert_eq!(pools.round_trips(NETWORK), 1, "no calls, no request");
}

#[tokio::test]
async fn a_denied_method_inside_a_batch_stops_all_of_it() {
    let node = FakeNode::echo().await;
    let pools = pools(&[&node]);
    for methods in [&["a", "b", "secret_sign"][..], &["secret_sign"], &["A"], &["a "]] {
        assert_eq!(read(&pools, methods).await.unwrap_err().kind, FaultKind::Denied);
    }
    assert_eq!(node.request_count(), 0);
}

#[tokio::test]
async fn t13_every_failure_is_covered_by_the_next_url() {
    let good = FakeNode::echo().await;
    let bad = [
        FakeNode::status(Status::TOO_MANY_REQUESTS).await,
        FakeNode::status(Status::BAD_GATEWAY).await,
        FakeNode::status(Status::UNAUTHORIZED).await,
        FakeNode::status(Status::FOUND).await,
        FakeNode::hanging().await,
        FakeNode::new(|_| "<html>welcome</html>".into_response()).await,
        FakeNode::new(|_| vec![0xff; 100].into_response()).await,
        FakeNode::new(|_| {
            json!({"id": null, "error": {"code": -32600, "message": "no"}})
                .to_string()
                .into_response()
        })
        .await,
        FakeNode::new(|body| {
            json!([{"id": body[0]["id"], "result": "a"}])
                .to_string()
                .into_response()
        })
        .await,
        FakeNode::new(|_| vec![b' '; 13 << 20].into_response()).await,
        FakeNode::error(-32005, "limit exceeded").await,
        FakeNode::error(-32000, "header not found").await,
    ];
    for node in &bad {
        let pools = pools(&[node, &good]);
        assert_eq!(read(&pools, &["a", "b"]).await, Ok(vec![ok("a"), ok("b")]));
        // A node that may only refuse batches also gets one of the calls alone.
        assert!((2..=3).contains(&pools.round_trips(NETWORK)));
        assert!(node.request_count() < 3);
    }
    assert_eq!(
        read(&of_urls(vec![closed_port().await, good.url.clone()]), &["a"]).await,
        Ok(vec![ok("a")])
    );
}

#[tokio::test]
async fn t13_t16_an_outage_is_a_fault_that_names_hosts_and_no_keys() {
    let bad = [
        FakeNode::status(Status::INTERNAL_SERVER_ERROR).await,
        FakeNode::hanging().await,
        FakeNode::error(-32005, SECRET).await,
        FakeNode::new(|_| SECRET.into_response()).await,
    ];
    let mut urls: Vec<SecretUrl> = bad.iter().map(|node| node.url.clone()).collect();
    urls.push(closed_port().await);
    let pools = of_urls(urls);
    let fault = read(&pools, &["a", "b"]).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert_eq!(fault.message.matches("127.0.0.1 ").count(), 5, "{fault}");
    for part in [
        "HTTP 500",
        "in time",
        "-32005",
        "JSON-RPC",
        "could not be reached",
        NETWORK,
    ] {
        assert!(fault.message.contains(part), "{part}: {fault}");
    }
    for shown in [
        fault.to_string(),
        format!("{fault:?} {pools:?}"),
        format!("{:?}", network(vec![bad[0].url.clone()])),
    ] {
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains("127.0.0.1"), "{shown}");
    }
}

#[tokio::test]
async fn t16_a_node_that_echoes_its_key_is_not_repeated() {
    let node = FakeNode::new(|body| {
        reply(&body, |_| {
            json!({"error": {"code": -32602, "message": format!("bad params at /{SECRET}"), "data": [SECRET]}})
        })
    })
    .await;
    let answers = read(&pools(&[&node]), &["a"]).await.unwrap();
    let [RpcResult::Error(error)] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!(error.message, "bad params at /[redacted]");
    assert_eq!(error.data, json!(["[redacted]"]));
}

#[tokio::test]
async fn an_https_url_is_never_used_without_tls() {
    let node = FakeNode::echo().await;
    let port = node.url.uri().port_u16().unwrap();
    let tls = SecretUrl::parse(&format!("https://127.0.0.1:{port}/{SECRET}")).unwrap();
    let fault = read(&of_urls(vec![tls]), &["a"]).await.unwrap_err();
    assert!(fault.message.contains("could not be reached"), "{fault}");
    assert!(!fault.message.contains(SECRET), "{fault}");
    assert_eq!(node.request_count(), 0);
}

#[tokio::test]
async fn an_execution_error_is_an_answer() {
    let node = FakeNode::error(3, "execution reverted").await;
    let second = FakeNode::echo().await;
    let answers = read(&pools(&[&node, &second]), &["a"]).await.unwrap();
    assert!(matches!(&answers[..], [RpcResult::Error(error)] if error.code == 3));
    assert_eq!(second.request_count(), 0);
}

#[tokio::test]
async fn t166_a_refused_range_is_tried_at_the_next_node_and_keeps_its_text() {
    let text = "exceed maximum block range: 10";
    let refusing = || FakeNode::error(-32005, "exceed maximum block range: 10");
    let (first, second, good) = (refusing().await, refusing().await, FakeNode::echo().await);
    let error = RpcResult::Error(sdk_plugin::host::RpcError {
        code: -32005,
        message: text.into(),
        data: Value::Null,
    });
    let all_refuse = pools(&[&first, &second]);
    assert_eq!(read(&all_refuse, &["a"]).await, Ok(vec![error]));
    assert_eq!((first.request_count(), second.request_count()), (1, 1));
    let troubles = all_refuse.nodes(NETWORK);
    assert!(troubles.iter().all(|node| node.trouble.is_none()), "{troubles:?}");
    let one_serves = pools(&[&first, &good]);
    assert_eq!(read(&one_serves, &["a"]).await, Ok(vec![ok("a")]));
}

#[tokio::test]
async fn an_answer_of_ten_megabytes_is_read() {
    let big = "x".repeat(10 << 20);
    let answer = big.clone();
    let node = FakeNode::new(move |body| reply(&body, |_| json!({"result": answer}))).await;
    let network = RpcNetwork {
        timeout: Duration::from_secs(60),
        deadline: Duration::from_secs(60),
        ..network(vec![node.url.clone()])
    };
    let pools = RpcPools::new(vec![network], Arc::new(())).unwrap();
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![RpcResult::Ok(json!(big))]));
}

#[tokio::test]
async fn a_failed_node_backs_off_and_an_only_node_is_tried_all_the_same() {
    let bad = FakeNode::status(Status::UNAUTHORIZED).await;
    let good = FakeNode::echo().await;
    let both = pools(&[&bad, &good]);
    for _ in 0..3 {
        assert!(read(&both, &["a"]).await.is_ok());
    }
    assert_eq!((bad.request_count(), good.request_count()), (1, 3));
    let lone = pools(&[&bad]);
    for _ in 0..3 {
        assert!(read(&lone, &["a"]).await.is_err());
    }
    assert_eq!(bad.request_count(), 4);
}

#[tokio::test]
async fn a_comparison_needs_two_nodes_unless_only_one_is_configured() {
    let named = |name: &'static str| FakeNode::new(move |body| reply(&body, |_| json!({"result": name})));
    let (first, second, third) = (named("1").await, named("2").await, named("3").await);
    let broken = FakeNode::status(Status::BAD_GATEWAY).await;
    let compare = async |nodes: &[&FakeNode]| {
        let pools = pools(nodes);
        let calls = calls(&["a", "b"]);
        pools.compare(NETWORK, &calls, &list(), Traffic::Engine).await
    };
    let both = |one: &str, other: &str| Ok(vec![ok(one), ok(one), ok(other), ok(other)]);
    assert_eq!(compare(&[&first, &second, &third]).await, both("1", "2"));
    assert_eq!(third.request_count(), 0);
    assert_eq!(compare(&[&first, &broken, &third]).await, both("1", "3"));
    assert_eq!(compare(&[&first]).await, Ok(vec![ok("1"), ok("1")]));
    let fault = compare(&[&first, &broken]).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.message.starts_with("only 1 of 2 nodes"), "{fault}");
}

#[tokio::test]
async fn a_full_queue_refuses_and_leaves_the_engine_its_own_queue() {
    let arrived = Arc::new(Notify::new());
    let notify = Arc::clone(&arrived);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = url(&listener);
    let server = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
            notify.notify_one();
        }
    });
    let network = RpcNetwork {
        timeout: Duration::from_secs(60),
        deadline: Duration::from_secs(60),
        max_concurrent: 1,
        max_queued: 0,
        ..RpcNetwork::new(NETWORK, vec![hanging])
    };
    let pools = Arc::new(RpcPools::new(vec![network], Arc::new(())).unwrap());
    let flood = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { read(&pools, &["a"]).await }
    });
    arrived.notified().await;
    assert_eq!(
        read(&pools, &["a"]).await.unwrap_err().kind,
        FaultKind::Overloaded
    );
    let engine = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { send(&pools).await }
    });
    arrived.notified().await;
    assert_eq!(
        pools.round_trips(NETWORK),
        2,
        "the send went out beside the flood"
    );
    flood.abort();
    engine.abort();
    server.abort();
}

#[tokio::test]
async fn a_send_puts_the_bytes_in_and_stops_at_the_first_acceptance() {
    let no = FakeNode::error(-32000, "nonce too low").await;
    let yes = FakeNode::echo().await;
    let never = FakeNode::echo().await;
    let answers = send(&pools(&[&no, &yes, &never])).await.unwrap();
    assert!(matches!(&answers[..], [RpcResult::Error(error), RpcResult::Ok(_)] if error.code == -32000));
    for node in [&no, &yes] {
        let requests = node.requests.lock();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0]["params"], json!(["0x0102ff", {"x": 1}]));
    }
    assert_eq!(never.request_count(), 0);
}

#[tokio::test]
async fn law4_a_send_that_may_have_arrived_is_indeterminate() {
    for (node, kind) in [
        (FakeNode::hanging().await, FaultKind::Indeterminate),
        (
            FakeNode::status(Status::BAD_GATEWAY).await,
            FaultKind::Indeterminate,
        ),
        (
            FakeNode::new(|_| "ok".into_response()).await,
            FaultKind::Indeterminate,
        ),
        (
            FakeNode::status(Status::TOO_MANY_REQUESTS).await,
            FaultKind::Unavailable,
        ),
    ] {
        assert_eq!(send(&pools(&[&node])).await.unwrap_err().kind, kind);
    }
    assert_eq!(
        send(&of_urls(vec![closed_port().await])).await.unwrap_err().kind,
        FaultKind::Unavailable
    );
    let hanging = FakeNode::hanging().await;
    let pools = of_urls(vec![hanging.url.clone(), closed_port().await]);
    assert_eq!(send(&pools).await.unwrap_err().kind, FaultKind::Indeterminate);
}

#[tokio::test]
async fn a_send_goes_to_the_second_node_only_when_the_first_did_not_answer() {
    let hanging = FakeNode::hanging().await;
    let received_at = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&received_at);
    let good = FakeNode::new(move |body| {
        *seen.lock() = Some(Instant::now());
        reply(&body, |call| json!({"result": call["method"]}))
    })
    .await;
    let began = Instant::now();
    assert_eq!(send(&pools(&[&hanging, &good])).await, Ok(vec![ok("a")]));
    let waited = received_at.lock().unwrap() - began;
    assert!(waited >= Duration::from_millis(300), "raced after {waited:?}");
}

#[tokio::test]
async fn law3_params_without_exactly_one_placeholder_are_refused() {
    let node = FakeNode::echo().await;
    let pools = pools(&[&node]);
    let bytes = HexBytes(vec![1]);
    for params in [
        json!([]),
        json!(["0x01"]),
        json!(["$bytes", "$bytes"]),
        json!(["$bytes", {"x": ["$bytes"]}]),
        json!({"$bytes": 1}),
        json!(["0x$bytes"]),
        json!(["$bytes", {"$bytes": "$bytes"}]),
    ] {
        let request = SendRequest {
            method: "a",
            params: &params,
            bytes: &bytes,
            encoding: SendEncoding::Base64,
        };
        let fault = pools.send(NETWORK, request, &list()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{params}");
        let unlisted = SendRequest {
            method: "z",
            ..request
        };
        assert_eq!(
            pools.send(NETWORK, unlisted, &list()).await.unwrap_err().kind,
            FaultKind::Denied
        );
    }
    assert_eq!(node.request_count(), 0);
}

#[tokio::test]
async fn bytes_are_sent_in_base64_where_requested() {
    let node = FakeNode::echo().await;
    let request = SendRequest {
        method: "a",
        params: &json!({"deep": [{"x": "$bytes"}]}),
        bytes: &HexBytes(vec![1, 2, 255]),
        encoding: SendEncoding::Base64,
    };
    pools(&[&node]).send(NETWORK, request, &list()).await.unwrap();
    assert_eq!(
        node.requests.lock()[0]["params"],
        json!({"deep": [{"x": "AQL/"}]})
    );
}

#[test]
fn an_invalid_network_is_refused_with_the_reason() {
    let url = SecretUrl::parse("http://localhost").unwrap();
    let good = RpcNetwork::new(NETWORK, vec![url]);
    for (networks, part) in [
        (vec![RpcNetwork::new(NETWORK, vec![])], "no RPC URL"),
        (vec![good.clone(), good.clone()], "twice"),
        (
            vec![RpcNetwork {
                max_concurrent: 0,
                ..good.clone()
            }],
            "1 or more",
        ),
        (
            vec![RpcNetwork {
                timeout: Duration::ZERO,
                ..good.clone()
            }],
            "longer than 0",
        ),
    ] {
        let error = RpcPools::new(networks, Arc::new(())).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(NETWORK));
    }
}

#[tokio::test]
async fn an_unknown_network_is_unsupported() {
    let pools = of_urls(vec![closed_port().await]);
    let fault = pools
        .read("eip155:1", &calls(&["a"]), &list(), Traffic::Intake)
        .await;
    assert_eq!(fault.unwrap_err().kind, FaultKind::Unsupported);
}

#[tokio::test]
async fn t14_a_read_of_one_node_is_answered_by_no_other() {
    let first = FakeNode::new(|body| reply(&body, |_| json!({ "result": "first" }))).await;
    let second = FakeNode::new(|body| reply(&body, |_| json!({ "result": "second" }))).await;
    let pools = of_urls(vec![first.url.clone(), second.url.clone(), closed_port().await]);
    let from = async |node| {
        pools
            .read_from(NETWORK, Some(node), &calls(&["a"]), &list(), Traffic::Engine)
            .await
    };
    for _ in 0..2 {
        assert_eq!(from(1).await, Ok(vec![ok("second")]));
        assert_eq!(from(0).await, Ok(vec![ok("first")]));
    }
    for absent in [2, 3] {
        assert_eq!(from(absent).await.unwrap_err().kind, FaultKind::Unavailable);
    }
    assert_eq!((first.request_count(), second.request_count()), (2, 2));
}

#[tokio::test]
async fn t14_a_failed_node_backs_off_also_for_reads_of_that_node() {
    let failing = FakeNode::status(Status::UNAUTHORIZED).await;
    let pools = of_urls(vec![failing.url.clone(), closed_port().await]);
    for _ in 0..3 {
        let read = pools
            .read_from(NETWORK, Some(0), &calls(&["a"]), &list(), Traffic::Engine)
            .await;
        assert_eq!(read.unwrap_err().kind, FaultKind::Unavailable);
    }
    assert_eq!(failing.request_count(), 1);
}

#[tokio::test]
async fn a_node_that_gets_too_many_calls_comes_after_another_one() {
    let refuses = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = Arc::clone(&refuses);
    let first = FakeNode::new(move |body| {
        if flag.swap(false, std::sync::atomic::Ordering::SeqCst) {
            Status::TOO_MANY_REQUESTS.into_response()
        } else {
            reply(&body, |call| json!({"result": call["method"]}))
        }
    })
    .await;
    let second = FakeNode::echo().await;
    let pools = of_urls(vec![
        first.url.clone().named("one".to_owned()),
        second.url.clone().named("two".to_owned()),
    ]);
    let labels: Vec<String> = pools.nodes(NETWORK).into_iter().map(|node| node.host).collect();
    assert_eq!(labels, ["one", "two"]);
    let pool = pools.pool(NETWORK).unwrap();
    let node = &pool.nodes()[0];
    // As if they were sent in this second, however slow the machine is.
    node.record_sent(100, Instant::now() + Duration::from_secs(60));
    refuses.store(true, std::sync::atomic::Ordering::SeqCst);
    read(&pools, &["a"]).await.unwrap();
    // Its back-off is over, and it may be tried again: but not with more calls than it takes.
    node.record_success(Instant::now());
    assert!(!node.wait_of(1, Instant::now()).is_zero());
    let before = second.request_count();
    read(&pools, &["a"]).await.unwrap();
    assert_eq!(second.request_count(), before + 1);
}

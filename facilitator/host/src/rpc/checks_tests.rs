//! Nodes that return errors of their own, serve the wrong chain, or drop what they accept: which node is used instead.

use axum::http::StatusCode as Status;
use axum::response::IntoResponse;
use sdk_plugin::host::RpcResult;
use sdk_plugin::{FaultKind, Value};
use serde_json::json;

use super::fake_node::{FakeNode, reply};
use super::outage_tests::{Exchanges, advance};
use super::tests::{NETWORK, calls, list, network, ok, pools, read, send};
use super::*;

/// Answers one method with this error, and the others with a result.
async fn without(method: &'static str, code: i64, text: &'static str) -> FakeNode {
    FakeNode::new(move |body| {
        reply(&body, |call| {
            if call["method"] == method {
                json!({"error": {"code": code, "message": text}})
            } else {
                json!({"result": "partial"})
            }
        })
    })
    .await
}

#[tokio::test]
async fn t165_every_error_but_an_execution_error_is_tried_at_the_next_node() {
    let good = FakeNode::echo().await;
    for (code, text) in [
        (-32601, "the method a does not exist/is not available"),
        (-32000, "Unauthorized"),
        (-32603, "internal error"),
        (-32051, "no backend is left"),
        (-32600, "up to a 10 block range"),
        (-32602, "invalid argument 1"),
        (-32002, "request timed out"),
    ] {
        let first = FakeNode::error(code, text).await;
        assert_eq!(
            read(&pools(&[&first, &good]), &["a", "b"]).await,
            Ok(vec![ok("a"), ok("b")]),
            "{code} {text}"
        );
        // Where no node does better, the plugin gets the error.
        let second = FakeNode::error(code, text).await;
        for nodes in [vec![&first], vec![&first, &second]] {
            let answers = read(&pools(&nodes), &["a"]).await.unwrap();
            assert!(matches!(&answers[..], [RpcResult::Error(error)] if error.code == code));
        }
    }
}

#[tokio::test]
async fn the_results_with_the_fewest_uncertain_errors_count_and_come_from_one_node() {
    let worse = FakeNode::error(-32000, "Unauthorized").await;
    let better = without("b", -32601, "no b").await;
    let away = FakeNode::status(Status::BAD_GATEWAY).await;
    let answers = read(&pools(&[&worse, &better, &away]), &["a", "b"])
        .await
        .unwrap();
    assert!(matches!(&answers[..], [RpcResult::Ok(value), RpcResult::Error(_)] if value == "partial"));
}

#[tokio::test]
async fn a_node_without_a_method_is_tried_last_for_it_and_first_for_others() {
    let first = without("b", -32601, "the method b does not exist").await;
    let second = FakeNode::echo().await;
    let pools = pools(&[&first, &second]);
    for _ in 0..5 {
        assert_eq!(read(&pools, &["b"]).await, Ok(vec![ok("b")]));
    }
    assert_eq!(first.request_count(), 1);
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("partial")]));
}

#[tokio::test]
async fn a_node_that_refuses_batches_gets_single_calls() {
    let refusing = |refusal: fn() -> axum::response::Response| {
        FakeNode::new(move |body| match body {
            Value::Array(_) => refusal(),
            body => reply(&body, |call| json!({"result": call["method"]})),
        })
    };
    let refusals: [fn() -> axum::response::Response; 3] = [
        || {
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "batches are not supported"}})
                .to_string()
                .into_response()
        },
        || (Status::BAD_REQUEST, "batches are not supported").into_response(),
        || (Status::PAYLOAD_TOO_LARGE, "too many").into_response(),
    ];
    for refusal in refusals {
        let node = refusing(refusal).await;
        let pools = pools(&[&node]);
        for _ in 0..2 {
            assert_eq!(
                read(&pools, &["a", "b", "c"]).await,
                Ok(vec![ok("a"), ok("b"), ok("c")])
            );
        }
        assert_eq!(node.request_count(), 1 + 3 + 3, "the batch is not retried");
    }
}

#[tokio::test]
async fn t163_repeated_sends_start_at_another_node_each_time() {
    let nodes = [
        FakeNode::echo().await,
        FakeNode::echo().await,
        FakeNode::echo().await,
    ];
    let pools = pools(&[&nodes[0], &nodes[1], &nodes[2]]);
    for turn in 1..=6 {
        assert_eq!(send(&pools).await, Ok(vec![ok("a")]));
        let counts = nodes.each_ref().map(FakeNode::request_count);
        assert_eq!(
            counts.iter().sum::<usize>(),
            turn,
            "one node accepts, no other is tried"
        );
    }
    assert_eq!(nodes.each_ref().map(FakeNode::request_count), [2, 2, 2]);
}

#[tokio::test]
async fn only_accepted_nodes_are_used_and_a_failure_ends_that() {
    let first = FakeNode::echo().await;
    let second = FakeNode::echo().await;
    let pools = Arc::new(pools(&[&first, &second]));
    pools.begin_checks(NETWORK);
    pools.record_check(NETWORK, 0, Some("it serves chain id 1"));
    pools.record_check(NETWORK, 1, None);
    for _ in 0..3 {
        assert!(read(&pools, &["a"]).await.is_ok());
        assert!(send(&pools).await.is_ok());
    }
    assert_eq!((first.request_count(), second.request_count()), (0, 6));
    assert_eq!(
        pools
            .nodes(NETWORK)
            .first()
            .and_then(|node| node.trouble.clone())
            .as_deref(),
        Some("is not used: it serves chain id 1")
    );

    // With none, a request waits for a check, which it requests at once.
    pools.record_check(NETWORK, 1, Some("it serves chain id 2"));
    let waiting = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { read(&pools, &["a"]).await }
    });
    pools.check_requested(NETWORK).await;
    // The check itself can read from them.
    let shown = pools
        .read_from(NETWORK, Some(0), &calls(&["a"]), &list(), Traffic::Engine)
        .await;
    assert_eq!(shown, Ok(vec![ok("a")]));
    pools.record_check(NETWORK, 0, None);
    pools.end_checks(NETWORK);
    assert_eq!(waiting.await.unwrap(), Ok(vec![ok("a")]));

    // No node is accepted: the fault has the reasons.
    pools.record_check(NETWORK, 0, Some("it serves chain id 1"));
    let (fault, ()) = tokio::join!(read(&pools, &["a"]), async {
        pools.check_requested(NETWORK).await;
        pools.end_checks(NETWORK);
    });
    let fault = fault.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    for part in [
        "(node 1) is not used: it serves chain id 1",
        "(node 2) is not used",
    ] {
        assert!(fault.message.contains(part), "{fault}");
    }
}

#[tokio::test]
async fn a_failed_node_must_be_checked_again() {
    let is_failing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let failing = Arc::clone(&is_failing);
    let first = FakeNode::new(move |body| {
        if failing.load(Ordering::Acquire) {
            Status::BAD_GATEWAY.into_response()
        } else {
            reply(&body, |_| json!({"result": "first"}))
        }
    })
    .await;
    let second = FakeNode::echo().await;
    let pools = pools(&[&first, &second]);
    pools.begin_checks(NETWORK);
    pools.record_check(NETWORK, 0, None);
    pools.record_check(NETWORK, 1, None);
    advance(Duration::from_secs(3)).await;
    // The second takes over once it was checked again: it may serve anything by now.
    let (answer, ()) = tokio::join!(read(&pools, &["a"]), async {
        pools.check_requested(NETWORK).await;
        assert!(!pools.is_usable(NETWORK, 0) && !pools.is_usable(NETWORK, 1));
        pools.record_check(NETWORK, 1, None);
        pools.end_checks(NETWORK);
    });
    assert_eq!(answer, Ok(vec![ok("a")]));
    is_failing.store(false, Ordering::Release);
    assert_eq!(
        read(&pools, &["a"]).await,
        Ok(vec![ok("a")]),
        "the first was not checked"
    );
    pools.record_check(NETWORK, 0, None);
    assert!(pools.is_usable(NETWORK, 0));
}

/// Lets every future that was woken run until it waits again.
async fn run_others() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// A first node that answers each request that it can't serve now, and a second one that is healthy. Both were accepted some
/// seconds ago.
async fn unhealthy_and_healthy_node() -> ([FakeNode; 2], RpcPools) {
    let nodes = [
        FakeNode::error(-32005, "Node is unhealthy").await,
        FakeNode::echo().await,
    ];
    let pools = pools(&nodes.each_ref());
    pools.begin_checks(NETWORK);
    pools.record_check(NETWORK, 0, None);
    pools.record_check(NETWORK, 1, None);
    pools.end_checks(NETWORK);
    advance(Duration::from_secs(3)).await;
    (nodes, pools)
}

/// The failure makes the check of both nodes due. The one that this request has tried already may be the first to pass.
#[tokio::test]
async fn a_request_waits_for_the_check_of_a_node_that_it_has_not_tried() {
    for accepted_first in [0, 1] {
        let (_nodes, pools) = unhealthy_and_healthy_node().await;
        let (answer, ()) = tokio::join!(read(&pools, &["a"]), async {
            pools.check_requested(NETWORK).await;
            pools.begin_checks(NETWORK);
            pools.record_check(NETWORK, accepted_first, None);
            run_others().await;
            pools.record_check(NETWORK, 1, None);
            pools.end_checks(NETWORK);
        });
        assert_eq!(answer, Ok(vec![ok("a")]), "node {accepted_first} accepted first");
    }
}

/// A check that runs already may have left out the node that has just become due.
#[tokio::test]
async fn a_request_waits_for_a_check_that_began_after_it() {
    let (_nodes, pools) = unhealthy_and_healthy_node().await;
    // The periodic check begins while both nodes are accepted, and has nothing to do.
    pools.begin_checks(NETWORK);
    let (answer, ()) = tokio::join!(read(&pools, &["a"]), async {
        pools.check_requested(NETWORK).await;
        pools.end_checks(NETWORK);
        run_others().await;
        pools.begin_checks(NETWORK);
        pools.record_check(NETWORK, 1, None);
        pools.end_checks(NETWORK);
    });
    assert_eq!(answer, Ok(vec![ok("a")]));
}

#[tokio::test]
async fn a_silent_node_is_left_before_its_timeout_while_there_is_another() {
    let slow = FakeNode::hanging().await;
    let fast = FakeNode::echo().await;
    let limits = RpcNetwork {
        timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
        ..network(vec![slow.url.clone(), fast.url.clone()])
    };
    let (ended, mut exchanges) = tokio::sync::mpsc::unbounded_channel();
    let pools = RpcPools::new(vec![limits], Arc::new(Exchanges(ended))).unwrap();
    let (first, ()) = tokio::join!(read(&pools, &["a"]), async {
        slow.wait_for_connection().await;
        advance(FAILOVER_AFTER).await;
    });
    assert_eq!(first, Ok(vec![ok("a")]));
    assert_eq!(
        exchanges.recv().await,
        Some("ok"),
        "the first exchange was cut off"
    );
    assert_eq!((slow.request_count(), fast.request_count()), (1, 1));
}

#[tokio::test]
async fn nodes_of_one_host_have_different_labels() {
    let nodes = [FakeNode::echo().await, FakeNode::echo().await];
    let pools = pools(&[&nodes[0], &nodes[1]]);
    let hosts: Vec<String> = pools.nodes(NETWORK).into_iter().map(|node| node.host).collect();
    assert_eq!(hosts, ["127.0.0.1 (node 1)", "127.0.0.1 (node 2)"]);
}

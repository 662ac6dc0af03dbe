//! Nodes that answer well-formed nonsense, serve the wrong thing, or take what they do not keep: who is asked instead.

use axum::http::StatusCode as Status;
use axum::response::IntoResponse;
use sdk_plugin::Value;
use serde_json::json;

use super::fake_node::{FakeNode, reply};
use super::tests::{NETWORK, calls, list, network, ok, pools, read, send};
use super::*;

/// Answers one method with this error, and the others well.
async fn without(method: &'static str, code: i64, text: &'static str) -> FakeNode {
    FakeNode::new(move |question| {
        reply(&question, |call| {
            if call["method"] == method {
                json!({"error": {"code": code, "message": text}})
            } else {
                json!({"result": "poor"})
            }
        })
    })
    .await
}

#[tokio::test]
async fn t165_every_error_that_is_not_the_contract_s_is_asked_at_the_next_node() {
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
        // Where nobody knows better, the plugin gets what was said.
        let second = FakeNode::error(code, text).await;
        for nodes in [vec![&first], vec![&first, &second]] {
            let answers = read(&pools(&nodes), &["a"]).await.unwrap();
            assert!(matches!(&answers[..], [RpcResult::Error(error)] if error.code == code));
        }
    }
}

#[tokio::test]
async fn the_answers_with_the_fewest_doubts_count_and_come_from_one_node() {
    let worse = FakeNode::error(-32000, "Unauthorized").await;
    let better = without("b", -32601, "no b").await;
    let away = FakeNode::status(Status::BAD_GATEWAY).await;
    let answers = read(&pools(&[&worse, &better, &away]), &["a", "b"])
        .await
        .unwrap();
    assert!(matches!(&answers[..], [RpcResult::Ok(value), RpcResult::Error(_)] if value == "poor"));
}

#[tokio::test]
async fn a_node_that_does_not_serve_a_method_is_asked_for_it_after_the_others_and_first_for_the_rest() {
    let first = without("b", -32601, "the method b does not exist").await;
    let second = FakeNode::echo().await;
    let pools = pools(&[&first, &second]);
    for _ in 0..5 {
        assert_eq!(read(&pools, &["b"]).await, Ok(vec![ok("b")]));
    }
    assert_eq!(first.times_asked(), 1);
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("poor")]));
}

#[tokio::test]
async fn a_node_that_refuses_batches_is_asked_call_by_call() {
    let refusing = |refusal: fn() -> axum::response::Response| {
        FakeNode::new(move |question| match question {
            Value::Array(_) => refusal(),
            question => reply(&question, |call| json!({"result": call["method"]})),
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
        assert_eq!(node.times_asked(), 1 + 3 + 3, "the batch is not tried again");
    }
}

#[tokio::test]
async fn t163_bytes_that_are_sent_again_begin_at_another_node_each_time() {
    let nodes = [
        FakeNode::echo().await,
        FakeNode::echo().await,
        FakeNode::echo().await,
    ];
    let pools = pools(&[&nodes[0], &nodes[1], &nodes[2]]);
    for turn in 1..=6 {
        assert_eq!(send(&pools).await, Ok(vec![ok("a")]));
        let asked = nodes.each_ref().map(FakeNode::times_asked);
        assert_eq!(
            asked.iter().sum::<usize>(),
            turn,
            "one node accepts, no other is asked"
        );
    }
    assert_eq!(nodes.each_ref().map(FakeNode::times_asked), [2, 2, 2]);
}

#[tokio::test]
async fn only_nodes_that_are_judged_to_be_good_are_asked_and_a_failure_ends_that() {
    let first = FakeNode::echo().await;
    let second = FakeNode::echo().await;
    let pools = Arc::new(pools(&[&first, &second]));
    pools.begin_judging(NETWORK);
    pools.judge(NETWORK, 0, Some("it serves chain id 1"));
    pools.judge(NETWORK, 1, None);
    for _ in 0..3 {
        assert!(read(&pools, &["a"]).await.is_ok());
        assert!(send(&pools).await.is_ok());
    }
    assert_eq!((first.times_asked(), second.times_asked()), (0, 6));
    assert_eq!(
        pools
            .nodes(NETWORK)
            .first()
            .and_then(|node| node.trouble.clone())
            .as_deref(),
        Some("is not used: it serves chain id 1")
    );

    // With none, a request waits for the judgement, which is asked for at once.
    pools.judge(NETWORK, 1, Some("it serves chain id 2"));
    let waiting = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { read(&pools, &["a"]).await }
    });
    pools.judgement_wanted(NETWORK).await;
    // The judge itself can ask them.
    let shown = pools
        .read_from(NETWORK, Some(0), &calls(&["a"]), &list(), Traffic::Engine)
        .await;
    assert_eq!(shown, Ok(vec![ok("a")]));
    pools.judge(NETWORK, 0, None);
    pools.end_judgement(NETWORK);
    assert_eq!(waiting.await.unwrap(), Ok(vec![ok("a")]));

    // Nobody becomes good: the reasons are told.
    pools.judge(NETWORK, 0, Some("it serves chain id 1"));
    let (fault, ()) = tokio::join!(read(&pools, &["a"]), async {
        pools.judgement_wanted(NETWORK).await;
        pools.end_judgement(NETWORK);
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
async fn a_node_that_failed_has_to_show_itself_again() {
    let is_ill = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let ill = Arc::clone(&is_ill);
    let first = FakeNode::new(move |question| {
        if ill.load(Ordering::Acquire) {
            Status::BAD_GATEWAY.into_response()
        } else {
            reply(&question, |_| json!({"result": "first"}))
        }
    })
    .await;
    let second = FakeNode::echo().await;
    let pools = pools(&[&first, &second]);
    pools.begin_judging(NETWORK);
    pools.judge(NETWORK, 0, None);
    pools.judge(NETWORK, 1, None);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::time::resume();
    // The second takes over when it has shown itself again: it may serve anything by now.
    let (answer, ()) = tokio::join!(read(&pools, &["a"]), async {
        pools.judgement_wanted(NETWORK).await;
        assert!(!pools.is_usable(NETWORK, 0) && !pools.is_usable(NETWORK, 1));
        pools.judge(NETWORK, 1, None);
        pools.end_judgement(NETWORK);
    });
    assert_eq!(answer, Ok(vec![ok("a")]));
    is_ill.store(false, Ordering::Release);
    assert_eq!(
        read(&pools, &["a"]).await,
        Ok(vec![ok("a")]),
        "the first has not shown itself"
    );
    pools.judge(NETWORK, 0, None);
    assert!(pools.is_usable(NETWORK, 0));
}

#[tokio::test]
async fn the_fast_node_is_preferred_to_the_first() {
    let slow = FakeNode::hanging().await;
    let fast = FakeNode::echo().await;
    let limits = RpcNetwork {
        timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
        ..network(vec![slow.url.clone(), fast.url.clone()])
    };
    let pools = RpcPools::new(vec![limits], Arc::new(())).unwrap();
    let began = Instant::now();
    tokio::time::pause();
    let first = read(&pools, &["a"]);
    assert_eq!(first.await, Ok(vec![ok("a")]));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nodes_of_one_host_are_told_apart() {
    let nodes = [FakeNode::echo().await, FakeNode::echo().await];
    let pools = pools(&[&nodes[0], &nodes[1]]);
    let hosts: Vec<String> = pools.nodes(NETWORK).into_iter().map(|node| node.host).collect();
    assert_eq!(hosts, ["127.0.0.1 (node 1)", "127.0.0.1 (node 2)"]);
}

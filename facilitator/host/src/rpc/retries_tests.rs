//! Nodes that fail now and then, or leave sends without an answer: what one request does about it.

use axum::http::StatusCode as Status;
use axum::response::IntoResponse;
use sdk_plugin::HexBytes;
use sdk_plugin::host::SendEncoding;
use serde_json::json;
use tokio::time::Instant;

use super::fake_node::{FakeNode, reply};
use super::outage_tests::advance;
use super::tests::{NETWORK, calls, list, network, ok, pools, read, send};
use super::*;

/// Fails each request for whose number, from 0, `is_failing` returns true.
async fn flickering(is_failing: fn(u64) -> bool) -> FakeNode {
    let requests = AtomicU64::new(0);
    FakeNode::new(move |body| {
        if is_failing(requests.fetch_add(1, Ordering::Relaxed)) {
            return (Status::BAD_GATEWAY, "<html>Bad Gateway</html>").into_response();
        }
        reply(&body, |call| json!({"result": call["method"]}))
    })
    .await
}

#[tokio::test]
async fn one_request_retries_a_url_with_failing_machines_a_few_times() {
    let only = flickering(|request| ![2, 4, 7].contains(&(request % 8))).await;
    let pools = pools(&[&only]);
    for _ in 0..5 {
        assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("a")]));
        assert_eq!(send(&pools).await, Ok(vec![ok("a")]));
        let (calls, list) = (calls(&["a"]), list());
        let named = pools.read_from(NETWORK, Some(0), &calls, &list, Traffic::Engine);
        assert_eq!(named.await, Ok(vec![ok("a")]));
    }
    assert_eq!(only.request_count(), 40);
}

#[tokio::test]
async fn two_compared_nodes_stay_two_when_one_is_retried() {
    let first = FakeNode::echo().await;
    let second = flickering(|request| request == 0).await;
    let pools = pools(&[&first, &second]);
    let both = pools
        .compare(NETWORK, &calls(&["a"]), &list(), Traffic::Engine)
        .await;
    assert_eq!(both, Ok(vec![ok("a"), ok("a")]));
    assert_eq!((first.request_count(), second.request_count()), (1, 2));
}

#[tokio::test]
async fn an_outage_and_a_node_that_needs_a_pause_are_not_retried() {
    let down = FakeNode::status(Status::BAD_GATEWAY).await;
    let pools_of_down = pools(&[&down]);
    assert!(read(&pools_of_down, &["a"]).await.is_err());
    assert_eq!(down.request_count(), 4);
    advance(Duration::from_millis(501)).await;
    assert!(read(&pools_of_down, &["a"]).await.is_err());
    advance(Duration::from_millis(1_001)).await;
    let before = down.request_count();
    assert!(read(&pools_of_down, &["a"]).await.is_err());
    assert_eq!(down.request_count(), before + 1, "an outage");
    for refusal in [Status::TOO_MANY_REQUESTS, Status::UNAUTHORIZED] {
        let refusing = FakeNode::status(refusal).await;
        assert!(read(&pools(&[&refusing]), &["a"]).await.is_err());
        assert_eq!(refusing.request_count(), 1, "{refusal}");
    }
}

#[tokio::test]
async fn a_node_that_left_a_send_unanswered_gets_the_next_sends_last() {
    let silent = FakeNode::hanging().await;
    let good = FakeNode::echo().await;
    let limits = RpcNetwork {
        timeout: Duration::from_secs(30),
        deadline: Duration::from_secs(60),
        ..network(vec![silent.url.clone(), good.url.clone()])
    };
    let pools = RpcPools::new(vec![limits], Arc::new(())).unwrap();
    let (params, list) = (json!(["$bytes"]), list());
    let send = |byte| {
        let pools = &pools;
        let (params, list) = (&params, &list);
        async move {
            let request = SendRequest {
                method: "a",
                params,
                bytes: &HexBytes(vec![byte]),
                encoding: SendEncoding::Hex,
            };
            pools.send(NETWORK, request, list).await
        }
    };
    let (first, ()) = tokio::join!(send(0), async {
        silent.wait_for_connection().await;
        advance(Duration::from_secs(2)).await;
    });
    assert_eq!(first, Ok(vec![ok("a")]));
    // It answers reads and counts as healthy; sends still start at the other node.
    pools.pool(NETWORK).unwrap().nodes().iter().for_each(|node| {
        node.record_success(Instant::now());
    });
    for byte in 1..4 {
        assert_eq!(send(byte).await, Ok(vec![ok("a")]));
    }
    assert_eq!((silent.request_count(), good.request_count()), (1, 4));
}

#[tokio::test]
async fn a_node_that_answers_a_retry_stays_accepted_and_one_that_was_not_retried_is_checked_again() {
    let first = flickering(|request| request == 0).await;
    let second = FakeNode::echo().await;
    let one = pools(&[&first]);
    one.begin_checks(NETWORK);
    one.record_check(NETWORK, 0, None);
    assert_eq!(read(&one, &["a"]).await, Ok(vec![ok("a")]));
    assert!(one.is_usable(NETWORK, 0));

    let first = flickering(|request| request == 0).await;
    let two = pools(&[&first, &second]);
    two.begin_checks(NETWORK);
    two.record_check(NETWORK, 0, None);
    two.record_check(NETWORK, 1, None);
    assert_eq!(read(&two, &["a"]).await, Ok(vec![ok("a")]));
    assert_eq!(second.request_count(), 1, "its check is fresh");
    assert!(!two.is_usable(NETWORK, 0));
    assert!(two.is_usable(NETWORK, 1));
}

//! Nodes that fail now and then, or keep sends without an answer: what one request does about it.

use axum::http::StatusCode as Status;
use axum::response::IntoResponse;
use sdk_plugin::HexBytes;
use sdk_plugin::host::SendEncoding;
use serde_json::json;

use super::fake_node::{FakeNode, reply};
use super::outage_tests::pass;
use super::tests::{NETWORK, calls, list, network, ok, pools, read, send};
use super::*;

/// Fails each request for which `is_ill`, given its number from 0, says so.
async fn flickering(is_ill: fn(u64) -> bool) -> FakeNode {
    let requests = AtomicU64::new(0);
    FakeNode::new(move |question| {
        if is_ill(requests.fetch_add(1, Ordering::Relaxed)) {
            return (Status::BAD_GATEWAY, "<html>Bad Gateway</html>").into_response();
        }
        reply(&question, |call| json!({"result": call["method"]}))
    })
    .await
}

#[tokio::test]
async fn a_url_with_ill_machines_behind_it_is_asked_a_few_times_more_by_one_request() {
    let only = flickering(|request| ![2, 4, 7].contains(&(request % 8))).await;
    let pools = pools(&[&only]);
    for _ in 0..5 {
        assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("a")]));
        assert_eq!(send(&pools).await, Ok(vec![ok("a")]));
        let (calls, list) = (calls(&["a"]), list());
        let named = pools.read_from(NETWORK, Some(0), &calls, &list, Traffic::Engine);
        assert_eq!(named.await, Ok(vec![ok("a")]));
    }
    assert_eq!(only.times_asked(), 40);
}

#[tokio::test]
async fn two_nodes_compared_stay_two_when_one_of_them_is_asked_again() {
    let first = FakeNode::echo().await;
    let second = flickering(|request| request == 0).await;
    let pools = pools(&[&first, &second]);
    let both = pools
        .compare(NETWORK, &calls(&["a"]), &list(), Traffic::Engine)
        .await;
    assert_eq!(both, Ok(vec![ok("a"), ok("a")]));
    assert_eq!((first.times_asked(), second.times_asked()), (1, 2));
}

#[tokio::test]
async fn an_outage_and_a_node_that_wants_a_rest_are_not_asked_again() {
    let down = FakeNode::status(Status::BAD_GATEWAY).await;
    let pools_of_down = pools(&[&down]);
    assert!(read(&pools_of_down, &["a"]).await.is_err());
    assert_eq!(down.times_asked(), 4);
    pass(Duration::from_millis(501)).await;
    assert!(read(&pools_of_down, &["a"]).await.is_err());
    pass(Duration::from_millis(1_001)).await;
    let before = down.times_asked();
    assert!(read(&pools_of_down, &["a"]).await.is_err());
    assert_eq!(down.times_asked(), before + 1, "an outage");
    for refusal in [Status::TOO_MANY_REQUESTS, Status::UNAUTHORIZED] {
        let refusing = FakeNode::status(refusal).await;
        assert!(read(&pools(&[&refusing]), &["a"]).await.is_err());
        assert_eq!(refusing.times_asked(), 1, "{refusal}");
    }
}

#[tokio::test]
async fn a_node_that_leaves_sends_without_an_answer_gets_the_next_ones_last() {
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
            let sending = Sending {
                method: "a",
                params,
                bytes: &HexBytes(vec![byte]),
                encoding: SendEncoding::Hex,
            };
            pools.send(NETWORK, sending, list).await
        }
    };
    let (first, ()) = tokio::join!(biased; send(0), pass(Duration::from_secs(2)));
    assert_eq!(first, Ok(vec![ok("a")]));
    // It is found well by reads, which it answers; sends still begin with the other one.
    pools.pool(NETWORK).unwrap().nodes().iter().for_each(|node| {
        node.succeeded(Instant::now());
    });
    let began = Instant::now();
    for byte in 1..4 {
        assert_eq!(send(byte).await, Ok(vec![ok("a")]));
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(good.times_asked(), 4);
}

#[tokio::test]
async fn a_node_that_answers_at_the_second_attempt_stays_good_and_one_that_was_not_asked_again_shows_itself()
{
    let first = flickering(|request| request == 0).await;
    let second = FakeNode::echo().await;
    let one = pools(&[&first]);
    one.begin_judging(NETWORK);
    one.judge(NETWORK, 0, None);
    assert_eq!(read(&one, &["a"]).await, Ok(vec![ok("a")]));
    assert!(one.is_usable(NETWORK, 0));

    let first = flickering(|request| request == 0).await;
    let two = pools(&[&first, &second]);
    two.begin_judging(NETWORK);
    two.judge(NETWORK, 0, None);
    two.judge(NETWORK, 1, None);
    assert_eq!(read(&two, &["a"]).await, Ok(vec![ok("a")]));
    assert_eq!(second.times_asked(), 1, "it has shown itself just now");
    assert!(!two.is_usable(NETWORK, 0));
    assert!(two.is_usable(NETWORK, 1));
}

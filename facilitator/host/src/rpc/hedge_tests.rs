//! A caller's read of a node that is late: when another node is tried beside it, and what is known about both afterwards.

use sdk_plugin::host::RpcResult;
use serde_json::json;
use tokio::task::yield_now;

use super::fake_node::{FakeNode, reply};
use super::outage_tests::advance;
use super::tests::{NETWORK, calls, list, network, ok};
use super::*;

/// Nodes that usually answer within this time.
const USUAL: Duration = Duration::from_millis(10);
/// Longer than four times that, and than the shortest time before another node is tried.
const LATE: Duration = Duration::from_millis(101);

/// Longer than a stalled machine.
const TIMEOUT: Duration = Duration::from_secs(60);

fn pools(nodes: &[&FakeNode]) -> RpcPools {
    let limits = RpcNetwork {
        timeout: TIMEOUT,
        deadline: TIMEOUT * 2,
        ..network(nodes.iter().map(|node| node.url.clone()).collect())
    };
    RpcPools::new(vec![limits], Arc::new(())).unwrap()
}

fn usually_fast(pools: &RpcPools) {
    for node in pools.pool(NETWORK).unwrap().nodes() {
        node.record_latency(USUAL);
    }
}

fn trouble_of_first(pools: &RpcPools) -> Option<String> {
    pools.nodes(NETWORK).remove(0).trouble
}

async fn read(pools: &RpcPools, traffic: Traffic) -> Result<Vec<RpcResult>, Fault> {
    pools.read(NETWORK, &calls(&["a"]), &list(), traffic).await
}

#[tokio::test]
async fn a_late_node_is_overtaken_and_its_outcome_is_learned_in_the_background() {
    let late = FakeNode::hanging().await;
    let good = FakeNode::echo().await;
    let pools = pools(&[&late, &good]);
    usually_fast(&pools);
    let (answer, ()) = tokio::join!(read(&pools, Traffic::Intake), async {
        late.wait_for_connection().await;
        advance(LATE).await;
    });
    assert_eq!(answer, Ok(vec![ok("a")]));
    assert_eq!((late.request_count(), good.request_count()), (1, 1));
    assert_eq!(trouble_of_first(&pools), None, "it may still answer");
    advance(FAILOVER_AFTER).await;
    while trouble_of_first(&pools).is_none() {
        yield_now().await;
    }
    assert_eq!(
        trouble_of_first(&pools).as_deref(),
        Some("did not answer in time")
    );
}

#[tokio::test]
async fn without_a_usual_time_and_for_the_engine_one_node_is_tried_at_a_time() {
    for (is_known, traffic) in [(false, Traffic::Intake), (true, Traffic::Engine)] {
        let late = FakeNode::hanging().await;
        let good = FakeNode::echo().await;
        let pools = pools(&[&late, &good]);
        if is_known {
            usually_fast(&pools);
        }
        let (answer, ()) = tokio::join!(read(&pools, traffic), async {
            late.wait_for_connection().await;
            advance(LATE).await;
            assert_eq!(good.request_count(), 0);
            advance(TIMEOUT).await;
        });
        assert_eq!(answer, Ok(vec![ok("a")]));
        assert!(trouble_of_first(&pools).is_some(), "{traffic:?}");
    }
}

#[tokio::test]
async fn an_error_that_another_node_might_not_return_is_no_reason_to_stop_waiting_for_the_late_one() {
    let late = FakeNode::hanging().await;
    let lacking = FakeNode::error(-32_601, "the method does not exist").await;
    let pools = pools(&[&late, &lacking]);
    usually_fast(&pools);
    let (answer, ()) = tokio::join!(read(&pools, Traffic::Intake), async {
        late.wait_for_connection().await;
        advance(LATE).await;
        while lacking.request_count() == 0 {
            yield_now().await;
        }
        advance(FAILOVER_AFTER).await;
    });
    assert!(matches!(answer.unwrap().as_slice(), [RpcResult::Error(_)]));
    assert!(trouble_of_first(&pools).is_some(), "its answer was awaited");
}

#[tokio::test]
async fn of_two_nodes_that_are_late_the_first_answer_counts() {
    let first = FakeNode::new(|body| reply(&body, |_| json!({"result": "first"}))).await;
    let second = FakeNode::hanging().await;
    let pools = pools(&[&first, &second]);
    usually_fast(&pools);
    assert_eq!(read(&pools, Traffic::Intake).await, Ok(vec![ok("first")]));
    assert_eq!(second.request_count(), 0, "the first one was in time");
}

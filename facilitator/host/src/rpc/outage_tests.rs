//! Nodes that go away and come back: which requests wait for them, and what operators read about it.

use std::sync::atomic::AtomicBool;

use axum::http::StatusCode as Status;
use axum::response::IntoResponse;
use parking_lot::Mutex;
use sdk_plugin::host::RpcResult;
use serde_json::json;

use super::fake_node::{FakeNode, SECRET, closed_port, reply};
use super::tests::{NETWORK, calls, list, network, of_urls, ok, pools, read, send};
use super::*;

/// Passes on the outcome of each exchange.
pub(super) struct Exchanges(pub(super) tokio::sync::mpsc::UnboundedSender<&'static str>);

impl RpcObserver for Exchanges {
    fn exchanged(&self, _: &str, _: &str, outcome: &'static str, _: Duration) {
        let _ = self.0.send(outcome);
    }
}

/// Moves the clock without waiting. Time runs on in between, because real sockets are involved.
pub(super) async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

async fn engine_read(pools: &RpcPools) -> Result<Vec<RpcResult>, Fault> {
    pools
        .read(NETWORK, &calls(&["a"]), &list(), Traffic::Engine)
        .await
}

#[tokio::test]
async fn callers_wait_for_no_failed_node_and_use_it_again_after_an_engine_read_succeeded() {
    let is_failing = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&is_failing);
    let first = FakeNode::new(move |body| {
        if failing.load(Ordering::Acquire) {
            Status::UNAUTHORIZED.into_response()
        } else {
            reply(&body, |_| json!({"result": "first"}))
        }
    })
    .await;
    let second = FakeNode::echo().await;
    let (ended, mut exchanges) = tokio::sync::mpsc::unbounded_channel();
    let urls = vec![first.url.clone(), second.url.clone()];
    let pools = RpcPools::new(vec![network(urls)], Arc::new(Exchanges(ended))).unwrap();

    for _ in 0..5 {
        assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("a")]));
        advance(Duration::from_secs(31)).await;
    }
    assert_eq!(first.request_count(), 1, "no caller's request after the first");

    // The engine's read is answered by the second node, and sent to the first in the background.
    while exchanges.try_recv().is_ok() {}
    assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
    let mut two = [exchanges.recv().await.unwrap(), exchanges.recv().await.unwrap()];
    two.sort_unstable();
    assert_eq!(two, ["ok", "status"]);
    assert_eq!(first.request_count(), 2);
    assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
    assert_eq!(first.request_count(), 2, "it backs off");

    is_failing.store(false, Ordering::Release);
    advance(Duration::from_secs(31)).await;
    assert_eq!(
        read(&pools, &["a"]).await,
        Ok(vec![ok("a")]),
        "no engine read has found it back"
    );
    while exchanges.try_recv().is_ok() {}
    assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
    let two = [exchanges.recv().await.unwrap(), exchanges.recv().await.unwrap()];
    assert_eq!(two, ["ok", "ok"]);
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("first")]));
}

#[tokio::test]
async fn a_hanging_node_costs_one_wait_and_then_only_background_reads() {
    let hanging = FakeNode::hanging().await;
    let good = FakeNode::echo().await;
    let limits = RpcNetwork {
        timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
        ..network(vec![hanging.url.clone(), good.url.clone()])
    };
    let pools = RpcPools::new(vec![limits], Arc::new(())).unwrap();
    // Tried first, and silent for its whole timeout.
    let (first, ()) = tokio::join!(read(&pools, &["a"]), async {
        hanging.wait_for_connection().await;
        advance(Duration::from_secs(6)).await;
    });
    assert_eq!(first, Ok(vec![ok("a")]));
    let rounds = 5;
    for _ in 0..rounds {
        advance(Duration::from_secs(31)).await;
        assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
        assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("a")]));
        assert_eq!(send(&pools).await, Ok(vec![ok("a")]));
    }
    // A request that tried it would have waited until it was connected.
    let background = hanging.request_count() - 1;
    assert!(background <= rounds, "{background}");
    assert_eq!(good.request_count(), 1 + 3 * rounds);
    let nodes = pools.nodes(NETWORK);
    let troubled: Vec<bool> = nodes.iter().map(|node| node.trouble.is_some()).collect();
    assert_eq!(troubled, [true, false]);
}

#[tokio::test]
async fn a_failed_node_is_tried_when_all_others_fail() {
    let is_failing = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&is_failing);
    let first = FakeNode::status(Status::UNAUTHORIZED).await;
    let second = FakeNode::new(move |body| {
        if failing.load(Ordering::Acquire) {
            Status::BAD_GATEWAY.into_response()
        } else {
            reply(&body, |call| json!({"result": call["method"]}))
        }
    })
    .await;
    let pools = pools(&[&first, &second]);
    assert!(read(&pools, &["a"]).await.is_ok());
    is_failing.store(true, Ordering::Release);
    let fault = read(&pools, &["a"]).await.unwrap_err();
    assert_eq!(first.request_count(), 2, "backing off, and the last one left");
    for cause in ["HTTP 502", "HTTP 401"] {
        assert!(fault.message.contains(cause), "{fault}");
    }
}

/// The back-off of a node that has just failed ends before that of one that has failed often.
#[tokio::test]
async fn a_node_that_backs_off_for_long_is_tried_when_all_others_fail() {
    let fails = || Arc::new(AtomicBool::new(true));
    let (first_fails, second_fails) = (fails(), fails());
    let node = |name: &'static str, fails: &Arc<AtomicBool>| {
        let fails = Arc::clone(fails);
        FakeNode::new(move |body| {
            if fails.load(Ordering::Acquire) {
                Status::UNAUTHORIZED.into_response()
            } else {
                reply(&body, |_| json!({"result": name}))
            }
        })
    };
    let (first, second) = (
        node("first", &first_fails).await,
        node("second", &second_fails).await,
    );
    let pools = pools(&[&first, &second]);
    for _ in 0..4 {
        assert!(read(&pools, &["a"]).await.is_err());
        advance(Duration::from_secs(9)).await;
    }
    // The first fails once more and backs off for eight seconds.
    second_fails.store(false, Ordering::Release);
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("second")]));
    second_fails.store(true, Ordering::Release);
    first_fails.store(false, Ordering::Release);
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("first")]));
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        let lines = text.lines().filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn t16_a_node_that_goes_away_and_comes_back_is_logged_once_each_with_host_and_cause() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // With one dispatcher, a call site that another test's thread reaches first is disabled by that thread's default. With
    // two, tracing consults both.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);

    let is_failing = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&is_failing);
    let first = FakeNode::new(move |body| {
        if failing.load(Ordering::Acquire) {
            (Status::UNAUTHORIZED, SECRET).into_response()
        } else {
            reply(&body, |call| json!({"result": call["method"]}))
        }
    })
    .await;
    let dead = closed_port().await;
    let pools = of_urls(vec![first.url.clone(), dead]);
    for _ in 0..3 {
        assert!(read(&pools, &["a"]).await.is_err());
        advance(Duration::from_secs(31)).await;
    }
    let away = log.lines("RPC node went away");
    assert_eq!(away.len(), 2, "{away:?}");
    for (line, cause) in away.iter().zip(["answered HTTP 401", "could not be reached"]) {
        for part in ["WARN", NETWORK, "127.0.0.1", cause] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(log.lines("is back").is_empty());

    is_failing.store(false, Ordering::Release);
    for _ in 0..3 {
        assert!(read(&pools, &["a"]).await.is_ok());
    }
    let back = log.lines("RPC node is back");
    assert_eq!(back.len(), 1, "{back:?}");
    for part in ["INFO", NETWORK, "127.0.0.1", "answered HTTP 401"] {
        assert!(back[0].contains(part), "{part}: {back:?}");
    }
}

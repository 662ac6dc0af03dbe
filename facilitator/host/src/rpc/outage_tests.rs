//! Nodes that go away and come back: who waits for them, and what operators read of it.

use std::sync::atomic::AtomicBool;

use axum::http::StatusCode as Status;
use axum::response::IntoResponse;
use serde_json::json;

use super::fake_node::{FakeNode, SECRET, nobody, reply};
use super::tests::{NETWORK, calls, list, network, of_urls, ok, pools, read, send};
use super::*;

/// Tells each exchange as it ends.
struct Exchanges(tokio::sync::mpsc::UnboundedSender<&'static str>);

impl RpcObserver for Exchanges {
    fn exchanged(&self, _: &str, _: &str, outcome: &'static str, _: Duration) {
        let _ = self.0.send(outcome);
    }
}

/// Makes time pass without waiting for it: what real sockets do is not part of it.
pub(super) async fn pass(time: Duration) {
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
async fn intake_waits_for_no_node_that_failed_and_uses_it_again_after_a_read_of_the_engine_found_it_well() {
    let is_ill = Arc::new(AtomicBool::new(true));
    let ill = Arc::clone(&is_ill);
    let first = FakeNode::new(move |question| {
        if ill.load(Ordering::Acquire) {
            Status::UNAUTHORIZED.into_response()
        } else {
            reply(&question, |_| json!({"result": "first"}))
        }
    })
    .await;
    let second = FakeNode::echo().await;
    let (said, mut exchanges) = tokio::sync::mpsc::unbounded_channel();
    let urls = vec![first.url.clone(), second.url.clone()];
    let pools = RpcPools::new(vec![network(urls)], Arc::new(Exchanges(said))).unwrap();

    for _ in 0..5 {
        assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("a")]));
        pass(Duration::from_secs(31)).await;
    }
    assert_eq!(first.times_asked(), 1, "no buyer's request after the first");

    // The engine's own read is answered by the second node, too; the first is asked beside it.
    while exchanges.try_recv().is_ok() {}
    assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
    let mut two = [exchanges.recv().await.unwrap(), exchanges.recv().await.unwrap()];
    two.sort_unstable();
    assert_eq!(two, ["ok", "status"]);
    assert_eq!(first.times_asked(), 2);
    assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
    assert_eq!(first.times_asked(), 2, "it rests");

    is_ill.store(false, Ordering::Release);
    pass(Duration::from_secs(31)).await;
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("a")]), "nobody has looked");
    while exchanges.try_recv().is_ok() {}
    assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
    let two = [exchanges.recv().await.unwrap(), exchanges.recv().await.unwrap()];
    assert_eq!(two, ["ok", "ok"]);
    assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("first")]));
}

#[tokio::test]
async fn a_node_that_hangs_costs_one_wait_and_neither_reads_nor_sends_nor_the_engine_another() {
    let hanging = FakeNode::hanging().await;
    let good = FakeNode::echo().await;
    let limits = RpcNetwork {
        timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
        ..network(vec![hanging.url.clone(), good.url.clone()])
    };
    let pools = RpcPools::new(vec![limits], Arc::new(())).unwrap();
    // Asked first, and left without an answer for the whole timeout.
    let (first, ()) = tokio::join!(biased; read(&pools, &["a"]), pass(Duration::from_secs(6)));
    assert_eq!(first, Ok(vec![ok("a")]));
    for _ in 0..5 {
        pass(Duration::from_secs(31)).await;
        let began = Instant::now();
        assert_eq!(engine_read(&pools).await, Ok(vec![ok("a")]));
        assert_eq!(read(&pools, &["a"]).await, Ok(vec![ok("a")]));
        assert_eq!(send(&pools).await, Ok(vec![ok("a")]));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    let nodes = pools.nodes(NETWORK);
    let troubled: Vec<bool> = nodes.iter().map(|node| node.trouble.is_some()).collect();
    assert_eq!(troubled, [true, false]);
}

#[tokio::test]
async fn when_all_others_fail_a_node_that_failed_is_asked_all_the_same() {
    let is_ill = Arc::new(AtomicBool::new(false));
    let ill = Arc::clone(&is_ill);
    let first = FakeNode::status(Status::UNAUTHORIZED).await;
    let second = FakeNode::new(move |question| {
        if ill.load(Ordering::Acquire) {
            Status::BAD_GATEWAY.into_response()
        } else {
            reply(&question, |call| json!({"result": call["method"]}))
        }
    })
    .await;
    let pools = pools(&[&first, &second]);
    assert!(read(&pools, &["a"]).await.is_ok());
    is_ill.store(true, Ordering::Release);
    let fault = read(&pools, &["a"]).await.unwrap_err();
    assert_eq!(first.times_asked(), 2, "resting, and the last there is");
    for cause in ["HTTP 502", "HTTP 401"] {
        assert!(fault.message.contains(cause), "{fault}");
    }
}

/// A log to look at.
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
    fn lines(&self, word: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        let lines = text.lines().filter(|line| line.contains(word));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn t16_operators_read_once_that_a_node_went_away_and_once_that_it_is_back_with_host_and_cause() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // While there is one dispatcher only, a line that another test's thread meets first is judged by that thread's
    // default, which is none, and stays silent here. With two, all that are alive are asked.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);

    let is_ill = Arc::new(AtomicBool::new(true));
    let ill = Arc::clone(&is_ill);
    let first = FakeNode::new(move |question| {
        if ill.load(Ordering::Acquire) {
            (Status::UNAUTHORIZED, SECRET).into_response()
        } else {
            reply(&question, |call| json!({"result": call["method"]}))
        }
    })
    .await;
    let dead = nobody().await;
    let pools = of_urls(vec![first.url.clone(), dead]);
    for _ in 0..3 {
        assert!(read(&pools, &["a"]).await.is_err());
        pass(Duration::from_secs(31)).await;
    }
    let away = log.lines("RPC node went away");
    assert_eq!(away.len(), 2, "{away:?}");
    for (line, cause) in away.iter().zip(["answered HTTP 401", "could not be reached"]) {
        for part in ["WARN", NETWORK, "127.0.0.1", cause] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(log.lines("is back").is_empty());

    is_ill.store(false, Ordering::Release);
    for _ in 0..3 {
        assert!(read(&pools, &["a"]).await.is_ok());
    }
    let back = log.lines("RPC node is back");
    assert_eq!(back.len(), 1, "{back:?}");
    for part in ["INFO", NETWORK, "127.0.0.1", "answered HTTP 401"] {
        assert!(back[0].contains(part), "{part}: {back:?}");
    }
}

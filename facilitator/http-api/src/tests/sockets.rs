//! Behaviour that only real connections show: closed connections, keep-alive, and shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::serve_on;
use super::*;
use crate::connections::Listener;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<std::io::Result<()>>,
}

async fn start(service: Scripted, settings: Settings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve_on(
            Listener::Tcp(listener),
            &settings,
            Arc::new(service),
            Arc::new(Metrics::default()),
            KeyDigests::default(),
            tokio::sync::watch::channel(Vec::new()).1,
            shutdown,
        )
        .await
    });
    Running { address, stop, ended }
}

fn request(path: &str) -> String {
    let body = v2().to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads one response with `Content-Length`.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4_096];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        if body.len() >= length.parse().unwrap() {
            return text;
        }
    }
}

/// A service whose settle reports when it starts and when it is dropped, and waits for `go`.
fn waiting_settle(entered: mpsc::UnboundedSender<&'static str>, go: Arc<Notify>) -> Scripted {
    struct Dropped(mpsc::UnboundedSender<&'static str>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    Scripted {
        on_settle: Box::new(move |_| {
            let (entered, go) = (entered.clone(), Arc::clone(&go));
            Box::pin(async move {
                let _dropped = Dropped(entered.clone());
                entered.send("entered").unwrap();
                go.notified().await;
                SettleAnswer::Reply(success())
            })
        }),
        ..Scripted::default()
    }
}

#[tokio::test]
async fn a_closed_connection_drops_its_settle() {
    let (entered, mut events) = mpsc::unbounded_channel();
    let running = start(waiting_settle(entered, Arc::new(Notify::new())), settings()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(request("/settle").as_bytes()).await.unwrap();
    assert_eq!(events.recv().await, Some("entered"));
    drop(stream);
    assert_eq!(events.recv().await, Some("dropped"));
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let running = start(Scripted::default(), settings()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for path in ["/verify", "/settle/"] {
        stream.write_all(request(path).as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn a_response_has_its_length_and_is_delivered_when_the_connection_takes_it() {
    let service = Scripted::default();
    let deliveries = Arc::clone(&service.deliveries);
    let running = start(service, settings()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for path in ["/settle", "/deferred/vouchers"] {
        stream.write_all(request(path).as_bytes()).await.unwrap();
        let text = answer(&mut stream).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{text}"
        );
        assert_eq!(
            deliveries.lock().unwrap().pop(),
            Some(Delivery::Delivered),
            "{path}"
        );
    }
}

#[tokio::test]
async fn t22_shutdown_refuses_new_payments_and_lets_those_in_flight_finish() {
    let (entered, mut events) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let running = start(waiting_settle(entered, Arc::clone(&go)), settings()).await;
    let mut open = TcpStream::connect(running.address).await.unwrap();
    open.write_all(request("/settle").as_bytes()).await.unwrap();
    assert_eq!(events.recv().await, Some("entered"));
    running.stop.send(()).unwrap();
    // Another task sets the flag: retry until it is set. A verify always ends.
    loop {
        let mut late = TcpStream::connect(running.address).await.unwrap();
        late.write_all(request("/verify").as_bytes()).await.unwrap();
        let seen = answer(&mut late).await;
        if seen.starts_with("HTTP/1.1 503 ") {
            assert!(
                seen.contains("service_unavailable") && seen.contains("retry-after: 5\r\n"),
                "{seen}"
            );
            break;
        }
    }
    go.notify_one();
    assert!(answer(&mut open).await.starts_with("HTTP/1.1 200 OK\r\n"));
    running.ended.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn t22_the_drain_ends_even_when_a_request_does_not() {
    let (entered, mut events) = mpsc::unbounded_channel();
    let running = start(
        waiting_settle(entered, Arc::new(Notify::new())),
        server(|server| server.drain = Duration::ZERO),
    )
    .await;
    let mut open = TcpStream::connect(running.address).await.unwrap();
    open.write_all(request("/settle").as_bytes()).await.unwrap();
    assert_eq!(events.recv().await, Some("entered"));
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), running.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(events.recv().await, Some("dropped"));
}

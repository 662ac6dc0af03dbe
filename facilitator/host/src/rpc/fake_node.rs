//! A node for tests: a real HTTP server on the loopback interface that answers as the test says.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode as Status;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use sdk_plugin::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::SecretUrl;

/// In every URL of these nodes, as a path.
pub(crate) const SECRET: &str = "s3cr3t-api-key";

type Behaviour = dyn Fn(Value) -> Response + Send + Sync;

/// A node, and the bodies of the requests that it received.
pub(crate) struct FakeNode {
    pub(crate) url: SecretUrl,
    pub(crate) requests: Arc<Mutex<Vec<Value>>>,
    /// Notified when a hanging node has accepted a connection.
    connected: Arc<Notify>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeNode {
    pub(crate) async fn new(behaviour: impl Fn(Value) -> Response + Send + Sync + 'static) -> Self {
        type Shared = (Arc<Behaviour>, Arc<Mutex<Vec<Value>>>);
        async fn serve(State((behaviour, requests)): State<Shared>, request: Request) -> Response {
            assert_eq!(request.uri().path(), format!("/{SECRET}"));
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            requests.lock().push(body.clone());
            behaviour(body)
        }
        let requests = Arc::default();
        let state: Shared = (Arc::new(behaviour), Arc::clone(&requests));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(&listener);
        let app = axum::Router::new().fallback(serve).with_state(state);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            requests,
            connected: Arc::default(),
            server,
        }
    }

    /// Answers each call with its method's name.
    pub(crate) async fn echo() -> Self {
        Self::new(|body| reply(&body, |call| json!({"result": call["method"]}))).await
    }

    pub(crate) async fn status(status: Status) -> Self {
        Self::new(move |_| (status, "busy").into_response()).await
    }

    pub(crate) async fn error(code: i64, message: &'static str) -> Self {
        Self::new(move |body| reply(&body, |_| json!({"error": {"code": code, "message": message}}))).await
    }

    /// Accepts connections and never answers. Each connection counts as one request.
    pub(crate) async fn hanging() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(&listener);
        let requests: Arc<Mutex<Vec<Value>>> = Arc::default();
        let connected: Arc<Notify> = Arc::default();
        let (seen, notify) = (Arc::clone(&requests), Arc::clone(&connected));
        let server = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                kept.push(stream);
                seen.lock().push(Value::Null);
                notify.notify_one();
            }
        });
        Self {
            url,
            requests,
            connected,
            server,
        }
    }

    pub(crate) fn request_count(&self) -> usize {
        self.requests.lock().len()
    }

    /// Waits until a hanging node has accepted a connection since the last call.
    pub(crate) async fn wait_for_connection(&self) {
        self.connected.notified().await;
    }
}

pub(crate) fn url(listener: &TcpListener) -> SecretUrl {
    let address = listener.local_addr().unwrap();
    SecretUrl::parse(&format!("http://{address}/{SECRET}")).unwrap()
}

/// A port at which nothing listens.
pub(crate) async fn closed_port() -> SecretUrl {
    url(&TcpListener::bind("127.0.0.1:0").await.unwrap())
}

/// Answers each call of a body.
pub(crate) fn reply(body: &Value, answer: impl Fn(&Value) -> Value) -> Response {
    let one = |call: &Value| {
        let mut one = answer(call);
        one["jsonrpc"] = json!("2.0");
        one["id"] = call["id"].clone();
        one
    };
    let answers = match body {
        Value::Array(calls) => Value::from(calls.iter().map(one).collect::<Vec<_>>()),
        call => one(call),
    };
    answers.to_string().into_response()
}

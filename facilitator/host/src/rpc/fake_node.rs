//! A node for tests: a real HTTP server on the loopback interface that answers as it is told.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode as Status;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use sdk_plugin::Value;
use serde_json::json;
use tokio::net::TcpListener;

use super::SecretUrl;

/// In every URL of these nodes, as a path.
pub(crate) const SECRET: &str = "s3cr3t-api-key";

type Behave = dyn Fn(Value) -> Response + Send + Sync;

/// A node: what it was asked, and how it answers.
pub(crate) struct FakeNode {
    pub(crate) url: SecretUrl,
    pub(crate) asked: Arc<Mutex<Vec<Value>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeNode {
    pub(crate) async fn new(behave: impl Fn(Value) -> Response + Send + Sync + 'static) -> Self {
        type Shared = (Arc<Behave>, Arc<Mutex<Vec<Value>>>);
        async fn serve(State((behave, asked)): State<Shared>, request: Request) -> Response {
            assert_eq!(request.uri().path(), format!("/{SECRET}"));
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let question: Value = serde_json::from_slice(&body).unwrap();
            asked.lock().push(question.clone());
            behave(question)
        }
        let asked = Arc::default();
        let state: Shared = (Arc::new(behave), Arc::clone(&asked));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(&listener);
        let app = axum::Router::new().fallback(serve).with_state(state);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, server }
    }

    /// Answers each call with its method's name.
    pub(crate) async fn echo() -> Self {
        Self::new(|question| reply(&question, |call| json!({"result": call["method"]}))).await
    }

    pub(crate) async fn status(status: Status) -> Self {
        Self::new(move |_| (status, "busy").into_response()).await
    }

    pub(crate) async fn error(code: i64, message: &'static str) -> Self {
        Self::new(move |question| {
            reply(
                &question,
                |_| json!({"error": {"code": code, "message": message}}),
            )
        })
        .await
    }

    /// Accepts connections and never answers.
    pub(crate) async fn hanging() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(&listener);
        let server = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                kept.push(stream);
            }
        });
        Self {
            url,
            asked: Arc::default(),
            server,
        }
    }

    pub(crate) fn times_asked(&self) -> usize {
        self.asked.lock().len()
    }
}

pub(crate) fn url(listener: &TcpListener) -> SecretUrl {
    let address = listener.local_addr().unwrap();
    SecretUrl::parse(&format!("http://{address}/{SECRET}")).unwrap()
}

/// A port that nobody listens at.
pub(crate) async fn nobody() -> SecretUrl {
    url(&TcpListener::bind("127.0.0.1:0").await.unwrap())
}

pub(crate) fn reply(question: &Value, answer: impl Fn(&Value) -> Value) -> Response {
    let one = |call: &Value| {
        let mut one = answer(call);
        one["jsonrpc"] = json!("2.0");
        one["id"] = call["id"].clone();
        one
    };
    let body = match question {
        Value::Array(calls) => Value::from(calls.iter().map(one).collect::<Vec<_>>()),
        call => one(call),
    };
    body.to_string().into_response()
}

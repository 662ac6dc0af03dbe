//! HTTP in front of the chain.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::{Chain, World, answer};

/// A chain that requests take turns at.
#[derive(Debug, Clone)]
pub struct Shared {
    chain: Arc<Mutex<Chain>>,
    world: Arc<World>,
}

impl Shared {
    #[must_use]
    pub fn new(chain: Chain, world: World) -> Shared {
        Shared {
            chain: Arc::new(Mutex::new(chain)),
            world: Arc::new(world),
        }
    }

    fn answer(&self, body: &[u8]) -> String {
        // A request that panicked has left the chain as it was: litesvm writes only what succeeded.
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        answer(&mut chain, &self.world, body).to_string()
    }
}

/// Serves until the program ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, shared: Shared) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/", post(call))
        .route("/health", get(|| async { "ok" }))
        .with_state(shared);
    axum::serve(listener, routes).await
}

async fn call(State(shared): State<Shared>, body: Bytes) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json; charset=utf-8")],
        shared.answer(&body),
    )
}

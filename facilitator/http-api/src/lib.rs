//! The HTTP API: `/verify`, `/settle`, `/supported`, and `/health`, `/ready`, `/metrics` for operators.
//!
//! What it guarantees: every decided outcome is HTTP 200 with the envelope of the protocol; another status means that this
//! request was not carried out, and says nothing about what an earlier one began. What it does not: `/health`, `/ready` and `/metrics` are open to any caller that reaches the port; a proxy
//! in front decides who that is.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

mod admission;
mod body;
mod buckets;
mod caught;
mod chosen;
mod cors;
mod delivery;
mod envelope;
mod gates;
mod listen;
mod loose;
pub mod names;
mod normalise;
mod pay;
mod prefer;
mod reply;
mod routes;
mod settings;
mod strict;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use sdk_plugin::Purpose;
use tokio::time::Instant;

pub use listen::{serve, serve_on, shutdown_signal};
pub use names::NetworkNames;
pub use settings::{AddressBlock, Origins, Rate, Scope, Server, Settings, Tenant};

use self::cors::Access;
use base::key_digests::KeyDigests;
use base::service::{Receipt, Service};
use telemetry::Metrics;
use telemetry::disk::Disk;

/// Everything a handler needs.
struct App {
    service: Arc<dyn Service>,
    server: Server,
    names: NetworkNames,
    admission: admission::Admission,
    metrics: Arc<Metrics>,
    disk: Disk,
    /// What no answer may hold.
    keys: KeyDigests,
}

impl App {
    fn new(
        settings: &Settings,
        service: Arc<dyn Service>,
        metrics: Arc<Metrics>,
        keys: KeyDigests,
    ) -> Arc<Self> {
        Arc::new(Self {
            service,
            server: settings.server.clone(),
            names: settings.names.clone(),
            admission: admission::Admission::new(settings),
            metrics,
            disk: Disk::new(&settings.data_directory),
            keys,
        })
    }

    /// A JSON response whose body holds none of the process's private keys.
    fn json(&self, status: u16, body: String) -> Response {
        self.json_with(status, body, Receipt::none())
    }

    /// The same; the receipt counts as delivered once the connection takes the body.
    fn json_with(&self, status: u16, body: String, receipt: Receipt) -> Response {
        let body = text::hide_keys(body, &self.keys);
        reply::with_type(status, delivery::body(body, receipt), reply::JSON)
    }

    /// Counts an answer. `outcome`: a reason, or `valid`, `success`, `replay`, `ok`.
    fn measure(&self, path: &'static str, status: u16, outcome: &str, started: Instant) {
        let status = status.to_string();
        let labels = [("path", path), ("status", status.as_str()), ("outcome", outcome)];
        self.metrics.add("switchyard_http_requests_total", &labels, 1);
        self.metrics.observe(
            "switchyard_http_request_seconds",
            &[("path", path)],
            started.elapsed().as_secs_f64(),
        );
    }
}

/// Every path with and without a trailing slash: a redirected POST would arrive as GET.
fn router(app: Arc<App>) -> Router {
    let base = app.server.base_path.clone();
    let pay = |purpose: Purpose| {
        let paid = move |State(app): State<Arc<App>>, request: Request| async move {
            let headers = request.headers().clone();
            let mut response = app.pay(purpose, request).await;
            cors::allow(&app.server, Access::Payments, &headers, &mut response);
            response
        };
        get(move || async move { routes::describe(purpose) })
            .post(paid)
            .options(|State(app): State<Arc<App>>, request: Request| async move {
                cors::preflight(&app.server, Access::Payments, &request)
            })
    };
    let reads = |State(app): State<Arc<App>>, request: Request| async move {
        cors::preflight(&app.server, Access::Reads, &request)
    };
    let supported = |State(app): State<Arc<App>>, request: Request| async move {
        let headers = request.headers().clone();
        let mut response = app.supported(request).await;
        cors::allow(&app.server, Access::Reads, &headers, &mut response);
        response
    };
    let health = |State(app): State<Arc<App>>, request: Request| async move {
        let mut response = app.health();
        cors::allow(&app.server, Access::Reads, request.headers(), &mut response);
        response
    };
    let paths = [
        ("verify", pay(Purpose::Verify)),
        ("settle", pay(Purpose::Settle)),
        ("supported", get(supported).options(reads)),
        ("health", get(health).options(reads)),
        (
            "ready",
            get(|State(app): State<Arc<App>>| async move { app.ready() }),
        ),
        (
            "metrics",
            get(|State(app): State<Arc<App>>| async move { app.metrics() }),
        ),
    ];
    let mut router = Router::new();
    for (path, handlers) in paths {
        router = router
            .route(&format!("{base}/{path}"), handlers.clone())
            .route(&format!("{base}/{path}/"), handlers);
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(
            |State(app): State<Arc<App>>, request: Request| async move { app.scheme_route(request).await },
        )
        .with_state(app)
}

async fn method_not_allowed() -> Response {
    reply::json(405, envelope::error("this path takes another method"))
}

//! The HTTP API: `/verify`, `/settle`, `/supported`, and `/health`, `/ready`, `/metrics` for operators.
//!
//! Guaranteed: every decided outcome is HTTP 200 with the protocol's envelope. Another status means that this request was
//! not carried out; it says nothing about a payment that an earlier request started.
//!
//! Not guaranteed: `/health`, `/ready` and `/metrics` are open to every caller that reaches the port. A proxy in front of
//! it decides who that is.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

mod admission;
mod body;
mod buckets;
mod concurrency;
mod cors;
mod delivery;
mod endpoint;
mod envelope;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub mod fuzzing;
mod lenient;
mod listen;
mod members;
pub mod names;
mod normalise;
mod panics;
mod pay;
mod preference;
mod redaction;
mod reply;
mod route_network;
mod scheme_routes;
mod settings;
mod status;
mod strict_json;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use base::key_digests::KeyDigests;
use base::service::{Receipt, Service};
use telemetry::Metrics;
use telemetry::disk::Disk;
use tokio::time::Instant;

pub use listen::{serve, serve_on, shutdown_signal};
pub use names::NetworkNames;
pub use settings::{AddressBlock, Origins, Rate, Scope, Server, Settings, Tenant};

use self::cors::Access;
use self::endpoint::PaymentEndpoint;

/// Everything that a handler needs.
struct App {
    service: Arc<dyn Service>,
    server: Server,
    names: NetworkNames,
    admission: admission::Admission,
    metrics: Arc<Metrics>,
    disk: Disk,
    /// Digests of the private keys, which no response may contain.
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

    /// Makes a JSON response whose body contains none of the process's private keys.
    fn json(&self, status: StatusCode, body: String) -> Response {
        self.json_with_receipt(status, body, Receipt::none())
    }

    /// Like [`App::json`]. The receipt counts as delivered when the connection takes the body.
    fn json_with_receipt(&self, status: StatusCode, body: String, receipt: Receipt) -> Response {
        let body = redaction::hide_keys(body, &self.keys);
        reply::with_type(status, delivery::body(body, receipt), reply::JSON)
    }

    /// Counts a response. `outcome`: a reason, or `valid`, `success`, `replay`, `ok`.
    // There is no log line and no id for each request. Responses are counted here; what happens to a payment is logged
    // with its settlement's number. tower-http's trace layer sees a path and a status, but not the outcome, which is in the
    // body of a 200, and a request id would name one try of a caller, not the payment that several tries share.
    fn measure(&self, path: &'static str, status: StatusCode, outcome: &str, started: Instant) {
        let labels = [("path", path), ("status", status.as_str()), ("outcome", outcome)];
        self.metrics.add("switchyard_http_requests_total", &labels, 1);
        self.metrics.observe(
            "switchyard_http_request_seconds",
            &[("path", path)],
            started.elapsed().as_secs_f64(),
        );
    }
}

/// Routes every path with and without a trailing slash: a redirected POST would arrive as GET.
fn router(app: Arc<App>) -> Router {
    let base = app.server.base_path.clone();
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
    let ready = |State(app): State<Arc<App>>| async move { app.ready() };
    let metrics = |State(app): State<Arc<App>>| async move { app.metrics() };
    let paths = [
        ("verify", payments(PaymentEndpoint::Verify)),
        ("settle", payments(PaymentEndpoint::Settle)),
        ("supported", get(supported).options(reads)),
        ("health", get(health).options(reads)),
        ("ready", get(ready)),
        ("metrics", get(metrics)),
    ];
    let mut router = Router::new();
    for (path, handlers) in paths {
        router = router
            .route(&format!("{base}/{path}"), handlers.clone())
            .route(&format!("{base}/{path}/"), handlers);
    }
    router
        .method_not_allowed_fallback(|| async { reply::method_not_allowed() })
        .fallback(
            |State(app): State<Arc<App>>, request: Request| async move { app.scheme_route(request).await },
        )
        .with_state(app)
}

/// The methods of `/verify` or `/settle`.
fn payments(endpoint: PaymentEndpoint) -> MethodRouter<Arc<App>> {
    get(move || async move { status::describe(endpoint) })
        .post(move |State(app): State<Arc<App>>, request: Request| async move {
            let headers = request.headers().clone();
            let mut response = app.pay(endpoint, request).await;
            cors::allow(&app.server, Access::Payments, &headers, &mut response);
            response
        })
        .options(|State(app): State<Arc<App>>, request: Request| async move {
            cors::preflight(&app.server, Access::Payments, &request)
        })
}

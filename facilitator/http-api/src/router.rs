//! Which handler answers a path and method.

use std::sync::Arc;

use axum::Router;
use axum::extract::path::Path;
use axum::extract::rejection::PathRejection;
use axum::extract::{Request, State};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get};

use super::app::App;
use super::cors::{self, Access};
use super::endpoint::PaymentEndpoint;
use super::{openapi, reply, request_id, status};

/// Routes every path with and without a trailing slash: a redirected POST would arrive as GET.
pub(crate) fn router(app: Arc<App>) -> Router {
    let base = app.server.base_path.clone();
    let mut router = Router::new();
    for (path, handlers) in routes() {
        router = router
            .route(&format!("{base}/{path}"), handlers.clone())
            .route(&format!("{base}/{path}/"), handlers);
    }
    router
        .method_not_allowed_fallback(|| async { reply::method_not_allowed() })
        .fallback(
            |State(app): State<Arc<App>>, request: Request| async move { app.scheme_route(request).await },
        )
        .layer(middleware::from_fn(request_id::identify))
        .with_state(app)
}

/// Every path but those of schemes, without the base path, and its handlers. `docs/src/openapi.json` describes them.
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
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
    let openapi = |State(app): State<Arc<App>>, request: Request| async move {
        let mut response = app.openapi();
        cors::allow(&app.server, Access::Reads, request.headers(), &mut response);
        response
    };
    let end_reservation = |State(app): State<Arc<App>>,
                           claim: Result<Path<String>, PathRejection>,
                           request: Request| async move {
        let claim = claim.ok().map(|Path(claim)| claim);
        app.end_reservation(claim.as_deref(), request).await
    };
    let ready = |State(app): State<Arc<App>>| async move { app.ready() };
    let metrics = |State(app): State<Arc<App>>| async move { app.metrics() };
    let settlement = |State(app): State<Arc<App>>,
                      reference: Result<Path<String>, PathRejection>,
                      request: Request| async move {
        let reference = reference.ok().map(|Path(reference)| reference);
        app.settlement(reference, request).await
    };
    let settlements =
        |State(app): State<Arc<App>>, request: Request| async move { app.settlements(request).await };
    vec![
        ("verify", payments(PaymentEndpoint::Verify)),
        ("settle", payments(PaymentEndpoint::Settle)),
        ("settlements", get(settlements)),
        ("settlements/{reference}", get(settlement)),
        ("supported", get(supported).options(reads)),
        ("health", get(health).options(reads)),
        ("ready", get(ready)),
        ("metrics", get(metrics)),
        ("reservations/{claim}", delete(end_reservation)),
        ("openapi.json", get(openapi).options(reads)),
        ("docs", get(|| async { openapi::page() })),
    ]
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

//! The routes that schemes define themselves: `/{scheme}/…`.
//!
//! A route can settle a payment, so callers need the scope `settle`, and shutdown and limits apply as for `/settle`.

use std::time::Duration;

use axum::extract::{Query, Request};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use base::service::{Receipt, Routed, SchemeRoutes};
use sdk_plugin::fault::FaultKind;
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::{Fault, Value};
use tokio::time::{Instant, timeout};

use super::admission::Rejected;
use super::app::App;
use super::body::{self, BodyError};
use super::concurrency::Endpoint;
use super::panics::catch_panic;
use super::reply::{json, peer, retry_after};
use super::status::BUSY_RETRY_S;
use super::{envelope, lenient, pay, route_network, strict_json};
use crate::settings::Scope;

/// Time beyond the caller's wait for one commit, and for the second call of the route with the settlement's outcome.
const BUSY_GRACE: Duration = Duration::from_secs(20);

/// A route's scheme and the networks on which the scheme has routes.
struct Route {
    scheme: String,
    /// Begins with `/`.
    path: String,
    routes: SchemeRoutes,
}

impl App {
    /// Handles a request to a route of a scheme; 404 where no scheme of that name has routes.
    pub(super) async fn scheme_route(&self, request: Request) -> Response {
        let started = Instant::now();
        let Some(route) = self.find_route(request.uri()) else {
            return json(StatusCode::NOT_FOUND, envelope::error("no such path"));
        };
        // Rejected requests are not measured: their paths are the callers' choice.
        let mut response = match self.handle_route(&route, request, started).await {
            Ok(response) => response,
            Err(rejected) => return rejected,
        };
        if response.status() == StatusCode::SERVICE_UNAVAILABLE
            && !response.headers().contains_key(RETRY_AFTER)
        {
            retry_after(&mut response, Some(BUSY_RETRY_S));
        }
        self.measure("scheme", response.status(), "route", started);
        response
    }

    fn find_route(&self, uri: &Uri) -> Option<Route> {
        let path = uri.path().strip_prefix(self.server.base_path.as_str())?;
        let path = path.strip_prefix('/')?;
        let (scheme, path) = path.split_at(path.find('/')?);
        let routes = self.service.routed(scheme);
        (!routes.networks.is_empty()).then(|| Route {
            scheme: scheme.to_owned(),
            path: path.to_owned(),
            routes,
        })
    }

    /// `Err`: the response to a request that does not reach the scheme.
    async fn handle_route(
        &self,
        route: &Route,
        request: Request,
        started: Instant,
    ) -> Result<Response, Response> {
        let admitted = self
            .admission
            .admit_payment(peer(&request), request.headers(), Scope::Settle)
            .map_err(|rejected| rejection(&rejected))?;
        let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
            return Err(bad_request("the query can't be parsed"));
        };
        let idempotency_key = pay::idempotency_key(request.headers()).map_err(bad_request)?;
        let method = request.method().as_str().to_owned();
        let headers = headers_of(request.headers(), &route.routes.terms.headers);
        let body = self.route_body(request).await?;
        let network = if route.routes.terms.is_without_network(&route.path) {
            String::new()
        } else {
            route_network::select(&query, &body, &route.routes.networks, &self.names)
                .map_err(|unknown| json(unknown.status, envelope::error(&unknown.message)))?
        };
        let admitted = self
            .admission
            .dispatch(admitted, Endpoint::Route, &network)
            .map_err(|rejected| rejection(&rejected))?;
        let request = RouteRequest {
            method,
            path: route.path.clone(),
            query,
            body,
            headers,
            tenant: admitted.tenant.clone(),
            idempotency_key,
            outcome: None,
        };
        let wait = admitted.settle_wait.unwrap_or(self.server.settle_wait);
        let wait = wait.saturating_sub(started.elapsed());
        let reply = catch_panic(self.service.route(&route.scheme, &network, request, wait));
        Ok(match timeout(wait.saturating_add(BUSY_GRACE), reply).await {
            Ok(Ok(Routed { response, receipt })) => self.route_response(response, receipt),
            Ok(Err(_)) => json(
                StatusCode::INTERNAL_SERVER_ERROR,
                envelope::error("internal error"),
            ),
            Err(_) => json(
                StatusCode::SERVICE_UNAVAILABLE,
                envelope::error("busy; try again"),
            ),
        })
    }

    /// The body as JSON; `null` when it is empty.
    async fn route_body(&self, request: Request) -> Result<Value, Response> {
        let (limit, time) = (self.server.body_limit_bytes, self.server.body_read);
        match body::read(request.into_body(), limit, time).await.as_deref() {
            Ok([]) => Ok(Value::Null),
            Ok(bytes) => strict_json::parse(lenient::without_bom(bytes))
                .map_err(|why| bad_request(&format!("the body is not acceptable JSON: {why}"))),
            Err(BodyError::TooLarge) => Err(json(
                StatusCode::PAYLOAD_TOO_LARGE,
                envelope::error("the body is too large"),
            )),
            Err(BodyError::TooSlow | BodyError::Broken) => Err(bad_request("the body did not arrive")),
        }
    }

    fn route_response(&self, response: Result<RouteResponse, Fault>, receipt: Receipt) -> Response {
        match response {
            Ok(RouteResponse::Reply { status, body }) => {
                let status = StatusCode::from_u16(status)
                    .ok()
                    .filter(|status| (200..600).contains(&status.as_u16()))
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                self.json_with_receipt(status, body.to_string(), receipt)
            }
            // The service settles on a route's behalf and calls it again; a second request to settle is a defect.
            Ok(RouteResponse::Settle { .. }) => json(
                StatusCode::INTERNAL_SERVER_ERROR,
                envelope::error("internal error"),
            ),
            Err(fault) => {
                let (status, message) = fault_response(&fault);
                let mut response = self.json(status, envelope::error(message));
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    let advised = fault.retry_after_ms.map(|millis| millis.div_ceil(1_000));
                    retry_after(&mut response, Some(advised.unwrap_or(BUSY_RETRY_S).max(1)));
                }
                response
            }
        }
    }
}

/// The headers of these names, in their order.
fn headers_of(headers: &HeaderMap, names: &[String]) -> Vec<(String, String)> {
    let listed = headers
        .iter()
        .filter(|(name, _)| names.iter().any(|listed| listed == name.as_str()));
    listed
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

fn bad_request(message: &str) -> Response {
    json(StatusCode::BAD_REQUEST, envelope::error(message))
}

fn rejection(rejected: &Rejected) -> Response {
    let mut response = json(rejected.status, envelope::error(rejected.reason));
    retry_after(&mut response, rejected.retry_after_s);
    response
}

fn fault_response(fault: &Fault) -> (StatusCode, &str) {
    match fault.kind {
        FaultKind::Invalid => (StatusCode::BAD_REQUEST, fault.message.as_str()),
        FaultKind::Unsupported => (StatusCode::NOT_FOUND, "no such path"),
        FaultKind::Cancelled
        | FaultKind::Deadline
        | FaultKind::Overloaded
        | FaultKind::Shutdown
        | FaultKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "busy; try again"),
        FaultKind::Panic | FaultKind::Internal | FaultKind::Denied | FaultKind::Indeterminate => {
            tracing::warn!(%fault, "scheme_route_failed");
            (StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

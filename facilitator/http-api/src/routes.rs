//! Everything but payments: what is served, how the process is, and the routes that schemes define themselves.

use std::time::Duration;

use axum::extract::{Query, Request};
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use sdk_plugin::fault::FaultKind;
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::{Fault, Purpose, Value};
use serde_json::{Map, json};
use tokio::time::{Instant, timeout};

use super::admission::Rejected;
use super::body::{self, BodyError};
use super::caught::caught;
use super::gates::Endpoint;
use super::reply::{json, peer, retry_after, with_type};
use super::text::clean;
use super::{App, chosen, envelope, loose, pay, strict};
use crate::settings::Scope;
use base::service::{NetworkReadiness, Receipt, Routed, SchemeReadiness};

/// `/supported` asks every scheme; it is documented to be cheap.
const SUPPORTED_WAIT: Duration = Duration::from_secs(10);
/// What is advised where a scheme or its chain is busy.
const BUSY_RETRY_S: u64 = 1;

/// `GET /verify`, `GET /settle`: for people who open the URL.
pub(super) fn describe(purpose: Purpose) -> Response {
    let (endpoint, description) = match purpose {
        Purpose::Verify => ("/verify", "POST to verify x402 payments"),
        Purpose::Settle | Purpose::Job | Purpose::Route => ("/settle", "POST to settle x402 payments"),
    };
    let body = json!({
        "endpoint": endpoint,
        "description": description,
        "body": { "x402Version": "number", "paymentPayload": "PaymentPayload", "paymentRequirements": "PaymentRequirements" },
    });
    json(200, body.to_string())
}

impl App {
    pub(super) async fn supported(&self, request: Request) -> Response {
        let started = Instant::now();
        let admitted = self
            .admission
            .admit(peer(&request), request.headers(), Scope::Supported, false);
        let (status, outcome, body, wait) = match admitted {
            Err(rejected) => (
                rejected.status,
                rejected.reason,
                envelope::error(rejected.reason),
                rejected.retry_after_s,
            ),
            Ok(_inside) => match timeout(SUPPORTED_WAIT, caught(self.service.supported())).await {
                Ok(Ok(reply)) => (200, "ok", envelope::supported(reply, &self.names), None),
                Ok(Err(_)) => (500, "panic", envelope::error("internal error"), None),
                Err(_) => (
                    503,
                    "timeout",
                    envelope::error("busy; try again"),
                    Some(BUSY_RETRY_S),
                ),
            },
        };
        self.measure("/supported", status, outcome, started);
        let mut response = self.json(status, body);
        retry_after(&mut response, wait);
        response
    }

    pub(super) fn health(&self) -> Response {
        let body = json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "draining": self.admission.is_draining(),
        });
        json(200, body.to_string())
    }

    /// 200 while anything can be settled: a chain or scheme that is down must not take the others out of service. A disk
    /// that takes no writes does.
    pub(super) fn ready(&self) -> Response {
        let networks = self.service.readiness();
        let draining = self.admission.is_draining();
        let trouble = self.disk.trouble();
        let ready = !draining && trouble.is_none() && networks.iter().any(NetworkReadiness::serves);
        let networks: Vec<Value> = networks.iter().map(shown).collect();
        let mut body = json!({ "ready": ready, "networks": networks });
        if let (true, Some(body)) = (draining, body.as_object_mut()) {
            body.insert("draining".to_owned(), Value::Bool(true));
            body.insert(
                "why".to_owned(),
                "shutting down: no new payments are taken".into(),
            );
        } else if let (Some(why), Some(body)) = (trouble, body.as_object_mut()) {
            body.insert("why".to_owned(), clean(&why).into());
        }
        self.json(if ready { 200 } else { 503 }, body.to_string())
    }

    pub(super) fn metrics(&self) -> Response {
        self.metrics.set(
            "switchyard_http_requests_inside",
            &[],
            f64::from(self.admission.inside()),
        );
        with_type(
            200,
            self.metrics.render().into(),
            "text/plain; version=0.0.4; charset=utf-8",
        )
    }

    /// `/{scheme}/…` where a scheme of that name has routes, else 404. Whoever may settle may ask: a route can settle.
    pub(super) async fn scheme_route(&self, request: Request) -> Response {
        let started = Instant::now();
        let not_found = || json(404, envelope::error("no such path"));
        let path = request.uri().path().to_owned();
        let Some(path) = path
            .strip_prefix(self.server.base_path.as_str())
            .and_then(|path| path.strip_prefix('/'))
        else {
            return not_found();
        };
        let Some((scheme, rest)) = path.find('/').map(|slash| path.split_at(slash)) else {
            return not_found();
        };
        let networks = self.service.routed(scheme);
        if networks.is_empty() {
            return not_found();
        }
        let admitted = match self
            .admission
            .admit(peer(&request), request.headers(), Scope::Settle, true)
        {
            Ok(admitted) => admitted,
            Err(rejected) => return outside(&rejected),
        };
        let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
            return json(400, envelope::error("the query can't be read"));
        };
        let idempotency_key = match pay::idempotency_key(request.headers()) {
            Ok(key) => key,
            Err(why) => return json(400, envelope::error(why)),
        };
        let method = request.method().as_str().to_owned();
        let bytes = body::read(
            request.into_body(),
            self.server.body_limit_bytes,
            self.server.body_read,
        )
        .await;
        let body = match bytes.as_deref() {
            Ok([]) => Value::Null,
            Ok(bytes) => match strict::parse(loose::without_bom(bytes)) {
                Ok(body) => body,
                Err(why) => {
                    return json(
                        400,
                        envelope::error(&format!("the body is not acceptable JSON: {why}")),
                    );
                }
            },
            Err(BodyError::TooLarge) => return json(413, envelope::error("the body is too large")),
            Err(BodyError::TooSlow | BodyError::Broken) => {
                return json(400, envelope::error("the body did not arrive"));
            }
        };
        let network = match chosen::network(&query, &body, &networks, &self.names) {
            Ok(network) => network,
            Err(unchosen) => return json(unchosen.status, envelope::error(&unchosen.message)),
        };
        let admitted = match self.admission.dispatch(admitted, Endpoint::Route, &network) {
            Ok(admitted) => admitted,
            Err(rejected) => return outside(&rejected),
        };
        let route = RouteRequest {
            method,
            path: rest.to_owned(),
            query,
            body,
            tenant: admitted.tenant.clone(),
            idempotency_key,
            outcome: None,
        };
        let wait = admitted.settle_wait.unwrap_or(self.server.settle_wait);
        let wait = wait.saturating_sub(started.elapsed());
        let asked = caught(self.service.route(scheme, &network, route, wait));
        let answer = timeout(wait.saturating_add(BUSY_GRACE), asked).await;
        let (answer, receipt) = match answer {
            Ok(Ok(Routed { response, receipt })) => (Ok(Ok(response)), receipt),
            Ok(Err(panicked)) => (Ok(Err(panicked)), Receipt::none()),
            Err(elapsed) => (Err(elapsed), Receipt::none()),
        };
        let mut response = match answer {
            Ok(Ok(Ok(RouteResponse::Reply { status, body }))) => {
                let status = if (200..600).contains(&status) { status } else { 500 };
                self.json_with(status, body.to_string(), receipt)
            }
            // The service settles on a route's behalf and calls it again; a second request to settle is a defect.
            Ok(Ok(Ok(RouteResponse::Settle { .. }))) | Ok(Err(_)) => {
                json(500, envelope::error("internal error"))
            }
            Ok(Ok(Err(fault))) => {
                let (status, message) = faulted(&fault);
                let mut response = self.json(status, envelope::error(message));
                if response.status() == 503 {
                    let advised = fault.retry_after_ms.map(|millis| millis.div_ceil(1_000));
                    retry_after(&mut response, Some(advised.unwrap_or(BUSY_RETRY_S).max(1)));
                }
                response
            }
            Err(_) => json(503, envelope::error("busy; try again")),
        };
        if response.status() == 503 && !response.headers().contains_key(RETRY_AFTER) {
            retry_after(&mut response, Some(BUSY_RETRY_S));
        }
        self.measure("scheme", response.status().as_u16(), "route", started);
        response
    }
}

fn outside(rejected: &Rejected) -> Response {
    let mut response = json(rejected.status, envelope::error(rejected.reason));
    retry_after(&mut response, rejected.retry_after_s);
    response
}

/// One network of `/ready`: what is wrong with it, and nothing else.
fn shown(network: &NetworkReadiness) -> Value {
    let mut shown = Map::new();
    shown.insert("network".to_owned(), network.network.clone().into());
    shown.insert("ready".to_owned(), network.ready.into());
    match &network.why_not {
        Some(why) if !network.ready => {
            shown.insert("why".to_owned(), clean(why).into());
        }
        _ => {
            let schemes = not_ready(&network.schemes);
            if !schemes.is_empty() {
                shown.insert("schemes".to_owned(), schemes.into());
            }
        }
    }
    for (name, sentences) in [("alarms", &network.alarms), ("warnings", &network.warnings)] {
        if !sentences.is_empty() {
            let sentences: Vec<Value> = sentences.iter().map(|sentence| clean(sentence).into()).collect();
            shown.insert(name.to_owned(), sentences.into());
        }
    }
    Value::Object(shown)
}

/// Schemes that take nothing new although their network is ready.
fn not_ready(schemes: &[SchemeReadiness]) -> Vec<Value> {
    let of = |scheme: &SchemeReadiness| {
        let why = scheme.why_not.as_deref().unwrap_or("it does not say why");
        json!({ "scheme": scheme.scheme, "ready": false, "why": clean(why) })
    };
    schemes.iter().filter(|scheme| !scheme.ready).map(of).collect()
}

/// More than the caller's wait by a commit and by the route's second call, which says how the settlement ended.
const BUSY_GRACE: Duration = Duration::from_secs(20);

fn faulted(fault: &Fault) -> (u16, &str) {
    match fault.kind {
        FaultKind::Invalid => (400, fault.message.as_str()),
        FaultKind::Unsupported => (404, "no such path"),
        FaultKind::Cancelled
        | FaultKind::Deadline
        | FaultKind::Overloaded
        | FaultKind::Shutdown
        | FaultKind::Unavailable => (503, "busy; try again"),
        FaultKind::Panic | FaultKind::Internal | FaultKind::Denied | FaultKind::Indeterminate => {
            tracing::warn!(%fault, "a scheme's route failed");
            (500, "internal error")
        }
    }
}

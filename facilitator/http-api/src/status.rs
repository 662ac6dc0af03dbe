//! What the facilitator serves and how the process is doing: `/supported`, `/health`, `/ready`, `/metrics`, and the
//! descriptions of the payment endpoints.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use base::service::{NetworkReadiness, SchemeReadiness};
use sdk_plugin::Value;
use serde_json::{Map, json};
use telemetry::metrics;
use tokio::time::{Instant, timeout};

use super::app::App;
use super::endpoint::PaymentEndpoint;
use super::envelope;
use super::panics::catch_panic;
use super::redaction::redact;
use super::reply::{json, peer, retry_after, with_type};
use crate::settings::Scope;

/// `/supported` calls every scheme, and schemes are required to reply fast.
const SUPPORTED_TIMEOUT: Duration = Duration::from_secs(10);
/// `Retry-After` where a scheme or its chain is busy, in seconds.
pub(super) const BUSY_RETRY_S: u64 = 1;

/// `GET /verify` and `GET /settle`, for people who open the URL.
pub(super) fn describe(endpoint: PaymentEndpoint) -> Response {
    let description = match endpoint {
        PaymentEndpoint::Verify => "POST to verify x402 payments",
        PaymentEndpoint::Settle => "POST to settle x402 payments",
    };
    let body = json!({
        "endpoint": endpoint.path(),
        "description": description,
        "body": { "x402Version": "number", "paymentPayload": "PaymentPayload", "paymentRequirements": "PaymentRequirements" },
    });
    json(StatusCode::OK, body.to_string())
}

impl App {
    pub(super) async fn supported(&self, request: Request) -> Response {
        let started = Instant::now();
        let admitted = self
            .admission
            .admit_read(peer(&request), request.headers(), Scope::Supported);
        let (status, outcome, body, wait) = match admitted {
            Err(rejected) => (
                rejected.status,
                rejected.reason,
                envelope::error(rejected.reason),
                rejected.retry_after_s,
            ),
            Ok(_permit) => match timeout(SUPPORTED_TIMEOUT, catch_panic(self.service.supported())).await {
                Ok(Ok(reply)) => (
                    StatusCode::OK,
                    "ok",
                    envelope::supported(reply, &self.names),
                    None,
                ),
                Ok(Err(_)) => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "panic",
                    envelope::error("internal error"),
                    None,
                ),
                Err(_) => (
                    StatusCode::SERVICE_UNAVAILABLE,
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
        json(StatusCode::OK, body.to_string())
    }

    /// 200 while at least one network can settle: one chain or scheme that is down must not take the others out of
    /// service. 503 while draining, while the disk refuses writes, and while the database of the journal does not answer.
    pub(super) fn ready(&self) -> Response {
        let networks = self.service.readiness();
        let journal = self.service.journal();
        let draining = self.admission.is_draining();
        let trouble = self.disk.trouble().or(journal.why_not);
        let ready = !draining && trouble.is_none() && networks.iter().any(NetworkReadiness::serves);
        let networks: Vec<Value> = networks.iter().map(network_status).collect();
        let mut body = Map::new();
        body.insert("ready".to_owned(), ready.into());
        body.insert("networks".to_owned(), networks.into());
        if draining {
            body.insert("draining".to_owned(), true.into());
            let why = "shutting down: no new payments are taken";
            body.insert("why".to_owned(), why.into());
        } else if let Some(why) = trouble {
            body.insert("why".to_owned(), redact(&why).into());
        }
        insert_sentences(&mut body, "alarms", &journal.alarms);
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        self.json(status, Value::Object(body).to_string())
    }

    pub(super) fn metrics(&self) -> Response {
        self.metrics.set(
            "switchyard_http_requests_inside",
            &[],
            f64::from(self.admission.in_flight()),
        );
        with_type(
            StatusCode::OK,
            self.metrics.render().into(),
            metrics::CONTENT_TYPE,
        )
    }
}

/// One network of `/ready`: whether it is ready, and its problems.
fn network_status(network: &NetworkReadiness) -> Value {
    let mut status = Map::new();
    status.insert("network".to_owned(), network.network.clone().into());
    status.insert("ready".to_owned(), network.ready.into());
    match &network.why_not {
        Some(why) if !network.ready => {
            status.insert("why".to_owned(), redact(why).into());
        }
        _ => {
            let schemes = unready_schemes(&network.schemes);
            if !schemes.is_empty() {
                status.insert("schemes".to_owned(), schemes.into());
            }
        }
    }
    for (name, sentences) in [("alarms", &network.alarms), ("warnings", &network.warnings)] {
        insert_sentences(&mut status, name, sentences);
    }
    Value::Object(status)
}

fn insert_sentences(status: &mut Map<String, Value>, name: &str, sentences: &[String]) {
    if !sentences.is_empty() {
        let sentences: Vec<Value> = sentences.iter().map(|sentence| redact(sentence).into()).collect();
        status.insert(name.to_owned(), sentences.into());
    }
}

/// Schemes that accept no new payments although their network is ready.
fn unready_schemes(schemes: &[SchemeReadiness]) -> Vec<Value> {
    let status = |scheme: &SchemeReadiness| {
        let why = scheme.why_not.as_deref().unwrap_or("the scheme gives no reason");
        json!({ "scheme": scheme.scheme, "ready": false, "why": redact(why) })
    };
    schemes
        .iter()
        .filter(|scheme| !scheme.ready)
        .map(status)
        .collect()
}

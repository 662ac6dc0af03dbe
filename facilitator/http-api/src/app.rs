//! What every handler needs, and how each response leaves: without private keys, and counted.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use base::key_digests::KeyDigests;
use base::service::{Receipt, Service};
use sdk_plugin::wire::reason;
use telemetry::Metrics;
use telemetry::disk::Disk;
use tokio::time::Instant;

use super::admission::Admission;
use super::names::NetworkNames;
use super::settings::{Server, Settings};
use super::{causes, delivery, redaction, reply};

/// Everything that a handler needs.
pub(crate) struct App {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) server: Server,
    pub(crate) names: NetworkNames,
    pub(crate) admission: Admission,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) disk: Disk,
    /// Digests of the private keys, which no response may contain.
    keys: KeyDigests,
}

impl App {
    pub(crate) fn new(
        settings: &Settings,
        service: Arc<dyn Service>,
        metrics: Arc<Metrics>,
        keys: KeyDigests,
    ) -> Arc<Self> {
        begin_at_zero(&metrics);
        Arc::new(Self {
            service,
            server: settings.server.clone(),
            names: settings.names.clone(),
            admission: Admission::new(settings),
            metrics,
            disk: Disk::new(&settings.data_directory),
            keys,
        })
    }

    /// Makes a JSON response whose body contains none of the process's private keys.
    pub(crate) fn json(&self, status: StatusCode, body: String) -> Response {
        self.json_with_receipt(status, body, Receipt::none())
    }

    /// Like [`App::json`]. The receipt counts as delivered when the connection takes the body.
    pub(crate) fn json_with_receipt(&self, status: StatusCode, body: String, receipt: Receipt) -> Response {
        let body = redaction::hide_keys(body, &self.keys);
        reply::with_type(status, delivery::body(body, receipt), reply::JSON)
    }

    /// Counts a response. `outcome`: a reason, or `valid`, `success`, `replay`, `ok`.
    // There is no log line for each request: its response is counted here, and each answered settle has a line. What happens
    // to a payment is logged with its settlement's number.
    pub(crate) fn measure(&self, path: &'static str, status: StatusCode, outcome: &str, started: Instant) {
        let labels = [("path", path), ("status", status.as_str()), ("outcome", outcome)];
        self.metrics.add("switchyard_http_requests_total", &labels, 1);
        self.metrics.observe(
            "switchyard_http_request_seconds",
            &[("path", path)],
            started.elapsed().as_secs_f64(),
        );
    }
}

/// Counters that alarms read exist from the start: a rate over a series that appears with its first event misses that event.
fn begin_at_zero(metrics: &Metrics) {
    for (path, good) in [("/verify", "valid"), ("/settle", "success")] {
        for cause in causes::ALL {
            metrics.add(
                "switchyard_unavailable_total",
                &[("path", path), ("cause", cause)],
                0,
            );
        }
        for (status, outcome) in [("200", good), ("503", reason::SERVICE_UNAVAILABLE)] {
            let labels = [("path", path), ("status", status), ("outcome", outcome)];
            metrics.add("switchyard_http_requests_total", &labels, 0);
        }
    }
}

//! The task that sends spans and metrics to the collector.
//!
//! Assumes nothing of the collector: it may refuse, hang or answer anything of any length.

use std::sync::Arc;
use std::time::Duration;

use base::span::{self, Span};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::metrics::{Times, from_text};
use super::spans::{DROPPED, Queue, message, now_ns};
use super::wire::{
    KeyValue, MetricsRequest, Resource, ResourceMetrics, ResourceSpans, Scope, ScopeMetrics, ScopeSpans,
    TraceRequest,
};
use super::{BATCH, QUEUE, SPAN_INTERVAL, Settings, TIMEOUT, TRIES};
use crate::Metrics;

const EXPORTS: &str = "switchyard_otlp_exports_total";
/// An answer is read only to use its connection again.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;
/// Pause before the second try; the third waits twice as long.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often the log reports that the collector is away.
const REPORT_INTERVAL: Duration = Duration::from_secs(600);
/// What the end of the process leaves for the last request.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// Telemetry can't be sent.
#[derive(Debug, thiserror::Error)]
#[error("the built-in TLS can't be set up")]
pub struct StartError;

/// Sends telemetry while [`Exporter::run`] is polled.
pub struct Exporter {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    settings: Settings,
    traces: Uri,
    metrics_to: Uri,
    spans: mpsc::Receiver<Span>,
    metrics: Arc<Metrics>,
    started_ns: u64,
    /// When the log reported last that the collector is away; `None`: it is not.
    away_since: Option<Instant>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
enum Signal {
    Spans,
    Metrics,
}

/// Collects the spans of this process from now on. What is returned sends them.
///
/// # Errors
/// TLS can't be set up.
pub fn start(settings: Settings, metrics: Arc<Metrics>) -> Result<Exporter, StartError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(TIMEOUT));
    let tls = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
        .map_err(|_| StartError)?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(1)
        .build(tls);
    for signal in [Signal::Spans, Signal::Metrics] {
        metrics.add(DROPPED, &[("signal", signal.name())], 0);
        for outcome in ["ok", "failed"] {
            metrics.add(EXPORTS, &[("signal", signal.name()), ("outcome", outcome)], 0);
        }
    }
    let (sender, spans) = mpsc::channel(QUEUE);
    let queue = Queue::new(sender, settings.sampled_per_million, Arc::clone(&metrics));
    span::install(Box::new(queue));
    Ok(Exporter {
        client,
        traces: below(&settings.endpoint, "v1/traces"),
        metrics_to: below(&settings.endpoint, "v1/metrics"),
        settings,
        spans,
        metrics,
        started_ns: now_ns(),
        away_since: None,
    })
}

impl Exporter {
    /// Sends until `end`, and then once more what is left.
    pub async fn run(mut self, end: oneshot::Receiver<()>) {
        let mut spans_due = interval(SPAN_INTERVAL);
        let mut metrics_due = interval(self.settings.metrics_interval);
        for due in [&mut spans_due, &mut metrics_due] {
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let work = async {
            loop {
                tokio::select! {
                    _ = spans_due.tick() => while self.send_spans().await {},
                    _ = metrics_due.tick() => self.send_metrics().await,
                }
            }
        };
        tokio::select! {
            () = work => {}
            _ = end => {}
        }
        let last = async {
            while self.send_spans().await {}
            self.send_metrics().await;
        };
        let _ = timeout(LAST_TIMEOUT, last).await;
    }

    /// Sends one batch. `true`: there are more.
    async fn send_spans(&mut self) -> bool {
        let mut spans = Vec::new();
        while spans.len() < BATCH {
            match self.spans.try_recv() {
                Ok(span) => spans.push(message(span)),
                Err(_) => break,
            }
        }
        if spans.is_empty() {
            return false;
        }
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let request = TraceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope()),
                    spans,
                }],
            }],
        };
        self.send(Signal::Spans, request.encode_to_vec(), count).await;
        true
    }

    async fn send_metrics(&mut self) {
        let times = Times {
            started_ns: self.started_ns,
            now_ns: now_ns(),
        };
        let request = MetricsRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics: from_text(&self.metrics.render(), times),
                }],
            }],
        };
        self.send(Signal::Metrics, request.encode_to_vec(), 1).await;
    }

    fn resource(&self) -> Resource {
        let own = [
            ("service.name", self.settings.service_name.clone()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("telemetry.sdk.name", "switchyard".to_owned()),
            ("telemetry.sdk.language", "rust".to_owned()),
        ];
        let more = self.settings.resource.iter();
        let more = more.filter(|(key, _)| own.iter().all(|(name, _)| name != key));
        Resource {
            attributes: own
                .iter()
                .map(|(key, value)| KeyValue::text(key, value.as_str()))
                .chain(more.map(|(key, value)| KeyValue::text(key, value.as_str())))
                .collect(),
        }
    }

    /// Sends a request, and drops it when the collector does not take it. `count`: the spans in it.
    async fn send(&mut self, signal: Signal, body: Vec<u8>, count: u64) {
        let body = Bytes::from(body);
        let mut sent = Err(String::new());
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(RETRY_PAUSE.saturating_mul(attempt)).await;
            }
            sent = match timeout(TIMEOUT, self.post(signal, body.clone())).await {
                Ok(Ok(status)) if status.is_success() => Ok(()),
                Ok(Ok(status)) => Err(format!("it answered HTTP {}", status.as_u16())),
                Ok(Err(why)) => Err(why.to_owned()),
                Err(_) => Err("it did not answer in time".to_owned()),
            };
            if sent.is_ok() {
                break;
            }
        }
        let name = ("signal", signal.name());
        let outcome = if sent.is_ok() { "ok" } else { "failed" };
        self.metrics.add(EXPORTS, &[name, ("outcome", outcome)], 1);
        if sent.is_err() {
            self.metrics.add(DROPPED, &[name], count);
        }
        self.report(sent);
    }

    fn report(&mut self, sent: Result<(), String>) {
        let collector = self.settings.endpoint.host().unwrap_or_default();
        match (sent, self.away_since) {
            (Ok(()), Some(_)) => {
                tracing::info!(collector, "otlp_export_works");
                self.away_since = None;
            }
            (Ok(()), None) => {}
            (Err(_), Some(at)) if at.elapsed() < REPORT_INTERVAL => {}
            (Err(why), _) => {
                tracing::warn!(
                    collector,
                    "otlp_export_failed: telemetry is dropped and payments continue: {why}; check telemetry.otlp_endpoint and \
                     the collector"
                );
                self.away_since = Some(Instant::now());
            }
        }
    }

    async fn post(&self, signal: Signal, body: Bytes) -> Result<StatusCode, &'static str> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = match signal {
            Signal::Spans => self.traces.clone(),
            Signal::Metrics => self.metrics_to.clone(),
        };
        let headers = request.headers_mut();
        headers.extend(
            self.settings
                .headers
                .iter()
                .map(|(name, value)| (Some(name.clone()), value.clone()))
                .filter_map(|(name, value)| Some((name?, value))),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION"))),
        );
        let response = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                "no connection"
            } else {
                "it broke the connection"
            }
        })?;
        let status = response.status();
        let _ = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok(status)
    }
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Metrics => "metrics",
        }
    }
}

fn scope() -> Scope {
    Scope {
        name: "switchyard".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The URL of a path below the endpoint's.
fn below(endpoint: &Uri, path: &str) -> Uri {
    let base = endpoint.path().trim_end_matches('/');
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = format!("{base}/{path}").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_paths_below_the_endpoint() {
        for (endpoint, expected) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/", "https://c/otlp/v1/traces"),
        ] {
            assert_eq!(
                below(&endpoint.parse().unwrap(), "v1/traces").to_string(),
                expected
            );
        }
    }
}

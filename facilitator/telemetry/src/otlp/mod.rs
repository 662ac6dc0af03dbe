//! Sends spans and metrics to a collector: OTLP over HTTP, protobuf.
//!
//! Payments never wait for the collector. A finished span goes into a bounded queue; where that is full it is dropped and counted.
//! One task sends what is queued, a batch at a time, and a batch that the collector does not take within a few tries is dropped and
//! counted too. The log reports once in a while that the collector is away.
//!
//! The crates `opentelemetry` and `opentelemetry-otlp` are not used: their queue drops without a count that can be read, and their
//! metrics are a registry of their own beside that of `/metrics`. What is sent is protobuf of a dozen small messages ([`wire`]).

mod export;
mod metrics;
mod spans;
mod wire;

use std::fmt;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

pub use export::{Exporter, StartError, start};

/// Spans that wait to be sent.
const QUEUE: usize = 4_096;
/// Spans in one request.
const BATCH: usize = 512;
/// How long spans wait for others to share a request.
const SPAN_INTERVAL: Duration = Duration::from_secs(1);
/// How long a collector may take to respond.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often one request is tried.
const TRIES: u32 = 3;
/// One million: every trace is recorded.
pub const EVERY_TRACE: u32 = 1_000_000;

/// The URL of a collector.
pub type Endpoint = Uri;
/// Names and values.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Where telemetry goes. `Debug` hides the headers.
#[derive(Clone)]
pub struct Settings {
    /// `http` or `https`, without a query. `/v1/traces` and `/v1/metrics` are appended.
    pub endpoint: Endpoint,
    /// For instance an API key of the collector's operator.
    pub headers: Headers,
    pub service_name: String,
    /// Further attributes of the process, by name.
    pub resource: Vec<(String, String)>,
    /// So many of a million traces that start here are recorded.
    pub sampled_per_million: u32,
    pub metrics_interval: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&HeaderName> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("headers", &names)
            .field("service_name", &self.service_name)
            .field("sampled_per_million", &self.sampled_per_million)
            .finish_non_exhaustive()
    }
}

/// The headers in a text as `OTEL_EXPORTER_OTLP_HEADERS` has it: `name=value,name=value`, values percent-encoded where needed.
/// `None`: it has another form.
#[must_use]
pub fn headers(text: &str) -> Option<Headers> {
    let pairs = text
        .trim()
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = percent_encoding::percent_decode_str(value.trim());
            let mut value = HeaderValue::from_bytes(&value.collect::<Vec<u8>>()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse().ok()?, value))
        })
        .collect()
}

/// The attributes in a text as `OTEL_RESOURCE_ATTRIBUTES` has it: `name=value,name=value`. Parts of another form are left out.
#[must_use]
pub fn resource(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| {
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy();
            (name.trim().to_owned(), value.into_owned())
        })
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// The URL of a collector; `None`: the text is none. User names, passwords and queries are refused: secrets belong into headers.
#[must_use]
pub fn endpoint(text: &str) -> Option<Endpoint> {
    let uri: Uri = text.trim().parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let is_plain = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    (is_http && has_host && is_plain).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_pairs_and_hidden() {
        let read = headers("api-key=s3cret%20value, x-team = a ").unwrap();
        let shown: Vec<_> = read
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(shown, [("api-key", "s3cret value"), ("x-team", "a")]);
        for bad in ["api-key", "a b=c", "a=%0a"] {
            assert!(headers(bad).is_none(), "{bad}");
        }
        assert_eq!(headers(" "), Some(Vec::new()));
        let settings = Settings {
            endpoint: endpoint("https://collector.example:4318").unwrap(),
            headers: read,
            service_name: "s".into(),
            resource: Vec::new(),
            sampled_per_million: 1,
            metrics_interval: TIMEOUT,
        };
        let debug = format!("{settings:?}");
        assert!(debug.contains("api-key") && !debug.contains("s3cret"), "{debug}");
    }

    #[test]
    fn an_endpoint_is_a_plain_http_url() {
        for good in ["http://127.0.0.1:4318", "https://collector.example/otlp/"] {
            assert!(endpoint(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "collector:4318",
            "grpc://a:1",
            "https://u:p@a",
            "https://a/?key=1",
            "https://",
        ] {
            assert!(endpoint(bad).is_none(), "{bad}");
        }
        assert_eq!(
            resource("deployment.environment.name=test, =x,bad,a=b%20c"),
            [("deployment.environment.name", "test"), ("a", "b c")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }
}

//! HTTP to nodes: the client that all networks share, and one POST.
//!
//! Assumes that a node may send anything, of any length, or nothing at all: every read is bounded in bytes and time.

use std::error::Error as _;
use std::time::Duration;

use base::trace::Trace;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::url::SecretUrl;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest text of the system or of TLS that is shown, in characters.
const MAX_CAUSE_CHARS: usize = 200;
/// A connection that takes longer counts as never made, so a send over it certainly had no effect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are closed ahead of usual load balancers, which drop them silently (60 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// HTTP/1.1 with keep-alive, TLS with built-in roots, no redirects.
pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(super) fn client(max_idle_per_host: usize) -> Result<HttpClient, rustls::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tls = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(max_idle_per_host)
        .build(tls))
}

/// One POST. `trace`: the node gets it as `traceparent`. Returns the bytes of an answer that may be JSON-RPC.
pub(super) async fn post(
    client: &HttpClient,
    url: &SecretUrl,
    body: Bytes,
    limit_bytes: usize,
    trace: Option<Trace>,
    until: Instant,
) -> Result<Bytes, Failure> {
    timeout_at(until, exchange(client, url, body, limit_bytes, trace))
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

async fn exchange(
    client: &HttpClient,
    url: &SecretUrl,
    body: Bytes,
    limit_bytes: usize,
    trace: Option<Trace>,
) -> Result<Bytes, Failure> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = url.uri().clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION"))),
    );
    // Digits and dashes are always a value.
    if let Some(trace) = trace.and_then(|trace| HeaderValue::from_str(&trace.header()).ok()) {
        headers.insert(TRACEPARENT, trace);
    }
    if let Some(authorization) = url.authorization() {
        headers.insert(AUTHORIZATION, authorization.clone());
    }

    let response = client.request(request).await.map_err(|error| {
        if error.is_connect() {
            Failure::Connect(innermost_cause(&error))
        } else {
            Failure::Broken
        }
    })?;
    let status = response.status();
    // Some servers put 400 around a JSON-RPC error.
    if !status.is_success() && status != StatusCode::BAD_REQUEST {
        return Err(Failure::Status(status, retry_after(response.headers())));
    }
    match Limited::new(response.into_body(), limit_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge { limit_bytes }),
        Err(_) => Err(Failure::Broken),
    }
}

/// `Retry-After` in seconds. The form with a date is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The text of the system or of TLS. The outer errors only say "connect", and none names the URL's path.
fn innermost_cause(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = String::from("no connection");
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_CAUSE_CHARS)
        .collect()
}

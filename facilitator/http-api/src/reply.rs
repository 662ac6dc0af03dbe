//! Small pieces of HTTP that every handler uses.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::envelope;
use crate::connections::Peer;

pub(super) const JSON: &str = "application/json";

/// Returns the address of the remote end of the request's connection.
pub(super) fn peer(request: &Request) -> IpAddr {
    // The listener always sets it; without it, all callers share one bucket.
    request
        .extensions()
        .get::<Peer>()
        .and_then(|peer| peer.address)
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip())
}

pub(super) fn json(status: StatusCode, body: String) -> Response {
    with_type(status, Body::from(body), JSON)
}

pub(super) fn with_type(status: StatusCode, body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The response to a method that a path does not have.
pub(super) fn method_not_allowed() -> Response {
    json(
        StatusCode::METHOD_NOT_ALLOWED,
        envelope::error("this path takes another method"),
    )
}

/// What became of the request's extensions: base64 of a JSON object, by extension.
const EXTENSION_RESPONSES: HeaderName = HeaderName::from_static("extension-responses");

pub(super) fn extension_results(response: &mut Response, results: Option<String>) {
    if let Some(value) = results.and_then(|results| HeaderValue::from_str(&results).ok()) {
        response.headers_mut().insert(EXTENSION_RESPONSES, value);
    }
}

pub(super) fn retry_after(response: &mut Response, seconds: Option<u64>) {
    if let Some(seconds) = seconds {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

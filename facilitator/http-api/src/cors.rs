//! Cross-origin requests (CORS): which web pages' scripts may read a response.
//!
//! `/supported`, `/health` and `/openapi.json` are readable for the configured origins; payments only where the operator allows that too.
//! No response allows credentials: API keys travel in headers that a script sets, never in cookies.
//!
//! tower-http's `CorsLayer` is not used: it answers every `OPTIONS` with 200 and never with 405 and `Allow`, and varies
//! responses by more headers than they depend on.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::reply;
use crate::settings::{Origins, Server};

/// How long a browser may cache a preflight response, in seconds.
const MAX_AGE_S: &str = "600";
/// Response headers that a script may read.
const EXPOSED_HEADERS: &str = "Retry-After, Preference-Applied, X-Request-Id, Extension-Responses";
/// Request headers that a script may set.
const ALLOWED_HEADERS: &str =
    "authorization, content-type, idempotency-key, prefer, traceparent, x-api-key, x-request-id";

/// What a path is used for, as far as CORS is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads of public data.
    Reads,
    /// `/verify` and `/settle`.
    Payments,
}

impl Access {
    fn methods(self) -> &'static str {
        match self {
            Self::Reads => "GET, HEAD, OPTIONS",
            Self::Payments => "GET, HEAD, POST, OPTIONS",
        }
    }

    fn is_open(self, server: &Server) -> bool {
        match self {
            Self::Reads => true,
            Self::Payments => server.cors_payments,
        }
    }
}

/// Adds the CORS headers to a response. `request`: the headers of the request.
pub(super) fn allow(server: &Server, access: Access, request: &HeaderMap, response: &mut Response) {
    if !access.is_open(server) {
        return;
    }
    let headers = response.headers_mut();
    let allowed = match &server.cors_origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::These(origins) => {
            // The response depends on the origin: a cache must not give one page's response to another page.
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
            let origin = request.get(header::ORIGIN);
            let listed =
                |origin: &&HeaderValue| origins.iter().any(|known| known.as_bytes() == origin.as_bytes());
            origin.filter(listed).cloned()
        }
    };
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED_HEADERS),
        );
    }
}

/// The response to `OPTIONS`: 204 with what is allowed, or 405 where scripts of web pages are not allowed.
pub(super) fn preflight(server: &Server, access: Access, request: &Request) -> Response {
    if !access.is_open(server) {
        return reply::method_not_allowed();
    }
    let mut response = reply::json(StatusCode::NO_CONTENT, String::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    allow(server, access, request.headers(), &mut response);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(access.methods()));
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, access.methods()),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

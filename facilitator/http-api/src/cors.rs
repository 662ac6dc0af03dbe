//! Cross-origin reads (CORS): which web pages' scripts may see an answer.
//!
//! `/supported` and `/health` are readable for the configured origins; payments only where the operator says so as well.
//! No answer allows credentials: API keys travel in headers that a script sets, never in cookies.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::reply;
use crate::settings::{Origins, Server};

/// How long a browser may remember a preflight's answer, seconds.
const MAX_AGE_S: &str = "600";
/// What a script may read beside the body.
const EXPOSED: &str = "Retry-After, Preference-Applied";
/// What a script may send.
const HEADERS: &str = "authorization, content-type, idempotency-key, prefer, x-api-key";

/// What a path is for, as far as browsers are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads that tell nothing secret.
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

/// Adds to an answer who may read it. `request`: the headers of the request.
pub(super) fn allow(server: &Server, access: Access, request: &HeaderMap, response: &mut Response) {
    if !access.is_open(server) {
        return;
    }
    let headers = response.headers_mut();
    let allowed = match &server.cors_origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::These(origins) => {
            // The answer depends on who asks: a cache must not give one page's to another.
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
            HeaderValue::from_static(EXPOSED),
        );
    }
}

/// The answer to `OPTIONS`: 204 with what is allowed; 405 where browsers are not let in.
pub(super) fn preflight(server: &Server, access: Access, request: &Request) -> Response {
    if !access.is_open(server) {
        return reply::json(405, super::envelope::error("this path takes another method"));
    }
    let mut response = reply::json(204, String::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    allow(server, access, request.headers(), &mut response);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(access.methods()));
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, access.methods()),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

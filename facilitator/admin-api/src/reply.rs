//! How each response leaves: with headers that keep a browser from doing more than showing it.

use axum::body::Body;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::access::Refused;
use crate::error::DeskError;

const JSON: &str = "application/json";

/// Headers of every response. Nothing but this origin's own files is loaded, run, framed or connected to, and no script can turn
/// a text into markup (Trusted Types).
const SECURITY: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

pub(crate) fn with_type(status: StatusCode, body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn secure(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

pub(crate) fn json(status: StatusCode, body: String) -> Response {
    with_type(status, Body::from(body), JSON)
}

pub(crate) fn error(status: StatusCode, sentence: &str) -> Response {
    json(status, json!({ "error": sentence }).to_string())
}

impl Refused {
    pub(crate) fn response(self) -> Response {
        match self {
            Self::Host => error(
                StatusCode::MISDIRECTED_REQUEST,
                "this name is not one of this listener; add it to admin.hosts if it is yours",
            ),
            Self::Origin => error(
                StatusCode::FORBIDDEN,
                "the request comes from a page of another origin",
            ),
            Self::Token => {
                let mut response = error(
                    StatusCode::UNAUTHORIZED,
                    "send the header Authorization: Bearer and one of the tokens of [[operators]]",
                );
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
                response
            }
            Self::TooMany(wait_s) => {
                let mut response = error(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens");
                let wait = HeaderValue::from(wait_s);
                response.headers_mut().insert(header::RETRY_AFTER, wait);
                response
            }
        }
    }
}

impl DeskError {
    pub(crate) fn response(&self) -> Response {
        let (status, sentence) = match self {
            Self::Invalid(sentence) => (StatusCode::BAD_REQUEST, sentence),
            Self::Unknown(sentence) => (StatusCode::NOT_FOUND, sentence),
            Self::Conflict(sentence) => (StatusCode::CONFLICT, sentence),
            Self::Unavailable(sentence) => (StatusCode::SERVICE_UNAVAILABLE, sentence),
        };
        error(status, sentence)
    }
}

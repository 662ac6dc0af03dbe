//! `GET /openapi.json` and `GET /docs`: the description of this API, for programs and for people.
//!
//! Both files are generated from the code by `tests/openapi`, which also compares every response of the other tests with
//! them. Nothing is made at run time but the base path, and the page loads nothing and runs no script.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::app::App;
use super::reply::{self, with_type};

/// OpenAPI 3.1.
pub(super) const DOCUMENT: &str = include_str!("../../../docs/src/openapi.json");
/// The inner HTML of the page's body.
const PAGE: &str = include_str!("openapi/page.html");
const STYLE: &str = include_str!("openapi/page.css");
/// The document's base path, where the configuration has none.
const BASE: &str = r#""url": "/""#;

/// The style is in the page, and this is the only one that may be.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

impl App {
    pub(super) fn openapi(&self) -> Response {
        let base = &self.server.base_path;
        let text = if base.is_empty() {
            DOCUMENT.to_owned()
        } else {
            // A base path has no character that JSON escapes.
            DOCUMENT.replacen(BASE, &format!(r#""url": "{base}""#), 1)
        };
        reply::json(StatusCode::OK, text)
    }
}

/// The same document as a page.
pub(super) fn page() -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>Switchyard: HTTP API</title>\n<style>{STYLE}</style>\n{PAGE}</html>\n"
    );
    let mut response = with_type(StatusCode::OK, html.into(), "text/html; charset=utf-8");
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

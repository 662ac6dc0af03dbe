//! What every handler needs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use base::key_digests::KeyDigests;
use http_api::connections::Peer;
use http_api::redaction;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::desk::Desk;
use crate::reply;

/// Streams that may be open at once.
const MAX_STREAMS: usize = 16;

/// Everything that a handler needs.
pub(crate) struct App {
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) access: Access,
    pub(crate) streams: Arc<Semaphore>,
    /// Digests of the private keys, which no response may contain.
    keys: KeyDigests,
}

impl App {
    pub(crate) fn new(desk: Arc<dyn Desk>, access: Access, keys: KeyDigests) -> Self {
        Self {
            desk,
            access,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            keys,
        }
    }

    /// A value as a line of JSON, without private keys.
    pub(crate) fn text(&self, value: &impl Serialize) -> Option<String> {
        let text = serde_json::to_string(value).ok()?;
        Some(redaction::hide_keys(text, &self.keys))
    }

    pub(crate) fn json(&self, value: &impl Serialize) -> Response {
        match self.text(value) {
            Some(text) => reply::json(StatusCode::OK, text),
            None => reply::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        }
    }

    /// Hides private keys in a sentence of an error.
    pub(crate) fn hidden(&self, response: Response, sentence: &str) -> Response {
        let (parts, _) = response.into_parts();
        let text = serde_json::json!({ "error": sentence }).to_string();
        Response::from_parts(parts, Body::from(redaction::hide_keys(text, &self.keys)))
    }
}

/// The address that wrong tokens count against: of this machine, on a Unix socket.
pub(crate) fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    peer.and_then(|peer| peer.address)
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

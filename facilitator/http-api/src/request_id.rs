//! The header `X-Request-Id`: one id for each request, from the caller where it sends a good one, on every response and in the
//! log lines that are written while the request is handled.
//!
//! It names one try of a caller, not a payment: several tries of one payment share its claim, which the log names too.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use base::span::{self, OpenSpan};
use base::trace::{self, Trace};
use tracing::Instrument as _;

const NAME: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the routes end with that have no spans.
const PROBES: [&str; 3] = ["/health", "/ready", "/metrics"];
/// Methods that appear in spans; others are text of the caller.
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
/// Longest id that is taken from a caller, in bytes.
const MAX_LENGTH: usize = 128;

/// Handles a request under its id.
pub(super) async fn identify(request: Request, next: Next) -> Response {
    let id = of_caller(request.headers()).unwrap_or_else(new_id);
    let (trace, is_from_caller) = trace_of(request.headers(), &id);
    let mut recorded = span_of(&request, trace, is_from_caller);
    let trace = recorded.trace().or(trace);
    // Of the highest level, so that no log level hides the id of a line that is written.
    let span = tracing::error_span!("request", message = %id);
    let handled = next.run(request).instrument(span);
    let mut response = trace::within(trace, handled).await;
    recorded.number("http.response.status_code", response.status().as_u16().into());
    if response.status().is_server_error() {
        recorded.fail(response.status().as_str());
    }
    // Always valid: letters, digits and punctuation.
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(NAME, id);
    }
    response
}

/// The span of a request: the first of this process in its trace. Reads of its state by probes and scrapers have none.
fn span_of(request: &Request, trace: Option<Trace>, is_from_caller: bool) -> OpenSpan {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map(|path| path.as_str().trim_end_matches('/'));
    let is_probe = route.is_some_and(|route| PROBES.iter().any(|probe| route.ends_with(probe)));
    let Some(trace) = trace.filter(|_| !is_probe) else {
        return OpenSpan::none();
    };
    let method = METHODS
        .iter()
        .find(|method| **method == request.method().as_str());
    let method = method.copied().unwrap_or("_OTHER");
    let mut span = span::open_first(trace, is_from_caller, method);
    if span.is_recorded() {
        span.text("http.request.method", method);
        // Other paths are the caller's text.
        if let Some(route) = route {
            span.rename(format!("{method} {route}"));
            span.text("http.route", route);
        }
    }
    span
}

/// The caller's trace, if it sends one; else one whose id is the request's, or a new one. `true`: the caller's.
fn trace_of(headers: &HeaderMap, id: &str) -> (Option<Trace>, bool) {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let sent = values.next().filter(|_| values.next().is_none());
    match sent.and_then(|value| Trace::parse(value.to_str().ok()?)) {
        Some(sent) => (Some(sent), true),
        None => (Trace::of_id(id).or_else(|| Trace::of_id(&new_id())), false),
    }
}

/// The id of the caller, if it is sent once, is short, and has only characters that need no escape in a log line.
fn of_caller(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(NAME).iter();
    let id = values.next()?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    let is_good = (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_plain) && values.next().is_none();
    is_good.then(|| id.to_owned())
}

/// A new id: 128 bits, unique and not guessable from others.
fn new_id() -> String {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let [first, second] = KEYS.each_ref().map(|key| key.hash_one(number));
    format!("{first:016x}{second:016x}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_of_a_caller_is_short_and_plain() {
        let headers = |values: &[&str]| {
            let values = values
                .iter()
                .map(|value| (NAME, HeaderValue::from_str(value).unwrap()));
            values.collect::<HeaderMap>()
        };
        let longest = "a".repeat(MAX_LENGTH);
        for good in [
            "1",
            "0190f3c2-7d1e-7c3a-9b1e-2f6f0a7d9e11",
            "Root=1-67891233-abcdef",
            &longest,
        ] {
            assert_eq!(of_caller(&headers(&[good])).as_deref(), Some(good));
        }
        let longer = "a".repeat(MAX_LENGTH + 1);
        for bad in ["", " ", "a b", "a\"b", "a\tb", "a%b", "{}", &longer] {
            assert_eq!(of_caller(&headers(&[bad])), None, "{bad:?}");
        }
        assert_eq!(of_caller(&headers(&[])), None);
        assert_eq!(of_caller(&headers(&["a", "b"])), None);
        let not_text = HeaderMap::from_iter([(NAME, HeaderValue::from_bytes(&[0xff]).unwrap())]);
        assert_eq!(of_caller(&not_text), None);
    }

    #[test]
    fn new_ids_are_unique_and_accepted_as_a_callers() {
        let ids: BTreeSet<String> = (0..1_000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}

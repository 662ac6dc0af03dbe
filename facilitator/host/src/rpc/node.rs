//! One URL of a network: how it is doing, and one HTTP exchange with it.
//!
//! A node that fails rests for a back-off that doubles with each failure in a row. Nodes that failed are asked last, so
//! that a network of one URL is never cut off by its own back-off. Operators are told when a node goes and comes back.
//!
//! What a node serves (which chain, how new a head) is for the engine to judge, which sets a node aside that serves the wrong
//! thing: its answers may be well formed and are not used. After each failure that judgement is due again.

use base::nodes::NodeState;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::url::SecretUrl;

/// First rest of a failing node.
const REST_FIRST: Duration = Duration::from_millis(500);
/// Longest rest: the engine's first read after it finds a node that has come back.
const REST_MAX: Duration = Duration::from_secs(30);
/// Failures, each after the rest of the one before, that are followed by another attempt at once. More are an outage.
const MAX_IN_A_ROW: u32 = 2;
/// After a node was said to be back, its going is not news for this long: one that refuses every other request would
/// fill the log.
const QUIET: Duration = Duration::from_secs(10);
/// Longest wording of the system or of TLS that is shown, in characters.
const MAX_CAUSE_CHARS: usize = 200;
/// A connection that takes longer counts as never made, so that a send over it surely had no effect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are closed before usual load balancers drop them silently (60 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The HTTP client that all networks share: HTTP/1.1 with keep-alive, TLS with built-in roots, no redirects.
pub(super) type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(super) fn http(max_idle_per_host: usize) -> Result<Http, rustls::Error> {
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

/// A node whose usual answer takes less is never called slow.
const SLOW_FROM: Duration = Duration::from_secs(1);
/// How many times slower than another node one must be to be asked after it.
const SLOW_TIMES: u32 = 4;
/// For how long a node that does not serve a method is asked for it after the others.
const LACKS_FOR: Duration = Duration::from_secs(600);
/// For how long a node that left a send without an answer gets others after the other nodes.
const LEFT_SENDS_FOR: Duration = Duration::from_secs(60);
/// Methods remembered as not served by a node.
const MAX_LACKING: usize = 64;

/// Why an exchange with a node gave no answer. `Display` names no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection, so nothing was sent.
    #[error("could not be reached ({0})")]
    Connect(String),
    #[error("did not answer in time")]
    TimedOut,
    /// The connection broke after the request may have been written.
    #[error("broke the connection")]
    Broken,
    #[error("answered HTTP {}", .0.as_u16())]
    Status(StatusCode, Option<Duration>),
    #[error("answered more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("did not answer in JSON-RPC")]
    NotJsonRpc,
    #[error("did not answer each call exactly once")]
    WrongIds,
    /// An error about the node itself, with this code.
    #[error("answered that it can't serve now (error {code})")]
    Unwell { code: i64 },
}

impl Failure {
    /// Whether the request may have had an effect behind the node.
    pub(super) fn may_have_arrived(&self) -> bool {
        match self {
            Self::Connect(_) => false,
            Self::Status(status, _) => *status != StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut
            | Self::Broken
            | Self::TooLarge { .. }
            | Self::NotJsonRpc
            | Self::WrongIds
            | Self::Unwell { .. } => true,
        }
    }

    /// A word for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::TimedOut => "timeout",
            Self::Broken => "broken",
            Self::Status(..) => "status",
            Self::TooLarge { .. } => "too_large",
            Self::NotJsonRpc | Self::WrongIds => "garbage",
            Self::Unwell { .. } => "unwell",
        }
    }

    /// Whether it says something about the node, and not only about the question.
    pub(super) fn is_of_the_node(&self) -> bool {
        self.rest().is_some()
    }

    /// Whether the same question may be answered a moment later: behind one URL there may be many machines.
    pub(super) fn may_pass_at_once(&self) -> bool {
        match self {
            Self::Broken | Self::NotJsonRpc | Self::WrongIds => true,
            Self::Status(status, None) => status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED,
            // It wants to be left alone for a while.
            Self::Status(_, Some(_)) | Self::Unwell { .. } => false,
            Self::Connect(_) | Self::TimedOut | Self::TooLarge { .. } => false,
        }
    }

    /// How long the node wants to be left alone; `None` where the failure says nothing about the node.
    fn rest(&self) -> Option<Duration> {
        match self {
            // The question's size, not the node's state.
            Self::TooLarge { .. } => None,
            Self::Status(_, Some(asked)) => Some((*asked).min(REST_MAX)),
            Self::Connect(_)
            | Self::TimedOut
            | Self::Broken
            | Self::Status(_, None)
            | Self::NotJsonRpc
            | Self::WrongIds
            | Self::Unwell { .. } => Some(Duration::ZERO),
        }
    }
}

/// What the engine knows of what a node serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Judged {
    /// Nobody has looked, or it has failed since.
    #[default]
    NotYet,
    Good,
    /// Why it is not used.
    Aside(String),
}

/// Whether a node is to be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Well,
    /// Its last word was a failure, and its rest is over.
    Due,
    Resting {
        until: Instant,
    },
}

#[derive(Debug, Default)]
struct Health {
    failures_in_a_row: u32,
    rest_until: Option<Instant>,
    /// The last failure, until the node answers.
    trouble: Option<String>,
    /// What that failure says of the next attempt.
    may_pass_at_once: bool,
    /// Operators were told that it went away.
    is_said: bool,
    back_said_at: Option<Instant>,
    judged: Judged,
    judged_at: Option<Instant>,
    /// How long an answer usually takes.
    usual: Option<Duration>,
    /// Until when a method counts as not served.
    lacking: BTreeMap<String, Instant>,
    /// Until when it counts as one that leaves sends without an answer.
    leaves_sends: Option<Instant>,
}

/// One URL and its health.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) url: SecretUrl,
    /// What operators know it by.
    label: String,
    health: Mutex<Health>,
    is_probed: AtomicBool,
    /// It refuses batches: its calls go out one by one.
    pub(super) one_by_one: AtomicBool,
}

impl Node {
    /// `place`: counted from 1, where several nodes have its host name.
    pub(super) fn new(url: SecretUrl, place: Option<usize>) -> Self {
        let label = match place {
            Some(place) => format!("{} (node {place})", url.host()),
            None => url.host().to_owned(),
        };
        Self {
            url,
            label,
            health: Mutex::default(),
            is_probed: AtomicBool::new(false),
            one_by_one: AtomicBool::new(false),
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether the engine has seen what it serves, and it has not failed since.
    pub(super) fn is_good(&self) -> bool {
        self.health.lock().judged == Judged::Good
    }

    /// Takes the engine's judgement: `None`, it serves what it should. Whether that is another one than before.
    pub(super) fn judge(&self, why_not: Option<&str>, now: Instant) -> bool {
        let judged = match why_not {
            None => Judged::Good,
            Some(why) => Judged::Aside(why.to_owned()),
        };
        let mut health = self.health.lock();
        let was_aside = matches!(health.judged, Judged::Aside(_));
        let is_aside = matches!(judged, Judged::Aside(_));
        health.judged = judged;
        health.judged_at = Some(now);
        was_aside != is_aside
    }

    /// Learns how long an answer took, or that one was waited for in vain for so long.
    pub(super) fn took(&self, time: Duration) {
        let mut health = self.health.lock();
        let usual = health.usual.unwrap_or(time);
        health.usual = Some(usual.saturating_add(time) / 2);
    }

    pub(super) fn usual(&self) -> Option<Duration> {
        self.health.lock().usual
    }

    /// Whether another node that usually takes `fastest` is to be asked before it.
    pub(super) fn is_slow_beside(&self, fastest: Duration) -> bool {
        self.usual()
            .is_some_and(|usual| usual >= SLOW_FROM && usual > fastest.saturating_mul(SLOW_TIMES))
    }

    /// It has said that it does not serve a method.
    pub(super) fn lacks(&self, method: &str, now: Instant) {
        let mut health = self.health.lock();
        if health.lacking.len() >= MAX_LACKING {
            health.lacking.clear();
        }
        health.lacking.insert(method.to_owned(), now + LACKS_FOR);
    }

    /// Whether it serves all of these, as far as is known.
    pub(super) fn serves<'a>(&self, mut methods: impl Iterator<Item = &'a str>, now: Instant) -> bool {
        let health = self.health.lock();
        health.lacking.is_empty()
            || methods.all(|method| health.lacking.get(method).is_none_or(|until| *until <= now))
    }

    /// It has left a send without an answer.
    pub(super) fn left_a_send(&self, now: Instant) {
        self.health.lock().leaves_sends = Some(now + LEFT_SENDS_FOR);
    }

    /// It has answered a send.
    pub(super) fn answered_a_send(&self) {
        self.health.lock().leaves_sends = None;
    }

    /// Whether it lately left a send without an answer.
    pub(super) fn may_leave_sends(&self, now: Instant) -> bool {
        self.health.lock().leaves_sends.is_some_and(|until| until > now)
    }

    /// Whether it has failed only just now, and in a way that may pass at once.
    pub(super) fn may_be_asked_again(&self) -> bool {
        let health = self.health.lock();
        health.may_pass_at_once && health.failures_in_a_row <= MAX_IN_A_ROW
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let health = self.health.lock();
        match health.rest_until {
            Some(until) if until > now => Standing::Resting { until },
            Some(_) => Standing::Due,
            None => Standing::Well,
        }
    }

    pub(super) fn state(&self) -> NodeState {
        let health = self.health.lock();
        let aside = match &health.judged {
            Judged::Aside(why) => Some(format!("is not used: {why}")),
            Judged::NotYet | Judged::Good => None,
        };
        NodeState {
            host: self.label.clone(),
            trouble: health.trouble.clone().or(aside),
        }
    }

    /// Whether nobody is finding out yet if it is back; then that is the caller, until [`Self::end_probe`].
    pub(super) fn begin_probe(&self) -> bool {
        !self.is_probed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_probe(&self) {
        self.is_probed.store(false, Ordering::Release);
    }

    /// What ailed it, if operators are to be told that it is back.
    pub(super) fn succeeded(&self, now: Instant) -> Option<String> {
        let mut health = self.health.lock();
        health.failures_in_a_row = 0;
        health.rest_until = None;
        let trouble = health.trouble.take();
        if !health.is_said {
            return None;
        }
        health.is_said = false;
        health.back_said_at = Some(now);
        trouble
    }

    /// It has to show what it serves before it is asked again. One that showed it within `fresh` may go on.
    pub(super) fn doubt(&self, fresh: Duration, now: Instant) {
        let mut health = self.health.lock();
        let is_fresh = health
            .judged_at
            .is_some_and(|at| now.saturating_duration_since(at) < fresh);
        let was_good = health.judged == Judged::Good;
        if was_good && !is_fresh {
            health.judged = Judged::NotYet;
        }
    }

    /// Whether operators are to be told that it went away.
    pub(super) fn failed(&self, failure: &Failure, now: Instant) -> bool {
        let Some(asked) = failure.rest() else {
            return false;
        };
        let mut health = self.health.lock();
        health.trouble = Some(failure.to_string());
        health.may_pass_at_once = failure.may_pass_at_once();
        // Many requests fail together when a node goes away: that is one failure.
        if health.rest_until.is_some_and(|until| until > now) {
            return false;
        }
        let doublings = health.failures_in_a_row.min(16);
        health.failures_in_a_row = health.failures_in_a_row.saturating_add(1);
        let backoff = REST_FIRST.saturating_mul(1 << doublings).min(REST_MAX);
        health.rest_until = Some(now + backoff.max(asked));
        let is_quiet = health
            .back_said_at
            .is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        if health.is_said || is_quiet {
            return false;
        }
        health.is_said = true;
        true
    }

    /// One POST; the bytes of an answer that may be JSON-RPC.
    pub(super) async fn post(
        &self,
        http: &Http,
        body: Bytes,
        limit_bytes: usize,
        until: Instant,
    ) -> Result<Bytes, Failure> {
        timeout_at(until, self.exchange(http, body, limit_bytes))
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    async fn exchange(&self, http: &Http, body: Bytes, limit_bytes: usize) -> Result<Bytes, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.url.uri().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(authorization) = self.url.authorization() {
            headers.insert(AUTHORIZATION, authorization.clone());
        }

        let response = http.request(request).await.map_err(|error| {
            if error.is_connect() {
                Failure::Connect(innermost(&error))
            } else {
                Failure::Broken
            }
        })?;
        let status = response.status();
        // 400 is what some servers put around a JSON-RPC error.
        if !status.is_success() && status != StatusCode::BAD_REQUEST {
            return Err(Failure::Status(status, retry_after(response.headers())));
        }
        match Limited::new(response.into_body(), limit_bytes).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge { limit_bytes }),
            Err(_) => Err(Failure::Broken),
        }
    }
}

/// `Retry-After` in seconds; the form with a date is not worth a date parser.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The system's or TLS's own words: the outer errors say only "connect", none names the URL's path.
fn innermost(error: &hyper_util::client::legacy::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node::new(SecretUrl::parse("http://localhost").unwrap(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_node_rests_longer_each_time_and_recovers_at_once() {
        let node = node();
        let mut rests = Vec::new();
        for _ in 0..9 {
            let now = Instant::now();
            node.failed(&Failure::TimedOut, now);
            node.failed(&Failure::TimedOut, now);
            let Standing::Resting { until } = node.standing(now) else {
                panic!("it rests")
            };
            rests.push((until - now).as_millis());
            tokio::time::advance(until - now).await;
            assert_eq!(node.standing(Instant::now()), Standing::Due);
        }
        assert_eq!(
            rests,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
        );
        node.failed(&Failure::TimedOut, Instant::now());
        node.succeeded(Instant::now());
        assert_eq!(node.standing(Instant::now()), Standing::Well);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_left_alone_for_as_long_as_it_asks_within_reason() {
        let now = Instant::now();
        for (asked_s, rest_s) in [(7, 7), (86_400, 30)] {
            let node = node();
            let asked = Some(Duration::from_secs(asked_s));
            node.failed(&Failure::Status(StatusCode::TOO_MANY_REQUESTS, asked), now);
            let until = now + Duration::from_secs(rest_s);
            assert_eq!(node.standing(now), Standing::Resting { until });
        }
        let node = node();
        node.failed(&Failure::TooLarge { limit_bytes: 1 }, now);
        assert_eq!(node.standing(now), Standing::Well);
    }

    #[tokio::test(start_paused = true)]
    async fn going_and_coming_back_are_said_once_and_a_node_that_flickers_does_not_fill_the_log() {
        let node = node();
        let refused = Failure::Status(StatusCode::UNAUTHORIZED, None);
        assert_eq!(node.succeeded(Instant::now()), None, "it was never away");
        assert!(node.failed(&Failure::TimedOut, Instant::now()));
        for _ in 0..5 {
            tokio::time::advance(REST_MAX).await;
            assert!(!node.failed(&refused, Instant::now()), "said before");
        }
        assert_eq!(node.state().trouble.as_deref(), Some("answered HTTP 401"));
        let cause = node.succeeded(Instant::now());
        assert_eq!(cause.as_deref(), Some("answered HTTP 401"));
        assert_eq!(node.succeeded(Instant::now()), None);
        assert_eq!(node.state().trouble, None);
        for _ in 0..100 {
            assert!(!node.failed(&refused, Instant::now()));
            assert_eq!(node.succeeded(Instant::now()), None);
        }
        assert!(!node.failed(&refused, Instant::now()));
        tokio::time::advance(QUIET).await;
        assert!(node.failed(&refused, Instant::now()), "an outage after all");
    }
}

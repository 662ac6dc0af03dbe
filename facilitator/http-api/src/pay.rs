//! `POST /verify` and `POST /settle`: admission, body, normalisation, the service, the envelope.
//!
//! The service is awaited in place: when the caller closes the connection, the service's future is dropped with it.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base::service::{Receipt, SettleAnswer, SettleWait, Settled};
use sdk_plugin::wire::{SettleReply, reason};
use sdk_plugin::{PaymentRequest, ProtocolVersion};
use tokio::time::{Instant, timeout};

use super::admission::{Admitted, Rejected};
use super::app::App;
use super::body::{self, BodyError};
use super::causes;
use super::endpoint::PaymentEndpoint;
use super::envelope::{self, Body, Echo};
use super::normalise::{Caller, Refused, Rules, Shape, normalise};
use super::panics::catch_panic;
use super::preference::Preference;
use super::reply;
use super::reply::peer;

/// The service replies within the caller's wait plus one commit. After this much more time it is stuck.
const SETTLE_GRACE: Duration = Duration::from_secs(10);
/// `Retry-After` of a service that is stuck, in seconds.
const STUCK_RETRY_S: u64 = 2;
/// Longest `Idempotency-Key`, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// A response to a payment request, before it is written.
struct Decided {
    status: StatusCode,
    body: Body,
    retry_after_s: Option<u64>,
    receipt: Receipt,
    /// Why it is 503.
    cause: Option<&'static str>,
}

/// What a payment request is about, in names of the configuration; `None`: not known.
#[derive(Debug, Default)]
struct About {
    tenant: Option<String>,
    network: Option<String>,
}

/// One payment request while it is handled.
#[derive(Debug, Clone, Copy)]
struct Call {
    endpoint: PaymentEndpoint,
    started: Instant,
    /// Empty for `/verify`, which does not apply preferences.
    preference: Preference,
}

impl App {
    /// Handles a payment request. The response always has the envelope, even after a panic.
    pub(super) async fn pay(&self, endpoint: PaymentEndpoint, request: Request) -> Response {
        let preference = match endpoint {
            PaymentEndpoint::Verify => Preference::default(),
            PaymentEndpoint::Settle => Preference::of(request.headers()),
        };
        let call = Call {
            endpoint,
            started: Instant::now(),
            preference,
        };
        let mut about = About::default();
        let decided = match catch_panic(self.decide(call, request, &mut about)).await {
            Ok(decided) => decided,
            Err(_) => ok(envelope::unexpected(endpoint, &Echo::unknown())),
        };
        self.measure(
            endpoint.path(),
            decided.status,
            &decided.body.outcome,
            call.started,
        );
        self.count(endpoint, &decided, &about);
        let results = decided.body.extension_results;
        let mut response = self.json_with_receipt(decided.status, decided.body.text, decided.receipt);
        reply::extension_results(&mut response, results);
        reply::retry_after(&mut response, decided.retry_after_s);
        if endpoint == PaymentEndpoint::Settle {
            preference.add_headers(&mut response);
        }
        response
    }

    /// Counts a payment request by its tenant and network: only names of the configuration.
    fn count(&self, endpoint: PaymentEndpoint, decided: &Decided, about: &About) {
        let path = ("path", endpoint.path());
        let is_positive = ["valid", "success", "replay"].contains(&decided.body.outcome.as_str());
        let result = match decided.status {
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ if is_positive => "positive",
            _ => "negative",
        };
        let labels = [
            path,
            ("tenant", about.tenant.as_deref().unwrap_or("none")),
            ("network", about.network.as_deref().unwrap_or("none")),
            ("result", result),
        ];
        self.metrics.add("switchyard_tenant_requests_total", &labels, 1);
        if let Some(cause) = decided.cause {
            self.metrics
                .add("switchyard_unavailable_total", &[path, ("cause", cause)], 1);
        }
    }

    async fn decide(&self, call: Call, request: Request, about: &mut About) -> Decided {
        let admitted =
            match self
                .admission
                .admit_payment(peer(&request), request.headers(), call.endpoint.scope())
            {
                Ok(admitted) => admitted,
                Err(rejected) => return rejection(call.endpoint, &rejected),
            };
        about.tenant.clone_from(&admitted.tenant);
        let idempotency_key = idempotency_key(request.headers());
        let (limit, time) = (self.server.body_limit_bytes, self.server.body_read);
        let body = match body::read(request.into_body(), limit, time).await {
            Ok(body) => body,
            Err(error) => return unread(call.endpoint, error),
        };
        let idempotency_key = match idempotency_key {
            Ok(key) => key,
            Err(why) => {
                let refused = Refused::undispatched(Shape::Current, reason::INVALID_PAYLOAD, why);
                return refusal(call.endpoint, &refused);
            }
        };
        let remaining = self.wait(call, &admitted).saturating_sub(call.started.elapsed());
        let (reserve, wait_until, gather) = (admitted.reserve, admitted.wait_until, admitted.gather);
        let caller = Caller {
            purpose: call.endpoint.purpose(),
            tenant: admitted.tenant.clone(),
            idempotency_key,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        };
        let request = match self.normalise(&body, caller) {
            Ok(request) => request,
            Err(refused) => {
                // A caller's text, which is no label.
                about.network = Some("other".to_owned());
                return refusal(call.endpoint, &refused);
            }
        };
        about.network = Some(request.network.clone());
        drop(body);
        let echo = Echo::of(&request);
        let dispatched = self
            .admission
            .dispatch(admitted, call.endpoint.limit(), &request.network);
        let _permit = match dispatched {
            Ok(permit) => permit,
            Err(rejected) => {
                let retry_after_s = rejected.retry_after_s.unwrap_or_default();
                return unavailable(call.endpoint, rejected.message.to_owned(), retry_after_s, &echo);
            }
        };
        match call.endpoint {
            PaymentEndpoint::Verify => self.verify(request, &echo, remaining, reserve).await,
            PaymentEndpoint::Settle => {
                let wait = call.preference.settle_wait(wait_until);
                let passed = call.started.elapsed();
                let wait = SettleWait {
                    early: wait.early.map(|early| early.saturating_sub(passed)),
                    gather,
                    ..wait
                };
                self.settle(request, &echo, remaining, wait).await
            }
        }
    }

    /// How long the caller waits for its response, from the start of the call.
    fn wait(&self, call: Call, admitted: &Admitted) -> Duration {
        match call.endpoint {
            PaymentEndpoint::Verify => self.server.verify_wait,
            PaymentEndpoint::Settle => call
                .preference
                .longest_wait(admitted.settle_wait.unwrap_or(self.server.settle_wait)),
        }
    }

    fn normalise(&self, body: &[u8], caller: Caller) -> Result<PaymentRequest, Refused> {
        let membership = |version: ProtocolVersion, scheme: &str, network: &str| {
            self.service.membership(version, scheme, network)
        };
        let rules = Rules {
            names: &self.names,
            legacy0: self.server.legacy0,
            membership: &membership,
        };
        normalise(body, &rules, caller)
    }

    async fn verify(
        &self,
        request: PaymentRequest,
        echo: &Echo,
        remaining: Duration,
        reserve: Option<Duration>,
    ) -> Decided {
        match timeout(remaining, catch_panic(self.service.verify(request, reserve))).await {
            Ok(Ok(reply)) => ok(envelope::verify(reply, echo)),
            Ok(Err(_)) | Err(_) => ok(envelope::unexpected(PaymentEndpoint::Verify, echo)),
        }
    }

    async fn settle(
        &self,
        request: PaymentRequest,
        echo: &Echo,
        remaining: Duration,
        wait: SettleWait,
    ) -> Decided {
        let within = remaining.saturating_add(SETTLE_GRACE);
        match timeout(within, catch_panic(self.service.settle(request, wait))).await {
            Ok(Ok(Settled { answer, receipt })) => Decided {
                receipt,
                ..match answer {
                    SettleAnswer::Reply(reply) => ok(envelope::settle(reply, echo)),
                    SettleAnswer::Replay(recorded) => ok(replay(recorded, echo)),
                    SettleAnswer::Unavailable {
                        retry_after_s,
                        message,
                    } => unavailable(PaymentEndpoint::Settle, message, retry_after_s, echo),
                }
            },
            Ok(Err(_)) => ok(envelope::unexpected(PaymentEndpoint::Settle, echo)),
            // The settlement may be recorded by now, so this is not a failed payment: the same request learns its outcome.
            Err(_) => {
                tracing::error!(network = %echo.caip2, "settle_stuck: no reply within the caller's wait; replied 503");
                let message = "no answer within the time; try again".to_owned();
                unavailable(PaymentEndpoint::Settle, message, STUCK_RETRY_S, echo)
            }
        }
    }
}

impl Echo {
    fn of(request: &PaymentRequest) -> Self {
        let shape = match request.version {
            ProtocolVersion::Legacy0 => Shape::Legacy0,
            ProtocolVersion::V1 | ProtocolVersion::V2 => Shape::Current,
        };
        Self {
            shape,
            network: request.network_as_sent.clone(),
            caip2: request.network.clone(),
            extensions: match request.version {
                ProtocolVersion::Legacy0 | ProtocolVersion::V1 => false,
                ProtocolVersion::V2 => true,
            },
        }
    }

    fn unknown() -> Self {
        Self {
            shape: Shape::Current,
            network: String::new(),
            caip2: String::new(),
            extensions: false,
        }
    }
}

/// The recorded reply passed the envelope when it was first sent. Passing it again gives the same bytes.
fn replay(recorded: String, echo: &Echo) -> Body {
    let body = match serde_json::from_str::<SettleReply>(&recorded) {
        Ok(reply) => envelope::settle(reply, echo),
        Err(_) => Body {
            text: recorded,
            ..Body::default()
        },
    };
    Body {
        outcome: "replay".to_owned(),
        ..body
    }
}

fn ok(body: Body) -> Decided {
    Decided {
        status: StatusCode::OK,
        body,
        retry_after_s: None,
        receipt: Receipt::none(),
        cause: None,
    }
}

/// 503.
fn unavailable(endpoint: PaymentEndpoint, message: String, retry_after_s: u64, echo: &Echo) -> Decided {
    let cause = Some(causes::of(&message));
    let refused = Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: reason::SERVICE_UNAVAILABLE,
        message,
        shape: echo.shape,
        network: echo.network.clone(),
    };
    Decided {
        retry_after_s: Some(retry_after_s.max(1)),
        cause,
        ..refusal(endpoint, &refused)
    }
}

fn refusal(endpoint: PaymentEndpoint, refused: &Refused) -> Decided {
    Decided {
        status: refused.status,
        body: envelope::refused(endpoint, refused),
        retry_after_s: None,
        receipt: Receipt::none(),
        cause: None,
    }
}

fn rejection(endpoint: PaymentEndpoint, rejected: &Rejected) -> Decided {
    let refused = Refused {
        status: rejected.status,
        ..Refused::undispatched(Shape::Current, rejected.reason, rejected.message)
    };
    let is_503 = rejected.status == StatusCode::SERVICE_UNAVAILABLE;
    Decided {
        retry_after_s: rejected.retry_after_s,
        cause: is_503.then(|| causes::of(rejected.message)),
        ..refusal(endpoint, &refused)
    }
}

fn unread(endpoint: PaymentEndpoint, error: BodyError) -> Decided {
    let (status, message) = match error {
        BodyError::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than this facilitator accepts",
        ),
        BodyError::TooSlow => (StatusCode::BAD_REQUEST, "the body did not arrive in time"),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "the body did not arrive completely"),
    };
    let refused = Refused {
        status,
        ..Refused::undispatched(Shape::Current, reason::INVALID_PAYLOAD, message)
    };
    refusal(endpoint, &refused)
}

/// Returns the `Idempotency-Key` header. `Err`: what is wrong with it.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) && values.next().is_none() => {
            Ok(Some(key.to_owned()))
        }
        Ok(_) | Err(_) => Err("Idempotency-Key must be sent once, with 1 to 255 visible ASCII characters"),
    }
}

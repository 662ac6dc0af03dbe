//! `POST /verify` and `POST /settle`: admission, body, normalisation, the service, the envelope.
//!
//! The service is awaited in place: when the caller hangs up, its future is dropped with the connection.

use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use sdk_plugin::wire::{SettleReply, VerifyReply, reason};
use sdk_plugin::{PaymentRequest, ProtocolVersion, Purpose};
use tokio::time::{Instant, timeout};

use super::admission::Rejected;
use super::body::{self, BodyError};
use super::caught::caught;
use super::envelope::{self, Answer, Echo};
use super::gates::Endpoint;
use super::normalise::{Caller, Refused, Rules, Shape, normalise};
use super::prefer::Preference;
use super::reply::peer;
use super::{App, reply};
use crate::settings::Scope;
use base::service::{Receipt, SettleAnswer, Settled};

/// The service ends by itself within the caller's wait plus one commit; beyond this it is stuck.
const SETTLE_GRACE: Duration = Duration::from_secs(10);
/// What is advised to callers of a service that is stuck.
const STUCK_RETRY_S: u64 = 2;
/// Longest `Idempotency-Key`, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Status and body, and what metrics call it.
struct Decided {
    status: u16,
    answer: Answer,
    retry_after_s: Option<u64>,
    receipt: Receipt,
}

impl App {
    /// Answers a payment request; always with the envelope, even when something in here panics.
    pub(super) async fn pay(&self, purpose: Purpose, request: Request) -> Response {
        let started = Instant::now();
        let preference = match purpose {
            Purpose::Verify => None,
            Purpose::Settle | Purpose::Job | Purpose::Route => Some(Preference::of(request.headers())),
        };
        let decided = match caught(self.decide(purpose, request, started, preference)).await {
            Ok(decided) => decided,
            Err(_) => ok(unexpected(purpose, &Echo::unknown())),
        };
        let path = match purpose {
            Purpose::Verify => "/verify",
            Purpose::Settle | Purpose::Job | Purpose::Route => "/settle",
        };
        self.measure(path, decided.status, &decided.answer.outcome, started);
        let mut response = self.json_with(decided.status, decided.answer.body, decided.receipt);
        reply::retry_after(&mut response, decided.retry_after_s);
        if let Some(preference) = preference {
            preference.tell(&mut response);
        }
        response
    }

    async fn decide(
        &self,
        purpose: Purpose,
        request: Request,
        started: Instant,
        preference: Option<Preference>,
    ) -> Decided {
        let preference = preference.unwrap_or_default();
        let scope = if purpose == Purpose::Verify {
            Scope::Verify
        } else {
            Scope::Settle
        };
        let admitted = match self
            .admission
            .admit(peer(&request), request.headers(), scope, true)
        {
            Ok(admitted) => admitted,
            Err(rejected) => return rejection(purpose, &rejected),
        };
        let idempotency_key = idempotency_key(request.headers());
        let body = match body::read(
            request.into_body(),
            self.server.body_limit_bytes,
            self.server.body_read,
        )
        .await
        {
            Ok(body) => body,
            Err(error) => return unread(purpose, error),
        };
        let idempotency_key = match idempotency_key {
            Ok(key) => key,
            Err(why) => {
                return refusal(
                    purpose,
                    &Refused::undispatched(Shape::Current, reason::INVALID_PAYLOAD, why),
                );
            }
        };
        let wait = match purpose {
            Purpose::Verify => self.server.verify_wait,
            Purpose::Settle | Purpose::Job | Purpose::Route => {
                preference.whole(admitted.settle_wait.unwrap_or(self.server.settle_wait))
            }
        };
        let remaining = wait.saturating_sub(started.elapsed());
        let caller = Caller {
            purpose,
            tenant: admitted.tenant.clone(),
            idempotency_key,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        };
        let request = match self.normalise(&body, caller) {
            Ok(request) => request,
            Err(refused) => return refusal(purpose, &refused),
        };
        drop(body);
        let echo = Echo::of(&request);
        let endpoint = match purpose {
            Purpose::Verify => Endpoint::Verify,
            Purpose::Settle | Purpose::Job | Purpose::Route => Endpoint::Settle,
        };
        let _inside = match self.admission.dispatch(admitted, endpoint, &request.network) {
            Ok(inside) => inside,
            Err(rejected) => {
                let retry_after_s = rejected.retry_after_s.unwrap_or_default();
                return unavailable(purpose, rejected.message.to_owned(), retry_after_s, &echo);
            }
        };
        match purpose {
            Purpose::Verify => self.verify(request, &echo, remaining).await,
            Purpose::Settle | Purpose::Job | Purpose::Route => {
                let early = preference
                    .early()
                    .map(|early| early.saturating_sub(started.elapsed()));
                self.settle(request, &echo, remaining, early).await
            }
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

    async fn verify(&self, request: PaymentRequest, echo: &Echo, remaining: Duration) -> Decided {
        match timeout(remaining, caught(self.service.verify(request))).await {
            Ok(Ok(reply)) => ok(envelope::verify(reply, echo)),
            Ok(Err(_)) | Err(_) => ok(unexpected(Purpose::Verify, echo)),
        }
    }

    async fn settle(
        &self,
        request: PaymentRequest,
        echo: &Echo,
        remaining: Duration,
        early: Option<Duration>,
    ) -> Decided {
        let within = remaining.saturating_add(SETTLE_GRACE);
        match timeout(within, caught(self.service.settle(request, early))).await {
            Ok(Ok(Settled { answer, receipt })) => Decided {
                receipt,
                ..match answer {
                    SettleAnswer::Reply(reply) => ok(envelope::settle(reply, echo)),
                    SettleAnswer::Replay(recorded) => ok(replay(recorded, echo)),
                    SettleAnswer::Unavailable {
                        retry_after_s,
                        message,
                    } => unavailable(Purpose::Settle, message, retry_after_s, echo),
                }
            },
            Ok(Err(_)) => ok(unexpected(Purpose::Settle, echo)),
            // Something may be recorded by now, so this is no failure of the payment: the same request again learns it.
            Err(_) => {
                tracing::error!(network = %echo.caip2, "a settle did not end within its caller's wait; answered for it");
                let message = "no answer within the time; try again".to_owned();
                unavailable(Purpose::Settle, message, STUCK_RETRY_S, echo)
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
        }
    }

    fn unknown() -> Self {
        Self {
            shape: Shape::Current,
            network: String::new(),
            caip2: String::new(),
        }
    }
}

/// The recorded reply went through the envelope when it was first given, and goes through it again: the same bytes.
fn replay(recorded: String, echo: &Echo) -> Answer {
    match serde_json::from_str::<SettleReply>(&recorded) {
        Ok(reply) => Answer {
            outcome: "replay".to_owned(),
            ..envelope::settle(reply, echo)
        },
        Err(_) => Answer {
            outcome: "replay".to_owned(),
            body: recorded,
        },
    }
}

fn unexpected(purpose: Purpose, echo: &Echo) -> Answer {
    match purpose {
        Purpose::Verify => envelope::verify(
            VerifyReply {
                is_valid: false,
                invalid_reason: Some(reason::UNEXPECTED_VERIFY_ERROR.to_owned()),
                invalid_message: None,
                payer: String::new(),
                extra: None,
                extensions: None,
            },
            echo,
        ),
        Purpose::Settle | Purpose::Job | Purpose::Route => envelope::settle(
            SettleReply {
                success: false,
                error_reason: Some(reason::UNEXPECTED_SETTLE_ERROR.to_owned()),
                error_message: None,
                payer: String::new(),
                transaction: String::new(),
                network: String::new(),
                amount: None,
                extra: None,
                extensions: None,
            },
            echo,
        ),
    }
}

fn ok(answer: Answer) -> Decided {
    Decided {
        status: 200,
        answer,
        retry_after_s: None,
        receipt: Receipt::none(),
    }
}

/// 503.
fn unavailable(purpose: Purpose, message: String, retry_after_s: u64, echo: &Echo) -> Decided {
    let refused = Refused {
        status: 503,
        reason: reason::SERVICE_UNAVAILABLE,
        message,
        shape: echo.shape,
        network: echo.network.clone(),
    };
    Decided {
        retry_after_s: Some(retry_after_s.max(1)),
        ..refusal(purpose, &refused)
    }
}

fn refusal(purpose: Purpose, refused: &Refused) -> Decided {
    Decided {
        status: refused.status,
        answer: envelope::refused(purpose, refused),
        retry_after_s: None,
        receipt: Receipt::none(),
    }
}

fn rejection(purpose: Purpose, rejected: &Rejected) -> Decided {
    let refused = Refused {
        status: rejected.status,
        ..Refused::undispatched(Shape::Current, rejected.reason, rejected.message)
    };
    Decided {
        retry_after_s: rejected.retry_after_s,
        ..refusal(purpose, &refused)
    }
}

fn unread(purpose: Purpose, error: BodyError) -> Decided {
    let (status, message) = match error {
        BodyError::TooLarge => (413, "the body is larger than this facilitator accepts"),
        BodyError::TooSlow => (400, "the body did not arrive in time"),
        BodyError::Broken => (400, "the body did not arrive whole"),
    };
    let refused = Refused {
        status,
        ..Refused::undispatched(Shape::Current, reason::INVALID_PAYLOAD, message)
    };
    refusal(purpose, &refused)
}

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

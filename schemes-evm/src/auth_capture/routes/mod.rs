//! HTTP under `/auth-capture/`, for tenants (auth-capture-evm.md section 17, "operations surface"): a merchant that lost
//! its own record finds its payments here, and can capture, void and refund them.
//!
//! | request | answer |
//! |---|---|
//! | `GET /payments?receiver=…` or `operator=…`, `state`, `deadline`, `limit`, `after` | the tenant's payments, by capture deadline |
//! | `GET /payments/{hash}` | one payment: terms, balances on the chain, operations, what can be done next |
//! | `POST /payments/{hash}/capture`, `/void`, `/refund` | the outcome, as in `/settle` |
//! | `GET /payments/{hash}/digest?operation=…` | what the merchant's own authorizer signs, and the request to settle with it |
//! | `POST /payments/{hash}/usage` | what is reported as used so far |
//!
//! The host chooses the network by the query's `network`. A tenant sees its own payments and no others:
//! those of the receivers that the operator gives to it, and of other receivers those that it had collected. Captures and
//! refunds name the balances that they expect, which makes a repeat harmless.

mod act;
mod history;
mod list;
mod payment;
mod usage;

use alloy_primitives::{B256, U256};
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::{Amount, Cx, Fault, Value};
use serde_json::json;

use super::AuthCaptureEvm;
use super::deployment::Deployment;
use super::lifecycle::payload::Action;
use super::records::{self, Record};
use super::state::{self, State};
use crate::{rpc, text};

/// A refusal: an HTTP status, and a sentence that names what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    /// HTTP status, 400 to 599: a number, as in the JSON message.
    status: u16,
    message: String,
}

impl Refused {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

/// An answer, a refusal, or a fault.
type Answered = Result<Result<RouteResponse, Refused>, Fault>;

fn ok(body: Value) -> RouteResponse {
    RouteResponse::Reply { status: 200, body }
}

/// One of the tenant's payments.
#[derive(Debug)]
struct Own<'a> {
    hash: B256,
    record: Record,
    deployment: &'a Deployment,
}

impl AuthCaptureEvm {
    pub(super) async fn routed(&self, cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        Ok(match self.answer(cx, request).await? {
            Ok(response) => response,
            Err(Refused { status, message }) => RouteResponse::Reply {
                status,
                body: json!({ "error": message }),
            },
        })
    }

    async fn answer(&self, cx: &Cx, request: &RouteRequest) -> Answered {
        let Some(tenant) = request.tenant.as_deref() else {
            return Ok(Err(Refused::new(
                403,
                "payments are shown to authenticated tenants only; this facilitator's operator can give you an API key",
            )));
        };
        let parts: Vec<&str> = request.path.split('/').skip(1).collect();
        let method = request.method.as_str();
        let (hash, what) = match parts.as_slice() {
            ["payments"] if method == "GET" => return self.list(cx, request, tenant).await,
            ["payments"] => return Ok(Err(Refused::new(405, "GET lists payments"))),
            ["payments", hash] => (*hash, None),
            ["payments", hash, what] => (*hash, Some(*what)),
            _ => {
                return Err(Fault::unsupported(format!("no route {method} {}", request.path)));
            }
        };
        let own = match self.own(cx, tenant, hash).await? {
            Ok(own) => own,
            Err(refused) => return Ok(Err(refused)),
        };
        match (method, what) {
            ("GET", None) => self.show(cx, &own).await,
            ("GET", Some("digest")) => self.digest(cx, request, &own).await,
            ("POST", Some("usage")) => self.report_usage(cx, request, &own).await,
            ("POST", Some(what)) if Action::read(what).is_some() => Ok(Action::read(what)
                .ok_or_else(|| Refused::new(404, "no such operation"))
                .and_then(|action| self.act(request, &own, action))),
            (_, None | Some("digest")) => Ok(Err(Refused::new(405, "only GET is understood here"))),
            (_, Some("usage" | "capture" | "void" | "refund")) => {
                Ok(Err(Refused::new(405, "only POST is understood here")))
            }
            (_, Some(_)) => Err(Fault::unsupported(format!("no route {method} {}", request.path))),
        }
    }

    /// Another tenant's payment is answered like one that does not exist.
    async fn own(&self, cx: &Cx, tenant: &str, hash: &str) -> Result<Result<Own<'_>, Refused>, Fault> {
        let Some(hash) = text::word(hash) else {
            return Ok(Err(Refused::new(
                400,
                "a payment is named by its paymentInfoHash: 0x and 64 hex digits",
            )));
        };
        let found = records::find(cx, &cx.network().id, hash).await?;
        let Some(found) = found.filter(|found| found.record.owner(&self.config) == Some(tenant)) else {
            return Ok(Err(Refused::new(
                404,
                "no such payment of yours on this network; name another with ?network=",
            )));
        };
        Ok(self
            .config
            .deployment_of(found.record.escrow)
            .map(|deployment| Own {
                hash,
                record: found.record,
                deployment,
            })
            .ok_or_else(|| {
                Refused::new(
                    409,
                    "the payment's escrow is served here no more; its operator can add it to `deployments`",
                )
            }))
    }

    /// A payment's state on the chain now. `None`: the escrow does not return it.
    async fn state_of(cx: &Cx, own: &Own<'_>) -> Result<Option<State>, Fault> {
        let question = state::payment_state(own.record.escrow, own.hash).call();
        let answer = rpc::NODES.read_all(cx, vec![question]).await?.take()?;
        Ok(State::of_answer(rpc::executed(answer, "paymentState")?))
    }
}

/// A query's member; a repeated one is refused.
fn query<'a>(request: &'a RouteRequest, name: &str) -> Result<Option<&'a str>, Refused> {
    let mut named = request.query.iter().filter(|(key, _)| key == name);
    let value = named.next().map(|(_, value)| value.as_str());
    if named.next().is_some() {
        return Err(Refused::new(
            400,
            format!("the query names {name} more than once"),
        ));
    }
    Ok(value)
}

/// A decimal string of atomic units.
fn units(text: &str, name: &str) -> Result<U256, Refused> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse::<Amount>()
        .ok()
        .filter(|_| plain)
        .map(|amount| amount.0)
        .ok_or_else(|| {
            Refused::new(
                400,
                format!("{name} must be a decimal string of atomic units, such as \"1250000\""),
            )
        })
}

/// The same in a body, where it must be.
fn body_units(body: &Value, name: &str) -> Result<U256, Refused> {
    let text = body.get(name).and_then(Value::as_str).ok_or_else(|| {
        Refused::new(
            400,
            format!("the body needs {name}: a decimal string of atomic units"),
        )
    })?;
    units(text, name)
}

//! Captures, voids and refunds of a tenant whose authorizer we are; and, for the others, what their authorizer signs.

use alloy_primitives::Address;
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::wire::{SettleReply, reason};
use sdk_plugin::{Cx, Value};
use serde_json::{Map, json};

use super::{Answered, Own, Refused, body_units, ok, query, units};
use crate::auth_capture::AuthCaptureEvm;
use crate::auth_capture::authorizer::Balances;
use crate::auth_capture::fees::Fee;
use crate::auth_capture::lifecycle::payload::Action;
use crate::auth_capture::order::{Order, is_ours};
use crate::text;

impl AuthCaptureEvm {
    /// `POST /payments/{hash}/capture`, `/void` and `/refund`: settles, and then formats the outcome.
    pub(super) fn act(
        &self,
        request: &RouteRequest,
        own: &Own<'_>,
        action: Action,
    ) -> Result<RouteResponse, Refused> {
        if let Some(outcome) = &request.outcome {
            return Ok(worded(outcome));
        }
        if !is_ours(&own.record, &self.config) {
            let authorizer = own.record.receiver_authorizer;
            return Err(if authorizer == Address::ZERO {
                Refused::new(
                    409,
                    "this payment names no receiverAuthorizer, so nobody may order captures, voids and refunds of it here",
                )
            } else {
                Refused::new(
                    409,
                    format!(
                        "the authorizer of this payment is {}: have it sign what GET /auth-capture/payments/{{hash}}/digest answers",
                        text::lower(authorizer)
                    ),
                )
            });
        }
        let order = order_of_body(own, action, &request.body)?;
        Ok(RouteResponse::Settle {
            request: Box::new(order.request(&own.record, &self.config)),
        })
    }

    /// `GET /payments/{hash}/digest?operation=capture&amount=…`: balances that the query does not name are those of now.
    pub(super) async fn digest(&self, cx: &Cx, request: &RouteRequest, own: &Own<'_>) -> Answered {
        let state = Self::state_of(cx, own).await?;
        Ok(digest(request, own, state.map(|state| state.balances)))
    }
}

/// The body of an operation. Unknown members are refused: a forgotten one must not become a default.
fn order_of_body(own: &Own<'_>, action: Action, body: &Value) -> Result<Order, Refused> {
    let empty = Map::new();
    let members = match body {
        Value::Null if action == Action::Void => &empty,
        Value::Object(members) => members,
        _ => return Err(Refused::new(400, "the body must be a JSON object")),
    };
    let known: &[&str] = match action {
        Action::Capture => &[
            "network",
            "amount",
            "expectedCapturableAmount",
            "expectedRefundableAmount",
            "voidRemainder",
            "feeAmount",
            "feeBps",
        ],
        Action::Void => &["network"],
        Action::Refund => &[
            "network",
            "amount",
            "expectedCapturableAmount",
            "expectedRefundableAmount",
        ],
    };
    if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Refused::new(
            400,
            format!("the body has {unknown:?}; write only {}", known.join(", ")),
        ));
    }
    let expected = || {
        let of = |name: &str| {
            body_units(body, name).map_err(|refused| {
                Refused::new(
                    refused.status,
                    format!(
                        "{}; GET /auth-capture/payments/{{hash}} shows what to expect, and it makes a repeat harmless",
                        refused.message
                    ),
                )
            })
        };
        Ok(Balances {
            capturable: of("expectedCapturableAmount")?,
            refundable: of("expectedRefundableAmount")?,
        })
    };
    match action {
        Action::Void => Ok(Order::void()),
        Action::Refund => Ok(Order::refund(body_units(body, "amount")?, expected()?)),
        Action::Capture => capture_of_body(own, body, expected),
    }
}

fn capture_of_body(
    own: &Own<'_>,
    body: &Value,
    expected: impl Fn() -> Result<Balances, Refused>,
) -> Result<Order, Refused> {
    let closes_out = match body.get("voidRemainder") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(Refused::new(400, "voidRemainder must be true or false")),
    };
    let amount = body_units(body, "amount")?;
    let fee_amount = body.get("feeAmount").map(|_| body_units(body, "feeAmount"));
    let fee_bps = body
        .get("feeBps")
        .map(|sent| sent.as_u64().and_then(|bps| u16::try_from(bps).ok()));
    let order = Order::capture(&own.record, own.deployment, amount, expected()?)
        .ok_or_else(|| Refused::new(400, "amount is too large"))?;
    let fee = match (fee_amount, fee_bps) {
        (None, None) => order.fee,
        (Some(amount), None) => Some(Fee::Amount(amount?)),
        (None, Some(Some(bps))) => Some(Fee::Bps(bps)),
        (None, Some(None)) => {
            return Err(Refused::new(400, "feeBps must be an integer of basis points"));
        }
        (Some(_), Some(_)) => {
            return Err(Refused::new(400, "feeAmount and feeBps exclude one another"));
        }
    };
    Ok(Order {
        fee,
        closes_out,
        ..order
    })
}

fn digest(request: &RouteRequest, own: &Own<'_>, now: Option<Balances>) -> Result<RouteResponse, Refused> {
    let wanted = query(request, "operation")?
        .and_then(Action::read)
        .ok_or_else(|| Refused::new(400, "operation must be capture, void or refund"))?;
    let amount = || match query(request, "amount")? {
        Some(sent) => units(sent, "amount"),
        None => Err(Refused::new(
            400,
            "the query needs amount: a decimal number of atomic units",
        )),
    };
    let balance = |name: &str, now: Option<alloy_primitives::U256>| match query(request, name)? {
        Some(sent) => units(sent, name),
        None => now.ok_or_else(|| Refused::new(503, format!("the escrow does not tell; write {name}"))),
    };
    let expected = || {
        Ok(Balances {
            capturable: balance("expectedCapturableAmount", now.map(|now| now.capturable))?,
            refundable: balance("expectedRefundableAmount", now.map(|now| now.refundable))?,
        })
    };
    let order = match wanted {
        Action::Void => Order::void(),
        Action::Refund => Order::refund(amount()?, expected()?),
        Action::Capture => Order::capture(&own.record, own.deployment, amount()?, expected()?)
            .ok_or_else(|| Refused::new(400, "amount is too large"))?,
    };
    let digest_of = |order: &Order| {
        order
            .digest(&own.record, own.deployment)
            .map_or(Value::Null, |digest| digest.to_string().into())
    };
    let mut body = json!({
        "operation": wanted.name(),
        "digest": digest_of(&order),
        "signer": text::lower(own.record.receiver_authorizer),
        "domain": {
            "name": "x402 Auth Capture Operator",
            "version": "1",
            "chainId": own.record.chain_id,
            "verifyingContract": text::lower(own.record.payment_info.operator),
        },
        "settle": order.settle_body(&own.record),
    });
    if let (Action::Capture, Some(members)) = (wanted, body.as_object_mut()) {
        members.insert("voidDigest".into(), digest_of(&Order::void()));
    }
    Ok(ok(body))
}

/// 200 for what happened, 202 for what may yet, 409 for what did not.
fn worded(outcome: &SettleReply) -> RouteResponse {
    let status = match outcome.error_reason.as_deref() {
        _ if outcome.success => 200,
        // It happened before, in the transaction that the body names.
        Some(reason::DUPLICATE_SETTLEMENT) if !outcome.transaction.is_empty() => 200,
        Some(reason::SETTLEMENT_PENDING) => 202,
        Some(_) | None => 409,
    };
    RouteResponse::Reply {
        status,
        body: serde_json::to_value(outcome).unwrap_or_else(|_| json!({ "success": outcome.success })),
    }
}

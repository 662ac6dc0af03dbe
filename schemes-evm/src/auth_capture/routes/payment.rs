//! `GET /payments/{hash}`: everything that a merchant needs to continue with a payment.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::{Cx, Value};
use serde_json::{Map, json};

use super::history::{History, history};
use super::{Answered, Own, ok};
use crate::auth_capture::AuthCaptureEvm;
use crate::auth_capture::deployment::FeeForm;
use crate::auth_capture::lifecycle::payload::{info_json, word_json};
use crate::auth_capture::order::is_ours;
use crate::auth_capture::records::{self, Record, Usage};
use crate::auth_capture::state::State;
use crate::{step, text};

/// The status of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing was ever collected.
    Uncollected,
    /// Something is held, and can be captured.
    Held,
    /// Something is held past its capture deadline: its payer can take it back.
    Expired,
    /// Nothing is held, and something can be refunded.
    Captured,
    /// Nothing is held, and nothing can be refunded.
    Closed,
}

impl Standing {
    const ALL: [Self; 5] = [
        Self::Uncollected,
        Self::Held,
        Self::Expired,
        Self::Captured,
        Self::Closed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Uncollected => "uncollected",
            Self::Held => "held",
            Self::Expired => "expired",
            Self::Captured => "captured",
            Self::Closed => "closed",
        }
    }

    pub(super) fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.name() == name)
    }

    /// `state` as the escrow returned it. `None`: the escrow did not return it.
    pub(super) fn of(record: &Record, state: Option<State>, now_s: u64) -> Option<Self> {
        let state = state?;
        let standing = if !state.collected {
            Self::Uncollected
        } else if !state.balances.capturable.is_zero() {
            if now_s < record.capture_deadline_s() {
                Self::Held
            } else {
                Self::Expired
            }
        } else if state.balances.refundable.is_zero() {
            Self::Closed
        } else {
            Self::Captured
        };
        Some(standing)
    }
}

/// A payment as lists show it. Amounts are decimal strings of atomic units.
pub(super) fn summary(hash: B256, record: &Record, state: Option<State>, now_s: u64) -> Value {
    Value::Object(summary_members(hash, record, state, now_s))
}

fn summary_members(hash: B256, record: &Record, state: Option<State>, now_s: u64) -> Map<String, Value> {
    let info = &record.payment_info;
    let standing = Standing::of(record, state, now_s).map_or("unknown", Standing::name);
    let units = |of: fn(State) -> U256| state.map(|state| of(state).to_string());
    let members = [
        ("paymentInfoHash", json!(hash)),
        ("network", record.network().into()),
        ("state", standing.into()),
        ("amount", record.amount.to_string().into()),
        (
            "capturableAmount",
            units(|state| state.balances.capturable).into(),
        ),
        (
            "refundableAmount",
            units(|state| state.balances.refundable).into(),
        ),
        ("asset", text::lower(info.token).into()),
        ("payer", text::lower(info.payer).into()),
        ("receiver", text::lower(info.receiver).into()),
        ("operator", text::lower(info.operator).into()),
        ("captureDeadline", record.capture_deadline_s().into()),
        ("refundDeadline", record.refund_deadline_s().into()),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl AuthCaptureEvm {
    pub(super) async fn show(&self, cx: &Cx, own: &Own<'_>) -> Answered {
        let Own {
            hash,
            record,
            deployment,
        } = own;
        let network = &cx.network().id;
        let state = Self::state_of(cx, own).await?;
        let History {
            operations,
            is_whole,
            void_remainder,
        } = history(cx, own, state).await?;
        let usage = records::get::<Usage>(cx, records::usage_key(network, *hash)).await?;
        let now_s = cx.now_s();
        let mut body = summary_members(*hash, record, state, now_s);
        let info = &record.payment_info;
        let fee_form = match deployment.fee_form {
            FeeForm::Bps => "feeBps",
            FeeForm::Amount => "feeAmount",
        };
        let ordered_by = if record.receiver_authorizer == Address::ZERO {
            "nobody"
        } else if is_ours(record, &self.config) {
            "you, through this facilitator"
        } else {
            "your authorizer's signature"
        };
        let more = [
            ("paymentInfo", info_json(info)),
            ("saltNonce", record.salt_nonce.map_or(Value::Null, word_json)),
            ("authCaptureEscrow", text::lower(record.escrow).into()),
            (
                "receiverAuthorizer",
                text::lower(record.receiver_authorizer).into(),
            ),
            ("orderedBy", ordered_by.into()),
            (
                "paymentFlow",
                if record.charged { "authorization" } else { "escrow" }.into(),
            ),
            (
                "fees",
                json!({
                    "form": fee_form,
                    "minFeeBps": info.minFeeBps,
                    "maxFeeBps": info.maxFeeBps,
                    "feeRecipient": text::lower(info.feeReceiver),
                }),
            ),
            ("operations", operations.into()),
            ("operationsComplete", is_whole.into()),
            ("voidRemainder", void_remainder),
            (
                "usage",
                usage.map_or(Value::Null, |found| {
                    json!({ "total": found.record.total.to_string(), "reports": found.record.reports })
                }),
            ),
            ("actions", self.actions(cx, record, state, now_s).into()),
        ];
        body.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Ok(Ok(ok(body.into())))
    }

    /// The operations that can be ordered now.
    fn actions(&self, cx: &Cx, record: &Record, state: Option<State>, now_s: u64) -> Vec<&'static str> {
        let relayed = record.receiver_authorizer != Address::ZERO
            && step::signer_at(record.payment_info.operator, cx.network()).is_some();
        let Some(state) = state.filter(|_| relayed) else {
            return Vec::new();
        };
        let info = &record.payment_info;
        let held = !state.balances.capturable.is_zero();
        let in_time = now_s.saturating_add(self.config.capture_margin_s) < record.capture_deadline_s();
        let funded = self.config.refund_funding.iter().any(|agreement| {
            Some(agreement.tenant.as_str()) == record.owner(&self.config)
                && agreement.receiver == info.receiver
                && agreement.network == record.network()
                && agreement.asset == info.token
        });
        let refundable = !state.balances.refundable.is_zero() && now_s < record.refund_deadline_s() && funded;
        [
            ("capture", held && in_time && !record.charged),
            ("void", held && !record.charged),
            ("refund", refundable),
        ]
        .into_iter()
        .filter(|(_, possible)| *possible)
        .map(|(name, _)| name)
        .collect()
    }
}

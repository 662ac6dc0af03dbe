//! Lifecycle requests that we write ourselves, for tenants whose authorizer we are and for a merchant's authorizer to
//! sign: what a seller would send, from what is kept of the payment.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::request::{Accepted, ProtocolVersion, Purpose};
use sdk_plugin::{Amount, PaymentRequest, Requirements, Value};
use serde_json::{Map, json};

use super::SCHEME;
use super::authorizer::{Balances, Operation};
use super::config::Config;
use super::deployment::Deployment;
use super::fees::{Fee, FeeTerms};
use super::lifecycle::payload::{Action, info_json, word_json};
use super::records::Record;
use crate::text;

/// How long a caller that is no caller waits for a job's settlement, in milliseconds. The host may set its own.
const JOB_WAIT_MS: u64 = 25_000;

/// One operation on one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) action: Action,
    /// Atomic units; zero for a void.
    pub(super) amount: U256,
    /// Of captures.
    pub(super) fee: Option<Fee>,
    pub(super) expected: Balances,
    /// Give the rest back after a capture.
    pub(super) closes_out: bool,
}

impl Order {
    /// A capture at the least fee that the payment allows. `None` where that overflows.
    pub(super) fn capture(
        record: &Record,
        deployment: &Deployment,
        amount: U256,
        expected: Balances,
    ) -> Option<Self> {
        Some(Self {
            action: Action::Capture,
            amount,
            fee: Some(fee_terms(record).least(deployment.fee_form, amount)?),
            expected,
            closes_out: false,
        })
    }

    pub(super) fn void() -> Self {
        Self {
            action: Action::Void,
            amount: U256::ZERO,
            fee: None,
            expected: Balances {
                capturable: U256::ZERO,
                refundable: U256::ZERO,
            },
            closes_out: false,
        }
    }

    pub(super) fn refund(amount: U256, expected: Balances) -> Self {
        Self {
            action: Action::Refund,
            amount,
            fee: None,
            expected,
            closes_out: false,
        }
    }

    /// What the payment's authorizer signs. `None`: a capture without a fee.
    pub(super) fn digest(&self, record: &Record, deployment: &Deployment) -> Option<B256> {
        let operation = match self.action {
            Action::Capture => Operation::Capture {
                amount: self.amount,
                fee: self.fee?,
                fee_receiver: record.payment_info.feeReceiver,
                expected: self.expected,
            },
            Action::Void => Operation::Void,
            Action::Refund => Operation::Refund {
                amount: self.amount,
                token_collector: deployment.operator_refund_collector,
                expected: self.expected,
            },
        };
        Some(operation.digest(record.hash(), record.chain_id, record.payment_info.operator))
    }

    /// The lifecycle payload, without signatures.
    pub(super) fn payload(&self, record: &Record) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| {
            members.insert(name.into(), value);
        };
        put("type", self.action.name().into());
        put("paymentInfo", info_json(&record.payment_info));
        put("saltNonce", word_json(record.salt_nonce.unwrap_or_default()));
        if self.action != Action::Void {
            put("amount", units(self.amount));
            put("expectedCapturableAmount", units(self.expected.capturable));
            put("expectedRefundableAmount", units(self.expected.refundable));
        }
        if self.action == Action::Capture {
            match self.fee {
                Some(Fee::Bps(bps)) => put("feeBps", bps.into()),
                Some(Fee::Amount(amount)) => put("feeAmount", units(amount)),
                None => {}
            }
            put("feeReceiver", text::lower(record.payment_info.feeReceiver).into());
        }
        if self.closes_out {
            put("voidRemainder", true.into());
        }
        members
    }

    /// As `/settle` would get it from the payment's tenant. The host sets purpose and remaining time.
    pub(super) fn request(&self, record: &Record, config: &Config) -> PaymentRequest {
        let network = record.network();
        PaymentRequest {
            version: ProtocolVersion::V2,
            scheme: SCHEME.into(),
            network: network.clone(),
            network_as_sent: network.clone(),
            payload: self.payload(record),
            accepted: Accepted {
                scheme: SCHEME.into(),
                network: network.clone(),
                raw: accepted(record),
            },
            requirements: Requirements {
                scheme: SCHEME.into(),
                network,
                amount: Amount(self.total(record)),
                asset: text::lower(record.payment_info.token),
                pay_to: text::lower(record.payment_info.receiver),
                max_timeout_seconds: MAX_TIMEOUT_S,
                extra: extra(record),
            },
            resource: None,
            extensions: Map::new(),
            purpose: Purpose::Job,
            tenant: record.owner(config).map(str::to_owned),
            idempotency_key: None,
            remaining_ms: JOB_WAIT_MS,
            wants_reserves: false,
        }
    }

    /// The body of `POST /settle`, for a merchant to fill in its authorizer's signature.
    pub(super) fn settle_body(&self, record: &Record) -> Value {
        let mut requirements = accepted(record);
        requirements.insert("amount".into(), units(self.total(record)));
        json!({
            "x402Version": 2,
            "paymentPayload": {
                "x402Version": 2,
                "accepted": accepted(record),
                "payload": self.payload(record),
            },
            "paymentRequirements": requirements,
        })
    }

    /// `requirements.amount`: what moves to the receiver or back.
    fn total(&self, record: &Record) -> U256 {
        match self.action {
            Action::Capture | Action::Refund => self.amount,
            Action::Void => U256::from(record.payment_info.maxAmount),
        }
    }
}

/// Nothing waits for it: deadlines are the payment's own.
const MAX_TIMEOUT_S: u64 = 60;

/// What the buyer accepted, as far as lifecycle calls read it.
fn accepted(record: &Record) -> Map<String, Value> {
    let info = &record.payment_info;
    let members = [
        ("scheme", SCHEME.into()),
        ("network", record.network().into()),
        ("amount", info.maxAmount.to_string().into()),
        ("asset", text::lower(info.token).into()),
        ("payTo", text::lower(info.receiver).into()),
        ("maxTimeoutSeconds", MAX_TIMEOUT_S.into()),
        ("extra", extra(record).into()),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The terms of the payment.
fn extra(record: &Record) -> Map<String, Value> {
    let info = &record.payment_info;
    let flow = if record.charged { "authorization" } else { "escrow" };
    let members = [
        ("name", record.token_name.clone().into()),
        ("version", record.token_version.clone().into()),
        ("authCaptureEscrow", text::lower(record.escrow).into()),
        ("captureAuthorizer", text::lower(info.operator).into()),
        (
            "receiverAuthorizer",
            text::lower(record.receiver_authorizer).into(),
        ),
        ("captureDeadline", record.capture_deadline_s().into()),
        ("refundDeadline", record.refund_deadline_s().into()),
        ("feeRecipient", text::lower(info.feeReceiver).into()),
        ("minFeeBps", info.minFeeBps.into()),
        ("maxFeeBps", info.maxFeeBps.into()),
        ("paymentFlow", flow.into()),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

pub(super) fn fee_terms(record: &Record) -> FeeTerms {
    FeeTerms {
        min_bps: record.payment_info.minFeeBps,
        max_bps: record.payment_info.maxFeeBps,
        recipient: record.payment_info.feeReceiver,
    }
}

/// Whether a payment's captures, voids and refunds need no signature of the merchant's, but the merchant's account.
pub(super) fn is_ours(record: &Record, config: &Config) -> bool {
    record.receiver_authorizer != Address::ZERO
        && config.is_our_authorizer(record.receiver_authorizer)
        && record.owner(config).is_some()
}

fn units(amount: U256) -> Value {
    amount.to_string().into()
}

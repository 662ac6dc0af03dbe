//! What must be sent for a good payment, and what proves that it paid.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::cx::NetworkView;
use sdk_plugin::scheme::{
    EvidenceWanted, Gate, Hold, LaneChoice, LogFilter, OnFail, Parties, Plan, Planned, Reserve, Step, Valid,
    Verdict, extensions_used,
};
use sdk_plugin::{Amount, Cx, Fault, HexBytes, Value};
use serde::{Deserialize, Serialize};

use super::payment::Payment;
use super::transfer::Good;
use super::{Proxy, approval, nonce, reason};
use crate::abi::TRANSFER_TOPIC;
use crate::step::Checked;
use crate::transfer::Funds;
use crate::{step, text};

/// What judge needs to know of the payment. The tag tells it from a payment by another method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename = "permit2", rename_all = "camelCase")]
pub(crate) struct Memo {
    pub(super) proxy: Proxy,
    pub(super) asset: Address,
    pub(super) from: Address,
    pub(super) pay_to: Address,
    /// Atomic units that are moved.
    pub(super) value: Amount,
    pub(super) nonce: Amount,
    /// Seconds since the epoch.
    pub(super) deadline: Amount,
    /// Extensions of the request that it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) used: Vec<String>,
}

/// Whose key sends, and what is kept for it.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) lane: LaneChoice,
    pub(crate) holds: Vec<Hold>,
}

/// Whether a step's memo is one of a payment by Permit2, or of what comes before it.
pub(crate) fn is_step(memo: &Value) -> bool {
    matches!(
        memo.get("method").and_then(Value::as_str),
        Some("permit2" | "approval")
    )
}

impl Memo {
    /// # Errors
    /// It is not.
    pub(crate) fn read(memo: &Value) -> Result<Self, Fault> {
        serde_json::from_value(memo.clone())
            .map_err(|error| Fault::invalid(format!("the step's memo is not one of Permit2: {error}")))
    }
}

/// One call of the proxy that moves `amount`, with the payer's balance reserved.
///
/// # Errors
/// The payer's funds are missing, or the network's options can't be read, a defect.
pub(crate) fn plan(good: &Good, amount: U256, sending: Sending, cx: &Cx) -> Result<Planned, Fault> {
    let (payment, network) = (&good.payment, cx.network());
    let funds = good
        .funds
        .ok_or_else(|| Fault::internal("a plan was made without the payer's funds"))?;
    let permit = &payment.permit;
    let memo = Memo {
        proxy: payment.proxy,
        asset: payment.asset,
        from: permit.from,
        pay_to: payment.pay_to,
        value: Amount(amount),
        nonce: Amount(permit.nonce),
        deadline: Amount(permit.deadline),
        used: good.used.clone(),
    };
    let data = [payment.calldata(&good.signature, amount), good.suffix.clone()].concat();
    let (mut steps, writes) = match &good.sponsored {
        Some(sponsored) => (
            approval::before(sponsored, payment, &sending.lane, network, cx.now_s())?,
            sponsored
                .funding
                .iter()
                .flat_map(|(_, rows)| rows.clone())
                .collect(),
        ),
        None => (Vec::new(), Vec::new()),
    };
    let gate = if steps.is_empty() {
        Gate::None
    } else {
        Gate::Confirmed
    };
    steps.push(Step {
        call: step::call(payment.proxy.address(), data, funds.gas_limit)?,
        lane: sending.lane,
        gate,
        on_fail: OnFail::Stop,
        batchable: may_share(good, network)?,
        // No log has the nonce: two equal payments of one payer in one transaction are indistinguishable.
        one_per_payer: true,
        renewable: false,
        max_cost: None,
        expires_at_s: text::seconds(permit.deadline),
        evidence: evidence(&memo),
        pays: true,
        memo: serde_json::to_value(&memo).map_err(|error| Fault::internal(format!("memo: {error}")))?,
    });
    Ok(Planned::Plan(Plan {
        payer: payment.payer.clone(),
        steps,
        reserves: vec![reserve(payment, amount, funds)],
        holds: sending.holds,
        writes,
        jobs: Vec::new(),
        parties: parties(payment),
    }))
}

/// Whether the call may share a transaction: nothing that the payer wrote runs in it, and the proxy of `exact` takes any caller.
fn may_share(good: &Good, network: &NetworkView) -> Result<bool, Fault> {
    let payment = &good.payment;
    let is_plain = payment.proxy == Proxy::Exact
        && good.by_account
        && payment.sponsoring.is_none()
        && good.sponsored.is_none();
    Ok(is_plain && step::is_batchable(payment.asset, network)?)
}

/// The answer to a verify. A promise reserves what the permit allows.
pub(crate) fn verdict(checked: Checked<Good>) -> Verdict {
    match checked {
        Checked::Good(good) => Verdict::Valid(Valid {
            parties: parties(&good.payment),
            extensions: extensions_used(&good.used),
            reserves: good
                .funds
                .map(|funds| vec![reserve(&good.payment, good.payment.permit.amount, funds)]),
            payer: good.payment.payer,
            extra: None,
        }),
        Checked::Refused(refusal) => Verdict::Invalid(refusal),
    }
}

fn parties(payment: &Payment) -> Parties {
    Parties::pair(text::lower(payment.permit.from), text::lower(payment.pay_to))
}

/// What a payment of `amount` needs of the payer's balance.
fn reserve(payment: &Payment, amount: U256, funds: Funds) -> Reserve {
    Reserve {
        asset: text::lower(payment.asset),
        payer: text::lower(payment.permit.from),
        amount: Amount(amount),
        available: funds.available,
        as_of_height: funds.height,
        refusal_reason: reason::INSUFFICIENT_BALANCE.into(),
    }
}

/// Logs: every transfer of the asset from this payer, and every cancellation of nonces by it. The same find what else used
/// the nonce: a transfer to any payee that the payer signed for, or a cancellation.
fn evidence(memo: &Memo) -> EvidenceWanted {
    let topic = |topic: B256| Some(HexBytes(topic.to_vec()));
    let transfers = LogFilter {
        emitter: text::lower(memo.asset),
        topics: vec![topic(TRANSFER_TOPIC), topic(memo.from.into_word())],
    };
    let logs = vec![transfers, nonce::cancellations(memo.from)];
    EvidenceWanted {
        logs: logs.clone(),
        reads: Vec::new(),
        foreign: logs,
        guard: Some(nonce::guard(memo.from, memo.nonce.0)),
        block_logs: Vec::new(),
    }
}

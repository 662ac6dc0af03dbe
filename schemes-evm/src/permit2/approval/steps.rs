//! The steps before the payment: native currency for the payer where it lacks some, and the payer's own transaction.

use sdk_plugin::chain::{Evidence, Shown};
use sdk_plugin::cx::NetworkView;
use sdk_plugin::scheme::{Call, EvidenceWanted, Gate, Judgement, LaneChoice, OnFail, Plan, Refusal, Step};
use sdk_plugin::{Amount, Fault, HexBytes, Value};
use serde::{Deserialize, Serialize};

use super::{EXTENSION, RECEIVING_GAS, Sponsored};

use crate::abi::{APPROVE_SELECTOR, NATIVE_TRANSFER};
use crate::options::Options;
use crate::permit2::payment::Payment;
use crate::permit2::reason;
use crate::{step, text};

/// How long each of the steps may take to land, in seconds, and more for each block that must confirm it.
const WAIT_S: u64 = 60;
const CONFIRMATION_S: u64 = 15;

/// What judge needs to know of such a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename = "approval", rename_all = "camelCase")]
pub(crate) struct Memo {
    does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Does {
    /// The payer gets native currency.
    Fund,
    /// The payer's transaction is sent.
    Approve,
}

impl Memo {
    /// The memo of such a step; `None`: it is another step's.
    pub(crate) fn read(memo: &Value) -> Option<Self> {
        serde_json::from_value(memo.clone()).ok()
    }
}

/// The steps before a payment's own. `lane`: whose signer pays.
///
/// # Errors
/// The network's options can't be read, or the approval has no calldata, a defect.
pub(crate) fn before(
    sponsored: &Sponsored,
    payment: &Payment,
    lane: &LaneChoice,
    network: &NetworkView,
    now_s: u64,
) -> Result<Vec<Step>, Fault> {
    let deadline_s = text::seconds(payment.permit.deadline).unwrap_or(u64::MAX);
    let each_s = CONFIRMATION_S
        .saturating_mul(network.confirmations)
        .saturating_add(WAIT_S);
    let mut ends_s = now_s;
    let mut step = |call: Call, lane: LaneChoice, gate: Gate, does: Does| -> Result<Step, Fault> {
        ends_s = ends_s.saturating_add(each_s).min(deadline_s);
        Ok(Step {
            call,
            lane,
            gate,
            on_fail: OnFail::Stop,
            batchable: false,
            one_per_payer: false,
            renewable: false,
            max_cost: None,
            expires_at_s: Some(ends_s),
            evidence: EvidenceWanted::default(),
            pays: false,
            memo: serde_json::to_value(Memo { does })
                .map_err(|error| Fault::internal(format!("memo: {error}")))?,
        })
    };
    let mut steps = Vec::new();
    if let Some((wei, _)) = &sponsored.funding {
        let gas = Options::read(&network.options)?.fill_gas.max(RECEIVING_GAS);
        let call = Call {
            target: text::lower(payment.permit.from),
            operation: NATIVE_TRANSFER.into(),
            data: HexBytes::default(),
            native_value: *wei,
            compute_limit: Some(gas),
        };
        steps.push(step(call, lane.clone(), Gate::None, Does::Fund)?);
    }
    let call = Call {
        native_value: Amount::ZERO,
        data: HexBytes(sponsored.bytes.clone()),
        ..step::call(payment.asset, APPROVE_SELECTOR.to_vec(), sponsored.gas_limit)?
    };
    steps.push(step(call, LaneChoice::Foreign, Gate::Confirmed, Does::Approve)?);
    Ok(steps)
}

/// What came of such a step. It shows nothing about the payment, which is not started unless both have landed.
pub(crate) fn judge(plan: &Plan, memo: Memo, evidence: &Evidence) -> Judgement {
    let what = match memo.does {
        Does::Fund => "the native currency for the approval was not delivered",
        Does::Approve => "the approval did not succeed",
    };
    let why = match &evidence.shown {
        Shown::Landed { .. } => return Judgement::Next,
        Shown::Reverted { message, .. } => message.clone().unwrap_or_else(|| "it reverted".into()),
        Shown::Dead { why } => why.clone(),
    };
    let refusal = Refusal {
        extension: Some(EXTENSION.into()),
        ..Refusal::new(reason::APPROVAL_BROADCAST_FAILED, plan.payer.clone())
    };
    Judgement::NotPaid(refusal.with_message(format!("{what}: {why}")))
}

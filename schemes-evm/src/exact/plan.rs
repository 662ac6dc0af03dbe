//! What must be sent for a good payment, and what proves that it paid.

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::scheme::{
    EvidenceWanted, Gate, Guard, LaneChoice, LogFilter, OnFail, Parties, Plan, Planned, ReadAt, ReadWanted,
    Reserve, Step,
};
use sdk_plugin::{Amount, Fault, HexBytes};
use serde::{Deserialize, Serialize};

use super::check::Good;
use super::payment::Payment;
use super::reason;
use crate::abi::AuthorizedToken::authorizationStateCall;
use crate::abi::{AUTHORIZATION_CANCELED_TOPIC, AUTHORIZATION_USED_TOPIC, TRANSFER_TOPIC};
use crate::transfer::Funds;
use crate::{step, text};

/// What judge needs to know of the payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memo {
    pub(super) asset: Address,
    pub(super) from: Address,
    pub(super) pay_to: Address,
    pub(super) value: Amount,
    pub(super) nonce: B256,
    /// Seconds since the epoch.
    pub(super) valid_before: Amount,
    /// The transaction deploys the payer's wallet first, with code that the payer chose.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deploys: bool,
    /// Extensions of the request that it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) used: Vec<String>,
}

/// One transfer, from any signer, with the payer's balance reserved.
pub(super) fn plan(good: &Good, network: &NetworkView) -> Result<Planned, Fault> {
    let payment = &good.payment;
    let passed = &good.passed;
    let funds = passed
        .funds
        .ok_or_else(|| Fault::internal("a plan was made without the payer's funds"))?;
    let signed = &payment.authorization;
    let memo = Memo {
        asset: payment.asset,
        from: signed.from,
        pay_to: payment.pay_to,
        value: Amount(signed.value),
        nonce: signed.nonce,
        valid_before: Amount(signed.validBefore),
        deploys: passed.deploys,
        used: good.used.clone(),
    };
    let step = Step {
        call: step::call(passed.call.to, passed.call.data.clone(), funds.gas_limit)?,
        lane: LaneChoice::Any,
        gate: Gate::None,
        on_fail: OnFail::Stop,
        batchable: passed.by_account && !passed.deploys && step::is_batchable(payment.asset, network)?,
        one_per_payer: false,
        renewable: false,
        max_cost: None,
        expires_at_s: text::seconds(signed.validBefore),
        evidence: evidence(&memo),
        pays: true,
        memo: serde_json::to_value(&memo).map_err(|error| Fault::internal(format!("memo: {error}")))?,
    };
    Ok(Planned::Plan(Plan {
        payer: payment.payer.clone(),
        steps: vec![step],
        reserves: vec![reserve(payment, funds)],
        holds: Vec::new(),
        writes: Vec::new(),
        jobs: Vec::new(),
        parties: parties(payment),
    }))
}

pub(super) fn parties(payment: &Payment) -> Parties {
    Parties::pair(
        text::lower(payment.authorization.from),
        text::lower(payment.pay_to),
    )
}

/// What the payment needs of the payer's balance.
pub(super) fn reserve(payment: &Payment, funds: Funds) -> Reserve {
    Reserve {
        asset: text::lower(payment.asset),
        payer: text::lower(payment.authorization.from),
        amount: Amount(payment.authorization.value),
        available: funds.available,
        as_of_height: funds.height,
        refusal_reason: reason::INSUFFICIENT_BALANCE.into(),
    }
}

/// Logs: every use of an authorization of this payer and every transfer from it, because which transfer belongs to which
/// use is only known from all of them; and the end of this authorization by its payer. Whatever used up the nonce is found
/// by payer and nonce.
fn evidence(memo: &Memo) -> EvidenceWanted {
    let log = |topics: Vec<B256>| LogFilter {
        emitter: text::lower(memo.asset),
        topics: topics
            .into_iter()
            .map(|topic| Some(HexBytes(topic.to_vec())))
            .collect(),
    };
    let payer = memo.from.into_word();
    let canceled = log(vec![AUTHORIZATION_CANCELED_TOPIC, payer, memo.nonce]);
    EvidenceWanted {
        logs: vec![
            log(vec![AUTHORIZATION_USED_TOPIC, payer]),
            log(vec![TRANSFER_TOPIC, payer]),
            canceled.clone(),
        ],
        reads: Vec::new(),
        foreign: vec![log(vec![AUTHORIZATION_USED_TOPIC, payer, memo.nonce]), canceled],
        guard: Some(guard(memo)),
        block_logs: Vec::new(),
    }
}

/// The nonce is unused. A use and a cancellation both change it permanently.
fn guard(memo: &Memo) -> Guard {
    let call = authorizationStateCall {
        authorizer: memo.from,
        nonce: memo.nonce,
    };
    Guard {
        read: ReadWanted {
            name: "authorizationState".into(),
            target: text::lower(memo.asset),
            data: HexBytes(call.abi_encode()),
            required: true,
            at: ReadAt::Block,
        },
        mask: HexBytes(vec![0xff; 32]),
        unchanged: HexBytes(vec![0; 32]),
    }
}

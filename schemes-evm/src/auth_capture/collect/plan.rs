//! What must be sent for a good collection, what proves it, and what is kept of the payment.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::scheme::{
    EvidenceWanted, Gate, Hold, LaneChoice, LogFilter, OnFail, Parties, Plan, Planned, Reserve, Step,
};
use sdk_plugin::{Amount, Cx, Fault, HexBytes, PaymentRequest};
use serde::{Deserialize, Serialize};

use super::check::Good;
use super::collection::{Charge, target};
use super::custom::Sandbox;
use crate::abi::TRANSFER_TOPIC;
use crate::auth_capture::abi::PaymentInfo;
use crate::auth_capture::config::Config;
use crate::auth_capture::guard;
use crate::auth_capture::keeper;
use crate::auth_capture::reason::{Dialect, Reason, Rejection};
use crate::auth_capture::records::{self, Record};
use crate::auth_capture::terms::{OperatorType, Terms};
use crate::{step, text};

/// What judge needs to know of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Memo {
    Collect(Box<Collected>),
}

/// A collection as it was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Collected {
    pub(super) dialect: Dialect,
    pub(super) chain_id: u64,
    pub(super) escrow: Address,
    pub(super) hash: B256,
    pub(super) info: PaymentInfo,
    /// Atomic units.
    pub(super) amount: U256,
    pub(super) collector: Address,
    /// Absent: a hold.
    pub(super) charge: Option<Charge>,
    /// Present with a contract operator.
    pub(super) sandbox: Option<Sandbox>,
    /// Seconds since the epoch.
    pub(super) planned_at_s: u64,
}

/// One call, with the payer's balance reserved, the operator's key held, and the payment's record.
pub(super) async fn plan(
    cx: &Cx,
    config: &Config,
    request: &PaymentRequest,
    good: &Good,
) -> Result<Planned, Fault> {
    let (terms, collection) = (&good.payment.terms, &good.collection);
    let (writes, jobs) = match record(cx, config, request, good).await? {
        Ok(kept) => kept,
        Err(rejection) => return Ok(Planned::Refused(good.payment.refuse(rejection))),
    };
    let memo = Memo::Collect(Box::new(Collected {
        dialect: terms.dialect,
        chain_id: terms.chain_id,
        escrow: terms.deployment.escrow,
        hash: collection.hash,
        info: collection.info.clone(),
        amount: collection.amount,
        collector: collection.collector,
        charge: collection.charge,
        sandbox: good.sandbox.clone(),
        planned_at_s: cx.now_s(),
    }));
    let (lane, holds, max_gas) = match terms.operator_type {
        OperatorType::Delegated => {
            let signer = step::signer_at(terms.operator, cx.network())
                .ok_or_else(|| {
                    Fault::internal("a payment was admitted whose operator is none of our signers")
                })?
                .to_owned();
            let hold = Hold {
                signer: signer.clone(),
                until_s: terms.refund_deadline_s,
            };
            (LaneChoice::Signer { address: signer }, vec![hold], config.max_gas)
        }
        OperatorType::Custom => (LaneChoice::Any, Vec::new(), config.custom_max_gas),
    };
    let data = collection.calldata(&good.payment.payload.signature);
    let gas_limit = step::gas_limit(&data, good.funds.gas, max_gas);
    let step = Step {
        call: step::call(target(terms), data, gas_limit)?,
        lane,
        gate: Gate::None,
        on_fail: OnFail::Stop,
        // The escrow checks its caller, and contract operators may.
        batchable: false,
        one_per_payer: false,
        renewable: false,
        max_cost: None,
        expires_at_s: Some(collection.info.preApprovalExpiry.to()),
        evidence: evidence(terms, collection.hash, good.sandbox.as_ref()),
        pays: true,
        memo: serde_json::to_value(&memo).map_err(|error| Fault::internal(format!("memo: {error}")))?,
    };
    Ok(Planned::Plan(Plan {
        payer: good.payment.payer.clone(),
        steps: vec![step],
        reserves: vec![reserve(good)],
        holds,
        writes,
        jobs,
        parties: parties(good),
    }))
}

/// A charge pays its fee at once.
pub(super) fn parties(good: &Good) -> Parties {
    let payment = &good.payment;
    let parties = Parties::pair(text::lower(payment.from()), text::lower(payment.terms.receiver));
    match &good.collection.charge {
        Some(charge) if charge.fee_receiver != Address::ZERO => {
            parties.and_receiver(text::lower(charge.fee_receiver))
        }
        Some(_) | None => parties,
    }
}

/// What the collection needs of the payer's balance.
pub(super) fn reserve(good: &Good) -> Reserve {
    let terms = &good.payment.terms;
    Reserve {
        asset: text::lower(terms.asset),
        payer: text::lower(good.payment.from()),
        amount: Amount(good.payment.needs(&good.collection)),
        available: good.funds.available,
        as_of_height: good.funds.height,
        refusal_reason: Reason::InsufficientBalance.name(terms.dialect).into(),
    }
}

/// Rows of the first commit. Where we authorize for the merchant, the record binds the payment to its tenant (section 10):
/// it is valid only if it was written together with the first bytes that could be sent. A record without a collection is
/// from an attempt that had no effect, because this runs inside the payment's conflict key, and is replaced. And the
/// keeper's first check, where the receiver has a keeper.
async fn record(
    cx: &Cx,
    config: &Config,
    request: &PaymentRequest,
    good: &Good,
) -> Result<Result<(Vec<StoreWrite>, Vec<Job>), Rejection>, Fault> {
    let (terms, collection) = (&good.payment.terms, &good.collection);
    let is_ours = config.is_our_authorizer(terms.receiver_authorizer);
    if is_ours && !config.speaks_for(request.tenant.as_deref(), terms.receiver) {
        return Ok(Err(Rejection::new(
            Reason::UnauthenticatedAuthorizerRequest,
            "a payment that this facilitator authorizes for its seller must be settled by the tenant that speaks for payTo",
        )));
    }
    let record = Record {
        payment_info: collection.info.clone(),
        chain_id: terms.chain_id,
        escrow: terms.deployment.escrow,
        receiver_authorizer: terms.receiver_authorizer,
        salt_nonce: collection.salt_nonce,
        tenant: request.tenant.clone(),
        dialect: terms.dialect,
        charged: collection.charge.is_some(),
        amount: collection.amount,
        token_name: terms.token_name.clone(),
        token_version: terms.token_version.clone(),
        planned_at_s: cx.now_s(),
    };
    match records::find(cx, &record.network(), collection.hash).await {
        Ok(previous) => {
            let writes = record.first_writes(previous.as_ref())?;
            let jobs = keeper::next_job(config, &record, cx.now_s());
            Ok(Ok((writes, jobs.into_iter().collect())))
        }
        Err(_) if is_ours => Ok(Err(Rejection::new(
            Reason::DelegatedAuthUnavailable,
            "the payment can't be bound to its tenant now; try again",
        ))),
        Err(fault) => Err(fault),
    }
}

/// With a contract operator also every transfer of the asset, because what the contract moved is not believed.
fn evidence(terms: &Terms, hash: B256, sandbox: Option<&Sandbox>) -> EvidenceWanted {
    let escrow = terms.deployment.escrow;
    let transfers = sandbox.map(|sandbox| LogFilter {
        emitter: text::lower(sandbox.asset()),
        topics: vec![Some(HexBytes(TRANSFER_TOPIC.to_vec()))],
    });
    guard::evidence(
        escrow,
        hash,
        guard::not_collected(escrow, hash),
        transfers.into_iter().collect(),
    )
}

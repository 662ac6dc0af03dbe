//! A scheme of one signed transfer: the simulator's token, its evidence and its judgement.

use std::sync::Arc;

use sdk_plugin::chain::Evidence;
use sdk_plugin::scheme::{
    Call, Gate, Identified, Identity, Judgement, LaneChoice, OnFail, Plan, Planned, Refusal, Reserve, Step,
    Supported, Verdict,
};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Amount, Cx, Fault, PaymentRequest, SchemeHandler, Value, async_trait};
use serde::{Deserialize, Serialize};
use simulator::evidence::{judge, wanted};
use simulator::scheme::{EXACT, REPLAY};
use simulator::token::{Op, State, TOKEN};

use crate::chain::Chain;

/// What the buyer signs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    pub from: String,
    pub to: String,
    pub value: u64,
    pub nonce: u64,
    /// Seconds since the epoch.
    pub valid_before: u64,
}

#[derive(Debug)]
pub struct Exact {
    pub chain: Arc<Chain>,
}

fn payload_of(request: &PaymentRequest) -> Result<Payload, Refusal> {
    serde_json::from_value(Value::Object(request.payload.clone()))
        .map_err(|_| Refusal::new("invalid_payload", ""))
}

#[async_trait]
impl SchemeHandler for Exact {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let kind = Kind {
            x402_version: 2,
            scheme: EXACT.into(),
            network: cx.network().id.clone(),
            extra: None,
        };
        Ok(Supported {
            kinds: vec![kind],
            ..Supported::default()
        })
    }

    async fn identify(&self, _: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        let payload = match payload_of(request) {
            Ok(payload) => payload,
            Err(refusal) => return Ok(Identity::Refused(refusal)),
        };
        let terms = &request.requirements;
        Ok(Identity::Identified(Identified {
            claim_key: format!("{TOKEN}:{}:{:064x}", payload.from, payload.nonce),
            conflict_keys: Vec::new(),
            fingerprint: format!("{}:{}:{}", terms.asset, terms.pay_to, terms.amount),
            payload_digest: crate::chain::hash(format!("{payload:?}").as_bytes()),
            replay_reason: REPLAY.into(),
            replayable_until_s: Some(payload.valid_before),
            payer: payload.from,
        }))
    }

    async fn verify(&self, _: &Cx, _: &PaymentRequest) -> Result<Verdict, Fault> {
        Err(Fault::unsupported("only settlements are measured"))
    }

    async fn plan(&self, _: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        let payload = match payload_of(request) {
            Ok(payload) => payload,
            Err(refusal) => return Ok(Planned::Refused(refusal)),
        };
        let (balance, is_used, as_of_height) = {
            let ledger = self.chain.call().await;
            let (balance, is_used) = ledger.payer(&payload.from, payload.nonce);
            (balance, is_used, ledger.height())
        };
        if is_used {
            return Ok(Planned::Refused(Refusal::new(REPLAY, payload.from)));
        }
        Ok(Planned::Plan(plan_of(payload, balance, as_of_height)))
    }

    async fn judge(&self, _: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let step = evidence.step.of(&plan.steps);
        let op = step.and_then(|step| Op::decode(&step.call.data));
        let op = op.ok_or_else(|| Fault::invalid("the step's call can't be read"))?;
        Ok(judge(&op, true, evidence))
    }
}

fn plan_of(payload: Payload, balance: u64, as_of_height: u64) -> Plan {
    let op = Op::Transfer {
        from: payload.from.clone(),
        to: payload.to,
        value: payload.value,
        nonce: payload.nonce,
        valid_before_s: payload.valid_before,
        by_allowance: false,
    };
    let step = Step {
        call: Call {
            target: TOKEN.into(),
            operation: op.name().into(),
            data: op.encode(),
            native_value: Amount::ZERO,
            compute_limit: None,
        },
        lane: LaneChoice::Any,
        gate: Gate::None,
        on_fail: OnFail::Stop,
        batchable: false,
        one_per_payer: false,
        renewable: false,
        max_cost: None,
        expires_at_s: Some(payload.valid_before),
        evidence: wanted(&op, &State::default()),
        pays: true,
        memo: Value::Null,
    };
    let reserve = Reserve {
        asset: TOKEN.into(),
        payer: payload.from.clone(),
        amount: Amount::from(payload.value),
        available: Amount::from(balance),
        as_of_height,
        refusal_reason: "insufficient_funds".into(),
    };
    Plan {
        payer: payload.from,
        steps: vec![step],
        reserves: vec![reserve],
        ..Plan::default()
    }
}

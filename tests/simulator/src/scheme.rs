//! Two schemes on the simulated chain: `exact`, one signed transfer, modelled on EIP-3009; and `steps`, whose plans
//! have two or three steps with gates, a tail and conflict keys.

use std::sync::Arc;

use sdk_plugin::chain::Evidence;
use sdk_plugin::scheme::{
    Call, Gate, Identified, Identity, Judgement, LaneChoice, OnFail, Paid, PaidReply, Plan, Planned, Refusal,
    Reserve, Step, Supported, Valid, Verdict,
};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Amount, Cx, Fault, HexBytes, PaymentRequest, SchemeHandler, Value, async_trait};
use serde::{Deserialize, Serialize};

use crate::chain::Tx;
use crate::defects::Defect;
use crate::evidence::{judge, wanted};
use crate::faults::{Harm, Point};
use crate::message::{self, Message, op_of};
use crate::token::{Op, State, TOKEN};
use crate::world::World;

pub const EXACT: &str = "exact";
pub const STEPS: &str = "steps";
/// How long an approval may take to land, in seconds.
const APPROVAL_S: u64 = 60;
/// Answers another use of an authorization.
pub const REPLAY: &str = "sim_nonce_already_used";

/// What the buyer signs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payload {
    pub from: String,
    pub to: String,
    pub value: u64,
    pub nonce: u64,
    pub valid_before_s: u64,
    /// Which plan the `steps` scheme makes of it.
    pub shape: Shape,
    /// Where transactions have no numbers: what the buyer signs instead of an authorization.
    pub message: Option<Message>,
}

/// Plans of the `steps` scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Shape {
    /// One signed transfer.
    Plain,
    /// Lock; capture when that is confirmed; sweep when that is final.
    Escrow,
    /// A note, the transfer at the same time, a note when that is confirmed.
    Noted,
    /// A note that reverts and does not matter; the transfer when that is final.
    Shaky,
    /// A note that reverts, before which nothing may be paid.
    Stopped,
    /// The payer's own transaction, which approves; the transfer when that is confirmed.
    Approved,
    /// Operations of the scheme `hold`.
    Hold,
    Close,
    Return,
}

/// Plans, judges and never signs.
#[derive(Debug)]
pub struct SimScheme {
    pub name: &'static str,
    pub world: Arc<World>,
    /// Whether the chain numbers transactions.
    pub ordered: bool,
}

pub(crate) fn payload_of(request: &PaymentRequest) -> Option<Payload> {
    serde_json::from_value(Value::Object(request.payload.clone())).ok()
}

#[async_trait]
impl SchemeHandler for SimScheme {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let kind = Kind {
            x402_version: 2,
            scheme: self.name.into(),
            network: cx.network().id.clone(),
            extra: None,
        };
        Ok(Supported {
            kinds: vec![kind],
            ..Supported::default()
        })
    }

    async fn identify(&self, _: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        self.world.faults.pass(Point::Identify).await?;
        let Some(payload) = payload_of(request) else {
            return Ok(Identity::Refused(Refusal::new("invalid_payload", "")));
        };
        let terms = &request.requirements;
        let conflict_keys = match payload.shape {
            Shape::Plain | Shape::Noted => Vec::new(),
            Shape::Escrow | Shape::Shaky | Shape::Stopped | Shape::Approved => {
                vec![format!("payer:{}", payload.from)]
            }
            Shape::Hold | Shape::Close | Shape::Return => {
                return Ok(Identity::Refused(Refusal::new("invalid_payload", payload.from)));
            }
        };
        let is_message = payload.message.is_some();
        Ok(Identity::Identified(Identified {
            payer: payload.from.clone(),
            claim_key: if self.world.defect == Some(Defect::ClaimNotUnique) {
                // Each instant has claims of its own.
                format!("{}:{}:{}", payload.from, payload.nonce, self.world.now_ms())
            } else if is_message {
                format!("{payload:?}")
            } else {
                format!("{}:{}", payload.from, payload.nonce)
            },
            conflict_keys,
            fingerprint: format!("{}:{}:{}", terms.asset, terms.pay_to, terms.amount),
            payload_digest: format!("{payload:?}"),
            replay_reason: REPLAY.into(),
            replayable_until_s: (!is_message).then_some(payload.valid_before_s),
        }))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        let (state, height) = self.world.read_state(None)?;
        Ok(match self.examine(cx, request, &state, height) {
            Ok(payload) => Verdict::Valid(Valid {
                payer: payload.from,
                ..Valid::default()
            }),
            Err(refusal) => Verdict::Invalid(refusal),
        })
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        let harm = self.world.faults.pass(Point::Plan).await?;
        let (state, height) = self.world.read_state(harm)?;
        let payload = match self.examine(cx, request, &state, height) {
            Ok(payload) => payload,
            Err(refusal) => return Ok(Planned::Refused(refusal)),
        };
        let mut plan = plan_of(&payload, &state, height);
        if let [approval, _] = plan.steps.as_mut_slice()
            && payload.shape == Shape::Approved
        {
            if state.nonces.get(&payload.from) != Some(&0) {
                return Ok(Planned::Refused(Refusal::new("sim_approval_nonce", payload.from)));
            }
            let ends_s = cx.now_s() + APPROVAL_S;
            approval.expires_at_s = Some(ends_s.min(payload.valid_before_s));
        }
        if let Some(message) = &payload.message {
            message.sign(&mut plan);
            if message::has_landed(&plan, &state) {
                return Ok(Planned::Refused(Refusal::new(REPLAY, payload.from)));
            }
        }
        if harm == Some(Harm::Garbage) {
            self.spoil(&mut plan);
        }
        Ok(Planned::Plan(plan))
    }

    async fn judge(&self, _: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let harm = self.world.faults.pass(Point::Judge).await?;
        if harm == Some(Harm::Garbage) {
            return Ok(self.nonsense(evidence));
        }
        let step = evidence.step.of(&plan.steps);
        let step = step.ok_or_else(|| Fault::invalid("no such step"))?;
        let op = op_of(&step.call.data).ok_or_else(|| Fault::invalid("the step's call can't be read"))?;
        Ok(judge(&op, step.pays, evidence))
    }
}

impl SimScheme {
    fn examine(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        state: &State,
        height: u64,
    ) -> Result<Payload, Refusal> {
        let payload = payload_of(request).ok_or_else(|| Refusal::new("invalid_payload", ""))?;
        let no = |reason: &str| Err(Refusal::new(reason, payload.from.clone()));
        if (payload.shape == Shape::Plain) != (self.name == EXACT)
            || payload.message.is_some() == self.ordered
        {
            return no("invalid_payload");
        }
        if payload.to != request.requirements.pay_to {
            return no("sim_recipient_mismatch");
        }
        if Amount::from(payload.value) != request.requirements.amount {
            return no("sim_value_mismatch");
        }
        let is_late = match &payload.message {
            None => payload.valid_before_s < cx.now_s() + 6,
            Some(message) => message.good_until <= height,
        };
        if is_late {
            return no("sim_valid_before");
        }
        if state.used.contains(&(payload.from.clone(), payload.nonce)) {
            return no(REPLAY);
        }
        if state.balances.get(&payload.from).copied().unwrap_or(0) < taken(&payload) {
            return no("sim_insufficient_balance");
        }
        Ok(payload)
    }

    /// What an untrusted scheme might request.
    fn spoil(&self, plan: &mut Plan) {
        let choice = self.world.rng().index(5);
        let Some(step) = plan.steps.first_mut() else {
            return;
        };
        match choice {
            0 => step.call.operation = "drain".into(),
            1 => step.call.target = "another".into(),
            2 => step.call.native_value = Amount::from(1u64),
            3 => {
                step.lane = LaneChoice::Signer {
                    address: "address".into(),
                }
            }
            _ => plan.steps.iter_mut().for_each(|step| step.pays = false),
        }
    }

    /// Judgements that name evidence which is not there, or do not fit the step.
    fn nonsense(&self, evidence: &Evidence) -> Judgement {
        let choice = self.world.rng().index(4);
        let paid = |tx_id: &str, items: Vec<String>| {
            Judgement::Paid(Paid {
                tx_id: tx_id.to_owned(),
                items,
                reply: PaidReply::default(),
                writes: Vec::new(),
                jobs: Vec::new(),
                repeatable: false,
            })
        };
        match choice {
            0 => paid(&evidence.tx_id, Vec::new()),
            1 => paid(&evidence.tx_id, vec!["0xmade-up#0".into()]),
            2 => paid(
                "0xmade-up",
                evidence.logs.iter().map(|log| log.id.clone()).collect(),
            ),
            _ => Judgement::Unproven {
                why: "nonsense".into(),
            },
        }
    }
}

/// What it takes from the payer. The escrow gets enough for a second capture, which must never come.
fn taken(payload: &Payload) -> u64 {
    if payload.shape == Shape::Escrow {
        payload.value.saturating_mul(3)
    } else {
        payload.value
    }
}

fn plan_of(payload: &Payload, state: &State, height: u64) -> Plan {
    let Payload {
        from,
        to,
        value,
        nonce,
        valid_before_s,
        shape,
        message: _,
    } = payload.clone();
    let transfer = Op::Transfer {
        from: from.clone(),
        to: to.clone(),
        value,
        nonce,
        valid_before_s,
        by_allowance: shape == Shape::Approved,
    };
    let step = |op: &Op, gate, on_fail, pays, expires| step(op, state, gate, on_fail, pays, expires);
    let note = |nonce, reverts| Op::Note {
        from: from.clone(),
        nonce,
        reverts,
    };
    let expires = Some(valid_before_s);
    let steps = match shape {
        Shape::Plain => vec![Step {
            batchable: true,
            // Only scenarios written by hand have such nonces.
            one_per_payer: nonce % 10 == 7,
            ..step(&transfer, Gate::None, OnFail::Stop, true, expires)
        }],
        Shape::Escrow => vec![
            step(
                &Op::Lock {
                    from: from.clone(),
                    value: taken(payload),
                    nonce,
                    valid_before_s,
                },
                Gate::None,
                OnFail::Stop,
                false,
                expires,
            ),
            step(
                &Op::Capture {
                    from: from.clone(),
                    nonce,
                    to,
                    value,
                },
                Gate::Confirmed,
                OnFail::Stop,
                true,
                None,
            ),
            step(
                &Op::Sweep {
                    from: from.clone(),
                    nonce,
                },
                Gate::Final,
                OnFail::Continue,
                false,
                None,
            ),
        ],
        Shape::Noted => vec![
            step(&note(nonce, false), Gate::None, OnFail::Continue, false, None),
            step(&transfer, Gate::None, OnFail::Stop, true, expires),
            step(
                &note(nonce + 1, false),
                Gate::Confirmed,
                OnFail::Continue,
                false,
                None,
            ),
        ],
        Shape::Shaky => vec![
            step(&note(nonce, true), Gate::None, OnFail::Continue, false, None),
            step(&transfer, Gate::Final, OnFail::Stop, true, expires),
        ],
        Shape::Stopped => vec![
            step(&note(nonce, true), Gate::None, OnFail::Stop, false, None),
            step(&transfer, Gate::Confirmed, OnFail::Stop, true, expires),
            step(
                &note(nonce + 1, false),
                Gate::Confirmed,
                OnFail::Continue,
                false,
                None,
            ),
        ],
        Shape::Approved if state.approved.contains(&from) => {
            vec![step(&transfer, Gate::None, OnFail::Stop, true, expires)]
        }
        Shape::Approved => vec![
            approval(&from, state),
            step(&transfer, Gate::Confirmed, OnFail::Stop, true, expires),
        ],
        // Another scheme's, and refused before.
        Shape::Hold | Shape::Close | Shape::Return => Vec::new(),
    };
    let reserve = Reserve {
        asset: TOKEN.into(),
        payer: from.clone(),
        amount: Amount::from(taken(payload)),
        available: Amount::from(state.balances.get(&from).copied().unwrap_or(0)),
        as_of_height: height,
        refusal_reason: "sim_insufficient_balance".into(),
    };
    Plan {
        payer: from,
        steps,
        reserves: vec![reserve],
        ..Plan::default()
    }
}

/// The payer's own transaction, as it has signed it: its first one.
fn approval(payer: &str, state: &State) -> Step {
    let op = Op::Approve { from: payer.into() };
    let tx = Tx {
        signer: payer.into(),
        nonce: 0,
        max_fee: message::MAX_FEE,
        op: Some(op.clone()),
        more: Vec::new(),
        salt: 0,
        good_until: None,
    };
    let mut step = step(&op, state, Gate::None, OnFail::Stop, false, None);
    step.call.data = HexBytes(tx.encode());
    step.lane = LaneChoice::Foreign;
    step
}

pub(crate) fn step(
    op: &Op,
    state: &State,
    gate: Gate,
    on_fail: OnFail,
    pays: bool,
    expires_at_s: Option<u64>,
) -> Step {
    Step {
        call: Call {
            target: TOKEN.into(),
            operation: op.name().into(),
            data: op.encode(),
            native_value: Amount::ZERO,
            compute_limit: None,
        },
        lane: LaneChoice::Any,
        gate,
        on_fail,
        batchable: false,
        one_per_payer: false,
        renewable: false,
        max_cost: None,
        expires_at_s,
        evidence: wanted(op, state),
        pays,
        memo: Value::Null,
    }
}

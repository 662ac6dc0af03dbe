//! A scheme of several operations on one payment, modelled on escrowed payments: `Hold` puts funds into the escrow and
//! has its keeper scheduled, `Close` captures a part and gives the rest back once that is final, `Return` gives all of
//! it back and is what the keeper orders. Where a signer is retained, it is the operator who alone does the latter two.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sdk_plugin::chain::Evidence;
use sdk_plugin::host::{Job, JobRequest, StoreCondition, StoreRequest, StoreResponse, StoreWrite};
use sdk_plugin::scheme::{
    Gate, Hold, Identified, Identity, Judgement, LaneChoice, OnFail, Paid, Plan, Planned, Refusal, Reserve,
    SchemeCheck, Supported, Valid, Verdict,
};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Amount, Cx, Fault, PaymentRequest, SchemeHandler, Value, async_trait};
use serde_json::json;

use crate::chain::NODES;
use crate::clients::NETWORK;
use crate::evidence::{judge, judge_held, wanted_of_held};
use crate::faults::{Harm, Point};
use crate::message::op_of;
use crate::scheme::{Payload, REPLAY, Shape, payload_of, step};
use crate::token::{Op, State, TOKEN, moved, topics};
use crate::world::World;

pub const HOLD: &str = "hold";
/// Answers an operation on a payment of which nothing is in the escrow.
pub const NOTHING_HELD: &str = "sim_nothing_held";
/// When the keeper gives back what nobody has closed, milliseconds after it was planned.
pub const KEEP_MS: u64 = 40_000;
/// How often the watch of a hold polls again by itself, and how long it waits between two polls, milliseconds.
pub const WATCHES: u64 = 3;
const WATCH_MS: u64 = 4_000;

/// Plans, judges, keeps.
#[derive(Debug)]
pub struct HoldScheme {
    pub world: Arc<World>,
}

/// Key of the row that counts a payer's holds.
#[must_use]
pub fn count_key(payer: &str) -> String {
    format!("count:{payer}")
}

fn place(payload: &Payload) -> String {
    format!("{}:{}", payload.from, payload.nonce)
}

impl HoldScheme {
    /// The newest state that any node shows. A node that lags would make an operation's guard expect what an earlier
    /// operation on the payment has changed already.
    fn state(&self) -> Result<(Arc<State>, u64), Fault> {
        let newest = (0..NODES)
            .filter_map(|node| self.world.view_of(node).latest_state().cloned())
            .max_by_key(|block| block.height);
        let block = newest.ok_or_else(|| Fault::unavailable("no node shows the state"))?;
        Ok((Arc::clone(&block.state), block.height))
    }

    fn examine(cx: &Cx, request: &PaymentRequest, state: &State) -> Result<Payload, Refusal> {
        let payload = payload_of(request).ok_or_else(|| Refusal::new("invalid_payload", ""))?;
        let no = |reason: &str| Err(Refusal::new(reason, payload.from.clone()));
        if payload.to != request.requirements.pay_to {
            return no("sim_recipient_mismatch");
        }
        if Amount::from(payload.value) != request.requirements.amount {
            return no("sim_value_mismatch");
        }
        let at = (payload.from.clone(), payload.nonce);
        match payload.shape {
            Shape::Hold if payload.valid_before_s < cx.now_s() + 6 => no("sim_valid_before"),
            Shape::Hold if state.used.contains(&at) => no(REPLAY),
            Shape::Hold if state.balances.get(&payload.from).copied().unwrap_or(0) < payload.value => {
                no("sim_insufficient_balance")
            }
            Shape::Close if state.escrow.get(&at).is_none_or(|held| *held < payload.value) => {
                no(NOTHING_HELD)
            }
            Shape::Return if !state.escrow.contains_key(&at) => no(NOTHING_HELD),
            Shape::Hold | Shape::Close | Shape::Return => Ok(payload),
            Shape::Plain | Shape::Escrow | Shape::Noted | Shape::Shaky | Shape::Stopped | Shape::Approved => {
                no("invalid_payload")
            }
        }
    }

    async fn count(cx: &Cx, payer: &str) -> Result<Option<Value>, Fault> {
        let get = StoreRequest::Get {
            key: count_key(payer),
        };
        match cx.store(get).await? {
            StoreResponse::Rows { rows } => Ok(rows.into_iter().next().map(|row| row.value)),
            other => Err(Fault::internal(format!("{other:?}"))),
        }
    }
}

fn write(key: String, value: Value, condition: StoreCondition) -> StoreWrite {
    StoreWrite {
        key,
        value,
        condition,
        expires_at_ms: None,
    }
}

fn job(id: String, kind: &str, payload: Value, run_at_ms: u64) -> Job {
    Job {
        id,
        scheme: HOLD.into(),
        network: NETWORK.into(),
        kind: kind.into(),
        payload,
        run_at_ms,
    }
}

#[async_trait]
impl SchemeHandler for HoldScheme {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let kind = Kind {
            x402_version: 2,
            scheme: HOLD.into(),
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
        let claim_key = match payload.shape {
            Shape::Hold => format!("hold:{}", place(&payload)),
            _ => format!("{:?}:{}:{}", payload.shape, place(&payload), payload.value),
        };
        Ok(Identity::Identified(Identified {
            payer: payload.from.clone(),
            claim_key,
            conflict_keys: vec![place(&payload)],
            fingerprint: format!("{}:{}:{}", terms.asset, terms.pay_to, terms.amount),
            payload_digest: format!("{payload:?}"),
            replay_reason: REPLAY.into(),
            replayable_until_s: Some(payload.valid_before_s),
        }))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        Ok(match Self::examine(cx, request, &self.state()?.0) {
            Ok(payload) => Verdict::Valid(Valid {
                payer: payload.from,
                ..Valid::default()
            }),
            Err(refusal) => Verdict::Invalid(refusal),
        })
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        let harm = self.world.faults.pass(Point::Plan).await?;
        if matches!(harm, Some(Harm::Stale | Harm::Null(_))) {
            self.world.read_state(harm)?;
        }
        let (state, height) = self.state()?;
        let payload = match Self::examine(cx, request, &state) {
            Ok(payload) => payload,
            Err(refusal) => return Ok(Planned::Refused(refusal)),
        };
        let mut plan = match payload.shape {
            Shape::Hold => {
                let before = Self::count(cx, &payload.from).await?;
                hold(cx, request, &payload, &state, height, before)
            }
            _ => give_out(cx, &payload, &state),
        };
        if harm == Some(Harm::Garbage) {
            // What an untrusted scheme might request.
            plan.jobs.push(job("theirs".into(), "keep", Value::Null, 0));
            plan.jobs.iter_mut().for_each(|job| job.scheme = "another".into());
        }
        Ok(Planned::Plan(plan))
    }

    async fn judge(&self, _: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let harm = self.world.faults.pass(Point::Judge).await?;
        let step = evidence.step.of(&plan.steps);
        let step = step.ok_or_else(|| Fault::invalid("no such step"))?;
        let op = op_of(&step.call.data).ok_or_else(|| Fault::invalid("the step's call can't be read"))?;
        if harm == Some(Harm::Garbage) {
            return Ok(Judgement::Unproven {
                why: "nonsense".into(),
            });
        }
        let judgement = match &op {
            Op::Capture { .. } => judge_held(&op, step.pays, &step.evidence, evidence),
            Op::Lock { .. } | Op::Sweep { .. } => judge(&op, step.pays, evidence),
            _ => return Err(Fault::invalid("no step of this scheme's")),
        };
        let Judgement::Paid(proof) = judgement else {
            return Ok(judgement);
        };
        let memo: Memo = serde_json::from_value(step.memo.clone()).unwrap_or_default();
        Ok(Judgement::Paid(Paid {
            writes: memo.writes,
            jobs: memo.jobs,
            ..proof
        }))
    }

    async fn check(&self, _: &Cx) -> Result<SchemeCheck, Fault> {
        let harm = self.world.faults.pass(Point::SchemeCheck).await?;
        let is_ready = harm.is_none() && self.world.hold_is_ready.load(Ordering::Relaxed);
        Ok(if is_ready {
            SchemeCheck::ready()
        } else {
            SchemeCheck::not_ready("the escrow has no code")
        })
    }

    async fn job(&self, cx: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        self.world.faults.pass(Point::Job).await?;
        if job.kind == "watch" {
            let seen = job.payload.as_u64().unwrap_or(0) + 1;
            if seen < WATCHES {
                let again = Job {
                    payload: json!(seen),
                    run_at_ms: cx.now_ms() + WATCH_MS,
                    ..job.clone()
                };
                cx.job(JobRequest::Schedule { job: again }).await?;
            }
            return Ok(Vec::new());
        }
        let request: PaymentRequest = serde_json::from_value(job.payload.clone())
            .map_err(|error| Fault::internal(error.to_string()))?;
        Ok(match Self::examine(cx, &request, &self.state()?.0) {
            Ok(_) => vec![request],
            Err(_) => Vec::new(),
        })
    }
}

/// What comes with the outcome of a step that pays.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Memo {
    writes: Vec<StoreWrite>,
    jobs: Vec<Job>,
}

fn memo(writes: Vec<StoreWrite>, jobs: Vec<Job>) -> Value {
    serde_json::to_value(Memo { writes, jobs }).unwrap_or_default()
}

fn hold(
    cx: &Cx,
    request: &PaymentRequest,
    payload: &Payload,
    state: &State,
    height: u64,
    counted: Option<Value>,
) -> Plan {
    let Payload {
        from,
        value,
        nonce,
        valid_before_s,
        ..
    } = payload.clone();
    let lock = Op::Lock {
        from: from.clone(),
        value,
        nonce,
        valid_before_s,
    };
    let returned = Payload {
        shape: Shape::Return,
        ..payload.clone()
    };
    let back = PaymentRequest {
        payload: match serde_json::to_value(&returned) {
            Ok(Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        },
        idempotency_key: None,
        ..request.clone()
    };
    let keeper = job(
        format!("keep:{}", place(payload)),
        "keep",
        serde_json::to_value(back).unwrap_or_default(),
        cx.now_ms() + KEEP_MS,
    );
    let watch = job(
        format!("watch:{}", place(payload)),
        "watch",
        json!(0),
        cx.now_ms() + WATCH_MS,
    );
    let mut first = step(&lock, state, Gate::None, OnFail::Stop, true, Some(valid_before_s));
    first.memo = memo(Vec::new(), vec![keeper]);
    let next = counted.as_ref().and_then(Value::as_u64).unwrap_or(0) + 1;
    let condition = counted.map_or(StoreCondition::Absent, |value| StoreCondition::Equals { value });
    let operator = cx.network().retained.first();
    Plan {
        payer: from.clone(),
        steps: vec![first],
        reserves: vec![Reserve {
            asset: TOKEN.into(),
            payer: from.clone(),
            amount: Amount::from(value),
            available: Amount::from(state.balances.get(&from).copied().unwrap_or(0)),
            as_of_height: height,
            refusal_reason: "sim_insufficient_balance".into(),
        }],
        holds: operator
            .map(|lane| Hold {
                signer: lane.signer.clone(),
                until_s: valid_before_s + 3_600,
            })
            .into_iter()
            .collect(),
        writes: vec![write(count_key(&from), json!(next), condition)],
        jobs: vec![watch],
        ..Plan::default()
    }
}

/// `Close` and `Return`.
fn give_out(cx: &Cx, payload: &Payload, state: &State) -> Plan {
    let Payload {
        from,
        to,
        value,
        nonce,
        ..
    } = payload.clone();
    let sweep = Op::Sweep {
        from: from.clone(),
        nonce,
    };
    let mut steps = if payload.shape == Shape::Close {
        let capture = Op::Capture {
            from: from.clone(),
            nonce,
            to,
            value,
        };
        let mut first = step(&capture, state, Gate::None, OnFail::Stop, true, None);
        // One row for all payments of a payer: the second one's condition does not hold, and it has been paid all the same.
        let row = write(format!("closed:{from}"), json!(nonce), StoreCondition::Absent);
        first.memo = memo(vec![row], Vec::new());
        first.evidence = wanted_of_held(&capture, state);
        vec![first, step(&sweep, state, Gate::Final, OnFail::Stop, false, None)]
    } else {
        vec![step(&sweep, state, Gate::None, OnFail::Stop, true, None)]
    };
    if let Some(operator) = cx.network().retained.first() {
        for step in &mut steps {
            step.lane = LaneChoice::Signer {
                address: operator.signer.clone(),
            };
        }
    }
    Plan {
        payer: from,
        steps,
        ..Plan::default()
    }
}

/// Whether these logs are what a `Hold` is paid by.
#[must_use]
pub fn is_held(logs: &[sdk_plugin::chain::LogEntry], payload: &Payload) -> bool {
    let wanted = topics("Locked", &payload.from, payload.nonce);
    logs.iter()
        .any(|log| log.topics == wanted && log.data == moved("escrow", payload.value))
}

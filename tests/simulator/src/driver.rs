//! The simulated chain's driver: honest, as drivers must be, over nodes that are not always right. With a planted defect it
//! is the driver that must be caught.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::calls::CallTable;
use journal::Journal;
use sdk_plugin::chain::{
    Attempt, Bid, Built, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, TxState, Watch,
};
use sdk_plugin::scheme::{LaneChoice, Step};
use sdk_plugin::{Amount, ChainDriver, Cx, Fault, HexBytes, Value, async_trait};

use crate::chain::{Read, Tx, View, bumped, tx_id};
use crate::defects::Defect;
use crate::faults::{Harm, Point};
use crate::message::op_of;
use crate::planted::Planted;
use crate::run::{INSTANCE, Terms};
use crate::token::{Op, TOKEN};
use crate::world::World;

mod observe;
pub(crate) mod unnumbered;

pub(crate) use observe::name_of;

/// The driver of one process: what it has built is lost with it.
#[derive(Debug)]
pub struct SimDriver {
    world: Arc<World>,
    /// Says which node a call may read from.
    calls: Arc<CallTable>,
    /// Whether the chain numbers transactions.
    ordered: bool,
    finality: u64,
    retained_are_unfunded: bool,
    planted: Option<Planted>,
    built: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Where transactions have no numbers: which node showed its history when, by attempt.
    canaries: Mutex<BTreeMap<String, Vec<(usize, u64)>>>,
}

impl SimDriver {
    #[must_use]
    pub fn new(world: Arc<World>, calls: Arc<CallTable>, terms: &Terms, planted: Option<Planted>) -> Self {
        Self {
            world,
            calls,
            ordered: terms.ordered,
            finality: terms.finality,
            retained_are_unfunded: terms.retained_are_unfunded,
            planted,
            built: Mutex::default(),
            canaries: Mutex::default(),
        }
    }

    /// Passes a point; which node the call reads from, and what else goes wrong.
    async fn pass(&self, point: Point) -> Result<(usize, Option<Harm>), Fault> {
        let harm = self.world.faults.pass(point).await?;
        let node = self.world.node();
        self.world.slow_down(node, harm);
        Ok((node, harm))
    }

    /// What a node shows during one batch of reads of this call.
    fn view(&self, node: usize, harm: Option<Harm>) -> View {
        let mut view = self.world.view_of(node);
        if let Some(Harm::Null(read)) = harm {
            view.silence(read);
        }
        view
    }

    /// The head number that the node shows.
    fn head_number(&self, view: &View) -> Result<u64, Fault> {
        let shown = self.world.chain().head_number(view);
        shown.ok_or_else(|| Fault::unavailable("the node answered null for its head"))
    }

    /// A block that has just been made is reported as one that is final.
    fn spoil(&self, mut seen: Observation) -> Observation {
        if self.world.defect == Some(Defect::SuccessAtOnce)
            && let TxState::Landed { depth, .. } = &mut seen.state
        {
            *depth = 1_000;
        }
        seen
    }

    async fn journaled(&self, attempt: u64) -> Option<Vec<u8>> {
        let bytes = self.world.record.bytes(attempt).await.ok()?;
        bytes.map(|bytes| bytes.0)
    }

    fn built(&self, tx_id: &str) -> Option<Vec<u8>> {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.get(tx_id).cloned()
    }

    fn sign(&self, slot: &Slot, bid: &Bid, ops: Vec<Op>) -> Built {
        let max_fee = bid.terms.get("maxFee").and_then(Value::as_u64).unwrap_or(0);
        let salt = self.world.rng().draw();
        let moves = self.world.defect == Some(Defect::ReplacementMoves);
        let moved = u64::from(moves && bid.terms.get("replaces").is_some());
        let mut ops = ops.into_iter();
        let tx = Tx {
            signer: slot.lane.signer.clone(),
            nonce: slot.sequence + moved,
            max_fee,
            op: ops.next(),
            more: ops.collect(),
            salt,
            good_until: None,
        };
        self.keep(slot, tx)
    }

    /// A client's own transaction as it is, which costs the signer nothing.
    fn client_signed(&self, slot: &Slot, step: &Step) -> Result<Built, Fault> {
        let tx = Tx::decode(&step.call.data.0).ok_or_else(|| Fault::denied("it is no transaction"))?;
        if slot.lane.ordered || tx.good_until.is_some() {
            return Err(Fault::denied("it is no client's transaction"));
        }
        Ok(Built {
            max_cost: Amount::ZERO,
            ..self.keep(slot, tx)
        })
    }

    /// Remembers what was signed, as long as the process lives.
    fn keep(&self, slot: &Slot, tx: Tx) -> Built {
        let bytes = tx.encode();
        let id = tx_id(&bytes);
        let max_cost = tx.max_fee.saturating_mul(tx.gas());
        tracing::info!(
            "signed {id} for {} of {}: {:?} {:?}",
            slot.sequence,
            slot.lane.signer,
            tx.op,
            tx.more
        );
        self.world.note_signed(id.clone(), tx);
        self.built
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), bytes.clone());
        Built {
            tx_id: id,
            bytes: HexBytes(bytes),
            max_cost: Amount::from(max_cost),
            terms: Value::Null,
            replay_keys: Vec::new(),
            left_out: Vec::new(),
            would_fail: None,
        }
    }

    /// Whether the call would fail on the newest state that the node shows.
    fn would_fail(&self, node: usize, harm: Option<Harm>, op: &Op) -> Result<Option<String>, Fault> {
        let view = self.view(node, harm);
        let block = view
            .latest_state()
            .ok_or_else(|| Fault::unavailable("the node answered null for a simulation"))?;
        let mut state = (*block.state).clone();
        Ok(state.execute(op, block.mined_ms / 1_000).err())
    }

    /// One transaction of several steps, without those whose calls would fail on the newest state that the node shows.
    fn build_many(
        &self,
        (node, harm): (usize, Option<Harm>),
        slot: &Slot,
        bid: &Bid,
        steps: &[Step],
    ) -> Result<Built, Fault> {
        let mut ops = Vec::new();
        for step in steps {
            ops.push(declared(step)?);
        }
        let mut failed = Vec::new();
        if !slot.replaces {
            let view = self.view(node, harm);
            let block = view
                .latest_state()
                .ok_or_else(|| Fault::unavailable("the node answered null for a simulation"))?;
            let mut state = (*block.state).clone();
            let now_s = block.mined_ms / 1_000;
            let _ = state.execute_each(ops.iter(), now_s, &mut failed);
        }
        let left_out: Vec<u32> = failed.iter().filter_map(|at| u32::try_from(*at).ok()).collect();
        let kept = ops.into_iter().enumerate();
        let kept: Vec<Op> = kept
            .filter(|(at, _)| !failed.contains(at))
            .map(|(_, op)| op)
            .collect();
        let built = if kept.is_empty() {
            Built::would_fail("each of the calls would fail")
        } else {
            self.sign(slot, bid, kept)
        };
        Ok(Built { left_out, ..built })
    }
}

/// A step's call, once it is what the step declares.
fn declared(step: &Step) -> Result<Op, Fault> {
    let op = op_of(&step.call.data).ok_or_else(|| Fault::denied("the call can't be read"))?;
    if step.call.target != TOKEN || step.call.operation != op.name() {
        return Err(Fault::denied("the call is not the call of the step"));
    }
    Ok(op)
}

#[async_trait]
impl ChainDriver for SimDriver {
    async fn check(&self, _: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let (node, harm) = self.pass(Point::Check).await?;
        let head_height = self.head_number(&self.view(node, harm))?;
        let addresses = network
            .keys
            .iter()
            .map(|key| (key.name.clone(), format!("signer-{}", key.name)));
        Ok(Readiness {
            ready: true,
            why_not: None,
            addresses: addresses.collect(),
            ordered: self.ordered,
            head_height,
            warnings: Vec::new(),
            node_fault: None,
        })
    }

    async fn lane(&self, _: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        let (node, harm) = self.pass(Point::Lane).await?;
        let view = self.view(node, harm);
        if view.is_silent(Read::State) {
            return Err(Fault::unavailable("the node answered null for a balance"));
        }
        let next_sequence = view
            .next_nonce(&lane.signer)
            .ok_or_else(|| Fault::unavailable("the node answered null for a nonce"))?;
        Ok(LaneState {
            next_sequence,
            balance: if self.retained_are_unfunded && lane.signer.starts_with("signer-r") {
                Amount::ZERO
            } else {
                Amount::MAX
            },
            head_height: self.head_number(&view)?,
        })
    }

    async fn quote(&self, _: &Cx, _: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        let (node, harm) = self.pass(Point::Quote).await?;
        let head_height = self.head_number(&self.view(node, harm))?;
        if !self.ordered {
            // The price is the buyer's, who signed it.
            return Ok(Bid {
                terms: Value::Null,
                head_height,
            });
        }
        let mut max_fee = self.world.chain().base_fee().saturating_mul(2);
        if let Some(before) = previous
            .and_then(|bid| bid.terms.get("maxFee"))
            .and_then(Value::as_u64)
        {
            max_fee = max_fee.max(bumped(before).saturating_add(1));
        }
        Ok(Bid {
            terms: if previous.is_some() {
                serde_json::json!({ "maxFee": max_fee, "replaces": true })
            } else {
                serde_json::json!({ "maxFee": max_fee })
            },
            head_height,
        })
    }

    async fn build(&self, _: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        let (node, harm) = self.pass(Point::Build).await?;
        let [step] = steps else {
            return self.build_many((node, harm), slot, bid, steps);
        };
        let op = declared(step)?;
        if step.lane == LaneChoice::Foreign {
            return self.client_signed(slot, step);
        }
        if !self.ordered && !step.renewable {
            return self.co_sign(slot, step);
        }
        if slot.is_simulated()
            && self.planted.is_none()
            && let Some(why) = self.would_fail(node, harm, &op)?
        {
            return Ok(Built::would_fail(why));
        }
        if !self.ordered {
            return self.for_some_blocks(bid.head_height, slot, step, op);
        }
        Ok(self.sign(slot, bid, vec![op]))
    }

    async fn fill(&self, _: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
        self.pass(Point::Fill).await?;
        if !self.ordered {
            return Err(Fault::unsupported("there is nothing to fill"));
        }
        Ok(self.sign(slot, bid, Vec::new()))
    }

    /// Unlike the real host, this one does not depend on the journal for bytes it has just built, so that bytes the
    /// journal does not hold would really go out, and be seen.
    async fn broadcast(&self, _: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        let (node, harm) = self.pass(Point::Broadcast).await?;
        let id: u64 = attempt
            .id
            .parse()
            .map_err(|_| Fault::invalid("not an attempt's id"))?;
        let journaled = self.journaled(id).await;
        let bytes = self
            .built(&attempt.tx_id)
            .or_else(|| journaled.clone())
            .ok_or_else(|| Fault::internal("no bytes"))?;
        if journaled.as_ref() != Some(&bytes) {
            self.world.note_unjournaled(tx_id(&bytes));
        }
        let sent = self.world.chain().submit(node, &bytes, self.world.now_ms());
        tracing::info!(
            "node {node} is handed {} ({} of {}): {sent:?}",
            attempt.tx_id,
            attempt.sequence,
            attempt.lane.signer
        );
        match harm {
            Some(Harm::CrashAfter) => self.world.faults.crash().await,
            Some(Harm::TakenButError) => Ok(Sent::Unknown {
                message: "connection reset".into(),
            }),
            Some(Harm::TakenButHangs) => std::future::pending().await,
            Some(Harm::AcceptedAndForgotten) => {
                self.world.chain().forget(&attempt.tx_id);
                Ok(Sent::Accepted)
            }
            _ => Ok(sent),
        }
    }

    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        let (node, harm) = self.pass(Point::Observe).await?;
        let wanted = self
            .calls
            .scope(INSTANCE, cx.call_id())
            .and_then(|scope| scope.node);
        // Each batch of a call may hit another node, unless the call is for one node alone.
        let second = wanted.unwrap_or_else(|| self.world.node());
        let last_blocks = self.last_blocks(watches).await;
        let first = self.view(wanted.unwrap_or(node), harm);
        let second = self.view(second, harm);
        let head_height = self.head_number(&first)?;
        let mut seen: Vec<Observation> = watches
            .iter()
            .map(|watch| {
                let seen = if self.ordered {
                    self.observe_one(&first, &second, watch, head_height)
                } else {
                    let last = last_blocks.get(&watch.attempt_id).copied();
                    self.observe_unnumbered(&first, watch, head_height, last)
                };
                let seen = self.spoil(seen);
                match self.planted {
                    Some(planted) => planted.spoil(seen, &first, watch, &self.world),
                    None => seen,
                }
            })
            .collect();
        if harm == Some(Harm::Garbage) {
            // Half an answer, in another order.
            seen.reverse();
            seen.truncate(watches.len() / 2);
        }
        Ok(seen)
    }
}

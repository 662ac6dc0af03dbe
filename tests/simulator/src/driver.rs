//! The simulated chain's driver: honest, as drivers must be, over nodes that are not always right.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use facilitator::host::calls::CallTable;
use facilitator::journal::{Answer, Journal, Query};
use sdk_plugin::chain::{
    Attempt, Bid, Built, ForeignTx, Lane, LaneState, LogEntry, Network, Observation, Readiness, Sent, Slot,
    TxState, Watch,
};
use sdk_plugin::scheme::{LogFilter, Step};
use sdk_plugin::{Amount, ChainDriver, Cx, Fault, HexBytes, Value, async_trait};

use crate::chain::{Block, GAS, Tx, bumped, tx_id};
use crate::faults::{Harm, Point};
use crate::message::op_of;
use crate::run::{INSTANCE, Terms};
use crate::token::{Op, TOKEN};
use crate::world::World;

mod unnumbered;

/// The driver of one process: what it has built is lost with it.
#[derive(Debug)]
pub struct SimDriver {
    world: Arc<World>,
    /// Says which node a call may read from.
    calls: Arc<CallTable>,
    /// Whether the chain numbers transactions.
    ordered: bool,
    finality: u64,
    retained_are_poor: bool,
    built: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl SimDriver {
    #[must_use]
    pub fn new(world: Arc<World>, calls: Arc<CallTable>, terms: &Terms) -> Self {
        Self {
            world,
            calls,
            ordered: terms.ordered,
            finality: terms.finality,
            retained_are_poor: terms.retained_are_poor,
            built: Mutex::default(),
        }
    }

    async fn pass(&self, point: Point) -> Result<(usize, Option<Harm>), Fault> {
        let harm = self.world.faults.pass(point).await?;
        let node = self.world.node();
        if harm == Some(Harm::Stale) {
            let now_ms = self.world.now_ms();
            let mut chain = self.world.chain();
            let pause = chain.weather.block_ms * 4;
            chain.view(node, now_ms);
            chain.freeze(node, now_ms + pause);
        }
        Ok((node, harm))
    }

    async fn journaled(&self, attempt: u64) -> Option<Vec<u8>> {
        match self.world.journal.query(Query::Bytes { attempt }).await {
            Ok(Answer::Bytes(bytes)) => bytes.map(|bytes| bytes.0),
            _ => None,
        }
    }

    fn built(&self, tx_id: &str) -> Option<Vec<u8>> {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.get(tx_id).cloned()
    }

    fn sign(&self, slot: &Slot, bid: &Bid, op: Option<Op>) -> Built {
        let max_fee = bid.terms.get("maxFee").and_then(Value::as_u64).unwrap_or(0);
        let salt = self.world.rng().draw();
        let tx = Tx {
            signer: slot.lane.signer.clone(),
            nonce: slot.sequence,
            max_fee,
            op,
            salt,
            good_until: None,
        };
        self.keep(slot, tx)
    }

    /// Remembers what was signed, as long as the process lives.
    fn keep(&self, slot: &Slot, tx: Tx) -> Built {
        let bytes = tx.encode();
        let id = tx_id(&bytes);
        let max_fee = tx.max_fee;
        tracing::info!(
            "signed {id} for {} of {}: {:?}",
            slot.sequence,
            slot.lane.signer,
            tx.op
        );
        self.world.note_signed(id.clone(), tx);
        self.built
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), bytes.clone());
        Built {
            tx_id: id,
            bytes: HexBytes(bytes),
            max_cost: Amount::from(max_fee.saturating_mul(GAS)),
            left_out: Vec::new(),
        }
    }
}

#[async_trait]
impl ChainDriver for SimDriver {
    async fn check(&self, _: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let (node, _) = self.pass(Point::Check).await?;
        let head_height = head(self.world.chain().view(node, self.world.now_ms()));
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
        })
    }

    async fn lane(&self, _: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        let (node, _) = self.pass(Point::Lane).await?;
        let mut chain = self.world.chain();
        let view = chain.view(node, self.world.now_ms());
        let next = view
            .last()
            .and_then(|block| block.state.nonces.get(&lane.signer).copied());
        Ok(LaneState {
            next_sequence: next.unwrap_or(0),
            balance: if self.retained_are_poor && lane.signer.starts_with("signer-r") {
                Amount::ZERO
            } else {
                Amount::MAX
            },
            head_height: head(view),
        })
    }

    async fn quote(&self, _: &Cx, _: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        let (node, _) = self.pass(Point::Quote).await?;
        let mut chain = self.world.chain();
        if !self.ordered {
            // The price is the buyer's, who signed it.
            let head_height = head(chain.view(node, self.world.now_ms()));
            return Ok(Bid {
                terms: Value::Null,
                head_height,
            });
        }
        let mut max_fee = chain.base_fee().saturating_mul(2);
        if let Some(before) = previous
            .and_then(|bid| bid.terms.get("maxFee"))
            .and_then(Value::as_u64)
        {
            max_fee = max_fee.max(bumped(before).saturating_add(1));
        }
        let head_height = head(chain.view(node, self.world.now_ms()));
        Ok(Bid {
            terms: serde_json::json!({ "maxFee": max_fee }),
            head_height,
        })
    }

    async fn build(&self, _: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        self.pass(Point::Build).await?;
        let [step] = steps else {
            return Err(Fault::invalid("one step for one transaction"));
        };
        let op = op_of(&step.call.data).ok_or_else(|| Fault::denied("the call can't be read"))?;
        if step.call.target != TOKEN || step.call.operation != op.name() {
            return Err(Fault::denied("the call is not what the step says"));
        }
        if !self.ordered {
            return self.co_sign(slot, step);
        }
        Ok(self.sign(slot, bid, Some(op)))
    }

    async fn fill(&self, _: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
        self.pass(Point::Fill).await?;
        if !self.ordered {
            return Err(Fault::unsupported("there is nothing to fill"));
        }
        Ok(self.sign(slot, bid, None))
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
        let said = self.world.chain().submit(node, &bytes, self.world.now_ms());
        tracing::info!(
            "node {node} is handed {} ({} of {}): {said:?}",
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
            _ => Ok(said),
        }
    }

    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        let (node, harm) = self.pass(Point::Observe).await?;
        let wanted = self
            .calls
            .scope(INSTANCE, cx.call_id())
            .and_then(|scope| scope.node);
        let node = wanted.unwrap_or(node);
        let last_blocks = self.last_blocks(watches).await;
        let mut chain = self.world.chain();
        let view = chain.view(node, self.world.now_ms()).to_vec();
        let mut seen: Vec<Observation> = watches
            .iter()
            .map(|watch| {
                let places = chain.places(&watch.tx_id);
                let place = places
                    .into_iter()
                    .map(|(block, _)| block)
                    .find(|block| is_in(&view, block));
                let pooled = chain.knows(node, &watch.tx_id);
                if self.ordered {
                    let absent = || absent(&view, pooled, watch);
                    observe_one(&view, place.as_deref(), watch, absent)
                } else {
                    let last = last_blocks.get(&watch.attempt_id).copied();
                    let absent = || unnumbered::absent(head(&view), pooled, last, self.finality);
                    Observation {
                        // Nobody else's transaction can be this payment.
                        foreign_searched: true,
                        ..observe_one(&view, place.as_deref(), watch, absent)
                    }
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

fn head(view: &[Arc<Block>]) -> u64 {
    view.last().map_or(0, |block| block.height)
}

fn is_in(view: &[Arc<Block>], block: &Block) -> bool {
    usize::try_from(block.height)
        .ok()
        .and_then(|at| view.get(at))
        .is_some_and(|here| here.id == block.id)
}

fn matches(log: &LogEntry, filters: &[LogFilter]) -> bool {
    filters.iter().any(|filter| {
        filter.emitter == log.emitter
            && filter.topics.len() <= log.topics.len()
            && filter
                .topics
                .iter()
                .zip(&log.topics)
                .all(|(want, have)| want.as_ref().is_none_or(|want| want == have))
    })
}

/// Where a transaction is that is in no block of a node's.
fn absent(view: &[Arc<Block>], pooled: bool, watch: &Watch) -> TxState {
    let mine =
        |tx: &&crate::chain::Included| tx.tx.signer == watch.lane.signer && tx.tx.nonce == watch.sequence;
    match view
        .iter()
        .rev()
        .find_map(|block| block.txs.iter().find(mine).map(|tx| (block.height, tx)))
    {
        Some((height, tx)) => TxState::Superseded {
            by: Some(tx.id.clone()),
            depth: head(view).saturating_sub(height) + 1,
        },
        None if pooled => TxState::Pending,
        None => TxState::Unknown,
    }
}

fn observe_one(
    view: &[Arc<Block>],
    place: Option<&Block>,
    watch: &Watch,
    absent: impl FnOnce() -> TxState,
) -> Observation {
    let head = head(view);
    let depth_of = |height: u64| head.saturating_sub(height) + 1;
    let wanted: Vec<LogFilter> = watch
        .evidence
        .iter()
        .flat_map(|wanted| wanted.logs.clone())
        .collect();
    let foreign_wanted: Vec<LogFilter> = watch
        .evidence
        .iter()
        .flat_map(|wanted| wanted.foreign.clone())
        .collect();
    let mut logs = Vec::new();
    let included = place.and_then(|block| {
        block
            .txs
            .iter()
            .find(|tx| tx.id == watch.tx_id)
            .map(|tx| (block, tx))
    });
    let state = match included {
        Some((block, tx)) => match &tx.result {
            Ok(all) => {
                logs = all.iter().filter(|log| matches(log, &wanted)).cloned().collect();
                TxState::Landed {
                    height: block.height,
                    block: block.id.clone(),
                    depth: depth_of(block.height),
                }
            }
            Err(why) => TxState::Reverted {
                height: block.height,
                block: block.id.clone(),
                depth: depth_of(block.height),
                message: Some(why.clone()),
            },
        },
        None => absent(),
    };
    let mut foreign = Vec::new();
    if watch.search_foreign {
        for block in view
            .iter()
            .rev()
            .take_while(|block| block.height >= watch.since_height)
        {
            for tx in block.txs.iter().filter(|tx| tx.id != watch.tx_id) {
                let Ok(all) = &tx.result else { continue };
                if all.iter().any(|log| matches(log, &foreign_wanted)) {
                    foreign.push(ForeignTx {
                        tx_id: tx.id.clone(),
                        height: block.height,
                        depth: depth_of(block.height),
                        logs: all.iter().filter(|log| matches(log, &wanted)).cloned().collect(),
                    });
                }
            }
        }
    }
    Observation {
        attempt_id: watch.attempt_id.clone(),
        state,
        head_height: head,
        logs,
        deltas: Vec::new(),
        reads: Vec::new(),
        foreign,
        foreign_searched: watch.search_foreign,
    }
}

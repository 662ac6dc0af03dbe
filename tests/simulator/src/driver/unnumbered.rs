//! The driver where transactions have no numbers: it co-signs what the buyer has signed, and reports that a transaction
//! has expired only when the chain proves it.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use journal::AttemptRow;
use sdk_plugin::chain::{Built, Observation, Slot, TxState, Watch};
use sdk_plugin::scheme::{LaneChoice, Step};
use sdk_plugin::{Fault, Value};
use serde_json::json;

use super::SimDriver;
use crate::chain::{Read, Tx, View};
use crate::evidence::names;
use crate::message::MAX_FEE;
use crate::planted::Planted;
use crate::token::Op;

impl SimDriver {
    /// The buyer's transaction as it is: its id is fixed.
    pub(super) fn co_sign(&self, slot: &Slot, step: &Step) -> Result<Built, Fault> {
        let tx = Tx::decode(&step.call.data.0).ok_or_else(|| Fault::denied("it is no transaction"))?;
        let names_signer =
            matches!(&step.lane, LaneChoice::Signer { address } if *address == slot.lane.signer);
        if tx.signer != slot.lane.signer || !names_signer || tx.good_until.is_none() {
            return Err(Fault::denied("it is for another fee payer"));
        }
        let built = self.keep(slot, tx);
        Ok(Built {
            replay_keys: vec![built.tx_id.clone()],
            ..built
        })
    }

    /// A transaction of the step's call that is good for some blocks.
    pub(super) fn for_some_blocks(
        &self,
        head_height: u64,
        slot: &Slot,
        step: &Step,
        op: Op,
    ) -> Result<Built, Fault> {
        let is_its_signer = match &step.lane {
            LaneChoice::Any => true,
            LaneChoice::Signer { address } => *address == slot.lane.signer,
            LaneChoice::Foreign => false,
        };
        if !is_its_signer {
            return Err(Fault::denied("it is for another fee payer"));
        }
        let (salt, blocks) = {
            let mut rng = self.world.rng();
            (rng.draw(), rng.between(2, MOST_BLOCKS))
        };
        let good_until = head_height.saturating_add(blocks);
        let (from, nonce) = names(&op);
        let replay_keys = vec![format!("{}:{from}:{nonce}", op.name())];
        let tx = Tx {
            signer: slot.lane.signer.clone(),
            nonce: 0,
            max_fee: MAX_FEE,
            op: Some(op),
            more: Vec::new(),
            salt,
            good_until: Some(good_until),
        };
        Ok(Built {
            terms: json!({ GOOD_UNTIL: good_until }),
            replay_keys,
            ..self.keep(slot, tx)
        })
    }

    /// The last block that may have each transaction, by attempt: from what was said when it was built, or from its bytes.
    pub(super) async fn last_blocks(&self, watches: &[Watch]) -> BTreeMap<String, u64> {
        let mut last_blocks = BTreeMap::new();
        if self.ordered {
            return last_blocks;
        }
        for watch in watches {
            if let Some(last) = watch.terms.get(GOOD_UNTIL).and_then(Value::as_u64) {
                last_blocks.insert(watch.attempt_id.clone(), last);
                continue;
            }
            let bytes = match (self.built(&watch.tx_id), watch.attempt_id.parse()) {
                (Some(bytes), _) => Some(bytes),
                (None, Ok(attempt)) => self.journaled(attempt).await,
                (None, Err(_)) => None,
            };
            let last = bytes
                .and_then(|bytes| Tx::decode(&bytes))
                .and_then(|tx| tx.good_until);
            if let Some(last) = last {
                last_blocks.insert(watch.attempt_id.clone(), last);
            }
        }
        last_blocks
    }
}

/// The most blocks for which a transaction is good that the driver makes.
const MOST_BLOCKS: u64 = 20;
/// The member of an attempt's terms that names the last block that may have it.
const GOOD_UNTIL: &str = "goodUntil";
/// The last block that may have an attempt's transaction, which the driver has made for some blocks.
#[must_use]
pub fn last_block_of(attempt: &AttemptRow) -> Option<u64> {
    attempt.bid.get(GOOD_UNTIL)?.as_u64()
}

/// The most blocks for which a transaction is good.
const LONGEST_LIFE: u64 = 150;
/// After so long one node's answer counts as a second one.
const SAME_NODE_MS: u64 = 60_000;

impl SimDriver {
    pub(super) fn observe_unnumbered(
        &self,
        view: &View,
        watch: &Watch,
        head_height: u64,
        last: Option<u64>,
    ) -> Observation {
        let landed = self.landed(view, watch);
        let (state, logs) = match landed {
            Some((state, logs, _)) => (state, logs),
            None => (self.without_status(view, watch, last), Vec::new()),
        };
        Observation {
            logs,
            // Nobody else's transaction can be this payment.
            foreign_searched: true,
            block: watch.block.as_ref().map(|block| view.stands(block)),
            ..Observation::of(watch.attempt_id.clone(), state, head_height)
        }
    }

    /// Where a transaction is that has no status. Once its last block is final it can't land any more. That it has not
    /// landed is proven by nodes that show their history of all blocks that could have it, and only by two of them, or by
    /// one of them twice.
    fn without_status(&self, view: &View, watch: &Watch, last: Option<u64>) -> TxState {
        let is_known = view.is_pooled(&watch.tx_id) || !watch.pool;
        let final_height = (view.head().map_or(0, |block| block.height) + 1).saturating_sub(self.finality);
        let last = match last {
            Some(last) if final_height > last => last,
            _ if is_known => return TxState::Pending,
            _ => return TxState::Unknown,
        };
        if self.planted == Some(Planted::ExpiredByNull) {
            return TxState::Expired {
                proof: format!("good up to block {last}, and block {final_height} is final"),
            };
        }
        if !shows_history(view, watch, last) {
            return TxState::Lapsed;
        }
        let now_ms = self.world.now_ms();
        let mut canaries = self.canaries.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = canaries.entry(watch.attempt_id.clone()).or_default();
        let is_second = shown
            .iter()
            .any(|(node, at_ms)| *node != view.node || now_ms.saturating_sub(*at_ms) >= SAME_NODE_MS);
        if is_second {
            return TxState::Expired {
                proof: format!(
                    "good up to block {last}, block {final_height} is final, and its status was null where others are shown"
                ),
            };
        }
        if shown.iter().all(|(node, _)| *node != view.node) {
            shown.push((view.node, now_ms));
        }
        TxState::Lapsed
    }
}

/// Whether the node's index of statuses holds all blocks that could have the transaction. A driver learns it by canaries:
/// the status of another transaction of the first such block, and of one at or after the last. A canary in the middle would
/// not do, because an index that lags shows it and not yet what came after it.
fn shows_history(view: &View, watch: &Watch, last: u64) -> bool {
    // A head far in the future may have been the newest when the attempt was journaled.
    let first = if watch.since_height > last {
        last.saturating_sub(LONGEST_LIFE)
    } else {
        watch.since_height
    };
    let statuses = view.blocks(Read::Receipts);
    let begins = statuses.first().is_some_and(|block| block.height <= first);
    let ends = statuses.last().is_some_and(|block| block.height >= last);
    begins && ends
}

//! The driver where transactions have no numbers: it co-signs what the buyer has signed, and says that a transaction
//! has expired only when the chain proves it.

use std::collections::BTreeMap;

use sdk_plugin::Fault;
use sdk_plugin::chain::{Built, Slot, TxState, Watch};
use sdk_plugin::scheme::{LaneChoice, Step};

use super::SimDriver;
use crate::chain::Tx;

impl SimDriver {
    /// The buyer's transaction as it is: its id is fixed.
    pub(super) fn co_sign(&self, slot: &Slot, step: &Step) -> Result<Built, Fault> {
        let tx = Tx::decode(&step.call.data.0).ok_or_else(|| Fault::denied("it is no transaction"))?;
        let names_signer =
            matches!(&step.lane, LaneChoice::Signer { address } if *address == slot.lane.signer);
        if tx.signer != slot.lane.signer || !names_signer || tx.good_until.is_none() {
            return Err(Fault::denied("it is for another fee payer"));
        }
        Ok(self.keep(slot, tx))
    }

    /// The last block that may have each transaction, by attempt, as its bytes say.
    pub(super) async fn last_blocks(&self, watches: &[Watch]) -> BTreeMap<String, u64> {
        let mut last_blocks = BTreeMap::new();
        if self.ordered {
            return last_blocks;
        }
        for watch in watches {
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

/// Where a transaction is that is in no block of a node's. It has expired when even the newest block that is final is
/// past its last one: all blocks that could have it can't be replaced any more, and this node has all of them.
pub(super) fn absent(head: u64, pooled: bool, last: Option<u64>, finality: u64) -> TxState {
    let final_height = (head + 1).saturating_sub(finality);
    match last {
        Some(last) if final_height > last => TxState::Expired {
            proof: format!("good up to block {last}, and block {final_height} is final"),
        },
        _ if pooled => TxState::Pending,
        _ => TxState::Unknown,
    }
}

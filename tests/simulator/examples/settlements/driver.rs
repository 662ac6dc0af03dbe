//! The driver of the chain: one call for each operation that reads or sends, and none for a price or a signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use journal::Journal;
use sdk_plugin::chain::{
    Attempt, Bid, BlockStands, Built, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, TxState,
    Watch,
};
use sdk_plugin::scheme::Step;
use sdk_plugin::{Amount, ChainDriver, Cx, Fault, HexBytes, Value, async_trait};
use simulator::chain::Tx;
use simulator::token::Op;

use crate::chain::{Chain, Ledger, tx_id};

/// What a transaction may cost, native atomic units.
pub const COST: u64 = 100;

/// The address of a key.
pub fn address(key: &str) -> String {
    crate::chain::hash(key.as_bytes()).chars().take(42).collect()
}

pub struct Driver {
    pub chain: Arc<Chain>,
    /// As the host does, it sends what the journal holds.
    pub journal: Arc<dyn Journal>,
}

fn observe(ledger: &Ledger, watch: &Watch) -> Observation {
    let (state, logs) = ledger.find(&watch.tx_id);
    let mut seen = Observation::of(watch.attempt_id.clone(), state, ledger.height());
    seen.block = watch
        .block
        .as_ref()
        .map(|block| match ledger.block(block.height) {
            Some(shown) if shown.id == block.id => BlockStands::Canonical {
                depth: ledger.height().saturating_sub(block.height).saturating_add(1),
            },
            Some(_) => BlockStands::Replaced,
            None => BlockStands::Unknown,
        });
    if matches!(seen.state, TxState::Landed { .. }) && !watch.by_block {
        seen.logs = logs.to_vec();
    }
    seen
}

#[async_trait]
impl ChainDriver for Driver {
    async fn check(&self, _: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let head_height = self.chain.call().await.height();
        let keys = network.keys.iter();
        let addresses: BTreeMap<String, String> =
            keys.map(|key| (key.name.clone(), address(&key.name))).collect();
        Ok(Readiness {
            ready: true,
            why_not: None,
            addresses,
            ordered: true,
            head_height,
            warnings: Vec::new(),
            node_fault: None,
        })
    }

    async fn lane(&self, _: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        let ledger = self.chain.call().await;
        Ok(LaneState {
            next_sequence: ledger.next_nonce(&lane.signer),
            balance: Amount::MAX,
            head_height: ledger.height(),
        })
    }

    async fn quote(&self, _: &Cx, _: &Lane, _: Option<&Bid>) -> Result<Bid, Fault> {
        Ok(Bid {
            terms: serde_json::json!({ "maxFeePerGas": "2000000000", "maxPriorityFeePerGas": "1000000000" }),
            head_height: self.chain.ledger().height(),
        })
    }

    async fn build(&self, _: &Cx, slot: &Slot, _: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        let [step] = steps else {
            return Err(Fault::invalid("one step for one transaction"));
        };
        let op = Op::decode(&step.call.data).ok_or_else(|| Fault::denied("the call can't be read"))?;
        let tx = Tx {
            signer: slot.lane.signer.clone(),
            nonce: slot.sequence,
            max_fee: COST,
            op: Some(op),
            more: Vec::new(),
            salt: 0,
            good_until: None,
        };
        let bytes = tx.encode();
        Ok(Built {
            tx_id: tx_id(&bytes),
            bytes: HexBytes(bytes),
            max_cost: Amount::from(COST),
            terms: Value::Null,
            replay_keys: Vec::new(),
            left_out: Vec::new(),
            would_fail: None,
        })
    }

    async fn fill(&self, _: &Cx, _: &Slot, _: &Bid) -> Result<Built, Fault> {
        Err(Fault::unsupported("nothing expires here"))
    }

    async fn broadcast(&self, _: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        let id = attempt
            .id
            .parse()
            .map_err(|_| Fault::invalid("not an attempt's id"))?;
        let bytes = self
            .journal
            .bytes(id)
            .await
            .map_err(|error| Fault::unavailable(error.0))?;
        let bytes = bytes.ok_or_else(|| Fault::denied("the journal does not hold it"))?;
        let tx = Tx::decode(&bytes.0).ok_or_else(|| Fault::internal("not a transaction"))?;
        self.chain.call().await.submit(attempt.tx_id.clone(), tx);
        Ok(Sent::Accepted)
    }

    async fn observe(&self, _: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        let ledger = self.chain.call().await;
        Ok(watches.iter().map(|watch| observe(&ledger, watch)).collect())
    }
}

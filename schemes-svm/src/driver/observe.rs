//! Where do attempts stand? One batch answers for all of them, a second one brings what the landed ones did.
//!
//! A signature that a node does not know may have landed too long ago for its memory, so old attempts are looked up in
//! its history. What may have expired is asked of two nodes: it has when the finalized block height is past the last
//! block in which its blockhash was good, and no history knows it.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::chain::{Observation, TxState, Watch};
use sdk_plugin::host::{Level, RpcCall, RpcResult};
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;

use super::SvmDriver;
use super::evidence::{self, Shown};
use super::heights;
use crate::rpc::{self, CONFIRMED, FINALIZED};

/// Signatures per `getSignatureStatuses`, the nodes' limit.
const MAX_STATUSES: usize = 256;
/// Slots for which nodes remember statuses without looking into their history, with a margin: they keep about 150.
const REMEMBERED_SLOTS: u64 = 100;
/// A transaction that should be past its last block.
struct Late {
    /// The slot at which it was journaled.
    since: u64,
    /// The last block height at which it could land, by what was seen before.
    last_valid: u64,
}

impl Late {
    /// The proof, when all nodes (slot and block height that are final) are past that height. Heights grow no faster than
    /// slots: so each node's own numbers say how high the chain was at least by then, whatever was seen before.
    fn proven_by(&self, final_at: &[(u64, u64)]) -> Option<String> {
        let is_past = |(slot, height): &(u64, u64)| {
            let at_least_then = height.saturating_sub(slot.saturating_sub(self.since));
            *height > self.last_valid.max(heights::last_valid_from(at_least_then))
        };
        let lowest = final_at.iter().map(|(_, height)| *height).min()?;
        final_at.iter().all(is_past).then(|| {
            format!(
                "its blockhash was good up to block {} at most, block {lowest} is final, and the history of {} node(s) does \
                 not know it",
                self.last_valid,
                final_at.len()
            )
        })
    }
}

/// A node's word about one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Status {
    slot: u64,
    stage: Stage,
    /// The error, where the transaction had no effect but its fee.
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Processed,
    Confirmed,
    Finalized,
}

/// What the first batch shows.
struct Seen {
    head: u64,
    finalized_height: u64,
    statuses: BTreeMap<String, Status>,
    /// What landed transactions did, as far as the node shows it.
    effects: BTreeMap<String, Shown>,
}

impl SvmDriver {
    pub(super) async fn observe_all(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        if watches.is_empty() {
            return Ok(Vec::new());
        }
        let mut seen = self.read(cx, watches).await?;
        let expired = self.look_for_expired(cx, watches, &mut seen).await?;
        seen.read_effects(cx).await?;
        let finality = cx.network().finality.max(1);
        Ok(watches
            .iter()
            .map(|watch| seen.observation(watch, &expired, finality))
            .collect())
    }

    async fn read(&self, cx: &Cx, watches: &[Watch]) -> Result<Seen, Fault> {
        let head = self.head(cx).map(|(slot, _)| slot);
        let is_old = |watch: &&Watch| {
            head.is_none_or(|head| head.saturating_sub(watch.since_height) > REMEMBERED_SLOTS)
        };
        let ids = |old: bool| -> Vec<&str> {
            let of_age = watches.iter().filter(|watch| is_old(watch) == old);
            let unique: BTreeSet<&str> = of_age.map(|watch| watch.tx_id.as_str()).collect();
            unique.into_iter().collect()
        };
        let (recent, old) = (ids(false), ids(true));
        let chunks = || {
            let recent = recent.chunks(MAX_STATUSES).map(|ids| (ids, false));
            recent.chain(old.chunks(MAX_STATUSES).map(|ids| (ids, true)))
        };
        // The heights stand behind the slot: they are that of this slot or more.
        let mut calls = vec![
            rpc::slot(CONFIRMED),
            rpc::block_height(CONFIRMED),
            rpc::block_height(FINALIZED),
        ];
        calls.extend(chunks().map(|(ids, history)| get_statuses(ids, history)));
        let mut answers = rpc::read_all(cx, calls).await?;

        let slot = rpc::number(answers.take()?, "getSlot")?;
        self.saw(cx, slot, rpc::number(answers.take()?, "getBlockHeight")?);
        let mut seen = Seen {
            head: slot,
            finalized_height: rpc::number(answers.take()?, "getBlockHeight")?,
            statuses: BTreeMap::new(),
            effects: BTreeMap::new(),
        };
        for (ids, _) in chunks() {
            seen.take_statuses(ids, answers.take()?)?;
        }
        Ok(seen)
    }

    /// Asks two nodes about what has no status and can't land any more by the first batch's finalized height. What they
    /// know goes into `seen`; what no one knows is the answer, with the proof.
    async fn look_for_expired(
        &self,
        cx: &Cx,
        watches: &[Watch],
        seen: &mut Seen,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let mut late: BTreeMap<&str, Late> = BTreeMap::new();
        {
            let networks = self.networks();
            let heights = networks
                .get(&cx.network().id)
                .map(|remembered| &remembered.heights);
            for watch in watches
                .iter()
                .filter(|watch| !seen.statuses.contains_key(&watch.tx_id))
            {
                let last_valid = heights.and_then(|heights| heights.last_valid(watch.since_height));
                if let Some(last_valid) = last_valid.filter(|height| seen.finalized_height > *height) {
                    let since = watch.since_height;
                    late.insert(&watch.tx_id, Late { since, last_valid });
                }
            }
        }
        let ids: Vec<&str> = late.keys().copied().collect();
        let mut expired = BTreeMap::new();
        for ids in ids.chunks(MAX_STATUSES) {
            // The heights stand first: what the history does not know afterwards was not in a block up to them.
            let calls = vec![
                rpc::slot(FINALIZED),
                rpc::block_height(FINALIZED),
                get_statuses(ids, true),
            ];
            let nodes = match rpc::read_by_two(cx, calls).await {
                Ok(nodes) => nodes,
                Err(fault) => {
                    // Not proven today; everything else in this look stands.
                    cx.log(
                        Level::Warn,
                        "svm::observe",
                        "whether transactions have expired could not be asked",
                        &json!({ "why": fault.message, "transactions": ids.len() }),
                    );
                    continue;
                }
            };
            let mut final_at = Vec::new();
            for mut answers in nodes {
                let slot = rpc::number(answers.take()?, "getSlot")?;
                final_at.push((slot, rpc::number(answers.take()?, "getBlockHeight")?));
                seen.take_statuses(ids, answers.take()?)?;
            }
            for id in ids {
                let agreed = late.get(id).and_then(|late| late.proven_by(&final_at));
                if let Some(proof) = agreed.filter(|_| !seen.statuses.contains_key(*id)) {
                    expired.insert((*id).to_owned(), proof);
                }
            }
        }
        Ok(expired)
    }
}

impl Seen {
    /// Reads what landed transactions did. Each look asks anew: another node's word must not stand for this one's.
    async fn read_effects(&mut self, cx: &Cx) -> Result<(), Fault> {
        let landed = |status: &Status| status.stage >= Stage::Confirmed && status.error.is_none();
        let wanted = self.statuses.iter().filter(|(_, status)| landed(status));
        let wanted: Vec<String> = wanted.map(|(id, _)| id.clone()).collect();
        let calls: Vec<RpcCall> = wanted.iter().map(|id| evidence::get_transaction(id)).collect();
        let mut answers = rpc::read_all(cx, calls).await?;
        for id in wanted {
            let shown = match answers.take()? {
                RpcResult::Ok(answer) => Shown::read(&id, &answer),
                RpcResult::Error(_) => None,
            };
            self.effects.extend(shown.map(|shown| (id, shown)));
        }
        Ok(())
    }

    fn observation(&self, watch: &Watch, expired: &BTreeMap<String, String>, finality: u64) -> Observation {
        let mut observation = Observation {
            attempt_id: watch.attempt_id.clone(),
            state: TxState::Unknown,
            head_height: self.head,
            logs: Vec::new(),
            deltas: Vec::new(),
            reads: Vec::new(),
            foreign: Vec::new(),
            // Nobody else can carry the payment: the transaction's id is that of its message and our signature.
            foreign_searched: true,
        };
        let Some(status) = self.statuses.get(&watch.tx_id) else {
            if let Some(proof) = expired.get(&watch.tx_id) {
                observation.state = TxState::Expired { proof: proof.clone() };
            }
            return observation;
        };
        let Some(depth) = status.depth(self.head, finality) else {
            observation.state = TxState::Pending;
            return observation;
        };
        let (height, block) = (status.slot, status.slot.to_string());
        if let Some(error) = &status.error {
            observation.state = TxState::Reverted {
                height,
                block,
                depth,
                message: Some(error.clone()),
            };
            return observation;
        }
        let effects = self.effects.get(&watch.tx_id);
        observation.state = match effects.filter(|shown| shown.slot == status.slot) {
            Some(shown) => {
                observation.logs = shown.logs(&watch.tx_id, &watch.evidence);
                observation.deltas = shown.deltas.clone();
                TxState::Landed { height, block, depth }
            }
            // The node knows that it landed and does not show it yet.
            None => TxState::Pending,
        };
        observation
    }

    /// Takes the statuses of one call; the most advanced word about a signature stands.
    fn take_statuses(&mut self, ids: &[&str], answer: RpcResult) -> Result<(), Fault> {
        let what = "getSignatureStatuses";
        let (_, value) = rpc::at_slot(answer, what)?;
        let items = value.as_array().filter(|items| items.len() == ids.len());
        let items = items.ok_or_else(|| rpc::odd(what, "another number of statuses"))?;
        for (id, item) in ids.iter().zip(items).filter(|(_, item)| !item.is_null()) {
            let status = Status::read(item).ok_or_else(|| rpc::odd(what, "a malformed status"))?;
            if status.stage >= Stage::Confirmed {
                self.head = self.head.max(status.slot);
            }
            let known = self.statuses.get(*id);
            if known.is_none_or(|known| known.stage < status.stage) {
                self.statuses.insert((*id).to_owned(), status);
            }
        }
        Ok(())
    }
}

impl Status {
    fn read(item: &Value) -> Option<Self> {
        let stage = match item.get("confirmationStatus").and_then(Value::as_str) {
            Some("processed") => Stage::Processed,
            Some("confirmed") => Stage::Confirmed,
            Some("finalized") => Stage::Finalized,
            Some(_) => return None,
            // Nodes from before the member: no confirmations means rooted.
            None if item.get("confirmations")?.is_null() => Stage::Finalized,
            None => Stage::Processed,
        };
        Some(Self {
            slot: item.get("slot")?.as_u64()?,
            stage,
            error: item
                .get("err")
                .filter(|error| !error.is_null())
                .map(ToString::to_string),
        })
    }

    /// `None` while a supermajority has not voted for it. The network's `finality` is reached only by what is final.
    fn depth(&self, head: u64, finality: u64) -> Option<u64> {
        let slots = head.saturating_sub(self.slot).saturating_add(1);
        match self.stage {
            Stage::Processed => None,
            Stage::Confirmed => Some(slots.min(finality.saturating_sub(1)).max(1)),
            Stage::Finalized => Some(slots.max(finality)),
        }
    }
}

fn get_statuses(ids: &[&str], history: bool) -> RpcCall {
    rpc::request(
        "getSignatureStatuses",
        json!([ids, { "searchTransactionHistory": history }]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lying_node_does_not_make_a_transaction_expire() {
        // Journaled at slot 1000, height 900; good up to 1082 by what honest nodes showed.
        let honest = Late {
            since: 1_000,
            last_valid: 1_082,
        };
        assert!(honest.proven_by(&[(1_200, 1_090), (1_201, 1_091)]).is_some());
        assert!(
            honest.proven_by(&[(1_200, 1_090), (1_190, 1_082)]).is_none(),
            "one is not past it"
        );
        assert!(honest.proven_by(&[]).is_none());
        // A node that told too low a height before does not make the other's 30 slots enough.
        let deceived = Late {
            since: 1_000,
            last_valid: 200,
        };
        assert!(deceived.proven_by(&[(1_030, 500), (1_030, 925)]).is_none());
        assert!(deceived.proven_by(&[(1_200, 1_090), (1_200, 1_090)]).is_some());
    }

    #[test]
    fn only_what_is_final_is_as_deep_as_finality() {
        let status = |stage| Status {
            slot: 100,
            stage,
            error: None,
        };
        assert_eq!(status(Stage::Processed).depth(500, 32), None);
        assert_eq!(status(Stage::Confirmed).depth(100, 32), Some(1));
        assert_eq!(status(Stage::Confirmed).depth(110, 32), Some(11));
        assert_eq!(status(Stage::Confirmed).depth(500, 32), Some(31));
        assert_eq!(
            status(Stage::Confirmed).depth(90, 32),
            Some(1),
            "a node that lags"
        );
        assert_eq!(status(Stage::Finalized).depth(100, 32), Some(32));
        assert_eq!(status(Stage::Finalized).depth(500, 32), Some(401));
    }
}

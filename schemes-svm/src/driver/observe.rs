//! The state of each attempt. One batch serves all of them, a second one reads what the landed ones did.
//!
//! A signature that a node does not know may have landed too long ago for its cache, so old attempts are searched in
//! its history. What can't land any more by the finalized block height alone has lapsed; whether it has landed all the same is
//! found out by [`super::expiry`].

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::chain::{BlockStands, Observation, TxState, Watch};
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Cx, Fault};

use super::SvmDriver;
use super::elsewhere;
use super::evidence::{self, Shown};
use super::expiry::{Found, Late};
use super::lifetime::Lifetime;
use super::tries::Apart;
use crate::rpc::status::{MAX_STATUSES, Stage, Status, StatusSearch, get_statuses, read_statuses};
use crate::rpc::{self, CONFIRMED, FINALIZED};

/// Slots for which nodes remember statuses without a search of their history, with a margin: they keep about 150.
const REMEMBERED_SLOTS: u64 = 100;

/// What the first batch shows.
pub(super) struct Seen {
    pub(super) head: u64,
    /// The confirmed block height.
    height: u64,
    finalized_height: u64,
    pub(super) statuses: BTreeMap<String, Status>,
    /// What landed transactions did, as far as the node shows it.
    effects: BTreeMap<String, Shown>,
    /// Transactions whose error is final by more than one node's status.
    failed: BTreeSet<String>,
    /// Transactions that another node shows, not the one that was read first.
    elsewhere: BTreeSet<String>,
    /// All of this is from another node.
    is_elsewhere: bool,
}

impl SvmDriver {
    pub(super) async fn observe_all(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        if watches.is_empty() {
            return Ok(Vec::new());
        }
        let mut seen = self.read(cx, watches).await?;
        let late = self.late(cx, watches, &seen);
        let found = if seen.is_elsewhere {
            // A poll in which a node has returned nonsense proves nothing.
            Found::default()
        } else {
            self.prove_expired(cx, &late).await
        };
        for (id, status) in found.statuses {
            seen.add(&id, status);
        }
        for (id, slot) in self.seen_in_blocks(cx, &late) {
            // Whether it failed there is not known: it has landed when the node shows it correctly.
            let status = Status {
                slot,
                stage: Stage::Finalized,
                error: None,
            };
            seen.add(&id, status);
        }
        let in_block = seen.read_effects(cx).await?;
        self.confirm_failures(cx, &mut seen, &in_block).await;
        self.query_others(cx, watches, &late, &mut seen).await;
        let finality = cx.network().finality.max(1);
        let observed = watches.iter().map(|watch| {
            let without_status = match found.expired.get(&watch.tx_id) {
                Some(proof) => TxState::Expired { proof: proof.clone() },
                None if late.contains_key(&watch.tx_id) || self.has_listed_end(cx, watch, &seen) => {
                    TxState::Lapsed
                }
                None => TxState::Unknown,
            };
            let mut observation = seen.observation(watch, without_status, finality);
            if seen.is_elsewhere || seen.elsewhere.contains(&watch.tx_id) {
                observation.reads.push(elsewhere::mark(cx));
            }
            observation
        });
        Ok(observed.collect())
    }

    /// Whether the blockhash has expired by a list that was read when the payment was planned. Its slot is freed at once, so
    /// that payments that were never meant to land do not keep others out; whether it has landed is proven in the usual way.
    fn has_listed_end(&self, cx: &Cx, watch: &Watch, seen: &Seen) -> bool {
        let networks = self.networks();
        let Some(remembered) = networks.get(&cx.network().id) else {
            return false;
        };
        let life = Lifetime::of(watch, seen.head);
        life.listed_end(&remembered.heights)
            .is_some_and(|end| seen.height > end)
    }

    /// What has no status and can't land any more by this node's finalized height.
    fn late(&self, cx: &Cx, watches: &[Watch], seen: &Seen) -> BTreeMap<String, Late> {
        let without_status = watches
            .iter()
            .filter(|watch| !seen.statuses.contains_key(&watch.tx_id));
        let lives = without_status.map(|watch| (watch.tx_id.clone(), Lifetime::of(watch, seen.head)));
        let lives: BTreeMap<String, Lifetime> = lives.collect();
        if lives.is_empty() {
            return BTreeMap::new();
        }
        let networks = self.networks();
        let remembered = networks.get(&cx.network().id);
        remembered.map_or_else(BTreeMap::new, |remembered| {
            remembered.late(lives, seen.finalized_height)
        })
    }

    /// A final error is one node's statement. Where the network has two nodes, both must report it; one that does not answer
    /// is waited for at most ten minutes. The failed transaction itself must be shown, or the status must stay for ten minutes
    /// (of an only node: a minute). `in_block`: failed by `getTransaction` as well.
    async fn confirm_failures(&self, cx: &Cx, seen: &mut Seen, in_block: &BTreeSet<String>) {
        let failed = seen
            .statuses
            .iter()
            .filter(|(_, status)| status.is_final_failure());
        let ids: Vec<String> = failed.map(|(id, _)| id.clone()).take(MAX_STATUSES).collect();
        if ids.is_empty() {
            return;
        }
        let texts: Vec<&str> = ids.iter().map(String::as_str).collect();
        let nodes = rpc::read_by_two(cx, vec![get_statuses(&texts, StatusSearch::History)])
            .await
            .ok();
        let mut agreeing: BTreeMap<&str, usize> = BTreeMap::new();
        let mut count: usize = 0;
        let mut unreadable: usize = 0;
        for mut answers in nodes.into_iter().flatten() {
            // If it can't be read, these failures are withheld until it can be; the rest of the poll is not affected.
            let Ok((_, statuses)) = answers.take().and_then(|answer| read_statuses(answer, ids.len())) else {
                unreadable = unreadable.saturating_add(1);
                continue;
            };
            count = count.saturating_add(1);
            for (id, status) in texts.iter().zip(statuses) {
                match status {
                    Some(status) if status.is_final_failure() => *agreeing.entry(*id).or_default() += 1,
                    // The most advanced status counts, and one without an error is as good as this one.
                    Some(status) if status.stage == Stage::Finalized => {
                        seen.statuses.insert((*id).to_owned(), status);
                    }
                    Some(_) | None => {}
                }
            }
        }
        let (now_ms, head) = (cx.now_ms(), seen.head);
        for id in &ids {
            // Not the count of those that have no status.
            let key = format!("failed {id}");
            let agree = agreeing.get(id.as_str()).copied().unwrap_or(0);
            let is_contradicted = count.saturating_add(unreadable) > 1 && agree < count;
            let apart = match count {
                // Two were wanted, and one answers, or one returns what can't be read.
                0 => Apart::WithoutOne,
                1 if unreadable > 0 => Apart::WithoutOne,
                1 => Apart::Alone,
                // Both hide the transaction itself.
                _ => Apart::BesideOne,
            };
            let is_shown = count > 0 && unreadable == 0 && in_block.contains(id);
            let is_proven = self.expiries(cx, |expiries| {
                if is_contradicted {
                    expiries.not_proven(&key);
                    return false;
                }
                is_shown || expiries.answered_twice(&key, now_ms, head, apart)
            });
            if is_proven {
                seen.failed.insert(id.clone());
            }
        }
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
            let recent = recent.chunks(MAX_STATUSES).map(|ids| (ids, StatusSearch::Recent));
            recent.chain(old.chunks(MAX_STATUSES).map(|ids| (ids, StatusSearch::History)))
        };
        // The heights come after the slot: they are that of this slot or more.
        let mut calls = vec![
            rpc::slot(CONFIRMED),
            rpc::block_height(CONFIRMED),
            rpc::block_height(FINALIZED),
        ];
        calls.extend(chunks().map(|(ids, search)| get_statuses(ids, search)));
        let mut answers = rpc::NODES.read_all(cx, calls.clone()).await?;
        let mut is_elsewhere = false;
        let faults = |results: &[RpcResult]| {
            let outlier = results.first().is_some_and(|slot| self.is_outlier(cx, slot));
            rpc::NODES
                .count_malformed(&calls, results)
                .saturating_add(usize::from(outlier))
        };
        let known = answers.remaining();
        if faults(known) > 0
            && self.may_query_others(cx)
            && let Some(better) = rpc::NODES.replace_if_better(cx, &calls, known, faults).await
        {
            (answers, is_elsewhere) = (better, true);
        }

        let slot = rpc::number(answers.take()?, "getSlot")?;
        let height = rpc::number(answers.take()?, "getBlockHeight")?;
        self.record(cx, slot, height);
        let mut seen = Seen {
            head: slot,
            height,
            finalized_height: rpc::number(answers.take()?, "getBlockHeight")?,
            statuses: BTreeMap::new(),
            effects: BTreeMap::new(),
            failed: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            is_elsewhere,
        };
        for (ids, _) in chunks() {
            seen.take_statuses(ids, answers.take()?)?;
        }
        Ok(seen)
    }
}

impl Seen {
    /// Reads what landed transactions did, and returns those that are shown to have failed. Each poll reads anew: another
    /// node's result must not replace this one's.
    async fn read_effects(&mut self, cx: &Cx) -> Result<BTreeSet<String>, Fault> {
        // Also what failed: the node may contradict itself.
        let landed = |status: &Status| match status.error {
            None => status.stage >= Stage::Confirmed,
            Some(_) => status.stage >= Stage::Finalized,
        };
        let wanted = self.statuses.iter().filter(|(_, status)| landed(status));
        let wanted: Vec<String> = wanted.map(|(id, _)| id.clone()).collect();
        let calls: Vec<RpcCall> = wanted.iter().map(|id| evidence::get_transaction(id)).collect();
        let mut answers = rpc::NODES.read_all(cx, calls).await?;
        let mut failed = BTreeSet::new();
        for id in wanted {
            let RpcResult::Ok(answer) = answers.take()? else {
                continue;
            };
            if evidence::has_failed(&answer) {
                failed.insert(id);
            } else if let Some(shown) = Shown::read(&id, &answer) {
                self.effects.insert(id, shown);
            }
        }
        Ok(failed)
    }

    /// `without_status` is the state of a transaction that no node shows a status of.
    fn observation(&self, watch: &Watch, without_status: TxState, finality: u64) -> Observation {
        let status = self.statuses.get(&watch.tx_id);
        let mut observation = Observation::of(watch.attempt_id.clone(), without_status, self.head);
        // No other transaction can carry the payment: the transaction's id is that of its message and our signature.
        observation.foreign_searched = true;
        observation.block = watch.block.as_ref().map(|block| {
            status.map_or(BlockStands::Unknown, |status| {
                stands(&block.id, status, self.head, finality)
            })
        });
        let Some(status) = status else {
            return observation;
        };
        let Some(depth) = status.depth(self.head, finality) else {
            observation.state = TxState::Pending;
            return observation;
        };
        let (height, block) = (status.slot, status.slot.to_string());
        let is_shown = self.effects.contains_key(&watch.tx_id);
        if let Some(error) = &status.error {
            // There is no guard to hold it against, and a fork that loses may have failed it: it has failed when that is final
            // and more than one result shows it.
            if !self.failed.contains(&watch.tx_id) || is_shown {
                observation.state = TxState::Pending;
                return observation;
            }
            observation.state = TxState::Reverted {
                height,
                block,
                depth,
                message: Some(error.clone()),
            };
            return observation;
        }
        observation.state = match self.effect(&watch.tx_id, status) {
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

    /// What a transaction did in the block of its status.
    pub(super) fn effect(&self, id: &str, status: &Status) -> Option<&Shown> {
        let effect = self.effects.get(id);
        effect.filter(|shown| status.stage >= Stage::Confirmed && shown.slot == status.slot)
    }

    /// Another node shows that it has landed, with its effect.
    pub(super) fn show_elsewhere(&mut self, id: &str, status: &Status, effect: Shown) {
        self.head = self.head.max(status.slot);
        self.statuses.insert(id.to_owned(), status.clone());
        self.effects.insert(id.to_owned(), effect);
        self.elsewhere.insert(id.to_owned());
    }

    fn take_statuses(&mut self, ids: &[&str], answer: RpcResult) -> Result<(), Fault> {
        let (_, statuses) = read_statuses(answer, ids.len())?;
        for (id, status) in ids.iter().zip(statuses) {
            if let Some(status) = status {
                self.add(id, status);
            }
        }
        Ok(())
    }

    /// The most advanced status of a signature counts.
    fn add(&mut self, id: &str, status: Status) {
        if status.stage >= Stage::Confirmed {
            self.head = self.head.max(status.slot);
        }
        let known = self.statuses.get(id);
        if known.is_none_or(|known| known.stage < status.stage) {
            self.statuses.insert(id.to_owned(), status);
        }
    }
}

/// The status of the block of a slot, by the status of a transaction that was seen in it. Only what a supermajority has voted
/// for counts: a node on a fork of its own may show the transaction in any slot.
fn stands(block: &str, status: &Status, head: u64, finality: u64) -> BlockStands {
    match (block.parse::<u64>(), status.depth(head, finality)) {
        (Ok(slot), Some(depth)) if slot == status.slot => BlockStands::Canonical { depth },
        (Ok(_), Some(_)) => BlockStands::Replaced,
        (Err(_), _) | (_, None) => BlockStands::Unknown,
    }
}

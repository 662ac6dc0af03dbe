//! Observes attempts. One batch reads the statuses of all of them, and a second one reads the effects of those that landed.
//!
//! A node keeps only recent statuses in its cache, so old attempts are searched in its history. When the finalized block
//! height alone shows that an attempt can't land any more, it has lapsed. [`super::expiry`] finds out whether it landed
//! before that.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::chain::{BlockStands, Observation, TxState, Watch};
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Amount, Cx, Fault};

use super::SvmDriver;
use super::elsewhere;
use super::evidence::{self, Shown};
use super::expiry::{Found, Late};
use super::lifetime::Lifetime;
use super::tries::Apart;
use crate::rpc::status::{MAX_STATUSES, Stage, Status, StatusSearch, get_statuses, read_statuses};
use crate::rpc::{self, CONFIRMED, FINALIZED};

/// Statuses of this many recent slots are read without a search of the history. Nodes keep about 150 slots; the rest is a
/// margin.
const REMEMBERED_SLOTS: u64 = 100;

/// What the first batch shows.
pub(super) struct Seen {
    pub(super) head: u64,
    /// The confirmed block height.
    height: u64,
    finalized_height: u64,
    pub(super) statuses: BTreeMap<String, Status>,
    /// The effects of landed transactions, as far as the node shows them.
    effects: BTreeMap<String, Shown>,
    /// Transactions whose final error is confirmed: see [`SvmDriver::confirm_failures`].
    failed: BTreeSet<String>,
    /// Lamports that transactions cost which `getTransaction` shows as failed.
    fees_of_failed: BTreeMap<String, Amount>,
    /// Transactions whose status and effect come from another node than the one that was read first.
    elsewhere: BTreeSet<String>,
    /// Everything here comes from another node than the one that was read first.
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
            // The first node returned malformed values: this poll proves no expiry.
            Found::default()
        } else {
            self.prove_expired(cx, &late).await
        };
        for (id, status) in found.statuses {
            seen.add(&id, status);
        }
        for (id, slot) in self.seen_in_blocks(cx, &late) {
            // Whether it failed there is not known. It counts as landed only when the node also shows its effect.
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

    /// Whether the blockhash has expired according to the list of blockhashes that was read when the payment was planned. If
    /// so, the slot is freed at once, so that payments that were never meant to land do not fill the lane. Whether the
    /// transaction has landed is proven in the usual way.
    fn has_listed_end(&self, cx: &Cx, watch: &Watch, seen: &Seen) -> bool {
        let networks = self.networks();
        let Some(remembered) = networks.get(&cx.network().id) else {
            return false;
        };
        let life = Lifetime::of(watch, seen.head);
        life.listed_end(&remembered.heights)
            .is_some_and(|end| seen.height > end)
    }

    /// Watched transactions that have no status and, by this node's finalized height, can't land any more.
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

    /// Confirms final errors, which one node alone may report wrongly. If the network has two nodes, both must report the
    /// error; a node that does not answer is waited for at most ten minutes. A node must also show the failed transaction. If
    /// none does, the status must stay the same for ten minutes, or for one minute if the network has only one node.
    ///
    /// `in_block`: the transactions that `getTransaction` shows as failed.
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
            // Until this answer can be read, these failures are not confirmed. The rest of the poll is not affected.
            let Ok((_, statuses)) = answers.take().and_then(|answer| read_statuses(answer, ids.len())) else {
                unreadable = unreadable.saturating_add(1);
                continue;
            };
            count = count.saturating_add(1);
            for (id, status) in texts.iter().zip(statuses) {
                match status {
                    Some(status) if status.is_final_failure() => *agreeing.entry(*id).or_default() += 1,
                    // Another node finalized it without an error: that status is as advanced as the error, and counts.
                    Some(status) if status.stage == Stage::Finalized => {
                        seen.statuses.insert((*id).to_owned(), status);
                    }
                    Some(_) | None => {}
                }
            }
        }
        let (now_ms, head) = (cx.now_ms(), seen.head);
        for id in &ids {
            // A key of its own: the bare id counts the tries of a proof that the transaction has not landed.
            let key = format!("failed {id}");
            let agree = agreeing.get(id.as_str()).copied().unwrap_or(0);
            let is_contradicted = count.saturating_add(unreadable) > 1 && agree < count;
            let apart = match count {
                // Only one of two nodes gave a readable answer, or none did.
                0 => Apart::WithoutOne,
                1 if unreadable > 0 => Apart::WithoutOne,
                1 => Apart::Alone,
                // Both report the error. If none shows the transaction, the error must last.
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
        // The heights are read after the slot, so they belong to this slot or a later one.
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
            fees_of_failed: BTreeMap::new(),
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
    /// Reads the effects of landed transactions, and returns the transactions that are shown as failed. Nothing is kept from
    /// earlier polls, which another node may have answered.
    async fn read_effects(&mut self, cx: &Cx) -> Result<BTreeSet<String>, Fault> {
        // Failed ones are read too: the node may contradict its own status.
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
                if let Some(fee) = evidence::fee(&answer) {
                    self.fees_of_failed.insert(id.clone(), fee);
                }
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
        // No search is needed: the payer signed this one message, and our signature of it, which is the transaction's id, is
        // always the same. So no other transaction can carry the payment.
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
            // No guard can confirm the failure, and the block may be on a fork that is dropped. So the error must be final and
            // confirmed.
            if !self.failed.contains(&watch.tx_id) || is_shown {
                observation.state = TxState::Pending;
                return observation;
            }
            observation.fee = self.fees_of_failed.get(&watch.tx_id).copied();
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
                observation.fee = shown.fee;
                TxState::Landed { height, block, depth }
            }
            // The node has a status of it, but does not show the transaction yet.
            None => TxState::Pending,
        };
        observation
    }

    /// The effect of a transaction in the block that its status names; `None` if it is not shown there.
    pub(super) fn effect(&self, id: &str, status: &Status) -> Option<&Shown> {
        let effect = self.effects.get(id);
        effect.filter(|shown| status.stage >= Stage::Confirmed && shown.slot == status.slot)
    }

    /// Records status and effect of a landed transaction, as another node shows them.
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

/// Whether a block, named by its slot, is canonical, according to the status of a transaction that was observed in it. Only
/// a status that a supermajority has voted for counts: a node on a private fork may show the transaction in any slot.
fn stands(block: &str, status: &Status, head: u64, finality: u64) -> BlockStands {
    match (block.parse::<u64>(), status.depth(head, finality)) {
        (Ok(slot), Some(depth)) if slot == status.slot => BlockStands::Canonical { depth },
        (Ok(_), Some(_)) => BlockStands::Replaced,
        (Err(_), _) | (_, None) => BlockStands::Unknown,
    }
}

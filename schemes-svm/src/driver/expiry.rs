//! Proofs that an expired transaction has not landed.
//!
//! A status of null proves nothing: a node may have forgotten, may never have had the history, or may lag. So a node's null
//! counts only together with what that node shows beside it, in one batch: that it is past the blockhash's lifetime, that it
//! has every block in which the transaction could land, and that it knows other transactions of those blocks (canaries). Two
//! nodes must show all of it. The network's only node must do so twice, a minute apart. Where another one does not answer,
//! or does not have the history that the proof needs, the one that has it must stay alone with it for ten minutes. A node
//! that decides alone must have shown every block in which the transaction could land, without it.
//!
//! All of this is read for late transactions only, for one group of neighbours per poll.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sdk_plugin::host::{Level, RpcCall, RpcResult};
use sdk_plugin::{Cx, Fault};
use serde_json::json;

use super::check;
use super::lifetime::Lifetime;
use super::options::Options;
use super::tries::{Apart, Expiries};
use super::unproven::Unproven;
use super::window::{self, Window, check_first_available};
use super::{Remembered, SvmDriver};
use crate::rpc::status::{Status, StatusSearch, get_statuses, read_statuses};
use crate::rpc::{self, Answers, CONFIRMED, FINALIZED};
use crate::text;

/// JSON-RPC code of a node that keeps no history of transactions.
const HISTORY_NOT_AVAILABLE: i64 = -32_011;

/// A transaction that can't land any more, and of which the first node showed no status.
#[derive(Debug, Clone)]
pub(super) struct Late {
    pub(super) life: Lifetime,
    /// The last block height at which it could land, by the heights that were seen when it was journaled.
    last_valid: u64,
}

/// Neighbours that are proven together.
pub(super) struct Group {
    /// By signature.
    pub(super) members: Vec<(String, Late)>,
    /// None of them is in an older slot.
    pub(super) from: u64,
    /// All their blockhashes are of this slot or older.
    pub(super) known_at: u64,
}

/// What one node showed of a group, all of it good.
struct NodeProof {
    slot: u64,
    height: u64,
    canary: String,
    /// By blockhash; `false` where the node reports it as expired.
    good: BTreeMap<String, bool>,
}

/// The result of a search for proofs.
#[derive(Default)]
pub(super) struct Found {
    pub(super) expired: BTreeMap<String, String>,
    /// Statuses that a node knows after all.
    pub(super) statuses: Vec<(String, Status)>,
}

impl Remembered {
    /// The late ones among transactions without a status, by signature.
    pub(super) fn late(
        &self,
        lives: BTreeMap<String, Lifetime>,
        finalized_height: u64,
    ) -> BTreeMap<String, Late> {
        let late = lives.into_iter().filter_map(|(id, life)| {
            let last_valid = life.last_valid(&self.heights)?;
            (finalized_height > last_valid).then_some((id, Late { life, last_valid }))
        });
        late.collect()
    }
}

impl SvmDriver {
    /// Tries to prove of some late transactions that they have not landed. A fault leaves them late.
    pub(super) async fn prove_expired(&self, cx: &Cx, late: &BTreeMap<String, Late>) -> Found {
        let mut found = Found::default();
        if late.is_empty() {
            return found;
        }
        let now_ms = cx.now_ms();
        let group = self.expiries(cx, |expiries| {
            found.expired = expiries.standing(late, now_ms);
            let mut open = late.clone();
            open.retain(|id, _| !found.expired.contains_key(id));
            expiries.next_group(&open, now_ms)
        });
        let Some(group) = group else {
            return found;
        };
        let proven = self.prove(cx, &group, &mut found).await;
        let unproven = match proven {
            Ok(lacking) => lacking,
            Err(unproven) => {
                self.expiries(cx, |expiries| {
                    group.members.iter().for_each(|(id, _)| expiries.not_proven(id));
                    if let Unproven::Contained { id, slot } = &unproven {
                        expiries.record_in_block(id, *slot, now_ms);
                    }
                    if !matches!(
                        unproven,
                        Unproven::NoAnswer(_) | Unproven::TooEarly | Unproven::Contained { .. }
                    ) {
                        // What one node reported wrongly must not be held against another.
                        expiries.forget_window(&group);
                    }
                });
                Some(unproven)
            }
        };
        if let Some(unproven) = unproven
            && self.expiries(cx, |expiries| expiries.is_news(&unproven, &group))
        {
            let fields = json!({
                "event": unproven.event(),
                "network": cx.network().id,
                "transactions": group.members.len(),
            });
            cx.log(Level::Warn, "svm::expiry", &unproven.to_string(), &fields);
        }
        found
    }

    /// What one of two nodes lacks, while the other one's answers count without it.
    async fn prove(&self, cx: &Cx, group: &Group, found: &mut Found) -> Result<Option<Unproven>, Unproven> {
        let window = self.window(cx, group).await?;
        let calls = group.calls(&window);
        let nodes = rpc::compare_or_read(cx, calls).await?;
        let mut proofs = Vec::new();
        let mut unproven = None;
        for answers in nodes.sets {
            // All are read: what the second one knows counts whatever the first one lacks.
            match group.read(cx, &window, answers, &mut found.statuses) {
                Ok(proof) => proofs.push(proof),
                Err(why) => unproven = unproven.or(Some(why)),
            }
        }
        // One that lacks the history is no witness. Any other finding of it counts against the other one too.
        let lacking = match unproven {
            Some(unproven) if !unproven.is_lack() || proofs.is_empty() => return Err(unproven),
            unproven => unproven,
        };
        if proofs.len() == 1 {
            self.search(cx, group, &window).await?;
        }
        let is_searched = |expiries: &Expiries| expiries.searched_to(group) > window.last_slot();
        let known: BTreeSet<&str> = found.statuses.iter().map(|(id, _)| id.as_str()).collect();
        let (mut any, mut is_settled) = (false, false);
        for (id, late) in &group.members {
            let proof = late.proven_by(&window, &proofs);
            let proof = proof.filter(|_| !known.contains(id.as_str()));
            any |= proof.is_some();
            let now_ms = cx.now_ms();
            let proof = self.expiries(cx, |expiries| {
                let Some(mut proof) = proof else {
                    expiries.not_proven(id);
                    return None;
                };
                if let [only] = proofs.as_slice() {
                    let apart = match (&lacking, nodes.one_is_missing) {
                        (Some(_), _) => Apart::BesideOne,
                        (None, true) => Apart::WithoutOne,
                        (None, false) => Apart::Alone,
                    };
                    if !expiries.answered_twice(id, now_ms, only.slot, apart) || !is_searched(expiries) {
                        return None;
                    }
                    proof.push_str(match apart {
                        Apart::Alone => "; it answered so twice, at least a minute apart",
                        Apart::BesideOne => {
                            "; it answered so for ten minutes, in which another node did not have that history"
                        }
                        Apart::WithoutOne => "; it answered so for ten minutes, in which another node did not answer",
                    });
                    proof.push_str("; none of those blocks has this one");
                }
                expiries.proven(id, now_ms, &proof);
                Some(proof)
            });
            if let Some(proof) = proof {
                is_settled = true;
                found.expired.insert(id.clone(), proof);
            }
        }
        // Without a proof and without a status it was only too early.
        if any || !known.is_empty() {
            Ok(lacking.filter(|_| !is_settled))
        } else {
            Err(Unproven::TooEarly)
        }
    }

    /// Continues the search of an only node's blocks for the group itself.
    async fn search(&self, cx: &Cx, group: &Group, window: &Window) -> Result<(), Unproven> {
        let from = self.expiries(cx, |expiries| expiries.searched_to(group));
        let to = window.search(cx, from, &group.ids()).await?;
        self.expiries(cx, |expiries| expiries.searched(group, to));
        Ok(())
    }

    /// Transactions that a finalized block has, though the node knows no status of them: by signature, the block's slot.
    pub(super) fn seen_in_blocks(&self, cx: &Cx, late: &BTreeMap<String, Late>) -> Vec<(String, u64)> {
        let now_ms = cx.now_ms();
        self.expiries(cx, |expiries| {
            let seen = |id: &String| Some((id.clone(), expiries.seen_at(id, now_ms)?));
            late.keys().filter_map(seen).collect()
        })
    }

    /// The blocks in which the group could land, remembered or read anew.
    async fn window(&self, cx: &Cx, group: &Group) -> Result<Arc<Window>, Unproven> {
        if let Some(window) = self.expiries(cx, |expiries| expiries.window(group)) {
            return Ok(window);
        }
        let last_valid = group.members.iter().map(|(_, late)| late.last_valid).max();
        let window = Window::read(cx, group.slots(), last_valid.unwrap_or_default(), &group.ids()).await?;
        let window = Arc::new(window);
        self.expiries(cx, |expiries| expiries.keep_window(group, &window));
        Ok(window)
    }

    pub(super) fn expiries<T>(&self, cx: &Cx, act: impl FnOnce(&mut Expiries) -> T) -> T {
        let mut networks = self.networks();
        act(&mut networks.entry(cx.network().id.clone()).or_default().expiries)
    }
}

impl Group {
    pub(super) fn slots(&self) -> (u64, u64) {
        (self.from, self.known_at)
    }

    fn ids(&self) -> Vec<&str> {
        self.members.iter().map(|(id, _)| id.as_str()).collect()
    }

    fn blockhashes(&self) -> BTreeSet<&str> {
        let all = self
            .members
            .iter()
            .filter_map(|(_, late)| late.life.blockhash.as_deref());
        all.collect()
    }

    /// The one batch that must show everything. The heights come first: what the statuses, read after them, do not know
    /// was in no block up to those heights. Canaries and transactions are in one call, so that one node answers for both.
    fn calls(&self, window: &Window) -> Vec<RpcCall> {
        let mut calls = vec![
            rpc::request("getGenesisHash", json!([])),
            rpc::slot(FINALIZED),
            rpc::block_height(FINALIZED),
            window::first_available(),
            window.list(),
        ];
        let good = |hash: &str| rpc::request("isBlockhashValid", json!([hash, { "commitment": CONFIRMED }]));
        calls.extend(self.blockhashes().into_iter().map(good));
        let mut signatures = window.signatures();
        signatures.extend(self.ids());
        calls.push(get_statuses(&signatures, StatusSearch::History));
        calls
    }

    /// Reads one node's answers to [`Group::calls`]. Statuses that it knows go into `known`, whatever else it lacks.
    fn read(
        &self,
        cx: &Cx,
        window: &Window,
        mut answers: Answers,
        known: &mut Vec<(String, Status)>,
    ) -> Result<NodeProof, Unproven> {
        let genesis = answers.take()?;
        let slot = answers.take()?;
        let height = answers.take()?;
        let first_available = answers.take()?;
        let list = answers.take()?;
        let mut blockhashes = Vec::new();
        for hash in self.blockhashes() {
            blockhashes.push((hash.to_owned(), answers.take()?));
        }
        let canaries = window.signatures().len();
        let statuses = answers.take()?;
        if let RpcResult::Error(error) = &statuses
            && error.code == HISTORY_NOT_AVAILABLE
        {
            return Err(Unproven::NoHistory(error.message.clone()));
        }
        let (statuses_slot, mut statuses) =
            read_statuses(statuses, canaries.saturating_add(self.members.len()))?;
        let of_members = statuses.split_off(canaries.min(statuses.len()));
        let shown = self.members.iter().zip(of_members);
        known.extend(shown.filter_map(|((id, _), status)| Some((id.clone(), status?))));

        check_chain(cx, genesis)?;
        let slot = rpc::number(slot, "getSlot")?;
        let height = rpc::number(height, "getBlockHeight")?;
        check_first_available(first_available, self.from)?;
        if slot < window.last_slot() || statuses_slot < slot {
            return Err(Unproven::TooEarly);
        }
        let mut good = BTreeMap::new();
        for (hash, answer) in blockhashes {
            let what = "isBlockhashValid";
            let (at, value) = rpc::at_slot(answer, what)?;
            let valid = value
                .as_bool()
                .ok_or_else(|| rpc::unexpected_answer(what, "no boolean"))?;
            // A bank older than the window may call it bad because it does not know it yet.
            good.insert(hash, valid || at < window.last_slot());
        }
        window.check_list(list)?;
        let canary = window.check_canaries(&statuses)?.to_owned();
        Ok(NodeProof {
            slot,
            height,
            canary,
            good,
        })
    }
}

impl Late {
    /// The proof, where every node is past the transaction's end. `None` without nodes.
    fn proven_by(&self, window: &Window, nodes: &[NodeProof]) -> Option<String> {
        let last_valid = self.last_valid.max(window.last_valid(self.life.known_at));
        let is_past = |node: &NodeProof| {
            let hash = self.life.blockhash.as_ref();
            // One that is not in the answers was not queried.
            let dead = hash.is_none_or(|hash| node.good.get(hash) == Some(&false));
            node.height > last_valid && dead
        };
        let lowest = nodes.iter().map(|node| node.height).min()?;
        let canary = nodes.first().map(|node| node.canary.as_str())?;
        let count = match nodes.len() {
            1 => "1 node knows".to_owned(),
            more => format!("{more} nodes know"),
        };
        nodes.iter().all(is_past).then(|| {
            format!(
                "its blockhash was good up to block {last_valid} at most and block {lowest} is final; {count} the blocks of slots \
                 {} to {} without a gap and transactions of the first and the last of them, such as {canary}, and no status of \
                 this one",
                window.first_slot(),
                window.last_slot()
            )
        })
    }
}

/// A node that was moved to another chain knows nothing of a transaction either.
fn check_chain(cx: &Cx, genesis: RpcResult) -> Result<(), Unproven> {
    let what = "getGenesisHash";
    let value = rpc::value(genesis, what)?;
    let shown = value
        .as_str()
        .ok_or_else(|| rpc::unexpected_answer(what, "no hash"))?;
    let network = &cx.network().id;
    let options = Options::read(&cx.network().options)?;
    let reference = text::reference(network)
        .ok_or_else(|| Fault::invalid(format!("{network:?} is no Solana network")))?;
    if check::is_wrong_chain(reference, shown, &options) {
        return Err(Unproven::WrongChain(format!(
            "a node of {network} serves genesis hash {shown}"
        )));
    }
    Ok(())
}

//! Attempts to prove expiry: when the next one is due, and what an only node has answered before.
//!
//! Losing this state only costs time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::expiry::{Group, Late};
use super::unproven::Unproven;
use super::window::Window;

/// Time between the two answers of the network's only node, and of one while another lacks the history or does not answer.
const ALONE_MS: u64 = 60_000;
const BESIDE_ONE_MS: u64 = 600_000;
/// Slots that the chain must have finalized meanwhile: a clock that jumps does not count as time.
const ALONE_SLOTS: u64 = 32;
/// Time until an only node is queried again.
const ALONE_RETRY_MS: u64 = 20_000;
/// Time until the proof is tried again: the first time, and at most.
const RETRY_MS: (u64, u64) = (10_000, 60_000);
/// Most slots between the transactions of one group: fewer than a blockhash lives, so that their windows overlap.
const GROUP_SLOTS: u64 = 64;
/// Most transactions of one group: together with the canaries, fewer than one call takes.
const MAX_GROUP: usize = 64;
/// Most late transactions and windows that are remembered; forgetting one only costs time.
const MAX_TRIED: usize = 4_096;
const MAX_WINDOWS: usize = 16;
/// How long a proof is repeated without new reads: a caller that wants to see it twice must not wait for the next try. While
/// it is, each poll still searches for a status.
const PROOF_VALID_MS: u64 = 30_000;
/// How long a finalized block that has a transaction replaces its status. Then the node is queried for both again.
const SEEN_VALID_MS: u64 = 600_000;

/// What is remembered of late transactions.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    tried: HashMap<String, Tried>,
    /// By the slots that they were read for.
    windows: HashMap<(u64, u64), Arc<Window>>,
    /// Events that were logged since the last proof.
    logged: BTreeSet<&'static str>,
}

#[derive(Debug, Default)]
struct Tried {
    next_ms: u64,
    pause_ms: u64,
    alone: Option<Alone>,
    /// An only node's blocks below this slot do not have it.
    searched_to: u64,
    /// When it was proven, and the proof.
    proven: Option<(u64, String)>,
    /// When it was seen in a finalized block, and the block's slot.
    seen: Option<(u64, u64)>,
}

/// The first of an only node's answers: when, and the newest finalized slot.
#[derive(Debug, Clone, Copy)]
struct Alone {
    at_ms: u64,
    slot: u64,
}

/// How far apart the two answers of an only node must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Apart {
    /// The network has no other node.
    Alone,
    /// Another one answers, and does not have the history that the proof needs.
    BesideOne,
    /// Another one does not answer.
    WithoutOne,
}

impl Expiries {
    /// The group that waited longest, if the time to try it has come. It is not due again before its pause.
    pub(super) fn next_group(&mut self, late: &BTreeMap<String, Late>, now_ms: u64) -> Option<Group> {
        let next_ms = |id: &str| self.tried.get(id).map_or(0, |tried| tried.next_ms);
        let is_due = |id: &str| {
            if self.seen_at(id, now_ms).is_some() {
                return false;
            }
            let at = next_ms(id);
            // A time further ahead than any pause was recorded before the clock was set back.
            at <= now_ms || at > now_ms.saturating_add(RETRY_MS.1)
        };
        let mut due: Vec<(&String, &Late)> = late.iter().filter(|(id, _)| is_due(id)).collect();
        let (_, oldest) = due
            .iter()
            .min_by_key(|(id, late)| (next_ms(id), late.life.from))
            .copied()?;
        let from = oldest.life.from;
        // The oldest one alone may have a longer lifetime than a group's.
        let most = oldest.life.known_at.max(from.saturating_add(GROUP_SLOTS));
        due.retain(|(_, late)| late.life.from >= from && late.life.known_at <= most);
        due.sort_by_key(|(_, late)| late.life.from);
        due.truncate(MAX_GROUP);
        let members: Vec<(String, Late)> = due
            .into_iter()
            .map(|(id, late)| (id.clone(), late.clone()))
            .collect();
        let known_at = members.iter().map(|(_, late)| late.life.known_at).max()?;
        for (id, _) in &members {
            self.postpone(id, now_ms);
        }
        Some(Group {
            members,
            from,
            known_at,
        })
    }

    fn postpone(&mut self, id: &str, now_ms: u64) {
        if self.tried.len() >= MAX_TRIED {
            self.tried.clear();
        }
        let tried = self.tried.entry(id.to_owned()).or_default();
        let (first, most) = RETRY_MS;
        tried.pause_ms = tried.pause_ms.saturating_mul(2).clamp(first, most);
        tried.next_ms = now_ms.saturating_add(tried.pause_ms);
    }

    /// What is proven already, of these.
    pub(super) fn standing(&self, late: &BTreeMap<String, Late>, now_ms: u64) -> BTreeMap<String, String> {
        let standing = late.keys().filter_map(|id| {
            let (at_ms, proof) = self.tried.get(id)?.proven.as_ref()?;
            let stands = (*at_ms..at_ms.saturating_add(PROOF_VALID_MS)).contains(&now_ms);
            stands.then(|| (id.clone(), proof.clone()))
        });
        standing.collect()
    }

    pub(super) fn proven(&mut self, id: &str, now_ms: u64, proof: &str) {
        let tried = self.tried.entry(id.to_owned()).or_default();
        tried.proven = Some((now_ms, proof.to_owned()));
        tried.next_ms = now_ms;
        tried.pause_ms = 0;
        self.logged.clear();
    }

    /// Whether an only node's answer is its second one, late enough after the first.
    pub(super) fn answered_twice(&mut self, id: &str, now_ms: u64, slot: u64, apart: Apart) -> bool {
        let apart_ms = match apart {
            Apart::Alone => ALONE_MS,
            Apart::BesideOne | Apart::WithoutOne => BESIDE_ONE_MS,
        };
        let tried = self.tried.entry(id.to_owned()).or_default();
        tried.next_ms = now_ms.saturating_add(ALONE_RETRY_MS);
        tried.pause_ms = 0;
        let first = tried.alone.filter(|first| first.at_ms <= now_ms);
        let first = first.unwrap_or(Alone { at_ms: now_ms, slot });
        tried.alone = Some(first);
        now_ms >= first.at_ms.saturating_add(apart_ms) && slot >= first.slot.saturating_add(ALONE_SLOTS)
    }

    /// The first slot whose block an only node has not shown yet, for the one of the group that was searched the least.
    pub(super) fn searched_to(&self, group: &Group) -> u64 {
        let of = |id: &String| self.tried.get(id).map_or(0, |tried| tried.searched_to);
        group.members.iter().map(|(id, _)| of(id)).min().unwrap_or(0)
    }

    /// None of the group is in a block below this slot.
    pub(super) fn searched(&mut self, group: &Group, to: u64) {
        for (id, _) in &group.members {
            let tried = self.tried.entry(id.clone()).or_default();
            tried.searched_to = tried.searched_to.max(to);
        }
    }

    pub(super) fn record_in_block(&mut self, id: &str, slot: u64, now_ms: u64) {
        self.tried.entry(id.to_owned()).or_default().seen = Some((now_ms, slot));
    }

    /// The slot of a finalized block that has it.
    pub(super) fn seen_at(&self, id: &str, now_ms: u64) -> Option<u64> {
        let (at_ms, slot) = self.tried.get(id)?.seen?;
        let stands = (at_ms..at_ms.saturating_add(SEEN_VALID_MS)).contains(&now_ms);
        stands.then_some(slot)
    }

    /// Any answer in between that is no proof restarts the count.
    pub(super) fn not_proven(&mut self, id: &str) {
        if let Some(tried) = self.tried.get_mut(id) {
            tried.alone = None;
            tried.proven = None;
        }
    }

    /// Whether this event is worth a line in the log: each once, until a proof succeeds. Nodes are a little apart, so one
    /// that lags is reported only when it stays so.
    pub(super) fn is_news(&mut self, unproven: &Unproven, group: &Group) -> bool {
        let is_long = |(id, _): &(String, Late)| {
            let pause_ms = self.tried.get(id).map_or(0, |tried| tried.pause_ms);
            pause_ms >= RETRY_MS.1
        };
        if *unproven == Unproven::TooEarly && !group.members.iter().any(is_long) {
            return false;
        }
        self.logged.insert(unproven.event())
    }

    pub(super) fn window(&self, group: &Group) -> Option<Arc<Window>> {
        self.windows.get(&group.slots()).cloned()
    }

    pub(super) fn keep_window(&mut self, group: &Group, window: &Arc<Window>) {
        if self.windows.len() >= MAX_WINDOWS {
            self.windows.clear();
        }
        self.windows.insert(group.slots(), Arc::clone(window));
    }

    pub(super) fn forget_window(&mut self, group: &Group) {
        self.windows.remove(&group.slots());
    }
}

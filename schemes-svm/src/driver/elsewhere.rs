//! What the node that answers does not show, and another one may: transactions that were sent, and answers of the right shape.
//!
//! A read goes to one node. When that node hides a transaction for some seconds, or returns nonsense, two nodes are read, but
//! not at each poll. What another node shows of a success counts as if the first one had shown it; failures need both
//! (see [`super::observe`]).
//!
//! The core has some payments shown by each of two nodes by itself. An observation that rests on another node's answers must
//! not be one of these two, so it is marked: no two observations with a mark are equal.

use std::collections::{BTreeMap, HashMap};

use sdk_plugin::Cx;
use sdk_plugin::chain::{ReadResult, Watch};
use sdk_plugin::host::RpcResult;

use super::SvmDriver;
use super::evidence::{self, Shown};
use super::expiry::Late;
use super::observe::Seen;
use crate::rpc;
use crate::rpc::status::{Stage, Status, StatusSearch, get_statuses, read_statuses};
use crate::slots::is_near;

/// For how long a node may not show a transaction before another one is queried, and the time between two such queries.
const HIDDEN_MS: u64 = 3_000;
/// The same of a network with only one node.
const ALONE_MS: u64 = 60_000;
/// The least time between two queries because of nonsense. Results that follow a poll at once belong to each node alone.
const NONSENSE_MS: u64 = 500;
/// Transactions that are queried at once.
const MAX_QUERIED: usize = 32;
/// Transactions that are remembered; forgetting one only costs time.
const MAX_HIDDEN: usize = 4_096;

/// State of such queries.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Transactions that a node does not show: since when, and when two nodes were last queried. Milliseconds since the epoch.
    hidden: HashMap<String, (u64, u64)>,
    /// When two nodes may be queried for hidden ones again.
    next_ms: u64,
    nonsense_ms: Option<u64>,
}

/// Whether `pause_ms` have passed since `at_ms`, by a clock that may be set back.
fn has_passed(at_ms: u64, pause_ms: u64, now_ms: u64) -> bool {
    now_ms < at_ms || now_ms.saturating_sub(at_ms) >= pause_ms
}

impl Elsewhere {
    /// Records what a node does and does not show, and returns what to query two nodes for now.
    fn due(&mut self, shown: &[&str], hidden: &[&str], now_ms: u64) -> Vec<String> {
        for id in shown {
            self.hidden.remove(*id);
        }
        if self.hidden.len() >= MAX_HIDDEN {
            self.hidden.clear();
        }
        let mut due = Vec::new();
        for id in hidden {
            let (since_ms, queried_ms) = *self.hidden.entry((*id).to_owned()).or_insert((now_ms, 0));
            if has_passed(since_ms, HIDDEN_MS, now_ms) {
                due.push((queried_ms, (*id).to_owned()));
            }
        }
        let may_query = self.next_ms <= now_ms || self.next_ms > now_ms.saturating_add(ALONE_MS);
        if due.is_empty() || !may_query {
            return Vec::new();
        }
        // Who waited longest comes first.
        due.sort();
        due.dedup();
        due.truncate(MAX_QUERIED);
        self.next_ms = now_ms.saturating_add(HIDDEN_MS);
        let ids: Vec<String> = due.into_iter().map(|(_, id)| id).collect();
        for id in &ids {
            if let Some((_, queried_ms)) = self.hidden.get_mut(id) {
                *queried_ms = now_ms;
            }
        }
        ids
    }

    fn may_query_others(&mut self, now_ms: u64) -> bool {
        let may = self
            .nonsense_ms
            .is_none_or(|at_ms| has_passed(at_ms, NONSENSE_MS, now_ms));
        if may {
            self.nonsense_ms = Some(now_ms);
        }
        may
    }
}

impl SvmDriver {
    /// Queries two nodes for transactions that the first one has not shown for some seconds, and adds those that have landed.
    pub(super) async fn query_others(
        &self,
        cx: &Cx,
        watches: &[Watch],
        late: &BTreeMap<String, Late>,
        seen: &mut Seen,
    ) {
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        for id in watches.iter().map(|watch| watch.tx_id.as_str()) {
            match seen.statuses.get(id) {
                // Expired ones have a query of their own.
                None if late.contains_key(id) => {}
                // For a failure, more nodes are queried anyway.
                Some(status) if status.error.is_some() => {}
                Some(status) if seen.effect(id, status).is_some() => shown.push(id),
                None | Some(_) => hidden.push(id),
            }
        }
        let now_ms = cx.now_ms();
        let due = self.elsewhere(cx, |elsewhere| elsewhere.due(&shown, &hidden, now_ms));
        if due.is_empty() {
            return;
        }
        let ids: Vec<&str> = due.iter().map(String::as_str).collect();
        let Ok(nodes) = rpc::read_by_two(cx, vec![get_statuses(&ids, StatusSearch::History)]).await else {
            return;
        };
        if nodes.len() < 2 {
            self.elsewhere(cx, |elsewhere| {
                elsewhere.next_ms = now_ms.saturating_add(ALONE_MS)
            });
            return;
        }
        let head = self.head(cx).map_or(seen.head, |(head, _)| head.max(seen.head));
        let mut landed: BTreeMap<&str, Status> = BTreeMap::new();
        for id in &ids {
            let known = seen.statuses.get(*id).filter(|status| has_landed(status));
            landed.extend(known.map(|status| (*id, status.clone())));
        }
        for mut answers in nodes {
            let statuses = answers.take().and_then(|answer| read_statuses(answer, ids.len()));
            for (id, status) in ids
                .iter()
                .zip(statuses.map_or_else(|_| Vec::new(), |(_, all)| all))
            {
                let status = status.filter(|status| {
                    has_landed(status) && (status.slot <= head || is_near(status.slot, head))
                });
                let Some(status) = status else { continue };
                let known = landed.get(id);
                if known.is_none_or(|known| known.stage < status.stage) {
                    landed.insert(id, status);
                }
            }
        }
        let calls = landed.keys().map(|id| evidence::get_transaction(id)).collect();
        let nodes = rpc::read_by_two(cx, calls).await.unwrap_or_default();
        for mut answers in nodes {
            for (id, status) in &landed {
                let Ok(RpcResult::Ok(answer)) = answers.take() else {
                    continue;
                };
                let effect = Shown::read(id, &answer).filter(|effect| effect.slot == status.slot);
                if let Some(effect) = effect {
                    seen.show_elsewhere(id, status, effect);
                }
            }
        }
    }

    /// Whether two nodes may be queried because one returns nonsense.
    pub(super) fn may_query_others(&self, cx: &Cx) -> bool {
        let now_ms = cx.now_ms();
        self.elsewhere(cx, |elsewhere| elsewhere.may_query_others(now_ms))
    }

    fn elsewhere<T>(&self, cx: &Cx, act: impl FnOnce(&mut Elsewhere) -> T) -> T {
        let mut networks = self.networks();
        act(&mut networks.entry(cx.network().id.clone()).or_default().elsewhere)
    }
}

fn has_landed(status: &Status) -> bool {
    status.error.is_none() && status.stage >= Stage::Confirmed
}

/// A read that no other observation has, and that nothing was read for.
pub(super) fn mark(cx: &Cx) -> ReadResult {
    ReadResult {
        name: format!("shown by another node in call {}", cx.call_id()),
        data: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_are_queried_every_few_seconds_for_what_has_been_hidden_that_long() {
        let mut elsewhere = Elsewhere::default();
        let mut due = |hidden: &[&str], now_ms| elsewhere.due(&[], hidden, now_ms);
        assert_eq!(due(&["a"], 110_000), [""; 0], "it was sent just now");
        assert_eq!(due(&["a", "b"], 112_000), [""; 0]);
        assert_eq!(due(&["a", "b"], 113_000), ["a"]);
        assert_eq!(due(&["a", "b"], 115_500), [""; 0], "not at each poll");
        assert_eq!(
            due(&["a", "b"], 116_000),
            ["b", "a"],
            "the one not queried yet comes first"
        );
        assert_eq!(elsewhere.due(&["b"], &["a"], 119_000), ["a"]);
        assert_eq!(elsewhere.hidden.len(), 1, "what is shown is forgotten");
        assert_eq!(elsewhere.due(&[], &["a"], 5_000), ["a"], "the clock was set back");
    }

    #[test]
    fn a_poll_may_query_because_of_nonsense_and_what_follows_it_at_once_may_not() {
        let mut elsewhere = Elsewhere::default();
        let may: Vec<bool> = [1_000, 1_001, 1_499, 1_500, 900]
            .map(|now_ms| elsewhere.may_query_others(now_ms))
            .into();
        assert_eq!(may, [true, false, false, true, true]);
    }
}

//! Open payments that no node continues, because their network or signer is not configured any more. A process that has its
//! journal alone does not start then. Here another node may have what this one lacks, and payments may be opened after this
//! one has started: so it is an alarm.

use super::Owner;
use super::leases::{Memory, ReadAll, Wanted};
use super::seen::network_of;
use crate::state::shared_journal::unserved;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A lane without an owner that lives for this long is not being taken over: that takes at most 10 s.
const UNSERVED_FOR: Duration = Duration::from_secs(15);
/// Pause between two searches.
const SEARCH_EVERY: Duration = Duration::from_secs(10);
/// Pause between two reads of all open payments: of every node, as long as a signer is gone whose lease an earlier version
/// wrote. Nothing new is opened in such a lane while it has no owner.
const READ_ALL_EVERY: Duration = Duration::from_secs(300);

impl Owner {
    /// Searches for lanes with open payments that no node continues, in a task of its own: beats don't wait for it.
    pub(super) fn begin_to_search_unserved(
        self: &Arc<Self>,
        node: &str,
        memory: &mut Memory,
        wanted: &Wanted,
        now: Instant,
    ) {
        let searched_at = memory.searched_at;
        if searched_at.is_some_and(|at| now.saturating_duration_since(at) < SEARCH_EVERY) {
            return;
        }
        // While the last search has not ended, another one would only make it last longer.
        let Ok(mut read_all) = Arc::clone(&memory.read_all).try_lock_owned() else {
            return;
        };
        memory.searched_at = Some(now);
        let mut orphaned = memory.seen.orphaned(now, UNSERVED_FOR);
        orphaned.retain(|unit| {
            let Some(run) = network_of(unit).and_then(|network| self.runtime.run_of(network)) else {
                return true;
            };
            let network = run.network.id();
            let is_others = !memory.abilities.is_able(network)
                && memory.seen.others_serve(node, network, now, Duration::ZERO) > 0;
            // While no signer of the network is known, the network's own state says why.
            let may_be_own = run.network.all_lanes().is_empty() || wanted.contains_key(unit);
            is_others || !may_be_own
        });
        let is_indexed = |unit: &String| memory.seen.lease(unit).is_some_and(|lease| lease.is_indexed);
        let (indexed, others): (BTreeSet<String>, BTreeSet<String>) =
            orphaned.into_iter().partition(is_indexed);
        let owner = Arc::clone(self);
        self.runtime
            .spawn(async move { owner.report_unserved(indexed, &others, &mut read_all).await });
    }

    /// `others`: units whose open payments are found only among all open payments.
    async fn report_unserved(
        &self,
        indexed: BTreeSet<String>,
        others: &BTreeSet<String>,
        read_all: &mut ReadAll,
    ) {
        let is_due = read_all.at.is_none_or(|at| at.elapsed() >= READ_ALL_EVERY);
        let reads_all = is_due && !others.is_empty();
        let mut units: Vec<String> = indexed.into_iter().collect();
        if reads_all {
            units.extend(others.iter().cloned());
        }
        let open = if units.is_empty() {
            Ok(Vec::new())
        } else {
            self.runtime.journal.with_open(&units).await
        };
        if reads_all {
            read_all.at = Some(Instant::now());
        }
        let mut open: BTreeSet<String> = match open {
            Ok(open) => open.into_iter().collect(),
            Err(error) => {
                tracing::error!(%error, "open payments without a node can't be searched for");
                return;
            }
        };
        if reads_all {
            read_all.open = open.intersection(others).cloned().collect();
        } else {
            open.extend(read_all.open.intersection(others).cloned());
        }
        let count = u32::try_from(open.len()).unwrap_or(u32::MAX);
        self.runtime
            .metrics
            .set("switchyard_lanes_unserved", &[], f64::from(count));
        for unit in self.runtime.shared_journal.set_unserved(open) {
            tracing::error!(unit, "lane_unserved: {}", unserved(&unit));
        }
    }
}

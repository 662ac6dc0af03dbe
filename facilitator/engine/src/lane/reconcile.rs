//! Compares a lane's sequence on chain with the journal's: at the start, and again when the chain shows a higher one.

use super::LaneTask;
use super::RETRY_EVERY;
use sdk_plugin::chain::LaneState;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// The journal counts as an old copy when the network's only node shows more transactions of a signer than the journal
/// has for this long.
const ONE_NODE_SAYS_MORE_FOR: Duration = Duration::from_secs(15);

impl LaneTask {
    /// Sets the next sequence to one past everything recorded and everything landed, and opens the lane. While the
    /// chain's sequence is below the journal's closed slots, the lane stays closed: the node lags, or serves another
    /// chain.
    pub(super) async fn reconcile(&mut self) {
        if !self.lane.ordered {
            return self.reconciled.store(true, Ordering::Release);
        }
        let (network, signer) = (self.lane.network.clone(), self.lane.signer.clone());
        let mut doubt = Doubt::default();
        loop {
            match (
                self.lanes.runtime.journal.lane_next(&network, &signer).await,
                self.lanes.runtime.journal.closed_below(&network, &signer).await,
                self.lanes
                    .runtime
                    .lane_of_any(&self.run.network, &self.lane)
                    .await,
            ) {
                (Ok(journaled), Ok(closed), Ok(state)) => {
                    let closed_below = closed.unwrap_or(0);
                    // Slots between the closed ones and the first open one may be unused: they get filled.
                    if state.next_sequence >= closed_below {
                        self.run.record_head(state.head_height);
                        let agrees = match journaled {
                            // The journal has nothing of this signer to compare with.
                            None => self.begin_anew(&state).await,
                            Some(journaled) => self.continue_from(journaled, &state, &mut doubt).await,
                        };
                        if agrees {
                            return self.reconciled.store(true, Ordering::Release);
                        }
                    } else {
                        // The check of the network reports this to the operator, with what to do.
                        tracing::debug!(network = %self.lane.network, signer = %self.lane.signer,
                            "the lane stays closed: the chain's next sequence is {}, and slots below {closed_below} are \
                             closed",
                            state.next_sequence);
                    }
                }
                (Err(error), _, _) | (_, Err(error), _) => {
                    tracing::error!(%error, "the lane's sequence can't be read from the journal")
                }
                (_, _, Err(_)) => {}
            }
            tokio::time::sleep(RETRY_EVERY * 4).await;
        }
    }

    /// Starts a lane of which the journal has no transaction, at the sequence that most nodes have reached. A
    /// sequence that only one of several nodes has reached may be too high, and would leave a gap that must be
    /// filled. `false`: no node answers.
    pub(super) async fn begin_anew(&mut self, state: &LaneState) -> bool {
        let first = if self.run.network.settings.nodes < 2 || state.next_sequence == 0 {
            Some(state.next_sequence)
        } else {
            self.lanes.runtime.shown_by_most(&self.run, &self.lane).await
        };
        self.next_sequence = first.unwrap_or(self.next_sequence);
        first.is_some()
    }

    /// Continues after the journal's last transaction. If most nodes show that the chain has more transactions, the
    /// journal may be an old copy, and releases are withheld; one node alone may be wrong. The journal can only have
    /// been replaced before the start: while the process runs, no other one writes it. `false`: not decided yet.
    pub(super) async fn continue_from(
        &mut self,
        journaled: u64,
        state: &LaneState,
        doubt: &mut Doubt,
    ) -> bool {
        self.next_sequence = journaled;
        if state.next_sequence <= journaled {
            return true;
        }
        let since = *doubt.since.get_or_insert_with(Instant::now);
        let lasted = Instant::now().saturating_duration_since(since);
        if self.run.network.settings.nodes < 2 && lasted < ONE_NODE_SAYS_MORE_FOR {
            return false;
        }
        match self
            .lanes
            .runtime
            .most_show_more_than(&self.run, &self.lane, journaled)
            .await
        {
            Some(false) => true,
            Some(true) => {
                let is_withheld = self.withhold(state).await;
                if is_withheld {
                    self.compare(state);
                }
                is_withheld
            }
            None => {
                if !std::mem::replace(&mut doubt.reported, true) {
                    tracing::error!(network = %self.lane.network, signer = %self.lane.signer,
                        on_chain = state.next_sequence, in_journal = journaled,
                        "nodes_disagree: one RPC node shows more transactions of this signer than the journal has, and most nodes \
                         do not. The signer sends nothing new and no payment of its network is released until they agree: remove \
                         the node that is wrong from rpc and restart");
                }
                false
            }
        }
    }

    /// Withholds releases, because the journal may be an old copy. `false`: that could not be recorded. The lane then
    /// stays closed, and nothing is released on its network.
    pub(super) async fn withhold(&self, state: &LaneState) -> bool {
        let why = format!(
            "signer {} has {} transactions on {}, and the journal knows {}",
            self.lane.signer, state.next_sequence, self.lane.network, self.next_sequence
        );
        let withheld = self.lanes.outcomes.withhold_releases(&why).await;
        if let Err(error) = &withheld {
            tracing::error!(%error, "releases of an old journal could not be withheld; trying again");
            tokio::time::sleep(RETRY_EVERY * 4).await;
        }
        withheld.is_ok()
    }

    /// Reads the chain's sequence again.
    pub(super) async fn catch_up(&mut self) {
        if !self.lane.ordered {
            return;
        }
        if let Ok(state) = self
            .lanes
            .runtime
            .lane_of_any(&self.run.network, &self.lane)
            .await
        {
            self.run.record_head(state.head_height);
            self.compare(&state);
        }
    }

    /// Compares the chain's sequence with the journal's. Every transaction is in the journal before it is sent. So if
    /// the chain is ahead, another process uses the signer's key, or the journal is an old copy. The lane continues
    /// from the chain's sequence once that is final, because a node may be wrong.
    pub(super) fn compare(&mut self, state: &LaneState) {
        if state.next_sequence <= self.next_sequence {
            self.jump = None;
            return;
        }
        let first = self.jump.is_none();
        let jump = self.jump.get_or_insert(Jump {
            next: state.next_sequence,
            height: state.head_height,
        });
        // A node that shows a lower sequence does not confirm the jump.
        if state.next_sequence < jump.next {
            *jump = Jump {
                next: state.next_sequence,
                height: state.head_height,
            };
        }
        // A node may have shown a head that the chain does not have: seen at a lower height, the jump is there.
        jump.height = jump.height.min(state.head_height);
        let jump = *jump;
        if first {
            let (network, signer) = (self.lane.network.as_str(), self.lane.signer.as_str());
            tracing::error!(
                network,
                signer,
                on_chain = state.next_sequence,
                in_journal = self.next_sequence,
                "unexplained_sequence: the chain has transactions of this signer that the journal does not know. Either the key \
                 is used elsewhere, which must stop, or this journal is an old copy. Nothing new starts with the \
                 signer until those transactions are final"
            );
            self.lanes.runtime.metrics.add(
                "switchyard_unexplained_sequence_total",
                &[("network", network)],
                1,
            );
        }
        let head = state.head_height.min(self.run.head());
        let depth = head.saturating_sub(jump.height).saturating_add(1);
        if depth >= self.run.network.settings.finality {
            self.next_sequence = jump.next;
            self.jump = None;
            self.compare(state);
        }
    }
}

/// A jump of a lane's sequence on chain that the journal does not explain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jump {
    next: u64,
    /// Head height at the first read that showed it.
    height: u64,
}

/// State while the chain shows more transactions of a signer than the journal has.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    since: Option<Instant>,
    /// Whether the disagreement of the nodes is logged.
    reported: bool,
}

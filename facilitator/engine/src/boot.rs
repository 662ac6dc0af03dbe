//! Recovery at the start. The recorded attempts are observed first; this includes attempts that were committed and not
//! sent before a crash. A lane builds nothing new until it has compared its sequence with the chain's. `lane::recover`
//! does the same for a lane that panicked.

use crate::decide::budget::{Spender, day_began_ms};
use crate::engine::Engine;
use crate::state::lane::sending_lane;
use crate::state::network::NetworkRun;
use crate::state::settlement::Settlement;
use crate::state::slot::OpenSlot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use journal::{JournalError, open_slots};

/// How long the start waits for a network's first check and poll. A network that is down is resumed in the
/// background.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the recorded state can't be resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A signer that open payments need is not configured. The text says what to write.
    #[error("{0}")]
    Signer(String),
}

impl Engine {
    /// Restores every unfinished settlement and open slot, and starts all networks. Must be called once. When it
    /// returns, open settlements are being observed, except on networks that do not answer: they are resumed in the
    /// background.
    ///
    /// # Errors
    ///
    /// The journal can't be read, or a signer that open payments need is not configured.
    pub async fn resume(self: &Arc<Self>) -> Result<(), ResumeError> {
        // Where several nodes share the journal, each lane's settlements come with the lane: see `owner`.
        let settlements = if self.runtime.ownership.is_shared() {
            BTreeMap::new()
        } else {
            self.bring_everything_back().await?
        };
        let runs: Vec<Arc<NetworkRun>> = self.runtime.networks.values().cloned().collect();
        for run in &runs {
            // Where nodes share the limits, what this process was granted before is lost.
            if !self.runtime.ownership.is_shared() {
                self.read_spending(run).await?;
            }
            self.checks.read_holds(run).await?;
        }
        join_all(runs.iter().map(|run| async {
            let first = async {
                self.checks.check_network(run, false).await;
                tokio::join!(self.checks.check_schemes(run), self.observer.observe_network(run));
            };
            if tokio::time::timeout(FIRST_CHECK_TIMEOUT, first).await.is_err() {
                tracing::warn!(
                    network = run.network.id(),
                    "the network does not answer yet; its settlements are resumed when it answers"
                );
            }
        }))
        .await;
        for run in &runs {
            if let Some(sentence) = self.checks.unserved_signer(run) {
                return Err(ResumeError::Signer(sentence));
            }
        }
        for run in &runs {
            // A signer may have open transactions and no lane yet: its network does not answer, or it is no longer configured.
            for slot in run.slots() {
                if run.lane(&slot.lane.signer).is_none() {
                    let lane = sending_lane(&slot.lane, slot.sequence);
                    self.lanes.start_lane(run, lane);
                }
            }
            self.start_network(run);
        }
        for settlement in settlements.values() {
            self.endings.resume(settlement);
        }
        self.jobs.start_jobs();
        self.housekeeper.start();
        self.owner.start();
        if !settlements.is_empty() {
            tracing::info!(
                undecided = self.runtime.claims.undecided(),
                "{} settlements are not finished and were resumed from the journal",
                settlements.len()
            );
        }
        Ok(())
    }

    /// Charges what was spent today.
    async fn read_spending(&self, run: &NetworkRun) -> Result<(), JournalError> {
        let now_ms = self.runtime.clock.now_ms();
        let since_ms = day_began_ms(now_ms);
        for row in self
            .runtime
            .journal
            .spent_since(run.network.id(), since_ms)
            .await?
        {
            let spender = Spender {
                signer: row.signer,
                tenants: row.tenants,
                steps: row.steps,
            };
            run.budget.charge(now_ms, row.amount, &spender);
        }
        Ok(())
    }

    async fn bring_everything_back(&self) -> Result<BTreeMap<u64, Arc<Settlement>>, JournalError> {
        let settlements = self.runtime.bring_all_back().await?;
        for (slot, attempts) in open_slots(&*self.runtime.journal).await? {
            let Some(run) = self.runtime.run_of(&slot.lane.network) else {
                tracing::error!(network = %slot.lane.network, sequence = slot.sequence,
                    "the journal holds an open transaction on a network that is not configured: configure it again");
                continue;
            };
            run.add_slot(OpenSlot::resumed(slot, attempts, &settlements));
        }
        Ok(settlements)
    }

    /// Starts the tasks that keep running for a network: the checks of its nodes, the observer, and the checks
    /// of the network and of its schemes. Each restarts after a panic.
    fn start_network(&self, run: &Arc<NetworkRun>) {
        let id = run.network.id();
        let (checks, this) = (Arc::clone(&self.checks), Arc::clone(run));
        self.runtime.keep(id, "the check of the nodes", move || {
            Arc::clone(&checks).keep_checking_nodes(Arc::clone(&this))
        });
        let (observer, this) = (Arc::clone(&self.observer), Arc::clone(run));
        self.runtime.keep(id, "the observer", move || {
            Arc::clone(&observer).run_observer(Arc::clone(&this))
        });
        let (checks, this) = (Arc::clone(&self.checks), Arc::clone(run));
        self.runtime.keep(id, "the check of the network", move || {
            Arc::clone(&checks).keep_checking(Arc::clone(&this))
        });
        let (checks, this) = (Arc::clone(&self.checks), Arc::clone(run));
        self.runtime.keep(id, "the check of the schemes", move || {
            Arc::clone(&checks).keep_checking_schemes(Arc::clone(&this))
        });
    }
}

//! Budgets that several nodes share: each node takes a part of the day's limit from the journal, and a new one when that is
//! used up. The parts together never exceed the limit; what a node has not used when it dies is lost for the day.

use crate::decide::budget::{Account, OverBudget, Spender, day_began_ms};
use crate::runtime::Runtime;
use crate::state::network::NetworkRun;
use journal::CommitError;
use sdk_plugin::Amount;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::wire::reason;

/// Tries to take a cost while other lanes use up what is granted.
const TRIES: usize = 3;
/// A part is the limit divided by this.
const PARTS: u64 = 16;

impl Runtime {
    /// Takes what this node needs for a transaction of this cost, as far as there is more.
    ///
    /// # Errors
    /// The journal can't be written.
    async fn take_grants(
        &self,
        run: &NetworkRun,
        now_ms: u64,
        cost: Amount,
        spender: &Spender,
    ) -> Result<(), CommitError> {
        let Some(shared) = self.journal.shared() else {
            return Ok(());
        };
        for lacking in run.budget.lacking(now_ms, cost, spender) {
            let key = grant_key(now_ms, run.network.id(), &lacking.account);
            let part = Amount(lacking.limit.0 / Amount::from(PARTS).0).max(lacking.missing);
            let mut granted = Amount::ZERO;
            for amount in [part, lacking.missing] {
                if shared.take_grant(&key, amount, lacking.limit).await? {
                    granted = amount;
                    break;
                }
            }
            run.budget.record_grant(now_ms, &lacking.account, granted);
        }
        Ok(())
    }
}

/// Why a cost can't be taken from a budget.
#[derive(Debug)]
pub(crate) enum NotTaken {
    Over(OverBudget),
    /// Nothing is known of the limits now.
    Journal(CommitError),
    /// Other payments took what was granted for this one.
    Busy,
}

impl Runtime {
    /// Takes a cost from the budgets, and what this node needs of shared ones before.
    pub(crate) async fn take_budget(
        &self,
        run: &NetworkRun,
        now_ms: u64,
        cost: Amount,
        spender: &Spender,
    ) -> Result<(), NotTaken> {
        let mut over = None;
        for _ in 0..TRIES {
            self.take_grants(run, now_ms, cost, spender)
                .await
                .map_err(NotTaken::Journal)?;
            match run.budget.take(now_ms, cost, spender) {
                Ok(()) => return Ok(()),
                Err(refused) if !self.ownership.is_shared() => return Err(NotTaken::Over(refused)),
                // The first one tells whether it is news.
                Err(refused) => over = over.or(Some(refused)),
            }
        }
        match over {
            Some(over) if run.budget.is_exhausted(now_ms, &over.account) => Err(NotTaken::Over(over)),
            // Another lane used the part, or the day has just changed.
            Some(_) | None => Err(NotTaken::Busy),
        }
    }
}

impl Runtime {
    /// Counts the refusal, logs it once a day, and returns the reply to the callers.
    pub(crate) fn over_budget(&self, run: &NetworkRun, over: &OverBudget) -> Refusal {
        let network = run.network.id();
        let labels = [("network", network), ("budget", over.account.kind())];
        self.metrics.add("switchyard_budget_refusals_total", &labels, 1);
        if over.first {
            tracing::error!(network, account = ?over.account, limit = %over.limit,
                "a budget for today (UTC) is used up and settlements are refused: raise {}, or find out who spends it",
                over.account.key());
        }
        Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, "").with_message(over.account.used_up())
    }
}

fn grant_key(now_ms: u64, network: &str, account: &Account) -> String {
    let day = day_began_ms(now_ms);
    match account {
        Account::Network => format!("{day:020}|{network}|network"),
        Account::Signer(signer) => format!("{day:020}|{network}|signer|{signer}"),
        Account::Tenant(tenant) => format!("{day:020}|{network}|tenant|{tenant}"),
    }
}

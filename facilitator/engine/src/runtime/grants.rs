//! Budgets that several nodes share: each node takes a part of the day's limit from the journal, and a new one when that is
//! used up. The parts together never exceed the limit; what a node has not used when it dies is lost for the day.

use crate::decide::budget::{Account, Spender, day_began_ms};
use crate::runtime::Runtime;
use crate::state::network::NetworkRun;
use journal::CommitError;
use sdk_plugin::Amount;

/// A part is the limit divided by this.
const PARTS: u64 = 16;

impl Runtime {
    /// Takes what this node needs for a transaction of this cost, as far as there is more.
    ///
    /// # Errors
    /// The journal can't be written.
    pub(crate) async fn take_grants(
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

fn grant_key(now_ms: u64, network: &str, account: &Account) -> String {
    let day = day_began_ms(now_ms);
    match account {
        Account::Network => format!("{day:020}|{network}|network"),
        Account::Signer(signer) => format!("{day:020}|{network}|signer|{signer}"),
        Account::Tenant(tenant) => format!("{day:020}|{network}|tenant|{tenant}"),
    }
}

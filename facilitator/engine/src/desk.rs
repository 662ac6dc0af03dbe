//! What operators have the engine do beyond a reload, and what they see of it beside its figures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::allowed_releases::{self as allowed, AllowedRelease};
use base::pause::Paused;
use journal::SettlementRow;
use journal::settings::RELEASES_ALLOWED;

use crate::engine::Engine;

impl Engine {
    /// Releases that are withheld, as of the last change.
    #[must_use]
    pub fn withheld(&self) -> u64 {
        self.outcomes.withheld_now.load(Ordering::Relaxed)
    }

    /// What is paused and drained.
    #[must_use]
    pub fn paused(&self) -> Paused {
        self.runtime.paused()
    }

    /// Applies what an operator has written, without waiting for the next read.
    pub fn set_paused(&self, paused: Paused) {
        self.runtime.set_paused(paused);
    }

    /// Has the chain read at once for a settlement. `false`: this process does not watch it, because it is finished or another
    /// node continues it.
    #[must_use]
    pub fn sync(&self, settlement: &SettlementRow) -> bool {
        let holders = self.runtime.claims.holders();
        let Some(holder) = holders.into_iter().find(|holder| holder.id == settlement.id) else {
            return false;
        };
        let run = self.runtime.run_of(&settlement.network);
        run.map(|run| run.poll_now(&holder)).is_some()
    }

    /// Lets the next equal request of a settlement get `success` although its release is withheld. The error is a text for the
    /// operator.
    pub async fn allow_release(self: &Arc<Self>, settlement: &SettlementRow) -> Result<(), String> {
        let release = AllowedRelease {
            settlement: settlement.id,
            claim: settlement.claim.clone(),
        };
        let Some(shared) = self.runtime.journal.shared() else {
            let allowed = self.outcomes.allow_releases(&[release]).await;
            return allowed.map_err(|error| error.to_string());
        };
        // Other nodes have it in memory too: all of them follow the list in the database.
        let settings = shared.settings().await.map_err(|error| error.to_string())?;
        let seen = settings.get(RELEASES_ALLOWED);
        let mut list = seen.and_then(|text| allowed::from_text(text)).unwrap_or_default();
        list.push(release);
        let text = allowed::to_text(&list).map_err(|error| error.to_string())?;
        let put = shared.put_setting(RELEASES_ALLOWED, seen.map(String::as_str), &text);
        if !put.await.map_err(|error| error.to_string())? {
            return Err("another operator has changed the list at this moment; do it again".to_owned());
        }
        self.outcomes.take_allowed_of_all(shared).await
    }
}

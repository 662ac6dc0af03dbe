//! Journals that are old copies: a restored backup, a write-ahead log that was cut or deleted.
//!
//! Releases are not on the chain. A payment without a release in an old copy may have been released after the copy was made,
//! so nobody is told `success` for it before an operator says so. Noticed are a journal that is behind its own mark, and a
//! signer's sequence that the journal can't explain; a copy that lacks releases only is not noticed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Engine, lock};
use crate::allowed;
use crate::journal::{Answer, Event, JournalError, Query, SettlementRow};

/// Between two reads of the file of allowed releases.
const READ_EVERY: Duration = Duration::from_secs(1);

impl Engine {
    /// Withholds the release of everything that has none. Called again, it withholds what has come since.
    ///
    /// # Errors
    /// The journal did not take it.
    pub async fn withhold_releases(self: &Arc<Self>, why: &str) -> Result<(), JournalError> {
        let event = Event::ReleasesWithheld {
            why: why.to_owned(),
            at_ms: self.clock.now_ms(),
        };
        self.journal
            .commit(vec![event])
            .await
            .map_err(|error| JournalError(error.to_string()))?;
        self.refresh_all().await;
        let withheld = self.withheld().await?;
        self.metrics
            .set("switchyard_releases_withheld", &[], measure(withheld.len()));
        tracing::error!(
            withheld = withheld.len(),
            why,
            "old_journal: this journal is older than what has happened. Payments without a release in it answer \
             duplicate_settlement with their hash, because they may have been released before. Compare them with the sellers' books \
             and let those be released that were not: switchyard releases --help"
        );
        Ok(())
    }

    async fn refresh_all(&self) {
        let holders: Vec<_> = lock(&self.claims)
            .values()
            .filter_map(|claim| claim.holder.clone())
            .collect();
        for settlement in holders {
            let _deciding = settlement.deciding.lock().await;
            self.refresh_locked(&settlement).await;
        }
    }

    async fn withheld(&self) -> Result<Vec<SettlementRow>, JournalError> {
        match self.journal.query(Query::Withheld).await? {
            Answer::Settlements(rows) => Ok(rows.into_iter().map(|(row, _)| row).collect()),
            other => Err(crate::journal::query::unexpected(&other)),
        }
    }

    /// Carries out what `switchyard releases allow` has written, as long as the process runs.
    pub fn watch_allowed_releases(self: &Arc<Self>, directory: PathBuf) {
        let engine = Arc::clone(self);
        self.spawn(async move {
            loop {
                let folder = directory.clone();
                let taken = tokio::task::spawn_blocking(move || allowed::take(&folder)).await;
                match taken {
                    Ok(Ok(asked)) if asked.is_empty() => {}
                    Ok(Ok(asked)) => engine.allow(&asked).await,
                    Ok(Err(error)) => tracing::error!(%error, "the file of allowed releases can't be read"),
                    Err(error) => tracing::error!(%error, "the file of allowed releases was not read"),
                }
                tokio::time::sleep(READ_EVERY).await;
            }
        });
    }

    async fn allow(self: &Arc<Self>, asked: &[String]) {
        let rows = match self.withheld().await {
            Ok(rows) => rows,
            Err(error) => return tracing::error!(%error, "withheld releases can't be read"),
        };
        let is_asked = |row: &&SettlementRow| {
            let named = |hash: &String| row.tx_id.as_deref().is_some_and(|tx_id| tx_id == hash);
            asked.iter().any(|word| word == allowed::ALL || named(word))
        };
        let events: Vec<Event> = rows
            .iter()
            .filter(is_asked)
            .map(|row| Event::ReleaseAllowed { settlement: row.id })
            .collect();
        let count = events.len();
        if let Err(error) = self.journal.commit(events).await {
            return tracing::error!(%error, "releases were not allowed: repeat the command");
        }
        self.refresh_all().await;
        self.metrics.set(
            "switchyard_releases_withheld",
            &[],
            measure(rows.len().saturating_sub(count)),
        );
        tracing::warn!(
            count,
            "releases_allowed: the next equal request of each of these payments gets its success"
        );
    }
}

fn measure(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

//! Releases that no caller gets, because the journal may be older than the answers that callers got.
//!
//! Releases are not on chain. An old copy of the journal lacks the newest ones, so the `success` of a payment that is
//! unreleased in it may have been sent already. Its callers get `duplicate_settlement` with the hash, until the
//! operator allows its release.

use crate::outcome::Outcomes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::allowed_releases::{self as allowed, AllowedRelease};
use journal::{CommitError, Event, JournalError, SettlementRow, WithheldRow};

/// Pause between two reads of the file.
const READ_PERIOD: Duration = Duration::from_millis(400);

/// How long the payments of one network wait for the signers of the other networks after a start.
const OTHERS_WITHIN: Duration = Duration::from_secs(60);

impl Outcomes {
    /// Whether the journal was compared with the chains as far as this settlement needs it. That includes all signers
    /// of its own network. A settlement that was in the journal at the start also needs those of the other networks,
    /// because one journal is one copy. A network that can't be reached delays the others for a minute only.
    pub(crate) fn may_release(&self, network: &str, settlement: u64) -> bool {
        let ownership = &self.runtime.ownership;
        let is_compared = |id: &str| {
            let Some(run) = self.runtime.run_of(id) else {
                return true;
            };
            let lanes = run.network.all_lanes();
            // Before the first successful check no signer is known.
            if !ownership.is_shared() || lanes.is_empty() {
                return run.is_compared();
            }
            // Where nodes share the journal, the owner of each lane compares, and one whose lane has not started has not compared.
            lanes.iter().all(|lane| {
                if ownership.owns(id, &lane.signer) {
                    run.lane(&lane.signer).is_some_and(|lane| lane.is_reconciled())
                } else {
                    ownership.is_compared(id, &lane.signer)
                }
            })
        };
        let was_there = settlement <= self.runtime.first_id && self.runtime.started.elapsed() < OTHERS_WITHIN;
        is_compared(network) && (!was_there || self.runtime.networks.keys().all(|id| is_compared(id)))
    }

    /// Must be called when something shows that the journal is older than the chain. Settlements that were in it when
    /// this process started, and are unreleased, are not released until the operator allows it. Logs this, and returns
    /// how many releases are withheld now. The caller must hold no settlement's `deciding` lock.
    pub async fn withhold_releases(self: &Arc<Self>, why: &str) -> Result<usize, CommitError> {
        let event = Event::ReleasesWithheld {
            up_to_id: self.runtime.first_id,
            why: why.to_owned(),
            at_ms: self.runtime.clock.now_ms(),
        };
        self.runtime.journal.commit(vec![event]).await?;
        self.refresh_all().await;
        let withheld = self.withheld().await?.len();
        tracing::error!(
            withheld,
            "releases_withheld: this journal seems older than the answers that callers got: {why}. Payments that were \
             unreleased in it are answered `duplicate_settlement` with the hash, and not `success`, until you allow it: \
             `switchyard releases` lists them"
        );
        Ok(withheld)
    }

    /// Reports in the log and the metrics how many releases are withheld.
    pub async fn report_withheld(&self) -> Result<(), JournalError> {
        let withheld = self.withheld().await?;
        if let Some((_, first)) = withheld.first() {
            tracing::warn!(
                withheld = withheld.len(),
                "releases are withheld because the journal may be an old copy ({}): `switchyard releases` lists them, and \
                 `switchyard releases allow` lets them be released",
                first.why
            );
        }
        Ok(())
    }

    /// Keeps reading the file in the journal's directory that `switchyard releases allow` writes.
    pub fn watch_allowed(self: &Arc<Self>, directory: PathBuf) {
        let outcomes = Arc::clone(self);
        self.runtime.keep("", "the reading of allowed releases", move || {
            let (outcomes, directory) = (Arc::clone(&outcomes), directory.clone());
            async move {
                let mut trouble = None;
                loop {
                    tokio::time::sleep(READ_PERIOD).await;
                    let now = outcomes.take_allowed(&directory).await.err();
                    if let Some(why) = now.as_ref().filter(|_| now != trouble) {
                        tracing::error!("releases that the operator allowed stay withheld: {why}");
                    }
                    trouble = now;
                }
            }
        });
    }

    /// Allows the releases that the file names, and empties it. The error is a text for the operator.
    pub async fn take_allowed(self: &Arc<Self>, directory: &Path) -> Result<(), String> {
        let folder = directory.to_owned();
        let read = move || {
            // Read without the lock first: the file is nearly always empty.
            if allowed::read(&folder)?.is_empty() {
                return Ok(None);
            }
            let lock = allowed::lock(&folder)?;
            Ok(Some((allowed::read(&folder)?, lock)))
        };
        let read = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| error.to_string())?;
        let Some((allowed, lock)) = read.map_err(|error: std::io::Error| error.to_string())? else {
            return Ok(());
        };
        self.allow_releases(&allowed)
            .await
            .map_err(|error| error.to_string())?;
        let folder = directory.to_owned();
        let emptied = move || {
            let emptied = allowed::write(&folder, &[]);
            drop(lock);
            emptied
        };
        tokio::task::spawn_blocking(emptied)
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }

    /// Allows the release of these: the next equal request of each gets `success`.
    pub(crate) async fn allow_releases(
        self: &Arc<Self>,
        allowed: &[AllowedRelease],
    ) -> Result<(), CommitError> {
        let withheld = self.withheld().await?;
        let is_allowed = |row: &SettlementRow| {
            allowed
                .iter()
                .any(|allowed| allowed.settlement == row.id && allowed.claim == row.claim)
        };
        let rows: Vec<&SettlementRow> = withheld.iter().map(|(row, _)| row).collect();
        let settlements: Vec<u64> = rows
            .iter()
            .filter(|row| is_allowed(row))
            .map(|row| row.id)
            .collect();
        if settlements.is_empty() {
            return Ok(());
        }
        let count = settlements.len();
        self.runtime
            .journal
            .commit(vec![Event::ReleasesAllowed { settlements }])
            .await?;
        tracing::warn!(
            allowed = count,
            withheld = withheld.len().saturating_sub(count),
            "releases_allowed: the operator allowed releases; the next equal request of each payment gets `success`"
        );
        self.refresh_all().await;
        self.withheld().await?;
        Ok(())
    }

    /// What is withheld now. The metrics show it, too.
    async fn withheld(&self) -> Result<Vec<(SettlementRow, WithheldRow)>, JournalError> {
        let withheld = self.runtime.journal.withheld().await?;
        let count = u32::try_from(withheld.len()).unwrap_or(u32::MAX);
        self.withheld_now.store(u64::from(count), Ordering::Relaxed);
        self.runtime
            .metrics
            .set("switchyard_releases_withheld", &[], f64::from(count));
        Ok(withheld)
    }

    /// Updates every settlement in memory from the journal.
    pub(super) async fn refresh_all(self: &Arc<Self>) {
        for holder in self.runtime.claims.holders() {
            // A settlement whose first commit is in progress has no row yet.
            if holder.id > self.runtime.first_id {
                continue;
            }
            {
                let _deciding = holder.deciding.lock().await;
                self.refresh_locked(&holder).await;
            }
            if holder.has_waiters() {
                self.serve_waiters(&holder, None).await;
            }
        }
    }
}

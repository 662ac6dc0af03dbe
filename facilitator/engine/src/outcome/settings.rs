//! What operators set in the database that nodes share: what is paused, and which withheld releases they allow. One query
//! reads both.

use crate::outcome::Outcomes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::allowed_releases as allowed;
use base::pause::{self, Paused};
use journal::lease::Shared;
use journal::settings::{PAUSED, RELEASES_ALLOWED, RELEASES_APPLIED};
use tokio::time::{Instant, timeout};

/// Pause between two reads: two of them fit into the second that is promised.
const READ_PERIOD: Duration = Duration::from_millis(400);
/// A read that takes longer has failed.
const READ_LIMIT: Duration = Duration::from_secs(2);
/// How long a node continues with what it has read last while it can't read.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

type Settings = BTreeMap<String, String>;

impl Outcomes {
    /// Reads what is paused. Must be called before the first settlement is read.
    pub(crate) async fn read_pauses(&self, shared: &dyn Shared) {
        match read(shared).await {
            Ok(settings) => {
                self.runtime.set_paused(paused(&settings));
                *self.releases_applied.lock() = settings.get(RELEASES_APPLIED).cloned();
            }
            Err(why) => self.runtime.set_paused(unknown(&why)),
        }
    }

    /// Keeps reading what operators set.
    pub(crate) fn watch_settings(self: &Arc<Self>) {
        let outcomes = Arc::clone(self);
        self.runtime
            .keep("", "the reading of what operators set", move || {
                Arc::clone(&outcomes).follow_settings()
            });
    }

    async fn follow_settings(self: Arc<Self>) {
        let mut last_read = Instant::now();
        let mut trouble = None;
        loop {
            tokio::time::sleep(READ_PERIOD).await;
            let Some(shared) = self.runtime.journal.shared() else {
                return;
            };
            let now = match read(shared).await {
                Ok(settings) => {
                    last_read = Instant::now();
                    self.runtime.set_paused(paused(&settings));
                    self.apply_allowed(shared, &settings).await.err()
                }
                Err(why) => {
                    // A pause that was set meanwhile would not be seen.
                    if last_read.elapsed() >= TRUSTED_FOR {
                        self.runtime.set_paused(unknown(&why));
                    }
                    Some(why)
                }
            };
            if let Some(why) = now.as_ref().filter(|_| now != trouble) {
                tracing::error!("what operators set in the database can't be applied: {why}");
            }
            trouble = now;
        }
    }

    /// Allows the releases that operators have listed in the database, and empties the list. The error is a text for the
    /// operator.
    pub(crate) async fn take_allowed_of_all(self: &Arc<Self>, shared: &dyn Shared) -> Result<(), String> {
        let settings = read(shared).await?;
        self.apply_allowed(shared, &settings).await
    }

    async fn apply_allowed(self: &Arc<Self>, shared: &dyn Shared, settings: &Settings) -> Result<(), String> {
        let applied = settings.get(RELEASES_APPLIED);
        let is_new = {
            let mut known = self.releases_applied.lock();
            let is_new = known.as_ref() != applied;
            *known = applied.cloned();
            is_new
        };
        if is_new {
            // Another node has recorded it, and this one has settlements in memory.
            self.refresh_all().await;
        }
        let Some(text) = settings.get(RELEASES_ALLOWED) else {
            return Ok(());
        };
        let list = allowed::from_text(text).ok_or_else(|| {
            "the list of allowed releases is damaged and allows nothing: run `switchyard releases allow` again".to_owned()
        })?;
        if list.is_empty() {
            return Ok(());
        }
        self.allow_releases(&list)
            .await
            .map_err(|error| error.to_string())?;
        let count: u64 = applied.and_then(|text| text.parse().ok()).unwrap_or(0);
        let next = count.wrapping_add(1).to_string();
        let counted = shared.put_setting(RELEASES_APPLIED, applied.map(String::as_str), &next);
        // After the list is empty no node reads it again, so it is counted first. If another node has counted meanwhile, or
        // the list has changed, the next read sees it.
        if counted.await.map_err(|error| error.to_string())? {
            let empty = allowed::to_text(&[]).map_err(|error| error.to_string())?;
            let emptied = shared.put_setting(RELEASES_ALLOWED, Some(text), &empty).await;
            emptied.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

async fn read(shared: &dyn Shared) -> Result<Settings, String> {
    match timeout(READ_LIMIT, shared.settings()).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", READ_LIMIT.as_secs())),
    }
}

fn paused(settings: &Settings) -> Paused {
    pause::from_text(
        settings.get(PAUSED).map(String::as_str),
        "the list of pauses in the database",
    )
}

fn unknown(why: &str) -> Paused {
    Paused::Unreadable(format!("the pauses can't be read from the database ({why})"))
}

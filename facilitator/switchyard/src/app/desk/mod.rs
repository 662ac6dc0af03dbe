//! What the admin listener shows and changes. It reads the engine's memory, the journal, and sums that are kept up to date beside
//! payments; no answer waits for a node or a plugin, but that of a reload.

mod buckets;
mod callers;
mod changes;
mod overview;
mod problems;
mod snapshot;
mod sums;
mod tally;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use admin_api::view::{Act, Acts, Done, Explained, Overview, Payments, Series};
use admin_api::{Actor, Change, Desk, DeskError, PaymentQuery};
use async_trait::async_trait;
use base::clock::{Clock, SystemClock};
use base::settlement::SettlementStatus;
use http_api::{redaction, times};
use journal::{Filter, Happened, JournalError, SettlementRow, lookups};
use parking_lot::RwLock;
use sdk_plugin::Amount;
use serde_json::{Map, Value, json};
use telemetry::disk::Space;

use super::payments::Payment;
use super::{App, aside, plugin_folder, tenants};
use crate::config::Config;
use crate::known::Known;
use snapshot::Snapshot;
use sums::WINDOW_MS;
use tally::Tally;

/// Pause between two updates of the sums.
const PERIOD: Duration = Duration::from_secs(2);
/// Pause between two reads of what signers have spent, at least.
const SPENT_PERIOD: Duration = Duration::from_secs(60);
/// Pause between two reads of the disk's free space.
const SPACE_PERIOD: Duration = Duration::from_secs(5);
/// Acts that are shown.
const MOST_ACTS: usize = 200;

/// The operator's view of a running facilitator.
pub struct OperatorDesk {
    app: Arc<App>,
    config: Config,
    known: Known,
    started_at_ms: u64,
    snapshot: RwLock<Snapshot>,
    /// The most that the transactions of the last day can have cost, by network and signer.
    spent: RwLock<Vec<(String, String, Amount)>>,
    /// Of the data directory, as of the last read.
    space: RwLock<Space>,
    /// Names of tenants that were added here.
    added: RwLock<BTreeSet<String>>,
    /// One change of the operator's lists at a time.
    changing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for OperatorDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorDesk").finish_non_exhaustive()
    }
}

impl OperatorDesk {
    /// # Errors
    /// A sentence: the table of known networks, or the list of added tenants, is damaged.
    pub fn new(app: Arc<App>, config: Config) -> Result<Self, String> {
        let added = tenants::read(&config.data_directory)?;
        Ok(Self {
            added: RwLock::new(added.into_iter().map(|tenant| tenant.name).collect()),
            app,
            config,
            known: Known::load()?,
            started_at_ms: SystemClock.now_ms(),
            snapshot: RwLock::default(),
            spent: RwLock::default(),
            space: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Keeps the sums up to date. Never returns.
    pub async fn keep_sums(&self) {
        tokio::join!(self.keep_tally(), self.keep_spent(), self.keep_space());
    }

    async fn keep_tally(&self) {
        let mut tally = Tally::default();
        let mut trouble = None;
        loop {
            let now = self.update(&mut tally).await.err();
            if let Some(error) = now.as_ref().filter(|_| now != trouble) {
                tracing::warn!(%error, "admin_sums_late: the sums of the dashboard are not up to date");
            }
            trouble = now;
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn update(&self, tally: &mut Tally) -> Result<(), JournalError> {
        let journal = &*self.app.journal;
        tally.update(journal, SystemClock.now_ms()).await?;
        let newest = tally.newest(journal).await?;
        *self.snapshot.write() = tally.with(&newest);
        Ok(())
    }

    async fn keep_space(&self) {
        loop {
            let directory = self.config.data_directory.clone();
            let read = tokio::task::spawn_blocking(move || Space::of(&directory)).await;
            *self.space.write() = read.unwrap_or_default();
            tokio::time::sleep(SPACE_PERIOD).await;
        }
    }

    async fn keep_spent(&self) {
        loop {
            let began = tokio::time::Instant::now();
            let since_ms = SystemClock.now_ms().saturating_sub(WINDOW_MS);
            let mut all = Vec::new();
            for network in self.config.networks.keys() {
                let Ok(rows) = self.app.journal.spent_since(network, since_ms).await else {
                    continue;
                };
                for row in rows {
                    let known = all
                        .iter_mut()
                        .find(|(on, signer, _): &&mut (String, String, Amount)| {
                            on == network && *signer == row.signer
                        });
                    match known {
                        Some((_, _, amount)) => amount.0 = amount.0.saturating_add(row.amount.0),
                        None => all.push((network.clone(), row.signer, row.amount)),
                    }
                }
            }
            *self.spent.write() = all;
            // A read of a busy day takes long: it is then made less often.
            let pause = SPENT_PERIOD.max(began.elapsed().saturating_mul(50));
            tokio::time::sleep(pause).await;
        }
    }

    async fn found(&self, name: &str) -> Result<Vec<SettlementRow>, DeskError> {
        self.app.journal.named(name.trim()).await.map_err(unread)
    }

    /// The payment of a name that is one payment's.
    async fn only(&self, name: &str) -> Result<SettlementRow, DeskError> {
        let mut found = self.found(name).await?;
        match found.pop() {
            None => Err(DeskError::Unknown(
                "no payment has this id, transaction or claim".to_owned(),
            )),
            Some(row) if found.is_empty() => Ok(row),
            Some(_) => Err(DeskError::Conflict(format!(
                "{} payments have this name: write the id of one",
                found.len().saturating_add(1)
            ))),
        }
    }

    async fn shown(&self, rows: Vec<SettlementRow>) -> Result<Vec<Map<String, Value>>, DeskError> {
        let set_aside = self.set_aside().await;
        let mut shown = Vec::new();
        for row in rows {
            let newest = self.app.journal.claim(&row.claim).await.map_err(unread)?;
            let mut payment = Payment::new(row, newest.as_ref());
            payment.is_set_aside = payment.is_open() && set_aside.contains(&payment.row.id);
            let mut members = payment.json();
            if payment.row.withheld {
                members.insert("withheld".to_owned(), json!(true));
            }
            shown.push(members);
        }
        Ok(shown)
    }

    /// Settlements about which their plugin is not called. Without the list, none is shown as such.
    async fn set_aside(&self) -> BTreeSet<u64> {
        let folder = plugin_folder(&self.config);
        let read = tokio::task::spawn_blocking(move || aside::settlements(&folder)).await;
        read.ok().and_then(Result::ok).unwrap_or_default()
    }
}

#[async_trait]
impl Desk for OperatorDesk {
    async fn overview(&self) -> Overview {
        self.make_overview()
    }

    async fn series(&self) -> Series {
        let networks: Vec<String> = self.config.networks.keys().cloned().collect();
        self.snapshot.read().series(&networks)
    }

    async fn payments(&self, query: &PaymentQuery) -> Result<Payments, DeskError> {
        let status = query.status.as_deref().map(status).transpose()?;
        let is_wanted = |row: &SettlementRow| {
            query
                .network
                .as_ref()
                .is_none_or(|network| *network == row.network)
        };
        let filter = Filter {
            tenant: query.tenant.clone().map(Some),
            payer: query.payer.clone(),
            pay_to: query.payee.clone(),
            status,
            ..Filter::default()
        };
        if let Some(name) = &query.name {
            let found = self.found(name).await?.into_iter().rev();
            let wanted = found.filter(|row| is_wanted(row) && lookups::passes(&filter, row));
            let rows: Vec<SettlementRow> = wanted.take(query.limit).collect();
            let payments = self.shown(rows).await?.into_iter().map(Value::Object);
            return Ok(Payments {
                payments: payments.collect(),
                cursor: None,
            });
        }
        if let Some(cursor) = query.cursor.as_ref().filter(|cursor| !lookups::is_cursor(cursor)) {
            return Err(DeskError::Invalid(format!(
                "cursor {cursor:?} is not one of a page before"
            )));
        }
        let page = self
            .app
            .journal
            .list(&filter, query.cursor.as_deref(), query.limit)
            .await
            .map_err(unread)?;
        let rows: Vec<SettlementRow> = page.rows.into_iter().filter(is_wanted).collect();
        let payments = self.shown(rows).await?.into_iter().map(Value::Object);
        Ok(Payments {
            payments: payments.collect(),
            cursor: page.cursor,
        })
    }

    async fn explain(&self, name: &str) -> Result<Explained, DeskError> {
        let rows = self.found(name).await?;
        if rows.is_empty() {
            return Err(DeskError::Unknown(
                "no payment has this id, transaction or claim".to_owned(),
            ));
        }
        let ids: Vec<u64> = rows.iter().map(|row| row.id).collect();
        let mut payments = Vec::new();
        for (id, mut members) in ids.into_iter().zip(self.shown(rows).await?) {
            let history = self.app.journal.history(id).await.map_err(unread)?;
            let events = history.iter().map(|row| event(row.at_ms, &row.what));
            members.insert("history".to_owned(), events.collect());
            payments.push(Value::Object(members));
        }
        Ok(Explained { payments })
    }

    async fn acts(&self) -> Result<Acts, DeskError> {
        let rows = self.app.journal.acts(MOST_ACTS).await.map_err(unread)?;
        let acts = rows.into_iter().filter_map(|row| match row.what {
            Happened::Acted { by, act, details } => Some(Act {
                at_ms: row.at_ms,
                by,
                act,
                details,
            }),
            _ => None,
        });
        Ok(Acts { acts: acts.collect() })
    }

    async fn change(&self, actor: &Actor, change: Change) -> Result<Done, DeskError> {
        let _changing = self.changing.lock().await;
        self.make(actor, change).await
    }
}

/// An event as a reader sees it.
fn event(at_ms: u64, what: &Happened) -> Value {
    let mut event = json!(what);
    if let Some(members) = event.as_object_mut() {
        members.insert("at".to_owned(), json!(times::iso(at_ms)));
        // Sentences of schemes and nodes may repeat what they were sent.
        for name in ["reason", "proof"] {
            if let Some(Value::String(text)) = members.get_mut(name) {
                *text = redaction::redact(text);
            }
        }
    }
    event
}

fn status(name: &str) -> Result<SettlementStatus, DeskError> {
    let names = SettlementStatus::ALL.map(SettlementStatus::name).join(", ");
    SettlementStatus::from_name(name)
        .ok_or_else(|| DeskError::Invalid(format!("status {name:?} is none; write one of {names}")))
}

fn unread(error: JournalError) -> DeskError {
    tracing::warn!(%error, "admin_read_failed: the journal can't be read");
    DeskError::Unavailable("the journal can't be read now; the log says why".to_owned())
}

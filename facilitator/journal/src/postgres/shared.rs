//! Leases and grants: changes that are no commits of events, each in a transaction of its own.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use sdk_plugin::Amount;
use tokio::runtime::Handle;
use tokio_postgres::types::Type;

use super::super::lease::{self, Lease, Shared};
use super::super::reservations::{Promise, Promised};
use super::super::{CommitError, JournalError, Rows as _, Table, settings, temporary, units};
use super::ids::{self, Block};
use super::rows::{Commit, Tables, after_prefix};
use super::transaction::{Link, Mode, NotCommitted, Statement};
use super::trouble::{Class, Trouble};
use super::writer::{FIRST_PAUSE, LONGEST_PAUSE, TRIES, shortened};
use super::{PostgresJournal, stopped, writes};
use crate::queries::decode;

const ANNOUNCE: &str = "INSERT INTO switchyard.rows (tab, key, value) VALUES ($1, $2, convert_to(((extract(epoch FROM \
                        clock_timestamp()) * 1000)::int8)::text, 'UTF8')) ON CONFLICT (tab, key) DO UPDATE SET value = \
                        excluded.value";
const IS_ANNOUNCED: &str = "SELECT 'yes' FROM switchyard.rows WHERE tab = $1 AND key < $2 AND key >= $3 AND key <> $4 AND \
                            convert_from(value, 'UTF8')::int8 + $5 > extract(epoch FROM clock_timestamp()) * 1000 LIMIT 1";

const NOW_MS: &str = "SELECT ((extract(epoch FROM clock_timestamp()) * 1000)::int8)::text";

/// Why a change has not been made, or may not have been.
enum Failure {
    Trouble(Trouble),
    /// COMMIT was sent, and its answer is lost.
    Unknown(Trouble),
    Rows(JournalError),
}

impl PostgresJournal {
    /// Makes a change in a transaction of its own: see [`change`].
    async fn change<T: Send + 'static>(
        &self,
        with: impl Fn(&mut Tables<'_>, bool) -> Result<T, JournalError> + Send + Sync + 'static,
    ) -> Result<T, CommitError> {
        change(&self.handle, &self.link, with).await
    }

    /// One statement that need not survive a crash of the database.
    async fn change_lax(&self, statement: Statement) -> Result<(), CommitError> {
        let link = self.link.clone();
        let changed = self.on_runtime(async move {
            let transaction = link.begin(Mode::Lax).await?;
            transaction
                .commit(vec![statement])
                .await
                .map_err(NotCommitted::trouble)
        });
        changed.await?.map_err(|trouble| CommitError::from(&trouble))
    }
}

/// Makes a change in a transaction of its own. It is tried again if another node was faster. `change` gets `true` if an
/// earlier try may have been committed.
pub(super) async fn change<T: Send + 'static>(
    runtime: &Handle,
    link: &Link,
    change: impl Fn(&mut Tables<'_>, bool) -> Result<T, JournalError> + Send + Sync + 'static,
) -> Result<T, CommitError> {
    let change = Arc::new(change);
    let mut may_be_made = false;
    let mut pause = FIRST_PAUSE;
    let mut last = CommitError::Io("it was not tried".into());
    for _ in 0..TRIES {
        let trouble = match try_change(runtime, link, Arc::clone(&change), may_be_made).await? {
            Ok(value) => return Ok(value),
            Err(Failure::Rows(error)) => return Err(error.into()),
            Err(Failure::Unknown(trouble)) => {
                may_be_made = true;
                trouble
            }
            Err(Failure::Trouble(trouble)) => {
                if !matches!(trouble.class(), Class::Conflict | Class::Lost) {
                    return Err((&trouble).into());
                }
                trouble
            }
        };
        last = (&trouble).into();
        let pause_now = shortened(pause);
        let slept = runtime.spawn(async move { tokio::time::sleep(pause_now).await });
        slept.await.map_err(|_| stopped())?;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
    Err(last)
}

async fn try_change<T: Send + 'static>(
    runtime: &Handle,
    link: &Link,
    change: Arc<impl Fn(&mut Tables<'_>, bool) -> Result<T, JournalError> + Send + Sync + 'static>,
    may_be_made: bool,
) -> Result<Result<T, Failure>, JournalError> {
    let (handle, link) = (runtime.clone(), link.clone());
    let blocking = runtime.spawn_blocking(move || {
        let mut transaction = handle
            .block_on(link.begin(Mode::Commit))
            .map_err(Failure::Trouble)?;
        let (clock_us, found) = (Cell::new(0), Cell::new(None));
        let commit = Commit {
            writer: None,
            clock_us: &clock_us,
            found: &found,
            writes: Vec::new(),
        };
        let mut tables = Tables::commit(&handle, &mut transaction, commit);
        let result = change(&mut tables, may_be_made);
        let (rows, trouble) = tables.end();
        let failure = match (trouble, &result) {
            (Some(trouble), _) => Some(Failure::Trouble(trouble)),
            (None, Err(error)) => Some(Failure::Rows(error.clone())),
            (None, Ok(_)) => None,
        };
        if let Some(failure) = failure {
            handle.block_on(transaction.roll_back());
            return Err(failure);
        }
        if rows.is_empty() {
            handle.block_on(transaction.roll_back());
        } else {
            let committed = handle.block_on(transaction.commit(writes::statements(rows)));
            committed.map_err(|error| match error {
                NotCommitted::Undone(trouble) => Failure::Trouble(trouble),
                NotCommitted::Unknown(trouble) => Failure::Unknown(trouble),
            })?;
        }
        result.map_err(Failure::Rows)
    });
    blocking.await.map_err(|_| stopped())
}

/// The lease that this node gets by taking a unit, if an earlier try has got it.
fn taken_before(
    tables: &mut Tables<'_>,
    node: &str,
    unit: &str,
    seen: Option<&Lease>,
) -> Result<Option<Lease>, JournalError> {
    let Some(text) = tables.get(Table::Leases, unit)? else {
        return Ok(None);
    };
    let lease: Lease = decode(Table::Leases, unit, &text)?;
    let epoch = seen.map_or(1, |seen| seen.epoch.saturating_add(1));
    Ok((lease.node == node && lease.epoch == epoch).then_some(lease))
}

/// Sets it, or finds that an earlier try has set it.
pub(super) fn put_setting(
    tables: &mut Tables<'_>,
    may_be_made: bool,
    name: &str,
    seen: Option<&str>,
    text: &str,
) -> Result<bool, JournalError> {
    let is_set = settings::put(tables, name, seen, text)?;
    Ok(is_set || may_be_made && tables.get(Table::Settings, name)?.as_deref() == Some(text))
}

#[async_trait]
impl Shared for PostgresJournal {
    fn node(&self) -> &str {
        self.holder.node()
    }

    async fn leases(&self) -> Result<Vec<Lease>, JournalError> {
        super::super::read(self, lease::all).await
    }

    /// The ids that this node uses from now on are greater than all that the unit's earlier owners have used: the attempts of
    /// a step are in the order of their ids.
    async fn take(&self, unit: &str, seen: Option<&Lease>) -> Result<Option<Lease>, CommitError> {
        let (node, unit, seen) = (self.holder.node().to_owned(), unit.to_owned(), seen.cloned());
        let taken = self.change(
            move |tables, may_be_made| -> Result<Option<(Lease, Block)>, JournalError> {
                let mut taken = lease::take(tables, &node, &unit, seen.as_ref())?;
                if taken.is_none() && may_be_made {
                    taken = taken_before(tables, &node, &unit, seen.as_ref())?;
                }
                let Some(lease) = taken else { return Ok(None) };
                // After the lease is locked: its owner commits nothing any more.
                let rows = tables.run(vec![ids::next_block()])?;
                let block = ids::block_of(rows.first().map(Vec::as_slice).unwrap_or_default())?;
                Ok(Some((lease, block)))
            },
        );
        let Some((lease, block)) = taken.await? else {
            return Ok(None);
        };
        self.ids.replace(block);
        self.holder.add(&lease);
        Ok(Some(lease))
    }

    async fn renew(&self) -> Result<Vec<String>, CommitError> {
        let fence = self.holder.fence();
        let lost = self.change(move |tables, _| lease::renew(tables, &fence)).await?;
        for unit in &lost {
            self.holder.remove(unit);
        }
        Ok(lost)
    }

    async fn record_compared(&self, unit: &str) -> Result<(), CommitError> {
        let (fence, name) = (self.holder.fence(), unit.to_owned());
        self.change(move |tables, _| lease::record_compared(tables, &fence, &name))
            .await
    }

    async fn record_serves(&self, networks: &BTreeSet<String>) -> Result<(), CommitError> {
        let (fence, networks) = (self.holder.fence(), networks.clone());
        self.change(move |tables, _| lease::record_serves(tables, &fence, &networks))
            .await
    }

    async fn give_up(&self, unit: &str) -> Result<(), CommitError> {
        let (fence, name) = (self.holder.fence(), unit.to_owned());
        self.holder.remove(unit);
        self.change(move |tables, _| lease::give_up(tables, &fence, &name))
            .await?;
        self.hints.send(&self.handle, &self.link);
        Ok(())
    }

    async fn remove_node(&self, seen: &Lease) -> Result<bool, CommitError> {
        let seen = seen.clone();
        self.change(move |tables, may_be_made| {
            let is_removed = lease::remove_node(tables, &seen)?;
            Ok(is_removed || may_be_made && tables.get(Table::Leases, &seen.unit)?.is_none())
        })
        .await
    }

    async fn handed_over(
        &self,
        units: &[String],
        known: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<u64>, JournalError> {
        let (units, known) = (units.to_vec(), known.clone());
        super::super::read(self, move |rows| units::handed_over(rows, &units, &known, limit)).await
    }

    async fn index(&self, unit: &str, ids: &[u64]) -> Result<(), CommitError> {
        let (fence, unit) = (self.holder.fence(), unit.to_owned());
        for part in ids.chunks(units::PAGE) {
            let (fence, unit, part) = (fence.clone(), unit.clone(), part.to_vec());
            self.change(move |tables, _| units::put_into_order(tables, &fence, &unit, &part))
                .await?;
        }
        self.change(move |tables, _| units::set_indexed(tables, &fence, &unit))
            .await
    }

    /// The rows are found without locks, which announcements would wait for, and checked again before they are removed.
    async fn remove_dead(&self, limit: usize) -> Result<usize, CommitError> {
        let now = self.query(Statement::new(NOW_MS)).await?;
        let now_ms: u64 = now.and_then(|text| text.parse().ok()).unwrap_or(0);
        let found = super::super::read(self, move |rows| temporary::dead(rows, now_ms, limit)).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.change(move |tables, _| temporary::remove_dead(tables, now_ms, &found))
            .await
    }

    /// In one round trip and without a sync. The time is the database's.
    async fn announce(&self, claim: &str) -> Result<(), CommitError> {
        let announced = Statement::new(ANNOUNCE)
            .with(writes::code(Table::Intents), Type::INT2)
            .with(
                temporary::intent_key(claim, self.holder.node()).into_bytes(),
                Type::BYTEA,
            );
        self.change_lax(announced).await
    }

    async fn withdraw(&self, claim: &str) -> Result<(), CommitError> {
        let withdrawn = Statement::new("DELETE FROM switchyard.rows WHERE tab = $1 AND key = $2")
            .with(writes::code(Table::Intents), Type::INT2)
            .with(
                temporary::intent_key(claim, self.holder.node()).into_bytes(),
                Type::BYTEA,
            );
        self.change_lax(withdrawn).await
    }

    async fn is_announced(&self, claim: &str) -> Result<bool, JournalError> {
        let prefix = temporary::intent_key(claim, "");
        let others = Statement::new(IS_ANNOUNCED)
            .with(writes::code(Table::Intents), Type::INT2)
            .with(after_prefix(&prefix), Type::BYTEA)
            .with(prefix.into_bytes(), Type::BYTEA)
            .with(
                temporary::intent_key(claim, self.holder.node()).into_bytes(),
                Type::BYTEA,
            )
            .with(
                i64::try_from(temporary::INTENT_MS).unwrap_or(i64::MAX),
                Type::INT8,
            );
        Ok(self.query(others).await?.is_some())
    }

    async fn take_grant(&self, key: &str, amount: Amount, limit: Amount) -> Result<bool, CommitError> {
        let key = key.to_owned();
        self.change(move |tables, _| temporary::take_grant(tables, &key, amount, limit))
            .await
    }

    async fn reserve(&self, promise: &Promise) -> Result<Promised, CommitError> {
        self.promise(promise).await
    }

    async fn end_reservation(&self, claim: &str, tenant: Option<&str>) -> Result<bool, CommitError> {
        self.end_promise(claim, tenant).await
    }

    async fn settings(&self) -> Result<BTreeMap<String, String>, JournalError> {
        super::super::read(self, settings::all).await
    }

    async fn put_setting(&self, name: &str, seen: Option<&str>, text: &str) -> Result<bool, CommitError> {
        let (name, seen, text) = (name.to_owned(), seen.map(str::to_owned), text.to_owned());
        self.change(move |tables, may_be_made| {
            put_setting(tables, may_be_made, &name, seen.as_deref(), &text)
        })
        .await
    }

    async fn hint(&self) {
        self.hints.wait().await;
    }
}

//! What commands do with the database: they read the journal while nodes use it, and set what every node polls. A command is
//! no node: it has no lease, no ids and no chain of events.

use std::thread::{Scope, scope};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::error::SqlState;

use super::super::{CommitError, JournalError, Rows, Table};
use super::rows::Tables;
use super::transaction::{Link, Mode, Statement};
use super::trouble::Trouble;
use super::writes::code;
use super::{Settings, chain, schema, shared};

/// One for the read, and one for the query for the version.
const CONNECTIONS: usize = 2;

/// How long the rows of a large journal may take to be counted.
const COUNT_LIMIT: Duration = Duration::from_secs(600);

const SIZES: &str =
    "SELECT pg_total_relation_size('switchyard.rows'), pg_total_relation_size('switchyard.events')";
const EVENTS: &str =
    "SELECT (SELECT count(*) FROM switchyard.writers), (SELECT count(*) FROM switchyard.events)";
const COUNTS: &str = "SELECT tab, count(*) FROM switchyard.rows GROUP BY tab";

/// The database as commands use it. Its calls block; they may be made inside an async runtime.
pub struct Operator {
    pub(super) link: Link,
    /// For what takes long.
    patient: Link,
    pub(super) runtime: Option<Runtime>,
    address: String,
}

/// What a journal in a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The version of its schema.
    pub schema: usize,
    /// Bytes of the rows and of the events with their indexes; `None`: the database does not tell.
    pub bytes: Option<(i64, i64)>,
    /// Processes that have opened the journal.
    pub writers: i64,
    /// Events of all of them that are kept.
    pub events: i64,
    /// Each table of rows with the number of its rows.
    pub rows: Vec<(&'static str, i64)>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped inside another runtime, which must not be blocked.
            runtime.shutdown_background();
        }
    }
}

impl Operator {
    /// The database with these settings. Connects with the first call.
    ///
    /// # Errors
    /// The settings are wrong.
    pub fn new(settings: &Settings) -> Result<Self, JournalError> {
        let settings = Settings {
            pool_size: CONNECTIONS,
            ..settings.clone()
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("journal-operator")
            .enable_all()
            .build()
            .map_err(|error| JournalError(format!("no thread for the journal: {error}")))?;
        let patient = Settings {
            statement_limit: COUNT_LIMIT,
            ..settings.clone()
        };
        Ok(Self {
            link: Link::new(&settings)?,
            patient: Link::new(&patient)?,
            runtime: Some(runtime),
            address: settings.address(),
        })
    }

    /// The database's name and host, for messages.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The result of a query over one consistent state. `None`: there is no journal, or one of an earlier version, which the
    /// next start brings up to date.
    ///
    /// # Errors
    /// The database can't be reached, or the query fails.
    pub fn read<T: Send>(
        &self,
        query: impl FnOnce(&mut dyn Rows) -> Result<T, JournalError> + Send,
    ) -> Result<Option<T>, JournalError> {
        self.apart(|runtime| {
            if !runtime.block_on(schema::is_current(&self.link, &self.address))? {
                return Ok(None);
            }
            let mut transaction = runtime.block_on(self.link.begin(Mode::View))?;
            let result = query(&mut Tables::view(runtime.handle(), &mut transaction));
            runtime.block_on(transaction.roll_back());
            result.map(Some)
        })
    }

    /// Sets what every node polls, if it still is as it was seen; `seen` is `None` where it was not set. Returns whether it
    /// is set. Before the first start, this makes the schema.
    ///
    /// # Errors
    /// The database can't be written, or its schema is of another version.
    pub fn put_setting(&self, name: &str, seen: Option<&str>, text: &str) -> Result<bool, JournalError> {
        self.apart(|runtime| {
            if runtime.block_on(schema::is_empty(&self.link, &self.address))? {
                runtime.block_on(schema::prepare(&self.link, &self.address))?;
            } else if !runtime.block_on(schema::is_current(&self.link, &self.address))? {
                return Err(JournalError(format!(
                    "{} has the schema of an earlier version: start `switchyard serve` with this version once, or use the \
                     version that wrote it",
                    self.address
                )));
            }
            let (name, seen, text) = (name.to_owned(), seen.map(str::to_owned), text.to_owned());
            let put = shared::change(runtime.handle(), &self.link, move |tables, may_be_made| {
                shared::put_setting(tables, may_be_made, &name, seen.as_deref(), &text)
            });
            runtime.block_on(put).map_err(|error| match error {
                CommitError::Io(why) => JournalError(why),
                other => JournalError(other.to_string()),
            })
        })
    }

    /// Follows the event chains of all writers to their ends. Returns how many writers and events there are; `None`: as
    /// [`Operator::read`] has it.
    ///
    /// # Errors
    /// A chain is damaged, or can't be read.
    pub fn verify(&self) -> Result<Option<(usize, u64)>, JournalError> {
        self.apart(|runtime| {
            runtime.block_on(async {
                if !schema::is_current(&self.link, &self.address).await? {
                    return Ok(None);
                }
                chain::verify(&self.link).await.map(Some)
            })
        })
    }

    /// What the journal holds. Counts every row. `None`: as [`Operator::read`] has it.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn stats(&self) -> Result<Option<Stats>, JournalError> {
        self.apart(|runtime| {
            runtime.block_on(async {
                if !schema::is_current(&self.link, &self.address).await? {
                    return Ok(None);
                }
                Ok(Some(stats(&self.patient).await?))
            })
        })
    }

    /// Runs it on a thread of its own: the caller may be inside another runtime.
    fn apart<T: Send>(
        &self,
        task: impl FnOnce(&Runtime) -> Result<T, JournalError> + Send,
    ) -> Result<T, JournalError> {
        let ended = || JournalError("reading the database panicked".into());
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        scope(|threads: &Scope<'_, '_>| threads.spawn(|| task(runtime)).join().map_err(|_| ended())?)
    }
}

async fn stats(link: &Link) -> Result<Stats, JournalError> {
    let unusable = |error: tokio_postgres::Error| JournalError::from(Trouble::Answer(error.to_string()));
    let bytes = match link.query(Statement::new(SIZES)).await {
        Ok(rows) => rows
            .first()
            .and_then(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?))),
        Err(trouble) if trouble.has_code(&SqlState::UNDEFINED_FUNCTION) => None,
        Err(trouble) => return Err(trouble.into()),
    };
    let events = link.query(Statement::new(EVENTS)).await?;
    let events = events
        .first()
        .ok_or_else(|| JournalError("the database does not count its events".into()))?;
    let mut rows: Vec<(&'static str, i64)> = Table::ALL.map(|table| (table.name(), 0)).to_vec();
    for row in link.query(Statement::new(COUNTS)).await? {
        let (tab, count): (i16, i64) = (
            row.try_get(0).map_err(unusable)?,
            row.try_get(1).map_err(unusable)?,
        );
        let known = Table::ALL.into_iter().zip(&mut rows);
        for (_, (_, rows)) in known.filter(|(table, _)| code(*table) == tab) {
            *rows = count;
        }
    }
    Ok(Stats {
        schema: schema::SCHEMA,
        bytes,
        writers: events.try_get(0).map_err(unusable)?,
        events: events.try_get(1).map_err(unusable)?,
        rows,
    })
}

//! Transactions, and what is sent within them. Statements that go together are one round trip.
//!
//! Statements are sent with their types and are not prepared, and settings hold for one transaction: nothing of a session
//! is kept in the server, so that a pooler may give each transaction another one.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{NoTls, Row};

use super::counters::Counters;
use super::settings::{Isolation, Settings};
use super::tls;
use super::trouble::{Class, Trouble};
use crate::JournalError;

/// How long a transaction waits for another one's rows before it starts anew: shorter than the second after which the
/// server searches for a deadlock, and longer than a healthy commit takes.
const LOCK_LIMIT: Duration = Duration::from_millis(400);

const NOTIFY: &str = "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY switchyard; COMMIT";

/// One statement with its values.
pub(super) struct Statement {
    sql: Cow<'static, str>,
    values: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
}

impl Statement {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sql: sql.into(),
            values: Vec::new(),
        }
    }

    pub(super) fn with(mut self, value: impl ToSql + Sync + Send + 'static, is: Type) -> Self {
        self.values.push((Box::new(value), is));
        self
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It changes rows.
    Commit,
    /// It changes rows that may be lost in a crash of the database: no sync.
    Lax,
    /// It changes the schema, and may wait for another node that does the same.
    Schema,
    /// It reads one consistent state.
    View,
}

/// The connections.
#[derive(Clone)]
pub(super) struct Link {
    pool: Pool,
    isolation: Isolation,
    statement_limit: Duration,
    answer_limit: Duration,
    pub(super) counters: Arc<Counters>,
}

impl Link {
    pub(super) fn new(settings: &Settings) -> Result<Self, JournalError> {
        let target = settings.target()?;
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = if target.is_encrypted {
            let connector = tls::connector(settings.root_certificate.as_deref())?;
            Manager::from_config(target.config, connector, manager_config)
        } else {
            Manager::from_config(target.config, NoTls, manager_config)
        };
        let limit = Some(settings.answer_limit());
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size)
            .timeouts(Timeouts {
                wait: limit,
                create: limit,
                recycle: limit,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| JournalError(format!("no pool of connections: {error}")))?;
        Ok(Self {
            pool,
            isolation: settings.isolation,
            statement_limit: settings.statement_limit,
            answer_limit: settings.answer_limit(),
            counters: Arc::default(),
        })
    }

    async fn connection(&self) -> Result<Object, Trouble> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) if error.as_db_error().is_some() => Trouble::Database(error),
            PoolError::Backend(error) => Trouble::NoConnection(connect_error(&error)),
            PoolError::Timeout(_) => Trouble::NoAnswer(self.answer_limit),
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Trouble::NoConnection(error.to_string())
            }
        })
    }

    /// A transaction, which begins with its first statement.
    pub(super) async fn begin(&self, mode: Mode) -> Result<Transaction, Trouble> {
        let (isolation, lock_limit) = match mode {
            Mode::Commit => (self.isolation.sql(), LOCK_LIMIT),
            Mode::Lax => ("READ COMMITTED", LOCK_LIMIT),
            Mode::Schema => ("READ COMMITTED", self.statement_limit),
            Mode::View => ("REPEATABLE READ READ ONLY", self.statement_limit),
        };
        let begin = format!(
            "BEGIN ISOLATION LEVEL {isolation}; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}",
            self.statement_limit.as_millis(),
            lock_limit.as_millis(),
        );
        let lax = if mode == Mode::Lax {
            "; SET LOCAL synchronous_commit = off"
        } else {
            ""
        };
        Ok(Transaction {
            connection: Some(self.connection().await?),
            begin: Some(begin + lax),
            answer_limit: self.answer_limit,
            counters: Arc::clone(&self.counters),
        })
    }

    /// Wakes every listening connection. The server needs no sync for it.
    pub(super) async fn notify(&self) -> Result<(), Trouble> {
        let mut alone = Transaction {
            connection: Some(self.connection().await?),
            begin: None,
            answer_limit: self.answer_limit,
            counters: Arc::clone(&self.counters),
        };
        let sent = alone.send(Vec::new(), Some(NOTIFY)).await;
        alone.keep(sent.as_ref().err());
        sent.map(|_| ())
    }

    /// One statement in a transaction of its own.
    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<Row>, Trouble> {
        let connection = self.connection().await?;
        let mut alone = Transaction {
            connection: Some(connection),
            begin: None,
            answer_limit: self.answer_limit,
            counters: Arc::clone(&self.counters),
        };
        let rows = alone.send(vec![statement], None).await;
        alone.keep(rows.as_ref().err());
        rows.map(|mut rows| rows.pop().unwrap_or_default())
    }
}

fn connect_error(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error} ({source})"))
}

/// A transaction on one connection. If it is dropped before its end, the connection is closed and the server undoes it.
pub(super) struct Transaction {
    connection: Option<Object>,
    /// What begins it, as long as that was not sent.
    begin: Option<String>,
    answer_limit: Duration,
    counters: Arc<Counters>,
}

/// Why a transaction may not have been committed.
#[derive(Debug)]
pub(super) enum NotCommitted {
    /// It is undone.
    Undone(Trouble),
    /// COMMIT was sent, and its answer is lost.
    Unknown(Trouble),
}

impl NotCommitted {
    /// What happened, for a caller to whom both are the same.
    pub(super) fn trouble(self) -> Trouble {
        match self {
            Self::Undone(trouble) | Self::Unknown(trouble) => trouble,
        }
    }
}

type Answer<'c> = Pin<Box<dyn Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send + 'c>>;

impl Transaction {
    /// Whether the server knows of it.
    pub(super) fn is_open(&self) -> bool {
        self.begin.is_none()
    }

    /// Sends statements in one round trip. Returns the rows of each.
    pub(super) async fn run(&mut self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, Trouble> {
        self.send(statements, None).await
    }

    /// Sends the last statements and COMMIT in one round trip. If a statement fails, the server makes the COMMIT a ROLLBACK.
    pub(super) async fn commit(self, statements: Vec<Statement>) -> Result<(), NotCommitted> {
        self.commit_with(statements).await.map(drop)
    }

    /// The same. Returns the rows of each statement.
    pub(super) async fn commit_with(
        mut self,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, NotCommitted> {
        let wanted = statements.len();
        let sent = self.send_all(statements, Some("COMMIT")).await;
        match sent {
            Ok(answers) => {
                let (mut rows, mut failed) = (Vec::with_capacity(answers.len()), None);
                for (index, answer) in answers.into_iter().enumerate() {
                    match answer {
                        Ok(found) => rows.push(found),
                        Err(error) => {
                            failed = Some((index, Trouble::Database(error)));
                            break;
                        }
                    }
                }
                match failed {
                    None => {
                        self.keep(None);
                        Counters::add(&self.counters.syncs, 1);
                        rows.truncate(wanted);
                        Ok(rows)
                    }
                    // The first that failed is a statement, and the session lives: the COMMIT after it undid all.
                    Some((index, trouble)) if trouble.is_refusal() && index < wanted => {
                        self.keep(None);
                        Err(NotCommitted::Undone(trouble))
                    }
                    // So says the server of a COMMIT that lost against another transaction.
                    Some((_, trouble)) if trouble.is_refusal() && trouble.class() == Class::Conflict => {
                        self.keep(None);
                        Err(NotCommitted::Undone(trouble))
                    }
                    Some((_, trouble)) => Err(NotCommitted::Unknown(trouble)),
                }
            }
            Err(trouble) => Err(NotCommitted::Unknown(trouble)),
        }
    }

    /// Undoes it, and gives the connection back.
    pub(super) async fn roll_back(mut self) {
        if self.begin.take().is_none() {
            let undone = self.send(Vec::new(), Some("ROLLBACK")).await;
            self.keep(undone.as_ref().err());
        } else {
            self.keep(None);
        }
    }

    /// Gives the connection back, unless this trouble shows that it can't be used.
    fn keep(&mut self, trouble: Option<&Trouble>) {
        if trouble.is_none_or(Trouble::is_refusal) {
            drop(self.connection.take());
        }
    }

    /// The first error, or every statement's rows.
    async fn send(
        &mut self,
        statements: Vec<Statement>,
        end: Option<&'static str>,
    ) -> Result<Vec<Vec<Row>>, Trouble> {
        let answers = self.send_all(statements, end).await?;
        answers
            .into_iter()
            .map(|answer| answer.map_err(Trouble::Database))
            .collect()
    }

    async fn send_all(
        &mut self,
        statements: Vec<Statement>,
        end: Option<&'static str>,
    ) -> Result<Vec<Result<Vec<Row>, tokio_postgres::Error>>, Trouble> {
        let Some(connection) = &self.connection else {
            return Err(Trouble::NoConnection("it was given back".into()));
        };
        let client: &tokio_postgres::Client = connection;
        let begin = self.begin.take();
        let batch = |sql: String| -> Answer<'_> {
            Box::pin(async move { client.batch_execute(&sql).await.map(|()| Vec::new()) })
        };
        let mut answers: Vec<Answer<'_>> = Vec::new();
        let has_begin = begin.is_some();
        answers.extend(begin.map(&batch));
        answers.extend(statements.into_iter().map(|statement| -> Answer<'_> {
            Box::pin(async move {
                let values: Vec<(&(dyn ToSql + Sync), Type)> = statement
                    .values
                    .iter()
                    .map(|(value, is)| -> (&(dyn ToSql + Sync), Type) { (value.as_ref(), is.clone()) })
                    .collect();
                client.query_typed(&statement.sql, &values).await
            })
        }));
        answers.extend(end.map(|sql| batch(sql.to_owned())));
        Counters::add(&self.counters.statements, answers.len());
        Counters::add(&self.counters.round_trips, 1);
        let mut answers = tokio::time::timeout(self.answer_limit, in_order(answers))
            .await
            .map_err(|_| Trouble::NoAnswer(self.answer_limit))?;
        if has_begin {
            // Its own error is that of every statement after it, and tells more.
            answers.remove(0).map_err(Trouble::Database)?;
        }
        Ok(answers)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Not back to the pool: its transaction may be open.
            drop(Object::take(connection));
        }
    }
}

/// Polls all of them, always in this order: each sends its statement when it is polled first.
async fn in_order<T>(mut all: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = all.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (future, result) in all.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

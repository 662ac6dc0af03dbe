//! The journals, in an empty folder or database, and what they did.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use journal::lease::Shared;
use journal::postgres::PostgresJournal;
use journal::sqlite::SqliteJournal;
use journal::{CommitError, Event, Journal, JournalError, ReadTask, SettlementRow};
use pg::Server;
use sdk_plugin::{HexBytes, async_trait};
use tokio::time::Instant;

/// A journal with everything that it needs to run.
pub struct Store {
    pub journal: Arc<Counted>,
    back_end: BackEnd,
}

enum BackEnd {
    Sqlite {
        journal: Arc<SqliteJournal>,
        folder: tempfile::TempDir,
    },
    Postgres {
        journal: Arc<PostgresJournal>,
        database: String,
        server: Server,
    },
}

/// What a journal was made to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    pub commits: u64,
    pub commit_us: u64,
    pub events: u64,
    pub marks: u64,
    pub reads: u64,
    /// Transactions that carried the commits: each is one sync of the write-ahead log.
    pub groups: u64,
    pub statements: u64,
    pub round_trips: u64,
    /// Syncs of its log that the server counted; `None`: there is no server.
    pub server_syncs: Option<u64>,
    pub bytes: u64,
}

impl Done {
    pub fn since(self, before: Self) -> Self {
        Self {
            commits: self.commits - before.commits,
            commit_us: self.commit_us - before.commit_us,
            events: self.events - before.events,
            marks: self.marks - before.marks,
            reads: self.reads - before.reads,
            groups: self.groups - before.groups,
            statements: self.statements - before.statements,
            round_trips: self.round_trips - before.round_trips,
            server_syncs: self
                .server_syncs
                .zip(before.server_syncs)
                .map(|(after, before)| after - before),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl Store {
    /// SQLite in a new folder inside of `parent`.
    pub fn sqlite(parent: &Path) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("settlements-").tempdir_in(parent);
        let folder = folder.map_err(|error| format!("{}: {error}", parent.display()))?;
        let journal = SqliteJournal::open(folder.path()).map_err(|error| error.to_string())?;
        let journal = Arc::new(journal);
        Ok(Self {
            journal: Counted::new(Arc::clone(&journal) as _),
            back_end: BackEnd::Sqlite { journal, folder },
        })
    }

    /// A PostgreSQL server of its own, which syncs each commit.
    pub fn postgres() -> Result<Self, String> {
        let server = Server::start(&[])?;
        let database = server.new_database();
        let settings = journal::postgres::Settings::new(server.url(&database));
        let journal = PostgresJournal::open(&settings).map_err(|error| error.to_string())?;
        let journal = Arc::new(journal);
        Ok(Self {
            journal: Counted::new(Arc::clone(&journal) as _),
            back_end: BackEnd::Postgres {
                journal,
                database,
                server,
            },
        })
    }

    pub fn done(&self) -> Done {
        let counted = self.journal.done();
        match &self.back_end {
            BackEnd::Sqlite { journal, folder } => {
                let counts = journal.counts();
                Done {
                    groups: counts.groups,
                    statements: counts.statements,
                    bytes: bytes_in(folder.path()),
                    ..counted
                }
            }
            BackEnd::Postgres {
                journal,
                database,
                server,
            } => {
                let counts = journal.counts();
                let number = |sql: &str| server.psql("postgres", sql).parse().unwrap_or(0);
                Done {
                    groups: counts.groups,
                    statements: counts.statements,
                    round_trips: counts.round_trips,
                    server_syncs: Some(number("SELECT wal_sync FROM pg_stat_wal")),
                    bytes: number(&format!("SELECT pg_database_size('{database}')")),
                    ..counted
                }
            }
        }
    }

    /// The process of the database's server.
    pub fn server(&self) -> Option<u32> {
        match &self.back_end {
            BackEnd::Sqlite { .. } => None,
            BackEnd::Postgres { server, .. } => Some(server.pid()),
        }
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path()).collect::<Vec<PathBuf>>();
    paths
        .iter()
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum()
}

/// A journal that counts how it is used.
pub struct Counted {
    inner: Arc<dyn Journal>,
    commits: AtomicU64,
    commit_us: AtomicU64,
    events: AtomicU64,
    marks: AtomicU64,
    reads: AtomicU64,
}

fn add(counter: &AtomicU64, by: u128) {
    counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Counted {
    fn new(inner: Arc<dyn Journal>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            commits: AtomicU64::new(0),
            commit_us: AtomicU64::new(0),
            events: AtomicU64::new(0),
            marks: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        })
    }

    fn done(&self) -> Done {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Done {
            commits: of(&self.commits),
            commit_us: of(&self.commit_us),
            events: of(&self.events),
            marks: of(&self.marks),
            reads: of(&self.reads),
            ..Done::default()
        }
    }
}

#[async_trait]
impl Journal for Counted {
    fn new_id(&self) -> u64 {
        self.inner.new_id()
    }

    fn secret(&self) -> [u8; 32] {
        self.inner.secret()
    }

    fn shared(&self) -> Option<&dyn Shared> {
        self.inner.shared()
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        add(&self.commits, 1);
        add(&self.events, events.len() as u128);
        let began = Instant::now();
        let committed = self.inner.commit(events).await;
        add(&self.commit_us, began.elapsed().as_micros());
        committed
    }

    async fn drop_events(&self, before_ms: u64, limit: u32) -> Result<u32, CommitError> {
        self.inner.drop_events(before_ms, limit).await
    }

    fn note(&self, event: Event) {
        add(&self.marks, 1);
        self.inner.note(event);
    }

    async fn view(&self, task: ReadTask) -> Result<(), JournalError> {
        add(&self.reads, 1);
        self.inner.view(task).await
    }

    async fn claim(&self, key: &str) -> Result<Option<SettlementRow>, JournalError> {
        add(&self.reads, 1);
        self.inner.claim(key).await
    }

    async fn settlement(&self, id: u64) -> Result<Option<SettlementRow>, JournalError> {
        add(&self.reads, 1);
        self.inner.settlement(id).await
    }

    async fn bytes(&self, attempt: u64) -> Result<Option<HexBytes>, JournalError> {
        add(&self.reads, 1);
        self.inner.bytes(attempt).await
    }
}

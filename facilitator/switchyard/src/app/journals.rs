//! Opens the journal that the configuration names, for a node or for a command.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::lease::Shared as _;
use journal::postgres::{Operator, PostgresJournal, Settings};
use journal::sqlite::{self, SqliteJournal};
use journal::{Journal, JournalError, Rows};

use super::StartError;
use crate::config::{CommandConfig, Config, ConfigErrors};

/// The journal in the database, or else in the directory.
pub(super) fn open(config: &Config) -> Result<Arc<dyn Journal>, StartError> {
    let refused = |key: &str, error: &JournalError| {
        let why = format!("the journal can't be opened: {}", error.0);
        StartError::Config(ConfigErrors(vec![config.source.error(key, why)]))
    };
    match &config.postgres {
        Some(database) => {
            no_file(config)?;
            let journal = PostgresJournal::open(database);
            let journal = journal.map_err(|error| refused("journal.postgres", &error))?;
            tracing::info!(node = journal.node(), database = %database.address(), "journal_opened");
            Ok(Arc::new(journal))
        }
        None => {
            let journal = SqliteJournal::open(&config.data_directory);
            Ok(Arc::new(
                journal.map_err(|error| refused("data.directory", &error))?,
            ))
        }
    }
}

/// Refuses a database as the journal where a journal is in the directory: its payments would be forgotten.
pub(super) fn no_file(config: &Config) -> Result<(), ConfigErrors> {
    let file = config.data_directory.join(sqlite::FILE);
    if config.postgres.is_none() || !file.exists() {
        return Ok(());
    }
    let why = format!(
        "{} is a journal too, and its payments would be forgotten: serve without this key until they have ended, then move the \
         file away",
        file.display()
    );
    Err(ConfigErrors(vec![config.source.error("journal.postgres", why)]))
}

/// The journal for a command that changes it, as a process has it: no other one may use it meanwhile, where it is in the
/// directory.
///
/// # Errors
/// A process uses it, or it can't be opened.
pub fn open_for_command(config: &CommandConfig) -> Result<Arc<dyn Journal>, JournalError> {
    Ok(match &config.postgres {
        Some(settings) => Arc::new(PostgresJournal::open(settings)?),
        None => Arc::new(SqliteJournal::open(&config.data_directory)?),
    })
}

/// The journal as commands read it, while other processes may use it.
#[derive(Debug)]
pub enum JournalReader {
    /// In a data directory.
    Directory(PathBuf),
    /// In a database that nodes share.
    Database(Box<Operator>),
}

impl JournalReader {
    /// The journal in the database, or else in the directory. Nothing is opened yet.
    ///
    /// # Errors
    /// The settings of the database are wrong.
    pub fn new(directory: &Path, database: Option<&Settings>) -> Result<Self, JournalError> {
        Ok(match database {
            Some(settings) => Self::Database(Box::new(Operator::new(settings)?)),
            None => Self::Directory(directory.to_owned()),
        })
    }

    /// The result of a query over one consistent state. `None`: there is no journal, or one of an earlier version, which the
    /// next start brings up to date.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn read<T: Send>(
        &self,
        query: impl FnOnce(&mut dyn Rows) -> Result<T, JournalError> + Send,
    ) -> Result<Option<T>, JournalError> {
        match self {
            Self::Directory(directory) => sqlite::read(directory, query),
            Self::Database(operator) => operator.read(query),
        }
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Directory(directory) => directory.display().to_string(),
            Self::Database(operator) => operator.address().to_owned(),
        }
    }
}

//! Opens the journal that the configuration names.

use std::sync::Arc;

use journal::postgres::PostgresJournal;
use journal::sqlite::{self, SqliteJournal};
use journal::{Journal, JournalError};

use super::StartError;
use crate::config::{Config, ConfigErrors};

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
            Ok(Arc::new(
                journal.map_err(|error| refused("journal.postgres", &error))?,
            ))
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

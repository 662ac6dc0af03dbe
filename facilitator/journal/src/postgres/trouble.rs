//! What an error of the database means.

use std::fmt;
use std::time::Duration;

use tokio_postgres::error::{Severity, SqlState};

use super::super::{CommitError, JournalError};

/// Why a statement has no result.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server's error, or that of the connection.
    Database(tokio_postgres::Error),
    /// No answer came within this time.
    NoAnswer(Duration),
    /// There is no connection.
    NoConnection(String),
    /// The server's answer is not one that the statement can have.
    Answer(String),
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Another transaction was faster: nothing of this one is in the database, and it may be tried again at once.
    Conflict,
    /// The connection is gone, or the server is about to end it.
    Lost,
    /// Something of these rows can't be stored. Other rows can.
    Rows,
    /// No space.
    Full,
    /// The database does not accept it now, or not at all.
    Refused,
}

impl Trouble {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::NoAnswer(_) | Self::NoConnection(_) => Class::Lost,
            Self::Answer(_) => Class::Refused,
            Self::Database(error) => match error.as_db_error() {
                Some(server) if is_fatal(server.parsed_severity()) => Class::Lost,
                Some(server) => of_state(server.code()),
                None => Class::Lost,
            },
        }
    }

    /// Whether the server refused the statement and keeps the session: the transaction is undone.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Database(error) => error
                .as_db_error()
                .is_some_and(|server| !is_fatal(server.parsed_severity())),
            Self::NoAnswer(_) | Self::NoConnection(_) | Self::Answer(_) => false,
        }
    }

    /// Whether the server has refused it with this code.
    pub(super) fn has_code(&self, code: &SqlState) -> bool {
        matches!(self, Self::Database(error) if error.code() == Some(code))
    }
}

fn is_fatal(severity: Option<Severity>) -> bool {
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

fn of_state(state: &SqlState) -> Class {
    if [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::UNIQUE_VIOLATION,
        SqlState::LOCK_NOT_AVAILABLE,
    ]
    .contains(state)
    {
        return Class::Conflict;
    }
    if *state == SqlState::DISK_FULL {
        return Class::Full;
    }
    match state.code().get(..2) {
        Some("08" | "57") if *state != SqlState::QUERY_CANCELED => Class::Lost,
        Some("22" | "23" | "54") => Class::Rows,
        _ => Class::Refused,
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(limit) => write!(
                f,
                "the database has not replied within {} s: check its load and the network",
                limit.as_secs()
            ),
            Self::NoConnection(why) => write!(f, "the database can't be reached: {why}"),
            Self::Answer(why) => write!(f, "the database's answer can't be used: {why}"),
            Self::Database(error) => database(error, f),
        }
    }
}

/// Not the error's details: they may show the values of a row.
fn database(error: &tokio_postgres::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use std::error::Error as _;
    let Some(server) = error.as_db_error() else {
        write!(f, "the connection to the database failed: {error}")?;
        if let Some(source) = error.source() {
            let source = source.to_string();
            if !error.to_string().contains(&source) {
                write!(f, " ({source})")?;
            }
        }
        return Ok(());
    };
    let (code, message) = (server.code(), server.message());
    if *code == SqlState::QUERY_CANCELED {
        return write!(
            f,
            "the database took longer than the statement time limit and stopped ({message}): check its load, or raise the \
             limit"
        );
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return write!(
            f,
            "the database is read-only ({message}): connect to the primary, or end its read-only mode"
        );
    }
    if *code == SqlState::DISK_FULL {
        return write!(f, "the database's disk is full ({message}): make room there");
    }
    if code.code().starts_with("57P") {
        return write!(
            f,
            "the database is stopping, starting or failing over ({message})"
        );
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return write!(
            f,
            "the user may not do this ({message}): grant it the rights on the schema `switchyard`"
        );
    }
    write!(f, "the database refused a statement: {message} ({})", code.code())
}

impl From<Trouble> for JournalError {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.to_string())
    }
}

impl From<&Trouble> for CommitError {
    fn from(trouble: &Trouble) -> Self {
        match trouble.class() {
            Class::Full => Self::Full,
            Class::Conflict | Class::Lost | Class::Rows | Class::Refused => Self::Io(trouble.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        for (code, class) in [
            ("40001", Class::Conflict),
            ("40P01", Class::Conflict),
            ("23505", Class::Conflict),
            ("55P03", Class::Conflict),
            ("57014", Class::Refused),
            ("25006", Class::Refused),
            ("42501", Class::Refused),
            ("53100", Class::Full),
            ("57P01", Class::Lost),
            ("57P03", Class::Lost),
            ("08006", Class::Lost),
            ("22021", Class::Rows),
            ("54000", Class::Rows),
            ("53300", Class::Refused),
        ] {
            assert_eq!(of_state(&SqlState::from_code(code)), class, "{code}");
        }
    }
}

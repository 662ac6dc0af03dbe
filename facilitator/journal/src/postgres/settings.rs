//! How the database is reached.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::super::JournalError;

/// Longer than a healthy database needs to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A connection that was idle for this long is tested, so that a peer that vanished is noticed.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Where the database is and how it is used. It holds a password and is never shown.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host/database?sslmode=verify-full`.
    pub url: String,
    /// A file with the certificates (PEM) that may sign the server's; `None`: those of the web.
    pub root_certificate: Option<PathBuf>,
    /// What this node is called in leases, with a number that no other process has.
    pub node: String,
    /// The most connections.
    pub pool_size: usize,
    /// The longest that one statement may take.
    pub statement_limit: Duration,
    /// The isolation of the transactions that commit.
    pub isolation: Isolation,
}

/// The isolation of the transactions that commit. Both are correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The default: fewer transactions are repeated.
    ReadCommitted,
    /// What some engines run instead.
    Serializable,
}

impl Isolation {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::ReadCommitted => "READ COMMITTED",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds the password.
        f.debug_struct("Settings")
            .field("root_certificate", &self.root_certificate)
            .field("pool_size", &self.pool_size)
            .field("statement_limit", &self.statement_limit)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Connections unless it is configured otherwise.
    pub const POOL_SIZE: usize = 8;
    /// The longest that one statement may take, unless it is configured otherwise.
    pub const STATEMENT_LIMIT: Duration = Duration::from_secs(5);

    /// The database with this URL, and what is usual for the rest.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            root_certificate: None,
            node: "node".into(),
            pool_size: Self::POOL_SIZE,
            statement_limit: Self::STATEMENT_LIMIT,
            isolation: Isolation::ReadCommitted,
        }
    }

    /// Whether this can be the name of a node: letters, digits, `.`, `_` and `-`, at most 64.
    #[must_use]
    pub fn is_node_name(name: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(fits)
    }

    /// Checks the URL alone.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead. Without the password.
    pub fn check_url(&self) -> Result<(), JournalError> {
        self.target().map(|_| ())
    }

    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// What is wrong with the URL or with the certificates, and what to write instead. Without the password.
    pub fn check(&self) -> Result<(), JournalError> {
        let target = self.target()?;
        if target.is_encrypted {
            super::tls::connector(self.root_certificate.as_deref())?;
        }
        Ok(())
    }

    pub(super) fn target(&self) -> Result<Target, JournalError> {
        let (rest, mode) = without_sslmode(&self.url)?;
        let mut config = Config::from_str(&rest).map_err(|error| {
            use std::error::Error as _;
            // The source names the parameter and never shows its value.
            let why = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            wrong(&format!("it can't be read ({why})"))
        })?;
        let hosts = config.get_hosts();
        if hosts.is_empty() {
            return Err(wrong("it names no host"));
        }
        if config.get_user().is_none() {
            return Err(wrong("it names no user"));
        }
        if config.get_dbname().is_none() {
            return Err(wrong("it names no database"));
        }
        let is_local = hosts.iter().all(|host| matches!(host, Host::Unix(_)));
        let is_encrypted = match mode.as_deref() {
            Some("disable") => false,
            None if is_local => false,
            None | Some("verify-full") => true,
            Some(_) => {
                return Err(wrong(
                    "sslmode is neither `verify-full` (encrypted, and the server's certificate is checked; the default) \
                     nor `disable` (for a connection that is private already); other modes don't check who answers",
                ));
            }
        };
        if is_encrypted && is_local {
            return Err(wrong(
                "sslmode=verify-full is for a host, not for a socket in a folder",
            ));
        }
        config
            .ssl_mode(if is_encrypted {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .application_name("switchyard")
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .tcp_user_timeout(self.answer_limit())
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_LIMIT);
        }
        Ok(Target { config, is_encrypted })
    }

    /// How long an answer may take before the connection counts as lost: longer than the database lets a statement run.
    pub(super) fn answer_limit(&self) -> Duration {
        self.statement_limit.saturating_add(CONNECT_LIMIT)
    }

    /// The host, port and database, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        let Ok(target) = self.target() else {
            return "the database".into();
        };
        let hosts = target.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        });
        let hosts: Vec<String> = hosts.collect();
        let database = target.config.get_dbname().unwrap_or_default();
        format!("database {database:?} at {}", hosts.join(", "))
    }
}

/// Where to connect to.
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) is_encrypted: bool,
}

fn wrong(what: &str) -> JournalError {
    JournalError(format!(
        "the database's URL is wrong: {what}. Write postgres://user:password@host:5432/database?sslmode=verify-full, with \
         %XX for special characters in the password"
    ))
}

/// The URL without its `sslmode`, and that mode: the client library does not know all of them.
fn without_sslmode(url: &str) -> Result<(String, Option<String>), JournalError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong("it does not begin with postgres://"));
    }
    let Some((rest, query)) = url.rsplit_once('?') else {
        return Ok((url.to_owned(), None));
    };
    let mut mode = None;
    let mut others: Vec<&str> = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.to_owned()),
            _ if pair.is_empty() => {}
            _ => others.push(pair),
        }
    }
    if others.is_empty() {
        return Ok((rest.to_owned(), mode));
    }
    Ok((format!("{rest}?{}", others.join("&")), mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<bool, String> {
        let settings = Settings::new(url);
        let target = settings.target().map_err(|error| error.0)?;
        Ok(target.is_encrypted)
    }

    #[test]
    fn a_connection_is_encrypted_and_checked_unless_the_url_says_otherwise() {
        let base = "postgres://u:hidden-word@db.example:5432/journal";
        assert_eq!(check(base), Ok(true));
        assert_eq!(check(&format!("{base}?sslmode=verify-full")), Ok(true));
        assert_eq!(
            check(&format!("{base}?sslmode=disable&connect_timeout=3")),
            Ok(false)
        );
        assert_eq!(check("postgres://u@%2Fvar%2Frun%2Fpostgresql/journal"), Ok(false));
        assert_eq!(check("postgresql://u:p@a.example,b.example/journal"), Ok(true));
    }

    #[test]
    fn a_wrong_url_is_named_without_its_password() {
        for (url, what) in [
            ("mysql://u:hidden-word@h/d", "does not begin with postgres://"),
            (
                "postgres://u:hidden-word@h/d?sslmode=require",
                "sslmode is neither",
            ),
            (
                "postgres://u:hidden-word@h/d?sslmode=prefer",
                "sslmode is neither",
            ),
            ("postgres://u:hidden-word@h/d?fast=yes", "fast"),
            ("postgres://u:hidden-word@h:port/d", "can't be read"),
            ("postgres://u:hidden-word@h", "names no database"),
            ("postgres://h/d", "names no user"),
            (
                "postgres://u@%2Fvar%2Frun/d?sslmode=verify-full",
                "not for a socket",
            ),
        ] {
            let error = check(url).unwrap_err();
            assert!(error.contains(what), "{url}: {error}");
            assert!(!error.contains("hidden"), "{url}: {error}");
        }
        let settings = Settings::new("postgres://u:hidden-word@h/d");
        assert!(!format!("{settings:?} {}", settings.address()).contains("hidden"));
        assert_eq!(settings.address(), "database \"d\" at h");
    }
}

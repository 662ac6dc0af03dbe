//! The schema `switchyard` in the database: made and brought up to date under a lock, so that several nodes may start at
//! once.

use std::fmt::Display;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::super::{JournalError, Table};
use super::transaction::{Link, Mode, NotCommitted, Statement};
use super::trouble::{Class, Trouble};
use super::writes::code;

/// The version that this program writes.
pub(super) const SCHEMA: usize = MIGRATIONS.len();

/// Each brings the schema to the next version. Never changed once released.
const MIGRATIONS: &[&[&str]] = &[FIRST, super::promises::TABLE];

const FIRST: &[&str] = &[
    // All rows of the projection: `tab` is the number of the table.
    "CREATE TABLE switchyard.rows (tab int2, key bytea, value bytea NOT NULL, PRIMARY KEY (tab, key))",
    "CREATE TABLE switchyard.writers (id int8 PRIMARY KEY, seq int8 NOT NULL, checksum bytea NOT NULL, dropped_to int8 \
     NOT NULL, dropped_checksum bytea NOT NULL, started_at_ms int8 NOT NULL, at_ms int8 NOT NULL)",
    "CREATE TABLE switchyard.events (writer int8, seq int8, at_ms int8 NOT NULL, body text NOT NULL, checksum bytea NOT \
     NULL, PRIMARY KEY (writer, seq))",
    "CREATE TABLE switchyard.locks (id int4 PRIMARY KEY)",
    "CREATE TABLE switchyard.ids (one int2 PRIMARY KEY, next int8 NOT NULL)",
    "INSERT INTO switchyard.ids (one, next) VALUES (1, 1)",
];

/// How often a start that other nodes disturb is tried again.
const TRIES: u32 = 200;
/// Another node needs a moment from the table to its row.
const TRIES_OF_ROW: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What the journal is opened with.
pub(super) struct Opened {
    pub(super) secret: [u8; 32],
    /// Of this process only, until it ends.
    pub(super) writer: i64,
}

/// Checks the server, brings the schema up to date and registers a writer.
pub(super) async fn open(link: &Link, address: &str) -> Result<Opened, JournalError> {
    let (secret, writer) = make(link, address, true).await?;
    let writer =
        writer.ok_or_else(|| JournalError(format!("{address}: it gave no number to this process")))?;
    Ok(Opened { secret, writer })
}

/// Checks the server and makes the schema, before the first start.
pub(super) async fn prepare(link: &Link, address: &str) -> Result<(), JournalError> {
    make(link, address, false).await.map(|_| ())
}

/// The journal's secret, and the number of the writer.
type Made = ([u8; 32], Option<i64>);

async fn make(link: &Link, address: &str, registers: bool) -> Result<Made, JournalError> {
    let failed = |error: &dyn Display| JournalError(format!("{address}: {error}"));
    check_server(link, address).await?;
    let (mut tries, mut tries_of_row) = (0, 0);
    loop {
        let made = try_make(link, address, registers).await;
        tries += 1;
        let trouble = match made {
            // Another node has made the table, and its row comes next. It may be there by now.
            Ok(Err(error)) if tries_of_row < TRIES_OF_ROW && error == without_version(address) => {
                tries_of_row += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Ok(made) => return made,
            Err(trouble) => trouble,
        };
        // Another node makes the same objects.
        let is_race = trouble.class() == Class::Conflict
            || [
                SqlState::DUPLICATE_TABLE,
                SqlState::DUPLICATE_SCHEMA,
                SqlState::DUPLICATE_OBJECT,
                SqlState::INTERNAL_ERROR,
            ]
            .iter()
            .any(|code| trouble.has_code(code));
        if !is_race || tries >= TRIES {
            return Err(failed(&trouble));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The settings without which a commit is not durable, or not every text fits.
async fn check_server(link: &Link, address: &str) -> Result<(), JournalError> {
    let settings = Statement::new(
        "SELECT current_setting('server_encoding'), current_setting('fsync', true), \
         current_setting('synchronous_commit', true)",
    );
    let rows = link
        .query(settings)
        .await
        .map_err(|trouble| JournalError(format!("{address}: {trouble}")))?;
    let Some(row) = rows.first() else {
        return Err(JournalError(format!("{address}: it does not show its settings")));
    };
    let setting = |index: usize| row.try_get::<_, Option<String>>(index).ok().flatten();
    let encoding = setting(0).unwrap_or_default();
    if !["UTF8", "UTF-8"].contains(&encoding.to_uppercase().as_str()) {
        return Err(JournalError(format!(
            "{address} has the encoding {encoding}: make a database with ENCODING 'UTF8', which stores every text"
        )));
    }
    if setting(1).as_deref() == Some("off") {
        return Err(JournalError(format!(
            "{address} runs with fsync = off and can lose commits: set fsync = on"
        )));
    }
    if setting(2).as_deref() == Some("off") {
        return Err(JournalError(format!(
            "{address} runs with synchronous_commit = off and can lose commits that it has confirmed: set synchronous_commit \
             = on for this user (ALTER ROLE … SET synchronous_commit = on)"
        )));
    }
    Ok(())
}

/// Checks that [`open`] would succeed, and changes nothing.
pub(super) async fn check(link: &Link, address: &str) -> Result<(), JournalError> {
    check_server(link, address).await?;
    match version(link).await {
        Ok(found) => readable(found, address).map(|_| ()),
        Err(trouble) if is_absent(&trouble) => Ok(()),
        Err(trouble) => Err(unusable(&trouble, address)),
    }
}

fn without_version(address: &str) -> JournalError {
    JournalError(format!(
        "{address}: table switchyard.meta has no schema version: use another database, or restore this one"
    ))
}

/// The schema's version, if this program can use it.
fn readable(found: Option<String>, address: &str) -> Result<usize, JournalError> {
    let Some(found) = found.and_then(|text| text.parse::<usize>().ok()) else {
        return Err(without_version(address));
    };
    if found > SCHEMA {
        return Err(JournalError(format!(
            "{address} was written by a later version of switchyard (schema {found}, this version knows {SCHEMA}): start \
             that version, or restore the database from before the upgrade"
        )));
    }
    Ok(found)
}

fn unusable(trouble: &Trouble, address: &str) -> JournalError {
    if trouble.has_code(&SqlState::UNDEFINED_COLUMN) {
        return JournalError(format!(
            "{address}: its schema `switchyard` has tables of another program: use another database"
        ));
    }
    JournalError(format!("{address}: {trouble}"))
}

async fn try_make(
    link: &Link,
    address: &str,
    registers: bool,
) -> Result<Result<Made, JournalError>, Trouble> {
    match version(link).await {
        Ok(_) => {}
        Err(trouble) if is_absent(&trouble) => create(link).await?,
        Err(trouble) if trouble.has_code(&SqlState::UNDEFINED_COLUMN) => {
            return Ok(Err(unusable(&trouble, address)));
        }
        Err(trouble) => return Err(trouble),
    }
    let mut transaction = link.begin(Mode::Schema).await?;
    // The lock that lets one node after the other in.
    let lock = Statement::new("SELECT value FROM switchyard.meta WHERE name = 'schema' FOR UPDATE");
    let rows = transaction.run(vec![lock]).await?;
    let text: Option<String> = rows
        .first()
        .and_then(|rows| rows.first())
        .and_then(|row| row.try_get(0).ok());
    let found = match readable(text, address) {
        Ok(found) => found,
        Err(error) => {
            transaction.roll_back().await;
            return Ok(Err(error));
        }
    };
    for migration in MIGRATIONS.iter().skip(found) {
        transaction
            .run(migration.iter().map(|sql| Statement::new(*sql)).collect())
            .await?;
    }
    if found < SCHEMA {
        transaction
            .run(Table::ALL.into_iter().map(view).collect())
            .await?;
    }
    let secret = hex::encode(new_secret()?);
    let mut statements = vec![
        Statement::new("UPDATE switchyard.meta SET value = $1 WHERE name = 'schema'")
            .with(SCHEMA.to_string(), Type::TEXT),
        Statement::new(
            "INSERT INTO switchyard.meta (name, value) VALUES ('secret', $1) ON CONFLICT (name) DO NOTHING",
        )
        .with(secret, Type::TEXT),
        Statement::new("SELECT value FROM switchyard.meta WHERE name = 'secret'"),
    ];
    if registers {
        statements.push(Statement::new(
            "INSERT INTO switchyard.writers (id, seq, checksum, dropped_to, dropped_checksum, started_at_ms, at_ms) SELECT \
             coalesce(max(id), 0) + 1, 0, $1, 0, $1, now.ms, now.ms FROM (SELECT (extract(epoch FROM clock_timestamp()) * \
             1000)::int8 AS ms) AS now LEFT JOIN switchyard.writers ON true GROUP BY now.ms RETURNING id",
        )
        .with(vec![0_u8; 32], Type::BYTEA));
    }
    let rows = transaction.run(statements).await?;
    let secret: Option<String> = rows
        .get(2)
        .and_then(|rows| rows.first())
        .and_then(|row| row.try_get(0).ok());
    let writer: Option<i64> = rows
        .get(3)
        .and_then(|rows| rows.first())
        .and_then(|row| row.try_get(0).ok());
    let secret = secret
        .and_then(|text| hex::decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok());
    transaction
        .commit(Vec::new())
        .await
        .map_err(NotCommitted::trouble)?;
    match secret {
        Some(secret) => Ok(Ok((secret, writer))),
        None => Ok(Err(JournalError(format!(
            "{address}: table switchyard.meta has no usable secret: restore the database"
        )))),
    }
}

/// Whether the journal is there and is of this version; `false`: the next start makes it or brings it up to date.
pub(super) async fn is_current(link: &Link, address: &str) -> Result<bool, JournalError> {
    match version(link).await {
        Ok(found) => Ok(readable(found, address)? == SCHEMA),
        Err(trouble) if is_absent(&trouble) => Ok(false),
        Err(trouble) => Err(unusable(&trouble, address)),
    }
}

/// Whether there is no journal at all.
pub(super) async fn is_empty(link: &Link, address: &str) -> Result<bool, JournalError> {
    match version(link).await {
        Ok(found) => Ok(readable(found, address)? == 0),
        Err(trouble) if is_absent(&trouble) => Ok(true),
        Err(trouble) => Err(unusable(&trouble, address)),
    }
}

async fn version(link: &Link) -> Result<Option<String>, Trouble> {
    let statement = Statement::new("SELECT value FROM switchyard.meta WHERE name = 'schema'");
    let rows = link.query(statement).await?;
    Ok(rows.first().and_then(|row| row.try_get(0).ok()))
}

fn is_absent(trouble: &Trouble) -> bool {
    trouble.has_code(&SqlState::UNDEFINED_TABLE) || trouble.has_code(&SqlState::INVALID_SCHEMA_NAME)
}

/// What must be there before there is a row to lock.
async fn create(link: &Link) -> Result<(), Trouble> {
    for sql in [
        "CREATE SCHEMA IF NOT EXISTS switchyard",
        "CREATE TABLE IF NOT EXISTS switchyard.meta (name text PRIMARY KEY, value text NOT NULL)",
        "INSERT INTO switchyard.meta (name, value) VALUES ('schema', '0') ON CONFLICT (name) DO NOTHING",
    ] {
        link.query(Statement::new(sql)).await?;
    }
    Ok(())
}

/// A view of a table's rows, for people.
fn view(table: Table) -> Statement {
    Statement::new(format!(
        "CREATE OR REPLACE VIEW switchyard.{} AS SELECT convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value FROM switchyard.rows WHERE \
         tab = {}",
        table.name(),
        code(table)
    ))
}

fn new_secret() -> Result<[u8; 32], Trouble> {
    let mut secret = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut secret)
        .map_err(|_| Trouble::Answer("this machine has no random numbers".into()))?;
    Ok(secret)
}

//! Reservations that nodes share: one round trip for each, without a sync, because a promise is not money.

use tokio_postgres::types::Type;

use super::super::reservations::{MAX_OF_TENANT_AND_PAYER, Promise, Promised};
use super::super::{CommitError, JournalError};
use super::PostgresJournal;
use super::rows::{MAKE_LOCKS, TAKE_LOCKS, lock_number};
use super::transaction::{Mode, NotCommitted, Statement};
use super::trouble::{Class, Trouble};

/// Makes the table.
pub(super) const TABLE: &[&str] = &[
    // One row for each balance that a promise counts on, or one with an empty account. `amount` has up to 78 digits.
    "CREATE TABLE switchyard.promises (claim bytea, account bytea, fingerprint bytea NOT NULL, tenant bytea NOT NULL, holder \
     bytea NOT NULL, amount numeric(80) NOT NULL, ends_at timestamptz NOT NULL, PRIMARY KEY (claim, account))",
    "CREATE INDEX promises_by_account ON switchyard.promises (account)",
    "CREATE INDEX promises_by_holder ON switchyard.promises (holder)",
    "CREATE INDEX promises_by_end ON switchyard.promises (ends_at)",
];

/// What has ended and is in the way, and a few others.
const DROP_ENDED: &str = "DELETE FROM switchyard.promises WHERE ends_at <= clock_timestamp() AND (claim = $1 OR account = ANY \
                          ($2) AND account <> '' OR (claim, account) IN (SELECT claim, account FROM switchyard.promises WHERE \
                          ends_at <= clock_timestamp() ORDER BY ends_at LIMIT 16 FOR UPDATE SKIP LOCKED))";

/// Decides and reserves in one statement, after the locks of the claim and of its balances: nothing else decides about them
/// meanwhile. In the order of the process's own table: another's terms, a renewal, too little, too many.
const RESERVE: &str = "\
WITH wanted AS (
  SELECT w.account, sum(w.amount) AS amount, min(w.available) AS available
  FROM unnest($2::bytea[], $3::text[]::numeric[], $4::text[]::numeric[]) AS w (account, amount, available) GROUP BY w.account
), others AS (
  SELECT p.account, sum(p.amount) AS amount FROM switchyard.promises p
  WHERE p.account = ANY ($2) AND p.claim <> $1 AND p.ends_at > clock_timestamp() GROUP BY p.account
), decided AS (
  SELECT CASE
    WHEN EXISTS (SELECT 1 FROM switchyard.promises WHERE claim = $1 AND fingerprint <> $5) THEN 'refused'
    WHEN EXISTS (SELECT 1 FROM switchyard.promises WHERE claim = $1) THEN 'reserved'
    WHEN EXISTS (SELECT 1 FROM wanted LEFT JOIN others USING (account)
                 WHERE wanted.amount + coalesce(others.amount, 0) > wanted.available) THEN 'refused'
    WHEN (SELECT count(DISTINCT claim) FROM switchyard.promises WHERE holder = $7 AND ends_at > clock_timestamp()) >= $9
      THEN 'unlimited'
    ELSE 'reserved' END AS what
), made AS (
  INSERT INTO switchyard.promises (claim, account, fingerprint, tenant, holder, amount, ends_at)
  SELECT $1, account, $5, $6, $7, amount, clock_timestamp() + $8 * interval '1 millisecond' FROM wanted, decided
  WHERE decided.what = 'reserved'
  ON CONFLICT (claim, account) DO UPDATE SET amount = excluded.amount, ends_at = excluded.ends_at
)
SELECT what FROM decided";

const END: &str = "DELETE FROM switchyard.promises WHERE claim = $1";
const END_OF: &str = "DELETE FROM switchyard.promises WHERE claim = $1 AND tenant = $2 AND ends_at > clock_timestamp() RETURNING 1";

/// Another node has the locks: it holds them for one round trip.
const TRIES: u32 = 5;

impl PostgresJournal {
    /// See [`Shared::reserve`](crate::lease::Shared::reserve). A repetition after a lost answer is a renewal.
    pub(super) async fn promise(&self, promise: &Promise) -> Result<Promised, CommitError> {
        let mut last = CommitError::Io("it was not tried".into());
        for _ in 0..TRIES {
            let (link, statements) = (self.link.clone(), statements(promise));
            let tried = self.on_runtime(async move {
                let transaction = link.begin(Mode::Lax).await?;
                transaction
                    .commit_with(statements)
                    .await
                    .map_err(NotCommitted::trouble)
            });
            match tried.await? {
                Ok(answers) => return decision(&answers),
                Err(trouble) if matches!(trouble.class(), Class::Conflict | Class::Lost) => {
                    last = (&trouble).into();
                }
                Err(trouble) => return Err((&trouble).into()),
            }
        }
        Err(last)
    }

    /// Ends the reservation of a claim: the tenant's, or any. Returns whether there was one of the tenant's.
    pub(super) async fn end_promise(&self, claim: &str, tenant: Option<&str>) -> Result<bool, CommitError> {
        let claim = claim.as_bytes().to_vec();
        let statement = match tenant {
            None => Statement::new(END).with(claim, Type::BYTEA),
            Some(tenant) => Statement::new(END_OF)
                .with(claim, Type::BYTEA)
                .with(tenant.as_bytes().to_vec(), Type::BYTEA),
        };
        let link = self.link.clone();
        let ended = self.on_runtime(async move {
            let transaction = link.begin(Mode::Lax).await?;
            transaction
                .commit_with(vec![statement])
                .await
                .map_err(NotCommitted::trouble)
        });
        let answers = ended
            .await?
            .map_err(|trouble: Trouble| CommitError::from(&trouble))?;
        Ok(answers.iter().any(|rows| !rows.is_empty()))
    }
}

fn statements(promise: &Promise) -> Vec<Statement> {
    let Promise {
        claim,
        fingerprint,
        tenant,
        network,
        payer,
        reserves,
        lasts,
    } = promise;
    let accounts: Vec<Vec<u8>> = if reserves.is_empty() {
        vec![Vec::new()]
    } else {
        let account = |asset: &str, payer: &str| key(&["account", network, asset, payer]);
        reserves
            .iter()
            .map(|reserve| account(&reserve.asset, &reserve.payer))
            .collect()
    };
    let amount = |of: fn(&sdk_plugin::scheme::Reserve) -> sdk_plugin::Amount| -> Vec<String> {
        if reserves.is_empty() {
            return vec!["0".to_owned()];
        }
        reserves.iter().map(|reserve| of(reserve).to_string()).collect()
    };
    let mut locks: Vec<i32> = accounts
        .iter()
        .filter(|account| !account.is_empty())
        .map(|account| lock_number(account))
        .chain([lock_number(&key(&["promise", claim]))])
        .collect();
    locks.sort_unstable();
    locks.dedup();
    let lasts_ms = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
    vec![
        Statement::new(MAKE_LOCKS).with(locks.clone(), Type::INT4_ARRAY),
        Statement::new(TAKE_LOCKS).with(locks, Type::INT4_ARRAY),
        Statement::new(DROP_ENDED)
            .with(claim.as_bytes().to_vec(), Type::BYTEA)
            .with(accounts.clone(), Type::BYTEA_ARRAY),
        Statement::new(RESERVE)
            .with(claim.as_bytes().to_vec(), Type::BYTEA)
            .with(accounts, Type::BYTEA_ARRAY)
            .with(amount(|reserve| reserve.amount), Type::TEXT_ARRAY)
            .with(amount(|reserve| reserve.available), Type::TEXT_ARRAY)
            .with(fingerprint.as_bytes().to_vec(), Type::BYTEA)
            .with(tenant.as_bytes().to_vec(), Type::BYTEA)
            .with(key(&["holder", tenant, network, payer]), Type::BYTEA)
            .with(lasts_ms, Type::INT8)
            .with(
                i64::try_from(MAX_OF_TENANT_AND_PAYER).unwrap_or(i64::MAX),
                Type::INT8,
            ),
    ]
}

/// Texts as one key: no two lists have the same.
fn key(parts: &[&str]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        key.extend(part.len().to_string().into_bytes());
        key.push(b':');
        key.extend(part.as_bytes());
    }
    key
}

fn decision(answers: &[Vec<tokio_postgres::Row>]) -> Result<Promised, CommitError> {
    let what: Option<String> = answers
        .last()
        .and_then(|rows| rows.first())
        .and_then(|row| row.try_get(0).ok());
    match what.as_deref() {
        Some("reserved") => Ok(Promised::Reserved),
        Some("refused") => Ok(Promised::Refused),
        Some("unlimited") => Ok(Promised::Unlimited),
        other => Err(JournalError(format!("a reservation was answered with {other:?}")).into()),
    }
}

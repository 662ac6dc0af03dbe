//! What a settlement is found by: its reference, claim, transactions, payer, payee, tenant, `Idempotency-Key` and time.
//!
//! Values come from callers and chains, and may hold anything: they stand in keys as hashes of one length. Addresses and
//! hashes in hex are compared without regard to case.

use std::collections::BTreeMap;

use base::settlement::SettlementStatus;
use sdk_plugin::Amount;
use sha2::{Digest as _, Sha256};

use crate::change::put;
use crate::keys::id_key;
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{Outcome, SettlementRow, StepState};
use crate::{CommitError, JournalError, Rows, Table};

/// Rows that are read at once while a list is filtered.
const PAGE: usize = 256;
/// The most rows that one list reads: what is further back needs another request, with the cursor.
const MOST_READ: usize = 1_024;
/// The most settlements that one transaction or key can name.
const MOST_FOUND: usize = 1_000;

/// How a caller names settlements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// [`SettlementRow::reference`].
    Id(String),
    /// [`SettlementRow::claim`], or its part after the plugin and network: the scheme's own key.
    Claim(String),
    /// A transaction's id on its chain.
    Transaction(String),
    /// The `Idempotency-Key` with which this tenant opened it.
    IdempotencyKey {
        /// `None`: a facilitator without tenants.
        tenant: Option<String>,
        /// As the caller sent it.
        key: String,
    },
}

/// What a list contains. An empty filter contains everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only settlements of this tenant; `Some(None)`: of a facilitator without tenants.
    pub tenant: Option<Option<String>>,
    /// Only this payer's.
    pub payer: Option<String>,
    /// Only what this payee gets.
    pub pay_to: Option<String>,
    /// Only what was opened at or after this, milliseconds since the epoch.
    pub from_ms: Option<u64>,
    /// Only what was opened before this, milliseconds since the epoch.
    pub to_ms: Option<u64>,
    /// Only settlements in this state.
    pub status: Option<SettlementStatus>,
}

/// One page of a list, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// At most as many as were wanted. There may be fewer although more follow.
    pub rows: Vec<SettlementRow>,
    /// Continues the list; `None`: this is its end.
    pub cursor: Option<String>,
}

/// The status of a settlement.
#[must_use]
pub fn status(row: &SettlementRow) -> SettlementStatus {
    match &row.outcome {
        Outcome::Open if row.steps.iter().any(is_unexplained) => SettlementStatus::Unknown,
        Outcome::Open => SettlementStatus::Pending,
        Outcome::Paid(_) => SettlementStatus::Settled,
        // Without a transaction on the chain, and past the end of what was signed.
        Outcome::Failed { tx_id, .. } if tx_id.is_empty() && has_expired(row) => SettlementStatus::Expired,
        Outcome::Failed { .. } => SettlementStatus::Failed,
        Outcome::Reversed { .. } => SettlementStatus::Reversed,
    }
}

fn is_unexplained(step: &crate::row::StepRow) -> bool {
    step.pays && matches!(step.state, StepState::Unexplained { .. })
}

fn has_expired(row: &SettlementRow) -> bool {
    let ended_s = row.expires_at_s.or(row.replayable_until_s);
    ended_s.is_some_and(|ended_s| row.updated_at_ms / 1_000 > ended_s)
}

/// The amount of a settlement: what was paid where the scheme says so, else what was required.
#[must_use]
pub fn amount(row: &SettlementRow) -> Option<Amount> {
    match &row.outcome {
        Outcome::Paid(paid) => paid.reply.amount.or(row.amount),
        Outcome::Open | Outcome::Failed { .. } | Outcome::Reversed { .. } => row.amount,
    }
}

/// Hex compares without regard to case, everything else exactly.
fn folded(value: &str) -> String {
    let is_hex = value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_hex {
        value.to_ascii_lowercase()
    } else {
        value.to_owned()
    }
}

fn hashed(value: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(folded(value).as_bytes()).into();
    hex::encode(digest.get(..16).unwrap_or(&digest))
}

fn prefix(kind: &str, value: &str) -> String {
    format!("{kind}|{}|", hashed(value))
}

fn tenant_prefix(tenant: Option<&str>) -> String {
    match tenant {
        Some(tenant) => prefix("tenant", tenant),
        None => "tenant|-|".to_owned(),
    }
}

fn key_prefix(tenant: Option<&str>, key: &str) -> String {
    format!("key|{}{}|", tenant_prefix(tenant), hashed(key))
}

/// Every prefix under which a settlement is listed by time.
fn listed(row: &SettlementRow) -> Vec<String> {
    let mut all = vec!["all|".to_owned(), tenant_prefix(row.tenant.as_deref())];
    if !row.payer.is_empty() {
        all.push(prefix("payer", &row.payer));
    }
    if !row.pay_to.is_empty() {
        all.push(prefix("payee", &row.pay_to));
    }
    all
}

/// The keys by which a settlement stands in lists.
pub(crate) fn time_keys_of(row: &SettlementRow) -> Vec<String> {
    let by_time = cursor_at(row);
    listed(row).into_iter().map(|prefix| prefix + &by_time).collect()
}

/// The transactions that callers know of a settlement.
pub(crate) fn transactions_of(row: &SettlementRow) -> impl Iterator<Item = &String> {
    let decided = match &row.outcome {
        Outcome::Open => None,
        Outcome::Paid(paid) => Some(&paid.tx_id),
        Outcome::Failed { tx_id, .. } | Outcome::Reversed { tx_id, .. } => Some(tx_id),
    };
    row.tx_id.iter().chain(decided).filter(|tx_id| !tx_id.is_empty())
}

/// Every key of a settlement's own: those of its transactions are [`transaction_key`]s.
pub(crate) fn keys_of(row: &SettlementRow) -> Vec<String> {
    let mut keys = time_keys_of(row);
    let id = id_key(row.id);
    if !row.reference.is_empty() {
        keys.push(prefix("id", &row.reference) + &id);
    }
    keys.push(claim_key(&row.claim, row.id));
    let own = own_key(&row.claim);
    if own != row.claim {
        keys.push(prefix("claim", own) + &id);
    }
    if let Some(key) = &row.idempotency_key {
        keys.push(key_prefix(row.tenant.as_deref(), key) + &id);
    }
    keys
}

/// The key by which a settlement's whole claim is searched.
pub(crate) fn claim_key(claim: &str, settlement: u64) -> String {
    prefix("claim", claim) + &id_key(settlement)
}

/// The scheme's own key in a claim: after the plugin and the network.
#[must_use]
pub fn own_key(claim: &str) -> &str {
    claim.splitn(3, '|').last().unwrap_or(claim)
}

/// A settlement that is opened now.
pub(crate) fn opened(rows: &mut Overlay<'_>, row: &SettlementRow) -> Result<(), CommitError> {
    keys_of(row)
        .iter()
        .try_for_each(|key| put(rows, Table::Lookups, key, &()))
}

pub(crate) fn transaction_key(tx_id: &str, settlement: u64) -> String {
    prefix("tx", tx_id) + &id_key(settlement)
}

/// A transaction of a settlement.
pub(crate) fn transaction(rows: &mut Overlay<'_>, tx_id: &str, settlement: u64) -> Result<(), CommitError> {
    if tx_id.is_empty() {
        return Ok(());
    }
    put(rows, Table::Lookups, &transaction_key(tx_id, settlement), &())
}

/// The settlements that a caller names, the oldest first: several may share a transaction, and a claim that failed may
/// have been opened again.
///
/// # Errors
/// The journal can't be read.
pub fn find(rows: &mut dyn Rows, reference: &Reference) -> Result<Vec<SettlementRow>, JournalError> {
    let prefix = match reference {
        Reference::Id(id) => prefix("id", id),
        Reference::Claim(claim) => prefix("claim", claim),
        Reference::Transaction(tx_id) => prefix("tx", tx_id),
        Reference::IdempotencyKey { tenant, key } => key_prefix(tenant.as_deref(), key),
    };
    let mut found = Vec::new();
    for (key, _) in rows.scan(Table::Lookups, &prefix, None, MOST_FOUND)? {
        found.extend(row_of(rows, &key)?);
    }
    Ok(found)
}

/// The settlements of what an operator writes, which is an id, a claim or a transaction: each once, the oldest first.
///
/// # Errors
/// The journal can't be read.
pub fn named(rows: &mut dyn Rows, name: &str) -> Result<Vec<SettlementRow>, JournalError> {
    let mut found = BTreeMap::new();
    for reference in [Reference::Id, Reference::Claim, Reference::Transaction] {
        for row in find(rows, &reference(name.to_owned()))? {
            found.insert(row.id, row);
        }
    }
    Ok(found.into_values().collect())
}

fn row_of(rows: &mut dyn Rows, key: &str) -> Result<Option<SettlementRow>, JournalError> {
    get(
        rows,
        Table::Settlements,
        key.rsplit('|').next().unwrap_or_default(),
    )
}

/// Settlements that pass the filter, the newest first, at most `limit`. `cursor`: that of the page before.
///
/// # Errors
/// The journal can't be read, or the cursor is none of this list.
pub fn list(
    rows: &mut dyn Rows,
    filter: &Filter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page, JournalError> {
    // The tenant first: a tenant's list must not take the longer the more of a payer's payments belong to other tenants.
    let prefix = match filter {
        Filter {
            tenant: Some(tenant), ..
        } => tenant_prefix(tenant.as_deref()),
        Filter {
            payer: Some(payer), ..
        } => prefix("payer", payer),
        Filter {
            pay_to: Some(pay_to), ..
        } => prefix("payee", pay_to),
        Filter { .. } => "all|".to_owned(),
    };
    let oldest = filter.from_ms.map(|from_ms| format!("{prefix}{from_ms:020}|"));
    let mut before = match (cursor, filter.to_ms) {
        (Some(cursor), _) => Some(format!("{prefix}{}", read_cursor(cursor)?)),
        (None, Some(to_ms)) => Some(format!("{prefix}{to_ms:020}|")),
        (None, None) => None,
    };
    let mut page = Page {
        rows: Vec::new(),
        cursor: None,
    };
    for _ in 0..MOST_READ.div_ceil(PAGE) {
        let keys = rows.scan_back(Table::Lookups, &prefix, before.as_deref(), PAGE)?;
        let is_last = keys.len() < PAGE;
        for (key, _) in keys {
            if oldest.as_ref().is_some_and(|oldest| key < *oldest) {
                return Ok(page);
            }
            page.cursor = key.strip_prefix(&prefix).map(str::to_owned);
            before = Some(key.clone());
            if let Some(row) = row_of(rows, &key)?
                && passes(filter, &row)
            {
                page.rows.push(row);
                if page.rows.len() >= limit {
                    return Ok(page);
                }
            }
        }
        if is_last {
            page.cursor = None;
            return Ok(page);
        }
    }
    Ok(page)
}

/// Every settlement that was opened at or after `from_ms` and before `to_ms`, the oldest first, in pages that read about
/// `limit` rows. `cursor`: that of the page before.
///
/// # Errors
/// The journal can't be read, or the cursor is none of such a list.
pub fn oldest_first(
    rows: &mut dyn Rows,
    from_ms: u64,
    to_ms: u64,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page, JournalError> {
    let prefix = "all|";
    let after = match cursor {
        Some(cursor) => format!("{prefix}{}", read_cursor(cursor)?),
        None => format!("{prefix}{from_ms:020}|"),
    };
    let end = format!("{prefix}{to_ms:020}|");
    let keys = rows.scan(Table::Lookups, prefix, Some(&after), limit)?;
    let mut page = Page {
        rows: Vec::new(),
        cursor: None,
    };
    let is_full = keys.len() >= limit;
    for (key, _) in keys {
        if key >= end {
            page.cursor = None;
            return Ok(page);
        }
        page.cursor = key.strip_prefix(prefix).filter(|_| is_full).map(str::to_owned);
        page.rows.extend(row_of(rows, &key)?);
    }
    Ok(page)
}

/// A cursor is the time and id of the last settlement that was read.
fn read_cursor(cursor: &str) -> Result<&str, JournalError> {
    let is_number = |text: &str| text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    match cursor.split_once('|') {
        Some((at_ms, id)) if is_number(at_ms) && is_number(id) => Ok(cursor),
        _ => Err(JournalError("the cursor is not one of this list".into())),
    }
}

/// The cursor of a page that ends with this settlement.
#[must_use]
pub fn cursor_at(row: &SettlementRow) -> String {
    format!("{:020}|{}", row.opened_at_ms, id_key(row.id))
}

/// Whether this is a cursor of some list.
#[must_use]
pub fn is_cursor(cursor: &str) -> bool {
    read_cursor(cursor).is_ok()
}

/// Whether a list with this filter contains the settlement.
#[must_use]
pub fn passes(filter: &Filter, row: &SettlementRow) -> bool {
    let same = |wanted: &Option<String>, value: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| folded(wanted) == folded(value))
    };
    filter.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
        && same(&filter.payer, &row.payer)
        && same(&filter.pay_to, &row.pay_to)
        && filter.from_ms.is_none_or(|from_ms| row.opened_at_ms >= from_ms)
        && filter.to_ms.is_none_or(|to_ms| row.opened_at_ms < to_ms)
        && filter.status.is_none_or(|status| self::status(row) == status)
}

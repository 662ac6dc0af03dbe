//! `switchyard payments`: the payments in the journal, also while a process uses it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use base::clock::{Clock as _, SystemClock};
use base::settlement::SettlementStatus;
use clap::Args;
use http_api::times;
use journal::{Filter, JournalError, Reference, Rows, SettlementRow, lookups};
use serde_json::Value;

use super::{CliError, ConfigFile, harmless};
use crate::app::payments::{Payment, is_open};
use crate::app::{JournalReader, aside, plugin_folder_in};
use crate::config::CommandConfig;

/// Payments that are shown unless the operator wants more.
const DEFAULT_LIMIT: usize = 50;
/// Payments that are read at once.
const PAGE: usize = 500;

#[derive(Debug, Args)]
pub(super) struct PaymentsCommand {
    /// Only payments without an outcome: pending or unknown.
    #[arg(long, conflicts_with = "status")]
    open: bool,
    /// Only payments with this status: pending, settled, failed, expired, reversed or unknown.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<SettlementStatus>,
    /// Only payments that this transaction carries.
    #[arg(long, value_name = "HASH", conflicts_with = "claim")]
    tx: Option<String>,
    /// Only payments of this authorization: its claim, or the scheme's part of it.
    #[arg(long, value_name = "CLAIM")]
    claim: Option<String>,
    /// Only payments of this payer.
    #[arg(long, value_name = "ADDRESS")]
    payer: Option<String>,
    /// Only payments to this address.
    #[arg(long, value_name = "ADDRESS")]
    payee: Option<String>,
    /// Only payments that this tenant opened.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only payments opened at or after this time: a date, an ISO 8601 time, or an age such as 90m, 24h or 7d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only payments opened before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Show at most this many, the newest first. 0: all.
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_LIMIT)]
    limit: usize,
    /// Print JSON Lines: one object for each payment.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV with a line of names.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    file: ConfigFile,
}

fn status(text: &str) -> Result<SettlementStatus, String> {
    let names = SettlementStatus::ALL.map(SettlementStatus::name).join(", ");
    SettlementStatus::from_name(text).ok_or_else(|| format!("write one of {names}"))
}

/// Milliseconds since the epoch.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    times::parse(text)
        .or_else(|| Some(SystemClock.now_ms().saturating_sub(age_ms(text)?)))
        .ok_or_else(|| {
            "write a date, an ISO 8601 time such as 2026-01-31T12:00:00Z, or an age such as 24h".to_owned()
        })
}

/// Milliseconds of an age such as `90m`.
fn age_ms(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(unit_s)?.checked_mul(1_000)
}

/// The result of a query over the journal of a configuration.
pub(super) fn read<T: Send>(
    file: &Path,
    query: impl FnOnce(&mut dyn Rows) -> Result<T, JournalError> + Send,
) -> Result<T, CliError> {
    read_in(&journal_of(file)?, query)
}

/// The journal of a configuration.
pub(super) fn journal_of(file: &Path) -> Result<JournalReader, CliError> {
    let config = CommandConfig::load(file).map_err(CliError::new)?;
    JournalReader::new(&config.data_directory, config.postgres.as_ref()).map_err(CliError::new)
}

/// The same of a journal that is known already.
pub(super) fn read_in<T: Send>(
    journal: &JournalReader,
    query: impl FnOnce(&mut dyn Rows) -> Result<T, JournalError> + Send,
) -> Result<T, CliError> {
    journal
        .read(query)
        .map_err(CliError::new)?
        .ok_or_else(|| absent(journal))
}

/// The error where there is no journal that this version reads.
pub(super) fn absent(journal: &JournalReader) -> CliError {
    CliError(format!(
        "{}: there is no journal, or one of an earlier version: start `switchyard serve` once",
        journal.place()
    ))
}

pub(super) fn payments(command: &PaymentsCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let set_aside = set_aside(&command.file.config)?;
    let mut payments = read(&command.file.config, |rows| {
        select(command, rows)?
            .into_iter()
            .map(|row| Payment::of(rows, row))
            .collect::<Result<Vec<_>, _>>()
    })?;
    for payment in &mut payments {
        payment.is_set_aside = payment.is_open() && set_aside.contains(&payment.row.id);
    }
    if command.json {
        for payment in &payments {
            writeln!(out, "{}", harmless::json(&payment.json().into()))?;
        }
        return Ok(());
    }
    if command.csv {
        return csv(&payments, out);
    }
    table(&payments, out)
}

/// Settlements about which their plugin is not called.
fn set_aside(file: &Path) -> Result<BTreeSet<u64>, CliError> {
    let config = CommandConfig::load(file).map_err(CliError::new)?;
    aside::settlements(&plugin_folder_in(&config.data_directory)).map_err(CliError::new)
}

fn select(command: &PaymentsCommand, rows: &mut dyn Rows) -> Result<Vec<SettlementRow>, JournalError> {
    let limit = if command.limit == 0 {
        usize::MAX
    } else {
        command.limit
    };
    let filter = Filter {
        tenant: command.tenant.clone().map(Some),
        payer: command.payer.clone(),
        pay_to: command.payee.clone(),
        from_ms: command.since,
        to_ms: command.until,
        status: command.status,
    };
    let is_wanted = |row: &SettlementRow| !command.open || is_open(row);
    let reference = match (&command.tx, &command.claim) {
        (Some(tx), _) => Some(Reference::Transaction(tx.clone())),
        (None, Some(claim)) => Some(Reference::Claim(claim.clone())),
        (None, None) => None,
    };
    if let Some(reference) = reference {
        let found = lookups::find(rows, &reference)?;
        let newest_first = found.into_iter().rev();
        return Ok(newest_first
            .filter(|row| is_wanted(row) && lookups::passes(&filter, row))
            .take(limit)
            .collect());
    }
    let mut selected = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let wanted = limit.saturating_sub(selected.len()).min(PAGE);
        let page = lookups::list(rows, &filter, cursor.as_deref(), wanted)?;
        selected.extend(page.rows.into_iter().filter(is_wanted));
        cursor = page.cursor;
        if cursor.is_none() || selected.len() >= limit {
            return Ok(selected);
        }
    }
}

const COLUMNS: [&str; 19] = [
    "createdAt",
    "updatedAt",
    "status",
    "mayPayAgain",
    "released",
    "amount",
    "fee",
    "asset",
    "payer",
    "payTo",
    "network",
    "scheme",
    "transaction",
    "errorReason",
    "expiresAt",
    "tenant",
    "id",
    "claim",
    "generation",
];

fn csv(payments: &[Payment], out: &mut dyn Write) -> Result<(), CliError> {
    write!(out, "{}\r\n", COLUMNS.join(","))?;
    for payment in payments {
        let members = payment.json();
        let cells = COLUMNS.map(|column| match members.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => harmless::cell(text),
            Some(other) => harmless::cell(&other.to_string()),
        });
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

fn table(payments: &[Payment], out: &mut dyn Write) -> Result<(), CliError> {
    if payments.is_empty() {
        return Ok(writeln!(out, "no payment matches")?);
    }
    let names = [
        "OPENED (UTC)",
        "STATUS",
        "AMOUNT",
        "PAYER",
        "PAY TO",
        "NETWORK",
        "TRANSACTION",
    ];
    let mut lines = vec![names.map(str::to_owned)];
    for payment in payments {
        let record = &payment.record;
        let status = match payment.is_set_aside {
            true => format!("{} (set aside)", record.status.name()),
            false => record.status.name().to_owned(),
        };
        let cells = [
            times::iso(record.created_at_ms),
            status,
            payment.amount(),
            record.payer.clone(),
            record.pay_to.clone(),
            record.network.clone(),
            record.transaction.clone(),
        ];
        lines.push(cells.map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                harmless::line(&cell)
            }
        }));
    }
    let mut widths = [0; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in &lines {
        let cells = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let text = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

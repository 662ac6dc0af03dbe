//! `switchyard journal export`: payments and what transactions cost, for accounting. Read in pages, so that neither memory
//! nor a process that uses the journal is affected by how much there is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use http_api::times;
use journal::{
    AttemptKind, CostRow, JournalError, Rows, SettlementRow, SpareCostRow, StepState, costs, lookups,
};
use sdk_plugin::Amount;
use serde_json::{Map, Value, json};

use super::payments::{journal_of, moment, read_in};
use super::progress::Progress;
use super::{CliError, ConfigFile, harmless};
use crate::app::JournalReader;
use crate::app::payments::Payment;

/// Settlements that are read at once.
pub(super) const PAGE: usize = 500;

#[derive(Debug, Args)]
pub(super) struct ExportCommand {
    /// Only payments opened at or after this time: a date, an ISO 8601 time, or an age such as 24h or 31d. Dates are UTC.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only payments opened before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Write CSV with a line of names instead of JSON Lines.
    #[arg(long)]
    csv: bool,
    /// Write to this new file instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

/// The members of a line, in the order of the CSV columns.
const COLUMNS: [&str; 16] = [
    "kind",
    "time",
    "payment",
    "payer",
    "payee",
    "asset",
    "amount",
    "network",
    "scheme",
    "tenant",
    "outcome",
    "transaction",
    "signer",
    "gasPaid",
    "released",
    "updated",
];

pub(super) fn export(command: &ExportCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let journal = journal_of(&command.file.config)?;
    let Some(path) = &command.out else {
        let mut out = BufWriter::new(out);
        write_all(command, &journal, &mut out)?;
        return Ok(out.flush()?);
    };
    let new = File::create_new(path).map_err(|error| unwritten(path, &error))?;
    let mut file = BufWriter::new(new);
    write_all(command, &journal, &mut file)?;
    let synced = file.flush().and_then(|()| file.get_ref().sync_all());
    synced.map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> CliError {
    CliError(format!(
        "{}: the export can't be written ({error}); name a new file in a folder that you may write to",
        path.display()
    ))
}

/// What was written.
#[derive(Debug, Default)]
struct Totals {
    payments: u64,
    costs: u64,
    /// Payments with a transaction on chain whose fee is not recorded.
    without_fee: u64,
    /// What signers paid, by network.
    gas: BTreeMap<String, Amount>,
}

impl Totals {
    fn count(&mut self, line: &Line) {
        match line.kind {
            Kind::Payment => self.payments = self.payments.saturating_add(1),
            Kind::Cost => self.costs = self.costs.saturating_add(1),
        }
        if let Some(gas) = line.gas {
            let sum = self.gas.entry(line.network.clone()).or_default();
            *sum = sum.checked_add(gas).unwrap_or(Amount::MAX);
        } else if line.has_own_transaction {
            self.without_fee = self.without_fee.saturating_add(1);
        }
    }

    fn summary(&self) -> String {
        let mut text = format!(
            "exported {} payments and {} other transactions",
            self.payments, self.costs
        );
        for (network, gas) in &self.gas {
            text.push_str(&format!("; gas on {network}: {gas} native atomic units"));
        }
        if self.without_fee > 0 {
            text.push_str(&format!(
                "; the fees of {} transactions are not recorded (an earlier version, a foreign transaction, or a receipt that \
                 no node showed)",
                self.without_fee
            ));
        }
        text
    }
}

fn write_all(command: &ExportCommand, journal: &JournalReader, out: &mut dyn Write) -> Result<(), CliError> {
    let (from_ms, to_ms) = (command.since.unwrap_or(0), command.until.unwrap_or(u64::MAX));
    let mut totals = Totals::default();
    let mut progress = Progress::new();
    if command.csv {
        write!(out, "{}\r\n", COLUMNS.join(","))?;
    }
    let mut after: Option<String> = None;
    loop {
        let page = read_in(journal, |rows| payments(rows, from_ms, to_ms, after.as_deref()))?;
        for line in &page.lines {
            totals.count(line);
            line.write(command.csv, out)?;
        }
        progress.show(|| {
            let last = page.lines.last().map_or(0, |line| line.at_ms);
            format!(
                "{} payments exported, up to {}",
                totals.payments,
                times::iso(last)
            )
        });
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    let mut last: Option<(u64, u64)> = None;
    loop {
        let found = read_in(journal, |rows| costs::spare(rows, from_ms, last, PAGE))?;
        let Some(newest) = found.last() else { break };
        last = Some((newest.at_ms, newest.cost.attempt));
        for spare in found.iter().filter(|spare| spare.at_ms < to_ms) {
            let line = Line::of_spare(spare);
            totals.count(&line);
            line.write(command.csv, out)?;
        }
    }
    progress.end(&totals.summary());
    Ok(())
}

/// Lines that were read at once.
struct Page {
    lines: Vec<Line>,
    /// Where the next page begins; `None`: there is none.
    after: Option<String>,
}

fn payments(
    rows: &mut dyn Rows,
    from_ms: u64,
    to_ms: u64,
    after: Option<&str>,
) -> Result<Page, JournalError> {
    let page = lookups::oldest_first(rows, from_ms, to_ms, after, PAGE)?;
    let mut lines = Vec::new();
    for row in page.rows {
        let payment = Payment::of(rows, row)?;
        Line::of_payment(&payment, &mut lines);
    }
    Ok(Page {
        lines,
        after: page.cursor,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Payment,
    /// A transaction that cost gas without being the one of a payment.
    Cost,
}

/// One line of the export.
struct Line {
    kind: Kind,
    at_ms: u64,
    network: String,
    gas: Option<Amount>,
    /// It names a transaction whose fee one of our signers should have paid.
    has_own_transaction: bool,
    members: Map<String, Value>,
}

impl Line {
    /// A payment's own line, and one for each other transaction that it caused.
    fn of_payment(payment: &Payment, lines: &mut Vec<Self>) {
        let (row, record) = (&payment.row, &payment.record);
        let is_own = |cost: &&CostRow| cost.tx_id.eq_ignore_ascii_case(&record.transaction);
        let own = row.costs.iter().find(is_own);
        let mut members = Map::new();
        let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
        add("time", json!(times::iso(record.created_at_ms)));
        add("payment", json!(record.id));
        add("payer", json!(record.payer));
        add("payee", json!(record.pay_to));
        add("asset", json!(record.asset));
        add("network", json!(record.network));
        add("scheme", json!(record.scheme));
        add("tenant", json!(row.tenant));
        add("updated", json!(times::iso(record.updated_at_ms)));
        let line = |kind, gas: Option<&CostRow>, more: Value| {
            let mut members = members.clone();
            members.extend(more.as_object().cloned().unwrap_or_default());
            if let Some(cost) = gas {
                members.insert("signer".to_owned(), json!(cost.signer));
                members.insert("gasPaid".to_owned(), json!(cost.part().to_string()));
            }
            Self {
                kind,
                at_ms: record.created_at_ms,
                network: record.network.clone(),
                gas: gas.map(CostRow::part),
                has_own_transaction: kind == Kind::Payment && is_on_chain(row),
                members,
            }
        };
        lines.push(line(
            Kind::Payment,
            own,
            json!({
                "kind": "payment", "amount": record.amount.map(|amount| amount.to_string()), "outcome": record.status.name(),
                "transaction": record.transaction, "released": record.released,
            }),
        ));
        for cost in row.costs.iter().filter(|cost| !is_own(cost)) {
            let more = json!({ "kind": "cost", "outcome": effect(row, cost), "transaction": cost.tx_id });
            lines.push(line(Kind::Cost, Some(cost), more));
        }
    }

    /// A transaction that carries no payment.
    fn of_spare(spare: &SpareCostRow) -> Self {
        let cost = &spare.cost;
        let members = json!({
            "kind": "cost", "time": times::iso(spare.at_ms), "network": spare.network, "outcome": "filled",
            "transaction": cost.tx_id, "signer": cost.signer, "gasPaid": cost.fee.to_string(),
        });
        Self {
            kind: Kind::Cost,
            at_ms: spare.at_ms,
            network: spare.network.clone(),
            gas: Some(cost.fee),
            has_own_transaction: false,
            members: members.as_object().cloned().unwrap_or_default(),
        }
    }

    fn write(&self, as_csv: bool, out: &mut dyn Write) -> io::Result<()> {
        if !as_csv {
            let mut members = self.members.clone();
            members.retain(|_, value| !value.is_null());
            return writeln!(out, "{}", harmless::json(&Value::Object(members)));
        }
        let cells = COLUMNS.map(|column| match self.members.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => harmless::cell(text),
            Some(other) => harmless::cell(&other.to_string()),
        });
        write!(out, "{}\r\n", cells.join(","))
    }
}

/// Whether the outcome names a transaction that is on the chain.
fn is_on_chain(row: &SettlementRow) -> bool {
    match &row.outcome {
        journal::Outcome::Paid(paid) => !paid.tx_id.is_empty(),
        journal::Outcome::Failed { tx_id, .. } => !tx_id.is_empty(),
        journal::Outcome::Open | journal::Outcome::Reversed { .. } => false,
    }
}

/// What became of a transaction that is not the payment's own.
fn effect(row: &SettlementRow, cost: &CostRow) -> &'static str {
    let is_done = row.steps.iter().any(
        |step| matches!(&step.state, StepState::Done { tx_id, .. } if tx_id.eq_ignore_ascii_case(&cost.tx_id)),
    );
    match cost.kind {
        AttemptKind::Fill => "filled",
        AttemptKind::Steps if is_done => "done",
        AttemptKind::Steps => "no_effect",
    }
}

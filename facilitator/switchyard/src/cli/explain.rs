//! `switchyard explain`: everything that is recorded of one payment, in the order in which it happened.

use std::io::Write;

use base::settlement::SettlementStatus;
use clap::Args;
use http_api::times;
use journal::{AttemptKind, Happened, HistoryRow, JournalError, Rows, history, lookups};
use sdk_plugin::Amount;
use serde_json::{Value, json};

use super::payments::{journal_of, read_in};
use super::{CliError, ConfigFile, harmless};
use crate::app::JournalReader;
use crate::app::payments::Payment;

#[derive(Debug, Args)]
pub(super) struct ExplainCommand {
    /// The payment: its id, one of its transactions, or its claim.
    #[arg(value_name = "PAYMENT")]
    payment: String,
    /// Print JSON Lines: one object for each payment, with its history.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: ConfigFile,
}

struct Explained {
    payment: Payment,
    history: Vec<HistoryRow>,
}

pub(super) fn explain(command: &ExplainCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let found = found(&journal_of(&command.file.config)?, &command.payment)?;
    if command.json {
        for explained in &found {
            writeln!(out, "{}", harmless::json(&explained.json()))?;
        }
        return Ok(());
    }
    print_all(&found, out)
}

/// Prints the payments of this name, and returns the ids of them and of their transactions.
pub(super) fn timeline(
    journal: &JournalReader,
    name: &str,
    out: &mut dyn Write,
) -> Result<Vec<String>, CliError> {
    let found = found(journal, name)?;
    print_all(&found, out)?;
    let mut ids = Vec::new();
    for explained in &found {
        let record = &explained.payment.record;
        ids.extend([record.id.clone(), record.transaction.clone()]);
        let events = explained.history.iter().map(|row| json!(row));
        ids.extend(events.filter_map(|event| event.get("transaction")?.as_str().map(str::to_owned)));
    }
    Ok(ids)
}

fn found(journal: &JournalReader, name: &str) -> Result<Vec<Explained>, CliError> {
    let name = name.trim();
    let found = read_in(journal, |rows| find(rows, name))?;
    if found.is_empty() {
        return Err(CliError(format!(
            "no payment is recorded under {}: write an id, a transaction or a claim as `switchyard payments --json` shows them",
            harmless::line(name)
        )));
    }
    Ok(found)
}

fn print_all(found: &[Explained], out: &mut dyn Write) -> Result<(), CliError> {
    for (index, explained) in found.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        explained.print(out)?;
    }
    Ok(())
}

/// The payments of this name, the oldest first.
fn find(rows: &mut dyn Rows, name: &str) -> Result<Vec<Explained>, JournalError> {
    let mut all = Vec::new();
    for row in lookups::named(rows, name)? {
        let history = history::of(rows, row.id)?;
        let payment = Payment::of(rows, row)?;
        all.push(Explained { payment, history });
    }
    Ok(all)
}

impl Explained {
    fn json(&self) -> Value {
        let mut members = self.payment.json();
        let history = self.history.iter().map(|row| {
            let mut event = json!(row);
            if let Some(event) = event.as_object_mut() {
                event.remove("atMs");
                event.insert("at".to_owned(), json!(times::iso(row.at_ms)));
            }
            event
        });
        members.insert("history".to_owned(), history.collect());
        Value::Object(members)
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), CliError> {
        for (name, value) in self.header() {
            if !value.is_empty() {
                writeln!(out, "{name:<13}{}", harmless::line(&value))?;
            }
        }
        writeln!(out)?;
        if self.history.is_empty() {
            writeln!(
                out,
                "no event is recorded: the payment is of an earlier version, or its history was removed ([journal] keep_detail_days)"
            )?;
        }
        for row in &self.history {
            let (event, details) = describe(&row.what);
            let line = format!("{}  {event:<17}{details}", times::iso(row.at_ms));
            writeln!(out, "{}", harmless::line(line.trim_end()))?;
        }
        Ok(())
    }

    fn header(&self) -> Vec<(&'static str, String)> {
        let (row, record) = (&self.payment.row, &self.payment.record);
        let again = if record.may_pay_again {
            "the payer may pay again"
        } else {
            "the payer must not pay again"
        };
        let why = [&record.error_reason, &record.error_message]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>();
        let released = match (record.released, row.withheld) {
            (true, _) => "yes: a caller got success",
            (false, true) => "no: withheld, see `switchyard releases`",
            (false, false) => "no: no caller got success",
        };
        let amount = match self.payment.amount() {
            amount if amount.is_empty() => String::new(),
            amount => format!("{amount} atomic units of {}", record.asset),
        };
        let fee = record
            .fee
            .map_or_else(String::new, |fee| format!("{fee} native atomic units"));
        vec![
            ("payment", record.id.clone()),
            (
                "status",
                format!("{}: {}; {again}", record.status.name(), meaning(record.status)),
            ),
            ("reason", why.join(": ")),
            ("transaction", record.transaction.clone()),
            (
                "kind",
                format!("{} on {}, plugin {}", record.scheme, record.network, row.plugin),
            ),
            ("amount", amount),
            ("fee", fee),
            ("payer", record.payer.clone()),
            ("pay to", record.pay_to.clone()),
            ("released", released.to_owned()),
            ("tenant", row.tenant.clone().unwrap_or_default()),
            ("key", row.idempotency_key.clone().unwrap_or_default()),
            ("claim", format!("{}, generation {}", row.claim, row.generation)),
            ("opened", times::iso(record.created_at_ms)),
            ("changed", times::iso(record.updated_at_ms)),
            (
                "expires",
                record
                    .expires_at_s
                    .map(|expires_at_s| times::iso(expires_at_s.saturating_mul(1_000)))
                    .unwrap_or_default(),
            ),
        ]
    }
}

fn meaning(status: SettlementStatus) -> &'static str {
    match status {
        SettlementStatus::Pending => "its outcome is open",
        SettlementStatus::Settled => "the chain shows the payment",
        SettlementStatus::Failed => "it is proven that it did not pay and can't",
        SettlementStatus::Expired => "it ended unpaid, and can't pay any more",
        SettlementStatus::Reversed => {
            "its block was replaced, and it is gone from the chain: check before the payer pays again"
        }
        SettlementStatus::Unknown => "the evidence of its outcome is not available",
    }
}

/// An event's name and details.
fn describe(what: &Happened) -> (&'static str, String) {
    match what {
        Happened::Opened { generation } => ("opened", format!("generation {generation}")),
        Happened::Prepared {
            step,
            attempt,
            transaction,
            kind,
            signer,
            sequence,
            max_cost,
            bid,
        } => {
            let event = match kind {
                AttemptKind::Steps => "signed",
                AttemptKind::Fill => "filled",
            };
            let details = format!(
                "step {step}, transaction {transaction}, signer {signer}, nonce {sequence}, attempt {attempt}, \
                 max cost {max_cost} native atomic units, bid {bid}"
            );
            (event, details)
        }
        Happened::Sent { transaction } => ("sent", format!("transaction {transaction}")),
        Happened::FeePaid {
            transaction,
            fee,
            node,
        } => ("fee", fee_paid(transaction, *fee, node.as_deref())),
        Happened::StepDone {
            step,
            transaction,
            height,
        } => (
            "step done",
            format!("step {step}, transaction {transaction}, block {height}"),
        ),
        Happened::StepFailed { step, reason } => ("step failed", format!("step {step}: {reason}")),
        Happened::StepSkipped { step } => ("step skipped", format!("step {step}")),
        Happened::StepRevived { step } => ("step revived", format!("step {step}")),
        Happened::StepGrounded {
            step,
            block,
            height,
            proof,
        } => {
            let block = block
                .as_ref()
                .map_or_else(String::new, |block| format!(" {block}"));
            let proof = proof
                .as_ref()
                .map_or_else(String::new, |proof| format!(", proof: {proof}"));
            ("decided by", format!("step {step}, block {height}{block}{proof}"))
        }
        Happened::StepFreed { step } => (
            "slot lost",
            format!("step {step}: it can't land there (nonce used, or too old) and gets another one"),
        ),
        Happened::StepUnexplained { step, height } => (
            "unexplained",
            format!("step {step}: its guard changed by block {height}, and no node shows the transaction"),
        ),
        Happened::StepFinal { step } => ("final", format!("step {step}")),
        Happened::Paid { transaction, height } => {
            let transaction = if transaction.is_empty() {
                "none needed"
            } else {
                transaction
            };
            ("paid", format!("transaction {transaction}, block {height}"))
        }
        Happened::Failed {
            reason,
            transaction,
            proof,
        } => {
            let transaction = if transaction.is_empty() {
                "none"
            } else {
                transaction
            };
            (
                "failed",
                format!("{reason}, transaction {transaction}, proof: {proof}"),
            )
        }
        Happened::Reorged { step } => (
            "reorganised",
            format!("step {step}: the block that decided it is gone; its outcome is open again"),
        ),
        Happened::Released => ("released", "one caller gets success".to_owned()),
        Happened::ReleaseReturned => (
            "release returned",
            "that caller had gone; the next equal request gets success".to_owned(),
        ),
        Happened::ReleaseAllowed => ("release allowed", "by the operator".to_owned()),
        Happened::Acted { by, act, details } => ("operator", format!("{by}, {act}: {details}")),
        Happened::Finished => ("finished", "every step is final".to_owned()),
    }
}

fn fee_paid(transaction: &str, fee: Amount, node: Option<&str>) -> String {
    let node = node.map_or_else(String::new, |node| format!(", node {node}"));
    format!("transaction {transaction}, {fee} native atomic units{node}")
}

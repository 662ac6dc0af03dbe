//! `switchyard reconcile`: compares the journal with what the chains show, for a day. Only reads.

mod claims;
mod compare;
mod comparison;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use base::clock::{Clock as _, SystemClock};
use clap::Args;
use http_api::times;
use serde_json::json;

use self::compare::Findings;
use self::comparison::Comparison;
use super::payments::moment;
use super::{CliError, ConfigFile, harmless};
use crate::app::{Chains, JournalReader};
use crate::config::Config;

const DAY_MS: u64 = 86_400_000;
/// Could not read the journal, the configuration or a chain.
const UNREADABLE: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct ReconcileCommand {
    /// Compare the payments opened on this day, UTC. Default: yesterday.
    #[arg(long, value_name = "DATE", value_parser = day, conflicts_with_all = ["since", "until"])]
    day: Option<u64>,
    /// Compare the payments opened at or after this time: a date, an ISO 8601 time, or an age such as 24h.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Compare the payments opened before this time. Default: now.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Only this network, by its CAIP-2 id.
    #[arg(long, value_name = "CAIP2")]
    network: Option<String>,
    /// Print JSON Lines: one object for each difference, then one with the summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: ConfigFile,
}

/// Milliseconds since the epoch at which a date begins.
fn day(text: &str) -> Result<u64, String> {
    times::parse(text)
        .filter(|_| !text.contains('T'))
        .ok_or_else(|| "write a date such as 2026-11-28".to_owned())
}

/// The period, in milliseconds since the epoch: its begin, and its end, which is not part of it.
fn period(command: &ReconcileCommand, now_ms: u64) -> (u64, u64) {
    if command.since.is_some() || command.until.is_some() {
        return (command.since.unwrap_or(0), command.until.unwrap_or(now_ms));
    }
    let today = now_ms.saturating_sub(now_ms % DAY_MS);
    let begin = command.day.unwrap_or(today.saturating_sub(DAY_MS));
    (begin, begin.saturating_add(DAY_MS))
}

/// Exit status 0: no difference; 1: differences; 2: something could not be read.
pub(super) fn reconcile(command: &ReconcileCommand, out: &mut dyn Write) -> Result<ExitCode, CliError> {
    let config = Config::load(&command.file.config).map_err(CliError::new)?;
    if let Some(network) = &command.network
        && !config.networks.contains_key(network)
    {
        return Err(CliError(format!(
            "{} is not configured: write one of {}",
            harmless::line(network),
            config.networks.keys().cloned().collect::<Vec<_>>().join(", ")
        )));
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError(format!(
            "no threads can be started ({error}); raise the process's limits"
        ))
    })?;
    let (from_ms, to_ms) = period(command, SystemClock.now_ms());
    let journal = JournalReader::new(&config.data_directory, config.postgres.as_ref());
    let journal = journal.map_err(CliError::new)?;
    let compared = runtime.block_on(async {
        let chains = Chains::open(&config).await.map_err(CliError::new)?;
        let compared = Comparison::new(command.network.as_deref(), &journal, &chains)
            .run(from_ms, to_ms)
            .await;
        chains.close();
        compared
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let compared = compared?;
    compared.print(command.json, (from_ms, to_ms), out)?;
    Ok(compared.status())
}

/// The status of a command that has failed before anything was compared.
pub(super) fn unreadable() -> ExitCode {
    ExitCode::from(UNREADABLE)
}

/// What was compared.
struct Compared {
    found: Findings,
    payments: u64,
    open: u64,
}

impl Compared {
    fn status(&self) -> ExitCode {
        if !self.found.differences.is_empty() {
            ExitCode::FAILURE
        } else if !self.found.unread.is_empty() {
            unreadable()
        } else {
            ExitCode::SUCCESS
        }
    }

    fn print(
        &self,
        as_json: bool,
        (from_ms, to_ms): (u64, u64),
        out: &mut dyn Write,
    ) -> Result<(), CliError> {
        let found = &self.found;
        let (from, to) = (times::iso(from_ms), times::iso(to_ms));
        if as_json {
            for difference in &found.differences {
                writeln!(out, "{}", harmless::json(&difference.json()))?;
            }
            for unread in &found.unread {
                let line = json!({
                    "unread": unread.why, "network": unread.network, "payment": unread.payment,
                    "transaction": unread.transaction,
                });
                writeln!(out, "{}", harmless::json(&line))?;
            }
            let summary = json!({ "summary": {
                "from": from, "to": to, "payments": self.payments, "open": self.open, "agreeing": found.agreeing,
                "differences": found.differences.len(), "unread": found.unread.len(), "feesNotRecorded": found.without_fee,
            }});
            return Ok(writeln!(out, "{}", harmless::json(&summary))?);
        }
        for difference in &found.differences {
            for line in difference.text().lines() {
                writeln!(out, "{}", harmless::line(line))?;
            }
        }
        for unread in &found.unread {
            let line = format!(
                "could not be read  {}  payment {}  transaction {}: {}",
                unread.network,
                or_none(&unread.payment),
                or_none(&unread.transaction),
                unread.why
            );
            writeln!(out, "{}", harmless::line(&line))?;
        }
        writeln!(
            out,
            "{} payments opened from {from} to {to}, {} of them open; {} transactions agree, {} differences, {} could not be read",
            self.payments,
            self.open,
            found.agreeing,
            found.differences.len(),
            found.unread.len()
        )?;
        if found.without_fee > 0 {
            writeln!(
                out,
                "the fees of {} transactions are not recorded: an earlier version, or they are not decided yet",
                found.without_fee
            )?;
        }
        Ok(())
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

//! `switchyard releases` and `releases allow`: releases that are withheld because the journal may be an old copy.

use std::io::Write;
use std::path::Path;

use super::{AllowCommand, CliError};
use crate::config::CommandConfig;
use base::allowed_releases::{self as allowed, AllowedRelease};
use engine::registry::spelled;
use journal::{Outcome, SettlementRow, WithheldRow, sqlite};
use telemetry::disk::remedy;

pub(super) fn list(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let config = CommandConfig::load(file).map_err(CliError::new)?;
    let directory = &config.data_directory;
    let withheld = sqlite::withheld(directory).map_err(CliError::new)?;
    let allowed = allowed::read(directory).map_err(CliError::new)?;
    print(&withheld, &allowed, out)
}

pub(super) fn allow(command: &AllowCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let config = CommandConfig::load(&command.file.config).map_err(CliError::new)?;
    let directory = &config.data_directory;
    let withheld = sqlite::withheld(directory).map_err(CliError::new)?;
    for hash in &command.hashes {
        if !withheld.iter().any(|(row, _)| has_hash(row, hash)) {
            return Err(CliError(format!(
                "no release of {hash} is withheld; write hashes as `switchyard releases` shows them, or --all"
            )));
        }
    }
    if withheld.is_empty() {
        return print(&withheld, &[], out);
    }
    let selected = withheld
        .iter()
        .map(|(row, _)| row)
        .filter(|row| command.all || command.hashes.iter().any(|hash| has_hash(row, hash)));
    let write_error =
        |error: std::io::Error| CliError(format!("{}: {error}; {}", directory.display(), remedy(&error)));
    let _lock = allowed::lock(directory).map_err(write_error)?;
    let mut allowed = allowed::read(directory).map_err(CliError::new)?;
    for row in selected {
        if !is_allowed(row, &allowed) {
            allowed.push(AllowedRelease {
                settlement: row.id,
                claim: row.claim.clone(),
            });
        }
    }
    allowed::write(directory, &allowed).map_err(write_error)?;
    print(&withheld, &allowed, out)
}

fn print(
    withheld: &[(SettlementRow, WithheldRow)],
    allowed: &[AllowedRelease],
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if withheld.is_empty() {
        writeln!(out, "no release is withheld")?;
    }
    for (row, held) in withheld {
        let state = if is_allowed(row, allowed) {
            "allowed, within a second or at the next start"
        } else {
            "withheld"
        };
        let hash = hash_of(row);
        let hash = if hash.is_empty() { "(no transaction)" } else { hash };
        writeln!(out, "{hash}  {state}")?;
        writeln!(out, "  network  {}", row.network)?;
        writeln!(out, "  payer    {}", row.payer)?;
        match &row.outcome {
            Outcome::Paid(paid) => match &paid.reply.amount {
                Some(amount) => writeln!(out, "  amount   {amount} atomic units, paid")?,
                None => writeln!(out, "  amount   not recorded, paid")?,
            },
            Outcome::Open => writeln!(out, "  amount   not known yet: the payment is open")?,
            Outcome::Failed { refusal, .. } => {
                writeln!(out, "  amount   none: failed, {}", refusal.reason)?;
            }
            Outcome::Reversed { .. } => writeln!(out, "  amount   none: reversed")?,
        }
        if let Some(tenant) = &row.tenant {
            writeln!(out, "  tenant   {tenant}")?;
        }
        writeln!(
            out,
            "  opened   {} (seconds since 1970)",
            row.opened_at_ms / 1_000
        )?;
        writeln!(
            out,
            "  since    {} (seconds since 1970): {}",
            held.at_ms / 1_000,
            held.why
        )?;
    }
    Ok(())
}

fn is_allowed(row: &SettlementRow, allowed: &[AllowedRelease]) -> bool {
    allowed
        .iter()
        .any(|allowed| allowed.settlement == row.id && allowed.claim == row.claim)
}

/// The hash in callers' replies; empty where there is no transaction.
fn hash_of(row: &SettlementRow) -> &str {
    match &row.outcome {
        Outcome::Paid(paid) => &paid.tx_id,
        Outcome::Open | Outcome::Failed { .. } | Outcome::Reversed { .. } => {
            row.tx_id.as_deref().unwrap_or_default()
        }
    }
}

/// Whether the hash is that of the settlement. Hex is compared without case; in base58 the case matters.
fn has_hash(row: &SettlementRow, hash: &str) -> bool {
    let known = hash_of(row);
    !known.is_empty() && spelled(known) == spelled(hash)
}

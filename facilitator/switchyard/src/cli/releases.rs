//! `switchyard releases` and `releases allow`: releases that are withheld because the journal may be an old copy.

use std::io::Write;
use std::path::Path;

use super::payments::journal_of;
use super::settings::{self, write_error};
use super::{AllowCommand, CliError};
use crate::app::JournalReader;
use base::allowed_releases::{self as allowed, AllowedRelease};
use engine::registry::spelled;
use journal::settings::RELEASES_ALLOWED;
use journal::{Outcome, SettlementRow, WithheldRow, withheld_releases};

type Withheld = Vec<(SettlementRow, WithheldRow)>;

pub(super) fn list(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let journal = journal_of(file)?;
    let allowed = match &journal {
        JournalReader::Directory(directory) => allowed::read(directory).map_err(CliError::new)?,
        JournalReader::Database(operator) => match settings::text(operator, RELEASES_ALLOWED)? {
            Some(text) => allowed::from_text(&text).ok_or_else(|| {
                CliError(format!(
                    "{}: the list of allowed releases is damaged and allows nothing; `switchyard releases allow` writes it anew",
                    journal.place()
                ))
            })?,
            None => Vec::new(),
        },
    };
    print(&withheld(&journal)?, &allowed, out)
}

/// What is withheld now. A journal that does not exist yet, or is of an earlier version, has withheld nothing.
fn withheld(journal: &JournalReader) -> Result<Withheld, CliError> {
    let read = journal.read(|rows| withheld_releases(rows));
    Ok(read.map_err(CliError::new)?.unwrap_or_default())
}

pub(super) fn allow(command: &AllowCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let journal = journal_of(&command.file.config)?;
    let withheld = withheld(&journal)?;
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
    let with_selected = |mut allowed: Vec<AllowedRelease>| {
        let selected = withheld
            .iter()
            .map(|(row, _)| row)
            .filter(|row| command.all || command.hashes.iter().any(|hash| has_hash(row, hash)));
        for row in selected {
            if !is_allowed(row, &allowed) {
                allowed.push(AllowedRelease {
                    settlement: row.id,
                    claim: row.claim.clone(),
                });
            }
        }
        allowed
    };
    let mut list = Vec::new();
    match &journal {
        JournalReader::Directory(directory) => {
            let failed = |error: std::io::Error| write_error(directory, &error);
            let _lock = allowed::lock(directory).map_err(failed)?;
            list = with_selected(allowed::read(directory).map_err(CliError::new)?);
            allowed::write(directory, &list).map_err(failed)?;
        }
        JournalReader::Database(operator) => settings::change(operator, RELEASES_ALLOWED, |text| {
            // A damaged list allows nothing, so nothing is lost with it.
            list = with_selected(text.and_then(allowed::from_text).unwrap_or_default());
            allowed::to_text(&list).map_err(CliError::from)
        })?,
    }
    print(&withheld, &list, out)
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

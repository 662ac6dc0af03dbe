//! `switchyard pause`, `resume` and `paused`: stop new settlements. Every user who may write into the journal's directory, or
//! into the database that nodes share, can do that.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::settings::{self, write_error};
use super::{CliError, Kinds, PauseCommand, ResumeCommand};
use crate::app::{JournalReader, Survey};
use crate::config::{CommandConfig, Config};
use base::clock::{Clock as _, SystemClock};
use base::pause::{self, Lifted, Pause, Paused};
use journal::settings::PAUSED;

pub(super) fn pause(command: &PauseCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let config = CommandConfig::load(&command.file.config).map_err(CliError::new)?;
    require_configured(&command.file.config, &config, &command.kinds)?;
    let pauses = change(&settings::place(&config)?, |now| {
        let mut pauses = now.into_list().map_err(|why| damaged(&why))?;
        let new = Pause {
            network: command.kinds.network.clone(),
            scheme: command.kinds.scheme.clone(),
            signer: command.kinds.signer.clone(),
            reason: command.reason.clone(),
            since_s: SystemClock.now_s(),
        };
        pause::add(&mut pauses, new);
        Ok(pauses)
    })?;
    list(&pauses, out)
}

pub(super) fn resume(command: &ResumeCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let config = CommandConfig::load(&command.file.config).map_err(CliError::new)?;
    let place = settings::place(&config)?;
    let Kinds {
        network,
        scheme,
        signer,
    } = &command.kinds;
    let all = network.is_none() && scheme.is_none() && signer.is_none();
    if matches!(&place, JournalReader::Directory(directory) if !directory.exists()) {
        return list(&[], out);
    }
    let lifted = Lifted {
        network: network.clone(),
        scheme: scheme.clone(),
        signer: signer.clone(),
    };
    let remaining = change(&place, |now| {
        let pauses = match now {
            Paused::Unreadable(_) if all => Vec::new(),
            now => now.into_list().map_err(|why| damaged(&why))?,
        };
        let (removed, remaining) = lifted.split(pauses);
        if removed.is_empty() && !all {
            list(&remaining, out)?;
            return Err(CliError(
                "no pause has exactly these values; write --network, --scheme and --signer as `switchyard paused` shows them, or \
                 none of them to lift every pause"
                    .to_owned(),
            ));
        }
        Ok(remaining)
    })?;
    list(&remaining, out)
}

pub(super) fn paused(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let config = CommandConfig::load(file).map_err(CliError::new)?;
    paused_in(&settings::place(&config)?, out)
}

/// The same of a journal that is known already.
pub(super) fn paused_in(journal: &JournalReader, out: &mut dyn Write) -> Result<(), CliError> {
    let now = match journal {
        JournalReader::Directory(directory) => pause::read(directory),
        JournalReader::Database(operator) => row(settings::text(operator, PAUSED)?.as_deref()),
    };
    list(&now.into_list().map_err(|why| damaged(&why))?, out)
}

/// Replaces what is paused by what `with` makes of it, and returns that.
fn change(
    place: &JournalReader,
    mut with: impl FnMut(Paused) -> Result<Vec<Pause>, CliError>,
) -> Result<Vec<Pause>, CliError> {
    let directory = match place {
        JournalReader::Directory(directory) => directory,
        JournalReader::Database(operator) => {
            let mut pauses = Vec::new();
            settings::change(operator, PAUSED, |text| {
                pauses = with(row(text))?;
                pause::to_text(&pauses).map_err(CliError::from)
            })?;
            return Ok(pauses);
        }
    };
    let failed = |error: std::io::Error| write_error(directory, &error);
    // A pause may come before the first start.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let _lock = pause::lock(directory).map_err(failed)?;
    let pauses = with(pause::read(directory))?;
    pause::write(directory, &pauses).map_err(failed)?;
    Ok(pauses)
}

fn row(text: Option<&str>) -> Paused {
    pause::from_text(text, "the list of pauses in the database")
}

fn list(pauses: &[Pause], out: &mut dyn Write) -> Result<(), CliError> {
    if pauses.is_empty() {
        writeln!(out, "nothing is paused")?;
    }
    for pause in pauses {
        writeln!(out, "paused: {pause}")?;
    }
    Ok(())
}

/// Refuses a network or scheme that is not configured: pausing it would have no effect.
fn require_configured(file: &Path, config: &CommandConfig, kinds: &Kinds) -> Result<(), CliError> {
    if let Some(network) = &kinds.network
        && !config.networks.contains(network)
    {
        let known = &config.networks;
        return Err(CliError(format!(
            "--network {network:?} is not configured; write one of {}",
            known.join(", ")
        )));
    }
    let Some(scheme) = &kinds.scheme else {
        return Ok(());
    };
    // If the rest of the configuration or the plugin files can't be read, the name is not checked: a pause is urgent.
    let Some(survey) = Config::load(file)
        .ok()
        .and_then(|config| Survey::make(&config).ok())
    else {
        return Ok(());
    };
    let roles = survey.instances.iter().flat_map(|one| &one.manifest.schemes);
    let mut known: Vec<&str> = roles.map(|role| role.scheme.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&scheme.as_str()) {
        return Ok(());
    }
    Err(CliError(format!(
        "--scheme {scheme:?} is not served; write one of {}",
        known.join(", ")
    )))
}

fn damaged(why: &str) -> CliError {
    CliError(format!(
        "EVERYTHING IS PAUSED: {why}; `switchyard resume` without --network and --scheme lifts that"
    ))
}

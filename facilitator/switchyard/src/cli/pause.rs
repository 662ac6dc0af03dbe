//! `switchyard pause`, `resume` and `paused`: the kill switch, for whoever may write into the journal's directory.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::{CliError, Kinds, PauseCommand, ResumeCommand};
use crate::app::Survey;
use crate::config::{Config, Place};
use base::clock::{Clock as _, SystemClock};
use base::pause::{self, Pause, Paused};
use telemetry::disk::remedy;

pub(super) fn pause(command: &PauseCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let place = Place::load(&command.file.config).map_err(CliError::new)?;
    exists(&command.file.config, &place, &command.kinds)?;
    let directory = &place.data_directory;
    // A pause may come before the first start.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| cannot(directory, &error))?;
    let _lock = pause::lock(directory).map_err(|error| cannot(directory, &error))?;
    let mut pauses = match pause::read(directory) {
        Paused::Nothing => Vec::new(),
        Paused::These(pauses) => pauses,
        // Writing the file anew would lift pauses that nobody can read any more.
        Paused::Unreadable(why) => return Err(damaged(&why)),
    };
    let new = Pause {
        network: command.kinds.network.clone(),
        scheme: command.kinds.scheme.clone(),
        reason: command.reason.clone(),
        since_s: SystemClock.now_s(),
    };
    pauses.retain(|known| !known.covers_the_same(&new));
    pauses.push(new);
    pause::write(directory, &pauses).map_err(|error| cannot(directory, &error))?;
    list(&pauses, out)
}

pub(super) fn resume(command: &ResumeCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let place = Place::load(&command.file.config).map_err(CliError::new)?;
    let directory = &place.data_directory;
    let Kinds { network, scheme } = &command.kinds;
    let all = network.is_none() && scheme.is_none();
    if !directory.exists() {
        return list(&[], out);
    }
    let _lock = pause::lock(directory).map_err(|error| cannot(directory, &error))?;
    let pauses = match pause::read(directory) {
        Paused::Nothing => Vec::new(),
        Paused::These(pauses) => pauses,
        Paused::Unreadable(_) if all => Vec::new(),
        Paused::Unreadable(why) => return Err(damaged(&why)),
    };
    let lifted = |pause: &Pause| {
        let is = |wanted: &Option<String>, this: &Option<String>| wanted.is_none() || wanted == this;
        is(network, &pause.network) && is(scheme, &pause.scheme)
    };
    let (gone, left): (Vec<Pause>, Vec<Pause>) = pauses.into_iter().partition(lifted);
    if gone.is_empty() && !all {
        list(&left, out)?;
        return Err(CliError(
            "no pause is of exactly that; write --network and --scheme as `switchyard paused` shows them, or neither \
             to lift every pause"
                .to_owned(),
        ));
    }
    pause::write(directory, &left).map_err(|error| cannot(directory, &error))?;
    list(&left, out)
}

pub(super) fn paused(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let place = Place::load(file).map_err(CliError::new)?;
    match pause::read(&place.data_directory) {
        Paused::Nothing => list(&[], out),
        Paused::These(pauses) => list(&pauses, out),
        Paused::Unreadable(why) => Err(damaged(&why)),
    }
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

/// A pause of something that is not there would stop nothing, and look as if it did.
fn exists(file: &Path, place: &Place, kinds: &Kinds) -> Result<(), CliError> {
    if let Some(network) = &kinds.network
        && !place.networks.contains(network)
    {
        let known = &place.networks;
        return Err(CliError(format!(
            "--network {network:?} is not configured; write one of {}",
            known.join(", ")
        )));
    }
    let Some(scheme) = &kinds.scheme else {
        return Ok(());
    };
    // Where the rest of the configuration or plugin files can't be looked at, a pause is more urgent than its spelling.
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

fn cannot(directory: &Path, error: &std::io::Error) -> CliError {
    CliError(format!(
        "{} can't be written ({error}); {}",
        directory.display(),
        remedy(error)
    ))
}

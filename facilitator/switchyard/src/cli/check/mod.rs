//! `switchyard check`: checks everything that needs no plugin code, including this machine, its sandbox and the journal. With `--ask` it
//! also checks nodes, drivers and schemes. No transaction is sent.

mod readiness;
mod shown;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use super::{CheckCommand, CliError, harmless, keys};
use crate::app::{
    App, JournalReader, Preflight, Survey, key_error, load_keys, missing_from_config, plugins_not_configured,
    preflight, with_added,
};
use crate::config::{Config, ConfigErrors};
use crate::known::Known;
use base::clock::{Clock as _, SystemClock};
use host::custody::Found as Remote;
use plugin_host::{ErrorKind, try_sandbox};
use shown::Shown;

pub(super) use readiness::print_reports;

pub(super) fn check(command: &CheckCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let config = Config::load(&command.file.config).map_err(CliError::new)?;
    let config = with_added(config).map_err(CliError)?;
    let (survey, keys) = (Survey::make(&config), keys::on_a_thread(keys_of(&config))?);
    let Preflight {
        errors: mut machine,
        is_running,
    } = preflight(&config);
    let key = match config.postgres {
        Some(_) => "journal.postgres",
        None => "data.directory",
    };
    let mut warnings = Vec::new();
    // A database that can't be reached is reported once.
    if let Ok(survey) = &survey
        && !machine
            .iter()
            .any(|error| error.key == key && config.postgres.is_some())
    {
        let journal = JournalReader::new(&config.data_directory, config.postgres.as_ref());
        let read = journal.and_then(|journal| {
            let errors = missing_from_config(&journal, &config, survey, SystemClock.now_s())?;
            Ok((errors, plugins_not_configured(&journal, survey)?))
        });
        match read {
            Ok((errors, sentences)) => {
                machine.extend(errors);
                warnings = sentences;
            }
            Err(error) => {
                let why = format!("the journal can't be read: {error}");
                machine.push(config.source.error(key, why));
            }
        }
    }
    let (survey, addresses) = match (survey, keys) {
        (Ok(survey), Ok(keys)) if machine.is_empty() => {
            warnings.extend(keys.silent);
            (survey, keys.addresses)
        }
        (survey, keys) => {
            let mut errors = survey.err().map(|errors| errors.0).unwrap_or_default();
            errors.extend(keys.err().map(|errors| errors.0).unwrap_or_default());
            errors.append(&mut machine);
            return Err(CliError::new(ConfigErrors(errors)));
        }
    };
    let untried = try_sandboxes(&config, &survey).map_err(CliError::new)?;
    Shown {
        config: &config,
        survey: &survey,
        known: &Known::load().map_err(CliError)?,
        addresses: &addresses,
    }
    .print(out)?;
    for warning in warnings {
        writeln!(out, "\nwarning: {}", harmless::line(&warning))?;
    }
    for why in untried {
        writeln!(
            out,
            "\n{why}; whether this system has all of the sandbox is known at the start only."
        )?;
    }
    if is_running {
        writeln!(
            out,
            "\nA running process uses this journal, so the port and the directory were not checked."
        )?;
    }
    if command.ask {
        return check_readiness(&config, out);
    }
    writeln!(
        out,
        "\nNot checked: whether nodes answer, signers hold gas and schemes are ready; `check --ask` does, and so does \
         `serve`: see /ready."
    )?;
    Ok(())
}

/// What is known of the keys.
struct Keys {
    /// What only a later transaction needs: a signer that does not answer, where the public key is written.
    silent: Vec<String>,
    /// By key name and family.
    addresses: BTreeMap<(String, String), String>,
}

/// Loads the keys and compares those at remote signers with what is known of them.
async fn keys_of(config: &Config) -> Result<Keys, ConfigErrors> {
    let custody = load_keys(config).await?;
    let (mut errors, mut silent) = (Vec::new(), Vec::new());
    for found in custody.check_remote().await {
        match found {
            Remote::Silent(error) => {
                silent.push(format!("{error}; nothing is sent with this key until it answers"))
            }
            Remote::Wrong(error) => errors.push(key_error(config, &error)),
        }
    }
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let mut addresses = BTreeMap::new();
    // The list is part of the program: `check` reports it when it can't be read.
    if let Ok(known) = Known::load() {
        for name in config.keys.keys() {
            for (family, address) in custody
                .public_key(name)
                .iter()
                .flat_map(|key| known.addresses(key))
            {
                addresses.insert((name.clone(), family.to_owned()), address);
            }
        }
    }
    Ok(Keys { silent, addresses })
}

/// Tries the sandbox of each isolated plugin, without the plugin. Returns which ones could not be tried.
///
/// # Errors
/// This system lacks a part that a plugin's entry wants.
fn try_sandboxes(config: &Config, survey: &Survey) -> Result<Vec<String>, ConfigErrors> {
    let (mut errors, mut untried) = (Vec::new(), Vec::new());
    for one in survey.instances.iter().filter(|one| one.is_isolated()) {
        match try_sandbox(&one.instance.file, &one.manifest, &one.instance.runner) {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Sandbox => {
                let key = format!("plugin.{}.sandbox", one.instance.name);
                errors.push(config.source.error(&key, error.to_string()));
            }
            Err(error) => untried.push(error.to_string()),
        }
    }
    if errors.is_empty() {
        Ok(untried)
    } else {
        Err(ConfigErrors(errors))
    }
}

/// Checks nodes, drivers and schemes, as the running process does.
fn check_readiness(config: &Config, out: &mut dyn Write) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError(format!(
            "no threads can be started ({error}); raise the process's limits"
        ))
    })?;
    let reports = runtime
        .block_on(App::check_readiness(config))
        .map_err(CliError::new);
    runtime.shutdown_timeout(Duration::from_secs(1));
    if print_reports(&reports?, out)? {
        Ok(())
    } else {
        Err(CliError("not everything is ready".to_owned()))
    }
}

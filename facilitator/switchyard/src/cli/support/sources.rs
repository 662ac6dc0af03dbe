//! What the files of a support bundle are made of: the configuration as far as it can be read, and what must be removed.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::scrub::Scrubber;
use super::shown;
use crate::app::{JournalReader, load_keys, with_added};
use crate::cli::{CliError, keys};
use crate::config::{CommandConfig, Config};

/// What a file is called where the configuration says nothing else.
const DATA_DIRECTORY: &str = "switchyard-data";
const PLUGINS: &str = "plugins";
const LISTEN: &str = "127.0.0.1:4020";

pub(super) struct Sources {
    pub(super) path: PathBuf,
    pub(super) scrubber: Scrubber,
    /// The configuration without secrets.
    pub(super) shown: Result<String, String>,
    /// As `serve` reads it.
    pub(super) config: Result<Config, String>,
    /// As commands read it, or else what the file says without a check.
    commands: Result<CommandConfig, String>,
    pub(super) data_directory: PathBuf,
    pub(super) plugins: PathBuf,
    /// Of the configuration, also where it has errors.
    pub(super) listen: String,
    pub(super) base_path: String,
    pub(super) has_tls: bool,
    /// What could not be read.
    pub(super) notes: Vec<String>,
}

impl Sources {
    /// Reads the configuration and each secret that it names.
    pub(super) fn read(path: &Path) -> Self {
        let mut sources = Self::without_keys(path, "");
        if let Ok(config) = &sources.config {
            let loaded = keys::on_a_thread(load_keys(config));
            match loaded {
                Ok(Ok(custody)) => sources.scrubber.hide_keys(custody.digests()),
                Ok(Err(errors)) => sources.notes.push(errors.to_string()),
                Err(CliError(why)) => sources.notes.push(why),
            }
        }
        sources
    }

    /// The same, and no key is loaded.
    pub(super) fn without_keys(path: &Path, why: &str) -> Self {
        let mut scrubber = Scrubber::default();
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let environment = |name: &str| std::env::var(name).ok();
        shown::hide_environment(
            &mut scrubber,
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        );
        let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.map_err(|error| format!("{} can't be read: {error}", path.display()));
        let parsed = text.as_deref().unwrap_or_default();
        // What stands before an error of the syntax is there.
        let (root, _) = DeTable::parse_recoverable(parsed);
        let root = root.get_ref();
        shown::hide_secrets(&mut scrubber, parsed, root, &folder, &environment);
        let config = Config::load(path).map_err(|errors| errors.to_string());
        let config = config.and_then(with_added);
        if let Ok(config) = &config {
            for digest in config.tenants.iter().flat_map(|tenant| &tenant.access.key_sha256) {
                scrubber.hide_digest(*digest);
            }
        }
        let commands = CommandConfig::load(path).map_err(|errors| errors.to_string());
        let data_directory = match &commands {
            Ok(commands) => commands.data_directory.clone(),
            Err(_) => folder.join(member(root, "data", "directory").unwrap_or(DATA_DIRECTORY)),
        };
        let shown = text
            .as_ref()
            .map(|_| shown::config(root, &scrubber))
            .map_err(Clone::clone);
        let notes = (!why.is_empty()).then(|| format!("the keys were not loaded: {why}"));
        Self {
            path: path.to_owned(),
            shown,
            commands,
            data_directory,
            plugins: folder.join(member(root, "plugins", "directory").unwrap_or(PLUGINS)),
            listen: member(root, "server", "listen").unwrap_or(LISTEN).to_owned(),
            base_path: member(root, "server", "base_path").unwrap_or_default().to_owned(),
            has_tls: table(root, "server").is_some_and(|server| table(server, "tls").is_some()),
            notes: notes.into_iter().collect(),
            config,
            scrubber,
        }
    }

    /// The journal. Nothing is opened yet.
    pub(super) fn journal(&self) -> Result<JournalReader, CliError> {
        let database = match &self.commands {
            Ok(commands) => commands.postgres.as_ref(),
            Err(why)
                if self
                    .shown
                    .as_ref()
                    .is_ok_and(|text| text.contains("\npostgres = ")) =>
            {
                return Err(CliError::new(why));
            }
            Err(_) => None,
        };
        JournalReader::new(&self.data_directory, database).map_err(CliError::new)
    }
}

fn table<'t>(root: &'t DeTable<'t>, name: &str) -> Option<&'t DeTable<'t>> {
    match root.get(name)?.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// A string of a section. One with a variable counts as absent.
fn member<'t>(root: &'t DeTable<'t>, section: &str, name: &str) -> Option<&'t str> {
    match table(root, section)?.get(name)?.get_ref() {
        DeValue::String(text) if !text.contains("${") => Some(text.as_ref()),
        _ => None,
    }
}

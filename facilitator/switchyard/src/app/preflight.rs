//! Checks the port, its certificate and the data directory before anything is opened.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use admin_api::Listen;

use crate::config::{Config, ConfigError, ConfigErrors};
use journal::postgres::PostgresJournal;
use journal::sqlite;
use telemetry::disk;

/// Write permission for users that are neither the owner nor in its group.
const OTHERS_MAY_WRITE: u32 = 0o002;

/// Errors at which `serve` would stop, and whether a running process uses this configuration's journal: then neither the
/// port nor the directory can be checked.
#[derive(Debug)]
pub struct Preflight {
    pub errors: Vec<ConfigError>,
    pub is_running: bool,
}

/// Checks the port, its certificate and the data directory, and changes none of them.
#[must_use]
pub fn preflight(config: &Config) -> Preflight {
    let is_running = is_in_use(&config.data_directory);
    let mut errors = Vec::new();
    if let Err(error) = data_directory(config) {
        errors.extend(error.0);
    } else if !is_running && let Err(error) = try_writing(&config.data_directory) {
        // `serve` makes a directory that does not exist yet.
        if error.kind() != io::ErrorKind::NotFound {
            let why = format!(
                "{} can't be written ({error}); {}",
                config.data_directory.display(),
                disk::remedy(&error)
            );
            errors.push(config.source.error("data.directory", why));
        }
    }
    if let Err(error) = super::otlp::settings(config, &|name| std::env::var(name).ok()) {
        errors.extend(error.0);
    }
    if let Err(error) = super::journals::no_file(config) {
        errors.extend(error.0);
    }
    if let Some(database) = &config.postgres
        && let Err(error) = PostgresJournal::check(database)
    {
        errors.push(config.source.error("journal.postgres", error.0));
    }
    errors.extend(super::certificates::check(config));
    if !is_running && let Err(error) = TcpListener::bind(config.server.listen) {
        errors.push(cannot_listen(config, "server.listen", &error));
    }
    if !is_running
        && let Some(admin) = &config.admin
        && let Listen::Tcp(address) = &admin.listen
        && let Err(error) = TcpListener::bind(address)
    {
        errors.push(cannot_listen(config, "admin.listen", &error));
    }
    if !is_running
        && let Some(admin) = &config.admin
        && let Listen::Unix(path) = &admin.listen
        && let Err(error) = admin_api::check_socket(path)
    {
        errors.push(config.source.error("admin.listen", error.to_string()));
    }
    Preflight { errors, is_running }
}

/// Writes a file into the directory and removes it.
fn try_writing(directory: &Path) -> io::Result<()> {
    let probe = directory.join(disk::PROBE);
    let existed = probe.symlink_metadata().is_ok();
    let written = disk::probe(directory);
    if existed || written.is_err() {
        return written;
    }
    fs::remove_file(probe)
}

/// The error when the port can't be opened.
#[must_use]
pub fn cannot_listen(config: &Config, key: &str, error: &io::Error) -> ConfigError {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: end it, or write another port",
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: write one that it has, or 0.0.0.0 for all of them"
        }
        io::ErrorKind::PermissionDenied => "the port belongs to the system: write one from 1024 on",
        _ => "name a free address and port of this machine",
    };
    let listen = match &config.admin {
        Some(admin) if key == "admin.listen" => match &admin.listen {
            Listen::Tcp(address) => address.to_string(),
            Listen::Unix(path) => path.display().to_string(),
        },
        Some(_) | None => config.server.listen.to_string(),
    };
    let why = format!("{listen} can't be bound ({error}); {what}");
    config.source.error(key, why)
}

/// Refuses a data directory in which other users can replace the journal, or the copies of plugins that will be loaded.
pub(super) fn data_directory(config: &Config) -> Result<(), ConfigErrors> {
    let directory = &config.data_directory;
    let refuse = |why: String| Err(ConfigErrors(vec![config.source.error("data.directory", why)]));
    match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => refuse(format!(
            "the journal can't be opened: {} is a file, and a folder has to be there; remove it, or write another folder",
            directory.display()
        )),
        Ok(found) if found.permissions().mode() & OTHERS_MAY_WRITE != 0 => refuse(format!(
            "{} can be changed by every user of this machine (mode {:04o}); run: chmod o-w {}",
            directory.display(),
            found.permissions().mode() & 0o7777,
            directory.display()
        )),
        // Opening the journal reports every other problem.
        Ok(_) | Err(_) => match not_a_folder(directory) {
            Some(file) => refuse(format!(
                "{} is a file, and {} is to be in it: write another folder",
                file.display(),
                directory.display()
            )),
            None => Ok(()),
        },
    }
}

/// If the directory does not exist: the part of its path that is a file.
fn not_a_folder(directory: &Path) -> Option<&Path> {
    let nearest = directory.ancestors().skip(1).find(|folder| folder.exists())?;
    (!nearest.is_dir()).then_some(nearest)
}

/// Whether a process holds the journal in this directory.
fn is_in_use(directory: &Path) -> bool {
    let Ok(lock) = File::open(sqlite::lock_file(directory)) else {
        return false;
    };
    // The lock is released at once, when the file is dropped.
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::sqlite::SqliteJournal;

    fn config(folder: &Path, listen: &str) -> Config {
        let text = format!(
            "[server]\nlisten = \"{listen}\"\n[data]\ndirectory = \"data\"\n[keys.hot]\nenv = \"K\"\n\
             [networks.\"eip155:1\"]\nrpc = [\"http://127.0.0.1:1\"]\nsigners = [\"hot\"]\nmax_cost = \"1000000\"\n\
             [plugins]\ndev = true\n[plugin.evm]\nfile = \"x.so\"\n"
        );
        Config::parse("c.toml", folder, &text, &|_| None).unwrap()
    }

    #[test]
    fn a_database_is_checked_and_not_changed_and_a_journal_in_the_folder_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), "127.0.0.1:0");
        let server = pg::server();
        let database = server.new_database();
        let mut with = |url: &str| {
            config.postgres = Some(journal::postgres::Settings::new(url));
            errors_of(&config)
        };
        let nothing_there = with("postgres://u:hidden-word@127.0.0.1:1/d?sslmode=disable");
        assert!(nothing_there.contains("journal.postgres") && nothing_there.contains("can't be reached"));
        assert!(!nothing_there.contains("hidden-word"), "{nothing_there}");
        assert_eq!(with(&server.url(&database)), "");
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'switchyard'";
        assert_eq!(server.psql(&database, schemas), "0");
        drop(SqliteJournal::open(&folder.path().join("data")).unwrap());
        let two = with(&server.url(&database));
        assert!(two.contains("would be forgotten"), "{two}");
    }

    fn errors_of(config: &Config) -> String {
        ConfigErrors(preflight(config).errors).to_string()
    }

    #[test]
    fn a_port_in_use_is_reported_before_serve_stops_at_it() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap().to_string();
        let errors = errors_of(&config(folder.path(), &listen));
        assert!(
            errors.starts_with(&format!("c.toml:2: server.listen: {listen} can't be bound"))
                && errors.contains("another program listens there"),
            "{errors}"
        );
        let errors = errors_of(&config(folder.path(), "192.0.2.1:4020"));
        assert!(
            errors.contains("this machine does not have that address"),
            "{errors}"
        );
        // Not the port that was taken: another test may have it by now.
        assert_eq!(
            errors_of(&config(folder.path(), "127.0.0.1:0")),
            "",
            "and nothing is left"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_data_directory_that_is_a_file_or_writable_by_all_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "127.0.0.1:0");
        let data = folder.path().join("data");
        fs::write(&data, "").unwrap();
        let errors = errors_of(&config);
        assert!(
            errors.starts_with("c.toml:4: data.directory: ") && errors.contains("is a file"),
            "{errors}"
        );
        fs::remove_file(&data).unwrap();
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        let errors = errors_of(&config);
        assert!(errors.contains("(mode 0777); run: chmod o-w"), "{errors}");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(errors_of(&config), "");
        std::os::unix::fs::symlink("/dev/full", data.join(disk::PROBE)).unwrap();
        let errors = errors_of(&config);
        assert!(errors.contains("the disk is full: make room"), "{errors}");
    }

    #[test]
    fn the_port_and_directory_of_a_running_process_are_not_checked() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = config(folder.path(), &taken.local_addr().unwrap().to_string());
        let journal = SqliteJournal::open(&config.data_directory).unwrap();
        let seen = preflight(&config);
        assert!(seen.is_running && seen.errors.is_empty(), "{seen:?}");
        drop(journal);
    }
}

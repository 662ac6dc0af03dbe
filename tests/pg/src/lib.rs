//! A PostgreSQL server for tests: Debian's binaries, a temporary folder, a free port, a user that is not root.
//!
//! [`server`] starts one server for the whole test process, and [`Server::database`] makes a new, empty database. The
//! server writes through to the disk (`fsync` stays on): what a test reads after a crash is what an operator would read.
//!
//! The server ends with the process that started it, however that process ends: a shell holds the other end of a pipe,
//! and stops the server when the pipe closes.

#![allow(
    clippy::disallowed_methods,
    reason = "starts and waits for a process of the tests"
)]

mod binaries;
mod user;

use std::fmt;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use user::User;

/// The superuser of the servers.
pub const USER: &str = "switchyard";
/// Its password.
pub const PASSWORD: &str = "pg-test-password";
/// A server that takes longer to start is reported as broken.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server. It is stopped and its folder is removed when this is dropped, or when the process ends.
pub struct Server {
    binaries: PathBuf,
    user: User,
    folder: PathBuf,
    port: u16,
    postgres: Child,
    watchdog: Child,
    next: AtomicU64,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The server of this process, which the first caller starts.
///
/// # Panics
/// When there is no PostgreSQL and it can't be installed, or it does not start: the text says what to do.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]).unwrap_or_else(|error| panic!("{error}")))
}

impl Server {
    /// Starts a server with these settings (`name=value`) beyond the usual ones.
    ///
    /// # Errors
    /// A text that says what is missing or what the server wrote.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        Self::start_with(settings, |_| Ok(()))
    }

    /// The same. `prepare` may put files into the server's data folder, whose owner they get; paths in settings are
    /// relative to it.
    ///
    /// # Errors
    /// As [`Server::start`] has.
    pub fn start_with(
        settings: &[&str],
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Self, String> {
        let binaries = binaries::find_or_install()?;
        let user = User::for_server()?;
        let folder = tempfile::Builder::new()
            .prefix("pg-")
            .tempdir()
            .map_err(|error| format!("no temporary folder for PostgreSQL: {error}"))?
            .keep();
        let failed = |error: io::Error| format!("{} can't be prepared: {error}", folder.display());
        user.own(&folder).map_err(failed)?;
        let data = folder.join("data");
        initdb(&binaries, &user, &folder, &data)?;
        prepare(&data).map_err(failed)?;
        for entry in fs::read_dir(&data).map_err(failed)? {
            user.own(&entry.map_err(failed)?.path()).map_err(failed)?;
        }
        // Another process may take the free port before the server does.
        let mut last = String::new();
        for _ in 0..5 {
            let port = free_port().map_err(failed)?;
            match run(&binaries, &user, &folder, port, settings) {
                Ok((postgres, watchdog)) => {
                    return Ok(Self {
                        binaries,
                        user,
                        folder,
                        port,
                        postgres,
                        watchdog,
                        next: AtomicU64::new(0),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The port at 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its data and of its socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process, for tests that stop it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.postgres.id()
    }

    /// Makes a new, empty database and returns its name.
    ///
    /// # Panics
    /// When the server can't make it.
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Makes a new, empty database and returns its URL, over TCP and without TLS.
    ///
    /// # Panics
    /// When the server can't make it.
    pub fn database(&self) -> String {
        self.url(&self.new_database())
    }

    /// The URL of a database, over TCP and without TLS.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The same, by way of another port: that of a proxy.
    #[must_use]
    pub fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Runs SQL and returns what it prints: rows as lines, columns separated by `|`.
    ///
    /// # Panics
    /// When the SQL fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.binaries.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-U", USER, "-d", database, "-c", sql])
            .args(["-p", &self.port.to_string()])
            .env("PGPASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("psql does not run: {error}"));
        let printed = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {complaint}");
        printed
    }

    /// Stops the server and starts it again with the same data and port. `signal`: `INT` ends its sessions, `QUIT` is a
    /// crash.
    ///
    /// # Errors
    /// What the server wrote.
    pub fn restart(&mut self, signal: &str, settings: &[&str]) -> Result<(), String> {
        self.stop(signal);
        let started = run(&self.binaries, &self.user, &self.folder, self.port, settings)?;
        (self.postgres, self.watchdog) = started;
        Ok(())
    }

    /// Stops the server and keeps its data.
    pub fn stop(&mut self, signal: &str) {
        // The watchdog first: it would remove the folder.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = Command::new("kill")
            .args([&format!("-{signal}"), &self.postgres.id().to_string()])
            .status();
        let _ = self.postgres.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop("INT");
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn initdb(binaries: &Path, user: &User, folder: &Path, data: &Path) -> Result<(), String> {
    let password = folder.join("password");
    fs::write(&password, PASSWORD)
        .and_then(|()| user.own(&password))
        .map_err(|error| format!("{}: {error}", password.display()))?;
    let output = user
        .run(&binaries.join("initdb"))
        .args([
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "--auth=scram-sha-256",
        ])
        .args(["--username", USER])
        .arg("--pwfile")
        .arg(&password)
        .arg("--pgdata")
        .arg(data)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("initdb does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("initdb failed: {complaint}"))
}

/// Starts the server and its watchdog, and waits until the server accepts connections.
fn run(
    binaries: &Path,
    user: &User,
    folder: &Path,
    port: u16,
    settings: &[&str],
) -> Result<(Child, Child), String> {
    let log = folder.join("log");
    let output = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = output
        .try_clone()
        .map_err(|error| format!("{}: {error}", log.display()))?;
    let sockets = folder.display().to_string();
    let usual = [
        "listen_addresses=127.0.0.1",
        "max_connections=400",
        "shared_buffers=64MB",
        "dynamic_shared_memory_type=mmap",
        &format!("port={port}"),
        &format!("unix_socket_directories={sockets}"),
    ];
    let mut command = user.run(&binaries.join("postgres"));
    command.arg("-D").arg(folder.join("data"));
    for setting in usual.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    let mut postgres = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("postgres does not run: {error}"))?;
    let mut watchdog = watch(&postgres, folder)?;
    let by = Instant::now() + START_LIMIT;
    while Instant::now() < by {
        if let Ok(Some(status)) = postgres.try_wait() {
            let _ = watchdog.kill();
            let _ = watchdog.wait();
            let wrote = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("postgres ended with {status}: {wrote}"));
        }
        let is_ready = Command::new(binaries.join("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status()
            .is_ok_and(|status| status.success());
        if is_ready {
            return Ok((postgres, watchdog));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = postgres.kill();
    let _ = watchdog.kill();
    Err(format!(
        "postgres was not ready within {} s",
        START_LIMIT.as_secs()
    ))
}

/// A shell that stops the server and removes its folder once this process is gone, with it the pipe's other end.
fn watch(postgres: &Child, folder: &Path) -> Result<Child, String> {
    Command::new("sh")
        .args(["-c", "read _; kill -QUIT \"$1\"; sleep 1; rm -rf \"$2\"", "sh"])
        .arg(postgres.id().to_string())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("no shell that would stop PostgreSQL: {error}"))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_fresh_databases_and_writes_through() {
        let server = server();
        let (first, second) = (server.new_database(), server.new_database());
        server.psql(&first, "CREATE TABLE t (x int)");
        assert_eq!(
            server.psql(&second, "SELECT count(*) FROM pg_tables WHERE tablename = 't'"),
            "0"
        );
        assert_eq!(server.psql(&first, "SHOW fsync"), "on");
        assert_ne!(server.psql(&first, "SHOW data_directory"), "");
    }

    #[test]
    fn what_is_committed_is_there_after_a_crash() {
        let mut server = Server::start(&[]).unwrap();
        server.psql("postgres", "CREATE TABLE t AS SELECT 7 AS x");
        server.restart("QUIT", &[]).unwrap();
        assert_eq!(server.psql("postgres", "SELECT x FROM t"), "7");
        let folder = server.folder().to_owned();
        drop(server);
        assert!(!folder.exists());
    }
}

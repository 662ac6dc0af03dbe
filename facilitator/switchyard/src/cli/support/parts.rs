//! The files of a support bundle.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::SupportCommand;
use super::sources::Sources;
use super::system;
use crate::app::{Survey, plugin_folder_in};
use crate::cli::{
    CheckCommand, CliError, ConfigFile, check, explain, journal_files, pause, plugin_quarantine, shell,
};
use journal::withheld_releases;

/// The most bytes of a reply of the running process.
const MAX_REPLY: u64 = 4 << 20;
/// How long the process may take to accept a connection, and for each part of its reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(3);
/// The most bytes at the end of a log that are read.
const MAX_LOG: u64 = 16 << 20;
/// The most plugin files that are read where the configuration has errors.
const MAX_PLUGINS: usize = 64;

type Make = Arc<dyn Fn(&Sources) -> Result<String, CliError> + Send + Sync>;

/// A file of the bundle.
pub(super) struct Part {
    pub(super) file: &'static str,
    /// What it has, for people.
    pub(super) what: &'static str,
    /// Makes its text, without secrets.
    pub(super) make: Make,
}

fn part(
    file: &'static str,
    what: &'static str,
    make: impl Fn(&Sources) -> Result<String, CliError> + Send + Sync + 'static,
) -> Part {
    let make = Arc::new(make);
    Part { file, what, make }
}

/// All files that this command writes.
pub(super) fn parts(command: &SupportCommand, time: &str) -> Vec<Part> {
    let time = time.to_owned();
    let mut parts = vec![
        part("version.txt", "version, commit, plugin ABI, time", move |_| {
            let mut out = Vec::new();
            shell::version(&mut out)?;
            writeln!(out, "{:<12}{time}", "time")?;
            Ok(text_of(out))
        }),
        part("config.toml", "the configuration, without secrets", config),
        part("check.txt", "what `switchyard check` says", checked),
        part(
            "journal.txt",
            "schema, sizes, number of rows; no payload",
            journal,
        ),
        part(
            "plugins.txt",
            "plugin files, their versions and SHA-256, quarantine",
            plugins,
        ),
        part("pauses.txt", "what is paused", |sources| {
            let mut out = Vec::new();
            pause::paused_in(&sources.journal()?, &mut out)?;
            Ok(sources.scrubber.text(&text_of(out)))
        }),
        part("ready.txt", "GET /ready of the running process", |sources| {
            fetch(sources, "/ready")
        }),
        part("metrics.txt", "GET /metrics of the running process", |sources| {
            fetch(sources, "/metrics")
        }),
        part(
            "system.txt",
            "kernel, processors, memory, disk, limits",
            |sources| Ok(sources.scrubber.text(&system::facts(&sources.data_directory))),
        ),
    ];
    if let Some(path) = command.log.clone() {
        let lines = command.lines;
        parts.push(part("log.txt", "the end of the log", move |sources| {
            Ok(sources.scrubber.text(&log_end(&path, lines)?))
        }));
    }
    if let Some(name) = command.payment.clone() {
        parts.push(part(
            "payment.txt",
            "what is recorded of the payment; no payload",
            move |sources| {
                let mut out = Vec::new();
                let ids = explain::timeline(&sources.journal()?, &name, &mut out)?;
                Ok(sources.scrubber.keeping(ids).text(&text_of(out)))
            },
        ));
    }
    parts
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn config(sources: &Sources) -> Result<String, CliError> {
    let mut text = format!("# {}\n", sources.path.display());
    if let Err(why) = &sources.config {
        text.push_str(
            "# It has errors: see check.txt. What stands after an error of the syntax may be missing here.\n",
        );
        text.extend(why.lines().map(|line| format!("# {line}\n")));
    }
    text.extend(
        sources
            .notes
            .iter()
            .map(|note| format!("# {}\n", note.replace('\n', "; "))),
    );
    text = sources.scrubber.text(&text);
    text.push_str(sources.shown.as_ref().map_err(CliError::new)?);
    Ok(text)
}

fn checked(sources: &Sources) -> Result<String, CliError> {
    let command = CheckCommand {
        ask: false,
        file: ConfigFile {
            config: sources.path.clone(),
        },
    };
    let mut out = Vec::new();
    let result = check::check(&command, &mut out);
    let mut text = text_of(out);
    if let Err(CliError(why)) = result {
        text.push_str(&why);
        text.push('\n');
    }
    Ok(sources.scrubber.text(&text))
}

fn journal(sources: &Sources) -> Result<String, CliError> {
    let journal = sources.journal()?;
    let mut out = Vec::new();
    writeln!(out, "{:<22} {}", "journal", journal.place())?;
    journal_files::stats_of(&journal, &mut out)?;
    writeln!(out, "\nOpen payments are those of `unfinished`.")?;
    match journal.read(|rows| withheld_releases(rows)) {
        Ok(withheld) => {
            let count = withheld.map_or(0, |withheld| withheld.len());
            writeln!(out, "Withheld releases: {count}")?;
        }
        Err(error) => writeln!(out, "Withheld releases can't be read: {error}")?,
    }
    Ok(sources.scrubber.text(&text_of(out)))
}

fn plugins(sources: &Sources) -> Result<String, CliError> {
    let mut out = Vec::new();
    let mut digests = Vec::new();
    let survey = sources.config.as_ref().map_err(Clone::clone);
    let survey = survey.and_then(|config| Survey::make(config).map_err(|errors| errors.to_string()));
    match survey {
        Ok(survey) => {
            for one in &survey.instances {
                let (instance, manifest) = (&one.instance, &one.manifest);
                writeln!(
                    out,
                    "plugin.{}: {} {}",
                    instance.name, manifest.id, manifest.version
                )?;
                writeln!(out, "  file      {}", instance.file.display())?;
                writeln!(out, "  sha256    {}", one.sha256)?;
                writeln!(out, "  isolated  {}", one.is_isolated())?;
                writeln!(out, "  abi       {}.{}", manifest.abi.major, manifest.abi.minor)?;
                digests.push(one.sha256.to_string());
            }
        }
        Err(why) => {
            writeln!(out, "The configuration's plugins can't be read:\n{why}\n")?;
            files_in(&sources.plugins, &mut out, &mut digests)?;
        }
    }
    writeln!(out, "\nQuarantine:")?;
    if let Err(CliError(why)) = plugin_quarantine::list(&plugin_folder_in(&sources.data_directory), &mut out)
    {
        writeln!(out, "not read: {why}")?;
    }
    Ok(sources.scrubber.keeping(digests).text(&text_of(out)))
}

/// The plugin files of a folder.
fn files_in(folder: &Path, out: &mut Vec<u8>, digests: &mut Vec<String>) -> Result<(), CliError> {
    writeln!(out, "Files in {}:", folder.display())?;
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return Ok(writeln!(out, "can't be read: {error}")?),
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_plugin = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "so");
    let mut paths: Vec<_> = paths.filter(is_plugin).collect();
    paths.sort();
    for path in paths.iter().take(MAX_PLUGINS) {
        match plugin_host::inspect(path) {
            Ok(found) => {
                let manifest = &found.manifest;
                writeln!(out, "  {}: {} {}", path.display(), manifest.id, manifest.version)?;
                writeln!(out, "    sha256 {}", found.sha256)?;
                digests.push(found.sha256.to_string());
            }
            Err(error) => writeln!(out, "  {error}")?,
        }
    }
    Ok(())
}

/// The reply of the running process.
fn fetch(sources: &Sources, path: &str) -> Result<String, CliError> {
    if sources.has_tls {
        return Err(CliError(format!(
            "server.tls is set, and this command reads plain HTTP only; run curl on {path}, read the result and send it, too"
        )));
    }
    let address = sources
        .listen
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next());
    let Some(address) = address.map(local).filter(|address| address.port() != 0) else {
        return Err(CliError("server.listen names no port".to_owned()));
    };
    let reply = get(address, &format!("{}{path}", sources.base_path));
    let reply =
        reply.map_err(|error| CliError(format!("{address}{path}: {error}; perhaps no process runs")))?;
    Ok(sources.scrubber.text(&reply))
}

/// Where a process that listens on all addresses can be reached.
fn local(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, REPLY_TIMEOUT)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
    // HTTP/1.0: the reply is not in chunks, and the connection ends with it.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.take(MAX_REPLY).read_to_end(&mut bytes)?;
    Ok(text_of(bytes))
}

/// The last lines of a file.
fn log_end(path: &Path, lines: usize) -> Result<String, CliError> {
    let failed = |error: std::io::Error| {
        CliError(format!(
            "{} can't be read ({error}); name the log with --log",
            path.display()
        ))
    };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))
        .map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut bytes).map_err(failed)?;
    let text = text_of(bytes);
    let all: Vec<&str> = text.lines().collect();
    let last = all.get(all.len().saturating_sub(lines)..).unwrap_or_default();
    Ok(last.join("\n"))
}

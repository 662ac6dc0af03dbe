//! Tries the sandbox of an isolated plugin without its code: a process puts the sandbox on, says what is missing, and ends before it
//! opens the file.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sdk_plugin::Manifest;
use serde_json::Value;

use super::keeper::restrictions;
use super::process::RESERVE;
use super::start::sentence;
use super::{RunnerSettings, Sandbox};
use crate::error::{ErrorKind, PluginError};
use crate::frame::{Incoming, Kind, Message};
use crate::runner::{SETUP_BYTES, SUBCOMMAND, Sandboxed, Setup};

/// How long the process may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether the sandbox can be put on around a plugin as its settings want it. Blocks for some milliseconds, and runs no code of
/// the plugin.
///
/// # Errors
/// [`ErrorKind::Sandbox`]: this system lacks a part, in the sentence with which a start refuses the plugin. Another kind: it could
/// not be tried.
pub fn try_sandbox(plugin: &Path, manifest: &Manifest, settings: &RunnerSettings) -> Result<(), PluginError> {
    match settings.sandbox {
        Sandbox::Partial => return Ok(()),
        Sandbox::Full => {}
    }
    let fail = |kind, message| PluginError::new(plugin, kind, message);
    let sandboxed = sandboxed(plugin, manifest, settings)
        .map_err(|why| fail(ErrorKind::Start, format!("its sandbox could not be tried: {why}")))?;
    match sentence(&sandboxed) {
        None => Ok(()),
        Some(sentence) => Err(fail(ErrorKind::Sandbox, sentence)),
    }
}

/// A process that is ended with this.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sandboxed(plugin: &Path, manifest: &Manifest, settings: &RunnerSettings) -> Result<Sandboxed, String> {
    let cannot = |error: std::io::Error| format!("its process can't be started ({error})");
    let (mut ours, theirs) = UnixStream::pair().map_err(cannot)?;
    ours.set_read_timeout(Some(LIMIT)).map_err(cannot)?;
    ours.set_write_timeout(Some(LIMIT)).map_err(cannot)?;
    let mut command = Command::new(&settings.program);
    command
        .arg0("switchyard")
        .args([SUBCOMMAND, &manifest.id])
        .env_clear()
        .env(RESERVE.0, RESERVE.1)
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(File::open(plugin).map_err(cannot)?)
        .stderr(Stdio::null());
    let process = Ending(command.spawn().map_err(cannot)?);
    // The socket's other end is the process's alone, so that its end is read.
    drop(command);
    let setup = Setup {
        instance_id: 1,
        plugin: plugin.to_owned(),
        manifest: manifest.clone(),
        config: Value::Null,
        threads: 1,
        queued_tasks: 1,
        log_level: 1,
        sandbox: restrictions(settings),
    };
    let setup = serde_json::to_vec(&setup).map_err(|error| error.to_string())?;
    for frame in Message::new(Kind::Setup, 0, setup).frames() {
        ours.write_all(&frame)
            .map_err(|error| format!("its process does not read ({error})"))?;
    }
    let mut incoming = Incoming::new(SETUP_BYTES);
    let answer = loop {
        if let Some(message) = incoming.next().map_err(|error| error.to_string())? {
            break message;
        }
        match ours.read(incoming.room()) {
            Ok(0) => return Err("its process ended".to_owned()),
            Ok(count) => incoming.filled(count),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("its process does not answer ({error})")),
        }
    };
    drop(process);
    match answer.kind {
        Kind::Sandboxed => serde_json::from_slice(&answer.body).map_err(|error| error.to_string()),
        other => Err(format!("its process answered {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn manifest() -> Manifest {
        serde_json::from_value(serde_json::json!({
            "id": "mytoken", "version": "1.0.0", "abi": { "major": 1, "minor": 0 }, "description": "", "licence": "MIT",
            "services": [], "drivers": [], "schemes": [], "configSchema": {}
        }))
        .expect("a manifest")
    }

    /// A program that answers as one on a system that lacks these parts.
    fn settings(folder: &Path, missing: &[&str]) -> RunnerSettings {
        let sandboxed = Sandboxed {
            missing: missing.iter().map(|part| (*part).to_owned()).collect(),
        };
        let body = serde_json::to_vec(&sandboxed).expect("JSON");
        let frames: Vec<u8> = Message::new(Kind::Sandboxed, 0, body)
            .frames()
            .flatten()
            .collect();
        let (answer, program) = (folder.join("answer"), folder.join("program"));
        std::fs::write(&answer, frames).expect("written");
        let text = format!(
            "#!/bin/sh\n/bin/cat '{}' >&0\n/bin/cat >/dev/null\n",
            answer.display()
        );
        std::fs::write(&program, text).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
        RunnerSettings {
            program,
            sandbox: Sandbox::Full,
            memory_bytes: 1 << 28,
        }
    }

    #[test]
    fn a_part_that_the_system_lacks_is_reported_as_at_a_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let plugin = folder.path().join("plugin.so");
        std::fs::write(&plugin, "").expect("written");
        let whole = settings(folder.path(), &[]);
        assert!(try_sandbox(&plugin, &manifest(), &whole).is_ok());
        let lacking = settings(folder.path(), &["Landlock, which restricts files (Linux 5.13)"]);
        let error = try_sandbox(&plugin, &manifest(), &lacking).expect_err("it lacks a part");
        assert_eq!(error.kind, ErrorKind::Sandbox);
        assert!(
            error
                .message
                .starts_with("this system lacks a part of the sandbox: Landlock"),
            "{error}"
        );
        let partial = RunnerSettings {
            sandbox: Sandbox::Partial,
            ..lacking
        };
        assert!(try_sandbox(&plugin, &manifest(), &partial).is_ok());
        let no_runner = RunnerSettings {
            program: "/bin/true".into(),
            ..whole
        };
        let error = try_sandbox(&plugin, &manifest(), &no_runner).expect_err("it says nothing");
        assert_eq!(error.kind, ErrorKind::Start, "{error}");
    }
}

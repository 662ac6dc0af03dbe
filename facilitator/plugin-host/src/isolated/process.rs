//! The start and the end of an isolated plugin's process.
//!
//! A thread belongs to each process: it starts it, passes on what it writes to standard error, and waits for its end. The kernel
//! ends the process with that thread, so that none outlives the core.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, Signal};
use sdk_plugin::host::Level;
use tokio::sync::oneshot;

use crate::bridge::Bridge;
use crate::runner::{SUBCOMMAND, call_of};
use crate::signal::signal_text;

/// Longest line of standard error.
const LINE_BYTES: u64 = 2 << 10;
/// Lines that are read of it in a window.
const ERRORS_PER_WINDOW: u32 = 50;
const ERRORS_WINDOW: Duration = Duration::from_millis(100);
/// How much of the last line is kept.
const LAST_LINE_CHARS: usize = 200;
/// The allocator's first reservation, in KiB: by default it is larger than what a plugin may use.
pub(super) const RESERVE: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32768");

/// A process that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: u32,
    handle: OwnedFd,
    exited: oneshot::Receiver<Exit>,
}

/// The end of a process.
#[derive(Debug)]
struct Exit {
    status: std::io::Result<ExitStatus>,
    /// The call that it named at its end.
    call: Option<u64>,
    /// The last line that it wrote to standard error.
    last_line: String,
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// A part of a sentence.
    pub(super) how: String,
    /// What it wrote at its end: a text of the plugin.
    pub(super) last_line: String,
    /// The call in which it ended, where that is known.
    pub(super) call: Option<u64>,
}

impl Ended {
    /// With the plugin's text, for the log.
    pub(super) fn in_full(&self) -> String {
        match self.last_line.as_str() {
            "" => self.how.clone(),
            line => format!("{} and wrote {line:?} at its end", self.how),
        }
    }
}

impl Process {
    /// Starts a process. The other end of `socket` is the core's.
    pub(super) async fn start(
        program: &Path,
        name: &str,
        copy: &Path,
        socket: UnixStream,
        bridge: &'static Bridge,
    ) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg0("switchyard")
            .args([SUBCOMMAND, name])
            .env_clear()
            .env(RESERVE.0, RESERVE.1)
            .current_dir("/")
            // Signals to the core's group are not for it: it ends when the core has drained.
            .process_group(0)
            .stdin(OwnedFd::from(socket))
            .stdout(File::open(copy)?)
            .stderr(Stdio::piped());
        let (tell, started) = oneshot::channel();
        let (end, exited) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("runner {name}"))
            .spawn(move || {
                // Nobody listens where the load was given up meanwhile.
                match start(command) {
                    Ok((mut child, handle)) => {
                        if tell.send(Ok((child.id(), handle))).is_err() {
                            // It has ended already, otherwise.
                            let _ = child.kill();
                        }
                        drop(end.send(wait(child, bridge)));
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            })?;
        let (id, handle) = started
            .await
            .map_err(|_| std::io::Error::other("its thread ended"))??;
        Ok(Self { id, handle, exited })
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        match process::pidfd_send_signal(&self.handle, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                tracing::error!(process = self.id, %error, "the process of a plugin can't be ended")
            }
        }
    }

    /// How it ended. Waits for it.
    pub(super) async fn end(&mut self) -> Ended {
        let Ok(Exit {
            status,
            call,
            last_line,
        }) = (&mut self.exited).await
        else {
            return Ended {
                how: "its process ended".to_owned(),
                last_line: String::new(),
                call: None,
            };
        };
        let how = match status {
            Ok(status) => text_of(status),
            Err(error) => format!("its process ended, and its status can't be read ({error})"),
        };
        Ended { how, last_line, call }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(mut command: Command) -> std::io::Result<(Child, OwnedFd)> {
    let mut child = command.spawn()?;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let id = id.ok_or_else(|| std::io::Error::other("a process without an id"));
    match id.and_then(|id| Ok(process::pidfd_open(id, PidfdFlags::empty())?)) {
        Ok(handle) => Ok((child, handle)),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// Passes on what it writes, and waits for its end.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, beside a process that lives in real time"
)]
fn wait(mut child: Child, bridge: &'static Bridge) -> Exit {
    let (mut last_line, mut call) = (String::new(), None);
    if let Some(errors) = child.stderr.take() {
        let mut errors = BufReader::new(errors);
        let mut line = Vec::new();
        let (mut since, mut left) = (Instant::now(), ERRORS_PER_WINDOW);
        loop {
            line.clear();
            if left == 0 {
                // The process waits meanwhile, where it writes more.
                std::thread::sleep(ERRORS_WINDOW.saturating_sub(since.elapsed()));
                (since, left) = (Instant::now(), ERRORS_PER_WINDOW);
            }
            left = left.saturating_sub(1);
            match errors.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    let text = text.trim();
                    if let Some(named) = call_of(text) {
                        call = Some(named);
                        continue;
                    }
                    bridge.write_line(0, Level::Warn, "stderr", text, &[]);
                    if !text.is_empty() {
                        last_line = text.chars().take(LAST_LINE_CHARS).collect();
                    }
                }
            }
        }
    }
    Exit {
        status: child.wait(),
        call,
        last_line,
    }
}

fn text_of(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("its process ended by the signal {}", signal_text(signal)),
        (None, Some(code)) => format!("its process ended with the status {code}"),
        (None, None) => "its process ended".to_owned(),
    }
}

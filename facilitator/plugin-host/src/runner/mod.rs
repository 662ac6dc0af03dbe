//! The process of an isolated plugin. It puts on its sandbox before it opens the plugin's file, and then passes calls and host
//! calls on: between the plugin's table of functions on one side, and frames to the core on the other.
//!
//! Nothing is decided here. Which calls are open, what they may do, how long they may take and what was sent is known in the
//! core only, because code of the plugin can change anything in this process. What is answered here is what needs no right: the
//! clock, the log's level, and the plugin's tasks, which run on threads of this process.
//!
//! Assumes that standard input is the socket to the core, and standard output the plugin's file, opened for reading.

mod dying;
mod host;
mod sandbox;
mod syscalls;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::{io as fd, stdio};
use sdk_plugin::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::create::{call_create, functions, message_bytes};
use super::error::{ErrorKind, PluginError};
use super::frame::{Body, Incoming, Kind, Message};
use super::functions::{Functions, Pointer, Submitted, refusal};
use super::library;
use super::pool::Pool;
use super::table::table;
use host::Runner;

pub(crate) use dying::call_of;

/// Longest setup: a manifest and a configuration.
pub(crate) const SETUP_BYTES: usize = 4 << 20;

/// The hidden subcommand of the program that runs this.
pub const SUBCOMMAND: &str = "plugin-runner";

/// What the process is for. Without `Debug`: the configuration may hold secrets.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) instance_id: u64,
    /// The file's path, for messages.
    pub(crate) plugin: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) config: Value,
    pub(crate) threads: usize,
    pub(crate) queued_tasks: usize,
    /// As numbered in the ABI.
    pub(crate) log_level: i32,
    pub(crate) sandbox: Restrictions,
}

/// What the process may not exceed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Restrictions {
    /// Private memory beyond that of the empty process.
    pub(crate) memory_bytes: u64,
    /// The user and group to become; `None`: the process stays what it is.
    pub(crate) user: Option<u32>,
    /// The core's process.
    pub(crate) parent: u32,
}

/// The sandbox is on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sandboxed {
    /// What this kernel lacks of it, each as a part of a sentence.
    pub(crate) missing: Vec<String>,
}

/// Why there is no instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

/// Runs the process until the core ends it.
///
/// # Errors
/// A sentence: it was not started by the core, or the core's messages make no sense.
pub fn run() -> Result<(), String> {
    close_inherited();
    ignore_signals();
    dying::watch();
    let (mut socket, file) = files().map_err(|error| {
        format!(
            "`{SUBCOMMAND}` is run by `switchyard serve` for plugins with isolation = \"process\", and not by hand ({error})"
        )
    })?;
    let mut incoming = Incoming::new(SETUP_BYTES);
    let setup = expect(&mut socket, &mut incoming, Kind::Setup)?;
    let setup: Setup = serde_json::from_slice(&setup.body)
        .map_err(|error| format!("the core's setup does not parse: {error}"))?;
    let missing = sandbox::put_on(setup.sandbox, &file)?;
    send(&mut socket, Kind::Sandboxed, &Sandboxed { missing })?;
    expect(&mut socket, &mut incoming, Kind::Create)?;
    let mut incoming = Incoming::new(message_bytes(&setup.manifest));
    let plugin = setup.plugin.clone();
    match create(setup, &socket, &file) {
        Ok(plugin) => {
            drop(file);
            plugin.runner.send(Message::new(Kind::Created, 0, Vec::new()));
            plugin.serve(socket, &mut incoming)
        }
        Err(error) => {
            let refused = Refused {
                kind: error.kind,
                message: error
                    .message
                    .replace(&path_of(&file), &plugin.display().to_string()),
            };
            send(&mut socket, Kind::Refused, &refused)
        }
    }
}

/// Closes every descriptor but the three standard ones: those that the core inherited without knowing them are for no plugin.
fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: nothing in this process has opened a descriptor yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if closed != 0 {
        // Before Linux 5.9.
        for fd in 3..65_536 {
            // SAFETY: as above; a number without a descriptor is an error that changes nothing.
            unsafe { libc::close(fd) };
        }
    }
}

/// The core ends this process after its drain: a signal to all processes of a service, or of a terminal, does not.
fn ignore_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: installs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// The socket and the plugin's file, out of the way of standard input and output, which become empty and standard error.
///
/// The socket is used as a file: the calls for sockets are not allowed later.
fn files() -> std::io::Result<(File, File)> {
    let out_of_the_way = |fd| -> std::io::Result<OwnedFd> { Ok(fd::fcntl_dupfd_cloexec(fd, 3)?) };
    let socket = UnixStream::from(out_of_the_way(stdio::stdin())?);
    socket.peer_addr()?;
    let file = File::from(out_of_the_way(stdio::stdout())?);
    stdio::dup2_stdin(File::open("/dev/null")?)?;
    stdio::dup2_stdout(stdio::stderr())?;
    Ok((File::from(OwnedFd::from(socket)), file))
}

/// A path under which the loader finds an open file.
fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn expect(socket: &mut File, incoming: &mut Incoming, kind: Kind) -> Result<Message, String> {
    match receive(socket, incoming)? {
        Some(message) if message.kind == kind => Ok(message),
        Some(other) => Err(format!("the core sent {:?} instead of {kind:?}", other.kind)),
        None => Err(format!("the core ended before {kind:?}")),
    }
}

/// The next message; `None`: the core has ended.
fn receive(socket: &mut File, incoming: &mut Incoming) -> Result<Option<Message>, String> {
    loop {
        if let Some(message) = incoming.next().map_err(|error| error.to_string())? {
            return Ok(Some(message));
        }
        match socket.read(incoming.room()) {
            Ok(0) => return Ok(None),
            Ok(count) => incoming.filled(count),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("the socket to the core can't be read: {error}")),
        }
    }
}

fn send(socket: &mut File, kind: Kind, what: &impl Serialize) -> Result<(), String> {
    let body = serde_json::to_vec(what).map_err(|error| format!("{kind:?} does not serialise: {error}"))?;
    let message = Message::new(kind, 0, body);
    message
        .frames()
        .try_for_each(|frame| socket.write_all(&frame))
        .map_err(|error| format!("the socket to the core can't be written: {error}"))
}

/// The instance in this process.
struct Plugin {
    runner: &'static Runner,
    pointer: Pointer,
    functions: Functions,
}

fn create(setup: Setup, socket: &File, file: &File) -> Result<Plugin, PluginError> {
    let plugin = setup.plugin.as_path();
    let fail = |error: std::io::Error| {
        let message = format!("its process can't get what it needs ({error}): raise its limits");
        PluginError::new(plugin, ErrorKind::File, message)
    };
    // Threads of the plugin's own are made later: they inherit the sandbox.
    let pool = Pool::new(&setup.manifest.id, setup.threads, setup.queued_tasks).map_err(fail)?;
    let socket = socket.try_clone().map_err(fail)?;
    let runner = Runner::begin(&setup, pool, socket);
    let entry = library::open(plugin, Path::new(&path_of(file)))?;
    let (create, functions) = functions(plugin, entry, setup.instance_id, &setup.manifest)?;
    let pointer = call_create(
        plugin,
        create,
        table(runner),
        setup.instance_id,
        &setup.config.to_string(),
    )?;
    Ok(Plugin {
        runner,
        pointer: Pointer::new(pointer),
        functions,
    })
}

impl Plugin {
    /// Serves the core's messages until it ends.
    fn serve(self, mut socket: File, incoming: &mut Incoming) -> Result<(), String> {
        while let Some(message) = receive(&mut socket, incoming)? {
            match message.kind {
                Kind::Submit => self.submit(message),
                Kind::Cancel => {
                    let (pointer, functions) = (self.pointer, self.functions);
                    // Advisory: dropped where there is too much to do.
                    self.runner
                        .pool
                        .try_push(move || (functions.cancel)(pointer.get(), message.id));
                }
                Kind::HostDone => self
                    .runner
                    .host_done(&message)
                    .map_err(|error| error.to_string())?,
                Kind::End => {
                    self.runner.pool.finish();
                    (self.functions.destroy)(self.pointer.get());
                    break;
                }
                other => return Err(format!("the core sent {other:?} to a running plugin")),
            }
        }
        Ok(())
    }

    fn submit(&self, message: Message) {
        let (runner, pointer, functions) = (self.runner, self.pointer, self.functions);
        let key = message.id;
        let is_queued = runner.pool.try_push(move || {
            let status = match submitted(&message) {
                Ok(call) => dying::within(call.call_id, || call.submit(pointer, functions, host::completed)),
                Err(_) => sdk_plugin::abi::raw::E_INVALID,
            };
            if status != sdk_plugin::abi::raw::OK {
                runner.answer(key, status, &refusal(status));
            }
        });
        if !is_queued {
            runner.answer(key, sdk_plugin::abi::raw::E_OVERLOADED, &[]);
        }
    }
}

/// The call in a message. Written by the core's link.
fn submitted(message: &Message) -> Result<Submitted<'_>, super::frame::Malformed> {
    let mut body = Body(&message.body);
    Ok(Submitted {
        key: message.id,
        call_id: body.u64()?,
        timeout_ns: body.u64()?,
        operation: body.text()?,
        trace: body.text()?,
        request: body.rest(),
    })
}

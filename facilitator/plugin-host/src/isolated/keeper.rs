//! The task that keeps an isolated plugin's process: starts it, reads its frames, ends it when it breaks a rule, and starts it
//! again.

use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::DumpableBehavior;
use sdk_plugin::{Fault, FaultKind, Manifest};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::process::Process;
use super::watch::Watch;
use super::wire::{Budget, Wire, receive};
use super::{RunnerSettings, Sandbox};
use crate::bridge::{Bridge, Side, current_level};
use crate::create;
use crate::error::{ErrorKind, PluginError};
use crate::frame::{Incoming, Kind, Malformed, Message};
use crate::instance::{HealthProbe, Instance};
use crate::link::Link;
use crate::pending::{fail_all, has_overdue};
use crate::request::InstanceRequest;
use crate::runner::{Refused, Restrictions, SETUP_BYTES, Sandboxed, Setup};

/// The pause before a process that has ended is started again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that ran this long starts again after the first pause.
const STEADY: Duration = Duration::from_secs(60);
/// Between two checks of what the process uses.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a process may take to end when its instance is no longer needed.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// `nobody` and its group: the user of the process where the core may choose.
const NOBODY: u32 = 65_534;

/// Starts an isolated instance.
pub(crate) async fn open(
    plugin: PathBuf,
    copy: PathBuf,
    manifest: Manifest,
    request: InstanceRequest,
    settings: RunnerSettings,
) -> Result<Arc<Instance>, PluginError> {
    // The process of a plugin must not read this one's memory.
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "this process can't be protected from others of its user");
    }
    let runtime = Handle::current();
    let link = Link::new();
    let (limits, config) = (request.limits, request.config.clone());
    let bridge = create::bridge(
        &manifest,
        request,
        Side::Runner(Arc::clone(&link)),
        runtime.clone(),
    );
    let instance = Instance::isolated(Arc::clone(&link), bridge);
    let privileged = rustix::process::geteuid().is_root();
    let setup = Setup {
        instance_id: bridge.instance_id,
        plugin: plugin.clone(),
        manifest,
        config,
        threads: limits.threads,
        queued_tasks: limits.queued_tasks,
        log_level: current_level() as i32,
        sandbox: Restrictions {
            memory_bytes: settings.memory_bytes,
            user: privileged.then_some(NOBODY),
            parent: std::process::id(),
        },
    };
    let keeper = Keeper {
        plugin,
        copy,
        settings,
        setup,
        link,
        bridge,
    };
    let running = keeper.start().await?;
    // It ends with the instance.
    runtime.spawn(keeper.keep(running, Arc::downgrade(&instance)));
    Ok(instance)
}

struct Keeper {
    plugin: PathBuf,
    copy: PathBuf,
    settings: RunnerSettings,
    setup: Setup,
    link: Arc<Link>,
    bridge: &'static Bridge,
}

/// A process with an instance in it.
struct Running {
    process: Process,
    wire: Wire,
    since: Instant,
}

/// Why a process no longer serves.
enum End {
    /// It ended by itself.
    Itself,
    /// It broke a rule; a part of a sentence.
    Rule(String),
    /// The instance is no longer needed.
    Over,
}

impl Keeper {
    fn fail(&self, kind: ErrorKind, message: String) -> PluginError {
        PluginError::new(&self.plugin, kind, message)
    }

    /// Starts a process and creates an instance in it.
    async fn start(&self) -> Result<Running, PluginError> {
        let limit = self.bridge.limits.create_timeout;
        let started = timeout(limit, self.start_without_limit()).await;
        let result = started.unwrap_or_else(|_| {
            let message = format!(
                "it did not make an instance within {} ms: I/O belongs in plugin.start; report this to its author",
                limit.as_millis()
            );
            Err(self.fail(ErrorKind::Start, message))
        });
        if let Err(error) = &result {
            self.link
                .down(format!("its process does not start: {}", error.message));
        }
        result
    }

    async fn start_without_limit(&self) -> Result<Running, PluginError> {
        let cannot = |error: std::io::Error| {
            let message = format!("its process can't be started ({error}): raise the limits of this one");
            self.fail(ErrorKind::File, message)
        };
        let (ours, theirs) = StdStream::pair().map_err(cannot)?;
        ours.set_nonblocking(true).map_err(cannot)?;
        let socket = Arc::new(UnixStream::from_std(ours).map_err(cannot)?);
        let RunnerSettings { program, .. } = &self.settings;
        let name = &self.setup.manifest.id;
        let process = Process::start(program, name, &self.copy, theirs, self.bridge).await;
        let mut process = process.map_err(cannot)?;
        let mut wire = Wire {
            socket,
            incoming: Incoming::new(self.bridge.message_bytes.max(SETUP_BYTES)),
            generation: 0,
        };
        match self.hand_shake(&mut wire).await {
            Ok(()) => Ok(Running {
                process,
                wire,
                since: Instant::now(),
            }),
            Err(Stopped::Refused(error)) => Err(error),
            Err(Stopped::Ended) => {
                let how = process.end().await;
                let message = format!("{how} while it was loaded: report this to its author");
                Err(self.fail(ErrorKind::Start, message))
            }
        }
    }

    async fn hand_shake(&self, wire: &mut Wire) -> Result<(), Stopped> {
        let setup = serde_json::to_vec(&self.setup).unwrap_or_default();
        let written = wire.write(&Message::new(Kind::Setup, 0, setup)).await;
        written.map_err(|_| Stopped::Ended)?;
        let sandboxed = wire.next().await.map_err(|error| self.malformed(error))?;
        let sandboxed: Sandboxed = match sandboxed {
            Some(message) if message.kind == Kind::Sandboxed => serde_json::from_slice(&message.body)
                .map_err(|_| self.malformed(Malformed("its first message does not parse")))?,
            Some(_) => return Err(self.malformed(Malformed("its first message is another one"))),
            None => return Err(Stopped::Ended),
        };
        self.check(&sandboxed)?;
        wire.generation = self.link.up(Arc::clone(&wire.socket));
        self.link.send(Message::new(Kind::Create, 0, Vec::new()));
        loop {
            let Some(message) = wire.next().await.map_err(|error| self.malformed(error))? else {
                return Err(Stopped::Ended);
            };
            match message.kind {
                Kind::Created => return Ok(()),
                Kind::Refused => {
                    let refused: Refused = serde_json::from_slice(&message.body)
                        .map_err(|_| self.malformed(Malformed("its refusal does not parse")))?;
                    return Err(Stopped::Refused(self.fail(refused.kind, refused.message)));
                }
                _ => {
                    receive(self.bridge, wire.generation, &message).map_err(|error| self.malformed(error))?
                }
            }
        }
    }

    /// Refuses a sandbox that lacks a part.
    fn check(&self, sandboxed: &Sandboxed) -> Result<(), Stopped> {
        if sandboxed.missing.is_empty() {
            return Ok(());
        }
        let missing = sandboxed.missing.join("; ");
        match self.settings.sandbox {
            Sandbox::Full => Err(Stopped::Refused(self.fail(
                ErrorKind::Sandbox,
                format!(
                    "this system lacks a part of the sandbox: {missing}; run it on one that has it, or if you trust this file, \
                     write sandbox = \"partial\" in its entry"
                ),
            ))),
            Sandbox::Partial => {
                tracing::warn!(plugin = self.setup.manifest.id, missing, "plugin_sandbox_partial");
                Ok(())
            }
        }
    }

    fn malformed(&self, error: Malformed) -> Stopped {
        let message = format!("its process writes what is no message ({error}): report this to its author");
        Stopped::Refused(self.fail(ErrorKind::Start, message))
    }

    /// Serves one process after the other, until the instance is no longer needed.
    async fn keep(self, running: Running, instance: Weak<Instance>) {
        let mut running = Some((running, true));
        let mut pause = FIRST_PAUSE;
        loop {
            match running.take() {
                Some((mut now, is_first)) => {
                    let end = self.serve(&mut now, is_first, &instance).await;
                    if now.since.elapsed() >= STEADY {
                        pause = FIRST_PAUSE;
                    }
                    self.ended(now, end, pause).await;
                }
                None => match self.start().await {
                    Ok(started) => {
                        running = Some((started, false));
                        continue;
                    }
                    Err(error) => {
                        tracing::error!(
                            plugin = self.setup.manifest.id,
                            "plugin_process_not_started: {error}"
                        );
                    }
                },
            }
            if self.link.is_over() {
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.link.over() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Serves a process until it ends.
    async fn serve(&self, running: &mut Running, is_first: bool, instance: &Weak<Instance>) -> End {
        let Running { process, wire, .. } = running;
        let start = async {
            // The first start is part of the plugin's load.
            if is_first {
                return std::future::pending().await;
            }
            let Some(instance) = instance.upgrade() else {
                return End::Over;
            };
            let started = HealthProbe(instance).start().await;
            match started {
                Ok(()) => std::future::pending().await,
                Err(fault) => End::Rule(format!("it did not start: {}", fault.message)),
            }
        };
        let mut watch = Watch::new(process.id, self.settings.memory_bytes, self.setup.threads);
        tokio::select! {
            end = self.read(wire) => end,
            end = start => end,
            why = self.watch(&mut watch) => End::Rule(why),
            () = self.link.over() => End::Over,
        }
    }

    /// Reads frames until there are no more, and writes what waits.
    async fn read(&self, wire: &mut Wire) -> End {
        let socket = Arc::clone(&wire.socket);
        let mut budget = Budget::new();
        loop {
            tokio::select! {
                ready = socket.readable(), if budget.is_left() => {
                    let read = match ready {
                        Ok(()) => self.read_now(wire, &mut budget),
                        Err(error) => Err(End::Rule(format!("its socket failed ({error})"))),
                    };
                    if let Err(end) = read {
                        return end;
                    }
                }
                () = sleep_until(budget.renewed), if !budget.is_left() => budget = Budget::new(),
                _ = socket.writable(), if self.link.is_waiting() => self.link.write(),
                () = self.link.changed() => {}
            }
        }
    }

    fn read_now(&self, wire: &mut Wire, budget: &mut Budget) -> Result<(), End> {
        budget.begin();
        let no_message = |error: Malformed| End::Rule(format!("it wrote what is no message ({error})"));
        while budget.is_left() {
            let message = wire.incoming.next().map_err(no_message)?;
            if let Some(message) = message {
                budget.take(message.body.len());
                receive(self.bridge, wire.generation, &message).map_err(no_message)?;
                continue;
            }
            match wire.socket.try_read(wire.incoming.room()) {
                Ok(0) => return Err(End::Itself),
                Ok(count) => wire.incoming.filled(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Itself),
            }
        }
        Ok(())
    }

    /// Returns why the process must end.
    async fn watch(&self, watch: &mut Watch) -> String {
        let limit = self.bridge.limits.call_timeout.saturating_mul(2);
        let mut tick = interval(WATCH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Some(why) = watch.check(Instant::now()) {
                return why;
            }
            if has_overdue(self.bridge.instance_id, limit) {
                return format!("it did not complete a call within {} s", limit.as_secs());
            }
        }
    }

    /// Completes what the process leaves open.
    async fn ended(&self, mut running: Running, end: End, pause: Duration) {
        let why = match end {
            End::Itself => {
                // A process that has only closed its socket does not end by itself.
                let ended = timeout(Duration::from_secs(1), running.process.end()).await;
                ended.unwrap_or_else(|_| "its process closed the socket to the core".to_owned())
            }
            End::Rule(why) => format!("its process was ended: {why}"),
            End::Over => {
                // It destroys its instance, and may log meanwhile. An end is all that can come of it.
                let _ = timeout(END_TIMEOUT, self.read(&mut running.wire)).await;
                "the plugin has ended".to_owned()
            }
        };
        running.process.kill();
        let fault = Fault {
            kind: FaultKind::Unavailable,
            message: format!("plugin {}: {why}", self.setup.manifest.id),
            retry_after_ms: u64::try_from(pause.as_millis()).ok(),
        };
        self.link.down(fault.message.clone());
        self.bridge.cancel_generation(running.wire.generation);
        fail_all(self.bridge.instance_id, &fault);
        if !self.link.is_over() {
            let again_ms = fault.retry_after_ms.unwrap_or_default();
            tracing::error!(
                plugin = self.setup.manifest.id,
                again_ms,
                "plugin_process_ended: {why}"
            );
        }
    }
}

/// Why there is no instance in a process.
enum Stopped {
    Refused(PluginError),
    /// It ended by itself.
    Ended,
}

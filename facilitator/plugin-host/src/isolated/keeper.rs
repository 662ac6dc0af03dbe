//! The task that keeps an isolated plugin's process: reads its frames, ends it when it breaks a rule, and starts it again.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};
use sdk_plugin::{Fault, FaultKind, Manifest};
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::RunnerSettings;
use super::process::{Ended, Process};
use super::watch::Watch;
use super::wire::{Budget, Wire, receive};
use crate::bridge::{Bridge, Side, current_level};
use crate::create;
use crate::error::PluginError;
use crate::frame::Malformed;
use crate::instance::{HealthProbe, Instance};
use crate::link::Link;
use crate::pending::{culprit, fail_all, has_overdue};
use crate::request::InstanceRequest;
use crate::runner::{Restrictions, Setup};

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
    let setup = Setup {
        instance_id: bridge.instance_id,
        plugin: plugin.clone(),
        manifest,
        config,
        threads: limits.threads,
        queued_tasks: limits.queued_tasks,
        log_level: current_level() as i32,
        sandbox: restrictions(&settings),
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

/// What a child of this process may not exceed.
pub(super) fn restrictions(settings: &RunnerSettings) -> Restrictions {
    Restrictions {
        memory_bytes: settings.memory_bytes,
        user: may_change_user().then_some(NOBODY),
        parent: std::process::id(),
    }
}

/// Whether processes can run as another user: this one must be able to end them.
fn may_change_user() -> bool {
    let is_able = |sets: CapabilitySets| {
        sets.effective
            .contains(CapabilitySet::SETUID | CapabilitySet::KILL)
    };
    rustix::thread::capabilities(None).is_ok_and(is_able)
}

/// Keeps one instance's process.
pub(super) struct Keeper {
    pub(super) plugin: PathBuf,
    pub(super) copy: PathBuf,
    pub(super) settings: RunnerSettings,
    pub(super) setup: Setup,
    pub(super) link: Arc<Link>,
    pub(super) bridge: &'static Bridge,
}

/// A process with an instance in it.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) wire: Wire,
    pub(super) since: Instant,
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
        let mut watch = self.new_watch(process);
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
        loop {
            if self.link.is_overfull() {
                return End::Rule("it does not read the results that it requests".to_owned());
            }
            let is_clogged = self.link.is_clogged();
            tokio::select! {
                ready = socket.readable(), if wire.budget.is_left() && !is_clogged => {
                    let read = match ready {
                        Ok(()) => self.read_now(wire),
                        Err(error) => Err(End::Rule(format!("its socket failed ({error})"))),
                    };
                    if let Err(end) = read {
                        return end;
                    }
                }
                () = sleep_until(wire.budget.renewed), if !wire.budget.is_left() => wire.budget = Budget::new(),
                _ = socket.writable(), if self.link.is_waiting() => self.link.write(),
                () = self.link.changed() => {}
            }
        }
    }

    fn read_now(&self, wire: &mut Wire) -> Result<(), End> {
        wire.budget.begin();
        let no_message = |error: Malformed| End::Rule(format!("it wrote what is no message ({error})"));
        while wire.budget.is_left() {
            let message = wire.incoming.next().map_err(no_message)?;
            if let Some(message) = message {
                wire.budget.take(message.body.len());
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

    pub(super) fn new_watch(&self, process: &Process) -> Watch {
        Watch::new(process.id, self.settings.memory_bytes, self.setup.threads)
    }

    /// Returns why the process must end.
    pub(super) async fn watch(&self, watch: &mut Watch) -> String {
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
        let culprit = |named| culprit(self.bridge.instance_id, named);
        let mut in_full = None;
        let (why, culprit) = match end {
            End::Itself => match timeout(Duration::from_secs(1), running.process.end()).await {
                Ok(ended) => {
                    in_full = Some(ended.in_full());
                    let Ended { how, call, .. } = ended;
                    (how, culprit(call))
                }
                // A process that has only closed its socket does not end by itself.
                Err(_) => (
                    "its process closed the socket to the core".to_owned(),
                    culprit(None),
                ),
            },
            End::Rule(why) => (format!("its process was ended: {why}"), culprit(None)),
            End::Over => {
                // It destroys its instance, and may log meanwhile. An end is all that can come of it.
                let _ = timeout(END_TIMEOUT, self.read(&mut running.wire)).await;
                ("the plugin has ended".to_owned(), None)
            }
        };
        running.process.kill();
        if let Some(scope) = &culprit {
            let at_ms = self.bridge.host.0.now_unix_ns() / 1_000_000;
            self.bridge.scopes.aside.record(scope, at_ms);
        }
        let fault = Fault {
            kind: FaultKind::Shutdown,
            message: format!("plugin {}: {why}", self.setup.manifest.id),
            retry_after_ms: u64::try_from(pause.as_millis()).ok(),
        };
        self.link.down(fault.message.clone());
        self.bridge.cancel_generation(running.wire.generation);
        fail_all(self.bridge.instance_id, &fault);
        if !self.link.is_over() {
            let again_ms = fault.retry_after_ms.unwrap_or_default();
            let call = culprit.as_deref();
            let subject = call.and_then(|call| call.subject.as_ref());
            tracing::error!(
                plugin = self.setup.manifest.id,
                again_ms,
                scheme = subject.map(|subject| subject.scheme.as_str()),
                network = call.map(|call| call.network.as_str()),
                operation = call.map(|call| call.operation.name()),
                "plugin_process_ended: {}",
                in_full.unwrap_or(why)
            );
        }
    }
}

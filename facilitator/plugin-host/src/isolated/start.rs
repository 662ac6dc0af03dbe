//! From a program to a process with an instance in it: sandbox first, file second.

use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::keeper::{Keeper, Running};
use super::process::Process;
use super::wire::{Budget, Wire, receive};
use super::{RunnerSettings, Sandbox};
use crate::error::{ErrorKind, PluginError};
use crate::frame::{Incoming, Kind, Malformed, Message};
use crate::runner::{Refused, SETUP_BYTES, Sandboxed};

/// Longest refusal of a process that is kept.
const MAX_REFUSAL_CHARS: usize = 2_000;

/// Why there is no instance in a process.
enum Stopped {
    Refused(PluginError),
    /// It ended by itself.
    Ended,
}

/// Why a sandbox that lacks a part is refused; `None`: it lacks none.
pub(super) fn sentence(sandboxed: &Sandboxed) -> Option<String> {
    let missing = sandboxed.missing.join("; ");
    (!missing.is_empty()).then(|| {
        format!(
            "this system lacks a part of the sandbox: {missing}; run it on one that has it, or if you trust this file, write sandbox = \
             \"partial\" in its entry"
        )
    })
}

impl Keeper {
    fn fail(&self, kind: ErrorKind, message: String) -> PluginError {
        PluginError::new(&self.plugin, kind, message)
    }

    /// Starts a process and creates an instance in it.
    pub(super) async fn start(&self) -> Result<Running, PluginError> {
        let limit = self.bridge.limits.create_timeout;
        let started = timeout(limit, self.start_without_limit()).await;
        let result = started.unwrap_or_else(|_| {
            let message = format!(
                "it did not make an instance within {} ms: I/O belongs in plugin.start; report this to its author",
                limit.as_millis()
            );
            Err(self.fail(ErrorKind::Start, message))
        });
        if result.is_err() {
            // Not the error itself: it may quote the plugin, and a fault reaches those who may not read the log.
            self.link
                .down("its process does not start; the log says why".to_owned());
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
            budget: Budget::new(),
        };
        let mut watch = self.new_watch(&process);
        let shaken = tokio::select! {
            shaken = self.hand_shake(&mut wire) => shaken,
            why = self.watch(&mut watch) => Err(Stopped::Refused(self.fail(ErrorKind::Start, format!("its process was ended: {why}")))),
        };
        if shaken.is_err() {
            // What its `create` waited for.
            self.bridge.cancel_generation(wire.generation);
        }
        match shaken {
            Ok(()) => Ok(Running {
                process,
                wire,
                since: Instant::now(),
            }),
            Err(Stopped::Refused(error)) => Err(error),
            Err(Stopped::Ended) => {
                let ended = process.end().await;
                let message = format!(
                    "{} while it was loaded: report this to its author",
                    ended.in_full()
                );
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
                    let message = refused.message.chars().take(MAX_REFUSAL_CHARS).collect();
                    return Err(Stopped::Refused(self.fail(refused.kind, message)));
                }
                _ => {
                    receive(self.bridge, wire.generation, &message).map_err(|error| self.malformed(error))?
                }
            }
        }
    }

    /// Refuses a sandbox that lacks a part.
    fn check(&self, sandboxed: &Sandboxed) -> Result<(), Stopped> {
        match (self.settings.sandbox, sentence(sandboxed)) {
            (_, None) => Ok(()),
            (Sandbox::Full, Some(sentence)) => Err(Stopped::Refused(self.fail(ErrorKind::Sandbox, sentence))),
            (Sandbox::Partial, Some(_)) => {
                let missing = sandboxed.missing.join("; ");
                tracing::warn!(plugin = self.setup.manifest.id, missing, "plugin_sandbox_partial");
                Ok(())
            }
        }
    }

    fn malformed(&self, error: Malformed) -> Stopped {
        let message = format!("its process writes what is no message ({error}): report this to its author");
        Stopped::Refused(self.fail(ErrorKind::Start, message))
    }
}

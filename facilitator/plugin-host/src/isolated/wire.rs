//! What is read of an isolated plugin's process, how much of it, and what each message does.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::host::{Level, MetricKind};
use sdk_plugin::ops::FaultBody;
use sdk_plugin::{Fault, FaultKind};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::bridge::{Asked, Bridge, ReplyTo, Side};
use crate::frame::{Body, Incoming, Kind, Malformed, Message};
use crate::link::HostCallKey;
use crate::pending::complete_isolated;
use crate::table::MAX_TARGET_BYTES;

/// What is read of one process in a [`WINDOW`]: a process that writes more waits.
const WINDOW: Duration = Duration::from_millis(10);
const MESSAGES_PER_WINDOW: u32 = 1_000;
const BYTES_PER_WINDOW: usize = 2 << 20;

/// What is read of a process.
pub(super) struct Wire {
    pub(super) socket: Arc<UnixStream>,
    pub(super) incoming: Incoming,
    pub(super) generation: u32,
    pub(super) budget: Budget,
}

impl Wire {
    pub(super) async fn write(&self, message: &Message) -> std::io::Result<()> {
        for frame in message.frames() {
            let mut rest = frame.as_slice();
            while !rest.is_empty() {
                self.socket.writable().await?;
                match self.socket.try_write(rest) {
                    Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The next message, within the budget; `None`: the process has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Malformed> {
        loop {
            if !self.budget.is_left() {
                tokio::time::sleep_until(self.budget.renewed).await;
            }
            self.budget.begin();
            if let Some(message) = self.incoming.next()? {
                self.budget.take(message.body.len());
                return Ok(Some(message));
            }
            if self.socket.readable().await.is_err() {
                return Ok(None);
            }
            match self.socket.try_read(self.incoming.room()) {
                Ok(0) => return Ok(None),
                Ok(count) => self.incoming.filled(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Ok(None),
            }
        }
    }
}

/// What may still be read in this window.
pub(super) struct Budget {
    messages: u32,
    bytes: usize,
    pub(super) renewed: Instant,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            messages: MESSAGES_PER_WINDOW,
            bytes: BYTES_PER_WINDOW,
            renewed: Instant::now() + WINDOW,
        }
    }

    pub(super) fn begin(&mut self) {
        if Instant::now() >= self.renewed {
            *self = Self::new();
        }
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn is_left(&self) -> bool {
        self.messages > 0 && self.bytes > 0
    }
}

/// Serves a message of a process.
pub(super) fn receive(bridge: &'static Bridge, generation: u32, message: &Message) -> Result<(), Malformed> {
    let mut body = Body(&message.body);
    match message.kind {
        Kind::Answer => {
            let status = body.i32()?;
            complete_isolated(bridge.instance_id, message.id, status, body.rest());
        }
        Kind::HostCall => {
            let key = HostCallKey {
                generation,
                id: message.id,
            };
            let asked = Asked {
                key,
                parent: body.u64()?,
                timeout_ns: body.u64()?,
                reply: ReplyTo::Runner,
            };
            let service = body.text()?;
            if service.len() > MAX_TARGET_BYTES {
                return Err(Malformed("the name of a service that is too long"));
            }
            if let Err(status) = bridge.accept(asked, service, body.rest()) {
                let fault = Fault::new(
                    FaultKind::from_status(status),
                    format!("the host refused {service}"),
                );
                let Side::Runner(link) = &bridge.side else {
                    return Ok(());
                };
                link.host_done(key, status, &FaultBody::encode(&fault));
            }
        }
        Kind::HostCancel => bridge.cancel_host_call(HostCallKey {
            generation,
            id: message.id,
        }),
        Kind::Log => {
            let (call_id, level) = (body.u64()?, Level::from_abi(body.i32()?));
            let target = String::from_utf8_lossy(body.bytes()?);
            let text = String::from_utf8_lossy(body.bytes()?);
            bridge.write_line(call_id, level, &target, &text, body.rest());
        }
        Kind::Metric => {
            let kind = MetricKind::from_abi(body.i32()?).ok_or(Malformed("a metric of an unknown kind"))?;
            let value = f64::from_bits(body.u64()?);
            let name = body.text()?;
            bridge.record(kind, name, value, body.rest());
        }
        Kind::Setup
        | Kind::Create
        | Kind::Submit
        | Kind::Cancel
        | Kind::HostDone
        | Kind::End
        | Kind::Sandboxed
        | Kind::Created
        | Kind::Refused => return Err(Malformed("a message that it may not send")),
    }
    Ok(())
}

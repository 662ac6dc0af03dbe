//! The host as the plugin's code in this process sees it.
//!
//! Assumes one instance in a process, so that completions of calls need no pointer to it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use base::clock::{Clock, SystemClock};
use parking_lot::Mutex;
use sdk_plugin::abi::buf::{Received, give};
use sdk_plugin::abi::raw::{self, Buf, Call, CompleteFn, RunFn};
use sdk_plugin::host::{Level, MetricKind};
use sdk_plugin::ops::FaultBody;

use super::{Setup, dying};
use crate::create::message_bytes;
use crate::frame::{Body, BodyWriter, Kind, Malformed, Message};
use crate::pending::too_long;
use crate::pool::Pool;
use crate::table::{HostSide, PluginPointer};

static RUNNER: OnceLock<Runner> = OnceLock::new();

/// This process's end of the socket, and what waits for the core.
#[derive(Debug)]
pub(super) struct Runner {
    instance_id: u64,
    message_bytes: usize,
    log_level: Level,
    pub(super) pool: Pool,
    socket: Mutex<File>,
    /// Held while a message of several frames is written: the frames of two may not mix.
    long: Mutex<()>,
    /// Host calls without a result, by the plugin's id.
    host_calls: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    /// The call that the plugin made it for, as it says.
    parent: u64,
    ctx: PluginPointer,
    complete: CompleteFn,
}

impl Runner {
    /// The one of this process.
    pub(super) fn begin(setup: &Setup, pool: Pool, socket: File) -> &'static Self {
        RUNNER.get_or_init(|| Self {
            instance_id: setup.instance_id,
            message_bytes: message_bytes(&setup.manifest),
            log_level: Level::from_abi(setup.log_level),
            pool,
            socket: Mutex::new(socket),
            long: Mutex::new(()),
            host_calls: Mutex::default(),
        })
    }

    /// Waits while the core has too much to read.
    pub(super) fn send(&self, message: Message) {
        let _long = message.is_long().then(|| self.long.lock());
        for frame in message.frames() {
            if self.socket.lock().write_all(&frame).is_err() {
                // The core has ended, and this process ends as soon as it reads that.
                return;
            }
        }
    }

    pub(super) fn answer(&self, key: u64, status: i32, body: &[u8]) {
        let body = BodyWriter::with_room(body.len() + 8)
            .i32(status)
            .rest(body)
            .done();
        self.send(Message::new(Kind::Answer, key, body));
    }

    /// Passes the result of a host call to the plugin.
    pub(super) fn host_done(&'static self, message: &Message) -> Result<(), Malformed> {
        let mut body = Body(&message.body);
        let status = body.i32()?;
        let Some(waiting) = self.host_calls.lock().remove(&message.id) else {
            return Ok(());
        };
        let body = body.rest().to_vec();
        // On the plugin's own threads, because its code may block.
        self.pool.push_completion(move || {
            let waiting = { waiting };
            dying::within(waiting.parent, || {
                (waiting.complete)(waiting.ctx.get(), status, give(body))
            });
        });
        Ok(())
    }
}

/// The plugin's completion of a call; `ctx` is the core's key.
pub(super) extern "C" fn completed(ctx: *mut c_void, status: i32, response: Buf) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the buffer moves with the call (R3).
        let response = unsafe { Received::new(response) };
        let Some(runner) = RUNNER.get() else { return };
        let key = ctx as usize as u64;
        match response.bytes(runner.message_bytes) {
            Ok(bytes) => runner.answer(key, status, bytes),
            Err(len) => {
                let fault = too_long(len, runner.message_bytes);
                runner.answer(key, fault.kind.status(), &FaultBody::encode(&fault));
            }
        }
    }));
}

impl HostSide for Runner {
    fn instance_id(&self) -> u64 {
        self.instance_id
    }

    fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    fn log(&self, call_id: u64, level: Level, target: &str, message: &str, fields: &[u8]) {
        if level > self.log_level {
            return;
        }
        let body = BodyWriter::default()
            .u64(call_id)
            .i32(level as i32)
            .bytes(target.as_bytes())
            .bytes(message.as_bytes())
            .rest(fields)
            .done();
        self.send(Message::new(Kind::Log, 0, body));
    }

    fn log_level(&self) -> Level {
        self.log_level
    }

    fn now_unix_ns(&self) -> u64 {
        SystemClock.now_unix_ns()
    }

    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &[u8]) {
        let body = BodyWriter::default()
            .i32(kind as i32)
            .u64(value.to_bits())
            .bytes(name.as_bytes())
            .rest(labels)
            .done();
        self.send(Message::new(Kind::Metric, 0, body));
    }

    /// The core accepts or refuses it: a refusal is a completion.
    fn call(&'static self, call: &Call, service: &str, request: Vec<u8>) -> Result<(), i32> {
        let waiting = Waiting {
            parent: call.parent_id,
            ctx: PluginPointer(call.ctx),
            complete: call.complete.ok_or(raw::E_INVALID)?,
        };
        match self.host_calls.lock().entry(call.call_id) {
            Entry::Occupied(_) => return Err(raw::E_INVALID),
            Entry::Vacant(free) => free.insert(waiting),
        };
        let body = BodyWriter::with_room(request.len() + 64)
            .u64(call.parent_id)
            .u64(call.timeout_ns)
            .bytes(service.as_bytes())
            .rest(&request)
            .done();
        self.send(Message::new(Kind::HostCall, call.call_id, body));
        Ok(())
    }

    fn cancel(&self, call_id: u64) {
        self.send(Message::new(Kind::HostCancel, call_id, Vec::new()));
    }

    fn spawn(&'static self, run: RunFn, task: PluginPointer) {
        let is_queued = self.pool.try_push(move || run({ task }.get()));
        if !is_queued {
            let message = "the plugin has more queued tasks than it may have; the excess is lost, reload it";
            self.log(0, Level::Warn, "plugin", message, &[]);
        }
    }
}

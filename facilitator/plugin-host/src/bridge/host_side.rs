//! The bridge as the table of functions for a plugin in this process.

use std::sync::atomic::Ordering;

use sdk_plugin::abi::raw::{self, Call, RunFn};
use sdk_plugin::host::{Level, MetricKind};
use tracing::level_filters::LevelFilter;

use super::{Asked, Bridge, ReplyTo};
use crate::crumbs::{Doing, inside};
use crate::link::HostCallKey;
use crate::table::{HostSide, PluginPointer};

impl HostSide for Bridge {
    fn instance_id(&self) -> u64 {
        self.instance_id
    }

    fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    fn log(&self, call_id: u64, level: Level, target: &str, message: &str, fields: &[u8]) {
        self.write_line(call_id, level, target, message, fields);
    }

    fn log_level(&self) -> Level {
        current_level()
    }

    fn now_unix_ns(&self) -> u64 {
        self.host.0.now_unix_ns()
    }

    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &[u8]) {
        self.record(kind, name, value, labels);
    }

    fn call(&'static self, call: &Call, service: &str, request: Vec<u8>) -> Result<(), i32> {
        let asked = Asked {
            key: HostCallKey {
                generation: 0,
                id: call.call_id,
            },
            parent: call.parent_id,
            timeout_ns: call.timeout_ns,
            reply: ReplyTo::Plugin {
                ctx: PluginPointer(call.ctx),
                complete: call.complete.ok_or(raw::E_INVALID)?,
            },
        };
        self.accept(asked, service, &request)
    }

    fn cancel(&self, call_id: u64) {
        self.cancel_host_call(HostCallKey {
            generation: 0,
            id: call_id,
        });
    }

    /// Drops the task when the queue is full.
    fn spawn(&'static self, run: RunFn, task: PluginPointer) {
        let instance = self.instance_id;
        let is_queued = self.try_push(move || inside(instance, Doing::Task, || run(task.get())));
        if !is_queued && !self.has_reported_lost_task.swap(true, Ordering::Relaxed) {
            self.warn("the plugin has more queued tasks than it may have; the excess is lost, reload it");
        }
    }
}

/// The least important level that this process writes.
pub(crate) fn current_level() -> Level {
    match LevelFilter::current() {
        // Without a subscriber nothing is written, but tests of plugins still collect their lines.
        LevelFilter::OFF | LevelFilter::TRACE => Level::Trace,
        LevelFilter::DEBUG => Level::Debug,
        LevelFilter::INFO => Level::Info,
        LevelFilter::WARN => Level::Warn,
        _ => Level::Error,
    }
}

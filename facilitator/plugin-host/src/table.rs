//! The table of host functions that an instance receives: C on the outside, [`Bridge`] on the inside.
//!
//! Assumes nothing about the bytes it receives. Every function catches panics (R5) and does not wait.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sdk_plugin::Value;
use sdk_plugin::abi::raw::{self, Bytes, Call, Host, RunFn, read_sized};
use sdk_plugin::host::{Level, MetricKind};
use tracing::level_filters::LevelFilter;

use super::bridge::{Bridge, PluginPointer};

/// Longest texts of a log line or metric in bytes. Longer texts are cut; longer JSON is left out.
const MAX_TARGET_BYTES: usize = 128;
const MAX_MESSAGE_BYTES: usize = 8 << 10;
const MAX_FIELDS_BYTES: usize = 16 << 10;

impl Bridge {
    /// The table for the plugin, leaked like the bridge itself.
    pub(super) fn table(&'static self) -> &'static Host {
        Box::leak(Box::new(Host {
            struct_size: raw::struct_size::<Host>(),
            abi_major: raw::ABI_MAJOR,
            abi_minor: raw::ABI_MINOR,
            ctx: std::ptr::from_ref(self).cast_mut().cast::<c_void>(),
            log: Some(log),
            log_level: Some(log_level),
            now_unix_ns: Some(now_unix_ns),
            metric: Some(metric),
            call: Some(call),
            cancel: Some(cancel),
            spawn: Some(spawn),
        }))
    }
}

/// The bridge that a table's `ctx` points to.
///
/// # Safety
/// `ctx` is null or the one that [`Bridge::table`] wrote.
unsafe fn bridge(ctx: *mut c_void) -> Option<&'static Bridge> {
    // SAFETY: as the caller promises; bridges are leaked, so any lifetime is valid.
    unsafe { ctx.cast::<Bridge>().as_ref() }
}

/// Runs one of the table's functions. A panic must not unwind into the plugin (R5).
fn catch_panics<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        otherwise
    })
}

/// A text of the plugin, cut to `cap` bytes.
///
/// # Safety
/// `bytes` are readable for `'a`.
unsafe fn text<'a>(bytes: Bytes, cap: usize) -> Cow<'a, str> {
    let cut = Bytes {
        ptr: bytes.ptr,
        len: bytes.len.min(cap),
    };
    // SAFETY: a part of the bytes that the caller promises to be readable.
    String::from_utf8_lossy(unsafe { cut.borrow(cap) }.unwrap_or_default())
}

extern "C" fn log(
    ctx: *mut c_void,
    _instance_id: u64,
    call_id: u64,
    level: i32,
    target: Bytes,
    message: Bytes,
    fields: Bytes,
) {
    catch_panics((), || {
        // SAFETY: the plugin returns the table's `ctx` and lends the texts for this call (R2).
        let (bridge, target, message, fields) = unsafe {
            (
                bridge(ctx),
                text(target, MAX_TARGET_BYTES),
                text(message, MAX_MESSAGE_BYTES),
                fields.borrow(MAX_FIELDS_BYTES),
            )
        };
        let Some(bridge) = bridge else { return };
        let fields = fields
            .and_then(|fields| serde_json::from_slice(fields).ok())
            .filter(Value::is_object);
        let call = bridge.calls.scope_of(call_id);
        bridge.host.0.log(
            call,
            Level::from_abi(level),
            &target,
            &message,
            &fields.unwrap_or(Value::Null),
        );
    });
}

extern "C" fn log_level(_ctx: *mut c_void) -> i32 {
    let level = LevelFilter::current();
    // Without a subscriber nothing is written, but tests of plugins still collect their lines.
    match level {
        LevelFilter::OFF | LevelFilter::TRACE => Level::Trace as i32,
        LevelFilter::DEBUG => Level::Debug as i32,
        LevelFilter::INFO => Level::Info as i32,
        LevelFilter::WARN => Level::Warn as i32,
        _ => Level::Error as i32,
    }
}

extern "C" fn now_unix_ns(ctx: *mut c_void) -> u64 {
    catch_panics(0, || {
        // SAFETY: the plugin returns the table's `ctx`.
        unsafe { bridge(ctx) }.map_or(0, |bridge| bridge.host.0.now_unix_ns())
    })
}

extern "C" fn metric(ctx: *mut c_void, _instance_id: u64, kind: i32, name: Bytes, value: f64, labels: Bytes) {
    catch_panics((), || {
        // SAFETY: the plugin returns the table's `ctx` and lends the texts for this call (R2).
        let (bridge, name, labels) = unsafe {
            (
                bridge(ctx),
                name.borrow(MAX_TARGET_BYTES),
                labels.borrow(MAX_FIELDS_BYTES),
            )
        };
        let (Some(bridge), Some(name), Some(labels)) = (bridge, name, labels) else {
            return;
        };
        let (Ok(name), Some(kind)) = (std::str::from_utf8(name), MetricKind::from_abi(kind)) else {
            return;
        };
        let labels = if labels.is_empty() {
            Ok(BTreeMap::new())
        } else {
            serde_json::from_slice(labels)
        };
        if let (Ok(labels), true) = (labels, value.is_finite()) {
            bridge.host.0.metric(kind, name, value, &labels);
        }
    });
}

extern "C" fn call(ctx: *mut c_void, instance_id: u64, call: *const Call) -> i32 {
    catch_panics(raw::E_INTERNAL, || {
        // SAFETY: the plugin returns the table's `ctx` and lends the call (R2).
        let (bridge, call) = unsafe { (bridge(ctx), read_sized(call)) };
        let (Some(bridge), Ok(call)) = (bridge, call) else {
            return raw::E_INVALID;
        };
        // SAFETY: as above, for the call's own texts.
        let (service, request) = unsafe {
            (
                call.op.borrow(MAX_TARGET_BYTES),
                call.request.borrow(bridge.message_bytes),
            )
        };
        let service = service.and_then(|service| std::str::from_utf8(service).ok());
        let (Some(service), Some(request)) = (service, request) else {
            return raw::E_INVALID;
        };
        if instance_id != bridge.instance_id {
            return raw::E_INVALID;
        }
        bridge
            .accept(&call, service, request.to_vec())
            .err()
            .unwrap_or(raw::OK)
    })
}

extern "C" fn cancel(ctx: *mut c_void, _instance_id: u64, call_id: u64) {
    catch_panics((), || {
        // SAFETY: the plugin returns the table's `ctx`.
        if let Some(bridge) = unsafe { bridge(ctx) } {
            bridge.cancel(call_id);
        }
    });
}

extern "C" fn spawn(ctx: *mut c_void, _instance_id: u64, run: Option<RunFn>, task: *mut c_void) {
    catch_panics((), || {
        // SAFETY: the plugin returns the table's `ctx`.
        if let (Some(bridge), Some(run)) = (unsafe { bridge(ctx) }, run) {
            bridge.spawn(run, PluginPointer(task));
        }
    });
}

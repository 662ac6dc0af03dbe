//! The table of host functions that an instance receives: C on the outside, a [`HostSide`] on the inside.
//!
//! Assumes nothing about the bytes it receives. Every function catches panics (R5) and does not wait.

use std::borrow::Cow;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sdk_plugin::abi::raw::{self, Bytes, Call, Host, RunFn, read_sized};
use sdk_plugin::host::{Level, MetricKind};

/// Longest texts of a log line or metric in bytes. Longer texts are cut; longer JSON is left out.
pub(super) const MAX_TARGET_BYTES: usize = 128;
const MAX_MESSAGE_BYTES: usize = 8 << 10;
const MAX_FIELDS_BYTES: usize = 16 << 10;

/// A pointer of the plugin. The host only returns it to the plugin.
#[derive(Debug)]
pub(super) struct PluginPointer(pub(super) *mut c_void);

// SAFETY: the ABI lets the plugin's functions that take this pointer be called from any thread (R6).
unsafe impl Send for PluginPointer {}

impl PluginPointer {
    pub(super) fn get(&self) -> *mut c_void {
        self.0
    }
}

/// What serves the functions of a table: the core, or the process of an isolated plugin.
pub(super) trait HostSide: Sync + 'static {
    fn instance_id(&self) -> u64;
    /// Largest message in bytes.
    fn message_bytes(&self) -> usize;
    /// `fields`: JSON, or nothing.
    fn log(&self, call_id: u64, level: Level, target: &str, message: &str, fields: &[u8]);
    /// The least important level that is written.
    fn log_level(&self) -> Level;
    fn now_unix_ns(&self) -> u64;
    /// `labels`: JSON, or nothing.
    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &[u8]);
    /// Accepts a host call.
    ///
    /// # Errors
    /// A status of the ABI with which the call is refused; it is not completed then.
    fn call(&'static self, call: &Call, service: &str, request: Vec<u8>) -> Result<(), i32>;
    /// Stops a host call where that is possible.
    fn cancel(&self, call_id: u64);
    /// Runs a task of the plugin on its threads.
    fn spawn(&'static self, run: RunFn, task: PluginPointer);
}

/// The table for a plugin, leaked like the host's side itself.
pub(super) fn table<H: HostSide>(host: &'static H) -> &'static Host {
    Box::leak(Box::new(Host {
        struct_size: raw::struct_size::<Host>(),
        abi_major: raw::ABI_MAJOR,
        abi_minor: raw::ABI_MINOR,
        ctx: std::ptr::from_ref(host).cast_mut().cast::<c_void>(),
        log: Some(log::<H>),
        log_level: Some(log_level::<H>),
        now_unix_ns: Some(now_unix_ns::<H>),
        metric: Some(metric::<H>),
        call: Some(call::<H>),
        cancel: Some(cancel::<H>),
        spawn: Some(spawn::<H>),
    }))
}

/// The host's side that a table's `ctx` points to.
///
/// # Safety
/// `ctx` is null or the one that [`table`] wrote for this type.
unsafe fn side<H: HostSide>(ctx: *mut c_void) -> Option<&'static H> {
    // SAFETY: as the caller promises; `table` takes what lives for ever, so any lifetime is valid.
    unsafe { ctx.cast::<H>().as_ref() }
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

extern "C" fn log<H: HostSide>(
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
        let (host, target, message, fields) = unsafe {
            (
                side::<H>(ctx),
                text(target, MAX_TARGET_BYTES),
                text(message, MAX_MESSAGE_BYTES),
                fields.borrow(MAX_FIELDS_BYTES),
            )
        };
        if let Some(host) = host {
            let fields = fields.unwrap_or_default();
            host.log(call_id, Level::from_abi(level), &target, &message, fields);
        }
    });
}

extern "C" fn log_level<H: HostSide>(ctx: *mut c_void) -> i32 {
    catch_panics(Level::Error as i32, || {
        // SAFETY: the plugin returns the table's `ctx`.
        unsafe { side::<H>(ctx) }.map_or(Level::Error as i32, |host| host.log_level() as i32)
    })
}

extern "C" fn now_unix_ns<H: HostSide>(ctx: *mut c_void) -> u64 {
    catch_panics(0, || {
        // SAFETY: the plugin returns the table's `ctx`.
        unsafe { side::<H>(ctx) }.map_or(0, HostSide::now_unix_ns)
    })
}

extern "C" fn metric<H: HostSide>(
    ctx: *mut c_void,
    _instance_id: u64,
    kind: i32,
    name: Bytes,
    value: f64,
    labels: Bytes,
) {
    catch_panics((), || {
        // SAFETY: the plugin returns the table's `ctx` and lends the texts for this call (R2).
        let (host, name, labels) = unsafe {
            (
                side::<H>(ctx),
                name.borrow(MAX_TARGET_BYTES),
                labels.borrow(MAX_FIELDS_BYTES),
            )
        };
        let (Some(host), Some(name), Some(labels)) = (host, name, labels) else {
            return;
        };
        if let (Ok(name), Some(kind)) = (std::str::from_utf8(name), MetricKind::from_abi(kind)) {
            host.metric(kind, name, value, labels);
        }
    });
}

extern "C" fn call<H: HostSide>(ctx: *mut c_void, instance_id: u64, call: *const Call) -> i32 {
    catch_panics(raw::E_INTERNAL, || {
        // SAFETY: the plugin returns the table's `ctx` and lends the call (R2).
        let (host, call) = unsafe { (side::<H>(ctx), read_sized(call)) };
        let (Some(host), Ok(call)) = (host, call) else {
            return raw::E_INVALID;
        };
        // SAFETY: as above, for the call's own texts.
        let (service, request) = unsafe {
            (
                call.op.borrow(MAX_TARGET_BYTES),
                call.request.borrow(host.message_bytes()),
            )
        };
        let service = service.and_then(|service| std::str::from_utf8(service).ok());
        let (Some(service), Some(request)) = (service, request) else {
            return raw::E_INVALID;
        };
        if instance_id != host.instance_id() {
            return raw::E_INVALID;
        }
        host.call(&call, service, request.to_vec())
            .err()
            .unwrap_or(raw::OK)
    })
}

extern "C" fn cancel<H: HostSide>(ctx: *mut c_void, _instance_id: u64, call_id: u64) {
    catch_panics((), || {
        // SAFETY: the plugin returns the table's `ctx`.
        if let Some(host) = unsafe { side::<H>(ctx) } {
            host.cancel(call_id);
        }
    });
}

extern "C" fn spawn<H: HostSide>(ctx: *mut c_void, _instance_id: u64, run: Option<RunFn>, task: *mut c_void) {
    catch_panics((), || {
        // SAFETY: the plugin returns the table's `ctx`.
        if let (Some(host), Some(run)) = (unsafe { side::<H>(ctx) }, run) {
            host.spawn(run, PluginPointer(task));
        }
    });
}

//! Mirror of `include/x402_plugin.h`, field by field. The header is canonical; the assertions at the end and
//! `tests/header.rs` keep this file equal to it.
//!
//! Function pointers are `Option`s, so that a table with a null in it can be read and refused. Tables that come from the
//! other side are read with [`read_sized`], never through a reference.

use std::ffi::c_void;
use std::mem::{align_of, offset_of, size_of};

use crate::FaultKind;
use crate::host::{Level, MetricKind};

/// Major version of this ABI. Both sides must have the same one.
pub const ABI_MAJOR: u16 = 1;
/// Minor version of this ABI: functions and fields are only added at the end.
pub const ABI_MINOR: u16 = 0;

/// Success.
pub const OK: i32 = 0;
/// [`FaultKind::Invalid`].
pub const E_INVALID: i32 = -1;
/// [`FaultKind::Unsupported`].
pub const E_UNSUPPORTED: i32 = -2;
/// [`FaultKind::Cancelled`].
pub const E_CANCELLED: i32 = -3;
/// [`FaultKind::Deadline`].
pub const E_DEADLINE: i32 = -4;
/// [`FaultKind::Overloaded`].
pub const E_OVERLOADED: i32 = -5;
/// [`FaultKind::Shutdown`].
pub const E_SHUTDOWN: i32 = -6;
/// [`FaultKind::Panic`].
pub const E_PANIC: i32 = -7;
/// [`FaultKind::Internal`].
pub const E_INTERNAL: i32 = -8;
/// [`FaultKind::Denied`].
pub const E_DENIED: i32 = -9;
/// [`FaultKind::Indeterminate`].
pub const E_INDETERMINATE: i32 = -10;
/// [`FaultKind::Unavailable`].
pub const E_UNAVAILABLE: i32 = -11;

/// Panics are caught (not `panic = "abort"`).
pub const F_UNWIND: u64 = 1 << 0;
/// May complete inline.
pub const F_INLINE: u64 = 1 << 1;

/// The exported symbol, NUL-terminated.
pub const ENTRY_SYMBOL: &[u8] = b"x402_plugin_entry_v1\0";
/// ELF section of the manifest.
pub const MANIFEST_SECTION: &str = ".x402p";

/// `x402p_bytes`: borrowed until the call it was passed to returns (R2).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// First byte; null only with `len` 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// `release` of a [`Buf`].
pub type ReleaseFn = extern "C" fn(owner: *mut c_void, ptr: *const u8, len: usize);

/// `x402p_buf`: owned by its holder, who releases it exactly once (R3).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Buf {
    /// First byte; null only with `len` 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
    /// Passed to `release`.
    pub owner: *mut c_void,
    /// Frees the bytes; called once by the receiver. `None`: there is nothing to free.
    pub release: Option<ReleaseFn>,
}

/// `x402p_complete_fn`.
pub type CompleteFn = extern "C" fn(ctx: *mut c_void, status: i32, response: Buf);

/// `x402p_call`: one asynchronous call, either direction.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Bytes of this struct on the side that wrote it.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Id of the call, not 0 and unique per caller.
    pub call_id: u64,
    /// The open call that the plugin is serving with this one; 0 in the background, and from the host.
    pub parent_id: u64,
    /// Nanoseconds left, 0 for no limit.
    pub timeout_ns: u64,
    /// Name of the operation, UTF-8.
    pub op: Bytes,
    /// The request, JSON.
    pub request: Bytes,
    /// W3C `traceparent` of the caller, UTF-8; may be empty.
    pub trace: Bytes,
    /// Passed to `complete`.
    pub ctx: *mut c_void,
    /// Called exactly once with the result, from any thread.
    pub complete: Option<CompleteFn>,
}

/// `x402p_host.log`.
pub type LogFn = extern "C" fn(*mut c_void, u64, u64, i32, Bytes, Bytes, Bytes);
/// `x402p_host.metric`.
pub type MetricFn = extern "C" fn(*mut c_void, u64, i32, Bytes, f64, Bytes);
/// `x402p_host.call`.
pub type HostCallFn = extern "C" fn(*mut c_void, u64, *const Call) -> i32;
/// `run` of a spawned task.
pub type RunFn = extern "C" fn(task: *mut c_void);

/// `x402p_host`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Bytes of this struct on the host's side.
    pub struct_size: u32,
    /// The host's major version.
    pub abi_major: u16,
    /// The host's minor version.
    pub abi_minor: u16,
    /// Passed to every function of the host.
    pub ctx: *mut c_void,
    /// Writes a log line.
    pub log: Option<LogFn>,
    /// The least important level that the host records, as in [`Level`].
    pub log_level: Option<extern "C" fn(*mut c_void) -> i32>,
    /// Nanoseconds since the epoch.
    pub now_unix_ns: Option<extern "C" fn(*mut c_void) -> u64>,
    /// Records a metric.
    pub metric: Option<MetricFn>,
    /// Calls a host service.
    pub call: Option<HostCallFn>,
    /// Cancels a call of a host service: instance id, call id.
    pub cancel: Option<extern "C" fn(*mut c_void, u64, u64)>,
    /// Runs a function with an argument on the host's pool for this instance, once.
    pub spawn: Option<extern "C" fn(*mut c_void, u64, Option<RunFn>, *mut c_void)>,
}

// SAFETY: R6 lets every function of the table be called from any thread, and `ctx` is only ever passed back to them.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// `x402p_instance`, opaque.
#[repr(C)]
#[derive(Debug)]
pub struct Instance {
    _opaque: [u8; 0],
}

/// `x402p_plugin.create`.
pub type CreateFn = extern "C" fn(*const Host, u64, Bytes, *mut Buf) -> *mut Instance;
/// `x402p_plugin.submit`.
pub type SubmitFn = extern "C" fn(*mut Instance, *const Call) -> i32;

/// `x402p_plugin`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// Bytes of this struct on the plugin's side.
    pub struct_size: u32,
    /// The plugin's major version.
    pub abi_major: u16,
    /// The plugin's minor version.
    pub abi_minor: u16,
    /// Bits `F_*`.
    pub flags: u64,
    /// The manifest, JSON.
    pub manifest: Bytes,
    /// Creates an instance; null on failure.
    pub create: Option<CreateFn>,
    /// Accepts or rejects a call.
    pub submit: Option<SubmitFn>,
    /// Cancels an open call by its id.
    pub cancel: Option<extern "C" fn(*mut Instance, u64)>,
    /// Destroys an instance that has no open call.
    pub destroy: Option<extern "C" fn(*mut Instance)>,
}

// SAFETY: the table is immutable and its functions may be called from any thread (R6); `manifest` is static bytes.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

/// `x402p_entry_fn`.
pub type EntryFn = extern "C" fn(host_abi_major: u16, host_abi_minor: u16) -> *const Plugin;

/// A `repr(C)` struct that begins with its `uint32_t struct_size`.
///
/// # Safety
/// The first four bytes are `struct_size`, and every field is valid for any bit pattern.
pub unsafe trait Sized32: Copy {}
// SAFETY: `struct_size` comes first; integers, raw pointers and optional function pointers take any bits.
unsafe impl Sized32 for Call {}
// SAFETY: as above.
unsafe impl Sized32 for Host {}
// SAFETY: as above.
unsafe impl Sized32 for Plugin {}

/// Why a struct from the other side was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The pointer is null.
    #[error("the pointer is null")]
    Null,
    /// The pointer is not aligned for the struct.
    #[error("the pointer is not aligned")]
    Misaligned,
    /// By its `struct_size` it is smaller than in minor version 0 of this ABI.
    #[error("the struct has {struct_size} bytes, {needed} are needed")]
    TooSmall {
        /// Bytes by its first member.
        struct_size: u32,
        /// Bytes of the struct in minor version 0.
        needed: usize,
    },
}

/// Copies a struct that the other side produced, after checking its `struct_size` (R1).
///
/// # Safety
/// `ptr` is null, or points to at least as many readable bytes as its first four bytes declare.
pub unsafe fn read_sized<T: Sized32>(ptr: *const T) -> Result<T, ReadError> {
    if ptr.is_null() {
        return Err(ReadError::Null);
    }
    if !ptr.is_aligned() {
        return Err(ReadError::Misaligned);
    }
    // SAFETY: not null and aligned; the caller vouches for the first four bytes.
    let struct_size = unsafe { ptr.cast::<u32>().read() };
    if (struct_size as usize) < size_of::<T>() {
        return Err(ReadError::TooSmall {
            struct_size,
            needed: size_of::<T>(),
        });
    }
    // SAFETY: the producer declares that at least `size_of::<T>()` bytes are there, and any bits are a valid `T`.
    Ok(unsafe { ptr.read() })
}

/// `size_of::<T>()` as the ABI writes it.
#[must_use]
pub const fn struct_size<T>() -> u32 {
    let size = size_of::<T>();
    assert!(size <= u32::MAX as usize);
    size as u32
}

impl FaultKind {
    /// The status code of this kind.
    #[must_use]
    pub const fn status(self) -> i32 {
        match self {
            Self::Invalid => E_INVALID,
            Self::Unsupported => E_UNSUPPORTED,
            Self::Cancelled => E_CANCELLED,
            Self::Deadline => E_DEADLINE,
            Self::Overloaded => E_OVERLOADED,
            Self::Shutdown => E_SHUTDOWN,
            Self::Panic => E_PANIC,
            Self::Internal => E_INTERNAL,
            Self::Denied => E_DENIED,
            Self::Indeterminate => E_INDETERMINATE,
            Self::Unavailable => E_UNAVAILABLE,
        }
    }

    /// The kind of a status code other than [`OK`]; codes that are not in the header are defects of their sender.
    #[must_use]
    pub const fn from_status(status: i32) -> Self {
        match status {
            E_INVALID => Self::Invalid,
            E_UNSUPPORTED => Self::Unsupported,
            E_CANCELLED => Self::Cancelled,
            E_DEADLINE => Self::Deadline,
            E_OVERLOADED => Self::Overloaded,
            E_SHUTDOWN => Self::Shutdown,
            E_PANIC => Self::Panic,
            E_DENIED => Self::Denied,
            E_INDETERMINATE => Self::Indeterminate,
            E_UNAVAILABLE => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl Level {
    /// The level of an ABI number; numbers out of range count as the nearest level.
    #[must_use]
    pub const fn from_abi(level: i32) -> Self {
        match level {
            ..=1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            5.. => Self::Trace,
        }
    }
}

impl MetricKind {
    /// The kind of an ABI number, where it is one.
    #[must_use]
    pub const fn from_abi(kind: i32) -> Option<Self> {
        match kind {
            0 => Some(Self::Counter),
            1 => Some(Self::Gauge),
            2 => Some(Self::Histogram),
            _ => None,
        }
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Bytes>() == 16 && align_of::<Bytes>() == 8);
    assert!(offset_of!(Bytes, ptr) == 0 && offset_of!(Bytes, len) == 8);

    assert!(size_of::<Buf>() == 32 && align_of::<Buf>() == 8);
    assert!(offset_of!(Buf, ptr) == 0 && offset_of!(Buf, len) == 8);
    assert!(offset_of!(Buf, owner) == 16 && offset_of!(Buf, release) == 24);

    assert!(size_of::<Call>() == 96 && align_of::<Call>() == 8);
    assert!(offset_of!(Call, struct_size) == 0 && offset_of!(Call, reserved) == 4);
    assert!(offset_of!(Call, call_id) == 8 && offset_of!(Call, parent_id) == 16);
    assert!(offset_of!(Call, timeout_ns) == 24 && offset_of!(Call, op) == 32);
    assert!(offset_of!(Call, request) == 48 && offset_of!(Call, trace) == 64);
    assert!(offset_of!(Call, ctx) == 80 && offset_of!(Call, complete) == 88);

    assert!(size_of::<Host>() == 72 && align_of::<Host>() == 8);
    assert!(offset_of!(Host, struct_size) == 0 && offset_of!(Host, abi_major) == 4);
    assert!(offset_of!(Host, abi_minor) == 6 && offset_of!(Host, ctx) == 8);
    assert!(offset_of!(Host, log) == 16 && offset_of!(Host, log_level) == 24);
    assert!(offset_of!(Host, now_unix_ns) == 32 && offset_of!(Host, metric) == 40);
    assert!(offset_of!(Host, call) == 48 && offset_of!(Host, cancel) == 56 && offset_of!(Host, spawn) == 64);

    assert!(size_of::<Plugin>() == 64 && align_of::<Plugin>() == 8);
    assert!(offset_of!(Plugin, struct_size) == 0 && offset_of!(Plugin, abi_major) == 4);
    assert!(offset_of!(Plugin, abi_minor) == 6 && offset_of!(Plugin, flags) == 8);
    assert!(offset_of!(Plugin, manifest) == 16 && offset_of!(Plugin, create) == 32);
    assert!(offset_of!(Plugin, submit) == 40 && offset_of!(Plugin, cancel) == 48);
    assert!(offset_of!(Plugin, destroy) == 56);
};

//! The functions of a plugin's code in this process, and how a call is handed to them.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::abi::raw::{self, Bytes, Call, CompleteFn, Plugin, SubmitFn};
use sdk_plugin::operation::OperationKind;

/// The functions of a plugin that are called after `create`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Functions {
    pub(super) submit: SubmitFn,
    pub(super) cancel: extern "C" fn(*mut raw::Instance, u64),
    pub(super) destroy: extern "C" fn(*mut raw::Instance),
}

impl Functions {
    /// `None` when one of them is null.
    pub(super) fn of(table: &Plugin) -> Option<Self> {
        Some(Self {
            submit: table.submit?,
            cancel: table.cancel?,
            destroy: table.destroy?,
        })
    }
}

/// The plugin's pointer to its instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pointer(*mut raw::Instance);

impl Pointer {
    pub(super) fn new(pointer: *mut raw::Instance) -> Self {
        Self(pointer)
    }

    pub(super) fn get(self) -> *mut raw::Instance {
        self.0
    }
}

// SAFETY: the ABI lets an instance be used from any thread (R6); the host only returns the pointer.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// A call on its way to a plugin's code, without its request.
pub(super) struct Handed {
    /// The plugin's `ctx`.
    pub(super) key: u64,
    pub(super) call_id: u64,
    pub(super) operation: OperationKind,
    /// From now.
    pub(super) timeout: Duration,
    /// W3C `traceparent`.
    pub(super) trace: Option<Arc<str>>,
}

impl Handed {
    pub(super) fn timeout_ns(&self) -> u64 {
        u64::try_from(self.timeout.as_nanos()).unwrap_or(0)
    }
}

/// A call, as it is handed to a plugin's code.
pub(super) struct Submitted<'a> {
    /// The plugin's `ctx`.
    pub(super) key: u64,
    pub(super) call_id: u64,
    pub(super) operation: &'a str,
    pub(super) timeout_ns: u64,
    /// W3C `traceparent`; empty without one.
    pub(super) trace: &'a str,
    pub(super) request: &'a [u8],
}

impl Submitted<'_> {
    /// The plugin's status.
    pub(super) fn submit(&self, pointer: Pointer, functions: Functions, complete: CompleteFn) -> i32 {
        let call = Call {
            struct_size: raw::struct_size::<Call>(),
            reserved: 0,
            call_id: self.call_id,
            parent_id: 0,
            timeout_ns: self.timeout_ns,
            op: Bytes::lend(self.operation.as_bytes()),
            request: Bytes::lend(self.request),
            trace: Bytes::lend(self.trace.as_bytes()),
            ctx: self.key as usize as *mut c_void,
            complete: Some(complete),
        };
        (functions.submit)(pointer.0, &raw const call)
    }
}

/// The answer for a call that a plugin refuses.
pub(super) fn refusal(status: i32) -> Vec<u8> {
    format!("the plugin refused the call with status {status}").into_bytes()
}

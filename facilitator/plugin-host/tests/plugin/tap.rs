//! A tap between host and plugin: every message that crosses is checked against its checked-in schema.
//!
//! It implements both sides of the ABI: to the host it is a plugin, to the plugin a host.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use parking_lot::{Mutex, MutexGuard};
use sdk_plugin::abi::raw::{self, Buf, Bytes, Call, CompleteFn, Host, Instance, Plugin};
use serde_json::Value;

/// The messages that crossed, by the name of their schema, and the errors in them.
#[derive(Debug, Default)]
pub(crate) struct Crossed {
    pub(crate) names: BTreeSet<String>,
    pub(crate) faults: Vec<String>,
}

static CROSSED: LazyLock<Mutex<Crossed>> = LazyLock::new(Mutex::default);

pub(crate) fn crossed() -> MutexGuard<'static, Crossed> {
    CROSSED.lock()
}

/// The checked-in schemas, by message.
pub(crate) static SCHEMAS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk-plugin/schemas");
    let files = std::fs::read_dir(folder).expect("the folder of schemas");
    let read = |path: &Path| -> Option<(String, Validator)> {
        let schema: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        Some((
            path.file_stem()?.to_str()?.to_owned(),
            jsonschema::validator_for(&schema).ok()?,
        ))
    };
    files
        .map(|file| read(&file.expect("a file").path()).expect("a schema"))
        .collect()
});

fn check(name: &str, message: &[u8]) {
    let fault = match (SCHEMAS.get(name), serde_json::from_slice::<Value>(message)) {
        (None, _) => Some("there is no such schema".to_owned()),
        (_, Err(error)) => Some(error.to_string()),
        (Some(schema), Ok(message)) => schema
            .iter_errors(&message)
            .next()
            .map(|fault| format!("{fault} at {} in {message}", fault.instance_path())),
    };
    let mut crossed = crossed();
    crossed.names.insert(name.to_owned());
    crossed
        .faults
        .extend(fault.map(|fault| format!("{name}: {fault}")));
}

fn text<'a>(bytes: Bytes) -> &'a [u8] {
    // SAFETY: the side that lends the bytes keeps them until the call returns.
    unsafe { bytes.borrow(usize::MAX) }.expect("bytes")
}

/// A call that passes through.
struct Passing {
    op: String,
    ctx: *mut c_void,
    complete: CompleteFn,
}

/// The call with this tap's completion in it. The box is freed in `passed`, or by the caller when the call is refused.
fn tapped(call: *const Call) -> (Call, *mut Passing) {
    // SAFETY: both sides pass whole calls here.
    let call = unsafe { *call };
    let op = String::from_utf8(text(call.op).to_vec()).expect("an operation");
    check(&format!("{op}.request"), text(call.request));
    let passing = Passing {
        op,
        ctx: call.ctx,
        complete: call.complete.expect("a completion"),
    };
    let passing = Box::into_raw(Box::new(passing));
    (
        Call {
            ctx: passing.cast(),
            complete: Some(passed),
            ..call
        },
        passing,
    )
}

extern "C" fn passed(ctx: *mut c_void, status: i32, response: Buf) {
    // SAFETY: the box of `tapped`; calls are completed once.
    let Passing { op, ctx, complete } = *unsafe { Box::from_raw(ctx.cast::<Passing>()) };
    let message = text(Bytes {
        ptr: response.ptr,
        len: response.len,
    });
    if status == raw::OK {
        check(&format!("{op}.response"), message);
    } else if !message.is_empty() {
        check("fault", message);
    }
    complete(ctx, status, response);
}

/// The host that the tapped plugin calls.
static HOSTS: Mutex<Option<Host>> = Mutex::new(None);

fn host() -> Host {
    HOSTS.lock().expect("an instance was made")
}

extern "C" fn host_call(ctx: *mut c_void, instance: u64, call: *const Call) -> i32 {
    let (call, passing) = tapped(call);
    let status = host().call.expect("call")(ctx, instance, &raw const call);
    if status < 0 {
        // SAFETY: refused, so it is never completed.
        drop(unsafe { Box::from_raw(passing) });
    }
    status
}

/// The table of `plugin` with this tap around it. One instance of one plugin at a time.
pub(crate) fn tap(plugin: &'static Plugin) -> Plugin {
    *PLUGIN.lock() = Some(plugin);
    Plugin {
        create: Some(create),
        submit: Some(submit),
        ..*plugin
    }
}

static PLUGIN: Mutex<Option<&'static Plugin>> = Mutex::new(None);

fn plugin() -> &'static Plugin {
    PLUGIN.lock().expect("a plugin is tapped")
}

extern "C" fn create(host: *const Host, id: u64, config: Bytes, error: *mut Buf) -> *mut Instance {
    // SAFETY: the host passes its table.
    let host = unsafe { *host };
    *HOSTS.lock() = Some(host);
    let table = Box::leak(Box::new(Host {
        call: Some(host_call),
        ..host
    }));
    plugin().create.expect("create")(table, id, config, error)
}

extern "C" fn submit(instance: *mut Instance, call: *const Call) -> i32 {
    let (call, passing) = tapped(call);
    let status = plugin().submit.expect("submit")(instance, &raw const call);
    if status < 0 {
        // SAFETY: refused, so it is never completed.
        drop(unsafe { Box::from_raw(passing) });
    }
    status
}

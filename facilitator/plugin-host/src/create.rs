//! From a plugin's table to an instance: its threads, its bridge to the host, and the plugin's own state.
//!
//! Assumes that the configuration was validated, and that the current thread may block: the plugin's `create` runs here.

use std::path::Path;
use std::sync::Arc;

use sdk_plugin::Manifest;
use sdk_plugin::abi::DEFAULT_MESSAGE_BYTES;
use sdk_plugin::abi::buf::Received;
use sdk_plugin::abi::raw::{self, Buf, Bytes, CreateFn, EntryFn, Plugin};
use sdk_plugin::ops::FaultBody;
use tokio::runtime::Handle;

use super::bridge::{Bridge, Side};
use super::crumbs::{Doing, inside};
use super::error::{ErrorKind, PluginError};
use super::functions::Functions;
use super::instance::Instance;
use super::library;
use super::manifest;
use super::pool::Pool;
use super::request::InstanceRequest;
use super::table::table;

/// Largest manifest or error text that is read from a running plugin, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// The manifest that a table points to.
pub(super) fn table_manifest(plugin: &Path, table: &Plugin) -> Result<Manifest, PluginError> {
    // SAFETY: static bytes, as the header says.
    let text = unsafe { table.manifest.borrow(MAX_TEXT_BYTES) }.unwrap_or_default();
    manifest::parse(text).map_err(|(kind, message)| PluginError::new(plugin, kind, message))
}

/// Creates an instance of the plugin with this manifest in this process.
pub(super) fn create(
    plugin: &Path,
    entry: EntryFn,
    manifest: Manifest,
    request: InstanceRequest,
    runtime: Handle,
) -> Result<Arc<Instance>, PluginError> {
    let (create, functions) = functions(plugin, entry, request.instance_id, &manifest)?;
    let config = request.config.to_string();
    let limits = request.limits;
    let pool = Pool::new(&manifest.id, limits.threads, limits.queued_tasks).map_err(|error| {
        PluginError::new(
            plugin,
            ErrorKind::File,
            format!("no threads for it ({error}): raise the process's limit"),
        )
    })?;
    let bridge = bridge(&manifest, request, Side::Here(pool), runtime);
    let pointer = call_create(plugin, create, table(bridge), bridge.instance_id, &config)
        .inspect_err(|_| bridge.finish())?;
    // SAFETY: just made by this plugin's `create`.
    Ok(unsafe { Instance::new(pointer, functions, bridge) })
}

/// The functions of the plugin with this manifest.
pub(super) fn functions(
    plugin: &Path,
    entry: EntryFn,
    instance_id: u64,
    manifest: &Manifest,
) -> Result<(CreateFn, Functions), PluginError> {
    let fail = |kind, message: &str| PluginError::new(plugin, kind, message);
    let table = inside(instance_id, Doing::Load, || library::read_table(plugin, entry))?;
    if table_manifest(plugin, &table)? != *manifest {
        let message = "its table and its section hold different manifests: rebuild it with one for both";
        return Err(fail(ErrorKind::Manifest, message));
    }
    match (table.create, Functions::of(&table)) {
        (Some(create), Some(functions)) => Ok((create, functions)),
        _ => Err(fail(
            ErrorKind::Load,
            "a function of its table is null: rebuild it against x402_plugin.h",
        )),
    }
}

/// Largest message of the plugin with this manifest, in bytes.
pub(super) fn message_bytes(manifest: &Manifest) -> usize {
    manifest
        .max_message_bytes
        .map_or(DEFAULT_MESSAGE_BYTES, |bytes| bytes as usize)
}

/// The core's end of an instance.
pub(super) fn bridge(
    manifest: &Manifest,
    request: InstanceRequest,
    side: Side,
    runtime: Handle,
) -> &'static Bridge {
    Bridge::leak(
        request,
        &manifest.services,
        side,
        message_bytes(manifest),
        runtime,
    )
}

/// The plugin's pointer to its instance.
///
/// # Errors
/// The plugin refuses, with its text.
pub(super) fn call_create(
    plugin: &Path,
    create: CreateFn,
    host: &'static raw::Host,
    instance_id: u64,
    config: &str,
) -> Result<*mut raw::Instance, PluginError> {
    let mut error = Buf::EMPTY;
    let pointer = inside(instance_id, Doing::Load, || {
        create(host, instance_id, Bytes::lend(config.as_bytes()), &raw mut error)
    });
    // SAFETY: the plugin filled it, or left it empty; it is ours now (R3).
    let error = unsafe { Received::new(error) };
    if pointer.is_null() {
        let body = error.bytes(MAX_TEXT_BYTES).unwrap_or_default();
        let text = FaultBody::decode(raw::E_INTERNAL, body).message;
        let message = format!("it refuses to make an instance: {text}");
        return Err(PluginError::new(plugin, ErrorKind::Start, message));
    }
    Ok(pointer)
}

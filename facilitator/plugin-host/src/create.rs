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

use super::bridge::Bridge;
use super::crumbs::{Doing, inside};
use super::error::{ErrorKind, PluginError};
use super::instance::{Functions, Instance};
use super::library;
use super::manifest;
use super::pool::Pool;
use super::request::InstanceRequest;

/// Largest manifest or error text that is read from a running plugin, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// The manifest that a table points to.
pub(super) fn table_manifest(plugin: &Path, table: &Plugin) -> Result<Manifest, PluginError> {
    // SAFETY: static bytes, as the header says.
    let text = unsafe { table.manifest.borrow(MAX_TEXT_BYTES) }.unwrap_or_default();
    manifest::parse(text).map_err(|(kind, message)| PluginError::new(plugin, kind, message))
}

/// Creates an instance of the plugin with this manifest.
pub(super) fn create(
    plugin: &Path,
    entry: EntryFn,
    manifest: Manifest,
    request: InstanceRequest,
    runtime: Handle,
) -> Result<Arc<Instance>, PluginError> {
    let fail = |kind, message: &str| PluginError::new(plugin, kind, message);
    let table = inside(request.instance_id, Doing::Load, || {
        library::read_table(plugin, entry)
    })?;
    if table_manifest(plugin, &table)? != manifest {
        let message = "its table and its section hold different manifests: rebuild it with one for both";
        return Err(fail(ErrorKind::Manifest, message));
    }
    let (Some(create), Some(functions)) = (table.create, Functions::of(&table)) else {
        return Err(fail(
            ErrorKind::Load,
            "a function of its table is null: rebuild it against x402_plugin.h",
        ));
    };
    let config = request.config.to_string();
    let bridge = bridge(plugin, &manifest, request, runtime)?;
    let pointer = call_create(create, bridge, &config).map_err(|text| {
        bridge.finish();
        fail(
            ErrorKind::Start,
            &format!("it refuses to make an instance: {text}"),
        )
    })?;
    // SAFETY: just made by this plugin's `create`.
    Ok(unsafe { Instance::new(pointer, functions, bridge) })
}

fn bridge(
    plugin: &Path,
    manifest: &Manifest,
    request: InstanceRequest,
    runtime: Handle,
) -> Result<&'static Bridge, PluginError> {
    let InstanceRequest {
        instance_id,
        host,
        limits,
        config: _,
    } = request;
    let message_bytes = manifest
        .max_message_bytes
        .map_or(DEFAULT_MESSAGE_BYTES, |bytes| bytes as usize);
    let pool = Pool::new(&manifest.id, limits.threads, limits.queued_tasks).map_err(|error| {
        PluginError::new(
            plugin,
            ErrorKind::File,
            format!("no threads for it ({error}): raise the process's limit"),
        )
    })?;
    Ok(Bridge::leak(
        instance_id,
        host,
        &manifest.services,
        pool,
        limits,
        message_bytes,
        runtime,
    ))
}

/// The plugin's pointer to its instance, or the text with which it refuses.
fn call_create(
    create: CreateFn,
    bridge: &'static Bridge,
    config: &str,
) -> Result<*mut raw::Instance, String> {
    let mut error = Buf::EMPTY;
    let pointer = inside(bridge.instance_id, Doing::Load, || {
        create(
            bridge.table(),
            bridge.instance_id,
            Bytes::lend(config.as_bytes()),
            &raw mut error,
        )
    });
    // SAFETY: the plugin filled it, or left it empty; it is ours now (R3).
    let error = unsafe { Received::new(error) };
    if pointer.is_null() {
        let body = error.bytes(MAX_TEXT_BYTES).unwrap_or_default();
        return Err(FaultBody::decode(raw::E_INTERNAL, body).message);
    }
    Ok(pointer)
}

//! From a file to a running instance.
//!
//! The file is read once; digest, manifest and the copy that is loaded come from those same bytes, so that a file
//! replaced in between changes nothing. The copy is named by its content and never unloaded: threads, thread-locals and
//! function pointers of the plugin stay valid for the life of the process.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use sdk_plugin::abi::DEFAULT_MESSAGE_BYTES;
use sdk_plugin::abi::buf::Received;
use sdk_plugin::abi::raw::{self, ABI_MAJOR, ABI_MINOR, Buf, Bytes, EntryFn, Plugin, ReadError, read_sized};
use sdk_plugin::ops::FaultBody;
use sdk_plugin::{ChainDriver, HostServices, Manifest, SchemeHandler};
use serde_json::Value;
use tokio::sync::oneshot;

use super::bridge::Bridge;
use super::config;
use super::error::{ErrorKind, PluginError};
use super::instance::{Functions, HealthProbe, Instance, Limits};
use super::manifest::{self, Inspected};
use super::pin::{Pin, Sha256Digest};
use super::pool::Pool;
use super::remote::{RemoteDriver, RemoteScheme};
use telemetry::disk;

/// Largest manifest or error text in bytes that is read from a running plugin.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// An instance to be made.
#[derive(Clone)]
pub struct InstanceRequest {
    /// Unique in this process.
    pub instance_id: u64,
    /// Validated against the manifest's schema before any code of the plugin sees it.
    pub config: Value,
    pub host: Arc<dyn HostServices>,
    pub limits: Limits,
}

/// A plugin to be loaded from a file.
#[derive(Clone)]
pub struct LoadRequest {
    pub path: PathBuf,
    pub pin: Pin,
    /// A folder of this process's own, where files are copied to before they are loaded. Made when missing.
    pub copies: PathBuf,
    pub instance: InstanceRequest,
}

impl std::fmt::Debug for InstanceRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration may hold secrets.
        f.debug_struct("InstanceRequest")
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LoadRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadRequest")
            .field("path", &self.path)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

/// A running instance. It ends when all handlers and the probe are dropped and the plugin has completed every call.
#[derive(Clone)]
pub struct Loaded {
    pub manifest: Manifest,
    /// `None` for a plugin that did not come from a file.
    pub sha256: Option<Sha256Digest>,
    /// By scheme name.
    pub schemes: BTreeMap<String, Arc<dyn SchemeHandler>>,
    /// By CAIP-2 namespace.
    pub drivers: BTreeMap<String, Arc<dyn ChainDriver>>,
    pub health: HealthProbe,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("id", &self.manifest.id)
            .field("version", &self.manifest.version)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// Looks at a plugin file without running any of it. Blocks on the disk.
pub fn inspect(path: &Path) -> Result<Inspected, PluginError> {
    let bytes = manifest::read_file(path)?;
    inspect_bytes(path, &bytes)
}

/// Looks at a plugin file and checks its pin, without running any of it. Blocks on the disk.
pub fn vet(path: &Path, pin: Pin) -> Result<Inspected, PluginError> {
    let inspected = inspect(path)?;
    pin.check(inspected.sha256)
        .map_err(|(kind, message)| PluginError::new(path, kind, message))?;
    Ok(inspected)
}

fn inspect_bytes(path: &Path, bytes: &[u8]) -> Result<Inspected, PluginError> {
    let manifest =
        manifest::of_file(bytes).map_err(|(kind, message)| PluginError::new(path, kind, message))?;
    Ok(Inspected {
        manifest,
        sha256: Sha256Digest::of(bytes),
    })
}

/// Loads a file, makes an instance and starts it. Must be called on a tokio runtime, which also serves its host calls.
pub async fn load(request: LoadRequest) -> Result<Loaded, PluginError> {
    let LoadRequest {
        path,
        pin,
        copies,
        instance,
    } = request;
    let plugin = path.clone();
    let limits = instance.limits;
    let open = move |runtime| {
        let bytes = manifest::read_file(&path)?;
        let inspected = inspect_bytes(&path, &bytes)?;
        pin.check(inspected.sha256)
            .map_err(|(kind, message)| PluginError::new(&path, kind, message))?;
        check_config(&path, &inspected.manifest, &instance.config)?;
        let copy = copy(&path, &copies, &bytes, inspected.sha256)?;
        let entry = open(&path, &copy)?;
        let made = create(&path, entry, inspected.manifest.clone(), instance, runtime)?;
        Ok((inspected.manifest, Some(inspected.sha256), made))
    };
    finish(&plugin, limits, open).await
}

/// Makes an instance of a plugin that is part of this program, and starts it. For tests; on a tokio runtime.
///
/// # Safety
/// `entry` keeps the rules of the ABI: its table and the table's functions are what the header says.
pub async unsafe fn attach(entry: EntryFn, request: InstanceRequest) -> Result<Loaded, PluginError> {
    let plugin = PathBuf::from("attached");
    let (limits, name) = (request.limits, plugin.clone());
    let open = move |runtime| {
        let table = table(&name, entry)?;
        let manifest = table_manifest(&name, &table)?;
        check_config(&name, &manifest, &request.config)?;
        let made = create(&name, entry, manifest.clone(), request, runtime)?;
        Ok((manifest, None, made))
    };
    finish(&plugin, limits, open).await
}

type Opened = (Manifest, Option<Sha256Digest>, Arc<Instance>);

/// Runs what runs a plugin's code for the first time, on a thread that it may block, then starts the instance.
async fn finish(
    plugin: &Path,
    limits: Limits,
    open: impl FnOnce(tokio::runtime::Handle) -> Result<Opened, PluginError> + Send + 'static,
) -> Result<Loaded, PluginError> {
    let runtime = tokio::runtime::Handle::current();
    let (send, opened) = oneshot::channel();
    let thread = std::thread::Builder::new().name("plugin load".to_owned());
    // A result that comes too late is dropped there, which ends the instance.
    let started = thread.spawn(move || drop(send.send(open(runtime))));
    started.map_err(|error| {
        PluginError::new(
            plugin,
            ErrorKind::File,
            format!("no thread to load it on: {error}"),
        )
    })?;
    let (manifest, sha256, instance) = match tokio::time::timeout(limits.create_timeout, opened).await {
        Ok(Ok(opened)) => opened?,
        Ok(Err(_)) => {
            return Err(PluginError::new(
                plugin,
                ErrorKind::Load,
                "loading it broke off: see the log above",
            ));
        }
        Err(_) => {
            let message = format!(
                "it did not make an instance within {} ms: I/O belongs in plugin.start; tell its author",
                limits.create_timeout.as_millis()
            );
            return Err(PluginError::new(plugin, ErrorKind::Start, message));
        }
    };
    let health = HealthProbe(instance.clone());
    health.start().await.map_err(|fault| {
        PluginError::new(
            plugin,
            ErrorKind::Start,
            format!("it did not start: {}", fault.message),
        )
    })?;
    let schemes = manifest.schemes.iter().map(|role| {
        let handler: Arc<dyn SchemeHandler> =
            Arc::new(RemoteScheme::new(instance.clone(), role.scheme.clone()));
        (role.scheme.clone(), handler)
    });
    let drivers = manifest.drivers.iter().map(|role| {
        let driver: Arc<dyn ChainDriver> = Arc::new(RemoteDriver::new(instance.clone()));
        (role.family.clone(), driver)
    });
    Ok(Loaded {
        schemes: schemes.collect(),
        drivers: drivers.collect(),
        manifest,
        sha256,
        health,
    })
}

fn check_config(plugin: &Path, manifest: &Manifest, config: &Value) -> Result<(), PluginError> {
    let misfits: Vec<String> = config::misfits(&manifest.config_schema, config)
        .iter()
        .map(ToString::to_string)
        .collect();
    if misfits.is_empty() {
        return Ok(());
    }
    let message = format!(
        "its configuration does not fit: {}; `switchyard plugin inspect` shows the schema",
        misfits.join("; ")
    );
    Err(PluginError::new(plugin, ErrorKind::Config, message))
}

/// Writes the bytes to a file named by their digest, whole or not at all.
fn copy(plugin: &Path, folder: &Path, bytes: &[u8], sha256: Sha256Digest) -> Result<PathBuf, PluginError> {
    let fail = |error: std::io::Error| {
        let message = format!(
            "it can't be copied to {} in data.directory ({error}): {}",
            folder.display(),
            disk::remedy(&error)
        );
        PluginError::new(plugin, ErrorKind::File, message)
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(fail)?;
    let copy = folder.join(format!("{sha256}.so"));
    if fs::read(&copy).is_ok_and(|there| Sha256Digest::of(&there) == sha256) {
        return Ok(copy);
    }
    static NEXT_COPY: AtomicU64 = AtomicU64::new(1);
    let number = NEXT_COPY.fetch_add(1, Ordering::Relaxed);
    let unfinished = folder.join(format!("{sha256}.{}-{number}.part", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o500)
            .open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &copy)
    };
    write().map_err(fail)?;
    Ok(copy)
}

/// What helps when the system's loader says this of a copy.
fn load_remedy(said: &str, copy: &Path) -> String {
    // What glibc and musl say where a file system is mounted `noexec`, or a security module forbids it.
    if said.contains("failed to map segment") || said.contains("Operation not permitted") {
        let folder = copy.parent().unwrap_or(copy).display();
        return format!(
            "plugins are run from {folder}, and its file system allows no programs (noexec): mount it without noexec, or \
             write another data.directory"
        );
    }
    "use a build for this machine's system".to_owned()
}

/// The entry function of a file.
fn open(plugin: &Path, copy: &Path) -> Result<EntryFn, PluginError> {
    let fail = |what: &str, error: libloading::Error| {
        let message = format!("{what} ({error}): {}", load_remedy(&error.to_string(), copy));
        PluginError::new(plugin, ErrorKind::Load, message)
    };
    // SAFETY: runs the file's initialisers; the operator pinned the file, or chose development mode.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| fail("the system's loader refuses it", error))?;
    // SAFETY: the header gives the symbol this type.
    let entry = unsafe { library.get::<EntryFn>(raw::ENTRY_SYMBOL) }.map(|symbol| *symbol);
    let entry = entry.map_err(|error| fail("it has no entry function x402_plugin_entry_v1", error));
    // Never unloaded: whatever it started may still run.
    std::mem::forget(library);
    entry
}

/// The plugin's table, read with the care that `struct_size` asks for.
fn table(plugin: &Path, entry: EntryFn) -> Result<Plugin, PluginError> {
    let fail = |kind, message: String| Err(PluginError::new(plugin, kind, message));
    let table = entry(ABI_MAJOR, ABI_MINOR);
    // SAFETY: null, or the static table that the header promises.
    let table = match unsafe { read_sized(table) } {
        Ok(table) => table,
        Err(ReadError::Null) => {
            return fail(
                ErrorKind::Abi,
                format!(
                    "refused by plugin: it does not take ABI {ABI_MAJOR}.{ABI_MINOR}; use a build that does"
                ),
            );
        }
        Err(ReadError::Misaligned) => {
            return fail(
                ErrorKind::Load,
                "its table is at an odd address: rebuild it against x402_plugin.h".to_owned(),
            );
        }
        Err(ReadError::TooSmall { struct_size, needed }) => {
            return fail(
                ErrorKind::Abi,
                format!(
                    "its table has {struct_size} bytes, ABI {ABI_MAJOR}.0 has {needed}: rebuild it against x402_plugin.h"
                ),
            );
        }
    };
    if table.abi_major != ABI_MAJOR {
        return fail(
            ErrorKind::Abi,
            format!(
                "its table is of ABI {}.{}, this facilitator has {ABI_MAJOR}.{ABI_MINOR}: use a build for that",
                table.abi_major, table.abi_minor
            ),
        );
    }
    Ok(table)
}

fn table_manifest(plugin: &Path, table: &Plugin) -> Result<Manifest, PluginError> {
    // SAFETY: static bytes, as the header says.
    let text = unsafe { table.manifest.borrow(MAX_TEXT_BYTES) }.unwrap_or_default();
    manifest::parse(text).map_err(|(kind, message)| PluginError::new(plugin, kind, message))
}

/// Makes an instance.
fn create(
    plugin: &Path,
    entry: EntryFn,
    manifest: Manifest,
    request: InstanceRequest,
    runtime: tokio::runtime::Handle,
) -> Result<Arc<Instance>, PluginError> {
    let fail = |kind, message: &str| PluginError::new(plugin, kind, message);
    let table = table(plugin, entry)?;
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
    let InstanceRequest {
        instance_id,
        config,
        host,
        limits,
    } = request;
    let message_bytes = manifest
        .max_message_bytes
        .map_or(DEFAULT_MESSAGE_BYTES, |bytes| bytes as usize);
    let pool = Pool::new(&manifest.id, limits.threads, limits.queued_tasks).map_err(|error| {
        fail(
            ErrorKind::File,
            &format!("no threads for it ({error}): raise the process's limit"),
        )
    })?;
    let bridge = Bridge::leak(
        instance_id,
        host,
        &manifest.services,
        pool,
        limits,
        message_bytes,
        runtime,
    );
    let config = config.to_string();
    let mut error = Buf::EMPTY;
    let pointer = create(
        bridge.table(),
        instance_id,
        Bytes::lend(config.as_bytes()),
        &raw mut error,
    );
    // SAFETY: the plugin filled it, or left it empty; it is ours now (R3).
    let error = unsafe { Received::new(error) };
    if pointer.is_null() {
        bridge.finish();
        let said =
            FaultBody::decode(raw::E_INTERNAL, error.bytes(MAX_TEXT_BYTES).unwrap_or_default()).message;
        return Err(fail(
            ErrorKind::Start,
            &format!("it refuses to make an instance: {said}"),
        ));
    }
    // SAFETY: just made by this plugin's `create`.
    Ok(unsafe { Instance::new(pointer, functions, bridge) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_programs_is_not_called_a_wrong_build() {
        let copy = Path::new("/var/lib/switchyard/plugins/ab.so");
        for said in [
            "/var/lib/switchyard/plugins/ab.so: failed to map segment from shared object",
            "Error loading shared library /x/ab.so: Operation not permitted",
        ] {
            let told = load_remedy(said, copy);
            assert!(
                told.contains("mount it without noexec") && told.contains("/var/lib/switchyard/plugins,"),
                "{told}"
            );
        }
        let told = load_remedy("libfoo.so.7: cannot open shared object file", copy);
        assert!(told.contains("a build for this machine's system"), "{told}");
    }

    #[test]
    fn a_full_disk_is_not_called_a_missing_right() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = b"x";
        let digest = Sha256Digest::of(bytes);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let told = copy(Path::new("p.so"), &file.join("plugins"), bytes, digest)
            .unwrap_err()
            .message;
        assert!(told.contains("a file is where a folder has to be"), "{told}");
        let full = io_remedy(std::io::ErrorKind::StorageFull);
        assert!(full.contains("make room") && !full.contains("writable"), "{full}");
    }

    fn io_remedy(kind: std::io::ErrorKind) -> &'static str {
        disk::remedy(&std::io::Error::from(kind))
    }
}

//! From a file to a running instance.
//!
//! The file is read once. Its digest, its manifest and the copy that is loaded come from the same bytes, so a file that is
//! replaced in between changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sdk_plugin::abi::raw::EntryFn;
use sdk_plugin::{ChainDriver, Manifest, SchemeHandler};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::config;
use super::create::{create, table_manifest};
use super::crumbs::{self, Doing, inside};
use super::error::{ErrorKind, PluginError};
use super::instance::{HealthProbe, Instance};
use super::isolated::{self, Isolation, RunnerSettings};
use super::libraries;
use super::library::{copy, open, read_table, readable_by_all};
use super::limits::Limits;
use super::manifest::{self, Inspected};
use super::pin::{Pin, Sha256Digest};
use super::remote::{RemoteDriver, RemoteScheme};
use super::request::InstanceRequest;
use super::signature::{self, Signed, TrustedKey};
use super::surroundings::Surroundings;

/// The plugin file to load.
#[derive(Clone)]
pub struct LoadRequest {
    pub path: PathBuf,
    pub pin: Pin,
    /// Libraries beside those of the operating system that the file may need.
    pub libraries: Vec<String>,
    /// A folder of this process alone, to which files are copied before they are loaded. Created when missing.
    pub copies: PathBuf,
    pub isolation: Isolation,
    pub instance: InstanceRequest,
}

impl std::fmt::Debug for LoadRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadRequest")
            .field("path", &self.path)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

/// A running instance. It ends when all handlers and the probe are dropped, and the plugin has completed every call.
#[derive(Clone)]
pub struct Loaded {
    pub manifest: Manifest,
    /// `None` for a plugin that did not come from a file.
    pub sha256: Option<Sha256Digest>,
    /// Where its code is in memory: first address, and one past the last.
    pub code: Vec<(u64, u64)>,
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

/// Reads the manifest and the digest of a plugin file without running any of it. Blocks on the disk.
pub fn inspect(path: &Path) -> Result<Inspected, PluginError> {
    let bytes = manifest::read_file(path)?;
    inspect_bytes(path, &bytes)
}

/// As [`inspect`], and checks the pin or else the signature, and the libraries that the file needs. Returns the trusted key that signed
/// it, too. Blocks on the disk.
pub fn inspect_trusted(
    path: &Path,
    pin: Pin,
    keys: &[TrustedKey],
    libraries: &[String],
) -> Result<(Inspected, Option<TrustedKey>), PluginError> {
    let bytes = manifest::read_file(path)?;
    let inspected = inspect_bytes(path, &bytes)?;
    let fail = |(kind, message)| PluginError::new(path, kind, message);
    let signed = signature::check(path, &bytes, keys).map_err(fail)?;
    let pin = match (&signed, pin) {
        // The signature is as good as a pin.
        (Signed::By(_), Pin::Unpinned) => Pin::Sha256(inspected.sha256),
        (Signed::By(_) | Signed::No(_), pin) => pin,
    };
    inspected
        .check(path, pin, libraries)
        .map_err(|error| match &signed {
            Signed::No(why) if error.kind == ErrorKind::Pin && !keys.is_empty() => PluginError {
                message: format!("{} ({why})", error.message),
                ..error
            },
            Signed::No(_) | Signed::By(_) => error,
        })?;
    match signed {
        Signed::By(key) => Ok((inspected, Some(key))),
        Signed::No(_) => Ok((inspected, None)),
    }
}

impl Inspected {
    fn check(&self, path: &Path, pin: Pin, libraries: &[String]) -> Result<(), PluginError> {
        pin.check(self.sha256)
            .and_then(|()| libraries::check(&self.libraries, libraries))
            .map_err(|(kind, message)| PluginError::new(path, kind, message))
    }
}

fn inspect_bytes(path: &Path, bytes: &[u8]) -> Result<Inspected, PluginError> {
    let fail = |(kind, message): (ErrorKind, String)| PluginError::new(path, kind, message);
    Ok(Inspected {
        manifest: manifest::of_file(bytes).map_err(fail)?,
        sha256: Sha256Digest::of(bytes),
        libraries: libraries::needed(bytes).map_err(fail)?,
    })
}

/// Loads a file, creates an instance and starts it. Must be called on a tokio runtime, which also serves its host calls.
pub async fn load(request: LoadRequest) -> Result<Loaded, PluginError> {
    let LoadRequest {
        path,
        pin,
        libraries,
        copies,
        isolation,
        instance,
    } = request;
    let plugin = path.clone();
    let limits = instance.limits;
    let instance_id = instance.instance_id;
    let is_opening = Arc::new(AtomicBool::new(false));
    let opening = Arc::clone(&is_opening);
    let open = move |runtime| {
        let bytes = manifest::read_file(&path)?;
        let inspected = inspect_bytes(&path, &bytes)?;
        inspected.check(&path, pin, &libraries)?;
        check_config(&path, &inspected.manifest, &instance.config)?;
        let copy = copy(&path, &copies, &bytes, inspected.sha256)?;
        let (manifest, sha256) = (inspected.manifest, Some(inspected.sha256));
        let settings = match isolation {
            Isolation::None => {
                let before = Surroundings::now();
                opening.store(true, Ordering::Release);
                let entry = inside(instance.instance_id, Doing::Load, || open(&path, &copy));
                opening.store(false, Ordering::Release);
                let created =
                    entry.and_then(|entry| create(&path, entry, manifest.clone(), instance, runtime));
                for what in before.restore() {
                    tracing::warn!(
                        plugin = manifest.id,
                        "plugin_changed_the_process: {what}; report this to its author"
                    );
                }
                let instance = created?;
                let code = code_of(&copy);
                return Ok(Opening::Done(Opened {
                    manifest,
                    sha256,
                    code,
                    instance,
                }));
            }
            Isolation::Process(settings) => settings,
        };
        // The process opens it, perhaps as another user.
        readable_by_all(&path, &copy)?;
        Ok(Opening::Isolated(Isolated {
            manifest,
            sha256,
            copy,
            instance,
            settings,
        }))
    };
    let opened = run_on_thread(&plugin, limits, open).await;
    if opened.is_err() && is_opening.load(Ordering::Acquire) {
        tracing::error!(
            plugin = %plugin.display(),
            "plugin_hangs_while_it_is_loaded: its file was not opened within {} s, and any thread may wait for it: this process ends \
             with status 70, and the next one runs this plugin in a process of its own",
            limits.create_timeout.as_secs()
        );
        crumbs::end_for_hanging(instance_id);
    }
    let opened = match opened? {
        Opening::Done(opened) => opened,
        Opening::Isolated(isolated) => isolated.open(&plugin).await?,
    };
    finish(&plugin, opened).await
}

/// What becomes of a file that is checked and copied.
enum Opening {
    Done(Opened),
    Isolated(Isolated),
}

/// A file that a process of its own opens.
struct Isolated {
    manifest: Manifest,
    sha256: Option<Sha256Digest>,
    copy: PathBuf,
    instance: InstanceRequest,
    settings: RunnerSettings,
}

impl Isolated {
    async fn open(self, plugin: &Path) -> Result<Opened, PluginError> {
        let Self {
            manifest,
            sha256,
            copy,
            instance,
            settings,
        } = self;
        let instance = isolated::open(plugin.to_owned(), copy, manifest.clone(), instance, settings).await?;
        Ok(Opened {
            manifest,
            sha256,
            code: Vec::new(),
            instance,
        })
    }
}

/// Creates an instance of a plugin that is linked into this program, and starts it. For tests; on a tokio runtime.
///
/// # Safety
/// `entry` follows the rules of the ABI: its table and the table's functions are what the header says.
pub async unsafe fn attach(entry: EntryFn, request: InstanceRequest) -> Result<Loaded, PluginError> {
    let plugin = PathBuf::from("attached");
    let (limits, name) = (request.limits, plugin.clone());
    let open = move |runtime| {
        let table = read_table(&name, entry)?;
        let manifest = table_manifest(&name, &table)?;
        check_config(&name, &manifest, &request.config)?;
        let instance = create(&name, entry, manifest.clone(), request, runtime)?;
        Ok(Opened {
            manifest,
            sha256: None,
            code: Vec::new(),
            instance,
        })
    };
    let opened = run_on_thread(&plugin, limits, open).await?;
    finish(&plugin, opened).await
}

struct Opened {
    manifest: Manifest,
    sha256: Option<Sha256Digest>,
    code: Vec<(u64, u64)>,
    instance: Arc<Instance>,
}

/// Where the system has mapped a file's code: first address, and one past the last. Empty where that can't be read.
fn code_of(copy: &Path) -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(name) = copy.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let ranges = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let is_code = rest.get(..4)?.contains('x') && rest.ends_with(name);
        let (from, to) = range.split_once('-').filter(|_| is_code)?;
        Some((
            u64::from_str_radix(from, 16).ok()?,
            u64::from_str_radix(to, 16).ok()?,
        ))
    });
    ranges.collect()
}

/// Starts the instance.
async fn finish(plugin: &Path, opened: Opened) -> Result<Loaded, PluginError> {
    let Opened {
        manifest,
        sha256,
        code,
        instance,
    } = opened;
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
        code,
        health,
    })
}

/// Runs `open` on a thread of its own, which the plugin's code may block.
async fn run_on_thread<T: Send + 'static>(
    plugin: &Path,
    limits: Limits,
    open: impl FnOnce(Handle) -> Result<T, PluginError> + Send + 'static,
) -> Result<T, PluginError> {
    let runtime = Handle::current();
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
    match tokio::time::timeout(limits.create_timeout, opened).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(_)) => Err(PluginError::new(
            plugin,
            ErrorKind::Load,
            "loading it broke off: see the log above",
        )),
        Err(_) => {
            let message = format!(
                "it did not make an instance within {} ms: I/O belongs in plugin.start; report this to its author",
                limits.create_timeout.as_millis()
            );
            Err(PluginError::new(plugin, ErrorKind::Start, message))
        }
    }
}

fn check_config(plugin: &Path, manifest: &Manifest, config: &Value) -> Result<(), PluginError> {
    let errors: Vec<String> = config::validate(&manifest.config_schema, config)
        .iter()
        .map(ToString::to_string)
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let message = format!(
        "its configuration does not fit: {}; `switchyard plugin inspect` shows the schema",
        errors.join("; ")
    );
    Err(PluginError::new(plugin, ErrorKind::Config, message))
}

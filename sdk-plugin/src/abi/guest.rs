//! The plugin's half of the boundary: from the handlers a plugin author wrote to the table a host calls.
//!
//! A host creates an instance, submits calls to it, and destroys it when none is open. Each call becomes one future
//! (module `serve`), first polled inside `submit`; when something it waits for arrives, the host's `spawn` runs it again.
//! The instance owns no thread. It is reference-counted: a call that is just finishing keeps its memory while `destroy`
//! returns.
//!
//! Every function of the table catches panics (R5).

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;

use super::buf::give;
use super::guest_host::HostTable;
use super::raw::{self, Buf, Bytes, Call, Host, Instance, Plugin};
use super::serve::{Shared, accept};
use super::{DEFAULT_MESSAGE_BYTES, raw::read_sized};
use crate::ops::{FaultBody, Health};
use crate::{ChainDriver, Cx, Fault, Manifest, SchemeHandler, async_trait};

/// What one instance of a plugin does. Every role must be in the manifest, and every role of the manifest here.
#[derive(Default, Clone)]
pub struct PluginRoles {
    /// Scheme name and its handler. One handler serves the scheme on all of the file's families.
    pub schemes: Vec<(String, Arc<dyn SchemeHandler>)>,
    /// CAIP-2 namespace and its driver.
    pub drivers: Vec<(String, Arc<dyn ChainDriver>)>,
    /// Operations on the instance as a whole, if it has any.
    pub lifecycle: Option<Arc<dyn Lifecycle>>,
}

impl PluginRoles {
    /// Adds the handler of a scheme.
    #[must_use]
    pub fn scheme(mut self, name: impl Into<String>, handler: impl SchemeHandler) -> Self {
        self.schemes.push((name.into(), Arc::new(handler)));
        self
    }

    /// Adds the driver of a family (CAIP-2 namespace).
    #[must_use]
    pub fn driver(mut self, family: impl Into<String>, driver: impl ChainDriver) -> Self {
        self.drivers.push((family.into(), Arc::new(driver)));
        self
    }

    /// Sets the operations on the instance as a whole.
    #[must_use]
    pub fn lifecycle(mut self, lifecycle: impl Lifecycle) -> Self {
        self.lifecycle = Some(Arc::new(lifecycle));
        self
    }

    /// The first difference between these roles and the manifest's.
    fn compare(&self, manifest: &Manifest) -> Result<(), Fault> {
        let schemes: BTreeSet<&str> = self.schemes.iter().map(|(name, _)| name.as_str()).collect();
        let families: BTreeSet<&str> = self.drivers.iter().map(|(name, _)| name.as_str()).collect();
        if schemes.len() != self.schemes.len() || families.len() != self.drivers.len() {
            return Err(Fault::internal("the plugin hands over two handlers for one role"));
        }
        let declared: BTreeSet<&str> = manifest.schemes.iter().map(|role| role.scheme.as_str()).collect();
        let declared_families: BTreeSet<&str> =
            manifest.drivers.iter().map(|role| role.family.as_str()).collect();
        let difference = schemes
            .symmetric_difference(&declared)
            .chain(families.symmetric_difference(&declared_families))
            .next();
        difference.map_or(Ok(()), |role| {
            Err(Fault::internal(format!(
                "the manifest and the plugin's handlers differ in the role {role:?}"
            )))
        })
    }
}

impl fmt::Debug for PluginRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginRoles")
            .field(
                "schemes",
                &self.schemes.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field(
                "drivers",
                &self.drivers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// Operations on the instance as a whole.
#[async_trait]
pub trait Lifecycle: Send + Sync + 'static {
    /// Called once, before any payment. A fault keeps the plugin out of service.
    async fn start(&self, _cx: &Cx) -> Result<(), Fault> {
        Ok(())
    }

    /// Called now and then. A fault counts as unhealthy.
    async fn health(&self, _cx: &Cx) -> Result<Health, Fault> {
        Ok(Health {
            healthy: true,
            message: None,
        })
    }
}

/// A plugin as [`crate::export_plugin!`] exports it.
pub trait Guest: 'static {
    /// The manifest's JSON.
    const MANIFEST: &'static str;

    /// Makes an instance. `config` was validated against the manifest's schema. Cheap, no I/O.
    fn create(config: Value) -> Result<PluginRoles, Fault>;
}

/// The table of functions of a plugin; `manifest` is the JSON of its section.
#[must_use]
pub const fn table<G: Guest>(manifest: &'static [u8]) -> Plugin {
    Plugin {
        struct_size: raw::struct_size::<Plugin>(),
        abi_major: raw::ABI_MAJOR,
        abi_minor: raw::ABI_MINOR,
        flags: raw::F_INLINE | if cfg!(panic = "unwind") { raw::F_UNWIND } else { 0 },
        manifest: Bytes::lend(manifest),
        create: Some(create::<G>),
        submit: Some(submit),
        cancel: Some(cancel),
        destroy: Some(destroy),
    }
}

/// What the entry function answers to a host of this ABI version.
#[must_use]
pub fn entry(table: &'static Plugin, host_abi_major: u16) -> *const Plugin {
    if host_abi_major == raw::ABI_MAJOR {
        table
    } else {
        std::ptr::null()
    }
}

extern "C" fn create<G: Guest>(
    host: *const Host,
    instance_id: u64,
    config: Bytes,
    error: *mut Buf,
) -> *mut Instance {
    let made = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the host passes its table, which lives as long as the process, and lends the configuration.
        let (host, config) = unsafe { (read_sized(host), config.borrow(isize::MAX as usize)) };
        create_instance::<G>(host, instance_id, config)
    }));
    let fault = match made {
        Ok(Ok(shared)) => return Arc::into_raw(shared).cast::<Instance>().cast_mut(),
        Ok(Err(fault)) => fault,
        Err(payload) => super::serve::panicked(payload),
    };
    if !error.is_null() {
        // SAFETY: not null, so it points to the host's empty buffer, which takes over what is written (R3).
        unsafe { error.write(give(FaultBody::encode(&fault))) };
    }
    std::ptr::null_mut()
}

fn create_instance<G: Guest>(
    host: Result<Host, raw::ReadError>,
    instance_id: u64,
    config: Option<&[u8]>,
) -> Result<Arc<Shared>, Fault> {
    let host = host.ok().and_then(HostTable::new);
    let host = host.ok_or_else(|| Fault::unsupported("the host's table is not one of plugin ABI 1.0"))?;
    let manifest: Manifest = serde_json::from_str(G::MANIFEST)
        .map_err(|error| Fault::internal(format!("the plugin's own manifest does not parse: {error}")))?;
    let config = config.ok_or_else(|| Fault::invalid("the configuration is a null pointer with a length"))?;
    let config = if config.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(config)
    };
    let config = config.map_err(|error| Fault::invalid(format!("the configuration is not JSON: {error}")))?;
    let roles = G::create(config)?;
    roles.compare(&manifest)?;
    let cap = manifest
        .max_message_bytes
        .map_or(DEFAULT_MESSAGE_BYTES, |bytes| bytes as usize);
    Ok(Arc::new(Shared::new(host, instance_id, roles, cap)))
}

/// The instance that a pointer from [`create`] points to.
///
/// # Safety
/// `instance` is null, or came from [`create`] and was not destroyed yet.
unsafe fn instance_of(instance: *mut Instance) -> Option<Arc<Shared>> {
    if instance.is_null() {
        return None;
    }
    let shared = instance.cast_const().cast::<Shared>();
    // SAFETY: the caller guarantees that the pointer is that of a live `Arc`, whose count this raises for the new handle.
    unsafe {
        Arc::increment_strong_count(shared);
        Some(Arc::from_raw(shared))
    }
}

extern "C" fn submit(instance: *mut Instance, call: *const Call) -> i32 {
    let accepted = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the host passes an instance it created and has not destroyed, and lends the call (R2).
        let (shared, call) = unsafe { (instance_of(instance), read_sized(call)) };
        let (Some(shared), Ok(call)) = (shared, call) else {
            return Err(raw::E_INVALID);
        };
        // SAFETY: the host lends the call's bytes until `submit` returns, and takes one completion if it accepts.
        unsafe { accept(shared, &call) }
    }));
    match accepted {
        Ok(Ok(runnable)) => {
            // A poll never unwinds (see `serve`); this is for what surrounds it.
            let _ = catch_unwind(AssertUnwindSafe(|| runnable.run()));
            raw::OK
        }
        Ok(Err(status)) => status,
        Err(_) => raw::E_PANIC,
    }
}

extern "C" fn cancel(instance: *mut Instance, call_id: u64) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the host passes an instance it created and has not destroyed.
        if let Some(shared) = unsafe { instance_of(instance) } {
            shared.cancel(call_id);
        }
    }));
}

extern "C" fn destroy(instance: *mut Instance) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if !instance.is_null() {
            // SAFETY: the host gives back the instance that `create` returned, once; this drops `create`'s own handle.
            drop(unsafe { Arc::from_raw(instance.cast_const().cast::<Shared>()) });
        }
    }));
}

//! The host's half of the plugin boundary: from a file to handlers that the core can call like any other.
//!
//! A file is read, its manifest taken from an ELF section, its digest compared with the pin and its configuration with
//! the manifest's schema, all before any of its code runs ([`inspect`], [`load`]). Loaded, it is an instance with two
//! threads of its own; [`RemoteScheme`](remote::RemoteScheme) and [`RemoteDriver`](remote::RemoteDriver) turn the
//! traits' functions into JSON across the C ABI, and the bridge answers the host services it asks for.
//!
//! What a plugin can do to the core is bounded: it runs only on its own threads, an answer has a deadline and a largest size,
//! calls and host calls have caps, and a completion that comes twice, late or for nothing finds no call to complete.
//! What is not bounded is code that writes through wild pointers or ends the process: pin what you trust.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

mod bridge;
mod calls;
mod config;
mod error;
mod instance;
mod loader;
mod manifest;
mod pin;
mod pool;
pub mod remote;
mod table;

pub use config::{Misfit, fits, misfits};
pub use error::{ErrorKind, PluginError};
pub use instance::{HealthProbe, Limits, stray_completions};
pub use loader::{InstanceRequest, LoadRequest, Loaded, attach, inspect, load, vet};
pub use manifest::Inspected;
pub use pin::{Pin, Sha256Digest};

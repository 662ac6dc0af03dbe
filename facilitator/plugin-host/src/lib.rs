//! The host's side of the plugin boundary: from a file to handlers that the core calls like any other.
//!
//! Ahead of any code of the file, its manifest is read from an ELF section, its digest is compared with the pin, and its
//! configuration is validated against the manifest's schema ([`inspect`], [`load`]). A loaded file is an instance with two
//! threads of its own. [`RemoteScheme`](remote::RemoteScheme) and [`RemoteDriver`](remote::RemoteDriver) turn the
//! functions of the traits into JSON across the C ABI, and the bridge serves the plugin's calls to the host.
//!
//! | module | holds |
//! |---|---|
//! | `loader`, `library`, `create`, `surroundings` | from a file to a running instance |
//! | `manifest`, `config`, `pin`, `signature`, `libraries` | what is checked ahead of any code of the file |
//! | `instance`, `remote`, `calls`, `pending`, `functions` | calls into the plugin |
//! | `bridge`, `table`, `host_calls` | calls of the plugin to its host |
//! | `pool` | the threads of an instance |
//! | `isolated`, `link`, `frame` | plugins in a process of their own, as the core sees them, and the messages to it |
//! | `runner` | that process |
//! | `crumbs` | whose code each thread runs, for the next start |
//! | `absent` | the handlers of a plugin that is not loaded |
//! | `slot` | handlers that a reload replaces |
//!
//! What a plugin can do to the core is bounded: it runs only on its own threads, an answer has a deadline and a largest
//! size, calls and host calls have limits, and a completion that comes twice, too late or without a call completes nothing.
//! In this process, code that writes through invalid pointers or ends the process is not bounded: the next start knows which
//! plugin ended it ([`crumbs`]). An isolated plugin ends its own process only.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

mod absent;
mod bridge;
mod calls;
mod config;
mod create;
pub mod crumbs;
mod error;
mod frame;
mod functions;
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub mod fuzzing;
mod host_calls;
mod instance;
mod isolated;
mod libraries;
mod library;
mod limits;
mod link;
mod loader;
mod manifest;
mod pending;
mod pin;
mod pool;
pub mod remote;
mod request;
pub mod runner;
mod signal;
mod signature;
mod slot;
mod surroundings;
mod table;

pub use absent::absent;
pub use config::{ValidationError, matches_form, validate};
pub use error::{ErrorKind, PluginError};
pub use instance::HealthProbe;
pub use isolated::{Isolation, RunnerSettings, Sandbox, try_sandbox};
pub use limits::Limits;
pub use loader::{LoadRequest, Loaded, attach, inspect, inspect_trusted, load};
pub use manifest::Inspected;
pub use pending::stray_completions;
pub use pin::{Pin, Sha256Digest};
pub use request::InstanceRequest;
pub use signal::signal_text;
pub use signature::{KeyError, TrustedKey};
pub use slot::{Handlers, Slot};

//! The C ABI between the host and a plugin file: Rust mirror of `include/x402_plugin.h`, and the plugin's half.
//!
//! Only bytes, opaque pointers and a completion callback cross the boundary. [`raw`] mirrors the header and
//! [`buf`] moves byte strings across; both sides use them. [`guest`] turns [`crate::SchemeHandler`]s and
//! [`crate::ChainDriver`]s into the table of functions a host calls, and [`crate::export_plugin!`] exports it.
//! The host's half is in the facilitator.
//!
//! Not guaranteed: nothing here survives a plugin that writes through wild pointers, aborts or exits. Code that is
//! not trusted that far belongs in a process of its own.

pub mod buf;
mod dispatch;
pub mod export;
pub mod guest;
mod guest_host;
pub mod raw;
mod serve;

pub use guest::{Guest, Lifecycle, PluginRoles};

/// Largest message in bytes unless the manifest sets another limit (R9).
pub const DEFAULT_MESSAGE_BYTES: usize = 1 << 20;

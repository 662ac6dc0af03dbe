//! The admin listener: an HTTP API for operators and the dashboard that reads it.
//!
//! It is off unless configured, listens apart from the listener for payments, and trusts nothing that a browser adds by itself: a
//! request needs a token in its header `Authorization`, a known `Host`, and no foreign `Origin`. Cookies are never read.
//!
//! Assumes that the [`Desk`] shows no payload bytes, URLs or keys, and records every change before it is made. What leaves is
//! still searched for private keys.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

mod access;
mod app;
mod assets;
mod change;
mod desk;
mod error;
mod listen;
mod reply;
mod router;
mod stream;
pub mod view;

pub use access::{Actor, Role, Token};
pub use change::{Change, NewTenant};
pub use desk::{Desk, PaymentQuery};
pub use error::DeskError;
pub use listen::{Listen, Settings, check_socket, serve};

//! Tests of the engine as a whole, over a scripted driver and schemes.

mod bound;
pub(crate) mod releases;
mod reservations;
mod schemes;
mod settings;
mod shared;

//! Solana for Switchyard: the chain driver, and the payment schemes on Solana, as a library that plugins export.
//!
//! - [`driver`]: one [`sdk_plugin::ChainDriver`] for every `solana` network.
//! - [`exact`]: the scheme `exact`, protocol v1 and v2.
//!
//! What they share: [`wire`] (transactions from hostile bytes), [`lookup`] (address lookup tables), [`token`] (token
//! programs), [`fees`] (what a transaction can cost), [`rpc`] (typed reads), [`programs`], [`text`] (strict spellings).
//! Everything outside comes through [`sdk_plugin::Cx`].

mod blockhashes;
pub mod driver;
pub mod exact;
pub mod fees;
pub mod lookup;
pub mod programs;
pub mod rpc;
mod slots;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod text;
pub mod token;
pub mod wire;

pub use blockhashes::Blockhashes;

//! The EVM for Switchyard: the chain driver, and the payment schemes on EVM chains, as a library that plugins export.
//!
//! - [`driver`]: one [`sdk_plugin::ChainDriver`] for every `eip155` network.
//! - [`exact`]: the scheme `exact` with EIP-3009, protocol v1 and v2, and with Permit2, v2.
//! - [`upto`]: the scheme `upto`, a payment of an amount up to the one that was signed, with Permit2.
//! - [`auth_capture`]: the scheme `auth-capture`, the whole lifecycle of an escrowed payment.
//!
//! What they share: [`permit2`] (payments through an x402 proxy), [`abi`] (contract interfaces), [`rpc`] (typed reads),
//! [`signature`] (who signed), [`step`] (how calls are tried and planned), [`deployment`] (wallets that do not exist yet),
//! [`builder_code`] (a suffix of calldata),
//! [`text`] and [`members`] (strict spellings). Everything outside comes through [`sdk_plugin::Cx`].

pub mod abi;
pub mod auth_capture;
pub mod builder_code;
mod client_signed;
pub mod deployment;
pub mod driver;
pub mod exact;
pub mod members;
pub mod options;
pub mod permit2;
pub mod recovery;
mod revert;
pub mod rpc;
mod second;
pub mod signature;
pub mod step;
pub mod text;
mod transfer;
pub mod upto;

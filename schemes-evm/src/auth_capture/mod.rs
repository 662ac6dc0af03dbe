//! The scheme `auth-capture`: a payment that is held in an escrow contract and captured, voided or refunded later
//! (auth-capture-evm.md).

pub mod abi;
pub mod authorizer;
pub mod config;
pub mod deployment;
pub mod fees;
pub mod payment_info;
pub mod reason;
pub mod revert;
pub mod terms;

/// The scheme's name on the wire.
pub const SCHEME: &str = "auth-capture";
/// Protocol versions served.
pub const VERSIONS: [u8; 1] = [2];

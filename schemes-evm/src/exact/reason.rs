//! Reason strings of `exact` on EVM (exact-evm.md sections 3, 4, 6, 8). Clients compare them byte for byte.

pub const SCHEME: &str = "invalid_exact_evm_scheme";
pub const MISSING_DOMAIN: &str = "invalid_exact_evm_missing_eip712_domain";
pub const FACTORY_NOT_ALLOWED: &str = "eip6492_factory_not_allowed";
/// A wallet's deployment fails; only a settle says so.
pub const DEPLOYMENT_FAILED: &str = "smart_wallet_deployment_failed";
pub const SIGNATURE: &str = "invalid_exact_evm_signature";
pub const RECIPIENT: &str = "invalid_exact_evm_recipient_mismatch";
pub const VALID_BEFORE: &str = "invalid_exact_evm_payload_authorization_valid_before";
pub const VALID_AFTER: &str = "invalid_exact_evm_payload_authorization_valid_after";
pub const VALUE: &str = "invalid_exact_evm_payload_authorization_value_mismatch";
/// Protocol v1's name for [`VALUE`].
pub const VALUE_V1: &str = "invalid_exact_evm_authorization_value";
pub const EIP3009_NOT_SUPPORTED: &str = "invalid_exact_evm_eip3009_not_supported";
pub const NONCE_USED: &str = "invalid_exact_evm_nonce_already_used";
pub const TOKEN_NAME: &str = "invalid_exact_evm_token_name_mismatch";
pub const TOKEN_VERSION: &str = "invalid_exact_evm_token_version_mismatch";
pub const INSUFFICIENT_BALANCE: &str = "invalid_exact_evm_insufficient_balance";
pub const SIMULATION_FAILED: &str = "invalid_exact_evm_transaction_simulation_failed";

pub use sdk_plugin::wire::reason::{INVALID_PAYLOAD, INVALID_PAYMENT_REQUIREMENTS};

// Both methods have these.
pub use crate::permit2::reason::{
    ASSET_NOT_DEPLOYED, EXACT_EVENT_MISMATCH as EVENT_MISMATCH, EXACT_NETWORK_MISMATCH as NETWORK_MISMATCH,
    EXACT_TRANSACTION_FAILED as TRANSACTION_FAILED, UNSUPPORTED_PAYLOAD,
};

//! Reason strings of payments through Permit2 (exact-evm.md sections 7 to 10, upto-and-batch.md A1 to A3). Clients compare
//! them byte for byte.

pub const SPENDER: &str = "invalid_permit2_spender";
pub const RECIPIENT: &str = "invalid_permit2_recipient_mismatch";
pub const DEADLINE: &str = "permit2_deadline_expired";
pub const NOT_YET_VALID: &str = "permit2_not_yet_valid";
pub const AMOUNT: &str = "permit2_amount_mismatch";
pub const TOKEN: &str = "permit2_token_mismatch";
pub const ASSET_NOT_DEPLOYED: &str = "asset_not_deployed_contract";
pub const SIGNATURE: &str = "invalid_permit2_signature";
pub const PROXY_NOT_DEPLOYED: &str = "permit2_proxy_not_deployed";
pub const INSUFFICIENT_BALANCE: &str = "permit2_insufficient_balance";
/// The official server answers exactly this one with HTTP 412.
pub const ALLOWANCE_REQUIRED: &str = "permit2_allowance_required";
pub const SIMULATION_FAILED: &str = "permit2_simulation_failed";
pub const INVALID_NONCE: &str = "permit2_invalid_nonce";
pub const INVALID_AMOUNT: &str = "permit2_invalid_amount";
pub const INVALID_DESTINATION: &str = "permit2_invalid_destination";
pub const INVALID_OWNER: &str = "permit2_invalid_owner";
pub const PAYMENT_TOO_EARLY: &str = "permit2_payment_too_early";
pub const SPONSORED_AMOUNT: &str = "permit2_2612_amount_mismatch";

pub const SPONSORING_FORMAT: &str = "invalid_eip2612_extension_format";
pub const SPONSORING_FROM: &str = "eip2612_from_mismatch";
pub const SPONSORING_ASSET: &str = "eip2612_asset_mismatch";
pub const SPONSORING_SPENDER: &str = "eip2612_spender_not_permit2";
pub const SPONSORING_DEADLINE: &str = "eip2612_deadline_expired";

pub const APPROVAL_FORMAT: &str = "invalid_erc20_approval_extension_format";
pub const APPROVAL_FROM: &str = "erc20_approval_from_mismatch";
pub const APPROVAL_ASSET: &str = "erc20_approval_asset_mismatch";
pub const APPROVAL_SPENDER: &str = "erc20_approval_spender_not_permit2";
pub const APPROVAL_PARSE: &str = "erc20_approval_tx_parse_failed";
pub const APPROVAL_TARGET: &str = "erc20_approval_tx_wrong_target";
pub const APPROVAL_SELECTOR: &str = "erc20_approval_tx_wrong_selector";
pub const APPROVAL_CALLDATA: &str = "erc20_approval_tx_invalid_calldata";
pub const APPROVAL_WRONG_SPENDER: &str = "erc20_approval_tx_wrong_spender";
pub const APPROVAL_SIGNATURE: &str = "erc20_approval_tx_invalid_signature";
pub const APPROVAL_SIGNER: &str = "erc20_approval_tx_signer_mismatch";
/// The limits of this facilitator, and what would fail now.
pub const APPROVAL_FAILED: &str = "erc20_approval_tx_failed";
/// It was sent, and has not had its effect.
pub const APPROVAL_BROADCAST_FAILED: &str = "erc20_approval_broadcast_failed";

/// The payload is not one of Permit2.
pub const UNSUPPORTED_PAYLOAD: &str = "unsupported_payload_type";
pub const EXACT_NETWORK_MISMATCH: &str = "invalid_exact_evm_network_mismatch";
pub const EXACT_TRANSACTION_FAILED: &str = "invalid_exact_evm_transaction_failed";
pub const EXACT_EVENT_MISMATCH: &str = "invalid_exact_evm_transfer_event_mismatch";
pub const UPTO_SCHEME: &str = "invalid_upto_evm_scheme";
pub const UPTO_NETWORK_MISMATCH: &str = "invalid_upto_evm_network_mismatch";
pub const UPTO_FACILITATOR: &str = "upto_facilitator_mismatch";
pub const UPTO_UNAUTHORIZED_FACILITATOR: &str = "upto_unauthorized_facilitator";
pub const UPTO_EXCEEDS_PERMITTED: &str = "upto_amount_exceeds_permitted";
/// The seller settles more than the payer signed.
pub const UPTO_EXCEEDS_AMOUNT: &str = "invalid_upto_evm_payload_settlement_exceeds_amount";
pub const UPTO_TRANSACTION_FAILED: &str = "invalid_upto_evm_transaction_failed";

pub use sdk_plugin::wire::reason::{INVALID_PAYLOAD, INVALID_PAYMENT_REQUIREMENTS};

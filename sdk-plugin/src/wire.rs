//! Replies of the facilitator's HTTP API, protocol v1 and v2.
//!
//! Optional members are left out, never `null`: old clients reject null arrays and objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Reply of `POST /verify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VerifyReply {
    /// Whether the payment is good.
    pub is_valid: bool,
    /// Reason string of the scheme's specification; absent when valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    /// At most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Empty when unknown, never absent.
    pub payer: String,
    /// Members defined by the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    /// Members defined by extensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// Reply of `POST /settle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SettleReply {
    /// Whether the payment is settled.
    pub success: bool,
    /// Reason string; absent on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// At most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Empty when unknown, never absent.
    pub payer: String,
    /// Empty when nothing was journaled for sending; kept on failures after that.
    pub transaction: String,
    /// The caller's spelling.
    pub network: String,
    /// Atomic units, decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Members defined by the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    /// Members defined by extensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// One element of `/supported`'s `kinds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// 1 or 2.
    pub x402_version: u8,
    /// Name of the scheme.
    pub scheme: String,
    /// The spelling of that protocol version.
    pub network: String,
    /// Members defined by the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// Reply of `GET /supported`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SupportedReply {
    /// One element per scheme, network and protocol version.
    pub kinds: Vec<Kind>,
    /// Protocol extensions that the facilitator handles.
    pub extensions: Vec<String>,
    /// CAIP family (`eip155:*`) to addresses.
    pub signers: BTreeMap<String, Vec<String>>,
}

/// Reason strings that belong to no scheme. Source: x402 core specification and shipped implementations.
pub mod reason {
    /// The payer has less than the payment needs.
    pub const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
    /// The network is unknown or differs between payload and requirements.
    pub const INVALID_NETWORK: &str = "invalid_network";
    /// The payload can't be read.
    pub const INVALID_PAYLOAD: &str = "invalid_payload";
    /// The requirements can't be read or contradict the payload.
    pub const INVALID_PAYMENT_REQUIREMENTS: &str = "invalid_payment_requirements";
    /// No handler serves the scheme on the network.
    pub const UNSUPPORTED_SCHEME: &str = "unsupported_scheme";
    /// The protocol version is unknown.
    pub const INVALID_X402_VERSION: &str = "invalid_x402_version";
    /// The transaction failed on chain.
    pub const INVALID_TRANSACTION_STATE: &str = "invalid_transaction_state";
    /// Verification had a fault; try again.
    pub const UNEXPECTED_VERIFY_ERROR: &str = "unexpected_verify_error";
    /// Settlement had a fault before anything was sent; try again.
    pub const UNEXPECTED_SETTLE_ERROR: &str = "unexpected_settle_error";
    /// A transaction was sent and its outcome is open; repeat the request with the same payload.
    pub const SETTLEMENT_PENDING: &str = "settlement_pending";
    /// The authorization is settled, or is being settled, by another request.
    pub const DUPLICATE_SETTLEMENT: &str = "duplicate_settlement";
    /// The caller is not authenticated.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// The caller is over its limit.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// Another seller got a reply that this payment is valid, and its reservation has not ended.
    pub const PAYMENT_RESERVED: &str = "payment_reserved";
    /// The facilitator can't serve the request now.
    pub const SERVICE_UNAVAILABLE: &str = "service_unavailable";
}

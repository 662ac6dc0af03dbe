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
    pub is_valid: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    /// At most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Empty when unknown, never absent.
    pub payer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// Reply of `POST /settle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SettleReply {
    pub success: bool,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// One element of `/supported`'s `kinds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    pub x402_version: u8,
    pub scheme: String,
    pub network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// Reply of `GET /supported`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SupportedReply {
    pub kinds: Vec<Kind>,
    pub extensions: Vec<String>,
    /// CAIP family (`eip155:*`) to addresses.
    pub signers: BTreeMap<String, Vec<String>>,
}

/// Reason strings that belong to no scheme. Source: x402 core specification and shipped implementations.
pub mod reason {
    pub const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
    pub const INVALID_NETWORK: &str = "invalid_network";
    pub const INVALID_PAYLOAD: &str = "invalid_payload";
    pub const INVALID_PAYMENT_REQUIREMENTS: &str = "invalid_payment_requirements";
    pub const UNSUPPORTED_SCHEME: &str = "unsupported_scheme";
    pub const INVALID_X402_VERSION: &str = "invalid_x402_version";
    pub const INVALID_TRANSACTION_STATE: &str = "invalid_transaction_state";
    pub const UNEXPECTED_VERIFY_ERROR: &str = "unexpected_verify_error";
    pub const UNEXPECTED_SETTLE_ERROR: &str = "unexpected_settle_error";
    pub const SETTLEMENT_PENDING: &str = "settlement_pending";
    pub const DUPLICATE_SETTLEMENT: &str = "duplicate_settlement";
    pub const UNAUTHORIZED: &str = "unauthorized";
    pub const RATE_LIMITED: &str = "rate_limited";
    pub const SERVICE_UNAVAILABLE: &str = "service_unavailable";
}

//! A payment as a scheme gets it from the host: one shape for protocol v2, v1 and the oldest form.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Amount;

/// The form in which the request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ProtocolVersion {
    /// The protocol's oldest form, with a base64 `paymentHeader`. Schemes treat it as [`ProtocolVersion::V1`].
    #[serde(rename = "legacy0")]
    Legacy0,
    /// Protocol version 1.
    #[serde(rename = "1")]
    V1,
    /// Protocol version 2.
    #[serde(rename = "2")]
    V2,
}

impl ProtocolVersion {
    /// The `x402Version` number: 1 for both old forms.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Legacy0 | Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// Whether schemes treat the request as protocol v1: v1 itself and the older form.
    #[must_use]
    pub fn is_v1(self) -> bool {
        match self {
            Self::Legacy0 | Self::V1 => true,
            Self::V2 => false,
        }
    }
}

/// Why the host calls the scheme. Set by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// `POST /verify`.
    Verify,
    /// `POST /settle`.
    Settle,
    /// A job of the scheme.
    Job,
    /// A route of the scheme.
    Route,
}

/// The seller's terms, which the payment must meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    /// Name of the scheme.
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    /// v2 `amount`, v1 `maxAmountRequired`; atomic units of `asset`.
    pub amount: Amount,
    /// As sent: the scheme checks its form.
    pub asset: String,
    /// As sent: the scheme checks its form.
    pub pay_to: String,
    /// Above 0.
    pub max_timeout_seconds: u64,
    /// Scheme-defined members; empty when absent or `null`.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

/// The terms that the buyer claims to have accepted. Untrusted: only scheme and network are ever compared with the
/// requirements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// v2 `accepted.scheme`, v1 `paymentPayload.scheme`; empty when it is not a string.
    pub scheme: String,
    /// v2 `accepted.network`, v1 `paymentPayload.network`: as CAIP-2 if the spelling is known, else as sent.
    pub network: String,
    /// v2: the whole `accepted` object. v1: empty.
    #[serde(default)]
    pub raw: Map<String, Value>,
}

/// One request to check or to settle a payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequest {
    /// The form in which the request arrived.
    pub version: ProtocolVersion,
    /// Name of the scheme.
    pub scheme: String,
    /// CAIP-2 id of a network that the plugin instance serves.
    pub network: String,
    /// The caller's spelling of the network, for replies. Schemes do not read it.
    pub network_as_sent: String,
    /// The scheme's own payload (`paymentPayload.payload`). Untrusted.
    pub payload: Map<String, Value>,
    /// The terms that the buyer claims to have accepted.
    pub accepted: Accepted,
    /// The seller's terms.
    pub requirements: Requirements,
    /// v2: `paymentPayload.resource`; v1: `{url, description, mimeType}` from the requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Value>,
    /// `paymentPayload.extensions`. Untrusted.
    #[serde(default)]
    pub extensions: Map<String, Value>,
    /// Why the host makes the call.
    pub purpose: Purpose,
    /// The authenticated caller; `None` where the operator runs without tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The caller's `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How much longer the caller waits, in milliseconds.
    pub remaining_ms: u64,
    /// Of a verify: the host reserves the payment for its caller, and wants [`crate::scheme::Valid::reserves`].
    #[serde(default, skip_serializing_if = "crate::chain::is_false")]
    pub wants_reserves: bool,
}

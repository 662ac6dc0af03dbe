//! The messages of the remote-signer protocol, version 1. The handbook's page on it has an example of each.

use base::calls::SigningSlot;
use sdk_plugin::HexBytes;
use sdk_plugin::host::{Suite, TypedData};
use serde::{Deserialize, Serialize};

use super::super::{Signed, Signing};

/// Lists the keys.
pub const KEYS_PATH: &str = "/v1/keys";
/// Signs.
pub const SIGN_PATH: &str = "/v1/sign";
/// Largest answer of a signer that is read, bytes.
pub const MAX_ANSWER_BYTES: usize = 65_536;

/// Answer of `GET /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub keys: Vec<PublicKey>,
}

/// One key of a signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Its name at the signer.
    pub name: String,
    pub suite: Suite,
    /// secp256k1: 65 bytes, uncompressed. ed25519: 32 bytes.
    pub public_key: HexBytes,
}

/// Body of `POST /v1/sign`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignBody {
    /// Name of the key at the signer.
    pub key: String,
    pub suite: Suite,
    /// CAIP-2.
    pub network: String,
    pub purpose: Purpose,
    /// The unsigned transaction: what an EVM signature hashes, or a Solana message. Empty for typed data.
    pub unsigned: HexBytes,
    /// What is signed. secp256k1: the digest of 32 bytes. ed25519: the message.
    pub message: HexBytes,
}

/// What a signature is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Purpose {
    /// The transaction of a slot.
    Transaction {
        /// Number of the slot; on EVM networks the nonce.
        sequence: u64,
        /// 0, and one more for each recorded transaction that this one replaces.
        attempt: u32,
    },
    /// Typed data (EIP-712): `message` is keccak256 of 0x19, 0x01, the domain separator and the hash.
    TypedData {
        /// The domain separator, 32 bytes.
        domain: HexBytes,
        /// `hashStruct` of the message, 32 bytes.
        struct_hash: HexBytes,
    },
}

/// Answer of `POST /v1/sign`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignAnswer {
    /// secp256k1: r, s and the recovery id (0 or 1), 65 bytes, low s. ed25519: 64 bytes.
    pub signature: HexBytes,
}

/// Any answer whose status is not 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub error: Error,
}

/// Why a signer gives no signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// `policy`, `conflict`, `unknown_key`, `invalid_request`, `rate_limited`, `unavailable`, or another one.
    pub code: String,
    /// A sentence for the operator.
    pub message: String,
}

impl SignBody {
    pub(super) fn new(signing: &Signing<'_>, signer_key: &str) -> Self {
        let request = signing.request;
        let purpose = match signing.of {
            Signed::Transaction(SigningSlot {
                sequence, attempt, ..
            }) => Purpose::Transaction {
                sequence: *sequence,
                attempt: *attempt,
            },
            Signed::TypedData(TypedData { domain, struct_hash }) => Purpose::TypedData {
                domain: domain.clone(),
                struct_hash: struct_hash.clone(),
            },
        };
        Self {
            key: signer_key.to_owned(),
            suite: request.suite,
            network: signing.network.to_owned(),
            purpose,
            unsigned: request.unsigned.clone(),
            message: request.message.clone(),
        }
    }
}

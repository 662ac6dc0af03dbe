//! Transactions that clients have signed, as they sent them: hostile bytes.

use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Typed2718};
use alloy_primitives::{Address, B256, Bytes, Signature, U256};

use crate::recovery;

/// A client's signed transaction, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedByClient {
    pub(crate) hash: B256,
    /// EIP-2718.
    pub(crate) kind: u8,
    /// `None`: one that any chain takes (before EIP-155).
    pub(crate) chain_id: Option<u64>,
    pub(crate) nonce: u64,
    pub(crate) gas_limit: u64,
    /// Wei for each unit of gas.
    pub(crate) max_fee: u128,
    /// Wei for each unit of gas.
    pub(crate) max_priority_fee: u128,
    /// `None`: it creates a contract.
    pub(crate) to: Option<Address>,
    /// Wei.
    pub(crate) value: U256,
    pub(crate) input: Bytes,
    signature: Signature,
    /// What was signed.
    digest: B256,
}

impl SignedByClient {
    /// Every byte belongs to the transaction. `None`: it does not decode.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let read = TxEnvelope::decode_2718_exact(bytes).ok()?;
        Some(Self {
            hash: *read.tx_hash(),
            kind: read.ty(),
            chain_id: read.chain_id(),
            nonce: read.nonce(),
            gas_limit: read.gas_limit(),
            max_fee: read.max_fee_per_gas(),
            max_priority_fee: read
                .max_priority_fee_per_gas()
                .unwrap_or_else(|| read.max_fee_per_gas()),
            to: read.to(),
            value: read.value(),
            input: read.input().clone(),
            signature: *read.signature(),
            digest: read.signature_hash(),
        })
    }

    /// Whose key made the signature; `None`: no key did, or its s is above n/2.
    pub(crate) fn signer(&self) -> Option<Address> {
        recovery::signer(&self.digest, &self.signature)
    }
}

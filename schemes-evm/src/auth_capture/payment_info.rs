//! The hashes of a payment: the escrow's key for it, the nonce its payer signs, and the salt that binds an authorizer.
//!
//! auth-capture-evm.md section 2. Checking the signed nonce against these terms checks receiver, token, deadlines, fees,
//! operator, salt, chain and escrow at once.

use alloy_primitives::{Address, B256, U256, b256, keccak256};
use alloy_sol_types::{SolStruct, SolValue};

use super::abi::PaymentInfo;

/// Hash of `x402AuthCaptureSaltBinding(address receiverAuthorizer,address policy,uint256 saltNonce)`.
const SALT_BINDING_TYPEHASH: B256 =
    b256!("0x8a2a7e41a0bda000ded071ff38b79401d2603e1826516ff2635b11fe9e30877f");

/// Where a payment lives: the same terms are another payment on another chain or escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EscrowId {
    pub chain_id: u64,
    pub escrow: Address,
}

impl PaymentInfo {
    /// The escrow's key for this payment, and what every authorizer message names.
    #[must_use]
    pub fn hash(&self, escrow_id: EscrowId) -> B256 {
        keccak256(
            (
                U256::from(escrow_id.chain_id),
                escrow_id.escrow,
                self.eip712_hash_struct(),
            )
                .abi_encode(),
        )
    }

    /// What the payer signs as the nonce: the same hash without the payer, who is known by the signature.
    #[must_use]
    pub fn signature_nonce(&self, escrow_id: EscrowId) -> B256 {
        let anyone = Self {
            payer: Address::ZERO,
            ..self.clone()
        };
        anyone.hash(escrow_id)
    }
}

/// The salt that commits a payment to its merchant's authorizer.
#[must_use]
pub fn bound_salt(receiver_authorizer: Address, policy: Address, salt_nonce: U256) -> U256 {
    keccak256((SALT_BINDING_TYPEHASH, receiver_authorizer, policy, salt_nonce).abi_encode()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_binding_has_the_specified_type() {
        let text = "x402AuthCaptureSaltBinding(address receiverAuthorizer,address policy,uint256 saltNonce)";
        assert_eq!(keccak256(text), SALT_BINDING_TYPEHASH);
    }
}

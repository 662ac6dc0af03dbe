//! The permit as buyers send it, and what they sign.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use sdk_plugin::Value;
use serde_json::Map;

use super::Proxy;
use super::abi::{exact, upto};
use crate::abi::PERMIT2;
use crate::{members, text};

/// The payload's member that holds a permit. Its presence makes a payload one of Permit2.
pub(crate) const MEMBER: &str = "permit2Authorization";

/// A permit, without what binds it to a payee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) from: Address,
    pub(crate) token: Address,
    /// Atomic units, the most that may be moved.
    pub(crate) amount: U256,
    pub(crate) spender: Address,
    pub(crate) nonce: U256,
    /// Seconds since the epoch.
    pub(crate) deadline: U256,
}

/// What binds a permit to its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) to: Address,
    /// Of `upto` only. Anything but an address is refused as another facilitator.
    pub(crate) facilitator: Option<Address>,
    /// Seconds since the epoch.
    pub(crate) valid_after: U256,
}

/// EIP-712 domain of Permit2: without a version.
pub(crate) fn domain(chain_id: u64) -> Eip712Domain {
    Eip712Domain::new(
        Some("Permit2".into()),
        None,
        Some(U256::from(chain_id)),
        Some(PERMIT2),
        None,
    )
}

impl Permit {
    /// Reads the members that every permit has.
    ///
    /// # Errors
    /// A sentence that names the malformed member.
    pub(crate) fn read(signed: &Map<String, Value>) -> Result<Self, String> {
        let permitted = object(signed, MEMBER, "permitted")?;
        Ok(Self {
            from: address(signed, MEMBER, "from")?,
            spender: address(signed, MEMBER, "spender")?,
            token: address(permitted, "permit2Authorization.permitted", "token")?,
            amount: number(permitted, "permit2Authorization.permitted", "amount")?,
            deadline: number(signed, MEMBER, "deadline")?,
            nonce: number(signed, MEMBER, "nonce")?,
        })
    }

    /// What the payer signs.
    pub(crate) fn digest(&self, proxy: Proxy, witness: &Witness, chain_id: u64) -> B256 {
        let Self {
            token,
            amount,
            spender,
            nonce,
            deadline,
            ..
        } = *self;
        let &Witness {
            to,
            facilitator,
            valid_after,
        } = witness;
        let domain = domain(chain_id);
        match proxy {
            Proxy::Exact => exact::PermitWitnessTransferFrom {
                permitted: exact::TokenPermissions { token, amount },
                spender,
                nonce,
                deadline,
                witness: exact::Witness {
                    to,
                    validAfter: valid_after,
                },
            }
            .eip712_signing_hash(&domain),
            Proxy::Upto => upto::PermitWitnessTransferFrom {
                permitted: upto::TokenPermissions { token, amount },
                spender,
                nonce,
                deadline,
                witness: upto::Witness {
                    to,
                    facilitator: facilitator.unwrap_or_default(),
                    validAfter: valid_after,
                },
            }
            .eip712_signing_hash(&domain),
        }
    }
}

impl Witness {
    /// # Errors
    /// A sentence that names the malformed member.
    pub(crate) fn read(signed: &Map<String, Value>) -> Result<Self, String> {
        let witness = object(signed, MEMBER, "witness")?;
        Ok(Self {
            to: address(witness, "permit2Authorization.witness", "to")?,
            facilitator: members::address(witness, "facilitator"),
            valid_after: number(witness, "permit2Authorization.witness", "validAfter")?,
        })
    }
}

/// The payer's address as sent when it is one, else empty: replies repeat the buyer's spelling.
pub(crate) fn payer_as_sent(payload: &Map<String, Value>) -> String {
    payload
        .get(MEMBER)
        .and_then(|signed| signed.get("from"))
        .and_then(Value::as_str)
        .filter(|from| text::address(from).is_some())
        .unwrap_or_default()
        .to_owned()
}

fn object<'a>(
    members: &'a Map<String, Value>,
    path: &str,
    name: &str,
) -> Result<&'a Map<String, Value>, String> {
    members
        .get(name)
        .and_then(Value::as_object)
        .ok_or_else(|| format!("{path}.{name} must be an object"))
}

fn address(members: &Map<String, Value>, path: &str, name: &str) -> Result<Address, String> {
    members::address(members, name).ok_or_else(|| format!("{path}.{name} must be a 20-byte hex address"))
}

fn number(members: &Map<String, Value>, path: &str, name: &str) -> Result<U256, String> {
    members::number(members, name).ok_or_else(|| format!("{path}.{name} must be a decimal string"))
}

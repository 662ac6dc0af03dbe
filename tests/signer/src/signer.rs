//! Decides about each request, and signs. Nothing of a request is believed: the bytes decide.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use alloy_primitives::{Address, U256};
use base::calls::SigningSlot;
use host::custody::remote::wire::{self, Keys, PublicKey, Purpose, Refusal, SignAnswer, SignBody};
use host::custody::{Custody, KeySource, KeySpec, Password, ProcessEnvironment, Signed, Signing};
use sdk_plugin::HexBytes;
use sdk_plugin::host::{SignRequest, Suite, TypedData};
use sha3::{Digest as _, Keccak256};

use crate::decode;
use crate::ledger::{Denied, Ledger, Wanted};
use crate::policy::{Key, Policy};

/// The keys, the policy, and what was signed.
#[derive(Debug)]
pub struct Signer {
    custody: Custody,
    keys: BTreeMap<String, Key>,
    ledger: Mutex<Ledger>,
}

/// Why a request has no signature: an HTTP status, a code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

fn policy(message: String) -> No {
    No {
        status: 403,
        code: "policy",
        message,
    }
}

fn invalid(message: impl Into<String>) -> No {
    No {
        status: 400,
        code: "invalid_request",
        message: message.into(),
    }
}

impl No {
    #[must_use]
    pub fn body(&self) -> Refusal {
        Refusal {
            error: wire::Error {
                code: self.code.to_owned(),
                message: self.message.clone(),
            },
        }
    }
}

impl Signer {
    /// Reads the keys.
    ///
    /// # Errors
    /// A key that can't be read.
    pub async fn open(policy: Policy) -> Result<Self, String> {
        let mut specs = Vec::new();
        for (name, key) in &policy.keys {
            let source = match (&key.file, &key.keystore, &key.password_file) {
                (Some(file), None, None) => KeySource::File(file.clone()),
                (None, Some(keystore), Some(password)) => {
                    KeySource::Keystore(keystore.clone(), Password::File(password.clone()))
                }
                _ => return Err(format!("key {name}: write file, or keystore and password_file")),
            };
            specs.push(KeySpec {
                name: name.clone(),
                suite: key.suite,
                source,
                max_signatures_per_minute: None,
            });
        }
        let custody = Custody::open(&specs, &ProcessEnvironment).await;
        Ok(Self {
            custody: custody.map_err(|error| error.to_string())?,
            keys: policy.keys,
            ledger: Mutex::default(),
        })
    }

    /// Answer of `GET /v1/keys`.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let names = self.keys.keys().filter_map(|name| self.custody.public_key(name));
        let keys = names.map(|info| PublicKey {
            name: info.name.clone(),
            suite: info.suite,
            public_key: info.public_key.clone(),
        });
        Keys { keys: keys.collect() }
    }

    /// Answer of `POST /v1/sign`.
    ///
    /// # Errors
    /// The request is refused.
    pub async fn sign(&self, body: &SignBody) -> Result<SignAnswer, No> {
        let Some((key, info)) = self.keys.get(&body.key).zip(self.custody.public_key(&body.key)) else {
            return Err(No {
                status: 404,
                code: "unknown_key",
                message: format!("there is no key {:?}", body.key),
            });
        };
        if body.suite != key.suite {
            return Err(invalid(format!("key {} is of another suite", body.key)));
        }
        if !key.networks.contains(&body.network) {
            return Err(policy(format!(
                "key {} may not sign on {}",
                body.key, body.network
            )));
        }
        let public_key = info.public_key.as_ref();
        let max_fee = match (&body.purpose, body.network.split(':').next()) {
            (Purpose::TypedData { domain, struct_hash }, Some("eip155")) => {
                check_typed(key, body, domain, struct_hash)?;
                U256::ZERO
            }
            (Purpose::Transaction { sequence, .. }, Some("eip155")) => {
                check_evm(key, body, public_key, *sequence)?
            }
            (Purpose::Transaction { .. }, Some("solana")) => check_solana(key, body, public_key)?,
            _ => return Err(invalid("this network has no such purpose")),
        };
        if max_fee > key.max_fee {
            return Err(policy(format!(
                "the transaction may cost {max_fee}, and max_fee is {}",
                key.max_fee
            )));
        }
        self.record(key, body, max_fee)?;
        self.signature(body).await
    }

    /// Records the signature before it is given: a crash in between gives none.
    fn record(&self, key: &Key, body: &SignBody, max_fee: U256) -> Result<(), No> {
        let slot = match &body.purpose {
            Purpose::Transaction { sequence, attempt } => Some((body.network.as_str(), *sequence, *attempt)),
            Purpose::TypedData { .. } => None,
        };
        let wanted = Wanted {
            key: &body.key,
            slot,
            message: body.message.as_ref(),
            max_fee,
            max_discarded: key.max_discarded,
            max_per_hour: key.max_signatures_per_hour,
        };
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger
            .admit(&wanted, Instant::now())
            .map_err(|denied| match denied {
                Denied::Conflict => No {
                    status: 409,
                    code: "conflict",
                    message: "another transaction of this slot was signed, and this one has no higher fee"
                        .to_owned(),
                },
                Denied::Rate => No {
                    status: 429,
                    code: "rate_limited",
                    message: format!("max_signatures_per_hour is {}", key.max_signatures_per_hour),
                },
            })
    }

    async fn signature(&self, body: &SignBody) -> Result<SignAnswer, No> {
        let typed = match &body.purpose {
            Purpose::TypedData { domain, struct_hash } => Some(TypedData {
                domain: domain.clone(),
                struct_hash: struct_hash.clone(),
            }),
            Purpose::Transaction { .. } => None,
        };
        let slot = SigningSlot {
            key: body.key.clone(),
            sequence: 0,
            attempt: 0,
        };
        let request = SignRequest {
            key: body.key.clone(),
            suite: body.suite,
            message: body.message.clone(),
            unsigned: body.unsigned.clone(),
            typed,
        };
        let signing = Signing {
            request: &request,
            network: &body.network,
            of: match &request.typed {
                Some(typed) => Signed::TypedData(typed),
                None => Signed::Transaction(&slot),
            },
        };
        match self.custody.sign(&signing).await {
            Ok(signature) => Ok(SignAnswer { signature }),
            Err(fault) => Err(No {
                status: 503,
                code: "unavailable",
                message: fault.message,
            }),
        }
    }
}

fn check_evm(key: &Key, body: &SignBody, public_key: &[u8], sequence: u64) -> Result<U256, No> {
    let transaction = decode::evm(body.unsigned.as_ref()).map_err(invalid)?;
    if body.message.as_ref() != transaction.digest {
        return Err(invalid("message is not the digest of unsigned"));
    }
    if format!("eip155:{}", transaction.chain_id) != body.network {
        return Err(invalid(format!(
            "the transaction is for chain {}",
            transaction.chain_id
        )));
    }
    if transaction.nonce != sequence {
        return Err(invalid(format!(
            "the transaction has nonce {}",
            transaction.nonce
        )));
    }
    if transaction.authorizations > 0 {
        return Err(policy(
            "authorizations of accounts (EIP-7702) are not signed".to_owned(),
        ));
    }
    let Some(to) = transaction.to else {
        return Err(policy(format!("key {} may not create contracts", body.key)));
    };
    // An empty transfer to itself only uses a nonce up.
    let is_fill =
        Some(to) == address_of(public_key) && transaction.input.is_empty() && transaction.value.is_zero();
    if !is_fill {
        let contract = key.contracts.iter().find(|contract| contract.address == to);
        let Some(contract) = contract else {
            return Err(policy(format!("key {} may not call {}", body.key, hex_of(&to))));
        };
        let selector = transaction.input.get(..4).unwrap_or_default();
        if !contract
            .selectors
            .iter()
            .any(|allowed| allowed.as_ref() == selector)
        {
            return Err(policy(format!(
                "key {} may not call 0x{} of {}",
                body.key,
                hex::encode(selector),
                hex_of(&to)
            )));
        }
    }
    if transaction.value > key.max_value {
        return Err(policy(format!(
            "the transaction moves {}, and max_value is {}",
            transaction.value, key.max_value
        )));
    }
    Ok(transaction.max_fee)
}

fn hex_of(address: &Address) -> String {
    format!("0x{}", hex::encode(address))
}

fn address_of(public_key: &[u8]) -> Option<Address> {
    let hash = Keccak256::digest(public_key.get(1..)?);
    Some(Address::from_slice(hash.get(12..)?))
}

fn check_solana(key: &Key, body: &SignBody, public_key: &[u8]) -> Result<U256, No> {
    if body.message != body.unsigned {
        return Err(invalid("message is not unsigned"));
    }
    let message = decode::solana(body.unsigned.as_ref()).map_err(invalid)?;
    if message.fee_payer != bs58::encode(public_key).into_string() {
        return Err(policy(format!("key {} is not the fee payer", body.key)));
    }
    for instruction in &message.instructions {
        if !key.programs.contains(&instruction.program) {
            return Err(policy(format!(
                "key {} may not call program {:?}",
                body.key, instruction.program
            )));
        }
        if instruction.names_fee_payer && !key.programs_with_key.contains(&instruction.program) {
            return Err(policy(format!(
                "an instruction of {} names the key {}",
                instruction.program, body.key
            )));
        }
    }
    Ok(message.max_fee)
}

fn check_typed(key: &Key, body: &SignBody, domain: &HexBytes, struct_hash: &HexBytes) -> Result<(), No> {
    if body.suite != Suite::Secp256k1
        || domain.len() != 32
        || struct_hash.len() != 32
        || !body.unsigned.is_empty()
    {
        return Err(invalid(
            "typed data has two hashes of 32 bytes, and no transaction",
        ));
    }
    let digest = Keccak256::new()
        .chain_update([0x19, 0x01])
        .chain_update(domain)
        .chain_update(struct_hash)
        .finalize();
    if body.message.as_ref() != digest.as_slice() {
        return Err(invalid("message is not the digest of the typed data"));
    }
    if key.domains.contains(domain) {
        Ok(())
    } else {
        Err(policy(format!(
            "key {} may not sign typed data of the domain {domain}",
            body.key
        )))
    }
}

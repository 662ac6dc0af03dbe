//! For tests: transactions as wallets build them, from readable parts, and mutations of them.
//!
//! ```
//! use schemes_svm::testkit::{Deal, Key};
//! use schemes_svm::wire::Transaction;
//!
//! let deal = Deal::example();
//! let bytes = deal.official().sign(&deal.buyer);
//! let transaction = Transaction::decode(&bytes).unwrap();
//! assert!(transaction.others_signed());
//! assert_eq!(transaction.message().fee_payer(), Key::of_seed(1).address());
//! ```

mod deal;
mod foreign;
mod mutate;

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use solana_address::Address;
use solana_hash::Hash;
use solana_message::MessageHeader;
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::v0::MessageAddressTableLookup;
use solana_signature::Signature;

use crate::wire::{Message, Version};

pub use deal::{Deal, guard, limit, memo, price};
pub use mutate::{Fate, Mutation, mutations};

/// A key of a test.
#[derive(Clone)]
pub struct Key(SigningKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.address())
    }
}

impl Key {
    /// The key whose secret is this byte 32 times.
    #[must_use]
    pub fn of_seed(byte: u8) -> Self {
        Self::of_secret([byte; 32])
    }

    #[must_use]
    pub fn of_secret(secret: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&secret))
    }

    #[must_use]
    pub fn address(&self) -> Address {
        Address::new_from_array(self.0.verifying_key().to_bytes())
    }

    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from(self.0.sign(message).to_bytes())
    }
}

/// An instruction before it is compiled: accounts with whether they are writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub program: Address,
    pub accounts: Vec<(Address, bool)>,
    pub data: Vec<u8>,
}

/// A transaction in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub version: Version,
    pub fee_payer: Address,
    /// Signers beside the fee payer, in order.
    pub signers: Vec<Address>,
    pub blockhash: Hash,
    pub parts: Vec<Part>,
    /// Tables with their addresses; accounts that are in one and need not be static are loaded from it.
    pub tables: Vec<(Address, Vec<Address>)>,
}

impl Draft {
    /// The message that a wallet would sign. Accounts of a draft fit a message; programs are never loaded from a table.
    #[must_use]
    pub fn message(&self) -> Message {
        let mut keys = vec![self.fee_payer];
        let named = || self.parts.iter().flat_map(|part| &part.accounts);
        let is_writable = |address: &Address| named().any(|(named, writable)| named == address && *writable);
        let signers: Vec<Address> = self.signers.clone();
        let (writable, readonly): (Vec<Address>, Vec<Address>) =
            signers.iter().partition(|key| is_writable(key));
        let num_readonly_signed = readonly.len();
        keys.extend(writable.into_iter().chain(readonly));
        let signed = keys.len();
        let programs: Vec<Address> = self.parts.iter().map(|part| part.program).collect();
        let in_table = |address: &Address| {
            !programs.contains(address) && self.tables.iter().any(|(_, list)| list.contains(address))
        };
        let mut add = |address: Address| {
            if !keys.contains(&address) && !in_table(&address) {
                keys.push(address);
            }
        };
        named()
            .filter(|(address, _)| is_writable(address))
            .for_each(|(address, _)| add(*address));
        named()
            .filter(|(address, _)| !is_writable(address) && !programs.contains(address))
            .for_each(|(address, _)| add(*address));
        programs.iter().for_each(|program| add(*program));
        let unsigned = keys.get(signed..).unwrap_or_default();
        let num_readonly_unsigned = unsigned.iter().filter(|key| !is_writable(key)).count();

        let (lookups, loaded) = self.lookups(&keys, &named, &is_writable);
        let all: Vec<Address> = keys.iter().copied().chain(loaded).collect();
        let index = |address: &Address| {
            byte(
                all.iter()
                    .position(|known| known == address)
                    .unwrap_or(usize::MAX),
            )
        };
        Message {
            version: self.version,
            header: MessageHeader {
                num_required_signatures: byte(signed),
                num_readonly_signed_accounts: byte(num_readonly_signed),
                num_readonly_unsigned_accounts: byte(num_readonly_unsigned),
            },
            recent_blockhash: self.blockhash,
            instructions: self
                .parts
                .iter()
                .map(|part| CompiledInstruction {
                    program_id_index: index(&part.program),
                    accounts: part.accounts.iter().map(|(address, _)| index(address)).collect(),
                    data: part.data.clone(),
                })
                .collect(),
            lookups,
            keys,
        }
    }

    /// The accounts that are loaded from tables: first all writable ones, then all others.
    fn lookups<'a, I: Iterator<Item = &'a (Address, bool)>>(
        &'a self,
        keys: &[Address],
        named: &impl Fn() -> I,
        is_writable: &impl Fn(&Address) -> bool,
    ) -> (Vec<MessageAddressTableLookup>, Vec<Address>) {
        let (mut lookups, mut loaded_writable, mut loaded_readonly) = (Vec::new(), Vec::new(), Vec::new());
        for (table, list) in &self.tables {
            let indices = |wanted_writable: bool| -> (Vec<u8>, Vec<Address>) {
                let wanted = |address: &Address| {
                    !keys.contains(address)
                        && named().any(|(named, _)| named == address)
                        && is_writable(address) == wanted_writable
                };
                let found = list.iter().enumerate().filter(|(_, address)| wanted(address));
                found.map(|(index, address)| (byte(index), *address)).unzip()
            };
            let ((writable_indexes, writable), (readonly_indexes, readonly)) =
                (indices(true), indices(false));
            loaded_writable.extend(writable);
            loaded_readonly.extend(readonly);
            if !writable_indexes.is_empty() || !readonly_indexes.is_empty() {
                lookups.push(MessageAddressTableLookup {
                    account_key: *table,
                    writable_indexes,
                    readonly_indexes,
                });
            }
        }
        loaded_writable.extend(loaded_readonly);
        (lookups, loaded_writable)
    }

    /// The wire bytes, signed by this one key wherever it must sign; other signatures stay empty.
    #[must_use]
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        sign(&self.message(), &[key])
    }
}

/// The wire bytes of a message, signed by those of the keys that must sign; nothing is checked.
#[must_use]
pub fn sign(message: &Message, keys: &[&Key]) -> Vec<u8> {
    let bytes = message.to_bytes();
    let signers = message.signers();
    let mut out = vec![byte(signers.len())];
    for signer in signers {
        let key = keys.iter().find(|key| key.address() == *signer);
        let signature = key.map_or_else(Signature::default, |key| key.sign(&bytes));
        out.extend_from_slice(signature.as_ref());
    }
    out.extend_from_slice(&bytes);
    out
}

/// Test transactions have far less than 256 of anything; what has not shows as an index that there is not.
fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

//! Transactions from hostile bytes, and back: legacy and version 0, as on the wire.
//!
//! Whatever a validator would reject is refused here: lengths in their shortest form only, nothing after the
//! last byte, as many signatures as the header requires, indices within bounds, no account twice. What is read is written
//! back byte for byte.
//!
//! The parts are the official types; the reader is ours. The official transaction type leaves out what is refused here:
//! bytes after the end, accounts listed twice, and the reason why. `tests/solana-official` compares the two.

mod read;
mod write;

use sha2::{Digest, Sha256};
use solana_address::Address;
use solana_hash::Hash;
use solana_message::MessageHeader;
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::v0::MessageAddressTableLookup;
use solana_signature::Signature;

/// Why bytes are not a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("the transaction ends too early")]
    Truncated,
    /// Something follows the last member.
    #[error("bytes follow the transaction")]
    Trailing,
    /// More bytes than a packet holds.
    #[error("the transaction is longer than 1232 bytes")]
    TooLong,
    /// A length that is not in its shortest form, or above 65535.
    #[error("a length is not written in its shortest form")]
    Length,
    /// A message of a version other than legacy and 0.
    #[error("message version {0} is not supported; use a legacy or version 0 message")]
    Version(u8),
    /// The header, an index or the number of signatures contradicts the rest.
    #[error("{0}")]
    Inconsistent(&'static str),
}

/// The message's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Legacy,
    V0,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub version: Version,
    pub header: MessageHeader,
    /// Static accounts; the first one pays the fee. At least one, none twice.
    pub keys: Vec<Address>,
    pub recent_blockhash: Hash,
    pub instructions: Vec<CompiledInstruction>,
    /// Empty in a legacy message.
    pub lookups: Vec<MessageAddressTableLookup>,
}

impl Message {
    /// The account that pays the fee.
    #[must_use]
    pub fn fee_payer(&self) -> Address {
        self.keys.first().copied().unwrap_or_default()
    }

    /// The accounts that must sign, the fee payer first.
    #[must_use]
    pub fn signers(&self) -> &[Address] {
        let count = usize::from(self.header.num_required_signatures);
        self.keys.get(..count).unwrap_or(&self.keys)
    }

    /// An instruction's program. Programs are never loaded from a table.
    #[must_use]
    pub fn program(&self, instruction: &CompiledInstruction) -> Option<Address> {
        self.keys.get(usize::from(instruction.program_id_index)).copied()
    }

    /// The message's bytes, which signers sign.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write::message(self)
    }
}

/// A decoded transaction. Its signatures are not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// One for each signer of the message, in that order; zeros where one is still missing.
    pub signatures: Vec<Signature>,
    message: Message,
    message_bytes: Vec<u8>,
}

impl Transaction {
    /// The message version that wire bytes name, `None` for a legacy message; nothing but the bytes that name it is read.
    ///
    /// # Errors
    /// The bytes are of no transaction format, or end before the version.
    pub fn named_version(bytes: &[u8]) -> Result<Option<u8>, DecodeError> {
        read::named_version(bytes)
    }

    /// Reads a whole transaction; see [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read::transaction(bytes)
    }

    /// A transaction of a message that holds what decoding would demand; for those who build their own.
    pub fn new(message: &Message, signatures: Vec<Signature>) -> Result<Self, DecodeError> {
        Self::decode(&write::transaction(&signatures, &message.to_bytes()))
    }

    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Exactly the bytes that were read, which signers sign.
    #[must_use]
    pub fn message_bytes(&self) -> &[u8] {
        &self.message_bytes
    }

    /// SHA-256 of the message: what makes a transaction unique on chain, whatever its signatures.
    #[must_use]
    pub fn message_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.message_bytes).into()
    }

    /// The wire format.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write::transaction(&self.signatures, &self.message_bytes)
    }

    /// The same transaction with another signature of the fee payer.
    #[must_use]
    pub fn with_fee_payer_signature(mut self, signature: Signature) -> Self {
        if let Some(first) = self.signatures.first_mut() {
            *first = signature;
        }
        self
    }

    /// Whether every signer but the fee payer has signed the message (Ed25519, strict as validators are).
    #[must_use]
    pub fn others_signed(&self) -> bool {
        let signers = self.message.signers();
        signers.len() == self.signatures.len()
            && signers
                .iter()
                .zip(&self.signatures)
                .skip(1)
                .all(|(signer, signature)| signature.verify(signer.as_ref(), &self.message_bytes))
    }
}

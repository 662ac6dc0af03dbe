//! The reader.

use std::collections::HashSet;

use solana_address::Address;
use solana_hash::Hash;
use solana_message::MessageHeader;
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::v0::MessageAddressTableLookup;
use solana_short_vec::decode_shortu16_len;
use solana_signature::Signature;

use super::{DecodeError, Message, Transaction, Version};
use crate::text::MAX_TRANSACTION_BYTES;

/// Set in the first byte of a message that has a version.
const VERSION_BIT: u8 = 0x80;
/// First byte of a version 1 transaction, whose signatures are at its end (SIMD-0385).
const VERSION_1_PREFIX: u8 = VERSION_BIT | 1;
/// Bytes of a signature on the wire.
const SIGNATURE_BYTES: usize = 64;
/// Longest encoding of a length, bytes.
const MAX_LENGTH_BYTES: usize = 3;
/// Accounts that one transaction can name: their indices are bytes.
const MAX_ACCOUNTS: usize = 256;

/// See [`Transaction::named_version`].
pub(super) fn named_version(bytes: &[u8]) -> Result<Option<u8>, DecodeError> {
    let first = *bytes.first().ok_or(DecodeError::Truncated)?;
    if first == VERSION_1_PREFIX {
        return Ok(Some(1));
    }
    if first >= VERSION_BIT {
        return Err(DecodeError::Inconsistent(
            "the first byte is that of no transaction format",
        ));
    }
    // The message comes after the signatures.
    let at = usize::from(first)
        .saturating_mul(SIGNATURE_BYTES)
        .saturating_add(1);
    let message = *bytes.get(at).ok_or(DecodeError::Truncated)?;
    Ok(message.checked_sub(VERSION_BIT))
}

pub(super) fn transaction(bytes: &[u8]) -> Result<Transaction, DecodeError> {
    if bytes.len() > MAX_TRANSACTION_BYTES {
        return Err(DecodeError::TooLong);
    }
    let mut reader = Reader(bytes);
    let signatures = reader.list(|reader| reader.array().map(Signature::from))?;
    let message_bytes = reader.0.to_vec();
    let message = message(&mut reader)?;
    if !reader.0.is_empty() {
        return Err(DecodeError::Trailing);
    }
    if signatures.len() != usize::from(message.header.num_required_signatures) {
        return Err(DecodeError::Inconsistent(
            "the number of signatures differs from the header's",
        ));
    }
    Ok(Transaction {
        signatures,
        message,
        message_bytes,
    })
}

fn message(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let first = reader.byte()?;
    let (version, num_required_signatures) = match first.checked_sub(VERSION_BIT) {
        None => (Version::Legacy, first),
        Some(0) => (Version::V0, reader.byte()?),
        Some(version) => return Err(DecodeError::Version(version)),
    };
    let message = Message {
        version,
        header: MessageHeader {
            num_required_signatures,
            num_readonly_signed_accounts: reader.byte()?,
            num_readonly_unsigned_accounts: reader.byte()?,
        },
        keys: reader.list(|reader| reader.array().map(Address::new_from_array))?,
        recent_blockhash: Hash::new_from_array(reader.array()?),
        instructions: reader.list(|reader| {
            Ok(CompiledInstruction {
                program_id_index: reader.byte()?,
                accounts: reader.bytes()?,
                data: reader.bytes()?,
            })
        })?,
        lookups: match version {
            Version::Legacy => Vec::new(),
            Version::V0 => reader.list(|reader| {
                Ok(MessageAddressTableLookup {
                    account_key: Address::new_from_array(reader.array()?),
                    writable_indexes: reader.bytes()?,
                    readonly_indexes: reader.bytes()?,
                })
            })?,
        },
    };
    consistent(&message).map_err(DecodeError::Inconsistent)?;
    Ok(message)
}

/// The rules that validators call sanitation.
fn consistent(message: &Message) -> Result<(), &'static str> {
    let (header, keys) = (&message.header, message.keys.len());
    let signers = usize::from(header.num_required_signatures);
    if header.num_readonly_signed_accounts >= header.num_required_signatures {
        return Err("the fee payer is not a writable signer");
    }
    if signers + usize::from(header.num_readonly_unsigned_accounts) > keys {
        return Err("the header counts more accounts than there are");
    }
    let unique: HashSet<&Address> = message.keys.iter().collect();
    if unique.len() != keys {
        return Err("an account is listed twice");
    }
    let mut loaded = 0;
    for lookup in &message.lookups {
        let count = lookup.writable_indexes.len() + lookup.readonly_indexes.len();
        if count == 0 {
            return Err("a look-up table is named and not used");
        }
        loaded += count;
    }
    let accounts = keys + loaded;
    if accounts > MAX_ACCOUNTS {
        return Err("there are more than 256 accounts");
    }
    for instruction in &message.instructions {
        let program = usize::from(instruction.program_id_index);
        if program == 0 || program >= keys {
            return Err("an instruction's program is not among the static accounts");
        }
        if instruction
            .accounts
            .iter()
            .any(|index| usize::from(*index) >= accounts)
        {
            return Err("an instruction names an account that there is not");
        }
    }
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| DecodeError::Truncated)
    }

    /// A length as compact-u16, in its shortest form.
    fn length(&mut self) -> Result<usize, DecodeError> {
        let Ok((length, used)) = decode_shortu16_len(self.0) else {
            // Every byte up to the end announces another one.
            let ends_early = self.0.len() < MAX_LENGTH_BYTES && self.0.iter().all(|byte| byte & 0x80 != 0);
            return Err(if ends_early {
                DecodeError::Truncated
            } else {
                DecodeError::Length
            });
        };
        self.take(used)?;
        Ok(length)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let length = self.length()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
        // No room is set aside by what the bytes claim: they run out first.
        (0..self.length()?).map(|_| item(self)).collect()
    }
}

//! What a transaction does, read with the chains' own types. Bytes that are not exactly what these types write are refused.

use alloy_consensus::TypedTransaction;
use alloy_consensus::transaction::{SignableTransaction as _, Transaction as _};
use alloy_primitives::{Address, Bytes, U256, keccak256};
use solana_message::VersionedMessage;

/// An EVM transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evm {
    pub chain_id: u64,
    pub nonce: u64,
    /// `None`: it creates a contract.
    pub to: Option<Address>,
    pub value: U256,
    pub input: Bytes,
    /// The most that its gas can cost.
    pub max_fee: U256,
    /// Accounts that let a contract act for them (EIP-7702).
    pub authorizations: usize,
    /// What is signed.
    pub digest: [u8; 32],
}

/// A Solana message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solana {
    /// In base58.
    pub fee_payer: String,
    pub instructions: Vec<Instruction>,
    /// Base fee of all signatures, and the priority fee.
    pub max_fee: U256,
}

/// One instruction of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// In base58; empty where the program comes from a lookup table.
    pub program: String,
    /// Whether one of its accounts is the fee payer.
    pub names_fee_payer: bool,
}

/// # Errors
/// A sentence.
pub fn evm(unsigned: &[u8]) -> Result<Evm, String> {
    let mut rest = unsigned;
    let transaction = TypedTransaction::decode_unsigned(&mut rest)
        .map_err(|error| format!("unsigned is no EVM transaction: {error}"))?;
    if !rest.is_empty() || transaction.encoded_for_signing() != unsigned {
        return Err("unsigned is not written as this transaction is signed".to_owned());
    }
    if matches!(transaction, TypedTransaction::Eip4844(_)) {
        return Err("transactions with blobs are not signed".to_owned());
    }
    let chain_id = transaction
        .chain_id()
        .ok_or("the transaction is not bound to a chain (EIP-155)")?;
    let max_fee = U256::from(transaction.max_fee_per_gas())
        .checked_mul(U256::from(transaction.gas_limit()))
        .ok_or("the fee has no number")?;
    Ok(Evm {
        chain_id,
        nonce: transaction.nonce(),
        to: transaction.to(),
        value: transaction.value(),
        input: transaction.input().clone(),
        max_fee,
        authorizations: transaction.authorization_list().map_or(0, <[_]>::len),
        digest: keccak256(unsigned).0,
    })
}

const COMPUTE_BUDGET: &str = "ComputeBudget111111111111111111111111111111";
const LAMPORTS_PER_SIGNATURE: u64 = 5_000;
/// What a transaction may use at most, and does where it sets no limit and has instructions enough.
const MOST_UNITS: u64 = 1_400_000;

/// # Errors
/// A sentence.
pub fn solana(unsigned: &[u8]) -> Result<Solana, String> {
    let message: VersionedMessage =
        wincode::deserialize(unsigned).map_err(|_| "unsigned is no Solana message")?;
    if wincode::serialize(&message).ok().as_deref() != Some(unsigned) {
        return Err("unsigned is not written as this message is signed".to_owned());
    }
    message.sanitize().map_err(|_| "the message contradicts itself")?;
    let keys = message.static_account_keys();
    let base58 = |index: u8| {
        keys.get(usize::from(index))
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let (mut units, mut price) = (MOST_UNITS, 0u64);
    let mut instructions = Vec::new();
    for instruction in message.instructions() {
        let program = base58(instruction.program_id_index);
        if program == COMPUTE_BUDGET {
            match instruction.data.as_slice() {
                [2, limit @ ..] => {
                    let limit = limit.try_into().map(u32::from_le_bytes);
                    units = u64::from(limit.map_err(|_| "the limit of compute units has not 4 bytes")?);
                }
                [3, micro @ ..] => {
                    let micro = micro.try_into().map(u64::from_le_bytes);
                    price = micro.map_err(|_| "the price of compute units has not 8 bytes")?;
                }
                _ => {}
            }
        }
        instructions.push(Instruction {
            program,
            names_fee_payer: instruction.accounts.contains(&0),
        });
    }
    let signatures = u64::from(message.header().num_required_signatures);
    let base = U256::from(signatures) * U256::from(LAMPORTS_PER_SIGNATURE);
    let million = U256::from(1_000_000u64);
    let priority = (U256::from(units) * U256::from(price) + million - U256::from(1)) / million;
    Ok(Solana {
        fee_payer: base58(0),
        instructions,
        max_fee: base + priority,
    })
}

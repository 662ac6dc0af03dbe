//! The JSON that a validator answers with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Number, Value, json};
use solana_account::Account;
use solana_address::Address;
use solana_message::VersionedMessage;
use solana_message::inner_instruction::InnerInstructionsList;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use crate::outcome::{Accounts, Balances, Outcome, TokenBalance};
use crate::parsed;
use crate::rpc::Failure;
use crate::zstd;

/// How account data is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataEncoding {
    /// Nothing requested: base58 without saying so.
    Binary,
    Base58,
    Base64,
    Base64Zstd,
}

/// A cut of account data, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

const MOST_BASE58_BYTES: usize = 128;

pub(crate) fn account(
    account: &Account,
    encoding: DataEncoding,
    slice: Option<Slice>,
) -> Result<Value, Failure> {
    let data = match slice {
        Some(Slice { offset, length }) => {
            let from = offset.min(account.data.len());
            let to = from.saturating_add(length).min(account.data.len());
            account.data.get(from..to).unwrap_or_default()
        }
        None => &account.data,
    };
    let base58 = || {
        if data.len() > MOST_BASE58_BYTES {
            return Err(Failure::invalid_request(
                "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.",
            ));
        }
        Ok(bs58::encode(data).into_string())
    };
    let data = match encoding {
        DataEncoding::Binary => json!(base58()?),
        DataEncoding::Base58 => json!([base58()?, "base58"]),
        DataEncoding::Base64 => json!([BASE64.encode(data), "base64"]),
        DataEncoding::Base64Zstd => json!([BASE64.encode(zstd::frame(data)), "base64+zstd"]),
    };
    Ok(json!({
        "lamports": account.lamports,
        "data": data,
        "owner": account.owner.to_string(),
        "executable": account.executable,
        "rentEpoch": account.rent_epoch,
        "space": account.data.len(),
    }))
}

/// Token units for people: `1500000` of six decimals is `1.5`.
pub(crate) fn ui_amount(units: u64, decimals: u8) -> String {
    let width = usize::from(decimals);
    let digits = format!("{units:0>fill$}", fill = width + 1);
    let (whole, fraction) = digits.split_at(digits.len() - width);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{fraction}")
    }
}

pub(crate) fn token_amount(units: u64, decimals: u8) -> Value {
    let text = ui_amount(units, decimals);
    // A validator computes this with floats; the digits are read here instead, and always with a point.
    let with_point = if text.contains('.') {
        text.clone()
    } else {
        format!("{text}.0")
    };
    let number: Option<Number> = serde_json::from_str(&with_point).ok();
    json!({
        "amount": units.to_string(),
        "decimals": decimals,
        "uiAmount": number,
        "uiAmountString": text,
    })
}

fn token_balance(balance: &TokenBalance) -> Value {
    json!({
        "accountIndex": balance.index,
        "mint": balance.mint.to_string(),
        "owner": balance.owner.to_string(),
        "programId": balance.program.to_string(),
        "uiTokenAmount": token_amount(balance.amount, balance.decimals),
    })
}

pub(crate) fn token_balances(balances: &Balances) -> Vec<Value> {
    balances.tokens.iter().map(token_balance).collect()
}

pub(crate) fn error(error: Option<&TransactionError>) -> Value {
    // The enum's own JSON is what validators answer with; it has no member that could fail.
    error.map_or(Value::Null, |error| {
        serde_json::to_value(error).unwrap_or_default()
    })
}

/// The deprecated second form of the same.
pub(crate) fn status(error: Option<&TransactionError>) -> Value {
    match error {
        None => json!({"Ok": null}),
        Some(_) => json!({"Err": self::error(error)}),
    }
}

pub(crate) fn loaded_addresses(accounts: &Accounts) -> Value {
    let texts = |keys: &[Address]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({"writable": texts(&accounts.loaded.writable), "readonly": texts(&accounts.loaded.readonly)})
}

pub(crate) fn return_data(outcome: &Outcome) -> Value {
    let returned = &outcome.report.return_data;
    if returned.data.is_empty() {
        return Value::Null;
    }
    json!({"programId": returned.program_id.to_string(), "data": [BASE64.encode(&returned.data), "base64"]})
}

/// Inner instructions, by top-level instruction; those that called nothing are left out. `parsed` is what a simulation
/// answers with; a stored transaction in `json` has indices and base58 instead.
pub(crate) fn inner_instructions(
    list: &InnerInstructionsList,
    accounts: &Accounts,
    parsed: bool,
) -> Vec<Value> {
    let called = list.iter().enumerate().filter(|(_, inner)| !inner.is_empty());
    called
        .map(|(index, inner)| {
            let instructions = inner.iter().map(|inner| {
                let height = Some(u32::from(inner.stack_height));
                if parsed {
                    parsed::instruction(&inner.instruction, &accounts.keys, height)
                } else {
                    parsed::compiled(&inner.instruction, height)
                }
            });
            json!({"index": index, "instructions": instructions.collect::<Vec<_>>()})
        })
        .collect()
}

/// A transaction's encoding in `getTransaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionEncoding {
    Json,
    JsonParsed,
    Base58,
    Base64,
}

pub(crate) fn wire(transaction: &VersionedTransaction) -> Vec<u8> {
    // What was decoded can be encoded.
    wincode::serialize(transaction).unwrap_or_default()
}

pub(crate) fn transaction(
    transaction: &VersionedTransaction,
    accounts: &Accounts,
    encoding: TransactionEncoding,
) -> Value {
    match encoding {
        TransactionEncoding::Base58 => json!([bs58::encode(wire(transaction)).into_string(), "base58"]),
        TransactionEncoding::Base64 => json!([BASE64.encode(wire(transaction)), "base64"]),
        TransactionEncoding::Json | TransactionEncoding::JsonParsed => {
            let signatures: Vec<_> = transaction.signatures.iter().map(ToString::to_string).collect();
            let parsed = encoding == TransactionEncoding::JsonParsed;
            json!({"signatures": signatures, "message": message(transaction, accounts, parsed)})
        }
    }
}

fn message(transaction: &VersionedTransaction, accounts: &Accounts, parsed: bool) -> Value {
    let message = &transaction.message;
    let header = message.header();
    let signers = usize::from(header.num_required_signatures);
    let instructions = message.instructions().iter().map(|instruction| {
        if parsed {
            parsed::instruction(instruction, &accounts.keys, Some(1))
        } else {
            parsed::compiled(instruction, Some(1))
        }
    });
    let mut shape = json!({
        "recentBlockhash": message.recent_blockhash().to_string(),
        "instructions": instructions.collect::<Vec<_>>(),
    });
    if parsed {
        let keys = accounts.keys.iter().enumerate().map(|(index, key)| {
            json!({
                "pubkey": key.to_string(),
                "signer": index < signers,
                "writable": accounts.is_writable(transaction, index),
                "source": if index < accounts.statics { "transaction" } else { "lookupTable" },
            })
        });
        shape["accountKeys"] = keys.collect();
    } else {
        shape["header"] = json!({
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        });
        shape["accountKeys"] = message
            .static_account_keys()
            .iter()
            .map(ToString::to_string)
            .collect();
    }
    if let VersionedMessage::V0(message) = message {
        let lookups = message.address_table_lookups.iter().map(|lookup| {
            json!({
                "accountKey": lookup.account_key.to_string(),
                "writableIndexes": lookup.writable_indexes,
                "readonlyIndexes": lookup.readonly_indexes,
            })
        });
        shape["addressTableLookups"] = lookups.collect();
    }
    shape
}

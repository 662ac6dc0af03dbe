//! Simulating and sending.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use solana_account::Account;
use solana_message::VersionedMessage;
use solana_system_interface::instruction::transfer;
use solana_transaction::Transaction;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use super::accounts::encoding;
use super::params::{Bank, Params, address, bank};
use super::{Answer, Failure, in_context};
use crate::chain::{Chain, Commitment};
use crate::outcome::{Accounts, Outcome};
use crate::shapes::{self, DataEncoding};
use crate::world::World;

/// What fits into one packet.
const MOST_BYTES: usize = 1_232;
const MOST_BASE58: usize = 1_683;
const MOST_BASE64: usize = 1_644;
const TYPE: &str = "solana_transaction::versioned::VersionedTransaction";

pub(super) fn simulate(chain: &mut Chain, params: &Params) -> Answer {
    let options = params.at(1);
    let mut transaction = decode(params.text(0)?, &options["encoding"])?;
    let bank = params.bank(1, chain)?;
    let verify = options["sigVerify"].as_bool().unwrap_or(false);
    let mut replacement = Value::Null;
    if options["replaceRecentBlockhash"].as_bool().unwrap_or(false) {
        if verify {
            return Err(Failure::invalid_params(
                "sigVerify may not be used with replaceRecentBlockhash",
            ));
        }
        let blockhash = chain.blockhash(bank.slot);
        transaction.message.set_recent_blockhash(blockhash);
        replacement = json!({
            "blockhash": blockhash.to_string(),
            "lastValidBlockHeight": chain.last_valid_height(&blockhash, bank.slot),
        });
    }
    let accounts = sanitize(chain, &transaction)?;
    let outcome = if verify && !verified(&transaction) {
        Outcome::refused(TransactionError::SignatureFailure)
    } else {
        chain.simulate(&transaction, &accounts, bank.commitment)
    };
    let wanted = wanted_accounts(chain, &options["accounts"], bank, &outcome, &accounts)?;
    let inner = options["innerInstructions"]
        .as_bool()
        .unwrap_or(false)
        .then(|| shapes::inner_instructions(&outcome.report.inner_instructions, &accounts, true));
    let mut value = report(&outcome);
    value["accounts"] = wanted;
    value["innerInstructions"] = json!(inner);
    value["replacementBlockhash"] = replacement;
    value["loadedAddresses"] = shapes::loaded_addresses(&accounts);
    if outcome.ran {
        value["preBalances"] = json!(outcome.before.lamports);
        value["postBalances"] = json!(outcome.after.lamports);
        value["preTokenBalances"] = json!(shapes::token_balances(&outcome.before));
        value["postTokenBalances"] = json!(shapes::token_balances(&outcome.after));
    }
    Ok(in_context(bank.slot, value))
}

/// All members of a simulation's result, those of a plain preflight filled in.
fn report(outcome: &Outcome) -> Value {
    json!({
        "err": shapes::error(outcome.error.as_ref()),
        "logs": outcome.report.logs,
        "accounts": null,
        "unitsConsumed": outcome.report.compute_units_consumed,
        "loadedAccountsDataSize": outcome.loaded_bytes,
        "returnData": shapes::return_data(outcome),
        "innerInstructions": null,
        "replacementBlockhash": null,
        "fee": outcome.ran.then_some(outcome.report.fee),
        "preBalances": null,
        "postBalances": null,
        "preTokenBalances": null,
        "postTokenBalances": null,
        "loadedAddresses": null,
    })
}

fn wanted_accounts(
    chain: &Chain,
    wanted: &Value,
    bank: Bank,
    outcome: &Outcome,
    accounts: &Accounts,
) -> Answer {
    if wanted.is_null() {
        return Ok(Value::Null);
    }
    let encoding = match encoding(&wanted["encoding"])? {
        _ if wanted["encoding"].is_null() => DataEncoding::Base64,
        known @ (DataEncoding::Base64 | DataEncoding::Base64Zstd) => known,
        DataEncoding::Binary | DataEncoding::Base58 => {
            return Err(Failure::invalid_params("base58 encoding not supported"));
        }
    };
    let list = wanted["addresses"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if list.len() > accounts.keys.len() {
        return Err(Failure::invalid_params(format!(
            "Too many accounts provided; max {}",
            accounts.keys.len()
        )));
    }
    let values = list.iter().map(|item| {
        let address = address(item.as_str().unwrap_or_default())?;
        if outcome.error.is_some() {
            return Ok(Value::Null);
        }
        let exists = |account: &Account| account.lamports > 0;
        let account = match outcome.written.get(&address) {
            Some(account) => Some(account.clone()).filter(exists),
            None => chain.account(&address, bank.commitment),
        };
        account.map_or(Ok(Value::Null), |account| {
            shapes::account(&account, encoding, None)
        })
    });
    Ok(Value::Array(values.collect::<Result<_, _>>()?))
}

pub(super) fn send(chain: &mut Chain, params: &Params) -> Answer {
    let options = params.at(1);
    let transaction = decode(params.text(0)?, &options["encoding"])?;
    let skip_preflight = options["skipPreflight"].as_bool().unwrap_or(false);
    let processed = json!("processed");
    let commitment = if skip_preflight {
        &processed
    } else {
        &options["preflightCommitment"]
    };
    let bank = bank(chain, commitment, &options["minContextSlot"])?;
    let accounts = sanitize(chain, &transaction)?;
    if !skip_preflight {
        let outcome = if verified(&transaction) {
            chain.simulate(&transaction, &accounts, bank.commitment)
        } else {
            Outcome::refused(TransactionError::SignatureFailure)
        };
        if let Some(error) = &outcome.error {
            let failure = Failure::new(-32002, format!("Transaction simulation failed: {error}"));
            return Err(failure.with(report(&outcome)));
        }
    }
    let signature = transaction.signatures.first().map(ToString::to_string);
    chain.receive(transaction);
    Ok(json!(signature))
}

fn verified(transaction: &VersionedTransaction) -> bool {
    !transaction.verify_with_results().contains(&false)
}

pub(super) fn airdrop(chain: &mut Chain, world: &World, params: &Params) -> Answer {
    let (to, lamports) = (params.address(0)?, params.number(1)?);
    let admin = &world.keys.admin;
    let blockhash = chain.blockhash(chain.slot(Commitment::Processed));
    let instruction = transfer(&admin.address(), &to, lamports);
    // Two airdrops in one slot must differ.
    let distinct = transfer(
        &admin.address(),
        &admin.address(),
        u64::try_from(chain.landed().len()).unwrap_or(u64::MAX),
    );
    let transaction = Transaction::new_signed_with_payer(
        &[instruction, distinct],
        Some(&admin.address()),
        &[&admin.pair],
        blockhash,
    );
    let signature = transaction.signatures.first().map(ToString::to_string);
    chain.receive(transaction.into());
    Ok(json!(signature))
}

pub(super) fn fee_for_message(chain: &mut Chain, params: &Params) -> Answer {
    let bytes = BASE64
        .decode(params.text(0)?)
        .map_err(|e| Failure::invalid_params(format!("invalid base64 encoding: {e:?}")))?;
    let message: VersionedMessage = wincode::deserialize(&bytes).map_err(|e| {
        Failure::invalid_params(format!(
            "failed to deserialize solana_message::VersionedMessage: {e}"
        ))
    })?;
    let bank = params.bank(1, chain)?;
    let known = chain
        .last_valid_height(message.recent_blockhash(), bank.slot)
        .is_some();
    let signers = usize::from(message.header().num_required_signatures);
    let transaction = VersionedTransaction {
        signatures: vec![solana_signature::Signature::default(); signers],
        message,
    };
    let accounts = sanitize(chain, &transaction)?;
    let outcome = chain.simulate(&transaction, &accounts, bank.commitment);
    Ok(in_context(
        bank.slot,
        json!((known && outcome.ran).then_some(outcome.report.fee)),
    ))
}

fn decode(text: &str, encoding: &Value) -> Result<VersionedTransaction, Failure> {
    let too_large = |name: &str, most: usize| {
        Failure::invalid_params(format!(
            "{name} encoded {TYPE} too large: {} bytes (max: encoded/raw {most}/{MOST_BYTES})",
            text.len()
        ))
    };
    let wire = match encoding.as_str() {
        Some("base64") if text.len() > MOST_BASE64 => return Err(too_large("base64", MOST_BASE64)),
        Some("base64") => BASE64
            .decode(text)
            .map_err(|e| Failure::invalid_params(format!("invalid base64 encoding: {e:?}")))?,
        Some("base58") | None if text.len() > MOST_BASE58 => return Err(too_large("base58", MOST_BASE58)),
        Some("base58") | None => bs58::decode(text)
            .into_vec()
            .map_err(|e| Failure::invalid_params(format!("invalid base58 encoding: {e:?}")))?,
        Some(other) => {
            return Err(Failure::invalid_params(format!(
                "unsupported encoding: {other}. Supported encodings: base58, base64"
            )));
        }
    };
    if wire.len() > MOST_BYTES {
        return Err(Failure::invalid_params(format!(
            "decoded {TYPE} too large: {} bytes (max: {MOST_BYTES} bytes)",
            wire.len()
        )));
    }
    wincode::deserialize(&wire)
        .map_err(|e| Failure::invalid_params(format!("failed to deserialize {TYPE}: {e}")))
}

fn sanitize(chain: &Chain, transaction: &VersionedTransaction) -> Result<Accounts, Failure> {
    let invalid = |error: TransactionError| Failure::invalid_params(format!("invalid transaction: {error}"));
    transaction
        .sanitize()
        .map_err(|_| invalid(TransactionError::SanitizeFailure))?;
    chain.accounts_of(transaction).map_err(invalid)
}

//! What became of transactions.

use serde_json::{Value, json};
use solana_transaction::versioned::TransactionVersion;
use solana_transaction_error::TransactionError;

use super::params::{Params, signature};
use super::{Answer, Failure, in_context};
use crate::chain::{Chain, Commitment, Landed};
use crate::outcome::Outcome;
use crate::shapes::{self, TransactionEncoding};

const MOST_SIGNATURES: usize = 256;
const MOST_OF_ADDRESS: u64 = 1_000;

pub(super) fn signature_statuses(chain: &Chain, params: &Params) -> Answer {
    let list = params
        .at(0)
        .as_array()
        .ok_or_else(|| Failure::invalid_params("Invalid params: expected a sequence."))?;
    if list.len() > MOST_SIGNATURES {
        return Err(Failure::invalid_params(format!(
            "Too many inputs provided; max {MOST_SIGNATURES}"
        )));
    }
    let search = params.at(1)["searchTransactionHistory"]
        .as_bool()
        .unwrap_or(false);
    let statuses = list.iter().map(|item| {
        let signature = signature(item.as_str().unwrap_or_default())?;
        let is_known = |slot: u64| chain.is_recent(slot) || (search && chain.is_in_history(slot));
        let found = chain.transaction(&signature);
        let found = found.map(|landed| (landed.slot, landed.outcome.error.as_ref()));
        let vote = || chain.voted_in(&signature).map(|slot| (slot, None));
        let found = found.or_else(vote).filter(|(slot, _)| is_known(*slot));
        Ok(found.map_or(Value::Null, |(slot, error)| status(chain, slot, error)))
    });
    let statuses = statuses.collect::<Result<_, Failure>>()?;
    Ok(in_context(
        chain.slot(Commitment::Processed),
        Value::Array(statuses),
    ))
}

fn status(chain: &Chain, slot: u64, error: Option<&TransactionError>) -> Value {
    let commitment = chain.commitment_of(slot);
    let behind = chain.slot(Commitment::Processed).saturating_sub(slot);
    json!({
        "slot": slot,
        "confirmations": (commitment != Commitment::Finalized).then_some(behind),
        "status": shapes::status(error),
        "err": shapes::error(error),
        "confirmationStatus": name(commitment),
    })
}

fn name(commitment: Commitment) -> &'static str {
    match commitment {
        Commitment::Processed => "processed",
        Commitment::Confirmed => "confirmed",
        Commitment::Finalized => "finalized",
    }
}

/// The last slot that a reader of stored transactions may see.
fn stored_until(chain: &Chain, params: &Params) -> Result<u64, Failure> {
    let bank = params.bank(1, chain)?;
    if bank.commitment == Commitment::Processed {
        return Err(Failure::invalid_params(
            "Method does not support commitment below `confirmed`",
        ));
    }
    Ok(bank.slot)
}

pub(super) fn transaction(chain: &Chain, params: &Params) -> Answer {
    let until = stored_until(chain, params)?;
    let options = params.at(1);
    let wanted = if options["encoding"].is_null() && options.is_string() {
        Some("json")
    } else {
        options["encoding"].as_str()
    };
    let encoding = match wanted {
        None | Some("json") => TransactionEncoding::Json,
        Some("jsonParsed") => TransactionEncoding::JsonParsed,
        Some("base58") => TransactionEncoding::Base58,
        Some("base64") => TransactionEncoding::Base64,
        Some(other) => {
            return Err(Failure::invalid_params(format!(
                "Invalid params: unknown encoding {other}."
            )));
        }
    };
    let Some(landed) = chain
        .transaction(&params.signature(0)?)
        .filter(|landed| landed.slot <= until && chain.is_in_history(landed.slot))
    else {
        return Ok(Value::Null);
    };
    let most = options["maxSupportedTransactionVersion"].as_u64();
    let version = match (landed.transaction.version(), most) {
        (TransactionVersion::Legacy(_), None) => None,
        (TransactionVersion::Legacy(_), Some(_)) => Some(json!("legacy")),
        (TransactionVersion::Number(number), Some(most)) if u64::from(number) <= most => Some(json!(number)),
        (TransactionVersion::Number(number), _) => {
            return Err(Failure::new(
                -32015,
                format!(
                    "Transaction version ({number}) is not supported by the requesting client. Please try the request \
                     again with the following configuration parameter: \"maxSupportedTransactionVersion\": {number}"
                ),
            ));
        }
    };
    let mut value = json!({
        "slot": landed.slot,
        "blockTime": chain.time_of(landed.slot),
        "transaction": shapes::transaction(&landed.transaction, &landed.accounts, encoding),
        "meta": meta(landed, encoding),
    });
    if let Some(version) = version {
        value["version"] = version;
    }
    Ok(value)
}

fn meta(landed: &Landed, encoding: TransactionEncoding) -> Value {
    let Outcome {
        error,
        report,
        before,
        after,
        ..
    } = &landed.outcome;
    let parsed = encoding == TransactionEncoding::JsonParsed;
    let mut meta = json!({
        "err": shapes::error(error.as_ref()),
        "status": shapes::status(error.as_ref()),
        "fee": report.fee,
        "preBalances": before.lamports,
        "postBalances": after.lamports,
        "innerInstructions": shapes::inner_instructions(&report.inner_instructions, &landed.accounts, parsed),
        "logMessages": report.logs,
        "preTokenBalances": shapes::token_balances(before),
        "postTokenBalances": shapes::token_balances(after),
        "rewards": [],
        "computeUnitsConsumed": report.compute_units_consumed,
    });
    if !parsed {
        meta["loadedAddresses"] = shapes::loaded_addresses(&landed.accounts);
    }
    let returned = shapes::return_data(&landed.outcome);
    if !returned.is_null() {
        meta["returnData"] = returned;
    }
    meta
}

pub(super) fn signatures_for_address(chain: &Chain, params: &Params) -> Answer {
    let until = stored_until(chain, params)?;
    let address = params.address(0)?;
    let options = params.at(1);
    let limit = options["limit"].as_u64().unwrap_or(MOST_OF_ADDRESS);
    if limit == 0 || limit > MOST_OF_ADDRESS {
        return Err(Failure::invalid_params("Invalid limit; max 1000"));
    }
    let named = |name: &str| options[name].as_str().map(signature).transpose();
    let (before, last) = (named("before")?, named("until")?);
    let newest_first = chain.landed().iter().rev();
    let found = newest_first
        .skip_while(|landed| before.is_some_and(|before| landed.signature != before))
        .skip(usize::from(before.is_some()))
        .take_while(|landed| last.is_none_or(|last| landed.signature != last))
        .filter(|landed| landed.slot <= until && chain.is_in_history(landed.slot))
        .filter(|landed| landed.accounts.keys.contains(&address))
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    let values = found.map(|landed| {
        json!({
            "signature": landed.signature.to_string(),
            "slot": landed.slot,
            "err": shapes::error(landed.outcome.error.as_ref()),
            "memo": null,
            "blockTime": chain.time_of(landed.slot),
            "confirmationStatus": name(chain.commitment_of(landed.slot)),
        })
    });
    Ok(values.collect())
}

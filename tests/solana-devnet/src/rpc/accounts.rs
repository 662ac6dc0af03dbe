//! Accounts and token balances.

use serde_json::{Value, json};
use solana_account::Account;
use solana_address::Address;

use super::params::{Bank, Params, address};
use super::{Answer, Failure, in_context};
use crate::chain::Chain;
use crate::ids;
use crate::outcome::{TokenAccount, mint_decimals};
use crate::shapes::{self, DataEncoding, Slice};

const MOST_ACCOUNTS: usize = 100;

pub(super) fn balance(chain: &Chain, params: &Params) -> Answer {
    let bank = params.bank(1, chain)?;
    let account = chain.account(&params.address(0)?, bank.commitment);
    Ok(in_context(
        bank.slot,
        json!(account.map_or(0, |account| account.lamports)),
    ))
}

pub(super) fn rent(chain: &Chain, params: &Params) -> Answer {
    const LARGEST: usize = 10 * 1024 * 1024;
    let bytes = usize::try_from(params.number(0)?)
        .unwrap_or(usize::MAX)
        .min(LARGEST);
    Ok(json!(chain.rent(bytes)))
}

pub(super) fn info(chain: &Chain, params: &Params) -> Answer {
    let bank = params.bank(1, chain)?;
    let value = encoded(chain, &params.address(0)?, bank, params.at(1))?;
    Ok(in_context(bank.slot, value))
}

pub(super) fn multiple(chain: &Chain, params: &Params) -> Answer {
    let addresses = params.addresses(0)?;
    if addresses.len() > MOST_ACCOUNTS {
        return Err(Failure::invalid_params(format!(
            "Too many inputs provided; max {MOST_ACCOUNTS}"
        )));
    }
    let bank = params.bank(1, chain)?;
    let options = match params.at(1) {
        // base64 is the default of this method.
        options if options["encoding"].is_null() => {
            json!({"encoding": "base64", "dataSlice": options["dataSlice"]})
        }
        options => options.clone(),
    };
    let values = addresses
        .iter()
        .map(|address| encoded(chain, address, bank, &options));
    Ok(in_context(
        bank.slot,
        Value::Array(values.collect::<Result<_, _>>()?),
    ))
}

fn encoded(chain: &Chain, address: &Address, bank: Bank, options: &Value) -> Answer {
    let (encoding, slice) = (encoding(&options["encoding"])?, slice(&options["dataSlice"])?);
    let account = if *address == ids::RECENT_BLOCKHASHES {
        Some(recent_blockhashes(chain, bank.slot))
    } else {
        chain.account(address, bank.commitment)
    };
    match account {
        Some(account) => shapes::account(&account, encoding, slice),
        None => Ok(Value::Null),
    }
}

/// The content of the sysvar at this slot: 150 entries of a hash and a fee, the newest first.
fn recent_blockhashes(chain: &Chain, slot: u64) -> Account {
    const ENTRIES: u64 = 150;
    const LAMPORTS_PER_SIGNATURE: u64 = 5_000;
    let mut data = ENTRIES.to_le_bytes().to_vec();
    for age in 0..ENTRIES {
        data.extend(chain.blockhash(slot.saturating_sub(age)).to_bytes());
        data.extend(LAMPORTS_PER_SIGNATURE.to_le_bytes());
    }
    Account {
        lamports: chain.rent(data.len()),
        owner: ids::SYSVAR,
        data,
        ..Account::default()
    }
}

pub(super) fn encoding(wanted: &Value) -> Result<DataEncoding, Failure> {
    match wanted.as_str() {
        None if wanted.is_null() => Ok(DataEncoding::Binary),
        Some("binary") => Ok(DataEncoding::Binary),
        Some("base58") => Ok(DataEncoding::Base58),
        // Validators answer jsonParsed with base64 as well, where they can't parse; this chain parses no account.
        Some("base64" | "jsonParsed") => Ok(DataEncoding::Base64),
        Some("base64+zstd") => Ok(DataEncoding::Base64Zstd),
        _ => Err(Failure::invalid_params(format!(
            "Invalid params: encoding {wanted} is not known here; base64, base64+zstd and base58 are."
        ))),
    }
}

fn slice(wanted: &Value) -> Result<Option<Slice>, Failure> {
    if wanted.is_null() {
        return Ok(None);
    }
    let number = |name: &str| {
        wanted[name]
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
    };
    match (number("offset"), number("length")) {
        (Some(offset), Some(length)) => Ok(Some(Slice { offset, length })),
        _ => Err(Failure::invalid_params(
            "Invalid params: dataSlice needs offset and length.",
        )),
    }
}

pub(super) fn token_balance(chain: &Chain, params: &Params) -> Answer {
    let bank = params.bank(1, chain)?;
    let account = chain
        .account(&params.address(0)?, bank.commitment)
        .ok_or_else(|| Failure::invalid_params("Invalid param: could not find account"))?;
    let token = TokenAccount::parse(&account)
        .ok_or_else(|| Failure::invalid_params("Invalid param: not a Token account"))?;
    let decimals = decimals(chain, &token.mint, bank)?;
    Ok(in_context(
        bank.slot,
        shapes::token_amount(token.amount, decimals),
    ))
}

pub(super) fn token_supply(chain: &Chain, params: &Params) -> Answer {
    let bank = params.bank(1, chain)?;
    let mint = params.address(0)?;
    let decimals = decimals(chain, &mint, bank)?;
    let account = chain.account(&mint, bank.commitment).unwrap_or_default();
    let supply = account.data.get(36..).and_then(|bytes| bytes.first_chunk::<8>());
    let supply = supply.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(in_context(bank.slot, shapes::token_amount(supply, decimals)))
}

fn decimals(chain: &Chain, mint: &Address, bank: Bank) -> Result<u8, Failure> {
    let account = chain.account(mint, bank.commitment);
    account
        .as_ref()
        .and_then(mint_decimals)
        .ok_or_else(|| Failure::invalid_params("Invalid param: not a Token mint"))
}

pub(super) fn tokens_by_owner(chain: &Chain, params: &Params) -> Answer {
    let owner = params.address(0)?;
    let bank = params.bank(2, chain)?;
    let (mint, program) = (params.at(1)["mint"].as_str(), params.at(1)["programId"].as_str());
    let programs = match (mint, program) {
        (Some(_), None) => vec![ids::TOKEN, ids::TOKEN_2022],
        (None, Some(program)) => vec![address(program)?],
        _ => {
            return Err(Failure::invalid_params(
                "Invalid params: the filter names either mint or programId.",
            ));
        }
    };
    let mint = mint.map(address).transpose()?;
    let wanted = |account: &Account| {
        TokenAccount::parse(account)
            .is_some_and(|token| token.owner == owner && mint.is_none_or(|mint| token.mint == mint))
    };
    let options = params.at(2);
    let (encoding, slice) = (encoding(&options["encoding"])?, slice(&options["dataSlice"])?);
    let mut found: Vec<(Address, Account)> = programs
        .iter()
        .flat_map(|program| chain.owned_by(program))
        .filter(|(_, account)| wanted(account))
        .collect();
    found.sort_by_key(|(address, _)| *address);
    let values = found.iter().map(|(address, account)| {
        Ok(json!({"pubkey": address.to_string(), "account": shapes::account(account, encoding, slice)?}))
    });
    Ok(in_context(
        bank.slot,
        Value::Array(values.collect::<Result<_, Failure>>()?),
    ))
}

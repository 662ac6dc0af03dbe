//! Instructions as a validator describes them: parsed where it knows the program, else with accounts and data.
//!
//! Known here are the instructions that a payment can contain (transfers, account creation, memos); a validator knows
//! more, and answers for those in its parsed form where this chain gives accounts and data.

use serde_json::{Map, Value, json};
use solana_address::Address;
use solana_message::compiled_instruction::CompiledInstruction;

use crate::{ids, shapes};

/// Indices and base58 data.
pub(crate) fn compiled(instruction: &CompiledInstruction, height: Option<u32>) -> Value {
    json!({
        "programIdIndex": instruction.program_id_index,
        "accounts": instruction.accounts,
        "data": bs58::encode(&instruction.data).into_string(),
        "stackHeight": height,
    })
}

/// Parsed where the program and its instruction are known, else accounts and data by address.
pub(crate) fn instruction(instruction: &CompiledInstruction, keys: &[Address], height: Option<u32>) -> Value {
    let key = |index: &u8| keys.get(usize::from(*index)).copied().unwrap_or_default();
    let program = key(&instruction.program_id_index);
    let accounts: Vec<String> = instruction
        .accounts
        .iter()
        .map(|index| key(index).to_string())
        .collect();
    match known(&program, &accounts, &instruction.data) {
        Some((name, parsed)) => json!({
            "program": name,
            "programId": program.to_string(),
            "parsed": parsed,
            "stackHeight": height,
        }),
        None => json!({
            "programId": program.to_string(),
            "accounts": accounts,
            "data": bs58::encode(&instruction.data).into_string(),
            "stackHeight": height,
        }),
    }
}

fn known(program: &Address, accounts: &[String], data: &[u8]) -> Option<(&'static str, Value)> {
    match *program {
        ids::TOKEN | ids::TOKEN_2022 => token(accounts, data).map(|parsed| ("spl-token", parsed)),
        ids::SYSTEM => system(accounts, data).map(|parsed| ("system", parsed)),
        ids::ASSOCIATED_TOKEN => {
            associated(accounts, data).map(|parsed| ("spl-associated-token-account", parsed))
        }
        ids::MEMO | ids::MEMO_V1 => String::from_utf8(data.to_vec())
            .ok()
            .map(|memo| ("spl-memo", json!(memo))),
        _ => None,
    }
}

fn token(accounts: &[String], data: &[u8]) -> Option<Value> {
    let (tag, rest) = data.split_first()?;
    let amount = || rest.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    match (tag, accounts) {
        (3, [source, destination, authority @ ..]) if !authority.is_empty() => {
            let mut info =
                json!({"source": source, "destination": destination, "amount": amount()?.to_string()});
            signers(info.as_object_mut()?, authority, "authority", "multisigAuthority");
            Some(json!({"type": "transfer", "info": info}))
        }
        (12, [source, mint, destination, authority @ ..]) if !authority.is_empty() => {
            let mut info = json!({
                "source": source,
                "mint": mint,
                "destination": destination,
                "tokenAmount": shapes::token_amount(amount()?, *rest.get(8)?),
            });
            signers(info.as_object_mut()?, authority, "authority", "multisigAuthority");
            Some(json!({"type": "transferChecked", "info": info}))
        }
        (9, [account, destination, owner @ ..]) if !owner.is_empty() => {
            let mut info = json!({"account": account, "destination": destination});
            signers(info.as_object_mut()?, owner, "owner", "multisigOwner");
            Some(json!({"type": "closeAccount", "info": info}))
        }
        (18, [account, mint, ..]) => {
            let owner = Address::new_from_array(*rest.first_chunk::<32>()?).to_string();
            let info = json!({"account": account, "mint": mint, "owner": owner});
            Some(json!({"type": "initializeAccount3", "info": info}))
        }
        (21, [mint, ..]) => Some(json!({"type": "getAccountDataSize", "info": {"mint": mint}})),
        (22, [account, ..]) => {
            Some(json!({"type": "initializeImmutableOwner", "info": {"account": account}}))
        }
        // The first instruction of the transfer-fee extension is a transfer that names its fee.
        (26, [source, mint, destination, authority @ ..])
            if rest.first() == Some(&1) && !authority.is_empty() =>
        {
            let rest = rest.get(1..)?;
            let amount = u64::from_le_bytes(*rest.first_chunk::<8>()?);
            let decimals = *rest.get(8)?;
            let fee = u64::from_le_bytes(*rest.get(9..)?.first_chunk::<8>()?);
            let mut info = json!({
                "source": source,
                "mint": mint,
                "destination": destination,
                "tokenAmount": shapes::token_amount(amount, decimals),
                "feeAmount": shapes::token_amount(fee, decimals),
            });
            signers(info.as_object_mut()?, authority, "authority", "multisigAuthority");
            Some(json!({"type": "transferCheckedWithFee", "info": info}))
        }
        _ => None,
    }
}

// One account is the owner itself; after a multisignature account come those who signed for it.
fn signers(info: &mut Map<String, Value>, accounts: &[String], single: &str, multisig: &str) {
    match accounts {
        [owner] => {
            info.insert(single.to_owned(), json!(owner));
        }
        [owner, signers @ ..] => {
            info.insert(multisig.to_owned(), json!(owner));
            info.insert("signers".to_owned(), json!(signers));
        }
        [] => {}
    }
}

fn system(accounts: &[String], data: &[u8]) -> Option<Value> {
    let (tag, rest) = data.split_first_chunk::<4>()?;
    let number = |at: usize| {
        rest.get(at..)?
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes))
    };
    let address =
        |at: usize| Some(Address::new_from_array(*rest.get(at..)?.first_chunk::<32>()?).to_string());
    match (u32::from_le_bytes(*tag), accounts) {
        (0, [source, new, ..]) => Some(json!({"type": "createAccount", "info": {
            "source": source, "newAccount": new, "lamports": number(0)?, "space": number(8)?, "owner": address(16)?,
        }})),
        (1, [account, ..]) => {
            Some(json!({"type": "assign", "info": {"account": account, "owner": address(0)?}}))
        }
        (2, [source, destination, ..]) => Some(json!({"type": "transfer", "info": {
            "source": source, "destination": destination, "lamports": number(0)?,
        }})),
        (8, [account, ..]) => {
            Some(json!({"type": "allocate", "info": {"account": account, "space": number(0)?}}))
        }
        _ => None,
    }
}

fn associated(accounts: &[String], data: &[u8]) -> Option<Value> {
    let kind = match data {
        [] | [0] => "create",
        [1] => "createIdempotent",
        _ => return None,
    };
    let [source, account, wallet, mint, system, token, ..] = accounts else {
        return None;
    };
    Some(json!({"type": kind, "info": {
        "source": source, "account": account, "wallet": wallet, "mint": mint,
        "systemProgram": system, "tokenProgram": token,
    }}))
}

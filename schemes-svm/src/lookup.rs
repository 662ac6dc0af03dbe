//! Address lookup tables: from a message's indices to the accounts that they mean. All of them or none.

use std::collections::HashSet;

use sdk_plugin::Fault;
use sdk_plugin::host::{RpcCall, RpcResult};
use solana_address::Address;

use crate::programs::ADDRESS_LOOKUP_TABLE;
use crate::rpc::{self, Account};
use crate::wire::Message;

/// Bytes before the addresses of a table (the program's `LOOKUP_TABLE_META_SIZE`).
const META_BYTES: usize = 56;
/// First four bytes of a table that is in use.
const LOOKUP_TABLE: [u8; 4] = 1u32.to_le_bytes();
/// The deactivation slot of an active table.
const ACTIVE: [u8; 8] = u64::MAX.to_le_bytes();

/// Why a message's accounts can't be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved(pub String);

/// The one read that resolves all tables of a message; `None` when it names none.
#[must_use]
pub fn call(message: &Message) -> Option<RpcCall> {
    if message.lookups.is_empty() {
        return None;
    }
    let tables: Vec<Address> = message.lookups.iter().map(|lookup| lookup.account_key).collect();
    Some(rpc::accounts(&tables))
}

/// All accounts of a message in the order in which instructions count them: static, loaded writable, loaded
/// read-only. `answer` is that to [`call`].
pub fn resolve(
    message: &Message,
    answer: Option<RpcResult>,
) -> Result<Result<Vec<Address>, Unresolved>, Fault> {
    let Some(answer) = answer else {
        return Ok(if message.lookups.is_empty() {
            Ok(message.keys.clone())
        } else {
            Err(Unresolved("the look-up tables were not read".into()))
        });
    };
    let (_, tables) = rpc::account_list(answer, message.lookups.len())?;
    Ok(resolved(message, &tables))
}

fn resolved(message: &Message, tables: &[Option<Account>]) -> Result<Vec<Address>, Unresolved> {
    let mut writable = Vec::new();
    let mut readonly = Vec::new();
    for (lookup, table) in message.lookups.iter().zip(tables) {
        let unresolved = |why: &str| Unresolved(format!("look-up table {}: {why}", lookup.account_key));
        let table = table
            .as_ref()
            .ok_or_else(|| unresolved("there is no such account"))?;
        let addresses = addresses(table).map_err(unresolved)?;
        let find = |index: &u8| {
            let chunk = addresses.get(usize::from(*index)).copied();
            chunk.ok_or_else(|| unresolved("it has no entry of that number"))
        };
        for index in &lookup.writable_indexes {
            writable.push(find(index)?);
        }
        for index in &lookup.readonly_indexes {
            readonly.push(find(index)?);
        }
    }
    let mut all = message.keys.clone();
    all.extend(writable);
    all.extend(readonly);
    let unique: HashSet<&Address> = all.iter().collect();
    if unique.len() != all.len() {
        return Err(Unresolved(
            "a look-up table names an account that the message has already".into(),
        ));
    }
    Ok(all)
}

fn addresses(table: &Account) -> Result<Vec<Address>, &'static str> {
    if table.owner != ADDRESS_LOOKUP_TABLE {
        return Err("the account is not owned by the look-up table program");
    }
    let (meta, list) = table
        .data
        .split_at_checked(META_BYTES)
        .ok_or("the account is too short")?;
    if meta.get(..4) != Some(&LOOKUP_TABLE) {
        return Err("the account is not a table");
    }
    if meta.get(4..12) != Some(&ACTIVE) {
        return Err("it is being deactivated");
    }
    let (chunks, rest) = list.as_chunks::<32>();
    if !rest.is_empty() {
        return Err("its addresses are cut off");
    }
    Ok(chunks
        .iter()
        .map(|bytes| Address::new_from_array(*bytes))
        .collect())
}

//! Whether the payees that the operator has configured can receive the network's assets.

use sdk_plugin::scheme::SchemeCheck;
use sdk_plugin::{Cx, Fault};
use solana_address::Address;

use super::second::NO_TOKEN_ACCOUNT;
use crate::programs::{TOKEN, TOKEN_2022, is_token};
use crate::{rpc, text, token};

/// Payees that are read at most; each takes two addresses for every asset.
const MAX_PAIRS: usize = rpc::MAX_ACCOUNTS / 2;

/// A warning for each payee and asset without a token account of either program. Nothing is read without payees.
pub(super) async fn check(cx: &Cx, payees: &[Address]) -> Result<SchemeCheck, Fault> {
    let mut check = SchemeCheck::ready();
    let assets = cx.network().assets.as_deref().unwrap_or_default();
    let mints: Vec<Address> = assets.iter().filter_map(|asset| text::address(asset)).collect();
    let pairs = payees
        .iter()
        .flat_map(|owner| mints.iter().map(move |mint| (*owner, *mint)));
    let pairs: Vec<(Address, Address)> = pairs.take(MAX_PAIRS).collect();
    if pairs.is_empty() {
        return Ok(check);
    }
    let accounts: Vec<Address> = pairs
        .iter()
        .flat_map(|(owner, mint)| {
            [TOKEN, TOKEN_2022].map(|program| token::associated_account(owner, mint, &program))
        })
        .collect();
    let mut answers = rpc::NODES
        .read_well_formed(cx, vec![rpc::accounts(&accounts)])
        .await?;
    let (_, found) = rpc::account_list(answers.take()?, accounts.len())?;
    for ((owner, mint), accounts) in pairs.iter().zip(found.chunks(2)) {
        let exists = accounts.iter().flatten().any(|account| is_token(&account.owner));
        if !exists {
            check
                .warnings
                .push(format!("payee {owner}, asset {mint}: {NO_TOKEN_ACCOUNT}"));
        }
    }
    Ok(check)
}

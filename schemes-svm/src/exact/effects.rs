//! What a payment does to accounts: the payee's, the fee payer's, and token accounts of our own.

use sdk_plugin::{Cx, Fault};
use solana_address::Address;

use super::ExactSvm;
use super::check::Way;
use super::simulate::{Balance, Simulated};
use super::terms::Terms;
use crate::token::{self, MintKind, TransferChecked};
use crate::wire::Message;
use crate::{fees, rpc};

/// Why a payment by a delegate of one of our own token accounts is refused.
pub(super) const MOVES_OURS: &str = "it moves the facilitator's own funds";

impl ExactSvm {
    /// What accounts gain and lose by the simulation; static rules where the node does not return it.
    pub(super) fn check_effects(
        &self,
        message: &Message,
        terms: &Terms,
        way: Way,
        transfer: &TransferChecked,
        simulated: &Simulated,
        mint: MintKind,
    ) -> Result<(), String> {
        if let Some((pre, post)) = simulated.fee_payer {
            let rent = match way {
                Way::Sponsored => fees::MAX_RENT_LAMPORTS,
                Way::Plain | Way::Wallet => 0,
            };
            let (cost, most) = (
                pre.saturating_sub(post),
                fees::bound(message).saturating_add(rent),
            );
            if cost > most {
                return Err(format!(
                    "it costs the fee payer {cost} lamports, {most} are its fee"
                ));
            }
        }
        let Some(balances) = &simulated.balances else {
            let listed = self.config.extension_mints.contains(&transfer.mint);
            return match mint {
                MintKind::Extended if !listed => {
                    Err("the node does not show what arrives, and the asset may keep a part of it".into())
                }
                MintKind::Plain { .. } | MintKind::Extended => Ok(()),
            };
        };
        let is_ours = |balance: &Balance| balance.owner.is_some_and(|owner| terms.ours.contains(&owner));
        let shrinks = |balance: &Balance| balance.post.unwrap_or(0) < balance.pre.unwrap_or(0);
        let moves_ours = balances
            .iter()
            .any(|(address, balance)| is_ours(balance) && (*address == transfer.source || shrinks(balance)));
        if moves_ours {
            return Err(MOVES_OURS.into());
        }
        let amount = terms.amount.unwrap_or(u64::MAX);
        let destination = balances.get(&transfer.destination);
        let arrived = destination
            .filter(|balance| balance.mint == Some(transfer.mint))
            .and_then(|balance| balance.post?.checked_sub(balance.pre.unwrap_or(0)))
            .unwrap_or(0);
        let right = match way {
            Way::Plain | Way::Sponsored => arrived == amount,
            Way::Wallet => arrived >= amount,
        };
        if right {
            Ok(())
        } else {
            Err(format!("{arrived} would arrive at payTo, not {amount}"))
        }
    }
}

/// Whether the destination does not exist yet, as far as is known.
pub(super) fn may_open_account(simulated: &Simulated, transfer: &TransferChecked) -> bool {
    let Some(balances) = &simulated.balances else {
        return true;
    };
    balances
        .get(&transfer.destination)
        .is_none_or(|balance| balance.pre.is_none())
}

/// Whether the source account is one of ours, which a delegate may be allowed to move. Nodes that show balances name its
/// is, with the simulation; of others the account is read, unless it is the authority's own associated account.
pub(super) async fn moves_ours(
    cx: &Cx,
    terms: &Terms,
    transfer: &TransferChecked,
    simulated: &Simulated,
) -> Result<bool, Fault> {
    let associated = |owner: &Address| {
        token::associated_account(owner, &transfer.mint, &transfer.program) == transfer.source
    };
    if terms.ours.iter().any(associated) {
        return Ok(true);
    }
    let balance = simulated
        .balances
        .as_ref()
        .and_then(|balances| balances.get(&transfer.source));
    if let Some(owner) = balance.and_then(|balance| balance.owner) {
        return Ok(terms.ours.contains(&owner));
    }
    if associated(&transfer.authority) {
        return Ok(false);
    }
    let mut answers = rpc::NODES
        .read_well_formed(cx, vec![rpc::accounts(&[transfer.source])])
        .await?;
    let (_, accounts) = rpc::account_list(answers.take()?, 1)?;
    let source = accounts.first().and_then(Option::as_ref);
    let owner = source.and_then(|account| token::account_owner(&account.data));
    Ok(owner.is_some_and(|owner| terms.ours.contains(&owner)))
}

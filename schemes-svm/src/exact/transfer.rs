//! A plain transfer: what both layouts find, and the checks on it that are the same in both.

use solana_address::Address;

use super::config::Config;
use super::reason;
use super::terms::{Rejection, Terms};
use crate::driver::is_assertion;
use crate::fees::{self, ComputeBudget};
use crate::programs::{LIGHTHOUSE, MEMO};
use crate::token::{self, Instruction, TransferChecked};
use crate::wire::Message;

/// Guards that the positional layout has room for.
pub(super) const MAX_GUARDS_POSITIONAL: usize = 4;
/// Guards that the identity layout accepts.
pub(super) const MAX_GUARDS_IDENTITY: usize = 8;

/// A transfer whose layout is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) transfer: TransferChecked,
    /// Who pays for the creation of the destination, when the transaction creates it.
    pub(super) create: Option<Address>,
}

/// The instruction's data as a compute limit within bounds.
pub(super) fn check_limit(data: &[u8], config: &Config) -> Result<u32, Rejection> {
    let ComputeBudget::Limit(units) = ComputeBudget::read(data) else {
        return Err(Rejection::layout(
            reason::COMPUTE_LIMIT,
            "the compute limit is not SetComputeUnitLimit",
        ));
    };
    if units > config.max_compute_units {
        return Err(Rejection::new(
            reason::COMPUTE_LIMIT_TOO_HIGH,
            format!("{units} compute units, {} are allowed", config.max_compute_units),
        ));
    }
    Ok(units)
}

/// The instruction's data as a compute price within bounds, and the whole fee within its own.
pub(super) fn check_price(
    data: &[u8],
    message: &Message,
    terms: &Terms,
    config: &Config,
) -> Result<(), Rejection> {
    let ComputeBudget::Price(price) = ComputeBudget::read(data) else {
        return Err(Rejection::layout(
            reason::COMPUTE_PRICE,
            "the compute price is not SetComputeUnitPrice",
        ));
    };
    let most = if terms.is_v1() {
        super::config::V1_MAX_PRICE_MICRO_LAMPORTS
    } else {
        config.max_price_micro_lamports
    };
    if price > most {
        return Err(Rejection::new(
            reason::COMPUTE_PRICE_TOO_HIGH,
            format!("{price} micro-lamports per compute unit, {most} are allowed"),
        ));
    }
    let (fee, most) = (fees::bound(message), config.max_lamports_per_payment);
    if fee > most {
        return Err(Rejection::new(
            reason::COMPUTE_PRICE_TOO_HIGH,
            format!(
                "the transaction can cost {fee} lamports, {most} are allowed: lower its compute limit or price"
            ),
        ));
    }
    Ok(())
}

/// Checks f to i: authority, mint, recipient, amount.
pub(super) fn check_transfer(transfer: &TransferChecked, terms: &Terms) -> Result<(), Rejection> {
    let rejection = |reason: &str, message: &str| Err(Rejection::new(reason, message));
    if terms.ours.contains(&transfer.authority) {
        return rejection(
            reason::FEE_PAYER_TRANSFERRING,
            "the transfer moves the facilitator's own funds",
        );
    }
    let named = [transfer.source, transfer.mint, transfer.destination];
    if named
        .iter()
        .chain(&transfer.further)
        .any(|account| terms.ours.contains(account))
    {
        return rejection(
            reason::UNKNOWN_INSTRUCTION,
            "the transfer names a fee payer, which has signed for the fee only",
        );
    }
    if terms.asset != Some(transfer.mint) {
        return rejection(reason::MINT_MISMATCH, "the transfer's mint is not the asset");
    }
    let destination = terms
        .pay_to
        .map(|owner| token::associated_account(&owner, &transfer.mint, &transfer.program));
    if destination != Some(transfer.destination) {
        return rejection(
            reason::RECIPIENT_MISMATCH,
            "the transfer's destination is not payTo's associated token account",
        );
    }
    if terms.amount != Some(transfer.amount) {
        return rejection(
            reason::AMOUNT_MISMATCH,
            "the transfer's amount is not the required amount",
        );
    }
    not_to_itself(transfer)
}

/// A transfer within one account succeeds on chain and changes no balance, so that nodes that show balances and nodes that
/// don't would answer differently (exact-svm.md section 14). The EVM proves such payments by their logs.
pub(super) fn not_to_itself(transfer: &TransferChecked) -> Result<(), Rejection> {
    if transfer.source == transfer.destination {
        let message = "payer and payTo are the same account: no balance would change";
        return Err(Rejection::new(reason::SIMULATION_FAILED, message).by(transfer.authority));
    }
    Ok(())
}

/// What may be present beside limit, price and transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Memo,
    Guard,
    Unknown,
}

/// A memo, or a guard that only reads. A memo must not name the fee payer: it would sign the text.
pub(super) fn side(instruction: &Instruction, terms: &Terms) -> Side {
    if instruction.program == LIGHTHOUSE {
        return if is_assertion(instruction) {
            Side::Guard
        } else {
            Side::Unknown
        };
    }
    let names_ours = terms.ours.iter().any(|ours| instruction.names(ours));
    if instruction.program == MEMO && !names_ours {
        Side::Memo
    } else {
        Side::Unknown
    }
}

//! Payments by smart wallets: the token moves in an inner instruction (exact-svm.md section 6).
//!
//! Instructions at the top level may call only programs of an allow-list, and none of them may name the fee payer. The
//! transfer is found in the simulation, and again in the transaction that landed.

use solana_address::Address;

use super::config::Config;
use super::reason;
use super::simulate::Simulated;
use super::terms::{Rejection, Terms};
use super::transfer::not_to_itself;
use crate::fees::{self, ComputeBudget};
use crate::programs::{COMPUTE_BUDGET, MEMO, TOKEN, TOKEN_2022};
use crate::token::{self, Instruction, TransferChecked};
use crate::wire::Message;

/// Checks 1 to 3, which read nothing from the chain.
pub(super) fn check(
    instructions: &[Instruction],
    message: &Message,
    terms: &Terms,
    config: &Config,
) -> Result<(), Rejection> {
    let wallets = &config.smart_wallets;
    let allowed = |program: &Address| {
        *program == COMPUTE_BUDGET || *program == MEMO || wallets.programs.contains(program)
    };
    if let Some(instruction) = instructions
        .iter()
        .find(|instruction| !allowed(&instruction.program))
    {
        return Err(with(reason::WALLET_PROGRAM, &instruction.program.to_string()));
    }
    let names_ours = |instruction: &&Instruction| terms.ours.iter().any(|ours| instruction.names(ours));
    if let Some(instruction) = instructions.iter().find(names_ours) {
        return Err(with(
            reason::WALLET_NOT_ISOLATED,
            &format!("named in an instruction of {}", instruction.program),
        ));
    }
    for instruction in instructions
        .iter()
        .filter(|instruction| instruction.program == COMPUTE_BUDGET)
    {
        check_budget(&instruction.data, config)?;
    }
    let (fee, most) = (fees::bound(message), config.max_lamports_per_payment);
    if fee > most {
        return Err(with(
            reason::WALLET_FEE_TOO_HIGH,
            &format!("{fee} lamports exceeds max {most}"),
        ));
    }
    Ok(())
}

fn check_budget(data: &[u8], config: &Config) -> Result<(), Rejection> {
    let wallets = &config.smart_wallets;
    match ComputeBudget::read(data) {
        ComputeBudget::Limit(units) if units > wallets.max_compute_units => Err(with(
            reason::WALLET_UNITS_TOO_HIGH,
            &format!("{units} exceeds max {}", wallets.max_compute_units),
        )),
        ComputeBudget::Price(price) if price > wallets.max_price_micro_lamports => Err(with(
            reason::WALLET_FEE_TOO_HIGH,
            &format!("{price} exceeds max {}", wallets.max_price_micro_lamports),
        )),
        ComputeBudget::Limit(_) | ComputeBudget::Price(_) => Ok(()),
        ComputeBudget::Malformed(2) => Err(Rejection::new(
            reason::WALLET_LIMIT,
            "SetComputeUnitLimit must have 5 bytes of data",
        )),
        ComputeBudget::Malformed(_) => Err(Rejection::new(
            reason::WALLET_PRICE,
            "SetComputeUnitPrice must have 9 bytes of data",
        )),
        ComputeBudget::Other(Some(kind)) => {
            Err(with(reason::WALLET_BUDGET_UNSUPPORTED, &format!("type {kind}")))
        }
        ComputeBudget::Other(None) => Err(Rejection::new(
            reason::WALLET_BUDGET,
            "a Compute Budget instruction without data",
        )),
    }
}

/// Checks 5 to 8: the one transfer that pays.
pub(super) fn find_transfer(
    instructions: &[Instruction],
    simulated: &Simulated,
    terms: &Terms,
) -> Result<TransferChecked, Rejection> {
    let memos: Vec<&[u8]> = instructions
        .iter()
        .filter(|instruction| instruction.program == MEMO)
        .map(|instruction| instruction.data.as_slice())
        .collect();
    terms.check_memos(&memos)?;

    let top = instructions.iter().filter_map(TransferChecked::read);
    let transfers: Vec<TransferChecked> = top.chain(simulated.inner.iter().cloned()).collect();
    let takes_ours = |transfer: &TransferChecked| {
        let associated = |owner| token::associated_account(owner, &transfer.mint, &transfer.program);
        terms.ours.contains(&transfer.authority)
            || terms
                .ours
                .iter()
                .any(|owner| associated(owner) == transfer.source)
    };
    if transfers.iter().any(takes_ours) {
        return Err(Rejection::new(
            reason::FEE_PAYER_TRANSFERRING,
            "a transfer moves the facilitator's own funds",
        ));
    }
    let (Some(mint), Some(owner)) = (terms.asset, terms.pay_to) else {
        return Err(Rejection::new(
            reason::WALLET_DESTINATION,
            "asset and payTo of the requirements must be base58 addresses",
        ));
    };
    if transfers.is_empty() {
        return Err(Rejection::new(
            reason::WALLET_NO_TRANSFER,
            "the simulation shows no TransferChecked",
        ));
    }
    let destinations = [TOKEN, TOKEN_2022].map(|program| token::associated_account(&owner, &mint, &program));
    let mut matching = transfers.into_iter().filter(|transfer| {
        transfer.mint == mint
            && destinations.contains(&transfer.destination)
            && terms.amount.is_some_and(|amount| transfer.amount >= amount)
    });
    match (matching.next(), matching.next()) {
        (Some(transfer), None) => {
            not_to_itself(&transfer)?;
            Ok(transfer)
        }
        (None, _) => Err(Rejection::new(
            reason::WALLET_MISMATCH,
            "no transfer in the simulation moves at least the amount of the asset to payTo",
        )),
        (Some(_), Some(_)) => Err(Rejection::new(
            reason::WALLET_SEVERAL,
            "several transfers in the simulation match: exactly one must pay",
        )),
    }
}

fn with(reason: &str, detail: &str) -> Rejection {
    Rejection::new(&format!("{reason}: {detail}"), detail)
}

//! The positional layout: limit, price, transfer, then guards and memos (exact-svm.md section 3).

use super::config::{Config, CreateAtaMode};
use super::terms::{Rejection, Terms};
use super::transfer::{MAX_GUARDS_POSITIONAL, Plain, Side, check_limit, check_price, check_transfer, side};
use super::{create_ata, reason};
use crate::programs::COMPUTE_BUDGET;
use crate::token::{Instruction, TransferChecked};
use crate::wire::Message;

/// Most instructions of protocol v2, without a creation.
const MAX_V2: usize = 7;
/// The same of v1.
const MAX_V1: usize = 6;
const MIN: usize = 3;

/// Checks a to k.
pub(super) fn check(
    instructions: &[Instruction],
    message: &Message,
    terms: &Terms,
    config: &Config,
) -> Result<Plain, Rejection> {
    let mode = config.create_ata.mode;
    let most = if terms.is_v1() { MAX_V1 } else { MAX_V2 };
    let most = if mode == CreateAtaMode::Off {
        most
    } else {
        most + 1
    };
    if !(MIN..=most).contains(&instructions.len()) {
        return Err(Rejection::layout(
            reason::INSTRUCTIONS_LENGTH,
            format!("{} instructions; {MIN} to {most} are allowed", instructions.len()),
        ));
    }
    let at = |index: usize, reason: &str, what: &str| {
        instructions
            .get(index)
            .filter(|instruction| instruction.program == COMPUTE_BUDGET && instruction.accounts.is_empty())
            .ok_or_else(|| Rejection::layout(reason, format!("instruction {} is not {what}", index + 1)))
    };
    check_limit(&at(0, reason::COMPUTE_LIMIT, "SetComputeUnitLimit")?.data, config)?;
    let price = at(1, reason::COMPUTE_PRICE, "SetComputeUnitPrice")?;
    check_price(&price.data, message, terms, config)?;

    let Some(anywhere) = instructions.iter().find_map(TransferChecked::read) else {
        return Err(Rejection::layout(
            reason::NO_TRANSFER,
            "there is no TransferChecked",
        ));
    };
    let payer = anywhere.authority;
    let rejection = |rejection: Rejection| rejection.by(payer);
    let third = instructions.get(2);
    let creation = third.filter(|third| create_ata::is_creation(third, mode));
    let position = if creation.is_some() { 3 } else { 2 };
    let Some(transfer) = instructions.get(position).and_then(TransferChecked::read) else {
        return Err(rejection(Rejection::layout(
            reason::NO_TRANSFER,
            format!("instruction {} is not TransferChecked", position + 1),
        )));
    };
    let create = match creation {
        Some(creation) => Some(create_ata::check(creation, mode, terms, &transfer)?),
        None => None,
    };
    check_transfer(&transfer, terms).map_err(rejection)?;

    let mut memos = Vec::new();
    let mut guards = 0;
    for (index, instruction) in instructions.iter().enumerate().skip(position + 1) {
        match side(instruction, terms) {
            Side::Memo => memos.push(instruction.data.as_slice()),
            Side::Guard if guards < MAX_GUARDS_POSITIONAL => guards += 1,
            // A guard that writes has its own reason in both layouts.
            Side::Guard | Side::Unknown => return Err(rejection(unknown(instruction, index, terms))),
        }
    }
    terms.check_memos(&memos).map_err(rejection)?;
    Ok(Plain { transfer, create })
}

fn unknown(instruction: &Instruction, index: usize, terms: &Terms) -> Rejection {
    let is_known_program =
        [crate::programs::LIGHTHOUSE, crate::programs::MEMO].contains(&instruction.program);
    let names_ours = terms.ours.iter().any(|ours| instruction.names(ours));
    if is_known_program || names_ours {
        return Rejection::layout(
            reason::UNKNOWN_INSTRUCTION,
            format!(
                "instruction {} could take something from the fee payer",
                index + 1
            ),
        );
    }
    let message = format!("instruction {} is neither a guard nor a memo", index + 1);
    match index {
        3 => Rejection::layout(reason::UNKNOWN_FOURTH, message),
        4 => Rejection::layout(reason::UNKNOWN_FIFTH, message),
        5 => Rejection::layout(reason::UNKNOWN_SIXTH, message),
        6 => Rejection::new(reason::UNKNOWN_SEVENTH, message),
        _ => Rejection::layout(reason::UNKNOWN_OPTIONAL, message),
    }
}

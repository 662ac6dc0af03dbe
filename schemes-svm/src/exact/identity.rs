//! The identity layout: each instruction is recognised by what it is, guards may be anywhere (exact-svm.md section 4).

use super::config::{Config, Known};
use super::terms::{Rejection, Terms};
use super::transfer::{MAX_GUARDS_IDENTITY, Plain, Side, check_limit, check_price, check_transfer, side};
use super::{create_ata, reason};
use crate::driver::is_assertion;
use crate::programs::COMPUTE_BUDGET;
use crate::token::{Instruction, TransferChecked};
use crate::wire::Message;

/// What an instruction is.
#[derive(Debug)]
enum Item<'a> {
    Limit(&'a Instruction),
    Price(&'a Instruction),
    Create(&'a Instruction),
    Transfer(TransferChecked),
    Memo(&'a [u8]),
}

impl Item<'_> {
    /// Its rank in the only order accepted; memos may repeat.
    fn rank(&self) -> u8 {
        match self {
            Self::Limit(_) => 0,
            Self::Price(_) => 1,
            Self::Create(_) => 2,
            Self::Transfer(_) => 3,
            Self::Memo(_) => 4,
        }
    }
}

/// Checks a to k.
pub(super) fn check(
    instructions: &[Instruction],
    message: &Message,
    terms: &Terms,
    config: &Config,
) -> Result<Plain, Rejection> {
    let rest = without_blocks(instructions, terms, config)?;
    let mut items = Vec::new();
    let mut guards = 0;
    for (index, instruction) in rest {
        match classify(instruction, terms, config) {
            Some(Some(item)) => items.push(item),
            Some(None) if guards < MAX_GUARDS_IDENTITY => guards += 1,
            Some(None) | None => {
                return Err(Rejection::layout(
                    reason::UNKNOWN_INSTRUCTION,
                    format!("instruction {} is not part of a payment", index + 1),
                ));
            }
        }
    }
    let ranks: Vec<u8> = items.iter().map(Item::rank).collect();
    let in_order = ranks.windows(2).all(|pair| match pair {
        [first, second] => first < second || (*first == 4 && *second == 4),
        _ => true,
    });
    if !in_order {
        return Err(Rejection::layout(
            reason::INSTRUCTIONS_ORDER,
            "the order must be compute limit, compute price, transfer, memos",
        ));
    }

    let (mut limit, mut price, mut creation) = (None, None, None);
    let mut transfer: Option<TransferChecked> = None;
    let mut memos = Vec::new();
    for item in items {
        match item {
            Item::Limit(instruction) => limit = Some(instruction),
            Item::Price(instruction) => price = Some(instruction),
            Item::Create(instruction) => creation = Some(instruction),
            Item::Transfer(found) => transfer = Some(found),
            Item::Memo(text) => memos.push(text),
        }
    }
    let missing = |reason: &str, what: &str| {
        let rejection = Rejection::layout(reason, format!("the transaction has no {what}"));
        Rejection {
            payer: transfer.as_ref().map(|transfer| transfer.authority),
            ..rejection
        }
    };
    let limit = limit.ok_or_else(|| missing(reason::COMPUTE_LIMIT, "SetComputeUnitLimit instruction"))?;
    let price = price.ok_or_else(|| missing(reason::COMPUTE_PRICE, "SetComputeUnitPrice instruction"))?;
    let Some(transfer) = transfer else {
        return Err(missing(reason::NO_TRANSFER, "TransferChecked instruction"));
    };
    let rejection = |rejection: Rejection| rejection.by(transfer.authority);
    check_limit(&limit.data, config).map_err(rejection)?;
    check_price(&price.data, message, terms, config).map_err(rejection)?;
    let create = match creation {
        Some(creation) => Some(create_ata::check(
            creation,
            config.create_ata.mode,
            terms,
            &transfer,
        )?),
        None => None,
    };
    check_transfer(&transfer, terms).map_err(rejection)?;
    terms.check_memos(&memos).map_err(rejection)?;
    Ok(Plain { transfer, create })
}

/// `None`: unknown. `Some(None)`: a guard.
fn classify<'a>(instruction: &'a Instruction, terms: &Terms, config: &Config) -> Option<Option<Item<'a>>> {
    if instruction.program == COMPUTE_BUDGET {
        let names_nothing = instruction.accounts.is_empty();
        return match instruction.first_byte() {
            Some(2) if names_nothing => Some(Some(Item::Limit(instruction))),
            Some(3) if names_nothing => Some(Some(Item::Price(instruction))),
            _ => None,
        };
    }
    if let Some(transfer) = TransferChecked::read(instruction) {
        return Some(Some(Item::Transfer(transfer)));
    }
    if create_ata::is_creation(instruction, config.create_ata.mode) {
        return Some(Some(Item::Create(instruction)));
    }
    match side(instruction, terms) {
        Side::Memo => Some(Some(Item::Memo(&instruction.data))),
        Side::Guard => Some(None),
        Side::Unknown => None,
    }
}

/// Takes one allowed block off the front and one off the back.
fn without_blocks<'a>(
    instructions: &'a [Instruction],
    terms: &Terms,
    config: &Config,
) -> Result<Vec<(usize, &'a Instruction)>, Rejection> {
    let all: Vec<(usize, &Instruction)> = instructions.iter().enumerate().collect();
    let front = config
        .preflight
        .iter()
        .find_map(|block| matching(all.iter(), block.iter()));
    let front = front.unwrap_or_default();
    let after = all.iter().filter(|(index, _)| !front.contains(index));
    let after: Vec<(usize, &Instruction)> = after.copied().collect();
    let back = config
        .postflight
        .iter()
        .find_map(|block| matching(after.iter().rev(), block.iter().rev()));
    let back = back.unwrap_or_default();
    let is_block = |index: &usize| front.contains(index) || back.contains(index);
    let names_ours = |instruction: &Instruction| terms.ours.iter().any(|ours| instruction.names(ours));
    if let Some((index, _)) = all
        .iter()
        .find(|(index, instruction)| is_block(index) && names_ours(instruction))
    {
        return Err(Rejection::new(
            reason::NOT_ISOLATED,
            format!(
                "instruction {} is allowed around a payment, but not with the fee payer",
                index + 1
            ),
        ));
    }
    Ok(all.into_iter().filter(|(index, _)| !is_block(index)).collect())
}

/// The positions of a block's instructions, when they come first, guards between them aside.
fn matching<'a>(
    instructions: impl Iterator<Item = &'a (usize, &'a Instruction)>,
    block: impl Iterator<Item = &'a Known>,
) -> Option<Vec<usize>> {
    let mut instructions = instructions.filter(|(_, instruction)| !is_assertion(instruction));
    block
        .map(|known| {
            let (index, instruction) = instructions.next()?;
            let is_it =
                instruction.program == known.program && instruction.data.starts_with(&known.data_prefix);
            is_it.then_some(*index)
        })
        .collect()
}

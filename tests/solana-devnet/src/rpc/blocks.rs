//! Slots, heights and blockhashes.

use serde_json::{Value, json};

use super::params::{Bank, Params};
use super::{Answer, Failure, in_context};
use crate::chain::{Chain, Commitment};

/// Most slots of a `getBlocks`.
const MOST_BLOCKS: u64 = 500_000;

pub(super) fn slot(chain: &Chain, params: &Params) -> Answer {
    Ok(json!(params.bank(0, chain)?.slot))
}

pub(super) fn height(chain: &Chain, params: &Params) -> Answer {
    Ok(json!(chain.height(params.bank(0, chain)?.slot)))
}

pub(super) fn time(chain: &Chain, params: &Params) -> Answer {
    Ok(json!(chain.time_of(params.number(0)?)))
}

pub(super) fn epoch(chain: &Chain, params: &Params) -> Answer {
    const SLOTS: u64 = 432_000;
    let slot = params.bank(0, chain)?.slot;
    Ok(json!({
        "absoluteSlot": slot,
        "blockHeight": chain.height(slot),
        "epoch": slot / SLOTS,
        "slotIndex": slot % SLOTS,
        "slotsInEpoch": SLOTS,
        "transactionCount": chain.landed().len(),
    }))
}

pub(super) fn latest_blockhash(chain: &Chain, params: &Params) -> Answer {
    let bank = params.bank(0, chain)?;
    let blockhash = chain.blockhash(bank.slot);
    let value = json!({
        "blockhash": blockhash.to_string(),
        "lastValidBlockHeight": chain.last_valid_height(&blockhash, bank.slot),
    });
    Ok(in_context(bank.slot, value))
}

pub(super) fn is_blockhash_valid(chain: &Chain, params: &Params) -> Answer {
    let blockhash = params
        .text(0)?
        .parse()
        .map_err(|_| Failure::invalid_params("Invalid param: Invalid"))?;
    let bank = params.bank(1, chain)?;
    Ok(in_context(
        bank.slot,
        json!(chain.last_valid_height(&blockhash, bank.slot).is_some()),
    ))
}

pub(super) fn first_available(chain: &Chain) -> Answer {
    Ok(json!(chain.first_available()))
}

/// `[from, to?, options?]`: the slots that have a block.
pub(super) fn list(chain: &Chain, params: &Params) -> Answer {
    let from = params.number(0)?;
    let has_end = params.at(1).is_number();
    let Bank { slot, .. } = stored(
        chain,
        params,
        if has_end || params.at(1).is_null() { 2 } else { 1 },
    )?;
    let to = if has_end { params.number(1)? } else { slot };
    if to.saturating_sub(from) > MOST_BLOCKS {
        return Err(Failure::invalid_params(format!(
            "Slot range too large; max {MOST_BLOCKS}"
        )));
    }
    let slots = from.max(chain.first_available())..=to.min(slot);
    Ok(slots.collect())
}

/// A block, with the signatures of its transactions or without them.
pub(super) fn block(chain: &Chain, params: &Params) -> Answer {
    let wanted = params.number(0)?;
    let options = params.at(1);
    let Bank { slot, .. } = stored(chain, params, 1)?;
    let (first, details) = (chain.first_available(), &options["transactionDetails"]);
    if wanted < first {
        return Err(Failure::new(
            -32001,
            format!("Block {wanted} cleaned up, does not exist on node. First available block: {first}"),
        ));
    }
    if wanted > slot {
        return Err(Failure::new(
            -32004,
            format!("Block not available for slot {wanted}"),
        ));
    }
    let parent = wanted.saturating_sub(1);
    let mut block = json!({
        "blockHeight": chain.height(wanted),
        "blockTime": chain.time_of(wanted),
        "blockhash": chain.blockhash(wanted).to_string(),
        "parentSlot": parent,
        "previousBlockhash": chain.blockhash(parent).to_string(),
    });
    match details.as_str() {
        Some("signatures") => {
            let signatures = chain.signatures_in(wanted);
            block["signatures"] = signatures.iter().map(ToString::to_string).collect();
        }
        Some("none") => {}
        // A vote has a signature here and nothing else.
        _ => {
            return Err(Failure::invalid_params(format!(
                "Invalid params: transactionDetails {details} is not known here; signatures and none are."
            )));
        }
    }
    if options["rewards"] != json!(false) {
        block["rewards"] = json!([]);
    }
    Ok(block)
}

/// The view of a reader of stored blocks.
fn stored(chain: &Chain, params: &Params, options: usize) -> Result<Bank, Failure> {
    let bank = params.bank(options, chain)?;
    if bank.commitment == Commitment::Processed {
        return Err(Failure::invalid_params(
            "Method does not support commitment below `confirmed`",
        ));
    }
    Ok(bank)
}

/// Nobody bids here.
pub(super) fn recent_prioritization_fees(chain: &Chain) -> Answer {
    let newest = chain.slot(crate::Commitment::Processed);
    let slots = newest.saturating_sub(149)..=newest;
    Ok(Value::Array(
        slots
            .map(|slot| json!({"slot": slot, "prioritizationFee": 0}))
            .collect(),
    ))
}

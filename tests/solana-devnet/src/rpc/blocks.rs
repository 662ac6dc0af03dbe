//! Slots, heights and blockhashes.

use serde_json::{Value, json};

use super::params::Params;
use super::{Answer, Failure, in_context};
use crate::chain::Chain;

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

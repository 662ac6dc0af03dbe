//! Which transactions may land: each step once, in slots that it had the right to, at no more than the limit.

use sdk_plugin::StepIndex;
use std::collections::BTreeMap;

use journal::{AttemptKind, is_client_signed};

use super::{Record, Verdict};
use crate::chain::{Block, Chain};
use crate::driver::unnumbered::last_block_of;
use crate::run::Terms;
use crate::token::Op;

/// The first slot, and two new ones.
const MOST_SLOTS: usize = 3;

pub(super) fn twice(chain: &Chain, record: &Record<'_>, verdict: &mut Verdict) {
    let mut carried: BTreeMap<(u64, StepIndex), Vec<&str>> = BTreeMap::new();
    let mut paid: BTreeMap<(String, u64), u32> = BTreeMap::new();
    for tx in chain.canonical().iter().flat_map(|block| &block.txs) {
        let attempt = record
            .attempts
            .iter()
            .find(|a| a.tx_id == tx.id && a.kind == AttemptKind::Steps);
        let covers = attempt
            .map(|attempt| attempt.covers.as_slice())
            .unwrap_or_default();
        for (position, place) in covers.iter().enumerate() {
            // One that failed did nothing: the step may have its effect in another slot, and `moved` judges that slot.
            if tx.has_done(position) {
                carried.entry(*place).or_default().push(&tx.id);
            }
        }
        for (position, op) in tx.tx.ops().enumerate() {
            let paying = match op {
                Op::Transfer { from, nonce, .. }
                | Op::Pay { from, nonce, .. }
                | Op::Capture { from, nonce, .. } => Some((from, nonce)),
                _ => None,
            };
            // Others may take from the escrow too; that is not our doing.
            let is_ours = !tx.tx.signer.is_empty() || !matches!(op, Op::Capture { .. });
            if let (true, Some((from, nonce)), true) = (tx.has_done(position), paying, is_ours) {
                *paid.entry((from.clone(), *nonce)).or_default() += 1;
            }
        }
    }
    for ((settlement, step), txs) in carried.iter().filter(|(_, txs)| txs.len() > 1) {
        verdict.twice.push(format!(
            "step {step} of settlement {settlement} landed as {txs:?}"
        ));
    }
    for ((payer, nonce), times) in paid.iter().filter(|(_, times)| **times > 1) {
        verdict
            .twice
            .push(format!("{payer} {nonce} was paid {times} times"));
    }
}

/// The newest block that was final at a moment. Reorganisations of a run are less deep than `finality`, so it is still there.
fn final_block<'a>(chain: &'a Chain, terms: &Terms, now_ms: u64) -> Option<&'a Block> {
    let height = (chain.height_at(now_ms) + 1).checked_sub(terms.finality)?;
    let at = usize::try_from(height).ok()?;
    chain.canonical().get(at).map(AsRef::as_ref)
}

/// A step takes another slot only when its slot is used at a final block at which none of its attempts has had its effect, or
/// where transactions have no numbers, when all of its transactions are too old for the blocks after a final one; and twice at most.
pub(super) fn moved(chain: &Chain, terms: &Terms, record: &Record<'_>, verdict: &mut Verdict) {
    let mut by_step: BTreeMap<(u64, StepIndex), Vec<usize>> = BTreeMap::new();
    for (at, attempt) in record.attempts.iter().enumerate() {
        if attempt.kind == AttemptKind::Steps {
            for step in &attempt.covers {
                by_step.entry(*step).or_default().push(at);
            }
        }
    }
    for ((settlement, step), attempts) in by_step {
        let mut slots: Vec<(&str, u64)> = Vec::new();
        let mut ids: Vec<(&str, usize)> = Vec::new();
        for (count, at) in attempts.iter().enumerate() {
            let Some(attempt) = record.attempts.get(*at) else {
                continue;
            };
            let before = attempts.get(..count).unwrap_or_default();
            let slot = (attempt.lane.signer.as_str(), attempt.sequence);
            if !slots.contains(&slot) {
                let what = format!("step {step} of settlement {settlement} took slot {slot:?}");
                let last = final_block(chain, terms, attempt.prepared_at_ms);
                let is_used = |(signer, sequence): &(&str, u64)| {
                    let next = last.and_then(|block| block.state.nonces.get(*signer));
                    next.is_some_and(|next| next > sequence)
                };
                if attempt.lane.ordered && !slots.iter().all(is_used) {
                    verdict
                        .moved
                        .push(format!("{what} before {slots:?} were used at a final block"));
                }
                let final_height = last.map_or(0, |block| block.height);
                let is_dead = |at: &usize| {
                    let earlier = record.attempts.get(*at).and_then(last_block_of);
                    earlier.is_some_and(|until| until < final_height)
                };
                if !attempt.lane.ordered && !before.iter().all(is_dead) {
                    verdict.moved.push(format!("{what} before {slots:?} were dead"));
                }
                let had_effect = |height: u64| {
                    let below = usize::try_from(height).unwrap_or(usize::MAX);
                    let blocks = chain.canonical().iter().take(below.saturating_add(1));
                    let mut txs = blocks.flat_map(|block| &block.txs);
                    txs.any(|tx| {
                        let mut own = ids.iter().filter(|(id, _)| *id == tx.id);
                        own.any(|(_, position)| tx.has_done(*position))
                    })
                };
                if !slots.is_empty() && last.is_some_and(|block| had_effect(block.height)) {
                    verdict.moved.push(format!("{what}, and its effect was final"));
                }
                slots.push(slot);
                if slots.len() > MOST_SLOTS {
                    verdict
                        .moved
                        .push(format!("{what}: it had {} before", slots.len() - 1));
                }
            }
            let place = (settlement, step);
            let position = attempt.covers.iter().position(|covered| *covered == place);
            ids.push((&attempt.tx_id, position.unwrap_or_default()));
        }
    }
}

pub(super) fn costs(chain: &Chain, terms: &Terms, record: &Record<'_>, verdict: &mut Verdict) {
    for attempt in &record.attempts {
        let steps = match attempt.kind {
            AttemptKind::Steps => u64::try_from(attempt.covers.len()).unwrap_or(u64::MAX),
            AttemptKind::Fill => 1,
        };
        let limit = sdk_plugin::Amount::from(terms.max_cost.saturating_mul(steps));
        if attempt.max_cost > limit {
            verdict.overspent.push(format!(
                "a {:?} of {} may cost {}, and the limit is {limit}",
                attempt.kind, attempt.sequence, attempt.max_cost
            ));
        }
    }
    for tx in chain.canonical().iter().flat_map(|block| &block.txs) {
        let Some(attempt) = record.attempts.iter().find(|attempt| attempt.tx_id == tx.id) else {
            continue;
        };
        let cost = sdk_plugin::Amount::from(tx.cost);
        // The client pays for its own.
        if !is_client_signed(attempt.sequence) && cost > attempt.max_cost {
            verdict
                .overspent
                .push(format!("{} cost {cost}, journaled {}", tx.id, attempt.max_cost));
        }
    }
}

//! Turns a planned step into what may be committed: quote, build and sign, the maximum cost, and who is charged.

use super::steps::Turn;
use crate::decide::budget::Spender;
use crate::decide::faults::public_message;
use crate::decide::observation::LEAP_BLOCKS;
use crate::lane::{LaneTask, RETRY_EVERY, Stop, TRIES};
use crate::state::settlement::{Phase, Settlement};
use base::trace;
use std::sync::Arc;

use sdk_plugin::chain::{Bid, Built, Slot};
use sdk_plugin::scheme::{Refusal, Step};
use sdk_plugin::wire::reason;
use sdk_plugin::{Amount, Fault, FaultKind, StepIndex};

use journal::{AttemptKind, AttemptRow};

/// The message to callers when the chain's price is above what the operator pays.
const NOT_AT_THIS_PRICE: &str =
    "sending this would cost more than this facilitator pays at present; nothing was sent, try again later";

impl LaneTask {
    /// Quotes and builds, and tries again while nodes do not answer. A failed build consumes no slot.
    pub(crate) async fn quote_and_build(
        &self,
        settlement: &Settlement,
        slot: &Slot,
        step: &Step,
        turn: Turn,
    ) -> Result<(Bid, Built), Stop> {
        let steps = std::slice::from_ref(step);
        let mut tried = 0;
        loop {
            if turn.is_first() && settlement.lock().phase == Phase::Gone {
                return Err(Stop::Withdrawn);
            }
            let built = match self
                .lanes
                .runtime
                .ops
                .quote(&self.run.network, &self.lane, None)
                .await
            {
                Ok(bid) => {
                    let ops = &self.lanes.runtime.ops;
                    let built = ops.build(&self.run.network, slot, &bid, steps);
                    let built = trace::within(settlement.trace, built).await;
                    built.map(|built| (bid, built))
                }
                Err(fault) => Err(fault),
            };
            match built {
                Ok((
                    _,
                    Built {
                        would_fail: Some(why),
                        ..
                    },
                )) => {
                    tracing::warn!(network = %self.lane.network, settlement = settlement.id, lost = slot.lost, why,
                        "a step is not sent, because its call would fail now");
                    return Err(Stop::WouldFail(why));
                }
                Ok((_, built)) if built.left_out.contains(&0) => {
                    return Err(refused("the driver left the only step out of its transaction"));
                }
                Ok(done) => return Ok(done),
                Err(fault) => {
                    tried += 1;
                    if fault.kind == FaultKind::Denied {
                        // The driver's refusal (a price above its limit) tells the operator what to do, not the
                        // seller.
                        tracing::warn!(network = %self.lane.network, settlement = settlement.id,
                            "a settlement was not started: {}", fault.message);
                        // A price that stays above the limit makes the network not ready.
                        self.run.network.suspect.notify_one();
                        return Err(Stop::Unavailable(NOT_AT_THIS_PRICE));
                    }
                    if !worth_another_try(&fault) {
                        return Err(refused(public_message(&fault)));
                    }
                    if tried >= TRIES {
                        return Err(Stop::Unavailable(public_message(&fault)));
                    }
                }
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    pub(crate) fn check_cost(&self, steps: &[Step], built: &Built) -> Result<(), Stop> {
        let limit = self.cost_limit_of_all(steps);
        if built.max_cost > limit {
            tracing::warn!(network = %self.lane.network, cost = %built.max_cost, %limit,
                "a settlement was not started: its transaction could cost more than is allowed; raise the network's max_cost, \
                 or wait for a lower price");
            return Err(Stop::Unavailable(NOT_AT_THIS_PRICE));
        }
        Ok(())
    }

    /// Refuses a signer that can't pay: the transaction could not be sent until the signer gets native currency.
    pub(crate) fn check_funds(&self, cost: Amount) -> Result<(), Stop> {
        match self.run.balance_of(&self.lane.signer) {
            Some(balance) if balance < cost => {
                tracing::error!(network = %self.lane.network, signer = %self.lane.signer, %balance, %cost,
                    "a settlement was not started: the signer that it names can't pay for its transaction; send it native \
                     currency");
                Err(Stop::Unavailable(
                    "the signer that this needs can't pay for a transaction now; try again",
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What the step moves of native currency has a limit of its own, which the operator has granted.
    pub(crate) fn cost_limit(&self, step: &Step) -> Amount {
        let of_network = self.run.network.settings.max_cost;
        let limit = step
            .max_cost
            .map_or(of_network, |of_step| of_step.min(of_network));
        limit.checked_add(step.call.native_value).unwrap_or(Amount::MAX)
    }

    /// What a transaction of these steps may cost: each of them may cost as much as if it went alone.
    pub(crate) fn cost_limit_of_all(&self, steps: &[Step]) -> Amount {
        let limits = steps.iter().map(|step| self.cost_limit(step));
        limits.fold(Amount::ZERO, |all, one| {
            all.checked_add(one).unwrap_or(Amount::MAX)
        })
    }

    pub(crate) fn attempt_row(
        &self,
        slot: &Slot,
        bid: &Bid,
        built: &Built,
        kind: AttemptKind,
        covers: Vec<(u64, StepIndex)>,
    ) -> AttemptRow {
        self.run.record_head(bid.head_height);
        // Without a confirmed head, only the quote's height is known. With one, a quote's height counts if it is
        // plausible.
        let since_height = match self.run.head() {
            0 => bid.head_height,
            head if bid.head_height <= head.saturating_add(LEAP_BLOCKS) => head.max(bid.head_height),
            head => head,
        };
        AttemptRow {
            id: self.lanes.runtime.journal.new_id(),
            lane: slot.lane.clone(),
            sequence: slot.sequence,
            tx_id: built.tx_id.clone(),
            kind,
            covers,
            max_cost: built.max_cost,
            bid: if built.terms.is_null() {
                bid.terms.clone()
            } else {
                built.terms.clone()
            },
            // A transaction that is not ours and landed below this height was there before. A single answer may
            // name a height that never existed.
            since_height,
            prepared_at_ms: self.lanes.runtime.clock.now_ms(),
            sent: false,
        }
    }

    /// Who is charged for a transaction of these settlements.
    pub(crate) fn spender<'a>(&self, settlements: impl Iterator<Item = &'a Arc<Settlement>>) -> Spender {
        let tenants = settlements.map(|settlement| settlement.lock().row.tenant.clone());
        Spender::new(&self.lane.signer, tenants)
    }
}

pub(super) fn refused(message: &str) -> Stop {
    Stop::Refused(Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, "").with_message(message))
}

/// Whether a fault of quote or build may be temporary.
fn worth_another_try(fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Unavailable | FaultKind::Deadline | FaultKind::Overloaded | FaultKind::Cancelled => true,
        FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Shutdown
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Indeterminate => false,
    }
}

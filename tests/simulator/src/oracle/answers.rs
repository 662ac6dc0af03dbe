//! Compares the answers that callers got with the chain's own history.

use std::collections::BTreeMap;

use journal::{AttemptRow, Event, SettlementRow};
use sdk_plugin::wire::reason;

use super::{Facts, Record, Verdict, is_of, pays};
use crate::chain::{Chain, Included};
use crate::clients::{Exchange, SettleRequest};
use crate::run::Terms;
use crate::token::{Op, Query, mark_of};

/// How long a failure may still be answered after its block was reorganised away. Only failures: they are answered
/// without another poll, and the observer polls what it has decided every few seconds and must see a replaced block twice.
const UNNOTICED_MS: u64 = 45_000;

/// How old a block may be that an attempt does not know of: its quote came from a node that had fallen behind or whose
/// heads lagged, or its plugin was slow between quote and commit.
const BLIND_MS: u64 = 45_000;

pub(super) fn check(facts: &Facts<'_>, record: &Record<'_>, verdict: &mut Verdict) {
    let Facts {
        chain,
        terms,
        exchanges,
        ..
    } = *facts;
    for exchange in exchanges {
        let Some(reply) = exchange.reply() else { continue };
        let what = |why: &str| {
            format!(
                "at {} ms, nonce {}: {why}: {reply:?}",
                exchange.answered_ms, exchange.request.payload.nonce
            )
        };
        if reply.success {
            if !shown(chain, exchange, &reply.transaction) {
                verdict
                    .false_answers
                    .push(what("success, and the chain did not show it"));
            }
            if !record
                .attempts
                .iter()
                .any(|attempt| attempt.tx_id == reply.transaction)
            {
                foreign_success(
                    chain,
                    record,
                    exchange,
                    &reply.transaction,
                    &mut verdict.false_answers,
                );
            }
            continue;
        }
        let own: Vec<&AttemptRow> = record
            .attempts
            .iter()
            .filter(|a| a.prepared_at_ms < exchange.answered_ms && record.covers(a, &exchange.request))
            .collect();
        match reply.error_reason.as_deref() {
            Some(reason::SETTLEMENT_PENDING) => {
                if reply.transaction.is_empty() {
                    verdict.false_answers.push(what("pending without a hash"));
                } else if !known(chain, record, &exchange.request, &reply.transaction)
                    && !is_signed_for(record, &exchange.request, &reply.transaction)
                {
                    verdict
                        .false_answers
                        .push(what("pending with a hash that is none of its own"));
                }
            }
            Some(reason::DUPLICATE_SETTLEMENT) => {
                if !known(chain, record, &exchange.request, &reply.transaction) {
                    verdict
                        .false_answers
                        .push(what("duplicate with a hash that is none of its own"));
                }
            }
            Some(_) => {
                let landed = own.iter().any(|attempt| is_paid(chain, attempt, exchange));
                if landed && !excused(chain, record, &own, exchange) {
                    verdict.false_answers.push(what("failed, and it landed"));
                }
                if own
                    .iter()
                    .any(|attempt| may_land(chain, terms, record, attempt, exchange))
                {
                    verdict
                        .false_answers
                        .push(what("failed, and it could still land"));
                }
                // The same answer is given again, also after a reorganisation has taken its transaction away.
                let answered_before = |one: &&Exchange| {
                    one.answered_ms <= exchange.answered_ms && one.request == exchange.request
                };
                let was_true = |one: &Exchange| {
                    one.reply().is_some_and(|before| {
                        before.transaction == reply.transaction && before.error_reason == reply.error_reason
                    }) && was_on_chain(chain, one, &reply.transaction)
                };
                if !reply.transaction.is_empty() && !exchanges.iter().filter(answered_before).any(was_true) {
                    verdict
                        .false_answers
                        .push(what("failed with a hash that is not on the chain"));
                }
            }
            None => verdict.false_answers.push(what("neither success nor a reason")),
        }
    }
    repeats(facts, record, verdict);
}

/// Signed for this payment. Its commit took longer than callers are kept, and was refused or lost in the end: that it may land
/// was true when it was answered, and the next request begins anew.
fn is_signed_for(record: &Record<'_>, request: &SettleRequest, tx_id: &str) -> bool {
    let is_for = |op: &Op| match op {
        Op::Transfer { from, nonce, .. }
        | Op::Pay { from, nonce, .. }
        | Op::Lock { from, nonce, .. }
        | Op::Capture { from, nonce, .. }
        | Op::Sweep { from, nonce }
        | Op::Note { from, nonce, .. } => *from == request.payload.from && *nonce == request.payload.nonce,
        // It prepares every payment of its payer.
        Op::Approve { from } => *from == request.payload.from,
        Op::Spend { .. } | Op::Cancel { .. } => false,
    };
    record.signed.get(tx_id).is_some_and(|tx| tx.ops().any(is_for))
}

/// Whether an observation that began after the request could show the transaction in a block deep enough, with this very
/// transfer.
///
/// The block must have been canonical at a moment while the request was open, or a node that was frozen must have shown it
/// then: the chain knows until when. Nothing else is excused. A slow commit, a slow judgement and a slow answer are part of the
/// request's own time, and a kind of read that lags shows older blocks, never ones that are gone.
fn shown(chain: &Chain, exchange: &Exchange, tx_id: &str) -> bool {
    chain.places(tx_id).iter().any(|(block, fate)| {
        let transfer = block
            .txs
            .iter()
            .any(|tx| tx.id == tx_id && tx.result.as_ref().is_ok_and(|logs| pays(logs, &exchange.request)));
        let confirmed = fate.confirmed_at_ms.is_some_and(|at| at <= exchange.answered_ms);
        let seen_until = fate.shown_until_ms.max(fate.removed_at_ms);
        let there = seen_until.is_none_or(|until| until >= exchange.requested_ms);
        transfer && confirmed && there
    })
}

/// Another sender's transaction proves a payment only for a claim with an attempt journaled before it.
fn foreign_success(
    chain: &Chain,
    record: &Record<'_>,
    exchange: &Exchange,
    tx_id: &str,
    false_answers: &mut Vec<String>,
) {
    let first = record
        .attempts
        .iter()
        .filter(|attempt| record.covers(attempt, &exchange.request))
        .map(|attempt| attempt.prepared_at_ms)
        .min();
    let near = |mined_ms: u64| first.is_some_and(|first| mined_ms.saturating_add(BLIND_MS) >= first);
    let after = chain.places(tx_id).iter().any(|(block, _)| near(block.mined_ms));
    if !after {
        false_answers.push(format!(
            "nonce {}: success by another's {tx_id}, which was there before any attempt",
            exchange.request.payload.nonce
        ));
    }
}

/// Whether a hash belongs to the request: one of its attempts, or another's transaction that made the payment.
fn known(chain: &Chain, record: &Record<'_>, request: &SettleRequest, tx_id: &str) -> bool {
    record
        .attempts
        .iter()
        .any(|attempt| attempt.tx_id == tx_id && record.covers(attempt, request))
        || chain.places(tx_id).iter().any(|(block, _)| {
            block
                .txs
                .iter()
                .any(|tx| tx.id == tx_id && tx.result.as_ref().is_ok_and(|logs| pays(logs, request)))
        })
}

/// Whether the transfer of an attempt was on the chain at the time of the answer, or is at the end.
fn is_paid(chain: &Chain, attempt: &AttemptRow, exchange: &Exchange) -> bool {
    chain.places(&attempt.tx_id).iter().any(|(block, fate)| {
        let was_there =
            |removed: u64| block.mined_ms <= exchange.answered_ms && exchange.answered_ms < removed;
        let mut txs = block.txs.iter();
        fate.removed_at_ms.is_none_or(was_there)
            && txs.any(|tx| {
                tx.id == attempt.tx_id && tx.result.as_ref().is_ok_and(|logs| pays(logs, &exchange.request))
            })
    })
}

/// Whether the transaction was in the chain at the time of the answer, or shortly before.
fn was_on_chain(chain: &Chain, exchange: &Exchange, tx_id: &str) -> bool {
    chain.places(tx_id).iter().any(|(block, fate)| {
        let seen_until = fate.shown_until_ms.max(fate.removed_at_ms);
        block.mined_ms <= exchange.answered_ms
            && seen_until.is_none_or(|until| until.saturating_add(UNNOTICED_MS) >= exchange.answered_ms)
    })
}

/// Without numbers: the payment was in no block so far, and the blocks that could have it were not all final.
fn may_land(
    chain: &Chain,
    terms: &Terms,
    record: &Record<'_>,
    attempt: &AttemptRow,
    exchange: &Exchange,
) -> bool {
    let pays = attempt.covers.iter().any(|(id, step)| {
        let row = record.settlements.get(id);
        row.and_then(|row| step.of(&row.steps))
            .is_some_and(|step| step.pays)
    });
    let Some(last) = record.signed.get(&attempt.tx_id).and_then(|tx| tx.good_until) else {
        return false;
    };
    let was_in_block = chain
        .places(&attempt.tx_id)
        .iter()
        .any(|(block, _)| block.mined_ms <= exchange.answered_ms);
    let final_height = (chain.height_at(exchange.answered_ms) + 1).saturating_sub(terms.finality);
    pays && !was_in_block && final_height <= last
}

/// A failure that rested on a confirmed block which a deeper reorganisation took away: what `confirmations` risks. The block
/// had one of our attempts that failed, or a call of another sender that used the authorization up. A slot that was used by
/// something else is no such ground: it counts only when it is final.
fn excused(chain: &Chain, record: &Record<'_>, own: &[&AttemptRow], exchange: &Exchange) -> bool {
    let payload = &exchange.request.payload;
    let is_ground = |tx: &Included| {
        let is_own = own.iter().any(|attempt| {
            let mut positions = (0..attempt.covers.len()).filter(|at| !tx.has_done(*at));
            attempt.tx_id == tx.id
                && positions.any(|at| {
                    let cover = attempt.covers.get(at);
                    let row = cover.and_then(|(id, _)| record.settlements.get(id));
                    row.is_some_and(|row| is_of(row, &exchange.request))
                })
        });
        let uses_up = tx.tx.op.as_ref().and_then(mark_of)
            == Some(Query::Used {
                from: payload.from.clone(),
                nonce: payload.nonce,
            });
        is_own || (uses_up && tx.tx.signer.is_empty() && tx.result.is_ok())
    };
    chain.blocks_ever().values().any(|(block, fate)| {
        let seen_until = fate.shown_until_ms.max(fate.removed_at_ms);
        block.txs.iter().any(is_ground)
            && fate.confirmed_at_ms.is_some_and(|at| at <= exchange.answered_ms)
            && seen_until.is_some_and(|until| until.saturating_add(UNNOTICED_MS) >= exchange.answered_ms)
    })
}

/// The same request about a failed payment gets the same answer once the authorization is over: nothing can change it any
/// more. (Before that another try may be started, and refused for another reason.)
fn repeats(facts: &Facts<'_>, record: &Record<'_>, verdict: &mut Verdict) {
    let has_failed = |exchange: &&Exchange| {
        exchange.reply().is_some_and(|reply| {
            !reply.success
                && !matches!(
                    reply.error_reason.as_deref(),
                    Some(
                        reason::SETTLEMENT_PENDING
                            | reason::DUPLICATE_SETTLEMENT
                            | reason::UNEXPECTED_SETTLE_ERROR
                            // A payer whose payments keep failing has to wait: this answer is not about this payment.
                            | reason::INVALID_TRANSACTION_STATE
                    )
                )
        })
    };
    let undone = |settlement: u64| {
        let is_it =
            |event: &Event| matches!(event, Event::Reorged { settlement: id, .. } if *id == settlement);
        facts.log.iter().any(is_it)
    };
    let mut by_request: BTreeMap<&SettleRequest, Vec<&Exchange>> = BTreeMap::new();
    for exchange in facts.exchanges.iter().filter(has_failed) {
        by_request.entry(&exchange.request).or_default().push(exchange);
    }
    for (request, exchanges) in by_request {
        // Other payloads of the same claim may be tried in between: what is answered then is about those.
        let claim = record.settlements.values().find(|row| is_of(row, request));
        let Some(claim) = claim.map(|row| &row.claim) else {
            continue;
        };
        let opened: Vec<&SettlementRow> = record
            .settlements
            .values()
            .filter(|row| row.claim == *claim)
            .collect();
        for pair in exchanges.windows(2) {
            let [before, after] = pair else { continue };
            let newest = |at_ms: u64| opened.iter().rfind(|row| row.opened_at_ms <= at_ms);
            let (Some(row), Some(later)) = (newest(before.answered_ms), newest(after.answered_ms)) else {
                continue;
            };
            let is_same = row.id == later.id && is_of(row, request);
            let is_over = match &request.payload.message {
                None => after.requested_ms >= request.payload.valid_before_s.saturating_mul(1_000),
                Some(message) => facts.chain.height_at(after.requested_ms) >= message.good_until,
            };
            let answer = |exchange: &Exchange| {
                exchange
                    .reply()
                    .map(|reply| (reply.error_reason, reply.transaction))
            };
            if is_over && is_same && !undone(row.id) && answer(before) != answer(after) {
                verdict.false_answers.push(format!(
                    "nonce {}: the same request got {:?}, then {:?}",
                    request.payload.nonce,
                    answer(before),
                    answer(after)
                ));
            }
        }
    }
}

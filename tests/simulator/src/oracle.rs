//! The judge: it knows the chain's own history, what was journaled, and every word a caller was told, and nothing of
//! what the engine believes.

use std::collections::BTreeMap;

use facilitator::journal::{AttemptKind, AttemptRow, Event, SettlementRow};
use sdk_plugin::wire::reason;

use crate::chain::{Chain, Tx};
use crate::clients::{Ask, Told};
use crate::hold::is_held;
use crate::run::Terms;
use crate::scheme::Shape;
use crate::token::{Op, moved, topics};

/// How long after a block is reorganised away the old view may still be told: observation, judging and a slow commit
/// lie between, and a node that has fallen behind.
const LAG_MS: u64 = 45_000;

/// How old a block may be that an attempt does not know of: its quote came from a node that had fallen behind, or its
/// plugin was slow between quote and commit.
const BLIND_MS: u64 = 16_000;

/// What must be zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Payments that landed by our doing and whose callers can't learn it.
    pub lost: Vec<String>,
    /// Claims paid twice, steps carried out twice, evidence used twice.
    pub twice: Vec<String>,
    /// What had to wait for another step, and landed without it.
    pub out_of_order: Vec<String>,
    pub released_twice: Vec<String>,
    pub false_words: Vec<String>,
    /// Bytes a node saw that the journal does not hold.
    pub sent_unjournaled: Vec<String>,
    pub overspent: Vec<String>,
    /// Settlements that did not end although nothing hindered them.
    pub stuck: Vec<String>,
    /// Panics nobody injected.
    pub panics: Vec<String>,
}

impl Verdict {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// What the judge goes by.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub chain: &'a Chain,
    pub terms: &'a Terms,
    /// Everything that was ever committed.
    pub log: &'a [Event],
    pub told: &'a [Told],
    pub unjournaled: &'a [String],
    /// Every transaction that was ever signed, sent or not.
    pub signed: &'a BTreeMap<String, Tx>,
}

/// What the journal says, as far as the judge needs it.
struct Record<'a> {
    settlements: BTreeMap<u64, SettlementRow>,
    attempts: Vec<AttemptRow>,
    signed: &'a BTreeMap<String, Tx>,
}

impl<'a> Record<'a> {
    fn of(log: &[Event], signed: &'a BTreeMap<String, Tx>) -> Self {
        let mut record = Self {
            settlements: BTreeMap::new(),
            attempts: Vec::new(),
            signed,
        };
        for event in log {
            match event {
                Event::Opened(new) => {
                    record.settlements.insert(new.row.id, new.row.clone());
                }
                Event::Prepared(new) => record.attempts.push(new.row.clone()),
                _ => {}
            }
        }
        record
    }

    fn covers(&self, attempt: &AttemptRow, ask: &Ask) -> bool {
        attempt
            .covers
            .iter()
            .any(|(id, _)| self.settlements.get(id).is_some_and(|row| is_of(row, ask)))
    }
}

/// Whether the settlement is of this very payload, terms and tenant.
fn is_of(row: &SettlementRow, ask: &Ask) -> bool {
    ask.is_honest() && row.digest == format!("{:?}", ask.payload) && row.tenant == ask.tenant
}

/// The transfer that the ask is about, in these logs.
fn pays(logs: &[sdk_plugin::chain::LogEntry], ask: &Ask) -> bool {
    if ask.payload.shape == Shape::Hold {
        return ask.is_honest() && is_held(logs, &ask.payload);
    }
    let wanted = topics("Moved", &ask.payload.from, ask.payload.nonce);
    logs.iter()
        .any(|log| log.topics == wanted && log.data == moved(&ask.pay_to, ask.amount))
}

/// Judges a run that has come to rest.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let Facts {
        chain,
        terms,
        log,
        told,
        unjournaled,
        signed,
    } = *facts;
    let record = Record::of(log, signed);
    let mut verdict = Verdict {
        sent_unjournaled: unjournaled.to_vec(),
        ..Verdict::default()
    };
    words(chain, terms, &record, told, &mut verdict);
    releases(told, &mut verdict);
    lost(chain, told, &mut verdict);
    twice(chain, &record, &mut verdict);
    evidence(log, &mut verdict);
    tails(chain, &record, &mut verdict);
    costs(chain, terms, &record, &mut verdict);
    verdict
}

fn words(chain: &Chain, terms: &Terms, record: &Record<'_>, told: &[Told], verdict: &mut Verdict) {
    for word in told {
        let Some(reply) = word.reply() else { continue };
        let what = |why: &str| {
            format!(
                "at {} ms, nonce {}: {why}: {reply:?}",
                word.at_ms, word.ask.payload.nonce
            )
        };
        if reply.success {
            if !shown(chain, word, &reply.transaction) {
                verdict
                    .false_words
                    .push(what("success, and the chain did not show it"));
            }
            if !record
                .attempts
                .iter()
                .any(|attempt| attempt.tx_id == reply.transaction)
            {
                foreign_success(chain, record, word, &reply.transaction, &mut verdict.false_words);
            }
            continue;
        }
        let own: Vec<&AttemptRow> = record
            .attempts
            .iter()
            .filter(|a| a.prepared_at_ms < word.at_ms && record.covers(a, &word.ask))
            .collect();
        match reply.error_reason.as_deref() {
            Some(reason::SETTLEMENT_PENDING) => {
                if reply.transaction.is_empty() {
                    verdict.false_words.push(what("pending without a hash"));
                } else if !known(chain, record, &word.ask, &reply.transaction)
                    && !is_signed_for(record, &word.ask, &reply.transaction)
                {
                    verdict
                        .false_words
                        .push(what("pending with a hash that is none of its own"));
                }
            }
            Some(reason::DUPLICATE_SETTLEMENT) => {
                if !known(chain, record, &word.ask, &reply.transaction) {
                    verdict
                        .false_words
                        .push(what("duplicate with a hash that is none of its own"));
                }
            }
            Some(_) => {
                let landed = own.iter().any(|attempt| has_landed(chain, attempt, &word.ask));
                if landed && !excused(chain, &own, word.at_ms) {
                    verdict.false_words.push(what("failed, and it landed"));
                }
                if own
                    .iter()
                    .any(|attempt| may_land(chain, terms, record, attempt, word))
                {
                    verdict.false_words.push(what("failed, and it could still land"));
                }
            }
            None => verdict.false_words.push(what("neither success nor a reason")),
        }
    }
}

/// Signed for this payment. Its commit took longer than callers are kept, and was refused in the end: that it may land
/// was true when it was said, and the next request begins anew.
fn is_signed_for(record: &Record<'_>, ask: &Ask, tx_id: &str) -> bool {
    match record.signed.get(tx_id).and_then(|tx| tx.op.as_ref()) {
        Some(
            Op::Transfer { from, nonce, .. }
            | Op::Pay { from, nonce, .. }
            | Op::Lock { from, nonce, .. }
            | Op::Capture { from, nonce, .. }
            | Op::Note { from, nonce, .. },
        ) => *from == ask.payload.from && *nonce == ask.payload.nonce,
        _ => false,
    }
}

/// At some moment before, or just before, the transaction was in a block deep enough, with this very transfer.
fn shown(chain: &Chain, word: &Told, tx_id: &str) -> bool {
    chain.places(tx_id).iter().any(|(block, fate)| {
        let transfer = block
            .txs
            .iter()
            .any(|tx| tx.id == tx_id && tx.result.as_ref().is_ok_and(|logs| pays(logs, &word.ask)));
        let confirmed = fate.confirmed_at_ms.is_some_and(|at| at <= word.at_ms);
        let there = fate
            .removed_at_ms
            .is_none_or(|at| at.saturating_add(LAG_MS) >= word.at_ms);
        transfer && confirmed && there
    })
}

/// Somebody else's transaction proves a payment only for a claim with an attempt journaled before it.
fn foreign_success(
    chain: &Chain,
    record: &Record<'_>,
    word: &Told,
    tx_id: &str,
    false_words: &mut Vec<String>,
) {
    let first = record
        .attempts
        .iter()
        .filter(|attempt| record.covers(attempt, &word.ask))
        .map(|attempt| attempt.prepared_at_ms)
        .min();
    let near = |mined_ms: u64| first.is_some_and(|first| mined_ms.saturating_add(BLIND_MS) >= first);
    let after = chain.places(tx_id).iter().any(|(block, _)| near(block.mined_ms));
    if !after {
        false_words.push(format!(
            "nonce {}: success by another's {tx_id}, which was there before any attempt",
            word.ask.payload.nonce
        ));
    }
}

/// Whether a hash belongs to the ask: one of its attempts, or another's transaction that made the payment.
fn known(chain: &Chain, record: &Record<'_>, ask: &Ask, tx_id: &str) -> bool {
    record
        .attempts
        .iter()
        .any(|attempt| attempt.tx_id == tx_id && record.covers(attempt, ask))
        || chain.places(tx_id).iter().any(|(block, _)| {
            block
                .txs
                .iter()
                .any(|tx| tx.id == tx_id && tx.result.as_ref().is_ok_and(|logs| pays(logs, ask)))
        })
}

fn has_landed(chain: &Chain, attempt: &AttemptRow, ask: &Ask) -> bool {
    chain.canonical().iter().any(|block| {
        block
            .txs
            .iter()
            .any(|tx| tx.id == attempt.tx_id && tx.result.as_ref().is_ok_and(|logs| pays(logs, ask)))
    })
}

/// Without numbers: the payment was in no block so far, and the blocks that could have it were not all final.
fn may_land(chain: &Chain, terms: &Terms, record: &Record<'_>, attempt: &AttemptRow, word: &Told) -> bool {
    let pays = attempt.covers.iter().any(|(id, step)| {
        let steps = record.settlements.get(id).map(|row| row.steps.as_slice());
        let step = usize::try_from(*step)
            .ok()
            .and_then(|step| steps.unwrap_or_default().get(step));
        step.is_some_and(|step| step.pays)
    });
    let Some(last) = record.signed.get(&attempt.tx_id).and_then(|tx| tx.good_until) else {
        return false;
    };
    let was_in_block = chain
        .places(&attempt.tx_id)
        .iter()
        .any(|(block, _)| block.mined_ms <= word.at_ms);
    let final_height = (chain.height_at(word.at_ms) + 1).saturating_sub(terms.finality);
    pays && !was_in_block && final_height <= last
}

/// A failure that rested on a confirmed block which a deeper reorganisation took away: what `confirmations` risks.
fn excused(chain: &Chain, own: &[&AttemptRow], at_ms: u64) -> bool {
    own.iter().any(|attempt| {
        let in_slot = record_of_slot(chain, attempt);
        in_slot.iter().any(|fate| {
            fate.confirmed_at_ms.is_some_and(|at| at <= at_ms)
                && fate
                    .removed_at_ms
                    .is_some_and(|at| at.saturating_add(LAG_MS) >= at_ms)
        })
    })
}

/// Fates of all blocks in which something was ever in the attempt's slot.
fn record_of_slot(chain: &Chain, attempt: &AttemptRow) -> Vec<crate::chain::BlockFate> {
    if attempt.lane.ordered {
        chain.slot_places(&attempt.lane.signer, attempt.sequence)
    } else {
        let places = chain.places(&attempt.tx_id);
        places.into_iter().map(|(_, fate)| fate).collect()
    }
}

fn releases(told: &[Told], verdict: &mut Verdict) {
    // A payment that is held may be closed as well.
    let mut successes: BTreeMap<(&str, u64, bool), u32> = BTreeMap::new();
    for word in told {
        if !word.is_replay() && word.reply().is_some_and(|reply| reply.success) {
            *successes
                .entry((
                    &word.ask.payload.from,
                    word.ask.payload.nonce,
                    word.ask.payload.shape == Shape::Hold,
                ))
                .or_default() += 1;
        }
    }
    for ((payer, nonce, _), count) in successes {
        if count > 1 {
            verdict
                .released_twice
                .push(format!("{payer} {nonce}: {count} callers were told success"));
        }
    }
}

/// Whatever our signers' transactions paid must be known to somebody who asks for it, whether or not the journal has
/// heard of the transaction.
fn lost(chain: &Chain, told: &[Told], verdict: &mut Verdict) {
    for tx in chain.canonical().iter().flat_map(|block| &block.txs) {
        let Ok(logs) = &tx.result else { continue };
        if tx.tx.signer.is_empty() {
            continue;
        }
        // Several payloads may be of one transfer: the one that was settled must be answered.
        let mut asked = told
            .iter()
            .filter(|word| word.ask.is_honest() && pays(logs, &word.ask))
            .peekable();
        let Some(first) = asked.peek().map(|word| &word.ask) else {
            continue;
        };
        let learnt = asked.filter(|word| word.is_last).any(|word| {
            word.reply().is_some_and(|reply| {
                reply.transaction == tx.id
                    && (reply.success || reply.error_reason.as_deref() == Some(reason::DUPLICATE_SETTLEMENT))
            })
        });
        if !learnt {
            verdict
                .lost
                .push(format!("nonce {} landed as {}", first.payload.nonce, tx.id));
        }
    }
}

fn twice(chain: &Chain, record: &Record<'_>, verdict: &mut Verdict) {
    let mut carried: BTreeMap<(u64, u32), Vec<&str>> = BTreeMap::new();
    let mut paid: BTreeMap<(String, u64), u32> = BTreeMap::new();
    for tx in chain.canonical().iter().flat_map(|block| &block.txs) {
        let attempt = record
            .attempts
            .iter()
            .find(|a| a.tx_id == tx.id && a.kind == AttemptKind::Steps);
        for place in attempt
            .map(|attempt| attempt.covers.as_slice())
            .unwrap_or_default()
        {
            carried.entry(*place).or_default().push(&tx.id);
        }
        let paying = match &tx.tx.op {
            Some(
                Op::Transfer { from, nonce, .. }
                | Op::Pay { from, nonce, .. }
                | Op::Capture { from, nonce, .. },
            ) => Some((from, nonce)),
            _ => None,
        };
        if let (Ok(_), Some((from, nonce))) = (&tx.result, paying) {
            *paid.entry((from.clone(), *nonce)).or_default() += 1;
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

/// What is left is given back only when the capture before it is on the chain.
fn tails(chain: &Chain, record: &Record<'_>, verdict: &mut Verdict) {
    let landed = |attempt: &AttemptRow| {
        let mut txs = chain.canonical().iter().flat_map(|block| &block.txs);
        txs.any(|tx| tx.id == attempt.tx_id && tx.result.is_ok())
    };
    let carries = |attempt: &AttemptRow, place: (u64, u32)| {
        attempt.kind == AttemptKind::Steps && attempt.covers.contains(&place)
    };
    for (id, row) in record
        .settlements
        .iter()
        .filter(|(_, row)| row.digest.contains("shape: Close"))
    {
        let has = |step| {
            let mut attempts = record.attempts.iter();
            attempts.any(|attempt| carries(attempt, (*id, step)) && landed(attempt))
        };
        if has(1) && !has(0) {
            verdict.out_of_order.push(format!(
                "settlement {id} of {} gave back without a capture",
                row.payer
            ));
        }
    }
}

/// One piece of evidence pays one claim, at any time.
fn evidence(log: &[Event], verdict: &mut Verdict) {
    let mut pays: BTreeMap<&str, u64> = BTreeMap::new();
    for event in log {
        match event {
            Event::Paid {
                settlement, items, ..
            } => {
                for item in items {
                    let other = pays.insert(item, *settlement);
                    if other.is_some_and(|other| other != *settlement) {
                        verdict
                            .twice
                            .push(format!("{item} pays settlements {other:?} and {settlement}"));
                    }
                }
            }
            Event::Reorged { settlement, .. } => pays.retain(|_, owner| owner != settlement),
            _ => {}
        }
    }
}

fn costs(chain: &Chain, terms: &Terms, record: &Record<'_>, verdict: &mut Verdict) {
    for tx in chain.canonical().iter().flat_map(|block| &block.txs) {
        let Some(attempt) = record.attempts.iter().find(|attempt| attempt.tx_id == tx.id) else {
            continue;
        };
        let cost = sdk_plugin::Amount::from(tx.cost);
        let limit = sdk_plugin::Amount::from(terms.max_cost);
        if cost > attempt.max_cost || (attempt.kind == AttemptKind::Steps && attempt.max_cost > limit) {
            verdict
                .overspent
                .push(format!("{} cost {cost}, journaled {}", tx.id, attempt.max_cost));
        }
    }
}

//! The judge: it knows the chain's own history, what was journaled, and every answer a caller got, and nothing of
//! what the engine believes.

use sdk_plugin::StepIndex;
use std::collections::BTreeMap;

use journal::{AttemptKind, AttemptRow, Event, GroundAt, SettlementRow};
use sdk_plugin::wire::reason;

use crate::chain::{Chain, Tx};
use crate::clients::{Exchange, SettleRequest};
use crate::hold::is_held;
use crate::run::Terms;
use crate::scheme::Shape;
use crate::token::{moved, topics};

mod answers;
mod slots;

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
    pub false_answers: Vec<String>,
    /// Bytes a node received that the journal does not hold.
    pub sent_unjournaled: Vec<String>,
    pub overspent: Vec<String>,
    /// Steps that took another slot without the right to, or too many.
    pub moved: Vec<String>,
    /// Decisions that were undone although no other block was ever in place of theirs.
    pub undone: Vec<String>,
    /// Settlements that did not end although nothing hindered them.
    pub stuck: Vec<String>,
    /// Acknowledged commits that a crash lost, and commits that it left in part.
    pub damaged: Vec<String>,
    /// Panics nobody injected.
    pub panics: Vec<String>,
}

impl Verdict {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// The first kind of what is wrong.
    #[must_use]
    pub fn first(&self) -> Option<&'static str> {
        let kinds = [
            (&self.twice, "paid twice"),
            (&self.released_twice, "released twice"),
            (&self.lost, "lost"),
            (&self.false_answers, "false answers"),
            (&self.sent_unjournaled, "sent before the commit"),
            (&self.moved, "moved without the right"),
            (&self.undone, "undone without a reason"),
            (&self.damaged, "the disk's contents"),
            (&self.out_of_order, "out of order"),
            (&self.overspent, "overspent"),
            (&self.panics, "panics"),
            (&self.stuck, "stuck"),
        ];
        let found = kinds.into_iter().find(|(list, _)| !list.is_empty());
        found.map(|(_, what)| what)
    }

    /// What is wrong besides losses, double payments, double releases and false answers.
    pub fn others(&self) -> impl Iterator<Item = &[String]> {
        let Self {
            lost: _,
            twice: _,
            released_twice: _,
            false_answers: _,
            out_of_order,
            sent_unjournaled,
            overspent,
            moved,
            undone,
            stuck,
            damaged,
            panics,
        } = self;
        [
            out_of_order,
            sent_unjournaled,
            overspent,
            moved,
            undone,
            stuck,
            damaged,
            panics,
        ]
        .into_iter()
        .map(Vec::as_slice)
    }
}

/// What the judge goes by.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub chain: &'a Chain,
    pub terms: &'a Terms,
    /// Everything that was ever committed.
    pub log: &'a [Event],
    pub exchanges: &'a [Exchange],
    pub unjournaled: &'a [String],
    /// Every transaction that was ever signed, sent or not.
    pub signed: &'a BTreeMap<String, Tx>,
}

/// What the journal recorded, as far as the judge needs it.
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

    fn covers(&self, attempt: &AttemptRow, request: &SettleRequest) -> bool {
        attempt
            .covers
            .iter()
            .any(|(id, _)| self.settlements.get(id).is_some_and(|row| is_of(row, request)))
    }
}

/// Whether the settlement is of this very payload, terms and tenant.
fn is_of(row: &SettlementRow, request: &SettleRequest) -> bool {
    request.is_honest() && row.digest == format!("{:?}", request.payload) && row.tenant == request.tenant
}

/// The transfer that the request is about, in these logs.
fn pays(logs: &[sdk_plugin::chain::LogEntry], request: &SettleRequest) -> bool {
    if request.payload.shape == Shape::Hold {
        return request.is_honest() && is_held(logs, &request.payload);
    }
    let wanted = topics("Moved", &request.payload.from, request.payload.nonce);
    logs.iter()
        .any(|log| log.topics == wanted && log.data == moved(&request.pay_to, request.amount))
}

/// Judges a run that has come to rest.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let Facts {
        chain,
        terms,
        log,
        exchanges,
        unjournaled,
        signed,
    } = *facts;
    let record = Record::of(log, signed);
    let mut verdict = Verdict {
        sent_unjournaled: unjournaled.to_vec(),
        ..Verdict::default()
    };
    answers::check(facts, &record, &mut verdict);
    releases(exchanges, &mut verdict);
    lost(chain, exchanges, &mut verdict);
    slots::twice(chain, &record, &mut verdict);
    slots::moved(chain, terms, &record, &mut verdict);
    evidence(log, &mut verdict);
    undone(chain, log, &mut verdict);
    tails(chain, &record, &mut verdict);
    slots::costs(chain, terms, &record, &mut verdict);
    verdict
}

fn releases(exchanges: &[Exchange], verdict: &mut Verdict) {
    // A payment that is held may be closed as well.
    let mut successes: BTreeMap<(&str, u64, bool), u32> = BTreeMap::new();
    for exchange in exchanges {
        if !exchange.is_replay() && exchange.reply().is_some_and(|reply| reply.success) {
            *successes
                .entry((
                    &exchange.request.payload.from,
                    exchange.request.payload.nonce,
                    exchange.request.payload.shape == Shape::Hold,
                ))
                .or_default() += 1;
        }
    }
    for ((payer, nonce, _), count) in successes {
        if count > 1 {
            verdict
                .released_twice
                .push(format!("{payer} {nonce}: {count} callers were answered success"));
        }
    }
}

/// Whatever our signers' transactions paid must be known to a caller of settle, whether or not the journal
/// has recorded the transaction.
fn lost(chain: &Chain, exchanges: &[Exchange], verdict: &mut Verdict) {
    for tx in chain.canonical().iter().flat_map(|block| &block.txs) {
        let Ok(logs) = &tx.result else { continue };
        if tx.tx.signer.is_empty() {
            continue;
        }
        // Several payloads may be of one transfer: the one that was settled must be answered.
        let mut matching = exchanges
            .iter()
            .filter(|exchange| exchange.request.is_honest() && pays(logs, &exchange.request))
            .peekable();
        let Some(first) = matching.peek().map(|exchange| &exchange.request) else {
            continue;
        };
        let is_known = matching.filter(|exchange| exchange.is_last).any(|exchange| {
            exchange.reply().is_some_and(|reply| {
                reply.transaction == tx.id
                    && (reply.success || reply.error_reason.as_deref() == Some(reason::DUPLICATE_SETTLEMENT))
            })
        });
        if !is_known {
            verdict
                .lost
                .push(format!("nonce {} landed as {}", first.payload.nonce, tx.id));
        }
    }
}

/// What is left is given back only when the capture before it is on the chain.
fn tails(chain: &Chain, record: &Record<'_>, verdict: &mut Verdict) {
    let landed = |attempt: &AttemptRow| {
        let mut txs = chain.canonical().iter().flat_map(|block| &block.txs);
        txs.any(|tx| tx.id == attempt.tx_id && tx.result.is_ok())
    };
    let carries = |attempt: &AttemptRow, place: (u64, StepIndex)| {
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
        if has(StepIndex::new(1)) && !has(StepIndex::FIRST) {
            verdict.out_of_order.push(format!(
                "settlement {id} of {} gave back without a capture",
                row.payer
            ));
        }
    }
}

/// A decision is undone only when something was seen: another block in place of the one that it rests on. (A node that has
/// fallen behind on a fork shows such a block too.)
fn undone(chain: &Chain, log: &[Event], verdict: &mut Verdict) {
    let mut grounds: BTreeMap<(u64, StepIndex), &str> = BTreeMap::new();
    for event in log {
        match event {
            Event::StepGrounded {
                settlement,
                step,
                ground,
            } => {
                if let GroundAt::Block(block) = &ground.at {
                    grounds.insert((*settlement, *step), block);
                }
            }
            Event::Reorged { settlement, step } => {
                let ground = grounds.remove(&(*settlement, *step));
                let unrivalled = |block: &&str| !chain.had_rival(block);
                if let Some(block) = ground.filter(unrivalled) {
                    verdict.undone.push(format!(
                        "step {step} of settlement {settlement} rests on {block}, which no other block ever replaced"
                    ));
                }
            }
            _ => {}
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

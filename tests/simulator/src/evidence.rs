//! What a step wants to see, and what that proves: the guard and filters of each call, and the judgements that both
//! schemes share.

use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::{
    EvidenceWanted, Guard, Judgement, LogFilter, Paid, PaidReply, ReadAt, ReadWanted, Refusal,
};
use sdk_plugin::{Amount, HexBytes};

use crate::scheme::REPLAY;
use crate::token::{Op, Query, State, TOKEN, decode_held, mark_of, moved, topic, topics};

/// Names of reads of the escrow's entry: after the block of the transaction, and before it.
const AFTER: &str = "after";
const BEFORE: &str = "before";

pub(crate) fn names(op: &Op) -> (&str, u64) {
    match op {
        Op::Transfer { from, nonce, .. }
        | Op::Pay { from, nonce, .. }
        | Op::Lock { from, nonce, .. }
        | Op::Capture { from, nonce, .. }
        | Op::Sweep { from, nonce }
        | Op::Note { from, nonce, .. }
        | Op::Cancel { from, nonce } => (from, *nonce),
        Op::Approve { from } | Op::Spend { from, .. } => (from, 0),
    }
}

fn filter(op: &Op, name: &str) -> LogFilter {
    let (from, nonce) = names(op);
    LogFilter {
        emitter: TOKEN.into(),
        topics: topics(name, from, nonce).into_iter().map(Some).collect(),
    }
}

fn read(name: &str, query: &Query, at: ReadAt) -> ReadWanted {
    ReadWanted {
        name: name.into(),
        target: TOKEN.into(),
        data: query.encode(),
        required: false,
        at,
    }
}

fn guard(query: &Query, unchanged: HexBytes) -> Guard {
    Guard {
        read: read("guard", query, ReadAt::Block),
        mask: HexBytes(vec![0xff; unchanged.0.len()]),
        unchanged,
    }
}

/// What a step wants to see, planned on this state.
#[must_use]
pub fn wanted(op: &Op, state: &State) -> EvidenceWanted {
    let guard = mark_of(op).map(|query| {
        let unchanged = match &query {
            // An authorization that is used is refused before.
            Query::Used { .. } => HexBytes(vec![0]),
            Query::Done { .. } | Query::Held { .. } => query.answer(state),
        };
        guard(&query, unchanged)
    });
    let foreign: &[&str] = match op {
        Op::Transfer { .. } | Op::Lock { .. } => &["Used", "Cancelled"],
        Op::Capture { .. } => &["Moved", "Swept"],
        Op::Sweep { .. } => &["Swept"],
        Op::Note { .. } => &["Noted"],
        Op::Approve { .. } | Op::Pay { .. } | Op::Spend { .. } | Op::Cancel { .. } => &[],
    };
    let logs = ["Used", "Cancelled", "Moved", "Locked", "Swept", "Noted"];
    EvidenceWanted {
        logs: logs.map(|name| filter(op, name)).to_vec(),
        reads: Vec::new(),
        foreign: foreign.iter().map(|name| filter(op, name)).collect(),
        guard,
        block_logs: Vec::new(),
    }
}

/// The same for a call that takes from what the escrow holds now: guarded and proven by balances, as escrowed payments are.
#[must_use]
pub fn wanted_of_held(op: &Op, state: &State) -> EvidenceWanted {
    let (from, nonce) = names(op);
    let query = Query::Held {
        from: from.into(),
        nonce,
    };
    EvidenceWanted {
        reads: vec![
            read(AFTER, &query, ReadAt::Block),
            read(BEFORE, &query, ReadAt::Parent),
        ],
        guard: Some(guard(&query, query.answer(state))),
        block_logs: ["Moved", "Swept", "Locked"].map(|name| filter(op, name)).to_vec(),
        ..wanted(op, state)
    }
}

/// The id of a log with these topics, to this payee.
#[must_use]
pub fn find(logs: &[LogEntry], topics: &[HexBytes], to: Option<(&str, u64)>) -> Option<String> {
    let log = logs.iter().find(|log| {
        log.emitter == TOKEN
            && log.topics == topics
            && to.is_none_or(|(to, value)| log.data == moved(to, value))
    })?;
    Some(log.id.clone())
}

/// The logs by which a call had its effect.
fn effect(op: &Op, logs: &[LogEntry]) -> Option<Vec<String>> {
    let (from, nonce) = names(op);
    let has = |name: &str, to: Option<(&str, u64)>| find(logs, &topics(name, from, nonce), to);
    match op {
        Op::Transfer { to, value, .. } => Some(vec![has("Used", None)?, has("Moved", Some((to, *value)))?]),
        Op::Pay { to, value, .. } | Op::Capture { to, value, .. } => {
            Some(vec![has("Moved", Some((to, *value)))?])
        }
        Op::Lock { value, .. } => Some(vec![has("Locked", Some(("escrow", *value)))?]),
        Op::Sweep { .. } => Some(vec![has("Swept", None)?]),
        Op::Note { .. } => Some(vec![has("Noted", None)?]),
        // That it landed is all that the next step needs.
        Op::Approve { .. } => Some(Vec::new()),
        Op::Spend { .. } | Op::Cancel { .. } => None,
    }
}

/// Whether a transaction of this effect changes the guard, from any sender to any receiver.
fn explains(op: &Op, logs: &[LogEntry]) -> bool {
    let (from, nonce) = names(op);
    let has = |name: &str| find(logs, &topics(name, from, nonce), None).is_some();
    match op {
        Op::Transfer { .. } | Op::Lock { .. } => has("Used") || has("Cancelled"),
        Op::Capture { .. } => has("Moved") || has("Swept"),
        Op::Sweep { .. } => has("Swept"),
        Op::Note { .. } => has("Noted"),
        Op::Approve { .. } | Op::Pay { .. } | Op::Spend { .. } | Op::Cancel { .. } => false,
    }
}

fn value_of(op: &Op) -> u64 {
    match op {
        Op::Transfer { value, .. }
        | Op::Pay { value, .. }
        | Op::Lock { value, .. }
        | Op::Capture { value, .. }
        | Op::Spend { value, .. } => *value,
        Op::Approve { .. } | Op::Sweep { .. } | Op::Note { .. } | Op::Cancel { .. } => 0,
    }
}

#[must_use]
pub fn paid(tx_id: String, items: Vec<String>, payer: &str, value: u64) -> Judgement {
    let reply = PaidReply {
        payer: payer.to_owned(),
        amount: Some(Amount::from(value)),
        ..PaidReply::default()
    };
    Judgement::Paid(Paid {
        tx_id,
        items,
        reply,
        writes: Vec::new(),
        jobs: Vec::new(),
        repeatable: false,
    })
}

fn done(op: &Op, pays: bool, tx_id: String, items: Vec<String>) -> Judgement {
    if pays {
        paid(tx_id, items, names(op).0, value_of(op))
    } else {
        Judgement::Next
    }
}

fn unproven(why: &str) -> Judgement {
    Judgement::Unproven { why: why.into() }
}

/// Why a call that reverted, or can't happen any more, did not pay.
fn why_not(shown: &Shown) -> &'static str {
    match shown {
        Shown::Landed { .. } => "sim_transfer_missing",
        Shown::Reverted { message, .. } => match message.as_deref() {
            Some("authorization is used or canceled") => REPLAY,
            Some("authorization is expired") => "sim_valid_before",
            Some("transfer amount exceeds balance") => "sim_insufficient_balance",
            _ => "sim_transaction_failed",
        },
        Shown::Dead { .. } => "sim_transaction_failed",
    }
}

/// Judges a step by its own mark on the chain. Absence proves nothing: with the guard changed, the transaction that changed
/// it must be there.
#[must_use]
pub fn judge(op: &Op, pays: bool, evidence: &Evidence) -> Judgement {
    let payer = names(op).0;
    let refuse = |why: &str| Judgement::NotPaid(Refusal::new(why, payer));
    if let Shown::Landed { .. } = evidence.shown {
        return match effect(op, &evidence.logs) {
            Some(items) => done(op, pays, evidence.tx_id.clone(), items),
            // Its call failed beside others, because another transaction had its effect before.
            None if evidence.shared && evidence.guard == GuardState::Changed => by_others(op, pays, evidence),
            None => refuse(why_not(&evidence.shown)),
        };
    }
    match evidence.guard {
        GuardState::Absent | GuardState::Unchanged => refuse(why_not(&evidence.shown)),
        GuardState::Unread => unproven("the guard was not read"),
        GuardState::Changed => by_others(op, pays, evidence),
    }
}

/// The guard is changed, and no transaction of ours is shown to have done it.
fn by_others(op: &Op, pays: bool, evidence: &Evidence) -> Judgement {
    let payer = names(op).0;
    // What was there before any attempt of ours pays nothing.
    for tx in evidence.foreign.iter().filter(|tx| !tx.earlier) {
        if let Some(items) = effect(op, &tx.logs) {
            return done(op, pays, tx.tx_id.clone(), items);
        }
    }
    if evidence.foreign.iter().any(|tx| explains(op, &tx.logs)) {
        let why = match op {
            Op::Transfer { .. } | Op::Lock { .. } => REPLAY,
            _ => why_not(&evidence.shown),
        };
        return Judgement::NotPaid(Refusal::new(why, payer));
    }
    unproven("the guard is changed, and nothing found explains it")
}

/// What the escrow holds after these logs of one payment.
fn fold<'a>(held: Option<u64>, logs: impl Iterator<Item = &'a LogEntry>) -> Option<u64> {
    logs.fold(held, |held, log| {
        let value = std::str::from_utf8(&log.data.0)
            .ok()
            .and_then(|data| data.rsplit(':').next()?.parse::<u64>().ok())
            .unwrap_or(0);
        match log.topics.first() {
            Some(name) if *name == topic("Locked") => Some(value),
            Some(name) if *name == topic("Moved") => held.map(|held| held.saturating_sub(value)),
            Some(name) if *name == topic("Swept") => None,
            _ => held,
        }
    })
}

/// Judges a call that takes from what the escrow holds: by its event, and by balances where the state is still known.
#[must_use]
pub fn judge_held(op: &Op, pays: bool, wanted: &EvidenceWanted, evidence: &Evidence) -> Judgement {
    let entry = |name: &str| {
        let read = evidence.reads.iter().find(|read| read.name == name)?;
        decode_held(read.data.as_ref()?)
    };
    let planned = wanted
        .guard
        .as_ref()
        .and_then(|guard| decode_held(&guard.unchanged))
        .flatten();
    if let Shown::Landed { .. } = evidence.shown {
        let after = entry(AFTER);
        let judgement = judge(op, pays, evidence);
        let own = evidence.logs.iter().filter(|log| log.emitter == TOKEN);
        // Where the state was not read, the event stands alone.
        if after.is_none_or(|after| after == fold(planned, own)) {
            return judgement;
        }
        if evidence.block_logs.is_empty() {
            return unproven("the escrow's balance is not what this operation alone leaves");
        }
        let explained = match (entry(BEFORE), after) {
            (Some(before), Some(after)) => fold(before, evidence.block_logs.iter()) == after,
            // The state is forgotten.
            (None, _) | (_, None) => true,
        };
        return if explained {
            judgement
        } else {
            unproven("the block's events do not explain the escrow's balance")
        };
    }
    if evidence.guard != GuardState::Changed {
        return judge(op, pays, evidence);
    }
    let Some(after) = entry(AFTER) else {
        return unproven("the escrow's balance was not read");
    };
    // Operations before the plan and after the read may have been found too.
    let mut found: Vec<&ForeignTx> = evidence.foreign.iter().collect();
    found.sort_by_key(|tx| tx.height);
    let explained = (0..found.len()).any(|first| {
        let rest = found.get(first..).unwrap_or_default();
        (1..=rest.len()).any(|count| {
            let logs = rest.iter().take(count).flat_map(|tx| &tx.logs);
            fold(planned, logs) == after
        })
    });
    if explained {
        by_others(op, pays, evidence)
    } else {
        unproven("operations that were found do not explain the escrow's balance")
    }
}

//! The one contract on the simulated chain: a token with signed transfers, an escrow, and a few things without any
//! replay protection of their own, so that sending them twice shows.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::HexBytes;
use sdk_plugin::chain::LogEntry;
use serde::{Deserialize, Serialize};

/// Who emits every log.
pub const TOKEN: &str = "token";

/// A call of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A signed transfer (the shape of EIP-3009): good once for each payer and nonce.
    Transfer {
        from: String,
        to: String,
        value: u64,
        nonce: u64,
        valid_before_s: u64,
        /// It needs the payer's approval, as a transfer by Permit2 does.
        #[serde(default, skip_serializing_if = "is_false")]
        by_allowance: bool,
    },
    /// The payer approves, in a transaction of its own.
    Approve { from: String },
    /// A transfer that the payer signed as a transaction: only the chain's rule about transactions keeps it from happening
    /// twice.
    Pay {
        from: String,
        to: String,
        value: u64,
        nonce: u64,
    },
    /// A signed transfer into the escrow, under the payer and nonce.
    Lock {
        from: String,
        value: u64,
        nonce: u64,
        valid_before_s: u64,
    },
    /// From the escrow to the payee.
    Capture {
        from: String,
        nonce: u64,
        to: String,
        value: u64,
    },
    /// What is left in the escrow goes back to the payer.
    Sweep { from: String, nonce: u64 },
    /// Leaves a mark, or reverts. Nothing on chain keeps it from happening twice.
    Note { from: String, nonce: u64, reverts: bool },
    /// The payer spends elsewhere.
    Spend { from: String, value: u64 },
    /// The payer withdraws an authorization.
    Cancel { from: String, nonce: u64 },
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Op {
    /// What a plan calls it by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
            Self::Approve { .. } => "approve",
            Self::Pay { .. } => "pay",
            Self::Lock { .. } => "lock",
            Self::Capture { .. } => "capture",
            Self::Sweep { .. } => "sweep",
            Self::Note { .. } => "note",
            Self::Spend { .. } => "spend",
            Self::Cancel { .. } => "cancel",
        }
    }

    #[must_use]
    pub fn encode(&self) -> HexBytes {
        HexBytes(serde_json::to_vec(self).unwrap_or_default())
    }

    #[must_use]
    pub fn decode(bytes: &HexBytes) -> Option<Self> {
        serde_json::from_slice(&bytes.0).ok()
    }
}

/// Everything the chain remembers after a block.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Next nonce of each signer of transactions.
    pub nonces: BTreeMap<String, u64>,
    pub balances: BTreeMap<String, u64>,
    /// Payers that have approved.
    pub approved: BTreeSet<String>,
    /// Payer and nonce.
    pub used: BTreeSet<(String, u64)>,
    pub escrow: BTreeMap<(String, u64), u64>,
    /// How often calls had their effect that nothing else remembers for good, by payer, nonce and the call's name.
    pub done: BTreeMap<(String, u64, String), u64>,
    /// Transactions without numbers that have landed and would still be good, with their last block.
    pub landed: BTreeMap<String, u64>,
}

/// A read of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One byte: whether an authorization is used or cancelled.
    Used { from: String, nonce: u64 },
    /// Eight bytes, big endian: how often a call of this name had its effect.
    Done { from: String, nonce: u64, call: String },
    /// What is in the escrow: one byte whether there is an entry, and eight bytes for its units, big endian.
    Held { from: String, nonce: u64 },
}

/// The answer to [`Query::Held`] for so many units; `None`: there is no entry.
#[must_use]
pub fn encode_held(units: Option<u64>) -> HexBytes {
    let mut data = vec![u8::from(units.is_some())];
    data.extend_from_slice(&units.unwrap_or(0).to_be_bytes());
    HexBytes(data)
}

/// The reverse of [`encode_held`]; `None`: it is no such answer.
#[must_use]
pub fn decode_held(data: &HexBytes) -> Option<Option<u64>> {
    let (has, units) = data.0.split_first()?;
    let units = u64::from_be_bytes(units.try_into().ok()?);
    Some((*has == 1).then_some(units))
}

impl Query {
    #[must_use]
    pub fn encode(&self) -> HexBytes {
        HexBytes(serde_json::to_vec(self).unwrap_or_default())
    }

    #[must_use]
    pub fn decode(bytes: &HexBytes) -> Option<Self> {
        serde_json::from_slice(&bytes.0).ok()
    }

    #[must_use]
    pub fn answer(&self, state: &State) -> HexBytes {
        match self {
            Self::Used { from, nonce } => {
                let is_used = state.used.contains(&(from.clone(), *nonce));
                HexBytes(vec![u8::from(is_used)])
            }
            Self::Done { from, nonce, call } => {
                let done = state.done.get(&(from.clone(), *nonce, call.clone()));
                HexBytes(done.copied().unwrap_or(0).to_be_bytes().to_vec())
            }
            Self::Held { from, nonce } => encode_held(state.escrow.get(&(from.clone(), *nonce)).copied()),
        }
    }
}

/// What changes for good when a call has its effect. `None`: the chain's own rule about transactions is all that keeps the
/// call from happening twice.
#[must_use]
pub fn mark_of(op: &Op) -> Option<Query> {
    let done = |from: &String, nonce: &u64| Query::Done {
        from: from.clone(),
        nonce: *nonce,
        call: op.name().into(),
    };
    match op {
        Op::Transfer { from, nonce, .. } | Op::Lock { from, nonce, .. } | Op::Cancel { from, nonce } => {
            Some(Query::Used {
                from: from.clone(),
                nonce: *nonce,
            })
        }
        Op::Capture { from, nonce, .. } | Op::Sweep { from, nonce } | Op::Note { from, nonce, .. } => {
            Some(done(from, nonce))
        }
        Op::Approve { .. } | Op::Pay { .. } | Op::Spend { .. } => None,
    }
}

/// A text as a log topic.
#[must_use]
pub fn topic(text: &str) -> HexBytes {
    HexBytes(text.as_bytes().to_vec())
}

/// Topics of a log: its name, the payer, the nonce, then whatever else.
#[must_use]
pub fn topics(name: &str, from: &str, nonce: u64) -> Vec<HexBytes> {
    vec![topic(name), topic(from), topic(&nonce.to_string())]
}

fn log(name: &str, from: &str, nonce: u64, to: &str, value: u64) -> LogEntry {
    LogEntry {
        id: String::new(),
        emitter: TOKEN.to_owned(),
        topics: topics(name, from, nonce),
        data: topic(&format!("{to}:{value}")),
    }
}

/// The data of a `Moved` log.
#[must_use]
pub fn moved(to: &str, value: u64) -> HexBytes {
    topic(&format!("{to}:{value}"))
}

impl State {
    fn take(&mut self, from: &str, value: u64) -> Result<(), String> {
        let balance = self.balances.entry(from.to_owned()).or_default();
        *balance = balance
            .checked_sub(value)
            .ok_or("transfer amount exceeds balance")?;
        Ok(())
    }

    fn give(&mut self, to: &str, value: u64) {
        let balance = self.balances.entry(to.to_owned()).or_default();
        *balance = balance.saturating_add(value);
    }

    fn authorize(&mut self, from: &str, nonce: u64, valid_before_s: u64, now_s: u64) -> Result<(), String> {
        if now_s >= valid_before_s {
            return Err("authorization is expired".into());
        }
        if !self.used.insert((from.to_owned(), nonce)) {
            return Err("authorization is used or canceled".into());
        }
        Ok(())
    }

    /// Executes several calls, each by itself; tells which failed.
    pub fn execute_each<'a>(
        &mut self,
        ops: impl Iterator<Item = &'a Op>,
        now_s: u64,
        failed: &mut Vec<usize>,
    ) -> Vec<LogEntry> {
        let mut all = Vec::new();
        for (position, op) in ops.enumerate() {
            let mut tried = self.clone();
            match tried.execute(op, now_s) {
                Ok(logs) => {
                    *self = tried;
                    all.extend(logs);
                }
                Err(_) => failed.push(position),
            }
        }
        all
    }

    /// Executes a call; after an error the caller throws the state away.
    pub fn execute(&mut self, op: &Op, now_s: u64) -> Result<Vec<LogEntry>, String> {
        if let Some(Query::Done { from, nonce, call }) = mark_of(op) {
            *self.done.entry((from, nonce, call)).or_default() += 1;
        }
        match op {
            Op::Transfer {
                from,
                to,
                value,
                nonce,
                valid_before_s,
                by_allowance,
            } => {
                if *by_allowance && !self.approved.contains(from) {
                    return Err("transfer amount exceeds allowance".into());
                }
                self.authorize(from, *nonce, *valid_before_s, now_s)?;
                self.take(from, *value)?;
                self.give(to, *value);
                Ok(vec![
                    log("Used", from, *nonce, "", 0),
                    log("Moved", from, *nonce, to, *value),
                ])
            }
            Op::Approve { from } => {
                self.approved.insert(from.clone());
                Ok(Vec::new())
            }
            Op::Pay {
                from,
                to,
                value,
                nonce,
            } => {
                self.take(from, *value)?;
                self.give(to, *value);
                Ok(vec![log("Moved", from, *nonce, to, *value)])
            }
            Op::Lock {
                from,
                value,
                nonce,
                valid_before_s,
            } => {
                self.authorize(from, *nonce, *valid_before_s, now_s)?;
                self.take(from, *value)?;
                self.escrow.insert((from.clone(), *nonce), *value);
                Ok(vec![
                    log("Used", from, *nonce, "", 0),
                    log("Locked", from, *nonce, "escrow", *value),
                ])
            }
            Op::Capture {
                from,
                nonce,
                to,
                value,
            } => {
                let held = self
                    .escrow
                    .get_mut(&(from.clone(), *nonce))
                    .ok_or("nothing is locked")?;
                *held = held.checked_sub(*value).ok_or("more than is locked")?;
                self.give(to, *value);
                Ok(vec![log("Moved", from, *nonce, to, *value)])
            }
            Op::Sweep { from, nonce } => {
                let left = self
                    .escrow
                    .remove(&(from.clone(), *nonce))
                    .ok_or("nothing is locked")?;
                self.give(from, left);
                Ok(vec![log("Swept", from, *nonce, from, left)])
            }
            Op::Note { reverts: true, .. } => Err("noted nothing".into()),
            Op::Note {
                from,
                nonce,
                reverts: false,
            } => Ok(vec![log("Noted", from, *nonce, "", 0)]),
            Op::Spend { from, value } => {
                self.take(from, *value)?;
                Ok(Vec::new())
            }
            Op::Cancel { from, nonce } => {
                self.authorize(from, *nonce, u64::MAX, now_s)?;
                Ok(vec![log("Cancelled", from, *nonce, "", 0)])
            }
        }
    }
}

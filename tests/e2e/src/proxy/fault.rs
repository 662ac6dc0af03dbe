//! Faults of chosen methods, and the rules for when they apply.

use std::time::{Duration, Instant};

use serde_json::Value;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The node gets it and does it; the answer stays here until the rule is lifted.
    HoldAnswer,
    /// The node gets it and does it; the connection closes without an answer.
    LoseAnswer,
    /// The node never gets it; the connection closes.
    Refuse,
    /// The node never gets it; this HTTP status, with a body that names a secret as some nodes' do.
    Status(u16),
    /// The answer comes this much later.
    Delay(Duration),
    /// The node's result is replaced.
    Answer(Value),
    /// The node's result is replaced by a JSON-RPC error object.
    RpcError(Value),
    /// The node never gets it; a JSON-RPC error object is the answer.
    Reject(Value),
    /// The node never gets it; this result is the answer.
    Swallow(Value),
    /// The number of the head block is this much higher than the node's. For `eth_blockNumber` and
    /// `eth_getBlockByNumber`.
    HeadAhead(u64),
    /// The answer to each call is changed: parameters and the whole JSON-RPC object.
    Edit(Edit),
}

/// What changes an answer.
#[derive(Clone)]
pub struct Edit(pub std::sync::Arc<Change>);

/// Changes an answer, given the call's params.
pub type Change = dyn Fn(&Value, &mut Value) + Send + Sync;

impl std::fmt::Debug for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Edit")
    }
}

impl PartialEq for Edit {
    fn eq(&self, other: &Edit) -> bool {
        std::sync::Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Fault {
    /// Whether it concerns a whole exchange, and not the answers to single calls.
    pub(super) fn is_of_the_exchange(&self) -> bool {
        match self {
            Fault::HoldAnswer | Fault::LoseAnswer | Fault::Refuse | Fault::Status(_) | Fault::Delay(_) => {
                true
            }
            Fault::Answer(_)
            | Fault::RpcError(_)
            | Fault::Reject(_)
            | Fault::Swallow(_)
            | Fault::HeadAhead(_)
            | Fault::Edit(_) => false,
        }
    }

    /// Changes every result of the method: parameters and result.
    #[must_use]
    pub fn edit(change: impl Fn(&Value, &mut Value) + Send + Sync + 'static) -> Fault {
        Fault::Edit(Edit(std::sync::Arc::new(move |params, answer| {
            if let Some(result) = answer.get_mut("result") {
                change(params, result);
            }
        })))
    }

    /// Replaces every answer of the method, errors too, by what is made of its parameters.
    #[must_use]
    pub fn answer_with(make: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Fault {
        Fault::Edit(Edit(std::sync::Arc::new(move |params, answer| {
            *answer = serde_json::json!({"jsonrpc": "2.0", "id": answer["id"], "result": make(params)});
        })))
    }

    /// Refuses the calls for whose parameters there is an error object; the others are answered.
    #[must_use]
    pub fn refuse_when(refuse: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> Fault {
        Fault::Edit(Edit(std::sync::Arc::new(move |params, answer| {
            if let Some(error) = refuse(params) {
                *answer = serde_json::json!({"jsonrpc": "2.0", "id": answer["id"], "error": error});
            }
        })))
    }

    /// What a node answers to a transaction that it does not take because of its price.
    #[must_use]
    pub fn underpriced() -> Fault {
        Fault::Reject(serde_json::json!({"code": -32000, "message": "transaction underpriced"}))
    }
}

/// A fault of a method, and how long it lasts.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) id: u64,
    /// A method, or `*` for any.
    pub(super) method: String,
    pub(super) fault: Fault,
    until: Option<Instant>,
    /// Calls that it still applies to.
    remaining: Option<u32>,
}

impl Rule {
    fn concerns(&self, methods: &[String]) -> bool {
        self.method == "*" || methods.contains(&self.method)
    }

    pub(super) fn concerns_call(&self, call: &Value) -> bool {
        self.method == "*" || call["method"] == self.method.as_str()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until) || self.remaining == Some(0)
    }
}

/// The rules in force: at most one for each method, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    next_id: u64,
}

impl Rules {
    pub(super) fn set(&mut self, method: &str, fault: Fault, lasts: Option<Duration>, times: Option<u32>) {
        self.rules.retain(|rule| rule.method != method);
        self.next_id += 1;
        self.rules.push(Rule {
            id: self.next_id,
            method: method.to_owned(),
            fault,
            until: lasts.map(|lasts| Instant::now() + lasts),
            remaining: times,
        });
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn lift(&mut self, method: &str) {
        self.rules.retain(|rule| rule.method != method);
    }

    /// The rules that concern any of the methods: the first one alone when it concerns the whole exchange, else all
    /// that change single answers.
    pub(super) fn take(&mut self, methods: &[String]) -> Vec<Rule> {
        let now = Instant::now();
        self.rules.retain(|rule| !rule.is_over(now));
        let mut taken: Vec<Rule> = Vec::new();
        for rule in &mut self.rules {
            let is_first = taken.is_empty();
            if !rule.concerns(methods) || (!is_first && rule.fault.is_of_the_exchange()) {
                continue;
            }
            if let Some(remaining) = &mut rule.remaining {
                *remaining = remaining.saturating_sub(1);
            }
            taken.push(rule.clone());
            if rule.fault.is_of_the_exchange() {
                break;
            }
        }
        taken
    }

    /// When the rule ends by itself; nothing when it is gone.
    pub(super) fn end_of(&self, id: u64) -> Option<Option<Instant>> {
        let now = Instant::now();
        let rule = self.rules.iter().find(|rule| rule.id == id)?;
        (!rule.is_over(now)).then_some(rule.until)
    }
}

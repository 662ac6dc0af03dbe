//! Applies a view to one call: what the node really gets, and what is shown of its answer.

use serde_json::{Value, json};

use super::view::{Kind, View, number};

/// The state of the dev chain is complete from this block on; no lag goes below it.
const FIRST_BLOCK: u64 = 1;

/// Answers a question to the node behind the proxy; nothing when it does not answer.
pub(super) type NodeCall<'a> = dyn FnMut(&str, Value) -> Option<Value> + 'a;

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prepared {
    /// The node is called, with these parameters.
    Forward(Value),
    /// The node is not called; `result` or `error` with its value.
    Answer(&'static str, Value),
}

/// A view at a moment when the chain has this many blocks.
#[derive(Debug)]
pub(super) struct ViewAt<'a> {
    pub(super) view: &'a View,
    pub(super) head: u64,
}

impl ViewAt<'_> {
    /// The highest block that this kind of read knows.
    fn seen(&self, kind: Kind) -> u64 {
        self.head
            .saturating_sub(self.view.lags.of(kind))
            .max(FIRST_BLOCK.min(self.head))
    }

    /// Changes a call before the node gets it.
    pub(super) fn prepare(&self, method: &str, params: &Value, call_node: &mut NodeCall<'_>) -> Prepared {
        let Some(kind) = Kind::of(method) else {
            return Prepared::Forward(params.clone());
        };
        let empty = self.view.empty.contains(&kind);
        match (method, kind) {
            ("eth_blockNumber", _) => Prepared::Answer("result", quantity(self.seen(kind))),
            ("eth_getLogs", _) if empty => Prepared::Answer("result", json!([])),
            ("eth_getLogs", _) => self.logs(params, call_node),
            ("eth_getTransactionReceipt" | "eth_getTransactionByHash" | "eth_getBlockByHash", _) => {
                if empty {
                    Prepared::Answer("result", Value::Null)
                } else {
                    Prepared::Forward(params.clone())
                }
            }
            ("eth_getBlockByNumber" | "eth_getBlockReceipts", _) => {
                match self.height(&params[0], kind, call_node) {
                    _ if empty => Prepared::Answer("result", Value::Null),
                    Ok(Some(height)) => Prepared::Forward(with(params, 0, quantity(height))),
                    Ok(None) => Prepared::Forward(params.clone()),
                    Err(Refused::Beyond) => Prepared::Answer("result", Value::Null),
                    Err(refused) => refused.answer(),
                }
            }
            ("eth_feeHistory", _) => self.at_block(params, 1, kind, call_node),
            ("eth_getStorageAt", _) => self.at_block(params, 2, kind, call_node),
            (_, Kind::State | Kind::Nonces) => self.at_block(params, 1, kind, call_node),
            (_, Kind::Heads | Kind::Receipts | Kind::Transactions | Kind::Logs) => {
                Prepared::Forward(params.clone())
            }
        }
    }

    /// Changes an answer before the caller gets it. `answer` is the whole JSON-RPC object.
    pub(super) fn show(&self, method: &str, params: &Value, answer: &mut Value) {
        let Some(kind) = Kind::of(method) else { return };
        let result = &mut answer["result"];
        let height = match method {
            "eth_getTransactionReceipt" | "eth_getTransactionByHash" => number(&result["blockNumber"]),
            "eth_getBlockByHash" => number(&result["number"]),
            "eth_getTransactionCount" => {
                let latest = matches!(params[1].as_str(), Some("latest" | "pending") | None);
                if let Some(nonce) = number(result)
                    && latest
                    && self.view.nonces_ahead > 0
                {
                    *result = quantity(nonce.saturating_add(self.view.nonces_ahead));
                }
                None
            }
            _ => None,
        };
        let Some(height) = height else { return };
        let forgotten = kind != Kind::Heads
            && self
                .view
                .keeps_history
                .is_some_and(|kept| height.saturating_add(kept) < self.head);
        if height > self.seen(kind) || forgotten {
            *result = Value::Null;
        }
    }

    /// A read of state or nonces at a block, which stands at `index` of the parameters.
    fn at_block(&self, params: &Value, index: usize, kind: Kind, call_node: &mut NodeCall<'_>) -> Prepared {
        match self.height(&params[index], kind, call_node) {
            Ok(Some(height)) => Prepared::Forward(with(params, index, quantity(height))),
            Ok(None) => Prepared::Forward(params.clone()),
            Err(refused) => refused.answer(),
        }
    }

    /// The height that a block parameter means to this node, or nothing when the parameter stays as it is.
    fn height(
        &self,
        block: &Value,
        kind: Kind,
        call_node: &mut NodeCall<'_>,
    ) -> Result<Option<u64>, Refused> {
        let seen = self.seen(kind);
        let height = match block {
            Value::Null => return Ok(Some(seen)),
            Value::Object(members) => {
                if self.view.refuses_block_objects {
                    return Err(Refused::BlockObject);
                }
                match (members.get("blockHash"), members.get("blockNumber")) {
                    (Some(hash), _) => {
                        let known = call_node("eth_getBlockByHash", json!([hash, false]));
                        match known.as_ref().and_then(|block| number(&block["number"])) {
                            Some(height) => return self.within(height, seen, kind).map(|_| None),
                            None => return Err(Refused::Beyond),
                        }
                    }
                    (None, Some(height)) => number(height),
                    (None, None) => None,
                }
            }
            Value::String(tag) => match tag.as_str() {
                "earliest" => return Ok(None),
                "latest" | "pending" | "safe" | "finalized" => return Ok(Some(seen)),
                _ => number(block),
            },
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        };
        // What is no block is the node's to refuse.
        match height {
            Some(height) => self.within(height, seen, kind).map(Some),
            None => Ok(None),
        }
    }

    fn within(&self, height: u64, seen: u64, kind: Kind) -> Result<u64, Refused> {
        if height > seen {
            return Err(Refused::Beyond);
        }
        let has_state = matches!(kind, Kind::State | Kind::Nonces);
        match self.view.keeps_state {
            Some(kept) if has_state && height.saturating_add(kept) < self.head => {
                Err(Refused::Forgotten(height))
            }
            _ => Ok(height),
        }
    }

    fn logs(&self, params: &Value, call_node: &mut NodeCall<'_>) -> Prepared {
        let seen = self.seen(Kind::Logs);
        let mut filter = params[0].clone();
        if let Some(hash) = filter.get("blockHash") {
            let known = call_node("eth_getBlockByHash", json!([hash, false]));
            return match known.as_ref().and_then(|block| number(&block["number"])) {
                Some(height) if height <= seen => Prepared::Forward(params.clone()),
                Some(_) | None => {
                    Prepared::Answer("error", json!({"code": -32000, "message": "unknown block"}))
                }
            };
        }
        let bound = |name: &str| match filter.get(name).and_then(Value::as_str) {
            Some("earliest") => 0,
            Some(text) if text.starts_with("0x") => number(&json!(text)).unwrap_or(seen),
            Some(_) | None => seen,
        };
        let (from, to) = (bound("fromBlock"), bound("toBlock").min(seen));
        if from > to {
            return Prepared::Answer("result", json!([]));
        }
        filter["fromBlock"] = quantity(from);
        filter["toBlock"] = quantity(to);
        Prepared::Forward(with(params, 0, filter))
    }
}

/// Why a node does not answer a read that names a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// It has not seen the block.
    Beyond,
    /// It has thrown the block's state away.
    Forgotten(u64),
    /// It does not know EIP-1898.
    BlockObject,
}

impl Refused {
    fn answer(self) -> Prepared {
        let (code, message) = match self {
            Refused::Beyond => (-32000, "header not found".to_owned()),
            Refused::Forgotten(height) => (
                -32000,
                format!("missing trie node {height:064x} (path ) state is not available"),
            ),
            Refused::BlockObject => (
                -32602,
                "invalid argument 1: json: cannot unmarshal object into Go value of type string".to_owned(),
            ),
        };
        Prepared::Answer("error", json!({"code": code, "message": message}))
    }
}

fn quantity(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

fn with(params: &Value, index: usize, value: Value) -> Value {
    let mut all = params.as_array().cloned().unwrap_or_default();
    while all.len() <= index {
        all.push(Value::Null);
    }
    all[index] = value;
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use super::super::view::Lags;
    use super::*;

    fn prepare(view: &View, method: &str, params: Value) -> Prepared {
        let mut call_node = |_: &str, _: Value| Some(json!({"number": "0x60"}));
        ViewAt { view, head: 0x64 }.prepare(method, &params, &mut call_node)
    }

    #[test]
    fn reads_at_latest_are_answered_at_the_block_that_the_kind_has_seen() {
        let view = View::lagging(Lags::only(Kind::State, 4));
        let call = json!({"to": "0x01"});
        assert_eq!(
            prepare(&view, "eth_call", json!([call, "latest"])),
            Prepared::Forward(json!([call, "0x60"]))
        );
        assert_eq!(
            prepare(&view, "eth_estimateGas", json!([call])),
            Prepared::Forward(json!([call, "0x60"]))
        );
        assert_eq!(
            prepare(&view, "eth_getTransactionCount", json!(["0x01", "latest"])),
            Prepared::Forward(json!(["0x01", "0x64"]))
        );
        assert_eq!(
            prepare(&view, "eth_blockNumber", json!([])),
            Prepared::Answer("result", json!("0x64"))
        );
    }

    #[test]
    fn blocks_that_were_not_seen_are_errors_and_by_their_number_null() {
        let view = View::lagging(Lags::all(5));
        let beyond = Refused::Beyond.answer();
        let by_hash = json!([{"to": "0x01"}, {"blockHash": "0xaa"}]);
        assert_eq!(prepare(&view, "eth_call", by_hash), beyond);
        assert_eq!(
            prepare(&view, "eth_call", json!([{"to": "0x01"}, "0x60"])),
            beyond
        );
        assert_eq!(
            prepare(&view, "eth_getBlockByNumber", json!(["0x60", false])),
            Prepared::Answer("result", Value::Null)
        );
        let filter = json!([{"fromBlock": "0x50", "toBlock": "0x64"}]);
        assert_eq!(
            prepare(&view, "eth_getLogs", filter),
            Prepared::Forward(json!([{"fromBlock": "0x50", "toBlock": "0x5f"}]))
        );
        let filter = json!([{"fromBlock": "0x60", "toBlock": "0x64"}]);
        assert_eq!(
            prepare(&view, "eth_getLogs", filter),
            Prepared::Answer("result", json!([]))
        );
    }

    #[test]
    fn pruned_nodes_forget_old_state_and_old_transactions() {
        let view = View::pruned(10);
        let old = prepare(&view, "eth_call", json!([{"to": "0x01"}, "0x50"]));
        assert_eq!(old, Refused::Forgotten(0x50).answer());
        let view_at = ViewAt {
            view: &view,
            head: 0x64,
        };
        for (height, kept) in [("0x59", false), ("0x5a", true)] {
            let mut answer = json!({"id": 1, "result": {"blockNumber": height}});
            view_at.show("eth_getTransactionReceipt", &json!(["0xaa"]), &mut answer);
            assert_eq!(!answer["result"].is_null(), kept, "{height}");
        }
    }

    #[test]
    fn a_node_can_refuse_block_objects_and_answer_kinds_of_reads_empty() {
        let view = View {
            refuses_block_objects: true,
            empty: vec![Kind::Receipts, Kind::Logs],
            ..View::default()
        };
        let by_hash = json!([{"to": "0x01"}, {"blockHash": "0xaa"}]);
        assert_eq!(prepare(&view, "eth_call", by_hash), Refused::BlockObject.answer());
        assert_eq!(
            prepare(&view, "eth_getTransactionReceipt", json!(["0xaa"])),
            Prepared::Answer("result", Value::Null)
        );
        assert_eq!(
            prepare(&view, "eth_getLogs", json!([{"fromBlock": "0x1"}])),
            Prepared::Answer("result", json!([]))
        );
    }
}

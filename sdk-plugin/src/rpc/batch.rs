//! Any number of reads, split into batches that nodes accept and that fit the plugin's message limit.
//!
//! | limit | handling |
//! |---|---|
//! | calls and expected bytes of one batch | the reads are split in advance, in their order |
//! | a batch whose answer is too large for the host or the node | with [`Oversized::Split`]: its reads are read again in two halves |
//! | a single answer that is too large | with [`Oversized::Split`]: that read alone gets an error |
//!
//! Not guaranteed: different nodes may answer different batches, and later batches may show a later head.

use serde_json::Value;

use super::opinion::compare_or_read;
use crate::host::{RpcCall, RpcError, RpcResult};
use crate::{Cx, Fault, FaultKind};

/// JSON-RPC code for a read whose answer no batch can hold, as in go-ethereum for a response that is too large.
const TOO_LARGE: i64 = -32_003;

/// What a family's nodes accept and answer. One constant per family is enough.
#[derive(Debug, Clone, Copy)]
pub struct NodeProfile {
    /// Most calls in one JSON-RPC batch.
    pub max_batch_calls: usize,
    /// Most bytes that the answers of one batch are expected to have.
    pub max_batch_bytes: usize,
    /// Upper estimate of a usual answer's size in bytes, by method.
    pub expected_bytes: fn(method: &str) -> usize,
    /// What to do when an answer is larger than the host or the node allows.
    pub oversized: Oversized,
    /// Whether a value has the form that the documentation of its method describes. `true` for results that may be missing
    /// and for methods whose results decide nothing.
    pub is_well_formed: fn(call: &RpcCall, value: &Value) -> bool,
}

/// What happens to a batch whose answer is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oversized {
    /// The reads fail with the host's fault.
    Fail,
    /// The batch is read again in two halves. A single read that is too large gets an error of its own.
    Split,
}

/// The results of reads, consumed in the order of their calls.
#[derive(Debug)]
pub struct Answers(std::vec::IntoIter<RpcResult>);

impl From<Vec<RpcResult>> for Answers {
    fn from(results: Vec<RpcResult>) -> Self {
        Self(results.into_iter())
    }
}

impl Answers {
    /// The next result.
    ///
    /// # Errors
    /// All results were taken already: a defect of the caller.
    pub fn take(&mut self) -> Result<RpcResult, Fault> {
        self.0
            .next()
            .ok_or_else(|| Fault::internal("more answers taken than calls made"))
    }

    /// The results that were not taken yet.
    #[must_use]
    pub fn remaining(&self) -> &[RpcResult] {
        self.0.as_slice()
    }
}

impl NodeProfile {
    /// Reads any number of calls.
    ///
    /// # Errors
    /// No node answered a batch.
    pub async fn read_all(&self, cx: &Cx, calls: Vec<RpcCall>) -> Result<Answers, Fault> {
        let mut results: Vec<Option<RpcResult>> = vec![None; calls.len()];
        // Each batch is a list of indices into `calls`; the next batch is the last element.
        let mut batches = self.split(&calls);
        batches.reverse();
        while let Some(indices) = batches.pop() {
            let batch = indices
                .iter()
                .filter_map(|index| calls.get(*index))
                .cloned()
                .collect();
            let again = match (cx.read(batch).await, self.oversized) {
                (Ok(answers), oversized) => store(&mut results, &indices, answers, oversized),
                (Err(fault), Oversized::Split) if is_too_large(&fault) => {
                    if let [index] = indices.as_slice()
                        && let Some(result) = results.get_mut(*index)
                    {
                        *result = Some(too_large(&fault));
                        continue;
                    }
                    indices.clone()
                }
                (Err(fault), _) => return Err(fault),
            };
            if again.len() < indices.len() {
                batches.extend((!again.is_empty()).then_some(again));
            } else {
                let (first, second) = again.split_at(again.len() / 2);
                batches.extend([second.to_vec(), first.to_vec()]);
            }
        }
        let results: Option<Vec<RpcResult>> = results.into_iter().collect();
        let results = results.ok_or_else(|| Fault::internal("a read has no answer"))?;
        Ok(results.into())
    }

    /// [`Self::read_all`] for results that decide about a payment or its price. When a result is malformed, two nodes are
    /// read, and the set of results with the fewest malformed ones is returned. Not for reads that must come from one
    /// particular node.
    ///
    /// # Errors
    /// No node answered a batch.
    pub async fn read_well_formed(&self, cx: &Cx, calls: Vec<RpcCall>) -> Result<Answers, Fault> {
        let answers = self.read_all(cx, calls.clone()).await?;
        let count = |results: &[RpcResult]| self.count_malformed(&calls, results);
        if count(answers.remaining()) == 0 {
            return Ok(answers);
        }
        let replaced = self
            .replace_if_better(cx, &calls, answers.remaining(), count)
            .await;
        Ok(replaced.unwrap_or(answers))
    }

    /// How many results do not have the form that their method documents. Errors do not count.
    #[must_use]
    pub fn count_malformed(&self, calls: &[RpcCall], results: &[RpcResult]) -> usize {
        let is_malformed = |(call, result): &(&RpcCall, &RpcResult)| match result {
            RpcResult::Ok(value) => !(self.is_well_formed)(call, value),
            RpcResult::Error(_) => false,
        };
        calls.iter().zip(results).filter(is_malformed).count()
    }

    /// The same reads by two nodes: the set with the lowest count if it is lower than that of the known results. Each set is
    /// from one node, because its results only count together. Where no two nodes answer, the reads are made once more: the
    /// node of the known results may have been put out of use since. `None` when no set is better, when the calls do not fit
    /// one batch, or when no node answers.
    pub async fn replace_if_better(
        &self,
        cx: &Cx,
        calls: &[RpcCall],
        known: &[RpcResult],
        count: impl Fn(&[RpcResult]) -> usize,
    ) -> Option<Answers> {
        if calls.len() > self.max_batch_calls {
            return None;
        }
        let known = count(known);
        let sets = compare_or_read(cx, calls.to_vec()).await.ok()?.sets;
        let best = sets.into_iter().min_by_key(|set| count(set.remaining()))?;
        (count(best.remaining()) < known).then_some(best)
    }

    /// Reads that only count together: one batch, answered by one node. `None`: the answer is too large.
    ///
    /// # Errors
    /// No node answered.
    pub async fn read_at_once(&self, cx: &Cx, calls: Vec<RpcCall>) -> Result<Option<Answers>, Fault> {
        match cx.read(calls).await {
            Ok(results) => Ok(Some(results.into())),
            Err(fault) if is_too_large(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Indices of the calls, in batches within the limits.
    fn split(&self, calls: &[RpcCall]) -> Vec<Vec<usize>> {
        let mut batches = Vec::new();
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        for (index, call) in calls.iter().enumerate() {
            let more = (self.expected_bytes)(&call.method);
            let is_full =
                batch.len() >= self.max_batch_calls || bytes.saturating_add(more) > self.max_batch_bytes;
            if is_full && !batch.is_empty() {
                batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
            batch.push(index);
            bytes = bytes.saturating_add(more);
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches
    }
}

/// Stores the answers of a batch and returns the indices that must be read again.
fn store(
    results: &mut [Option<RpcResult>],
    indices: &[usize],
    answers: Vec<RpcResult>,
    oversized: Oversized,
) -> Vec<usize> {
    let mut again = Vec::new();
    for (index, answer) in indices.iter().zip(answers) {
        if oversized == Oversized::Split && indices.len() > 1 && reports_too_large(&answer) {
            again.push(*index);
        } else if let Some(result) = results.get_mut(*index) {
            *result = Some(answer);
        }
    }
    again
}

/// Whether the host could not deliver the answer because of its size. The plugin's own limit is [`FaultKind::Invalid`]; the
/// limit for answers of nodes is only visible in the message.
fn is_too_large(fault: &Fault) -> bool {
    let texts = ["answered more than", "answered HTTP 413"];
    fault.kind == FaultKind::Invalid
        || (fault.kind == FaultKind::Unavailable && texts.iter().any(|text| fault.message.contains(text)))
}

/// Whether a node omitted this answer because the batch had become too large.
fn reports_too_large(answer: &RpcResult) -> bool {
    let RpcResult::Error(error) = answer else {
        return false;
    };
    let message = error.message.to_lowercase();
    ["response too large", "response is too big", "batch too large"]
        .iter()
        .any(|text| message.contains(text))
}

fn too_large(fault: &Fault) -> RpcResult {
    RpcResult::Error(RpcError {
        code: TOO_LARGE,
        message: format!("the answer is too large: {}", fault.message),
        data: Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{ScriptHost, block_on};

    const NODES: NodeProfile = NodeProfile {
        max_batch_calls: 10,
        max_batch_bytes: 1_000,
        expected_bytes: |_| 10,
        oversized: Oversized::Split,
        is_well_formed: |_, value| !value.is_null(),
    };

    fn read(host: &std::sync::Arc<ScriptHost>) -> Vec<RpcResult> {
        let cx = host.cx(host.context("eip155:1"));
        let calls = vec![RpcCall {
            method: "code".into(),
            params: Value::Null,
        }];
        let answers = block_on(NODES.read_well_formed(&cx, calls)).expect("a node answers");
        answers.remaining().to_vec()
    }

    /// The check of the network may put the node that answered out of use before the second opinion is read.
    #[test]
    fn a_malformed_result_is_read_again_where_only_another_node_is_left() {
        let host = ScriptHost::at_unix_s(1);
        host.fail_comparisons(Fault::unavailable("only 1 of 2 nodes answered"));
        host.queue_rpc("code", RpcResult::Ok(Value::Null));
        host.answer_rpc("code", |_| RpcResult::Ok(Value::from("0x")));
        assert_eq!(read(&host), [RpcResult::Ok(Value::from("0x"))]);
        assert_eq!(host.round_trips(), 3, "a read, a comparison, a read");
    }

    #[test]
    fn a_malformed_result_that_no_node_betters_is_returned() {
        let host = ScriptHost::at_unix_s(1);
        host.fail_comparisons(Fault::unavailable("only 1 of 2 nodes answered"));
        host.answer_rpc("code", |_| RpcResult::Ok(Value::Null));
        assert_eq!(read(&host), [RpcResult::Ok(Value::Null)]);
    }
}
